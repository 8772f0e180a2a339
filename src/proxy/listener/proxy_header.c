/* SPDX-License-Identifier: Apache-2.0
 *
 * The PROXY protocol's header (haproxy's proxy-protocol.txt), sans I/O: version 1 is one line of at
 * most 107 bytes, version 2 a signature, a length that is bounded by its own 16 bits, addresses and
 * TLVs. Parsed afresh at each call; everything here is a peer's word and nothing of it is trusted.
 */
#include "base/cursor.h"
#include "proxy/listener/listener_filter.h"

#define V1_MAX_BYTES 107
#define V2_SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V2_SIGNATURE_BYTES 12
#define V2_HEAD_BYTES 16
#define UNIX_PATH_BYTES 108

static bool is_start_of(const char *p, size_t n, const char *what, size_t what_n)
{
    return memcmp(p, what, n < what_n ? n : what_n) == 0;
}

/* ---- version 1 ---- */

/* 1*5DIGIT without leading zeros, as the text demands. */
static bool read_port(struct str s, uint16_t *port)
{
    uint64_t v;
    if (s.n > 5 || (s.n > 1 && s.p[0] == '0') || !str_to_u64(s, &v) || v > 65535)
        return false;
    *port = (uint16_t)v;
    return true;
}

static bool v1_addresses(struct str line, int family, struct proxy_header *out)
{
    struct str rest, from, to, from_port;
    uint16_t source_port, destination_port;
    from = str_split(line, ' ', &rest);
    to = str_split(rest, ' ', &rest);
    from_port = str_split(rest, ' ', &rest);
    if (!read_port(from_port, &source_port) || !read_port(rest, &destination_port))
        return false;
    if (addr_from_ip(&out->source, from, source_port, NULL) ||
        addr_from_ip(&out->destination, to, destination_port, NULL))
        return false;
    if (out->source.sa.sa_family != family || out->destination.sa.sa_family != family)
        return false;
    out->has_addresses = true;
    return true;
}

static bool v1_line(struct str line, struct proxy_header *out)
{
    if (str_eq(line, STR("UNKNOWN")) || str_has_prefix(line, STR("UNKNOWN ")))
        return true;
    struct str rest, family = str_split(line, ' ', &rest);
    if (str_eq(family, STR("TCP4")))
        return v1_addresses(rest, AF_INET, out);
    return str_eq(family, STR("TCP6")) && v1_addresses(rest, AF_INET6, out);
}

static enum proxy_header_result parse_v1(const char *p, size_t n, struct proxy_header *out)
{
    out->version = 1;
    size_t most = n < V1_MAX_BYTES ? n : V1_MAX_BYTES;
    const char *end = memchr(p, '\n', most);
    if (!end)
        return n < V1_MAX_BYTES ? PROXY_HEADER_MORE : PROXY_HEADER_BAD;
    size_t len = (size_t)(end - p);
    if (p[len - 1] != '\r' || !v1_line(str_make(p + 6, len - 7), out))
        return PROXY_HEADER_BAD;
    out->bytes = len + 1;
    return PROXY_HEADER_YES;
}

/* ---- version 2 ---- */

static void set_ip(struct addr *a, int family, const uint8_t *bytes, uint16_t port)
{
    *a = (struct addr){.unix_path = NULL};
    a->sa.sa_family = (sa_family_t)family;
    if (family == AF_INET)
        memcpy(&a->in4.sin_addr, bytes, 4);
    else
        memcpy(&a->in6.sin6_addr, bytes, 16);
    addr_set_port(a, port);
}

static bool v2_ip(struct str *body, int family, struct proxy_header *out)
{
    size_t len = family == AF_INET ? 4 : 16;
    const uint8_t *b = (const uint8_t *)body->p;
    if (body->n < 2 * len + 4)
        return false;
    set_ip(&out->source, family, b, (uint16_t)(b[2 * len] << 8 | b[2 * len + 1]));
    set_ip(&out->destination, family, b + len, (uint16_t)(b[2 * len + 2] << 8 | b[2 * len + 3]));
    out->has_addresses = true;
    *body = str_make(body->p + 2 * len + 4, body->n - 2 * len - 4);
    return true;
}

/* Padded with NULs; an abstract name begins with one and is written '@'. */
static bool set_unix(struct addr *a, const char *p)
{
    char path[UNIX_PATH_BYTES + 1] = {0};
    memcpy(path, p, UNIX_PATH_BYTES);
    if (!path[0] && path[1])
        path[0] = '@';
    return path[0] && addr_from_unix(a, str_from(path), NULL) == 0;
}

static bool v2_unix(struct str *body, struct proxy_header *out)
{
    if (body->n < 2 * UNIX_PATH_BYTES)
        return false;
    out->has_addresses =
        set_unix(&out->source, body->p) && set_unix(&out->destination, body->p + UNIX_PATH_BYTES);
    *body = str_make(body->p + 2 * UNIX_PATH_BYTES, body->n - 2 * UNIX_PATH_BYTES);
    return true;
}

bool proxy_tlv_next(struct str *at, uint8_t *type, struct str *value)
{
    if (at->n < 3)
        return false;
    size_t len = (size_t)(uint8_t)at->p[1] << 8 | (uint8_t)at->p[2];
    if (len > at->n - 3)
        return false;
    *type = (uint8_t)at->p[0];
    *value = str_make(at->p + 3, len);
    *at = str_make(at->p + 3 + len, at->n - 3 - len);
    return true;
}

static bool tlvs_are_whole(struct str tlvs)
{
    uint8_t type;
    struct str value;
    while (proxy_tlv_next(&tlvs, &type, &value))
        ;
    return tlvs.n == 0;
}

static bool v2_body(uint8_t command, uint8_t family, struct str body, struct proxy_header *out)
{
    bool ok = true;
    if (command == 0x20) /* LOCAL: the receiver skips everything (section 2.2) */
        return true;
    if (command != 0x21)
        return false;
    switch (family) {
    case 0x11: /* TCP over IPv4 */
    case 0x12:
        ok = v2_ip(&body, AF_INET, out);
        break;
    case 0x21: /* TCP over IPv6 */
    case 0x22:
        ok = v2_ip(&body, AF_INET6, out);
        break;
    case 0x31: /* Unix stream */
    case 0x32:
        ok = v2_unix(&body, out);
        break;
    default: /* UNSPEC and those to come: the connection's own addresses */
        return true;
    }
    out->tlvs = body;
    return ok && (family & 0x0f) == 1 && tlvs_are_whole(body);
}

static enum proxy_header_result parse_v2(const char *p, size_t n, struct proxy_header *out)
{
    out->version = 2;
    if (n < V2_HEAD_BYTES)
        return PROXY_HEADER_MORE;
    uint8_t command = (uint8_t)p[12], family = (uint8_t)p[13];
    size_t len = (size_t)(uint8_t)p[14] << 8 | (uint8_t)p[15];
    if (command >> 4 != 2)
        return PROXY_HEADER_BAD;
    if (n < V2_HEAD_BYTES + len)
        return PROXY_HEADER_MORE;
    out->bytes = V2_HEAD_BYTES + len;
    return v2_body(command, family, str_make(p + V2_HEAD_BYTES, len), out) ? PROXY_HEADER_YES
                                                                           : PROXY_HEADER_BAD;
}

enum proxy_header_result proxy_header_parse(const void *p, size_t n, struct proxy_header *out)
{
    enum proxy_header_result r = PROXY_HEADER_NONE;
    *out = (struct proxy_header){0};
    if (!n)
        return PROXY_HEADER_MORE;
    if (is_start_of(p, n, V2_SIGNATURE, V2_SIGNATURE_BYTES))
        r = n < V2_SIGNATURE_BYTES ? PROXY_HEADER_MORE : parse_v2(p, n, out);
    else if (is_start_of(p, n, "PROXY ", 6))
        r = n < 6 ? PROXY_HEADER_MORE : parse_v1(p, n, out);
    if (r != PROXY_HEADER_YES) {
        addr_fini(&out->source);
        addr_fini(&out->destination);
        out->has_addresses = false;
        out->tlvs = STR_NULL;
    }
    return r;
}
