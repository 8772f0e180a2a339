/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/check.h"
#include "io/addr.h"

static void check_ip(const char *text, uint16_t port, const char *expected)
{
    struct addr a = {.unix_path = NULL};
    char out[ADDR_TEXT_BYTES];
    assert_int_equal(addr_from_ip(&a, str_from(text), port, NULL), 0);
    assert_string_equal(addr_text(&a, out), expected);
    assert_int_equal(addr_port(&a), port);
    struct sockaddr_storage ss;
    socklen_t n = addr_to_sockaddr(&a, &ss);
    struct addr b = {.unix_path = NULL};
    addr_from_sockaddr(&b, (struct sockaddr *)&ss, n);
    assert_true(addr_eq(&a, &b));
}

static void test_addr_from_ip__literals__print_as_envoy_does(void **state)
{
    (void)state;
    check_ip("1.2.3.4", 80, "1.2.3.4:80");
    check_ip("::1", 8080, "[::1]:8080");
    check_ip("[2001:db8::1]", 0, "[2001:db8::1]:0");
    check_ip("fe80::1%1", 53, "[fe80::1%1]:53");
    check_ip("::ffff:1.2.3.4", 1, "[::ffff:1.2.3.4]:1");
}

static void test_addr_from_ip_port__both_families_and_what_is_none(void **state)
{
    static const char *const bad[] = {"", "1.2.3.4", ":80", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:-1", "name:80", "1.2.3.4:80 "};
    char text[ADDR_TEXT_BYTES];
    struct addr a = {0};
    (void)state;
    assert_int_equal(addr_from_ip_port(&a, STR("10.0.0.1:8080"), NULL), 0);
    assert_string_equal(addr_text(&a, text), "10.0.0.1:8080");
    assert_int_equal(addr_from_ip_port(&a, STR("[::1]:0"), NULL), 0);
    assert_string_equal(addr_text(&a, text), "[::1]:0");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(addr_from_ip_port(&a, str_from(bad[i]), NULL), ERR_INVALID);
}

static void test_addr_from_ip__not_an_address__is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "1.2.3", "1.2.3.4.5", "[1.2.3.4]", "::g", "localhost",
                                      "[::1", "fe80::1%nosuchif0", "1.2.3.4 ", "01.2.3.4"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct addr a = {.unix_path = NULL};
        struct err err;
        assert_int_equal(addr_from_ip(&a, str_from(bad[i]), 1, &err), ERR_INVALID);
        assert_int_equal(a.sa.sa_family, 0);
    }
}

static void check_unix(const char *text)
{
    struct addr a = {.unix_path = NULL}, b = {.unix_path = NULL}, c = {.unix_path = NULL};
    char out[ADDR_TEXT_BYTES];
    assert_int_equal(addr_from_unix(&a, str_from(text), NULL), 0);
    struct sockaddr_storage ss;
    socklen_t n = addr_to_sockaddr(&a, &ss);
    addr_from_sockaddr(&b, (struct sockaddr *)&ss, n);
    assert_true(addr_eq(&a, &b));
    assert_string_equal(addr_text(&b, out), text);
    addr_copy(&c, &a);
    addr_copy(&c, &b);
    assert_true(addr_eq(&a, &c));
    addr_fini(&a);
    addr_fini(&b);
    addr_fini(&c);
}

static void test_addr_from_unix__path_and_abstract__survive_the_kernel_s_form(void **state)
{
    (void)state;
    check_unix("/run/x.sock");
    check_unix("@abstract/name");
    struct addr a = {.unix_path = NULL};
    char longest[200];
    memset(longest, 'x', sizeof(longest));
    assert_int_equal(addr_from_unix(&a, str_make(longest, 108), NULL), ERR_INVALID);
    assert_int_equal(addr_from_unix(&a, str_make(longest, 107), NULL), 0);
    addr_fini(&a);
    assert_int_equal(addr_from_unix(&a, STR(""), NULL), ERR_INVALID);
}

static bool has(const char *net, unsigned bits, const char *ip)
{
    struct cidr c;
    struct addr a = {.unix_path = NULL};
    assert_int_equal(cidr_parse(&c, str_from(net), bits, NULL), 0);
    assert_int_equal(addr_from_ip(&a, str_from(ip), 0, NULL), 0);
    return cidr_has(&c, &a);
}

static void test_cidr_has__ranges__match_by_prefix(void **state)
{
    (void)state;
    assert_true(has("10.1.2.3", 8, "10.255.0.1"));
    assert_false(has("10.1.2.3", 8, "11.0.0.1"));
    assert_true(has("10.1.2.3", 0, "200.0.0.1"));
    assert_true(has("10.1.2.3", 32, "10.1.2.3"));
    assert_false(has("10.1.2.3", 31, "10.1.2.4"));
    assert_true(has("192.168.0.0", 17, "192.168.127.1"));
    assert_false(has("192.168.0.0", 17, "192.168.128.1"));
    assert_true(has("10.0.0.0", 8, "::ffff:10.9.9.9"));
    assert_true(has("::ffff:10.0.0.0", 104, "10.9.9.9"));
    assert_true(has("2001:db8::", 33, "2001:db8:7fff::1"));
    assert_false(has("2001:db8::", 33, "2001:db8:8000::1"));
    assert_false(has("::", 0, "1.2.3.4"));
    assert_false(has("0.0.0.0", 0, "::1"));
}

static void test_cidr_parse__prefix_too_long__is_refused(void **state)
{
    (void)state;
    struct cidr c;
    struct err err;
    assert_int_equal(cidr_parse(&c, STR("1.2.3.4"), 33, &err), ERR_INVALID);
    assert_int_equal(cidr_parse(&c, STR("::"), 129, &err), ERR_INVALID);
    assert_int_equal(cidr_parse(&c, STR("x"), 1, &err), ERR_INVALID);
}

static void test_addr_is_loopback__families__seen(void **state)
{
    (void)state;
    struct addr a = {.unix_path = NULL};
    addr_from_ip(&a, STR("127.9.9.9"), 0, NULL);
    assert_true(addr_is_loopback(&a));
    addr_from_ip(&a, STR("::1"), 0, NULL);
    assert_true(addr_is_loopback(&a));
    addr_from_ip(&a, STR("::ffff:127.0.0.1"), 0, NULL);
    assert_true(addr_is_loopback(&a));
    addr_from_ip(&a, STR("128.0.0.1"), 0, NULL);
    assert_false(addr_is_loopback(&a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addr_from_ip__literals__print_as_envoy_does),
        cmocka_unit_test(test_addr_from_ip_port__both_families_and_what_is_none),
        cmocka_unit_test(test_addr_from_ip__not_an_address__is_refused),
        cmocka_unit_test(test_addr_from_unix__path_and_abstract__survive_the_kernel_s_form),
        cmocka_unit_test(test_cidr_has__ranges__match_by_prefix),
        cmocka_unit_test(test_cidr_parse__prefix_too_long__is_refused),
        cmocka_unit_test(test_addr_is_loopback__families__seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
