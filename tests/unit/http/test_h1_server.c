/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"

#define MAX_STREAMS 64

struct env {
    struct loop *loop;
    struct peer peer;
    struct http_server_opts opts;
    struct http_server_conn *c; /* NULL once closed */
    struct rec recs[MAX_STREAMS];
    int count;
    act_fn act;
    int errors, idle_timeouts, closed, codecs;
    unsigned error_status;
    char error_details[64];
    enum http_protocol codec;
    bool closed_local;
    bool reset_in_on_stream, custom_reply;
};

static struct env *env_of(struct rec *r)
{
    return r->user;
}

static void on_stream(void *user, struct http_server_conn *c, struct http_stream *s)
{
    struct env *e = user;
    struct rec *r = &e->recs[e->count++];

    (void)c;
    rec_init(r, e->act, e);
    r->s = s;
    s->sink = &r->sink;
    if (e->reset_in_on_stream)
        stream_reset(s, STREAM_LOCAL);
}

static void on_protocol_error(void *user, struct http_server_conn *c, unsigned status,
                              const char *details)
{
    struct env *e = user;

    (void)c;
    e->errors++;
    e->error_status = status;
    snprintf(e->error_details, sizeof(e->error_details), "%s", details);
}

static void local_reply(void *user, struct http_server_conn *c, unsigned status,
                        const char *details, struct headers *h, struct buf *body)
{
    struct env *e = user;

    (void)c;
    (void)status;
    (void)details;
    assert_true(e->custom_reply);
    headers_add_ref(h, STR("x-mine"), STR("yes"));
    headers_set_id_ref(h, HDR_CONTENT_LENGTH, STR("3"));
    buf_append(body, "no!", 3);
}

static void on_idle_timeout(void *user, struct http_server_conn *c)
{
    (void)c;
    ((struct env *)user)->idle_timeouts++;
}

static void on_codec(void *user, struct http_server_conn *c, enum http_protocol p)
{
    struct env *e = user;

    (void)c;
    e->codecs++;
    e->codec = p;
}

static void on_closed(void *user, struct http_server_conn *c, bool local, enum conn_close why)
{
    struct env *e = user;

    (void)c;
    (void)why;
    e->closed++;
    e->closed_local = local;
    e->c = NULL;
}

static const struct http_server_handler handler = {
    .on_stream = on_stream,
    .on_protocol_error = on_protocol_error,
    .on_idle_timeout = on_idle_timeout,
    .on_codec = on_codec,
    .on_closed = on_closed,
};
static const struct http_server_handler replying_handler = {
    .on_stream = on_stream,
    .on_protocol_error = on_protocol_error,
    .local_reply = local_reply,
    .on_closed = on_closed,
};

static void answer_at_end(struct rec *r, enum event e, bool end)
{
    if (e <= EV_TRAILERS && end)
        answer_ok(r->s);
}

static struct env *env_bare(act_fn act)
{
    struct env *e = NEW(env);

    e->loop = test_loop();
    e->act = act;
    e->opts = (struct http_server_opts){
        .codec = HTTP_CODEC_H1,
        .h1 = {.limits = H1_LIMITS_DEFAULT,
               .is_request = true,
               .accept_http10 = true,
               .allow_absolute_url = true,
               .keep_trailers = true,
               .allow_upgrade = true},
        .h1_enable_trailers = true,
        .drain_timeout_ms = 5000,
        .delayed_close_ms = 1000,
        .buffer_limit_bytes = 1 << 20,
        .h2 = h2_opts_default(true),
    };
    return e;
}

static void env_connect(struct env *e)
{
    struct conn *conn = conn_with_peer(e->loop, &e->peer);

    e->c = http_server_conn_new(conn, &e->opts, e->custom_reply ? &replying_handler : &handler, e);
}

static struct env *env_new(act_fn act)
{
    struct env *e = env_bare(act);

    env_connect(e);
    return e;
}

static void env_free(struct env *e)
{
    if (e->c)
        http_server_conn_close(e->c);
    peer_close(&e->peer);
    settle_loop(e->loop); /* a delayed close sees the end and goes */
    assert_int_equal(e->closed, 1);
    for (int i = 0; i < e->count; i++) {
        assert_int_equal(e->recs[i].closed_count, 1);
        rec_fini(&e->recs[i]);
    }
    loop_free(&e->loop);
    mem_free(e);
}

static const char *log0(struct env *e)
{
    return rec_log(&e->recs[0]);
}

static const size_t steps[] = {0, 1, 2, 3, 7};
#define EACH_STEP(i) for (size_t i = 0; i < ARRAY_LEN(steps); i++)

/* ---- plain requests ---- */

static void test_server__keep_alive_get__answered_and_connection_reused(void **state)
{
    (void)state;
    EACH_STEP (i) {
        struct env *e = env_new(answer_at_end);

        for (int round = 0; round < 3; round++) {
            peer_clear(&e->peer);
            peer_feed(e->loop, &e->peer, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", steps[i]);
            assert_string_equal(peer_got(&e->peer), "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            assert_string_equal(rec_log(&e->recs[round]), "H:GET /a. C:OK ");
            assert_int_equal(http_server_conn_active_streams(e->c), 0);
        }
        assert_int_equal(e->codecs, 1);
        assert_int_equal(e->codec, HTTP_11);
        env_free(e);
    }
}

static void test_server__post_with_length__body_and_end_told(void **state)
{
    (void)state;
    EACH_STEP (i) {
        struct env *e = env_new(answer_at_end);

        peer_feed(e->loop, &e->peer,
                  "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", steps[i]);
        assert_string_equal(log0(e), "H:POST /p D:5. C:OK ");
        assert_string_equal(rec_body(&e->recs[0]), "hello");
        assert_int_equal(e->closed, 0);
        env_free(e);
    }
}

static void test_server__chunked_with_trailers__told_in_order(void **state)
{
    (void)state;
    EACH_STEP (i) {
        struct env *e = env_new(answer_at_end);

        peer_feed(e->loop, &e->peer,
                  "POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "3\r\nabc\r\n2\r\nde\r\n0\r\nx-t: 1\r\n\r\n",
                  steps[i]);
        assert_string_equal(log0(e), "H:POST /p D:5 T:1 C:OK ");
        assert_int_equal(e->closed, 0);
        env_free(e);
    }
}

static void test_server__pipelined__parsed_one_by_one(void **state)
{
    (void)state;
    struct env *e = env_new(NULL);

    peer_feed(e->loop, &e->peer,
              "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n"
              "GET /3 HTTP/1.1\r\nHost: h\r\n\r\n",
              0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(e->count, i + 1);
        answer_ok(e->recs[i].s);
        run(e->loop, &e->peer);
    }
    assert_int_equal(e->count, 3);
    assert_string_equal(rec_log(&e->recs[2]), "H:GET /3. C:OK ");
    assert_int_equal(count_of(peer_got(&e->peer), "HTTP/1.1 200"), 3);
    env_free(e);
}

static void test_server__pipelined_and_answered_inside__all_answered(void **state)
{
    (void)state;
    EACH_STEP (i) {
        struct env *e = env_new(answer_at_end);

        peer_feed(e->loop, &e->peer,
                  "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n\r\n"
                  "POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nxx"
                  "GET /3 HTTP/1.1\r\nHost: h\r\n\r\n",
                  steps[i]);
        assert_int_equal(count_of(peer_got(&e->peer), "HTTP/1.1 200"), 3);
        env_free(e);
    }
}

static void test_server__pipeline_past_limit__waits_in_kernel_then_goes_on(void **state)
{
    (void)state;
    struct env *e = env_new(NULL);
    struct strbuf many = {0};

    for (int i = 0; i < 40; i++)
        strbuf_addf(&many, "GET /%d HTTP/1.1\r\nHost: h\r\nx: %01000d\r\n\r\n", i, 0);
    peer_send_n(&e->peer, many.p, many.n);
    run(e->loop, &e->peer);
    assert_int_equal(e->count, 1);
    assert_true(conn_in(http_server_conn_conn(e->c))->len < many.n);
    for (int i = 0; i < 40; i++) {
        assert_int_equal(e->count, i + 1);
        answer_ok(e->recs[i].s);
        run(e->loop, &e->peer);
    }
    assert_int_equal(count_of(peer_got(&e->peer), "HTTP/1.1 200"), 40);
    strbuf_fini(&many);
    env_free(e);
}

static char *big_text(void)
{
    char *text = mem_zalloc(400001);

    memset(text, 'b', 400000);
    return text;
}

static void test_server__client_pipelines_but_never_reads__requests_wait(void **state)
{
    (void)state;
    struct env *e = env_bare(NULL);
    char *big = big_text();

    e->opts.buffer_limit_bytes = 1000;
    env_connect(e);
    for (int i = 0; i < 3; i++)
        peer_send(&e->peer, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    settle_loop(e->loop);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(e->count, i + 1);
        send_head(e->recs[i].s, "200", "400000", false);
        send_text(e->recs[i].s, big, true); /* all of it is queued */
        settle_loop(e->loop);
        assert_string_equal(rec_log(&e->recs[i]), "H:GET /. C:OK ");
        assert_int_equal(e->count, i + 1);
        peer_clear(&e->peer);
        run_until(e->loop, &e->peer, e->peer.got.n > 400000);
        run(e->loop, &e->peer);
    }
    mem_free(big);
    env_free(e);
}

static void test_server__slow_reader__watermarks_told(void **state)
{
    (void)state;
    struct env *e = env_bare(NULL);
    char *big = big_text();

    e->opts.buffer_limit_bytes = 1000;
    env_connect(e);
    peer_send(&e->peer, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n");
    settle_loop(e->loop);
    send_head(e->recs[0].s, "200", "800000", false);
    send_text(e->recs[0].s, big, false);
    settle_loop(e->loop);
    assert_string_equal(log0(e), "H:GET /1. W+ ");
    run_until(e->loop, &e->peer, e->peer.got.n > 400000);
    run(e->loop, &e->peer);
    assert_string_equal(log0(e), "H:GET /1. W+ W- ");
    assert_int_equal(e->recs[0].s->ops->queued(e->recs[0].s), 0);
    mem_free(big);
    env_free(e);
}

/* ---- versions, methods ---- */

static void test_server__http10__answered_and_closed(void **state)
{
    (void)state;
    struct env *e = env_new(answer_at_end);

    peer_feed(e->loop, &e->peer, "GET / HTTP/1.0\r\nHost: h\r\n\r\n", 0);
    assert_non_null(strstr(peer_got(&e->peer), "connection: close"));
    assert_true(e->peer.ended);
    assert_true(e->closed_local);
    env_free(e);
}

static void stream_unknown_length(struct rec *r, enum event e, bool end)
{
    (void)end;
    if (e != EV_HEADERS)
        return;
    send_head(r->s, "200", NULL, false);
    send_text(r->s, "abc", false);
    send_text(r->s, "de", true);
}

static void test_server__http10_keep_alive__kept_with_length_closed_without(void **state)
{
    (void)state;
    struct env *e = env_new(answer_at_end);
    const char *request = "GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n";

    peer_feed(e->loop, &e->peer, request, 0);
    assert_non_null(strstr(peer_got(&e->peer), "connection: keep-alive"));
    assert_false(e->peer.ended);
    e->act = stream_unknown_length;
    peer_clear(&e->peer);
    peer_feed(e->loop, &e->peer, request, 0);
    assert_non_null(strstr(peer_got(&e->peer), "\r\n\r\nabcde"));
    assert_null(strstr(peer_got(&e->peer), "chunked"));
    assert_true(e->peer.ended);
    env_free(e);
}

static void test_server__unknown_length__chunked(void **state)
{
    (void)state;
    struct env *e = env_new(stream_unknown_length);

    peer_feed(e->loop, &e->peer, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0);
    assert_non_null(strstr(peer_got(&e->peer), "\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"));
    assert_int_equal(e->closed, 0);
    env_free(e);
}

static void test_server__head__no_body_sent(void **state)
{
    (void)state;
    struct env *e = env_new(answer_at_end);

    peer_feed(e->loop, &e->peer, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", 0);
    assert_string_equal(peer_got(&e->peer), "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n");
    assert_string_equal(log0(e), "H:HEAD /. C:OK ");
    env_free(e);
}

static void test_server__connection_close__answered_so_and_closed(void **state)
{
    (void)state;
    struct env *e = env_new(answer_at_end);

    peer_feed(e->loop, &e->peer, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 0);
    assert_non_null(strstr(peer_got(&e->peer), "connection: close\r\n"));
    assert_true(e->peer.ended);
    env_free(e);
}

static void answer_close(struct rec *r, enum event e, bool end)
{
    struct headers h;

    (void)end;
    if (e != EV_HEADERS)
        return;
    headers_init(&h, r->s->arena);
    headers_add_id_ref(&h, HDR_STATUS, STR("204"));
    headers_add_id_ref(&h, HDR_CONNECTION, STR("close"));
    stream_send_headers(r->s, &h, true);
}

static void test_server__handler_sends_close__closed_after_answer(void **state)
{
    (void)state;
    struct env *e = env_new(answer_close);

    peer_feed(e->loop, &e->peer, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0);
    assert_int_equal(count_of(peer_got(&e->peer), "connection: close\r\n"), 1);
    assert_true(e->peer.ended);
    env_free(e);
}

static void test_server__max_requests__last_answer_closes(void **state)
{
    (void)state;
    struct env *e = env_new(answer_at_end);

    e->opts.max_requests_per_connection = 2;
    peer_feed(e->loop, &e->peer, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0);
    assert_null(strstr(peer_got(&e->peer), "close"));
    peer_feed(e->loop, &e->peer, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0);
    assert_non_null(strstr(peer_got(&e->peer), "connection: close"));
    assert_true(e->peer.ended);
    env_free(e);
}

/* ---- 1xx ---- */

#define EXPECTING "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"

static void no_expect_seen(struct rec *r, enum event e, bool end)
{
    if (e <= EV_TRAILERS && end)
        answer_ok(r->s);
}

static void test_server__expect_continue__answered_once_body_is_wanted(void **state)
{
    (void)state;
    struct env *e = env_new(no_expect_seen);

    peer_feed(e->loop, &e->peer, EXPECTING, 0);
    assert_string_equal(peer_got(&e->peer), "HTTP/1.1 100 Continue\r\n\r\n");
    peer_feed(e->loop, &e->peer, "xx", 0);
    assert_int_equal(count_of(peer_got(&e->peer), "100 Continue"), 1);
    assert_string_equal(log0(e), "H:POST / D:2. C:OK ");
    env_free(e);
}

static void test_server__expect_continue_with_body_there__no_100(void **state)
{
    (void)state;
    struct env *e = env_new(answer_at_end);

    peer_feed(e->loop, &e->peer, EXPECTING "xx", 0);
    assert_null(strstr(peer_got(&e->peer), "100 Continue"));
    env_free(e);
}

static void test_server__expect_continue_proxied__left_to_the_handler(void **state)
{
    (void)state;
    struct env *e = env_new(NULL);
    struct headers h;

    e->opts.proxy_100_continue = true;
    peer_feed(e->loop, &e->peer, EXPECTING, 0);
    assert_string_equal(peer_got(&e->peer), "");
    headers_init(&h, e->recs[0].s->arena);
    headers_add_id_ref(&h, HDR_STATUS, STR("100"));
    stream_send_informational(e->recs[0].s, &h);
    run(e->loop, &e->peer);
    assert_string_equal(peer_got(&e->peer), "HTTP/1.1 100 Continue\r\n\r\n");
    env_free(e);
}

static void refuse_at_once(struct rec *r, enum event e, bool end)
{
    (void)end;
    if (e == EV_HEADERS)
        send_head(r->s, "417", NULL, true);
}

static void test_server__expect_refused_at_once__no_100_and_closed(void **state)
{
    (void)state;
    struct env *e = env_new(refuse_at_once);

    peer_feed(e->loop, &e->peer, EXPECTING, 0);
    assert_null(strstr(peer_got(&e->peer), "100 Continue"));
    assert_non_null(strstr(peer_got(&e->peer), "connection: close"));
    assert_true(e->peer.ended);
    env_free(e);
}

/* ---- answers before the request's end ---- */

static void test_server__answer_before_request_end__closed_but_not_lost(void **state)
{
    (void)state;
    struct env *e = env_new(refuse_at_once);

    peer_feed(e->loop, &e->peer, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nabc", 0);
    assert_non_null(strstr(peer_got(&e->peer), "HTTP/1.1 417"));
    assert_non_null(strstr(peer_got(&e->peer), "connection: close"));
    peer_send(&e->peer, "more that nobody wants"); /* taken and dropped: no RST */
    settle_loop(e->loop);
    assert_string_equal(log0(e), "H:POST / C:OK ");
    env_free(e);
}

static void test_server__answer_with_whole_body_there__connection_kept(void **state)
{
    (void)state;
    struct env *e = env_new(refuse_at_once);

    peer_feed(e->loop, &e->peer,
              "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
              "POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
              0);
    assert_int_equal(count_of(peer_got(&e->peer), "HTTP/1.1 417"), 2);
    assert_null(strstr(peer_got(&e->peer), "close"));
    assert_int_equal(e->closed, 0);
    env_free(e);
}

/* ---- promised lengths ---- */

static void answer_short(struct rec *r, enum event e, bool end)
{
    if (e == EV_HEADERS && end) {
        send_head(r->s, "200", "10", false);
        send_text(r->s, "abc", true);
    }
}

static void answer_long(struct rec *r, enum event e, bool end)
{
    if (e == EV_HEADERS && end) {
        send_head(r->s, "200", "2", false);
        send_text(r->s, "abcHTTP/1.1 200 OK\r\n\r\n", true);
    }
}

static void test_server__answer_of_wrong_length__connection_ends(void **state)
{
    (void)state;
    act_fn acts[] = {answer_short, answer_long};

    for (size_t i = 0; i < ARRAY_LEN(acts); i++) {
        struct env *e = env_new(acts[i]);

        peer_feed(e->loop, &e->peer, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0);
        assert_true(e->peer.ended);
        assert_int_equal(count_of(peer_got(&e->peer), "HTTP/1.1"), 1);
        env_free(e);
    }
}

/* ---- tunnels ---- */

static void test_server__upgrade__raw_both_ways_with_half_close(void **state)
{
    (void)state;
    EACH_STEP (i) {
        struct env *e = env_new(NULL);
        struct headers h;

        peer_feed(e->loop, &e->peer,
                  "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
                  "early",
                  steps[i]);
        struct rec *r = &e->recs[0];
        assert_string_equal(rec_log(r), "H:GET /ws ");
        headers_init(&h, r->s->arena);
        headers_add_id_ref(&h, HDR_STATUS, STR("101"));
        headers_add_id_ref(&h, HDR_CONNECTION, STR("upgrade"));
        headers_add_id_ref(&h, HDR_UPGRADE, STR("websocket"));
        stream_send_headers(r->s, &h, false);
        run(e->loop, &e->peer);
        assert_string_equal(rec_body(r), "early");
        assert_non_null(strstr(peer_got(&e->peer), "HTTP/1.1 101"));
        send_text(r->s, "down", false);
        peer_feed(e->loop, &e->peer, " up", steps[i]);
        assert_non_null(strstr(peer_got(&e->peer), "\r\n\r\ndown"));
        assert_string_equal(rec_body(r), "early up");
        shutdown(e->peer.fd, SHUT_WR);
        run(e->loop, &e->peer);
        assert_string_equal(rec_log(r), "H:GET /ws D:8. ");
        send_text(r->s, "last", true);
        run(e->loop, &e->peer);
        assert_non_null(strstr(peer_got(&e->peer), "downlast"));
        assert_string_equal(rec_log(r), "H:GET /ws D:8. C:OK ");
        assert_true(e->peer.ended);
        env_free(e);
    }
}

static void test_server__upgrade_refused__ordinary_answer_and_connection_kept(void **state)
{
    (void)state;
    struct env *e = env_new(NULL);

    peer_feed(e->loop, &e->peer,
              "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
              "GET /2 HTTP/1.1\r\nHost: h\r\n\r\n",
              0);
    struct rec *r = &e->recs[0];
    send_head(r->s, "200", "2", false);
    run(e->loop, &e->peer);
    assert_string_equal(rec_log(r), "H:GET /ws D:0. ");
    send_text(r->s, "ok", true);
    run(e->loop, &e->peer);
    assert_int_equal(e->count, 2);
    assert_int_equal(e->closed, 0);
    env_free(e);
}

static void test_server__connect__tunnel_after_2xx_only(void **state)
{
    (void)state;
    for (int ok = 0; ok < 2; ok++) {
        struct env *e = env_new(NULL);

        peer_feed(e->loop, &e->peer, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\nhello", 0);
        struct rec *r = &e->recs[0];
        assert_int_equal(r->body.n, 0);
        if (ok) {
            send_head(r->s, "200", NULL, false);
            run(e->loop, &e->peer);
            assert_string_equal(rec_body(r), "hello");
            assert_string_equal(peer_got(&e->peer), "HTTP/1.1 200 OK\r\n\r\n");
            send_text(r->s, "x", true);
            run(e->loop, &e->peer);
            assert_true(e->peer.ended); /* our end */
            assert_int_equal(e->closed, 0);
            shutdown(e->peer.fd, SHUT_WR);
            run(e->loop, &e->peer);
        } else {
            send_head(r->s, "403", NULL, true);
            run(e->loop, &e->peer);
            assert_true(e->peer.ended);
            assert_int_equal(r->body.n, 0);
        }
        assert_int_equal(r->why, STREAM_OK);
        assert_int_equal(e->closed, 1);
        env_free(e);
    }
}

/* ---- bad input ---- */

static const struct {
    const char *bytes, *answer, *details;
} bad_heads[] = {
    {"\x16\x03\x01\x02\r\n\r\n", "HTTP/1.1 400", "http1.codec_error"},
    {"GET / HTTP/1.1\r\nHost : h\r\n\r\n", "HTTP/1.1 400", "http1.codec_error"},
    {"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400", "missing_host_header"},
    {"GET / HTTP/2.5\r\nHost: h\r\n\r\n", "HTTP/1.1 505", "http1.codec_error"},
    {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
     "HTTP/1.1 400", "http1.content_length_and_chunked_not_allowed"},
};

static void test_server__bad_head__answered_told_and_closed(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(bad_heads); k++) {
        EACH_STEP (i) {
            struct env *e = env_new(NULL);

            peer_feed(e->loop, &e->peer, bad_heads[k].bytes, steps[i]);
            run(e->loop, &e->peer);
            assert_int_equal(e->errors, 1);
            assert_int_equal(e->count, 0);
            assert_string_equal(e->error_details, bad_heads[k].details);
            assert_ptr_equal(strstr(peer_got(&e->peer), bad_heads[k].answer), peer_got(&e->peer));
            assert_non_null(strstr(peer_got(&e->peer), "connection: close"));
            assert_true(e->peer.ended);
            env_free(e);
        }
    }
}

static void test_server__bad_head_after_good_one__both_answered(void **state)
{
    (void)state;
    struct env *e = env_new(answer_at_end);

    peer_feed(e->loop, &e->peer, "GET / HTTP/1.1\r\nHost: h\r\n\r\nRUBBISH\r\n\r\n", 0);
    assert_non_null(strstr(peer_got(&e->peer), "HTTP/1.1 200"));
    assert_non_null(strstr(peer_got(&e->peer), "HTTP/1.1 400"));
    env_free(e);
}

static void test_server__local_reply__fills_the_answer(void **state)
{
    (void)state;
    struct env *e = env_bare(NULL);

    e->custom_reply = true;
    env_connect(e);
    peer_feed(e->loop, &e->peer, "RUBBISH\r\n\r\n", 0);
    assert_string_equal(peer_got(&e->peer), "HTTP/1.1 400 Bad Request\r\nx-mine: yes\r\n"
                                            "content-length: 3\r\nconnection: close\r\n\r\nno!");
    env_free(e);
}

static void test_server__head_too_large__431(void **state)
{
    (void)state;
    struct env *e = env_new(NULL);
    struct strbuf b = {0};

    strbuf_addf(&b, "GET / HTTP/1.1\r\nHost: h\r\nx: %070000d", 0);
    peer_send_n(&e->peer, b.p, b.n);
    run(e->loop, &e->peer);
    assert_int_equal(e->error_status, 431);
    assert_non_null(strstr(peer_got(&e->peer), "HTTP/1.1 431"));
    strbuf_fini(&b);
    env_free(e);
}

static void test_server__bad_chunk__stream_ends_and_400(void **state)
{
    (void)state;
    EACH_STEP (i) {
        struct env *e = env_new(NULL);

        peer_feed(e->loop, &e->peer,
                  "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
                  steps[i]);
        assert_int_equal(e->recs[0].why, STREAM_PROTOCOL_ERROR);
        assert_non_null(strstr(peer_got(&e->peer), "HTTP/1.1 400"));
        assert_true(e->peer.ended);
        env_free(e);
    }
}

/* ---- ends of connections ---- */

static void test_server__eof_in_request__terminated(void **state)
{
    (void)state;
    const char *starts[] = {"GET / HT", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab",
                            "GET / HTTP/1.1\r\nHost: h\r\n\r\n", ""};
    for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
        struct env *e = env_new(NULL);

        peer_feed(e->loop, &e->peer, starts[i], 0);
        shutdown(e->peer.fd, SHUT_WR);
        run(e->loop, &e->peer);
        assert_int_equal(e->closed, 1);
        assert_false(e->closed_local);
        if (e->count)
            assert_int_equal(e->recs[0].why, STREAM_TERMINATED);
        env_free(e);
    }
}

static void test_server__eof_right_after_answered_request__answer_not_lost(void **state)
{
    (void)state;
    struct env *e = env_new(answer_at_end);

    peer_send(&e->peer, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    shutdown(e->peer.fd, SHUT_WR);
    run(e->loop, &e->peer);
    assert_non_null(strstr(peer_got(&e->peer), "\r\n\r\nok"));
    env_free(e);
}

static void test_server__idle_timeout__closed(void **state)
{
    (void)state;
    struct env *e = env_bare(answer_at_end);

    e->opts.idle_timeout_ms = 5;
    env_connect(e);
    peer_feed(e->loop, &e->peer, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0);
    run_until(e->loop, &e->peer, e->closed);
    assert_int_equal(e->idle_timeouts, 1);
    assert_true(e->closed_local);
    env_free(e);
}

static void test_server__idle_timeout_while_active__not_idle(void **state)
{
    (void)state;
    struct env *e = env_bare(NULL);
    uint64_t start;

    e->opts.idle_timeout_ms = 5;
    env_connect(e);
    peer_feed(e->loop, &e->peer, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0);
    start = loop_now_us(e->loop);
    run_until(e->loop, &e->peer, loop_now_us(e->loop) > start + 20000);
    assert_int_equal(e->closed, 0);
    answer_ok(e->recs[0].s);
    run_until(e->loop, &e->peer, e->closed);
    assert_int_equal(e->idle_timeouts, 1);
    env_free(e);
}

static void test_server__headers_timeout__408(void **state)
{
    (void)state;
    struct env *e = env_bare(NULL);

    e->opts.request_headers_timeout_ms = 5;
    env_connect(e);
    peer_feed(e->loop, &e->peer, "GET / HTTP/1.1\r\nHo", 0);
    run_until(e->loop, &e->peer, e->closed && e->peer.ended);
    assert_non_null(strstr(peer_got(&e->peer), "HTTP/1.1 408 "));
    assert_string_equal(e->error_details, "request_header_timeout");
    env_free(e);
}

static void test_server__headers_timeout_with_request_active__not_told(void **state)
{
    (void)state;
    struct env *e = env_bare(NULL);
    uint64_t start;

    e->opts.request_headers_timeout_ms = 5;
    env_connect(e);
    peer_feed(e->loop, &e->peer, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 1);
    start = loop_now_us(e->loop);
    run_until(e->loop, &e->peer, loop_now_us(e->loop) > start + 20000);
    assert_int_equal(e->closed, 0);
    assert_int_equal(e->errors, 0);
    env_free(e);
}

static void test_server__drain__idle_closes_busy_answers_close(void **state)
{
    (void)state;
    struct env *e = env_new(answer_at_end);

    peer_feed(e->loop, &e->peer, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0);
    http_server_conn_drain(e->c);
    run(e->loop, &e->peer);
    assert_true(e->peer.ended);
    env_free(e);

    e = env_new(NULL);
    peer_feed(e->loop, &e->peer, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0);
    http_server_conn_drain(e->c);
    run(e->loop, &e->peer);
    assert_false(e->peer.ended);
    assert_true(http_server_conn_is_draining(e->c));
    answer_ok(e->recs[0].s);
    run(e->loop, &e->peer);
    assert_non_null(strstr(peer_got(&e->peer), "connection: close"));
    assert_true(e->peer.ended);
    env_free(e);
}

static void test_server__max_connection_duration__drains(void **state)
{
    (void)state;
    struct env *e = env_bare(NULL);

    e->opts.max_connection_ms = 5;
    env_connect(e);
    peer_feed(e->loop, &e->peer, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0);
    run_until(e->loop, &e->peer, http_server_conn_is_draining(e->c));
    answer_ok(e->recs[0].s);
    run(e->loop, &e->peer);
    assert_non_null(strstr(peer_got(&e->peer), "connection: close"));
    assert_true(e->peer.ended);
    env_free(e);
}

/* ---- back-pressure ---- */

static void test_server__paused__nothing_told_until_resumed(void **state)
{
    (void)state;
    struct env *e = env_new(NULL);

    peer_feed(e->loop, &e->peer, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nab", 0);
    struct rec *r = &e->recs[0];
    assert_int_equal(r->body.n, 2);
    stream_pause(r->s, true);
    stream_pause(r->s, true);
    peer_feed(e->loop, &e->peer, "cdef", 0);
    assert_int_equal(r->body.n, 2);
    stream_pause(r->s, false);
    run(e->loop, &e->peer);
    assert_int_equal(r->body.n, 2);
    stream_pause(r->s, false);
    run(e->loop, &e->peer);
    assert_string_equal(rec_log(r), "H:POST / D:6. ");
    env_free(e);
}

static void pause_at_head(struct rec *r, enum event e, bool end)
{
    (void)end;
    if (e == EV_HEADERS)
        stream_pause(r->s, true);
}

static void test_server__paused_in_on_headers__body_waits(void **state)
{
    (void)state;
    struct env *e = env_new(pause_at_head);

    peer_feed(e->loop, &e->peer, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab", 0);
    struct rec *r = &e->recs[0];
    assert_string_equal(rec_log(r), "H:POST / ");
    stream_pause(r->s, false);
    run(e->loop, &e->peer);
    assert_string_equal(rec_log(r), "H:POST / D:2. ");
    env_free(e);
}

/* ---- every callback may end the stream or the connection ---- */

static enum event end_at;
static bool end_connection;

static void end_there(struct rec *r, enum event e, bool end)
{
    (void)end;
    if (e == EV_CLOSED && end_at != EV_CLOSED)
        return;
    if (e != end_at)
        return;
    if (end_connection && env_of(r)->c)
        http_server_conn_close(env_of(r)->c);
    else if (e != EV_CLOSED)
        stream_reset(r->s, STREAM_LOCAL);
}

static void test_server__ended_from_inside_a_callback__closed_once(void **state)
{
    (void)state;
    const enum event at[] = {EV_HEADERS, EV_DATA, EV_TRAILERS, EV_CLOSED};

    for (size_t k = 0; k < ARRAY_LEN(at); k++) {
        for (int whole = 0; whole < 2; whole++) {
            EACH_STEP (i) {
                end_at = at[k];
                end_connection = whole;
                struct env *e = env_new(end_there);

                peer_feed(e->loop, &e->peer,
                          "POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                          "3\r\nabc\r\n0\r\nx-t: 1\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n",
                          steps[i]);
                if (at[k] == EV_CLOSED && e->c)
                    stream_reset(e->recs[0].s, STREAM_LOCAL);
                run(e->loop, &e->peer);
                assert_int_equal(e->closed, 1);
                assert_int_equal(e->count, 1);
                env_free(e);
            }
        }
    }
}

static void test_server__reset_in_on_stream__closed_once(void **state)
{
    (void)state;
    struct env *e = env_bare(NULL);

    e->reset_in_on_stream = true;
    env_connect(e);
    peer_feed(e->loop, &e->peer, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0);
    assert_string_equal(log0(e), "C:local reset ");
    env_free(e);
}

static void test_server__reset_in_response__cut_off_visibly(void **state)
{
    (void)state;
    struct env *e = env_new(NULL);

    peer_feed(e->loop, &e->peer, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0);
    send_head(e->recs[0].s, "200", NULL, false);
    send_text(e->recs[0].s, "abc", false);
    stream_reset(e->recs[0].s, STREAM_LOCAL);
    run(e->loop, &e->peer);
    assert_non_null(strstr(peer_got(&e->peer), "3\r\nabc\r\n"));
    assert_null(strstr(peer_got(&e->peer), "0\r\n\r\n"));
    assert_true(e->peer.ended);
    env_free(e);
}

/* ---- choice of codec ---- */

static void test_server__auto__first_bytes_decide(void **state)
{
    (void)state;
    EACH_STEP (i) {
        struct env *e = env_bare(answer_at_end);

        e->opts.codec = HTTP_CODEC_AUTO;
        env_connect(e);
        peer_feed(e->loop, &e->peer, "PRINT /x HTTP/1.1\r\nHost: h\r\n\r\n", steps[i]);
        assert_int_equal(e->codec, HTTP_11);
        env_free(e);

        e = env_bare(answer_at_end);
        e->opts.codec = HTTP_CODEC_AUTO;
        env_connect(e);
        peer_feed(e->loop, &e->peer, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r", steps[i]);
        assert_int_equal(e->codecs, 0);
        peer_feed(e->loop, &e->peer, "\n", 0);
        assert_int_equal(e->codecs, 1);
        assert_int_equal(e->codec, HTTP_2);
        env_free(e);
    }
}

static void test_server__auto_and_silent__idle_timeout_closes(void **state)
{
    (void)state;
    struct env *e = env_bare(NULL);

    e->opts.codec = HTTP_CODEC_AUTO;
    e->opts.idle_timeout_ms = 5;
    env_connect(e);
    peer_feed(e->loop, &e->peer, "PRI ", 0);
    run_until(e->loop, &e->peer, e->closed);
    env_free(e);
}

static void test_server__idle_connection__is_small(void **state)
{
    (void)state;
    struct env *e = env_new(answer_at_end);

    peer_feed(e->loop, &e->peer, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0);
    assert_true(sizeof(struct http_server_conn) < 250);
    assert_null(e->c->half);
    assert_int_equal(conn_in(http_server_conn_conn(e->c))->len, 0);
    assert_null(conn_in(http_server_conn_conn(e->c))->first);
    assert_null(conn_out(http_server_conn_conn(e->c))->first);
    env_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_server__keep_alive_get__answered_and_connection_reused),
        cmocka_unit_test(test_server__post_with_length__body_and_end_told),
        cmocka_unit_test(test_server__chunked_with_trailers__told_in_order),
        cmocka_unit_test(test_server__pipelined__parsed_one_by_one),
        cmocka_unit_test(test_server__pipelined_and_answered_inside__all_answered),
        cmocka_unit_test(test_server__pipeline_past_limit__waits_in_kernel_then_goes_on),
        cmocka_unit_test(test_server__client_pipelines_but_never_reads__requests_wait),
        cmocka_unit_test(test_server__slow_reader__watermarks_told),
        cmocka_unit_test(test_server__http10__answered_and_closed),
        cmocka_unit_test(test_server__http10_keep_alive__kept_with_length_closed_without),
        cmocka_unit_test(test_server__unknown_length__chunked),
        cmocka_unit_test(test_server__head__no_body_sent),
        cmocka_unit_test(test_server__connection_close__answered_so_and_closed),
        cmocka_unit_test(test_server__handler_sends_close__closed_after_answer),
        cmocka_unit_test(test_server__max_requests__last_answer_closes),
        cmocka_unit_test(test_server__expect_continue__answered_once_body_is_wanted),
        cmocka_unit_test(test_server__expect_continue_with_body_there__no_100),
        cmocka_unit_test(test_server__expect_continue_proxied__left_to_the_handler),
        cmocka_unit_test(test_server__expect_refused_at_once__no_100_and_closed),
        cmocka_unit_test(test_server__answer_before_request_end__closed_but_not_lost),
        cmocka_unit_test(test_server__answer_with_whole_body_there__connection_kept),
        cmocka_unit_test(test_server__answer_of_wrong_length__connection_ends),
        cmocka_unit_test(test_server__upgrade__raw_both_ways_with_half_close),
        cmocka_unit_test(test_server__upgrade_refused__ordinary_answer_and_connection_kept),
        cmocka_unit_test(test_server__connect__tunnel_after_2xx_only),
        cmocka_unit_test(test_server__bad_head__answered_told_and_closed),
        cmocka_unit_test(test_server__bad_head_after_good_one__both_answered),
        cmocka_unit_test(test_server__local_reply__fills_the_answer),
        cmocka_unit_test(test_server__head_too_large__431),
        cmocka_unit_test(test_server__bad_chunk__stream_ends_and_400),
        cmocka_unit_test(test_server__eof_in_request__terminated),
        cmocka_unit_test(test_server__eof_right_after_answered_request__answer_not_lost),
        cmocka_unit_test(test_server__idle_timeout__closed),
        cmocka_unit_test(test_server__idle_timeout_while_active__not_idle),
        cmocka_unit_test(test_server__headers_timeout__408),
        cmocka_unit_test(test_server__headers_timeout_with_request_active__not_told),
        cmocka_unit_test(test_server__drain__idle_closes_busy_answers_close),
        cmocka_unit_test(test_server__max_connection_duration__drains),
        cmocka_unit_test(test_server__paused__nothing_told_until_resumed),
        cmocka_unit_test(test_server__paused_in_on_headers__body_waits),
        cmocka_unit_test(test_server__ended_from_inside_a_callback__closed_once),
        cmocka_unit_test(test_server__reset_in_on_stream__closed_once),
        cmocka_unit_test(test_server__reset_in_response__cut_off_visibly),
        cmocka_unit_test(test_server__auto__first_bytes_decide),
        cmocka_unit_test(test_server__auto_and_silent__idle_timeout_closes),
        cmocka_unit_test(test_server__idle_connection__is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
