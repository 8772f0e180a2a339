/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/agent/answer_cache.h"
#include "proxy/agent/name_table.h"
#include "proxy/agent/resolv_conf.h"

#include "base/check.h"
#include "base/check.h"
#include "istio/name_table.pb-c.h"
#include "proto/message.h"

#include "../unit.h"

#define SECOND ((uint64_t)1000000)

static uint8_t out[DNS_MESSAGE_MAX_BYTES];

/* ---- packets ---- */

/* The bytes of a query in the manner of a resolver. */
static struct str make_query(const char *name, uint16_t type, char *bytes)
{
    struct dns_name n;
    assert_true(dns_name_from_text(str_from(name), &n));
    memcpy(bytes, "\x12\x34\1\0\0\1\0\0\0\0\0\0", DNS_HEADER_BYTES);
    memcpy(bytes + DNS_HEADER_BYTES, n.bytes, n.n);
    char tail[4] = {(char)(type >> 8), (char)type, 0, DNS_CLASS_IN};
    memcpy(bytes + DNS_HEADER_BYTES + n.n, tail, 4);
    return str_make(bytes, DNS_HEADER_BYTES + n.n + 4u);
}

static struct dns_packet_query ask(const char *name, uint16_t type)
{
    char bytes[DNS_QUERY_MAX_BYTES];
    struct dns_packet_query q;
    enum dns_rcode rcode;
    assert_int_equal(dns_packet_read_query(make_query(name, type, bytes), &q, &rcode), DNS_PACKET_QUERY);
    assert_int_equal(rcode, DNS_RCODE_OK);
    return q;
}

static void test_dns_name__texts__within_limits(void **state)
{
    (void)state;
    struct dns_name n;
    char label[65], text[300] = "";
    memset(label, 'a', 64);
    label[64] = '\0';
    assert_true(dns_name_from_text(STR("A.b."), &n));
    assert_int_equal(n.n, 5);
    assert_memory_equal(n.bytes, "\1a\1b", 5);
    assert_false(dns_name_from_text(STR(""), &n) || dns_name_from_text(STR("."), &n) || dns_name_from_text(STR("a..b"), &n));
    assert_false(dns_name_from_text(str_from(label), &n));
    assert_true(dns_name_from_text(str_make(label, 63), &n));
    for (int i = 0; i < 126; i++)
        strcat(text, i ? ".a" : "a");
    assert_true(dns_name_from_text(str_from(text), &n));
    assert_int_equal(n.n, 253);
    assert_true(dns_name_from_text(str_from(strcat(text, ".a")), &n));
    assert_int_equal(n.n, DNS_NAME_BYTES);
    assert_false(dns_name_from_text(str_from(strcat(text, "b")), &n));
}

static void test_dns_packet_read_query__each_length__whole_or_refused(void **state)
{
    (void)state;
    char bytes[DNS_QUERY_MAX_BYTES];
    struct str packet = make_query("reviews.bookinfo", DNS_TYPE_AAAA, bytes);
    struct dns_packet_query q;
    enum dns_rcode rcode;
    for (size_t n = 0; n < packet.n; n++) {
        enum dns_packet_kind kind = dns_packet_read_query(str_make(packet.p, n), &q, &rcode);
        assert_int_equal(kind, n < DNS_HEADER_BYTES ? DNS_PACKET_JUNK : DNS_PACKET_REFUSED);
        if (kind == DNS_PACKET_REFUSED)
            assert_int_equal(rcode, DNS_RCODE_FORMAT);
    }
    assert_int_equal(dns_packet_read_query(packet, &q, &rcode), DNS_PACKET_QUERY);
    assert_int_equal(q.id, 0x1234);
    assert_int_equal(q.type, DNS_TYPE_AAAA);
    assert_int_equal(q.udp_bytes, DNS_UDP_BYTES);
    assert_memory_equal(q.name.bytes, "\7reviews\10bookinfo", q.name.n);
    assert_memory_equal(q.asked.bytes, "\7reviews\10bookinfo", q.name.n);
}

static void test_dns_packet_write__alias_and_addresses__point_back(void **state)
{
    (void)state;
    struct dns_packet_query q = ask("a.b", DNS_TYPE_A);
    struct dns_packet_answer a = {.ttl_s = 30, .alias = STR("\1a"), .addresses = (const uint8_t *)"\1\1\1\1\2\2\2\2", .count = 2, .first = 1};
    a.alias.n++; /* the root's */
    size_t n = dns_packet_write(&q, &a, out, DNS_UDP_BYTES);
    static const char want[] = "\x12\x34\x81\x80\0\1\0\3\0\0\0\0\1a\1b\0\0\1\0\1" "\xc0\x0c\0\5\0\1\0\0\0\x1e\0\3\1a\0"
                               "\xc0\x21\0\1\0\1\0\0\0\x1e\0\4\2\2\2\2" "\xc0\x21\0\1\0\1\0\0\0\x1e\0\4\1\1\1\1";
    assert_int_equal(n, sizeof want - 1);
    assert_memory_equal(out, want, n);
    assert_true(dns_packet_answers(str_make((const char *)out, n), &q));
    struct dns_packet_query other = ask("a.c", DNS_TYPE_A), kind = ask("a.b", DNS_TYPE_AAAA);
    assert_false(dns_packet_answers(str_make((const char *)out, n), &other));
    assert_false(dns_packet_answers(str_make((const char *)out, n), &kind));
}

/* ---- the table ---- */

struct given {
    const char *host, *ips[3], *shortname, *namespace;
};

static struct name_table *make_table(const struct given *hosts, size_t n, const char *search)
{
    typedef Istio__Networking__Nds__V1__NameTable table_pb;
    struct proto_arena *pa = proto_arena_new(0);
    struct strbuf packed = {0};
    struct err err = {0};
    Istio__Networking__Nds__V1__NameTable__TableEntry *entries[16];
    table_pb *t = PROTO_NEW(pa, table_pb, istio__networking__nds__v1__name_table__descriptor);
    for (size_t i = 0; i < n; i++) {
        entries[i] = (void *)proto_new(pa, &istio__networking__nds__v1__name_table__table_entry__descriptor);
        entries[i]->key = (char *)hosts[i].host;
        entries[i]->value = (void *)proto_new(pa, &istio__networking__nds__v1__name_table__name_info__descriptor);
        entries[i]->value->ips = (char **)hosts[i].ips;
        while (entries[i]->value->n_ips < 3 && hosts[i].ips[entries[i]->value->n_ips])
            entries[i]->value->n_ips++;
        entries[i]->value->registry = (char *)(hosts[i].shortname ? "Kubernetes" : "External");
        entries[i]->value->shortname = (char *)(hosts[i].shortname ? hosts[i].shortname : "");
        entries[i]->value->namespace_ = (char *)(hosts[i].namespace ? hosts[i].namespace : "");
    }
    t->table = entries;
    t->n_table = n;
    proto_pack(&t->base, &packed);
    struct name_table_opts o = {.pod_namespace = STR("ns"), .domain = STR("ns.svc.cluster.local"), .search = str_from(search)};
    struct name_table *made = name_table_new(strbuf_str(&packed), &o, &err);
    assert_non_null(made);
    strbuf_fini(&packed);
    proto_arena_free(&pa);
    return made;
}

/* "" unknown; else "alias>first byte of the address*count". */
static const char *find(const struct name_table *t, const char *name, uint16_t type)
{
    static char text[300];
    struct dns_name n;
    struct name_answer a;
    struct strbuf alias = {0};
    text[0] = '\0';
    assert_true(dns_name_from_text(str_from(name), &n));
    if (!name_table_find(t, &n, type, &a))
        return text;
    if (a.alias.n)
        dns_name_text(dns_name_str(&a.alias), &alias);
    snprintf(text, sizeof text, "%s>%d*%u", alias.p ? alias.p : "", a.count ? a.addresses[0] : 0, (unsigned)a.count);
    strbuf_fini(&alias);
    return text;
}

static void test_name_table_find__forms_of_kubernetes__own_names_first(void **state)
{
    (void)state;
    static const struct given hosts[] = {
        {"a.ns.svc.cluster.local", {"1.0.0.1", "2.0.0.1", "fd00::1"}, "a", "ns"},
        {"b.other.svc.cluster.local", {"3.0.0.1"}, "b", "other"},
        {"c.ns.svc.else.where", {"4.0.0.1"}, "c", "ns"},
        {"b.other", {"5.0.0.1"}, NULL, NULL},
        {"none.example", {"10.0.0.0/8"}, NULL, NULL},
    };
    struct name_table *t = make_table(hosts, ARRAY_LEN(hosts), "");
    static const char *const forms[] = {"a", "a.ns", "a.ns.svc", "a.ns.svc.cluster.local"};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        assert_string_equal(find(t, forms[i], DNS_TYPE_A), ">1*2");
        assert_string_equal(find(t, forms[i], DNS_TYPE_AAAA), ">253*1");
    }
    assert_string_equal(find(t, "b", DNS_TYPE_A), "");
    assert_string_equal(find(t, "b.other", DNS_TYPE_A), ">5*1");
    assert_string_equal(find(t, "b.other.svc", DNS_TYPE_A), ">3*1");
    assert_string_equal(find(t, "b.other.svc", DNS_TYPE_AAAA), ">0*0");
    assert_string_equal(find(t, "c.ns.svc.else.where", DNS_TYPE_A), ">4*1");
    assert_string_equal(find(t, "c.ns", DNS_TYPE_A), "");
    assert_string_equal(find(t, "none.example", DNS_TYPE_A), "");
    name_table_free(&t);
}

static void test_name_table_find__wildcards_and_search__in_order(void **state)
{
    (void)state;
    static const struct given hosts[] = {
        {"*.example.com", {"1.0.0.1"}, NULL, NULL}, {"*.deep.example.com", {"2.0.0.1"}, NULL, NULL},
        {"x.example.com", {"3.0.0.1"}, NULL, NULL}, {"x.example.com.ns.search", {"4.0.0.1"}, NULL, NULL},
        {"y.example.com", {"5.0.0.1"}, NULL, NULL}, {"z.ns.search", {"6.0.0.1"}, NULL, NULL},
    };
    struct name_table *t = make_table(hosts, ARRAY_LEN(hosts), "ns.search");
    assert_string_equal(find(t, "a.example.com", DNS_TYPE_A), ">1*1");
    assert_string_equal(find(t, "a.b.deep.example.com", DNS_TYPE_A), ">2*1");
    assert_string_equal(find(t, "deep.example.com", DNS_TYPE_A), ">1*1");
    assert_string_equal(find(t, "x.example.com", DNS_TYPE_A), ">3*1");
    assert_string_equal(find(t, "example.com", DNS_TYPE_A), "");
    assert_string_equal(find(t, "x.example.com.ns.search", DNS_TYPE_A), ">4*1");
    assert_string_equal(find(t, "y.example.com.ns.search", DNS_TYPE_A), "y.example.com.>5*1");
    assert_string_equal(find(t, "a.deep.example.com.ns.search", DNS_TYPE_A), "a.deep.example.com.>2*1");
    assert_string_equal(find(t, "z.ns.search.ns.search", DNS_TYPE_A), "");
    assert_string_equal(find(t, "y.example.comns.search", DNS_TYPE_A), "");
    assert_string_equal(find(t, "ns.search", DNS_TYPE_A), "");
    name_table_free(&t);
}

static void test_name_table_new__broken__refused(void **state)
{
    (void)state;
    struct name_table_opts o = {0};
    struct err err = {0};
    assert_null(name_table_new(STR("\x0a\x7f"), &o, &err));
    assert_int_equal(err.code, ERR_INVALID);
    struct name_table *empty = name_table_new(STR(""), &o, &err);
    assert_non_null(empty);
    assert_int_equal(name_table_count(empty), 0);
    name_table_free(&empty);
}

/* ---- the cache ---- */

static struct str answer_of(const struct dns_packet_query *q, uint32_t ttl_s, uint32_t count)
{
    struct dns_packet_answer a = {.ttl_s = ttl_s, .addresses = (const uint8_t *)"\1\1\1\1\2\2\2\2\3\3\3\3", .count = count};
    return str_make((const char *)out, dns_packet_write(q, &a, out, sizeof out));
}

static uint32_t ttl_of(struct str answer)
{
    struct dns_records walk = dns_records_of(answer);
    struct dns_record r;
    assert_true(dns_records_next(&walk, &r));
    return r.ttl_s;
}

static void test_answer_cache__time_passes__ttls_are_what_is_left(void **state)
{
    (void)state;
    struct answer_cache *c = answer_cache_new(8, 4096);
    struct dns_packet_query q = ask("a.b", DNS_TYPE_A), shout = ask("A.B", DNS_TYPE_A), six = ask("a.b", DNS_TYPE_AAAA);
    answer_cache_put(c, &q, answer_of(&q, 10, 3), 5 * SECOND);
    assert_int_equal(ttl_of(answer_cache_get(c, &q, 5 * SECOND)), 10);
    assert_int_equal(ttl_of(answer_cache_get(c, &shout, 8 * SECOND)), 7);
    assert_int_equal(ttl_of(answer_cache_get(c, &q, 8 * SECOND + SECOND / 2)), 7);
    assert_int_equal(ttl_of(answer_cache_get(c, &q, 14 * SECOND)), 1);
    assert_int_equal(answer_cache_get(c, &six, 14 * SECOND).n, 0);
    q.flags ^= DNS_FLAG_RECURSE;
    assert_int_equal(answer_cache_get(c, &q, 14 * SECOND).n, 0);
    assert_int_equal(answer_cache_get(c, &shout, 15 * SECOND).n, 0);
    assert_int_equal(answer_cache_count(c), 0);
    answer_cache_free(&c);
}

static void test_answer_cache__addresses__take_turns(void **state)
{
    (void)state;
    struct answer_cache *c = answer_cache_new(8, 4096);
    struct dns_packet_query q = ask("a.b", DNS_TYPE_A);
    char firsts[4] = "";
    answer_cache_put(c, &q, answer_of(&q, 10, 3), 0);
    for (int i = 0; i < 3; i++) {
        struct dns_records walk = dns_records_of(answer_cache_get(c, &q, 0));
        struct dns_record r;
        assert_true(dns_records_next(&walk, &r));
        firsts[i] = r.data.p[0];
    }
    assert_string_equal(firsts, "\2\3\1");
    answer_cache_free(&c);
}

static void test_answer_cache__what_may_not_be_kept__is_not(void **state)
{
    (void)state;
    struct answer_cache *c = answer_cache_new(8, 4096);
    struct dns_packet_query q = ask("a.b", DNS_TYPE_A);
    answer_cache_put(c, &q, answer_of(&q, 0, 1), 0);
    answer_cache_put(c, &q, answer_of(&q, 0x80000000u, 1), 0);
    answer_cache_put(c, &q, answer_of(&q, 10, 0), 0); /* none, and nobody says for how long */
    struct str cut = answer_of(&q, 10, 1);
    out[2] |= DNS_FLAG_CUT >> 8;
    answer_cache_put(c, &q, cut, 0);
    struct str failed = answer_of(&q, 10, 1);
    out[3] |= DNS_RCODE_FAILURE;
    answer_cache_put(c, &q, failed, 0);
    struct str broken = answer_of(&q, 10, 1);
    answer_cache_put(c, &q, str_make(broken.p, broken.n - 1), 0);
    q.has_options = true;
    answer_cache_put(c, &q, answer_of(&q, 10, 1), 0);
    assert_int_equal(answer_cache_count(c), 0);
    answer_cache_free(&c);
}

static void test_answer_cache__full__least_recently_used_goes(void **state)
{
    (void)state;
    struct answer_cache *c = answer_cache_new(2, 4096);
    struct dns_packet_query a = ask("a", DNS_TYPE_A), b = ask("b", DNS_TYPE_A), d = ask("d", DNS_TYPE_A);
    answer_cache_put(c, &a, answer_of(&a, 10, 1), 0);
    answer_cache_put(c, &b, answer_of(&b, 10, 1), 0);
    assert_true(answer_cache_get(c, &a, 0).n > 0);
    answer_cache_put(c, &d, answer_of(&d, 10, 1), 0);
    assert_int_equal(answer_cache_count(c), 2);
    assert_int_equal(answer_cache_get(c, &b, 0).n, 0);
    assert_true(answer_cache_get(c, &a, 0).n > 0);
    answer_cache_free(&c);
    c = answer_cache_new(100, 10);
    answer_cache_put(c, &a, answer_of(&a, 10, 1), 0);
    assert_int_equal(answer_cache_count(c), 0);
    answer_cache_free(&c);
}

/* ---- resolv.conf ---- */

static void test_resolv_conf_parse__forms__read(void **state)
{
    (void)state;
    struct arena arena;
    struct resolv_conf c;
    char text[ADDR_TEXT_BYTES];
    arena_init(&arena, 0);
    resolv_conf_parse(STR("; a comment\n# another\nsearch old\nnameserver 10.96.0.10\r\n\tnameserver\tfd00::a # x\n"
                          "nameserver nobody\nnameserver 127.0.0.1:5353\nsearch ns.svc.cluster.local svc.cluster.local\noptions ndots:5"),
                      &arena, &c);
    assert_int_equal(c.server_count, 3);
    assert_string_equal(addr_text(&c.servers[0], text), "10.96.0.10:53");
    assert_string_equal(addr_text(&c.servers[1], text), "[fd00::a]:53");
    assert_string_equal(addr_text(&c.servers[2], text), "127.0.0.1:5353");
    assert_str_equal(c.search, "ns.svc.cluster.local");
    resolv_conf_fini(&c);
    resolv_conf_parse(STR(""), &arena, &c);
    assert_int_equal(c.server_count, 0);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dns_name__texts__within_limits),
        cmocka_unit_test(test_dns_packet_read_query__each_length__whole_or_refused),
        cmocka_unit_test(test_dns_packet_write__alias_and_addresses__point_back),
        cmocka_unit_test(test_name_table_find__forms_of_kubernetes__own_names_first),
        cmocka_unit_test(test_name_table_find__wildcards_and_search__in_order),
        cmocka_unit_test(test_name_table_new__broken__refused),
        cmocka_unit_test(test_answer_cache__time_passes__ttls_are_what_is_left),
        cmocka_unit_test(test_answer_cache__addresses__take_turns),
        cmocka_unit_test(test_answer_cache__what_may_not_be_kept__is_not),
        cmocka_unit_test(test_answer_cache__full__least_recently_used_goes),
        cmocka_unit_test(test_resolv_conf_parse__forms__read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
