/* SPDX-License-Identifier: Apache-2.0
 *
 * Configurations as files, and what the benchmark and a person with a long list of wishes hand in.
 */
#include "config_fixture.h"

#include <unistd.h>

#include "base/mem.h"
#include "proto/yaml.h"
#include "proxy/cluster/cluster.h"
#include "proxy/config/dump.h"
#include "proxy/config/dump_store.h"
#include "proxy/config/pb.h"
#include "proxy/config/shared.h"
#include "proxy/filter/tcp_proxy.h"
#include "proxy/hcm/hcm.h"

static char folder[] = "/tmp/weft-test-XXXXXX";

static int setup(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return rmdir(folder);
}

/* Loads a file of that name with `yaml` (may be NULL) over it. */
static struct loaded load_file(const char *name, struct str content, const char *yaml)
{
    char path[256];
    struct loaded l = {0};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    fwrite(content.p, 1, content.n, f);
    fclose(f);
    struct server_opts opts = {.config_path = str_from(path), .config_yaml = str_from(yaml)};
    config_load(&opts, &l.result, &l.faults);
    unlink(path);
    return l;
}

static void assert_fault_is(const struct loaded *l, size_t index, const char *want)
{
    char text[1024];
    assert_in_range(index, 0, l->faults.count);
    assert_string_equal(err_format(&l->faults.items[index], text, sizeof text), want);
}

static void test_config_load__faults_of_a_file__path_first_place_last(void **state)
{
    (void)state;
    struct loaded l = load_file("bootstrap.yaml",
                                STR("static_resources:\n"
                                    "  clusters:\n"
                                    "  - name: a\n"
                                    "    connection_pool_per_downstream_connection: true\n"
                                    "    lrs_report_endpoint_metrics: [x]\n"),
                                NULL);
    assert_null(l.result);
    assert_int_equal(l.faults.count, 2);
    assert_fault_is(&l, 0, "bootstrap.yaml: static_resources.clusters[0].connection_pool_per_downstream_connection: is not supported yet (line 4, column 5)");
    assert_fault_is(&l, 1, "bootstrap.yaml: static_resources.clusters[0].lrs_report_endpoint_metrics: is not supported yet (line 5, column 5)");
    unload(&l);
}

static void test_config_load__wrong_names__place_first(void **state)
{
    (void)state;
    struct loaded l = load_file("b.yaml", STR("node: {idd: x}\nstatic_resources: {clusters: [{nam: c}]}\n"), NULL);
    assert_null(l.result);
    assert_int_equal(l.faults.count, 3);
    assert_fault_is(&l, 0, "b.yaml:1:8: node.idd: no such field in envoy.config.core.v3.Node; did you mean 'id'?");
    assert_fault_is(&l, 2, "b.yaml: static_resources.clusters[0].name: must have at least 1 character, has 0 (line 2, column 31)");
    unload(&l);
}

static void test_config_load__faults_in_file_and_text__each_names_its_own(void **state)
{
    (void)state;
    struct loaded l = load_file("b.json", STR("{\"nod\": {}}"), "admn: {}");
    assert_null(l.result);
    assert_int_equal(l.faults.count, 2);
    assert_true(has_fault(&l.faults, "b.json:1:2: nod: "));
    assert_true(has_fault(&l.faults, "--config-yaml:1:1: admn: "));
    unload(&l);
}

static void test_config_load__text_over_file__merges(void **state)
{
    (void)state;
    struct loaded l = load_file("b.json", STR("{\"node\": {\"id\": \"a\", \"cluster\": \"c\"}, \"static_resources\": {\"clusters\": [{\"name\": \"x\"}]}}"),
                                "node: {id: b}\nstatic_resources: {clusters: [{name: y}]}\n");
    assert_non_null(l.result);
    assert_true(str_eq(l.result->node.id, STR("b")));
    assert_true(str_eq(l.result->node.cluster, STR("c")));
    assert_int_equal(l.result->cluster_count, 2);
    assert_true(str_eq(l.result->clusters[1]->name, STR("y")));
    unload(&l);
}

static void test_config_load__packed_file__is_the_same(void **state)
{
    (void)state;
    struct err_list faults = {0};
    struct strbuf packed = {0};
    ProtobufCMessage *m = NULL;
    struct proto_arena *arena = proto_arena_new(0);
    yaml_decode(arena, STR("node: {id: p}\nstatic_resources: {clusters: [" CLUSTER("a") "]}\n"),
                &envoy__config__bootstrap__v3__bootstrap__descriptor, "x", &m, &faults);
    assert_non_null(m);
    proto_pack(m, &packed);
    struct loaded l = load_file("b.pb", strbuf_str(&packed), NULL);
    assert_non_null(l.result);
    assert_true(str_eq(l.result->node.id, STR("p")));
    assert_int_equal(l.result->clusters[0]->endpoint_count, 1);
    assert_true(str_eq(l.result->packed, strbuf_str(&packed)));
    unload(&l);
    strbuf_fini(&packed);
    proto_arena_free(&arena);
}

static void test_config_load__files_that_are_none__are_refused(void **state)
{
    (void)state;
    struct server_opts opts = {.config_path = STR("/nonexistent/b.yaml")};
    struct loaded missing = {0}, text = load_file("b.pb_text", STR("node {}"), NULL), broken = load_file("b.pb", STR("\xff\xff"), NULL),
                  cut = load_file("b.json", STR("{\"node\": "), NULL);
    assert_int_equal(config_load(&opts, &missing.result, &missing.faults), ERR_INVALID);
    assert_true(has_fault(&missing.faults, "cannot open the file: No such file or directory"));
    assert_true(has_fault(&text.faults, "text-format Protobuf is not taken"));
    assert_int_equal(broken.faults.count, 1);
    assert_true(has_fault(&cut.faults, "b.json:1:"));
    unload(&missing);
    unload(&text);
    unload(&broken);
    unload(&cut);
}

/* ---- what isn't done is refused by name ---- */

static void test_config_load__what_is_not_done__is_named(void **state)
{
    (void)state;
    static const struct { const char *yaml, *fault; } rows[] = {
        {"flags_path: /x", "flags_path: is not supported yet"},
        {"enable_dispatcher_stats: true", "enable_dispatcher_stats: is not supported yet"},
        {"hds_config: {api_type: GRPC}", "hds_config: is not supported yet"},
        {"layered_runtime: {layers: [{name: d, disk_layer: {symlink_root: /x}}]}", "layered_runtime.layers[0].disk_layer: is not supported yet"},
        {RESOURCES_OF(LISTENER(HCM_OPEN "flush_access_log_on_new_request: true, " HCM_ROUTES(TO_A)), CLUSTER("a")),
         "filters[0].typed_config.flush_access_log_on_new_request: is not supported yet"},
        {"static_resources: {clusters: [{name: a, transport_socket: {name: q, typed_config: {" ANY("transport_sockets.quic.v3.QuicUpstreamTransport")
         ", upstream_tls_context: {}}}}]}",
         "static_resources.clusters[0].transport_socket.typed_config: envoy.extensions.transport_sockets.quic.v3.QuicUpstreamTransport is not supported yet"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_faults(rows[i].yaml, &rows[i].fault, 1);
        struct loaded l = load_with(rows[i].yaml, true);
        assert_non_null(l.result);
        assert_int_equal(l.result->unsupported.count, 1);
        unload(&l);
    }
}

static void test_config_load__unknown_type_in_any__is_named(void **state)
{
    (void)state;
    static const char *const texts[] = {"filters[0].typed_config"};
    assert_faults(RESOURCES_OF(LISTENER("{name: x, typed_config: {'@type': type.googleapis.com/no.such.Type}}"), ""), texts, 1);
}

/* ---- the benchmark's ---- */

#define H2_CLUSTER                                                                                 \
    "{\"name\": \"b\", \"type\": \"STATIC\", \"connect_timeout\": \"5s\", \"lb_policy\": \"ROUND_ROBIN\", \"circuit_breakers\": " \
    "{\"thresholds\": [{\"max_connections\": 100000, \"max_pending_requests\": 100000, \"max_requests\": 100000}]}, " \
    "\"load_assignment\": {\"cluster_name\": \"b\", \"endpoints\": [{\"lb_endpoints\": [{\"endpoint\": {\"address\": " \
    "{\"socket_address\": {\"address\": \"127.0.0.1\", \"port_value\": 19002}}}}]}]}, \"typed_extension_protocol_options\": " \
    "{\"envoy.extensions.upstreams.http.v3.HttpProtocolOptions\": {" ANY("upstreams.http.v3.HttpProtocolOptions") \
    ", \"explicit_http_config\": {\"http2_protocol_options\": {\"max_concurrent_streams\": 1000}}}}}"

static void test_config_load__http2_benchmark__is_read(void **state)
{
    (void)state;
    struct loaded l = load(
        "node: {id: a, cluster: bench}\nadmin: {address: {socket_address: {address: 127.0.0.1, port_value: 18090}}}\n"
        RESOURCES_OF(LISTENER(HCM_OPEN "codec_type: AUTO, http2_protocol_options: {max_concurrent_streams: 1000}, "
                     HCM_ROUTES("{match: {prefix: /}, route: {cluster: b, timeout: 15s}}")), H2_CLUSTER));
    const struct config_result *r = l.result;
    const struct hcm_config *hcm = r->listeners[0]->chains[0]->filters[0].config;
    assert_true(r->admin.enabled);
    assert_int_equal(addr_port(&r->admin.addr), 18090);
    assert_int_equal(hcm->server.codec, HTTP_CODEC_AUTO);
    assert_int_equal(r->clusters[0]->http->protocol, HTTP_2);
    assert_int_equal(r->clusters[0]->breakers->thresholds[PRIORITY_DEFAULT].max_requests, 100000);
    assert_int_equal(r->clusters[0]->breakers->thresholds[PRIORITY_HIGH].max_requests, 1024);
    assert_int_equal(r->listeners[0]->chains[0]->slots.count, 1);
    unload(&l);
}

static void add_mesh_route(struct strbuf *text, int i)
{
    strbuf_addf(text, "%s{name: svc-%d, domains: [svc-%d, svc-%d.ns, svc-%d.ns.svc.cluster.local], routes: [{match: {prefix: /}, "
                "route: {cluster: 'outbound|80||svc-%d', retry_policy: {retry_on: 'connect-failure,refused-stream,unavailable', "
                "num_retries: 2}}}]}", i ? ", " : "", i, i, i, i, i);
}

static void add_mesh_cluster(struct strbuf *text, int i)
{
    strbuf_addf(text, "%s{name: 'outbound|80||svc-%d', type: STATIC, connect_timeout: 5s, load_assignment: {cluster_name: x, endpoints: "
                "[{lb_endpoints: [", i ? ", " : "", i);
    for (int k = 0; k < 5; k++)
        strbuf_addf(text, "%s{endpoint: {address: {socket_address: {address: 127.0.%d.%d, port_value: %d}}}}", k ? ", " : "",
                    i / 250, 1 + i % 250, 8080 + k);
    strbuf_addz(text, "]}]}}");
}

static void test_config_load__mesh_of_many_clusters__shares_what_is_alike(void **state)
{
    enum { CLUSTERS = 500 };
    (void)state;
    struct strbuf text = {0};
    size_t shared = shared_count();
    strbuf_addz(&text, "static_resources: {listeners: [{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 1}}, "
                       "filter_chains: [{filters: [" HCM_OPEN "http_filters: [" ROUTER "], route_config: {virtual_hosts: [");
    for (int i = 0; i < CLUSTERS; i++)
        add_mesh_route(&text, i);
    strbuf_addz(&text, "]}}}]}]}], clusters: [");
    for (int i = 0; i < CLUSTERS; i++)
        add_mesh_cluster(&text, i);
    strbuf_addz(&text, "]}");
    struct loaded l = load(text.p);
    assert_int_equal(l.result->cluster_count, CLUSTERS);
    assert_int_equal(l.result->listeners[0]->chains[0]->slots.count, CLUSTERS);
    assert_int_equal(shared_count() - shared, 5); /* lb, breakers, connection, http, transport */
    const struct hcm_config *hcm = l.result->listeners[0]->chains[0]->filters[0].config;
    assert_int_equal(route_source_now(hcm->routes)->spec->vhost_count, CLUSTERS);
    assert_ptr_equal(route_source_now(hcm->routes)->spec->vhosts[0]->routes[0]->retry, route_source_now(hcm->routes)->spec->vhosts[7]->routes[0]->retry);
    unload(&l);
    assert_int_equal(shared_count(), shared);
    strbuf_fini(&text);
}

/* ---- dumps ---- */

static int dump_of(struct loaded *l, const char *resource, const char *mask, struct strbuf *out, struct err *err)
{
    struct server s = {.config_dump = dump_store_new(l->result->packed, 1000000)};
    l->result->packed = STR_NULL;
    int rc = config_dump_json(&s, str_from(resource), str_from(mask), STR(""), false, out, err);
    struct dump_store *store = s.config_dump;
    dump_store_free(&store);
    return rc;
}

static void test_config_dump_json__mask_of_one_dump__leaves_out_the_others(void **state)
{
    (void)state;
    struct strbuf out = {0};
    struct err err = {0};
    struct loaded l = load("node: {id: n, cluster: c}\n" RESOURCES_OF("", CLUSTER("aa")));
    assert_int_equal(dump_of(&l, "", "bootstrap.node.id", &out, &err), 0);
    assert_string_equal(out.p, "{\n \"configs\": [\n  {\n"
                               "   \"@type\": \"type.googleapis.com/envoy.admin.v3.BootstrapConfigDump\",\n"
                               "   \"bootstrap\": {\n    \"node\": {\n     \"id\": \"n\"\n    }\n   }\n  }\n ]\n}\n");
    strbuf_fini(&out);
    unload(&l);
}

static void test_config_load__service_flags__stand_in_the_dump(void **state)
{
    (void)state;
    struct strbuf out = {0};
    struct err err = {0};
    struct loaded l = {0};
    struct server_opts opts = {.config_yaml = STR("{}"), .service_node = STR("n1"), .service_cluster = STR("c1"), .service_zone = STR("z1")};
    assert_int_equal(config_load(&opts, &l.result, &l.faults), 0);
    assert_true(str_eq(l.result->node.zone, STR("z1")));
    assert_int_equal(dump_of(&l, "", "bootstrap.node", &out, &err), 0);
    assert_true(str_find(strbuf_str(&out), STR("\"id\": \"n1\"")) > 0);
    assert_true(str_find(strbuf_str(&out), STR("\"zone\": \"z1\"")) > 0);
    strbuf_fini(&out);
    unload(&l);
}

static void test_config_dump_json__resources_that_are_none__are_refused(void **state)
{
    static const struct { const char *resource, *mask; int code; const char *message; } rows[] = {
        {"bootstrap", "", ERR_INVALID, "bootstrap is not a repeated field. Use ?mask=bootstrap to get only this field"},
        {"nope", "", ERR_NOT_FOUND, "nope not found in config dump"},
        {"dynamic_listeners", "", 0, ""},
        {"static_clusters", "nope", ERR_INVALID, NULL},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct strbuf out = {0};
        struct err err = {0};
        struct loaded l = load(RESOURCES_OF("", CLUSTER("aa")));
        assert_int_equal(dump_of(&l, rows[i].resource, rows[i].mask, &out, &err), rows[i].code);
        if (rows[i].message)
            assert_string_equal(err.message, rows[i].message);
        strbuf_fini(&out);
        unload(&l);
    }
}

static void test_config_dump_json__secrets__are_redacted(void **state)
{
    (void)state;
    struct strbuf out = {0};
    struct err err = {0};
    struct loaded l = load("static_resources: {secrets: [{name: s, session_ticket_keys: {keys: [{inline_string: "
                           "'0123456789012345678901234567890123456789012345678901234567890123456789012345TOPSECRET'}]}}]}");
    assert_int_equal(dump_of(&l, "", "", &out, &err), 0);
    assert_true(str_find(strbuf_str(&out), STR("SecretsConfigDump")) > 0);
    assert_true(str_find(strbuf_str(&out), STR("[redacted]")) > 0);
    assert_true(str_find(strbuf_str(&out), STR("TOPSECRET")) < 0);
    strbuf_fini(&out);
    unload(&l);
}

/* Nothing uses one; carrying one is no fault, showing one would be. */
static void test_config_load__generic_secret__taken_and_redacted(void **state)
{
    (void)state;
    struct strbuf out = {0};
    struct err err = {0};
    struct loaded l = load("static_resources: {secrets: [{name: g, generic_secret: {secret: {inline_string: TOPSECRET1}, "
                           "secrets: {a: {inline_string: TOPSECRET2}, b: {inline_bytes: VE9QU0VDUkVU}}}}]}");
    assert_int_equal(l.faults.count, 0);
    assert_int_equal(dump_of(&l, "", "", &out, &err), 0);
    assert_true(str_find(strbuf_str(&out), STR("SecretsConfigDump")) > 0);
    assert_true(str_find(strbuf_str(&out), STR("TOPSECRET")) < 0);
    assert_true(str_find(strbuf_str(&out), STR("VE9QU0VDUkVU")) < 0);
    strbuf_fini(&out);
    unload(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_load__faults_of_a_file__path_first_place_last),
        cmocka_unit_test(test_config_load__wrong_names__place_first),
        cmocka_unit_test(test_config_load__faults_in_file_and_text__each_names_its_own),
        cmocka_unit_test(test_config_load__text_over_file__merges),
        cmocka_unit_test(test_config_load__packed_file__is_the_same),
        cmocka_unit_test(test_config_load__files_that_are_none__are_refused),
        cmocka_unit_test(test_config_load__what_is_not_done__is_named),
        cmocka_unit_test(test_config_load__unknown_type_in_any__is_named),
        cmocka_unit_test(test_config_load__http2_benchmark__is_read),
        cmocka_unit_test(test_config_load__mesh_of_many_clusters__shares_what_is_alike),
        cmocka_unit_test(test_config_load__service_flags__stand_in_the_dump),
        cmocka_unit_test(test_config_dump_json__mask_of_one_dump__leaves_out_the_others),
        cmocka_unit_test(test_config_dump_json__resources_that_are_none__are_refused),
        cmocka_unit_test(test_config_dump_json__secrets__are_redacted),
        cmocka_unit_test(test_config_load__generic_secret__taken_and_redacted),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
