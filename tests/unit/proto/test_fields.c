/* SPDX-License-Identifier: Apache-2.0 */
#include "envoy/config/bootstrap/v3/bootstrap.pb-c.h"
#include "envoy/config/cluster/v3/cluster.pb-c.h"
#include "proto/fields.h"
#include "proto_test.h"

#define BOOTSTRAP &envoy__config__bootstrap__v3__bootstrap__descriptor

static const char *unread_text(struct fixture *f, struct proto_reader *r, const ProtobufCMessage *msg)
{
    err_list_fini(&f->faults);
    f->faults = (struct err_list){0};
    size_t n = proto_unread(r, msg, "", &f->faults);
    assert_int_equal(n, f->faults.count);
    return faults_text(f);
}

static void test_proto_unread__what_was_read__decides(void **state)
{
    struct fixture *f = *state;
    struct proto_reader r;
    proto_reader_init(&r, f->arena, &f->faults);
    Envoy__Config__Bootstrap__V3__Bootstrap *boot = (Envoy__Config__Bootstrap__V3__Bootstrap *)decode(
        f, BOOTSTRAP,
        "{\"node\":{\"id\":\"a\"},\"static_resources\":{\"clusters\":[{\"name\":\"a\"},{\"name\":\"b\",\"lb_policy\":\"MAGLEV\","
        "\"connect_timeout\":\"1s\",\"type\":\"STATIC\",\"eds_cluster_config\":{\"service_name\":\"q\"},"
        "\"metadata\":{\"filter_metadata\":{\"x\":{\"y\":1}}},\"typed_extension_protocol_options\":{"
        "\"k\":{\"@type\":\"t/envoy.config.cluster.v3.Cluster\",\"name\":\"in\",\"alt_stat_name\":\"z\"},"
        "\"l\":{\"@type\":\"t/envoy.config.cluster.v3.Cluster\"}}}]}}", "");
    assert_string_equal(unread_text(f, &r, &boot->base),
                        "node: is not supported yet\nstatic_resources: is not supported yet\n");

    proto_read_whole(&r, &PROTO_GET(&r, boot, node)->base);
    __auto_type resources = PROTO_GET(&r, boot, static_resources);
    size_t n = PROTO_LEN(&r, resources, clusters);
    assert_int_equal(n, 2);
    for (size_t i = 0; i < n; i++) {
        Envoy__Config__Cluster__V3__Cluster *c = resources->clusters[i];
        assert_int_equal(PROTO_STR(&r, c, name).n, 1);
        (void)PROTO_GET(&r, c, type);
        assert_int_equal(proto_ms_or(PROTO_GET(&r, c, connect_timeout), 5000), i ? 1000 : 5000);
        size_t options = PROTO_LEN(&r, c, typed_extension_protocol_options);
        if (options == 0)
            continue;
        Envoy__Config__Cluster__V3__Cluster *in =
            PROTO_ANY_AS(&r, "x", c->typed_extension_protocol_options[0]->value, Envoy__Config__Cluster__V3__Cluster,
                         envoy__config__cluster__v3__cluster__descriptor);
        assert_string_equal(PROTO_GET(&r, in, name), "in");
    }
    assert_string_equal(unread_text(f, &r, &boot->base),
        "static_resources.clusters[1].eds_cluster_config: is not supported yet\n"
        "static_resources.clusters[1].lb_policy: is not supported yet\n"
        "static_resources.clusters[1].metadata: is not supported yet\n"
        "static_resources.clusters[1].typed_extension_protocol_options[\"k\"].alt_stat_name: is not supported yet\n"
        "static_resources.clusters[1].typed_extension_protocol_options[\"l\"]: is not supported yet\n");
    proto_reader_fini(&r);
}

static void test_proto_unread__unknown_fields__reported(void **state)
{
    struct fixture *f = *state;
    struct proto_reader r;
    ProtobufCMessage *msg;
    proto_reader_init(&r, f->arena, &f->faults);
    assert_int_equal(proto_unpack(f->arena, BOOTSTRAP, STR("\xfa\xff\x7f\x01x"), &msg, NULL), 0);
    assert_string_equal(unread_text(f, &r, msg), "field 262143 of a newer API is not supported yet\n");
    proto_reader_fini(&r);
}

static int leave_early(struct proto_reader *r)
{
    PROTO_IN (r, "a[%d]", 3) {
        PROTO_IN (r, "b") {
            proto_fault(r, ERR_INVALID, "c", "is wrong");
            proto_fault(r, ERR_INVALID, "[1]", "is wrong");
            proto_fault(r, ERR_INVALID, NULL, "is wrong");
            return 1;
        }
    }
    return 0;
}

static void test_proto_fault__paths__follow_the_scopes(void **state)
{
    struct fixture *f = *state;
    struct proto_reader r;
    proto_reader_init(&r, f->arena, &f->faults);
    assert_int_equal(leave_early(&r), 1);
    assert_string_equal(proto_path(&r), "");
    proto_unsupported_enum(&r, "lb_policy", &envoy__config__cluster__v3__cluster__lb_policy__descriptor,
                           ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__MAGLEV);
    proto_unsupported_enum(&r, "lb_policy", &envoy__config__cluster__v3__cluster__lb_policy__descriptor, 99);
    assert_string_equal(faults_text(f),
                        "a[3].b.c: is wrong\na[3].b[1]: is wrong\na[3].b: is wrong\n"
                        "lb_policy: MAGLEV is not supported yet\n"
                        "lb_policy: 99 is no value of envoy.config.cluster.v3.Cluster.LbPolicy\n");
    proto_reader_fini(&r);
}

static void test_proto_any_read__unknown_or_other_type__one_fault(void **state)
{
    struct fixture *f = *state;
    struct proto_reader r;
    Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
    proto_reader_init(&r, f->arena, &f->faults);
    any.type_url = (char *)(uintptr_t)"type.googleapis.com/foo.Bar";
    assert_null(proto_any_read(&r, "typed_config", &any));
    any.type_url = (char *)(uintptr_t)"type.googleapis.com/google.protobuf.Duration";
    assert_null(proto_any_read_as(&r, "typed_config", &any, BOOTSTRAP));
    assert_null(proto_any_read(&r, "typed_config", NULL));
    assert_string_equal(faults_text(f),
                        "typed_config: foo.Bar is not supported yet\n"
                        "typed_config: holds a google.protobuf.Duration where a "
                        "envoy.config.bootstrap.v3.Bootstrap belongs\n");
    proto_reader_fini(&r);
}

static void test_proto_ms_or__rounding_and_extremes__never_wrap(void **state)
{
    (void)state;
    Google__Protobuf__Duration d = GOOGLE__PROTOBUF__DURATION__INIT;
    assert_int_equal(proto_ms_or(NULL, 7), 7);
    assert_int_equal(proto_ms_or(&d, 7), 0);
    d.nanos = 1;
    assert_int_equal(proto_ms_or(&d, 7), 1);
    d.nanos = 1999999;
    assert_int_equal(proto_ms_or(&d, 7), 1);
    assert_int_equal(proto_us_or(&d, 7), 1999);
    d.seconds = -1;
    assert_int_equal(proto_ms_or(&d, 7), 0);
    d.seconds = INT64_MAX;
    assert_true(proto_us_or(&d, 7) == UINT64_MAX);
    assert_true(proto_u32_or(NULL, 3) == 3 && proto_bool_or(NULL, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROTO_TEST(test_proto_unread__what_was_read__decides),
        PROTO_TEST(test_proto_unread__unknown_fields__reported),
        PROTO_TEST(test_proto_fault__paths__follow_the_scopes),
        PROTO_TEST(test_proto_any_read__unknown_or_other_type__one_fault),
        PROTO_TEST(test_proto_ms_or__rounding_and_extremes__never_wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
