/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define FLAGS_MAX 6

struct refused {
    const char *flags[FLAGS_MAX];
    const char *path, *message; /* how it begins */
};

static const struct refused refused[] = {
    {{"--nonsense"}, "", "unknown argument '--nonsense'"},
    {{"-i"}, "", "--istio-service-cidr needs a value"},
    {{"-p", "0"}, "--envoy-port", "'0' is not a port from 1 to 65535"},
    {{"-p", "65536"}, "--envoy-port", "'65536' is not a port"},
    {{"-b", "80,http"}, "--istio-inbound-ports", "'http' is not a port"},
    {{"-b", "80-90"}, "--istio-inbound-ports", "'80-90' is not a port"},
    {{"-u", "root"}, "--proxy-uid", "'root' is not the number of a user or group"},
    {{"-u", "4294967295"}, "--proxy-uid", "'4294967295' is not"},
    {{"-m", "DNAT"}, "--istio-inbound-interception-mode", "'DNAT' is not REDIRECT, TPROXY or NONE"},
    {{"-i", "10.0.0.0"}, "--istio-service-cidr", "'10.0.0.0' is not a range"},
    {{"-i", "10.0.0.0/33"}, "--istio-service-cidr", "'10.0.0.0/33' is not a range"},
    {{"-i", "10.0.0.0/8,*"}, "--istio-service-cidr", "'*' is not a range"},
    {{"-i", "fe80::1%lo/64"}, "--istio-service-cidr", "'fe80::1%lo/64' is not a range"},
    {{"-c", "a\" accept #"}, "--istio-exclude-interfaces", "'a\" accept #' is not the name of a network interface"},
    {{"-c", "sixteen-letters-"}, "--istio-exclude-interfaces", "'sixteen-letters-' is not the name"},
    {{"-c", "*"}, "--istio-exclude-interfaces", "'*' is not the name"},
    {{"--redirect-dns=maybe"}, "--redirect-dns", "'maybe' is not true or false"},
    {{"-p", "15006"}, "", "the outbound port 15006, the inbound port 15006"},
    {{"-e", "15001"}, "", "the outbound port 15001"},
    {{"-u", ""}, "", "--proxy-uid: without a user"},
    {{"-u", "*"}, "", "'*' for the proxy's users"},
    {{"-x", "*"}, "", "--istio-service-exclude-cidr: '*'"},
    {{"-q", "*"}, "", "'*' is for --istio-inbound-ports"},
    {{"--capture-all-dns"}, "", "--capture-all-dns says which"},
    {{"--redirect-dns"}, "", "--redirect-dns: resolv.conf names no server"},
    {{"-m", "TPROXY", "-t", "1338"}, "", "--istio-inbound-tproxy-mark: 1338 is taken"},
    {{"-m", "TPROXY", "-r", "254"}, "", "--istio-inbound-tproxy-route-table: 254 is a table of the system's"},
};

static int count_of(const char *const *flags)
{
    int count = 0;
    while (count < FLAGS_MAX && flags[count])
        count++;
    return count;
}

static void test_capture_opts__what_is_wrong__refused_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const struct refused *r = &refused[i];
        struct capture_opts o;
        struct err err = {0};
        assert_int_equal(capture_opts_init(&o, NULL, NULL), 0);
        int rc = capture_opts_parse(&o, count_of(r->flags), (char *const *)r->flags, &err);
        if (rc == 0)
            rc = capture_opts_check(&o, &err);
        if (rc >= 0 || strcmp(err.path, r->path) != 0 || !str_has_prefix(str_from(err.message), str_from(r->message)))
            fail_msg("case %zu: rc %d, '%s' '%s'", i, rc, err.path, err.message);
        capture_opts_fini(&o);
    }
}

static void test_capture_opts__environment__is_overridden_by_flags(void **state)
{
    (void)state;
    struct capture_opts o;
    char *const env[] = {(char *)"ENVOY_PORT=1", (char *)"INBOUND_CAPTURE_PORT=2", (char *)"ISTIO_META_DNS_CAPTURE=true",
                         (char *)"PROXY_UID=", NULL};
    const char *const flags[] = {"--inbound-capture-port=3", "-g", "7,8"};
    assert_int_equal(capture_opts_init(&o, env, NULL), 0);
    assert_int_equal(capture_opts_parse(&o, 3, (char *const *)flags, NULL), 0);
    assert_int_equal(o.outbound_port, 1);
    assert_int_equal(o.inbound_port, 3);
    assert_int_equal(o.tunnel_port, 15008);
    assert_int_equal(o.uids.count, 1);
    assert_int_equal(o.uids.items[0], 1337);
    assert_int_equal(o.gids.count, 2);
    assert_true(o.redirect_dns);
    capture_opts_fini(&o);

    struct err err = {0};
    char *const bad[] = {(char *)"ENVOY_PORT=http", NULL};
    assert_true(capture_opts_init(&o, bad, &err) < 0);
    assert_string_equal(err.path, "ENVOY_PORT");
    capture_opts_fini(&o);
}

static void test_capture_opts__no_group__is_the_user(void **state)
{
    (void)state;
    struct capture_opts o;
    const char *const flags[] = {"-u", "5"};
    assert_int_equal(capture_opts_init(&o, NULL, NULL), 0);
    assert_int_equal(capture_opts_parse(&o, 2, (char *const *)flags, NULL), 0);
    assert_int_equal(o.gids.count, 1);
    assert_int_equal(o.gids.items[0], 5);
    capture_opts_fini(&o);
}

static void test_capture_opts__long_lists__refused(void **state)
{
    (void)state;
    struct capture_opts o;
    struct strbuf ports = {0};
    for (int i = 0; i <= CAPTURE_LIST_MAX; i++)
        strbuf_addz(&ports, "80,");
    assert_int_equal(capture_opts_init(&o, NULL, NULL), 0);
    assert_int_equal(capture_opts_parse(&o, 2, (char *const[]){(char *)"-b", ports.p}, NULL), ERR_LIMIT);
    ports.p[ports.n - 3] = 0;
    assert_int_equal(capture_opts_parse(&o, 2, (char *const[]){(char *)"-b", ports.p}, NULL), 0);
    assert_int_equal(o.inbound_ports.count, CAPTURE_LIST_MAX);
    capture_opts_fini(&o);
    strbuf_fini(&ports);
}

static void test_capture_opts_read_resolv__files__servers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int rc;
        size_t count;
    } cases[] = {
        {"", 0, 0},
        {"# nameserver 1.1.1.1\nsearch a b\nnameserver 10.0.0.1\nnameserver\t::1", 0, 2},
        {"nameserver\nnameservers 10.0.0.1\n", 0, 0},
        {"nameserver fe80::1%lo\n", ERR_UNSUPPORTED, 0},
        {"nameserver example.com\n", ERR_UNSUPPORTED, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct capture_opts o;
        assert_int_equal(capture_opts_init(&o, NULL, NULL), 0);
        assert_int_equal(capture_opts_read_resolv(&o, str_from(cases[i].text), NULL), cases[i].rc);
        assert_int_equal(o.dns_servers.count, cases[i].count);
        capture_opts_fini(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_capture_opts__what_is_wrong__refused_by_name),
        cmocka_unit_test(test_capture_opts__environment__is_overridden_by_flags),
        cmocka_unit_test(test_capture_opts__no_group__is_the_user),
        cmocka_unit_test(test_capture_opts__long_lists__refused),
        cmocka_unit_test(test_capture_opts_read_resolv__files__servers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
