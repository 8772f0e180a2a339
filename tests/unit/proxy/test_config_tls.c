/* SPDX-License-Identifier: Apache-2.0 */
#include "config_fixture.h"

#include "io/tls_openssl.h" /* before OpenSSL's own headers, whose ERR_STATE it moves away */

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <unistd.h>

#include "proxy/agent/secrets.h"
#include "proxy/config/tls_source.h"
#include "proxy/warm.h"

static char folder[] = "/tmp/weft-test-XXXXXX";

static char *path_of(const char *name, char out[256])
{
    snprintf(out, 256, "%s/%s", folder, name);
    return out;
}

/* A self-signed certificate and its key. */
static void write_pair(const char *name, long serial)
{
    char path[256], file[64];
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), serial);
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    X509_sign(cert, key, EVP_sha256());
    snprintf(file, sizeof file, "%s.crt", name);
    FILE *f = fopen(path_of(file, path), "w");
    PEM_write_X509(f, cert);
    fclose(f);
    snprintf(file, sizeof file, "%s.key", name);
    f = fopen(path_of(file, path), "w");
    PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    fclose(f);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    write_pair("a", 1);
    return 0;
}

static int teardown(void **state)
{
    char path[256];
    (void)state;
    unlink(path_of("a.crt", path));
    unlink(path_of("a.key", path));
    return rmdir(folder);
}

static struct loaded load_format(bool must_load, const char *format)
{
    char text[8192];
    snprintf(text, sizeof text, format, folder, folder, folder);
    return must_load ? load(text) : load_with(text, false);
}

static void test_cfg_upstream_tls__same_but_for_sni__share_one_source(void **state)
{
    (void)state;
    struct loaded l = load_format(true,
        "static_resources: {clusters: ["
        "{name: a, transport_socket: {name: t, typed_config: {" ANY("transport_sockets.tls.v3.UpstreamTlsContext")
        ", sni: a, common_tls_context: {validation_context: {trusted_ca: {filename: %s/a.crt}}}}}}, "
        "{name: b, transport_socket: {name: t, typed_config: {" ANY("transport_sockets.tls.v3.UpstreamTlsContext")
        ", sni: b, common_tls_context: {validation_context: {trusted_ca: {filename: %s/a.crt}}}}}}, "
        "{name: c, transport_socket: {name: t, typed_config: {" ANY("transport_sockets.tls.v3.UpstreamTlsContext")
        ", max_session_keys: 5, common_tls_context: {validation_context: {trusted_ca: {filename: %s/a.crt}}}}}}]}\n");
    struct cluster_spec **c = l.result->clusters;
    assert_ptr_equal(c[0]->transport->tls, c[1]->transport->tls);
    assert_ptr_not_equal(c[0]->transport->tls, c[2]->transport->tls);
    assert_true(str_eq(c[0]->transport->sni, STR("a")));
    assert_true(str_eq(c[1]->transport->sni, STR("b")));
    unload(&l);
}

#define SERVER                                                                                     \
    "static_resources: {secrets: [{name: s, tls_certificate: {certificate_chain: {filename: %s/a.crt}, private_key: {filename: %s/a.key}}}], " \
    "clusters: [" CLUSTER("c") "], listeners: [{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 1}}, filter_chains: [{" \
    "transport_socket: {name: t, typed_config: {" ANY("transport_sockets.tls.v3.DownstreamTlsContext")                                     \
    ", common_tls_context: {tls_certificate_sds_secret_configs: [{name: s}]}}}, "                                                          \
    "filters: [{name: t, typed_config: {" ANY("filters.network.tcp_proxy.v3.TcpProxy") ", stat_prefix: t, cluster: c}}]}]}]}\n"

static void count_serial(const struct tls_cert_info *info, void *arg)
{
    uint64_t serial = 0;
    str_to_u64_hex(info->serial_hex, &serial);
    *(uint64_t *)arg = serial;
}

static void test_tls_source_reload__new_files__new_context_old_kept_by_holders(void **state)
{
    (void)state;
    struct err err = {0};
    uint64_t serial = 0;
    struct loaded l = load_format(true, SERVER);
    struct tls_source *s = l.result->listeners[0]->chains[0]->tls;
    struct tls_context *old = tls_source_get(s);
    write_pair("a", 2);
    assert_int_equal(tls_source_reload(s, &err), 0);
    struct tls_context *fresh = tls_source_get(s);
    assert_ptr_not_equal(old, fresh);
    tls_context_each_cert(fresh, false, count_serial, &serial);
    assert_int_equal(serial, 2);
    tls_context_each_cert(old, false, count_serial, &serial);
    assert_int_equal(serial, 1);
    tls_context_unref(&old);
    tls_context_unref(&fresh);
    unload(&l);
}

static void test_tls_source_reload__broken_file__keeps_the_old_context(void **state)
{
    (void)state;
    char path[256];
    struct err err = {0};
    struct loaded l = load_format(true, SERVER);
    struct tls_source *s = l.result->listeners[0]->chains[0]->tls;
    struct tls_context *before = tls_source_get(s);
    FILE *f = fopen(path_of("a.crt", path), "w");
    fputs("rubbish", f);
    fclose(f);
    assert_true(tls_source_reload(s, &err) < 0);
    assert_non_null(strstr(err.message, "a.crt"));
    assert_int_equal(tls_source_reload_failures(s), 1);
    struct tls_context *after = tls_source_get(s);
    assert_ptr_equal(before, after);
    tls_context_unref(&before);
    tls_context_unref(&after);
    unload(&l);
    write_pair("a", 1);
}

static void test_cfg_tls__faults__name_the_thing(void **state)
{
    (void)state;
    struct loaded l = load_format(false,
        "static_resources: {clusters: ["
        "{name: a, transport_socket: {name: t, typed_config: {" ANY("transport_sockets.tls.v3.UpstreamTlsContext")
        ", common_tls_context: {validation_context: {trusted_ca: {filename: %s/none.crt}}}}}}, "
        "{name: b, transport_socket: {name: t, typed_config: {" ANY("transport_sockets.tls.v3.UpstreamTlsContext")
        ", common_tls_context: {tls_certificate_sds_secret_configs: [{name: nope}]}}}}, "
        "{name: c, transport_socket: {name: t, typed_config: {" ANY("transport_sockets.tls.v3.UpstreamTlsContext")
        ", common_tls_context: {tls_certificate_sds_secret_configs: [{name: x, sds_config: {}}]}}}}]}\n");
    assert_null(l.result);
    assert_true(has_fault(&l.faults, "clusters[0].transport_socket.typed_config.common_tls_context: trusted_ca: cannot read"));
    assert_true(has_fault(&l.faults, "tls_certificate_sds_secret_configs[0].name: there is no secret 'nope'"));
    assert_true(has_fault(&l.faults, "tls_certificate_sds_secret_configs[0].sds_config: one of path_config_source"));
    unload(&l);
}

/* ---- secrets that come ---- */

#define AGENT "sds_config: {resource_api_version: V3, api_config_source: {api_type: GRPC, transport_api_version: V3, grpc_services: [" \
              "{envoy_grpc: {cluster_name: sds-grpc}}]}}"
#define SIDECAR                                                                                                                        \
    "static_resources: {clusters: [" CLUSTER("c") ", " CLUSTER("sds-grpc")                                                             \
    ", {name: up, transport_socket: {name: t, typed_config: {" ANY("transport_sockets.tls.v3.UpstreamTlsContext")                      \
    ", common_tls_context: {tls_certificate_sds_secret_configs: [{name: default, " AGENT "}], combined_validation_context: {"          \
    "default_validation_context: {match_typed_subject_alt_names: [{san_type: URI, matcher: {exact: 'spiffe://td/a'}}]}, "              \
    "validation_context_sds_secret_config: {name: ROOTCA, " AGENT "}}}}}}], "                                                          \
    "listeners: [{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 1}}, filter_chains: [{"                          \
    "transport_socket: {name: t, typed_config: {" ANY("transport_sockets.tls.v3.DownstreamTlsContext")                                 \
    ", common_tls_context: {tls_certificate_sds_secret_configs: [{name: default, " AGENT "}]}}}, "                                     \
    "filters: [{name: t, typed_config: {" ANY("filters.network.tcp_proxy.v3.TcpProxy") ", stat_prefix: t, cluster: c}}]}]}]}\n"

static bool serves_all(void *user, struct str name)
{
    (void)user, (void)name;
    return true;
}

static void is_wanted(void *user, struct str name)
{
    (void)name;
    ++*(int *)user;
}

static struct str text_of(const char *name, char *out, size_t n)
{
    char path[256];
    FILE *f = fopen(path_of(name, path), "r");
    size_t len = fread(out, 1, n, f);
    fclose(f);
    return str_make(out, len);
}

static uint64_t serial_of(struct tls_source *s)
{
    uint64_t serial = 0;
    struct tls_context *ctx = tls_source_get(s);
    if (ctx)
        tls_context_each_cert(ctx, false, count_serial, &serial);
    tls_context_unref(&ctx);
    return serial;
}

struct sidecar {
    struct loaded l;
    struct tls_source *down, *up;
    int wanted;
    char chain[4096], key[4096];
};

static void sidecar_start(struct sidecar *c)
{
    static const struct secret_provider provider = {.serves = serves_all, .wanted = is_wanted};
    *c = (struct sidecar){0};
    secret_store_open(&provider, &c->wanted);
    c->l = load(SIDECAR);
    c->down = c->l.result->listeners[0]->chains[0]->tls;
    c->up = c->l.result->clusters[2]->transport->tls;
}

static void sidecar_stop(struct sidecar *c)
{
    unload(&c->l);
    assert_int_equal(secret_store_watchers(STR("default")), 0);
    secret_store_close();
}

static bool give_default(struct sidecar *c, long serial)
{
    write_pair("a", serial);
    return secret_store_set(STR("default"), text_of("a.crt", c->chain, sizeof c->chain), text_of("a.key", c->key, sizeof c->key));
}

static void test_tls_source__secrets_come_one_by_one__context_when_all_are_there(void **state)
{
    (void)state;
    struct sidecar c;
    sidecar_start(&c);
    assert_int_equal(c.wanted, 2); /* each is asked for once, however many use it */
    assert_null(tls_source_get(c.down));
    assert_null(tls_source_get(c.up));
    give_default(&c, 5);
    assert_int_equal(serial_of(c.down), 5);
    assert_true(tls_source_warm(c.down)->is_ready);
    assert_null(tls_source_get(c.up));
    assert_false(tls_source_warm(c.up)->is_ready);
    secret_store_set_roots(STR("ROOTCA"), str_from(c.chain), STR(""));
    assert_int_equal(serial_of(c.up), 5);
    assert_true(tls_source_warm(c.up)->is_ready);
    sidecar_stop(&c);
}

static void test_tls_source__secret_changes__new_context_and_holders_keep_the_old(void **state)
{
    (void)state;
    struct sidecar c;
    sidecar_start(&c);
    give_default(&c, 5);
    secret_store_set_roots(STR("ROOTCA"), str_from(c.chain), STR(""));
    struct tls_context *old = tls_source_get(c.up);
    give_default(&c, 6);
    assert_int_equal(serial_of(c.up), 6);
    assert_int_equal(serial_of(c.down), 6);
    sidecar_stop(&c); /* a context outlives its source and its secrets */
    uint64_t serial = 0;
    tls_context_each_cert(old, false, count_serial, &serial);
    assert_int_equal(serial, 5);
    tls_context_unref(&old);
}

static void test_tls_source__bad_secret__is_refused_and_the_old_stays(void **state)
{
    (void)state;
    struct sidecar c;
    sidecar_start(&c);
    give_default(&c, 5);
    secret_store_set_roots(STR("ROOTCA"), str_from(c.chain), STR(""));
    struct tls_context *up = tls_source_get(c.up), *down = tls_source_get(c.down);
    secret_store_set(STR("default"), STR("rubbish"), STR("rubbish"));
    secret_store_set_roots(STR("ROOTCA"), STR("rubbish"), STR(""));
    secret_store_set_roots(STR("ROOTCA"), str_from(c.chain), STR("no CRL"));
    struct tls_context *up_after = tls_source_get(c.up), *down_after = tls_source_get(c.down);
    assert_ptr_equal(up, up_after);
    assert_ptr_equal(down, down_after);
    tls_context_unref(&up);
    tls_context_unref(&up_after);
    tls_context_unref(&down);
    tls_context_unref(&down_after);
    sidecar_stop(&c);
}

static void test_tls_source__first_secret_is_bad__nobody_waits_for_it(void **state)
{
    (void)state;
    struct sidecar c;
    sidecar_start(&c);
    secret_store_set(STR("default"), STR("rubbish"), STR("rubbish"));
    assert_null(tls_source_get(c.down));
    assert_true(tls_source_warm(c.down)->is_ready);
    give_default(&c, 7);
    assert_int_equal(serial_of(c.down), 7);
    sidecar_stop(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cfg_upstream_tls__same_but_for_sni__share_one_source),
        cmocka_unit_test(test_tls_source_reload__new_files__new_context_old_kept_by_holders),
        cmocka_unit_test(test_tls_source_reload__broken_file__keeps_the_old_context),
        cmocka_unit_test(test_cfg_tls__faults__name_the_thing),
        cmocka_unit_test(test_tls_source__secrets_come_one_by_one__context_when_all_are_there),
        cmocka_unit_test(test_tls_source__secret_changes__new_context_and_holders_keep_the_old),
        cmocka_unit_test(test_tls_source__bad_secret__is_refused_and_the_old_stays),
        cmocka_unit_test(test_tls_source__first_secret_is_bad__nobody_waits_for_it),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
