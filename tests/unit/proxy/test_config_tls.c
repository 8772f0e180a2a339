/* SPDX-License-Identifier: Apache-2.0 */
#include "config_fixture.h"

#include "io/tls_openssl.h" /* before OpenSSL's own headers, whose ERR_STATE it moves away */

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <unistd.h>

#include "proxy/config/tls_source.h"

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
        ", common_tls_context: {tls_certificate_sds_secret_configs: [{name: x, sds_config: {ads: {}}}]}}}}]}\n");
    assert_null(l.result);
    assert_true(has_fault(&l.faults, "clusters[0].transport_socket.typed_config.common_tls_context: trusted_ca: cannot read"));
    assert_true(has_fault(&l.faults, "tls_certificate_sds_secret_configs[0].name: there is no secret 'nope'"));
    assert_true(has_fault(&l.faults, "tls_certificate_sds_secret_configs[0].sds_config: is not supported yet"));
    unload(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cfg_upstream_tls__same_but_for_sni__share_one_source),
        cmocka_unit_test(test_tls_source_reload__new_files__new_context_old_kept_by_holders),
        cmocka_unit_test(test_tls_source_reload__broken_file__keeps_the_old_context),
        cmocka_unit_test(test_cfg_tls__faults__name_the_thing),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
