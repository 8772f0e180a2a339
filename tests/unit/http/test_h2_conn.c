/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/2 server and client connections against each other over a socket pair: streams, back-pressure,
 * draining, upgrades, endings from inside every callback.
 */
#include "harness.h"

struct both {
    struct loop *loop;
    struct http_server_opts sopts;
    struct http_client_opts copts;
    struct http_server_conn *server;
    struct http_client_conn *client;
    struct arena arena; /* requests' */
    struct rec served[64], asked[64];
    size_t served_count, asked_count;
    act_fn serve; /* what the server's sinks do */
    struct strbuf log; /* of the connections */
    bool ready, server_closed, client_closed;
    const char *protocol_error;
    unsigned protocol_status;
    unsigned capacity_calls;
};

static void on_stream(void *user, struct http_server_conn *c, struct http_stream *s)
{
    struct both *b = user;
    (void)c;
    assert_true(b->served_count < 64);
    struct rec *r = &b->served[b->served_count++];
    rec_init(r, b->serve, b);
    r->s = s;
    s->sink = &r->sink;
}

static void on_server_error(void *user, struct http_server_conn *c, unsigned status, const char *details)
{
    struct both *b = user;
    (void)c;
    b->protocol_status = status;
    b->protocol_error = details;
}

static void on_server_closed(void *user, struct http_server_conn *c, bool local, enum conn_close why)
{
    struct both *b = user;
    (void)c, (void)local, (void)why;
    b->server_closed = true;
}

static const struct http_server_handler server_handler = {
    .on_stream = on_stream,
    .on_protocol_error = on_server_error,
    .on_closed = on_server_closed,
};

static void on_ready(void *user, struct http_client_conn *c)
{
    struct both *b = user;
    (void)c;
    b->ready = true;
}

static void on_capacity(void *user, struct http_client_conn *c)
{
    struct both *b = user;
    (void)c;
    b->capacity_calls++;
}

static void on_goaway(void *user, struct http_client_conn *c)
{
    struct both *b = user;
    (void)c;
    strbuf_addz(&b->log, "goaway ");
}

static void on_client_closed(void *user, struct http_client_conn *c, bool was_ready, enum conn_close why)
{
    struct both *b = user;
    (void)c, (void)was_ready, (void)why;
    b->client_closed = true;
}

static const struct http_client_handler client_handler = {
    .on_ready = on_ready,
    .on_capacity = on_capacity,
    .on_goaway = on_goaway,
    .on_closed = on_client_closed,
};

static void both_init(struct both *b)
{
    memset(b, 0, sizeof(*b));
    b->loop = test_loop();
    b->sopts.codec = HTTP_CODEC_H2;
    b->sopts.h2 = h2_opts_default(true);
    b->sopts.buffer_limit_bytes = 100000;
    b->sopts.drain_timeout_ms = 1;
    b->sopts.delayed_close_ms = 1000;
    b->copts.h2 = h2_opts_default(false);
    b->copts.buffer_limit_bytes = 100000;
    arena_init(&b->arena, 0);
}

static void both_start(struct both *b)
{
    struct addr addr = {.in4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    b->server = http_server_conn_new(conn_new_accepted(b->loop, fds[0], &addr, &addr), &b->sopts,
                                     &server_handler, b);
    b->client = http_client_conn_new(conn_new_accepted(b->loop, fds[1], &addr, &addr), HTTP_2, false,
                                     &b->copts, &client_handler, b);
    settle_loop(b->loop);
    assert_true(b->ready);
}

static void both_fini(struct both *b)
{
    if (!b->client_closed)
        http_client_conn_close(b->client);
    settle_loop(b->loop);
    if (!b->server_closed)
        http_server_conn_close(b->server);
    for (int i = 0; i < 100 && !(b->client_closed && b->server_closed); i++)
        loop_turn(b->loop, 1);
    settle_loop(b->loop);
    for (size_t i = 0; i < b->served_count; i++) {
        assert_true(b->served[i].closed);
        rec_fini(&b->served[i]);
    }
    for (size_t i = 0; i < b->asked_count; i++) {
        assert_true(b->asked[i].closed);
        rec_fini(&b->asked[i]);
    }
    strbuf_fini(&b->log);
    arena_fini(&b->arena);
    loop_free(&b->loop);
}

static struct rec *ask_with(struct both *b, const char *method, const char *name, const char *value, bool end)
{
    struct rec *r = &b->asked[b->asked_count++];
    rec_init(r, NULL, b);
    r->s = http_client_conn_stream(b->client, &r->sink, &b->arena);
    assert_non_null(r->s);
    struct headers h;
    headers_init(&h, &b->arena);
    headers_add(&h, STR(":method"), str_from(method));
    headers_add(&h, STR(":scheme"), STR("http"));
    headers_add(&h, STR(":authority"), STR("a"));
    headers_add(&h, STR(":path"), STR("/p"));
    if (name)
        headers_add(&h, str_from(name), str_from(value));
    if (name && strcmp(name, "upgrade") == 0)
        headers_add(&h, STR("connection"), STR("upgrade"));
    stream_send_headers(r->s, &h, end);
    return r;
}

static struct rec *ask(struct both *b, const char *method, bool end)
{
    return ask_with(b, method, NULL, NULL, end);
}

/* Answers when the request is whole. */
static void serve_ok(struct rec *r, enum event e, bool end)
{
    if (end && e <= EV_TRAILERS)
        answer_ok(r->s);
}

static void send_much(struct http_stream *s, size_t n, bool end)
{
    static char text[65536];
    struct buf b = BUF_INIT;
    memset(text, 'x', sizeof(text));
    for (size_t k; n; n -= k) {
        k = n < sizeof(text) ? n : sizeof(text);
        buf_append(&b, text, k);
    }
    stream_send_data(s, &b, end);
}

static void test_h2_conn__many_requests__all_answered(void **state)
{
    (void)state;
    struct both b;
    both_init(&b);
    b.serve = serve_ok;
    both_start(&b);
    for (int i = 0; i < 50; i++)
        ask(&b, "GET", true);
    assert_int_equal(http_client_conn_active_streams(b.client), 50);
    settle_loop(b.loop);
    for (int i = 0; i < 50; i++) {
        assert_string_equal(rec_log(&b.asked[i]), "H:200 D:2. C:OK ");
        assert_string_equal(rec_log(&b.served[i]), "H:GET /p. C:OK ");
    }
    assert_int_equal(http_client_conn_active_streams(b.client), 0);
    assert_int_equal(http_server_conn_active_streams(b.server), 0);
    assert_true(b.capacity_calls >= 50);
    both_fini(&b);
}

static void test_h2_conn__trailers_both_ways__told(void **state)
{
    (void)state;
    struct both b;
    both_init(&b);
    both_start(&b);
    struct rec *r = ask(&b, "POST", false);
    send_text(r->s, "hello", false);
    struct headers t;
    headers_init(&t, &b.arena);
    headers_add(&t, STR("x-t"), STR("1"));
    stream_send_trailers(r->s, &t);
    settle_loop(b.loop);
    struct rec *s = &b.served[0];
    assert_string_equal(rec_log(s), "H:POST /p D:5 T:1 ");
    send_head(s->s, "200", NULL, false);
    headers_init(&t, s->s->arena);
    headers_add(&t, STR("grpc-status"), STR("0"));
    stream_send_trailers(s->s, &t);
    settle_loop(b.loop);
    assert_string_equal(rec_log(r), "H:200 D:0 T:1 C:OK ");
    both_fini(&b);
}

static void test_h2_conn__informational__told_before_head(void **state)
{
    (void)state;
    struct both b;
    both_init(&b);
    both_start(&b);
    struct rec *r = ask_with(&b, "POST", "expect", "100-continue", false);
    settle_loop(b.loop);
    assert_string_equal(rec_log(r), "I:100 ");
    send_text(r->s, "body", true);
    settle_loop(b.loop);
    answer_ok(b.served[0].s);
    settle_loop(b.loop);
    assert_string_equal(rec_log(r), "I:100 H:200 D:2. C:OK ");
    both_fini(&b);
}

static void test_stream_pause__receiver_paused__sender_sees_watermarks(void **state)
{
    (void)state;
    struct both b;
    both_init(&b);
    b.copts.h2.initial_stream_window = 200000;
    both_start(&b);
    struct rec *r = ask(&b, "GET", true);
    stream_pause(r->s, true);
    settle_loop(b.loop);
    struct rec *s = &b.served[0];
    send_head(s->s, "200", NULL, false);
    send_much(s->s, 1000000, false);
    for (int i = 0; i < 50; i++)
        settle_loop(b.loop);
    assert_string_equal(rec_log(r), "H:200 "); /* no data while paused, though the window let some in */
    assert_string_equal(rec_log(s), "H:GET /p. W+ ");
    assert_true(s->s->ops->queued(s->s) >= 1000000 - 200000);
    stream_pause(r->s, false);
    for (int i = 0; i < 100 && r->body.n < 1000000; i++)
        settle_loop(b.loop);
    send_text(s->s, "", true);
    settle_loop(b.loop);
    assert_string_equal(rec_log(r), "H:200 D:1000000. C:OK ");
    assert_string_equal(rec_log(s), "H:GET /p. W+ W- C:OK ");
    both_fini(&b);
}

static void test_stream_pause__whole_response_waits__told_on_resume_or_at_death(void **state)
{
    (void)state;
    for (int dies = 0; dies < 2; dies++) {
        struct both b;
        both_init(&b);
        b.serve = serve_ok;
        both_start(&b);
        struct rec *r = ask(&b, "GET", true);
        stream_pause(r->s, true);
        settle_loop(b.loop);
        assert_string_equal(rec_log(r), "H:200 ");
        assert_string_equal(rec_log(&b.served[0]), "H:GET /p. C:OK ");
        if (dies)
            http_server_conn_close(b.server);
        else
            stream_pause(r->s, false);
        settle_loop(b.loop);
        assert_string_equal(rec_log(r), "H:200 D:2. C:OK ");
        both_fini(&b);
    }
}

static void test_stream_reset__by_either__other_is_told(void **state)
{
    (void)state;
    struct both b;
    both_init(&b);
    both_start(&b);
    struct rec *r = ask(&b, "GET", true), *q = ask(&b, "GET", true), *p = ask(&b, "GET", true);
    settle_loop(b.loop);
    stream_reset(r->s, STREAM_LOCAL);
    assert_string_equal(rec_log(r), "C:local reset ");
    stream_reset(b.served[1].s, STREAM_LOCAL_REFUSED);
    send_head(b.served[2].s, "200", NULL, false);
    settle_loop(b.loop);
    stream_reset(b.served[2].s, STREAM_LOCAL);
    settle_loop(b.loop);
    assert_string_equal(rec_log(&b.served[0]), "H:GET /p. C:remote reset ");
    assert_string_equal(b.served[0].details, "http2.remote_reset");
    assert_string_equal(rec_log(q), "C:remote refused stream reset ");
    assert_string_equal(rec_log(p), "H:200 C:remote reset ");
    both_fini(&b);
}

static void test_h2_server__response_before_request_ends__client_ok(void **state)
{
    (void)state;
    struct both b;
    both_init(&b);
    both_start(&b);
    struct rec *r = ask(&b, "POST", false);
    send_text(r->s, "some", false);
    settle_loop(b.loop);
    answer_ok(b.served[0].s);
    settle_loop(b.loop);
    assert_string_equal(rec_log(r), "H:200 D:2. C:OK ");
    assert_string_equal(rec_log(&b.served[0]), "H:POST /p C:OK ");
    both_fini(&b);
}

static void test_http_conn_close__streams_open__terminated(void **state)
{
    (void)state;
    for (int by_client = 0; by_client < 2; by_client++) {
        struct both b;
        both_init(&b);
        both_start(&b);
        struct rec *r = ask(&b, "POST", false);
        settle_loop(b.loop);
        if (by_client)
            http_client_conn_close(b.client);
        else
            http_server_conn_close(b.server);
        settle_loop(b.loop);
        assert_string_equal(rec_log(r), "C:connection termination ");
        assert_string_equal(rec_log(&b.served[0]), "H:POST /p C:connection termination ");
        assert_true(b.server_closed && b.client_closed);
        both_fini(&b);
    }
}

static void test_http_server_conn_drain__streams_open__finish_then_close(void **state)
{
    (void)state;
    struct both b;
    both_init(&b);
    both_start(&b);
    struct rec *r = ask(&b, "GET", true);
    settle_loop(b.loop);
    http_server_conn_drain(b.server);
    settle_loop(b.loop);
    assert_string_equal(b.log.p, "goaway ");
    assert_int_equal(http_client_conn_capacity(b.client), 0);
    assert_false(b.server_closed);
    answer_ok(b.served[0].s);
    settle_loop(b.loop);
    assert_string_equal(rec_log(r), "H:200 D:2. C:OK ");
    assert_true(b.server_closed);
    assert_true(b.client_closed);
    both_fini(&b);
}

static void test_http_server_conn_drain__idle__goaway_and_close(void **state)
{
    (void)state;
    struct both b;
    both_init(&b);
    both_start(&b);
    http_server_conn_drain(b.server);
    settle_loop(b.loop);
    assert_string_equal(b.log.p, "goaway ");
    assert_true(b.server_closed && b.client_closed);
    both_fini(&b);
}

static void test_h2_server__max_requests__drains(void **state)
{
    (void)state;
    struct both b;
    both_init(&b);
    b.sopts.max_requests_per_connection = 2;
    b.serve = serve_ok;
    both_start(&b);
    ask(&b, "GET", true);
    settle_loop(b.loop);
    assert_false(b.server_closed);
    struct rec *r = ask(&b, "GET", true);
    settle_loop(b.loop);
    assert_string_equal(rec_log(r), "H:200 D:2. C:OK ");
    assert_true(b.server_closed);
    both_fini(&b);
}

static void test_h2_client_capacity__peer_limit__respected(void **state)
{
    (void)state;
    struct both b;
    both_init(&b);
    b.sopts.h2.max_concurrent_streams = 2;
    both_start(&b);
    assert_int_equal(http_client_conn_capacity(b.client), 2);
    ask(&b, "GET", true);
    ask(&b, "GET", true);
    assert_int_equal(http_client_conn_capacity(b.client), 0);
    settle_loop(b.loop);
    answer_ok(b.served[0].s);
    settle_loop(b.loop);
    assert_int_equal(http_client_conn_capacity(b.client), 1);
    both_fini(&b);
}

/* RFC 8441: HTTP/1's form above both codecs, extended CONNECT between them. */
static void test_h2_conn__websocket__tunnel_in_upgrade_form(void **state)
{
    (void)state;
    struct both b;
    both_init(&b);
    b.sopts.h2.allow_connect = true;
    both_start(&b);
    struct rec *r = ask_with(&b, "GET", "upgrade", "websocket", false);
    settle_loop(b.loop);
    struct rec *s = &b.served[0];
    assert_string_equal(rec_log(s), "H:GET /p ");
    send_head(s->s, "101", NULL, false);
    send_text(s->s, "from server", false);
    send_text(r->s, "from client", false);
    settle_loop(b.loop);
    assert_string_equal(rec_body(s), "from client");
    assert_string_equal(rec_body(r), "from server");
    send_text(s->s, "", true); /* one direction ends, the other goes on */
    settle_loop(b.loop);
    assert_string_equal(rec_log(r), "H:101 D:11. ");
    send_text(r->s, "!", true);
    settle_loop(b.loop);
    assert_string_equal(rec_log(s), "H:GET /p D:12. C:OK ");
    assert_string_equal(rec_log(r), "H:101 D:11. C:OK ");
    both_fini(&b);
}

static void test_h2_client__upgrade_not_allowed_by_peer__fails(void **state)
{
    (void)state;
    struct both b;
    both_init(&b);
    both_start(&b);
    struct rec *r = ask_with(&b, "GET", "upgrade", "websocket", false);
    settle_loop(b.loop);
    assert_string_equal(rec_log(r), "C:protocol error ");
    both_fini(&b);
}

static void test_h2_client__upgrade_before_settings__waits_for_them(void **state)
{
    (void)state;
    struct both b;
    both_init(&b);
    b.sopts.h2.allow_connect = true;
    struct addr addr = {.in4 = {.sin_family = AF_INET}};
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    b.client = http_client_conn_new(conn_new_accepted(b.loop, fds[1], &addr, &addr), HTTP_2, false,
                                    &b.copts, &client_handler, &b);
    settle_loop(b.loop);
    struct rec *r = ask_with(&b, "GET", "upgrade", "websocket", false);
    send_text(r->s, "early", true);
    settle_loop(b.loop);
    b.server = http_server_conn_new(conn_new_accepted(b.loop, fds[0], &addr, &addr), &b.sopts,
                                    &server_handler, &b);
    settle_loop(b.loop);
    assert_string_equal(rec_log(&b.served[0]), "H:GET /p D:5. ");
    both_fini(&b);
}

static void test_h2_server__headers_over_limit__431(void **state)
{
    (void)state;
    struct both b;
    both_init(&b);
    b.sopts.h2.max_headers = 4;
    both_start(&b);
    struct rec *r = ask_with(&b, "GET", "x-fifth", "1", true);
    settle_loop(b.loop);
    assert_string_equal(rec_log(r), "H:431. C:OK ");
    assert_int_equal(b.protocol_status, 431);
    assert_string_equal(b.protocol_error, "http2.too_many_headers");
    assert_int_equal(b.served_count, 0);
    both_fini(&b);
}

/* ---- endings from inside callbacks ---- */

static enum event end_at;
static int end_how;

static void end_inside(struct rec *r, enum event e, bool end)
{
    struct both *b = r->user;
    if (e != end_at)
        return;
    (void)end;
    if (end_how == 0)
        http_server_conn_close(b->server);
    else if (end_how == 1)
        http_client_conn_close(b->client);
    else if (e != EV_CLOSED && !r->closed)
        stream_reset(r->s, STREAM_LOCAL);
}

static void test_h2_conn__ended_inside_any_callback__every_stream_is_closed(void **state)
{
    (void)state;
    static const enum event events[] = {EV_HEADERS, EV_DATA, EV_TRAILERS, EV_CLOSED, EV_WATERMARK};
    for (int side = 0; side < 2; side++)
        for (size_t e = 0; e < ARRAY_LEN(events); e++)
            for (end_how = 0; end_how < 3; end_how++) {
                struct both b;
                both_init(&b);
                end_at = events[e];
                b.serve = side ? serve_ok : end_inside;
                both_start(&b);
                for (int i = 0; i < 5; i++) {
                    struct rec *r = ask(&b, "POST", false);
                    r->act = side ? end_inside : NULL;
                    send_much(r->s, 150000, i & 1);
                    struct headers t;
                    headers_init(&t, &b.arena);
                    headers_add(&t, STR("x-t"), STR("1"));
                    if (!(i & 1) && !r->closed)
                        stream_send_trailers(r->s, &t);
                    if (b.client_closed)
                        break;
                }
                for (int i = 0; i < 20; i++)
                    settle_loop(b.loop);
                both_fini(&b); /* asserts that all are closed, once */
            }
}

/* ---- a raw peer ---- */

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";

static void test_h2_server__peer_never_acks_pings__closed(void **state)
{
    (void)state;
    struct both b;
    struct peer p;
    both_init(&b);
    b.sopts.h2_ping_interval_ms = 1;
    b.sopts.h2_ping_timeout_ms = 5;
    b.server = http_server_conn_new(conn_with_peer(b.loop, &p), &b.sopts, &server_handler, &b);
    peer_send_n(&p, preface, sizeof(preface) - 1);
    run_until(b.loop, &p, p.ended);
    assert_string_equal(b.protocol_error, "http2.keepalive_timeout");
    b.client_closed = true;
    peer_close(&p);
    both_fini(&b);
}

static void test_h2_server__ping_flood__goaway_and_closed(void **state)
{
    (void)state;
    struct both b;
    struct peer p;
    both_init(&b);
    b.server = http_server_conn_new(conn_with_peer(b.loop, &p), &b.sopts, &server_handler, &b);
    struct strbuf bytes = {0};
    strbuf_add(&bytes, preface, sizeof(preface) - 1);
    for (int i = 0; i < 2000; i++)
        strbuf_add(&bytes, "\0\0\10\6\0\0\0\0\0abcdefgh", 17);
    peer_send_n(&p, bytes.p, bytes.n);
    strbuf_fini(&bytes);
    run_until(b.loop, &p, p.ended);
    assert_string_equal(b.protocol_error, "http2.outbound_control_frames_flood");
    assert_true(p.got.n >= 17);
    assert_memory_equal(p.got.p + p.got.n - 17, "\0\0\10\7\0", 5);
    assert_int_equal(p.got.p[p.got.n - 1], H2_ENHANCE_YOUR_CALM);
    b.client_closed = true;
    peer_close(&p);
    both_fini(&b);
}

static void test_h2_server__head_never_completes__headers_timeout(void **state)
{
    (void)state;
    struct both b;
    struct peer p;
    both_init(&b);
    b.sopts.request_headers_timeout_ms = 2;
    b.server = http_server_conn_new(conn_with_peer(b.loop, &p), &b.sopts, &server_handler, &b);
    peer_send_n(&p, preface, sizeof(preface) - 1);
    peer_send_n(&p, "\0\0\1\1\1\0\0\0\1\x82", 10); /* no END_HEADERS */
    run_until(b.loop, &p, p.ended);
    assert_true(b.server_closed);
    assert_int_equal(b.served_count, 0);
    b.client_closed = true;
    peer_close(&p);
    both_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_h2_conn__many_requests__all_answered),
        cmocka_unit_test(test_h2_conn__trailers_both_ways__told),
        cmocka_unit_test(test_h2_conn__informational__told_before_head),
        cmocka_unit_test(test_stream_pause__receiver_paused__sender_sees_watermarks),
        cmocka_unit_test(test_stream_pause__whole_response_waits__told_on_resume_or_at_death),
        cmocka_unit_test(test_stream_reset__by_either__other_is_told),
        cmocka_unit_test(test_h2_server__response_before_request_ends__client_ok),
        cmocka_unit_test(test_http_conn_close__streams_open__terminated),
        cmocka_unit_test(test_http_server_conn_drain__streams_open__finish_then_close),
        cmocka_unit_test(test_http_server_conn_drain__idle__goaway_and_close),
        cmocka_unit_test(test_h2_server__max_requests__drains),
        cmocka_unit_test(test_h2_client_capacity__peer_limit__respected),
        cmocka_unit_test(test_h2_conn__websocket__tunnel_in_upgrade_form),
        cmocka_unit_test(test_h2_client__upgrade_not_allowed_by_peer__fails),
        cmocka_unit_test(test_h2_client__upgrade_before_settings__waits_for_them),
        cmocka_unit_test(test_h2_server__headers_over_limit__431),
        cmocka_unit_test(test_h2_conn__ended_inside_any_callback__every_stream_is_closed),
        cmocka_unit_test(test_h2_server__peer_never_acks_pings__closed),
        cmocka_unit_test(test_h2_server__ping_flood__goaway_and_closed),
        cmocka_unit_test(test_h2_server__head_never_completes__headers_timeout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
