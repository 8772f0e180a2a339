/* SPDX-License-Identifier: Apache-2.0
 *
 * Priorities and shares of localities (Istio: "Locality Load Balancing").
 */
#include "translate_test.h"

#define NODE                                                                                                                        \
    "{\"id\":\"sidecar~10.0.0.9~a-0.foo~foo.svc.cluster.local\",\"metadata\":{\"NAMESPACE\":\"foo\",\"ISTIO_VERSION\":\"1.31.0\","  \
    "\"LABELS\":{\"version\":\"v1\"}},\"locality\":{\"region\":\"r1\",\"zone\":\"z1\"}}"
#define ENTRY                                                                                                                       \
    "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: x, namespace: foo}\nspec:\n"                     \
    "  hosts: [x.test]\n  resolution: STATIC\n  ports: [{number: 80, name: http, protocol: HTTP}]\n  endpoints:\n"                  \
    "  - {address: 10.0.1.1, locality: r1/z1, labels: {version: v2}}\n"                                                             \
    "  - {address: 10.0.1.2, locality: r1/z2, labels: {version: v1}}\n"                                                             \
    "  - {address: 10.0.1.3, locality: r2/z1, labels: {version: v1}}\n"                                                             \
    "  - {address: 10.0.1.4, locality: r3/z1, labels: {version: v2}}\n"
#define RULE(policy_)                                                                                                               \
    "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: x, namespace: foo}\n"                         \
    "spec: {host: x.test, trafficPolicy: {" policy_ "}}\n"
#define OUTLIERS "outlierDetection: {consecutive5xxErrors: 1}"
#define CLUSTER "eds outbound|80||x.test"

static struct sent s;

static int teardown(void **state)
{
    (void)state;
    sent_fini(&s);
    return 0;
}

/* What follows the endpoint up to the next locality has the piece; "" piece: no priority is told, which is 0. */
static void assert_at(const char *address, const char *piece)
{
    const char *json = sent_json(&s, CLUSTER);
    assert_non_null(json);
    const char *at = strstr(json, address);
    assert_non_null(at);
    const char *end = strstr(at, "{\"locality\"");
    size_t n = end ? (size_t)(end - at) : strlen(at);
    struct str rest = str_make(at, n);
    if (*piece ? str_find(rest, str_from(piece)) < 0 : str_find(rest, STR("\"priority\"")) >= 0)
        fail_msg("%s has not \"%s\": %.*s", address, piece, STR_ARG(rest));
}

static void test_failover__is_by_distance(void **state)
{
    (void)state;
    sent_init(&s, ENTRY RULE(OUTLIERS), NODE);
    assert_at("10.0.1.1", "");
    assert_at("10.0.1.2", "\"priority\":1");
    assert_at("10.0.1.3", "\"priority\":2");
    assert_at("10.0.1.4", "\"priority\":2");
}

static void test_failover__from_a_region__goes_to_the_one_named_first(void **state)
{
    (void)state;
    sent_init(&s, ENTRY RULE("loadBalancer: {localityLbSetting: {failover: [{from: r1, to: r3}]}}, " OUTLIERS), NODE);
    assert_at("10.0.1.4", "\"priority\":2");
    assert_at("10.0.1.3", "\"priority\":3");
    assert_sent(&s, "cds outbound|80||x.test", "\"locality_weighted_lb_config\":{}");
}

static void test_failover__without_outlier_detection__is_none(void **state)
{
    (void)state;
    sent_init(&s, ENTRY, NODE);
    assert_not_sent(&s, CLUSTER, "\"priority\"");
}

static void test_failover__turned_off__is_none(void **state)
{
    (void)state;
    sent_init(&s, ENTRY RULE("loadBalancer: {localityLbSetting: {enabled: false}}, " OUTLIERS), NODE);
    assert_not_sent(&s, CLUSTER, "\"priority\"");
}

static void test_failover_priority__is_by_labels_in_their_order(void **state)
{
    (void)state;
    sent_init(&s, ENTRY RULE("loadBalancer: {localityLbSetting: {failoverPriority: [version, topology.kubernetes.io/region]}}, " OUTLIERS), NODE);
    assert_at("10.0.1.2", "");
    assert_at("10.0.1.3", "\"priority\":1");
    assert_at("10.0.1.1", "\"priority\":2");
    assert_at("10.0.1.4", "\"priority\":2");
}

static void test_failover_priority__with_a_value__takes_it_for_the_proxys_own(void **state)
{
    (void)state;
    sent_init(&s, ENTRY RULE("loadBalancer: {localityLbSetting: {failoverPriority: ['version=v2']}}, " OUTLIERS), NODE);
    assert_at("10.0.1.1", "");
    assert_at("10.0.1.4", "");
    assert_at("10.0.1.2", "\"priority\":1");
}

static void test_key__of_assignments__has_the_labels_that_priorities_look_at(void **state)
{
    struct strbuf a = {0}, b = {0};
    (void)state;
    sent_init(&s, ENTRY RULE("loadBalancer: {localityLbSetting: {failoverPriority: [version]}}, " OUTLIERS), NODE);
    translate_assignments_key(&s.t, &a);
    struct label other[] = {{STR("version"), STR("v2")}};
    s.node.labels = (struct labels){other, 1};
    translate_assignments_key(&s.t, &b);
    assert_false(str_eq(strbuf_str(&a), strbuf_str(&b)));
    strbuf_fini(&a);
    strbuf_fini(&b);
}

static void test_distribute__shares_by_weight_and_leaves_out_the_rest(void **state)
{
    (void)state;
    sent_init(&s, ENTRY RULE("loadBalancer: {localityLbSetting: {distribute: [{from: 'r1/*', to: {'r1/*': 80, 'r2/z1': 20}}]}}"), NODE);
    assert_at("10.0.1.1", "\"load_balancing_weight\":40");
    assert_at("10.0.1.2", "\"load_balancing_weight\":40");
    assert_at("10.0.1.3", "\"load_balancing_weight\":20");
    assert_not_sent(&s, CLUSTER, "10.0.1.4");
}

static void test_warmup__starts_endpoints_slowly(void **state)
{
    (void)state;
    sent_init(&s, ENTRY RULE("loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 30s, minimumPercent: 20}}"), NODE);
    assert_sent(&s, "cds outbound|80||x.test", "\"round_robin_lb_config\":{\"slow_start_config\":{\"slow_start_window\":\"30s\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_failover__is_by_distance, teardown),
        cmocka_unit_test_teardown(test_failover__from_a_region__goes_to_the_one_named_first, teardown),
        cmocka_unit_test_teardown(test_failover__without_outlier_detection__is_none, teardown),
        cmocka_unit_test_teardown(test_failover__turned_off__is_none, teardown),
        cmocka_unit_test_teardown(test_failover_priority__is_by_labels_in_their_order, teardown),
        cmocka_unit_test_teardown(test_failover_priority__with_a_value__takes_it_for_the_proxys_own, teardown),
        cmocka_unit_test_teardown(test_key__of_assignments__has_the_labels_that_priorities_look_at, teardown),
        cmocka_unit_test_teardown(test_distribute__shares_by_weight_and_leaves_out_the_rest, teardown),
        cmocka_unit_test_teardown(test_warmup__starts_endpoints_slowly, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
