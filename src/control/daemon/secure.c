/* SPDX-License-Identifier: Apache-2.0
 *
 * The TLS context is made anew whenever weftd's certificate, the roots or the revocation list change; connections keep the one
 * that they began with. Clients may show a certificate: one that doesn't hold is refused in the handshake, who shows none must
 * have a token. Until the first context is there connections are closed at once, which clients take for "not yet". Main thread.
 */
#include "control/daemon/secure.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "control/ca/identity_check.h"
#include "control/daemon/entry.h"
#include "io/tls.h"
#include "pki/key.h"

#define HOSTS_MAX 32u
#define JWT_SKEW_S 60 /* Envoy's default, too */

struct secure {
    struct view_gate gate;
    struct loop *loop;
    const struct daemon_options *options;
    const struct token_reviewer *reviewer; /* NULL: Kubernetes isn't asked */
    struct ca *ca;            /* NULL: there is no authority */
    struct grpc_server *grpc;
    struct entry entry;
    struct tls_context *tls;
    struct strbuf chain, key; /* weftd's own */
    struct strbuf trust_domain;
    struct turn_task drained;
    void (*on_drained)(void *user);
    void *user;
};

/* ---- the TLS context ---- */

static void make_context(struct secure *s)
{
    static const struct str alpn = {"h2", 2};
    const struct ca_trust *trust = ca_trust(s->ca);
    struct tls_cert_opts cert = {.chain_pem = strbuf_str(&s->chain), .key_pem = strbuf_str(&s->key), .source = STR("weftd's own")};
    struct tls_context_opts o = {.server = true, .certs = &cert, .cert_count = 1, .min_version = TLS_1_2, .alpn = &alpn, .alpn_count = 1};
    struct err err = {0};
    if (!trust || !s->chain.n)
        return;
    o.trusted_ca_pem = trust->bundle;
    o.trusted_ca_source = STR("the mesh's roots");
    o.crl_pem = ca_crl(s->ca);
    struct tls_context *next = tls_context_new(&o, &err);
    if (!next) {
        LOG(TLS, ERROR, "the secure port's TLS stays as it was: %s", err.message);
        return;
    }
    tls_context_unref(&s->tls);
    s->tls = next;
}

static void on_trust(void *user, const struct ca_trust *trust, struct str crl_pem)
{
    struct secure *s = user;
    (void)trust, (void)crl_pem;
    if (s->ca)
        make_context(s);
}

static void on_certificate(void *user, struct str chain_pem, struct str key_text)
{
    struct secure *s = user;
    strbuf_reset(&s->chain);
    strbuf_adds(&s->chain, chain_pem);
    key_pem_free(&s->key);
    strbuf_adds(&s->key, key_text);
    make_context(s);
}

static void on_conn(void *user, struct conn *take_conn)
{
    struct secure *s = user;
    struct err err = {0};
    if (!s->tls || conn_start_tls(take_conn, s->tls, NULL, &err) < 0)
        conn_close(take_conn, CONN_CLOSE_LOCAL);
    else
        grpc_server_accept(s->grpc, take_conn);
}

/* ---- the gate ---- */

static int refuse(struct push_refusal *why, enum grpc_status status)
{
    why->status = status;
    return why->err.code;
}

/* One stream. Who comes is asked of all that know callers, some of which have to ask others. */
struct visitor {
    struct grpc_stream *stream;
    struct auth_call *call;   /* under way */
    struct strbuf identity, why, peer;
};

static void on_caller(void *user, const struct auth_caller *caller, struct str why)
{
    struct visitor *w = user;
    w->call = NULL;
    if (caller)
        strbuf_adds(&w->identity, caller->identity);
    else
        strbuf_adds(&w->why, why);
    grpc_stream_pause(w->stream, false);
}

static void *arrive(struct view_gate *g, const struct push_peer *peer, bool *is_asking)
{
    struct secure *s = CONTAINER_OF(g, secure, gate);
    struct auth_request q;
    struct arena a;
    if (peer->is_plain)
        return NULL;
    struct visitor *w = NEW(visitor);
    w->stream = peer->stream;
    arena_init(&a, 0);
    auth_request_of(peer->stream, &a, &q);
    strbuf_adds(&w->peer, q.peer);
    w->call = auth_ask(ca_auth(s->ca), &q, on_caller, w);
    arena_fini(&a);
    *is_asking = true;
    return w;
}

static void leave(struct view_gate *g, void *visitor)
{
    struct visitor *w = visitor;
    (void)g;
    auth_cancel(&w->call);
    strbuf_fini(&w->identity);
    strbuf_fini(&w->why);
    strbuf_fini(&w->peer);
    mem_free(w);
}

static int check_known(const struct visitor *w, const struct node *n, struct push_refusal *why)
{
    if (!w->identity.n) {
        err_set(&why->err, ERR_INVALID, "authentication failure: %.*s", STR_ARG(strbuf_str(&w->why)));
        return refuse(why, GRPC_UNAUTHENTICATED);
    }
    int rc = identity_check(strbuf_str(&w->identity), n->ns, n->service_account, &why->err);
    return rc ? refuse(why, GRPC_PERMISSION_DENIED) : 0;
}

static int check(struct view_gate *g, const struct push_peer *peer, const struct node *n, struct push_refusal *why)
{
    const struct visitor *w = peer->visitor;
    (void)g;
    if (peer->is_plain)
        return 0;
    int rc = check_known(w, n, why);
    if (rc)
        LOG_SELDOM(MAIN, WARNING, "proxy %.*s at %.*s was refused: %s", STR_ARG(n->id), STR_ARG(strbuf_str(&w->peer)), why->err.message);
    return rc;
}

struct view_gate *secure_gate(struct secure *s)
{
    return &s->gate;
}

/* ---- beginning ---- */

static uint32_t split_hosts(struct str text, struct str *out)
{
    uint32_t n = 0;
    while (text.n && n < HOSTS_MAX) {
        struct str host = str_trim(str_split(text, ',', &text));
        if (host.n)
            out[n++] = host;
    }
    return n;
}

/* In istiod's order; bootstrap tokens stand before Kubernetes', since they are known here. */
static int add_authenticators(struct secure *s, const struct mesh *mesh, struct err *err)
{
    const struct daemon_options *o = s->options;
    static const struct str audience = {"istio-ca", 8}; /* istiod's TOKEN_AUDIENCES */
    struct auth_chain *chain = ca_auth(s->ca);
    auth_chain_add(chain, auth_certificate_new(mesh->trust_domain, mesh->trust_domain_aliases, mesh->alias_count));
    if (!*o->token_dir && !*o->jwt_rule && !s->reviewer)
        LOG(MAIN, WARNING, "without --token-dir, --jwt-rule and Kubernetes only who has a certificate already is known");
    if (*o->token_dir) {
        struct authenticator *tokens = auth_token_file_new(s->loop, o->token_dir, mesh->trust_domain, err);
        auth_chain_add(chain, tokens);
        if (!tokens)
            return err_prefix(err, "--token-dir");
    }
    if (s->reviewer)
        auth_chain_add(chain, auth_kube_new(s->reviewer, &audience, 1, mesh->trust_domain));
    if (*o->jwt_rule) {
        struct authenticator *jwt = auth_jwt_rule_new(s->loop, str_from(o->jwt_rule), mesh->trust_domain, JWT_SKEW_S, err);
        auth_chain_add(chain, jwt);
        if (!jwt)
            return err_prefix(err, "--jwt-rule");
    }
    return 0;
}

static int begin_ca(struct secure *s, const struct mesh *mesh, struct err *err)
{
    const struct daemon_options *o = s->options;
    struct str hosts[HOSTS_MAX];
    struct ca_opts c = {
        .loop = s->loop, .own_folder = str_from(o->ca_dir), .plugged_in_folder = str_from(o->ca_certs), .trust_domain = mesh->trust_domain,
        .bundle_file = str_from(o->root_cert_file), .hosts = hosts, .on_trust = on_trust, .on_certificate = on_certificate, .user = s,
    };
    c.host_count = split_hosts(str_from(o->ca_hosts), hosts);
    if (c.plugged_in_folder.n)
        c.own_folder = STR(""); /* as Istio's cacerts goes before its own root */
    strbuf_adds(&s->trust_domain, mesh->trust_domain);
    if (!(s->ca = ca_new(&c, err)))
        return ERR_INVALID;
    return add_authenticators(s, mesh, err);
}

struct secure *secure_new(struct loop *loop, const struct daemon_options *keep_o, const struct mesh *mesh,
                          const struct token_reviewer *keep_reviewer, struct err *err)
{
    struct secure *s = NEW(secure);
    s->gate = (struct view_gate){.arrive = arrive, .leave = leave, .check = check};
    s->reviewer = keep_reviewer;
    s->loop = loop;
    s->options = keep_o;
    s->entry.fd = -1;
    if (!*keep_o->ca_dir && !*keep_o->ca_certs)
        LOG(MAIN, WARNING, "without --ca-dir or --ca-certs there is no certificate authority, and the secure port stays closed");
    else if (begin_ca(s, mesh, err) < 0)
        secure_free(&s);
    return s;
}

int secure_serve(struct secure *s, struct push *push, struct load_reports *reports, struct err *err)
{
    if (!s->ca)
        return 0;
    s->grpc = grpc_server_new(s->loop, &(struct grpc_server_opts){0});
    push_serve(push, s->grpc, false);
    load_reports_serve(reports, s->grpc, false);
    ca_serve(s->ca, s->grpc);
    return entry_open(&s->entry, s->loop, s->options->secure_grpc_addr, on_conn, s, err);
}

void secure_set_mesh(struct secure *s, const struct mesh *mesh)
{
    if (s->ca && !str_eq(mesh->trust_domain, strbuf_str(&s->trust_domain)))
        LOG(CONFIG, WARNING, "certificates are of the trust domain %.*s until weftd is started again, not of %.*s",
            STR_ARG(strbuf_str(&s->trust_domain)), STR_ARG(mesh->trust_domain));
}

void secure_rotate(struct secure *s)
{
    struct err err = {0};
    if (!s->ca || ca_rotate(s->ca, NULL, NULL, &err) < 0)
        LOG(SECRET, WARNING, "no new root is announced: %s", s->ca ? err.message : "there is no authority");
}

/* ---- what it tells ---- */

uint16_t secure_port(const struct secure *s)
{
    return s->entry.port;
}

const char *secure_fault(const struct secure *s)
{
    if (!s->ca || s->tls)
        return "";
    return *ca_fault(s->ca) ? ca_fault(s->ca) : "there is no serving certificate yet";
}

void secure_metrics(const struct secure *s, struct strbuf *out)
{
    if (s->ca)
        ca_metrics(s->ca, out);
}

/* ---- the end ---- */

static void on_nobody(struct turn_task *t)
{
    struct secure *s = CONTAINER_OF(t, secure, drained);
    s->on_drained(s->user);
}

void secure_drain(struct secure *s, void (*on_drained)(void *user), void *user)
{
    s->on_drained = on_drained;
    s->user = user;
    s->drained.run = on_nobody;
    entry_close(&s->entry);
    if (s->grpc)
        grpc_server_drain(s->grpc, on_drained, user);
    else
        loop_at_turn_end(s->loop, &s->drained);
}

void secure_free(struct secure **p)
{
    struct secure *s = *p;
    *p = NULL;
    if (!s)
        return;
    entry_close(&s->entry);
    turn_task_cancel(&s->drained);
    if (s->grpc)
        grpc_server_free(&s->grpc);
    ca_free(&s->ca);
    tls_context_unref(&s->tls);
    key_pem_free(&s->key);
    strbuf_fini(&s->chain);
    strbuf_fini(&s->trust_domain);
    mem_free(s);
}
