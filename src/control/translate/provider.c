/* SPDX-License-Identifier: Apache-2.0
 *
 * Extension providers by their names, and the services behind them. Which services there are is part of what listeners depend on
 * (providers_key).
 */
#include "control/translate/provider_priv.h"

#include "envoy/config/core/v3/grpc_service.pb-c.h"

const Istio__Mesh__V1alpha1__MeshConfig *mesh_config(const struct translation *t)
{
    return (const Istio__Mesh__V1alpha1__MeshConfig *)world_mesh(t->world)->config;
}

const PROVIDER *provider_find(const struct translation *t, struct str name)
{
    const Istio__Mesh__V1alpha1__MeshConfig *m = mesh_config(t);
    for (size_t i = 0; i < m->n_extension_providers; i++)
        if (str_eq(str_from(m->extension_providers[i]->name), name))
            return m->extension_providers[i];
    return NULL;
}

/* Of "namespace/host" that namespace's; else the one that the proxy's namespace sees. */
static const struct service *service_named(const struct translation *t, const char *service, struct str *host)
{
    struct str rest, first = str_split(str_from(service), '/', &rest);
    *host = rest.p ? rest : first;
    const struct service *s = world_service(t->world, *host, rest.p ? first : t->node->ns);
    return s && (!rest.p || str_eq(s->ns, first)) ? s : NULL;
}

int provider_service(const struct translation *t, const char *service, uint32_t port, struct provider_service *out, struct err *err)
{
    if (port == 0 || port > 65535)
        return err_set(err, ERR_INVALID, "port: %u isn't one", port);
    if (!service_named(t, service, &out->host))
        return err_set(err, ERR_NOT_FOUND, "service: there is no \"%s\"", service);
    out->cluster = cluster_name(t->arena, "outbound", STR(""), out->host, port);
    return 0;
}

Envoy__Config__Core__V3__GrpcService *provider_grpc(const struct translation *t, const struct provider_service *to)
{
    Envoy__Config__Core__V3__GrpcService *g =
        MAKE(t, Envoy__Config__Core__V3__GrpcService, envoy__config__core__v3__grpc_service__descriptor);
    g->target_specifier_case = ENVOY__CONFIG__CORE__V3__GRPC_SERVICE__TARGET_SPECIFIER_ENVOY_GRPC;
    g->envoy_grpc = MAKE(t, Envoy__Config__Core__V3__GrpcService__EnvoyGrpc, envoy__config__core__v3__grpc_service__envoy_grpc__descriptor);
    g->envoy_grpc->cluster_name = text(t, to->cluster);
    g->envoy_grpc->authority = text(t, to->host);
    return g;
}

/* ---- what depends on them ---- */

static const char *service_of(const PROVIDER *p)
{
    switch (p->provider_case) {
#define OF(case_, field_)                                                                                                           \
    case ISTIO__MESH__V1ALPHA1__EXTENSION_PROVIDER__PROVIDER_##case_:                                                               \
        return p->field_->service;
        OF(ENVOY_EXT_AUTHZ_HTTP, envoy_ext_authz_http)
        OF(ENVOY_EXT_AUTHZ_GRPC, envoy_ext_authz_grpc)
        OF(ZIPKIN, zipkin)
        OF(DATADOG, datadog)
        OF(SKYWALKING, skywalking)
        OF(OPENTELEMETRY, opentelemetry)
        OF(ENVOY_HTTP_ALS, envoy_http_als)
        OF(ENVOY_TCP_ALS, envoy_tcp_als)
        OF(ENVOY_OTEL_ALS, envoy_otel_als)
#undef OF
    default:
        return NULL;
    }
}

void providers_key(const struct translation *t, struct strbuf *key)
{
    const Istio__Mesh__V1alpha1__MeshConfig *m = mesh_config(t);
    for (size_t i = 0; i < m->n_extension_providers; i++) {
        const char *service = service_of(m->extension_providers[i]);
        struct str host;
        strbuf_addc(key, service && service_named(t, service, &host) ? '+' : '-');
    }
}
