/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls of the proxy's own, and gRPC over them, against a server of this repository on loopback that answers by script.
 */
#include "config_fixture.h"

#include <arpa/inet.h>
#include <unistd.h>

#include "base/mem.h"
#include "http/server.h"
#include "io/listen.h"
#include "proxy/route/route.h"
#include "proxy/service/grpc_call.h"

#include "../unit.h"

enum script { S_ECHO, S_SILENT, S_RESET, S_HTTP_503, S_TRAILERS_ONLY, S_NO_STATUS, S_COMPRESSED, S_CUT_SHORT, S_EARLY, S_SLOW };

static struct env {
    struct loop *loop;
    struct loaded config;
    struct cluster_slot *slot;
    struct cluster *cluster;
    struct grpc_service service;
    struct http_server_opts server;
    struct acceptor *acceptor;
    int fd;
    enum script script;
    int refuse_next, fail_next;
    struct far { struct http_sink sink; struct http_stream *s; struct buf body; bool closed; enum stream_reset why; } far[64];
    uint32_t streams, conns;
    struct http_server_conn *conn[16];
    char seen[1024]; /* the head of the last request */
    /* what the caller heard */
    struct strbuf log;
    bool done;
    unsigned status;
} env;

/* ---- the far side ---- */

static void far_answer(struct far *f)
{
    struct headers h, t;
    struct buf body = BUF_INIT;
    headers_init(&h, f->s->arena);
    headers_init(&t, f->s->arena);
    headers_add_id_ref(&h, HDR_STATUS, STR("200"));
    headers_add_id_ref(&h, HDR_CONTENT_TYPE, STR("application/grpc"));
    headers_add_id_ref(&t, HDR_GRPC_STATUS, STR("0"));
    stream_send_headers(f->s, &h, false);
    buf_share(&body, &f->body, f->body.len);
    stream_send_data(f->s, &body, false);
    stream_send_trailers(f->s, &t);
}

static void far_raw(struct far *f, const char *bytes, size_t n, bool trailers)
{
    struct headers h, t;
    struct buf body = BUF_INIT;
    headers_init(&h, f->s->arena);
    headers_init(&t, f->s->arena);
    headers_add_id_ref(&h, HDR_STATUS, STR("200"));
    stream_send_headers(f->s, &h, false);
    buf_append(&body, bytes, n);
    stream_send_data(f->s, &body, !trailers);
    if (!trailers)
        return;
    headers_add_id_ref(&t, HDR_GRPC_STATUS, STR("0"));
    stream_send_trailers(f->s, &t);
}

static void far_head_only(struct far *f, const char *status, const char *grpc)
{
    struct headers h;
    headers_init(&h, f->s->arena);
    headers_add_id_ref(&h, HDR_STATUS, str_from(status));
    if (grpc) {
        headers_add_id_ref(&h, HDR_GRPC_STATUS, str_from(grpc));
        headers_add_id_ref(&h, HDR_GRPC_MESSAGE, STR("not%20today%"));
    }
    stream_send_headers(f->s, &h, true);
}

static void far_play(struct far *f)
{
    if (env.fail_next) {
        env.fail_next--;
        stream_reset(f->s, STREAM_LOCAL);
        return;
    }
    if (env.refuse_next) {
        env.refuse_next--;
        stream_reset(f->s, STREAM_LOCAL_REFUSED);
        return;
    }
    switch (env.script) {
    case S_ECHO:
        far_answer(f);
        return;
    case S_RESET:
        stream_reset(f->s, STREAM_LOCAL);
        return;
    case S_HTTP_503:
        far_head_only(f, "503", NULL);
        return;
    case S_TRAILERS_ONLY:
        far_head_only(f, "200", "7");
        return;
    case S_NO_STATUS:
        far_raw(f, "\0\0\0\0\1x", 6, false);
        return;
    case S_COMPRESSED:
        far_raw(f, "\1\0\0\0\1x", 6, true);
        return;
    case S_CUT_SHORT:
        far_raw(f, "\0\0\0\0\5x", 6, true);
        return;
    case S_SILENT:
    case S_EARLY:
    case S_SLOW:
        return;
    }
}

static void far_headers(struct http_sink *s, struct headers *h, bool end)
{
    struct far *f = CONTAINER_OF(s, far, sink);
    size_t n = 0;
    for (uint32_t i = 0; i < h->count; i++)
        n += (size_t)snprintf(env.seen + n, sizeof env.seen - n, "%.*s=%.*s|", STR_ARG(h->items[i].name), STR_ARG(h->items[i].value));
    if (env.script == S_EARLY)
        far_head_only(f, "200", "7");
    else if (end)
        far_play(f);
}

static void far_data(struct http_sink *s, struct buf *data, bool end)
{
    struct far *f = CONTAINER_OF(s, far, sink);
    if (env.script != S_SLOW)
        buf_move(&f->body, data);
    buf_drain(data, data->len);
    if (end)
        far_play(f);
}

static void far_one(struct http_sink *s, struct headers *h)
{
    (void)s, (void)h;
}

static void far_closed(struct http_sink *s, enum stream_reset why, const char *details)
{
    (void)details;
    struct far *f = CONTAINER_OF(s, far, sink);
    f->closed = true;
    f->why = why;
    buf_fini(&f->body);
}

static void far_watermark(struct http_sink *s, bool above)
{
    (void)s, (void)above;
}

static const struct http_sink_ops far_ops = {far_headers, far_one, far_data, far_one, far_closed, far_watermark};

static void on_stream(void *user, struct http_server_conn *c, struct http_stream *s)
{
    (void)user, (void)c;
    struct far *f = &env.far[env.streams++ % ARRAY_LEN(env.far)];
    *f = (struct far){.sink = {&far_ops}, .s = s};
    s->sink = &f->sink;
    if (env.script == S_SLOW)
        stream_pause(s, true);
}

static void on_conn_closed(void *user, struct http_server_conn *c, bool local, enum conn_close why)
{
    (void)user, (void)local, (void)why;
    for (size_t i = 0; i < ARRAY_LEN(env.conn); i++)
        if (env.conn[i] == c)
            env.conn[i] = NULL;
}

static const struct http_server_handler server_handler = {.on_stream = on_stream, .on_closed = on_conn_closed};

static void on_accept(void *user, int fd, const struct addr *remote)
{
    (void)user;
    struct conn *c = conn_new_accepted(env.loop, fd, remote, remote);
    env.conn[env.conns++ % ARRAY_LEN(env.conn)] = http_server_conn_new(c, &env.server, &server_handler, NULL);
}

/* ---- the near side ---- */

static void on_message(void *user, const uint8_t *bytes, size_t n)
{
    (void)user;
    strbuf_addf(&env.log, "M:%.*s ", (int)n, (const char *)bytes);
}

static void on_done(void *user, unsigned status, struct str message)
{
    (void)user;
    assert_false(env.done);
    env.done = true;
    env.status = status;
    strbuf_addf(&env.log, "E:%u %.*s", status, STR_ARG(message));
}

static void on_watermark(void *user, bool above)
{
    (void)user;
    strbuf_addf(&env.log, "W%c ", above ? '+' : '-');
}

static const struct grpc_call_handler handler = {on_message, on_done, on_watermark};
#define PATH STR("/test.Service/Method")

static struct grpc_call *call(const char *message, bool half_close)
{
    unsigned status = 99;
    strbuf_reset(&env.log);
    env.done = false;
    struct grpc_call *c = grpc_call_start(&env.service, PATH, NULL, NULL, (const uint8_t *)message, message ? strlen(message) : 0,
                                          half_close, &handler, NULL, &status);
    assert_string_equal(env.log.p ? env.log.p : "", ""); /* nothing from inside */
    if (!c)
        env.status = status;
    return c;
}

static void turn_until(bool (*cond)(void))
{
    for (int i = 0; i < 5000 && !cond(); i++)
        loop_turn(env.loop, 10);
    assert_true(cond());
}

static bool is_done(void)
{
    return env.done;
}

static uint64_t stat(uint32_t row)
{
    return stat_sum(cluster_stats(env.cluster), row);
}

/* ---- setting up ---- */

static void open_far_side(uint16_t *port)
{
    struct addr a = {0}, bound = {0};
    struct err err;
    addr_from_ip(&a, STR("127.0.0.1"), 0, NULL);
    assert_int_equal(listen_open(&a, &(struct listen_opts){0}, &env.fd, &bound, &err), 0);
    env.acceptor = acceptor_new(env.loop, env.fd, 0, on_accept, NULL, &err);
    *port = ntohs(bound.in4.sin_port);
    env.server = (struct http_server_opts){.codec = HTTP_CODEC_H2, .h1.limits = H1_LIMITS_DEFAULT, .h2 = h2_opts_default(true),
                                           .buffer_limit_bytes = 1 << 20};
    env.server.h2.initial_stream_window = env.server.h2.initial_connection_window = 65535;
}

static int setup_with(const char *more)
{
    struct err err;
    uint16_t port;
    char yaml[2048];
    memset(&env, 0, sizeof env);
    env.loop = loop_new("test", &err);
    clusters_init(env.loop, NULL, 0);
    open_far_side(&port);
    snprintf(yaml, sizeof yaml,
             "static_resources: {clusters: [{name: svc, %s connect_timeout: 1s, typed_extension_protocol_options: {"
             "envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"
             "\"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, "
             "explicit_http_config: {http2_protocol_options: {}}}}, load_assignment: {cluster_name: svc, endpoints: [{lb_endpoints: ["
             "{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %u}}}}]}]}}]}", more, port);
    env.config = load(yaml);
    env.cluster = cluster_new(env.config.result->clusters[0], &err);
    env.config.result->clusters[0] = NULL;
    cluster_start(env.cluster, NULL, NULL);
    env.slot = cluster_slot_get(STR("svc"));
    cluster_slot_put(env.slot, env.cluster);
    env.service = (struct grpc_service){.cluster_name = STR("svc"), .cluster = env.slot, .max_receive_bytes = 1 << 20};
    return 0;
}

static int setup(void **state)
{
    (void)state;
    return setup_with("");
}

static int setup_broken(void **state)
{
    (void)state;
    return setup_with("circuit_breakers: {thresholds: [{max_requests: 1}]},");
}

static bool all_closed(void)
{
    for (size_t i = 0; i < ARRAY_LEN(env.conn); i++)
        if (env.conn[i])
            return false;
    return true;
}

static int teardown(void **state)
{
    (void)state;
    cluster_slot_put(env.slot, NULL);
    cluster_slot_unref(&env.slot);
    cluster_leave(env.cluster);
    turn_until(all_closed);
    cluster_unref(&env.cluster);
    loop_turn(env.loop, 0);
    acceptor_free(&env.acceptor);
    close(env.fd);
    clusters_fini();
    unload(&env.config);
    strbuf_fini(&env.log);
    loop_free(&env.loop);
    return 0;
}

static int start_stats(void **state)
{
    (void)state;
    stats_init(1); /* one registry a process */
    return 0;
}

static int end_stats(void **state)
{
    (void)state;
    stats_fini();
    return 0;
}

/* ---- unary ---- */

static void test_grpc_call_start__unary__answer_and_status(void **state)
{
    (void)state;
    env.service.timeout_ms = 2500;
    call("hello", true);
    turn_until(is_done);
    assert_string_equal(env.log.p, "M:hello E:0 ");
    assert_string_equal(env.seen, ":method=POST|:path=/test.Service/Method|:authority=svc|:scheme=http|te=trailers|"
                                  "content-type=application/grpc|grpc-timeout=2500m|x-envoy-expected-rq-timeout-ms=2500|x-envoy-internal=true|");
    assert_int_equal(stat(STAT_CLUSTER_UPSTREAM_RQ_TOTAL), 1);
    assert_int_equal(stat(STAT_CLUSTER_UPSTREAM_RQ_2XX), 1);
    assert_int_equal(stat(STAT_CLUSTER_UPSTREAM_RQ_ACTIVE), 0);
    assert_int_equal(cluster_breaker_used(env.cluster, 0, BREAKER_REQUESTS), 0);
}

static void test_grpc_call_start__many_on_one_connection__all_answered(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        call("x", true);
        turn_until(is_done);
        assert_string_equal(env.log.p, "M:x E:0 ");
    }
    assert_int_equal(env.conns, 1);
}

static void assert_ends(enum script script, const char *log)
{
    env.script = script;
    call("q", true);
    turn_until(is_done);
    assert_string_equal(env.log.p, log);
}

static void test_grpc_call_start__bad_answers__one_status_each(void **state)
{
    (void)state;
    assert_ends(S_TRAILERS_ONLY, "E:7 not today%");
    assert_ends(S_HTTP_503, "E:14 ");
    assert_ends(S_RESET, "E:14 http2.remote_reset");
    assert_ends(S_NO_STATUS, "M:x E:2 no grpc-status");
    assert_ends(S_COMPRESSED, "E:13 compressed message");
    assert_ends(S_CUT_SHORT, "E:13 message cut short");
    env.service.max_receive_bytes = 2;
    assert_ends(S_ECHO, "M:q E:0 ");
    env.service.max_receive_bytes = 0;
    assert_ends(S_ECHO, "E:8 message is larger than max_receive_message_length");
    assert_int_equal(cluster_breaker_used(env.cluster, 0, BREAKER_REQUESTS), 0);
}

static void test_grpc_call_start__silent_peer__ends_in_time(void **state)
{
    (void)state;
    env.service.timeout_ms = 30;
    assert_ends(S_SILENT, "E:4 upstream request timeout");
    assert_int_equal(stat(STAT_CLUSTER_UPSTREAM_RQ_TIMEOUT), 1);
    assert_int_equal(stat(STAT_CLUSTER_UPSTREAM_RQ_5XX), 1);
}

static void test_grpc_call_start__nobody_listens__unavailable_later(void **state)
{
    (void)state;
    acceptor_free(&env.acceptor);
    close(env.fd);
    call("q", true);
    turn_until(is_done);
    assert_int_equal(env.status, 14);
    env.fd = dup(0);
}

static void test_grpc_call_start__no_cluster__fails_at_once(void **state)
{
    (void)state;
    env.service.cluster = NULL;
    assert_null(call("q", true));
    assert_int_equal(env.status, 14);
}

static bool one_slot_is_taken(void)
{
    return cluster_breaker_used(env.cluster, 0, BREAKER_REQUESTS) == 1;
}

/* A call takes its slot with its stream; the next one, which gets none, is over before the turn is. */
static void test_grpc_call_start__breaker_open__fails_at_once(void **state)
{
    (void)state;
    env.script = S_SILENT;
    struct grpc_call *first = call("q", true);
    assert_non_null(first);
    turn_until(one_slot_is_taken);
    if (call("q", true))
        turn_until(is_done);
    assert_int_equal(env.status, 14);
    assert_int_equal(stat(STAT_CLUSTER_UPSTREAM_RQ_ACTIVE_OVERFLOW), 1);
    grpc_call_cancel(&first);
    assert_int_equal(cluster_breaker_used(env.cluster, 0, BREAKER_REQUESTS), 0);
}

static bool one_stream(void)
{
    return env.streams == 1;
}

static bool nothing_active(void)
{
    return env.streams == 1 && !stat(STAT_CLUSTER_UPSTREAM_RQ_ACTIVE);
}

static bool far_is_closed(void)
{
    return env.far[0].closed;
}

static void test_grpc_call_cancel__running__peer_sees_a_reset_and_nothing_follows(void **state)
{
    (void)state;
    env.script = S_SILENT;
    struct grpc_call *c = call("q", true);
    turn_until(one_stream);
    grpc_call_cancel(&c);
    assert_null(c);
    turn_until(far_is_closed);
    assert_int_equal(env.far[0].why, STREAM_REMOTE);
    assert_false(env.done);
    assert_int_equal(stat(STAT_CLUSTER_UPSTREAM_RQ_TX_RESET), 1);
}

static void test_grpc_call_cancel__waiting_for_a_connection__leaves_the_queue(void **state)
{
    (void)state;
    struct grpc_call *c = call("q", true);
    grpc_call_cancel(&c);
    assert_int_equal(stat(STAT_CLUSTER_UPSTREAM_RQ_CANCELLED), 1);
    assert_int_equal(stat(STAT_CLUSTER_UPSTREAM_RQ_PENDING_ACTIVE), 0);
    assert_false(env.done);
}

static void test_grpc_call_start__refused_on_a_used_connection__goes_out_again(void **state)
{
    (void)state;
    assert_ends(S_ECHO, "M:q E:0 ");
    env.refuse_next = 1; /* as a peer that is about to leave does: nobody has seen it */
    assert_ends(S_ECHO, "M:q E:0 ");
    assert_int_equal(env.refuse_next, 0);
    assert_int_equal(env.conns, 2);
    assert_int_equal(stat(STAT_CLUSTER_UPSTREAM_RQ_STALE_REPLAY) > 0, 1);
}

static void test_grpc_call_start__retry_policy__asked_again_within_it(void **state)
{
    (void)state;
    env.service.retry_on = RETRY_ON_RESET | RETRY_ON_GRPC_UNAVAILABLE;
    env.service.retries = 2;
    env.service.backoff_base_ms = env.service.backoff_max_ms = 1;
    env.service.timeout_ms = 5000;
    env.fail_next = 2; /* resets */
    assert_ends(S_ECHO, "M:q E:0 ");
    assert_int_equal(env.streams, 3);
    env.fail_next = 3;
    assert_ends(S_ECHO, "E:14 http2.remote_reset");
    assert_int_equal(env.streams, 6);
    assert_ends(S_TRAILERS_ONLY, "E:7 not today%"); /* permission denied isn't among them */
    assert_int_equal(env.streams, 7);
    assert_int_equal(cluster_breaker_used(env.cluster, 0, BREAKER_REQUESTS), 0);
}

static void test_grpc_call_cancel__between_attempts__nothing_follows(void **state)
{
    (void)state;
    env.service.retry_on = RETRY_ON_RESET;
    env.service.retries = 1;
    env.service.backoff_base_ms = env.service.backoff_max_ms = 60000;
    env.fail_next = 1;
    struct grpc_call *c = call("q", true);
    turn_until(nothing_active);
    assert_false(env.done);
    grpc_call_cancel(&c);
    loop_turn(env.loop, 0);
}

/* ---- streams ---- */

static void test_grpc_call_send__stream__messages_arrive_framed(void **state)
{
    (void)state;
    struct grpc_call *c = call(NULL, false);
    assert_true(grpc_call_send(c, (const uint8_t *)"one", 3, false));
    turn_until(one_stream);
    assert_true(grpc_call_send(c, (const uint8_t *)"two", 3, false));
    assert_true(grpc_call_send(c, (const uint8_t *)"three", 5, true));
    assert_false(grpc_call_send(c, (const uint8_t *)"four", 4, true));
    turn_until(is_done);
    assert_string_equal(env.log.p, "M:one M:two M:three E:0 ");
}

static void test_grpc_call_send__slow_peer__full_then_refused_and_the_call_lives(void **state)
{
    (void)state;
    static uint8_t big[100000];
    env.script = S_SLOW;
    struct grpc_call *c = call(NULL, false);
    turn_until(one_stream);
    int sent = 0;
    while (grpc_call_send(c, big, sizeof big, false)) {
        loop_turn(env.loop, 0);
        sent++;
    }
    assert_in_range(sent, 10, 20); /* 1 MiB and what is on the wire */
    assert_false(env.done);
    assert_in_range(grpc_call_queued(c), (1 << 20) - sizeof big, 1 << 20);
    grpc_call_cancel(&c);
}

static void test_grpc_call_send__peer_answers_early__done_once(void **state)
{
    (void)state;
    env.script = S_EARLY;
    struct grpc_call *c = call(NULL, false);
    assert_non_null(c);
    turn_until(is_done);
    assert_string_equal(env.log.p, "E:7 not today%");
}

static void test_grpc_call_start__pool_closed_under_it__unavailable(void **state)
{
    (void)state;
    env.script = S_SILENT;
    call("q", true);
    turn_until(one_stream);
    http_server_conn_close(env.conn[0]);
    turn_until(is_done);
    assert_int_equal(env.status, 14);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(test_grpc_call_start__unary__answer_and_status),
        WITH(test_grpc_call_start__many_on_one_connection__all_answered),
        WITH(test_grpc_call_start__bad_answers__one_status_each),
        WITH(test_grpc_call_start__silent_peer__ends_in_time),
        WITH(test_grpc_call_start__nobody_listens__unavailable_later),
        WITH(test_grpc_call_start__no_cluster__fails_at_once),
        cmocka_unit_test_setup_teardown(test_grpc_call_start__breaker_open__fails_at_once, setup_broken, teardown),
        WITH(test_grpc_call_cancel__running__peer_sees_a_reset_and_nothing_follows),
        WITH(test_grpc_call_cancel__waiting_for_a_connection__leaves_the_queue),
        WITH(test_grpc_call_start__refused_on_a_used_connection__goes_out_again),
        WITH(test_grpc_call_start__retry_policy__asked_again_within_it),
        WITH(test_grpc_call_cancel__between_attempts__nothing_follows),
        WITH(test_grpc_call_send__stream__messages_arrive_framed),
        WITH(test_grpc_call_send__slow_peer__full_then_refused_and_the_call_lives),
        WITH(test_grpc_call_send__peer_answers_early__done_once),
        WITH(test_grpc_call_start__pool_closed_under_it__unavailable),
    };
    return cmocka_run_group_tests(tests, start_stats, end_stats);
}
