/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "envoy/config/bootstrap/v3/bootstrap.pb-c.h"
#include "envoy/config/cluster/v3/cluster.pb-c.h"
#include "google/protobuf/duration.pb-c.h"
#include "google/protobuf/struct.pb-c.h"
#include "proto_test.h"

#define CLUSTER &envoy__config__cluster__v3__cluster__descriptor
#define VALUE &google__protobuf__value__descriptor

static void yaml_gives(struct fixture *f, const ProtobufCMessageDescriptor *desc, const char *yaml,
                       const char *json, const char *faults)
{
    ProtobufCMessage *msg;
    err_list_fini(&f->faults);
    f->faults = (struct err_list){0};
    int rc = yaml_decode(f->arena, str_from(yaml), desc, "f.yaml", &msg, &f->faults);
    assert_string_equal(faults_text(f), faults);
    assert_int_equal(rc == 0, json != NULL);
    if (json)
        assert_string_equal(encode(f, msg, 0), json);
}

static void test_yaml_decode__plain_scalars__core_schema(void **state)
{
    struct fixture *f = *state;
    yaml_gives(f, VALUE, "[1, 0x10, 0o17, -1.5e1, .5, ~, null, true, False, yes, 1_0, '1', \"true\", a b, 1.2.3]",
               "[1,16,15,-15,0.5,null,null,true,false,\"yes\",\"1_0\",\"1\",\"true\",\"a b\",\"1.2.3\"]", "");
    yaml_gives(f, VALUE, "[.inf, -.inf, .nan, +1, !!str 5, !!int 5]",
               "[\"Infinity\",\"-Infinity\",\"NaN\",1,\"5\",5]", "");
    yaml_gives(f, VALUE, "a: |\n  x\n  y\nb: >\n  x\n  y\n", "{\"a\":\"x\\ny\\n\",\"b\":\"x y\\n\"}", "");
}

static void test_yaml_decode__string_fields__take_plain_text_as_it_stands(void **state)
{
    struct fixture *f = *state;
    yaml_gives(f, CLUSTER, "name: 1.10\nalt_stat_name: 007\n", "{\"name\":\"1.10\",\"alt_stat_name\":\"007\"}", "");
    yaml_gives(f, CLUSTER, "name: yes\nalt_stat_name: on\nignore_health_on_host_removal: on\n",
               "{\"name\":\"yes\",\"alt_stat_name\":\"on\",\"ignore_health_on_host_removal\":true}", "");
    yaml_gives(f, CLUSTER, "ignore_health_on_host_removal: 'on'\n", NULL,
               "f.yaml:1:33: ignore_health_on_host_removal: must be true or false, is 'on'\n");
}

static void test_yaml_decode__anchors_and_merge_keys__followed(void **state)
{
    struct fixture *f = *state;
    yaml_gives(f, VALUE, "a: &x {p: 1, q: 2}\nb: *x\nc: {<<: *x, q: 3}\nd: {<<: [{q: 9}, *x]}\n",
               "{\"a\":{\"p\":1,\"q\":2},\"b\":{\"p\":1,\"q\":2},\"c\":{\"q\":3,\"p\":1},\"d\":{\"q\":9,\"p\":1}}", "");
    yaml_gives(f, VALUE, "a: &x [*x]\n", NULL,
               "f.yaml:1:9: an alias to an anchor that isn't there (or isn't complete)\n");
    yaml_gives(f, VALUE, "a: {<<: 5}\n", NULL,
               "f.yaml:1:9: a merge key takes an object or a list of objects\n");
}

static void test_yaml_decode__billion_laughs__refused(void **state)
{
    struct fixture *f = *state;
    struct strbuf text = {0};
    ProtobufCMessage *msg;
    strbuf_addz(&text, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 12; i++) {
        strbuf_addf(&text, "a%d: &a%d [", i, i);
        for (int k = 0; k < 10; k++)
            strbuf_addf(&text, "%s*a%d", k ? ", " : "", i - 1);
        strbuf_addz(&text, "]\n");
    }
    assert_int_not_equal(yaml_decode(f->arena, strbuf_str(&text), VALUE, NULL, &msg, &f->faults), 0);
    assert_string_equal(faults_text(f), "the document takes more memory than is allowed\n");
    strbuf_reset(&text);
    for (int i = 0; i < 10000; i++)
        strbuf_addc(&text, '[');
    err_list_fini(&f->faults);
    f->faults = (struct err_list){0};
    assert_int_not_equal(yaml_decode(f->arena, strbuf_str(&text), VALUE, NULL, &msg, &f->faults), 0);
    assert_int_equal(f->faults.count, 1);
    strbuf_fini(&text);
}

static void test_yaml_decode__faults__carry_line_and_column(void **state)
{
    struct fixture *f = *state;
    yaml_gives(f, CLUSTER, "name: a\nlb_policy:\n  - RANDOM\nhealth_checks:\n- timeot: 1s\n", NULL,
               "f.yaml:3:3: lb_policy: must be the name of a value, is a list\n"
               "f.yaml:5:3: health_checks[0].timeot: no such field in envoy.config.core.v3.HealthCheck; "
               "did you mean 'timeout'?\n");
    yaml_gives(f, CLUSTER, "name: a\nname: b\n", NULL,
               "f.yaml:2:1: the key 'name' stands twice in one object\n");
    yaml_gives(f, CLUSTER, "name: a\n---\nname: b\n", NULL,
               "f.yaml:2:1: only one document is taken, here begins another\n");
    yaml_gives(f, CLUSTER, "? [a]\n: b\n", NULL, "f.yaml:1:3: a key must be a scalar\n");
    yaml_gives(f, CLUSTER, "name: !foo a\n", NULL, "f.yaml:1:12: tags other than YAML's own are not taken\n");
    yaml_gives(f, CLUSTER, "", NULL, "f.yaml:1:1: must be an object, is null\n");
    yaml_gives(f, CLUSTER, "name: \xff\n", NULL, "f.yaml:1:1: the text is not valid UTF-8, or holds a NUL byte\n");
}

static void test_yaml_cut_next__texts__documents_and_their_lines(void **state)
{
    (void)state;
    static const struct { const char *text, *documents; } rows[] = {
        {"", ""},
        {"a: 1", "1[a: 1]"},
        {"---\n--- # x\n\n# y\n---\na: 1\n---\n", "5[---\na: 1\n]"},
        {"a: |\n  x\n  ---\n---\nb\n--- c\n---d: e\n...\n", "1[a: |\n  x\n  ---\n]4[---\nb\n]6[--- c\n---d: e\n...\n]"},
        {"%YAML 1.2\n---\na: 1\n", "2[---\na: 1\n]"},
        {"a: 1\r\n---\r\nb: 2", "1[a: 1\r\n]2[---\r\nb: 2]"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct yaml_cut cut = {str_from(rows[i].text), 1};
        struct strbuf got = {0};
        struct str document;
        uint32_t line;
        while (yaml_cut_next(&cut, &document, &line))
            strbuf_addf(&got, "%u[%.*s]", line, STR_ARG(document));
        assert_string_equal(got.p ? got.p : "", rows[i].documents);
        strbuf_fini(&got);
    }
}

static void test_doc_decode_as__kubernetes__its_names_and_its_booleans(void **state)
{
    struct fixture *f = *state;
    const struct doc_node *root = yaml_read_from(f->arena, STR("lb_polcy: RANDOM\nname: off\nmetadata: {a: 1}\n"), 7, "f.yaml",
                                                 &f->faults);
    struct doc_place place = {"f.yaml", "Cluster c", "spec"};
    ProtobufCMessage *msg;
    assert_int_equal(doc_decode_as(f->arena, root, CLUSTER, DOC_KUBERNETES, &place, &msg, &f->faults), ERR_INVALID);
    assert_string_equal(faults_text(f), "f.yaml:7:1: Cluster c: spec.lb_polcy: no such field in envoy.config.cluster.v3.Cluster; "
                                        "did you mean 'lbPolicy'?\n"
                                        "f.yaml:8:7: Cluster c: spec.name: must be a string, and off without quotes is a boolean "
                                        "to Kubernetes\n"
                                        "f.yaml:9:12: Cluster c: spec.metadata.a: no such field in envoy.config.core.v3.Metadata\n");
    err_list_fini(&f->faults);
    root = yaml_read(f->arena, STR("{extra: 1, name: a}"), NULL, &f->faults);
    assert_int_equal(doc_decode_as(f->arena, root, CLUSTER, DOC_LENIENT, &(struct doc_place){0}, &msg, &f->faults), 0);
    assert_string_equal(encode(f, msg, 0), "{\"name\":\"a\"}");
    root = yaml_read(f->arena, STR("[yes, 'yes', OFF, oFF, n]"), NULL, &f->faults);
    assert_int_equal(doc_decode_as(f->arena, root, VALUE, DOC_KUBERNETES, &(struct doc_place){0}, &msg, &f->faults), 0);
    assert_string_equal(encode(f, msg, 0), "[true,\"yes\",false,\"oFF\",false]");
}

static void test_doc_decode_as__kubernetes__durations_as_go_writes_them(void **state)
{
    struct fixture *f = *state;
    static const struct { const char *text, *seconds; } rows[] = {
        {"1.5s", "\"1.500s\""}, {"800ms", "\"0.800s\""}, {"1h30m", "\"5400s\""}, {"1m", "\"60s\""}, {"0", "\"0s\""}, {".5s", "\"0.500s\""},
        {"1us", "\"0.000001s\""}, {"-1m1s", "\"-61s\""}, {"1ns", "\"0.000000001s\""}, {"2562047h47m16.854775807s", "\"9223372036.854775807s\""},
        {"1", NULL}, {"s", NULL}, {"1x", NULL}, {"1.s", "\"1s\""}, {"..1s", NULL}, {"2562048h", NULL}, {"99999999999999999999s", NULL},
        {"1s ", "\"1s\""}, {"'1s '", NULL}, {"1h-1s", NULL}, {"", NULL}, {"-", NULL}, {"1hs", NULL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ProtobufCMessage *msg;
        err_list_fini(&f->faults);
        f->faults = (struct err_list){0};
        const struct doc_node *root = yaml_read(f->arena, str_from(rows[i].text), NULL, &f->faults);
        int rc = doc_decode_as(f->arena, root, &google__protobuf__duration__descriptor, DOC_KUBERNETES, &(struct doc_place){0}, &msg,
                               &f->faults);
        if ((rc == 0) != (rows[i].seconds != NULL))
            fail_msg("%s: %d", rows[i].text, rc);
        if (rc == 0)
            assert_string_equal(encode(f, msg, 0), rows[i].seconds);
    }
}

static void test_yaml_decode__cut_at_each_byte__ends_cleanly(void **state)
{
    struct fixture *f = *state;
    static const char whole[] = "a: &x {p: [1, \"q\\n\"], r: 'it''s'}\nb:\n  <<: *x\n  c: |\n    text\n...\n";
    for (size_t n = 0; n < sizeof(whole); n++) {
        ProtobufCMessage *msg;
        char *exact = mem_strndup(whole, n);
        (void)!yaml_decode(f->arena, str_make(exact, n), VALUE, NULL, &msg, &f->faults);
        mem_free(exact);
    }
}

static void write_file(const char *path, struct str bytes)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes.p, 1, bytes.n, out), bytes.n);
    fclose(out);
}

static void test_proto_load_file__by_extension__same_message(void **state)
{
    struct fixture *f = *state;
    const ProtobufCMessageDescriptor *desc = &envoy__config__bootstrap__v3__bootstrap__descriptor;
    static const char *const names[] = {"test_load.json", "test_load.yaml", "test_load.yml", "test_load.pb",
                                        "test_load.other"};
    ProtobufCMessage *want = decode(f, desc, "{\"node\":{\"id\":\"a\"}}", ""), *got;
    const struct doc_node *root;
    struct strbuf packed = {0};
    proto_pack(want, &packed);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        bool is_yaml = strchr(names[i], 'y') != NULL, is_packed = strstr(names[i], ".pb") != NULL;
        write_file(names[i], is_packed ? strbuf_str(&packed)
                             : is_yaml ? STR("node:\n  id: a\n") : STR("{\"node\":{\"id\":\"a\"}}"));
        assert_int_equal(proto_load_file(f->arena, names[i], desc, &got, &root, &f->faults), 0);
        assert_true(proto_equal(want, got));
        assert_int_equal(root == NULL, is_packed);
        assert_int_equal(remove(names[i]), 0);
    }
    strbuf_fini(&packed);
    assert_int_equal(proto_load_file(f->arena, "no/such.yaml", desc, &got, &root, &f->faults), ERR_NOT_FOUND);
    assert_non_null(strstr(faults_text(f), "no/such.yaml: cannot open the file"));
}

static void test_doc_locate__paths__deepest_node(void **state)
{
    struct fixture *f = *state;
    const struct doc_node *root =
        yaml_read(f->arena, STR("a:\n- b: 1\n  fooBar:\n    \"x.y\": 2\n"), NULL, &f->faults);
    assert_int_equal(doc_locate(root, "a[0].b")->line, 2);
    assert_int_equal(doc_locate(root, "a[0].foo_bar[\"x.y\"]")->line, 4);
    assert_int_equal(doc_locate(root, "a[0].none.deeper")->line, 2);
    assert_int_equal(doc_locate(root, "a[7]")->key_line, 1);
    assert_int_equal(doc_locate(root, "[[[\"")->line, 1);
    assert_null(doc_locate(NULL, "a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROTO_TEST(test_yaml_decode__plain_scalars__core_schema),
        PROTO_TEST(test_yaml_decode__string_fields__take_plain_text_as_it_stands),
        PROTO_TEST(test_yaml_decode__anchors_and_merge_keys__followed),
        PROTO_TEST(test_yaml_decode__billion_laughs__refused),
        PROTO_TEST(test_yaml_decode__faults__carry_line_and_column),
        PROTO_TEST(test_yaml_cut_next__texts__documents_and_their_lines),
        PROTO_TEST(test_doc_decode_as__kubernetes__its_names_and_its_booleans),
        PROTO_TEST(test_doc_decode_as__kubernetes__durations_as_go_writes_them),
        PROTO_TEST(test_yaml_decode__cut_at_each_byte__ends_cleanly),
        PROTO_TEST(test_proto_load_file__by_extension__same_message),
        PROTO_TEST(test_doc_locate__paths__deepest_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
