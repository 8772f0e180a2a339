/* SPDX-License-Identifier: Apache-2.0
 *
 * envoy.filters.http.ext_authz: asks a service whether a request may pass, holding it back meanwhile.
 *
 *   idle -> (its body is wanted) gathering -> asking -> done: passed on | refused
 *
 * The answer is bounded by the service's timeout, and a running call is cancelled with the exchange. Whether a request passes
 * that the service says nothing about is failure_mode_allow's to say. On the exchange's worker.
 */
#include "proxy/filter/ext_authz.h"

#include "base/clock.h"
#include "base/log.h"
#include "proxy/cluster/cluster.h"
#include "proxy/filter/filter_scope.h"
#include "proxy/route/route.h"

#define METADATA_SPACE STR("envoy.filters.http.ext_authz")
#define FAILURE_HEADER STR("x-envoy-auth-failure-mode-allowed")

static const struct stat_desc rows[] = {EXT_AUTHZ_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

enum state { IDLE, GATHERING, ASKING, DONE };
struct ext_authz {
    struct authz_call *call;
    struct ext_authz_body body;
    struct authz_headers add;   /* to the response, in the exchange's arena */
    uint64_t asked_us;
    enum state state;
};

static void count(struct http_filter *f, uint32_t row, bool of_cluster)
{
    const struct ext_authz_config *c = f->config;
    struct cluster *cluster = exchange_decision(f->x)->cluster;
    stat_inc(c->stats, row);
    if (of_cluster && cluster)
        stat_named(cluster_stats(cluster), c->stat_family, rows[row].name);
}

/* ---- what is asked ---- */

static const struct authz_service *service_of(struct http_filter *f)
{
    const struct ext_authz_config *c = f->config;
    const struct ext_authz_route_config *r = exchange_route_config(f);
    return r && r->service ? r->service : &c->service;
}

/* Of all levels: a more specific one's value stands for the same key. */
static void gather_extensions(struct http_filter *f, struct authz_check *check)
{
    const void *levels[4];
    uint32_t n = exchange_route_configs(f, levels), total = 0;
    for (uint32_t i = 0; i < n; i++)
        total += ((const struct ext_authz_route_config *)levels[i])->extension_count;
    struct authz_text *out = total ? arena_alloc(exchange_arena(f->x), total * sizeof *out) : NULL;
    for (uint32_t i = 0; out && i < n; i++) {
        const struct ext_authz_route_config *r = levels[i];
        for (uint32_t k = 0; k < r->extension_count; k++) {
            uint32_t at = 0;
            while (at < check->extension_count && !str_eq(out[at].name, r->extensions[k].name))
                at++;
            out[at] = r->extensions[k];
            check->extension_count += at == check->extension_count;
        }
    }
    check->extensions = out;
}

static void take_body(const struct ext_authz *s, const struct buf *kept, const struct buf *more, struct strbuf *text, struct authz_check *check)
{
    size_t whole = (kept ? kept->len : 0) + (more ? more->len : 0), n = whole < s->body.max_bytes ? whole : s->body.max_bytes;
    size_t first = kept && kept->len < n ? kept->len : kept ? n : 0;
    strbuf_reserve(text, n + 1);
    if (first)
        buf_copy_out(kept, 0, text->p, first);
    if (n > first)
        buf_copy_out(more, 0, text->p + first, n - first);
    text->n = n;
    check->body = strbuf_str(text);
    check->has_body = true;
    check->is_partial = n != whole;
    check->size = whole;
}

static bool take_failure(struct http_filter *f, const struct authz_answer *answer);
static void on_answer(void *user, const struct authz_answer *answer);

/* True: the request goes on already (the service can't be asked, and that is no reason to refuse). */
static bool ask(struct http_filter *f, const struct buf *more)
{
    const struct ext_authz_config *c = f->config;
    struct ext_authz *s = f->state;
    struct strbuf body = {0};
    const struct route_entry *route = exchange_route(f->x);
    struct authz_telling telling = c->telling;
    telling.body_as_bytes = s->body.as_bytes;
    struct authz_check check = {
        .telling = &telling,
        .info = exchange_info(f->x),
        .headers = exchange_request_headers(f->x),
        .route_metadata = route ? route->metadata : NULL,
    };
    gather_extensions(f, &check);
    if (s->state == GATHERING)
        take_body(s, exchange_request_buffer(f), more, &body, &check);
    s->asked_us = clock_mono_us();
    s->call = authz_ask(service_of(f), &check, exchange_format_context(f->x), on_answer, f);
    strbuf_fini(&body);
    s->state = s->call ? ASKING : DONE;
    return !s->call && take_failure(f, NULL);
}

/* ---- the answer ---- */

static void put_header(struct headers *h, const struct authz_header *from)
{
    const struct authz_header copy = {arena_str(h->arena, from->name), arena_str(h->arena, from->value), from->action}, *e = &copy;
    switch (e->action) {
    case AUTHZ_SET:
        headers_set(h, e->name, e->value);
        break;
    case AUTHZ_APPEND: /* only to what stands there */
        if (headers_find(h, e->name)) {
            struct str old = headers_get_joined(h, e->name, h->arena);
            headers_set(h, e->name, arena_printf(h->arena, "%.*s,%.*s", STR_ARG(old), STR_ARG(e->value)));
        }
        break;
    case AUTHZ_ADD:
        headers_add(h, e->name, e->value);
        break;
    case AUTHZ_ADD_IF_ABSENT:
        if (!headers_find(h, e->name))
            headers_add(h, e->name, e->value);
        break;
    case AUTHZ_OVERWRITE_IF_EXISTS:
        if (headers_find(h, e->name))
            headers_set(h, e->name, e->value);
        break;
    }
}

static void keep_headers(struct http_filter *f, const struct authz_headers *from)
{
    struct ext_authz *s = f->state;
    struct arena *a = exchange_arena(f->x);
    s->add.items = from->count ? arena_zalloc(a, from->count * sizeof *s->add.items) : NULL;
    for (uint32_t i = 0; s->add.items && i < from->count; i++) {
        const struct authz_header *e = &from->items[i];
        s->add.items[s->add.count++] = (struct authz_header){arena_str(a, e->name), arena_str(a, e->value), e->action};
    }
}

/* First all that the service names goes, then its own values come, several of a name too. */
static void edit_refusal(struct headers *h, void *arg)
{
    struct ext_authz *s = arg;
    for (uint32_t i = 0; i < s->add.count; i++)
        headers_remove(h, s->add.items[i].name);
    for (uint32_t i = 0; i < s->add.count; i++)
        headers_add(h, s->add.items[i].name, s->add.items[i].value);
    s->add.count = 0;
}

static void count_status(struct http_filter *f, unsigned status)
{
    const struct ext_authz_config *c = f->config;
    struct cluster *cluster = exchange_decision(f->x)->cluster;
    if (!cluster || !c->charges_cluster)
        return;
    struct stat_scope *s = cluster_stats(cluster);
    stat_inc(s, STAT_CLUSTER_UPSTREAM_RQ_COMPLETED);
    stat_inc(s, STAT_CLUSTER_UPSTREAM_RQ_COMPLETED + status / 100);
    stat_code(s, "upstream_rq", status);
    stat_inc(s, STAT_CLUSTER_INTERNAL_RQ_COMPLETED);
    stat_inc(s, STAT_CLUSTER_INTERNAL_RQ_COMPLETED + status / 100);
    stat_code(s, "internal.upstream_rq", status);
}

static void refuse(struct http_filter *f, const struct outcome *o, unsigned status, const struct authz_answer *answer)
{
    const struct ext_authz_config *c = f->config;
    struct str body = answer ? answer->body : STR_NULL;
    if (c->max_denied_body_bytes && body.n > c->max_denied_body_bytes)
        body.n = c->max_denied_body_bytes;
    body = arena_str(exchange_arena(f->x), body);
    if (answer)
        keep_headers(f, &answer->response);
    exchange_local_reply(f->x, o, status, body, STR_NULL, edit_refusal, f->state);
}

/* `answer` NULL: there was none. True: the request goes on. */
static bool take_failure(struct http_filter *f, const struct authz_answer *answer)
{
    const struct ext_authz_config *c = f->config;
    count(f, STAT_EXT_AUTHZ_ERROR, true);
    LOG_SELDOM(FILTER, WARNING, "ext_authz: the authorization service doesn't answer in time or fails%s",
               c->failure_mode_allow ? "; requests pass" : "");
    if (c->failure_mode_allow) {
        count(f, STAT_EXT_AUTHZ_FAILURE_MODE_ALLOWED, true);
        if (c->failure_mode_header)
            headers_add_ref(exchange_request_headers(f->x), FAILURE_HEADER, STR("true"));
        return true;
    }
    refuse(f, OUTCOME(EXT_AUTHZ_ERROR), answer && answer->status ? answer->status : c->error_status, answer);
    return false;
}

static bool may_be_removed(struct str name)
{
    return name.n && name.p[0] != ':' && !str_eq(name, STR("host"));
}

static struct str parameter_name(struct str pair)
{
    struct str rest;
    return str_split(pair, '=', &rest);
}

static bool is_replaced(const struct authz_answer *answer, struct str name)
{
    for (uint32_t i = 0; i < answer->query_set_count; i++)
        if (str_eq(answer->query_set[i].name, name))
            return true;
    for (uint32_t i = 0; i < answer->query_remove_count; i++)
        if (str_eq(answer->query_remove[i], name))
            return true;
    return false;
}

/* What stays, then what is set. */
static void edit_query(struct http_filter *f, const struct authz_answer *answer)
{
    struct headers *h = exchange_request_headers(f->x);
    struct str query, path = str_split(headers_get_id(h, HDR_PATH), '?', &query);
    struct strbuf out = {0};
    char joint = '?';
    if (!answer->query_set_count && !answer->query_remove_count)
        return;
    strbuf_adds(&out, path);
    while (query.n) {
        struct str pair = str_split(query, '&', &query);
        if (!pair.n || is_replaced(answer, parameter_name(pair)))
            continue;
        strbuf_addc(&out, joint);
        strbuf_adds(&out, pair);
        joint = '&';
    }
    for (uint32_t i = 0; i < answer->query_set_count; i++) {
        strbuf_addf(&out, "%c%.*s=%.*s", joint, STR_ARG(answer->query_set[i].name), STR_ARG(answer->query_set[i].value));
        joint = '&';
    }
    headers_set_id(h, HDR_PATH, strbuf_str(&out));
    strbuf_fini(&out);
}

static void let_pass(struct http_filter *f, const struct authz_answer *answer)
{
    const struct ext_authz_config *c = f->config;
    struct headers *h = exchange_request_headers(f->x);
    count(f, STAT_EXT_AUTHZ_OK, true);
    if (c->clear_route_cache &&
        (answer->request.count || answer->remove_count || answer->query_set_count || answer->query_remove_count))
        exchange_clear_route_cache(f->x);
    for (uint32_t i = 0; i < answer->request.count; i++)
        put_header(h, &answer->request.items[i]);
    for (uint32_t i = 0; i < answer->remove_count; i++)
        if (may_be_removed(answer->remove[i]))
            headers_remove(h, answer->remove[i]);
    edit_query(f, answer);
    keep_headers(f, &answer->response);
}

static void take_metadata(struct http_filter *f, const struct authz_answer *answer)
{
    const struct ext_authz_config *c = f->config;
    const struct ext_authz *s = f->state;
    struct stream_info *info = exchange_info(f->x);
    if (answer->metadata.kind != META_STRUCT)
        return;
    if (!c->takes_metadata) {
        count(f, STAT_EXT_AUTHZ_IGNORED_METADATA, false);
        return;
    }
    metadata_merge(&info->metadata, exchange_arena(f->x), METADATA_SPACE, &answer->metadata);
    struct meta_value ms = {.kind = META_NUMBER, .u.number = (double)((clock_mono_us() - s->asked_us) / 1000)};
    if (answer->verdict == AUTHZ_OK)
        metadata_set(&info->metadata, exchange_arena(f->x), METADATA_SPACE, STR("ext_authz_duration"), &ms);
}

static bool take_answer(struct http_filter *f, const struct authz_answer *answer)
{
    const struct ext_authz_config *c = f->config;
    take_metadata(f, answer);
    if (answer->is_invalid && c->validate_mutations) {
        count(f, STAT_EXT_AUTHZ_INVALID, false);
        refuse(f, OUTCOME(EXT_AUTHZ_INVALID), 500, NULL);
        return false;
    }
    if (answer->verdict == AUTHZ_ERROR)
        return take_failure(f, answer);
    if (answer->verdict == AUTHZ_OK) {
        let_pass(f, answer);
        return true;
    }
    unsigned status = answer->status ? answer->status : 403;
    count(f, STAT_EXT_AUTHZ_DENIED, true);
    count_status(f, status);
    refuse(f, OUTCOME(EXT_AUTHZ_DENIED), status, answer);
    return false;
}

static void on_answer(void *user, const struct authz_answer *answer)
{
    struct http_filter *f = user;
    struct ext_authz *s = f->state;
    s->call = NULL;
    s->state = DONE;
    if (take_answer(f, answer))
        exchange_continue_request(f);
}

/* ---- the filter ---- */

static bool is_off(struct http_filter *f)
{
    const struct ext_authz_config *c = f->config;
    return !runtime_fraction_hits(&c->enabled, exchange_random(f->x)) ||
           (c->enabled_metadata && !metadata_matches(c->enabled_metadata, &exchange_info(f->x)->metadata));
}

static enum filter_headers pass_unasked(struct http_filter *f)
{
    const struct ext_authz_config *c = f->config;
    count(f, STAT_EXT_AUTHZ_DISABLED, false);
    if (!(c->deny_at_disable_key.n ? runtime_bool(c->deny_at_disable_key, c->deny_at_disable) : c->deny_at_disable))
        return FILTER_HEADERS_CONTINUE;
    exchange_local_reply(f->x, OUTCOME(EXT_AUTHZ_ERROR), c->error_status, STR_NULL, STR_NULL, NULL, NULL);
    return FILTER_HEADERS_STOP;
}

static bool wants_body(struct http_filter *f, const struct ext_authz_route_config *r, const struct headers *h)
{
    const struct ext_authz_config *c = f->config;
    struct ext_authz *s = f->state;
    s->body = r && r->body.is_on ? r->body : c->body;
    return s->body.is_on && !(r && r->no_body) && !headers_has_id(h, HDR_UPGRADE) && !headers_has_id(h, HDR_PROTOCOL);
}

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    struct ext_authz *s = f->state;
    const struct ext_authz_route_config *r = exchange_route_config(f);
    if (r && r->disabled)
        return FILTER_HEADERS_CONTINUE;
    if (is_off(f))
        return pass_unasked(f);
    if (!end && wants_body(f, r, h)) {
        s->state = GATHERING;
        if (!s->body.allows_partial)
            exchange_set_body_limit_bytes(f->x, s->body.max_bytes);
        return FILTER_HEADERS_STOP;
    }
    if (ask(f, NULL))
        return FILTER_HEADERS_CONTINUE;
    return s->state == ASKING ? FILTER_HEADERS_STOP_ALL_WATERMARK : FILTER_HEADERS_STOP;
}

static enum filter_data on_request_data(struct http_filter *f, struct buf *data, bool end)
{
    struct ext_authz *s = f->state;
    const struct buf *kept = exchange_request_buffer(f);
    uint64_t bytes = (kept ? kept->len : 0) + data->len;
    if (s->state == ASKING)
        return FILTER_DATA_STOP_WATERMARK;
    if (s->state != GATHERING)
        return FILTER_DATA_CONTINUE;
    if (!s->body.allows_partial && bytes > exchange_body_limit_bytes(f->x))
        return FILTER_DATA_STOP_BUFFER; /* which answers 413 */
    if (!end && !(s->body.allows_partial && bytes >= s->body.max_bytes))
        return FILTER_DATA_STOP_BUFFER;
    return ask(f, data) ? FILTER_DATA_CONTINUE : FILTER_DATA_STOP_WATERMARK;
}

static enum filter_trailers on_request_trailers(struct http_filter *f, struct headers *h)
{
    (void)h;
    struct ext_authz *s = f->state;
    if (s->state == GATHERING)
        return ask(f, NULL) ? FILTER_TRAILERS_CONTINUE : FILTER_TRAILERS_STOP;
    return s->state == ASKING ? FILTER_TRAILERS_STOP : FILTER_TRAILERS_CONTINUE;
}

static enum filter_headers on_response_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)end;
    struct ext_authz *s = f->state;
    for (uint32_t i = 0; i < s->add.count; i++)
        put_header(h, &s->add.items[i]);
    s->add.count = 0;
    return FILTER_HEADERS_CONTINUE;
}

static void on_destroy(struct http_filter *f)
{
    struct ext_authz *s = f->state;
    authz_call_cancel(&s->call);
}

static void link_config(void *config, struct stat_scope *stats)
{
    struct ext_authz_config *c = config;
    struct strbuf below = {0};
    if (c->stats)
        return;
    strbuf_addz(&below, "ext_authz.");
    if (c->stat_prefix.n)
        strbuf_addf(&below, "%.*s.", STR_ARG(c->stat_prefix));
    c->stats = filter_scope(stats, strbuf_str(&below), &table);
    strbuf_fini(&below);
}

const struct http_filter_def ext_authz_filter = {
    .name = "envoy.filters.http.ext_authz",
    .state_bytes = sizeof(struct ext_authz),
    .on_request_headers = on_request_headers,
    .on_request_data = on_request_data,
    .on_request_trailers = on_request_trailers,
    .on_response_headers = on_response_headers,
    .on_destroy = on_destroy,
    .link = link_config,
};
