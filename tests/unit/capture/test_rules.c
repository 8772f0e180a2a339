/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "capture/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define FLAGS_MAX 12

static void render(const char *const *flags, struct strbuf *out)
{
    struct capture_opts o;
    struct err err = {0};
    int count = 0;
    while (count < FLAGS_MAX && flags[count])
        count++;
    if (capture_opts_init(&o, NULL, &err) < 0 || capture_opts_parse(&o, count, (char *const *)flags, &err) < 0 ||
        capture_opts_read_resolv(&o, STR("nameserver 10.96.0.10\nnameserver fd00::a\n"), &err) < 0 ||
        capture_opts_check(&o, &err) < 0)
        fail_msg("%s: %s", err.path, err.message);
    capture_rules(&o, out);
    capture_opts_fini(&o);
}

/* The lines of a chain, without the indentation; NULL when it isn't there. */
static char *chain_of(struct str rules, const char *table, const char *chain)
{
    struct strbuf want = {0}, out = {0};
    struct str line;
    strbuf_addf(&want, "table inet %s {", table);
    bool in_table = false, in_chain = false, is_found = false;
    while (rules.n) {
        line = str_split(rules, '\n', &rules);
        if (line.n && line.p[0] != '\t')
            in_table = str_eq(line, strbuf_str(&want));
        char name[64];
        snprintf(name, sizeof name, "\tchain %s {", chain);
        if (in_chain && str_eq(line, STR("\t}")))
            in_chain = false;
        else if (in_chain)
            strbuf_addf(&out, "%.*s\n", (int)line.n - 2, line.p + 2);
        if (in_table && str_eq(line, str_from(name)))
            in_chain = is_found = true;
    }
    strbuf_fini(&want);
    return is_found ? strbuf_take(&out) : NULL;
}

#define OWN_UID(port)                                                                                                            \
    "oifname \"lo\" ip daddr != 127.0.0.1 tcp dport != " port " meta skuid 1337 counter jump istio-in-redirect\n"                \
    "oifname \"lo\" ip6 daddr != ::1 tcp dport != " port " meta skuid 1337 counter jump istio-in-redirect\n"
#define OWN_GID(port)                                                                                                            \
    "oifname \"lo\" ip daddr != 127.0.0.1 tcp dport != " port " meta skgid 1337 counter jump istio-in-redirect\n"                \
    "oifname \"lo\" ip6 daddr != ::1 tcp dport != " port " meta skgid 1337 counter jump istio-in-redirect\n"
#define FROM_PROXY "oifname \"lo\" ip saddr 127.0.0.6 counter return\noifname \"lo\" ip6 saddr ::6 counter return\n"
#define OWN                                                                                                                      \
    FROM_PROXY OWN_UID("15008") "oifname \"lo\" meta skuid != 1337 counter return\nmeta skuid 1337 counter return\n" OWN_GID(    \
        "15008") "oifname \"lo\" meta skgid != 1337 counter return\nmeta skgid 1337 counter return\n"
#define OWN_DNS                                                                                                                  \
    FROM_PROXY OWN_UID("{ 53, 15008 }") "oifname \"lo\" tcp dport != 53 meta skuid != 1337 counter return\n"                     \
                                        "meta skuid 1337 counter return\n" OWN_GID(                                              \
                                            "{ 53, 15008 }") "oifname \"lo\" tcp dport != 53 meta skgid != 1337 counter "        \
                                                             "return\nmeta skgid 1337 counter return\n"                          \
                                                             "counter jump istio-output-dns\n"
#define LOCALHOST "ip daddr 127.0.0.1 counter return\nip6 daddr ::1 counter return\n"
#define NAT "istio-proxy-nat"
#define MANGLE "istio-proxy-mangle"
#define RAW "istio-proxy-raw"

struct expected {
    const char *flags[FLAGS_MAX];
    const char *table, *chain, *lines; /* lines NULL: there is no such chain */
};

static const struct expected cases[] = {
    /* Nothing asked for: nothing captured, but the proxy's calls to its own service. */
    {{NULL}, NAT, "prerouting", "type nat hook prerouting priority -100; policy accept;\n"},
    {{NULL}, NAT, "istio-inbound", NULL},
    {{NULL}, NAT, "istio-output", OWN LOCALHOST},
    {{NULL}, MANGLE, "prerouting", NULL},
    {{NULL}, RAW, "prerouting", NULL},

    /* What the injector's template asks for. */
    {{"-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-b", "*"},
     NAT,
     "prerouting",
     "type nat hook prerouting priority -100; policy accept;\nmeta l4proto tcp counter jump istio-inbound\n"},
    {{"-i", "*", "-b", "*", "-d", "15090,15021,15020"},
     NAT,
     "istio-inbound",
     "tcp dport 15008 counter return\ntcp dport { 15090, 15021, 15020 } counter return\nmeta l4proto tcp counter jump "
     "istio-in-redirect\n"},
    {{"-i", "*", "-b", "*"}, NAT, "istio-output", OWN LOCALHOST "meta l4proto tcp counter jump istio-redirect\n"},
    {{"-i", "*", "-b", "*"}, NAT, "output", "type nat hook output priority -100; policy accept;\ncounter jump istio-output\n"},
    {{"-i", "*", "-b", "*"}, NAT, "istio-redirect", "meta l4proto tcp counter redirect to :15001\n"},
    {{"-i", "*", "-b", "*"}, NAT, "istio-in-redirect", "meta l4proto tcp counter redirect to :15006\n"},

    {{"-p", "1", "-z", "2", "-e", "3", "-b", "*"}, NAT, "istio-redirect", "meta l4proto tcp counter redirect to :1\n"},
    {{"-p", "1", "-z", "2", "-e", "3", "-b", "*"}, NAT, "istio-in-redirect", "meta l4proto tcp counter redirect to :2\n"},
    {{"-p", "1", "-z", "2", "-e", "3", "-b", "80"},
     NAT,
     "istio-inbound",
     "tcp dport 3 counter return\ntcp dport 80 counter jump istio-in-redirect\n"},
    {{"-b", "80, 443,", "-d", "443"},
     NAT,
     "istio-inbound",
     "tcp dport 15008 counter return\ntcp dport 443 counter return\ntcp dport { 80, 443 } counter jump istio-in-redirect\n"},

    {{"-i", "10.1.2.3/8,fd00::1/8", "-x", "10.9.0.0/16,10.9.9.9/32,fd09::/16", "-q", "80,81", "-o", "22"},
     NAT,
     "istio-output",
     "tcp dport 22 counter return\nudp dport 22 counter return\n" OWN LOCALHOST
     "ip daddr 10.9.0.0/16 counter return\nip daddr 10.9.9.9 counter return\nip6 daddr fd09::/16 counter return\n"
     "tcp dport { 80, 81 } counter jump istio-redirect\n"
     "ip daddr 10.0.0.0/8 counter jump istio-redirect\nip6 daddr fd00::/8 counter jump istio-redirect\n"},
    /* Loopback asked for by name is captured. */
    {{"-i", "127.0.0.2/32"},
     NAT,
     "istio-output",
     FROM_PROXY OWN_UID("15008") "meta skuid 1337 counter return\n" OWN_GID(
         "15008") "meta skgid 1337 counter return\n" LOCALHOST "ip daddr 127.0.0.2 counter jump istio-redirect\n"},
    {{"-i", "*", "-c", "eth1,wg*"},
     NAT,
     "output",
     "type nat hook output priority -100; policy accept;\noifname \"eth1\" counter return\noifname \"wg*\" counter return\n"
     "counter jump istio-output\n"},
    {{"-b", "*", "-c", "eth1"},
     NAT,
     "prerouting",
     "type nat hook prerouting priority -100; policy accept;\niifname \"eth1\" counter return\nmeta l4proto tcp counter jump "
     "istio-inbound\n"},
    {{"-i", "*", "-b", "*", "-k", "net1"},
     NAT,
     "prerouting",
     "type nat hook prerouting priority -100; policy accept;\niifname \"net1\" counter jump istio-redirect\n"
     "iifname \"net1\" counter return\nmeta l4proto tcp counter jump istio-inbound\n"},
    {{"-i", "10.0.0.0/8", "-k", "net1"},
     NAT,
     "prerouting",
     "type nat hook prerouting priority -100; policy accept;\niifname \"net1\" ip daddr 10.0.0.0/8 counter jump istio-redirect\n"
     "iifname \"net1\" counter return\n"},

    {{"--redirect-dns"}, NAT, "istio-output", OWN_DNS LOCALHOST},
    {{"--redirect-dns"},
     NAT,
     "istio-output-dns",
     "ip daddr 10.96.0.10 tcp dport 53 counter redirect to :15053\nip6 daddr fd00::a tcp dport 53 counter redirect to :15053\n"
     "ip daddr 10.96.0.10 udp dport 53 counter redirect to :15053\nip6 daddr fd00::a udp dport 53 counter redirect to :15053\n"},
    {{"--redirect-dns"},
     RAW,
     "istio-inbound",
     "ip saddr 10.96.0.10 udp sport 53 counter ct zone set 1\nip6 saddr fd00::a udp sport 53 counter ct zone set 1\n"},
    {{"--redirect-dns", "--capture-all-dns"},
     NAT,
     "istio-output-dns",
     "tcp dport 53 counter redirect to :15053\nudp dport 53 counter redirect to :15053\n"},
    {{"--redirect-dns", "--capture-all-dns"}, RAW, "istio-inbound", "udp sport 53 counter ct zone set 1\n"},
    {{"--redirect-dns", "--capture-all-dns"},
     RAW,
     "istio-output-dns",
     "udp dport 53 meta skuid 1337 counter ct zone set 1 return\nudp sport 15053 meta skuid 1337 counter ct zone set 2 return\n"
     "udp dport 53 meta skgid 1337 counter ct zone set 1 return\nudp sport 15053 meta skgid 1337 counter ct zone set 2 return\n"
     "udp dport 53 counter ct zone set 2\n"},

    {{"--drop-invalid"},
     MANGLE,
     "prerouting",
     "type filter hook prerouting priority -150; policy accept;\nmeta l4proto tcp ct state invalid counter jump istio-drop\n"},
    {{"--drop-invalid"}, MANGLE, "istio-drop", "counter drop\n"},
    {{"--drop-invalid"}, MANGLE, "output", NULL},

    {{"-m", "TPROXY", "-b", "*"}, NAT, "istio-inbound", NULL},
    {{"-m", "TPROXY", "-b", "*", "-d", "15021"},
     MANGLE,
     "istio-inbound",
     "meta mark 1337 counter return\niifname \"lo\" ip saddr 127.0.0.6 counter return\niifname \"lo\" ip6 saddr ::6 counter "
     "return\n"
     "iifname \"lo\" meta mark != 1338 counter return\ntcp dport 15008 counter return\ntcp dport 15021 counter return\n"
     "meta l4proto tcp ct state established,related counter jump istio-divert\nmeta l4proto tcp counter jump istio-tproxy\n"},
    {{"-m", "TPROXY", "-b", "80,81", "-t", "7"},
     MANGLE,
     "istio-inbound",
     "meta mark 7 counter return\niifname \"lo\" ip saddr 127.0.0.6 counter return\niifname \"lo\" ip6 saddr ::6 counter return\n"
     "iifname \"lo\" meta mark != 1338 counter return\ntcp dport 15008 counter return\n"
     "tcp dport { 80, 81 } ct state established,related counter jump istio-divert\ntcp dport { 80, 81 } counter jump "
     "istio-tproxy\n"},
    {{"-m", "TPROXY", "-b", "*"},
     MANGLE,
     "istio-tproxy",
     "ip daddr != 127.0.0.1 meta l4proto tcp counter tproxy ip to :15006 meta mark set 1337 accept\n"
     "ip6 daddr != ::1 meta l4proto tcp counter tproxy ip6 to :15006 meta mark set 1337 accept\n"},
    {{"-m", "TPROXY", "-b", "*"}, MANGLE, "istio-divert", "counter meta mark set 1337 accept\n"},
    {{"-m", "TPROXY", "-b", "*"},
     MANGLE,
     "output",
     "type route hook output priority -150; policy accept;\noifname \"lo\" meta l4proto tcp meta mark 1337 counter return\n"
     "oifname \"lo\" ip daddr != 127.0.0.1 meta l4proto tcp meta skuid 1337 counter meta mark set 1338\n"
     "oifname \"lo\" ip6 daddr != ::1 meta l4proto tcp meta skuid 1337 counter meta mark set 1338\n"
     "oifname \"lo\" ip daddr != 127.0.0.1 meta l4proto tcp meta skgid 1337 counter meta mark set 1338\n"
     "oifname \"lo\" ip6 daddr != ::1 meta l4proto tcp meta skgid 1337 counter meta mark set 1338\n"
     "meta l4proto tcp ct mark 1337 counter meta mark set ct mark\n"},
    {{"-m", "TPROXY", "-i", "*"}, MANGLE, "prerouting", NULL},

    {{"-m", "NONE", "-i", "*", "-b", "*", "--drop-invalid"}, NAT, "prerouting", NULL},
    {{"-m", "NONE", "-i", "*", "-b", "*", "--drop-invalid"}, MANGLE, "prerouting", NULL},
};

static void test_capture_rules__chains__as_expected(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct expected *c = &cases[i];
        struct strbuf rules = {0};
        render(c->flags, &rules);
        char *lines = chain_of(strbuf_str(&rules), c->table, c->chain);
        if (!lines != !c->lines || (lines && strcmp(lines, c->lines) != 0))
            fail_msg("case %zu, %s %s:\n%s--- expected:\n%s", i, c->table, c->chain, lines ? lines : "(none)\n",
                     c->lines ? c->lines : "(none)\n");
        mem_free(lines);
        strbuf_fini(&rules);
    }
}

static void test_capture_rules__any_mode__begins_with_a_clean_slate(void **state)
{
    (void)state;
    struct strbuf clean = {0}, rules = {0};
    capture_rules_remove(&clean);
    assert_string_equal(clean.p, "table inet istio-proxy-nat\ndelete table inet istio-proxy-nat\n"
                                 "table inet istio-proxy-mangle\ndelete table inet istio-proxy-mangle\n"
                                 "table inet istio-proxy-raw\ndelete table inet istio-proxy-raw\n");
    render((const char *const[]){"-m", "NONE", NULL}, &rules);
    assert_string_equal(rules.p, clean.p);
    strbuf_reset(&rules);
    render((const char *const[]){"-i", "*", NULL}, &rules);
    assert_true(str_has_prefix(strbuf_str(&rules), strbuf_str(&clean)));
    strbuf_fini(&rules);
    strbuf_fini(&clean);
}

static void test_capture_rules__owner_groups__from_the_environment(void **state)
{
    (void)state;
    static char *const env[][2] = {{(char *)"ISTIO_OUTBOUND_OWNER_GROUPS=100,200", NULL},
                                   {(char *)"ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE=300", NULL}};
    static const char *const lines[] = {"meta skgid != { 100, 200 } counter return\n", "meta skgid 300 counter return\n"};
    for (size_t i = 0; i < 2; i++) {
        struct capture_opts o;
        struct strbuf rules = {0};
        assert_int_equal(capture_opts_init(&o, env[i], NULL), 0);
        assert_int_equal(capture_opts_parse(&o, 0, NULL, NULL), 0);
        assert_int_equal(capture_opts_check(&o, NULL), 0);
        capture_rules(&o, &rules);
        assert_true(str_find(strbuf_str(&rules), str_from(lines[i])) > 0);
        capture_opts_fini(&o);
        strbuf_fini(&rules);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_capture_rules__chains__as_expected),
        cmocka_unit_test(test_capture_rules__any_mode__begins_with_a_clean_slate),
        cmocka_unit_test(test_capture_rules__owner_groups__from_the_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
