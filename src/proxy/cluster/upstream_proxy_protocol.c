/* SPDX-License-Identifier: Apache-2.0
 *
 * The PROXY protocol header that an upstream connection begins with (haproxy's proxy-protocol.txt,
 * versions 1 and 2): the downstream's addresses, or UNKNOWN/LOCAL where there are none to tell.
 */
#include <stdio.h>
#include <string.h>

#include "base/cursor.h"
#include "base/mem.h"
#include "proxy/cluster/cluster_priv.h"

#define V2_HEADER_BYTES 16
#define V2_MAX_BYTES 4096 /* addresses and TLVs; a client's that don't fit are left out */

static bool addresses_fit(const struct addr *a, const struct addr *b)
{
    return a->sa.sa_family == b->sa.sa_family && addr_is_ip(a);
}

static struct str version1(const struct conn *downstream)
{
    const struct addr *src = downstream ? conn_remote(downstream) : NULL;
    const struct addr *dst = downstream ? conn_local(downstream) : NULL;
    char text[ADDR_TEXT_BYTES * 2 + 32], s[ADDR_TEXT_BYTES], d[ADDR_TEXT_BYTES];
    if (!src || !addresses_fit(src, dst))
        return str_make(mem_strdup("PROXY UNKNOWN\r\n"), 15);
    int n = snprintf(text, sizeof(text), "PROXY %s %s %s %u %u\r\n", src->sa.sa_family == AF_INET ? "TCP4" : "TCP6",
                     addr_ip_text(src, s), addr_ip_text(dst, d), addr_port(src), addr_port(dst));
    return str_make(mem_strndup(text, (size_t)n), (size_t)n);
}

static void put_addresses(struct wcursor *w, const struct addr *src, const struct addr *dst)
{
    if (src->sa.sa_family == AF_INET) {
        wcursor_bytes(w, &src->in4.sin_addr, 4);
        wcursor_bytes(w, &dst->in4.sin_addr, 4);
    } else {
        wcursor_bytes(w, &src->in6.sin6_addr, 16);
        wcursor_bytes(w, &dst->in6.sin6_addr, 16);
    }
    wcursor_u16(w, addr_port(src));
    wcursor_u16(w, addr_port(dst));
}

static void put_tlvs(struct wcursor *w, const struct transport_socket_spec *spec)
{
    for (uint32_t i = 0; i < spec->added_tlv_count; i++) {
        wcursor_u8(w, spec->added_tlvs[i].type);
        wcursor_u16(w, (uint16_t)spec->added_tlvs[i].value.n);
        wcursor_bytes(w, spec->added_tlvs[i].value.p, spec->added_tlvs[i].value.n);
    }
}

static bool passes(const struct transport_socket_spec *spec, uint8_t type)
{
    if (spec->pass_all_tlvs)
        return true;
    for (uint32_t i = 0; i < spec->pass_tlv_count; i++)
        if (spec->pass_tlvs[i] == type)
            return true;
    return false;
}

/* Those that came with the downstream's own header; well-formed since the listener filter read them. An added one of the
 * same type goes before and instead, as Envoy has it. */
static void pass_tlvs(struct wcursor *w, const struct transport_socket_spec *spec, struct str tlvs)
{
    while (tlvs.n >= 3) {
        size_t n = 3 + ((size_t)(uint8_t)tlvs.p[1] << 8 | (uint8_t)tlvs.p[2]);
        bool is_added = false;
        for (uint32_t i = 0; i < spec->added_tlv_count; i++)
            is_added |= spec->added_tlvs[i].type == (uint8_t)tlvs.p[0];
        if (COUNT_IF(n > tlvs.n, "a kept TLV is cut short"))
            return;
        if (passes(spec, (uint8_t)tlvs.p[0]) && !is_added && n <= (size_t)(w->end - w->p))
            wcursor_bytes(w, tlvs.p, n);
        tlvs = str_make(tlvs.p + n, tlvs.n - n);
    }
}

static struct str version2(const struct transport_socket_spec *spec, const struct conn *downstream)
{
    static const uint8_t signature[12] = {'\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};
    uint8_t out[V2_HEADER_BYTES + V2_MAX_BYTES];
    struct wcursor w = {out, out + sizeof(out), false};
    const struct addr *src = downstream ? conn_remote(downstream) : NULL;
    const struct addr *dst = downstream ? conn_local(downstream) : NULL;
    bool known = src && addresses_fit(src, dst);
    wcursor_bytes(&w, signature, sizeof(signature));
    wcursor_u8(&w, known ? 0x21 : 0x20); /* version 2; PROXY or LOCAL */
    wcursor_u8(&w, !known ? 0 : src->sa.sa_family == AF_INET ? 0x11 : 0x21); /* TCP over v4 or v6 */
    wcursor_u16(&w, 0);
    if (known)
        put_addresses(&w, src, dst);
    put_tlvs(&w, spec);
    if (downstream)
        pass_tlvs(&w, spec, conn_proxy_tlvs(downstream));
    if (w.failed)
        return STR_NULL;
    size_t n = (size_t)(w.p - out);
    out[14] = (uint8_t)((n - V2_HEADER_BYTES) >> 8);
    out[15] = (uint8_t)(n - V2_HEADER_BYTES);
    char *copy = mem_alloc(n);
    memcpy(copy, out, n);
    return str_make(copy, n);
}

struct str upstream_proxy_header(const struct transport_socket_spec *spec, const struct conn *downstream)
{
    return spec->proxy_protocol_version == 2 ? version2(spec, downstream) : version1(downstream);
}
