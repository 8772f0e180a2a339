/* SPDX-License-Identifier: Apache-2.0
 *
 * The relay between two loopback TCP connections, with the kernel's splice and with replaced calls.
 */
#include "conn_help.h"

#include <netinet/in.h>
#include <poll.h>

#include "io/splice.h"
#include "io/sys.h"

struct relay {
    struct splice_relay *relay;
    struct conn *a, *b;
    int fa, fb; /* the far ends, non-blocking */
    int moved, half_closed, done;
    bool free_in_half, free_in_done, a_failed;
    enum conn_close why;
};

static void on_moved(struct splice_relay *s, void *user)
{
    (void)s;
    ((struct relay *)user)->moved++;
}

static void on_half_closed(struct splice_relay *s, void *user, bool from_a)
{
    (void)s;
    (void)from_a;
    struct relay *r = user;
    r->half_closed++;
    if (r->free_in_half)
        splice_free(&r->relay);
}

static void on_done(struct splice_relay *s, void *user, enum conn_close why, bool a_failed)
{
    (void)s;
    struct relay *r = user;
    r->done++;
    r->why = why;
    r->a_failed = a_failed;
    if (r->free_in_done) {
        splice_free(&r->relay);
        conn_close(r->a, CONN_CLOSE_LOCAL);
        conn_close(r->b, CONN_CLOSE_LOCAL);
        r->a = r->b = NULL;
    }
}

static const struct splice_handler handler = {on_moved, on_half_closed, on_done};

static struct conn *tcp_pair(int *far_end)
{
    struct addr addr = {.unix_path = NULL};
    int l = socket(AF_INET, SOCK_STREAM, 0);
    addr_from_ip(&addr, STR("127.0.0.1"), 0, NULL);
    socklen_t n = sizeof(addr.in4);
    assert_int_equal(bind(l, &addr.sa, n), 0);
    assert_int_equal(listen(l, 1), 0);
    getsockname(l, &addr.sa, &n);
    *far_end = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(*far_end, &addr.sa, n), 0);
    fcntl(*far_end, F_SETFL, O_NONBLOCK);
    int fd = accept4(l, NULL, NULL, SOCK_NONBLOCK);
    close(l);
    return conn_new_accepted(loop, fd, &addr, NULL);
}

static void relay_open(struct relay *r)
{
    r->a = tcp_pair(&r->fa);
    r->b = tcp_pair(&r->fb);
    r->relay = splice_start(r->a, r->b, &handler, r);
}

static void relay_done(struct relay *r)
{
    splice_free(&r->relay);
    if (r->a)
        conn_close(r->a, CONN_CLOSE_LOCAL);
    if (r->b)
        conn_close(r->b, CONN_CLOSE_LOCAL);
    if (r->fa >= 0)
        close(r->fa);
    if (r->fb >= 0)
        close(r->fb);
    splice_trim();
    loop_turn(loop, 0);
}

/* Pushes `total` patterned bytes through both directions at once. */
struct flow {
    int from, to;
    uint64_t sent, got;
};

static void flow_send(struct flow *f, uint64_t total)
{
    uint8_t p[30011];
    while (f->sent < total) {
        size_t n = total - f->sent < sizeof(p) ? (size_t)(total - f->sent) : sizeof(p);
        for (size_t i = 0; i < n; i++)
            p[i] = (uint8_t)((f->sent + i) * 31 >> 3);
        ssize_t put = send(f->from, p, n, MSG_NOSIGNAL);
        if (put < 0)
            return;
        f->sent += (uint64_t)put;
    }
}

static void flow_receive(struct flow *f)
{
    uint8_t p[40000];
    ssize_t n;
    while ((n = recv(f->to, p, sizeof(p), 0)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            if (p[i] != (uint8_t)((f->got + (uint64_t)i) * 31 >> 3))
                fail_msg("byte %llu differs", (unsigned long long)(f->got + (uint64_t)i));
        f->got += (uint64_t)n;
    }
}

static void check_bulk(struct relay *r, uint64_t total)
{
    struct flow x = {.from = r->fa, .to = r->fb}, y = {.from = r->fb, .to = r->fa};
    while (x.got < total || y.got < total) {
        flow_send(&x, total);
        flow_send(&y, total);
        loop_turn(loop, 1);
        flow_receive(&x);
        flow_receive(&y);
    }
    assert_int_equal(splice_bytes(r->relay, true), total);
    assert_int_equal(splice_bytes(r->relay, false), total);
    assert_int_equal(conn_bytes_read(r->a), total);
    assert_int_equal(conn_bytes_written(r->a), total);
    assert_true(r->moved > 0);
}

/* ---- replaced calls ---- */

static struct sys_calls calls;
static uint64_t splices, call_count;

static ssize_t counting_splice(int from, int to, size_t n, unsigned flags)
{
    splices++;
    return sys_real.splice(from, to, n, flags);
}

static ssize_t refusing_splice(int from, int to, size_t n, unsigned flags)
{
    (void)from, (void)to, (void)n, (void)flags;
    splices++;
    errno = EINVAL;
    return -1;
}

/* Every third call is interrupted, moves little, or both in turn. */
static ssize_t tricky_splice(int from, int to, size_t n, unsigned flags)
{
    splices++;
    if (call_count++ % 3 == 0) {
        errno = EINTR;
        return -1;
    }
    return sys_real.splice(from, to, call_count % 2 ? n : n % 999 + 1, flags);
}

static ssize_t tricky_read(int fd, void *p, size_t n)
{
    if (call_count++ % 5 == 0) {
        errno = EINTR;
        return -1;
    }
    return sys_real.read(fd, p, n);
}

static int splice_setup(void **state)
{
    calls = sys_real;
    calls.splice = counting_splice;
#ifdef WEFT_FAULT
    sys_calls = &calls;
#endif
    splices = call_count = 0;
    return setup(state);
}

static int splice_teardown(void **state)
{
#ifdef WEFT_FAULT
    sys_calls = &sys_real;
#endif
    return teardown(state);
}

static void needs_faults(void)
{
#ifndef WEFT_FAULT
    skip(); /* a release build calls the kernel directly */
#endif
}

/* ---- tests ---- */

static void test_splice__bulk_both_ways__arrives_whole_by_splice(void **state)
{
    (void)state;
    struct relay r = {0};
    needs_faults();
    relay_open(&r);
    check_bulk(&r, 20 * 1024 * 1024);
    assert_true(splices > 10);
    relay_done(&r);
}

static void test_splice__short_messages__are_copied(void **state)
{
    (void)state;
    struct relay r = {0};
    char got[16];
    relay_open(&r);
    loop_turn(loop, 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(send(r.fa, "ping", 4, 0), 4);
        loop_turn(loop, -1);
        assert_int_equal(recv(r.fb, got, sizeof(got), 0), 4);
    }
    assert_int_equal(splices, 0);
    assert_int_equal(buf_thread_usage().blocks_used, 0);
    relay_done(&r);
}

static void test_splice__kernel_refuses__copies_instead(void **state)
{
    (void)state;
    struct relay r = {0};
    needs_faults();
    calls.splice = refusing_splice;
    relay_open(&r);
    check_bulk(&r, 3 * 1024 * 1024);
    assert_int_equal(splices, 2); /* asked once a direction */
    relay_done(&r);
}

static void test_splice__interrupted_and_short__arrives_whole(void **state)
{
    (void)state;
    struct relay r = {0};
    needs_faults();
    calls.splice = tricky_splice;
    calls.read = tricky_read;
    relay_open(&r);
    check_bulk(&r, 2 * 1024 * 1024);
    relay_done(&r);
}

static void test_splice__half_close__carried_and_the_other_half_lives(void **state)
{
    (void)state;
    struct relay r = {0};
    char got[16];
    relay_open(&r);
    send(r.fa, "last", 4, 0);
    shutdown(r.fa, SHUT_WR);
    while (!r.half_closed)
        loop_turn(loop, -1);
    assert_int_equal(recv(r.fb, got, sizeof(got), 0), 4);
    assert_int_equal(recv(r.fb, got, sizeof(got), 0), 0);
    send(r.fb, "reply", 5, 0);
    while (recv(r.fa, got, sizeof(got), 0) != 5)
        loop_turn(loop, -1);
    shutdown(r.fb, SHUT_WR);
    while (!r.done)
        loop_turn(loop, -1);
    assert_int_equal(r.why, CONN_CLOSE_REMOTE_EOF);
    assert_int_equal(r.half_closed, 2);
    assert_int_equal(recv(r.fa, got, sizeof(got), 0), 0);
    relay_done(&r);
}

static void test_splice__receiver_stands_still__sender_is_held(void **state)
{
    (void)state;
    struct relay r = {0};
    struct flow f;
    relay_open(&r);
    f = (struct flow){.from = r.fa, .to = r.fb};
    uint64_t before = UINT64_MAX;
    while (f.sent != before) {
        before = f.sent;
        flow_send(&f, UINT64_C(1) << 40);
        for (int i = 0; i < 20; i++)
            loop_turn(loop, 0);
        flow_send(&f, UINT64_C(1) << 40);
    }
    assert_true(f.sent < 64 * 1024 * 1024);
    assert_true(conn_out(r.b)->len <= BUF_BLOCK_BYTES);
    uint64_t total = f.sent;
    while (f.got < total) {
        flow_receive(&f);
        loop_turn(loop, 1);
    }
    relay_done(&r);
}

static void test_splice__reset__done_names_the_side(void **state)
{
    (void)state;
    struct relay r = {.free_in_done = true};
    struct linger l = {1, 0};
    relay_open(&r);
    loop_turn(loop, 0);
    setsockopt(r.fa, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
    close(r.fa);
    r.fa = -1;
    while (!r.done)
        loop_turn(loop, -1);
    assert_int_equal(r.why, CONN_CLOSE_REMOTE_RESET);
    assert_true(r.a_failed);
    relay_done(&r);
}

static void test_splice__reset_behind_a_full_receiver__told_at_once(void **state)
{
    (void)state;
    struct relay r = {0};
    struct linger l = {1, 0};
    relay_open(&r);
    struct flow f = {.from = r.fa, .to = r.fb};
    for (int i = 0; i < 200; i++) {
        flow_send(&f, UINT64_C(1) << 40);
        loop_turn(loop, 0);
    }
    setsockopt(r.fa, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
    close(r.fa);
    r.fa = -1;
    while (!r.done)
        loop_turn(loop, -1);
    assert_true(r.a_failed);
    relay_done(&r);
}

static void test_splice_free__inside_on_half_closed__nothing_follows(void **state)
{
    (void)state;
    struct relay r = {.free_in_half = true};
    relay_open(&r);
    shutdown(r.fa, SHUT_WR);
    shutdown(r.fb, SHUT_WR);
    while (!r.half_closed)
        loop_turn(loop, -1);
    loop_turn(loop, 0);
    assert_int_equal(r.half_closed, 1);
    assert_int_equal(r.done, 0);
    assert_null(r.relay);
    relay_done(&r);
}

static void test_splice_start__bytes_in_the_queues__go_first(void **state)
{
    (void)state;
    struct relay r = {0};
    char got[32] = "";
    r.a = tcp_pair(&r.fa);
    r.b = tcp_pair(&r.fb);
    buf_append_str(conn_in(r.a), STR("hello "));
    buf_append_str(conn_out(r.b), STR("preface "));
    send(r.fa, "world", 5, 0);
    r.relay = splice_start(r.a, r.b, &handler, &r);
    loop_turn(loop, 0);
    size_t n = 0;
    while (n < 19) {
        ssize_t more = recv(r.fb, got + n, sizeof(got) - 1 - n, 0);
        if (more > 0)
            n += (size_t)more;
        else
            loop_turn(loop, 1);
    }
    assert_string_equal(got, "preface hello world");
    relay_done(&r);
}

#define T(f) cmocka_unit_test_setup_teardown(f, splice_setup, splice_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_splice__bulk_both_ways__arrives_whole_by_splice),
        T(test_splice__short_messages__are_copied),
        T(test_splice__kernel_refuses__copies_instead),
        T(test_splice__interrupted_and_short__arrives_whole),
        T(test_splice__half_close__carried_and_the_other_half_lives),
        T(test_splice__receiver_stands_still__sender_is_held),
        T(test_splice__reset__done_names_the_side),
        T(test_splice__reset_behind_a_full_receiver__told_at_once),
        T(test_splice_free__inside_on_half_closed__nothing_follows),
        T(test_splice_start__bytes_in_the_queues__go_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
