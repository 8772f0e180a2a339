/* SPDX-License-Identifier: Apache-2.0
 *
 * What a configuration may hold and how its faults are told; what the admin page learns of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "io/tls_priv.h"
#include "tls_fixture.h"

static struct fixture_cert ca, leaf, rsa, must_staple;
static struct tls_cert_opts cert;

static int setup(void **state)
{
    (void)state;
    ca = fixture_cert(&(struct fixture_opts){.cn = "ca", .ca = true});
    leaf = fixture_cert(&(struct fixture_opts){
        .cn = "s", .sans = "DNS:a.example,URI:spiffe://td/s,IP:::1", .issuer = &ca});
    rsa = fixture_cert(&(struct fixture_opts){.cn = "r", .rsa = true, .issuer = &ca});
    must_staple = fixture_cert(
        &(struct fixture_opts){.cn = "m", .issuer = &ca, .must_staple = true});
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    fixture_free();
    return 0;
}

static struct tls_context_opts usual(void)
{
    cert = (struct tls_cert_opts){
        .chain_pem = leaf.pem, .key_pem = leaf.key_pem, .source = STR("/etc/x.pem")};
    return (struct tls_context_opts){.server = true, .certs = &cert, .cert_count = 1};
}

static void expect_taken(const struct tls_context_opts *o)
{
    struct err err = {0};
    struct tls_context *ctx = tls_context_new(o, &err);
    if (!ctx)
        fail_msg("%s", err.message);
    tls_context_unref(&ctx);
}
static void expect_fault(const struct tls_context_opts *o, const char *text)
{
    struct err err = {0};
    struct tls_context *ctx = tls_context_new(o, &err);
    assert_null(ctx);
    assert_true(err.code < 0);
    if (!strstr(err.message, text))
        fail_msg("\"%s\" lacks \"%s\"", err.message, text);
    assert_int_equal(ERR_peek_error(), 0);
}

static void test_context_new__bad_certificates__told_by_file(void **state)
{
    (void)state;
    struct tls_context_opts o = usual();
    cert.chain_pem = STR("nothing");
    expect_fault(&o, "certificate_chain /etc/x.pem: no PEM certificate found");
    cert.chain_pem = STR("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    expect_fault(&o, "certificate_chain /etc/x.pem: bad certificate");
    o = usual();
    cert.key_pem = STR("nothing");
    expect_fault(&o, "private_key of /etc/x.pem");
    cert.key_pem = rsa.key_pem;
    expect_fault(&o, "does not belong to the certificate");
    o = usual();
    o.cert_count = 0;
    expect_fault(&o, "no TLS certificate");
}

static struct str encrypted_key(const char *password)
{
    BIO *bio = fixture_bio();
    PEM_write_bio_PrivateKey(bio, leaf.key, EVP_aes_256_cbc(), NULL, 0, NULL, (void *)password);
    return fixture_text(bio);
}

static void test_context_new__encrypted_key__needs_its_password(void **state)
{
    (void)state;
    struct tls_context_opts o = usual();
    cert.key_pem = encrypted_key("secret");
    cert.key_password = STR("secret");
    expect_taken(&o);
    cert.key_password = STR("wrong");
    expect_fault(&o, "private_key of /etc/x.pem");
    cert.key_password = STR_NULL;
    expect_fault(&o, "no password given");
}

static void test_context_new__pkcs12__taken_with_its_password(void **state)
{
    (void)state;
    PKCS12 *p12 = PKCS12_create("secret", "x", leaf.key, leaf.x, NULL, 0, 0, 0, 0, 0);
    BIO *bio = fixture_bio();
    i2d_PKCS12_bio(bio, p12);
    PKCS12_free(p12);
    struct tls_context_opts o = usual();
    cert = (struct tls_cert_opts){.pkcs12 = fixture_text(bio), .key_password = STR("secret")};
    expect_taken(&o);
    cert.key_password = STR("wrong");
    expect_fault(&o, "pkcs12 <inline>");
    cert.pkcs12 = STR("junk");
    expect_fault(&o, "pkcs12 <inline>");
}

static void test_context_new__algorithms__unknown_names_are_faults(void **state)
{
    (void)state;
    struct tls_context_opts o = usual();
    o.cipher_list = STR("[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]:"
                        "ECDHE-RSA-AES256-GCM-SHA384");
    o.curves = STR("X25519:P-256:P-384");
    o.signature_algorithms = STR("ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256");
    expect_taken(&o);
    o.cipher_list = STR("ECDHE-RSA-AES256-GCM-SHA384:NO-SUCH-CIPHER");
    expect_fault(&o, "cipher_suites: \"NO-SUCH-CIPHER\"");
    o = usual();
    o.curves = STR("X25519:P-999");
    expect_fault(&o, "ecdh_curves");
    o = usual();
    o.signature_algorithms = STR("nonsense");
    expect_fault(&o, "signature_algorithms");
    o = usual();
    o.min_version = TLS_1_3;
    o.max_version = TLS_1_2;
    expect_fault(&o, "tls_minimum_protocol_version");
}

static void test_context_new__trust__faults_told(void **state)
{
    (void)state;
    static const struct tls_san_matcher m = {TLS_SAN_DNS, NULL, NULL, true};
    struct tls_context_opts o = usual();
    o.sans = &m;
    o.san_count = 1;
    expect_fault(&o, "without a trusted_ca");
    o = usual();
    o.trusted_ca_pem = STR("nothing");
    o.trusted_ca_source = STR("/etc/ca.pem");
    expect_fault(&o, "trusted_ca /etc/ca.pem: no PEM certificate found");
    o.trusted_ca_pem = ca.pem;
    o.crl_pem = STR("nothing");
    expect_fault(&o, "no PEM CRL found");
    o = usual();
    o.spki_pins = (struct str[]){STR("short")};
    o.spki_pin_count = 1;
    expect_fault(&o, "verify_certificate_spki[0]");
    o = usual();
    o.cert_hashes = (struct str[]){STR("zz")};
    o.cert_hash_count = 1;
    expect_fault(&o, "verify_certificate_hash[0]");
}

static void test_context_new__other_limits__faults_told(void **state)
{
    (void)state;
    struct tls_context_opts o = usual();
    o.ticket_keys = (struct str[]){STR("too short")};
    o.ticket_key_count = 1;
    expect_fault(&o, "session_ticket_keys[0]");
    o = usual();
    o.alpn = (struct str[]){STR("h2"), STR("")};
    o.alpn_count = 2;
    expect_fault(&o, "alpn_protocols[1]");
    o = usual();
    cert.chain_pem = must_staple.pem;
    cert.key_pem = must_staple.key_pem;
    expect_fault(&o, "must-staple");
    cert.ocsp_staple_der = fixture_ocsp(&must_staple, &ca, 3600);
    expect_taken(&o);
    cert.ocsp_staple_der = fixture_ocsp(&leaf, &ca, 3600);
    expect_fault(&o, "for another certificate");
    o = usual();
    o.ocsp_policy = TLS_OCSP_MUST_STAPLE;
    expect_fault(&o, "MUST_STAPLE");
}

static void test_context_new__same_ca__one_store(void **state)
{
    (void)state;
    struct tls_context_opts o = usual();
    o.trusted_ca_pem = ca.pem;
    struct tls_context *a = tls_context_new(&o, NULL), *b = tls_context_new(&o, NULL);
    assert_non_null(a);
    assert_ptr_equal(a->store, b->store);
    o.crl_pem = fixture_crl(&ca, NULL);
    struct tls_context *c = tls_context_new(&o, NULL);
    assert_ptr_not_equal(a->store, c->store);
    struct tls_context *again = tls_context_ref(a);
    tls_context_unref(&a);
    tls_context_unref(&again);
    tls_context_unref(&b);
    tls_context_unref(&c);
}

struct told {
    int count;
    bool sans_right;
};
static void tell(const struct tls_cert_info *info, void *arg)
{
    struct told *t = arg;
    t->count++;
    t->sans_right = info->dns_sans[0].p && str_eq(info->dns_sans[0], STR("a.example")) &&
                    str_eq(info->uri_sans[0], STR("spiffe://td/s")) &&
                    str_eq(info->ip_sans[0], STR("::1")) && str_eq(info->path, STR("/etc/x.pem"));
}

static void test_each_cert__own_and_ca__facts(void **state)
{
    (void)state;
    struct tls_context_opts o = usual();
    o.trusted_ca_pem = ca.pem;
    struct tls_context *ctx = tls_context_new(&o, NULL);
    struct told own = {0}, cas = {0};
    tls_context_each_cert(ctx, false, tell, &own);
    tls_context_each_cert(ctx, true, tell, &cas);
    assert_int_equal(own.count, 1);
    assert_true(own.sans_right);
    assert_int_equal(cas.count, 1);
    int64_t now_s = (int64_t)time(NULL);
    assert_int_equal(tls_context_days_until_expiry(ctx, now_s - 3600), 1);
    assert_int_equal(tls_context_days_until_expiry(ctx, now_s + 10 * 86400), 0);
    tls_context_unref(&ctx);
}

static void test_dns_matches__wildcards__one_left_label(void **state)
{
    (void)state;
    assert_true(tls_dns_matches(STR("*.b.example"), STR("A.B.example")));
    assert_false(tls_dns_matches(STR("*.b.example"), STR("x.a.b.example")));
    assert_false(tls_dns_matches(STR("*.b.example"), STR("b.example")));
    assert_false(tls_dns_matches(STR("*.b.example"), STR(".b.example")));
    assert_false(tls_dns_matches(STR("a*.example"), STR("ab.example")));
    assert_false(tls_dns_matches(STR("*"), STR("a")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_context_new__bad_certificates__told_by_file),
        cmocka_unit_test(test_context_new__encrypted_key__needs_its_password),
        cmocka_unit_test(test_context_new__pkcs12__taken_with_its_password),
        cmocka_unit_test(test_context_new__algorithms__unknown_names_are_faults),
        cmocka_unit_test(test_context_new__trust__faults_told),
        cmocka_unit_test(test_context_new__other_limits__faults_told),
        cmocka_unit_test(test_context_new__same_ca__one_store),
        cmocka_unit_test(test_each_cert__own_and_ca__facts),
        cmocka_unit_test(test_dns_matches__wildcards__one_left_label),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
