/* SPDX-License-Identifier: Apache-2.0 */
#include "control/ca/issuer.h"

#include "signing.h"

#include "base/check.h"
#include "base/mem.h"
#include "control/ca/serving.h"
#include "pki/cert.h"
#include "plugged.h"

#include <signal.h>

#define DAY 86400

static struct signer *signer;
static struct auth_chain *chain;
static struct issuer *issuer;
static struct key *a_key;
static struct strbuf a_csr;

struct given {
    bool is_told;
    enum issue_fault fault;
    enum grpc_status status;
    char message[512];
    uint32_t count;
    struct strbuf certs[4];
};

static void on_answer(void *user, const struct issue_answer *a)
{
    struct given *g = user;
    assert_false(g->is_told);
    g->is_told = true;
    g->fault = a->fault;
    g->status = a->status;
    g->count = a->count;
    assert_true(a->count <= 4);
    snprintf(g->message, sizeof g->message, "%.*s", STR_ARG(a->message));
    for (uint32_t i = 0; i < a->count; i++)
        strbuf_adds(&g->certs[i], a->certs[i]);
}

static void given_fini(struct given *g)
{
    for (size_t i = 0; i < 4; i++)
        strbuf_fini(&g->certs[i]);
    *g = (struct given){0};
}

/* The caller of these tests shows a certificate of a/b, unless he is told to be somebody else. */
static const struct str of_ab = {"spiffe://cluster.local/ns/a/sa/b", 32};

static struct issue_query query(void)
{
    return (struct issue_query){.auth = {.is_tls = true, .peer_is_validated = true, .peer_uris = &of_ab, .peer_uri_count = 1,
                                         .peer = STR("10.0.0.1:5")},
                                .csr_pem = strbuf_str(&a_csr)};
}

static struct given create(const struct issue_query *q)
{
    struct given g = {0};
    issuer_create(issuer, q, on_answer, &g);
    assert_false(g.is_told);
    TURN_UNTIL(loop, g.is_told);
    return g;
}

static int may_impersonate(void *user, const struct auth_caller *caller, struct str ns, struct str sa, struct err *why)
{
    (void)user, (void)sa;
    assert_str_equal(caller->service_account, "ztunnel");
    return str_eq(ns, STR("here")) ? 0 : err_set(why, ERR_NOT_FOUND, "no instances of it found on the node");
}

static void start(bool is_plugged_in)
{
    static const struct str trusted = {"istio-system/ztunnel", 20};
    signer = signing_start(is_plugged_in, is_plugged_in ? folder : ca_path("root.pem"));
    chain = auth_chain_new(loop);
    auth_chain_add(chain, auth_certificate_new(STR("cluster.local"), NULL, 0));
    struct issuer_opts o = {.loop = loop, .signer = signer, .auth = chain, .default_ttl_s = DAY, .max_ttl_s = 90 * DAY,
                            .trusted_node_accounts = &trusted, .trusted_node_account_count = 1, .may_impersonate = may_impersonate};
    issuer = issuer_new(&o);
}

static int stop(void **state)
{
    issuer_free(&issuer);
    auth_chain_free(&chain);
    signer_free(&signer);
    return signing_teardown(state);
}

static struct cert_facts facts_of(const struct given *g, struct arena *a)
{
    struct cert_facts f;
    arena_init(a, 0);
    assert_int_equal(cert_inspect(strbuf_str(&g->certs[0]), a, &f, NULL), 0);
    return f;
}

static void expect_fault(struct given g, enum issue_fault fault, enum grpc_status status, const char *message)
{
    assert_int_equal(g.fault, fault);
    assert_int_equal(g.status, status);
    assert_int_equal(g.count, 0);
    if (!strstr(g.message, message))
        fail_msg("%s", g.message);
}

static void test_issuer__request_claims_another__gets_what_he_is(void **state)
{
    (void)state;
    struct issue_query q = query();
    struct arena a;
    int64_t now = (int64_t)(clock_wall_us() / 1000000);
    start(false);
    struct given g = create(&q);
    assert_int_equal(g.status, GRPC_OK);
    assert_int_equal(g.count, 2);
    struct cert_facts f = facts_of(&g, &a);
    assert_str_equal(f.spiffe_id, "spiffe://cluster.local/ns/a/sa/b");
    assert_true(f.not_after_s - now >= DAY && f.not_after_s - now < DAY + 60);
    assert_true(f.not_before_s <= now - 60);
    assert_true(key_fits(a_key, strbuf_str(&g.certs[0])));
    assert_int_equal(cert_verify(strbuf_str(&g.certs[0]), strbuf_str(&g.certs[1]), now, NULL), 0);
    assert_int_equal(issuer_counters(issuer)->issued, 1);
    arena_fini(&a);
    given_fini(&g);
    q.validity_s = 600;
    g = create(&q);
    f = facts_of(&g, &a);
    assert_true(f.not_after_s - now < 700);
    arena_fini(&a);
    given_fini(&g);
}

static void test_issuer__plugged_in__leaf_between_and_root_one_by_one(void **state)
{
    (void)state;
    struct plugged p;
    struct issue_query q = query();
    int64_t now = (int64_t)(clock_wall_us() / 1000000);
    plugged_make(&p, now - DAY, now + 3600);
    plugged_put(&p);
    start(true);
    q.validity_s = 7200; /* longer than the intermediate lives */
    struct given g = create(&q);
    struct arena a;
    struct cert_facts f = facts_of(&g, &a);
    assert_int_equal(g.count, 3);
    assert_true(str_eq(strbuf_str(&g.certs[1]), strbuf_str(&p.ca)));
    assert_true(str_eq(strbuf_str(&g.certs[2]), strbuf_str(&p.root)));
    assert_int_equal(f.not_after_s, now + 3600);
    arena_fini(&a);
    given_fini(&g);
    plugged_drop(&p);
}

static void test_issuer__bad_requests__named_and_counted(void **state)
{
    (void)state;
    static char big[20000];
    struct strbuf metrics = {0};
    struct issue_query q = query();
    start(false);
    q.csr_pem = STR("junk");
    expect_fault(create(&q), ISSUE_CSR, GRPC_INVALID_ARGUMENT, "CSR signing error (no certificate signing request in PEM");
    q.csr_pem = str_make(big, sizeof big);
    expect_fault(create(&q), ISSUE_CSR, GRPC_INVALID_ARGUMENT, "too long");
    q = query();
    q.validity_s = 91 * DAY;
    expect_fault(create(&q), ISSUE_TTL, GRPC_INVALID_ARGUMENT,
                 "CSR signing error (requested TTL 2184h0m0s is greater than the max allowed TTL 2160h0m0s)");
    q = query();
    q.cert_signer = STR("signers.example/mesh");
    expect_fault(create(&q), ISSUE_SIGNER_NAME, GRPC_INVALID_ARGUMENT, "no signer 'signers.example/mesh'");
    q = query();
    q.auth.peer_is_validated = false;
    expect_fault(create(&q), ISSUE_UNAUTHENTICATED, GRPC_UNAUTHENTICATED, "request authenticate failure: Authenticator ClientCert");
    struct given g = create(&(struct issue_query){.auth = query().auth, .csr_pem = strbuf_str(&a_csr)});
    assert_int_equal(g.status, GRPC_OK);
    given_fini(&g);
    issuer_metrics(issuer, 0, &metrics);
    static const char *const lines[] = {
        "\ncitadel_server_csr_count 6\n", "\ncitadel_server_authentication_failure_count 1\n", "\ncitadel_server_csr_parsing_err_count 2\n",
        "\ncitadel_server_success_cert_issuance_count 1\n", "\ncitadel_server_csr_sign_err_count{error=\"TTL_ERROR\"} 1\n",
        "\nweftd_ca_signer_up 1\n", "\ncitadel_server_root_cert_expiry_timestamp ",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        if (!strstr(metrics.p, lines[i]))
            fail_msg("%s is not in\n%s", lines[i], metrics.p);
    strbuf_fini(&metrics);
}

static void test_issuer__impersonation__only_trusted_nodes_and_their_own(void **state)
{
    (void)state;
    static const struct str ztunnel = {"spiffe://cluster.local/ns/istio-system/sa/ztunnel", 49};
    struct issue_query q = query();
    start(false);
    q.impersonated = STR("spiffe://cluster.local/ns/here/sa/x");
    expect_fault(create(&q), ISSUE_IMPERSONATION, GRPC_UNAUTHENTICATED, "request impersonation authentication failure");
    q.auth.peer_uris = &ztunnel;
    struct given g = create(&q);
    struct arena a;
    struct cert_facts f = facts_of(&g, &a);
    assert_str_equal(f.spiffe_id, "spiffe://cluster.local/ns/here/sa/x");
    arena_fini(&a);
    given_fini(&g);
    q.impersonated = STR("spiffe://cluster.local/ns/elsewhere/sa/x");
    expect_fault(create(&q), ISSUE_IMPERSONATION, GRPC_UNAUTHENTICATED, "request impersonation");
    q.impersonated = STR("spiffe://cluster.local/here/x");
    expect_fault(create(&q), ISSUE_IMPERSONATION, GRPC_UNAUTHENTICATED, "request impersonation");
    q.impersonated = STR("spiffe://other.domain/ns/here/sa/x");
    expect_fault(create(&q), ISSUE_CSR, GRPC_INVALID_ARGUMENT, "not of the trust domain");
}

static void test_issuer__signer_down_or_killed__unavailable_then_well_again(void **state)
{
    (void)state;
    struct issue_query q = query();
    ca_put("root.pem", STR("nothing"));
    start(false);
    TURN_UNTIL(loop, downs > 0);
    expect_fault(create(&q), ISSUE_NOT_READY, GRPC_UNAVAILABLE, "not written by weftd");
    unlink(ca_path("root.pem"));
    TURN_UNTIL(loop, signer_is_up(signer));
    kill(signing_pid(), SIGKILL);
    struct given g = create(&q);
    assert_int_equal(g.status, GRPC_OK);
    given_fini(&g);
}

static void test_issuer__cancelled_at_each_step__never_told(void **state)
{
    (void)state;
    struct issue_query q = query();
    struct given never = {0};
    start(false);
    TURN_UNTIL(loop, signer_is_up(signer));
    struct issue_call *c = issuer_create(issuer, &q, on_answer, &never);
    issue_call_cancel(&c);
    c = issuer_create(issuer, &q, on_answer, &never);
    loop_turn(loop, 0);
    issue_call_cancel(&c);
    q.csr_pem = str_make("", CSR_MAX_BYTES + 1);
    c = issuer_create(issuer, &q, on_answer, &never);
    issue_call_cancel(&c);
    q = query();
    struct given g = create(&q);
    given_fini(&g);
    assert_false(never.is_told);
}

/* ---- weftd's own ---- */

static unsigned served;
static struct strbuf served_chain;

static void on_certificate(void *user, struct str chain_pem, struct str key_text)
{
    (void)user;
    struct key *k = key_load(key_text, STR_NULL, NULL);
    assert_non_null(k);
    assert_true(key_fits(k, chain_pem));
    key_free(&k);
    strbuf_reset(&served_chain);
    strbuf_adds(&served_chain, chain_pem);
    served++;
}

static void test_serving__names_renewal_and_change__each_a_new_one(void **state)
{
    (void)state;
    static const struct str hosts[] = {{"istiod.istio-system.svc", 23}, {"127.0.0.1", 9}};
    start(false);
    served = 0;
    struct serving_opts o = {.loop = loop, .signer = signer, .hosts = hosts, .host_count = 2, .key_kind = KEY_EC_P256, .ttl_s = 4,
                             .on_certificate = on_certificate};
    struct serving *s = serving_new(&o);
    TURN_UNTIL(loop, served == 1);
    BIO *bio = BIO_new_mem_buf(served_chain.p, (int)served_chain.n);
    X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    assert_int_equal(X509_check_host(cert, "istiod.istio-system.svc", 0, 0, NULL), 1);
    assert_int_equal(X509_check_ip_asc(cert, "127.0.0.1", 0), 1);
    X509_free(cert);
    BIO_free(bio);
    TURN_UNTIL(loop, served == 2); /* half of four seconds */
    serving_renew(s);
    TURN_UNTIL(loop, served == 3);
    assert_true(serving_until_s(s) > 0);
    serving_free(&s);
    strbuf_fini(&served_chain);
}

static int make_request(void **state)
{
    (void)state;
    a_key = CA_NEW_KEY();
    ca_request(a_key, &a_csr);
    return 0;
}

static int drop_request(void **state)
{
    (void)state;
    key_free(&a_key);
    strbuf_fini(&a_csr);
    return 0;
}

#define ISSUING(t) cmocka_unit_test_setup_teardown(t, signing_setup, stop)

int main(int argc, char **argv)
{
    SIGNER_HOOK(argc, argv);
    const struct CMUnitTest tests[] = {
        ISSUING(test_issuer__request_claims_another__gets_what_he_is),
        ISSUING(test_issuer__plugged_in__leaf_between_and_root_one_by_one),
        ISSUING(test_issuer__bad_requests__named_and_counted),
        ISSUING(test_issuer__impersonation__only_trusted_nodes_and_their_own),
        ISSUING(test_issuer__signer_down_or_killed__unavailable_then_well_again),
        ISSUING(test_issuer__cancelled_at_each_step__never_told),
        ISSUING(test_serving__names_renewal_and_change__each_a_new_one),
    };
    return cmocka_run_group_tests(tests, make_request, drop_request);
}
