/* SPDX-License-Identifier: Apache-2.0 */
#include "control/ca/auth.h"

#include "../../unit.h"

#include "base/base64.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "ca_files.h"
#include "control/ca/identity_check.h"
#include "pki/openssl_priv.h"

#define TD STR("cluster.local")

static const struct str former = {"former.domain", 13};

static struct loop *loop;
static struct auth_chain *chain;

struct verdict {
    bool is_told, is_known;
    char identity[256], source[64], pod[64], why[1024];
};

static void on_verdict(void *user, const struct auth_caller *c, struct str why)
{
    struct verdict *v = user;
    assert_false(v->is_told);
    v->is_told = true;
    v->is_known = c != NULL;
    snprintf(v->why, sizeof v->why, "%.*s", STR_ARG(why));
    if (c) {
        snprintf(v->identity, sizeof v->identity, "%.*s", STR_ARG(c->identity));
        snprintf(v->source, sizeof v->source, "%.*s", STR_ARG(c->source));
        snprintf(v->pod, sizeof v->pod, "%.*s", STR_ARG(c->pod_name));
    }
}

static struct verdict ask(const struct auth_request *q)
{
    struct verdict v = {0};
    struct auth_caller at_once;
    struct strbuf why = {0};
    struct arena a;
    arena_init(&a, 0);
    enum auth_step step = auth_try(chain, q, &a, &at_once, &why);
    auth_ask(chain, q, on_verdict, &v);
    assert_false(v.is_told); /* never from inside */
    loop_turn(loop, 0);
    assert_true(v.is_told);
    if (step != AUTH_PENDING) {
        assert_int_equal(step == AUTH_TAKEN, v.is_known);
        assert_str_equal(strbuf_str(&why), v.why);
        assert_true(step != AUTH_TAKEN || (str_eq(at_once.identity, str_from(v.identity)) && str_eq(at_once.source, str_from(v.source))));
    }
    strbuf_fini(&why);
    arena_fini(&a);
    return v;
}

static struct verdict ask_bearer(const char *token)
{
    char header[8192];
    snprintf(header, sizeof header, "Bearer %s", token);
    return ask(&(struct auth_request){.is_tls = true, .authorization = str_from(header)});
}

static void expect_known(struct verdict v, const char *identity, const char *source)
{
    if (!v.is_known)
        fail_msg("%s", v.why);
    assert_string_equal(v.identity, identity);
    assert_string_equal(v.source, source);
}

static void expect_refused(struct verdict v, const char *why)
{
    assert_false(v.is_known);
    if (!strstr(v.why, why))
        fail_msg("%s", v.why);
}

static int setup(void **state)
{
    log_set_level_all(LOG_OFF);
    loop = loop_new("test", NULL);
    chain = auth_chain_new(loop);
    return ca_folder_make(state);
}

static int teardown(void **state)
{
    loop_turn(loop, 0);
    auth_chain_free(&chain);
    loop_turn(loop, 0);
    loop_free(&loop);
    return ca_folder_drop(state);
}

/* ---- the chain ---- */

static void test_auth__nobody_knows_him__each_says_why(void **state)
{
    (void)state;
    struct err err = {0};
    expect_refused(ask(&(struct auth_request){0}), "there is no authenticator");
    auth_chain_add(chain, auth_certificate_new(TD, &former, 1));
    auth_chain_add(chain, auth_token_file_new(loop, folder, TD, &err));
    struct verdict v = ask_bearer("a-secret-that-nobody-knows");
    assert_false(v.is_known);
    assert_string_equal(v.why, "Authenticator ClientCertAuthenticator: no verified chain is found; "
                               "Authenticator BootstrapTokenAuthenticator: the token is no workload's");
    expect_refused(ask(&(struct auth_request){0}), "no HTTP authorization header exists");
    expect_refused(ask(&(struct auth_request){.authorization = STR("Basic abc")}), "no bearer token exists");
    expect_refused(ask(&(struct auth_request){.authorization = STR("Bearer ")}), "no bearer token exists");
}

static void test_auth_cancel__before_it_is_told__never_is(void **state)
{
    (void)state;
    struct verdict v = {0};
    struct auth_call *c = auth_ask(chain, &(struct auth_request){0}, on_verdict, &v);
    auth_cancel(&c);
    loop_turn(loop, 0);
    assert_false(v.is_told);
}

/* ---- certificates ---- */

static void test_certificate__one_verified_workload__known(void **state)
{
    (void)state;
    static const struct str two[] = {{"spiffe://cluster.local/ns/a/sa/b", 32}, {"spiffe://cluster.local/ns/a/sa/c", 32}};
    static const struct str odd = {"spiffe://cluster.local/node/1", 29}, web = {"https://a/b", 11}, of_former = {"spiffe://former.domain/ns/a/sa/b", 32},
                            of_other = {"spiffe://other.domain/ns/a/sa/b", 31};
    auth_chain_add(chain, auth_certificate_new(TD, &former, 1));
    struct auth_request q = {.is_tls = true, .peer_is_validated = true, .peer_uris = two, .peer_uri_count = 1};
    expect_known(ask(&q), "spiffe://cluster.local/ns/a/sa/b", "ClientCertAuthenticator");
    q.peer_uri_count = 2;
    expect_refused(ask(&q), "has 2 URIs");
    q.peer_uri_count = 1;
    q.peer_is_validated = false;
    expect_refused(ask(&q), "no verified chain");
    q.peer_is_validated = true;
    q.peer_uris = &odd;
    expect_refused(ask(&q), "is no workload's identity");
    q.peer_uris = &of_former;
    expect_known(ask(&q), "spiffe://cluster.local/ns/a/sa/b", "ClientCertAuthenticator");
    q.peer_uris = &of_other;
    expect_refused(ask(&q), "is not of the trust domain cluster.local, nor of an alias");
    q.peer_uris = &web;
    expect_refused(ask(&q), "does not begin with spiffe://");
    q.is_tls = false;
    expect_refused(ask(&q), "no client certificate");
}

/* ---- token files ---- */

static void put_token(const char *name, const char *text, unsigned mode)
{
    char path[256];
    snprintf(path, sizeof path, "%s", ca_path(name));
    assert_int_equal(file_replace(path, str_from(text), mode, NULL), 0);
}

static void remove_tokens(void)
{
    static const char *const names[] = {"a/b", "a/c", "a/d", "a/e", "z/late"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unlink(ca_path(names[i]));
    rmdir(ca_path("a"));
    rmdir(ca_path("z"));
}

static bool knows(const char *token)
{
    return ask_bearer(token).is_known;
}

#define TURN_UNTIL(condition)                                                                      \
    do {                                                                                           \
        uint64_t give_up_ = clock_mono_us() + 10000000;                                            \
        while (!(condition)) {                                                                     \
            assert_true(clock_mono_us() < give_up_);                                               \
            loop_turn(loop, 20);                                                                   \
        }                                                                                          \
    } while (0)

static void test_token_file__its_workload_and_nobody_else(void **state)
{
    (void)state;
    struct err err = {0};
    mkdir(ca_path("a"), 0700);
    put_token("a/b", "token-of-a-and-b-0001\nits-next-one-000000002\n", 0600);
    put_token("a/c", "short\n", 0600);
    put_token("a/d", "token-that-all-can-read\n", 0644);
    auth_chain_add(chain, auth_token_file_new(loop, folder, TD, &err));
    expect_known(ask_bearer("token-of-a-and-b-0001"), "spiffe://cluster.local/ns/a/sa/b", "BootstrapTokenAuthenticator");
    expect_known(ask_bearer("its-next-one-000000002"), "spiffe://cluster.local/ns/a/sa/b", "BootstrapTokenAuthenticator");
    expect_known(ask(&(struct auth_request){.authorization = STR("Istio token-of-a-and-b-0001")}),
                 "spiffe://cluster.local/ns/a/sa/b", "BootstrapTokenAuthenticator");
    expect_refused(ask_bearer("token-of-a-and-b-000"), "no workload's");
    expect_refused(ask_bearer("token-of-a-and-b-00011"), "no workload's");
    expect_refused(ask_bearer("short"), "no workload's");
    expect_refused(ask_bearer("token-that-all-can-read"), "no workload's");
    remove_tokens();
}

static void test_token_file__changes__are_seen(void **state)
{
    (void)state;
    struct err err = {0};
    auth_chain_add(chain, auth_token_file_new(loop, folder, TD, &err));
    assert_false(knows("the-token-of-late-01"));
    mkdir(ca_path("z"), 0700);
    put_token("z/late", "the-token-of-late-01", 0600);
    TURN_UNTIL(knows("the-token-of-late-01"));
    put_token("z/late", "the-token-of-late-02", 0600);
    TURN_UNTIL(!knows("the-token-of-late-01") && knows("the-token-of-late-02"));
    unlink(ca_path("z/late"));
    TURN_UNTIL(!knows("the-token-of-late-02"));
    remove_tokens();
}

static void test_token_file__two_workloads_one_token__is_neithers(void **state)
{
    (void)state;
    struct err err = {0};
    mkdir(ca_path("a"), 0700);
    put_token("a/b", "the-very-same-token-1", 0600);
    put_token("a/c", "the-very-same-token-1", 0600);
    put_token("a/d", "the-very-same-token-1", 0600);
    put_token("a/e", "another-token-000001", 0600);
    auth_chain_add(chain, auth_token_file_new(loop, folder, TD, &err));
    expect_refused(ask_bearer("the-very-same-token-1"), "several workloads");
    expect_known(ask_bearer("another-token-000001"), "spiffe://cluster.local/ns/a/sa/e", "BootstrapTokenAuthenticator");
    remove_tokens();
}

/* ---- JWT ---- */

static EVP_PKEY *issuer_key;

static void add_b64url(struct strbuf *out, struct str s)
{
    char text[4096];
    size_t n = b64_encode(s, text);
    for (size_t i = 0; i < n && text[i] != '='; i++)
        strbuf_addc(out, text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i]);
}

static char *sign_token(EVP_PKEY *key, const char *claims)
{
    struct strbuf t = {0};
    unsigned char der[512], raw[64] = {0};
    size_t n = sizeof der;
    add_b64url(&t, STR("{\"alg\":\"ES256\"}"));
    strbuf_addc(&t, '.');
    add_b64url(&t, str_from(claims));
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key);
    EVP_DigestSign(ctx, der, &n, (const unsigned char *)t.p, t.n);
    EVP_MD_CTX_free(ctx);
    const unsigned char *p = der;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long)n);
    BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32);
    ECDSA_SIG_free(sig);
    strbuf_addc(&t, '.');
    add_b64url(&t, str_make((const char *)raw, 64));
    return strbuf_take(&t);
}

static void public_pem(EVP_PKEY *key, struct strbuf *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *p = NULL;
    PEM_write_bio_PUBKEY(bio, key);
    long n = BIO_get_mem_data(bio, &p);
    strbuf_add(out, p, (size_t)n);
    BIO_free(bio);
}

static struct verdict ask_claims(EVP_PKEY *key, const char *format, ...)
{
    char claims[1024];
    va_list ap;
    va_start(ap, format);
    vsnprintf(claims, sizeof claims, format, ap);
    va_end(ap);
    char *token = sign_token(key, claims);
    struct verdict v = ask_bearer(token);
    assert_null(strstr(v.why, token));
    mem_free(token);
    return v;
}

#define GOOD_SUB "system:serviceaccount:a:b"
#define CLAIMS "{\"iss\":\"%s\",\"sub\":\"%s\",\"aud\":[\"%s\"],\"exp\":%lld}"

static void test_jwt__claims_and_signature__as_they_must_be(void **state)
{
    (void)state;
    static const struct str audience = {"istio-ca", 8};
    struct strbuf keys = {0};
    struct err err = {0};
    long long now = (long long)(clock_wall_us() / 1000000);
    EVP_PKEY *stranger = EVP_EC_gen("P-256");
    issuer_key = EVP_EC_gen("P-256");
    public_pem(issuer_key, &keys);
    struct auth_jwt_opts o = {.issuer = STR("https://issuer"), .audiences = &audience, .audience_count = 1,
                              .jwks = strbuf_str(&keys), .trust_domain = TD, .skew_s = 60};
    struct authenticator *a = auth_jwt_new(loop, &o, &err);
    assert_non_null(a);
    auth_chain_add(chain, a);
    expect_known(ask_claims(issuer_key, CLAIMS, "https://issuer", GOOD_SUB, "istio-ca", now + 100), "spiffe://cluster.local/ns/a/sa/b",
                 "IDTokenAuthenticator");
    expect_known(ask_claims(issuer_key, CLAIMS, "https://issuer", GOOD_SUB, "istio-ca", now - 30), "spiffe://cluster.local/ns/a/sa/b",
                 "IDTokenAuthenticator"); /* its clock is behind */
    expect_refused(ask_claims(issuer_key, CLAIMS, "https://issuer", GOOD_SUB, "istio-ca", now - 100), "Jwt is expired");
    expect_refused(ask_claims(issuer_key, CLAIMS, "https://other", GOOD_SUB, "istio-ca", now + 100), "not of https://issuer");
    expect_refused(ask_claims(issuer_key, CLAIMS, "https://issuer", GOOD_SUB, "vault", now + 100), "invalid audiences");
    expect_refused(ask_claims(issuer_key, CLAIMS, "https://issuer", "alice", "istio-ca", now + 100), "invalid sub");
    expect_refused(ask_claims(issuer_key, CLAIMS, "https://issuer", "system:serviceaccount:a:b:c", "istio-ca", now + 100), "invalid sub");
    expect_refused(ask_claims(issuer_key, CLAIMS, "https://issuer", "system:serviceaccount:a/sa/x:b", "istio-ca", now + 100),
                   "are no namespace and service account");
    expect_refused(ask_claims(issuer_key, "{\"iss\":\"https://issuer\",\"sub\":\"" GOOD_SUB "\",\"aud\":\"istio-ca\"}"), "has no end");
    expect_refused(ask_claims(stranger, CLAIMS, "https://issuer", GOOD_SUB, "istio-ca", now + 100), "failed to verify");
    expect_refused(ask_bearer("a.b.c"), "failed to verify");
    expect_refused(ask_bearer("opaque"), "failed to verify");
    EVP_PKEY_free(stranger);
    EVP_PKEY_free(issuer_key);
    strbuf_fini(&keys);
}

static void test_jwt__key_file_replaced__new_key_counts_and_a_broken_file_does_not(void **state)
{
    (void)state;
    static const struct str audience = {"istio-ca", 8};
    struct strbuf one = {0}, two = {0};
    struct err err = {0};
    long long until = (long long)(clock_wall_us() / 1000000) + 100;
    EVP_PKEY *first = EVP_EC_gen("P-256"), *second = EVP_EC_gen("P-256");
    public_pem(first, &one);
    public_pem(second, &two);
    struct auth_jwt_opts o = {.issuer = STR("i"), .audiences = &audience, .audience_count = 1,
                              .jwks_path = str_from(ca_path("jwks")), .trust_domain = TD};
    assert_null(auth_jwt_new(loop, &o, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    ca_put("jwks", strbuf_str(&one));
    auth_chain_add(chain, auth_jwt_new(loop, &o, &err));
    assert_true(ask_claims(first, CLAIMS, "i", GOOD_SUB, "istio-ca", until).is_known);
    ca_put("jwks", STR("broken"));
    for (int i = 0; i < 5; i++)
        loop_turn(loop, 10);
    assert_true(ask_claims(first, CLAIMS, "i", GOOD_SUB, "istio-ca", until).is_known);
    ca_put("jwks", strbuf_str(&two));
    TURN_UNTIL(ask_claims(second, CLAIMS, "i", GOOD_SUB, "istio-ca", until).is_known);
    assert_false(ask_claims(first, CLAIMS, "i", GOOD_SUB, "istio-ca", until).is_known);
    o.audience_count = 0;
    assert_null(auth_jwt_new(loop, &o, &err));
    assert_int_equal(err.code, ERR_INVALID);
    EVP_PKEY_free(first);
    EVP_PKEY_free(second);
    strbuf_fini(&one);
    strbuf_fini(&two);
}

static void test_jwt_rule__as_istiods__read_or_refused_by_name(void **state)
{
    (void)state;
    struct strbuf keys = {0}, rule = {0};
    struct err err = {0};
    EVP_PKEY *key = EVP_EC_gen("P-256");
    public_pem(key, &keys);
    strbuf_addz(&rule, "{\"issuer\":\"i\",\"audiences\":[\"x\",\"istio-ca\"],\"jwks\":\"");
    strbuf_add_json(&rule, strbuf_str(&keys));
    strbuf_addz(&rule, "\"}");
    struct authenticator *a = auth_jwt_rule_new(loop, strbuf_str(&rule), TD, 60, &err);
    if (!a)
        fail_msg("%s", err.message);
    auth_chain_add(chain, a);
    assert_true(ask_claims(key, CLAIMS, "i", GOOD_SUB, "istio-ca", (long long)(clock_wall_us() / 1000000) + 100).is_known);
    static const struct {
        const char *rule, *why;
    } bad[] = {
        {"{\"issuer\":\"i\",\"audiences\":[\"a\"],\"jwks_uri\":\"https://x\"}", "'jwks_uri' isn't supported"},
        {"{\"issuer\":\"i\",\"audiences\":[],\"jwks\":\"{}\"}", "audiences"},
        {"{\"issuer\":\"i\",\"audiences\":[1],\"jwks\":\"{}\"}", "audiences[0]"},
        {"{\"issuer\":1}", "issuer: not a text"},
        {"{\"issuer\":\"i\",\"audiences\":[\"a\"]}", "either inline or in a file"},
        {"[]", "JSON object"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_null(auth_jwt_rule_new(loop, str_from(bad[i].rule), TD, 60, &err));
        if (!strstr(err.message, bad[i].why))
            fail_msg("%s", err.message);
    }
    EVP_PKEY_free(key);
    strbuf_fini(&keys);
    strbuf_fini(&rule);
}

/* ---- Kubernetes ---- */

static token_review_fn review_fn;
static void *review_ctx;
static bool review_cancelled;

static void *begin_review(void *user, struct str token, const struct str *audiences, uint32_t n, struct str cluster, token_review_fn fn,
                          void *ctx, struct err *err)
{
    assert_str_equal(token, "kube-token");
    assert_int_equal(n, 1);
    assert_str_equal(audiences[0], "istio-ca");
    if (str_eq(cluster, STR("elsewhere"))) {
        err_set(err, ERR_NOT_FOUND, "could not get cluster elsewhere's kube client");
        return NULL;
    }
    review_fn = fn;
    review_ctx = ctx;
    return user;
}

static void cancel_review(void *user, void *review)
{
    assert_ptr_equal(user, review);
    review_cancelled = true;
}

static const struct token_reviewer reviewer = {&review_cancelled, begin_review, cancel_review};

static struct verdict ask_kube(const struct token_review *r, const struct err *failure)
{
    struct verdict v = {0};
    auth_ask(chain, &(struct auth_request){.authorization = STR("Bearer kube-token"), .cluster_id = STR("Kubernetes")}, on_verdict, &v);
    loop_turn(loop, 0);
    assert_false(v.is_told);
    review_fn(review_ctx, r, failure);
    loop_turn(loop, 0);
    assert_true(v.is_told);
    return v;
}

static void test_kube__answers_of_the_api_server__judged(void **state)
{
    (void)state;
    static const struct str audience = {"istio-ca", 8}, other = {"vault", 5};
    static const struct str groups[] = {{"system:authenticated", 20}, {"system:serviceaccounts", 22}};
    struct token_review r = {.is_authenticated = true, .username = STR(GOOD_SUB), .groups = groups, .group_count = 2,
                             .audiences = &audience, .audience_count = 1, .pod_name = STR("pod-1")};
    struct err down = {0};
    auth_chain_add(chain, auth_certificate_new(TD, &former, 1));
    auth_chain_add(chain, auth_kube_new(&reviewer, &audience, 1, TD));
    struct verdict v = ask_kube(&r, NULL);
    expect_known(v, "spiffe://cluster.local/ns/a/sa/b", "KubeJWTAuthenticator");
    assert_string_equal(v.pod, "pod-1");
    r.group_count = 1;
    expect_refused(ask_kube(&r, NULL), "not a service account");
    r.group_count = 2;
    r.username = STR("alice");
    expect_refused(ask_kube(&r, NULL), "not a service account");
    r.username = STR(GOOD_SUB);
    r.audiences = &other;
    expect_refused(ask_kube(&r, NULL), "not for this audience");
    r.audience_count = 0;
    expect_refused(ask_kube(&r, NULL), "not for this audience");
    r.is_authenticated = false;
    expect_refused(ask_kube(&r, NULL), "the token is not authenticated");
    r.error = STR("token has expired");
    expect_refused(ask_kube(&r, NULL), "cluster \"Kubernetes\": the service account authentication returns an error: token has expired");
    err_set(&down, ERR_TIMEOUT, "the API server gave no answer");
    expect_refused(ask_kube(NULL, &down), "gave no answer");
    expect_refused(ask(&(struct auth_request){.authorization = STR("Bearer kube-token"), .cluster_id = STR("elsewhere")}), "elsewhere's");
}

static void test_kube__cancelled_while_asked__review_is_too(void **state)
{
    (void)state;
    static const struct str audience = {"istio-ca", 8};
    struct verdict v = {0};
    auth_chain_add(chain, auth_kube_new(&reviewer, &audience, 1, TD));
    struct auth_call *c = auth_ask(chain, &(struct auth_request){.authorization = STR("Bearer kube-token")}, on_verdict, &v);
    auth_cancel(&c);
    loop_turn(loop, 0);
    assert_true(review_cancelled);
    assert_false(v.is_told);
}

/* ---- what a node says of itself ---- */

static void test_identity_check__metadata__must_agree(void **state)
{
    (void)state;
    static const struct str id = {"spiffe://cluster.local/ns/a/sa/b", 32};
    struct err err = {0};
    assert_int_equal(identity_check(id, STR("a"), STR("b"), &err), 0);
    assert_int_equal(identity_check(id, STR("a"), STR(""), &err), 0);
    assert_int_equal(identity_check(id, STR(""), STR(""), &err), 0);
    assert_int_equal(identity_check(id, STR("x"), STR("b"), &err), ERR_INVALID);
    assert_string_equal(err.message, "authorization failed: no identities ([spiffe://cluster.local/ns/a/sa/b]) matched x/b");
    assert_int_equal(identity_check(id, STR("a"), STR("x"), &err), ERR_INVALID);
    assert_int_equal(identity_check(STR("a/b"), STR(""), STR(""), &err), ERR_INVALID);
}

#define IN_LOOP(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_LOOP(test_auth__nobody_knows_him__each_says_why),
        IN_LOOP(test_auth_cancel__before_it_is_told__never_is),
        IN_LOOP(test_certificate__one_verified_workload__known),
        IN_LOOP(test_token_file__its_workload_and_nobody_else),
        IN_LOOP(test_token_file__changes__are_seen),
        IN_LOOP(test_token_file__two_workloads_one_token__is_neithers),
        IN_LOOP(test_jwt__claims_and_signature__as_they_must_be),
        IN_LOOP(test_jwt__key_file_replaced__new_key_counts_and_a_broken_file_does_not),
        IN_LOOP(test_jwt_rule__as_istiods__read_or_refused_by_name),
        IN_LOOP(test_kube__answers_of_the_api_server__judged),
        IN_LOOP(test_kube__cancelled_while_asked__review_is_too),
        cmocka_unit_test(test_identity_check__metadata__must_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
