/* SPDX-License-Identifier: Apache-2.0
 *
 * The resolver against a DNS server of a few lines on the same loop. It answers by name:
 * v4.test, v6.test, both.test (one of each), many.test (A with two TTLs), alias.test (CNAME),
 * nx.test (NXDOMAIN), fail.test (SERVFAIL), silent.test (never).
 */
#include "conn_help.h"

#include <arpa/inet.h>

#include "base/cursor.h"
#include "io/dns.h"

struct server {
    struct watch watch;
    struct addr addr;
    int asked;
};
static struct server server;
static struct dns_resolver *resolver;

static void put_record(struct wcursor *w, uint16_t type, uint32_t ttl, const void *data, uint16_t n)
{
    wcursor_u16(w, 0xc00c); /* the question's name */
    wcursor_u16(w, type);
    wcursor_u16(w, 1);
    wcursor_u32(w, ttl);
    wcursor_u16(w, n);
    wcursor_bytes(w, data, n);
}

#define TYPE_A 1
#define TYPE_CNAME 5
#define TYPE_AAAA 28
static const uint8_t v6_bytes[16] = {0x20, 1, 0xd, 0xb8, [15] = 7};

static uint16_t put_answers(struct wcursor *w, const char *name, uint16_t type)
{
    static const uint8_t other[] = {5, 'o', 't', 'h', 'e', 'r', 0};
    bool v4 = type == TYPE_A && (!strcmp(name, "v4.test") || !strcmp(name, "both.test"));
    bool v6 = type == TYPE_AAAA && (!strcmp(name, "v6.test") || !strcmp(name, "both.test"));
    if (v4) {
        put_record(w, TYPE_A, 30, "\x0a\x01\x02\x03", 4);
        return 1;
    }
    if (v6) {
        put_record(w, TYPE_AAAA, 40, v6_bytes, 16);
        return 1;
    }
    if (!strcmp(name, "many.test") && type == TYPE_A) {
        put_record(w, TYPE_A, 300, "\x0a\x01\x02\x03", 4);
        put_record(w, TYPE_A, 20, "\x0a\x01\x02\x04", 4);
        return 2;
    }
    if (!strcmp(name, "alias.test") && type == TYPE_A) {
        put_record(w, TYPE_CNAME, 5, other, sizeof(other));
        wcursor_bytes(w, other, sizeof(other));
        wcursor_u16(w, TYPE_A);
        wcursor_u16(w, 1);
        wcursor_u32(w, 60);
        wcursor_u16(w, 4);
        wcursor_bytes(w, "\x0a\x09\x09\x09", 4);
        return 2;
    }
    return 0;
}

static void server_answer(int fd, const uint8_t *q, size_t n, const struct sockaddr *to, socklen_t len)
{
    uint8_t out[512];
    char name[256] = "";
    struct cursor c = cursor_make(q, n);
    cursor_skip(&c, 12);
    for (uint8_t l; (l = cursor_u8(&c)) != 0 && !c.failed;) {
        struct str label = cursor_bytes(&c, l);
        size_t at = strlen(name);
        snprintf(name + at, sizeof(name) - at, "%s%.*s", at ? "." : "", STR_ARG(label));
    }
    uint16_t type = cursor_u16(&c);
    cursor_u16(&c);
    size_t question_end = (size_t)(c.p - q);
    if (c.failed || !strcmp(name, "silent.test"))
        return;
    struct wcursor w = {out, out + sizeof(out), false};
    wcursor_bytes(&w, q, question_end);
    uint16_t answers = put_answers(&w, name, type);
    int rcode = !strcmp(name, "nx.test") ? 3 : !strcmp(name, "fail.test") ? 2 : 0;
    memcpy(out + 2, (uint8_t[]){0x81, (uint8_t)(0x80 | rcode), 0, 1, 0, (uint8_t)answers, 0, 0, 0, 0}, 10);
    sendto(fd, out, (size_t)(w.p - out), 0, to, len);
}

static void on_question(struct watch *w, unsigned events)
{
    (void)events;
    uint8_t q[512];
    struct sockaddr_storage from;
    socklen_t len = sizeof(from);
    ssize_t n = recvfrom(w->fd, q, sizeof(q), MSG_DONTWAIT, (struct sockaddr *)&from, &len);
    if (n <= 12)
        return;
    server.asked++;
    server_answer(w->fd, q, (size_t)n, (struct sockaddr *)&from, len);
}

static int dns_setup(void **state)
{
    setup(state);
    server = (struct server){.asked = 0};
    addr_from_ip(&server.addr, STR("127.0.0.1"), 0, NULL);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    socklen_t n = sizeof(server.addr.in4);
    if (bind(fd, &server.addr.sa, n) != 0 || getsockname(fd, &server.addr.sa, &n) != 0)
        return -1;
    watch_add_level(loop, &server.watch, fd, on_question, NULL);
    struct dns_opts o = {.servers = &server.addr, .server_count = 1, .no_search_domains = true,
                         .query_timeout_ms = 30, .tries = 2};
    resolver = dns_resolver_new(loop, &o, NULL);
    return resolver ? 0 : -1;
}

static int dns_teardown(void **state)
{
    dns_resolver_free(&resolver);
    close(server.watch.fd);
    watch_del(&server.watch);
    return teardown(state);
}

struct result {
    int calls;
    enum dns_status status;
    size_t count;
    uint32_t ttl_s;
    char first[ADDR_TEXT_BYTES], second[ADDR_TEXT_BYTES];
    struct dns_query *cancel;
    bool free_resolver;
};

static void on_result(void *user, enum dns_status status, const struct dns_answer *a)
{
    struct result *r = user;
    r->calls++;
    r->status = status;
    r->count = a->count;
    r->ttl_s = a->ttl_s;
    if (a->count > 0)
        addr_ip_text(&a->addrs[0], r->first);
    if (a->count > 1)
        addr_ip_text(&a->addrs[1], r->second);
    if (r->cancel)
        dns_cancel(r->cancel);
    if (r->free_resolver)
        dns_resolver_free(&resolver);
}

static struct result resolve(const char *name, enum dns_family family)
{
    struct result r = {0};
    assert_non_null(dns_resolve(resolver, str_from(name), family, on_result, &r));
    assert_int_equal(r.calls, 0);
    while (!r.calls)
        loop_turn(loop, -1);
    return r;
}

static void test_dns_resolve__each_family__answers_per_the_rule(void **state)
{
    (void)state;
    struct result r = resolve("v4.test", DNS_V4_ONLY);
    assert_int_equal(r.status, DNS_OK);
    assert_string_equal(r.first, "10.1.2.3");
    assert_int_equal(r.ttl_s, 30);
    r = resolve("v4.test", DNS_AUTO);
    assert_string_equal(r.first, "10.1.2.3");
    assert_int_equal(r.count, 1);
    r = resolve("both.test", DNS_AUTO);
    assert_string_equal(r.first, "2001:db8::7");
    assert_int_equal(r.count, 1);
    r = resolve("both.test", DNS_V4_PREFERRED);
    assert_string_equal(r.first, "10.1.2.3");
    r = resolve("v6.test", DNS_V4_PREFERRED);
    assert_string_equal(r.first, "2001:db8::7");
    r = resolve("both.test", DNS_ALL);
    assert_int_equal(r.count, 2);
    assert_int_equal(r.ttl_s, 30);
    r = resolve("v6.test", DNS_V4_ONLY);
    assert_int_equal(r.status, DNS_NOT_FOUND);
    assert_int_equal(r.count, 0);
}

static void test_dns_resolve__several_records__smallest_ttl(void **state)
{
    (void)state;
    struct result r = resolve("many.test", DNS_V4_ONLY);
    assert_int_equal(r.count, 2);
    assert_int_equal(r.ttl_s, 20);
    assert_string_equal(r.first, "10.1.2.3");
    assert_string_equal(r.second, "10.1.2.4");
    r = resolve("alias.test", DNS_V4_ONLY);
    assert_string_equal(r.first, "10.9.9.9");
    assert_int_equal(r.ttl_s, 5);
}

static void test_dns_resolve__failures__each_with_its_status(void **state)
{
    (void)state;
    assert_int_equal(resolve("nx.test", DNS_V4_ONLY).status, DNS_NOT_FOUND);
    assert_int_equal(resolve("nx.test", DNS_ALL).status, DNS_NOT_FOUND);
    assert_int_equal(resolve("fail.test", DNS_V4_ONLY).status, DNS_FAILED);
    server.asked = 0;
    assert_int_equal(resolve("silent.test", DNS_V4_ONLY).status, DNS_TIMED_OUT);
    assert_int_equal(server.asked, 2);
    assert_int_equal(resolve("", DNS_V4_ONLY).status, DNS_FAILED);
}

static void test_dns_resolve__literal__asks_nobody(void **state)
{
    (void)state;
    struct result r = resolve("192.0.2.7", DNS_AUTO);
    assert_string_equal(r.first, "192.0.2.7");
    r = resolve("::1", DNS_AUTO);
    assert_string_equal(r.first, "::1");
    assert_int_equal(resolve("::1", DNS_V4_ONLY).status, DNS_NOT_FOUND);
    assert_int_equal(server.asked, 0);
}

static void test_dns_resolve__localhost__from_the_hosts_file(void **state)
{
    (void)state;
    struct result r = resolve("localhost", DNS_V4_ONLY);
    assert_int_equal(r.status, DNS_OK);
    assert_string_equal(r.first, "127.0.0.1");
    assert_int_equal(server.asked, 0);
}

static void test_dns_cancel__before_the_answer__no_call(void **state)
{
    (void)state;
    struct result a = {0}, b = {0};
    struct dns_query *q = dns_resolve(resolver, STR("v4.test"), DNS_V4_ONLY, on_result, &a);
    dns_resolve(resolver, STR("v6.test"), DNS_V6_ONLY, on_result, &b);
    dns_cancel(q);
    while (!b.calls)
        loop_turn(loop, -1);
    loop_turn(loop, 0);
    assert_int_equal(a.calls, 0);
}

static void test_dns_cancel__another_answered_in_the_same_turn__no_call(void **state)
{
    (void)state;
    struct result a = {0}, b = {0};
    dns_resolve(resolver, STR("1.1.1.1"), DNS_V4_ONLY, on_result, &a);
    a.cancel = dns_resolve(resolver, STR("2.2.2.2"), DNS_V4_ONLY, on_result, &b);
    loop_turn(loop, -1);
    assert_int_equal(a.calls, 1);
    assert_int_equal(b.calls, 0);
}

static void test_dns_resolver_free__inside_a_callback__others_are_dropped(void **state)
{
    (void)state;
    struct result a = {.free_resolver = true}, b = {0}, c = {0};
    dns_resolve(resolver, STR("silent.test"), DNS_AUTO, on_result, &b);
    dns_resolve(resolver, STR("1.2.3.4"), DNS_AUTO, on_result, &a);
    dns_resolve(resolver, STR("1.2.3.5"), DNS_AUTO, on_result, &c);
    loop_turn(loop, -1);
    assert_int_equal(a.calls, 1);
    assert_null(resolver);
    loop_turn(loop, 0);
    assert_int_equal(b.calls + c.calls, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, dns_setup, dns_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_dns_resolve__each_family__answers_per_the_rule),
        T(test_dns_resolve__several_records__smallest_ttl),
        T(test_dns_resolve__failures__each_with_its_status),
        T(test_dns_resolve__literal__asks_nobody),
        T(test_dns_resolve__localhost__from_the_hosts_file),
        T(test_dns_cancel__before_the_answer__no_call),
        T(test_dns_cancel__another_answered_in_the_same_turn__no_call),
        T(test_dns_resolver_free__inside_a_callback__others_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
