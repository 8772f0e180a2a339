/* SPDX-License-Identifier: Apache-2.0
 *
 * Cross-origin resource sharing (the Fetch standard's protocol): preflight requests from allowed
 * origins are answered here, other requests of theirs get the headers on their responses. Policies
 * stand in the routes; what the most specific one doesn't say, the next says. Without a policy, or
 * without an Origin, requests pass untouched. On the exchange's worker.
 */
#include "proxy/filter/cors.h"

#include "base/check.h"
#include "proxy/filter/filter_scope.h"
#include "proxy/route/route.h"

#define LEVELS_MAX 4

#define CORS_STATS(X)                                                                              \
    X(CORS_ORIGIN_INVALID, COUNTER, NONE, "origin_invalid", "Requests from other origins")         \
    X(CORS_ORIGIN_VALID, COUNTER, NONE, "origin_valid", "Requests from allowed origins")
enum { CORS_STATS(STAT_ENUM_ROW) };
static const struct stat_desc cors_rows[] = {CORS_STATS(STAT_DESC_ROW)};
static const struct stat_table cors_table = {cors_rows, ARRAY_LEN(cors_rows)};

struct cors {
    const struct cors_policy *policies[LEVELS_MAX]; /* the most specific first */
    uint32_t count;
    struct str origin;
    bool is_cors;   /* an allowed origin asks, and the filter is on */
    bool answered;
};

/* ---- what the policies say together ---- */

static struct str text_of(const struct cors *s, size_t field)
{
    for (uint32_t i = 0; i < s->count; i++) {
        struct str v = *(const struct str *)((const char *)s->policies[i] + field);
        if (v.n)
            return v;
    }
    return STR_NULL;
}
#define TEXT_OF(s_, member_) text_of((s_), offsetof(struct cors_policy, member_))

static bool answer_of(const struct cors *s, size_t field, bool otherwise)
{
    for (uint32_t i = 0; i < s->count; i++) {
        enum cors_answer v = *(const enum cors_answer *)((const char *)s->policies[i] + field);
        if (v != CORS_UNSAID)
            return v == CORS_YES;
    }
    return otherwise;
}
#define ANSWER_OF(s_, member_, otherwise_) answer_of((s_), offsetof(struct cors_policy, member_), (otherwise_))

static bool origin_is_allowed(const struct cors *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        const struct cors_policy *p = s->policies[i];
        for (uint32_t k = 0; k < p->origin_count; k++) {
            const struct string_match *m = &p->origins[k];
            if ((m->kind == MATCH_EXACT && str_eq(m->text, STR("*"))) || string_matches(m, s->origin))
                return true;
        }
        if (p->origin_count)
            return false;
    }
    return false;
}

/* Of the most specific policy alone. */
static bool is_on(const struct http_filter *f, bool has, const struct runtime_fraction *fraction)
{
    return has && runtime_fraction_hits(fraction, rng_next(loop_rng(exchange_loop(f->x))));
}

static void find_policies(struct http_filter *f)
{
    struct cors *s = f->state;
    const void *all[LEVELS_MAX];
    s->count = exchange_route_configs(f, all);
    for (uint32_t i = 0; i < s->count; i++)
        s->policies[i] = all[s->count - 1 - i];
}

/* ---- headers ---- */

static void set(struct headers *h, struct str name, struct str value)
{
    if (value.n)
        headers_set(h, name, value);
}

static bool is_preflight(const struct headers *h)
{
    return str_eq(headers_get_id(h, HDR_METHOD), STR("OPTIONS")) &&
           headers_get(h, STR("access-control-request-method")).n > 0;
}

/* An origin that isn't allowed is told the rest all the same (Envoy does): without allow-origin no browser heeds it. */
static enum filter_headers answer(struct http_filter *f, const struct headers *request, bool is_allowed)
{
    struct cors *s = f->state;
    struct arena *a = exchange_arena(f->x);
    struct headers *h = arena_zalloc(a, sizeof(*h));
    if (!h) {
        exchange_local_reply(f->x, OUTCOME(INTERNAL), 500, STR_NULL, STR_NULL, NULL, NULL);
        return FILTER_HEADERS_STOP;
    }
    headers_init(h, a);
    headers_add_id_ref(h, HDR_STATUS, STR("200"));
    if (is_allowed)
        set(h, STR("access-control-allow-origin"), s->origin);
    if (ANSWER_OF(s, credentials, false))
        set(h, STR("access-control-allow-credentials"), STR("true"));
    set(h, STR("access-control-allow-methods"), TEXT_OF(s, methods));
    set(h, STR("access-control-allow-headers"), TEXT_OF(s, headers));
    set(h, STR("access-control-max-age"), TEXT_OF(s, max_age));
    if (str_eq(headers_get(request, STR("access-control-request-private-network")), STR("true")) &&
        ANSWER_OF(s, private_network, false))
        set(h, STR("access-control-allow-private-network"), STR("true"));
    s->answered = true;
    exchange_info(f->x)->details = STR("cors_response");
    exchange_respond_headers(f->x, h, true);
    return FILTER_HEADERS_STOP;
}

/* ---- the filter ---- */

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)end;
    struct cors *s = f->state;
    const struct cors_config *c = f->config;
    s->origin = headers_get_id(h, HDR_ORIGIN);
    if (!s->origin.n)
        return FILTER_HEADERS_CONTINUE;
    const struct route_entry *route = exchange_route(f->x);
    if (!route || route->action != ROUTE_CLUSTER) /* redirects and direct responses have no policy */
        return FILTER_HEADERS_CONTINUE;
    find_policies(f);
    if (!s->count)
        return FILTER_HEADERS_CONTINUE;
    const struct cors_policy *p = s->policies[0];
    bool on = !p->has_enabled || is_on(f, true, &p->enabled);
    if (!on && !is_on(f, p->has_shadow, &p->shadow))
        return FILTER_HEADERS_CONTINUE;
    if (!origin_is_allowed(s)) {
        stat_inc(c->stats, STAT_CORS_ORIGIN_INVALID);
        if (on && is_preflight(h) && !ANSWER_OF(s, forward_not_matching, true))
            return answer(f, h, false);
        return FILTER_HEADERS_CONTINUE;
    }
    stat_inc(c->stats, STAT_CORS_ORIGIN_VALID);
    s->is_cors = on;
    return on && is_preflight(h) ? answer(f, h, true) : FILTER_HEADERS_CONTINUE;
}

/* A preflight has no body; if one comes all the same, nobody waits for it. */
static enum filter_data on_request_data(struct http_filter *f, struct buf *data, bool end)
{
    (void)end;
    const struct cors *s = f->state;
    if (!s->answered)
        return FILTER_DATA_CONTINUE;
    buf_drain(data, data->len);
    return FILTER_DATA_STOP_NO_BUFFER;
}

static enum filter_trailers on_request_trailers(struct http_filter *f, struct headers *h)
{
    (void)h;
    const struct cors *s = f->state;
    return s->answered ? FILTER_TRAILERS_STOP : FILTER_TRAILERS_CONTINUE;
}

static enum filter_headers on_response_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)end;
    const struct cors *s = f->state;
    if (!s->is_cors)
        return FILTER_HEADERS_CONTINUE;
    set(h, STR("access-control-allow-origin"), s->origin);
    if (ANSWER_OF(s, credentials, false))
        set(h, STR("access-control-allow-credentials"), STR("true"));
    set(h, STR("access-control-expose-headers"), TEXT_OF(s, expose));
    return FILTER_HEADERS_CONTINUE;
}

static void link(void *config, struct stat_scope *stats)
{
    struct cors_config *c = config;
    if (!c->stats)
        c->stats = filter_scope(stats, STR("cors."), &cors_table);
}

const struct http_filter_def cors_filter = {
    .name = "envoy.filters.http.cors",
    .state_bytes = sizeof(struct cors),
    .on_request_headers = on_request_headers,
    .on_request_data = on_request_data,
    .on_request_trailers = on_request_trailers,
    .on_response_headers = on_response_headers,
    .link = link,
};
