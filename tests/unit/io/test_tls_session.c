/* SPDX-License-Identifier: Apache-2.0
 *
 * Handshakes between two real connections: who is accepted, what is agreed, what is resumed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "io/tls_priv.h"
#include "tls_fixture.h"
#include "tls_pair.h"

static struct fixture_cert ca, other_ca, server_ec, server_rsa, wild_ec, client_ok, client_expired,
    client_other, middle_ca, client_middle, client_two;

static int setup(void **state)
{
    (void)state;
    ca = fixture_cert(&(struct fixture_opts){.cn = "ca", .ca = true});
    other_ca = fixture_cert(&(struct fixture_opts){.cn = "other", .ca = true});
    server_ec = fixture_cert(&(struct fixture_opts){
        .cn = "server", .sans = "DNS:a.example,URI:spiffe://td/server", .issuer = &ca});
    server_rsa = fixture_cert(&(struct fixture_opts){
        .cn = "server", .sans = "DNS:a.example", .rsa = true, .issuer = &ca});
    wild_ec = fixture_cert(
        &(struct fixture_opts){.cn = "wild", .sans = "DNS:*.b.example", .issuer = &ca});
    client_ok = fixture_cert(&(struct fixture_opts){
        .cn = "client", .issuer = &ca,
        .sans = "DNS:c.example,URI:spiffe://td/client,email:x@y.z,IP:10.1.2.3"});
    client_two = fixture_cert(
        &(struct fixture_opts){.cn = "two", .issuer = &ca, .sans = "URI:spiffe://td/two"});
    client_expired =
        fixture_cert(&(struct fixture_opts){.cn = "old", .issuer = &ca, .expired = true});
    client_other = fixture_cert(&(struct fixture_opts){.cn = "alien", .issuer = &other_ca});
    middle_ca = fixture_cert(&(struct fixture_opts){.cn = "middle", .ca = true, .issuer = &ca});
    client_middle = fixture_cert(&(struct fixture_opts){.cn = "m", .issuer = &middle_ca});
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    fixture_free();
    return 0;
}

/* ---- short ways to make contexts ---- */
static struct tls_cert_opts cert_opts(const struct fixture_cert *c)
{
    return (struct tls_cert_opts){.chain_pem = c->pem, .key_pem = c->key_pem};
}
static struct tls_context *make(const struct tls_context_opts *o)
{
    struct err err = {0};
    struct tls_context *ctx = tls_context_new(o, &err);
    if (!ctx)
        fail_msg("%s", err.message);
    return ctx;
}
static struct tls_context_opts server_opts(struct tls_cert_opts *cert)
{
    *cert = cert_opts(&server_ec);
    return (struct tls_context_opts){
        .server = true, .certs = cert, .cert_count = 1, .trusted_ca_pem = ca.pem};
}
static struct tls_context_opts client_opts(struct tls_cert_opts *cert, const struct fixture_cert *c)
{
    struct tls_context_opts o = {.trusted_ca_pem = ca.pem, .max_session_keys = 1};
    if (c) {
        *cert = cert_opts(c);
        o.certs = cert;
        o.cert_count = 1;
    }
    return o;
}

struct outcome {
    struct side client, server;
    bool presented, validated, resumed;
    char alpn[32], sni[64], subject[128], version[16], curve[16], uri[64];
};

static void note(struct outcome *o, struct pair *p)
{
    o->client = p->client;
    o->server = p->server;
    struct tls_session *s = p->server.tls, *c = p->client.tls;
    if (s) {
        o->presented = tls_session_peer_presented(s);
        o->validated = tls_session_peer_validated(s);
        o->resumed = tls_session_is_resumed(s);
        snprintf(o->sni, sizeof o->sni, "%.*s", STR_ARG(tls_session_sni(s)));
        snprintf(o->version, sizeof o->version, "%s", tls_session_version(s));
        snprintf(o->curve, sizeof o->curve, "%s", tls_session_curve(s));
    }
    if (c) {
        snprintf(o->alpn, sizeof o->alpn, "%.*s", STR_ARG(tls_session_alpn(c)));
        const struct tls_cert_facts *f = tls_session_peer(c);
        snprintf(o->subject, sizeof o->subject, "%.*s", STR_ARG(f->subject));
    }
}

/* One connection between the two; takes both references. */
static struct outcome shake_keep(struct tls_context *server, struct tls_context *client,
                                 const struct tls_client_opts *opts)
{
    struct outcome o = {0};
    struct pair p;
    pair_start(&p, server, client, opts);
    pair_run(&p, pair_judged);
    if (p.server.c && p.client.c)
        pair_greet(&p);
    note(&o, &p);
    pair_finish(&p);
    return o;
}
static struct outcome shake(struct tls_context *server, struct tls_context *client,
                            const struct tls_client_opts *opts)
{
    struct outcome o = shake_keep(server, client, opts);
    tls_context_unref(&server);
    tls_context_unref(&client);
    return o;
}

static void expect_refused(const struct side *s, enum tls_failure why, const char *text)
{
    assert_true(s->closed);
    assert_int_equal(s->why, CONN_CLOSE_TLS_FAILED);
    assert_int_equal(s->failure, why);
    if (!strstr(s->text, text) || strncmp(s->text, "TLS_error:|", 11))
        fail_msg("\"%s\" lacks \"%s\"", s->text, text);
}

/* ---- agreeing ---- */
static void test_handshake__defaults__tls13_with_x25519(void **state)
{
    (void)state;
    struct tls_cert_opts sc, cc;
    struct tls_context_opts so = server_opts(&sc), co = client_opts(&cc, NULL);
    struct outcome o = shake(make(&so), make(&co), &(struct tls_client_opts){.sni = STR("a.example")});
    assert_true(o.client.connected && o.server.connected);
    assert_string_equal(o.version, "TLSv1.3");
    assert_string_equal(o.curve, "X25519");
    assert_string_equal(o.sni, "a.example");
    assert_string_equal(o.subject, "CN=server,O=weft");
    assert_false(o.presented || o.validated);
}

static void test_handshake__maximum_version__kept(void **state)
{
    (void)state;
    struct tls_cert_opts sc, cc;
    struct tls_context_opts so = server_opts(&sc), co = client_opts(&cc, NULL);
    so.max_version = TLS_1_2;
    struct outcome o = shake(make(&so), make(&co), NULL);
    assert_string_equal(o.version, "TLSv1.2");
}

static void test_handshake__no_common_version__protocol_failure(void **state)
{
    (void)state;
    struct tls_cert_opts sc, cc;
    struct tls_context_opts so = server_opts(&sc), co = client_opts(&cc, NULL);
    so.min_version = TLS_1_3;
    co.max_version = TLS_1_2;
    struct outcome o = shake(make(&so), make(&co), NULL);
    expect_refused(&o.server, TLS_FAILURE_PROTOCOL, "UNSUPPORTED_PROTOCOL");
    expect_refused(&o.client, TLS_FAILURE_PROTOCOL, "ALERT_PROTOCOL_VERSION");
}

static struct outcome shake_alpn(const struct str *server, size_t n, const struct str *client, size_t m)
{
    struct tls_cert_opts sc, cc;
    struct tls_context_opts so = server_opts(&sc), co = client_opts(&cc, NULL);
    so.alpn = server;
    so.alpn_count = n;
    co.alpn = (struct str[]){STR("overridden")};
    co.alpn_count = 1;
    return shake(make(&so), make(&co), &(struct tls_client_opts){.alpn = client, .alpn_count = m});
}

static void test_handshake__alpn__servers_order_decides(void **state)
{
    (void)state;
    struct outcome o = shake_alpn((struct str[]){STR("h2"), STR("http/1.1")}, 2,
                                  (struct str[]){STR("http/1.1"), STR("h2")}, 2);
    assert_string_equal(o.alpn, "h2");
}

static void test_handshake__alpn_without_overlap__goes_on_without(void **state)
{
    (void)state;
    struct outcome o =
        shake_alpn((struct str[]){STR("h2")}, 1, (struct str[]){STR("istio")}, 1);
    assert_true(o.client.connected);
    assert_string_equal(o.alpn, "");
}

/* ---- choosing a certificate ---- */
static struct outcome shake_sni(const char *sni, bool full_scan, const char *client_sigalgs)
{
    struct tls_cert_opts certs[] = {cert_opts(&wild_ec), cert_opts(&server_rsa),
                                    cert_opts(&server_ec)},
                         cc;
    struct tls_context_opts so = server_opts(&cc), co = client_opts(&cc, NULL);
    so.certs = certs;
    so.cert_count = 3;
    so.full_scan_certs_on_sni_mismatch = full_scan;
    co.signature_algorithms = str_from(client_sigalgs);
    return shake(make(&so), make(&co), &(struct tls_client_opts){.sni = str_from(sni)});
}

static void test_select__exact_and_wildcard_names__their_certificates(void **state)
{
    (void)state;
    assert_string_equal(shake_sni("A.example", false, NULL).subject, "CN=server,O=weft");
    assert_string_equal(shake_sni("x.b.example", false, NULL).subject, "CN=wild,O=weft");
    assert_string_equal(shake_sni("y.x.b.example", false, NULL).subject, "CN=wild,O=weft");
    assert_string_equal(shake_sni("nobody", false, NULL).subject, "CN=wild,O=weft");
}

static void test_select__client_without_ecdsa__rsa_certificate(void **state)
{
    (void)state;
    struct outcome o = shake_sni("a.example", false, "rsa_pss_rsae_sha256:RSA+SHA256");
    assert_true(o.client.connected);
    assert_string_equal(o.subject, "CN=server,O=weft");
    o = shake_sni("nobody", true, "rsa_pss_rsae_sha256:RSA+SHA256");
    assert_string_equal(o.subject, "CN=server,O=weft");
    o = shake_sni("nobody", false, "rsa_pss_rsae_sha256:RSA+SHA256");
    assert_false(o.client.connected); /* the first certificate is ECDSA */
    assert_int_equal(o.server.failure, TLS_FAILURE_PROTOCOL);
}

/* ---- client certificates ---- */
static struct outcome shake_mutual(const struct fixture_cert *c, bool required, struct str crl,
                                   void (*tune)(struct tls_context_opts *o))
{
    struct tls_cert_opts sc, cc;
    struct tls_context_opts so = server_opts(&sc), co = client_opts(&cc, c);
    so.require_client_cert = required;
    so.crl_pem = crl;
    if (tune)
        tune(&so);
    struct outcome o = shake(make(&so), make(&co), NULL);
    so.max_version = TLS_1_2;
    struct outcome o12 = shake(make(&so), make(&co), NULL);
    assert_int_equal(o.server.connected, o12.server.connected);
    assert_int_equal(o.server.failure, o12.server.failure);
    assert_int_equal(o.validated, o12.validated);
    return o;
}

static void test_verify__good_client__validated(void **state)
{
    (void)state;
    struct outcome o = shake_mutual(&client_ok, true, STR_NULL, NULL);
    assert_true(o.server.connected && o.presented && o.validated);
}

static void test_verify__no_certificate__refused_only_when_required(void **state)
{
    (void)state;
    struct outcome o = shake_mutual(NULL, true, STR_NULL, NULL);
    expect_refused(&o.server, TLS_FAILURE_NO_CERT, "PEER_DID_NOT_RETURN_A_CERTIFICATE");
    o = shake_mutual(NULL, false, STR_NULL, NULL);
    assert_true(o.server.connected);
    assert_false(o.presented || o.validated);
}

static void test_verify__wrong_ca_or_expired__refused(void **state)
{
    (void)state;
    struct outcome o = shake_mutual(&client_other, false, STR_NULL, NULL);
    expect_refused(&o.server, TLS_FAILURE_VERIFY, "verify cert failed: X509_verify_cert");
    expect_refused(&o.server, TLS_FAILURE_VERIFY, "CERTIFICATE_VERIFY_FAILED");
    o = shake_mutual(&client_expired, true, STR_NULL, NULL);
    expect_refused(&o.server, TLS_FAILURE_VERIFY, "certificate has expired");
}

static void allow_expired(struct tls_context_opts *o)
{
    o->allow_expired = true;
}
static void accept_untrusted(struct tls_context_opts *o)
{
    o->trust_mode = TLS_TRUST_ACCEPT_UNTRUSTED;
}

static void test_verify__allow_expired__validated(void **state)
{
    (void)state;
    struct outcome o = shake_mutual(&client_expired, true, STR_NULL, allow_expired);
    assert_true(o.server.connected && o.validated);
}

static void test_verify__accept_untrusted__connected_but_not_validated(void **state)
{
    (void)state;
    struct outcome o = shake_mutual(&client_other, true, STR_NULL, accept_untrusted);
    assert_true(o.server.connected && o.presented);
    assert_false(o.validated);
    o = shake_mutual(&client_ok, true, STR_NULL, accept_untrusted);
    assert_true(o.validated);
}

static void test_verify__crl__revoked_one_refused(void **state)
{
    (void)state;
    struct outcome o = shake_mutual(&client_ok, true, fixture_crl(&ca, &client_ok), NULL);
    expect_refused(&o.server, TLS_FAILURE_VERIFY, "certificate revoked");
    o = shake_mutual(&client_ok, true, fixture_crl(&ca, &client_two), NULL);
    assert_true(o.validated);
}

static struct str joined(struct str a, struct str b)
{
    BIO *bio = fixture_bio();
    BIO_write(bio, a.p, (int)a.n);
    BIO_write(bio, b.p, (int)b.n);
    return fixture_text(bio);
}

static void crl_leaf_only(struct tls_context_opts *o)
{
    o->crl_leaf_only = true;
}

static void test_verify__crl_leaf_only__authorities_need_no_crl(void **state)
{
    (void)state;
    struct fixture_cert chained = client_middle;
    chained.pem = joined(client_middle.pem, middle_ca.pem);
    struct str crl = fixture_crl(&middle_ca, NULL);
    struct outcome o = shake_mutual(&chained, true, crl, NULL);
    expect_refused(&o.server, TLS_FAILURE_VERIFY, "unable to get certificate CRL");
    o = shake_mutual(&chained, true, crl, crl_leaf_only);
    assert_true(o.validated);
}

static void depth_of_one(struct tls_context_opts *o)
{
    o->trusted_ca_pem = middle_ca.pem;
}

static void test_verify__trusted_intermediate__ends_the_chain(void **state)
{
    (void)state;
    struct outcome o = shake_mutual(&client_middle, true, STR_NULL, depth_of_one);
    assert_true(o.validated);
}

/* ---- names and pins ---- */
static bool has_prefix(const void *arg, struct str name)
{
    return str_has_prefix(name, *(const struct str *)arg);
}
static struct str wanted;
static struct tls_san_matcher matcher;
static void with_matcher(struct tls_context_opts *o)
{
    o->sans = &matcher;
    o->san_count = 1;
}
static bool name_accepted(enum tls_san_type type, struct str name, bool exact_dns)
{
    wanted = name;
    matcher = (struct tls_san_matcher){type, has_prefix, &wanted, exact_dns};
    struct outcome o = shake_mutual(&client_ok, true, STR_NULL, with_matcher);
    if (!o.server.connected)
        expect_refused(&o.server, TLS_FAILURE_SAN, "verify cert failed: SAN matcher");
    return o.server.connected && o.validated;
}

static void test_verify__san_matchers__by_type(void **state)
{
    (void)state;
    assert_true(name_accepted(TLS_SAN_URI, STR("spiffe://td/"), false));
    assert_false(name_accepted(TLS_SAN_URI, STR("spiffe://other/"), false));
    assert_false(name_accepted(TLS_SAN_DNS, STR("spiffe://td/"), false));
    assert_true(name_accepted(TLS_SAN_EMAIL, STR("x@y.z"), false));
    assert_true(name_accepted(TLS_SAN_IP, STR("10.1.2.3"), false));
    assert_true(name_accepted(TLS_SAN_DNS, STR("C.example"), true));
    assert_false(name_accepted(TLS_SAN_DNS, STR("c.exampl"), true));
}

static struct str pin;
static void with_spki_pin(struct tls_context_opts *o)
{
    o->spki_pins = &pin;
    o->spki_pin_count = 1;
}
static void with_cert_hash(struct tls_context_opts *o)
{
    o->trusted_ca_pem = STR_NULL;
    o->cert_hashes = &pin;
    o->cert_hash_count = 1;
}

static struct str spki_pin_of(const struct fixture_cert *c, char out[64])
{
    unsigned char *der = NULL, digest[32];
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(c->x), &der);
    EVP_Digest(der, (size_t)n, digest, NULL, EVP_sha256(), NULL);
    OPENSSL_free(der);
    EVP_EncodeBlock((unsigned char *)out, digest, sizeof digest);
    return str_from(out);
}
static struct str hash_of(const struct fixture_cert *c, char out[100], const char *between)
{
    unsigned char digest[32];
    size_t n = 0;
    X509_digest(c->x, EVP_sha256(), digest, NULL);
    for (int i = 0; i < 32; i++)
        n += (size_t)sprintf(out + n, "%s%02X", i ? between : "", digest[i]);
    return str_make(out, n);
}

static void test_verify__pins__any_match_accepts(void **state)
{
    (void)state;
    char text[100];
    pin = spki_pin_of(&client_ok, text);
    assert_true(shake_mutual(&client_ok, true, STR_NULL, with_spki_pin).validated);
    struct outcome o = shake_mutual(&client_two, true, STR_NULL, with_spki_pin);
    expect_refused(&o.server, TLS_FAILURE_HASH, "cert hash and spki");
    pin = hash_of(&client_other, text, ":");
    assert_true(shake_mutual(&client_other, true, STR_NULL, with_cert_hash).validated);
    pin = hash_of(&client_other, text, "");
    assert_true(shake_mutual(&client_other, true, STR_NULL, with_cert_hash).validated);
    assert_false(shake_mutual(&client_ok, true, STR_NULL, with_cert_hash).server.connected);
}

static void test_verify__client_side__refuses_the_servers_name(void **state)
{
    (void)state;
    struct tls_cert_opts sc, cc;
    struct tls_context_opts so = server_opts(&sc), co = client_opts(&cc, NULL);
    static const struct str name = STR("z.example");
    struct tls_san_matcher m = {TLS_SAN_DNS, NULL, &name, true};
    struct tls_client_opts opts = {.sni = name, .sans = &m, .san_count = 1};
    struct outcome o = shake(make(&so), make(&co), &opts);
    expect_refused(&o.client, TLS_FAILURE_SAN, "SAN matcher");
    assert_int_equal(o.server.failure, TLS_FAILURE_PROTOCOL); /* the alert */
}

static void test_verify__fault_on_one_connection__next_one_clean(void **state)
{
    (void)state;
    struct outcome bad = shake_mutual(&client_other, true, STR_NULL, NULL);
    assert_true(bad.server.closed);
    assert_int_equal(ERR_peek_error(), 0);
    struct outcome good = shake_mutual(&client_ok, true, STR_NULL, NULL);
    assert_true(good.server.connected);
    assert_int_equal(good.server.failure, TLS_FAILURE_NONE);
}

/* ---- resumption ---- */
static void expect_resumption(struct tls_context *server, struct tls_context *client, bool expected)
{
    struct tls_client_opts opts = {.sni = STR("a.example")};
    assert_false(shake_keep(server, client, &opts).resumed);
    for (int i = 0; i < 3; i++) {
        struct outcome o = shake_keep(server, client, &opts);
        assert_int_equal(o.resumed, expected);
        assert_true(o.server.connected && o.validated);
    }
    assert_false(shake_keep(server, client, &(struct tls_client_opts){.sni = STR("b.b")}).resumed);
    tls_context_unref(&server);
    tls_context_unref(&client);
}

static struct tls_context *resuming_server(enum tls_version v, bool no_tickets, bool no_ids)
{
    struct tls_cert_opts sc;
    struct tls_context_opts so = server_opts(&sc);
    so.max_version = v;
    so.require_client_cert = true;
    so.no_session_tickets = no_tickets;
    so.no_session_ids = no_ids;
    return make(&so);
}
static struct tls_context *resuming_client(uint32_t keys)
{
    struct tls_cert_opts cc;
    struct tls_context_opts co = client_opts(&cc, &client_ok);
    co.max_session_keys = keys;
    return make(&co);
}

static void test_resumption__tickets_and_ids__both_versions(void **state)
{
    (void)state;
    for (enum tls_version v = TLS_1_2; v <= TLS_1_3; v++) {
        expect_resumption(resuming_server(v, false, false), resuming_client(1), true);
        expect_resumption(resuming_server(v, true, false), resuming_client(1), true);
        expect_resumption(resuming_server(v, true, true), resuming_client(1), false);
        expect_resumption(resuming_server(v, false, true), resuming_client(5), true);
        expect_resumption(resuming_server(v, false, false), resuming_client(0), false);
    }
}

static struct tls_context *keyed_server(const struct str *keys, size_t n, struct str ca_pem,
                                        void (*tune)(struct tls_context_opts *o))
{
    struct tls_cert_opts sc;
    struct tls_context_opts so = server_opts(&sc);
    so.ticket_keys = keys;
    so.ticket_key_count = n;
    so.trusted_ca_pem = ca_pem;
    if (tune)
        tune(&so);
    return make(&so);
}

static void test_resumption__ticket_keys__rotation_and_isolation(void **state)
{
    (void)state;
    char raw[2][80];
    memset(raw[0], 'a', 80);
    memset(raw[1], 'b', 80);
    struct str old[] = {str_make(raw[0], 80)}, both[] = {str_make(raw[1], 80), old[0]};
    struct tls_context *first = keyed_server(old, 1, ca.pem, NULL),
                       *second = keyed_server(both, 2, ca.pem, NULL),
                       *newer = keyed_server(both, 1, ca.pem, NULL),
                       *stranger = keyed_server(old, 1, joined(ca.pem, other_ca.pem), NULL);
    struct tls_context *client = resuming_client(1);
    assert_false(shake_keep(first, client, NULL).resumed);
    assert_true(shake_keep(second, client, NULL).resumed);
    assert_true(shake_keep(newer, client, NULL).resumed); /* renewed under the new key */
    assert_false(shake_keep(first, client, NULL).resumed);
    assert_false(shake_keep(stranger, client, NULL).resumed); /* other rules */
    struct tls_context *all[] = {first, second, newer, stranger, client};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        tls_context_unref(&all[i]);
}

static void test_resumption__stricter_names__identity_checked_again(void **state)
{
    (void)state;
    char raw[80];
    memset(raw, 'k', 80);
    struct str key = str_make(raw, 80);
    wanted = STR("spiffe://td/");
    matcher = (struct tls_san_matcher){TLS_SAN_URI, has_prefix, &wanted, false};
    struct tls_context *server = keyed_server(&key, 1, ca.pem, with_matcher);
    struct tls_context *client = resuming_client(1);
    assert_true(shake_keep(server, client, NULL).validated);
    wanted = STR("spiffe://elsewhere/"); /* same context to OpenSSL, other rule */
    struct outcome o = shake_keep(server, client, NULL);
    assert_true(o.server.closed);
    assert_int_equal(o.server.failure, TLS_FAILURE_SAN);
    tls_context_unref(&server);
    tls_context_unref(&client);
}

/* ---- OCSP ---- */
static int take_staple(SSL *ssl, void *arg)
{
    const unsigned char *der;
    *(long *)arg = SSL_get_tlsext_status_ocsp_resp(ssl, &der);
    return 1;
}

/* Our own client never asks; here its SSL is made to. */
static struct outcome shake_ocsp(enum tls_ocsp_policy policy, long valid_s, long *staple_bytes)
{
    struct tls_cert_opts sc, cc;
    struct tls_context_opts so = server_opts(&sc), co = client_opts(&cc, NULL);
    sc.ocsp_staple_der = fixture_ocsp(&server_ec, &ca, valid_s);
    so.ocsp_policy = policy;
    struct tls_context *server = make(&so), *client = make(&co);
    struct outcome o = {0};
    struct pair p;
    pair_start(&p, server, client, NULL);
    SSL_CTX_set_tlsext_status_cb(client->ssl, take_staple);
    SSL_CTX_set_tlsext_status_arg(client->ssl, staple_bytes);
    SSL_set_tlsext_status_type(conn_tls(p.client.c)->ssl, TLSEXT_STATUSTYPE_ocsp);
    pair_run(&p, pair_judged);
    note(&o, &p);
    pair_finish(&p);
    tls_context_unref(&server);
    tls_context_unref(&client);
    return o;
}

static void test_ocsp__fresh_response__stapled_under_every_policy(void **state)
{
    (void)state;
    for (enum tls_ocsp_policy p = TLS_OCSP_LENIENT; p <= TLS_OCSP_MUST_STAPLE; p++) {
        long n = 0;
        assert_true(shake_ocsp(p, 3600, &n).server.connected);
        assert_true(n > 100);
    }
}

static void test_ocsp__stale_response__only_lenient_goes_on(void **state)
{
    (void)state;
    for (enum tls_ocsp_policy p = TLS_OCSP_LENIENT; p <= TLS_OCSP_MUST_STAPLE; p++) {
        long n = 0;
        struct outcome o = shake_ocsp(p, -60, &n);
        assert_int_equal(o.server.connected, p == TLS_OCSP_LENIENT);
        assert_true(n <= 0);
        if (p != TLS_OCSP_LENIENT)
            expect_refused(&o.server, TLS_FAILURE_OCSP, "no fresh OCSP response");
    }
}

/* ---- facts ---- */
static void test_facts__client_certificate__all_fields(void **state)
{
    (void)state;
    struct tls_cert_opts sc, cc;
    struct tls_context_opts so = server_opts(&sc), co = client_opts(&cc, &client_ok);
    struct tls_context *server = make(&so), *client = make(&co);
    struct pair p;
    pair_start(&p, server, client, NULL);
    pair_greet(&p);
    const struct tls_cert_facts *f = tls_session_peer(p.server.tls);
    assert_non_null(f);
    assert_ptr_equal(f, tls_session_peer(p.server.tls));
    assert_true(str_eq(f->subject, STR("CN=client,O=weft")));
    assert_true(str_eq(f->issuer, STR("CN=ca,O=weft")));
    assert_int_equal(f->serial_hex.n, 4);
    assert_int_equal(f->sha256_hex.n, 64);
    assert_int_equal(f->sha1_hex.n, 40);
    assert_true(str_eq(f->uri_sans[0], STR("spiffe://td/client")) && !f->uri_sans[1].p);
    assert_true(str_eq(f->dns_sans[0], STR("c.example")) && !f->dns_sans[1].p);
    assert_true(str_eq(f->ip_sans[0], STR("10.1.2.3")) && !f->ip_sans[1].p);
    assert_true(str_eq(f->email_sans[0], STR("x@y.z")) && !f->email_sans[1].p);
    assert_true(str_has_prefix(f->pem_url_encoded, STR("-----BEGIN%20CERTIFICATE-----%0AMII")));
    assert_true(str_eq(f->pem_url_encoded, f->chain_pem_url_encoded));
    assert_int_equal(f->not_after_s - f->not_before_s, 86400 + 3600);
    const struct tls_cert_facts *own = tls_session_local(p.server.tls);
    assert_true(str_eq(own->uri_sans[0], STR("spiffe://td/server")));
    assert_int_equal(tls_session_id_hex(p.server.tls).n, 64);
    pair_finish(&p);
    tls_context_unref(&server);
    tls_context_unref(&client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshake__defaults__tls13_with_x25519),
        cmocka_unit_test(test_handshake__maximum_version__kept),
        cmocka_unit_test(test_handshake__no_common_version__protocol_failure),
        cmocka_unit_test(test_handshake__alpn__servers_order_decides),
        cmocka_unit_test(test_handshake__alpn_without_overlap__goes_on_without),
        cmocka_unit_test(test_select__exact_and_wildcard_names__their_certificates),
        cmocka_unit_test(test_select__client_without_ecdsa__rsa_certificate),
        cmocka_unit_test(test_verify__good_client__validated),
        cmocka_unit_test(test_verify__no_certificate__refused_only_when_required),
        cmocka_unit_test(test_verify__wrong_ca_or_expired__refused),
        cmocka_unit_test(test_verify__allow_expired__validated),
        cmocka_unit_test(test_verify__accept_untrusted__connected_but_not_validated),
        cmocka_unit_test(test_verify__crl__revoked_one_refused),
        cmocka_unit_test(test_verify__crl_leaf_only__authorities_need_no_crl),
        cmocka_unit_test(test_verify__trusted_intermediate__ends_the_chain),
        cmocka_unit_test(test_verify__san_matchers__by_type),
        cmocka_unit_test(test_verify__pins__any_match_accepts),
        cmocka_unit_test(test_verify__client_side__refuses_the_servers_name),
        cmocka_unit_test(test_verify__fault_on_one_connection__next_one_clean),
        cmocka_unit_test(test_resumption__tickets_and_ids__both_versions),
        cmocka_unit_test(test_resumption__ticket_keys__rotation_and_isolation),
        cmocka_unit_test(test_resumption__stricter_names__identity_checked_again),
        cmocka_unit_test(test_ocsp__fresh_response__stapled_under_every_policy),
        cmocka_unit_test(test_ocsp__stale_response__only_lenient_goes_on),
        cmocka_unit_test(test_facts__client_certificate__all_fields),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
