/* SPDX-License-Identifier: Apache-2.0
 *
 * Transport sockets of the mesh's mutual TLS: the workload's certificate and roots by SDS from its own agent, or from files where the
 * proxy says so (TLS_CLIENT_*, TLS_SERVER_* are refused at node_read until files are done).
 */
#include "control/translate/tls_priv.h"

static const char upstream_tcp[] =
    "{\"common_tls_context\":{\"tls_params\":{\"tls_minimum_protocol_version\":\"TLSv1_2\",\"tls_maximum_protocol_version\":\"TLSv1_3\"},"
    "\"tls_certificate_sds_secret_configs\":[" SDS_OF_AGENT("default") "],\"alpn_protocols\":[\"istio-peer-exchange\",\"istio\"]}}";
static const char upstream_http2[] =
    "{\"common_tls_context\":{\"tls_params\":{\"tls_minimum_protocol_version\":\"TLSv1_2\",\"tls_maximum_protocol_version\":\"TLSv1_3\"},"
    "\"tls_certificate_sds_secret_configs\":[" SDS_OF_AGENT("default") "],\"alpn_protocols\":[\"istio-peer-exchange\",\"istio\",\"h2\"]}}";
static const char combined[] = "{\"validation_context_sds_secret_config\":" SDS_OF_AGENT("ROOTCA") "}";

#define DOWNSTREAM(alpn_)                                                                                                           \
    "{\"common_tls_context\":{\"tls_params\":{\"tls_minimum_protocol_version\":\"TLSv1_2\",\"tls_maximum_protocol_version\":\"TLSv1_3\","  \
    "\"cipher_suites\":[\"ECDHE-ECDSA-AES256-GCM-SHA384\",\"ECDHE-RSA-AES256-GCM-SHA384\",\"ECDHE-ECDSA-AES128-GCM-SHA256\","         \
    "\"ECDHE-RSA-AES128-GCM-SHA256\",\"AES256-GCM-SHA384\",\"AES128-GCM-SHA256\"]},"                                                \
    "\"tls_certificate_sds_secret_configs\":[" SDS_OF_AGENT("default") "],\"alpn_protocols\":" alpn_ "},\"require_client_certificate\":true}"
static const char downstream_http[] = DOWNSTREAM("[\"h2\",\"http/1.1\"]");
static const char downstream_tcp[] = DOWNSTREAM("[\"istio-peer-exchange\",\"h2\",\"http/1.1\"]");

Envoy__Config__Core__V3__TransportSocket *transport_socket_tls(const struct translation *t, const ProtobufCMessage *context)
{
    Envoy__Config__Core__V3__TransportSocket *s =
        MAKE(t, Envoy__Config__Core__V3__TransportSocket, envoy__config__core__v3__transport_socket__descriptor);
    s->name = text(t, STR("envoy.transport_sockets.tls"));
    s->config_type_case = ENVOY__CONFIG__CORE__V3__TRANSPORT_SOCKET__CONFIG_TYPE_TYPED_CONFIG;
    s->typed_config = any_of(t, context);
    return s;
}

/* The roots by SDS, with the names that the peer must have one of. */
void tls_validate_by_mesh(const struct translation *t, TLS_COMMON *common, TLS_VALIDATION *names)
{
    TLS_COMBINED *c = COPY_OF(
        t, TLS_COMBINED,
        envoy__extensions__transport_sockets__tls__v3__common_tls_context__combined_certificate_validation_context__descriptor,
        combined);
    c->default_validation_context = names;
    common->validation_context_type_case = TLS_VALIDATION_COMBINED;
    common->combined_validation_context = c;
}

static Envoy__Type__Matcher__V3__StringMatcher *matcher(const struct translation *t, struct str value, bool is_prefix)
{
    Envoy__Type__Matcher__V3__StringMatcher *m =
        MAKE(t, Envoy__Type__Matcher__V3__StringMatcher, envoy__type__matcher__v3__string_matcher__descriptor);
    m->match_pattern_case = is_prefix ? ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_PREFIX
                                      : ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_EXACT;
    *(is_prefix ? &m->prefix : &m->exact) = text(t, value);
    return m;
}

TLS_VALIDATION *tls_validation_of_names(const struct translation *t, const struct str *names, uint32_t count, bool are_prefixes)
{
    TLS_VALIDATION *v = MAKE(t, TLS_VALIDATION, envoy__extensions__transport_sockets__tls__v3__certificate_validation_context__descriptor);
    v->match_subject_alt_names = pointers(t, count);
    v->n_match_subject_alt_names = count;
    for (uint32_t i = 0; i < count; i++)
        v->match_subject_alt_names[i] = matcher(t, names[i], are_prefixes);
    return v;
}

TLS_COMMON *tls_common_copy(const struct translation *t, const TLS_COMMON *from)
{
    TLS_COMMON *c = proto_arena_alloc(t->protos, sizeof(*c));
    *c = *from;
    return c;
}

Envoy__Config__Core__V3__TransportSocket *upstream_mtls(const struct translation *t, struct str sni, const struct str *sans,
                                                        uint32_t san_count, bool is_http2)
{
    Envoy__Extensions__TransportSockets__Tls__V3__UpstreamTlsContext *c =
        COPY_OF(t, Envoy__Extensions__TransportSockets__Tls__V3__UpstreamTlsContext,
                envoy__extensions__transport_sockets__tls__v3__upstream_tls_context__descriptor, is_http2 ? upstream_http2 : upstream_tcp);
    c->common_tls_context = tls_common_copy(t, c->common_tls_context);
    tls_validate_by_mesh(t, c->common_tls_context, tls_validation_of_names(t, sans, san_count, false));
    c->sni = text(t, sni);
    return transport_socket_tls(t, &c->base);
}

Envoy__Config__Core__V3__TransportSocket *downstream_mtls(const struct translation *t, bool is_tcp)
{
    Envoy__Extensions__TransportSockets__Tls__V3__DownstreamTlsContext *c =
        COPY_OF(t, Envoy__Extensions__TransportSockets__Tls__V3__DownstreamTlsContext,
                envoy__extensions__transport_sockets__tls__v3__downstream_tls_context__descriptor, is_tcp ? downstream_tcp : downstream_http);
    const struct mesh *mesh = world_mesh(t->world);
    struct str *prefixes = arena_alloc(t->arena, (mesh->alias_count + 1) * sizeof(*prefixes));
    prefixes[0] = arena_printf(t->arena, "spiffe://%.*s/", STR_ARG(mesh->trust_domain));
    for (uint32_t i = 0; i < mesh->alias_count; i++)
        prefixes[i + 1] = arena_printf(t->arena, "spiffe://%.*s/", STR_ARG(mesh->trust_domain_aliases[i]));
    c->common_tls_context = tls_common_copy(t, c->common_tls_context);
    tls_validate_by_mesh(t, c->common_tls_context, tls_validation_of_names(t, prefixes, mesh->alias_count + 1, true));
    return transport_socket_tls(t, &c->base);
}
