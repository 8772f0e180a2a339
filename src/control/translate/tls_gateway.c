/* SPDX-License-Identifier: Apache-2.0
 *
 * TLS of gateways' servers: certificates by SDS from weftd (credentialName: Secrets), from the proxy's own agent (files, the mesh's
 * identity for ISTIO_MUTUAL).
 */
#include "control/translate/gateway_priv.h"
#include "control/translate/tls_priv.h"

#define DOWNSTREAM_TLS Envoy__Extensions__TransportSockets__Tls__V3__DownstreamTlsContext
#define SECRET_CONFIG Envoy__Extensions__TransportSockets__Tls__V3__SdsSecretConfig
#define PARAMETERS Envoy__Extensions__TransportSockets__Tls__V3__TlsParameters

static const char istio_mutual[] = "{\"common_tls_context\":{\"tls_certificate_sds_secret_configs\":[" SDS_OF_AGENT("default") "],"
                                   "\"alpn_protocols\":[\"h2\",\"http/1.1\"]},\"require_client_certificate\":true}";
static const char istio_mutual_tcp[] =
    "{\"common_tls_context\":{\"tls_certificate_sds_secret_configs\":[" SDS_OF_AGENT("default") "],"
    "\"alpn_protocols\":[\"istio-peer-exchange\",\"h2\",\"http/1.1\"]},\"require_client_certificate\":true}";
static const char simple[] = "{\"common_tls_context\":{\"alpn_protocols\":[\"h2\",\"http/1.1\"]},\"require_client_certificate\":false}";
static const char mutual[] = "{\"common_tls_context\":{\"alpn_protocols\":[\"h2\",\"http/1.1\"]},\"require_client_certificate\":true}";
/* Without initial_fetch_timeout: a listener whose secret is missing shall not hold the others back for ever. */
static const char of_weftd[] = "{\"sds_config\":{\"ads\":{},\"resource_api_version\":\"V3\"}}";
static const char of_agent[] = FILE_SDS_OF_AGENT;

struct str credential_resource(struct arena *a, const char *name)
{
    static const char *const schemes[] = {"kubernetes://", "kubernetes-gateway://", "configmap://", "builtin://", "sds://", "invalid://"};
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
        if (str_has_prefix(str_from(name), str_from(schemes[i])))
            return arena_str(a, str_from(name));
    return arena_printf(a, "kubernetes://%s", name);
}

static SECRET_CONFIG *secret_config(const struct translation *t, const char *literal, struct str name)
{
    SECRET_CONFIG *s = COPY_OF(t, SECRET_CONFIG, envoy__extensions__transport_sockets__tls__v3__sds_secret_config__descriptor, literal);
    s->name = text(t, name);
    return s;
}

static void add_certificates(const struct translation *t, const SERVER_TLS *tls, TLS_COMMON *common)
{
    struct many all = {0};
    char *const *names = tls->n_credential_names ? tls->credential_names : &tls->credential_name;
    size_t n = tls->n_credential_names ? tls->n_credential_names : tls->credential_name[0] != 0;
    for (size_t i = 0; i < n; i++)
        many_add(t, &all, secret_config(t, of_weftd, credential_resource(t->arena, names[i])));
    for (size_t i = 0; n == 0 && i < tls->n_tls_certificates; i++)
        many_add(t, &all, secret_config(t, of_agent, arena_printf(t->arena, "file-cert:%s~%s", tls->tls_certificates[i]->server_certificate,
                                                                  tls->tls_certificates[i]->private_key)));
    if (all.count == 0)
        many_add(t, &all, secret_config(t, of_agent, arena_printf(t->arena, "file-cert:%s~%s", tls->server_certificate, tls->private_key)));
    common->tls_certificate_sds_secret_configs = (SECRET_CONFIG **)all.items;
    common->n_tls_certificate_sds_secret_configs = all.count;
}

static SECRET_CONFIG *roots_config(const struct translation *t, const SERVER_TLS *tls)
{
    const char *credential = tls->n_credential_names ? tls->credential_names[0] : tls->credential_name;
    if (tls->ca_cert_credential_name[0])
        return secret_config(t, of_weftd, credential_resource(t->arena, tls->ca_cert_credential_name));
    if (credential[0]) {
        struct str name = credential_resource(t->arena, credential);
        return secret_config(t, of_weftd, arena_printf(t->arena, "%.*s-cacert", STR_ARG(name)));
    }
    return secret_config(t, of_agent, arena_printf(t->arena, "file-root:%s", tls->ca_certificates));
}

static TLS_VALIDATION *validation_of(const struct translation *t, const SERVER_TLS *tls)
{
    struct str *names = arena_alloc(t->arena, (tls->n_subject_alt_names + 1) * sizeof(*names));
    for (size_t i = 0; i < tls->n_subject_alt_names; i++)
        names[i] = str_from(tls->subject_alt_names[i]);
    TLS_VALIDATION *v = tls_validation_of_names(t, names, (uint32_t)tls->n_subject_alt_names, false);
    v->verify_certificate_spki = tls->verify_certificate_spki;
    v->n_verify_certificate_spki = tls->n_verify_certificate_spki;
    v->verify_certificate_hash = tls->verify_certificate_hash;
    v->n_verify_certificate_hash = tls->n_verify_certificate_hash;
    return v;
}

/* Istio numbers versions as Envoy does. */
static void set_parameters(const struct translation *t, const SERVER_TLS *tls, TLS_COMMON *common)
{
    if (!tls->min_protocol_version && !tls->max_protocol_version && !tls->n_cipher_suites && !tls->n_ecdh_curves)
        return;
    PARAMETERS *p = MAKE(t, PARAMETERS, envoy__extensions__transport_sockets__tls__v3__tls_parameters__descriptor);
    p->tls_minimum_protocol_version = (Envoy__Extensions__TransportSockets__Tls__V3__TlsParameters__TlsProtocol)tls->min_protocol_version;
    p->tls_maximum_protocol_version = (Envoy__Extensions__TransportSockets__Tls__V3__TlsParameters__TlsProtocol)tls->max_protocol_version;
    p->cipher_suites = tls->cipher_suites;
    p->n_cipher_suites = tls->n_cipher_suites;
    p->ecdh_curves = tls->ecdh_curves;
    p->n_ecdh_curves = tls->n_ecdh_curves;
    common->tls_params = p;
}

static const char *context_of(const SERVER_TLS *tls, bool is_tcp)
{
    if (tls->mode == SERVER_TLS_MODE(ISTIO_MUTUAL))
        return is_tcp ? istio_mutual_tcp : istio_mutual;
    return tls->mode == SERVER_TLS_MODE(MUTUAL) ? mutual : simple;
}

Envoy__Config__Core__V3__TransportSocket *server_tls(const struct translation *t, const SERVER_TLS *tls, bool is_tcp)
{
    DOWNSTREAM_TLS *c = COPY_OF(t, DOWNSTREAM_TLS, envoy__extensions__transport_sockets__tls__v3__downstream_tls_context__descriptor,
                                context_of(tls, is_tcp));
    TLS_COMMON *common = c->common_tls_context = tls_common_copy(t, c->common_tls_context);
    if (tls->mode == SERVER_TLS_MODE(ISTIO_MUTUAL))
        tls_validate_by_mesh(t, common, validation_of(t, tls));
    else {
        add_certificates(t, tls, common);
        if (tls->mode == SERVER_TLS_MODE(MUTUAL) || tls->mode == SERVER_TLS_MODE(OPTIONAL_MUTUAL)) {
            TLS_COMBINED *both = MAKE(
                t, TLS_COMBINED,
                envoy__extensions__transport_sockets__tls__v3__common_tls_context__combined_certificate_validation_context__descriptor);
            both->default_validation_context = validation_of(t, tls);
            both->validation_context_sds_secret_config = roots_config(t, tls);
            common->validation_context_type_case = TLS_VALIDATION_COMBINED;
            common->combined_validation_context = both;
        }
    }
    set_parameters(t, tls, common);
    return transport_socket_tls(t, &c->base);
}
