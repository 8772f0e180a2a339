/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"

struct env {
    struct loop *loop;
    struct peer peer;
    struct http_client_opts opts;
    struct http_client_conn *c; /* NULL once closed */
    struct arena arena;
    struct rec rec;
    int ready, capacity, closed, errors;
    bool was_ready;
    enum conn_close why;
    char error_details[64];
};

static void on_ready(void *user, struct http_client_conn *c)
{
    struct env *e = user;

    assert_int_equal(http_client_conn_capacity(c), 1);
    e->ready++;
}

static void on_capacity(void *user, struct http_client_conn *c)
{
    (void)c;
    ((struct env *)user)->capacity++;
}

static void on_closed(void *user, struct http_client_conn *c, bool was_ready, enum conn_close why)
{
    struct env *e = user;

    (void)c;
    e->closed++;
    e->was_ready = was_ready;
    e->why = why;
    e->c = NULL;
}

static void on_protocol_error(void *user, struct http_client_conn *c, const char *details)
{
    struct env *e = user;

    (void)c;
    e->errors++;
    snprintf(e->error_details, sizeof(e->error_details), "%s", details);
}

static const struct http_client_handler handler = {
    .on_ready = on_ready,
    .on_capacity = on_capacity,
    .on_closed = on_closed,
    .on_protocol_error = on_protocol_error,
};

static struct env *env_new(act_fn act)
{
    struct env *e = NEW(env);

    e->loop = test_loop();
    e->opts = (struct http_client_opts){
        .h1 = {.limits = H1_LIMITS_DEFAULT, .keep_trailers = true, .allow_upgrade = true},
        .h1_enable_trailers = true,
        .buffer_limit_bytes = 1 << 20,
    };
    arena_init(&e->arena, 0);
    rec_init(&e->rec, act, e);
    e->c = http_client_conn_new(conn_with_peer(e->loop, &e->peer), HTTP_11, false, &e->opts,
                                &handler, e);
    assert_int_equal(e->ready, 0);
    run(e->loop, &e->peer);
    assert_int_equal(e->ready, 1);
    return e;
}

static void env_free(struct env *e)
{
    if (e->c)
        http_client_conn_close(e->c);
    assert_int_equal(e->closed, 1);
    if (e->rec.s)
        assert_int_equal(e->rec.closed_count, 1);
    peer_close(&e->peer);
    settle_loop(e->loop);
    rec_fini(&e->rec);
    arena_fini(&e->arena);
    loop_free(&e->loop);
    mem_free(e);
}

static void send_request(struct env *e, const char *method, const char *length, bool end)
{
    struct headers h;

    headers_init(&h, &e->arena);
    headers_add_id_ref(&h, HDR_METHOD, str_from(method));
    headers_add_id_ref(&h, HDR_PATH, STR("/a"));
    headers_add_id_ref(&h, HDR_AUTHORITY, STR("h"));
    if (length)
        headers_add_id_ref(&h, HDR_CONTENT_LENGTH, str_from(length));
    stream_send_headers(e->rec.s, &h, end);
}

static void begin(struct env *e)
{
    e->rec.s = http_client_conn_stream(e->c, &e->rec.sink, &e->arena);
    assert_non_null(e->rec.s);
    assert_int_equal(http_client_conn_capacity(e->c), 0);
}

static void get(struct env *e)
{
    begin(e);
    send_request(e, "GET", NULL, true);
    run(e->loop, &e->peer);
}

/* The same connection, a new request. */
static void again(struct env *e)
{
    assert_int_equal(e->rec.closed_count, 1);
    act_fn act = e->rec.act;
    rec_fini(&e->rec);
    rec_init(&e->rec, act, e);
    peer_clear(&e->peer);
    get(e);
}

static const size_t steps[] = {0, 1, 2, 3, 7};
#define EACH_STEP(i) for (size_t i = 0; i < ARRAY_LEN(steps); i++)

/* ---- responses ---- */

static const struct {
    const char *response, *log;
    bool reusable;
} responses[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "H:200 D:2. C:OK ", true},
    {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "H:200. C:OK ", true},
    {"HTTP/1.1 204 No Content\r\n\r\n", "H:204. C:OK ", true},
    {"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", "H:304. C:OK ", true},
    {"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
     "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
     "I:103 I:100 H:200 D:2. C:OK ", true},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
     "H:200 D:3. C:OK ", true},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n",
     "H:200 D:3 T:1 C:OK ", true},
    {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "H:200 D:2. C:OK ",
     false},
    {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "H:200 D:2. C:OK ", false},
};

static void test_client__response__told_in_order_and_reuse_decided(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(responses); k++) {
        EACH_STEP (i) {
            struct env *e = env_new(NULL);

            get(e);
            assert_string_equal(peer_got(&e->peer), "GET /a HTTP/1.1\r\nhost: h\r\n\r\n");
            assert_false(e->rec.s->reused_connection);
            peer_feed(e->loop, &e->peer, responses[k].response, steps[i]);
            assert_string_equal(rec_log(&e->rec), responses[k].log);
            assert_int_equal(e->closed, !responses[k].reusable);
            assert_int_equal(e->capacity, 1);
            if (responses[k].reusable) {
                again(e);
                assert_true(e->rec.s->reused_connection);
                peer_feed(e->loop, &e->peer, responses[k].response, steps[i]);
                assert_string_equal(rec_log(&e->rec), responses[k].log);
            } else {
                assert_true(e->peer.ended);
            }
            env_free(e);
        }
    }
}

static void test_client__body_until_close__ends_with_connection(void **state)
{
    (void)state;
    struct env *e = env_new(NULL);

    get(e);
    peer_feed(e->loop, &e->peer, "HTTP/1.1 200 OK\r\n\r\nabc", 1);
    assert_string_equal(rec_log(&e->rec), "H:200 ");
    shutdown(e->peer.fd, SHUT_WR);
    run(e->loop, &e->peer);
    assert_string_equal(rec_log(&e->rec), "H:200 D:3. C:OK ");
    assert_int_equal(e->closed, 1);
    env_free(e);
}

static void test_client__head__no_body_awaited(void **state)
{
    (void)state;
    struct env *e = env_new(NULL);

    begin(e);
    send_request(e, "HEAD", NULL, true);
    peer_feed(e->loop, &e->peer, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n", 0);
    assert_string_equal(rec_log(&e->rec), "H:200. C:OK ");
    assert_int_equal(e->closed, 0);
    env_free(e);
}

static void test_client__request_body__framed_by_length_or_chunks(void **state)
{
    (void)state;
    struct env *e = env_new(NULL);

    begin(e);
    send_request(e, "POST", "5", false);
    send_text(e->rec.s, "he", false);
    send_text(e->rec.s, "llo", true);
    run(e->loop, &e->peer);
    assert_non_null(strstr(peer_got(&e->peer), "\r\n\r\nhello"));
    peer_feed(e->loop, &e->peer, "HTTP/1.1 204 No Content\r\n\r\n", 0);
    rec_fini(&e->rec);
    rec_init(&e->rec, NULL, e);
    peer_clear(&e->peer);
    begin(e);
    send_request(e, "POST", NULL, false);
    send_text(e->rec.s, "hello", false);

    struct headers t;
    headers_init(&t, &e->arena);
    headers_add_ref(&t, STR("x-t"), STR("1"));
    stream_send_trailers(e->rec.s, &t);
    run(e->loop, &e->peer);
    assert_non_null(strstr(peer_got(&e->peer), "5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n"));
    peer_feed(e->loop, &e->peer, "HTTP/1.1 204 No Content\r\n\r\n", 0);
    assert_string_equal(rec_log(&e->rec), "H:204. C:OK ");
    assert_int_equal(e->closed, 0);
    env_free(e);
}

static void test_client__request_of_wrong_length__never_reused(void **state)
{
    (void)state;
    struct env *e = env_new(NULL);

    begin(e);
    send_request(e, "POST", "5", false);
    send_text(e->rec.s, "abc", true);
    run(e->loop, &e->peer);
    assert_int_equal(e->rec.why, STREAM_LOCAL);
    assert_int_equal(e->closed, 1);
    env_free(e);

    e = env_new(NULL);
    begin(e);
    send_request(e, "POST", "2", false);
    send_text(e->rec.s, "abGET /evil HTTP/1.1\r\n\r\n", true);
    run(e->loop, &e->peer);
    assert_null(strstr(peer_got(&e->peer), "evil"));
    peer_feed(e->loop, &e->peer, "HTTP/1.1 204 No Content\r\n\r\n", 0);
    assert_int_equal(e->closed, 1);
    env_free(e);
}

static void test_client__early_response__delivered_and_not_reused(void **state)
{
    (void)state;
    for (int finish = 0; finish < 2; finish++) {
        struct env *e = env_new(NULL);

        begin(e);
        send_request(e, "POST", "5", false);
        send_text(e->rec.s, "he", false);
        run(e->loop, &e->peer);
        peer_feed(e->loop, &e->peer, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno", 1);
        assert_string_equal(rec_log(&e->rec), "H:413 D:2. ");
        assert_int_equal(e->closed, 0);
        if (finish) /* a peer that answers early and reads on is fine */
            send_text(e->rec.s, "llo", true);
        else
            stream_reset(e->rec.s, STREAM_LOCAL);
        assert_int_equal(e->rec.why, finish ? STREAM_OK : STREAM_LOCAL);
        assert_int_equal(e->closed, !finish);
        env_free(e);
    }
}

/* ---- tunnels ---- */

static void begin_upgrade(struct env *e)
{
    struct headers h;

    begin(e);
    headers_init(&h, &e->arena);
    headers_add_id_ref(&h, HDR_METHOD, STR("GET"));
    headers_add_id_ref(&h, HDR_PATH, STR("/ws"));
    headers_add_id_ref(&h, HDR_AUTHORITY, STR("h"));
    headers_add_id_ref(&h, HDR_CONNECTION, STR("upgrade"));
    headers_add_id_ref(&h, HDR_UPGRADE, STR("websocket"));
    stream_send_headers(e->rec.s, &h, false);
    send_text(e->rec.s, "early", false);
    run(e->loop, &e->peer);
    assert_non_null(strstr(peer_got(&e->peer), "upgrade: websocket\r\n"));
    assert_null(strstr(peer_got(&e->peer), "early"));
}

static void test_client__upgrade__raw_after_101_with_half_close(void **state)
{
    (void)state;
    EACH_STEP (i) {
        struct env *e = env_new(NULL);

        begin_upgrade(e);
        peer_feed(e->loop, &e->peer,
                  "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
                  "Upgrade: websocket\r\n\r\nhello",
                  steps[i]);
        assert_string_equal(rec_log(&e->rec), "H:101 ");
        assert_string_equal(rec_body(&e->rec), "hello");
        assert_non_null(strstr(peer_got(&e->peer), "\r\n\r\nearly"));
        send_text(e->rec.s, " bird", true);
        run(e->loop, &e->peer);
        assert_non_null(strstr(peer_got(&e->peer), "early bird"));
        assert_true(e->peer.ended);
        peer_feed(e->loop, &e->peer, " you", steps[i]);
        assert_string_equal(rec_body(&e->rec), "hello you");
        shutdown(e->peer.fd, SHUT_WR);
        run(e->loop, &e->peer);
        assert_string_equal(rec_log(&e->rec), "H:101 D:9. C:OK ");
        assert_int_equal(e->closed, 1);
        env_free(e);
    }
}

static void test_client__peer_ends_tunnel_first__our_direction_goes_on(void **state)
{
    (void)state;
    struct env *e = env_new(NULL);

    begin_upgrade(e);
    peer_feed(e->loop, &e->peer, "HTTP/1.1 101 Switching Protocols\r\n\r\nx", 0);
    shutdown(e->peer.fd, SHUT_WR);
    run(e->loop, &e->peer);
    assert_string_equal(rec_log(&e->rec), "H:101 D:1. ");
    send_text(e->rec.s, " last", false);
    run(e->loop, &e->peer);
    send_text(e->rec.s, " words", true);
    run(e->loop, &e->peer);
    assert_string_equal(rec_log(&e->rec), "H:101 D:1. C:OK ");
    env_free(e);
}

static void test_client__upgrade_refused__early_data_dropped(void **state)
{
    (void)state;
    struct env *e = env_new(NULL);

    begin_upgrade(e);
    peer_feed(e->loop, &e->peer, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 1);
    assert_string_equal(rec_log(&e->rec), "H:403 D:2. C:OK ");
    assert_null(strstr(peer_got(&e->peer), "early"));
    assert_int_equal(e->closed, 0);
    env_free(e);
}

static void test_client__tunnel_data_before_answer__watermark_told(void **state)
{
    (void)state;
    struct env *e = env_new(NULL);

    e->opts.buffer_limit_bytes = 10;
    begin_upgrade(e);
    send_text(e->rec.s, "more than ten bytes", false);
    assert_string_equal(rec_log(&e->rec), "W+ ");
    peer_feed(e->loop, &e->peer, "HTTP/1.1 101 Switching Protocols\r\n\r\n", 0);
    assert_string_equal(rec_log(&e->rec), "W+ H:101 W- ");
    env_free(e);
}

static void test_client__unasked_101__protocol_error(void **state)
{
    (void)state;
    struct env *e = env_new(NULL);

    get(e);
    peer_feed(e->loop, &e->peer, "HTTP/1.1 101 Switching Protocols\r\n\r\nx", 0);
    assert_int_equal(e->rec.why, STREAM_PROTOCOL_ERROR);
    assert_int_equal(e->errors, 1);
    assert_int_equal(e->closed, 1);
    env_free(e);
}

static void test_client__connect__tunnel_after_2xx_only(void **state)
{
    (void)state;
    for (int ok = 0; ok < 2; ok++) {
        struct env *e = env_new(NULL);

        begin(e);
        send_request(e, "CONNECT", NULL, false);
        send_text(e->rec.s, "hello", false);
        run(e->loop, &e->peer);
        assert_null(strstr(peer_got(&e->peer), "hello"));
        peer_feed(e->loop, &e->peer,
                  ok ? "HTTP/1.1 200 OK\r\n\r\nhi" : "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nhi",
                  1);
        assert_string_equal(rec_body(&e->rec), "hi");
        assert_int_equal(strstr(peer_got(&e->peer), "hello") != NULL, ok);
        assert_int_equal(e->closed, !ok);
        env_free(e);
    }
}

/* ---- bad peers ---- */

static const struct {
    const char *bytes;
    enum stream_reset why;
    bool shut;
} bad_ends[] = {
    {"", STREAM_TERMINATED, true},
    {"HTTP/1.1 20", STREAM_PROTOCOL_ERROR, true}, /* cut off in the head: no HTTP message */
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", STREAM_PROTOCOL_ERROR, true},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", STREAM_PROTOCOL_ERROR, true},
    {"HTTP/1.1 100 Continue\r\n\r\n", STREAM_TERMINATED, true},
    {"SSH-2.0-OpenSSH\r\n", STREAM_PROTOCOL_ERROR, false},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
     STREAM_PROTOCOL_ERROR, false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", STREAM_PROTOCOL_ERROR, false},
};

static void test_client__bad_end__stream_told_why_and_connection_gone(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(bad_ends); k++) {
        EACH_STEP (i) {
            struct env *e = env_new(NULL);

            get(e);
            peer_feed(e->loop, &e->peer, bad_ends[k].bytes, steps[i]);
            if (bad_ends[k].shut)
                shutdown(e->peer.fd, SHUT_WR);
            run(e->loop, &e->peer);
            assert_int_equal(e->rec.why, bad_ends[k].why);
            assert_int_equal(e->errors, bad_ends[k].why == STREAM_PROTOCOL_ERROR);
            assert_int_equal(e->closed, 1);
            assert_true(e->was_ready);
            env_free(e);
        }
    }
}

static void test_client__endless_informational__refused(void **state)
{
    (void)state;
    struct env *e = env_new(NULL);

    get(e);
    for (int i = 0; i < 40 && !e->closed; i++)
        peer_feed(e->loop, &e->peer, "HTTP/1.1 103 Early Hints\r\n\r\n", 0);
    assert_int_equal(e->rec.why, STREAM_PROTOCOL_ERROR);
    env_free(e);
}

static void test_client__bytes_on_idle_connection__closed(void **state)
{
    (void)state;
    struct env *e = env_new(NULL);

    peer_feed(e->loop, &e->peer, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0);
    assert_int_equal(e->closed, 1);
    assert_int_equal(e->errors, 1);
    env_free(e);
}

static void test_client__408_on_idle_connection__closed_without_error(void **state)
{
    (void)state;
    struct env *e = env_new(NULL);

    peer_feed(e->loop, &e->peer, "HTTP/1.1 408 Request Timeout\r\n\r\n", 0);
    assert_int_equal(e->closed, 1);
    assert_int_equal(e->errors, 0);
    env_free(e);
}

static void test_client__two_answers_to_one_request__not_reused(void **state)
{
    (void)state;
    struct env *e = env_new(NULL);
    const char *answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                         "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";

    get(e);
    peer_feed(e->loop, &e->peer, answer, 0);
    assert_string_equal(rec_log(&e->rec), "H:200 D:2. C:OK ");
    assert_int_equal(e->closed, 1);
    env_free(e);
}

static void test_client__eof_on_idle_connection__closed_at_once(void **state)
{
    (void)state;
    struct env *e = env_new(NULL);

    shutdown(e->peer.fd, SHUT_WR);
    run(e->loop, &e->peer);
    assert_int_equal(e->closed, 1);
    assert_int_equal(e->why, CONN_CLOSE_REMOTE_EOF);
    env_free(e);
}

/* ---- endings of our own ---- */

static void test_client__reset_before_anything_sent__connection_kept(void **state)
{
    (void)state;
    struct env *e = env_new(NULL);

    begin(e);
    stream_reset(e->rec.s, STREAM_LOCAL);
    assert_int_equal(e->closed, 0);
    assert_int_equal(http_client_conn_capacity(e->c), 1);
    env_free(e);
}

static void test_client__reset_after_request__connection_gone(void **state)
{
    (void)state;
    struct env *e = env_new(NULL);

    get(e);
    stream_reset(e->rec.s, STREAM_LOCAL);
    assert_int_equal(e->closed, 1);
    run(e->loop, &e->peer);
    assert_true(e->peer.ended);
    env_free(e);
}

static void test_client__drain__closes_after_last_stream(void **state)
{
    (void)state;
    struct env *e = env_new(NULL);

    get(e);
    http_client_conn_drain(e->c);
    assert_int_equal(e->closed, 0);
    peer_feed(e->loop, &e->peer, responses[0].response, 0);
    assert_string_equal(rec_log(&e->rec), responses[0].log);
    assert_int_equal(e->closed, 1);
    env_free(e);
}

static void test_client__max_connection_duration__drains(void **state)
{
    (void)state;
    struct env *e = NEW(env);

    e->loop = test_loop();
    e->opts = (struct http_client_opts){.h1 = {.limits = H1_LIMITS_DEFAULT}, .max_connection_ms = 5};
    arena_init(&e->arena, 0);
    e->c = http_client_conn_new(conn_with_peer(e->loop, &e->peer), HTTP_11, false, &e->opts,
                                &handler, e);
    run_until(e->loop, &e->peer, e->closed);
    assert_int_equal(e->ready, 1);
    env_free(e);
}

static void test_client__paused__eof_waits_behind_the_data(void **state)
{
    (void)state;
    struct env *e = env_new(NULL);

    get(e);
    peer_feed(e->loop, &e->peer, "HTTP/1.1 200 OK\r\n\r\nab", 0);
    stream_pause(e->rec.s, true);
    peer_feed(e->loop, &e->peer, "cd", 0);
    shutdown(e->peer.fd, SHUT_WR);
    run(e->loop, &e->peer);
    assert_string_equal(rec_log(&e->rec), "H:200 ");
    stream_pause(e->rec.s, false);
    run(e->loop, &e->peer);
    assert_string_equal(rec_log(&e->rec), "H:200 D:4. C:OK ");
    env_free(e);
}

/* ---- every callback may end the stream or the connection ---- */

static enum event end_at;
static bool end_connection;

static void end_there(struct rec *r, enum event e, bool end)
{
    struct env *env = r->user;

    (void)end;
    if (e != end_at)
        return;
    if (end_connection && env->c)
        http_client_conn_close(env->c);
    else if (e != EV_CLOSED)
        stream_reset(r->s, STREAM_LOCAL);
}

static void test_client__ended_from_inside_a_callback__closed_once(void **state)
{
    (void)state;
    const enum event at[] = {EV_HEADERS, EV_INFORMATIONAL, EV_DATA, EV_TRAILERS, EV_CLOSED};

    for (size_t k = 0; k < ARRAY_LEN(at); k++) {
        for (int whole = 0; whole < 2; whole++) {
            EACH_STEP (i) {
                end_at = at[k];
                end_connection = whole;
                struct env *e = env_new(end_there);

                get(e);
                peer_feed(e->loop, &e->peer,
                          "HTTP/1.1 103 Early Hints\r\n\r\n"
                          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                          "3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n",
                          steps[i]);
                assert_int_equal(e->rec.closed_count, 1);
                /* Let go at the last event of a complete exchange: the connection is as good as new. */
                assert_int_equal(e->closed, whole || at[k] < EV_TRAILERS);
                env_free(e);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client__response__told_in_order_and_reuse_decided),
        cmocka_unit_test(test_client__body_until_close__ends_with_connection),
        cmocka_unit_test(test_client__head__no_body_awaited),
        cmocka_unit_test(test_client__request_body__framed_by_length_or_chunks),
        cmocka_unit_test(test_client__request_of_wrong_length__never_reused),
        cmocka_unit_test(test_client__early_response__delivered_and_not_reused),
        cmocka_unit_test(test_client__upgrade__raw_after_101_with_half_close),
        cmocka_unit_test(test_client__peer_ends_tunnel_first__our_direction_goes_on),
        cmocka_unit_test(test_client__upgrade_refused__early_data_dropped),
        cmocka_unit_test(test_client__tunnel_data_before_answer__watermark_told),
        cmocka_unit_test(test_client__unasked_101__protocol_error),
        cmocka_unit_test(test_client__connect__tunnel_after_2xx_only),
        cmocka_unit_test(test_client__bad_end__stream_told_why_and_connection_gone),
        cmocka_unit_test(test_client__endless_informational__refused),
        cmocka_unit_test(test_client__bytes_on_idle_connection__closed),
        cmocka_unit_test(test_client__408_on_idle_connection__closed_without_error),
        cmocka_unit_test(test_client__two_answers_to_one_request__not_reused),
        cmocka_unit_test(test_client__eof_on_idle_connection__closed_at_once),
        cmocka_unit_test(test_client__reset_before_anything_sent__connection_kept),
        cmocka_unit_test(test_client__reset_after_request__connection_gone),
        cmocka_unit_test(test_client__drain__closes_after_last_stream),
        cmocka_unit_test(test_client__max_connection_duration__drains),
        cmocka_unit_test(test_client__paused__eof_waits_behind_the_data),
        cmocka_unit_test(test_client__ended_from_inside_a_callback__closed_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
