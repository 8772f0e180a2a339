/* SPDX-License-Identifier: Apache-2.0 */
#include <malloc.h>

#include "base/mem.h"
#include "envoy/config/bootstrap/v3/bootstrap.pb-c.h"
#include "envoy/config/cluster/v3/cluster.pb-c.h"
#include "envoy/config/core/v3/base.pb-c.h"
#include "google/protobuf/field_mask.pb-c.h"
#include "google/protobuf/struct.pb-c.h"
#include "google/protobuf/duration.pb-c.h"
#include "google/protobuf/timestamp.pb-c.h"
#include "google/protobuf/wrappers.pb-c.h"
#include "proto_test.h"
#include "validate/validate.pb-c.h"

#define CLUSTER &envoy__config__cluster__v3__cluster__descriptor
#define VALUE &google__protobuf__value__descriptor
#define DURATION &google__protobuf__duration__descriptor
#define TIMESTAMP &google__protobuf__timestamp__descriptor

static void test_json_decode__both_cases_of_names__one_message(void **state)
{
    struct fixture *f = *state;
    ProtobufCMessage *a = decode(f, CLUSTER, "{\"lb_policy\":\"RANDOM\",\"connect_timeout\":\"1s\"}", "");
    ProtobufCMessage *b = decode(f, CLUSTER, " {\"lbPolicy\" : 3,\n\"connectTimeout\":\"1.000s\" } ", "");
    assert_true(proto_equal(a, b));
    assert_string_equal(encode(f, a, 0), "{\"connect_timeout\":\"1s\",\"lb_policy\":\"RANDOM\"}");
    assert_string_equal(encode(f, a, JSON_CAMEL), "{\"connectTimeout\":\"1s\",\"lbPolicy\":\"RANDOM\"}");
    assert_string_equal(encode(f, a, JSON_INDENT),
                        "{\n \"connect_timeout\": \"1s\",\n \"lb_policy\": \"RANDOM\"\n}");
}

static void test_json_decode__integers__every_form_and_range(void **state)
{
    struct fixture *f = *state;
    round_trip(f, &validate__int32_rules__descriptor,
               "{\"in\":[0,-0,5.0,1e3,\"7\",-2147483648,2147483647,\"-12\",0.5e1]}",
               "{\"in\":[0,0,5,1000,7,-2147483648,2147483647,-12,5]}");
    round_trip(f, &validate__int64_rules__descriptor,
               "{\"in\":[9223372036854775807,\"-9223372036854775808\"]}",
               "{\"in\":[\"9223372036854775807\",\"-9223372036854775808\"]}");
    round_trip(f, &validate__uint64_rules__descriptor, "{\"in\":[18446744073709551615,\"1\"]}",
               "{\"in\":[\"18446744073709551615\",\"1\"]}");
    decode(f, &validate__int32_rules__descriptor, "{\"in\":[2147483648,1.5,\"\",\"1x\",true,-2147483649]}",
           "in[0]: must be between -2147483648 and 2147483647, is the number 2147483648\n"
           "in[1]: must be an integer, is the number 1.5\n"
           "in[2]: must be an integer, is ''\n"
           "in[3]: must be an integer, is '1x'\n"
           "in[4]: must be an integer, is true\n"
           "in[5]: must be between -2147483648 and 2147483647, is the number -2147483649\n");
    decode(f, &validate__uint32_rules__descriptor, "{\"in\":[-1,4294967296,\"0x10\"]}",
           "in[0]: must be between 0 and 4294967295, is the number -1\n"
           "in[1]: must be between 0 and 4294967295, is the number 4294967296\n"
           "in[2]: must be an integer, is '0x10'\n");
    decode(f, &validate__uint64_rules__descriptor, "{\"in\":[18446744073709551616]}",
           "in[0]: must be an integer, is the number 18446744073709551616\n");
}

static void test_json_decode__reals__special_values_and_shortest_text(void **state)
{
    struct fixture *f = *state;
    round_trip(f, &validate__double_rules__descriptor,
               "{\"in\":[\"NaN\",\"Infinity\",\"-Infinity\",0.1,1e300,\"2.5\",-0.0,3]}",
               "{\"in\":[\"NaN\",\"Infinity\",\"-Infinity\",0.1,1e+300,2.5,-0,3]}");
    round_trip(f, &validate__float_rules__descriptor, "{\"in\":[0.1,16777216]}", "{\"in\":[0.1,16777216]}");
    decode(f, &validate__float_rules__descriptor, "{\"in\":[1e39]}",
           "in[0]: must be a number in its type's range, is the number 1e39\n");
    decode(f, &validate__double_rules__descriptor, "{\"in\":[1e999,\"nan\"]}",
           "in[0]: must be a number in its type's range, is the number 1e999\n"
           "in[1]: must be a number, is 'nan'\n");
}

static void test_json_decode__strings__escapes_and_bad_bytes(void **state)
{
    struct fixture *f = *state;
    const ProtobufCMessageDescriptor *desc = &google__protobuf__string_value__descriptor;
    round_trip(f, desc, "\"a\\u00e9\\ud83d\\ude00\\n\\/\"", "\"a\xc3\xa9\xf0\x9f\x98\x80\\n/\"");
    decode(f, desc, "\"a\\u0000b\"", "must not hold a NUL character\n");
    decode(f, desc, "\"\\ud83d\"", "half of a surrogate pair\n");
    decode(f, desc, "\"\\ude00\"", "half of a surrogate pair\n");
    decode(f, desc, "\"\\x\"", "unknown escape in a string\n");
    decode(f, desc, "\"\t\"", "a control character in a string must be escaped\n");
    decode(f, desc, "\"\xff\"", "the text is not valid UTF-8\n");
    decode(f, desc, "7", "must be a string, is the number 7\n");
}

static void test_json_decode__bytes__both_alphabets(void **state)
{
    struct fixture *f = *state;
    const ProtobufCMessageDescriptor *desc = &google__protobuf__bytes_value__descriptor;
    round_trip(f, desc, "\"+/8=\"", "\"+/8=\"");
    round_trip(f, desc, "\"-_8\"", "\"+/8=\"");
    round_trip(f, desc, "\"AA==\"", "\"AA==\"");
    round_trip(f, desc, "\"\"", "\"\"");
    decode(f, desc, "\"A\"", "must be a base64 string, is 'A'\n");
    decode(f, desc, "\"AA=\"", "must be a base64 string, is 'AA='\n");
    decode(f, desc, "\"A!==\"", "must be a base64 string, is 'A!=='\n");
}

static void test_json_decode__enums__names_numbers_and_a_hint(void **state)
{
    struct fixture *f = *state;
    round_trip(f, CLUSTER, "{\"lb_policy\":1}", "{\"lb_policy\":\"LEAST_REQUEST\"}");
    round_trip(f, CLUSTER, "{\"lb_policy\":4711}", "{\"lb_policy\":4711}");
    decode(f, CLUSTER, "{\"lb_policy\":\"LEAST_REQUESTS\"}",
           "lb_policy: 'LEAST_REQUESTS' is no value of envoy.config.cluster.v3.Cluster.LbPolicy; "
           "did you mean LEAST_REQUEST?\n");
    decode(f, CLUSTER, "{\"lb_policy\":{}}", "lb_policy: must be the name of a value, is an object\n");
}

static void test_json_decode__durations__ranges_and_forms(void **state)
{
    struct fixture *f = *state;
    static const char *const good[][2] = {
        {"\"0s\"", "\"0s\""}, {"\"1.5s\"", "\"1.500s\""}, {"\"-0.25s\"", "\"-0.250s\""},
        {"\"1.000001s\"", "\"1.000001s\""}, {"\"0.000000001s\"", "\"0.000000001s\""},
        {"\"315576000000s\"", "\"315576000000s\""}, {"\"-315576000000s\"", "\"-315576000000s\""}};
    static const char *const bad[] = {"1", "1m", "1.s", ".5s", "s", "", "1.0000000001s", "+1s", "--1s",
                                      "315576000001s", "315576000000.5s", "1s ", "0x1s", "1e3s"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        round_trip(f, DURATION, good[i][0], good[i][1]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char json[64], fault[160];
        snprintf(json, sizeof(json), "\"%s\"", bad[i]);
        snprintf(fault, sizeof(fault),
                 "must be a duration like 1.5s, within 315576000000s either way, is '%s'\n", bad[i]);
        decode(f, DURATION, json, fault);
    }
}

static void test_json_decode__timestamps__zones_leap_years_and_ranges(void **state)
{
    struct fixture *f = *state;
    static const char *const good[][2] = {
        {"\"1970-01-01T00:00:00Z\"", "\"1970-01-01T00:00:00Z\""},
        {"\"2024-02-29T23:59:59.5+01:00\"", "\"2024-02-29T22:59:59.500Z\""},
        {"\"0001-01-01T00:00:00Z\"", "\"0001-01-01T00:00:00Z\""},
        {"\"9999-12-31T23:59:59.999999999Z\"", "\"9999-12-31T23:59:59.999999999Z\""},
        {"\"1969-12-31T23:59:59Z\"", "\"1969-12-31T23:59:59Z\""}};
    static const char *const bad[] = {"2023-02-29T00:00:00Z", "2024-13-01T00:00:00Z", "2024-01-01T24:00:00Z",
                                      "2024-01-01 00:00:00Z", "2024-01-01T00:00:00", "2024-01-01T00:00:00.Z",
                                      "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        round_trip(f, TIMESTAMP, good[i][0], good[i][1]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char json[64], fault[120];
        snprintf(json, sizeof(json), "\"%s\"", bad[i]);
        snprintf(fault, sizeof(fault), "must be a time like 2024-01-31T12:00:00Z, is '%s'\n", bad[i]);
        decode(f, TIMESTAMP, json, fault);
    }
}

static void test_json_decode__struct_family__all_kinds(void **state)
{
    struct fixture *f = *state;
    round_trip(f, VALUE, "{\"a\":[1,\"x\",null,true,{}],\"b\":{\"c\":1.5}}",
               "{\"a\":[1,\"x\",null,true,{}],\"b\":{\"c\":1.5}}");
    round_trip(f, VALUE, "null", "null");
    round_trip(f, VALUE, "[]", "[]");
    round_trip(f, &google__protobuf__struct__descriptor, "{}", "{}");
    decode(f, &google__protobuf__struct__descriptor, "[]", "must be an object, is a list\n");
    decode(f, &google__protobuf__list_value__descriptor, "{}", "must be a list, is an object\n");
}

static void test_json_decode__wrappers_and_masks__scalars(void **state)
{
    struct fixture *f = *state;
    round_trip(f, &google__protobuf__bool_value__descriptor, "false", "false");
    round_trip(f, &google__protobuf__uint32_value__descriptor, "0", "0");
    round_trip(f, &google__protobuf__int64_value__descriptor, "-5", "\"-5\"");
    round_trip(f, &google__protobuf__field_mask__descriptor, "\"fooBar.baz,q\"", "\"fooBar.baz,q\"");
    round_trip(f, &google__protobuf__field_mask__descriptor, "\"\"", "\"\"");
    decode(f, &google__protobuf__bool_value__descriptor, "\"true\"", "must be true or false, is 'true'\n");
}

static void test_json_decode__any__expanded_nested_and_remembered(void **state)
{
    struct fixture *f = *state;
    const ProtobufCMessageDescriptor *desc = &google__protobuf__any__descriptor;
    round_trip(f, desc, "{\"name\":\"x\",\"@type\":\"t/envoy.config.cluster.v3.Cluster\"}",
               "{\"@type\":\"t/envoy.config.cluster.v3.Cluster\",\"name\":\"x\"}");
    round_trip(f, desc, "{\"@type\":\"t/google.protobuf.Duration\",\"value\":\"1s\"}",
               "{\"@type\":\"t/google.protobuf.Duration\",\"value\":\"1s\"}");
    round_trip(f, desc, "{\"@type\":\"t/google.protobuf.Any\",\"value\":{\"@type\":\"t/google.protobuf.StringValue\",\"value\":\"q\"}}",
               "{\"@type\":\"t/google.protobuf.Any\",\"value\":{\"@type\":\"t/google.protobuf.StringValue\",\"value\":\"q\"}}");
    round_trip(f, desc, "{}", "{}");
    decode(f, desc, "{\"@type\":\"t/no.Such\"}", "unknown type 't/no.Such'\n");
    decode(f, desc, "{\"a\":1}", "'@type' is missing\n");
    decode(f, desc, "{\"@type\":\"t/google.protobuf.Duration\"}", "'value' is missing\n");
    decode(f, desc, "{\"@type\":\"t/envoy.config.cluster.v3.Cluster\",\"lb_policy\":\"x\",\"nme\":1}",
           "lb_policy: 'x' is no value of envoy.config.cluster.v3.Cluster.LbPolicy\n"
           "nme: no such field in envoy.config.cluster.v3.Cluster; did you mean 'name'?\n");
    Google__Protobuf__Any *any = (Google__Protobuf__Any *)decode(
        f, desc, "{\"@type\":\"t/envoy.config.cluster.v3.Cluster\",\"name\":\"x\"}", "");
    ProtobufCMessage *one, *two;
    assert_int_equal(proto_unpack_any(f->arena, any, &one, NULL), 0);
    assert_int_equal(proto_unpack_any(f->arena, any, &two, NULL), 0);
    assert_ptr_equal(one, two);
}

static void test_json_encode__any_that_cannot_be_expanded__shown_packed(void **state)
{
    struct fixture *f = *state;
    Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
    uint8_t bytes[] = {0xff, 0xff};
    any.type_url = (char *)(uintptr_t)"t/no.Such";
    any.value = (ProtobufCBinaryData){2, bytes};
    assert_string_equal(encode(f, &any.base, 0), "{\"@type\":\"t/no.Such\",\"value\":\"//8=\"}");
    any.type_url = (char *)(uintptr_t)"t/envoy.config.cluster.v3.Cluster";
    assert_string_equal(encode(f, &any.base, 0),
                        "{\"@type\":\"t/envoy.config.cluster.v3.Cluster\",\"value\":\"//8=\"}");
}

static void test_json_decode__maps__keys_of_every_kind(void **state)
{
    struct fixture *f = *state;
    const ProtobufCMessageDescriptor *desc = &envoy__config__core__v3__metadata__descriptor;
    round_trip(f, desc, "{\"filter_metadata\":{\"a.b\":{\"c\":1},\"\\\"\":{}}}",
               "{\"filter_metadata\":{\"a.b\":{\"c\":1},\"\\\"\":{}}}");
    decode(f, desc, "{\"filter_metadata\":{\"a\":null,\"b\":3}}",
           "filter_metadata[\"a\"]: a map must not hold null\n"
           "filter_metadata[\"b\"]: must be an object, is the number 3\n");
    decode(f, desc, "{\"filter_metadata\":[]}", "filter_metadata: must be an object, is a list\n");
}

static void test_json_decode__null__unset_but_not_in_lists(void **state)
{
    struct fixture *f = *state;
    round_trip(f, CLUSTER, "{\"name\":null,\"transport_socket_matches\":null,\"eds_cluster_config\":null}", "{}");
    decode(f, CLUSTER, "{\"health_checks\":[null]}", "health_checks[0]: a list must not hold null\n");
}

static void test_json_decode__doubled_members__faults(void **state)
{
    struct fixture *f = *state;
    decode(f, CLUSTER, "{\"name\":\"a\",\"name\":\"b\"}", "the key 'name' stands twice in one object\n");
    decode(f, CLUSTER, "{\"lb_policy\":1,\"lbPolicy\":1}", "lb_policy: is set twice, under both of its names\n");
    decode(f, CLUSTER, "{\"ring_hash_lb_config\":{},\"maglev_lb_config\":{}}",
           "maglev_lb_config: 'ring_hash_lb_config' is set as well, but only one member of 'lb_config' may be\n");
}

static void test_json_decode__many_faults__all_with_paths_and_lines(void **state)
{
    struct fixture *f = *state;
    ProtobufCMessage *msg;
    const char *json = "{\"static_resources\": {\"clusters\": [{},\n  {\"lb_polcy\": 1,\n"
                       "   \"connect_timeout\": 5}]},\n \"nod\": 1}";
    assert_int_equal(json_decode(f->arena, str_from(json), &envoy__config__bootstrap__v3__bootstrap__descriptor,
                                 "b.json", &msg, &f->faults), ERR_INVALID);
    assert_string_equal(faults_text(f),
                        "b.json:2:4: static_resources.clusters[1].lb_polcy: no such field in "
                        "envoy.config.cluster.v3.Cluster; did you mean 'lb_policy'?\n"
                        "b.json:3:23: static_resources.clusters[1].connect_timeout: must be a duration like 1.5s, "
                        "within 315576000000s either way, is the number 5\n"
                        "b.json:4:2: nod: no such field in envoy.config.bootstrap.v3.Bootstrap; did you mean 'node'?\n");
}

static void test_json_read__broken_text__one_syntax_fault(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {"", " ", "{", "[", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,}", "[1,]",
                                      "{a:1}", "nul", "tru", "+1", "01", "1.", "1e", "-", ".5", "1 2", "{}x",
                                      "'a'", "\"a", "\"\\", "\"\\u12", "[1 2]", "// x\n1", "\xef\xbb\xbf", "NaN"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        err_list_fini(&f->faults);
        f->faults = (struct err_list){0};
        assert_null(json_read(f->arena, str_from(bad[i]), NULL, &f->faults));
        assert_int_equal(f->faults.count, 1);
        assert_int_equal(f->faults.items[0].code, ERR_SYNTAX);
    }
    err_list_fini(&f->faults);
    f->faults = (struct err_list){0};
    assert_non_null(json_read(f->arena, STR("\xef\xbb\xbf[]"), NULL, &f->faults));
}

static void test_json_read__cut_at_each_byte__never_accepted(void **state)
{
    struct fixture *f = *state;
    const char whole[] = "{\"name\":\"a\\u00e9\",\"type\":\"EDS\",\"connect_timeout\":\"1s\",\"x\":[1,-2.5e3,true,null]}";
    for (size_t n = 0; n < sizeof(whole) - 1; n++) {
        char *exact = mem_strndup(whole, n);
        assert_null(json_read(f->arena, str_make(exact, n), NULL, &f->faults));
        mem_free(exact);
    }
    assert_non_null(json_read(f->arena, str_make(whole, sizeof(whole) - 1), NULL, &f->faults));
}

static void test_json_read__deep_nesting__refused(void **state)
{
    struct fixture *f = *state;
    struct strbuf text = {0};
    for (int i = 0; i < 100000; i++)
        strbuf_addc(&text, '[');
    assert_null(json_read(f->arena, strbuf_str(&text), NULL, &f->faults));
    assert_string_equal(faults_text(f), "the document is nested too deeply\n");
    strbuf_reset(&text);
    for (int i = 0; i < 150; i++)
        strbuf_addc(&text, '[');
    for (int i = 0; i < 150; i++)
        strbuf_addc(&text, ']');
    ProtobufCMessage *msg; /* well formed, but too deep for messages */
    assert_int_equal(json_decode(f->arena, strbuf_str(&text), VALUE, NULL, &msg, &f->faults), ERR_INVALID);
    assert_non_null(strstr(faults_text(f), "messages are nested deeper than 100 levels"));
    strbuf_fini(&text);
}

static void test_json_decode__full_arena__limit_fault(void **state)
{
    struct fixture *f = *state;
    struct proto_arena *small = proto_arena_new(4096);
    struct strbuf text = {0};
    ProtobufCMessage *msg;
    strbuf_addz(&text, "{\"health_checks\":[{}");
    for (int i = 0; i < 100; i++)
        strbuf_addz(&text, ",{}");
    strbuf_addz(&text, "]}");
    assert_int_not_equal(json_decode(small, strbuf_str(&text), CLUSTER, NULL, &msg, &f->faults), 0);
    assert_non_null(strstr(faults_text(f), "more memory than is allowed"));
    assert_true(proto_arena_is_full(small));
    strbuf_fini(&text);
    proto_arena_free(&small);
}

/* 2,000 clusters: the heap is as before when the arena is gone. */
static void test_json_decode__two_thousand_clusters__heap_untouched(void **state)
{
    struct fixture *f = *state;
    struct strbuf text = {0};
    ProtobufCMessage *msg;
    strbuf_addz(&text, "{\"static_resources\":{\"clusters\":[");
    for (int i = 0; i < 2000; i++)
        strbuf_addf(&text,
                    "%s{\"name\":\"outbound|80||svc-%d.ns.svc.cluster.local\",\"type\":\"STATIC\",\"connect_timeout\":\"5s\","
                    "\"load_assignment\":{\"cluster_name\":\"c%d\",\"endpoints\":[{\"lb_endpoints\":[{\"endpoint\":{\"address\":"
                    "{\"socket_address\":{\"address\":\"127.0.0.1\",\"port_value\":%d}}}}]}]}}",
                    i ? "," : "", i, i, 1000 + i);
    strbuf_addz(&text, "]}}");
    decode(f, &envoy__config__bootstrap__v3__bootstrap__descriptor, "{}", ""); /* types come to life */
    struct proto_arena *arena = proto_arena_new(0);
    size_t before = mallinfo2().uordblks;
    assert_int_equal(json_decode(arena, strbuf_str(&text), &envoy__config__bootstrap__v3__bootstrap__descriptor,
                                 NULL, &msg, &f->faults), 0);
    if (!MEM_SANITIZED)
        assert_true(mallinfo2().uordblks <= before);
    assert_int_equal(((Envoy__Config__Bootstrap__V3__Bootstrap *)msg)->static_resources->n_clusters, 2000);
    proto_arena_free(&arena);
    strbuf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROTO_TEST(test_json_decode__both_cases_of_names__one_message),
        PROTO_TEST(test_json_decode__integers__every_form_and_range),
        PROTO_TEST(test_json_decode__reals__special_values_and_shortest_text),
        PROTO_TEST(test_json_decode__strings__escapes_and_bad_bytes),
        PROTO_TEST(test_json_decode__bytes__both_alphabets),
        PROTO_TEST(test_json_decode__enums__names_numbers_and_a_hint),
        PROTO_TEST(test_json_decode__durations__ranges_and_forms),
        PROTO_TEST(test_json_decode__timestamps__zones_leap_years_and_ranges),
        PROTO_TEST(test_json_decode__struct_family__all_kinds),
        PROTO_TEST(test_json_decode__wrappers_and_masks__scalars),
        PROTO_TEST(test_json_decode__any__expanded_nested_and_remembered),
        PROTO_TEST(test_json_encode__any_that_cannot_be_expanded__shown_packed),
        PROTO_TEST(test_json_decode__maps__keys_of_every_kind),
        PROTO_TEST(test_json_decode__null__unset_but_not_in_lists),
        PROTO_TEST(test_json_decode__doubled_members__faults),
        PROTO_TEST(test_json_decode__many_faults__all_with_paths_and_lines),
        PROTO_TEST(test_json_read__broken_text__one_syntax_fault),
        PROTO_TEST(test_json_read__cut_at_each_byte__never_accepted),
        PROTO_TEST(test_json_read__deep_nesting__refused),
        PROTO_TEST(test_json_decode__full_arena__limit_fault),
        PROTO_TEST(test_json_decode__two_thousand_clusters__heap_untouched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
