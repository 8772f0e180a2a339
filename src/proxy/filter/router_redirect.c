/* SPDX-License-Identifier: Apache-2.0
 *
 * Internal redirects: a redirect that an upstream answers is followed here instead of being handed to the client
 * (Envoy: internal_redirect_policy). The request's headers become those of the new place, the exchange starts again
 * with them. Whatever speaks against it leaves the answer as it is, and the request's headers as they were.
 */
#include "http/codec/uri.h"
#include "proxy/filter/router_priv.h"

#define COUNT_KEY "weft.num_internal_redirects" /* filter state: redirects followed so far */
#define ROUTES_KEY "weft.internal_redirect_routes" /* and the routes seen on the way, a line each */

static uint32_t followed(struct router *r)
{
    const struct filter_state_entry *e = filter_state_find(&exchange_info(r->x)->filter_state, STR(COUNT_KEY));
    uint64_t n = 0;
    if (e)
        str_to_u64(e->value, &n);
    return (uint32_t)n;
}

static void note_followed(struct router *r, uint32_t n)
{
    char text[20];
    filter_state_set(&exchange_info(r->x)->filter_state, STR(COUNT_KEY), str_make(text, u64_format(n, text)), false,
                     FILTER_STATE_PRIVATE);
}

static bool is_plain(const struct router *r, const struct headers *h)
{
    return str_eq_nocase(headers_get_id(h, HDR_SCHEME), STR("http")) ||
           (exchange_info(r->x)->downstream && !conn_tls(exchange_info(r->x)->downstream));
}

/* ---- predicates ---- */

static bool route_is_new(struct router *r, struct str name)
{
    struct filter_state *fs = &exchange_info(r->x)->filter_state;
    const struct filter_state_entry *e = filter_state_find(fs, STR(ROUTES_KEY));
    for (struct str rest = e ? e->value : STR_NULL; rest.p;) {
        struct str one = str_split(rest, '\n', &rest);
        if (rest.p && str_eq(one, name))
            return false;
    }
    struct strbuf all = {0};
    if (e)
        strbuf_adds(&all, e->value);
    strbuf_adds(&all, name);
    strbuf_addc(&all, '\n');
    filter_state_set(fs, STR(ROUTES_KEY), strbuf_str(&all), false, FILTER_STATE_PRIVATE);
    strbuf_fini(&all);
    return true;
}

static bool route_is_listed(const struct internal_redirect_policy *p, struct str name)
{
    for (uint32_t i = 0; i < p->allow_listed_count; i++)
        if (str_eq(p->allow_listed_routes[i], name))
            return true;
    return false;
}

static bool predicates_accept(struct router *r, const struct internal_redirect_policy *p, struct str name, bool from_https,
                              bool to_https)
{
    if (p->has_allow_list && !route_is_listed(p, name))
        return false;
    if (p->safe_cross_scheme && to_https && !from_https)
        return false;
    return !p->previous_routes || route_is_new(r, name);
}

/* ---- the new request ---- */

static void copy_headers(const struct internal_redirect_policy *p, struct headers *request, const struct headers *response)
{
    for (uint32_t i = 0; i < p->copied_header_count; i++) {
        struct str name = p->copied_headers[i];
        headers_remove(request, name);
        for (uint32_t k = 0; k < response->count; k++)
            if (str_eq(response->items[k].name, name))
                headers_add(request, name, response->items[k].value);
    }
}

static void set_target(struct router *r, struct headers *h, const struct uri *to)
{
    struct arena *a = exchange_arena(r->x);
    struct str path = to->path;
    ptrdiff_t fragment = str_find_char(path, '#');
    if (fragment >= 0)
        path.n = (size_t)fragment;
    headers_set_id_ref(h, HDR_SCHEME, arena_str(a, to->scheme));
    headers_set_id_ref(h, HDR_AUTHORITY, arena_str(a, to->authority));
    headers_set_id_ref(h, HDR_PATH, path.n ? arena_str(a, path) : STR("/"));
}

static bool refuse(struct router *r, uint32_t row)
{
    stat_inc(exchange_stats(r->x), row);
    return false;
}

/* Checks what can be known before the route of the new request is. */
static bool may_follow(struct router *r, struct str location, struct uri *to, bool *from_http)
{
    const struct internal_redirect_policy *p = r->route->internal_redirect;
    struct headers *h = exchange_request_headers(r->x);
    if (!location.n || !uri_parse_absolute(location, to) || !authority_is_valid(to->authority))
        return refuse(r, STAT_HCM_PASSTHROUGH_INTERNAL_REDIRECT_A);
    *from_http = is_plain(r, h);
    if (!p->allow_cross_scheme && *from_http != str_eq_nocase(to->scheme, STR("http")))
        return refuse(r, STAT_HCM_PASSTHROUGH_INTERNAL_REDIRECT_E);
    if (followed(r) >= p->max_redirects)
        return refuse(r, STAT_HCM_PASSTHROUGH_INTERNAL_REDIRECT_D);
    return true;
}

static bool new_route_fits(struct router *r, const struct internal_redirect_policy *p, bool from_http, const struct uri *to)
{
    const struct route_decision *d = exchange_decision(r->x);
    if (!d->route && !d->needs_tls)
        return refuse(r, STAT_HCM_PASSTHROUGH_INTERNAL_REDIRECT_B);
    struct str name = d->route ? d->route->name : STR_NULL;
    if (!predicates_accept(r, p, name, !from_http, !str_eq_nocase(to->scheme, STR("http"))))
        return refuse(r, STAT_HCM_PASSTHROUGH_INTERNAL_REDIRECT_C);
    return true;
}

/* 303 says: fetch the other place, whatever the method was (RFC 9110 section 15.4.4). */
static void become_get(struct headers *h, struct buf *body)
{
    struct str method = headers_get_id(h, HDR_METHOD);
    if (str_eq(method, STR("GET")) || str_eq(method, STR("HEAD")))
        return;
    headers_set_id_ref(h, HDR_METHOD, STR("GET"));
    headers_remove_id(h, HDR_CONTENT_LENGTH);
    buf_drain(body, body->len);
}

bool redirect_follow(struct upstream_try *t, struct headers *response, unsigned status)
{
    struct router *r = t->router;
    struct exchange *x = r->x;
    const struct internal_redirect_policy *p = r->route->internal_redirect;
    struct headers *h = exchange_request_headers(x), before;
    struct cluster *cluster = r->cluster;
    struct arena *a = exchange_arena(x);
    struct uri to;
    bool from_http = false;
    if (!r->request_end || r->body_overflowed || r->trailers || !headers_has_id(response, HDR_LOCATION) ||
        !may_follow(r, headers_get_id(response, HDR_LOCATION), &to, &from_http) || !headers_copy(&before, h, a)) {
        stat_inc(cluster_stats(cluster), STAT_CLUSTER_INTERNAL_RETRY_1);
        return false;
    }
    struct str original = arena_printf(a, "%s%.*s%.*s", from_http ? "http://" : "https://",
                                       STR_ARG(headers_get_id(h, HDR_AUTHORITY)), STR_ARG(headers_get_id(h, HDR_PATH)));
    struct route_decision old = *r->decision;
    copy_headers(p, h, response);
    set_target(r, h, &to);
    exchange_clear_route_cache(x);
    if (!new_route_fits(r, p, from_http, &to)) {
        *h = before;
        exchange_put_decision(x, &old);
        stat_inc(cluster_stats(cluster), STAT_CLUSTER_INTERNAL_RETRY_1);
        return false;
    }
    struct buf body = BUF_INIT;
    buf_move(&body, &r->body);
    if (status == 303)
        become_get(h, &body);
    note_followed(r, followed(r) + 1);
    headers_set(h, STR("x-envoy-original-url"), original);
    stat_inc(cluster_stats(cluster), STAT_CLUSTER_INTERNAL_RETRY_2);
    exchange_info(x)->status = (uint16_t)status;
    exchange_info(x)->details = str_from(OUTCOME(INTERNAL_REDIRECT)->details);
    try_abandon(t);
    exchange_restart(x, response, &body); /* this router is gone */
    buf_fini(&body);
    return true;
}
