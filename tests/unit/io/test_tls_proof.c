/* SPDX-License-Identifier: Apache-2.0
 *
 * Chains that were verified before: what is taken for proven, how long, and what is still refused
 * of a peer that was accepted a moment ago.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "io/tls_priv.h"
#include "tls_fixture.h"
#include "tls_pair.h"

static struct fixture_cert ca, other_ca, server, client, expired;

static int setup(void **state)
{
    (void)state;
    ca = fixture_cert(&(struct fixture_opts){.cn = "ca", .ca = true});
    other_ca = fixture_cert(&(struct fixture_opts){.cn = "other", .ca = true});
    server = fixture_cert(
        &(struct fixture_opts){.cn = "server", .sans = "URI:spiffe://td/server", .issuer = &ca});
    client = fixture_cert(
        &(struct fixture_opts){.cn = "client", .sans = "URI:spiffe://td/client", .issuer = &ca});
    expired = fixture_cert(&(struct fixture_opts){.cn = "old", .issuer = &ca, .expired = true});
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    fixture_free();
    return 0;
}

static struct tls_context *context(bool is_server, const struct fixture_cert *own,
                                   struct str trusted, struct str crl)
{
    struct err err = {0};
    struct tls_cert_opts cert = {.chain_pem = own->pem, .key_pem = own->key_pem};
    struct tls_context *ctx =
        tls_context_new(&(struct tls_context_opts){.server = is_server,
                                                   .certs = &cert,
                                                   .cert_count = 1,
                                                   .trusted_ca_pem = trusted,
                                                   .crl_pem = crl,
                                                   .require_client_cert = is_server},
                        &err);
    if (!ctx)
        fail_msg("%s", err.message);
    return ctx;
}

struct ending {
    struct side server, client;
};

/* A handshake of `own` with that server. */
static struct ending shake(struct tls_context *s, const struct fixture_cert *own)
{
    struct tls_context *c = context(false, own, ca.pem, STR_NULL);
    struct pair p;
    pair_start(&p, s, c, NULL);
    pair_run(&p, pair_judged);
    struct ending e = {p.server, p.client};
    pair_finish(&p);
    tls_context_unref(&c);
    return e;
}

static struct tls_digest digest_of(const struct fixture_cert *a, const struct fixture_cert *b)
{
    struct tls_digest d;
    STACK_OF(X509) *chain = sk_X509_new_null();
    sk_X509_push(chain, a->x);
    if (b)
        sk_X509_push(chain, b->x);
    assert_true(tls_proof_digest(chain, &d));
    sk_X509_free(chain);
    return d;
}

/* ---- the table ---- */
static void test_proofs__kept__between_its_two_seconds_only(void **state)
{
    (void)state;
    struct tls_proofs p;
    struct tls_digest a = digest_of(&client, NULL), b = digest_of(&server, NULL);
    tls_proofs_init(&p, true);
    assert_false(tls_proofs_have(&p, &a, 100));
    tls_proofs_keep(&p, &a, 100, 200);
    assert_true(tls_proofs_have(&p, &a, 100));
    assert_true(tls_proofs_have(&p, &a, 199));
    assert_false(tls_proofs_have(&p, &a, 200));
    assert_false(tls_proofs_have(&p, &a, 99)); /* a clock that was set back */
    assert_false(tls_proofs_have(&p, &b, 150));
    tls_proofs_keep(&p, &b, 200, 200);
    assert_false(tls_proofs_have(&p, &b, 200));
    tls_proofs_fini(&p);
}

static void test_proofs__more_than_fit__bounded_and_the_newest_kept(void **state)
{
    (void)state;
    struct tls_proofs p;
    size_t kept = 0;
    tls_proofs_init(&p, true);
    for (uint32_t i = 0; i < 10000; i++) {
        struct tls_digest d = {{0}};
        memcpy(d.bytes, &i, sizeof i);
        tls_proofs_keep(&p, &d, 0, 10);
        assert_true(tls_proofs_have(&p, &d, 5));
    }
    for (uint32_t i = 0; i < 10000; i++) {
        struct tls_digest d = {{0}};
        memcpy(d.bytes, &i, sizeof i);
        kept += tls_proofs_have(&p, &d, 5);
    }
    assert_int_equal(kept, p.count);
    tls_proofs_fini(&p);
}

static void test_proof_digest__order_and_length__count(void **state)
{
    (void)state;
    struct tls_digest ab = digest_of(&client, &ca), ba = digest_of(&ca, &client),
                      a = digest_of(&client, NULL), again = digest_of(&client, &ca);
    assert_memory_equal(&ab, &again, sizeof ab);
    assert_memory_not_equal(&ab, &ba, sizeof ab);
    assert_memory_not_equal(&ab, &a, sizeof ab);
    STACK_OF(X509) *chain = sk_X509_new_null();
    assert_false(tls_proof_digest(chain, &a));
    for (int i = 0; i < 9; i++)
        sk_X509_push(chain, client.x);
    assert_false(tls_proof_digest(chain, &a));
    sk_X509_free(chain);
}

static void test_store__steady_until__a_crl_begins_or_ends(void **state)
{
    (void)state;
    struct err err = {0};
    int64_t now_s = time(NULL);
    struct tls_store *without = tls_store_get(ca.pem, STR("a"), STR_NULL, &err);
    struct tls_store *with = tls_store_get(ca.pem, STR("a"), fixture_crl(&ca, NULL), &err);
    assert_non_null(without);
    assert_non_null(with);
    assert_true(tls_store_steady_until(without, now_s) == INT64_MAX);
    int64_t begins_s = tls_store_steady_until(with, now_s - 3600);
    int64_t ends_s = tls_store_steady_until(with, now_s);
    assert_in_range(now_s - begins_s, 50, 70);
    assert_in_range(ends_s - now_s, 86000, 86500);
    assert_true(tls_store_steady_until(with, ends_s) == INT64_MAX);
    tls_store_unref(&without);
    tls_store_unref(&with);
}

/* ---- handshakes ---- */
static void test_handshake__accepted__proven_until_its_certificates_end(void **state)
{
    (void)state;
    struct tls_context *s = context(true, &server, ca.pem, STR_NULL);
    struct tls_digest d = digest_of(&client, NULL);
    assert_true(shake(s, &client).server.connected);
    int64_t now_s = time(NULL);
    assert_true(tls_proofs_have(&s->proofs, &d, now_s));
    assert_true(tls_proofs_have(&s->proofs, &d, now_s + 86000));
    assert_false(tls_proofs_have(&s->proofs, &d, now_s + 86400 + 1));
    assert_true(shake(s, &client).server.connected);
    tls_context_unref(&s);
}

/* The proof's use is seen by one that is forged; with one that has run out the chain is verified
 * again. */
static void test_handshake__expired_since__refused(void **state)
{
    (void)state;
    struct tls_context *s = context(true, &server, ca.pem, STR_NULL);
    struct tls_digest d = digest_of(&expired, NULL);
    int64_t now_s = time(NULL);
    tls_proofs_keep(&s->proofs, &d, now_s - 7200, now_s + 3600);
    assert_true(shake(s, &expired).server.connected);
    tls_proofs_keep(&s->proofs, &d, now_s - 7200, now_s - 3600);
    struct ending e = shake(s, &expired);
    assert_int_equal(e.server.failure, TLS_FAILURE_VERIFY);
    assert_non_null(strstr(e.server.text, "certificate has expired"));
    assert_false(tls_proofs_have(&s->proofs, &d, now_s));
    tls_context_unref(&s);
}

static void test_handshake__revoked_or_trust_changed__refused_after_it_was_accepted(void **state)
{
    (void)state;
    static const char *const why[] = {"certificate revoked", "certificate verification error"};
    struct tls_context *before = context(true, &server, ca.pem, STR_NULL);
    struct tls_context *after[] = {
        context(true, &server, ca.pem, fixture_crl(&ca, &client)),
        context(true, &server, other_ca.pem, STR_NULL),
    };
    assert_true(shake(before, &client).server.connected);
    for (size_t i = 0; i < ARRAY_LEN(after); i++) {
        struct ending e = shake(after[i], &client);
        assert_int_equal(e.server.failure, TLS_FAILURE_VERIFY);
        assert_non_null(strstr(e.server.text, why[i]));
        tls_context_unref(&after[i]);
    }
    assert_true(shake(before, &client).server.connected);
    tls_context_unref(&before);
}

static bool says_server(const void *arg, struct str name)
{
    return str_eq(name, str_from(arg));
}

static void test_handshake__proven_but_another_name_wanted__refused(void **state)
{
    (void)state;
    static const char *const wanted[] = {"spiffe://td/server", "spiffe://td/else"};
    struct tls_context *s = context(true, &server, ca.pem, STR_NULL);
    struct tls_context *c = context(false, &client, ca.pem, STR_NULL);
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        struct tls_san_matcher san = {TLS_SAN_URI, says_server, wanted[i], false};
        struct tls_client_opts opts = {.sans = &san, .san_count = 1};
        struct pair p;
        pair_start(&p, s, c, &opts);
        pair_run(&p, pair_judged);
        assert_int_equal(p.client.connected, i == 0);
        assert_int_equal(p.client.failure, i == 0 ? TLS_FAILURE_NONE : TLS_FAILURE_SAN);
        pair_finish(&p);
        struct tls_digest d = digest_of(&server, NULL);
        assert_true(tls_proofs_have(&c->proofs, &d, time(NULL)));
    }
    tls_context_unref(&s);
    tls_context_unref(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_proofs__kept__between_its_two_seconds_only),
        cmocka_unit_test(test_proofs__more_than_fit__bounded_and_the_newest_kept),
        cmocka_unit_test(test_proof_digest__order_and_length__count),
        cmocka_unit_test(test_store__steady_until__a_crl_begins_or_ends),
        cmocka_unit_test(test_handshake__accepted__proven_until_its_certificates_end),
        cmocka_unit_test(test_handshake__expired_since__refused),
        cmocka_unit_test(test_handshake__revoked_or_trust_changed__refused_after_it_was_accepted),
        cmocka_unit_test(test_handshake__proven_but_another_name_wanted__refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
