/* SPDX-License-Identifier: Apache-2.0 */
#include "config_fixture.h"

#include "http/client.h"
#include "proxy/config/dump.h"
#include "proxy/config/dump_store.h"
#include "proxy/config/shared.h"
#include "proxy/filter/tcp_proxy.h"
#include "proxy/hcm/hcm.h"

static const struct hcm_config *hcm_of(const struct loaded *l)
{
    assert_int_equal(l->result->listener_count, 1);
    return l->result->listeners[0]->chains[0]->filters[0].config;
}

static void test_config_load__nothing_given__fault(void **state)
{
    (void)state;
    struct server_opts opts = {0};
    struct loaded l = {0};
    assert_int_equal(config_load(&opts, &l.result, &l.faults), ERR_INVALID);
    assert_true(has_fault(&l.faults, "there is no configuration"));
    unload(&l);
}

static void test_config_load__smallest__has_defaults_of_runtime_and_stats(void **state)
{
    (void)state;
    struct loaded l = load("node: {id: n, cluster: c, locality: {zone: z}}\n");
    assert_true(str_eq(l.result->node.id, STR("n")));
    assert_true(str_eq(l.result->node.zone, STR("z")));
    assert_int_equal(l.result->layer_count, 1);
    assert_true(l.result->layers[0].is_admin);
    assert_null(l.result->stats);
    assert_int_equal(l.result->stats_flush_interval_ms, 5000);
    assert_false(l.result->admin.enabled);
    unload(&l);
}

static void test_config_load__service_flags__override_node(void **state)
{
    (void)state;
    struct loaded l = {0};
    struct server_opts opts = {.config_yaml = STR("node: {id: n}\n"), .service_node = STR("other"), .service_cluster = STR("c")};
    assert_int_equal(config_load(&opts, &l.result, &l.faults), 0);
    assert_true(str_eq(l.result->node.id, STR("other")));
    assert_true(str_eq(l.result->node.cluster, STR("c")));
    unload(&l);
}

static void test_cfg_cluster__nothing_said__has_envoys_defaults(void **state)
{
    (void)state;
    struct loaded l = load(RESOURCES_OF("", CLUSTER("a")));
    const struct cluster_spec *c = l.result->clusters[0];
    assert_int_equal(c->type, CLUSTER_STATIC);
    assert_ptr_equal(c->lb->policy, &lb_round_robin);
    assert_int_equal(c->lb->panic_pct, 50);
    assert_int_equal(c->connection->connect_timeout_us, 5000000);
    assert_int_equal(c->connection->buffer_limit_bytes, 1 << 20);
    assert_int_equal(c->breakers->thresholds[PRIORITY_DEFAULT].max_connections, 1024);
    assert_int_equal(c->breakers->thresholds[PRIORITY_HIGH].max_retries, 3);
    assert_int_equal(c->http->protocol, HTTP_11);
    assert_int_equal(c->http->idle_timeout_ms, 3600000);
    assert_int_equal(c->http->client.max_response_header_bytes, 60 * 1024);
    assert_int_equal(c->http->client.h1.limits.max_headers, 100);
    assert_null(c->transport->tls);
    assert_null(c->dns);
    assert_int_equal(c->load.overprovisioning_pct, 140);
    assert_int_equal(c->endpoint_count, 1);
    assert_int_equal(c->endpoints[0].weight, 1);
    assert_int_equal(addr_port(&c->endpoints[0].addr), 80);
    unload(&l);
}

static void test_cfg_cluster__same_settings__share_their_parts(void **state)
{
    (void)state;
    struct loaded l = load(RESOURCES_OF("", CLUSTER("a") ", " CLUSTER("b")));
    const struct cluster_spec *a = l.result->clusters[0], *b = l.result->clusters[1];
    assert_ptr_equal(a->http, b->http);
    assert_ptr_equal(a->lb, b->lb);
    assert_ptr_equal(a->breakers, b->breakers);
    assert_ptr_equal(a->connection, b->connection);
    assert_ptr_equal(a->transport, b->transport);
    unload(&l);
    assert_int_equal(shared_count(), 0);
}

static void test_cfg_cluster__http_protocol_options__are_read(void **state)
{
    (void)state;
    struct loaded l = load(
        "static_resources: {clusters: [{name: a, typed_extension_protocol_options: "
        "{envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {" ANY("upstreams.http.v3.HttpProtocolOptions")
        ", common_http_protocol_options: {idle_timeout: 0s, max_requests_per_connection: 7}, "
        "upstream_http_protocol_options: {auto_sni: true}, "
        "explicit_http_config: {http2_protocol_options: {max_concurrent_streams: 9, connection_keepalive: {interval: 1s, timeout: 2s}}}}}},"
        "{name: b, http2_protocol_options: {}, max_requests_per_connection: 3}]}\n");
    const struct cluster_http_spec *h = l.result->clusters[0]->http;
    assert_int_equal(h->protocol, HTTP_2);
    assert_int_equal(h->idle_timeout_ms, 0);
    assert_int_equal(h->max_requests_per_connection, 7);
    assert_int_equal(h->max_concurrent_streams, 9);
    assert_int_equal(h->client.h2_ping_interval_ms, 1000);
    assert_int_equal(h->client.h2_ping_timeout_ms, 2000);
    assert_true(h->auto_sni);
    assert_int_equal(l.result->clusters[1]->http->protocol, HTTP_2);
    assert_int_equal(l.result->clusters[1]->http->max_requests_per_connection, 3);
    unload(&l);
}

static void test_cfg_cluster__dns__names_are_kept_for_resolving(void **state)
{
    (void)state;
    struct loaded l = load(
        "static_resources: {clusters: [{name: a, type: STRICT_DNS, dns_lookup_family: V4_ONLY, respect_dns_ttl: true, "
        "load_assignment: {cluster_name: a, endpoints: [{priority: 0, locality: {zone: z}, lb_endpoints: "
        "[{load_balancing_weight: 5, health_status: DRAINING, endpoint: {address: {socket_address: {address: a.example, port_value: 443}}}}]}]}}]}\n");
    const struct cluster_spec *c = l.result->clusters[0];
    assert_int_equal(c->type, CLUSTER_STRICT_DNS);
    assert_int_equal(c->dns->family, DNS_V4_ONLY);
    assert_int_equal(c->dns->refresh_ms, 5000);
    assert_true(c->dns->respect_ttl);
    assert_true(str_eq(c->endpoints[0].dns_name, STR("a.example")));
    assert_int_equal(addr_port(&c->endpoints[0].addr), 443);
    assert_int_equal(c->endpoints[0].weight, 5);
    assert_int_equal(c->endpoints[0].health, HOST_FAILED_EDS | HOST_EDS_DRAINING);
    assert_true(str_eq(c->endpoints[0].locality->zone, STR("z")));
    unload(&l);
}

static void test_cfg_cluster__extension_forms__are_the_same(void **state)
{
    (void)state;
    struct loaded l = load(
        "static_resources: {clusters: [{name: a, cluster_type: {name: envoy.cluster.dns, typed_config: {" ANY("clusters.dns.v3.DnsCluster")
        ", dns_lookup_family: V4_ONLY, all_addresses_in_single_endpoint: true, typed_dns_resolver_config: {name: c, typed_config: {"
        ANY("network.dns_resolver.cares.v3.CaresDnsResolverConfig")
        ", resolvers: [{socket_address: {address: 127.0.0.1, port_value: 53}}]}}}},"
        " load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {"
        ANY("load_balancing_policies.least_request.v3.LeastRequest") ", choice_count: 4}}}]},"
        " load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: h, port_value: 1}}}}]}]}}]}\n");
    const struct cluster_spec *c = l.result->clusters[0];
    assert_int_equal(c->type, CLUSTER_LOGICAL_DNS);
    assert_int_equal(c->dns->family, DNS_V4_ONLY);
    assert_int_equal(c->dns->opts.server_count, 1);
    assert_ptr_equal(c->lb->policy, &lb_least_request);
    assert_int_equal(c->lb->choice_count, 4);
    unload(&l);
}

static void test_cfg_hcm__nothing_said__has_envoys_defaults(void **state)
{
    (void)state;
    struct loaded l = load(RESOURCES_OF(LISTENER(HCM_OPEN HCM_ROUTES(TO_A)), CLUSTER("a")));
    const struct hcm_config *c = hcm_of(&l);
    assert_int_equal(c->server.codec, HTTP_CODEC_AUTO);
    assert_int_equal(c->server.idle_timeout_ms, 3600000);
    assert_int_equal(c->server.h1.limits.max_head_bytes, 60 * 1024);
    assert_int_equal(c->server.drain_timeout_ms, 5000);
    assert_int_equal(c->server.delayed_close_ms, 1000);
    assert_int_equal(c->stream_idle_timeout_ms, 300000);
    assert_int_equal(c->request_timeout_ms, 0);
    assert_true(c->server.h1.allow_absolute_url);
    assert_true(c->generate_request_id);
    assert_false(c->use_remote_address);
    assert_true(str_eq(c->server_name, STR("envoy")));
    assert_int_equal(c->server_header, SERVER_OVERWRITE);
    assert_int_equal(c->xfcc, XFCC_SANITIZE);
    assert_int_equal(c->filter_count, 1);
    assert_ptr_equal(c->filters[0].def, &router_filter);
    assert_false(c->server.h1.allow_upgrade);
    const struct route_entry *r = route_source_now(c->routes)->spec->vhosts[0]->routes[0];
    assert_int_equal(r->timeout_ms, 15000);
    assert_int_equal(r->idle_timeout_ms, -1);
    assert_int_equal(r->cluster_not_found_status, 503);
    unload(&l);
}

static void test_cfg_listener__nothing_said__has_envoys_defaults(void **state)
{
    (void)state;
    struct loaded l = load(RESOURCES_OF(LISTENER(HCM_OPEN HCM_ROUTES(TO_A)), CLUSTER("a")));
    const struct listener_spec *s = l.result->listeners[0];
    assert_int_equal(s->address_count, 1);
    assert_true(s->bind_to_port);
    assert_true(s->reuse_port);
    assert_true(s->listen[0].reuse_port);
    assert_false(s->exact_balance);
    assert_int_equal(s->buffer_limit_bytes, 1 << 20);
    assert_int_equal(s->listener_filters_timeout_ms, 15000);
    assert_non_null(s->index);
    unload(&l);
}

static void test_cfg_route__all_that_is_done__is_read(void **state)
{
    (void)state;
    struct loaded l = load(RESOURCES_OF(
        LISTENER(HCM_OPEN HCM_ROUTES(
            "{name: one, match: {path: /x, case_sensitive: false}, route: {cluster: a, timeout: 0s, idle_timeout: 3s, priority: HIGH, "
            "cluster_not_found_response_code: NOT_FOUND, retry_policy: {retry_on: 'connect-failure,5xx', num_retries: 2}, "
            "upgrade_configs: [{upgrade_type: WebSocket}]}}, "
            "{match: {path_separated_prefix: /p}, direct_response: {status: 418, body: {inline_string: tea}}}, "
            "{match: {connect_matcher: {}}, route: {cluster: a, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}}")),
        CLUSTER("a")));
    const struct hcm_config *c = hcm_of(&l);
    struct route_entry *const *r = route_source_now(c->routes)->spec->vhosts[0]->routes;
    assert_true(c->server.h1.allow_upgrade);
    assert_int_equal(r[0]->match.kind, PATH_EXACT);
    assert_true(r[0]->match.ignore_case);
    assert_int_equal(r[0]->timeout_ms, 0);
    assert_int_equal(r[0]->idle_timeout_ms, 3000);
    assert_int_equal(r[0]->priority, PRIORITY_HIGH);
    assert_int_equal(r[0]->cluster_not_found_status, 404);
    assert_int_equal(r[0]->retry->on, RETRY_ON_CONNECT_FAILURE | RETRY_ON_5XX);
    assert_int_equal(r[0]->retry->num_retries, 2);
    assert_true(str_eq(r[0]->upgrades[0].type, STR("websocket")));
    assert_int_equal(r[1]->action, ROUTE_DIRECT_RESPONSE);
    assert_int_equal(r[1]->direct_status, 418);
    assert_true(str_eq(r[1]->direct_body, STR("tea")));
    assert_int_equal(r[2]->match.kind, PATH_CONNECT);
    assert_true(r[2]->upgrades[0].connect_terminate);
    unload(&l);
}

static void test_config_load__names_of_clusters__become_slots(void **state)
{
    (void)state;
    struct loaded l = load(RESOURCES_OF(LISTENER(HCM_OPEN HCM_ROUTES(TO_A)), CLUSTER("a")));
    assert_int_equal(l.result->listeners[0]->chains[0]->slots.count, 1);
    struct cluster_slot *slot = route_source_now(hcm_of(&l)->routes)->spec->vhosts[0]->routes[0]->cluster;
    assert_true(str_eq(slot->name, STR("a")));
    assert_null(cluster_slot_now(slot));
    unload(&l);
}

static void test_config_load__many_faults__all_come_at_once(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "--config-yaml: static_resources.clusters[0].connect_timeout: must be above 0s",
        "static_resources.clusters[0].eds_cluster_config: must be set for a cluster of type EDS",
        "static_resources.clusters[1].name: 'c' is the name of an earlier cluster",
        "static_resources.clusters[1].lrs_report_endpoint_metrics: is not supported yet",
        "static_resources.clusters[2].lb_policy: a cluster that chooses hosts itself (ORIGINAL_DST, aggregate, dynamic forward proxy) needs CLUSTER_PROVIDED",
        "static_resources.listeners[0].address.socket_address.address: ",
        "http_filters[0].typed_config: envoy.filters.http.lua (envoy.extensions.filters.http.lua.v3.Lua) is not supported yet",
        "route_config.virtual_hosts[0].routes[0].route.cluster: unknown cluster 'nope'",
        "routes[0].route.early_data_policy: is not supported yet",
        "dynamic_resources.ads_config: must be set: cds_config or lds_config asks for ADS",
    };
    assert_faults(
        "dynamic_resources: {cds_config: {ads: {}}}\n"
        "static_resources:\n"
        "  clusters: [{name: c, connect_timeout: -1s, type: EDS}, {name: c, lrs_report_endpoint_metrics: [x]}, {name: o, type: ORIGINAL_DST}]\n"
        "  listeners:\n"
        "  - {name: l, address: {socket_address: {address: 300.1.1.1, port_value: 80}}, filter_chains: [{filters: [" HCM_OPEN
        "http_filters: [{name: envoy.filters.http.lua, typed_config: {" ANY("filters.http.lua.v3.Lua") "}}, " ROUTER "], "
        "route_config: {virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: nope, early_data_policy: {name: x, typed_config: {'@type': type.googleapis.com/envoy.extensions.early_data.v3.DefaultEarlyDataPolicy}}}}]}]}}}]}]}\n",
        texts, ARRAY_LEN(texts));
}

static void test_config_load__allow_unsupported__becomes_warnings(void **state)
{
    (void)state;
    struct loaded l = load_with("static_resources: {clusters: [{name: c, connection_pool_per_downstream_connection: true, lrs_report_endpoint_metrics: [x]}]}\n", true);
    assert_non_null(l.result);
    assert_int_equal(l.faults.count, 0);
    assert_int_equal(l.result->unsupported.count, 2);
    assert_true(has_fault(&l.result->unsupported, "clusters[0].lrs_report_endpoint_metrics: is not supported yet"));
    assert_ptr_equal(l.result->clusters[0]->lb->policy, &lb_round_robin);
    unload(&l);
}

static void test_config_load__allow_unsupported__faults_stay_faults(void **state)
{
    (void)state;
    struct loaded l = load_with(RESOURCES_OF(LISTENER(HCM_OPEN HCM_ROUTES("{match: {prefix: /}, route: {cluster: b}}")), CLUSTER("a")), true);
    assert_null(l.result);
    assert_true(has_fault(&l.faults, "unknown cluster 'b'"));
    unload(&l);
}

static void test_config_load__syntax_error__has_line_and_column(void **state)
{
    (void)state;
    struct loaded l = load_with("node: {id: a}\nadmin: {address: [}\n", false);
    assert_null(l.result);
    assert_true(has_fault(&l.faults, "--config-yaml:2:"));
    unload(&l);
}

static void test_cfg_listener__terminal_filter_not_last__fault(void **state)
{
    (void)state;
    static const char *const texts[] = {"filters[0]: the terminal filter t must be the last one"};
#define TCP "{name: t, typed_config: {" ANY("filters.network.tcp_proxy.v3.TcpProxy") ", stat_prefix: t, cluster: a}}"
    assert_faults(RESOURCES_OF(LISTENER(TCP ", " TCP), CLUSTER("a")), texts, 1);
}

static void test_cfg_tcp_proxy__weighted_clusters__are_read(void **state)
{
    (void)state;
    struct loaded l = load(RESOURCES_OF(
        LISTENER("{name: t, typed_config: {" ANY("filters.network.tcp_proxy.v3.TcpProxy")
                 ", stat_prefix: t, weighted_clusters: {clusters: [{name: a, weight: 1}, {name: b, weight: 3}]}}}"),
        CLUSTER("a") ", " CLUSTER("b")));
    const struct tcp_proxy_config *c = l.result->listeners[0]->chains[0]->filters[0].config;
    assert_int_equal(c->target_count, 2);
    assert_int_equal(c->targets[1].weight, 3);
    assert_int_equal(c->idle_timeout_ms, 3600000);
    assert_int_equal(c->max_connect_attempts, 1);
    unload(&l);
}

static void test_cfg_runtime__nested_layers__become_dotted_keys(void **state)
{
    (void)state;
    struct loaded l = load("layered_runtime: {layers: [{name: s, static_layer: {a: {b: 5, c: {numerator: 1, denominator: MILLION}}, "
                           "envoy.resource_limits.listener.l.connection_limit: 9, t: true}}, {name: adm, admin_layer: {}}]}\n"
                           RESOURCES_OF(LISTENER(HCM_OPEN HCM_ROUTES(TO_A)), CLUSTER("a")));
    const struct runtime_layer_spec *s = &l.result->layers[0];
    assert_int_equal(l.result->layer_count, 2);
    assert_int_equal(s->count, 4);
    for (size_t i = 0; i < s->count; i++) {
        if (str_eq(s->keys[i], STR("a.b")))
            assert_true(str_eq(s->values[i], STR("5")));
        if (str_eq(s->keys[i], STR("a.c")))
            assert_true(str_eq(s->values[i], STR("1/1000000")));
    }
    assert_int_equal(l.result->listeners[0]->max_connections, 9);
    unload(&l);
}

static void dump(const struct loaded *l, const char *resource, const char *mask, const char *names, struct strbuf *out)
{
    struct err err = {0};
    struct server s = {.config_dump = dump_store_new(l->result->packed, 1000000)};
    l->result->packed = STR_NULL;
    assert_int_equal(config_dump_json(&s, str_from(resource), str_from(mask), str_from(names), false, out, &err), 0);
    struct dump_store *store = s.config_dump;
    dump_store_free(&store);
}

static void test_config_dump_json__resource_mask_and_name__cut_down(void **state)
{
    (void)state;
    struct strbuf out = {0};
    struct loaded l = load(RESOURCES_OF("", CLUSTER("aa") ", " CLUSTER("bb")));
    dump(&l, "static_clusters", "cluster.name", "a.*", &out);
    assert_true(str_find(strbuf_str(&out), STR("\"aa\"")) > 0);
    assert_true(str_find(strbuf_str(&out), STR("\"bb\"")) < 0);
    assert_true(str_find(strbuf_str(&out), STR("127.0.0.1")) < 0);
    strbuf_fini(&out);
    unload(&l);
}

static void test_config_dump_json__whole__names_all_dumps(void **state)
{
    (void)state;
    struct strbuf out = {0};
    struct loaded l = load(RESOURCES_OF(LISTENER(HCM_OPEN HCM_ROUTES(TO_A)), CLUSTER("a")));
    dump(&l, "", "", "", &out);
    static const char *const types[] = {"BootstrapConfigDump", "ClustersConfigDump", "ListenersConfigDump", "ScopedRoutesConfigDump",
                                        "RoutesConfigDump", "SecretsConfigDump"};
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        assert_true(str_find(strbuf_str(&out), str_from(types[i])) > 0);
    strbuf_fini(&out);
    unload(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_load__nothing_given__fault),
        cmocka_unit_test(test_config_load__smallest__has_defaults_of_runtime_and_stats),
        cmocka_unit_test(test_config_load__service_flags__override_node),
        cmocka_unit_test(test_cfg_cluster__nothing_said__has_envoys_defaults),
        cmocka_unit_test(test_cfg_cluster__same_settings__share_their_parts),
        cmocka_unit_test(test_cfg_cluster__http_protocol_options__are_read),
        cmocka_unit_test(test_cfg_cluster__dns__names_are_kept_for_resolving),
        cmocka_unit_test(test_cfg_cluster__extension_forms__are_the_same),
        cmocka_unit_test(test_cfg_hcm__nothing_said__has_envoys_defaults),
        cmocka_unit_test(test_cfg_listener__nothing_said__has_envoys_defaults),
        cmocka_unit_test(test_cfg_route__all_that_is_done__is_read),
        cmocka_unit_test(test_config_load__names_of_clusters__become_slots),
        cmocka_unit_test(test_config_load__many_faults__all_come_at_once),
        cmocka_unit_test(test_config_load__allow_unsupported__becomes_warnings),
        cmocka_unit_test(test_config_load__allow_unsupported__faults_stay_faults),
        cmocka_unit_test(test_config_load__syntax_error__has_line_and_column),
        cmocka_unit_test(test_cfg_listener__terminal_filter_not_last__fault),
        cmocka_unit_test(test_cfg_tcp_proxy__weighted_clusters__are_read),
        cmocka_unit_test(test_cfg_runtime__nested_layers__become_dotted_keys),
        cmocka_unit_test(test_config_dump_json__resource_mask_and_name__cut_down),
        cmocka_unit_test(test_config_dump_json__whole__names_all_dumps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
