/* SPDX-License-Identifier: Apache-2.0 */
#include "conn_help.h"

#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "io/listen.h"

struct taker {
    struct acceptor *acceptor;
    int fds[64], count;
    bool pause, free_it;
    char remote[ADDR_TEXT_BYTES];
};

static void on_accept(void *user, int fd, const struct addr *remote)
{
    struct taker *t = user;
    t->fds[t->count++] = fd;
    addr_text(remote, t->remote);
    if (t->pause)
        acceptor_pause(t->acceptor);
    if (t->free_it)
        acceptor_free(&t->acceptor);
}

static void taker_done(struct taker *t)
{
    acceptor_free(&t->acceptor);
    for (int i = 0; i < t->count; i++)
        close(t->fds[i]);
    loop_turn(loop, 0);
}

static int open_tcp(const struct listen_opts *o, struct addr *bound)
{
    struct addr a = {.unix_path = NULL};
    int fd = -1;
    addr_from_ip(&a, STR("127.0.0.1"), 0, NULL);
    assert_int_equal(listen_open(&a, o, &fd, bound, NULL), 0);
    assert_true(addr_port(bound) != 0);
    return fd;
}

static int dial(const struct addr *a)
{
    struct sockaddr_storage ss;
    socklen_t n = addr_to_sockaddr(a, &ss);
    int fd = socket(a->sa.sa_family, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&ss, n), 0);
    return fd;
}

static void test_acceptor__connection__nodelay_is_inherited(void **state)
{
    (void)state;
    struct addr bound = {.unix_path = NULL};
    struct taker t = {0};
    int fd = open_tcp(&(struct listen_opts){.keepalive = true, .keepalive_time_s = 77}, &bound);
    t.acceptor = acceptor_new(loop, fd, 0, on_accept, &t, NULL);
    int client = dial(&bound);
    loop_turn(loop, -1);
    assert_int_equal(t.count, 1);
    int value = 0;
    socklen_t n = sizeof(value);
    getsockopt(t.fds[0], IPPROTO_TCP, TCP_NODELAY, &value, &n);
    assert_int_equal(value, 1);
    getsockopt(t.fds[0], IPPROTO_TCP, TCP_KEEPIDLE, &value, &n);
    assert_int_equal(value, 77);
    assert_true(fcntl(t.fds[0], F_GETFL) & O_NONBLOCK);
    assert_non_null(strstr(t.remote, "127.0.0.1:"));
    taker_done(&t);
    close(client);
    close(fd);
}

static void test_acceptor__bound_a_turn__rest_comes_next_turn(void **state)
{
    (void)state;
    struct addr bound = {.unix_path = NULL};
    struct taker t = {0};
    int clients[5], fd = open_tcp(&(struct listen_opts){.backlog = 16}, &bound);
    t.acceptor = acceptor_new(loop, fd, 2, on_accept, &t, NULL);
    for (int i = 0; i < 5; i++)
        clients[i] = dial(&bound);
    loop_turn(loop, -1);
    assert_int_equal(t.count, 2);
    loop_turn(loop, -1);
    assert_int_equal(t.count, 4);
    loop_turn(loop, -1);
    assert_int_equal(t.count, 5);
    for (int i = 0; i < 5; i++)
        close(clients[i]);
    taker_done(&t);
    close(fd);
}

static void test_acceptor_pause__in_on_accept__stops_until_resume(void **state)
{
    (void)state;
    struct addr bound = {.unix_path = NULL};
    struct taker t = {.pause = true};
    int fd = open_tcp(&(struct listen_opts){0}, &bound);
    t.acceptor = acceptor_new(loop, fd, 0, on_accept, &t, NULL);
    int a = dial(&bound), b = dial(&bound);
    loop_turn(loop, -1);
    loop_turn(loop, 0);
    assert_int_equal(t.count, 1);
    acceptor_resume(t.acceptor);
    loop_turn(loop, -1);
    assert_int_equal(t.count, 2);
    taker_done(&t);
    close(a);
    close(b);
    close(fd);
}

static void test_acceptor_free__in_on_accept__is_safe(void **state)
{
    (void)state;
    struct addr bound = {.unix_path = NULL};
    struct taker t = {.free_it = true};
    int fd = open_tcp(&(struct listen_opts){0}, &bound);
    t.acceptor = acceptor_new(loop, fd, 0, on_accept, &t, NULL);
    int a = dial(&bound), b = dial(&bound);
    loop_turn(loop, -1);
    assert_int_equal(t.count, 1);
    assert_null(t.acceptor);
    taker_done(&t);
    close(a);
    close(b);
    close(fd);
}

static void test_acceptor__two_loops_one_descriptor__one_of_them_accepts(void **state)
{
    (void)state;
    struct addr bound = {.unix_path = NULL};
    struct taker t = {0}, u = {0};
    struct loop *other = loop_new("other", NULL);
    int fd = open_tcp(&(struct listen_opts){0}, &bound);
    t.acceptor = acceptor_new(loop, fd, 0, on_accept, &t, NULL);
    u.acceptor = acceptor_new(other, fd, 0, on_accept, &u, NULL);
    int a = dial(&bound);
    loop_turn(loop, 0);
    loop_turn(other, 0);
    assert_int_equal(t.count + u.count, 1);
    taker_done(&u);
    taker_done(&t);
    loop_turn(other, 0);
    loop_free(&other);
    close(a);
    close(fd);
}

static void test_listen_open__port_taken__error_names_address_and_reason(void **state)
{
    (void)state;
    struct addr bound = {.unix_path = NULL};
    char text[ADDR_TEXT_BYTES];
    struct err err;
    int fd = open_tcp(&(struct listen_opts){.reuse_port = true}, &bound), other = -1;
    assert_int_not_equal(listen_open(&bound, &(struct listen_opts){0}, &other, NULL, &err), 0);
    assert_non_null(strstr(err.message, addr_text(&bound, text)));
    assert_non_null(strcasestr(err.message, "address already in use"));
    assert_int_equal(listen_open(&bound, &(struct listen_opts){.reuse_port = true}, &other, NULL, NULL), 0);
    close(other);
    close(fd);
}

static void test_listen_open__v6_with_ipv4_compat__takes_both(void **state)
{
    (void)state;
    struct addr a = {.unix_path = NULL}, bound = {.unix_path = NULL}, v4 = {.unix_path = NULL};
    struct taker t = {0};
    int fd = -1;
    addr_from_ip(&a, STR("::"), 0, NULL);
    if (listen_open(&a, &(struct listen_opts){.ipv4_compat = true}, &fd, &bound, NULL) != 0)
        skip(); /* a machine without IPv6 */
    addr_from_ip(&v4, STR("127.0.0.1"), addr_port(&bound), NULL);
    t.acceptor = acceptor_new(loop, fd, 0, on_accept, &t, NULL);
    int client = dial(&v4);
    loop_turn(loop, -1);
    assert_non_null(strstr(t.remote, "::ffff:127.0.0.1"));
    taker_done(&t);
    close(client);
    close(fd);
}

static void test_listen_open__unix__mode_stale_and_live_file(void **state)
{
    (void)state;
    char dir[] = "/tmp/weft-test-XXXXXX", path[64];
    struct addr a = {.unix_path = NULL};
    struct listen_opts o = {.unix_mode = 0600};
    struct stat st;
    int fd = -1, other = -1;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/s", dir);
    addr_from_unix(&a, str_from(path), NULL);
    assert_int_equal(listen_open(&a, &o, &fd, NULL, NULL), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    struct err err;
    assert_int_not_equal(listen_open(&a, &o, &other, NULL, &err), 0); /* somebody listens */
    close(fd);
    assert_int_equal(listen_open(&a, &o, &other, NULL, NULL), 0); /* nobody does */
    close(other);
    unlink(path);
    int file = open(path, O_CREAT | O_WRONLY, 0600);
    close(file);
    assert_int_not_equal(listen_open(&a, &o, &other, NULL, NULL), 0); /* not a socket: kept */
    assert_int_equal(stat(path, &st), 0);
    unlink(path);
    rmdir(dir);
    addr_fini(&a);
}

/* Runs in a child: limits are the process's. Exit code 0 = good. */
static int exhausted_child(void)
{
    struct addr bound = {.unix_path = NULL};
    struct taker t = {0};
    int fd = open_tcp(&(struct listen_opts){0}, &bound);
    t.acceptor = acceptor_new(loop, fd, 0, on_accept, &t, NULL);
    int a = dial(&bound), b = dial(&bound);
    struct rlimit l;
    getrlimit(RLIMIT_NOFILE, &l);
    l.rlim_cur = (rlim_t)b + 1;
    setrlimit(RLIMIT_NOFILE, &l);
    loop_turn(loop, -1); /* takes the reserve to shed one */
    char c;
    if (t.count != 0 || acceptor_exhausted_count(t.acceptor) != 1)
        return 1;
    if (recv(a, &c, 1, 0) != 0) /* shed, not hanging */
        return 2;
    close(a);
    while (t.count == 0 && loop_counters(loop)->turns < 1000)
        loop_turn(loop, -1); /* the rest of 100 ms, then the second one */
    if (t.count != 1)
        return 3;
    /* And a connection's end wakes it before the time. */
    struct addr nobody = {.unix_path = NULL};
    struct conn *conn = conn_new_accepted(loop, t.fds[--t.count], &nobody, NULL);
    int d = b;
    shutdown(d, SHUT_RDWR);
    int e = socket(AF_INET, SOCK_STREAM, 0);
    if (e >= 0)
        return 4; /* the limit is meant to be reached */
    conn_close(conn, CONN_CLOSE_LOCAL);
    loop_turn(loop, 0);
    taker_done(&t);
    return 0;
}

static void test_acceptor__descriptors_run_out__sheds_one_rests_and_goes_on(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0)
        _exit(exhausted_child());
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
static bool is_refused(const struct addr *a)
{
    struct sockaddr_storage ss;
    socklen_t n = addr_to_sockaddr(a, &ss);
    int fd = socket(a->sa.sa_family, SOCK_STREAM, 0);
    bool refused = connect(fd, (struct sockaddr *)&ss, n) != 0 && errno == ECONNREFUSED;
    close(fd);
    return refused;
}

/* The port stays ours although the kernel chose it; what was in the queue is told at once, and options are as before. */
static void test_listen_suspend__twice__refuses_and_resumes_at_the_same_port(void **state)
{
    (void)state;
    struct listen_opts o = {.backlog = 8};
    struct addr bound = {.unix_path = NULL};
    int fd = open_tcp(&o, &bound);
    for (int i = 0; i < 2; i++) {
        int waiting = dial(&bound);
        assert_int_equal(listen_suspend(fd), 1);
        char byte;
        assert_int_equal(recv(waiting, &byte, 1, 0), -1);
        assert_int_equal(errno, ECONNRESET);
        close(waiting);
        assert_true(is_refused(&bound));
        assert_int_equal(listen_suspend(fd), 0);
        assert_int_equal(listen_resume(fd, &o, NULL), 0);
        int client = dial(&bound), one = 0;
        int got = accept(fd, NULL, NULL);
        socklen_t n = sizeof one;
        assert_true(got >= 0);
        assert_int_equal(getsockopt(got, IPPROTO_TCP, TCP_NODELAY, &one, &n), 0);
        assert_int_equal(one, 1);
        close(client);
        close(got);
    }
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_acceptor__connection__nodelay_is_inherited),
        T(test_acceptor__bound_a_turn__rest_comes_next_turn),
        T(test_acceptor_pause__in_on_accept__stops_until_resume),
        T(test_acceptor_free__in_on_accept__is_safe),
        T(test_acceptor__two_loops_one_descriptor__one_of_them_accepts),
        T(test_listen_open__port_taken__error_names_address_and_reason),
        T(test_listen_open__v6_with_ipv4_compat__takes_both),
        T(test_listen_suspend__twice__refuses_and_resumes_at_the_same_port),
        T(test_listen_open__unix__mode_stale_and_live_file),
        T(test_acceptor__descriptors_run_out__sheds_one_rests_and_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
