/* SPDX-License-Identifier: Apache-2.0
 *
 * Who the client is: x-forwarded-for read from the right by trusted hops, appended to, the
 * forwarded protocol and port, original-IP detection, and whether the request counts as internal.
 * Semantics: Envoy's documentation of x-forwarded-for, use_remote_address and
 * internal_address_config. The trusted address becomes the exchange's downstream remote address.
 */
#include <ifaddrs.h>
#include <stdio.h>

#include "proxy/hcm/exchange.h"

/* The n-th address from the right (0 = last), or false when there is none or it is no IP. */
static bool xff_from_right(struct str list, uint32_t n, struct str *out, bool *is_single)
{
    *is_single = str_find_char(list, ',') < 0;
    size_t end = list.n;
    for (;;) {
        size_t start = end;
        while (start > 0 && list.p[start - 1] != ',')
            start--;
        if (n == 0) {
            *out = str_trim(str_make(list.p + start, end - start));
            return out->n > 0;
        }
        if (start == 0)
            return false;
        n--;
        end = start - 1;
    }
}

static bool parse_xff_ip(struct str text, struct addr *out)
{
    struct str host;
    int port;
    if (addr_from_ip(out, text, 0, NULL) == 0)
        return true;
    return authority_split(text, &host, &port) && addr_from_ip(out, host, 0, NULL) == 0;
}

static bool address_is_internal(const struct hcm_config *c, const struct addr *a)
{
    if (!addr_is_ip(a))
        return c->internal_unix_sockets;
    for (uint32_t i = 0; i < c->internal_cidr_count; i++)
        if (cidr_has(&c->internal_cidrs[i], a))
            return true;
    return false;
}

/* What this machine is called where a client on it calls itself 127.0.0.1: its first address that isn't loopback (Envoy's
 * local address). Set once, on the main thread. */
static struct addr own_address;

void client_address_init(void)
{
    struct ifaddrs *all;
    if (addr_is_ip(&own_address) || getifaddrs(&all) < 0)
        return;
    for (struct ifaddrs *i = all; i && !addr_is_ip(&own_address); i = i->ifa_next) {
        struct addr a = {0};
        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET)
            continue;
        addr_from_sockaddr(&a, i->ifa_addr, sizeof(struct sockaddr_in));
        if (!addr_is_loopback(&a))
            own_address = a;
    }
    freeifaddrs(all);
}

static void append_xff(struct exchange *x)
{
    const struct addr *a = x->info.downstream_direct_remote;
    if (addr_is_loopback(a) && addr_is_ip(&own_address))
        a = &own_address;
    char text[ADDR_TEXT_BYTES], mapped[ADDR_TEXT_BYTES + 8];
    if (!addr_is_ip(a))
        return;
    const char *ip = addr_ip_text(a, text);
    if (x->config->represent_ipv4_as_mapped && a->sa.sa_family == AF_INET) {
        snprintf(mapped, sizeof(mapped), "::ffff:%s", ip);
        ip = mapped;
    }
    headers_append_id(x->request, HDR_X_FORWARDED_FOR, arena_str(x->arena, str_from(ip)));
}

static void adopt(struct exchange *x, const struct addr *found)
{
    struct addr *kept = arena_alloc(x->arena, sizeof(*kept));
    if (!kept)
        return;
    *kept = *found;
    x->info.downstream_remote = kept;
}

static void forwarded_proto_and_port(struct exchange *x)
{
    struct headers *h = x->request;
    const struct hcm_config *c = x->config;
    struct str own = x->hc->is_tls ? STR("https") : STR("http");
    if (c->xff_num_trusted_hops == 0 || !headers_has_id(h, HDR_X_FORWARDED_PROTO))
        headers_set_id_ref(h, HDR_X_FORWARDED_PROTO, own);
    if (!c->append_x_forwarded_port)
        return;
    if (c->xff_num_trusted_hops == 0 || !headers_has_id(h, HDR_X_FORWARDED_PORT))
        headers_set_id_ref(h, HDR_X_FORWARDED_PORT,
                           arena_printf(x->arena, "%u", addr_port(x->info.downstream_local)));
}

static void by_remote_address(struct exchange *x)
{
    const struct hcm_config *c = x->config;
    struct str xff = headers_get_joined(x->request, STR("x-forwarded-for"), x->arena);
    bool single = !xff.p, ignored;
    struct str text;
    struct addr a = {0};
    if (c->xff_num_trusted_hops > 0 && xff.p &&
        xff_from_right(xff, c->xff_num_trusted_hops - 1, &text, &ignored) && parse_xff_ip(text, &a))
        adopt(x, &a);
    if (!c->skip_xff_append)
        append_xff(x);
    forwarded_proto_and_port(x);
    x->info.is_internal = single && address_is_internal(c, x->info.downstream_remote);
}

/* Rightmost address that no trusted range holds. */
static bool xff_by_cidrs(const struct ip_detection *d, struct str xff, struct addr *out)
{
    struct str text;
    bool single;
    for (uint32_t n = 0; xff_from_right(xff, n, &text, &single); n++) {
        struct addr a = {0};
        bool trusted = false;
        if (!parse_xff_ip(text, &a))
            return false;
        for (uint32_t i = 0; i < d->xff_trusted_count && !trusted; i++)
            trusted = cidr_has(&d->xff_trusted[i], &a);
        if (!trusted) {
            *out = a;
            return true;
        }
    }
    return false;
}

enum detected { DETECT_NO, DETECT_YES, DETECT_REFUSED };

static enum detected detect_one(struct exchange *x, const struct ip_detection *d, struct addr *a, bool *may_be_internal)
{
    struct str text;
    if (d->kind == IP_DETECT_CUSTOM_HEADER) {
        text = headers_get(x->request, d->header);
        if (text.p && parse_xff_ip(text, a)) {
            *may_be_internal = d->allow_trusted;
            return DETECT_YES;
        }
        return d->has_reject ? DETECT_REFUSED : DETECT_NO;
    }
    struct str xff = headers_get_joined(x->request, STR("x-forwarded-for"), x->arena);
    if (!xff.p)
        return DETECT_NO;
    if (d->xff_trusted_count)
        return xff_by_cidrs(d, xff, a) ? DETECT_YES : DETECT_NO;
    return xff_from_right(xff, d->xff_hops, &text, may_be_internal) && parse_xff_ip(text, a) ? DETECT_YES : DETECT_NO;
}

static bool by_detection(struct exchange *x)
{
    const struct hcm_config *c = x->config;
    struct addr a = {0};
    bool may_be_internal = false;
    for (uint32_t i = 0; i < c->detection_count; i++) {
        const struct ip_detection *d = &c->detections[i];
        enum detected r = detect_one(x, d, &a, &may_be_internal);
        if (r == DETECT_REFUSED) {
            stat_inc(c->stats, STAT_HCM_RQ_REJECTED_VIA_IP_DETECTION);
            exchange_local_reply(x, OUTCOME(IP_DETECTION), d->reject_status, STR_NULL, STR_NULL, NULL, NULL);
            return false;
        }
        if (r != DETECT_YES)
            continue;
        adopt(x, &a);
        if (d->kind == IP_DETECT_XFF && !d->xff_skip_append)
            append_xff(x);
        break;
    }
    x->info.is_internal = may_be_internal && address_is_internal(c, x->info.downstream_remote);
    return true;
}

static void by_xff(struct exchange *x)
{
    const struct hcm_config *c = x->config;
    struct str xff = headers_get_joined(x->request, STR("x-forwarded-for"), x->arena), text;
    bool single = false;
    struct addr a = {0};
    if (!xff.p || !xff_from_right(xff, c->xff_num_trusted_hops, &text, &single) || !parse_xff_ip(text, &a))
        return;
    adopt(x, &a);
    x->info.is_internal = single && address_is_internal(c, &a);
}

bool client_address_apply(struct exchange *x)
{
    if (x->config->use_remote_address) {
        by_remote_address(x);
        return true;
    }
    if (x->config->detection_count)
        return by_detection(x);
    by_xff(x);
    return true;
}
