/* SPDX-License-Identifier: Apache-2.0
 *
 * An echoing connection while the kernel misbehaves: short reads and writes, EINTR and EAGAIN at
 * any call (an injected EAGAIN is followed by an edge, as the real one would be), and a reset at
 * the nth call for every n.
 */
#include "conn_help.h"

#include "base/rng.h"
#include "io/conn_priv.h"
#include "io/sys.h"

#ifdef WEFT_FAULT

static struct sys_calls calls;
static struct rng rng;
static uint64_t nth, reset_at; /* calls so far; 0 = no reset */

/* Our lie is to be made good by an edge, as the kernel would: see renew_edges(). */
static bool nudge_wanted;

/* 0: go on with *n perhaps less; -1: errno is set. */
static int mishap(size_t *n)
{
    if (++nth == reset_at) {
        errno = ECONNRESET;
        return -1;
    }
    switch (rng_below(&rng, 6)) {
    case 0:
        errno = EINTR;
        return -1;
    case 1:
        errno = EAGAIN;
        nudge_wanted = true;
        return -1;
    case 2:
    case 3:
        *n = rng_below(&rng, *n) + 1;
        return 0;
    default:
        return 0;
    }
}

static ssize_t bad_read(int fd, void *p, size_t n)
{
    size_t asked = n;
    if (mishap(&n) != 0)
        return -1;
    ssize_t got = sys_real.read(fd, p, n);
    /* A short read tells the connection that the socket is empty; where that was our lie, the
     * kernel owes it an edge. */
    if (got > 0 && n < asked)
        nudge_wanted = true;
    return got;
}

static ssize_t bad_write(int fd, const void *p, size_t n)
{
    size_t asked = n;
    if (mishap(&n) != 0)
        return -1;
    if (n < asked)
        nudge_wanted = true;
    return sys_real.write(fd, p, n);
}

static ssize_t bad_writev(int fd, const struct iovec *iov, int count)
{
    (void)count;
    return bad_write(fd, iov->iov_base, iov->iov_len);
}

static ssize_t bad_readv(int fd, const struct iovec *iov, int count)
{
    (void)count;
    return bad_read(fd, iov->iov_base, iov->iov_len);
}

/* Registering anew makes edge-triggered epoll report the present state. */
static void renew_edges(struct record *r)
{
    if (!nudge_wanted || !r->conn)
        return;
    nudge_wanted = false;
    watch_fn fn = r->conn->watch.on_ready;
    watch_del(&r->conn->watch);
    assert_int_equal(watch_add(loop, &r->conn->watch, r->conn->fd, fn, NULL), 0);
}

static int fault_setup(void **state)
{
    rng_seed(&rng, 7);
    calls = (struct sys_calls){bad_read, bad_write, bad_readv, bad_writev, sys_real.accept4,
                               sys_real.connect, sys_real.splice};
    nth = reset_at = 0;
    nudge_wanted = false;
    return setup(state);
}

#define TOTAL 200000
static void run_echo(struct record *r)
{
    size_t sent = 0, got = 0;
    uint8_t p[4096];
    rec_open_small(r, 8192);
    fcntl(r->fd, F_SETFL, O_NONBLOCK);
    sys_calls = &calls;
    while (got < TOTAL && r->conn) {
        size_t n = TOTAL - sent < sizeof(p) ? TOTAL - sent : sizeof(p);
        for (size_t i = 0; i < n; i++)
            p[i] = (uint8_t)((sent + i) % 251);
        ssize_t put = n ? send(r->fd, p, n, MSG_NOSIGNAL) : 0;
        sent += put > 0 ? (size_t)put : 0;
        loop_turn(loop, 0);
        renew_edges(r);
        ssize_t more = recv(r->fd, p, sizeof(p), 0);
        for (ssize_t i = 0; i < more; i++)
            if (p[i] != (got + (size_t)i) % 251)
                fail_msg("byte %zu differs", got + (size_t)i);
        got += more > 0 ? (size_t)more : 0;
    }
    sys_calls = &sys_real;
    if (r->conn)
        assert_int_equal(got, TOTAL);
    if (r->conn)
        conn_close(r->conn, CONN_CLOSE_LOCAL);
    close(r->fd);
    strbuf_fini(&r->text);
    loop_turn(loop, 0);
}

static void test_conn__short_and_refused_calls__echo_is_whole(void **state)
{
    (void)state;
    struct record r = {.echo = true};
    run_echo(&r);
    assert_int_equal(r.closed, 0);
}

static void test_conn__other_seeds__echo_is_whole(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 5; seed++) {
        struct record r = {.echo = true};
        rng_seed(&rng, seed + 100);
        run_echo(&r);
        assert_int_equal(r.closed, 0);
    }
}

static void test_conn__reset_at_every_call__closed_once_and_nothing_after(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 60; n++) {
        struct record r = {.echo = true};
        nth = 0;
        reset_at = n;
        run_echo(&r);
        assert_int_equal(r.closed, 1);
        assert_int_equal(r.why, CONN_CLOSE_REMOTE_RESET);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, fault_setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_conn__short_and_refused_calls__echo_is_whole),
        T(test_conn__other_seeds__echo_is_whole),
        T(test_conn__reset_at_every_call__closed_once_and_nothing_after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else
int main(void)
{
    return 77; /* Meson: skipped. A release build calls the kernel directly. */
}
#endif
