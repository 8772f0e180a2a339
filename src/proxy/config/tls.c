/* SPDX-License-Identifier: Apache-2.0
 *
 * TLS contexts from their messages: certificates, validation, parameters; inline, from files, from
 * the environment, from static secrets or from those that discovery brings. What comes out is a recipe, and a source that is shared
 * with everybody who asked for the same. Main thread. Nothing here is ever logged.
 */
#include "base/mem.h"
#include "proxy/config/config_priv.h"
#include "proxy/discovery/discovery.h"
#include "proxy/config/secret_priv.h"
#include "proxy/config/secret_source.h"
#include "proxy/config/tls_recipe.h"
#include "proxy/config/tls_source.h"

#define VALIDATION(x) ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__COMMON_TLS_CONTEXT__VALIDATION_CONTEXT_TYPE_##x
#define TICKETS(x) ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__DOWNSTREAM_TLS_CONTEXT__SESSION_TICKET_KEYS_TYPE_##x

struct tls_reading {
    struct tls_recipe *recipe;
    struct strbuf key; /* all messages that went into it */
};

/* ---- secrets ---- */

/* The static secret that `m` names; its message goes into the key. */
static struct secret_spec *static_secret(struct config_reader *cr, struct str name, enum secret_kind kind, struct tls_reading *t)
{
    const pb_secret *m = map_get(cr->secrets, name);
    if (!m) {
        FAULT("name", "there is no secret '%.*s' in static_resources.secrets", STR_ARG(name));
        return NULL;
    }
    struct secret_spec *s = cfg_secret(cr, m);
    if (!s || s->kind != kind) {
        FAULT("name", "the secret '%.*s' holds something else", STR_ARG(name));
        secret_spec_unref(&s);
        return NULL;
    }
    proto_pack(&m->base, &t->key);
    return s;
}

static struct tls_part read_secret(struct config_reader *cr, const pb_sds_config *m, enum secret_kind kind, struct tls_reading *t)
{
    struct tls_part p = {0};
    if (!m)
        return p;
    struct str name = TEXT(m, name);
    if (!GET(m, sds_config)) {
        p.fixed = static_secret(cr, name, kind, t);
        return p;
    }
    size_t faults = cr->r.faults->count;
    const struct config_source *config = NULL;
    IN("sds_config")
        config = cfg_config_source(cr, m->sds_config);
    cr->out->has_sources = true;
    if (cr->r.faults->count == faults)
        p.source = secret_source_get(cr->out->frame, &config, name, kind);
    config_source_unref(&config);
    return p;
}

/* ---- validation ---- */

static void read_validations(struct config_reader *cr, const pb_common_tls *m, struct tls_reading *t)
{
    struct tls_part *v = t->recipe->validations;
    switch (m->validation_context_type_case) {
    case VALIDATION(VALIDATION_CONTEXT):
        IN("validation_context")
            v[0].fixed = cfg_inline_validation(cr, GET(m, validation_context));
        return;
    case VALIDATION(VALIDATION_CONTEXT_SDS_SECRET_CONFIG):
        IN("validation_context_sds_secret_config")
            v[0] = read_secret(cr, GET(m, validation_context_sds_secret_config), SECRET_VALIDATION, t);
        return;
    case VALIDATION(COMBINED_VALIDATION_CONTEXT):
        IN("combined_validation_context") {
            const pb_combined_validation *c = GET(m, combined_validation_context);
            if (GET(c, default_validation_context))
                IN("default_validation_context")
                    v[0].fixed = cfg_inline_validation(cr, c->default_validation_context);
            IN("validation_context_sds_secret_config")
                v[1] = read_secret(cr, GET(c, validation_context_sds_secret_config), SECRET_VALIDATION, t);
        }
        return;
    default:
        return; /* certificate providers stay unread */
    }
}

/* ---- parameters ---- */

/* A colon list. BoringSSL's groups of equal preference ("[A|B]") become a plain order: OpenSSL has no such thing. */
static struct str colon_list(struct tls_recipe *r, char *const *items, size_t n)
{
    struct strbuf b = {0};
    for (size_t i = 0; i < n; i++) {
        if (i)
            strbuf_addc(&b, ':');
        for (const char *p = items[i]; *p; p++)
            if (*p != '[' && *p != ']')
                strbuf_addc(&b, *p == '|' ? ':' : *p);
    }
    struct str out = n ? arena_str(&r->arena, strbuf_str(&b)) : STR_NULL;
    strbuf_fini(&b);
    return out;
}

static void read_params(struct config_reader *cr, const pb_tls_params *m, struct tls_recipe *r)
{
    static const enum tls_version versions[] = {TLS_AUTO, TLS_1_0, TLS_1_1, TLS_1_2, TLS_1_3};
    if (!m)
        return;
    unsigned min = (unsigned)GET(m, tls_minimum_protocol_version), max = (unsigned)GET(m, tls_maximum_protocol_version);
    r->opts.min_version = min < ARRAY_LEN(versions) ? versions[min] : TLS_AUTO;
    r->opts.max_version = max < ARRAY_LEN(versions) ? versions[max] : TLS_AUTO;
    if (min && max && min > max)
        FAULT("tls_minimum_protocol_version", "is above tls_maximum_protocol_version");
    r->opts.cipher_list = colon_list(r, GET(m, cipher_suites), LEN(m, cipher_suites));
    r->opts.curves = colon_list(r, GET(m, ecdh_curves), LEN(m, ecdh_curves));
    r->opts.signature_algorithms = colon_list(r, GET(m, signature_algorithms), LEN(m, signature_algorithms));
}

/* As BoringSSL's policy of that name; it stands over all other parameters. */
static void read_policies(struct config_reader *cr, const pb_tls_params *m, struct tls_context_opts *o)
{
    uint32_t n = m ? LEN(m, compliance_policies) : 0;
    if (n > 1)
        FAULT("compliance_policies", "one at most, not %u", n);
    if (n != 1)
        return;
    if ((int)m->compliance_policies[0] !=
        ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__TLS_PARAMETERS__COMPLIANCE_POLICY__FIPS_202205) {
        FAULT("compliance_policies[0]", "only FIPS_202205 is known");
        return;
    }
    o->min_version = TLS_1_2;
    o->max_version = TLS_1_3;
    o->cipher_list = STR("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                         "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384");
    o->cipher_suites_13 = STR("TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256");
    o->curves = STR("P-256:P-384");
    o->signature_algorithms = STR("rsa_pkcs1_sha256:ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256:rsa_pkcs1_sha384:"
                                  "ecdsa_secp384r1_sha384:rsa_pss_rsae_sha384:rsa_pkcs1_sha512:rsa_pss_rsae_sha512");
}

static void read_certificates(struct config_reader *cr, const pb_common_tls *m, struct tls_reading *t)
{
    struct tls_recipe *r = t->recipe;
    uint32_t n = LEN(m, tls_certificates), secrets = LEN(m, tls_certificate_sds_secret_configs);
    r->certs = ARENA_ARRAY(&r->arena, struct tls_part, n + secrets);
    r->cert_count = n + secrets;
    for (uint32_t i = 0; i < n; i++)
        IN("tls_certificates[%u]", i)
            r->certs[i].fixed = cfg_inline_certificate(cr, m->tls_certificates[i]);
    for (uint32_t i = 0; i < secrets; i++)
        IN("tls_certificate_sds_secret_configs[%u]", i)
            r->certs[n + i] = read_secret(cr, m->tls_certificate_sds_secret_configs[i], SECRET_CERTIFICATE, t);
}

static void read_alpn(struct tls_recipe *r, char *const *items, size_t n)
{
    struct str *all = ARENA_ARRAY(&r->arena, struct str, n);
    for (size_t i = 0; i < n; i++)
        all[i] = arena_str(&r->arena, str_from(items[i]));
    r->opts.alpn = all;
    r->opts.alpn_count = n;
}

static void read_common(struct config_reader *cr, const pb_common_tls *m, struct tls_reading *t)
{
    struct tls_recipe *r = t->recipe;
    if (!m)
        return;
    IN("tls_params") {
        read_params(cr, GET(m, tls_params), r);
        read_policies(cr, m->tls_params, &r->opts);
    }
    read_certificates(cr, m, t);
    read_validations(cr, m, t);
    read_alpn(r, GET(m, alpn_protocols), LEN(m, alpn_protocols));
    __auto_type key_log = GET(m, key_log);
    if (key_log) /* its address ranges stay unread */
        r->keylog_path = arena_str(&r->arena, TEXT(key_log, path));
}

static void read_tickets(struct config_reader *cr, const pb_downstream_tls *m, struct tls_reading *t)
{
    switch (m->session_ticket_keys_type_case) {
    case TICKETS(SESSION_TICKET_KEYS):
        IN("session_ticket_keys")
            t->recipe->tickets.fixed = cfg_inline_ticket_keys(cr, GET(m, session_ticket_keys));
        return;
    case TICKETS(SESSION_TICKET_KEYS_SDS_SECRET_CONFIG):
        IN("session_ticket_keys_sds_secret_config")
            t->recipe->tickets = read_secret(cr, GET(m, session_ticket_keys_sds_secret_config), SECRET_TICKET_KEYS, t);
        return;
    case TICKETS(DISABLE_STATELESS_SESSION_RESUMPTION):
        t->recipe->opts.no_session_tickets = GET(m, disable_stateless_session_resumption);
        return;
    default:
        return;
    }
}

/* Makes the source unless reading it brought faults. */
static int finish(struct config_reader *cr, struct tls_reading *t, size_t faults, struct cfg_socket *out)
{
    struct err err = {0};
    int rc = ERR_INVALID;
    if (cr->r.faults->count == faults) {
        out->tls = tls_source_new(strbuf_str(&t->key), &t->recipe, &err);
        rc = out->tls ? 0 : cfg_fault_err(cr, "common_tls_context", &err);
    }
    tls_recipe_free(&t->recipe);
    strbuf_fini(&t->key);
    return rc;
}

int cfg_downstream_tls(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_downstream_tls *m = (const pb_downstream_tls *)msg;
    struct tls_reading t = {.recipe = tls_recipe_new(true)};
    struct tls_context_opts *o = &t.recipe->opts;
    size_t faults = cr->r.faults->count;
    strbuf_addz(&t.key, "server:");
    proto_pack(msg, &t.key);
    IN("common_tls_context")
        read_common(cr, GET(m, common_tls_context), &t);
    if (t.recipe->cert_count == 0 && cr->r.faults->count == faults)
        FAULT("common_tls_context", "a server needs a certificate");
    o->require_client_cert = proto_bool_or(GET(m, require_client_certificate), false);
    o->no_session_ids = GET(m, disable_stateful_session_resumption);
    o->session_timeout_s = (uint32_t)(proto_ms_or(GET(m, session_timeout), 0) / 1000);
    o->ocsp_policy = (enum tls_ocsp_policy)GET(m, ocsp_staple_policy);
    o->full_scan_certs_on_sni_mismatch = proto_bool_or(GET(m, full_scan_certs_on_sni_mismatch), false);
    o->prefer_client_ciphers = GET(m, prefer_client_ciphers);
    read_tickets(cr, m, &t);
    return finish(cr, &t, faults, out);
}

int cfg_upstream_tls(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_upstream_tls *m = (const pb_upstream_tls *)msg;
    struct cfg_socket *socket = out;
    struct tls_reading t = {.recipe = tls_recipe_new(false)};
    struct tls_context_opts *o = &t.recipe->opts;
    size_t faults = cr->r.faults->count;
    socket->up->sni = arena_str(socket->arena, TEXT(m, sni));
    socket->up->auto_host_sni = GET(m, auto_host_sni);
    pb_upstream_tls keyed = *m; /* SNI is the cluster's: contexts that differ in nothing else are one */
    keyed.sni = (char *)"";
    keyed.auto_host_sni = false;
    strbuf_addz(&t.key, "client:");
    proto_pack(&keyed.base, &t.key);
    IN("common_tls_context")
        read_common(cr, GET(m, common_tls_context), &t);
    if (t.recipe->cert_count > 1)
        FAULT("common_tls_context.tls_certificates", "a client has one certificate, not %zu", t.recipe->cert_count);
    o->allow_renegotiation = GET(m, allow_renegotiation);
    o->max_session_keys = proto_u32_or(GET(m, max_session_keys), 1);
    o->enforce_rsa_key_usage = proto_bool_or(GET(m, enforce_rsa_key_usage), true);
    return finish(cr, &t, faults, out);
}

int cfg_raw_socket(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    (void)cr, (void)msg;
    ((struct cfg_socket *)out)->tls = NULL;
    return 0;
}
