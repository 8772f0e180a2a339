/* SPDX-License-Identifier: Apache-2.0
 *
 * Raw connections over socket pairs and loopback TCP: reading, writing, pausing, dying.
 */
#include "conn_help.h"

#include <arpa/inet.h>

static void rec_open(struct record *r)
{
    rec_open_small(r, 0);
}

static void rec_done(struct record *r)
{
    if (r->conn)
        conn_close(r->conn, CONN_CLOSE_LOCAL);
    if (r->fd > 0)
        close(r->fd);
    strbuf_fini(&r->text);
    loop_turn(loop, 0);
}

static void say(struct record *r, const char *text)
{
    assert_int_equal(write(r->fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* ---- reading ---- */

static void test_conn_read__data_waiting_at_accept__read_in_the_same_turn(void **state)
{
    (void)state;
    struct record r = {0};
    rec_open(&r);
    say(&r, "hello");
    loop_turn(loop, 0); /* its wait comes before the task: nothing was watched yet */
    assert_string_equal(r.text.p, "hello");
    assert_int_equal(r.data, 1);
    loop_turn(loop, 0);
    assert_int_equal(r.data, 1);
    assert_int_equal(conn_bytes_read(r.conn), 5);
    rec_done(&r);
}

static void test_conn_read__paused_counted__reads_on_at_the_last_resume(void **state)
{
    (void)state;
    struct record r = {0};
    rec_open(&r);
    conn_read_pause(r.conn);
    conn_read_pause(r.conn);
    say(&r, "hello");
    loop_turn(loop, 0);
    loop_turn(loop, 0);
    conn_read_resume(r.conn);
    loop_turn(loop, 0);
    assert_int_equal(r.data, 0);
    conn_read_resume(r.conn);
    assert_int_equal(r.data, 0); /* never inside resume */
    loop_turn(loop, 0);
    assert_int_equal(r.data, 1);
    rec_done(&r);
}

static void test_conn_read__paused_in_on_data_with_rest__told_again_at_resume(void **state)
{
    (void)state;
    struct record r = {.keep = true, .pause_in_data = true};
    rec_open(&r);
    say(&r, "abc");
    loop_turn(loop, 0);
    assert_int_equal(r.data, 1);
    r.keep = r.pause_in_data = false;
    conn_read_resume(r.conn);
    loop_turn(loop, 0);
    assert_int_equal(r.data, 2);
    assert_string_equal(r.text.p, "abc");
    rec_done(&r);
}

static void test_conn_read__data_then_fin__on_data_then_on_end_in_one_turn(void **state)
{
    (void)state;
    struct record r = {0};
    rec_open(&r);
    loop_turn(loop, 0);
    say(&r, "bye");
    shutdown(r.fd, SHUT_WR);
    loop_turn(loop, -1);
    assert_string_equal(r.text.p, "bye");
    assert_int_equal(r.ends, 1);
    assert_int_equal(r.closed, 0);
    buf_append_str(conn_out(r.conn), STR("still here"));
    conn_flush_later(r.conn);
    loop_turn(loop, 0);
    char got[16];
    assert_int_equal(read(r.fd, got, sizeof(got)), 10);
    rec_done(&r);
}

static void test_conn_read__fin_while_paused__told_after_resume(void **state)
{
    (void)state;
    struct record r = {.pause_in_data = true};
    rec_open(&r);
    say(&r, "x");
    loop_turn(loop, 0);
    shutdown(r.fd, SHUT_WR);
    loop_turn(loop, -1);
    assert_int_equal(r.ends, 0);
    conn_read_resume(r.conn);
    loop_turn(loop, 0);
    assert_int_equal(r.ends, 1);
    rec_done(&r);
}

static void test_conn_close__in_on_data__bytes_live_till_the_turn_s_end(void **state)
{
    (void)state;
    struct record r = {.close_in_data = true};
    rec_open(&r);
    say(&r, "parse me");
    loop_turn(loop, 0);
    assert_string_equal(r.text.p, "parse me");
    assert_int_equal(r.closed, 0); /* our own closing isn't reported */
    r.conn = NULL;
    char c;
    assert_int_equal(read(r.fd, &c, 1), 0);
    rec_done(&r);
}

static void test_conn_close__in_on_end__is_final(void **state)
{
    (void)state;
    struct record r = {.close_in_end = true};
    rec_open(&r);
    shutdown(r.fd, SHUT_WR);
    loop_turn(loop, 0);
    assert_int_equal(r.ends, 1);
    r.conn = NULL;
    rec_done(&r);
}

static void test_conn_set_handler__bytes_in_the_queue__new_handler_is_told(void **state)
{
    (void)state;
    struct record first = {.keep = true}, second = {0};
    rec_open(&first);
    say(&first, "GET /");
    loop_turn(loop, 0);
    assert_int_equal(first.data, 1);
    conn_set_handler(first.conn, &rec_handler, &second);
    loop_turn(loop, 0);
    assert_int_equal(second.data, 1);
    assert_string_equal(second.text.p, "GET /");
    strbuf_fini(&second.text);
    rec_done(&first);
}

static void test_conn_read__large_chunk__arrives_in_few_calls(void **state)
{
    (void)state;
    struct record r = {0};
    static char big[65536];
    rec_open(&r);
    conn_set_read_chunk(r.conn, 65536);
    size_t sent = 0;
    while (sent < sizeof(big)) {
        ssize_t n = send(r.fd, big + sent, sizeof(big) - sent, MSG_DONTWAIT);
        assert_true(n > 0);
        sent += (size_t)n;
    }
    loop_turn(loop, 0);
    assert_int_equal(r.got, sizeof(big));
    assert_int_equal(r.data, 1);
    rec_done(&r);
}

static void test_conn_read__idle__holds_no_block(void **state)
{
    (void)state;
    struct record r = {0};
    rec_open(&r);
    say(&r, "x");
    loop_turn(loop, 0);
    loop_turn(loop, 0);
    assert_int_equal(buf_thread_usage().blocks_used, 0);
    rec_done(&r);
}

/* ---- writing ---- */

static void test_conn_flush_later__several_appends__one_message(void **state)
{
    (void)state;
    struct record r = {0};
    char got[64];
    rec_open(&r);
    buf_append_str(conn_out(r.conn), STR("head "));
    conn_flush_later(r.conn);
    buf_append_static(conn_out(r.conn), "body", 4);
    conn_flush_later(r.conn);
    loop_turn(loop, 0);
    assert_int_equal(recv(r.fd, got, sizeof(got), MSG_DONTWAIT), 9);
    assert_int_equal(r.drained, 1);
    assert_int_equal(conn_bytes_written(r.conn), 9);
    rec_done(&r);
}

static void append_many(struct record *r, size_t n)
{
    for (size_t i = 0; i < n; i += 4)
        buf_append(conn_out(r->conn), (uint32_t[]){(uint32_t)i}, 4);
    conn_flush_later(r->conn);
}

/* Reads all, checking the pattern of append_many. */
static void check_many(struct record *r, size_t n)
{
    uint32_t word;
    size_t at = 0;
    char got[1000];
    size_t held = 0;
    while (at < n) {
        ssize_t more = recv(r->fd, got + held, sizeof(got) - held, MSG_DONTWAIT);
        if (more < 0) {
            assert_int_equal(errno, EAGAIN);
            loop_turn(loop, -1);
            continue;
        }
        held += (size_t)more;
        size_t i = 0;
        for (; i + 4 <= held; i += 4, at += 4) {
            memcpy(&word, got + i, 4);
            assert_int_equal(word, at);
        }
        memmove(got, got + i, held - i);
        held -= i;
    }
}

static void test_conn_flush__small_send_buffer__all_arrives_in_order(void **state)
{
    (void)state;
    struct record r = {0};
    rec_open_small(&r, 4096);
    conn_set_watermark(r.conn, 100000);
    append_many(&r, 400000);
    loop_turn(loop, 0);
    assert_int_equal(r.above, 1);
    check_many(&r, 400000);
    loop_turn(loop, 0);
    assert_int_equal(r.below, 1);
    assert_int_equal(r.drained, 1);
    assert_int_equal(conn_bytes_written(r.conn), 400000);
    rec_done(&r);
}

static void test_conn_shutdown_write__with_output__fin_after_the_last_byte(void **state)
{
    (void)state;
    struct record r = {0};
    char c;
    rec_open_small(&r, 4096);
    append_many(&r, 100000);
    conn_shutdown_write(r.conn);
    check_many(&r, 100000);
    loop_turn(loop, 0);
    assert_int_equal(recv(r.fd, &c, 1, MSG_DONTWAIT), 0);
    say(&r, "answer"); /* the other half is open */
    loop_turn(loop, -1);
    assert_string_equal(r.text.p, "answer");
    rec_done(&r);
}

static void test_conn_flush__peer_gone__on_closed_reset(void **state)
{
    (void)state;
    struct record r = {0};
    rec_open(&r);
    loop_turn(loop, 0);
    close(r.fd);
    r.fd = -1;
    append_many(&r, 8);
    while (!r.closed && !r.ends)
        loop_turn(loop, -1);
    rec_done(&r);
}

static void test_conn_close__in_on_above_watermark__nothing_follows(void **state)
{
    (void)state;
    struct record r = {.close_in_above = true};
    rec_open_small(&r, 4096);
    conn_set_watermark(r.conn, 1000);
    append_many(&r, 400000);
    conn_shutdown_write(r.conn);
    loop_turn(loop, 0);
    assert_int_equal(r.above, 1);
    assert_int_equal(r.drained + r.below + r.closed, 0);
    r.conn = NULL;
    rec_done(&r);
}

/* ---- closing with delay ---- */

static void test_conn_close_delayed__unread_request__answer_and_fin_arrive(void **state)
{
    (void)state;
    struct record r = {0};
    char c;
    rec_open_small(&r, 4096);
    append_many(&r, 50000);
    conn_close_delayed(r.conn, 60000);
    r.conn = NULL;
    say(&r, "a body nobody will read");
    check_many(&r, 50000);
    loop_turn(loop, 0);
    assert_int_equal(recv(r.fd, &c, 1, MSG_DONTWAIT), 0);
    say(&r, "more of it");
    loop_turn(loop, -1);
    close(r.fd);
    r.fd = -1;
    loop_turn(loop, -1);
    assert_int_equal(r.closed, 0);
    rec_done(&r); /* teardown's loop_free checks that its timer and watch are gone */
}

static void test_conn_close_delayed__peer_stays__closed_after_the_timeout(void **state)
{
    (void)state;
    struct record r = {0};
    rec_open(&r);
    loop_turn(loop, 0);
    conn_close_delayed(r.conn, 3);
    r.conn = NULL;
    int sent = 0;
    while (send(r.fd, "x", 1, MSG_NOSIGNAL) == 1 && ++sent < 100000)
        loop_turn(loop, 5);
    assert_int_equal(errno, EPIPE);
    rec_done(&r);
}

static void test_conn_close_flushed__nothing_unread__closed_at_once(void **state)
{
    (void)state;
    struct record r = {0};
    rec_open(&r);
    loop_turn(loop, 0);
    append_many(&r, 100);
    conn_close_flushed(r.conn, 60000);
    r.conn = NULL;
    assert_int_equal(conn_lingering_count(), 0);
    check_many(&r, 100);
    char c;
    assert_int_equal(recv(r.fd, &c, 1, MSG_DONTWAIT), 0);
    rec_done(&r);
}

static void test_conn_close_flushed__slow_reader__lingers_until_all_is_out(void **state)
{
    (void)state;
    struct record r = {0};
    rec_open_small(&r, 4096);
    loop_turn(loop, 0);
    append_many(&r, 400000);
    conn_close_flushed(r.conn, 60000);
    r.conn = NULL;
    assert_int_equal(conn_lingering_count(), 1);
    check_many(&r, 400000);
    close(r.fd);
    r.fd = -1;
    while (conn_lingering_count())
        loop_turn(loop, -1);
    rec_done(&r);
}

/* ---- TCP ---- */

struct tcp {
    int listener;
    struct addr addr;
};

static void tcp_listen(struct tcp *t)
{
    *t = (struct tcp){.listener = socket(AF_INET, SOCK_STREAM, 0)};
    addr_from_ip(&t->addr, STR("127.0.0.1"), 0, NULL);
    assert_int_equal(bind(t->listener, &t->addr.sa, sizeof(t->addr.in4)), 0);
    assert_int_equal(listen(t->listener, 8), 0);
    socklen_t n = sizeof(t->addr.in4);
    assert_int_equal(getsockname(t->listener, &t->addr.sa, &n), 0);
}

static void test_conn_connect__listening__connected_and_talks(void **state)
{
    (void)state;
    struct tcp t;
    struct record r = {0};
    tcp_listen(&t);
    struct addr source = {.unix_path = NULL};
    addr_from_ip(&source, STR("127.0.0.2"), 0, NULL);
    struct conn_connect_opts o = {.remote = &t.addr, .bind = &source, .connect_timeout_us = 5000000,
                                  .proxy_header = STR("PROXY UNKNOWN\r\n"), .keepalive = true,
                                  .keepalive_time_s = 30, .keepalive_probes = -1};
    r.conn = conn_connect(loop, &o, &rec_handler, &r);
    buf_append_str(conn_out(r.conn), STR("ping"));
    assert_false(conn_is_connected(r.conn));
    while (!r.connected)
        loop_turn(loop, -1);
    r.fd = accept(t.listener, NULL, NULL);
    char got[64] = "";
    assert_int_equal(recv(r.fd, got, 19, MSG_WAITALL), 19);
    assert_string_equal(got, "PROXY UNKNOWN\r\nping");
    char text[ADDR_TEXT_BYTES];
    assert_string_equal(addr_ip_text(conn_local(r.conn), text), "127.0.0.2");
    assert_true(addr_eq(conn_remote(r.conn), &t.addr));
    say(&r, "pong");
    loop_turn(loop, -1);
    assert_string_equal(r.text.p, "pong");
    close(t.listener);
    rec_done(&r);
}

static void test_conn_connect__refused__on_closed_with_the_errno(void **state)
{
    (void)state;
    struct tcp t;
    struct record r = {0};
    tcp_listen(&t);
    close(t.listener);
    r.conn = conn_connect(loop, &(struct conn_connect_opts){.remote = &t.addr}, &rec_handler, &r);
    assert_int_equal(r.closed, 0); /* never inside the call */
    while (!r.closed)
        loop_turn(loop, -1);
    assert_int_equal(r.why, CONN_CLOSE_CONNECT_FAILED);
    assert_string_equal(r.failure, "delayed connect error: Connection refused");
    rec_done(&r);
}

static void test_conn_connect__no_such_socket_file__on_closed_names_it(void **state)
{
    (void)state;
    struct record r = {0};
    struct addr a = {.unix_path = NULL};
    addr_from_unix(&a, STR("/nonexistent/weft.sock"), NULL);
    r.conn = conn_connect(loop, &(struct conn_connect_opts){.remote = &a}, &rec_handler, &r);
    assert_int_equal(r.closed, 0);
    loop_turn(loop, 0);
    assert_int_equal(r.why, CONN_CLOSE_CONNECT_FAILED);
    assert_string_equal(r.failure, "immediate connect error: No such file or directory|"
                                   "remote address:/nonexistent/weft.sock");
    addr_fini(&a);
    rec_done(&r);
}

static void test_conn_connect__foreign_source__on_closed_names_it(void **state)
{
    (void)state;
    struct tcp t;
    struct record r = {0};
    tcp_listen(&t);
    struct addr source = {.unix_path = NULL};
    addr_from_ip(&source, STR("203.0.113.7"), 0, NULL);
    r.conn = conn_connect(loop, &(struct conn_connect_opts){.remote = &t.addr, .bind = &source},
                          &rec_handler, &r);
    loop_turn(loop, -1);
    assert_int_equal(r.closed, 1);
    assert_non_null(strstr(r.failure, "203.0.113.7"));
    close(t.listener);
    rec_done(&r);
}

static void test_conn_connect__full_backlog__times_out(void **state)
{
    (void)state;
    struct tcp t;
    struct record fill[8] = {0}, r = {0};
    tcp_listen(&t);
    listen(t.listener, 0);
    for (int i = 0; i < 8; i++)
        fill[i].conn = conn_connect(loop, &(struct conn_connect_opts){.remote = &t.addr},
                                    &rec_handler, &fill[i]);
    r.conn = conn_connect(loop, &(struct conn_connect_opts){.remote = &t.addr, .connect_timeout_us = 20000},
                          &rec_handler, &r);
    while (!r.closed)
        loop_turn(loop, -1);
    assert_int_equal(r.why, CONN_CLOSE_CONNECT_TIMEOUT);
    for (int i = 0; i < 8; i++)
        rec_done(&fill[i]);
    close(t.listener);
    rec_done(&r);
}

static void test_conn_connect__closed_at_once__nothing_is_called(void **state)
{
    (void)state;
    struct tcp t;
    struct record r = {0};
    tcp_listen(&t);
    r.conn = conn_connect(loop, &(struct conn_connect_opts){.remote = &t.addr, .connect_timeout_us = 1},
                          &rec_handler, &r);
    conn_close(r.conn, CONN_CLOSE_LOCAL);
    r.conn = NULL;
    loop_turn(loop, 5);
    assert_int_equal(r.connected + r.closed, 0);
    close(t.listener);
    rec_done(&r);
}

static void test_conn_connect__closed_in_on_connected__is_final(void **state)
{
    (void)state;
    struct tcp t;
    struct record r = {.close_in_connected = true};
    tcp_listen(&t);
    r.conn = conn_connect(loop, &(struct conn_connect_opts){.remote = &t.addr}, &rec_handler, &r);
    while (!r.connected)
        loop_turn(loop, -1);
    r.conn = NULL;
    close(t.listener);
    rec_done(&r);
}

static void check_unix(const char *path)
{
    struct addr a = {.unix_path = NULL};
    struct sockaddr_storage ss;
    struct record r = {0};
    assert_int_equal(addr_from_unix(&a, str_from(path), NULL), 0);
    socklen_t n = addr_to_sockaddr(&a, &ss);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&ss, n), 0);
    assert_int_equal(listen(fd, 1), 0);
    r.conn = conn_connect(loop, &(struct conn_connect_opts){.remote = &a}, &rec_handler, &r);
    assert_int_equal(r.connected, 0);
    while (!r.connected)
        loop_turn(loop, -1);
    close(fd);
    addr_fini(&a);
    rec_done(&r);
}

static void test_conn_connect__unix_path_and_abstract__connected(void **state)
{
    (void)state;
    char dir[] = "/tmp/weft-test-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/s", dir);
    check_unix(path);
    unlink(path);
    rmdir(dir);
    snprintf(path, sizeof(path), "@weft-test-%d", (int)getpid());
    check_unix(path);
}

/* A connected TCP pair: r->conn accepted, r->fd the client. */
static void rec_open_tcp(struct record *r)
{
    struct tcp t;
    tcp_listen(&t);
    r->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(r->fd, &t.addr.sa, sizeof(t.addr.in4)), 0);
    int fd = accept4(t.listener, NULL, NULL, SOCK_NONBLOCK);
    close(t.listener);
    r->conn = conn_new_accepted(loop, fd, &t.addr, NULL);
    conn_set_handler(r->conn, &rec_handler, r);
}

static void reset_peer(struct record *r)
{
    struct linger l = {1, 0};
    setsockopt(r->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
    close(r->fd);
    r->fd = -1;
}

static void test_conn_read__reset_by_peer__on_closed_says_so(void **state)
{
    (void)state;
    struct record r = {0};
    rec_open_tcp(&r);
    loop_turn(loop, 0);
    reset_peer(&r);
    while (!r.closed)
        loop_turn(loop, -1);
    assert_int_equal(r.why, CONN_CLOSE_REMOTE_RESET);
    rec_done(&r);
}

static void test_conn_read__reset_while_paused__told_at_once(void **state)
{
    (void)state;
    struct record r = {0};
    rec_open_tcp(&r);
    conn_read_pause(r.conn);
    loop_turn(loop, 0);
    reset_peer(&r);
    while (!r.closed)
        loop_turn(loop, -1);
    assert_int_equal(r.why, CONN_CLOSE_REMOTE_RESET);
    rec_done(&r);
}

static void test_conn_read__reset_without_a_handler__the_next_one_is_told(void **state)
{
    (void)state;
    struct record r = {0};
    rec_open_tcp(&r);
    conn_set_handler(r.conn, NULL, NULL);
    loop_turn(loop, 0);
    reset_peer(&r);
    loop_turn(loop, -1);
    append_many(&r, 8);
    loop_turn(loop, 0);
    conn_set_handler(r.conn, &rec_handler, &r);
    loop_turn(loop, 0);
    assert_int_equal(r.closed, 1);
    rec_done(&r);
}

/* The server answers early and closes while we still send: its answer must not be lost. */
static void test_conn_flush__peer_answered_and_reset__answer_is_read_first(void **state)
{
    (void)state;
    struct record r = {0};
    rec_open_tcp(&r);
    loop_turn(loop, 0);
    append_many(&r, 4000); /* unread by the peer: its close becomes a RST behind its data */
    loop_turn(loop, 0);
    say(&r, "413 too large");
    close(r.fd);
    r.fd = -1;
    append_many(&r, 4000);
    conn_flush_now(r.conn);
    while (!r.closed)
        loop_turn(loop, -1);
    assert_string_equal(r.text.p, "413 too large");
    assert_int_equal(r.why, CONN_CLOSE_REMOTE_RESET);
    rec_done(&r);
}

static void test_conn_reset__then_close__peer_sees_a_reset(void **state)
{
    (void)state;
    struct record r = {0};
    char c;
    rec_open_tcp(&r);
    conn_reset(r.conn);
    conn_close(r.conn, CONN_CLOSE_LOCAL);
    r.conn = NULL;
    assert_int_equal(read(r.fd, &c, 1), -1);
    assert_int_equal(errno, ECONNRESET);
    rec_done(&r);
}

static void test_conn_set_remote__replaced__direct_peer_is_kept(void **state)
{
    (void)state;
    struct record r = {0};
    struct addr a = {.unix_path = NULL}, before = {.unix_path = NULL};
    char text[ADDR_TEXT_BYTES];
    rec_open_tcp(&r);
    addr_copy(&before, conn_remote(r.conn));
    addr_from_ip(&a, STR("192.0.2.1"), 1234, NULL);
    conn_set_remote(r.conn, &a);
    conn_set_local(r.conn, &a);
    assert_string_equal(addr_text(conn_remote(r.conn), text), "192.0.2.1:1234");
    assert_string_equal(addr_text(conn_local(r.conn), text), "192.0.2.1:1234");
    assert_true(addr_eq(conn_direct_remote(r.conn), &before));
    rec_done(&r);
}

/* A writer that never stops must not keep the others from their turn. */
static void test_conn_read__endless_echo__turn_ends_within_the_budget(void **state)
{
    (void)state;
    struct record r = {.echo = true};
    static char junk[512 * 1024];
    rec_open_tcp(&r);
    int big = 4 << 20;
    setsockopt(conn_fd(r.conn), SOL_SOCKET, SO_RCVBUF, &big, sizeof(big));
    conn_read_pause(r.conn);
    loop_turn(loop, 0);
    size_t sent = 0;
    for (ssize_t n; (n = send(r.fd, junk, sizeof(junk), MSG_DONTWAIT)) > 0;)
        sent += (size_t)n;
    conn_read_resume(r.conn);
    loop_turn(loop, 0);
    assert_true(r.got <= 256 * 1024 + BUF_BLOCK_BYTES);
    while (r.got < sent)
        loop_turn(loop, 0);
    rec_done(&r);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_conn_read__data_waiting_at_accept__read_in_the_same_turn),
        T(test_conn_read__paused_counted__reads_on_at_the_last_resume),
        T(test_conn_read__paused_in_on_data_with_rest__told_again_at_resume),
        T(test_conn_read__data_then_fin__on_data_then_on_end_in_one_turn),
        T(test_conn_read__fin_while_paused__told_after_resume),
        T(test_conn_close__in_on_data__bytes_live_till_the_turn_s_end),
        T(test_conn_close__in_on_end__is_final),
        T(test_conn_set_handler__bytes_in_the_queue__new_handler_is_told),
        T(test_conn_read__large_chunk__arrives_in_few_calls),
        T(test_conn_read__idle__holds_no_block),
        T(test_conn_flush_later__several_appends__one_message),
        T(test_conn_flush__small_send_buffer__all_arrives_in_order),
        T(test_conn_shutdown_write__with_output__fin_after_the_last_byte),
        T(test_conn_flush__peer_gone__on_closed_reset),
        T(test_conn_close__in_on_above_watermark__nothing_follows),
        T(test_conn_close_delayed__unread_request__answer_and_fin_arrive),
        T(test_conn_close_delayed__peer_stays__closed_after_the_timeout),
        T(test_conn_close_flushed__nothing_unread__closed_at_once),
        T(test_conn_close_flushed__slow_reader__lingers_until_all_is_out),
        T(test_conn_connect__listening__connected_and_talks),
        T(test_conn_connect__refused__on_closed_with_the_errno),
        T(test_conn_connect__no_such_socket_file__on_closed_names_it),
        T(test_conn_connect__foreign_source__on_closed_names_it),
        T(test_conn_connect__full_backlog__times_out),
        T(test_conn_connect__closed_at_once__nothing_is_called),
        T(test_conn_connect__closed_in_on_connected__is_final),
        T(test_conn_connect__unix_path_and_abstract__connected),
        T(test_conn_read__reset_by_peer__on_closed_says_so),
        T(test_conn_read__reset_while_paused__told_at_once),
        T(test_conn_read__reset_without_a_handler__the_next_one_is_told),
        T(test_conn_flush__peer_answered_and_reset__answer_is_read_first),
        T(test_conn_reset__then_close__peer_sees_a_reset),
        T(test_conn_set_remote__replaced__direct_peer_is_kept),
        T(test_conn_read__endless_echo__turn_ends_within_the_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
