/* SPDX-License-Identifier: Apache-2.0 */
#include "k8s/core.pb-c.h"
#include "istio/networking/virtual_service.pb-c.h"
#include "model_test.h"

#define SERVICE(name, rest) "apiVersion: v1\nkind: Service\nmetadata: {name: " name "}\n" rest

static void test_object_read_all__many_documents__each_with_its_place(void **state)
{
    (void)state;
    struct object_list list = {0};
    read_gives("# head\n---\n---\n" SERVICE("a", "spec: {ports: [{port: 80}]}\n") "---\n# only words\n---\nnull\n--- # b\n"
               SERVICE("b", "") "...\n---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Namespace\n"
               "  metadata: {name: ns}\n",
               "f.yaml", 0, &list, "");
    assert_int_equal(list.count, 3);
    assert_true(str_eq(list.items[0]->name, STR("a")));
    assert_true(str_eq(list.items[0]->ns, STR("default")));
    assert_string_equal(list.items[0]->file, "f.yaml");
    assert_int_equal(list.items[0]->line, 4);
    assert_int_equal(list.items[1]->line, 13);
    assert_int_equal(list.items[2]->kind->id, KIND_NAMESPACE);
    assert_int_equal(list.items[2]->line, 21);
    assert_int_equal(list.items[2]->ns.n, 0);
    object_list_fini(&list);
}

static void test_object_read_all__json_and_typed_lists__taken(void **state)
{
    (void)state;
    struct object_list list = {0};
    read_gives("{\"apiVersion\":\"v1\",\"kind\":\"ServiceList\",\"metadata\":{},\"items\":[{\"metadata\":{\"name\":\"a\"},"
               "\"spec\":{\"clusterIP\":\"None\"}}]}", "f.json", 0, &list, "");
    assert_int_equal(list.count, 1);
    assert_string_equal(((const K8s__Core__V1__Service *)list.items[0]->body)->spec->clusterip, "None");
    object_list_fini(&list);
    read_gives("{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[{\"metadata\":{\"name\":\"a\"}}, 5]}", "f.json", 0, &list,
               "f.json:1:43: apiVersion: is missing\n"
               "f.json:1:70: must be an object with apiVersion, kind and metadata\n");
    read_gives("{\"a\":", "f.json", 0, &list, "f.json:1:6: the text ends too early\n");
    object_list_fini(&list);
}

#define VS "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: reviews, namespace: bookinfo}\n"

static void test_object_read_all__faults__all_at_once_with_place_and_title(void **state)
{
    (void)state;
    static const struct { const char *text, *faults; } rows[] = {
        {VS "spec:\n  hosts: [reviews]\n  htpp: []\n---\nkind: [\n---\n" VS "spec:\n  http:\n  - route:\n    - destination: "
         "{host: a}\n      weihgt: 5\n    timeout: soon\n",
         "f.yaml:6:3: VirtualService bookinfo/reviews: spec.htpp: no such field in istio.networking.v1alpha3.VirtualService; "
         "did you mean 'http'?\n"
         "f.yaml:9:1: flow sequence without a closing bracket\n"
         "f.yaml:17:7: VirtualService bookinfo/reviews: spec.http[0].route[0].weihgt: no such field in "
         "istio.networking.v1alpha3.HTTPRouteDestination; did you mean 'weight'?\n"
         "f.yaml:18:14: VirtualService bookinfo/reviews: spec.http[0].timeout: must be a duration like 1.5s, 800ms or 1h30m, is 'soon'\n"},
        {"apiVersion: networking.istio.io/v1\nkind: VirtualServise\nmetadata: {name: a}\n",
         "f.yaml:2:1: kind: no kind VirtualServise in networking.istio.io/v1; did you mean VirtualService?\n"},
        {"apiVersion: networking.istio.io/v2\nkind: VirtualService\nmetadata: {name: a}\n",
         "f.yaml:1:1: apiVersion: networking.istio.io/v2 has no VirtualService; did you mean networking.istio.io/v1?\n"},
        {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n",
         "f.yaml:2:1: kind: apps/v1 Deployment is not supported yet\n"},
        {"kind: Service\n", "f.yaml:1:1: apiVersion: is missing\n"},
        {"apiVersion: v1\nkind: 5\n", "f.yaml:2:1: kind: must be a string\n"},
        {"[a]\n", "f.yaml:1:1: must be an object with apiVersion, kind and metadata\n"},
        {"apiVersion: v1\nkind: Service\nspec: {}\n", "f.yaml:1:1: Service default/?: metadata is missing\n"},
        {"apiVersion: v1\nkind: Service\nmetadata:\n  lables: {a: b}\n",
         "f.yaml:4:3: Service default/?: metadata.lables: no such field in k8s.meta.v1.ObjectMeta; did you mean 'labels'?\n"
         "f.yaml:3:1: Service default/?: metadata.name: is missing\n"},
        {"apiVersion: v1\nkind: Node\nmetadata: {name: n1, namespace: x}\n",
         "f.yaml:3:22: Node n1: metadata.namespace: a Node is in no namespace\n"},
        {"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nmetadata: {name: b}\n",
         "f.yaml:4:1: the key 'metadata' stands twice in one object\n"},
        {VS "spec: {hosts: [a], http: [{route: [{destination: {host: a}}]}]}\nextra: 1\nstaus: {}\n",
         "f.yaml:5:1: VirtualService bookinfo/reviews: extra: no such field in VirtualService\n"
         "f.yaml:6:1: VirtualService bookinfo/reviews: staus: no such field in VirtualService; did you mean 'status'?\n"},
        {"apiVersion: v1\nkind: Service\nmetadata: {name: A_b, labels: {a b: c, x/y/z: d, ok: 'not ok'}}\n",
         "f.yaml:3:12: Service default/A_b: metadata.name: 'A_b' must be lower-case letters, digits and '-', and begin and end with one of the former two\n"
         "f.yaml:3:32: Service default/A_b: metadata.labels[\"a b\"]: the key 'a b' must be a DNS name and '/' or nothing, then 1 to 63 letters, digits, '-', '_', '.', and begin and end with one of the former two\n"
         "f.yaml:3:50: Service default/A_b: metadata.labels[\"ok\"]: 'not ok' must be at most 63 letters, digits, '-', '_', '.', and begin and end with one of the former two\n"
         "f.yaml:3:40: Service default/A_b: metadata.labels[\"x/y/z\"]: the key 'x/y/z' must be a DNS name and '/' or nothing, then 1 to 63 letters, digits, '-', '_', '.', and begin and end with one of the former two\n"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct object_list list = {0};
        read_gives(rows[i].text, "f.yaml", 0, &list, rows[i].faults);
        assert_int_equal(list.count, 0);
        object_list_fini(&list);
    }
}

/* sigs.k8s.io/yaml is YAML 1.1: what it takes for another type, an API server refuses where a string belongs. */
static void test_object_read_all__unquoted_words__as_kubernetes_reads_them(void **state)
{
    (void)state;
    struct object_list list = {0};
    read_gives("apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  labels: {a: on, b: 'on', c: No, d: oN, v: v1}\n"
               "  annotations: {a: 1.10, b: true, c: \"1\"}\n",
               "f.yaml", 0, &list,
               "f.yaml:5:15: Service default/a: metadata.labels[\"a\"]: must be a string, and on without quotes is a boolean to "
               "Kubernetes\n"
               "f.yaml:5:31: Service default/a: metadata.labels[\"c\"]: must be a string, and No without quotes is a boolean to "
               "Kubernetes\n"
               "f.yaml:6:20: Service default/a: metadata.annotations[\"a\"]: must be a string, and 1.10 without quotes is a "
               "number to Kubernetes\n"
               "f.yaml:6:29: Service default/a: metadata.annotations[\"b\"]: must be a string, and true without quotes is a "
               "boolean to Kubernetes\n");
    object_list_fini(&list);
}

static void test_object_read_all__skipped_kinds__only_of_others_groups(void **state)
{
    (void)state;
    struct object_list list = {0};
    read_gives("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n---\napiVersion: v1\nkind: PersistentVolume\n---\n"
               "apiVersion: v1\nkind: Srvice\n---\napiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\n---\n"
               "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n---\n" SERVICE("a", "spec: {sessionAffinity: None}\n"),
               "f.yaml", OBJECT_SKIP_UNKNOWN_KINDS, &list,
               "f.yaml:9:1: kind: no kind Srvice in v1; did you mean Service?\n"
               "f.yaml:12:1: kind: extensions.istio.io/v1alpha1 WasmPlugin is not supported yet\n"
               "f.yaml:15:1: kind: gateway.networking.k8s.io/v1 HTTPRoute is not supported yet\n");
    assert_int_equal(list.count, 1);
    object_list_fini(&list);
}

static void test_object_read_all__metadata__all_that_is_kept(void **state)
{
    (void)state;
    const struct object *o = object_from(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  namespace: ns\n  uid: u\n  resourceVersion: '7'\n  generation: 3\n"
        "  creationTimestamp: 2024-01-31T12:00:00Z\n  deletionTimestamp: '2024-02-01T00:00:00Z'\n  labels: {b: x, a: w, ab: z}\n"
        "  annotations: {kubectl.kubernetes.io/last-applied-configuration: '{}', q: r}\n"
        "  ownerReferences:\n  - {apiVersion: v1, kind: Job, name: j, uid: i}\n"
        "  - {apiVersion: apps/v1, kind: ReplicaSet, name: rs, uid: i, controller: true}\n"
        "  managedFields: [{manager: x, fieldsV1: {'f:a': {}}}]\nspec:\n  nodeName: n1\n  volumes: [{name: v}]\n");
    assert_int_equal(o->created_s, 1706702400);
    assert_int_equal(o->generation, 3);
    assert_true(o->is_deleting);
    assert_true(str_eq(o->uid, STR("u")) && str_eq(o->resource_version, STR("7")));
    assert_true(str_eq(o->owner_kind, STR("ReplicaSet")) && str_eq(o->owner_name, STR("rs")));
    assert_int_equal(o->labels.count, 3);
    assert_true(str_eq(labels_get(&o->labels, STR("ab")), STR("z")));
    assert_null(labels_get(&o->labels, STR("c")).p);
    assert_int_equal(o->annotations.count, 1);
    assert_string_equal(((const K8s__Core__V1__Pod *)o->body)->spec->node_name, "n1");
    struct strbuf title = {0};
    object_title(o, &title);
    assert_string_equal(title.p, "Pod ns/p");
    strbuf_fini(&title);
    object_unref(&o);
}

static void test_labels_have_all__subsets(void **state)
{
    (void)state;
    const struct object *all = object_from("apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: {a: '1', b: '2', c: '3'}}\n");
    static const struct { const char *labels; bool has; } rows[] = {
        {"{}", true}, {"{a: '1'}", true}, {"{c: '3', a: '1'}", true}, {"{a: '2'}", false}, {"{d: '1'}", false},
        {"{a: '1', b: '2', c: '3', d: '4'}", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[200];
        snprintf(text, sizeof(text), "apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: %s}\n", rows[i].labels);
        const struct object *some = object_from(text);
        assert_int_equal(labels_have_all(&all->labels, &some->labels), rows[i].has);
        object_unref(&some);
    }
    object_unref(&all);
}

static void test_object_hash__same_meaning__same_hash(void **state)
{
    (void)state;
    static const char one[] = VS "spec: {hosts: [a], http: [{route: [{destination: {host: a}}]}]}\n";
    static const struct { const char *text; bool same, same_status; } rows[] = {
        {one, true, true},
        {"metadata: {namespace: bookinfo, name: reviews, resourceVersion: '9', generation: 2}\nkind: VirtualService\n"
         "apiVersion: networking.istio.io/v1alpha3\nspec: {\"hosts\": [\"a\"], http: [{route: [{destination: {host: a}}]}]}\n",
         true, true},
        {VS "spec: {hosts: [a], http: [{route: [{destination: {host: a}}]}]}\nstatus: {conditions: [{type: x, new: 1}]}\n", true,
         false},
        {VS "spec: {hosts: [b], http: [{route: [{destination: {host: a}}]}]}\n", false, true},
        {"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: reviews, namespace: bookinfo, labels: "
         "{a: b}}\nspec: {hosts: [a], http: [{route: [{destination: {host: a}}]}]}\n", false, true},
    };
    const struct object *first = object_from(one);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct object *o = object_from(rows[i].text);
        assert_int_equal(o->hash == first->hash, rows[i].same);
        assert_int_equal(o->status_hash == first->status_hash, rows[i].same_status);
        object_unref(&o);
    }
    object_unref(&first);
}

static void test_object_read_all__secrets__text_becomes_data(void **state)
{
    (void)state;
    const struct object *o = object_from("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata:\n  a: |\n    AAE\n    C\n"
                                         "  b: AA==\nstringData: {b: text, c: more}\n");
    const K8s__Core__V1__Secret *secret = (const K8s__Core__V1__Secret *)o->body;
    assert_int_equal(secret->n_data, 3);
    assert_int_equal(secret->n_string_data, 0);
    assert_int_equal(secret->data[0]->value.len, 3);
    assert_memory_equal(secret->data[0]->value.data, "\0\1\2", 3);
    assert_int_equal(secret->data[1]->value.len, 4);
    assert_memory_equal(secret->data[2]->value.data, "more", 4);
    object_unref(&o);
}

static void test_object_read_all__cut_at_each_byte__ends_cleanly(void **state)
{
    (void)state;
    static const char whole[] = VS "spec:\n  hosts: [a]\n  http:\n  - route: [{destination: {host: a}}]\n---\n" SERVICE("a", "");
    for (size_t n = 0; n < sizeof(whole); n++) {
        struct object_list list = {0};
        struct err_list faults = {0};
        object_read_all(str_make(whole, n), "f.yaml", 0, &list, &faults);
        assert_true(list.count <= 2);
        object_list_fini(&list);
        err_list_fini(&faults);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_object_read_all__many_documents__each_with_its_place),
        cmocka_unit_test(test_object_read_all__json_and_typed_lists__taken),
        cmocka_unit_test(test_object_read_all__faults__all_at_once_with_place_and_title),
        cmocka_unit_test(test_object_read_all__unquoted_words__as_kubernetes_reads_them),
        cmocka_unit_test(test_object_read_all__skipped_kinds__only_of_others_groups),
        cmocka_unit_test(test_object_read_all__metadata__all_that_is_kept),
        cmocka_unit_test(test_labels_have_all__subsets),
        cmocka_unit_test(test_object_hash__same_meaning__same_hash),
        cmocka_unit_test(test_object_read_all__secrets__text_becomes_data),
        cmocka_unit_test(test_object_read_all__cut_at_each_byte__ends_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
