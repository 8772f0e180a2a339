/* SPDX-License-Identifier: Apache-2.0
 *
 * istio.stats as an HTTP and as a network filter. Requests are counted once, when they are complete.
 * Connections are counted as opened when the peer is known (or surely won't be), when a report is due
 * or at their end; bytes with each report. On the exchange's or connection's worker.
 */
#include "proxy/filter/istio_stats.h"

#include "base/mem.h"
#include "io/tls.h"
#include "proxy/filter/grpc_frames.h"
#include "proxy/filter/istio_metadata_exchange.h"
#include "proxy/log/access_log.h"
#include "proxy/server.h"

void istio_stats_config_free(void *config)
{
    struct istio_stats_config *c = config;
    for (uint32_t i = 0; i < c->override_count; i++) {
        cel_free(&c->overrides[i].match);
        for (uint32_t d = 0; d < c->overrides[i].dimension_count; d++)
            cel_free(&c->overrides[i].dimensions[d].value);
    }
    for (uint32_t i = 0; i < c->own_count; i++)
        cel_free(&c->own[i].value);
    struct filter_state_object *local = c->local ? &c->local->object : NULL;
    filter_state_object_unref(&local);
    istio_series_unref(&c->series);
    arena_fini(&c->arena);
    mem_free(c);
}

static void link_config(struct istio_stats_config *c)
{
    istio_series_link(c->series);
    istio_series_build(c->series, c->version);
}

/* ---- HTTP ---- */

struct state {
    struct str peer_san, local_san; /* of the upstream, which may be gone at the end; in the exchange's arena */
};

static enum filter_headers on_response_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)h, (void)end;
    const struct istio_stats_config *c = f->config;
    struct state *s = f->state;
    const void *tls = exchange_info(f->x)->upstream_tls;
    if (c->reporter != ISTIO_REPORTS_SOURCE || !tls)
        return FILTER_HEADERS_CONTINUE;
    istio_facts_take_sans((struct tls_session *)(uintptr_t)tls, &s->peer_san, &s->local_san);
    s->peer_san = arena_str(exchange_arena(f->x), s->peer_san);
    s->local_san = arena_str(exchange_arena(f->x), s->local_san);
    return FILTER_HEADERS_CONTINUE;
}

static bool is_grpc(const struct headers *h)
{
    struct str type = headers_get_id(h, HDR_CONTENT_TYPE);
    return str_has_prefix(type, STR("application/grpc")) && (type.n == 16 || type.p[16] == '+' || type.p[16] == ';');
}

static int32_t grpc_status_of(const struct headers *h)
{
    uint64_t status;
    return h && str_to_u64(headers_get_id(h, HDR_GRPC_STATUS), &status) && status <= INT32_MAX ? (int32_t)status : -1;
}

static void take_grpc(struct istio_facts *facts, struct exchange *x)
{
    facts->kind = ISTIO_GRPC;
    facts->grpc_status = grpc_status_of(exchange_response_trailers(x));
    if (facts->grpc_status < 0)
        facts->grpc_status = grpc_status_of(exchange_response_headers(x));
    if (facts->grpc_status < 0 && exchange_info(x)->status)
        facts->grpc_status = (int32_t)grpc_status_of_http(exchange_info(x)->status);
}

/* What the grpc_stats filter before us has left: "<of requests>,<of responses>". */
static void count_messages(struct istio_series *series, const struct stream_info *info)
{
    const struct filter_state_entry *e = filter_state_find(&info->filter_state, STR("envoy.filters.http.grpc_stats"));
    struct str responses, requests = e ? str_split(e->value, ',', &responses) : STR_NULL;
    uint64_t n;
    if (!e)
        return;
    if (str_to_u64(requests, &n))
        istio_series_count(series, STAT_ISTIO_REQUEST_MESSAGES, n);
    if (str_to_u64(responses, &n))
        istio_series_count(series, STAT_ISTIO_RESPONSE_MESSAGES, n);
}

static void count_own(const struct istio_stats_config *c, struct istio_series *series, const struct format_context *cx)
{
    for (uint32_t i = 0; i < c->own_count; i++) {
        unsigned m = ISTIO_METRIC_COUNT + i;
        uint64_t n;
        if (!cel_count(c->own[i].value, cx, &n))
            continue;
        if (c->own[i].kind == STAT_COUNTER)
            istio_series_count(series, m, n);
        else if (c->own[i].kind == STAT_GAUGE)
            istio_series_gauge(series, m, n);
        else
            istio_series_record(series, m, n);
    }
}

static void on_complete(struct http_filter *f)
{
    const struct istio_stats_config *c = f->config;
    const struct state *s = f->state;
    const struct stream_info *info = exchange_info(f->x);
    const struct headers *request = exchange_request_headers(f->x);
    struct str values[ISTIO_DIMENSIONS_MAX];
    struct istio_facts facts = {.kind = ISTIO_HTTP, .grpc_status = -1, .status = info->status, .peer_san = s->peer_san,
                                .local_san = s->local_san, .values = values};
    if (c->reporter != ISTIO_REPORTS_SOURCE)
        istio_facts_take_server_sans(&facts, info);
    if (is_grpc(request))
        take_grpc(&facts, f->x);
    istio_facts_of_peer(&facts, c, info, headers_get_id(request, HDR_AUTHORITY));
    const struct format_context *cx = c->override_count || c->own_count ? exchange_format_context(f->x) : NULL;
    istio_facts_evaluate(&facts, c, cx, exchange_arena(f->x));
    struct istio_series *series = istio_stats_series(c, &facts);
    if (!series)
        return;
    istio_series_count(series, STAT_ISTIO_REQUESTS, 1);
    istio_series_record(series, STAT_ISTIO_DURATION, (info->end_us - info->start_us) / 1000);
    istio_series_record(series, STAT_ISTIO_REQUEST_BYTES, info->wire_bytes_received);
    istio_series_record(series, STAT_ISTIO_RESPONSE_BYTES, info->wire_bytes_sent);
    if (facts.kind == ISTIO_GRPC)
        count_messages(series, info);
    count_own(c, series, cx);
}

static void link_http(void *config, struct stat_scope *stats)
{
    (void)stats;
    link_config(config);
}

const struct http_filter_def istio_http_stats_filter = {
    .name = "istio.stats",
    .state_bytes = sizeof(struct state),
    .on_response_headers = on_response_headers,
    .on_complete = on_complete,
    .link = link_http,
};

/* ---- TCP ---- */

struct session {
    struct downstream_hook hook;
    struct timer timer;
    struct downstream *d;
    const struct istio_stats_config *config;
    struct istio_series *series;
    uint64_t sent, received; /* reported */
    bool is_open, is_over;
};

static bool peer_is_decided(const struct session *s)
{
    const struct filter_state *fs = &s->d->filter_state;
    bool is_client = s->config->reporter == ISTIO_REPORTS_SOURCE;
    if (filter_state_find(fs, is_client ? ISTIO_UPSTREAM_PEER : ISTIO_DOWNSTREAM_PEER) || filter_state_find(fs, ISTIO_NO_PEER))
        return true;
    const struct conn_prologue *p = is_client ? NULL : conn_prologue(s->d->conn);
    return !is_client && !(p && p->is_active);
}

static void open_series(struct session *s, const struct stream_info *info)
{
    const struct istio_stats_config *c = s->config;
    struct str values[ISTIO_DIMENSIONS_MAX];
    struct istio_facts facts = {.kind = ISTIO_TCP, .grpc_status = -1, .values = values};
    struct format_context cx = {.info = info};
    struct arena a;
    if (c->reporter == ISTIO_REPORTS_SOURCE)
        istio_facts_take_sans((struct tls_session *)(uintptr_t)info->upstream_tls, &facts.peer_san, &facts.local_san);
    else
        istio_facts_take_server_sans(&facts, info);
    istio_facts_of_peer(&facts, c, info, STR(""));
    arena_init(&a, 0);
    istio_facts_evaluate(&facts, c, &cx, &a);
    s->series = istio_stats_series(c, &facts);
    arena_fini(&a);
    s->is_open = true;
    if (s->series)
        istio_series_count(s->series, STAT_ISTIO_TCP_OPENED, 1);
}

static void report(struct session *s, bool end)
{
    struct downstream *d = s->d;
    struct stream_info info = {0};
    if (!d->terminal || !d->terminal->describe || !(s->is_open || end || peer_is_decided(s)))
        return;
    d->terminal->describe(d, &info);
    if (!s->is_open)
        open_series(s, &info);
    if (!s->series)
        return;
    istio_series_count(s->series, STAT_ISTIO_TCP_SENT, info.bytes_sent - s->sent); /* the application's, as Envoy's meter has them */
    istio_series_count(s->series, STAT_ISTIO_TCP_RECEIVED, info.bytes_received - s->received);
    s->sent = info.bytes_sent;
    s->received = info.bytes_received;
    if (end)
        istio_series_count(s->series, STAT_ISTIO_TCP_CLOSED, 1);
}

static void on_timer(struct timer *t)
{
    struct session *s = CONTAINER_OF(t, session, timer);
    report(s, false);
    timer_set_ms(t, s->config->report_ms);
}

static void on_end(struct downstream *d, struct downstream_hook *hook)
{
    (void)d;
    struct session *s = CONTAINER_OF(hook, session, hook);
    if (s->is_over)
        return;
    s->is_over = true;
    report(s, true);
}

static void on_gone(struct downstream *d, struct downstream_hook *hook)
{
    struct session *s = CONTAINER_OF(hook, session, hook);
    on_end(d, hook);
    timer_clear(&s->timer);
    mem_free(s);
}

static enum prologue on_connection(struct downstream *d, const void *config, void **state)
{
    (void)state;
    struct session *s = NEW(session);
    s->d = d;
    s->config = config;
    s->hook = (struct downstream_hook){.on_gone = on_gone, .on_end = on_end};
    timer_init(&s->timer, d->worker->loop, on_timer);
    if (s->config->report_ms)
        timer_set_ms(&s->timer, s->config->report_ms);
    downstream_on_gone(d, &s->hook);
    return PROLOGUE_PASS;
}

static void link_tcp(void *config, struct link_context *lx)
{
    (void)lx;
    link_config(config);
}

const struct network_filter_def istio_tcp_stats_filter = {
    .name = "istio.stats",
    .on_connection = on_connection,
    .link = link_tcp,
};
