/* SPDX-License-Identifier: Apache-2.0
 *
 * One connection's TLS state: birth, the end of the handshake, and what logs and filters read.
 * Belongs to its connection's worker. The bytes move in tls_transport.c.
 *
 * A resumed session skips OpenSSL's verification callback, so SAN matchers and pins are applied to
 * the certificate remembered in it: the rules may be other ones than when it was made.
 */
#include "io/tls_priv.h"

#include "base/check.h"
#include "base/mem.h"

static int session_index = -1;

static void make_index(void)
{
    session_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    CHECK(session_index >= 0);
}

struct tls_session *tls_session_of(const SSL *ssl)
{
    return OBJECT(tls_session, TLS_SESSION_MAGIC, SSL_get_ex_data(ssl, session_index));
}

/* ---- birth and death ---- */
static int set_matchers(struct tls_session *s, const struct tls_client_opts *o, struct err *err)
{
    s->sans = s->ctx->sans;
    s->san_count = s->ctx->san_count;
    if (!o || o->san_count == 0)
        return 0;
    if (!s->ctx->store)
        return err_set(err, ERR_INVALID, "names cannot be verified without a trusted_ca");
    s->own_sans = mem_alloc(o->san_count * sizeof *s->own_sans);
    memcpy(s->own_sans, o->sans, o->san_count * sizeof *s->own_sans);
    s->sans = s->own_sans;
    s->san_count = o->san_count;
    return 0;
}

static int set_client(struct tls_session *s, const struct tls_client_opts *o, struct err *err)
{
    struct str sni = o ? o->sni : STR_NULL;
    if (sni.n > 255 || (sni.n && memchr(sni.p, 0, sni.n)))
        return err_set(err, ERR_INVALID, "sni: \"%.*s\" is no host name", STR_ARG(sni));
    s->sni = mem_strndup(sni.n ? sni.p : "", sni.n);
    if (sni.n && !SSL_set_tlsext_host_name(s->ssl, s->sni))
        return err_set(err, ERR_TLS, "sni: \"%s\" was refused", s->sni);
    if (o && o->alpn_count && !(o->alpn_is_fallback && s->ctx->alpn_len)) {
        uint8_t *wire;
        size_t n;
        int rc = tls_alpn_wire(o->alpn, o->alpn_count, &wire, &n, err);
        if (rc)
            return rc;
        SSL_set_alpn_protos(s->ssl, wire, (unsigned)n);
        mem_free(wire);
    }
    SSL_SESSION *old = s->ctx->cache.max ? tls_cache_get(&s->ctx->cache, s->sni) : NULL;
    if (old) {
        SSL_set_session(s->ssl, old); /* refused (another version, say): a full handshake */
        SSL_SESSION_free(old);
        tls_errors_clear();
    }
    SSL_set_connect_state(s->ssl);
    return 0;
}

struct tls_session *tls_session_new(struct tls_context *ctx, const struct tls_client_opts *opts,
                                    struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_index);
    tls_errors_clear();
    struct tls_session *s = NEW(tls_session);
    s->magic = TLS_SESSION_MAGIC;
    s->ctx = tls_context_ref(ctx);
    s->ssl = SSL_new(ctx->ssl);
    int rc = 0;
    if (!s->ssl || !SSL_set_ex_data(s->ssl, session_index, s))
        rc = err_set(err, ERR_NOMEM, "OpenSSL cannot make a session");
    if (rc == 0)
        rc = set_matchers(s, opts, err);
    if (rc == 0 && ctx->server)
        SSL_set_accept_state(s->ssl);
    else if (rc == 0)
        rc = set_client(s, opts, err);
    if (rc)
        tls_session_free(&s);
    return s;
}

void tls_session_free(struct tls_session **sp)
{
    struct tls_session *s = *sp;
    *sp = NULL;
    if (!s)
        return;
    SSL_free(s->ssl);
    buf_fini(&s->early);
    buf_fini(&s->tx);
    tls_facts_free(&s->peer);
    tls_facts_free(&s->local);
    mem_free(s->own_sans);
    mem_free(s->sni);
    mem_free(s->verify_text);
    mem_free(s->id_hex);
    s->magic = 0;
    tls_context_unref(&s->ctx);
    mem_free(s);
}

void tls_session_fail(struct tls_session *s, enum tls_failure why, const char *fmt, ...)
{
    s->verify_failed = true;
    if (s->failure != TLS_FAILURE_NONE)
        return;
    struct strbuf b = {0};
    va_list ap;
    va_start(ap, fmt);
    strbuf_vaddf(&b, fmt, ap);
    va_end(ap);
    s->failure = why;
    s->verify_text = strbuf_take(&b);
}

/* ---- the end of the handshake ---- */
bool tls_session_finish(struct tls_session *s)
{
    const struct tls_context *ctx = s->ctx;
    X509 *leaf = SSL_get0_peer_certificate(s->ssl);
    s->presented = leaf != NULL;
    if (leaf && SSL_session_reused(s->ssl) && tls_verify_wants_identity(s) &&
        !tls_verify_identity(s, leaf) && !ctx->accept_untrusted)
        return false;
    bool checked = ctx->store || tls_verify_wants_identity(s);
    s->validated = leaf && checked && !s->verify_failed &&
                   SSL_get_verify_result(s->ssl) == X509_V_OK;
    if (ctx->server) {
        const char *sni = SSL_get_servername(s->ssl, TLSEXT_NAMETYPE_host_name);
        s->sni = mem_strdup(sni ? sni : "");
    }
    s->done = true;
    return true;
}

/* ---- what others read ---- */
enum tls_failure tls_session_failure(const struct tls_session *s)
{
    return s->failure;
}
bool tls_session_is_done(const struct tls_session *s)
{
    return s->done;
}
enum tls_staple tls_session_staple(const struct tls_session *s)
{
    /* A context without staples never runs the callback that chooses. */
    if (s->staple == TLS_STAPLE_NOT_ASKED && s->ctx->server &&
        SSL_get_tlsext_status_type(s->ssl) == TLSEXT_STATUSTYPE_ocsp)
        return TLS_STAPLE_OMITTED;
    return s->staple;
}
bool tls_session_is_resumed(const struct tls_session *s)
{
    return s->done && SSL_session_reused(s->ssl);
}
bool tls_session_peer_presented(const struct tls_session *s)
{
    return s->presented;
}
bool tls_session_peer_validated(const struct tls_session *s)
{
    return s->validated;
}

struct str tls_session_alpn(const struct tls_session *s)
{
    const unsigned char *p = NULL;
    unsigned n = 0;
    SSL_get0_alpn_selected(s->ssl, &p, &n);
    return str_make((const char *)p, n);
}

struct str tls_session_sni(const struct tls_session *s)
{
    if (s->sni)
        return str_from(s->sni);
    const char *sni = SSL_get_servername(s->ssl, TLSEXT_NAMETYPE_host_name);
    return str_from(sni ? sni : "");
}

const char *tls_session_version(const struct tls_session *s)
{
    return s->done ? SSL_get_version(s->ssl) : "";
}

const char *tls_session_cipher(const struct tls_session *s)
{
    const SSL_CIPHER *c = SSL_get_current_cipher(s->ssl);
    return c ? SSL_CIPHER_get_name(c) : "";
}

uint16_t tls_session_cipher_id(const struct tls_session *s)
{
    const SSL_CIPHER *c = SSL_get_current_cipher(s->ssl);
    return c ? SSL_CIPHER_get_protocol_id(c) : 0xffff;
}

const char *tls_session_curve(const struct tls_session *s)
{
    /* Names as BoringSSL gives them, which logs know. */
    static const struct {
        int nid;
        const char *name;
    } names[] = {{NID_X9_62_prime256v1, "P-256"}, {NID_secp384r1, "P-384"},
                 {NID_secp521r1, "P-521"}, {NID_X25519, "X25519"}, {NID_X448, "X448"}};
    int nid = s->done ? (int)SSL_get_negotiated_group(s->ssl) : 0;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (names[i].nid == nid)
            return names[i].name;
    }
    const char *name = nid > 0 ? SSL_group_to_name(s->ssl, nid) : NULL;
    return name ? name : "";
}

struct str tls_session_id_hex(struct tls_session *s)
{
    if (s->id_hex || !s->done)
        return str_from(s->id_hex ? s->id_hex : "");
    const SSL_SESSION *session = SSL_get_session(s->ssl);
    unsigned n = 0;
    const unsigned char *id = session ? SSL_SESSION_get_id(session, &n) : NULL;
    struct strbuf b = {0};
    for (unsigned i = 0; i < n; i++)
        strbuf_addf(&b, "%02x", id[i]);
    s->id_hex = strbuf_take(&b);
    return str_from(s->id_hex);
}

/* OpenSSL's chain holds the leaf on a client and doesn't on a server; after a resumption there is
 * none, and the chain is the leaf alone. */
static STACK_OF(X509) *peer_chain(struct tls_session *s, X509 *leaf)
{
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(s->ssl);
    STACK_OF(X509) *full = sk_X509_new_null();
    CHECK(full);
    if (s->ctx->server || sk_X509_num(chain) <= 0)
        sk_X509_push(full, leaf);
    for (int i = 0; i < sk_X509_num(chain); i++)
        sk_X509_push(full, sk_X509_value(chain, i));
    return full;
}

const struct tls_cert_facts *tls_session_peer(struct tls_session *s)
{
    X509 *leaf = s->peer ? NULL : SSL_get0_peer_certificate(s->ssl);
    if (leaf) {
        STACK_OF(X509) *chain = peer_chain(s, leaf);
        s->peer = tls_facts_new(leaf, chain);
        sk_X509_free(chain);
    }
    return s->peer ? &s->peer->facts : NULL;
}

const struct tls_cert_facts *tls_session_local(struct tls_session *s)
{
    X509 *leaf = s->local ? NULL : SSL_get_certificate(s->ssl);
    if (leaf)
        s->local = tls_facts_new(leaf, NULL);
    return s->local ? &s->local->facts : NULL;
}
