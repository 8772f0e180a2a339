/* SPDX-License-Identifier: Apache-2.0
 *
 * Addresses as values. IPv4-mapped IPv6 addresses (::ffff:a.b.c.d, from sockets that take both)
 * keep their family here and print as IPv6; only CIDR ranges and loopback look through them.
 * Pure; any thread.
 */
#include "io/addr.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

void addr_fini(struct addr *a)
{
    mem_free(a->unix_path);
    *a = (struct addr){.unix_path = NULL};
}

void addr_copy(struct addr *dst, const struct addr *src)
{
    if (dst == src)
        return;
    addr_fini(dst);
    *dst = *src;
    if (src->unix_path)
        dst->unix_path = mem_strdup(src->unix_path);
}

/* "fe80::1%eth0" or "fe80::1%2" */
static bool parse_zone(const char *zone, uint32_t *id)
{
    uint64_t n;
    if (str_to_u64(str_from(zone), &n) && n <= UINT32_MAX) {
        *id = (uint32_t)n;
        return true;
    }
    *id = if_nametoindex(zone);
    return *id != 0;
}

int addr_from_ip(struct addr *a, struct str ip, uint16_t port, struct err *err)
{
    char text[ADDR_TEXT_BYTES];
    struct str bare = ip;
    if (bare.n >= 2 && bare.p[0] == '[' && bare.p[bare.n - 1] == ']')
        bare = str_make(bare.p + 1, bare.n - 2);
    if (bare.n == 0 || bare.n >= sizeof(text) || memchr(bare.p, 0, bare.n))
        goto bad;
    memcpy(text, bare.p, bare.n);
    text[bare.n] = 0;
    struct addr out = {.unix_path = NULL};
    if (bare.n == ip.n && inet_pton(AF_INET, text, &out.in4.sin_addr) == 1) {
        out.in4.sin_family = AF_INET;
        out.in4.sin_port = htons(port);
    } else {
        char *zone = strchr(text, '%');
        if (zone)
            *zone++ = 0;
        if (inet_pton(AF_INET6, text, &out.in6.sin6_addr) != 1)
            goto bad;
        if (zone && !parse_zone(zone, &out.in6.sin6_scope_id))
            goto bad;
        out.in6.sin6_family = AF_INET6;
        out.in6.sin6_port = htons(port);
    }
    addr_fini(a);
    *a = out;
    return 0;
bad:
    return err_set(err, ERR_INVALID, "malformed IP address: %.*s", STR_ARG(ip));
}

int addr_from_ip_port(struct addr *a, struct str text, struct err *err)
{
    uint64_t port;
    size_t colon = text.n;
    while (colon > 0 && text.p[colon - 1] != ':')
        colon--;
    if (colon == 0 || !str_to_u64(str_make(text.p + colon, text.n - colon), &port) || port > UINT16_MAX)
        return err_set(err, ERR_INVALID, "'%.*s' is not IP:PORT", STR_ARG(text));
    return addr_from_ip(a, str_make(text.p, colon - 1), (uint16_t)port, err);
}

int addr_from_unix(struct addr *a, struct str path, struct err *err)
{
    size_t max = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;
    if (path.n == 0 || memchr(path.p, 0, path.n))
        return err_set(err, ERR_INVALID, "empty or malformed Unix socket path");
    if (path.n > max)
        return err_set(err, ERR_INVALID, "Unix socket path is longer than %zu bytes: %.*s", max,
                       STR_ARG(path));
    char *copy = mem_strndup(path.p, path.n);
    addr_fini(a);
    a->sa.sa_family = AF_UNIX;
    a->unix_path = copy;
    return 0;
}

static char *unix_text(const struct sockaddr_un *un, socklen_t len)
{
    size_t base = offsetof(struct sockaddr_un, sun_path);
    size_t n = len > base ? len - base : 0;
    if (n == 0)
        return mem_strdup(""); /* a socket without a name: every Unix client */
    if (un->sun_path[0] != 0)
        return mem_strndup(un->sun_path, strnlen(un->sun_path, n));
    char *text = mem_alloc(n + 1); /* a NUL inside an abstract name ends the text */
    memcpy(text, un->sun_path, n);
    text[0] = '@';
    text[n] = 0;
    return text;
}

void addr_from_sockaddr(struct addr *a, const struct sockaddr *sa, socklen_t len)
{
    addr_fini(a);
    if (sa->sa_family == AF_INET && len >= sizeof(a->in4)) {
        memcpy(&a->in4, sa, sizeof(a->in4));
    } else if (sa->sa_family == AF_INET6 && len >= sizeof(a->in6)) {
        memcpy(&a->in6, sa, sizeof(a->in6));
    } else if (sa->sa_family == AF_UNIX) {
        a->sa.sa_family = AF_UNIX;
        a->unix_path = unix_text((const struct sockaddr_un *)(const void *)sa, len);
    }
}

socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof(*out));
    if (a->sa.sa_family == AF_INET) {
        memcpy(out, &a->in4, sizeof(a->in4));
        return sizeof(a->in4);
    }
    if (a->sa.sa_family == AF_INET6) {
        memcpy(out, &a->in6, sizeof(a->in6));
        return sizeof(a->in6);
    }
    if (a->sa.sa_family != AF_UNIX)
        return 0;
    struct sockaddr_un *un = (struct sockaddr_un *)(void *)out;
    un->sun_family = AF_UNIX;
    size_t n = a->unix_path ? strlen(a->unix_path) : 0;
    if (n > sizeof(un->sun_path) - 1)
        n = sizeof(un->sun_path) - 1;
    if (n)
        memcpy(un->sun_path, a->unix_path, n);
    if (n && un->sun_path[0] == '@') { /* abstract: the length counts, there is no NUL at the end */
        un->sun_path[0] = 0;
        return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    }
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (n ? n + 1 : 0));
}

uint16_t addr_port(const struct addr *a)
{
    if (a->sa.sa_family == AF_INET)
        return ntohs(a->in4.sin_port);
    return a->sa.sa_family == AF_INET6 ? ntohs(a->in6.sin6_port) : 0;
}

void addr_set_port(struct addr *a, uint16_t port)
{
    if (a->sa.sa_family == AF_INET)
        a->in4.sin_port = htons(port);
    else if (a->sa.sa_family == AF_INET6)
        a->in6.sin6_port = htons(port);
}

bool addr_is_ip(const struct addr *a)
{
    return a->sa.sa_family == AF_INET || a->sa.sa_family == AF_INET6;
}

/* The 4 bytes of an IPv4 or IPv4-mapped address, or NULL. */
static const uint8_t *v4_bytes(const struct addr *a)
{
    if (a->sa.sa_family == AF_INET)
        return (const uint8_t *)&a->in4.sin_addr;
    if (a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr))
        return a->in6.sin6_addr.s6_addr + 12;
    return NULL;
}

bool addr_is_loopback(const struct addr *a)
{
    const uint8_t *v4 = v4_bytes(a);
    if (v4)
        return v4[0] == 127;
    return a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
    if (a->sa.sa_family != b->sa.sa_family)
        return false;
    switch (a->sa.sa_family) {
    case AF_INET:
        return a->in4.sin_port == b->in4.sin_port &&
               a->in4.sin_addr.s_addr == b->in4.sin_addr.s_addr;
    case AF_INET6:
        return a->in6.sin6_port == b->in6.sin6_port &&
               a->in6.sin6_scope_id == b->in6.sin6_scope_id &&
               memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr)) == 0;
    case AF_UNIX:
        return str_eq(str_from(a->unix_path), str_from(b->unix_path));
    default:
        return true; /* both unset */
    }
}

/* By hand: a line of an access log holds several addresses, and inet_ntop goes through printf. */
static size_t v4_text(const struct addr *a, char *out)
{
    const uint8_t *bytes = (const uint8_t *)&a->in4.sin_addr;
    size_t n = 0;
    for (int i = 0; i < 4; i++) {
        if (i)
            out[n++] = '.';
        n += u64_format(bytes[i], out + n);
    }
    out[n] = 0;
    return n;
}

const char *addr_ip_text(const struct addr *a, char out[ADDR_TEXT_BYTES])
{
    out[0] = 0;
    if (a->sa.sa_family == AF_INET) {
        v4_text(a, out);
    } else if (a->sa.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &a->in6.sin6_addr, out, ADDR_TEXT_BYTES);
        size_t n = strlen(out);
        if (a->in6.sin6_scope_id)
            snprintf(out + n, ADDR_TEXT_BYTES - n, "%%%u", a->in6.sin6_scope_id);
    } else if (a->sa.sa_family == AF_UNIX && a->unix_path) {
        snprintf(out, ADDR_TEXT_BYTES, "%s", a->unix_path);
    }
    return out;
}

const char *addr_text(const struct addr *a, char out[ADDR_TEXT_BYTES])
{
    char ip[ADDR_TEXT_BYTES - 16];
    if (!addr_is_ip(a))
        return addr_ip_text(a, out);
    if (a->sa.sa_family == AF_INET) {
        size_t n = v4_text(a, out);
        out[n++] = ':';
        out[n + u64_format(addr_port(a), out + n)] = 0;
        return out;
    }
    snprintf(ip, sizeof(ip), "%s", addr_ip_text(a, out));
    snprintf(out, ADDR_TEXT_BYTES, "[%s]:%u", ip, addr_port(a));
    return out;
}

/* ---- CIDR ---- */

int cidr_parse(struct cidr *c, struct str ip, unsigned prefix_bits, struct err *err)
{
    struct addr a = {.unix_path = NULL};
    int rc = addr_from_ip(&a, ip, 0, err);
    if (rc)
        return rc;
    *c = (struct cidr){.family = (uint8_t)a.sa.sa_family};
    unsigned max = a.sa.sa_family == AF_INET ? 32 : 128;
    if (prefix_bits > max)
        return err_set(err, ERR_INVALID, "prefix length %u of %.*s is above %u", prefix_bits,
                       STR_ARG(ip), max);
    const uint8_t *v4 = v4_bytes(&a);
    if (v4 && (a.sa.sa_family == AF_INET || prefix_bits >= 96)) {
        c->family = AF_INET;
        if (a.sa.sa_family == AF_INET6)
            prefix_bits -= 96;
        max = 32;
        memcpy(c->bytes, v4, 4);
    } else {
        memcpy(c->bytes, &a.in6.sin6_addr, 16);
    }
    c->prefix_bits = (uint8_t)prefix_bits;
    for (unsigned bit = prefix_bits; bit < max; bit++)
        c->bytes[bit / 8] &= (uint8_t) ~(0x80u >> (bit % 8));
    return 0;
}

bool cidr_of(struct cidr *c, const struct addr *a, int family, unsigned prefix_bits)
{
    const uint8_t *p = v4_bytes(a);
    if (family == AF_INET6)
        p = a->sa.sa_family == AF_INET6 && !p ? a->in6.sin6_addr.s6_addr : NULL;
    if (!p)
        return false;
    *c = (struct cidr){.family = (uint8_t)family, .prefix_bits = (uint8_t)prefix_bits};
    unsigned whole = prefix_bits / 8, rest = prefix_bits % 8;
    memcpy(c->bytes, p, whole);
    if (rest)
        c->bytes[whole] = p[whole] & (uint8_t)(0xff00u >> rest);
    return true;
}

bool cidr_has(const struct cidr *c, const struct addr *a)
{
    const uint8_t *p = v4_bytes(a);
    if (c->family == AF_INET6) {
        if (a->sa.sa_family != AF_INET6 || p)
            return false;
        p = a->in6.sin6_addr.s6_addr;
    }
    if (!p)
        return false;
    unsigned whole = c->prefix_bits / 8, rest = c->prefix_bits % 8;
    if (memcmp(p, c->bytes, whole) != 0)
        return false;
    return rest == 0 || ((p[whole] ^ c->bytes[whole]) & (0xff00u >> rest) & 0xff) == 0;
}
