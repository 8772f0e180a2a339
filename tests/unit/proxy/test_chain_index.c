/* SPDX-License-Identifier: Apache-2.0
 *
 * The precedence of filter chain matches, as a table of chains and connections.
 */
#include "proxy/listener/listener.h"

#include "../unit.h"

#define NAMES(...)                                                                                 \
    .server_names = (struct str[]){__VA_ARGS__},                                                   \
    .server_name_count = sizeof((struct str[]){__VA_ARGS__}) / sizeof(struct str)
#define PROTOCOLS(...)                                                                             \
    .application_protocols = (struct str[]){__VA_ARGS__},                                          \
    .application_protocol_count = sizeof((struct str[]){__VA_ARGS__}) / sizeof(struct str)

static struct cidr cidr(const char *ip, unsigned bits)
{
    struct cidr c;
    assert_int_equal(cidr_parse(&c, str_from(ip), bits, NULL), 0);
    return c;
}

static struct addr address(const char *ip, uint16_t port)
{
    struct addr a = {.unix_path = NULL};
    assert_int_equal(addr_from_ip(&a, str_from(ip), port, NULL), 0);
    return a;
}

struct connection {
    const char *to, *from, *direct, *name, *transport, *alpn, *wants;
    uint16_t to_port, from_port;
};

static void expect(const struct chain_index *ix, struct connection c)
{
    struct addr to = address(c.to ? c.to : "10.0.0.1", c.to_port ? c.to_port : 80);
    struct addr from = address(c.from ? c.from : "192.0.2.1", c.from_port ? c.from_port : 1000);
    struct addr direct = address(c.direct ? c.direct : c.from ? c.from : "192.0.2.1", 1000);
    struct str alpn = str_from(c.alpn);
    struct chain_query q = {.destination = &to,
                            .source = &from,
                            .direct_source = &direct,
                            .server_name = str_from(c.name),
                            .transport_protocol =
                                c.transport ? str_from(c.transport) : STR("raw_buffer"),
                            .application_protocols = &alpn,
                            .application_protocol_count = c.alpn ? 1 : 0};
    const struct filter_chain *chain = chain_index_find(ix, &q);
    if (!c.wants) {
        assert_null(chain);
        return;
    }
    assert_non_null(chain);
    assert_str_equal(chain->name, c.wants);
}

static struct chain_index *build(struct filter_chain *chains, uint32_t n)
{
    struct filter_chain *pointers[16];
    struct err err = {0};
    for (uint32_t i = 0; i < n; i++)
        pointers[i] = &chains[i];
    struct chain_index *ix = chain_index_new(pointers, n, &err);
    assert_non_null(ix);
    return ix;
}
#define BUILD(chains) build(chains, sizeof(chains) / sizeof((chains)[0]))

static void test_chain_index_find__no_chain__none(void **state)
{
    (void)state;
    struct chain_index *ix = build(NULL, 0);
    expect(ix, (struct connection){0});
    chain_index_free(&ix);
    assert_null(ix);
}

static void test_chain_index_find__empty_match__takes_all(void **state)
{
    (void)state;
    struct filter_chain chains[] = {{.name = STR("all")}};
    struct chain_index *ix = BUILD(chains);
    expect(ix, (struct connection){.wants = "all"});
    expect(ix, (struct connection){.to = "::1",
                                   .from = "::1",
                                   .name = "a.b",
                                   .transport = "tls",
                                   .alpn = "h2",
                                   .wants = "all"});
    chain_index_free(&ix);
}

static void test_chain_index_find__ports__no_way_back(void **state)
{
    (void)state;
    struct filter_chain chains[] = {
        {.name = STR("443 tls"),
         .match = {.has_destination_port = true,
                   .destination_port = 443,
                   .transport_protocol = STR("tls")}},
        {.name = STR("any port")},
    };
    struct chain_index *ix = BUILD(chains);
    expect(ix, (struct connection){.to_port = 443, .transport = "tls", .wants = "443 tls"});
    expect(ix, (struct connection){
                   .to_port = 443,
                   .wants = NULL}); /* as Envoy: the port has entries, so "any" isn't tried */
    expect(ix, (struct connection){.to_port = 80, .wants = "any port"});
    chain_index_free(&ix);
}

static void test_chain_index_find__prefixes__longest_wins(void **state)
{
    (void)state;
    struct cidr wide = cidr("10.0.0.0", 8), narrow = cidr("10.1.0.0", 16),
                host = cidr("10.1.2.3", 32), six = cidr("fd00::", 8);
    struct filter_chain chains[] = {
        {.name = STR("8"), .match = {.prefix_ranges = &wide, .prefix_count = 1}},
        {.name = STR("16"), .match = {.prefix_ranges = &narrow, .prefix_count = 1}},
        {.name = STR("32"), .match = {.prefix_ranges = &host, .prefix_count = 1}},
        {.name = STR("v6"), .match = {.prefix_ranges = &six, .prefix_count = 1}},
        {.name = STR("rest")},
    };
    struct chain_index *ix = BUILD(chains);
    expect(ix, (struct connection){.to = "10.9.9.9", .wants = "8"});
    expect(ix, (struct connection){.to = "10.1.9.9", .wants = "16"});
    expect(ix, (struct connection){.to = "10.1.2.3", .wants = "32"});
    expect(ix, (struct connection){.to = "11.1.2.3", .wants = "rest"});
    expect(ix, (struct connection){.to = "fd12::1", .wants = "v6"});
    expect(ix, (struct connection){.to = "::ffff:10.1.2.3",
                                   .wants = "32"}); /* the same host by its mapped address */
    chain_index_free(&ix);
}

static void test_chain_index_find__server_names__exact_then_longest_suffix(void **state)
{
    (void)state;
    struct filter_chain chains[] = {
        {.name = STR("exact"), .match = {NAMES(STR("www.example.com"))}},
        {.name = STR("wild"), .match = {NAMES(STR("*.example.com"))}},
        {.name = STR("com"), .match = {NAMES(STR("*.com"))}},
        {.name = STR("rest")},
    };
    struct chain_index *ix = BUILD(chains);
    expect(ix, (struct connection){.name = "www.example.com", .wants = "exact"});
    expect(ix, (struct connection){.name = "a.b.example.com", .wants = "wild"});
    expect(ix, (struct connection){.name = "example.com", .wants = "com"});
    expect(ix, (struct connection){.name = "com", .wants = "rest"});
    expect(ix, (struct connection){.name = NULL, .wants = "rest"});
    expect(ix, (struct connection){.name = ".example.com", .wants = "wild"});
    chain_index_free(&ix);
}

static void test_chain_index_find__transport_and_alpn__found(void **state)
{
    (void)state;
    struct filter_chain chains[] = {
        {.name = STR("tls h2"), .match = {.transport_protocol = STR("tls"), PROTOCOLS(STR("h2"))}},
        {.name = STR("tls"), .match = {.transport_protocol = STR("tls")}},
        {.name = STR("raw"), .match = {.transport_protocol = STR("raw_buffer")}},
    };
    struct chain_index *ix = BUILD(chains);
    expect(ix, (struct connection){.transport = "tls", .alpn = "h2", .wants = "tls h2"});
    expect(ix, (struct connection){.transport = "tls", .alpn = "http/1.1", .wants = "tls"});
    expect(ix, (struct connection){.transport = "tls", .wants = "tls"});
    expect(ix, (struct connection){.wants = "raw"});
    expect(ix, (struct connection){.transport = "quic", .wants = NULL});
    chain_index_free(&ix);
}

static void test_chain_index_find__sources__type_range_port(void **state)
{
    (void)state;
    struct cidr net = cidr("192.0.2.0", 24), proxy = cidr("198.51.100.0", 24);
    uint16_t ports[] = {7, 8};
    struct filter_chain chains[] = {
        {.name = STR("direct"),
         .match = {.direct_source_ranges = &proxy, .direct_source_count = 1}},
        {.name = STR("local"), .match = {.source_type = SOURCE_SAME_IP_OR_LOOPBACK}},
        {.name = STR("external net"),
         .match = {.source_type = SOURCE_EXTERNAL, .source_ranges = &net, .source_count = 1}},
        {.name = STR("external port"),
         .match = {.source_type = SOURCE_EXTERNAL,
                   .source_ranges = &net,
                   .source_count = 1,
                   .source_ports = ports,
                   .source_port_count = 2}},
        {.name = STR("any")},
    };
    struct chain_index *ix = BUILD(chains);
    expect(ix,
           (struct connection){.from = "192.0.2.9", .direct = "198.51.100.7", .wants = "direct"});
    expect(ix, (struct connection){.from = "127.0.0.1", .wants = "local"});
    expect(ix, (struct connection){.to = "10.0.0.1", .from = "10.0.0.1", .wants = "local"});
    expect(ix, (struct connection){.from = "192.0.2.9", .wants = "external net"});
    expect(ix, (struct connection){.from = "192.0.2.9", .from_port = 8, .wants = "external port"});
    expect(ix, (struct connection){.from = "203.0.113.1",
                                   .wants = NULL}); /* "external" has entries: none fits */
    chain_index_free(&ix);
}

static void test_chain_index_new__same_match_twice__names_both(void **state)
{
    (void)state;
    struct filter_chain a = {.name = STR("one"), .match = {NAMES(STR("a.com"), STR("b.com"))}};
    struct filter_chain b = {.name = STR("two"), .match = {NAMES(STR("c.com"), STR("b.com"))}};
    struct filter_chain *chains[] = {&a, &b};
    struct err err = {0};
    assert_null(chain_index_new(chains, 2, &err));
    assert_int_equal(err.code, ERR_EXISTS);
    assert_non_null(strstr(err.message, "'two'"));
    assert_non_null(strstr(err.message, "'one'"));
    assert_string_equal(err.path, "filter_chains[1]");
}

static void test_chain_index_new__name_repeated_in_one_chain__fine(void **state)
{
    (void)state;
    struct filter_chain chains[] = {
        {.name = STR("one"), .match = {NAMES(STR("a.com"), STR("a.com"))}}};
    struct chain_index *ix = BUILD(chains);
    expect(ix, (struct connection){.name = "a.com", .wants = "one"});
    chain_index_free(&ix);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chain_index_find__no_chain__none),
        cmocka_unit_test(test_chain_index_find__empty_match__takes_all),
        cmocka_unit_test(test_chain_index_find__ports__no_way_back),
        cmocka_unit_test(test_chain_index_find__prefixes__longest_wins),
        cmocka_unit_test(test_chain_index_find__server_names__exact_then_longest_suffix),
        cmocka_unit_test(test_chain_index_find__transport_and_alpn__found),
        cmocka_unit_test(test_chain_index_find__sources__type_range_port),
        cmocka_unit_test(test_chain_index_new__same_match_twice__names_both),
        cmocka_unit_test(test_chain_index_new__name_repeated_in_one_chain__fine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
