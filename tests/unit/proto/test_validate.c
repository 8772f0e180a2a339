/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "envoy/config/bootstrap/v3/bootstrap.pb-c.h"
#include "envoy/config/cluster/v3/cluster.pb-c.h"
#include "proto/rules_priv.h"
#include "proto/validate.h"
#include "proto_test.h"
#include "validate/validate.pb-c.h"

static void valid(struct fixture *f, const char *type, const char *json, const char *faults)
{
    const ProtobufCMessageDescriptor *desc = proto_type_find(str_from(type));
    assert_non_null(desc);
    ProtobufCMessage *msg = decode(f, desc, json, "");
    int rc = proto_validate(f->arena, msg, NULL, &f->faults);
    assert_string_equal(faults_text(f), faults);
    assert_int_equal(rc, *faults ? ERR_INVALID : 0);
}

static void test_proto_validate__a_cluster__every_violation_with_its_path(void **state)
{
    struct fixture *f = *state;
    valid(f, "envoy.config.cluster.v3.Cluster", "{\"name\":\"a\",\"connect_timeout\":\"1s\"}", "");
    valid(f, "envoy.config.cluster.v3.Cluster",
          "{\"connect_timeout\":\"0s\",\"lb_policy\":99,\"health_checks\":[{\"timeout\":\"-1s\",\"interval\":\"1s\","
          "\"unhealthy_threshold\":1,\"tcp_health_check\":{}}]}",
          "name: must have at least 1 character, has 0\n"
          "connect_timeout: must be above 0s, is 0s\n"
          "lb_policy: 99 is no value of envoy.config.cluster.v3.Cluster.LbPolicy\n"
          "health_checks[0].timeout: must be above 0s, is -1s\n"
          "health_checks[0].healthy_threshold: must be set\n");
}

static void test_proto_validate__any__descends_and_keeps_the_path(void **state)
{
    struct fixture *f = *state;
    valid(f, "envoy.config.cluster.v3.Cluster",
          "{\"name\":\"a\",\"typed_extension_protocol_options\":{\"x\":{\"@type\":"
          "\"t/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\"}}}",
          "typed_extension_protocol_options[\"x\"].upstream_protocol_options: one of explicit_http_config, "
          "use_downstream_protocol_config, auto_config must be set\n");
    valid(f, "envoy.config.core.v3.SocketAddress", "{\"address\":\"a\",\"port_value\":65536}",
          "port_value: must be at most 65535, is 65536\n");
    valid(f, "envoy.config.core.v3.SocketAddress", "{\"address\":\"a\"}",
          "port_specifier: one of port_value, named_port must be set\n");
}

static bool text_rule(const char *json, const char *value)
{
    struct strbuf why = {0};
    struct proto_arena *arena = proto_arena_new(0);
    struct err_list faults = {0};
    ProtobufCMessage *rules;
    assert_int_equal(json_decode(arena, str_from(json), &validate__string_rules__descriptor, NULL, &rules, &faults), 0);
    bool ok = rules_string((Validate__StringRules *)rules, str_from(value), &why);
    assert_int_equal(ok, why.n == 0);
    strbuf_fini(&why);
    proto_arena_free(&arena);
    return ok;
}

static void test_rules_string__each_kind__holds_and_breaks(void **state)
{
    (void)state;
    static const struct {
        const char *rules, *good, *bad;
    } cases[] = {
        {"{\"const\":\"a\"}", "a", "b"},
        {"{\"len\":\"2\"}", "\xc3\xa9x", "x"},
        {"{\"min_len\":\"2\"}", "ab", "\xc3\xa9"},
        {"{\"max_len\":\"1\"}", "\xc3\xa9", "ab"},
        {"{\"len_bytes\":\"2\"}", "\xc3\xa9", "a"},
        {"{\"min_bytes\":\"2\"}", "\xc3\xa9", "a"},
        {"{\"max_bytes\":\"1\"}", "a", "\xc3\xa9"},
        {"{\"prefix\":\"/\"}", "/a", "a/"},
        {"{\"suffix\":\"/\"}", "a/", "/a"},
        {"{\"contains\":\"x\"}", "axb", "ab"},
        {"{\"not_contains\":\"x\"}", "ab", "axb"},
        {"{\"in\":[\"a\",\"b\"]}", "b", "c"},
        {"{\"not_in\":[\"a\",\"b\"]}", "c", "b"},
        {"{\"email\":true}", "a@b.c", "a.b.c"},
        {"{\"hostname\":true}", "a-1.b", "-a.b"},
        {"{\"ip\":true}", "::1", "1.2.3"},
        {"{\"ipv4\":true}", "1.2.3.4", "::1"},
        {"{\"ipv6\":true}", "::1", "1.2.3.4"},
        {"{\"uri\":true}", "http://a/%20", "/a"},
        {"{\"uri_ref\":true}", "/a?b", "/a b"},
        {"{\"address\":true}", "1.2.3.4", "a_b"},
        {"{\"uuid\":true}", "00000000-0000-4000-8000-0123456789ab", "00000000-0000-4000-8000-0123456789a"},
        {"{\"well_known_regex\":\"HTTP_HEADER_NAME\"}", ":x-y", "x y"},
        {"{\"well_known_regex\":\"HTTP_HEADER_NAME\",\"strict\":false}", "x y", "x\n"},
        {"{\"well_known_regex\":\"HTTP_HEADER_VALUE\"}", "a\tb", "a\x01"},
        {"{\"well_known_regex\":\"HTTP_HEADER_VALUE\",\"strict\":false}", "a\x01", "a\r"},
        {"{\"min_len\":\"3\",\"ignore_empty\":true}", "", "ab"},
        {"{\"pattern\":\"^[a-z]+$\"}", "abc", "abC"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_true(text_rule(cases[i].rules, cases[i].good));
        assert_false(text_rule(cases[i].rules, cases[i].bad));
    }
}

static bool number_rule(const ProtobufCMessageDescriptor *desc, const char *json, ProtobufCType type,
                        const void *value)
{
    struct strbuf why = {0};
    struct proto_arena *arena = proto_arena_new(0);
    struct err_list faults = {0};
    ProtobufCMessage *rules;
    assert_int_equal(json_decode(arena, str_from(json), desc, NULL, &rules, &faults), 0);
    bool ok = rules_number(rules, type, value, &why);
    assert_int_equal(ok, why.n == 0);
    strbuf_fini(&why);
    proto_arena_free(&arena);
    return ok;
}

static void test_rules_number__each_kind__holds_and_breaks(void **state)
{
    (void)state;
    static const struct {
        const char *rules;
        double good, bad;
    } cases[] = {
        {"{\"const\":1}", 1, 2},          {"{\"lt\":1}", 0, 1},
        {"{\"lte\":1}", 1, 2},            {"{\"gt\":1}", 2, 1},
        {"{\"gte\":1}", 1, 0},            {"{\"in\":[1,2]}", 2, 3},
        {"{\"not_in\":[1,2]}", 3, 1},     {"{\"gt\":1,\"lt\":3}", 2, 3},
        {"{\"gt\":3,\"lt\":1}", 4, 2},    {"{\"gte\":3,\"ignore_empty\":true}", 0, 1},
        {"{\"gte\":0}", 0, NAN},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_true(number_rule(&validate__double_rules__descriptor, cases[i].rules, PROTOBUF_C_TYPE_DOUBLE,
                                &cases[i].good));
        assert_false(number_rule(&validate__double_rules__descriptor, cases[i].rules, PROTOBUF_C_TYPE_DOUBLE,
                                 &cases[i].bad));
    }
    uint64_t big = UINT64_MAX;
    assert_false(number_rule(&validate__uint64_rules__descriptor, "{\"lt\":5}", PROTOBUF_C_TYPE_UINT64, &big));
    int32_t low = -1;
    assert_true(number_rule(&validate__int32_rules__descriptor, "{\"lt\":5}", PROTOBUF_C_TYPE_INT32, &low));
}

static bool matches(const char *pattern, const char *text)
{
    return proto_pattern_matches(pattern, str_from(text));
}

static void test_proto_pattern_matches__patterns_of_the_api__as_re2(void **state)
{
    (void)state;
    const char *mmdb = "^$|^.*\\.mmdb$", *prefix = "^[^?#]+[^?#/]$";
    const char *path = "^$|^/[^\\x00-\\x1f\\x7f \",;<>\\\\]*$", *name = "^[0-9a-zA-Z_\\-\\.~:]+$";
    assert_true(matches(mmdb, "") && matches(mmdb, "/a/b.mmdb") && matches(mmdb, ".mmdb"));
    assert_false(matches(mmdb, "/a/b.mmdbx") || matches(mmdb, "xmmdb"));
    assert_true(matches(prefix, "/a") && matches(prefix, "/a/b"));
    assert_false(matches(prefix, "/a/") || matches(prefix, "/") || matches(prefix, "/a?b"));
    assert_true(matches(path, "") && matches(path, "/") && matches(path, "/x\xc3\xa9"));
    assert_false(matches(path, "x") || matches(path, "/\\") || matches(path, "/a b") || matches(path, "/\x01"));
    assert_true(matches(name, "a-B.9~:_"));
    assert_false(matches(name, "") || matches(name, "a/b"));
    assert_true(matches("b+", "abbc") && matches("a?b$", "xb") && matches("x|y", "zy"));
    assert_false(matches("^b", "ab") || matches("ab*c$", "abbd"));
}

static void test_proto_validate__all_rules_of_the_api__can_be_unpacked(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < proto_table_message_count; i++) {
        const ProtobufCMessageDescriptor *desc =
            proto_type_find(str_from(proto_text(proto_table_messages[i].name)));
        ProtobufCMessage *msg = proto_new(f->arena, desc);
        struct err_list faults = {0};
        (void)!proto_validate(f->arena, msg, "p", &faults);
        err_list_fini(&faults);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROTO_TEST(test_proto_validate__a_cluster__every_violation_with_its_path),
        PROTO_TEST(test_proto_validate__any__descends_and_keeps_the_path),
        PROTO_TEST(test_rules_string__each_kind__holds_and_breaks),
        PROTO_TEST(test_rules_number__each_kind__holds_and_breaks),
        PROTO_TEST(test_proto_pattern_matches__patterns_of_the_api__as_re2),
        PROTO_TEST(test_proto_validate__all_rules_of_the_api__can_be_unpacked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
