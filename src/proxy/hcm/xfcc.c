/* SPDX-License-Identifier: Apache-2.0
 *
 * x-forwarded-client-cert: dropped, passed, extended or set from the verified peer certificate, with
 * Envoy's syntax: By=…;Hash=…;Cert="…";Chain="…";Subject="…";URI=…;DNS=… (elements of one client
 * joined by ';', clients by ','). Certificates are only spoken of when the peer's was presented.
 */
#include "io/tls.h"
#include "proxy/hcm/exchange.h"

static void add_pair(struct strbuf *b, const char *key, struct str value, bool quoted)
{
    if (b->n)
        strbuf_addc(b, ';');
    strbuf_addz(b, key);
    strbuf_addc(b, '=');
    if (quoted)
        strbuf_addc(b, '"');
    strbuf_adds(b, value);
    if (quoted)
        strbuf_addc(b, '"');
}

static void add_list(struct strbuf *b, const char *key, const struct str *list)
{
    for (; list && list->p; list++)
        add_pair(b, key, *list, false);
}

/* Envoy quotes the subject with escaped quotes inside. */
static void add_subject(struct strbuf *b, struct str subject)
{
    if (b->n)
        strbuf_addc(b, ';');
    strbuf_addz(b, "Subject=\"");
    for (size_t i = 0; i < subject.n; i++) {
        if (subject.p[i] == '"')
            strbuf_addc(b, '\\');
        strbuf_addc(b, subject.p[i]);
    }
    strbuf_addc(b, '"');
}

static void build(const struct hcm_config *c, struct tls_session *tls, struct strbuf *b)
{
    const struct tls_cert_facts *local = tls_session_local(tls), *peer = tls_session_peer(tls);
    if (local)
        add_list(b, "By", local->uri_sans);
    if (!peer)
        return;
    add_pair(b, "Hash", peer->sha256_hex, false);
    if (c->xfcc_cert)
        add_pair(b, "Cert", peer->pem_url_encoded, true);
    if (c->xfcc_chain)
        add_pair(b, "Chain", peer->chain_pem_url_encoded, true);
    if (c->xfcc_subject)
        add_subject(b, peer->subject);
    if (c->xfcc_uri) {
        if (peer->uri_sans && peer->uri_sans->p)
            add_list(b, "URI", peer->uri_sans);
        else
            add_pair(b, "URI", STR(""), false);
    }
    if (c->xfcc_dns)
        add_list(b, "DNS", peer->dns_sans);
}

void xfcc_apply(struct exchange *x)
{
    const struct hcm_config *c = x->config;
    struct headers *h = x->request;
    struct tls_session *tls = x->rehearsal ? NULL : conn_tls(x->down->conn);
    bool has_cert = tls && tls_session_peer_presented(tls);
    if (c->xfcc == XFCC_ALWAYS_FORWARD_ONLY)
        return;
    if (!has_cert || c->xfcc == XFCC_SANITIZE) {
        headers_remove_id(h, HDR_X_FORWARDED_CLIENT_CERT);
        return;
    }
    if (c->xfcc == XFCC_FORWARD_ONLY)
        return;
    struct strbuf b = {0};
    build(c, tls, &b);
    struct str text = arena_str(x->arena, strbuf_str(&b));
    strbuf_fini(&b);
    if (c->xfcc == XFCC_SANITIZE_SET)
        headers_set_id_ref(h, HDR_X_FORWARDED_CLIENT_CERT, text);
    else
        headers_append_id(h, HDR_X_FORWARDED_CLIENT_CERT, text);
}
