/* SPDX-License-Identifier: Apache-2.0
 *
 * Certificates of Gateways, out of Secrets. A proxy gets those alone that Gateways which select it name, and out of its own namespace
 * alone: that it is a gateway is no more than it says of itself, so what it may have follows from objects and from who it proved to be.
 */
#include "control/translate/gateway_priv.h"

#include "envoy/extensions/transport_sockets/tls/v3/secret.pb-c.h"
#include "k8s/core.pb-c.h"

#define GATEWAY Istio__Networking__V1alpha3__Gateway
#define SECRET K8s__Core__V1__Secret
#define OUT Envoy__Extensions__TransportSockets__Tls__V3__Secret
#define SOURCE Envoy__Config__Core__V3__DataSource
#define CERTIFICATE Envoy__Extensions__TransportSockets__Tls__V3__TlsCertificate
#define VALIDATION Envoy__Extensions__TransportSockets__Tls__V3__CertificateValidationContext

#define CA_SUFFIX STR("-cacert")

/* ---- may it have it ---- */

static bool is_meant(const struct translation *t, const char *credential, struct str name)
{
    if (!credential[0])
        return false;
    struct str resource = credential_resource(t->arena, credential);
    return str_eq(name, resource) ||
           (name.n == resource.n + CA_SUFFIX.n && str_has_prefix(name, resource) && str_has_suffix(name, CA_SUFFIX));
}

static bool server_names(const struct translation *t, const SERVER_TLS *tls, struct str name)
{
    if (!tls)
        return false;
    for (size_t i = 0; i < tls->n_credential_names; i++)
        if (is_meant(t, tls->credential_names[i], name))
            return true;
    return is_meant(t, tls->credential_name, name) || is_meant(t, tls->ca_cert_credential_name, name);
}

static bool is_named(const struct translation *t, struct str name)
{
    size_t n;
    const struct object *const *all = store_list(world_store(t->world), KIND_GATEWAY, &n);
    for (size_t i = 0; i < n; i++) {
        const GATEWAY *g = (const GATEWAY *)all[i]->body;
        for (size_t k = 0; k < g->n_servers; k++)
            if (server_names(t, g->servers[k]->tls, name) && gateway_selects(t, all[i]))
                return true;
    }
    return false;
}

/* The labels of its Pod where we know it, not those that it tells. */
static bool may_have(const struct translation *t, struct str name)
{
    const struct workload *w = world_workload(t->world, t->node->addresses[0]);
    struct node known = *t->node;
    struct translation as_known = *t;
    if (t->node->type != NODE_ROUTER)
        return false;
    if (w && !str_eq(w->ns, t->node->ns))
        return false;
    if (w)
        known.labels = w->labels;
    as_known.node = &known;
    return is_named(&as_known, name);
}

/* "kubernetes://name", "kubernetes://ns/name" */
static bool split(const struct translation *t, struct str name, struct str *secret)
{
    static const struct str scheme = STR("kubernetes://");
    if (!str_has_prefix(name, scheme))
        return false;
    struct str rest, all = str_make(name.p + scheme.n, name.n - scheme.n), ns = str_split(all, '/', &rest);
    *secret = rest.p ? rest : all;
    return !rest.p || str_eq(ns, t->node->ns);
}

/* ---- what it says ---- */

static SOURCE *source_of(const struct translation *t, const SECRET *s, const char *key)
{
    for (size_t i = 0; i < s->n_data; i++) {
        if (strcmp(s->data[i]->key, key) != 0 || s->data[i]->value.len == 0)
            continue;
        SOURCE *out = MAKE(t, SOURCE, envoy__config__core__v3__data_source__descriptor);
        out->specifier_case = ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_BYTES;
        out->inline_bytes = s->data[i]->value;
        return out;
    }
    return NULL;
}

static SOURCE *either(const struct translation *t, const SECRET *s, const char *key, const char *other)
{
    SOURCE *found = source_of(t, s, key);
    return found ? found : source_of(t, s, other);
}

static const SECRET *secret_named(const struct translation *t, struct str name)
{
    const struct object *o = store_get(world_store(t->world), KIND_SECRET, t->node->ns, name);
    return o ? (const SECRET *)o->body : NULL;
}

/* Of generic Secrets (cert, key) and those of type kubernetes.io/tls. */
static bool set_certificate(const struct translation *t, struct str secret, OUT *out)
{
    const SECRET *s = secret_named(t, secret);
    SOURCE *chain = s ? either(t, s, "cert", "tls.crt") : NULL, *key = s ? either(t, s, "key", "tls.key") : NULL;
    if (!chain || !key)
        return false;
    out->type_case = ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__SECRET__TYPE_TLS_CERTIFICATE;
    out->tls_certificate = MAKE(t, CERTIFICATE, envoy__extensions__transport_sockets__tls__v3__tls_certificate__descriptor);
    out->tls_certificate->certificate_chain = chain;
    out->tls_certificate->private_key = key;
    out->tls_certificate->ocsp_staple = source_of(t, s, "tls.ocsp-staple");
    return true;
}

/* Roots stand in a Secret of that name, or beside the certificate. */
static bool set_roots(const struct translation *t, struct str secret, OUT *out)
{
    const SECRET *s = secret_named(t, secret);
    if (!s)
        s = secret_named(t, str_make(secret.p, secret.n - CA_SUFFIX.n));
    SOURCE *roots = s ? either(t, s, "cacert", "ca.crt") : NULL;
    if (!roots)
        return false;
    out->type_case = ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__SECRET__TYPE_VALIDATION_CONTEXT;
    out->validation_context = MAKE(t, VALIDATION, envoy__extensions__transport_sockets__tls__v3__certificate_validation_context__descriptor);
    out->validation_context->trusted_ca = roots;
    out->validation_context->crl = either(t, s, "crl", "ca.crl");
    return true;
}

bool translate_secret(const struct translation *t, struct str name, struct resource_sink *sink)
{
    struct str secret;
    OUT *out = MAKE(t, OUT, envoy__extensions__transport_sockets__tls__v3__secret__descriptor);
    if (!split(t, name, &secret) || !may_have(t, name))
        return false;
    bool is_found = str_has_suffix(secret, CA_SUFFIX) ? set_roots(t, secret, out) : set_certificate(t, secret, out);
    out->name = text(t, name);
    if (is_found)
        sink->add(sink, name, &out->base);
    return is_found;
}
