/* SPDX-License-Identifier: Apache-2.0
 *
 * RouteMatch: the path first (cheap, and what an index knows), then the parts in Envoy's order:
 * runtime fraction, grpc, headers, query parameters, cookies, TLS, dynamic metadata, filter state.
 * All must agree, so the order matters to nobody but the one who asks why not. Pure; any worker.
 */
#include "proxy/route/match.h"

#include "http/codec/uri.h"
#include "http/stream.h"
#include "io/conn.h"
#include "io/tls.h"
#include "proxy/match/cookie.h"
#include "proxy/match/path_template.h"
#include "proxy/match/value_match.h"
#include "proxy/route/route_priv.h"
#include "proxy/stream_info.h"

void route_look_init(struct route_look *l, const struct route_request *rq, bool ignore_path_parameters)
{
    *l = (struct route_look){.rq = rq, .path = headers_get_id(rq->headers, HDR_PATH)};
    l->bare = path_without_query(l->path);
    if (ignore_path_parameters && l->bare.n) {
        ptrdiff_t semicolon = str_find_char(l->bare, ';');
        l->bare.n = semicolon < 0 ? l->bare.n : (size_t)semicolon;
    }
    l->is_connect = str_eq(headers_get_id(rq->headers, HDR_METHOD), STR("CONNECT"));
}

static bool has_prefix(struct str s, struct str prefix, bool ignore_case)
{
    return ignore_case ? str_has_prefix_nocase(s, prefix) : str_has_prefix(s, prefix);
}

bool route_look_path(const struct route_match *m, const struct route_look *l)
{
    if (m->kind == PATH_CONNECT)
        return l->is_connect;
    if (m->kind == PATH_ANY)
        return true;
    if (!l->path.p)
        return false;
    switch (m->kind) {
    case PATH_PREFIX:
        /* "OPTIONS *" asks about the server as a whole (RFC 9110 section 9.3.7): the root's route takes it. */
        return has_prefix(l->bare, m->path, m->ignore_case) || (str_eq(l->path, STR("*")) && str_eq(m->path, STR("/")));
    case PATH_EXACT:
        return m->ignore_case ? str_eq_nocase(l->bare, m->path) : str_eq(l->bare, m->path);
    case PATH_SEPARATED_PREFIX:
        return has_prefix(l->bare, m->path, m->ignore_case) && (l->bare.n == m->path.n || l->bare.p[m->path.n] == '/');
    case PATH_REGEX:
        return regex_matches(m->regex, l->bare);
    case PATH_TEMPLATE:
        return path_template_matches(m->path_template, l->bare);
    case PATH_CONNECT:
    case PATH_ANY:
        break;
    }
    return false;
}

static bool query_matches(const struct query_matcher *q, struct str query)
{
    struct str value;
    bool there = query.p && query_get(query, q->name, &value);
    if (!q->has_value)
        return there == q->present;
    return there && string_matches(&q->value, value);
}

static bool cookie_matches(const struct cookie_matcher *c, const struct headers *h)
{
    struct str value = cookie_get(h, c->name);
    return (value.p && string_matches(&c->value, value)) != c->invert;
}

static bool tls_matches(const struct tls_match *m, const struct stream_info *info)
{
    const struct tls_session *s = info && info->downstream ? conn_tls(info->downstream) : NULL;
    if (m->presented >= 0 && (m->presented != 0) != (s && tls_session_peer_presented(s)))
        return false;
    return m->validated < 0 || (m->validated != 0) == (s && tls_session_peer_validated(s));
}

bool metadata_matches(const struct metadata_matcher *m, const struct metadata *md)
{
    return value_matches(m->value, metadata_find(md, m->space, m->path, m->path_count)) != m->invert;
}

static bool address_in(const struct cidr *ranges, uint32_t n, struct str text)
{
    struct addr a = {0};
    struct str host;
    int port;
    if (addr_from_ip(&a, text, 0, NULL) < 0 && (!authority_split(text, &host, &port) || addr_from_ip(&a, host, 0, NULL) < 0))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (cidr_has(&ranges[i], &a))
            return true;
    return false;
}

bool filter_state_matches(const struct filter_state_matcher *m, const struct stream_info *info)
{
    const struct filter_state_entry *e = info ? filter_state_find(&info->filter_state, m->key) : NULL;
    if (!e)
        return false;
    return m->range_count ? address_in(m->ranges, m->range_count, e->value) : string_matches(&m->value, e->value);
}

/* Where in `count` items the first one refuses; UINT32_MAX: nowhere. */
#define FIRST_REFUSING(count, matches)                                                             \
    ({                                                                                             \
        uint32_t at_ = UINT32_MAX;                                                                 \
        for (uint32_t i = 0; i < (count) && at_ == UINT32_MAX; i++)                                \
            at_ = (matches) ? UINT32_MAX : i;                                                      \
        at_;                                                                                       \
    })

static enum route_refusal refusal_of_request(const struct route_match *m, const struct route_look *l, uint32_t *at)
{
    const struct headers *h = l->rq->headers;
    if (m->grpc && !headers_is_grpc_request(h))
        return ROUTE_REFUSED_GRPC;
    if (m->header_count && (*at = FIRST_REFUSING(m->header_count, header_matches(&m->headers[i], h))) != UINT32_MAX)
        return ROUTE_REFUSED_HEADER;
    if (m->query_count) {
        struct str query = path_query(l->path);
        if ((*at = FIRST_REFUSING(m->query_count, query_matches(&m->queries[i], query))) != UINT32_MAX)
            return ROUTE_REFUSED_QUERY;
    }
    if (m->cookie_count && (*at = FIRST_REFUSING(m->cookie_count, cookie_matches(&m->cookies[i], h))) != UINT32_MAX)
        return ROUTE_REFUSED_COOKIE;
    return ROUTE_TAKEN;
}

static enum route_refusal refusal_of_stream(const struct route_match *m, const struct stream_info *info, uint32_t *at)
{
    const struct metadata *md = info ? &info->metadata : NULL;
    if (m->tls.on && !tls_matches(&m->tls, info))
        return ROUTE_REFUSED_TLS;
    if (m->metadata_count && (*at = FIRST_REFUSING(m->metadata_count, metadata_matches(&m->metadata[i], md))) != UINT32_MAX)
        return ROUTE_REFUSED_METADATA;
    if (m->filter_state_count &&
        (*at = FIRST_REFUSING(m->filter_state_count, filter_state_matches(&m->filter_state[i], info))) != UINT32_MAX)
        return ROUTE_REFUSED_FILTER_STATE;
    return ROUTE_TAKEN;
}

enum route_refusal route_look_refusal(const struct route_match *m, const struct route_look *l, uint32_t *index)
{
    uint32_t unused, *at = index ? index : &unused;
    *at = 0;
    if (!route_look_path(m, l))
        return ROUTE_REFUSED_PATH;
    if (m->has_fraction && !runtime_fraction_hits(&m->fraction, l->rq->random))
        return ROUTE_REFUSED_FRACTION;
    enum route_refusal why = refusal_of_request(m, l, at);
    return why == ROUTE_TAKEN ? refusal_of_stream(m, l->rq->info, at) : why;
}

enum route_refusal route_match_refusal(const struct route_match *m, const struct route_request *rq, bool ignore_path_parameters,
                                       uint32_t *index)
{
    struct route_look l;
    route_look_init(&l, rq, ignore_path_parameters);
    return route_look_refusal(m, &l, index);
}

const char *route_refusal_text(enum route_refusal why)
{
    static const char *const texts[] = {
#define X(name, text) text,
        ROUTE_REFUSAL_TABLE(X)
#undef X
    };
    return texts[why];
}

void route_match_fini(struct route_match *m)
{
    regex_free(&m->regex);
    path_template_free(&m->path_template);
    for (uint32_t i = 0; i < m->header_count; i++)
        header_matcher_fini(&m->headers[i]);
    for (uint32_t i = 0; i < m->query_count; i++)
        string_match_fini(&m->queries[i].value);
    for (uint32_t i = 0; i < m->cookie_count; i++)
        string_match_fini(&m->cookies[i].value);
    for (uint32_t i = 0; i < m->metadata_count; i++)
        if (m->metadata[i].value)
            value_matcher_fini(m->metadata[i].value);
    for (uint32_t i = 0; i < m->filter_state_count; i++)
        string_match_fini(&m->filter_state[i].value);
}
