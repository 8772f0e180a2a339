/* SPDX-License-Identifier: Apache-2.0
 *
 * Session resumption on the server. Without configured keys OpenSSL's own random ticket keys, made
 * with the SSL_CTX and shared by all workers, are used. Configured keys are Envoy's 80-byte files
 * (name 16, HMAC-SHA256 32, AES-256-CBC 32): the first encrypts, all decrypt, and a ticket under an
 * older one is renewed. The session id context is a digest of what decides who may connect, so
 * that a session never crosses into a context with other rules (RFC 5077 section 5.6 spirit).
 */
#include "io/tls_priv.h"

#include "base/mem.h"

enum { TICKET_KEY_BYTES = 80, SERVER_SESSIONS_MAX = 4096 };
_Static_assert(sizeof(struct tls_ticket_key) == TICKET_KEY_BYTES, "the file's layout");

static const struct tls_ticket_key *find_key(const struct tls_context *ctx, const uint8_t *name)
{
    for (size_t i = 0; i < ctx->ticket_key_count; i++) {
        if (memcmp(ctx->ticket_keys[i].name, name, sizeof ctx->ticket_keys[i].name) == 0)
            return &ctx->ticket_keys[i];
    }
    return NULL;
}

static bool key_mac(EVP_MAC_CTX *mac, const struct tls_ticket_key *k)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)k->hmac, sizeof k->hmac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* Returns -1 fault, 0 unknown key (full handshake), 1 fine, 2 fine and renew. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int encrypting)
{
    const struct tls_context *ctx = tls_context_of(ssl);
    if (encrypting) {
        const struct tls_ticket_key *k = &ctx->ticket_keys[0];
        if (RAND_bytes(iv, 16) != 1 ||
            EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->aes, iv) != 1 || !key_mac(mac, k))
            return -1;
        memcpy(name, k->name, sizeof k->name);
        return 1;
    }
    const struct tls_ticket_key *k = find_key(ctx, name);
    if (!k)
        return 0;
    if (!key_mac(mac, k) || EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->aes, iv) != 1)
        return -1;
    return k == ctx->ticket_keys ? 1 : 2;
}

static void digest_str(EVP_MD_CTX *md, struct str s)
{
    uint64_t n = s.n;
    EVP_DigestUpdate(md, &n, sizeof n);
    EVP_DigestUpdate(md, s.p, s.n);
}

/* What matchers do isn't known here; tls_verify_identity runs again on each resumed session. */
static bool set_id_context(struct tls_context *ctx, const struct tls_context_opts *o)
{
    unsigned char out[32];
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL);
    if (ok) {
        for (size_t i = 0; i < ctx->cert_count; i++) {
            unsigned char cert[32];
            X509_digest(ctx->certs[i].leaf, EVP_sha256(), cert, NULL);
            EVP_DigestUpdate(md, cert, sizeof cert);
        }
        digest_str(md, o->trusted_ca_pem);
        digest_str(md, o->crl_pem);
        for (size_t i = 0; i < ctx->spki_pin_count; i++)
            EVP_DigestUpdate(md, &ctx->spki_pins[i], sizeof ctx->spki_pins[i]);
        for (size_t i = 0; i < ctx->cert_hash_count; i++)
            EVP_DigestUpdate(md, &ctx->cert_hashes[i], sizeof ctx->cert_hashes[i]);
        for (size_t i = 0; i < o->san_count; i++)
            EVP_DigestUpdate(md, &o->sans[i].type, sizeof o->sans[i].type);
        uint32_t rules[] = {o->crl_leaf_only,       o->trust_mode, o->allow_expired,
                            o->require_client_cert, o->max_verify_depth, (uint32_t)o->san_count,
                            (uint32_t)ctx->spki_pin_count};
        EVP_DigestUpdate(md, rules, sizeof rules);
        digest_str(md, str_make((const char *)ctx->alpn, ctx->alpn_len));
        ok = EVP_DigestFinal_ex(md, out, NULL) &&
             SSL_CTX_set_session_id_context(ctx->ssl, out, sizeof out);
    }
    EVP_MD_CTX_free(md);
    return ok;
}

int tls_ticket_setup(struct tls_context *ctx, const struct tls_context_opts *opts, struct err *err)
{
    for (size_t i = 0; i < opts->ticket_key_count; i++) {
        if (opts->ticket_keys[i].n != TICKET_KEY_BYTES)
            return err_set(err, ERR_INVALID,
                           "session_ticket_keys[%zu]: %zu bytes; a key has exactly %d", i,
                           opts->ticket_keys[i].n, TICKET_KEY_BYTES);
    }
    if (!set_id_context(ctx, opts))
        return err_set(err, ERR_TLS, "cannot derive the session id context");
    if (opts->ticket_key_count) {
        ctx->ticket_key_count = opts->ticket_key_count;
        ctx->ticket_keys = mem_alloc(opts->ticket_key_count * sizeof *ctx->ticket_keys);
        for (size_t i = 0; i < opts->ticket_key_count; i++)
            memcpy(&ctx->ticket_keys[i], opts->ticket_keys[i].p, TICKET_KEY_BYTES);
        SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx->ssl, on_ticket);
    }
    /* A ticket with a peer's certificate in it costs as much as verifying one: OpenSSL encodes and decodes it again. One a
     * connection will do, since each resumption brings the next. */
    if (SSL_CTX_get_verify_mode(ctx->ssl) & SSL_VERIFY_PEER)
        SSL_CTX_set_num_tickets(ctx->ssl, 1);
    SSL_CTX_set_session_cache_mode(ctx->ssl,
                                   opts->no_session_ids ? SSL_SESS_CACHE_OFF : SSL_SESS_CACHE_SERVER);
    SSL_CTX_sess_set_cache_size(ctx->ssl, SERVER_SESSIONS_MAX);
    if (opts->no_session_tickets) {
        SSL_CTX_set_options(ctx->ssl, SSL_OP_NO_TICKET);
        if (opts->no_session_ids)
            SSL_CTX_set_num_tickets(ctx->ssl, 0);
    }
    return 0;
}
