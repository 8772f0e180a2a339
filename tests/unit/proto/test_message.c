/* SPDX-License-Identifier: Apache-2.0 */
#include "envoy/config/cluster/v3/cluster.pb-c.h"
#include "envoy/config/core/v3/address.pb-c.h"
#include "envoy/extensions/transport_sockets/tls/v3/secret.pb-c.h"
#include "google/protobuf/struct.pb-c.h"
#include "proto/dump.h"
#include "proto_test.h"
#include "proto/proto_priv.h"
#include "validate/validate.pb-c.h"

#define CLUSTER &envoy__config__cluster__v3__cluster__descriptor
#define VALUE &google__protobuf__value__descriptor

static void test_proto_type_find__every_table_row__found_and_ready(void **state)
{
    (void)state;
    for (unsigned i = 0; i < proto_table_message_count; i++) {
        const char *name = proto_text(proto_table_messages[i].name);
        const ProtobufCMessageDescriptor *desc = proto_type_find(str_from(name));
        assert_non_null(desc);
        assert_string_equal(desc->name, name);
        for (unsigned k = 0; k < desc->n_fields; k++) {
            const ProtobufCFieldDescriptor *field = &desc->fields[k];
            char json_name[256];
            proto_field_json_name(field, json_name, sizeof(json_name));
            assert_ptr_equal(proto_field_find(desc, str_from(field->name)), field);
            assert_ptr_equal(proto_field_find(desc, str_from(json_name)), field);
            assert_ptr_equal(proto_field_by_id(desc, field->id), field);
            assert_ptr_equal(protobuf_c_message_descriptor_get_field(desc, field->id), field);
            assert_ptr_equal(protobuf_c_message_descriptor_get_field_by_name(desc, field->name), field);
        }
    }
}

static void test_proto_type_find__urls__last_segment_counts(void **state)
{
    (void)state;
    const ProtobufCMessageDescriptor *want = proto_type_ready(CLUSTER);
    assert_ptr_equal(proto_type_find(STR("envoy.config.cluster.v3.Cluster")), want);
    assert_ptr_equal(proto_type_find(STR("type.googleapis.com/envoy.config.cluster.v3.Cluster")), want);
    assert_ptr_equal(proto_type_find(STR("a/b/envoy.config.cluster.v3.Cluster")), want);
    assert_null(proto_type_find(STR("envoy.config.cluster.v3.Cluste")));
    assert_null(proto_type_find(STR("")));
    assert_null(proto_type_find(STR("/")));
}

static int unpack(struct fixture *f, const ProtobufCMessageDescriptor *desc, const void *p, size_t n,
                  struct err *err)
{
    ProtobufCMessage *msg;
    int rc = proto_unpack(f->arena, desc, str_make(p, n), &msg, err);
    assert_int_equal(rc == 0, msg != NULL);
    return rc;
}

static void test_proto_unpack__broken_bytes__refused(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    static const struct {
        const char *bytes;
        size_t n;
        int code;
    } cases[] = {
        {"", 0, 0},
        {"\x0a", 1, ERR_INVALID},                  /* no length */
        {"\x0a\x05" "abc", 5, ERR_INVALID},        /* too short */
        {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, ERR_INVALID}, /* huge length */
        {"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 12, ERR_INVALID}, /* long varint */
        {"\x00\x01", 2, ERR_INVALID},              /* field 0 */
        {"\x0b\x0c", 2, ERR_INVALID},              /* groups */
        {"\x0a\x03" "a\0b", 5, ERR_INVALID},       /* NUL in a string */
        {"\x0a\x02\xc3\x28", 4, ERR_INVALID},      /* not UTF-8 */
        {"\x0a\x02\xc3\xa9", 4, 0},
        {"\x08\x01", 2, ERR_INVALID},              /* name as a varint */
        {"\xfa\xff\x7f\x01x", 5, 0},               /* unknown field is kept */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(unpack(f, CLUSTER, cases[i].bytes, cases[i].n, &err), cases[i].code);
}

static void test_proto_unpack__nesting__stops_at_the_limit(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    uint8_t bytes[4096];
    /* ListValue{values: Value{list_value: ...}}: two levels for each four bytes */
    for (int levels = 49; levels <= 2000 / 4; levels += 2) {
        size_t n = 0;
        for (int i = 0; i < levels; i++) {
            uint8_t head[8];
            size_t h = 0;
            size_t inner = n;
            head[h++] = i % 2 ? 0x0a : 0x32;
            if (inner >= 128)
                head[h++] = (uint8_t)(inner | 0x80);
            head[h++] = (uint8_t)(inner >= 128 ? inner >> 7 : inner);
            memmove(bytes + h, bytes, n);
            memcpy(bytes, head, h);
            n += h;
        }
        int rc = unpack(f, VALUE, bytes, n, &err);
        assert_int_equal(rc, levels + 1 > PROTO_DEPTH_MAX ? ERR_LIMIT : 0);
    }
}

static void test_proto_unpack__small_bytes_big_message__arena_limit(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct proto_arena *small = proto_arena_new(1 << 20);
    struct strbuf bytes = {0};
    ProtobufCMessage *msg;
    for (int i = 0; i < 20000; i++)
        strbuf_add(&bytes, "\x42\x00", 2); /* health_checks: {} */
    assert_int_equal(proto_unpack(small, CLUSTER, strbuf_str(&bytes), &msg, &err), ERR_LIMIT);
    assert_null(msg);
    strbuf_fini(&bytes);
    proto_arena_free(&small);
    (void)f;
}

static void test_proto_unpack_any_as__other_type__refused(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    ProtobufCMessage *msg;
    Google__Protobuf__Any *any = proto_pack_any(f->arena, decode(f, CLUSTER, "{\"name\":\"a\"}", ""));
    assert_string_equal(any->type_url, "type.googleapis.com/envoy.config.cluster.v3.Cluster");
    assert_int_equal(proto_unpack_any_as(f->arena, any, CLUSTER, &msg, &err), 0);
    assert_non_null(PROTO_CAST(Envoy__Config__Cluster__V3__Cluster,
                               envoy__config__cluster__v3__cluster__descriptor, msg));
    assert_null(PROTO_CAST(Google__Protobuf__Value, google__protobuf__value__descriptor, msg));
    assert_int_equal(proto_unpack_any_as(f->arena, any, VALUE, &msg, &err), ERR_INVALID);
    any = PROTO_NEW(f->arena, Google__Protobuf__Any, google__protobuf__any__descriptor);
    assert_int_equal(proto_unpack_any(f->arena, any, &msg, &err), ERR_NOT_FOUND);
}

static void test_proto_merge__merge_from__as_protobuf_does(void **state)
{
    struct fixture *f = *state;
    ProtobufCMessage *dst = decode(f, CLUSTER,
        "{\"name\":\"a\",\"connect_timeout\":\"1s\",\"eds_cluster_config\":{\"service_name\":\"s\"},"
        "\"health_checks\":[{\"timeout\":\"1s\"}],\"ring_hash_lb_config\":{},"
        "\"metadata\":{\"filter_metadata\":{\"x\":{\"p\":1},\"y\":{}}}}", "");
    ProtobufCMessage *src = decode(f, CLUSTER,
        "{\"name\":\"b\",\"connect_timeout\":\"0.5s\",\"eds_cluster_config\":{\"eds_config\":{\"ads\":{}}},"
        "\"health_checks\":[{\"timeout\":\"2s\"}],\"maglev_lb_config\":{},"
        "\"metadata\":{\"filter_metadata\":{\"x\":{\"q\":2}}}}", "");
    assert_int_equal(proto_merge(f->arena, dst, src), 0);
    ProtobufCMessage *want = decode(f, CLUSTER,
        "{\"name\":\"b\",\"connect_timeout\":\"1.5s\","
        "\"eds_cluster_config\":{\"service_name\":\"s\",\"eds_config\":{\"ads\":{}}},"
        "\"health_checks\":[{\"timeout\":\"1s\"},{\"timeout\":\"2s\"}],\"maglev_lb_config\":{},"
        "\"metadata\":{\"filter_metadata\":{\"y\":{},\"x\":{\"q\":2}}}}", "");
    ((Envoy__Config__Cluster__V3__Cluster *)want)->connect_timeout->seconds = 1; /* 1s and .5s, by field */
    assert_true(proto_equal(dst, want));
    assert_int_equal(proto_merge(f->arena, dst, decode(f, VALUE, "1", "")), ERR_INVALID);
}

static void test_proto_merge__any__forgets_what_it_held(void **state)
{
    struct fixture *f = *state;
    const ProtobufCMessageDescriptor *desc = &google__protobuf__any__descriptor;
    ProtobufCMessage *dst = decode(f, desc, "{\"@type\":\"t/google.protobuf.Duration\",\"value\":\"1s\"}", "");
    ProtobufCMessage *src = decode(f, desc, "{\"@type\":\"t/google.protobuf.StringValue\",\"value\":\"x\"}", "");
    assert_int_equal(proto_merge(f->arena, dst, src), 0);
    ProtobufCMessage *msg;
    assert_int_equal(proto_unpack_any(f->arena, (Google__Protobuf__Any *)dst, &msg, NULL), 0);
    assert_string_equal(msg->descriptor->name, "google.protobuf.StringValue");
}

static void test_proto_clone_and_equal__differences__seen(void **state)
{
    struct fixture *f = *state;
    ProtobufCMessage *a = decode(f, VALUE, "{\"a\":[1,\"NaN\",{\"b\":null}],\"c\":true}", "");
    ProtobufCMessage *b = decode(f, VALUE, "{\"c\":true,\"a\":[1,\"NaN\",{\"b\":null}]}", "");
    assert_true(proto_equal(a, b));
    assert_true(proto_equal(a, proto_clone(f->arena, a)));
    assert_false(proto_equal(a, decode(f, VALUE, "{\"c\":true,\"a\":[1,\"NaN\",{\"b\":0}]}", "")));
    assert_false(proto_equal(a, NULL));
    assert_false(proto_equal(a, decode(f, CLUSTER, "{}", "")));
}

static void test_proto_equal__key_twice_in_packed_map__last_counts(void **state)
{
    struct fixture *f = *state;
    ProtobufCMessage *twice;
    struct str bytes = STR("\x0a\x0a\x0a\x01" "a\x12\x05\x2a\x03\x0a\x01x" "\x0a\x07\x0a\x01" "a\x12\x02\x20\x01");
    assert_int_equal(proto_unpack(f->arena, &google__protobuf__struct__descriptor, bytes, &twice, NULL), ERR_INVALID);
    bytes = STR("\x0a\x07\x0a\x01" "a\x12\x02\x20\x00" "\x0a\x07\x0a\x01" "a\x12\x02\x20\x01");
    assert_int_equal(proto_unpack(f->arena, &google__protobuf__struct__descriptor, bytes, &twice, NULL), 0);
    assert_true(proto_equal(twice, decode(f, &google__protobuf__struct__descriptor, "{\"a\":true}", "")));
    assert_true(proto_equal(twice, proto_clone(f->arena, twice)));
}

static void test_proto_dump__secrets__redacted(void **state)
{
    struct fixture *f = *state;
    const ProtobufCMessageDescriptor *desc = proto_type_find(STR("google.protobuf.Any"));
    ProtobufCMessage *msg = decode(f, desc,
        "{\"@type\":\"t/envoy.extensions.transport_sockets.tls.v3.Secret\",\"name\":\"s\",\"tls_certificate\":{"
        "\"certificate_chain\":{\"inline_string\":\"CERT\"},\"private_key\":{\"inline_string\":\"KEY\"},"
        "\"password\":{\"inline_bytes\":\"UEFTUw==\"}}}", "");
    strbuf_reset(&f->out);
    proto_dump(msg, &f->out);
    assert_non_null(strstr(f->out.p, "CERT"));
    assert_null(strstr(f->out.p, "KEY\""));
    assert_null(strstr(f->out.p, "UEFTUw"));
    assert_non_null(strstr(f->out.p, "\"inline_string\": \"[redacted]\""));
    assert_non_null(strstr(f->out.p, "\"inline_bytes\": \"W3JlZGFjdGVkXQ==\""));
}

static void test_proto_mask__paths__cut_down(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    ProtobufCMessage *msg = decode(f, CLUSTER,
        "{\"name\":\"a\",\"health_checks\":[{\"timeout\":\"1s\",\"interval\":\"2s\"}],\"transport_socket\":{\"name\":\"x\","
        "\"typed_config\":{\"@type\":\"t/envoy.config.cluster.v3.Cluster\",\"name\":\"in\",\"alt_stat_name\":\"q\"}}}", ""), *out;
    assert_int_equal(proto_mask(f->arena, msg, STR("health_checks.timeout, transportSocket.typed_config.name"), &out, &err), 0);
    assert_string_equal(encode(f, out, 0),
        "{\"health_checks\":[{\"timeout\":\"1s\"}],\"transport_socket\":{\"typed_config\":"
        "{\"@type\":\"t/envoy.config.cluster.v3.Cluster\",\"name\":\"in\"}}}");
    assert_int_equal(proto_mask(f->arena, msg, STR("nme"), &out, &err), ERR_INVALID);
    assert_int_equal(proto_mask(f->arena, msg, STR("name.x"), &out, &err), ERR_INVALID);
    assert_int_equal(proto_mask(f->arena, msg, STR(""), &out, &err), 0);
    assert_string_equal(encode(f, out, 0), "{}");
}

static void test_proto_arena__newest_block__taken_back(void **state)
{
    struct fixture *f = *state;
    ProtobufCAllocator *a = proto_arena_allocator(f->arena);
    size_t before = proto_arena_used_bytes(f->arena);
    char *p = a->alloc(a->allocator_data, 100);
    memset(p, 0xff, 100);
    a->free(a->allocator_data, p);
    assert_int_equal(proto_arena_used_bytes(f->arena), before);
    char *q = a->alloc(a->allocator_data, 100);
    for (int i = 0; i < 100; i++)
        assert_int_equal(q[i], 0);
    a->free(a->allocator_data, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROTO_TEST(test_proto_type_find__every_table_row__found_and_ready),
        PROTO_TEST(test_proto_type_find__urls__last_segment_counts),
        PROTO_TEST(test_proto_unpack__broken_bytes__refused),
        PROTO_TEST(test_proto_unpack__nesting__stops_at_the_limit),
        PROTO_TEST(test_proto_unpack__small_bytes_big_message__arena_limit),
        PROTO_TEST(test_proto_unpack_any_as__other_type__refused),
        PROTO_TEST(test_proto_merge__merge_from__as_protobuf_does),
        PROTO_TEST(test_proto_merge__any__forgets_what_it_held),
        PROTO_TEST(test_proto_clone_and_equal__differences__seen),
        PROTO_TEST(test_proto_equal__key_twice_in_packed_map__last_counts),
        PROTO_TEST(test_proto_dump__secrets__redacted),
        PROTO_TEST(test_proto_mask__paths__cut_down),
        PROTO_TEST(test_proto_arena__newest_block__taken_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
