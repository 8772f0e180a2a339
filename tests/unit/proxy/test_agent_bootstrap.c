/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/agent/bootstrap.h"

#include "../unit.h"
#include "config_fixture.h"

#include "proxy/cluster/cluster.h"

struct made {
    struct agent_env env;
    struct err_list faults, notes;
    struct strbuf text;
    int rc;
};

static void make(struct made *m, const char *const *more)
{
    static const char *const usual[] = {"POD_NAME=productpage-v1-0", "POD_NAMESPACE=bookinfo", "INSTANCE_IP=10.244.1.1",
                                        "XDS_ROOT_CA=SYSTEM", "CA_ROOT_CA=SYSTEM", NULL};
    char *envp[32] = {NULL}, *argv[] = {(char *)"weft-proxy", (char *)"sidecar", NULL};
    int n = 0;
    for (int i = 0; more && more[i]; i++)
        envp[n++] = (char *)more[i];
    for (int i = 0; usual[i]; i++)
        envp[n++] = (char *)usual[i];
    *m = (struct made){0};
    m->rc = agent_env_read(&m->env, 2, argv, envp, &m->faults, &m->notes);
    if (m->rc == 0)
        m->rc = agent_bootstrap(&m->env, &m->text, &m->faults);
}

static void drop(struct made *m)
{
    strbuf_fini(&m->text);
    agent_env_fini(&m->env);
    err_list_fini(&m->faults);
    err_list_fini(&m->notes);
}

static struct loaded load_made(const struct made *m)
{
    struct loaded l = {0};
    struct server_opts opts = {.config_json = strbuf_str(&m->text), .allow_unsupported = true};
    char text[1024];
    assert_int_equal(m->rc, 0);
    config_load(&opts, &l.result, &l.faults);
    for (size_t i = 0; i < l.faults.count; i++)
        print_message("%s\n", err_format(&l.faults.items[i], text, sizeof text));
    assert_non_null(l.result);
    for (size_t i = 0; i < l.result->unsupported.count; i++)
        print_message("unsupported: %s\n", err_format(&l.result->unsupported.items[i], text, sizeof text));
    return l;
}

static const struct cluster_spec *spec_of(const struct loaded *l, const char *name)
{
    for (uint32_t i = 0; i < l->result->cluster_count; i++)
        if (str_eq(l->result->clusters[i]->name, str_from(name)))
            return l->result->clusters[i];
    return NULL;
}

static void test_agent_bootstrap__usual_pod__loads_as_any_other(void **state)
{
    (void)state;
    struct made m;
    make(&m, NULL);
    struct loaded l = load_made(&m);
    assert_str_equal(l.result->node.id, "sidecar~10.244.1.1~productpage-v1-0.bookinfo~bookinfo.svc.cluster.local");
    assert_str_equal(l.result->node.cluster, "istio-proxy.bookinfo");
    assert_int_equal(l.result->listener_count, 2);
    assert_int_equal(spec_of(&l, "xds-grpc")->type, CLUSTER_STRICT_DNS);
    assert_non_null(spec_of(&l, "xds-grpc")->transport->tls);
    assert_str_equal(spec_of(&l, "xds-grpc")->transport->sni, "istiod.istio-system.svc");
    assert_non_null(spec_of(&l, "ca-grpc"));
    assert_null(spec_of(&l, "sds-grpc"));
    assert_null(l.result->lrs);
    assert_int_equal(l.result->admin.enabled, true);
    unload(&l);
    drop(&m);
}

static void test_agent_bootstrap__everything_asked_for__loads(void **state)
{
    (void)state;
    static const char *const more[] = {
        "INSTANCE_IP=fd00::1", "ISTIO_DUAL_STACK=true", "WEFT_LOAD_REPORTS=true", "CA_ADDR=[fd00::2]:15012",
        "PROXY_CONFIG={\"tracing\":{\"zipkin\":{\"address\":\"zipkin:9411\"}},\"statsdUdpAddress\":\"127.0.0.1:8125\","
        "\"envoyMetricsService\":{\"address\":\"m:1\"},\"envoyAccessLogService\":{\"address\":\"a:2\"},\"extraStatTags\":[\"x\\\"y\"],"
        "\"proxyStatsMatcher\":{\"inclusionPrefixes\":[\"p\"],\"inclusionSuffixes\":[\"s\"],\"inclusionRegexps\":[\"r.*\"]},"
        "\"runtimeValues\":{\"a.b\":\"1\",\"overload.global_downstream_max_connections\":\"77\"}}",
        "ISTIO_METAJSON_ANNOTATIONS={\"sidecar.istio.io/statsHistogramBuckets\":\"{\\\"istio\\\":[1,5,10]}\","
        "\"sidecar.istio.io/statsFlushInterval\":\"2s\",\"sidecar.istio.io/extraStatTags\":\"q,w\","
        "\"sidecar.istio.io/statsInclusionRegexps\":\"a.*,b.*\"}",
        "ISTIO_METAJSON_LABELS={\"topology.istio.io/locality\":\"r.z.s\",\"app\":\"we\\\"b\"}", NULL};
    struct made m;
    make(&m, more);
    struct loaded l = load_made(&m);
    assert_int_equal(spec_of(&l, "ca-grpc")->type, CLUSTER_STATIC);
    assert_int_equal(spec_of(&l, "ca-grpc")->transport->sni.n, 0);
    assert_non_null(l.result->lrs);
    assert_non_null(spec_of(&l, "zipkin"));
    assert_non_null(spec_of(&l, "envoy_metrics_service"));
    assert_int_equal(l.result->sink_count, 2);
    assert_int_equal(l.result->stats_flush_interval_ms, 2000);
    assert_str_equal(l.result->node.zone, "z");
    assert_str_equal(l.result->node.cluster, "we\"b.bookinfo");
    unload(&l);
    drop(&m);
}

static void test_agent_bootstrap__bad_annotations__named(void **state)
{
    (void)state;
    static const char *const more[] = {
        "PROXY_CONFIG={\"statsdUdpAddress\":\"host:8125\",\"tracing\":{\"zipkin\":{\"address\":\"zipkin\"}}}",
        "ISTIO_METAJSON_ANNOTATIONS={\"sidecar.istio.io/statsHistogramBuckets\":\"[]\",\"sidecar.istio.io/statsFlushInterval\":\"2\"}", NULL};
    struct made m;
    make(&m, more);
    assert_int_equal(m.rc, ERR_INVALID);
    assert_true(has_fault(&m.faults, "statsHistogramBuckets"));
    assert_true(has_fault(&m.faults, "statsFlushInterval"));
    assert_true(has_fault(&m.faults, "PROXY_CONFIG.statsdUdpAddress"));
    assert_true(has_fault(&m.faults, "PROXY_CONFIG.tracing.zipkin.address"));
    drop(&m);
}

static void test_agent_node_cluster__rules__name_of_the_service(void **state)
{
    (void)state;
    static const struct { const char *vars[3]; const char *want; } rows[] = {
        {{"ISTIO_METAJSON_LABELS={\"app\":\"web\"}"}, "web.bookinfo"},
        {{"ISTIO_META_WORKLOAD_NAME=w"}, "w.bookinfo"},
        {{"ISTIO_METAJSON_LABELS={\"app\":\"web\"}", "PROXY_CONFIG={\"serviceCluster\":\"own\"}"}, "own"},
        {{"ISTIO_METAJSON_LABELS={\"app.kubernetes.io/name\":\"n\"}", "PROXY_CONFIG={\"tracingServiceName\":\"CANONICAL_NAME_ONLY\"}"}, "n"},
        {{"ISTIO_META_WORKLOAD_NAME=w", "PROXY_CONFIG={\"tracingServiceName\":\"CANONICAL_NAME_AND_NAMESPACE\"}"}, "w.bookinfo"},
        {{NULL}, "istio-proxy.bookinfo"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct made m;
        struct strbuf name = {0};
        make(&m, rows[i].vars);
        agent_node_cluster(&m.env, &name);
        assert_str_equal(strbuf_str(&name), rows[i].want);
        strbuf_fini(&name);
        drop(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agent_bootstrap__usual_pod__loads_as_any_other),
        cmocka_unit_test(test_agent_bootstrap__everything_asked_for__loads),
        cmocka_unit_test(test_agent_bootstrap__bad_annotations__named),
        cmocka_unit_test(test_agent_node_cluster__rules__name_of_the_service),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
