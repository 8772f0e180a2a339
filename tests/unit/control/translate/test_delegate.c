/* SPDX-License-Identifier: Apache-2.0
 *
 * Virtual services with delegates: what a root's and a delegate's route come to (Istio: "Virtual Service", delegate).
 */
#include "translate_test.h"

#define NODE "{\"id\":\"sidecar~10.0.0.9~a-0.foo~foo.svc.cluster.local\",\"metadata\":{\"NAMESPACE\":\"foo\",\"ISTIO_VERSION\":\"1.31.0\"}}"
#define SERVICE                                                                                                                     \
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: foo}\n"                                                   \
    "spec: {clusterIP: 10.1.0.1, ports: [{name: http, port: 80}]}\n"
#define VIRTUAL(name_, ns_, spec_)                                                                                                  \
    "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: " name_ ", namespace: " ns_ "}\n"              \
    "spec: {" spec_ "}\n"
#define ROOT(route_) VIRTUAL("root", "foo", "hosts: [web], http: [{delegate: {name: leaf, namespace: bar}, " route_ "}]")
#define TO_LEAF "route: [{destination: {host: leaf, port: {number: 81}}}]"
#define LEAF(route_) VIRTUAL("leaf", "bar", "http: [{" route_ TO_LEAF "}]")

static const char cluster[] = "outbound|81||leaf.bar.svc.cluster.local"; /* the delegate's namespace */
static const char routes[] = "rds 80";

/* What the route must have; NULL: it must not be there. */
static const struct delegate_case {
    const char *what, *objects, *piece, *other;
} cases[] = {
    {"no matches", ROOT("") LEAF(""), "\"match\":{\"prefix\":\"/\"}", NULL},
    {"the root's match", ROOT("match: [{uri: {prefix: /a}}]") LEAF(""), "\"prefix\":\"/a\"", NULL},
    {"the delegate's match", ROOT("") LEAF("match: [{uri: {prefix: /a}}], "), "\"prefix\":\"/a\"", NULL},
    {"a longer prefix", ROOT("match: [{uri: {prefix: /a}}]") LEAF("match: [{uri: {prefix: /a/b}}], "), "\"prefix\":\"/a/b\"", NULL},
    {"an exact path within", ROOT("match: [{uri: {prefix: /a}}]") LEAF("match: [{uri: {exact: /a/b}}], "), "\"path\":\"/a/b\"", NULL},
    {"another prefix", ROOT("match: [{uri: {prefix: /a}}]") LEAF("match: [{uri: {prefix: /b}}], "), NULL, NULL},
    {"a pattern in both", ROOT("match: [{uri: {regex: '/a.*'}}]") LEAF("match: [{uri: {prefix: /ab}}], "), NULL, NULL},
    {"headers of both", ROOT("match: [{headers: {x: {exact: '1'}}}]") LEAF("match: [{headers: {z: {exact: '2'}}}], "), "\"name\":\"x\"",
     "\"name\":\"z\""},
    {"a header with two values", ROOT("match: [{headers: {x: {exact: '1'}}}]") LEAF("match: [{headers: {x: {exact: '2'}}}], "), NULL, NULL},
    {"other ports", ROOT("match: [{port: 80}]") LEAF("match: [{port: 81}], "), NULL, NULL},
    {"one of the root's matches", ROOT("match: [{uri: {prefix: /a}}, {uri: {prefix: /b}}]") LEAF("match: [{uri: {prefix: /b/c}}], "),
     "\"prefix\":\"/b/c\"", NULL},
    {"names", ROOT("name: r") LEAF("name: l, "), "\"name\":\"r-l\"", NULL},
    {"the root's timeout", ROOT("timeout: 3s") LEAF(""), "\"timeout\":\"3s\"", NULL},
    {"the delegate's timeout", ROOT("timeout: 3s") LEAF("timeout: 4s, "), "\"timeout\":\"4s\"", NULL},
    {"the root's rewrite", ROOT("rewrite: {uri: /x}") LEAF(""), "\"prefix_rewrite\":\"/x\"", NULL},
    {"no delegate", ROOT(""), NULL, NULL},
    {"one that isn't exported here", ROOT("") VIRTUAL("leaf", "bar", "exportTo: ['.'], http: [{" TO_LEAF "}]"), NULL, NULL},
    {"one exported here", ROOT("") VIRTUAL("leaf", "bar", "exportTo: [foo], http: [{" TO_LEAF "}]"), "outbound", NULL},
    {"one with hosts", ROOT("") VIRTUAL("leaf", "bar", "hosts: [x.test], gateways: [gw], http: [{" TO_LEAF "}]"), NULL, NULL},
};

static void test_delegates__by_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct delegate_case *c = &cases[i];
        struct strbuf objects = {0};
        struct sent s;
        strbuf_addf(&objects, "%s%s", SERVICE, c->objects);
        sent_init(&s, objects.p, NODE);
        const char *json = sent_json(&s, routes);
        assert_non_null(json);
        bool is_there = strstr(json, cluster);
        if (is_there != (c->piece != NULL) || (c->piece && !strstr(json, c->piece)) || (c->other && !strstr(json, c->other)))
            fail_msg("%s: %s", c->what, json);
        sent_fini(&s);
        strbuf_fini(&objects);
    }
}

static void test_delegate__that_changes__changes_the_scope(void **state)
{
    struct sent a, b;
    (void)state;
    sent_init(&a, SERVICE ROOT("") LEAF(""), NODE);
    sent_init(&b, SERVICE ROOT("") LEAF("timeout: 1s, "), NODE);
    assert_true(a.t.scope->hash != b.t.scope->hash);
    sent_fini(&a);
    sent_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_delegates__by_table),
        cmocka_unit_test(test_delegate__that_changes__changes_the_scope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
