/* SPDX-License-Identifier: Apache-2.0
 *
 * Pools of HTTP and TLS that isn't the mesh's, as destination rules ask for them.
 */
#include "control/translate/translate_priv.h"

#include "envoy/extensions/transport_sockets/tls/v3/tls.pb-c.h"
#include "envoy/extensions/upstreams/http/v3/http_protocol_options.pb-c.h"
#include "istio/networking/destination_rule.pb-c.h"

#define CLUSTER Envoy__Config__Cluster__V3__Cluster
#define OPTIONS Envoy__Extensions__Upstreams__Http__V3__HttpProtocolOptions
#define HTTP Istio__Networking__V1alpha3__ConnectionPoolSettings__HTTPSettings
#define TLS Istio__Networking__V1alpha3__ClientTLSSettings
#define COMMON Envoy__Extensions__TransportSockets__Tls__V3__CommonTlsContext
#define VALIDATION Envoy__Extensions__TransportSockets__Tls__V3__CertificateValidationContext

static const char key[] = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
static const char http1[] = "{\"explicit_http_config\":{\"http_protocol_options\":{}}}";
static const char http2[] = "{\"explicit_http_config\":{\"http2_protocol_options\":{}}}";
static const char as_client[] = "{\"use_downstream_protocol_config\":{\"http_protocol_options\":{},\"http2_protocol_options\":{}}}";

static void set_options(const struct translation *t, OPTIONS *o, CLUSTER *c)
{
    Envoy__Config__Cluster__V3__Cluster__TypedExtensionProtocolOptionsEntry *e =
        MAKE(t, Envoy__Config__Cluster__V3__Cluster__TypedExtensionProtocolOptionsEntry,
             envoy__config__cluster__v3__cluster__typed_extension_protocol_options_entry__descriptor);
    e->key = text(t, str_from(key));
    e->value = any_of(t, &o->base);
    c->typed_extension_protocol_options = pointers(t, 1);
    c->typed_extension_protocol_options[0] = e;
    c->n_typed_extension_protocol_options = 1;
}

void cluster_http_options(const struct translation *t, const ProtobufCMessage *settings, CLUSTER *c)
{
    const HTTP *h = (const HTTP *)settings;
    bool is_http2 = c->n_typed_extension_protocol_options > 0 ||
                    h->h2_upgrade_policy == ISTIO__NETWORKING__V1ALPHA3__CONNECTION_POOL_SETTINGS__HTTPSETTINGS__H2_UPGRADE_POLICY__UPGRADE;
    if (!h->idle_timeout && !h->max_requests_per_connection && !h->use_client_protocol && !is_http2)
        return;
    OPTIONS *o = COPY_OF(t, OPTIONS, envoy__extensions__upstreams__http__v3__http_protocol_options__descriptor,
                         h->use_client_protocol ? as_client : is_http2 ? http2 : http1);
    if (h->idle_timeout || h->max_requests_per_connection) {
        o->common_http_protocol_options =
            MAKE(t, Envoy__Config__Core__V3__HttpProtocolOptions, envoy__config__core__v3__http_protocol_options__descriptor);
        o->common_http_protocol_options->idle_timeout = h->idle_timeout;
        if (h->max_requests_per_connection)
            o->common_http_protocol_options->max_requests_per_connection = u32_of(t, (uint32_t)h->max_requests_per_connection);
    }
    set_options(t, o, c);
}

/* ---- TLS by files ---- */

static Envoy__Config__Core__V3__DataSource *file(const struct translation *t, const char *path)
{
    Envoy__Config__Core__V3__DataSource *d =
        MAKE(t, Envoy__Config__Core__V3__DataSource, envoy__config__core__v3__data_source__descriptor);
    d->specifier_case = ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_FILENAME;
    d->filename = text(t, str_from(path));
    return d;
}

static VALIDATION *validation(const struct translation *t, const TLS *tls)
{
    VALIDATION *v = MAKE(t, VALIDATION, envoy__extensions__transport_sockets__tls__v3__certificate_validation_context__descriptor);
    if (tls->ca_certificates[0] && strcmp(tls->ca_certificates, "system") != 0)
        v->trusted_ca = file(t, tls->ca_certificates);
    v->match_subject_alt_names = pointers(t, tls->n_subject_alt_names);
    v->n_match_subject_alt_names = tls->n_subject_alt_names;
    for (size_t i = 0; i < tls->n_subject_alt_names; i++) {
        Envoy__Type__Matcher__V3__StringMatcher *m =
            MAKE(t, Envoy__Type__Matcher__V3__StringMatcher, envoy__type__matcher__v3__string_matcher__descriptor);
        m->match_pattern_case = ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_EXACT;
        m->exact = text(t, str_from(tls->subject_alt_names[i]));
        v->match_subject_alt_names[i] = m;
    }
    return v;
}

Envoy__Config__Core__V3__TransportSocket *upstream_tls_of_files(const struct translation *t, const struct cluster_purpose *p,
                                                                const ProtobufCMessage *settings)
{
    const TLS *tls = (const TLS *)settings;
    Envoy__Extensions__TransportSockets__Tls__V3__UpstreamTlsContext *u =
        MAKE(t, Envoy__Extensions__TransportSockets__Tls__V3__UpstreamTlsContext,
             envoy__extensions__transport_sockets__tls__v3__upstream_tls_context__descriptor);
    COMMON *c = MAKE(t, COMMON, envoy__extensions__transport_sockets__tls__v3__common_tls_context__descriptor);
    if (tls->client_certificate[0]) {
        Envoy__Extensions__TransportSockets__Tls__V3__TlsCertificate *cert =
            MAKE(t, Envoy__Extensions__TransportSockets__Tls__V3__TlsCertificate,
                 envoy__extensions__transport_sockets__tls__v3__tls_certificate__descriptor);
        cert->certificate_chain = file(t, tls->client_certificate);
        cert->private_key = file(t, tls->private_key);
        c->tls_certificates = pointers(t, 1);
        c->tls_certificates[0] = cert;
        c->n_tls_certificates = 1;
    }
    c->validation_context_type_case =
        ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__COMMON_TLS_CONTEXT__VALIDATION_CONTEXT_TYPE_VALIDATION_CONTEXT;
    c->validation_context = validation(t, tls);
    if (protocol_is_http2(p->port->protocol)) {
        c->alpn_protocols = pointers(t, 1);
        c->alpn_protocols[0] = text(t, STR("h2"));
        c->n_alpn_protocols = 1;
    }
    u->common_tls_context = c;
    u->sni = text(t, str_from(tls->sni));
    return transport_socket_tls(t, &u->base);
}
