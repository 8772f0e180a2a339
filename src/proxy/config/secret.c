/* SPDX-License-Identifier: Apache-2.0
 *
 * Secrets from their messages: inline ones of TLS contexts, static ones of the bootstrap, and those that discovery
 * brings. Texts are copied, files only named. A key is wiped with its last reference. Main thread but for references.
 * Private key providers and certificate providers are refused by name (as unread fields). Nothing here is ever logged.
 */
#include "proxy/config/secret.h"

#include "base/mem.h"
#include "io/tls.h"
#include "proxy/config/resources_priv.h"
#include "proxy/config/secret_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SOURCE(x) ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_##x
#define SAN_TYPE(x) ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__SUBJECT_ALT_NAME_MATCHER__SAN_TYPE__##x
#define SECRET(x) ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__SECRET__TYPE_##x

/* ---- life ---- */

struct secret_spec *secret_spec_new(enum secret_kind kind)
{
    struct secret_spec *s = NEW(secret_spec);
    arena_init(&s->arena, 0);
    atomic_init(&s->refs, 1);
    s->kind = kind;
    return s;
}

struct secret_spec *secret_spec_ref(struct secret_spec *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void secret_wipe(struct str text)
{
    if (text.n)
        explicit_bzero((char *)text.p, text.n);
}

void secret_spec_unref(struct secret_spec **spec)
{
    struct secret_spec *s = *spec;
    *spec = NULL;
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < s->match_count; i++)
        string_match_fini(&s->matches[i]);
    secret_wipe(s->cert.key.text);
    secret_wipe(s->cert.password.text);
    secret_wipe(s->cert.pkcs12.text);
    for (size_t i = 0; i < s->ticket_key_count; i++)
        secret_wipe(s->ticket_keys[i].text);
    for (size_t i = 0; i < s->generic_count; i++)
        secret_wipe(s->generic[i].text);
    arena_fini(&s->arena);
    mem_free(s);
}

void secret_spec_each_path(const struct secret_spec *s, void (*fn)(struct str path, void *arg), void *arg)
{
    const struct tls_material *all[] = {&s->cert.chain, &s->cert.key,      &s->cert.password,  &s->cert.pkcs12,
                                        &s->cert.ocsp,  &s->validation.ca, &s->validation.crl, &s->validation.bundles};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i]->path.n)
            fn(all[i]->path, arg);
    for (size_t i = 0; i < s->validation.domain_count; i++)
        if (s->validation.domains[i].ca.path.n)
            fn(s->validation.domains[i].ca.path, arg);
    for (size_t i = 0; i < s->ticket_key_count; i++)
        if (s->ticket_keys[i].path.n)
            fn(s->ticket_keys[i].path, arg);
    for (size_t i = 0; i < s->watched_dir_count; i++)
        fn(s->watched_dirs[i], arg);
}

/* ---- materials ---- */

static void add_watched(struct secret_spec *r, struct str dir)
{
    struct str *all = ARENA_ARRAY(&r->arena, struct str, r->watched_dir_count + 1);
    if (r->watched_dir_count)
        memcpy(all, r->watched_dirs, r->watched_dir_count * sizeof *all);
    all[r->watched_dir_count++] = arena_str(&r->arena, dir);
    r->watched_dirs = all;
}

static void read_watched(struct config_reader *cr, const pb_watched_directory *m, struct secret_spec *r)
{
    if (m)
        add_watched(r, TEXT(m, path));
}

static void read_material(struct config_reader *cr, const char *field, const pb_data_source *m, struct secret_spec *r,
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

static void read_certificate(struct config_reader *cr, const pb_tls_certificate *m, struct secret_spec *r)
{
    struct tls_recipe_cert *c = &r->cert;
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

/* ---- validation ---- */

static bool match_name(const void *arg, struct str name)
{
    return string_matches(arg, name);
}

static void add_san(struct secret_spec *r, enum tls_san_type type, const struct string_match *m)
{
    struct tls_san_matcher *all = (struct tls_san_matcher *)r->validation.sans;
    struct tls_san_matcher *s = &all[r->validation.san_count++];
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

static void read_sans(struct config_reader *cr, const pb_validation *m, struct secret_spec *r)
{
    static const enum tls_san_type any_type[] = {TLS_SAN_DNS, TLS_SAN_URI, TLS_SAN_EMAIL, TLS_SAN_IP};
    uint32_t typed = LEN(m, match_typed_subject_alt_names), untyped = LEN(m, match_subject_alt_names);
    if (typed + untyped == 0)
        return;
    r->matches = ARENA_ARRAY(&r->arena, struct string_match, typed + untyped);
    r->validation.sans = ARENA_ARRAY(&r->arena, struct tls_san_matcher, typed + untyped * ARRAY_LEN(any_type));
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

static const struct str *copy_strings(struct secret_spec *r, char *const *items, size_t n)
{
    struct str *all = ARENA_ARRAY(&r->arena, struct str, n);
    for (size_t i = 0; i < n; i++)
        all[i] = arena_str(&r->arena, str_from(items[i]));
    return all;
}

static void read_system_roots(struct config_reader *cr, struct tls_validation *v)
{
    if (access(tls_system_roots(), R_OK) == 0) {
        v->ca.path = str_from(tls_system_roots());
        return;
    }
    FAULT("system_root_certs", "this system has no bundle of root certificates");
}

int cfg_spiffe_validator(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_spiffe_validator *m = (const pb_spiffe_validator *)msg;
    struct secret_spec *s = out;
    uint32_t n = LEN(m, trust_domains);
    struct tls_domain_material *all = ARENA_ARRAY(&s->arena, struct tls_domain_material, n);
    for (uint32_t i = 0; i < n; i++)
        IN("trust_domains[%u]", i) {
            __auto_type domain = m->trust_domains[i];
            all[i].name = arena_str(&s->arena, TEXT(domain, name));
            for (uint32_t j = 0; j < i; j++)
                if (str_eq(all[j].name, all[i].name))
                    FAULT("name", "'%.*s' is the name of an earlier trust domain", STR_ARG(all[i].name));
            if (GET(domain, trust_bundle))
                read_material(cr, "trust_bundle", domain->trust_bundle, s, &all[i].ca);
            else
                FAULT("trust_bundle", "must be set");
        }
    read_material(cr, "trust_bundles", GET(m, trust_bundles), s, &s->validation.bundles);
    if (m->trust_bundles && !s->validation.bundles.path.n && !s->validation.bundles.text.n)
        FAULT("trust_bundles", "is empty"); /* or nobody would be verified */
    if (n == 0 && !m->trust_bundles)
        FAULT("trust_domains", "one at least must be set");
    s->validation.domains = all;
    s->validation.domain_count = n;
    return 0;
}

/* It looks at names and at expiry, as Envoy's does; what it doesn't use may not be set beside it. */
static void read_custom_validator(struct config_reader *cr, const pb_validation *m, struct secret_spec *s)
{
    __auto_type custom = GET(m, custom_validator_config);
    ProtobufCMessage *msg = NULL;
    if (!custom)
        return;
    IN("custom_validator_config") {
        const struct extension *ext =
            cfg_extension(cr, EXT_CERT_VALIDATOR, "typed_config", TEXT(custom, name), GET(custom, typed_config), &msg);
        if (ext)
            IN("typed_config")
                ext->read(cr, msg, s);
    }
    if (m->trusted_ca || m->crl || m->n_verify_certificate_spki || m->n_verify_certificate_hash || m->trust_chain_verification)
        FAULT("custom_validator_config",
              "excludes trusted_ca, crl, verify_certificate_spki, verify_certificate_hash and trust_chain_verification");
}

static void read_validation(struct config_reader *cr, const pb_validation *m, struct secret_spec *r)
{
    struct tls_validation *v = &r->validation;
    read_material(cr, "trusted_ca", GET(m, trusted_ca), r, &v->ca);
    if (GET(m, system_root_certs)) {
        if (m->trusted_ca)
            FAULT("system_root_certs", "excludes trusted_ca");
        else
            read_system_roots(cr, v);
    }
    read_watched(cr, GET(m, watched_directory), r);
    v->spki_pins = copy_strings(r, GET(m, verify_certificate_spki), LEN(m, verify_certificate_spki));
    v->spki_pin_count = m->n_verify_certificate_spki;
    v->cert_hashes = copy_strings(r, GET(m, verify_certificate_hash), LEN(m, verify_certificate_hash));
    v->cert_hash_count = m->n_verify_certificate_hash;
    read_sans(cr, m, r);
    read_material(cr, "crl", GET(m, crl), r, &v->crl);
    v->crl_leaf_only = GET(m, only_verify_leaf_cert_crl);
    v->allow_expired = GET(m, allow_expired_certificate);
    v->accept_untrusted =
        GET(m, trust_chain_verification) ==
        ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__CERTIFICATE_VALIDATION_CONTEXT__TRUST_CHAIN_VERIFICATION__ACCEPT_UNTRUSTED;
    v->max_verify_depth = proto_u32_or(GET(m, max_verify_depth), 0);
    read_custom_validator(cr, m, r);
}

/* ---- keys of tickets ---- */

static void read_ticket_keys(struct config_reader *cr, const pb_ticket_keys *m, struct secret_spec *r)
{
    r->ticket_key_count = LEN(m, keys);
    r->ticket_keys = ARENA_ARRAY(&r->arena, struct tls_material, r->ticket_key_count);
    for (size_t i = 0; i < r->ticket_key_count; i++) {
        char field[32];
        snprintf(field, sizeof field, "keys[%zu]", i);
        read_material(cr, field, m->keys[i], r, &r->ticket_keys[i]);
    }
}

/* ---- generic secrets ---- */

/* No filter of ours uses one; a configuration that carries one is good all the same, as for Envoy. */
static struct secret_spec *read_generic(struct config_reader *cr, const pb_generic_secret *m)
{
    struct secret_spec *s = secret_spec_new(SECRET_GENERIC);
    s->generic_count = 1 + LEN(m, secrets);
    s->generic = ARENA_ARRAY(&s->arena, struct tls_material, s->generic_count);
    read_material(cr, "secret", GET(m, secret), s, &s->generic[0]);
    for (size_t i = 1; i < s->generic_count; i++)
        IN("secrets[\"%s\"]", m->secrets[i - 1]->key)
            read_material(cr, "", GET(m->secrets[i - 1], value), s, &s->generic[i]);
    return s;
}

/* ---- whole secrets ---- */

struct secret_spec *cfg_inline_certificate(struct config_reader *cr, const pb_tls_certificate *m)
{
    struct secret_spec *s = secret_spec_new(SECRET_CERTIFICATE);
    read_certificate(cr, m, s);
    return s;
}

struct secret_spec *cfg_inline_validation(struct config_reader *cr, const pb_validation *m)
{
    struct secret_spec *s = secret_spec_new(SECRET_VALIDATION);
    read_validation(cr, m, s);
    return s;
}

struct secret_spec *cfg_inline_ticket_keys(struct config_reader *cr, const pb_ticket_keys *m)
{
    struct secret_spec *s = secret_spec_new(SECRET_TICKET_KEYS);
    read_ticket_keys(cr, m, s);
    return s;
}

struct secret_spec *cfg_secret(struct config_reader *cr, const pb_secret *m)
{
    struct secret_spec *s = NULL;
    (void)GET(m, name);
    switch (m->type_case) {
    case SECRET(TLS_CERTIFICATE):
        IN("tls_certificate")
            s = cfg_inline_certificate(cr, GET(m, tls_certificate));
        break;
    case SECRET(VALIDATION_CONTEXT):
        IN("validation_context")
            s = cfg_inline_validation(cr, GET(m, validation_context));
        break;
    case SECRET(SESSION_TICKET_KEYS):
        IN("session_ticket_keys")
            s = cfg_inline_ticket_keys(cr, GET(m, session_ticket_keys));
        break;
    case SECRET(GENERIC_SECRET):
        IN("generic_secret")
            s = read_generic(cr, GET(m, generic_secret));
        break;
    default:
        break;
    }
    return s;
}

void cfg_check_secret(struct config_reader *cr, const pb_secret *m)
{
    struct secret_spec *s = cfg_secret(cr, m);
    secret_spec_unref(&s);
}

static pb_data_source data_source(const struct tls_material *m)
{
    pb_data_source d = ENVOY__CONFIG__CORE__V3__DATA_SOURCE__INIT;
    d.specifier_case = SOURCE(INLINE_BYTES);
    d.inline_bytes = (ProtobufCBinaryData){.len = m->text.n, .data = (uint8_t *)(uintptr_t)m->text.p};
    return d;
}

void secret_spec_pack(const struct secret_spec *s, struct str name, struct strbuf *out)
{
    pb_secret m = ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__SECRET__INIT;
    pb_tls_certificate cert = ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__TLS_CERTIFICATE__INIT;
    pb_validation validation = ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__CERTIFICATE_VALIDATION_CONTEXT__INIT;
    pb_data_source a, b;
    char *text = mem_strndup(name.p, name.n);
    m.name = text;
    if (s->kind == SECRET_CERTIFICATE) {
        a = data_source(&s->cert.chain);
        b = data_source(&s->cert.key);
        cert.certificate_chain = &a;
        cert.private_key = &b;
        m.type_case = SECRET(TLS_CERTIFICATE);
        m.tls_certificate = &cert;
    } else {
        a = data_source(&s->validation.ca);
        b = data_source(&s->validation.crl);
        validation.trusted_ca = &a;
        validation.crl = s->validation.crl.text.n ? &b : NULL;
        m.type_case = SECRET(VALIDATION_CONTEXT);
        m.validation_context = &validation;
    }
    proto_pack(&m.base, out);
    mem_free(text);
}

int config_read_secret(struct config_batch *b, struct str packed, struct str name, enum secret_kind kind, struct secret_spec **out,
                       struct err_list *faults)
{
    struct config_resource r;
    struct cluster_slots none = {0};
    struct config_reader *cr = &r.cr;
    const ProtobufCMessage *m =
        cfg_resource_begin(&r, b, &envoy__extensions__transport_sockets__tls__v3__secret__descriptor, packed, faults);
    *out = NULL;
    cr->slots = &none;
    if (m) {
        const pb_secret *secret = (const pb_secret *)m;
        *out = cfg_secret(cr, secret);
        if (!str_eq(str_from(secret->name), name))
            FAULT("name", "is '%s' where '%.*s' was asked for", secret->name, STR_ARG(name));
        if (*out && (*out)->kind != kind)
            FAULT("", "the secret holds something else than what it is used for");
        if (!*out)
            FAULT("", "holds none of tls_certificate, validation_context and session_ticket_keys");
    }
    int rc = cfg_resource_end(&r, m);
    if (rc)
        secret_spec_unref(out);
    return rc;
}
