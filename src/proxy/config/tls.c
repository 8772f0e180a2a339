/* SPDX-License-Identifier: Apache-2.0
 *
 * TLS contexts from their messages: certificates, validation, parameters; inline, from files, from
 * the environment or from static secrets. What comes out is a recipe, and a source that is shared
 * with everybody who asked for the same. Main thread. Nothing here is ever logged.
 */
#include "base/mem.h"
#include "proxy/config/config_priv.h"
#include "proxy/config/tls_recipe.h"
#include "proxy/config/tls_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SOURCE(x) ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_##x
#define SAN_TYPE(x) ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__SUBJECT_ALT_NAME_MATCHER__SAN_TYPE__##x
#define VALIDATION(x) ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__COMMON_TLS_CONTEXT__VALIDATION_CONTEXT_TYPE_##x
#define TICKETS(x) ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__DOWNSTREAM_TLS_CONTEXT__SESSION_TICKET_KEYS_TYPE_##x
#define SECRET(x) ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__SECRET__TYPE_##x

struct tls_reading {
    struct tls_recipe *recipe;
    struct strbuf key; /* all messages that went into it */
};

/* ---- materials ---- */

static void add_watched(struct tls_recipe *r, struct str dir)
{
    struct str *all = ARENA_ARRAY(&r->arena, struct str, r->watched_dir_count + 1);
    memcpy(all, r->watched_dirs, r->watched_dir_count * sizeof *all);
    all[r->watched_dir_count++] = arena_str(&r->arena, dir);
    r->watched_dirs = all;
}

static void read_watched(struct config_reader *cr, const pb_watched_directory *m, struct tls_recipe *r)
{
    if (m)
        add_watched(r, TEXT(m, path));
}

static void read_material(struct config_reader *cr, const char *field, const pb_data_source *m, struct tls_recipe *r,
                          struct tls_material *out)
{
    const char *name;
    if (!m)
        return;
    read_watched(cr, GET(m, watched_directory), r);
    switch (m->specifier_case) {
    case SOURCE(FILENAME):
        out->path = arena_str(&r->arena, TEXT(m, filename));
        break;
    case SOURCE(INLINE_BYTES):
        out->text = arena_str(&r->arena, PROTO_BYTES(&cr->r, m, inline_bytes));
        break;
    case SOURCE(INLINE_STRING):
        out->text = arena_str(&r->arena, TEXT(m, inline_string));
        break;
    case SOURCE(ENVIRONMENT_VARIABLE):
        name = GET(m, environment_variable);
        if (!getenv(name))
            FAULT(field, "the environment variable %s is not set", name);
        else
            out->text = arena_str(&r->arena, str_from(getenv(name)));
        break;
    default:
        FAULT(field, "one of filename, inline_bytes, inline_string and environment_variable must be set");
    }
}

static void read_certificate(struct config_reader *cr, const pb_tls_certificate *m, struct tls_recipe *r)
{
    struct tls_recipe_cert *c = &r->certs[r->cert_count++];
    read_material(cr, "certificate_chain", GET(m, certificate_chain), r, &c->chain);
    read_material(cr, "private_key", GET(m, private_key), r, &c->key);
    read_material(cr, "pkcs12", GET(m, pkcs12), r, &c->pkcs12);
    read_material(cr, "password", GET(m, password), r, &c->password);
    read_material(cr, "ocsp_staple", GET(m, ocsp_staple), r, &c->ocsp);
    read_watched(cr, GET(m, watched_directory), r);
    if (m->pkcs12 && (m->certificate_chain || m->private_key))
        FAULT("pkcs12", "excludes certificate_chain and private_key");
    if (!m->pkcs12 && !m->certificate_chain)
        FAULT("certificate_chain", "must be set");
    if (!m->pkcs12 && !m->private_key && !m->private_key_provider)
        FAULT("private_key", "must be set");
}

/* ---- secrets ---- */

/* The static secret that `m` names; its message goes into the key. */
static const pb_secret *find_secret(struct config_reader *cr, const pb_sds_config *m, int type, struct tls_reading *t)
{
    struct str name = TEXT(m, name);
    if (GET(m, sds_config)) {
        proto_read_whole(&cr->r, &m->sds_config->base);
        UNSUPPORTED("sds_config", NULL);
        return NULL;
    }
    const pb_secret *s = map_get(cr->secrets, name);
    if (!s) {
        FAULT("name", "there is no secret '%.*s' in static_resources.secrets", STR_ARG(name));
        return NULL;
    }
    if ((int)s->type_case != type) {
        FAULT("name", "the secret '%.*s' holds something else", STR_ARG(name));
        return NULL;
    }
    proto_pack(&s->base, &t->key);
    return s;
}

/* ---- validation ---- */

static bool match_name(const void *arg, struct str name)
{
    return string_matches(arg, name);
}

static void add_san(struct tls_recipe *r, enum tls_san_type type, const struct string_match *m)
{
    struct tls_san_matcher *all = (struct tls_san_matcher *)r->opts.sans;
    struct tls_san_matcher *s = &all[r->opts.san_count++];
    *s = (struct tls_san_matcher){.type = type, .match = match_name, .arg = m};
    if (type == TLS_SAN_DNS && m->kind == MATCH_EXACT && !m->ignore_case) {
        s->exact_dns = true;
        s->arg = &m->text;
    }
}

static bool san_type(struct config_reader *cr, const pb_san_matcher *m, enum tls_san_type *out)
{
    switch (GET(m, san_type)) {
    case SAN_TYPE(EMAIL):
        *out = TLS_SAN_EMAIL;
        return true;
    case SAN_TYPE(DNS):
        *out = TLS_SAN_DNS;
        return true;
    case SAN_TYPE(URI):
        *out = TLS_SAN_URI;
        return true;
    case SAN_TYPE(IP_ADDRESS):
        *out = TLS_SAN_IP;
        return true;
    default:
        proto_unsupported_enum(
            &cr->r, "san_type",
            &envoy__extensions__transport_sockets__tls__v3__subject_alt_name_matcher__san_type__descriptor, (int)m->san_type);
        return false;
    }
}

/* Matchers are pointed to: the arrays are made for all of a context at once, from both places of a combined one. */
static void reserve_sans(struct tls_recipe *r, size_t matches, size_t sans)
{
    struct string_match *old = r->matches;
    struct string_match *m = ARENA_ARRAY(&r->arena, struct string_match, r->match_count + matches);
    struct tls_san_matcher *s = ARENA_ARRAY(&r->arena, struct tls_san_matcher, r->opts.san_count + sans);
    if (r->match_count)
        memcpy(m, old, r->match_count * sizeof *m);
    for (size_t i = 0; i < r->opts.san_count; i++) {
        s[i] = r->opts.sans[i];
        ptrdiff_t at = (const char *)s[i].arg - (const char *)old;
        s[i].arg = (const char *)m + at;
    }
    r->matches = m;
    r->opts.sans = s;
}

static void read_sans(struct config_reader *cr, const pb_validation *m, struct tls_recipe *r)
{
    static const enum tls_san_type any_type[] = {TLS_SAN_DNS, TLS_SAN_URI, TLS_SAN_EMAIL, TLS_SAN_IP};
    uint32_t typed = LEN(m, match_typed_subject_alt_names), untyped = LEN(m, match_subject_alt_names);
    if (typed + untyped == 0)
        return;
    reserve_sans(r, typed + untyped, typed + untyped * ARRAY_LEN(any_type));
    for (uint32_t i = 0; i < typed; i++) {
        const pb_san_matcher *san = m->match_typed_subject_alt_names[i];
        enum tls_san_type type;
        IN("match_typed_subject_alt_names[%u]", i)
            if (san_type(cr, san, &type) && GET(san, matcher)) {
                struct string_match *match = &r->matches[r->match_count++];
                IN("matcher")
                    cfg_string_match(cr, san->matcher, match);
                add_san(r, type, match);
            }
    }
    for (uint32_t i = 0; i < untyped; i++) {
        struct string_match *match = &r->matches[r->match_count++];
        IN("match_subject_alt_names[%u]", i)
            cfg_string_match(cr, m->match_subject_alt_names[i], match);
        for (size_t j = 0; j < ARRAY_LEN(any_type); j++)
            add_san(r, any_type[j], match);
    }
}

static void append_strings(struct tls_recipe *r, const struct str **list, size_t *count, char *const *items, size_t n)
{
    if (n == 0)
        return;
    struct str *all = ARENA_ARRAY(&r->arena, struct str, *count + n);
    if (*count)
        memcpy(all, *list, *count * sizeof *all);
    for (size_t i = 0; i < n; i++)
        all[*count + i] = arena_str(&r->arena, str_from(items[i]));
    *list = all;
    *count += n;
}

static void read_system_roots(struct config_reader *cr, struct tls_recipe *r)
{
    static const char *const places[] = {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                         "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"};
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        if (access(places[i], R_OK) == 0) {
            r->ca.path = str_from(places[i]);
            return;
        }
    FAULT("system_root_certs", "this system has no bundle of root certificates");
}

static void read_validation(struct config_reader *cr, const pb_validation *m, struct tls_recipe *r)
{
    struct tls_context_opts *o = &r->opts;
    read_material(cr, "trusted_ca", GET(m, trusted_ca), r, &r->ca);
    if (GET(m, system_root_certs)) {
        if (m->trusted_ca)
            FAULT("system_root_certs", "excludes trusted_ca");
        else
            read_system_roots(cr, r);
    }
    read_watched(cr, GET(m, watched_directory), r);
    append_strings(r, &o->spki_pins, &o->spki_pin_count, GET(m, verify_certificate_spki), LEN(m, verify_certificate_spki));
    append_strings(r, &o->cert_hashes, &o->cert_hash_count, GET(m, verify_certificate_hash), LEN(m, verify_certificate_hash));
    read_sans(cr, m, r);
    read_material(cr, "crl", GET(m, crl), r, &r->crl);
    o->crl_leaf_only = GET(m, only_verify_leaf_cert_crl) || o->crl_leaf_only;
    o->allow_expired = GET(m, allow_expired_certificate) || o->allow_expired;
    if (GET(m, trust_chain_verification) ==
        ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__CERTIFICATE_VALIDATION_CONTEXT__TRUST_CHAIN_VERIFICATION__ACCEPT_UNTRUSTED)
        o->trust_mode = TLS_TRUST_ACCEPT_UNTRUSTED;
    o->max_verify_depth = proto_u32_or(GET(m, max_verify_depth), o->max_verify_depth);
}

static void read_validation_secret(struct config_reader *cr, const char *field, const pb_sds_config *m, struct tls_reading *t)
{
    IN("%s", field) {
        const pb_secret *s = m ? find_secret(cr, m, SECRET(VALIDATION_CONTEXT), t) : NULL;
        if (s)
            read_validation(cr, GET(s, validation_context), t->recipe);
    }
}

static void read_validations(struct config_reader *cr, const pb_common_tls *m, struct tls_reading *t)
{
    switch (m->validation_context_type_case) {
    case VALIDATION(VALIDATION_CONTEXT):
        IN("validation_context")
            read_validation(cr, GET(m, validation_context), t->recipe);
        return;
    case VALIDATION(VALIDATION_CONTEXT_SDS_SECRET_CONFIG):
        read_validation_secret(cr, "validation_context_sds_secret_config", GET(m, validation_context_sds_secret_config), t);
        return;
    case VALIDATION(COMBINED_VALIDATION_CONTEXT):
        IN("combined_validation_context") {
            const pb_combined_validation *c = GET(m, combined_validation_context);
            if (GET(c, default_validation_context))
                IN("default_validation_context")
                    read_validation(cr, c->default_validation_context, t->recipe);
            read_validation_secret(cr, "validation_context_sds_secret_config", GET(c, validation_context_sds_secret_config), t);
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

static void read_certificates(struct config_reader *cr, const pb_common_tls *m, struct tls_reading *t)
{
    struct tls_recipe *r = t->recipe;
    uint32_t n = LEN(m, tls_certificates), secrets = LEN(m, tls_certificate_sds_secret_configs);
    r->certs = ARENA_ARRAY(&r->arena, struct tls_recipe_cert, n + secrets);
    for (uint32_t i = 0; i < n; i++)
        IN("tls_certificates[%u]", i)
            read_certificate(cr, m->tls_certificates[i], r);
    for (uint32_t i = 0; i < secrets; i++)
        IN("tls_certificate_sds_secret_configs[%u]", i) {
            const pb_secret *s = find_secret(cr, m->tls_certificate_sds_secret_configs[i], SECRET(TLS_CERTIFICATE), t);
            if (s)
                read_certificate(cr, GET(s, tls_certificate), r);
        }
}

static void read_common(struct config_reader *cr, const pb_common_tls *m, struct tls_reading *t)
{
    struct tls_recipe *r = t->recipe;
    if (!m)
        return;
    IN("tls_params")
        read_params(cr, GET(m, tls_params), r);
    read_certificates(cr, m, t);
    read_validations(cr, m, t);
    append_strings(r, &r->opts.alpn, &r->opts.alpn_count, GET(m, alpn_protocols), LEN(m, alpn_protocols));
    __auto_type key_log = GET(m, key_log);
    if (key_log) /* its address ranges stay unread */
        r->keylog_path = arena_str(&r->arena, TEXT(key_log, path));
}

static void read_ticket_keys(struct config_reader *cr, const pb_ticket_keys *m, struct tls_recipe *r)
{
    r->ticket_key_count = LEN(m, keys);
    r->ticket_keys = ARENA_ARRAY(&r->arena, struct tls_material, r->ticket_key_count);
    for (size_t i = 0; i < r->ticket_key_count; i++) {
        char field[32];
        snprintf(field, sizeof field, "keys[%zu]", i);
        read_material(cr, field, m->keys[i], r, &r->ticket_keys[i]);
    }
}

static void read_tickets(struct config_reader *cr, const pb_downstream_tls *m, struct tls_reading *t)
{
    const pb_secret *s;
    switch (m->session_ticket_keys_type_case) {
    case TICKETS(SESSION_TICKET_KEYS):
        IN("session_ticket_keys")
            read_ticket_keys(cr, GET(m, session_ticket_keys), t->recipe);
        return;
    case TICKETS(SESSION_TICKET_KEYS_SDS_SECRET_CONFIG):
        IN("session_ticket_keys_sds_secret_config") {
            s = find_secret(cr, GET(m, session_ticket_keys_sds_secret_config), SECRET(SESSION_TICKET_KEYS), t);
            if (s)
                read_ticket_keys(cr, GET(s, session_ticket_keys), t->recipe);
        }
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

void cfg_check_secret(struct config_reader *cr, const pb_secret *m)
{
    struct tls_recipe *r = tls_recipe_new(true);
    r->certs = ARENA_ARRAY(&r->arena, struct tls_recipe_cert, 1);
    (void)GET(m, name);
    switch (m->type_case) {
    case SECRET(TLS_CERTIFICATE):
        IN("tls_certificate")
            read_certificate(cr, GET(m, tls_certificate), r);
        break;
    case SECRET(VALIDATION_CONTEXT):
        IN("validation_context")
            read_validation(cr, GET(m, validation_context), r);
        break;
    case SECRET(SESSION_TICKET_KEYS):
        IN("session_ticket_keys")
            read_ticket_keys(cr, GET(m, session_ticket_keys), r);
        break;
    default:
        break; /* generic secrets: nothing uses one yet, reported as unread */
    }
    tls_recipe_free(&r);
}
