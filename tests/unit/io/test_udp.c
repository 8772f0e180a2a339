/* SPDX-License-Identifier: Apache-2.0 */
#include "io/udp.h"

#include "base/check.h"

#include "../unit.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

static int open_at(const char *ip, struct addr *bound)
{
    struct err err = {0};
    struct addr a = {0};
    struct sockaddr_storage ss;
    socklen_t n = sizeof ss;
    int fd = -1;
    assert_int_equal(addr_from_ip(&a, str_from(ip), 0, &err), 0);
    assert_int_equal(udp_bind(&a, &fd, &err), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&ss, &n), 0);
    addr_from_sockaddr(bound, (const struct sockaddr *)&ss, n);
    addr_fini(&a);
    return fd;
}

static ssize_t take(int fd, char *p, size_t n, struct udp_peer *from)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 10000), 1);
    return udp_receive(fd, p, n, from);
}

static bool has_ipv6(void)
{
    struct addr a = {0};
    int fd = -1;
    bool has = addr_from_ip(&a, STR("::1"), 0, NULL) == 0 && udp_bind(&a, &fd, NULL) == 0;
    if (has)
        close(fd);
    addr_fini(&a);
    return has;
}

/* A connected client hears nobody but who it asked. */
static void test_udp_answer__socket_of_all_addresses__from_the_one_that_was_asked(void **state)
{
    (void)state;
    static const struct {
        const char *bound, *asked;
    } cases[] = {{"0.0.0.0", "127.0.0.7"}, {"127.0.0.1", "127.0.0.1"}, {"::", "::1"}};
    for (size_t i = 0; i < (has_ipv6() ? 3 : 2); i++) {
        struct err err = {0};
        struct addr at = {0}, to = {0};
        struct udp_peer peer;
        char got[16];
        int fd = -1, server = open_at(cases[i].bound, &at);
        assert_int_equal(addr_from_ip(&to, str_from(cases[i].asked), addr_port(&at), &err), 0);
        assert_int_equal(udp_connect(&to, &fd, &err), 0);
        assert_int_equal(send(fd, "ask", 3, 0), 3);
        assert_int_equal(take(server, got, sizeof got, &peer), 3);
        assert_int_equal(peer.local_family != 0, strcmp(cases[i].bound, cases[i].asked) != 0);
        assert_int_equal(udp_answer(server, "told", 4, &peer), 4);
        assert_int_equal(take(fd, got, sizeof got, &peer), 4);
        assert_memory_equal(got, "told", 4);
        close(fd);
        close(server);
        addr_fini(&at);
        addr_fini(&to);
    }
}

static void test_udp_connect__nobody_there__told(void **state)
{
    (void)state;
    struct err err = {0};
    struct addr at = {0};
    struct udp_peer peer;
    char got[16];
    int fd = -1;
    close(open_at("127.0.0.1", &at));
    assert_int_equal(udp_connect(&at, &fd, &err), 0);
    assert_int_equal(udp_receive(fd, got, sizeof got, &peer), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(send(fd, "ask", 3, 0), 3);
    assert_int_equal(take(fd, got, sizeof got, &peer), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(fd);
    addr_fini(&at);
}

static void test_udp_bind__address_in_use__named(void **state)
{
    (void)state;
    struct err err = {0};
    struct addr at = {0};
    int again = 7, fd = open_at("127.0.0.1", &at);
    assert_int_not_equal(udp_bind(&at, &again, &err), 0);
    assert_int_equal(again, -1);
    assert_non_null(strstr(err.message, "cannot bind UDP '127.0.0.1:"));
    close(fd);
    addr_fini(&at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_udp_answer__socket_of_all_addresses__from_the_one_that_was_asked),
        cmocka_unit_test(test_udp_connect__nobody_there__told),
        cmocka_unit_test(test_udp_bind__address_in_use__named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
