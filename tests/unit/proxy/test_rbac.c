/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine of access control: what rules ask, which policy decides, and that an index over many policies finds what asking
 * each of them finds. WEFT_RBAC_TIMES=1 prints what a decision among 1,000 policies takes.
 */
#include "proxy/rbac/rbac.h"

#include <stdarg.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>

/* ---- making rules ---- */

static struct rbac_rule text_rule(enum rbac_rule_kind kind, enum string_match_kind how, const char *text)
{
    struct rbac_rule r = {.kind = kind};
    struct err err = {0};
    assert_int_equal(string_match_init(&r.u.text, how, str_from(text), false, &err), 0);
    return r;
}

static struct rbac_rule path_is(const char *text) { return text_rule(RBAC_PATH, MATCH_EXACT, text); }
static struct rbac_rule path_begins(const char *text) { return text_rule(RBAC_PATH, MATCH_PREFIX, text); }
static struct rbac_rule name_is(const char *text) { return text_rule(RBAC_AUTHENTICATED, MATCH_EXACT, text); }
static struct rbac_rule name_fits(const char *text) { return text_rule(RBAC_AUTHENTICATED, MATCH_REGEX, text); }

static struct rbac_rule header_is(const char *name, const char *value)
{
    struct rbac_rule r = {.kind = RBAC_HEADER};
    header_matcher_init(&r.u.header, str_from(name));
    r.u.header.kind = HEADER_MATCH_STRING;
    string_match_init(&r.u.header.string, MATCH_EXACT, str_from(value), false, NULL);
    return r;
}

static struct rbac_rule port_is(int port)
{
    struct rbac_rule r = {.kind = RBAC_PORT};
    r.u.ports.start = port;
    r.u.ports.end = port + 1;
    return r;
}

static struct rbac_rule address_in(enum rbac_rule_kind kind, const char *ip, unsigned bits)
{
    struct rbac_rule r = {.kind = kind};
    assert_int_equal(cidr_parse(&r.u.cidr, str_from(ip), bits, NULL), 0);
    return r;
}

static struct rbac_rule of(struct rbac_engine *e, enum rbac_rule_kind kind, uint32_t n, const struct rbac_rule *items)
{
    struct rbac_rule r = {.kind = kind};
    r.u.children.count = n;
    r.u.children.items = arena_zalloc(rbac_engine_arena(e), (n + 1) * sizeof(*items));
    if (n)
        memcpy(r.u.children.items, items, n * sizeof(*items));
    return r;
}
#define ALL(e, ...) of(e, RBAC_AND, ARRAY_LEN(((struct rbac_rule[]){__VA_ARGS__})), (struct rbac_rule[]){__VA_ARGS__})
#define ONE(e, ...) of(e, RBAC_OR, ARRAY_LEN(((struct rbac_rule[]){__VA_ARGS__})), (struct rbac_rule[]){__VA_ARGS__})
#define NOT(e, rule) of(e, RBAC_NOT, 1, (struct rbac_rule[]){rule})
static const struct rbac_rule any = {.kind = RBAC_ANY};

/* ---- making requests ---- */

struct asked {
    struct arena arena;
    struct headers headers;
    struct stream_info info;
    struct addr local, remote;
    struct str names[3];
    struct rbac_input in;
};

static void ask(struct asked *q, const char *method, const char *path, const char *name, int port)
{
    memset(q, 0, sizeof(*q));
    arena_init(&q->arena, 0);
    headers_init(&q->headers, &q->arena);
    headers_add(&q->headers, STR(":method"), str_from(method));
    headers_add(&q->headers, STR(":path"), str_from(path));
    addr_from_ip(&q->local, STR("10.0.0.1"), (uint16_t)port, NULL);
    q->info.downstream_local = &q->local;
    addr_from_ip(&q->remote, STR("10.3.7.7"), 40000, NULL);
    q->info.downstream_remote = q->info.downstream_direct_remote = &q->remote;
    q->names[0] = str_from(name);
    rbac_input_init(&q->in, &q->headers, &q->info, true);
    q->in.peer = (struct rbac_peer){.is_tls = name != NULL, .is_verified = name && *name, .uri_sans = q->names, .subject = STR("CN=x")};
}

static void asked_fini(struct asked *q)
{
    arena_fini(&q->arena);
}

/* The name of the policy that decides; "" none. */
static const char *decides(const struct rbac_engine *e, const char *method, const char *path, const char *name, int port)
{
    static char text[64];
    struct asked q;
    ask(&q, method, path, name, port);
    struct rbac_verdict v = rbac_decide(e, &q.in);
    snprintf(text, sizeof(text), "%.*s", STR_ARG(v.policy));
    asked_fini(&q);
    return text;
}

static void put(struct rbac_policy *p, const char *name, struct rbac_rule what, struct rbac_rule who)
{
    p->name = str_from(name);
    p->permissions = what;
    p->principals = who;
}

/* ---- deciding ---- */

static void test_rbac_decide__several_policies_fit__first_by_name(void **state)
{
    (void)state;
    struct rbac_engine *e = rbac_engine_new(RBAC_ALLOW);
    struct rbac_policy *p = rbac_engine_policies(e, 4);
    put(&p[0], "c", path_begins("/a"), any);
    put(&p[1], "b", any, name_is("spiffe://t/ns/foo/sa/x"));
    put(&p[2], "a", path_is("/a/b"), any);
    put(&p[3], "d", port_is(81), any);
    rbac_engine_build(e);
    assert_string_equal(decides(e, "GET", "/a/b?q=1", NULL, 80), "a");
    assert_string_equal(decides(e, "GET", "/a/b#f", "spiffe://t/ns/foo/sa/x", 80), "a");
    assert_string_equal(decides(e, "GET", "/a/c", "spiffe://t/ns/foo/sa/x", 80), "b");
    assert_string_equal(decides(e, "GET", "/a/c", "spiffe://t/ns/foo/sa/y", 80), "c");
    assert_string_equal(decides(e, "GET", "/x", "spiffe://t/ns/foo/sa/y", 81), "d");
    assert_string_equal(decides(e, "GET", "/x", NULL, 80), "");
    rbac_engine_free(&e);
}

static void test_rbac_decide__actions__allow_deny_log(void **state)
{
    (void)state;
    static const struct { enum rbac_action action; bool when_fits, when_not; } table[] = {
        {RBAC_ALLOW, true, false}, {RBAC_DENY, false, true}, {RBAC_LOG, true, true}};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct rbac_engine *e = rbac_engine_new(table[i].action);
        put(rbac_engine_policies(e, 1), "p", path_is("/a"), any);
        rbac_engine_build(e);
        for (int fits = 0; fits < 2; fits++) {
            struct asked q;
            ask(&q, "GET", fits ? "/a" : "/b", NULL, 80);
            struct rbac_verdict v = rbac_decide(e, &q.in);
            assert_int_equal(v.is_allowed, fits ? table[i].when_fits : table[i].when_not);
            assert_int_equal(v.says_log, table[i].action == RBAC_LOG);
            assert_int_equal(v.log, fits);
            asked_fini(&q);
        }
        rbac_engine_free(&e);
    }
}

static void test_rbac_engine_build__same_name_twice__last_counts(void **state)
{
    (void)state;
    struct rbac_engine *e = rbac_engine_new(RBAC_ALLOW);
    struct rbac_policy *p = rbac_engine_policies(e, 3);
    put(&p[0], "a", path_is("/old"), any);
    put(&p[1], "b", path_is("/b"), any);
    put(&p[2], "a", path_is("/new"), any);
    rbac_engine_build(e);
    assert_int_equal(rbac_engine_name_count(e), 2);
    assert_string_equal(decides(e, "GET", "/old", NULL, 80), "");
    assert_string_equal(decides(e, "GET", "/new", NULL, 80), "a");
    rbac_engine_free(&e);
}

static void test_rbac_decide__no_verified_certificate__no_name(void **state)
{
    (void)state;
    struct rbac_engine *e = rbac_engine_new(RBAC_ALLOW);
    struct rbac_policy *p = rbac_engine_policies(e, 3);
    struct rbac_rule tls = {.kind = RBAC_AUTHENTICATED, .any_name = true}, verified = {.kind = RBAC_VALIDATED};
    put(&p[0], "name", any, name_is("spiffe://t/ns/foo/sa/x"));
    put(&p[1], "tls", path_is("/tls"), tls);
    put(&p[2], "verified", any, verified);
    rbac_engine_build(e);
    assert_true(rbac_engine_wants_peer(e));
    struct asked q;
    ask(&q, "GET", "/tls", "spiffe://t/ns/foo/sa/x", 80);
    q.in.peer.is_verified = false; /* presented, but nobody vouched for it */
    assert_true(str_eq(rbac_decide(e, &q.in).policy, STR("tls")));
    q.in.peer.is_tls = false;
    assert_null(rbac_decide(e, &q.in).policy.p);
    asked_fini(&q);
    assert_string_equal(decides(e, "GET", "/", "spiffe://t/ns/foo/sa/y", 80), "verified");
    rbac_engine_free(&e);
}

static void test_rbac_decide__a_connection__has_no_path_or_headers(void **state)
{
    (void)state;
    struct rbac_engine *e = rbac_engine_new(RBAC_ALLOW);
    struct rbac_policy *p = rbac_engine_policies(e, 2);
    put(&p[0], "a", ONE(e, path_begins("/"), path_is(""), header_is("x", "")), any);
    put(&p[1], "b", NOT(e, path_begins("/")), any);
    rbac_engine_build(e);
    struct asked q;
    ask(&q, "GET", "/", NULL, 80);
    rbac_input_init(&q.in, NULL, &q.info, true);
    assert_true(str_eq(rbac_decide(e, &q.in).policy, STR("b")));
    asked_fini(&q);
    rbac_engine_free(&e);
}

static void test_rbac_decide__namespaces__of_istio(void **state)
{
    (void)state;
    struct rbac_engine *e = rbac_engine_new(RBAC_ALLOW);
    struct rbac_policy *p = rbac_engine_policies(e, 4);
    put(&p[0], "a", any, name_fits(".*/ns/foo/.*"));
    put(&p[1], "b", any, name_fits("spiffe://.*/ns/bar/sa/[a-z]+"));
    put(&p[2], "c", any, name_fits("spiffe://cluster\\.local/ns/b.z/sa/x"));
    put(&p[3], "d", any, name_fits("(.*/ns/one/.*)|(.*/ns/two/.*)"));
    rbac_engine_build(e);
    assert_string_equal(decides(e, "GET", "/", "spiffe://cluster.local/ns/foo/sa/x", 80), "a");
    assert_string_equal(decides(e, "GET", "/", "spiffe://x/ns/no/ns/foo/sa", 80), "a");
    assert_string_equal(decides(e, "GET", "/", "spiffe://x/ns/ns/foo/sa/x", 80), "a");
    assert_string_equal(decides(e, "GET", "/", "spiffe://x/ns/bar/sa/abc", 80), "b");
    assert_string_equal(decides(e, "GET", "/", "spiffe://cluster.local/ns/baz/sa/x", 80), "c");
    assert_string_equal(decides(e, "GET", "/", "spiffe://x/ns/two/sa/x", 80), "d");
    assert_string_equal(decides(e, "GET", "/", "spiffe://x/ns/foo", 80), "");
    rbac_engine_free(&e);
}

/* ---- in words ---- */

static void keep_line(void *arg, struct str line)
{
    struct strbuf *b = arg;
    strbuf_adds(b, line);
    strbuf_addc(b, '\n');
}

static void test_rbac_explain__policies_before_the_one_that_fits__say_why_not(void **state)
{
    (void)state;
    struct rbac_engine *e = rbac_engine_new(RBAC_DENY);
    struct rbac_policy *p = rbac_engine_policies(e, 5);
    put(&p[0], "a", ONE(e, ALL(e, path_begins("/a"), header_is(":method", "POST"))), any);
    put(&p[1], "b", ONE(e, ONE(e, path_is("/1"), path_is("/2"), path_is("/3"), path_is("/4"), path_is("/5"))), any);
    put(&p[2], "c", any, ONE(e, NOT(e, ONE(e, name_is("y"), name_is("x")))));
    put(&p[3], "d", any, ONE(e, ONE(e, name_is("y"), port_is(81))));
    put(&p[4], "e", any, any);
    rbac_engine_build(e);
    struct asked q;
    struct strbuf b = {0};
    ask(&q, "GET", "/a/b", "x", 80);
    rbac_explain(e, &q.in, 8, keep_line, &b);
    assert_string_equal(b.p, "policy e denies\n"
                             "policy a doesn't fit: permissions: header wants :method exact \"POST\", has \"GET\"\n"
                             "policy b doesn't fit: permissions: url_path wants exact \"/1\" or exact \"/2\" or exact \"/3\" or one of 2 more, "
                             "has \"/a/b\"\n"
                             "policy c doesn't fit: principals: not authenticated exact \"x\", has \"x\", \"CN=x\"\n"
                             "policy d doesn't fit: principals: authenticated wants exact \"y\", has \"x\", \"CN=x\"; and destination_port "
                             "wants 81, has 80\n");
    strbuf_reset(&b);
    rbac_explain(e, &q.in, 1, keep_line, &b);
    assert_non_null(strstr(b.p, "3 more policies don't fit\n"));
    strbuf_fini(&b);
    asked_fini(&q);
    rbac_engine_free(&e);
}

/* ---- the index ---- */

static const char *const paths[] = {"/", "/a", "/a/b", "/a/b/c", "/ab", "/b", "/b/a", "/c/%41", ""};
static const char *const peers[] = {"spiffe://t/ns/ns/foo/sa/x", "spiffe://t/ns/foo/sa/x", "spiffe://t/ns/bar/sa/x", "spiffe://t/ns/foo/sa/y", "CN=x", ""};
static const char *const patterns[] = {".*/ns/foo/.*", ".*/ns/bar/.+", "spiffe://t/ns/foo/sa/.", ".*", "(.*/ns/foo/.*)?", ".*/ns/fo.?/.*"};
static const struct { const char *ip; unsigned bits; } ranges[] = {
    {"10.0.0.0", 8}, {"10.3.7.0", 24}, {"10.3.7.7", 32}, {"10.3.0.0", 13}, {"10.8.0.0", 13}, {"0.0.0.0", 0}, {"::ffff:10.3.7.0", 120},
    {"2001:db8::", 33}, {"2001:db8:8000::", 33}};
static const char *const remotes[] = {"10.3.7.7", "10.8.1.1", "::ffff:10.3.7.7", "2001:db8::1", "2001:db8:8000::1", "192.0.2.1"};
static const char *const methods[] = {"GET", "POST", "PUT"};
#define PICK(rng, list) (list)[rng_next(rng) % ARRAY_LEN(list)]

static struct rbac_rule random_rule(struct rbac_engine *e, struct rng *rng, int depth)
{
    struct rbac_rule items[3];
    uint32_t n = 1 + rng_next(rng) % 3;
    uint64_t at = rng_next(rng) % ARRAY_LEN(ranges);
    switch (rng_next(rng) % (depth ? 14 : 11)) {
    case 0:
        return path_is(PICK(rng, paths));
    case 1:
    case 2:
        return path_begins(PICK(rng, paths));
    case 3:
        return name_is(PICK(rng, peers));
    case 4:
        return name_fits(PICK(rng, patterns));
    case 5:
        return header_is(":method", PICK(rng, methods));
    case 6:
        return header_is("x-other", PICK(rng, methods));
    case 7:
        return port_is(80 + (int)(rng_next(rng) % 3));
    case 8:
        return any;
    case 9:
    case 10:
        return address_in(rng_next(rng) % 2 ? RBAC_REMOTE_IP : RBAC_DIRECT_REMOTE_IP, ranges[at].ip, ranges[at].bits);
    case 11:
        return NOT(e, random_rule(e, rng, depth - 1));
    default:
        for (uint32_t i = 0; i < n; i++)
            items[i] = random_rule(e, rng, depth - 1);
        return of(e, rng_next(rng) % 2 ? RBAC_AND : RBAC_OR, n, items);
    }
}

static void test_rbac_decide__random_policies__as_if_each_was_asked(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 7);
    for (int round = 0; round < 300; round++) {
        struct rbac_engine *e = rbac_engine_new(RBAC_ALLOW);
        uint32_t n = 1 + rng_next(&rng) % 12;
        struct rbac_policy *p = rbac_engine_policies(e, n);
        char names[12][8];
        for (uint32_t i = 0; i < n; i++) {
            snprintf(names[i], sizeof(names[i]), "p%02u", i);
            put(&p[i], names[i], random_rule(e, &rng, 3), random_rule(e, &rng, 2));
        }
        rbac_engine_build(e);
        for (int k = 0; k < 30; k++) {
            struct asked q;
            ask(&q, PICK(&rng, methods), PICK(&rng, paths), rng_next(&rng) % 4 ? PICK(&rng, peers) : NULL, 80 + (int)(rng_next(&rng) % 3));
            addr_from_ip(&q.remote, str_from(PICK(&rng, remotes)), 40000, NULL);
            if (rng_next(&rng) % 2)
                headers_add(&q.headers, STR("x-other"), str_from(PICK(&rng, methods)));
            uint32_t first = 0;
            while (first < n && !(rbac_rule_matches(&p[first].permissions, &q.in) && rbac_rule_matches(&p[first].principals, &q.in)))
                first++;
            struct rbac_verdict v = rbac_decide(e, &q.in);
            assert_int_equal(v.policy.p ? v.policy_index : n, first);
            asked_fini(&q);
        }
        rbac_engine_free(&e);
    }
}

/* ---- many policies ---- */

#define MANY 1000
static char many_names[MANY][16], many_texts[MANY][64];

typedef void (*fill_fn)(struct rbac_engine *e, struct rbac_policy *p, uint32_t i);

static void by_principal(struct rbac_engine *e, struct rbac_policy *p, uint32_t i)
{
    snprintf(many_texts[i], sizeof(many_texts[i]), "spiffe://cluster.local/ns/ns%u/sa/sa%u", i % 50, i);
    put(p, many_names[i], ONE(e, header_is(":method", "GET")), ONE(e, ALL(e, ONE(e, name_is(many_texts[i])))));
}

static void by_namespace(struct rbac_engine *e, struct rbac_policy *p, uint32_t i)
{
    snprintf(many_texts[i], sizeof(many_texts[i]), ".*/ns/ns%u/.*", i);
    put(p, many_names[i], any, ONE(e, name_fits(many_texts[i])));
}

static void by_path(struct rbac_engine *e, struct rbac_policy *p, uint32_t i)
{
    snprintf(many_texts[i], sizeof(many_texts[i]), "/service%u/v%u/", i / 10, i);
    put(p, many_names[i], ONE(e, ALL(e, ONE(e, path_begins(many_texts[i])), ONE(e, header_is(":method", "GET")))), any);
}

static void by_port(struct rbac_engine *e, struct rbac_policy *p, uint32_t i)
{
    put(p, many_names[i], ONE(e, port_is(9000 + (int)i)), any);
}

static void by_source(struct rbac_engine *e, struct rbac_policy *p, uint32_t i)
{
    snprintf(many_texts[i], sizeof(many_texts[i]), "10.%u.%u.0", i / 256, i % 256);
    put(p, many_names[i], any, ONE(e, address_in(RBAC_REMOTE_IP, many_texts[i], 24)));
}

/* As Istio writes them, one policy a client: methods, paths and a name. */
static void by_all(struct rbac_engine *e, struct rbac_policy *p, uint32_t i)
{
    snprintf(many_texts[i], sizeof(many_texts[i]), "spiffe://cluster.local/ns/ns%u/sa/sa%u", i % 50, i);
    put(p, many_names[i],
        ONE(e, ALL(e, ONE(e, header_is(":method", "GET"), header_is(":method", "HEAD")), ONE(e, path_begins("/api/"), path_is("/health")),
                   ONE(e, port_is(80)))),
        ONE(e, ALL(e, ONE(e, name_is(many_texts[i])))));
}

static void test_rbac_decide__a_thousand_policies__asks_the_few_that_may_fit(void **state)
{
    (void)state;
    static const struct { const char *what; fill_fn fill; } kinds[] = {
        {"principals", by_principal}, {"namespaces", by_namespace}, {"path prefixes", by_path}, {"ports", by_port},
        {"addresses", by_source}, {"all of it", by_all}};
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        struct rbac_engine *e = rbac_engine_new(RBAC_ALLOW);
        struct rbac_policy *p = rbac_engine_policies(e, MANY);
        for (uint32_t i = 0; i < MANY; i++) {
            snprintf(many_names[i], sizeof(many_names[i]), "p%04u", i);
            kinds[k].fill(e, &p[i], i);
        }
        rbac_engine_build(e);
        struct asked hit, miss;
        ask(&hit, "GET", k == 2 ? "/service77/v777/x" : "/api/x", k == 1 ? "spiffe://cluster.local/ns/ns777/sa/a" : "spiffe://cluster.local/ns/ns27/sa/sa777",
            k == 3 ? 9777 : 80);
        ask(&miss, "GET", "/elsewhere/and/further", "spiffe://cluster.local/ns/other/sa/none", 443);
        if (kinds[k].fill == by_source)
            addr_from_ip(&hit.remote, STR("10.3.9.1"), 40000, NULL);
        addr_from_ip(&miss.remote, STR("192.0.2.1"), 40000, NULL);
        assert_true(str_eq(rbac_decide(e, &hit.in).policy, STR("p0777")));
        assert_null(rbac_decide(e, &miss.in).policy.p);
        if (getenv("WEFT_RBAC_TIMES")) {
            uint64_t start = clock_mono_us(), allowed = 0;
            for (int i = 0; i < 200000; i++)
                allowed += rbac_decide(e, i % 2 ? &hit.in : &miss.in).is_allowed;
            uint64_t took = clock_mono_us() - start;
            print_message("%d policies by %s: %.0f ns a decision (%llu allowed)\n", MANY, kinds[k].what, (double)took / 200, (unsigned long long)allowed);
        }
        asked_fini(&hit);
        asked_fini(&miss);
        rbac_engine_free(&e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rbac_decide__several_policies_fit__first_by_name),
        cmocka_unit_test(test_rbac_decide__actions__allow_deny_log),
        cmocka_unit_test(test_rbac_engine_build__same_name_twice__last_counts),
        cmocka_unit_test(test_rbac_decide__no_verified_certificate__no_name),
        cmocka_unit_test(test_rbac_decide__a_connection__has_no_path_or_headers),
        cmocka_unit_test(test_rbac_decide__namespaces__of_istio),
        cmocka_unit_test(test_rbac_explain__policies_before_the_one_that_fits__say_why_not),
        cmocka_unit_test(test_rbac_decide__random_policies__as_if_each_was_asked),
        cmocka_unit_test(test_rbac_decide__a_thousand_policies__asks_the_few_that_may_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
