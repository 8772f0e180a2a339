/* SPDX-License-Identifier: Apache-2.0
 *
 * Connecting to a host of several addresses: who wins, what is tried in which order, how it ends.
 */
#include "conn_help.h"

#include <arpa/inet.h>

struct target {
    int listener;
    struct addr addr;
};

static void bind_target(struct target *t, const char *ip)
{
    t->addr = (struct addr){.unix_path = NULL};
    assert_int_equal(addr_from_ip(&t->addr, str_from(ip), 0, NULL), 0);
    t->listener = socket(t->addr.sa.sa_family, SOCK_STREAM, 0);
    struct sockaddr_storage ss;
    socklen_t n = addr_to_sockaddr(&t->addr, &ss);
    assert_int_equal(bind(t->listener, (struct sockaddr *)&ss, n), 0);
    n = sizeof(ss);
    assert_int_equal(getsockname(t->listener, (struct sockaddr *)&ss, &n), 0);
    addr_from_sockaddr(&t->addr, (struct sockaddr *)&ss, n);
}

static void good(struct target *t, const char *ip)
{
    bind_target(t, ip);
    assert_int_equal(listen(t->listener, 8), 0);
}

/* Bound but not listening: refuses, and the port stays ours. */
static void refusing(struct target *t)
{
    bind_target(t, "127.0.0.1");
}

#define FILL 4
struct stuck {
    struct target target;
    int fill[FILL];
};

/* A full backlog drops further SYNs: connecting goes on for ever. */
static void stuck_open(struct stuck *s)
{
    bind_target(&s->target, "127.0.0.1");
    assert_int_equal(listen(s->target.listener, 0), 0);
    for (int i = 0; i < FILL; i++) {
        s->fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(s->fill[i], &s->target.addr.sa, sizeof(s->target.addr.in4));
    }
}

static void stuck_close(struct stuck *s)
{
    for (int i = 0; i < FILL; i++)
        close(s->fill[i]);
    close(s->target.listener);
}

static void finish(struct record *r)
{
    if (r->conn && !r->closed)
        conn_close(r->conn, CONN_CLOSE_LOCAL);
    strbuf_fini(&r->text);
    loop_turn(loop, 0);
}

static void run(struct record *r)
{
    while (!r->connected && !r->closed)
        loop_turn(loop, -1);
}

static void race(struct record *r, const struct addr *remote, const struct addr *more, size_t n, uint64_t timeout_us)
{
    struct addr bind = {.unix_path = NULL};
    addr_from_ip(&bind, STR("127.0.0.1"), 0, NULL);
    int size = 65536;
    char bytes[sizeof(size)];
    memcpy(bytes, &size, sizeof(size));
    struct sock_opt options[] = {{.level = SOL_SOCKET, .name = SO_SNDBUF, .int_value = 65536},
                                 {.level = SOL_SOCKET, .name = SO_RCVBUF, .bytes_value = str_make(bytes, sizeof(bytes))}};
    /* Everything is borrowed for the call only: later attempts must not need it. */
    r->conn = conn_connect(loop, &(struct conn_connect_opts){
        .remote = remote, .alternatives = more, .alternative_count = n, .connect_timeout_us = timeout_us,
        .bind = remote->sa.sa_family == AF_INET ? &bind : NULL, .options = options, .option_count = 2,
        .proxy_header = STR("hi ")}, &rec_handler, r);
}

static void test_conn_race__first_is_good__nobody_else_is_tried(void **state)
{
    (void)state;
    struct target a, b;
    struct record r = {0};
    good(&a, "127.0.0.1");
    good(&b, "127.0.0.1");
    race(&r, &a.addr, &b.addr, 1, 5000000);
    run(&r);
    assert_int_equal(r.connected, 1);
    assert_true(addr_eq(conn_remote(r.conn), &a.addr));
    fcntl(b.listener, F_SETFL, O_NONBLOCK);
    assert_int_equal(accept(b.listener, NULL, NULL), -1);
    close(a.listener);
    close(b.listener);
    finish(&r);
}

static void test_conn_race__refused__next_at_once_and_talks(void **state)
{
    (void)state;
    struct target a, b;
    struct record r = {0};
    refusing(&a);
    good(&b, "127.0.0.1");
    race(&r, &a.addr, &b.addr, 1, 5000000);
    buf_append_str(conn_out(r.conn), STR("you"));
    uint64_t start = loop_now_us(loop);
    run(&r);
    assert_int_equal(r.connected, 1);
    assert_true(loop_now_us(loop) - start < 250000);
    assert_true(addr_eq(conn_remote(r.conn), &b.addr));
    assert_string_equal(conn_failure_text(r.conn), "");
    int fd = accept(b.listener, NULL, NULL);
    char got[8] = "", text[ADDR_TEXT_BYTES];
    assert_int_equal(recv(fd, got, 6, MSG_WAITALL), 6);
    assert_string_equal(got, "hi you");
    assert_string_equal(addr_ip_text(conn_local(r.conn), text), "127.0.0.1");
    assert_int_equal(write(fd, "yes", 3), 3);
    while (!r.data)
        loop_turn(loop, -1);
    assert_string_equal(r.text.p, "yes");
    close(fd);
    close(a.listener);
    close(b.listener);
    finish(&r);
}

static void test_conn_race__silent__next_after_the_delay(void **state)
{
    (void)state;
    struct stuck a;
    struct target b;
    struct record r = {0};
    stuck_open(&a);
    good(&b, "127.0.0.1");
    race(&r, &a.target.addr, &b.addr, 1, 5000000);
    uint64_t start = loop_now_us(loop);
    run(&r);
    assert_int_equal(r.connected, 1);
    assert_true(loop_now_us(loop) - start >= 300000);
    assert_true(addr_eq(conn_remote(r.conn), &b.addr));
    stuck_close(&a);
    close(b.listener);
    finish(&r);
}

static void test_conn_race__other_family__goes_second(void **state)
{
    (void)state;
    struct target a, same, other;
    struct record r = {0};
    refusing(&a);
    good(&same, "127.0.0.1");
    good(&other, "::1");
    struct addr more[2] = {same.addr, other.addr};
    r.conn = conn_connect(loop, &(struct conn_connect_opts){.remote = &a.addr, .alternatives = more,
                                                            .alternative_count = 2}, &rec_handler, &r);
    run(&r);
    assert_int_equal(r.connected, 1);
    assert_true(addr_eq(conn_remote(r.conn), &other.addr));
    close(a.listener);
    close(same.listener);
    close(other.listener);
    finish(&r);
}

static void test_conn_race__first_family__goes_first_as_often_as_told(void **state)
{
    (void)state;
    struct target bad, same, other;
    refusing(&bad);
    good(&same, "127.0.0.1");
    good(&other, "::1");
    struct addr more[2] = {other.addr, same.addr};
    static const struct { sa_family_t family; uint32_t count; bool other_wins; } cases[] = {
        {0, 0, true}, {AF_INET6, 1, true}, {0, 2, false}, {AF_INET, 9, false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct record r = {0};
        r.conn = conn_connect(loop, &(struct conn_connect_opts){.remote = &bad.addr, .alternatives = more, .alternative_count = 2,
                                                                .first_family = cases[i].family,
                                                                .first_family_count = cases[i].count}, &rec_handler, &r);
        run(&r);
        assert_int_equal(r.connected, 1);
        assert_true(addr_eq(conn_remote(r.conn), cases[i].other_wins ? &other.addr : &same.addr));
        finish(&r);
    }
    close(bad.listener);
    close(same.listener);
    close(other.listener);
}

static void test_conn_race__all_refuse__fails_once_with_the_last_error(void **state)
{
    (void)state;
    struct target a, b, c;
    struct record r = {0};
    refusing(&a);
    refusing(&b);
    refusing(&c);
    struct addr more[2] = {b.addr, c.addr};
    race(&r, &a.addr, more, 2, 5000000);
    assert_int_equal(r.closed, 0);
    run(&r);
    assert_int_equal(r.closed, 1);
    assert_int_equal(r.why, CONN_CLOSE_CONNECT_FAILED);
    assert_string_equal(r.failure, "delayed connect error: Connection refused");
    close(a.listener);
    close(b.listener);
    close(c.listener);
    finish(&r);
}

static void test_conn_race__no_socket_fits__fails_later(void **state)
{
    (void)state;
    struct target b;
    struct record r = {0};
    good(&b, "::1");
    struct addr foreign = {.unix_path = NULL};
    addr_from_ip(&foreign, STR("203.0.113.7"), 0, NULL);
    r.conn = conn_connect(loop, &(struct conn_connect_opts){.remote = &b.addr, .alternatives = &b.addr,
                                                            .alternative_count = 1, .bind = &foreign,
                                                            .connect_timeout_us = 1000000}, &rec_handler, &r);
    assert_int_equal(r.closed, 0);
    run(&r);
    assert_int_equal(r.why, CONN_CLOSE_CONNECT_FAILED);
    assert_non_null(strstr(r.failure, "203.0.113.7"));
    close(b.listener);
    finish(&r);
}

static void test_conn_race__nobody_answers__one_timeout_for_all(void **state)
{
    (void)state;
    struct stuck a, b;
    struct record r = {0};
    stuck_open(&a);
    stuck_open(&b);
    race(&r, &a.target.addr, &b.target.addr, 1, 400000);
    run(&r);
    assert_int_equal(r.closed, 1);
    assert_int_equal(r.why, CONN_CLOSE_CONNECT_TIMEOUT);
    stuck_close(&a);
    stuck_close(&b);
    finish(&r);
}

static void test_conn_race__closed_meanwhile__nothing_is_called(void **state)
{
    (void)state;
    struct stuck a;
    struct target b;
    struct record r = {0};
    stuck_open(&a);
    good(&b, "127.0.0.1");
    race(&r, &a.target.addr, &b.addr, 1, 5000000);
    loop_turn(loop, 0);
    conn_close(r.conn, CONN_CLOSE_LOCAL);
    r.conn = NULL;
    loop_turn(loop, 5);
    assert_int_equal(r.connected + r.closed, 0);
    stuck_close(&a);
    close(b.listener);
    finish(&r);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_conn_race__first_is_good__nobody_else_is_tried),
        T(test_conn_race__refused__next_at_once_and_talks),
        T(test_conn_race__silent__next_after_the_delay),
        T(test_conn_race__other_family__goes_second),
        T(test_conn_race__first_family__goes_first_as_often_as_told),
        T(test_conn_race__all_refuse__fails_once_with_the_last_error),
        T(test_conn_race__no_socket_fits__fails_later),
        T(test_conn_race__nobody_answers__one_timeout_for_all),
        T(test_conn_race__closed_meanwhile__nothing_is_called),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
