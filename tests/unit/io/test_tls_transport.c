/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes through TLS: large ones, small ones, paused readers, a socket that moves a byte at a time,
 * endings, and peers that don't speak TLS.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "io/tls_priv.h"
#include "tls_fixture.h"
#include "tls_pair.h"

static struct fixture_cert ca, leaf;
static struct tls_context *server, *client;

static int setup(void **state)
{
    (void)state;
    ca = fixture_cert(&(struct fixture_opts){.cn = "ca", .ca = true});
    leaf = fixture_cert(&(struct fixture_opts){.cn = "s", .sans = "DNS:a", .issuer = &ca});
    struct tls_cert_opts cert = {.chain_pem = leaf.pem, .key_pem = leaf.key_pem};
    struct tls_context_opts so = {.server = true, .certs = &cert, .cert_count = 1,
                                  .trusted_ca_pem = ca.pem};
    struct tls_context_opts co = {.certs = &cert, .cert_count = 1, .trusted_ca_pem = ca.pem};
    server = tls_context_new(&so, NULL);
    client = tls_context_new(&co, NULL);
    return server && client ? 0 : -1;
}
static int teardown(void **state)
{
    (void)state;
    tls_context_unref(&server);
    tls_context_unref(&client);
    fixture_free();
    return 0;
}

static struct pair *start(struct pair *p)
{
    pair_start(p, server, client, NULL);
    pair_run(p, pair_settled);
    assert_true(p->client.connected && p->server.connected);
    return p;
}

/* ---- sending a pattern in pieces of a chosen size and checking it ---- */
static void send_pattern(struct side *s, size_t total, size_t piece)
{
    for (size_t at = 0; at < total; at += piece) {
        size_t n = total - at < piece ? total - at : piece;
        struct buf part = BUF_INIT;
        for (size_t i = 0; i < n; i++)
            buf_append(&part, &(uint8_t){(uint8_t)((at + i) * 7 >> 3)}, 1);
        buf_move(conn_out(s->c), &part);
    }
    conn_flush_later(s->c);
}

static void expect_pattern(struct side *s, size_t total)
{
    assert_int_equal(s->got.len, total);
    const uint8_t *p = buf_pullup(&s->got, total);
    for (size_t i = 0; i < total; i++) {
        if (p[i] != (uint8_t)(i * 7 >> 3))
            fail_msg("byte %zu differs", i);
    }
}

static size_t wanted_bytes;
static bool all_arrived(struct pair *p)
{
    return p->client.got.len >= wanted_bytes && p->server.got.len >= wanted_bytes;
}

static void exchange(size_t total, size_t piece)
{
    struct pair p;
    start(&p);
    send_pattern(&p.client, total, piece);
    send_pattern(&p.server, total, piece);
    wanted_bytes = total;
    pair_run(&p, all_arrived);
    expect_pattern(&p.client, total);
    expect_pattern(&p.server, total);
    pair_finish(&p);
}

static void test_transfer__sizes_around_a_record__arrive_whole(void **state)
{
    (void)state;
    static const size_t totals[] = {1, 16383, 16384, 16385, 40000, 200000};
    static const size_t pieces[] = {5000, 9000, 16384, 200000};
    for (size_t i = 0; i < ARRAY_LEN(totals); i++) {
        for (size_t j = 0; j < ARRAY_LEN(pieces); j++)
            exchange(totals[i], pieces[j]);
    }
}

static void test_transfer__megabytes_both_ways__arrive_whole(void **state)
{
    (void)state;
    exchange(3u << 20, 16384);
}

/* The reader takes one delivery a turn. */
static bool resume_and_check(struct pair *p)
{
    struct side *s = &p->server;
    if (s->got.len >= wanted_bytes)
        return true;
    if (s->got_bytes) {
        s->got_bytes = 0;
        conn_read_resume(s->c);
    }
    return false;
}

static void test_transfer__reader_pauses_after_each_read__nothing_lost(void **state)
{
    (void)state;
    struct pair p;
    start(&p);
    p.server.pause_each = true;
    wanted_bytes = 1u << 20;
    send_pattern(&p.client, wanted_bytes, 16384);
    for (int i = 0; i < 10000 && !resume_and_check(&p); i++)
        loop_turn(p.loop, 2000);
    expect_pattern(&p.server, wanted_bytes);
    pair_finish(&p);
}

/* ---- a network that carries a few bytes at a time ---- */
struct relay {
    int client_fd, server_fd; /* our ends */
};

static void relay_start(struct pair *p, struct relay *r)
{
    int fds[2], small = 4096;
    struct addr remote = {0};
    *p = (struct pair){.loop = loop_new("test", NULL)};
    assert_int_equal(addr_from_ip(&remote, STR("127.0.0.1"), 1, NULL), 0);
    r->client_fd = pair_connect(p);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    r->server_fd = fds[0];
    setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    setsockopt(conn_fd(p->client.c), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    assert_int_equal(conn_start_tls(p->client.c, client, NULL, NULL), 0);
    p->server.c = conn_new_accepted(p->loop, fds[1], &remote, NULL);
    conn_set_handler(p->server.c, &side_handler, &p->server);
    assert_int_equal(conn_start_tls(p->server.c, server, NULL, NULL), 0);
}

static void carry(int from, int to, size_t n)
{
    char bytes[4096];
    ssize_t got = recv(from, bytes, n < sizeof bytes ? n : sizeof bytes, MSG_DONTWAIT);
    if (got > 0)
        assert_int_equal(send(to, bytes, (size_t)got, 0), got);
}

static void relay_run(struct pair *p, struct relay *r, size_t step, bool (*done)(struct pair *p))
{
    for (int i = 0; i < 200000 && !done(p); i++) {
        carry(r->client_fd, r->server_fd, step);
        carry(r->server_fd, r->client_fd, step);
        loop_turn(p->loop, 0);
    }
    assert_true(done(p));
}

static void test_transfer__one_byte_at_a_time__handshake_and_data(void **state)
{
    (void)state;
    struct pair p;
    struct relay r;
    relay_start(&p, &r);
    relay_run(&p, &r, 1, pair_settled);
    assert_true(p.client.connected && p.server.connected);
    wanted_bytes = 300;
    send_pattern(&p.client, wanted_bytes, 100);
    send_pattern(&p.server, wanted_bytes, 100);
    relay_run(&p, &r, 1, all_arrived);
    expect_pattern(&p.client, wanted_bytes);
    expect_pattern(&p.server, wanted_bytes);
    close(r.client_fd);
    close(r.server_fd);
    pair_finish(&p);
}

static void test_transfer__small_send_buffers__everything_arrives(void **state)
{
    (void)state;
    struct pair p;
    struct relay r;
    relay_start(&p, &r);
    relay_run(&p, &r, 999, pair_settled);
    wanted_bytes = 500000;
    send_pattern(&p.client, wanted_bytes, 7000);
    send_pattern(&p.server, wanted_bytes, 16384);
    relay_run(&p, &r, 999, all_arrived);
    expect_pattern(&p.client, wanted_bytes);
    expect_pattern(&p.server, wanted_bytes);
    close(r.client_fd);
    close(r.server_fd);
    pair_finish(&p);
}

/* ---- endings ---- */
static bool server_ended(struct pair *p)
{
    return p->server.ended || p->server.closed;
}
static bool client_ended(struct pair *p)
{
    return p->client.ended || p->client.closed;
}
static bool client_got(struct pair *p)
{
    return p->client.got.len >= 4;
}

static void test_close__shutdown_write__end_arrives_and_answer_returns(void **state)
{
    (void)state;
    struct pair p;
    start(&p);
    side_send(&p.client, "question");
    conn_shutdown_write(p.client.c);
    pair_run(&p, server_ended);
    assert_true(p.server.ended && !p.server.closed);
    assert_int_equal(p.server.got.len, 8);
    assert_true(SSL_get_shutdown(p.server.tls->ssl) & SSL_RECEIVED_SHUTDOWN);
    side_send(&p.server, "answer");
    pair_run(&p, client_got);
    conn_shutdown_write(p.server.c);
    pair_run(&p, client_ended);
    assert_true(p.client.ended);
    pair_finish(&p);
}

static void test_close__fin_without_close_notify__end(void **state)
{
    (void)state;
    struct pair p;
    start(&p);
    shutdown(conn_fd(p.client.c), SHUT_WR);
    pair_run(&p, server_ended);
    assert_true(p.server.ended && !p.server.closed);
    assert_int_equal(p.server.tls->failure, TLS_FAILURE_NONE);
    pair_finish(&p);
}

static void test_close__local_close__peer_sees_close_notify(void **state)
{
    (void)state;
    struct pair p;
    start(&p);
    conn_close(p.client.c, CONN_CLOSE_LOCAL);
    p.client.c = NULL;
    pair_run(&p, server_ended);
    assert_true(p.server.ended);
    pair_finish(&p);
}

static void test_close__fin_in_the_handshake__told(void **state)
{
    (void)state;
    struct pair p;
    pair_start(&p, server, NULL, NULL);
    side_send(&p.client, "\x16\x03\x01\x02");
    conn_shutdown_write(p.client.c);
    for (int i = 0; i < 100 && !p.server.closed; i++)
        loop_turn(p.loop, 2000);
    assert_true(p.server.closed);
    assert_false(p.server.connected);
    pair_finish(&p);
}

/* ---- rubbish ---- */
static void test_garbage__instead_of_client_hello__protocol_failure(void **state)
{
    (void)state;
    static const struct str texts[] = {STR("GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
                                       STR("\x16\x03\x01\x00\x05\x01\xff\xff\xff\xff"),
                                       STR("\x80\x0b\x01\x03\x01 and so on and so on")};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct pair p;
        pair_start(&p, server, NULL, NULL);
        buf_append_str(conn_out(p.client.c), texts[i]);
        conn_flush_later(p.client.c);
        for (int t = 0; t < 100 && !p.server.closed; t++)
            loop_turn(p.loop, 2000);
        assert_true(p.server.closed);
        assert_int_equal(p.server.why, CONN_CLOSE_TLS_FAILED);
        assert_int_equal(p.server.failure, TLS_FAILURE_PROTOCOL);
        assert_true(strncmp(p.server.text, "TLS_error:|", 11) == 0);
        assert_int_equal(ERR_peek_error(), 0);
        pair_finish(&p);
    }
}

static void test_garbage__after_the_handshake__only_that_connection_dies(void **state)
{
    (void)state;
    struct pair p, other;
    start(&p);
    start(&other);
    pair_greet(&p);
    assert_int_equal(write(conn_fd(p.client.c), "rubbish rubbish", 15), 15);
    for (int t = 0; t < 100 && !p.server.closed; t++)
        loop_turn(p.loop, 2000);
    assert_true(p.server.closed);
    assert_non_null(strstr(p.server.text, "TLS_error:|"));
    pair_greet(&other);
    assert_false(other.server.closed);
    pair_finish(&p);
    pair_finish(&other);
}

/* ---- what an inspector has read already ---- */
static void test_start_tls__hello_already_read__handshake_goes_on(void **state)
{
    (void)state;
    struct pair p;
    pair_start(&p, NULL, client, NULL);
    for (int i = 0; i < 100 && !p.server.got.len; i++)
        loop_turn(p.loop, 2000);
    struct tls_hello h;
    size_t n = p.server.got.len;
    assert_int_equal(tls_hello_parse(buf_pullup(&p.server.got, n), n, &h), TLS_HELLO_YES);
    buf_move(conn_in(p.server.c), &p.server.got);
    p.server.connected = false;
    p.server.got_bytes = 0;
    assert_int_equal(conn_start_tls(p.server.c, server, NULL, NULL), 0);
    pair_run(&p, pair_settled);
    pair_greet(&p);
    pair_finish(&p);
}

static void test_start_tls__context_of_the_other_side__refused(void **state)
{
    (void)state;
    struct pair p;
    struct err err = {0};
    pair_start(&p, NULL, NULL, NULL);
    assert_int_equal(conn_start_tls(p.server.c, client, NULL, &err), ERR_STATE);
    pair_finish(&p);
}

static void test_idle__after_traffic__no_buffers_held(void **state)
{
    (void)state;
    struct pair p;
    start(&p);
    pair_greet(&p);
    buf_fini(&p.client.got);
    buf_fini(&p.server.got);
    loop_turn(p.loop, 0);
    assert_int_equal(buf_thread_usage().blocks_used, 0);
    pair_finish(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transfer__sizes_around_a_record__arrive_whole),
        cmocka_unit_test(test_transfer__megabytes_both_ways__arrive_whole),
        cmocka_unit_test(test_transfer__reader_pauses_after_each_read__nothing_lost),
        cmocka_unit_test(test_transfer__one_byte_at_a_time__handshake_and_data),
        cmocka_unit_test(test_transfer__small_send_buffers__everything_arrives),
        cmocka_unit_test(test_close__shutdown_write__end_arrives_and_answer_returns),
        cmocka_unit_test(test_close__fin_without_close_notify__end),
        cmocka_unit_test(test_close__local_close__peer_sees_close_notify),
        cmocka_unit_test(test_close__fin_in_the_handshake__told),
        cmocka_unit_test(test_garbage__instead_of_client_hello__protocol_failure),
        cmocka_unit_test(test_garbage__after_the_handshake__only_that_connection_dies),
        cmocka_unit_test(test_start_tls__hello_already_read__handshake_goes_on),
        cmocka_unit_test(test_start_tls__context_of_the_other_side__refused),
        cmocka_unit_test(test_idle__after_traffic__no_buffers_held),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
