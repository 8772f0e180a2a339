/* SPDX-License-Identifier: Apache-2.0
 *
 * Two HTTP/2 sessions against each other in memory: every feature, the bytes whole and in every
 * split. What peers do wrong is in test_h2_peer.c.
 */
#include "h2_pair.h"

static void test_h2_session__exchange_in_any_split__same_events(void **state)
{
    (void)state;
    static const char want_server[] =
        "headers GET /up?q=1 a.example x-a=1 end=0\n"
        "data 5 end=0\ntrailers x-t=2\nclose 0 remote=0\n";
    static const char want_client[] = "headers 103 info\nheaders 200 end=0\n"
                                      "data 6 end=0\ntrailers grpc-status=0\nclose 0 remote=0\n";
    for (size_t chunk = 0; chunk < 400; chunk++) {
        struct pair p;
        pair_init(&p);
        p.chunk = chunk;
        struct h2_stream *st = pair_request(&p, "GET", "/up?q=1", "a.example", "x-a", "1", false);
        pair_pump(&p);
        pair_send(st, "hello", false);
        pair_trailers(&p.client, st, "x-t", "2");
        struct h2_stream *got = p.server.last;
        pair_inform(&p, got, "103");
        pair_respond(&p, got, "200", false);
        pair_send(got, "answer", false);
        pair_pump(&p);
        pair_trailers(&p.server, got, "grpc-status", "0");
        pair_pump(&p);
        pair_join_data(&p.server);
        pair_join_data(&p.client);
        assert_string_equal(p.server.events, want_server);
        assert_string_equal(p.client.events, want_client);
        assert_int_equal(h2_session_stream_count(p.server.session), 0);
        assert_int_equal(h2_session_stream_count(p.client.session), 0);
        pair_fini(&p);
    }
}

static void test_h2_session__end_with_last_data__told_once(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    struct h2_stream *st = pair_request(&p, "POST", "/", "a", NULL, NULL, false);
    pair_send(st, "abc", true);
    pair_pump(&p);
    assert_string_equal(p.server.events, "headers POST / a end=0\ndata 3 end=1\n");
    pair_respond(&p, p.server.last, "204", true);
    pair_pump(&p);
    assert_string_equal(p.client.events, "headers 204 end=1\nclose 0 remote=0\n");
    pair_fini(&p);
}

static void test_h2_stream_consume__not_called__sender_stops_at_window(void **state)
{
    (void)state;
    struct pair p;
    struct h2_opts o = h2_opts_default(true);
    o.initial_stream_window = 70000;
    pair_init_opts(&p, &o, NULL);
    p.server.keep_window = true;
    pair_pump(&p); /* SETTINGS first, or the default window holds */
    struct h2_stream *st = pair_request(&p, "POST", "/", "a", NULL, NULL, false);
    pair_send_bytes(st, 200000, true);
    pair_pump(&p);
    assert_int_equal(p.server.data_bytes, 70000);
    assert_int_equal(h2_stream_queued(st), 130000);
    h2_stream_consume(p.server.last, 70000);
    pair_pump(&p);
    assert_int_equal(p.server.data_bytes, 140000);
    h2_stream_consume(p.server.last, 70000);
    pair_pump(&p);
    assert_int_equal(p.server.data_bytes, 200000);
    pair_fini(&p);
}

/* The window of a stream that ended with unread bytes must come back to the connection. */
static void test_h2_stream_reset__unconsumed_data__connection_window_returns(void **state)
{
    (void)state;
    struct pair p;
    struct h2_opts o = h2_opts_default(true);
    o.initial_connection_window = 100000;
    o.initial_stream_window = 100000;
    pair_init_opts(&p, &o, NULL);
    p.server.keep_window = true;
    pair_pump(&p);
    for (int i = 0; i < 5; i++) {
        p.server.data_bytes = 0;
        struct h2_stream *st = pair_request(&p, "POST", "/", "a", NULL, NULL, false);
        pair_send_bytes(st, 100000, true);
        pair_pump(&p);
        assert_int_equal(p.server.data_bytes, 100000);
        h2_stream_reset(p.server.last, H2_CANCEL);
        pair_pump(&p);
    }
    pair_fini(&p);
}

static void test_h2_stream_send_data__large_body__arrives_and_tells_low_watermark(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    pair_pump(&p);
    struct h2_stream *st = pair_request(&p, "POST", "/", "a", NULL, NULL, false);
    h2_stream_set_watermark(st, 10000);
    pair_send_bytes(st, 1000000, true);
    p.max_bytes = 20000;
    pair_pump(&p);
    assert_int_equal(p.server.data_bytes, 1000000);
    assert_true(p.server.data_good);
    assert_int_equal(p.client.sent_count, 1);
    pair_fini(&p);
}

static void test_h2_session_pull__blocked_data_of_reset_stream__is_dropped(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    pair_pump(&p);
    struct h2_stream *st = pair_request(&p, "POST", "/", "a", NULL, NULL, false);
    pair_send_bytes(st, 50000, true);
    struct buf out = BUF_INIT;
    assert_true(h2_session_pull(p.client.session, &out, 1)); /* HEADERS only; DATA is held up */
    h2_stream_reset(st, H2_CANCEL);
    pair_feed(&p.server, &out, 0);
    pair_pump(&p);
    assert_string_equal(p.server.events, "headers POST / a end=0\nclose 8 remote=1\n");
    pair_fini(&p);
}

static void test_h2_stream_reset__before_head_is_sent__nothing_is_seen(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    pair_pump(&p);
    h2_stream_reset(pair_request(&p, "GET", "/", "a", NULL, NULL, true), H2_CANCEL);
    h2_stream_reset(pair_request(&p, "POST", "/", "a", NULL, NULL, false), H2_CANCEL);
    pair_pump(&p);
    assert_string_equal(p.server.events, "");
    assert_string_equal(p.client.events, "");
    pair_fini(&p);
}

static void test_h2_stream_reset__by_server__client_sees_code(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    pair_request(&p, "GET", "/", "a", NULL, NULL, true);
    pair_pump(&p);
    h2_stream_reset(p.server.last, H2_REFUSED_STREAM);
    pair_pump(&p);
    assert_string_equal(p.client.events, "close 7 remote=1\n");
    assert_int_equal(p.client.stats[H2_STAT_RX_RESET], 1);
    assert_int_equal(p.server.stats[H2_STAT_TX_RESET], 1);
    pair_fini(&p);
}

/* RFC 9113 section 8.1 */
static void test_h2_stream_respond__before_request_ends__no_error_reset(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    pair_request(&p, "POST", "/", "a", NULL, NULL, false);
    pair_pump(&p);
    pair_respond(&p, p.server.last, "413", true);
    pair_pump(&p);
    assert_string_equal(p.client.events, "headers 413 end=1\nclose 0 remote=1\n");
    assert_string_equal(p.server.events, "headers POST / a end=0\nclose 0 remote=0\n");
    pair_fini(&p);
}

static void test_h2_stream_respond__tunnel__ends_one_by_one(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    struct h2_stream *st = pair_request(&p, "CONNECT", NULL, "a:443", NULL, NULL, false);
    pair_pump(&p);
    pair_respond(&p, p.server.last, "200", false);
    pair_send(p.server.last, "bye", true);
    pair_pump(&p);
    assert_string_equal(p.client.events, "headers 200 end=0\ndata 3 end=1\n");
    pair_send(st, "late", true);
    pair_pump(&p);
    assert_string_equal(p.server.events,
                        "headers CONNECT  a:443 end=0\ndata 4 end=1\nclose 0 remote=0\n");
    pair_fini(&p);
}

static void test_h2_session_goaway__graceful_then_final__streams_finish(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    pair_request(&p, "GET", "/1", "a", NULL, NULL, true);
    pair_pump(&p);
    h2_session_goaway(p.server.session, H2_NO_ERROR, true);
    pair_pump(&p);
    assert_string_equal(p.client.events, "goaway 2147483647 0\n");
    assert_null(pair_request(&p, "GET", "/2", "a", NULL, NULL, true));
    h2_session_goaway(p.server.session, H2_NO_ERROR, false);
    pair_respond(&p, p.server.last, "200", true);
    pair_pump(&p);
    assert_string_equal(p.client.events, "goaway 2147483647 0\ngoaway 1 0\n"
                                         "headers 200 end=1\nclose 0 remote=0\n");
    assert_true(h2_session_is_over(p.server.session));
    pair_fini(&p);
}

static void test_h2_session_goaway__streams_above_last__refused(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    pair_request(&p, "GET", "/1", "a", NULL, NULL, true);
    pair_pump(&p);
    h2_session_goaway(p.server.session, H2_NO_ERROR, false);
    struct buf goaway = BUF_INIT, request = BUF_INIT;
    h2_session_pull(p.server.session, &goaway, 1 << 20);
    pair_request(&p, "GET", "/2", "a", NULL, NULL, true); /* crosses the GOAWAY */
    h2_session_pull(p.client.session, &request, 1 << 20);
    pair_feed(&p.client, &goaway, 0);
    assert_string_equal(p.client.events, "goaway 1 0\nclose 7 remote=1\n");
    pair_feed(&p.server, &request, 0);
    assert_string_equal(p.server.events, "headers GET /1 a end=1\n");
    pair_fini(&p);
}

static void test_h2_session_request__peer_limit__null_when_reached(void **state)
{
    (void)state;
    struct pair p;
    struct h2_opts o = h2_opts_default(true);
    o.max_concurrent_streams = 2;
    pair_init_opts(&p, &o, NULL);
    pair_pump(&p);
    assert_int_equal(h2_session_peer_max_streams(p.client.session), 2);
    assert_non_null(pair_request(&p, "GET", "/", "a", NULL, NULL, true));
    assert_non_null(pair_request(&p, "GET", "/", "a", NULL, NULL, true));
    assert_null(pair_request(&p, "GET", "/", "a", NULL, NULL, true));
    pair_pump(&p);
    pair_respond(&p, p.server.last, "200", true);
    pair_pump(&p);
    assert_non_null(pair_request(&p, "GET", "/", "a", NULL, NULL, true));
    pair_fini(&p);
}

/* RFC 9113 section 6.5.2: 100 until the peer says more; one that then says less takes them bit by bit. */
static void test_h2_session_request__before_settings__rest_waits(void **state)
{
    (void)state;
    struct pair p;
    struct h2_opts o = h2_opts_default(true);
    o.max_concurrent_streams = 110;
    pair_init_opts(&p, &o, NULL);
    for (int i = 0; i < 120; i++)
        assert_non_null(pair_request(&p, "GET", "/", "a", NULL, NULL, true));
    pair_carry(&p, &p.client, &p.server);
    assert_int_equal(h2_session_stream_count(p.server.session), 100);
    assert_false(h2_session_wants_write(p.client.session));
    pair_pump(&p);
    assert_int_equal(h2_session_stream_count(p.server.session), 110);
    for (int i = 0; i < 10; i++) {
        pair_respond(&p, p.server.last, "200", true);
        pair_pump(&p);
    }
    assert_int_equal(h2_session_stream_count(p.server.session), 110);
    assert_int_equal(h2_session_stream_count(p.client.session), 110);
    assert_int_equal(p.server.stats[H2_STAT_STREAM_REFUSED_ERRORS], 0);
    pair_fini(&p);
}

/* Who ends a connection may have freed the streams' arenas before the session. */
static void test_h2_session_free__heads_unsent_and_arena_gone__isnt_read(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    pair_send(pair_request(&p, "POST", "/", "a", NULL, NULL, false), "body", true);
    arena_reset(&p.client.arena);
    pair_fini(&p);
}

static void test_h2_session_ping__peer_alive__ack_is_told(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    h2_session_ping(p.client.session);
    pair_pump(&p);
    assert_string_equal(p.client.events, "ping ack\n");
    pair_fini(&p);
}

static void test_h2_session_peer_allows_connect__by_option__as_told(void **state)
{
    (void)state;
    struct pair p;
    struct h2_opts o = h2_opts_default(true);
    o.allow_connect = true;
    pair_init_opts(&p, &o, NULL);
    assert_false(h2_session_peer_allows_connect(p.client.session));
    pair_pump(&p);
    assert_true(h2_session_peer_allows_connect(p.client.session));
    pair_fini(&p);
}

static void test_h2_session__head_with_length__no_body_is_missed(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    pair_request(&p, "HEAD", "/", "a", NULL, NULL, true);
    pair_pump(&p);
    struct headers h;
    pair_headers(&p.server, &h);
    headers_add(&h, STR(":status"), STR("200"));
    headers_add(&h, STR("content-length"), STR("1000"));
    assert_int_equal(h2_stream_respond(p.server.last, &h, true), 0);
    pair_pump(&p);
    assert_string_equal(p.client.events, "headers 200 content-length=1000 end=1\nclose 0 remote=0\n");
    pair_fini(&p);
}

/* RFC 9113 section 8.2.2 */
static void test_h2_session_request__connection_specific_fields__left_out(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    struct headers h;
    pair_headers(&p.client, &h);
    headers_add(&h, STR("connection"), STR("close"));
    headers_add(&h, STR("x-kept"), STR("1"));
    headers_add(&h, STR("keep-alive"), STR("1"));
    headers_add(&h, STR("transfer-encoding"), STR("chunked"));
    headers_add(&h, STR("te"), STR("gzip"));
    headers_add(&h, STR("host"), STR("other"));
    headers_add(&h, STR(":method"), STR("GET")); /* pseudo fields go first wherever they stand */
    headers_add(&h, STR(":path"), STR("/"));
    headers_add(&h, STR(":scheme"), STR("http"));
    headers_add(&h, STR(":authority"), STR("a"));
    assert_non_null(h2_session_request(p.client.session, &h, true, &p.client.arena, NULL));
    pair_pump(&p);
    assert_string_equal(p.server.events, "headers GET / a x-kept=1 end=1\n");
    pair_fini(&p);
}

static void test_h2_session_request__text_of_other_arena__is_copied(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    struct arena other;
    arena_init(&other, 0);
    struct headers h;
    headers_init(&h, &other);
    headers_add(&h, STR(":method"), STR("GET"));
    headers_add(&h, STR(":path"), STR("/other"));
    headers_add(&h, STR(":scheme"), STR("http"));
    headers_add(&h, STR(":authority"), STR("a"));
    assert_non_null(h2_session_request(p.client.session, &h, true, &p.client.arena, NULL));
    arena_fini(&other);
    pair_pump(&p);
    assert_string_equal(p.server.events, "headers GET /other a end=1\n");
    pair_fini(&p);
}

static void run_exchange(struct pair *p)
{
    struct h2_stream *st = pair_request(p, "POST", "/", "a", "x-long-name", "value", false);
    if (st)
        pair_send_bytes(st, 100000, true);
    pair_pump(p);
    if (p->server.last && !p->server.closed) {
        pair_respond(p, p->server.last, "200", false);
        pair_send(p->server.last, "ok", true);
    }
    pair_pump(p);
}

static void test_h2_session__nth_allocation_fails__no_crash_no_leak(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 300; n++) {
        struct pair p;
        pair_init(&p);
        mem_fail_nth(n);
        run_exchange(&p);
        mem_fail_nth(0);
        pair_fini(&p);
    }
    struct h2_callbacks none = {0};
    struct h2_opts o = h2_opts_default(true);
    for (uint64_t n = 1; n < 30; n++) {
        mem_fail_nth(n);
        struct h2_session *s = h2_session_new(&o, &none, NULL, NULL);
        mem_fail_nth(0);
        h2_session_free(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_h2_session__exchange_in_any_split__same_events),
        cmocka_unit_test(test_h2_session__end_with_last_data__told_once),
        cmocka_unit_test(test_h2_stream_consume__not_called__sender_stops_at_window),
        cmocka_unit_test(test_h2_stream_reset__unconsumed_data__connection_window_returns),
        cmocka_unit_test(test_h2_stream_send_data__large_body__arrives_and_tells_low_watermark),
        cmocka_unit_test(test_h2_session_pull__blocked_data_of_reset_stream__is_dropped),
        cmocka_unit_test(test_h2_stream_reset__before_head_is_sent__nothing_is_seen),
        cmocka_unit_test(test_h2_stream_reset__by_server__client_sees_code),
        cmocka_unit_test(test_h2_stream_respond__before_request_ends__no_error_reset),
        cmocka_unit_test(test_h2_stream_respond__tunnel__ends_one_by_one),
        cmocka_unit_test(test_h2_session_goaway__graceful_then_final__streams_finish),
        cmocka_unit_test(test_h2_session_goaway__streams_above_last__refused),
        cmocka_unit_test(test_h2_session_request__peer_limit__null_when_reached),
        cmocka_unit_test(test_h2_session_request__before_settings__rest_waits),
        cmocka_unit_test(test_h2_session_free__heads_unsent_and_arena_gone__isnt_read),
        cmocka_unit_test(test_h2_session_ping__peer_alive__ack_is_told),
        cmocka_unit_test(test_h2_session_peer_allows_connect__by_option__as_told),
        cmocka_unit_test(test_h2_session__head_with_length__no_body_is_missed),
        cmocka_unit_test(test_h2_session_request__connection_specific_fields__left_out),
        cmocka_unit_test(test_h2_session_request__text_of_other_arena__is_copied),
        cmocka_unit_test(test_h2_session__nth_allocation_fails__no_crash_no_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
