/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/agent/env.h"

#include "../unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define VARS_MAX 32

static const char *const usual[] = {"POD_NAME=productpage-v1-0", "POD_NAMESPACE=bookinfo", "INSTANCE_IP=10.244.1.1",
                                    "SERVICE_ACCOUNT=bookinfo-productpage", "PILOT_CERT_PROVIDER=istiod", NULL};

struct reading {
    struct agent_env env;
    struct err_list faults, notes;
    int rc;
};

static void read_env(struct reading *r, const char *const *more, const char *const *args)
{
    char *envp[VARS_MAX] = {NULL}, *argv[VARS_MAX] = {(char *)"weft-proxy", (char *)"sidecar"};
    int n = 0, argc = 2;
    for (int i = 0; more && more[i]; i++) /* the first of a name counts */
        envp[n++] = (char *)more[i];
    for (int i = 0; usual[i]; i++)
        envp[n++] = (char *)usual[i];
    for (int i = 0; args && args[i]; i++)
        argv[argc++] = (char *)args[i];
    *r = (struct reading){0};
    r->rc = agent_env_read(&r->env, argc, argv, envp, &r->faults, &r->notes);
}

static void drop(struct reading *r)
{
    agent_env_fini(&r->env);
    err_list_fini(&r->faults);
    err_list_fini(&r->notes);
}

static void write_file(const char *path, const char *text)
{
    char dirs[256];
    snprintf(dirs, sizeof dirs, "%s", path);
    for (char *p = strchr(dirs + 2, '/'); p; p = strchr(p + 1, '/')) {
        *p = '\0';
        mkdir(dirs, 0755);
        *p = '/';
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static char home[64];
static int enter(void **state)
{
    (void)state;
    snprintf(home, sizeof home, "/tmp/weft_env_XXXXXX");
    return mkdtemp(home) && chdir(home) == 0 ? 0 : -1;
}

static int leave(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", home);
    return chdir("/") == 0 && system(command) == 0 ? 0 : -1;
}

static void test_agent_env_read__usual_pod__defaults(void **state)
{
    (void)state;
    struct reading r;
    read_env(&r, NULL, NULL);
    assert_int_equal(r.rc, 0);
    assert_int_equal(r.notes.count, 0);
    assert_str_equal(r.env.domain, "bookinfo.svc.cluster.local");
    assert_str_equal(r.env.trust_domain, "cluster.local");
    assert_str_equal(r.env.cluster_id, "Kubernetes");
    assert_int_equal(r.env.ips.count, 1);
    assert_str_equal(r.env.discovery.host, "istiod.istio-system.svc");
    assert_int_equal(r.env.discovery.port, 15012);
    assert_true(r.env.discovery.tls);
    assert_str_equal(r.env.discovery.root_path, AGENT_MESH_ROOT_PATH);
    assert_str_equal(r.env.ca.host, "istiod.istio-system.svc");
    assert_str_equal(r.env.token_path, AGENT_TOKEN_PATH);
    assert_int_equal(r.env.identity, IDENTITY_CA);
    assert_false(r.env.use_rsa);
    assert_int_equal(r.env.ec_kind, KEY_EC_P256);
    assert_int_equal(r.env.secret_ttl_ms, 86400000);
    assert_true(r.env.grace_ratio == 0.5 && r.env.grace_jitter == 0.01);
    assert_int_equal(r.env.status_port, 15021);
    assert_int_equal(r.env.prometheus_port, 15090);
    assert_int_equal(r.env.config.status_port, 15020);
    assert_int_equal(r.env.config.drain_ms, 45000);
    assert_int_equal(r.env.config.termination_drain_ms, 5000);
    assert_true(r.env.delta_xds);
    drop(&r);
}

static void test_agent_env_read__proxy_config__yaml_and_json_alike(void **state)
{
    (void)state;
    static const char *const forms[] = {
        "PROXY_CONFIG={\"discoveryAddress\":\"[::1]:15012\",\"concurrency\":3,\"statusPort\":1520,\"holdApplicationUntilProxyStarts\":true,"
        "\"terminationDrainDuration\":\"17s\",\"proxyMetadata\":{\"ISTIO_META_DNS_CAPTURE\":\"false\",\"TRUST_DOMAIN\":\"td\"},"
        "\"extraStatTags\":[\"a\",\"b\"],\"tracing\":{\"zipkin\":{\"address\":\"zipkin:9411\"},\"sampling\":1}}",
        "PROXY_CONFIG=discovery_address: '[::1]:15012'\nconcurrency: 3\nstatusPort: 1520\nholdApplicationUntilProxyStarts: true\n"
        "terminationDrainDuration: 17s\nproxyMetadata:\n  ISTIO_META_DNS_CAPTURE: \"false\"\n  TRUST_DOMAIN: td\n"
        "extraStatTags: [a, b]\ntracing: {zipkin: {address: 'zipkin:9411'}, sampling: 1}\n",
    };
    for (size_t i = 0; i < 2; i++) {
        struct reading r;
        const char *const more[] = {forms[i], NULL};
        read_env(&r, more, NULL);
        assert_int_equal(r.rc, 0);
        assert_int_equal(r.notes.count, 0);
        assert_str_equal(r.env.discovery.host, "::1");
        assert_int_equal(r.env.concurrency, 3);
        assert_int_equal(r.env.config.status_port, 1520);
        assert_true(r.env.config.hold_application);
        assert_int_equal(r.env.config.termination_drain_ms, 17000);
        assert_false(r.env.serves_dns);
        assert_str_equal(r.env.trust_domain, "td");
        assert_int_equal(r.env.config.extra_stat_tags.count, 2);
        assert_str_equal(r.env.config.zipkin_address, "zipkin:9411");
        drop(&r);
    }
}

static void test_agent_env_read__dns_capture__server_wanted(void **state)
{
    (void)state;
    struct reading r;
    const char *const more[] = {"PROXY_CONFIG={\"proxyMetadata\":{\"ISTIO_META_DNS_CAPTURE\":\"true\"}}", "DNS_FORWARD_TIMEOUT=700ms",
                                "DNS_FORWARD_PARALLEL=true", NULL};
    read_env(&r, more, NULL);
    assert_int_equal(r.rc, 0);
    assert_true(r.env.serves_dns && r.env.dns_forward_parallel);
    assert_int_equal(r.env.dns_forward_ms, 700);
    assert_str_equal(r.env.dns_address, "localhost:15053");
    assert_int_equal(r.notes.count, 0);
    drop(&r);
    const char *const wrong[] = {"ISTIO_META_DNS_CAPTURE=perhaps", NULL};
    read_env(&r, wrong, NULL);
    assert_int_equal(r.faults.count, 1);
    assert_string_equal(r.faults.items[0].path, "ISTIO_META_DNS_CAPTURE");
    drop(&r);
}

static void test_agent_env_read__unknown_and_unsupported__named(void **state)
{
    (void)state;
    struct reading r;
    const char *const more[] = {"PROXY_CONFIG={\"novelty\": {\"a\": 1}, \"statsCompression\": {}, \"readiness_probe\": {\"exec\": {\"command\": [\"true\"]}}, \"tracing\": {\"lightstep\": {}}}", NULL};
    const char *const args[] = {"--stsPort=15463", "--profiling", NULL};
    read_env(&r, more, args);
    assert_int_equal(r.rc, 0);
    static const char *const paths[] = {"--stsPort", "--profiling", "PROXY_CONFIG.novelty", "PROXY_CONFIG.statsCompression",
                                        "PROXY_CONFIG.tracing.lightstep"};
    assert_int_equal(r.notes.count, 5);
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(r.notes.items[i].path, paths[i]);
    assert_str_equal(r.env.config.readiness_probe, "{\"exec\":{\"command\":[\"true\"]}}");
    struct strbuf json = {0};
    proxy_config_json(&r.env.config, &json);
    assert_non_null(strstr(json.p, "\"novelty\":{\"a\":1}"));
    strbuf_fini(&json);
    drop(&r);
}

static void test_agent_env_read__bad_values__all_at_once(void **state)
{
    (void)state;
    static const char *const more[] = {
        "INSTANCE_IP=10.244.1", "PROXY_CONFIG={\"discoveryAddress\": \"istiod\", \"concurrency\": \"many\", \"drainDuration\": \"soon\"}",
        "ECC_SIGNATURE_ALGORITHM=RSA", "ECC_CURVE=P521", "WORKLOAD_RSA_KEY_SIZE=1024", "SECRET_TTL=eternal",
        "SECRET_GRACE_PERIOD_RATIO=2", "ENVOY_STATUS_PORT=70000", "ISTIO_DUAL_STACK=perhaps", "CA_PROVIDER=GoogleCA",
        "PILOT_CERT_PROVIDER=vault", "JWT_POLICY=first-party-jwt", "FILE_MOUNTED_CERTS=x", "CA_ADDR=ca:0", "ISTIO_METAJSON_LABELS=[]", NULL};
    static const char *const args[] = {"--concurrency", "-1", "--nonsense", "--domain", NULL};
    static const char *const paths[] = {
        "INSTANCE_IP", "PROXY_CONFIG.discoveryAddress", "PROXY_CONFIG.concurrency", "PROXY_CONFIG.drainDuration",
        "ECC_SIGNATURE_ALGORITHM", "ECC_CURVE", "WORKLOAD_RSA_KEY_SIZE", "SECRET_TTL", "SECRET_GRACE_PERIOD_RATIO", "ENVOY_STATUS_PORT",
        "ISTIO_DUAL_STACK", "CA_PROVIDER", "PILOT_CERT_PROVIDER", "JWT_POLICY", "FILE_MOUNTED_CERTS", "CA_ADDR", "ISTIO_METAJSON_LABELS",
        "--concurrency", "command line"};
    struct reading r;
    read_env(&r, more, args);
    assert_int_equal(r.rc, ERR_INVALID);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        bool found = false;
        for (size_t j = 0; j < r.faults.count; j++)
            found |= strcmp(r.faults.items[j].path, paths[i]) == 0;
        if (!found)
            print_error("no fault at %s\n", paths[i]);
        assert_true(found);
    }
    drop(&r);
}

static void test_agent_env_read__arguments__as_pilot_agent_takes_them(void **state)
{
    (void)state;
    struct reading r;
    const char *const args[] = {"--domain", "x.svc.local", "--proxyLogLevel=warning", "--proxyComponentLogLevel=misc:error",
                                "--log_output_level=default:debug,xds:info", "--concurrency", "2", "--serviceCluster", "front", NULL};
    const char *const more[] = {"PROXY_CONFIG={\"concurrency\": 7}", NULL};
    read_env(&r, more, args);
    assert_int_equal(r.rc, 0);
    assert_str_equal(r.env.domain, "x.svc.local");
    assert_int_equal(r.env.concurrency, 2);
    assert_int_equal(r.env.log_level, LOG_WARNING);
    assert_int_equal(r.env.own_level, LOG_DEBUG);
    assert_str_equal(r.env.component_log_level, "misc:error");
    assert_str_equal(r.env.config.service_cluster, "front");
    drop(&r);
}

static void test_agent_env_is_asked_for__roles__also_behind_proxy(void **state)
{
    (void)state;
    static const struct { const char *one, *two; bool is; } rows[] = {
        {"sidecar", NULL, true}, {"router", NULL, true}, {"waypoint", NULL, true}, {"proxy", "sidecar", true},
        {"proxy", NULL, false}, {"-c", "sidecar", false}, {"ztunnel", NULL, false}, {NULL, NULL, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *argv[] = {(char *)"weft-proxy", (char *)rows[i].one, (char *)rows[i].two, NULL};
        assert_int_equal(agent_env_is_asked_for(1 + (rows[i].one != NULL) + (rows[i].two != NULL), argv), rows[i].is);
    }
}

static void test_agent_env_read__downward_api__labels_and_annotations(void **state)
{
    (void)state;
    struct reading r;
    write_file(AGENT_LABELS_PATH, "app=\"web\"\nversion=\"v1\"\nodd line\n");
    write_file(AGENT_ANNOTATIONS_PATH, "a.b/c=\"say \\\"hi\\\"\\nthere\"\nproxy.istio.io/config=\"concurrency: 4\\nstatusPort: 99\\n\"\n");
    write_file("./etc/istio/config/mesh", "defaultConfig:\n  statusPort: 98\n  meshId: m\nouther: 1\n");
    const char *const more[] = {"ISTIO_METAJSON_LABELS={\"version\":\"v0\",\"team\":\"x\"}",
                                "ISTIO_METAJSON_MORE={\"DEEP\":{\"a\":[1,true,null]}}", "ISTIO_META_MESH_ID=mesh", NULL};
    read_env(&r, more, NULL);
    assert_int_equal(r.rc, 0);
    assert_str_equal(text_pairs_get(&r.env.labels, STR("version")), "v1");
    assert_str_equal(text_pairs_get(&r.env.labels, STR("team")), "x");
    assert_str_equal(text_pairs_get(&r.env.static_labels, STR("version")), "v0");
    assert_str_equal(text_pairs_get(&r.env.annotations, STR("a.b/c")), "say \"hi\"\nthere");
    assert_str_equal(text_pairs_get(&r.env.meta_json, STR("DEEP")), "{\"a\":[1,true,null]}");
    assert_str_equal(text_pairs_get(&r.env.meta, STR("MESH_ID")), "mesh");
    assert_int_equal(r.env.config.status_port, 99);
    assert_int_equal(r.env.concurrency, 4);
    assert_str_equal(r.env.config.mesh_id, "m");
    drop(&r);
}

static void test_agent_env_read__identity__by_what_is_there(void **state)
{
    (void)state;
    struct reading r;
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = AGENT_SPIFFE_SOCKET_DIR "/socket"};
    const char *const mounted[] = {"FILE_MOUNTED_CERTS=true", "ISTIO_META_TLS_CLIENT_KEY=/k.pem", NULL}, *const rsa[] = {"WORKLOAD_RSA_KEY_SIZE=3072", NULL};
    read_env(&r, rsa, NULL);
    assert_int_equal(r.env.identity, IDENTITY_CA);
    assert_true(r.env.use_rsa);
    assert_int_equal(r.env.rsa_bits, 3072);
    drop(&r);
    write_file(AGENT_SPIFFE_SOCKET_DIR "/x", "");
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof un), 0);
    read_env(&r, NULL, NULL);
    assert_int_equal(r.env.identity, IDENTITY_SPIFFE);
    assert_str_equal(r.env.spiffe_socket, AGENT_SPIFFE_SOCKET_DIR "/socket");
    drop(&r);
    write_file(AGENT_SPIFFE_FILES_DIR "/cert-chain.pem", "");
    write_file(AGENT_SPIFFE_FILES_DIR "/key.pem", "");
    write_file(AGENT_SPIFFE_FILES_DIR "/root-cert.pem", "");
    read_env(&r, NULL, NULL);
    assert_int_equal(r.env.identity, IDENTITY_FILES);
    assert_str_equal(r.env.key_path, AGENT_SPIFFE_FILES_DIR "/key.pem");
    drop(&r);
    read_env(&r, mounted, NULL);
    assert_int_equal(r.env.identity, IDENTITY_FILES);
    assert_str_equal(r.env.key_path, "/k.pem");
    assert_str_equal(r.env.root_path, AGENT_MOUNTED_CERTS_DIR "/root-cert.pem");
    assert_str_equal(r.env.ca.root_path, AGENT_MOUNTED_CERTS_DIR "/root-cert.pem");
    drop(&r);
    close(fd);
}

static void test_agent_env_read__control_plane__addresses_and_trust(void **state)
{
    (void)state;
    static const struct { const char *vars[4]; const char *xds_root, *ca_root, *xds_sni, *ca_host; bool xds_tls, ca_tls; } rows[] = {
        {{"ISTIOD_SAN=istiod.x", "CA_ADDR=ca.y:15012"}, AGENT_MESH_ROOT_PATH, AGENT_MESH_ROOT_PATH, "istiod.x", "ca.y", true, true},
        {{"XDS_ROOT_CA=SYSTEM", "CA_ROOT_CA=/r.pem"}, "", "/r.pem", "istiod.istio-system.svc", "istiod.istio-system.svc", true, true},
        {{"PILOT_CERT_PROVIDER=kubernetes"}, AGENT_KUBERNETES_ROOT_PATH, AGENT_KUBERNETES_ROOT_PATH, "istiod.istio-system.svc", "istiod.istio-system.svc", true, true},
        {{"PROV_CERT=./etc/prov"}, "./etc/prov/root-cert.pem", "./etc/prov/root-cert.pem", "istiod.istio-system.svc", "istiod.istio-system.svc", true, true},
        {{"CA_ADDR=127.0.0.1:15010", "PROXY_CONFIG={\"controlPlaneAuthPolicy\": \"NONE\"}"}, AGENT_MESH_ROOT_PATH, AGENT_MESH_ROOT_PATH, "istiod.istio-system.svc", "127.0.0.1", false, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct reading r;
        read_env(&r, rows[i].vars, NULL);
        assert_int_equal(r.rc, 0);
        assert_str_equal(r.env.discovery.root_path, rows[i].xds_root);
        assert_str_equal(r.env.ca.root_path, rows[i].ca_root);
        assert_str_equal(r.env.discovery.sni, rows[i].xds_sni);
        assert_str_equal(r.env.ca.host, rows[i].ca_host);
        assert_int_equal(r.env.discovery.tls, rows[i].xds_tls);
        assert_int_equal(r.env.ca.tls, rows[i].ca_tls);
        drop(&r);
    }
}

static void test_agent_env_read__headers__names_of_the_wire(void **state)
{
    (void)state;
    struct reading r;
    const char *const more[] = {"XDS_HEADER_X_TENANT=a b", "CA_HEADER_Project=p", "XDS_HEADER_=none", NULL};
    read_env(&r, more, NULL);
    assert_int_equal(r.rc, 0);
    assert_int_equal(r.env.xds_headers.count, 1);
    assert_str_equal(text_pairs_get(&r.env.xds_headers, STR("x-tenant")), "a b");
    assert_str_equal(text_pairs_get(&r.env.ca_headers, STR("project")), "p");
    drop(&r);
}

static void test_text_duration_ms__forms_of_go_and_protobuf__milliseconds(void **state)
{
    (void)state;
    static const struct { const char *text; bool ok; uint64_t ms; } rows[] = {
        {"24h0m0s", true, 86400000}, {"1.5h", true, 5400000}, {"300ms", true, 300}, {"5s", true, 5000}, {"0", true, 0}, {"0s", true, 0},
        {"1us", true, 1}, {"1m30s", true, 90000}, {"0.25s", true, 250}, {"", false, 0}, {"5", false, 0}, {"-5s", false, 0}, {"s", false, 0},
        {"5x", false, 0}, {"1h ", false, 0}, {"9999999999h", false, 0}, {"1..5s", false, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t ms = 0;
        if (text_duration_ms(str_from(rows[i].text), &ms) != rows[i].ok || ms != rows[i].ms)
            fail_msg("%s: %llu", rows[i].text, (unsigned long long)ms);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_agent_env_read__usual_pod__defaults, enter, leave),
        cmocka_unit_test_setup_teardown(test_agent_env_read__proxy_config__yaml_and_json_alike, enter, leave),
        cmocka_unit_test_setup_teardown(test_agent_env_read__dns_capture__server_wanted, enter, leave),
        cmocka_unit_test_setup_teardown(test_agent_env_read__unknown_and_unsupported__named, enter, leave),
        cmocka_unit_test_setup_teardown(test_agent_env_read__bad_values__all_at_once, enter, leave),
        cmocka_unit_test_setup_teardown(test_agent_env_read__arguments__as_pilot_agent_takes_them, enter, leave),
        cmocka_unit_test(test_agent_env_is_asked_for__roles__also_behind_proxy),
        cmocka_unit_test_setup_teardown(test_agent_env_read__downward_api__labels_and_annotations, enter, leave),
        cmocka_unit_test_setup_teardown(test_agent_env_read__identity__by_what_is_there, enter, leave),
        cmocka_unit_test_setup_teardown(test_agent_env_read__control_plane__addresses_and_trust, enter, leave),
        cmocka_unit_test_setup_teardown(test_agent_env_read__headers__names_of_the_wire, enter, leave),
        cmocka_unit_test(test_text_duration_ms__forms_of_go_and_protobuf__milliseconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
