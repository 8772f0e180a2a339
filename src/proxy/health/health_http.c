/* SPDX-License-Identifier: Apache-2.0
 *
 * Questions by HTTP/1 and HTTP/2, and the road under gRPC's: one connection a session, kept between
 * questions where the check allows it, one stream at a time. Main thread.
 *
 *     (no client) -> connecting -> ready -> stream open -> judged when the stream is over
 *
 * A stream that ends early, or a connection that fails or dies under it, is a network failure;
 * whatever arrives after the session stopped asking is not looked at.
 */
#include "base/mem.h"
#include "proxy/health/health_priv.h"
#include "proxy/log/access_log.h"
#include "proxy/runtime.h"
#include "proxy/stream_info.h"

#define QUESTION_ARENA_BYTES ((size_t)256 << 10)

static struct health_session *of_sink(struct http_sink *sink)
{
    return CONTAINER_OF(sink, health_session, sink);
}

/* ---- the connection ---- */

static void begin_stream(struct health_session *s);

static void close_client(struct health_session *s)
{
    struct http_client_conn *c = s->client;
    s->client = NULL;
    s->is_ready = s->leaving = false;
    if (c)
        http_client_conn_close(c);
}

static void on_ready(void *user, struct http_client_conn *c)
{
    struct health_session *s = user;
    if (c != s->client)
        return;
    s->is_ready = true;
    if (s->asking)
        begin_stream(s);
}

static void on_capacity(void *user, struct http_client_conn *c)
{
    (void)user, (void)c;
}

static void on_goaway(void *user, struct http_client_conn *c)
{
    struct health_session *s = user;
    if (c == s->client)
        s->leaving = true;
}

static void on_conn_closed(void *user, struct http_client_conn *c, bool was_ready, enum conn_close why)
{
    (void)was_ready, (void)why;
    struct health_session *s = user;
    if (c != s->client) /* closed by us: nothing is owed to anybody */
        return;
    s->client = NULL;
    s->is_ready = s->leaving = false;
    if (s->asking && !s->stream)
        health_failed(s, HEALTH_NETWORK, false);
}

static void on_protocol_error(void *user, struct http_client_conn *c, const char *details)
{
    (void)user, (void)c, (void)details;
}

static const struct http_client_handler client_handler = {
    .on_ready = on_ready,
    .on_capacity = on_capacity,
    .on_goaway = on_goaway,
    .on_closed = on_conn_closed,
    .on_protocol_error = on_protocol_error,
};

static void ignore_closed(struct conn *c, void *user, enum conn_close why)
{
    (void)c, (void)user, (void)why;
}
static const struct conn_handler connecting_handler = {.on_closed = ignore_closed};

static void connect_client(struct health_session *s)
{
    static const struct str h2[] = {{"h2", 2}}, h1[] = {{"http/1.1", 8}};
    const struct health_spec *spec = s->checker->spec;
    struct conn *c = health_connect(s, spec->protocol == HTTP_2 ? h2 : h1, 1, STR_NULL, &connecting_handler, s);
    if (!c) {
        health_failed(s, HEALTH_NETWORK, false);
        return;
    }
    s->client = http_client_conn_new(c, spec->protocol, false, &s->checker->cluster->spec->http->client, &client_handler, s);
}

/* ---- the question ---- */

static bool is_tls(const struct health_session *s)
{
    return health_transport(s)->tls != NULL;
}

static struct str authority(const struct health_session *s)
{
    const struct health_spec *spec = s->checker->spec;
    struct str own = spec->kind == HEALTH_GRPC ? spec->authority : spec->host;
    if (s->host->check->hostname.n)
        return s->host->check->hostname;
    return own.n ? own : s->checker->cluster->spec->name;
}

static void edit_headers(struct health_session *s, struct headers *h)
{
    struct stream_info info = {0};
    struct format_context cx = {.info = &info, .request = h};
    header_rules_apply(&s->checker->spec->headers, h, &cx, &s->arena);
}

static void add_question(struct health_session *s, struct headers *h)
{
    const struct health_spec *spec = s->checker->spec;
    headers_init(h, &s->arena);
    headers_add_id_ref(h, HDR_METHOD, spec->kind == HEALTH_GRPC ? STR("POST") : spec->method);
    headers_add_id_ref(h, HDR_SCHEME, is_tls(s) ? STR("https") : STR("http"));
    headers_add_id_ref(h, HDR_PATH, spec->path);
    headers_add_id_ref(h, HDR_AUTHORITY, authority(s));
    if (spec->kind == HEALTH_GRPC) {
        headers_add_id_ref(h, HDR_TE, STR("trailers"));
        headers_add_id_ref(h, HDR_CONTENT_TYPE, STR("application/grpc"));
    }
    headers_add_id_ref(h, HDR_USER_AGENT, STR("Envoy/HC"));
    if (spec->kind == HEALTH_HTTP && spec->send.n) {
        char digits[20];
        headers_add(h, STR("content-length"), str_make(digits, u64_format(spec->send.n, digits)));
    }
    edit_headers(s, h);
}

static void begin_stream(struct health_session *s)
{
    const struct health_spec *spec = s->checker->spec;
    struct headers h;
    s->stream = http_client_conn_stream(s->client, &s->sink, &s->arena);
    if (!s->stream) {
        close_client(s);
        health_failed(s, HEALTH_NETWORK, false);
        return;
    }
    add_question(s, &h);
    stream_send_headers(s->stream, &h, !spec->send.n);
    if (s->stream && spec->send.n) {
        struct buf body = BUF_INIT;
        buf_append(&body, spec->send.p, spec->send.n);
        stream_send_data(s->stream, &body, true);
    }
}

static const struct http_sink_ops answer_ops;

void health_http_ask(struct health_session *s, const struct health_answer *answer)
{
    if (s->has_arena)
        arena_fini(&s->arena);
    arena_init(&s->arena, QUESTION_ARENA_BYTES);
    s->has_arena = true;
    s->sink.ops = &answer_ops;
    s->answer = answer;
    s->status = 0;
    s->degraded = s->immediate_fail = s->wrong_service = s->is_complete = s->is_grpc = s->has_grpc_status = false;
    s->received.n = 0;
    if (s->leaving || (s->client && s->is_ready && !http_client_conn_capacity(s->client)))
        close_client(s);
    if (!s->client)
        connect_client(s);
    else if (s->is_ready)
        begin_stream(s);
}

void health_http_stop(struct health_session *s, bool forget)
{
    struct http_stream *stream = s->stream;
    bool keep = !forget && s->is_ready && s->client && http_client_conn_protocol(s->client) == HTTP_2;
    s->asking = false;
    s->stream = NULL;
    if (stream && keep)
        stream_reset(stream, STREAM_LOCAL);
    else
        close_client(s);
}

/* ---- the answer ---- */

static void on_headers(struct http_sink *sink, struct headers *h, bool end)
{
    struct health_session *s = of_sink(sink);
    uint64_t status = 0;
    str_to_u64(headers_get_id(h, HDR_STATUS), &status);
    s->status = (unsigned)status;
    s->is_complete = end;
    s->answer->on_headers(s, h, end);
}

static void on_informational(struct http_sink *sink, struct headers *h)
{
    (void)sink, (void)h;
}

void health_http_keep(struct health_session *s, struct buf *data, size_t most)
{
    size_t room = most > s->received.n ? most - s->received.n : 0;
    size_t n = data->len < room ? data->len : room;
    if (n) {
        char *text = mem_alloc(n);
        buf_copy_out(data, 0, text, n);
        strbuf_add(&s->received, text, n);
        mem_free(text);
    }
    buf_drain(data, data->len);
}

static void on_data(struct http_sink *sink, struct buf *data, bool end)
{
    struct health_session *s = of_sink(sink);
    health_http_keep(s, data, s->answer->bytes_max(s));
    s->is_complete = end;
}

static void on_trailers(struct http_sink *sink, struct headers *h)
{
    struct health_session *s = of_sink(sink);
    if (s->answer->on_trailers)
        s->answer->on_trailers(s, h);
    s->is_complete = true;
}

static void on_closed(struct http_sink *sink, enum stream_reset why, const char *details)
{
    (void)why, (void)details;
    struct health_session *s = of_sink(sink);
    s->stream = NULL;
    if (!s->asking)
        return;
    if (s->is_complete)
        s->answer->judge(s);
    else
        health_failed(s, HEALTH_NETWORK, false);
    if (!s->gone && (!s->checker->spec->reuse_connection || s->leaving))
        close_client(s);
}

static void on_watermark(struct http_sink *sink, bool above)
{
    (void)sink, (void)above;
}

static const struct http_sink_ops answer_ops = {
    .on_headers = on_headers,
    .on_informational = on_informational,
    .on_data = on_data,
    .on_trailers = on_trailers,
    .on_closed = on_closed,
    .on_watermark = on_watermark,
};

/* ---- what HTTP makes of it ---- */

static void look_at_headers(struct health_session *s, const struct headers *h, bool end)
{
    (void)end;
    const struct health_spec *spec = s->checker->spec;
    s->degraded = headers_has_id(h, HDR_ENVOY_DEGRADED);
    s->immediate_fail = headers_has_id(h, HDR_ENVOY_IMMEDIATE_HEALTH_FAIL);
    if (spec->has_service_match && runtime_u64(STR("health_check.verify_cluster"), 100)) {
        struct str name = headers_get(h, STR("x-envoy-upstream-healthchecked-cluster"));
        s->wrong_service = !string_matches(&spec->service_match, name);
        s->verified = true;
    }
}

static size_t bytes_max(const struct health_session *s)
{
    const struct health_spec *spec = s->checker->spec;
    return !spec->receive_count ? 0 : spec->response_bytes ? spec->response_bytes : SIZE_MAX;
}

static bool is_expected(const struct health_spec *spec, unsigned status)
{
    return spec->expected_count ? health_status_in(spec->expected, spec->expected_count, status) : status == 200;
}

static void judge(struct health_session *s)
{
    const struct health_spec *spec = s->checker->spec;
    if (!is_expected(spec, s->status)) {
        if (s->immediate_fail)
            atomic_fetch_or_explicit(&s->host->health, HOST_EXCLUDED_IMMEDIATE_HC, memory_order_relaxed);
        health_failed(s, HEALTH_ACTIVE, health_status_in(spec->retriable, spec->retriable_count, s->status));
        return;
    }
    if (s->verified)
        health_count_verified(s);
    s->verified = false;
    if (s->wrong_service || !health_payload_matches(spec->receive, spec->receive_count, strbuf_str(&s->received)))
        health_failed(s, HEALTH_ACTIVE, false);
    else
        health_passed(s, s->degraded);
}

static void start(struct health_session *s)
{
    static const struct health_answer answer = {.on_headers = look_at_headers, .bytes_max = bytes_max, .judge = judge};
    health_http_ask(s, &answer);
}

const struct health_probe health_http_probe = {.start = start, .stop = health_http_stop};
