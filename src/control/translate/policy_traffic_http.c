/* SPDX-License-Identifier: Apache-2.0
 *
 * Pools of HTTP and TLS that isn't the mesh's, as destination rules ask for them.
 */
#include "control/translate/tls_priv.h"

#include "envoy/extensions/upstreams/http/v3/http_protocol_options.pb-c.h"
#include "istio/networking/destination_rule.pb-c.h"

#define CLUSTER Envoy__Config__Cluster__V3__Cluster
#define OPTIONS Envoy__Extensions__Upstreams__Http__V3__HttpProtocolOptions
#define HTTP Istio__Networking__V1alpha3__ConnectionPoolSettings__HTTPSettings
#define TLS Istio__Networking__V1alpha3__ClientTLSSettings
#define UPSTREAM_TLS Envoy__Extensions__TransportSockets__Tls__V3__UpstreamTlsContext
#define SECRET_CONFIG Envoy__Extensions__TransportSockets__Tls__V3__SdsSecretConfig

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

/* What is there already, to be added to. */
static OPTIONS *options_of(const struct translation *t, const CLUSTER *c)
{
    ProtobufCMessage *m;
    struct err err;
    if (c->n_typed_extension_protocol_options) {
        const Google__Protobuf__Any *any = c->typed_extension_protocol_options[0]->value;
        if (proto_unpack(t->protos, &envoy__extensions__upstreams__http__v3__http_protocol_options__descriptor,
                         str_make((const char *)any->value.data, any->value.len), &m, &err) == 0)
            return (OPTIONS *)m;
    }
    return COPY_OF(t, OPTIONS, envoy__extensions__upstreams__http__v3__http_protocol_options__descriptor, http1);
}

/* ---- TLS by files ---- */

static const char of_agent[] = FILE_SDS_OF_AGENT;

static SECRET_CONFIG *secret_config(const struct translation *t, char *name)
{
    SECRET_CONFIG *s = COPY_OF(t, SECRET_CONFIG, envoy__extensions__transport_sockets__tls__v3__sds_secret_config__descriptor, of_agent);
    s->name = name;
    return s;
}

static bool is_insecure(const TLS *tls)
{
    return tls->insecure_skip_verify && tls->insecure_skip_verify->value;
}

/* Without roots of its own the system's: whoever answers is looked at, unless that is turned off. */
static void set_validation(const struct translation *t, const TLS *tls, TLS_COMMON *c)
{
    struct str *names = arena_alloc(t->arena, (tls->n_subject_alt_names + 1) * sizeof(*names));
    for (size_t i = 0; i < tls->n_subject_alt_names; i++)
        names[i] = str_from(tls->subject_alt_names[i]);
    TLS_VALIDATION *v = tls_validation_of_names(t, names, (uint32_t)tls->n_subject_alt_names, false);
    const char *roots = tls->ca_certificates[0] ? tls->ca_certificates : is_insecure(tls) ? NULL : "system";
    if (!roots) {
        c->validation_context_type_case =
            ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__COMMON_TLS_CONTEXT__VALIDATION_CONTEXT_TYPE_VALIDATION_CONTEXT;
        c->validation_context = v;
        return;
    }
    c->validation_context_type_case = TLS_VALIDATION_COMBINED;
    c->combined_validation_context = MAKE(
        t, TLS_COMBINED, envoy__extensions__transport_sockets__tls__v3__common_tls_context__combined_certificate_validation_context__descriptor);
    c->combined_validation_context->default_validation_context = v;
    c->combined_validation_context->validation_context_sds_secret_config = secret_config(t, textf(t, "file-root:%s", roots));
}

/* Without a name of its own the request's host is asked for, and looked for in what is shown. */
static void set_auto_sni(const struct translation *t, const TLS *tls, CLUSTER *c)
{
    OPTIONS *o = options_of(t, c);
    o->upstream_http_protocol_options =
        MAKE(t, Envoy__Config__Core__V3__UpstreamHttpProtocolOptions, envoy__config__core__v3__upstream_http_protocol_options__descriptor);
    o->upstream_http_protocol_options->auto_sni = true;
    o->upstream_http_protocol_options->auto_san_validation = tls->n_subject_alt_names == 0 && !is_insecure(tls);
    set_options(t, o, c);
}

void cluster_note(const struct translation *t, CLUSTER *c, const char *name, Google__Protobuf__Value *value)
{
    if (!c->metadata)
        c->metadata = metadata_of(t, "istio", struct_new(t));
    struct_add_value(t, c->metadata->filter_metadata[0]->value, name, value);
}

void cluster_tls_of_files(const struct translation *t, const struct cluster_purpose *p, const ProtobufCMessage *settings, CLUSTER *c)
{
    static const char skeleton[] = "{\"common_tls_context\":{\"tls_params\":{\"tls_minimum_protocol_version\":\"TLSv1_2\","
                                   "\"tls_maximum_protocol_version\":\"TLSv1_3\"}}}";
    const TLS *tls = (const TLS *)settings;
    UPSTREAM_TLS *u =
        COPY_OF(t, UPSTREAM_TLS, envoy__extensions__transport_sockets__tls__v3__upstream_tls_context__descriptor, skeleton);
    TLS_COMMON *common = u->common_tls_context = tls_common_copy(t, u->common_tls_context);
    if (tls->client_certificate[0]) {
        common->tls_certificate_sds_secret_configs = pointers(t, 1);
        common->tls_certificate_sds_secret_configs[0] =
            secret_config(t, textf(t, "file-cert:%s~%s", tls->client_certificate, tls->private_key));
        common->n_tls_certificate_sds_secret_configs = 1;
    }
    set_validation(t, tls, common);
    if (protocol_is_http2(p->port->protocol)) {
        common->alpn_protocols = pointers(t, 1);
        common->alpn_protocols[0] = text(t, STR("h2"));
        common->n_alpn_protocols = 1;
    }
    u->sni = text(t, str_from(tls->sni));
    if (!tls->sni[0])
        set_auto_sni(t, tls, c);
    cluster_note(t, c, "alpn_override", value_of_text(t, STR("false"))); /* its ALPN isn't the mesh's: istio.alpn leaves it alone */
    c->transport_socket = transport_socket_tls(t, &u->base);
}
