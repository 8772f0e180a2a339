/* SPDX-License-Identifier: Apache-2.0
 *
 * What the connection manager does to every response before the codec: hop-by-hop fields go
 * (RFC 9110 section 7.6.1), date, server, via and x-request-id come, as configured.
 */
#include <time.h>

#include "proxy/hcm/exchange.h"

/* RFC 9110 section 5.6.7. Made once a second and thread; users copy it, since a queued response may outlive the second. */
struct str http_date_now(struct loop *loop)
{
    static __thread uint64_t second;
    static __thread char text[32];
    uint64_t now = loop_wall_us(loop) / 1000000;
    if (now != second) {
        struct tm tm;
        time_t t = (time_t)now;
        second = now;
        gmtime_r(&t, &tm);
        strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    }
    return str_make(text, 29);
}

static void put_server(const struct hcm_config *c, struct headers *h)
{
    if (c->server_header == SERVER_PASS_THROUGH)
        return;
    if (c->server_header == SERVER_APPEND_IF_ABSENT && headers_has_id(h, HDR_SERVER))
        return;
    headers_set_id_ref(h, HDR_SERVER, c->server_name);
}

void via_append(struct exchange *x, struct headers *h)
{
    struct str mine = x->config->via, before = headers_get_id(h, HDR_VIA);
    if (!mine.n)
        return;
    if (before.n)
        mine = arena_printf(x->arena, "%.*s, %.*s", STR_ARG(before), STR_ARG(mine));
    if (mine.p)
        headers_set_id_ref(h, HDR_VIA, mine);
}

void egress_prepare(struct exchange *x, struct headers *h)
{
    const struct hcm_config *c = x->config;
    bool tunnel = x->is_upgrade && str_eq(headers_get_id(h, HDR_STATUS), STR("101"));
    overload_end_keepalive(x);
    headers_strip_hop_by_hop(h, tunnel);
    if (!headers_has_id(h, HDR_DATE))
        headers_add_id_ref(h, HDR_DATE, arena_str(x->arena, http_date_now(x->loop)));
    put_server(c, h);
    via_append(x, h);
    if (c->tracing)
        tracing_on_response(x, h);
    if (c->always_set_request_id_in_response && headers_has_id(x->request, HDR_X_REQUEST_ID))
        headers_set_id_ref(h, HDR_X_REQUEST_ID, headers_get_id(x->request, HDR_X_REQUEST_ID));
}
