/* SPDX-License-Identifier: Apache-2.0
 *
 * envoy.filters.http.jwt_authn (Envoy: "JWT Authentication"): a request goes on when the requirement
 * that concerns it is met, else it is answered with 401 or 403.
 *
 *   idle -> verifying (keys are being fetched; the request is held) -> done: passed on | refused
 *
 * On the exchange's worker.
 */
#include "proxy/filter/filter_scope.h"
#include "proxy/filter/jwt_authn.h"

#include "base/mem.h"
#include "proxy/route/route.h"

#define REALM_BYTES_MAX 256

static const struct stat_desc rows[] = {JWT_AUTHN_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

struct state {
    struct jwt_evaluation *evaluation;
    enum jwt_status failure; /* while a refusal is being made */
};

/* ---- which requirement ---- */

static const struct jwt_requirement *by_rules(struct http_filter *f, const struct jwt_authn_config *c, struct headers *h)
{
    struct route_request rq = {.headers = h, .info = exchange_info(f->x), .random = exchange_random(f->x)};
    for (uint32_t i = 0; i < c->rule_count; i++)
        if (route_match_refusal(&c->rules[i].match, &rq, false, NULL) == ROUTE_TAKEN)
            return c->rules[i].requirement;
    return NULL;
}

/* NULL: nothing is required. *unknown: a route names a requirement that there isn't. */
static const struct jwt_requirement *requirement_of(struct http_filter *f, struct headers *h, bool *unknown)
{
    const struct jwt_authn_config *c = f->config;
    const struct jwt_authn_route_config *own = exchange_route_config(f);
    if (own && own->disabled)
        return NULL;
    if (own) {
        const struct jwt_requirement *r = map_get(c->requirements, own->requirement_name);
        *unknown = r == NULL;
        return r;
    }
    const struct jwt_requirement *r = by_rules(f, c, h);
    if (r || !c->filter_state_rules)
        return r;
    const struct filter_state_entry *e = filter_state_find(&exchange_info(f->x)->filter_state, c->filter_state_name);
    return e ? map_get(c->filter_state_rules, e->value) : NULL;
}

static bool is_preflight(const struct headers *h)
{
    return str_eq(headers_get_id(h, HDR_METHOD), STR("OPTIONS")) && headers_get(h, STR("origin")).n &&
           headers_get(h, STR("access-control-request-method")).n;
}

/* ---- refusing ---- */

/* RFC 6750 section 3. */
static void edit_refusal(struct headers *h, void *arg)
{
    struct http_filter *f = arg;
    const struct state *s = f->state;
    const struct headers *rq = exchange_request_headers(f->x);
    struct arena *a = exchange_arena(f->x);
    struct str path = headers_get_id(rq, HDR_PATH), scheme = headers_get_id(rq, HDR_SCHEME);
    if (path.n > REALM_BYTES_MAX)
        path.n = REALM_BYTES_MAX;
    struct str value = arena_printf(a, "Bearer realm=\"%.*s://%.*s%.*s\"%s", STR_ARG(scheme), STR_ARG(headers_get_id(rq, HDR_AUTHORITY)),
                                    STR_ARG(path), s->failure == JWT_MISSING ? "" : ", error=\"invalid_token\"");
    if (value.n && header_value_is_valid(value))
        headers_add(h, STR("www-authenticate"), value);
}

static struct str details_of(struct http_filter *f, const char *text)
{
    struct str d = arena_printf(exchange_arena(f->x), "jwt_authn_access_denied{%s}", text);
    char *p = (char *)(uintptr_t)d.p;
    for (size_t i = 0; i < d.n; i++)
        p[i] = p[i] == ' ' ? '_' : p[i];
    return d;
}

static void refuse_with(struct http_filter *f, unsigned status, const char *text)
{
    const struct jwt_authn_config *c = f->config;
    const struct state *s = f->state;
    stat_inc(c->stats, STAT_JWT_DENIED);
    if (c->strip_failure_response)
        exchange_local_reply(f->x, OUTCOME(JWT_DENIED), status, STR_NULL, details_of(f, text), NULL, NULL);
    else
        exchange_local_reply(f->x, OUTCOME(JWT_DENIED), status, str_from(text), details_of(f, text), s->failure != JWT_OK ? edit_refusal : NULL, f);
}

static const char *unknown_requirement(struct http_filter *f)
{
    const struct jwt_authn_config *c = f->config;
    const struct jwt_authn_route_config *own = exchange_route_config(f);
    return arena_printf(exchange_arena(f->x), "Failed JWT authentication: Wrong requirement_name: %.*s. It should be one of [%.*s]",
                        STR_ARG(own->requirement_name), STR_ARG(c->requirement_names)).p;
}

static bool take(struct http_filter *f, enum jwt_status status)
{
    const struct jwt_authn_config *c = f->config;
    struct state *s = f->state;
    if (status == JWT_OK) {
        stat_inc(c->stats, STAT_JWT_ALLOWED);
        return true;
    }
    s->failure = status;
    refuse_with(f, status == JWT_AUDIENCE_NOT_ALLOWED ? 403 : 401, jwt_status_text(status));
    return false;
}

static void on_done(void *user, enum jwt_status status)
{
    struct http_filter *f = user;
    struct state *s = f->state;
    s->evaluation = NULL;
    if (take(f, status))
        exchange_continue_request(f);
}

/* ---- the filter ---- */

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    const struct jwt_authn_config *c = f->config;
    struct state *s = f->state;
    bool unknown = false;
    enum jwt_status status;
    (void)end;
    for (uint32_t i = 0; i < c->provider_count; i++)
        jwt_provider_sanitize(&c->providers[i], h);
    if (c->bypass_cors_preflight && is_preflight(h)) {
        stat_inc(c->stats, STAT_JWT_CORS_BYPASSED);
        stat_inc(c->stats, STAT_JWT_ALLOWED);
        return FILTER_HEADERS_CONTINUE;
    }
    const struct jwt_requirement *r = requirement_of(f, h, &unknown);
    if (unknown) {
        refuse_with(f, 403, unknown_requirement(f));
        return FILTER_HEADERS_STOP;
    }
    if (!r) {
        stat_inc(c->stats, STAT_JWT_ALLOWED);
        return FILTER_HEADERS_CONTINUE;
    }
    s->evaluation = jwt_evaluate(r, f, on_done, f, &status);
    if (s->evaluation)
        return FILTER_HEADERS_STOP_ALL_WATERMARK;
    return take(f, status) ? FILTER_HEADERS_CONTINUE : FILTER_HEADERS_STOP;
}

static void on_destroy(struct http_filter *f)
{
    struct state *s = f->state;
    jwt_evaluation_cancel(&s->evaluation);
}

static void link_config(void *config, struct stat_scope *stats)
{
    struct jwt_authn_config *c = config;
    struct strbuf below = {0};
    if (c->stats)
        return;
    strbuf_addf(&below, "jwt_authn.%.*s", STR_ARG(c->stat_prefix));
    c->stats = filter_scope(stats, strbuf_str(&below), &table);
    strbuf_fini(&below);
    for (uint32_t i = 0; i < c->provider_count; i++)
        jwt_provider_link(&c->providers[i], c->stats);
}

static void rule_fini(struct jwt_rule *r)
{
    route_match_fini(&r->match);
}

void jwt_authn_config_free(void *config)
{
    struct jwt_authn_config *c = config;
    if (!c)
        return;
    for (uint32_t i = 0; i < c->provider_count; i++)
        jwt_provider_fini(&c->providers[i]);
    for (uint32_t i = 0; i < c->rule_count; i++)
        rule_fini(&c->rules[i]);
    map_free(&c->requirements);
    map_free(&c->filter_state_rules);
    stat_scope_unref(&c->stats);
}

const struct http_filter_def jwt_authn_filter = {
    .name = "envoy.filters.http.jwt_authn",
    .state_bytes = sizeof(struct state),
    .on_request_headers = on_request_headers,
    .on_destroy = on_destroy,
    .link = link_config,
};
