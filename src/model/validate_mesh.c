/* SPDX-License-Identifier: Apache-2.0
 *
 * MeshConfig and MeshNetworks (Istio: mesh.istio.io; the rules that istiod holds them to). Pure.
 */
#include "model/mesh_priv.h"
#include "model/validate_priv.h"

#define CONNECT_TIMEOUT_MAX_S 3600
#define WINDOW_MIN_BYTES 65535

/* ---- addresses ---- */

static bool is_trust_domain(struct str s)
{
    return is_host(s) || is_dns_subdomain(s);
}

/* "host:port" */
static void check_address(struct check *c, const char *field, const char *address)
{
    struct str text = str_from(address);
    ptrdiff_t colon = (ptrdiff_t)text.n - 1;
    uint64_t port;
    if (text.n == 0)
        return;
    while (colon >= 0 && text.p[colon] != ':')
        colon--;
    struct str host = str_make(text.p, colon < 0 ? 0 : (size_t)colon);
    if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        host = str_make(host.p + 1, host.n - 2);
    if ((!is_host(host) && !is_ip(host)) || !str_to_u64(str_from(address + colon + 1), &port) || port < 1 || port > 65535)
        check_fault(c, field, "'%s' is not of the form host:port", address);
}

/* A provider's service: "host", "namespace/host", an address. */
static const char *service_fault(const char *service)
{
    struct str host, ns = str_split(str_from(service), '/', &host);
    if (!*service)
        return "is missing";
    if (!host.p)
        return is_host(ns) || is_ip(ns) ? NULL : "is neither a host name nor an IP address";
    return is_dns_label(ns) && is_wildcard_host(host) ? NULL : "is not of the form namespace/host";
}

/* ---- the proxies' part ---- */

static void check_not_negative_duration(struct check *c, const char *field, const Google__Protobuf__Duration *d)
{
    if (d && (d->seconds < 0 || d->nanos < 0))
        check_fault(c, field, "must not be negative");
}

static void check_at_least(struct check *c, const char *field, const Google__Protobuf__Int32Value *v, int32_t least)
{
    if (v && v->value < least)
        check_fault(c, field, "must be at least %d, is %d", (int)least, (int)v->value);
}

static void check_connections(struct check *c, const Istio__Mesh__V1alpha1__ProxyConfig__ConnectionSettings *s)
{
    check_at_least(c, "listenerPerConnectionBufferLimitBytes", s->listener_per_connection_buffer_limit_bytes, 0);
    check_at_least(c, "clusterPerConnectionBufferLimitBytes", s->cluster_per_connection_buffer_limit_bytes, 0);
    check_at_least(c, "httpMaxConcurrentStreams", s->http_max_concurrent_streams, 1);
    check_at_least(c, "http2InitialStreamWindowSize", s->http2_initial_stream_window_size, WINDOW_MIN_BYTES);
    check_at_least(c, "http2InitialConnectionWindowSize", s->http2_initial_connection_window_size, WINDOW_MIN_BYTES);
    check_at_least(c, "listenerConnectionLimit", s->listener_connection_limit, 1);
    check_at_least(c, "globalDownstreamConnectionLimit", s->global_downstream_connection_limit, 1);
    check_not_negative_duration(c, "httpIdleTimeout", s->http_idle_timeout);
    check_not_negative_duration(c, "httpMaxConnectionDuration", s->http_max_connection_duration);
    check_not_negative_duration(c, "httpDrainTimeout", s->http_drain_timeout);
    check_not_negative_duration(c, "httpRequestTimeout", s->http_request_timeout);
    check_not_negative_duration(c, "httpRequestHeadersTimeout", s->http_request_headers_timeout);
    check_not_negative_duration(c, "httpStreamIdleTimeout", s->http_stream_idle_timeout);
    check_not_negative_duration(c, "httpMaxStreamDuration", s->http_max_stream_duration);
}

static void check_tracing(struct check *c, const Istio__Mesh__V1alpha1__Tracing *t)
{
    if (t->tracer_case == ISTIO__MESH__V1ALPHA1__TRACING__TRACER_ZIPKIN)
        check_address(c, "zipkin.address", t->zipkin->address);
    if (t->tracer_case == ISTIO__MESH__V1ALPHA1__TRACING__TRACER_LIGHTSTEP)
        check_address(c, "lightstep.address", t->lightstep->address);
    /* pilot-agent puts the node's address in the place of $(HOST_IP). */
    if (t->tracer_case == ISTIO__MESH__V1ALPHA1__TRACING__TRACER_DATADOG && !strchr(t->datadog->address, '$'))
        check_address(c, "datadog.address", t->datadog->address);
    if (!(t->sampling >= 0 && t->sampling <= 100))
        check_fault(c, "sampling", "must be between 0 and 100, is %g", t->sampling);
    check_client_tls(c, "tlsSettings", t->tls_settings);
}

static void check_proxy(struct check *c, const ist_proxy_config *p)
{
    check_duration(c, "drainDuration", p->drain_duration);
    if (p->drain_duration && p->drain_duration->nanos)
        check_fault(c, "drainDuration", "must be whole seconds");
    check_address(c, "discoveryAddress", p->discovery_address);
    check_address(c, "statsdUdpAddress", p->statsd_udp_address);
    check_address(c, "envoyMetricsServiceAddress", p->envoy_metrics_service_address);
    if (p->envoy_metrics_service)
        check_address(c, "envoyMetricsService.address", p->envoy_metrics_service->address);
    if (p->envoy_access_log_service)
        check_address(c, "envoyAccessLogService.address", p->envoy_access_log_service->address);
    if (p->proxy_admin_port)
        check_port(c, "proxyAdminPort", p->proxy_admin_port);
    if (p->status_port)
        check_port(c, "statusPort", p->status_port);
    if (p->concurrency)
        check_not_negative(c, "concurrency", p->concurrency->value);
    if (p->tracing)
        PROTO_IN (&c->r, "tracing")
            check_tracing(c, p->tracing);
    if (p->connection_settings)
        PROTO_IN (&c->r, "connectionSettings")
            check_connections(c, p->connection_settings);
}

/* ---- providers: warnings, since nobody may use them ---- */

/* The service and port of whichever kind of provider it is, found by their names. */
static void warn_of_service(struct check *c, const ProtobufCMessage *provider)
{
    const ProtobufCFieldDescriptor *service = proto_field_find(provider->descriptor, STR("service"));
    const ProtobufCFieldDescriptor *port = proto_field_find(provider->descriptor, STR("port"));
    if (!service || !port)
        return;
    const char *name = *(char *const *)proto_field_at(provider, service, 0);
    uint32_t number = *(const uint32_t *)proto_field_at(provider, port, 0);
    const char *fault = service_fault(name);
    if (fault)
        check_warn(c, "service", "%s%s%s%s", *name ? "'" : "", name, *name ? "' " : "", fault);
    if (number < 1 || number > 65535)
        check_warn(c, "port", "must be between 1 and 65535, is %u", number);
}

static void warn_of_status(struct check *c, const char *field, const char *status)
{
    uint64_t code;
    if (*status && (!str_to_u64(str_from(status), &code) || code < 100 || code > 599))
        check_warn(c, field, "'%s' is no status of HTTP", status);
}

static void warn_of_provider(struct check *c, const ist_extension_provider *p)
{
    for (unsigned i = 0; i < p->base.descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &p->base.descriptor->fields[i];
        char name[64];
        if (field->type != PROTOBUF_C_TYPE_MESSAGE || !proto_field_is_set(&p->base, field))
            continue;
        proto_field_json_name(field, name, sizeof(name));
        PROTO_IN (&c->r, "%s", name)
            warn_of_service(c, proto_field_message(&p->base, field, 0));
    }
    if (p->provider_case == ISTIO__MESH__V1ALPHA1__EXTENSION_PROVIDER__PROVIDER__NOT_SET)
        check_warn(c, "", "is of no kind");
    if (p->provider_case == ISTIO__MESH__V1ALPHA1__EXTENSION_PROVIDER__PROVIDER_ENVOY_EXT_AUTHZ_GRPC)
        warn_of_status(c, "envoyExtAuthzGrpc.statusOnError", p->envoy_ext_authz_grpc->status_on_error);
    if (p->provider_case != ISTIO__MESH__V1ALPHA1__EXTENSION_PROVIDER__PROVIDER_ENVOY_EXT_AUTHZ_HTTP)
        return;
    warn_of_status(c, "envoyExtAuthzHttp.statusOnError", p->envoy_ext_authz_http->status_on_error);
    if (*p->envoy_ext_authz_http->path_prefix && p->envoy_ext_authz_http->path_prefix[0] != '/')
        check_warn(c, "envoyExtAuthzHttp.pathPrefix", "'%s' must begin with '/'", p->envoy_ext_authz_http->path_prefix);
}

static void check_providers(struct check *c, const ist_mesh_config *m)
{
    CHECK_EACH (c, i, m->n_extension_providers, "extensionProviders") {
        const char *name = m->extension_providers[i]->name;
        if (!*name)
            check_warn(c, "name", "is missing");
        for (size_t k = 0; k < i; k++)
            if (*name && strcmp(m->extension_providers[k]->name, name) == 0)
                check_warn(c, "name", "'%s' is the name of extensionProviders[%zu] as well", name, k);
        warn_of_provider(c, m->extension_providers[i]);
    }
}

/* ---- the whole ---- */

static void check_trust(struct check *c, const ist_mesh_config *m)
{
    if (*m->trust_domain && !is_trust_domain(str_from(m->trust_domain)))
        check_fault(c, "trustDomain", "'%s' is not a trust domain", m->trust_domain);
    CHECK_EACH (c, i, m->n_trust_domain_aliases, "trustDomainAliases") {
        if (!is_trust_domain(str_from(m->trust_domain_aliases[i])))
            check_fault(c, "", "'%s' is not a trust domain", m->trust_domain_aliases[i]);
    }
    if (*m->root_namespace && !is_dns_label(str_from(m->root_namespace)))
        check_fault(c, "rootNamespace", "'%s' is not a namespace", m->root_namespace);
    if (m->mesh_mtls && m->mesh_mtls->n_ecdh_curves)
        check_fault(c, "meshMTLS.ecdhCurves", "is not supported between workloads");
}

static void check_ports(struct check *c, const ist_mesh_config *m)
{
    if (m->proxy_listen_port)
        check_port(c, "proxyListenPort", m->proxy_listen_port);
    if (m->proxy_inbound_listen_port)
        check_port(c, "proxyInboundListenPort", m->proxy_inbound_listen_port);
    if (m->proxy_http_port)
        check_port(c, "proxyHttpPort", m->proxy_http_port);
}

static void check_timeouts(struct check *c, const ist_mesh_config *m)
{
    const Google__Protobuf__Duration *detection = m->protocol_detection_timeout;
    check_duration(c, "connectTimeout", m->connect_timeout);
    if (m->connect_timeout && m->connect_timeout->seconds > CONNECT_TIMEOUT_MAX_S)
        check_fault(c, "connectTimeout", "must be at most an hour");
    if (detection && (detection->seconds || detection->nanos)) /* 0s: none */
        check_duration(c, "protocolDetectionTimeout", detection);
    check_duration(c, "dnsRefreshRate", m->dns_refresh_rate);
    check_duration(c, "hboneIdleTimeout", m->hbone_idle_timeout);
}

static void check_label_selector(struct check *c, const Istio__Mesh__V1alpha1__LabelSelector *s)
{
    static const char *const operators[] = {"In", "NotIn", "Exists", "DoesNotExist"};
    CHECK_EACH_KEY (c, i, s->n_match_labels, "matchLabels", s->match_labels)
        check_label(c, str_from(s->match_labels[i]->key), str_from(s->match_labels[i]->value));
    CHECK_EACH (c, i, s->n_match_expressions, "matchExpressions") {
        size_t k = 0;
        while (k < ARRAY_LEN(operators) && strcmp(s->match_expressions[i]->operator_, operators[k]) != 0)
            k++;
        if (k == ARRAY_LEN(operators))
            check_fault(c, "operator", "'%s' is none of In, NotIn, Exists and DoesNotExist", s->match_expressions[i]->operator_);
        else if ((s->match_expressions[i]->n_values > 0) != (k < 2))
            check_fault(c, "values", k < 2 ? "is missing" : "must not be set");
        check_label(c, str_from(s->match_expressions[i]->key), STR(""));
    }
}

/* Of each kind of object on its own, since the lists have no common place. */
static void check_exports(struct check *c, const char *field, size_t n, char *const *words)
{
    for (size_t i = 0; i < n; i++) {
        bool known = strcmp(words[i], "*") == 0 || strcmp(words[i], ".") == 0 || strcmp(words[i], "~") == 0;
        PROTO_IN (&c->r, "%s[%zu]", field, i)
            if (!known && !is_dns_label(str_from(words[i])))
                check_fault(c, "", "'%s' is neither a namespace nor '.' nor '*' nor '~'", words[i]);
    }
}

void mesh_check_config(const ProtobufCMessage *msg, struct err_list *faults, struct err_list *warnings)
{
    const ist_mesh_config *m = (const ist_mesh_config *)msg;
    struct check c = {.warnings = warnings};
    proto_reader_init(&c.r, NULL, faults);
    check_ports(&c, m);
    check_timeouts(&c, m);
    check_trust(&c, m);
    check_locality_lb(&c, "localityLbSetting", m->locality_lb_setting, true);
    check_retry(&c, "defaultHttpRetryPolicy", m->default_http_retry_policy);
    check_retry(&c, "defaultInboundHttpRetryPolicy", m->default_inbound_http_retry_policy);
    check_exports(&c, "defaultServiceExportTo", m->n_default_service_export_to, m->default_service_export_to);
    check_exports(&c, "defaultVirtualServiceExportTo", m->n_default_virtual_service_export_to, m->default_virtual_service_export_to);
    check_exports(&c, "defaultDestinationRuleExportTo", m->n_default_destination_rule_export_to,
                  m->default_destination_rule_export_to);
    if (m->default_config)
        PROTO_IN (&c.r, "defaultConfig")
            check_proxy(&c, m->default_config);
    if (m->default_traffic_policy) {
        PROTO_IN (&c.r, "defaultTrafficPolicy") {
            check_connection_pool(&c, "connectionPool", m->default_traffic_policy->connection_pool);
            check_outlier_detection(&c, "outlierDetection", m->default_traffic_policy->outlier_detection);
        }
    }
    CHECK_EACH (&c, i, m->n_service_settings, "serviceSettings") {
        CHECK_EACH (&c, k, m->service_settings[i]->n_hosts, "hosts")
            check_wildcard_host(&c, "", m->service_settings[i]->hosts[k]);
    }
    CHECK_EACH (&c, i, m->n_discovery_selectors, "discoverySelectors")
        check_label_selector(&c, m->discovery_selectors[i]);
    check_providers(&c, m);
    proto_reader_fini(&c.r);
}

void mesh_check_networks(const ProtobufCMessage *msg, struct err_list *faults, struct err_list *warnings)
{
    const ist_mesh_networks *m = (const ist_mesh_networks *)msg;
    struct check c = {.warnings = warnings};
    proto_reader_init(&c.r, NULL, faults);
    CHECK_EACH_KEY (&c, i, m->n_networks, "networks", m->networks) {
        const Istio__Mesh__V1alpha1__Network *n = m->networks[i]->value;
        CHECK_EACH (&c, k, n ? n->n_endpoints : 0, "endpoints") {
            if (n->endpoints[k]->ne_case == ISTIO__MESH__V1ALPHA1__NETWORK__NETWORK_ENDPOINTS__NE_FROM_CIDR &&
                !is_ip_or_cidr(str_from(n->endpoints[k]->from_cidr)))
                check_fault(&c, "fromCidr", "'%s' is not a CIDR range", n->endpoints[k]->from_cidr);
            if (n->endpoints[k]->ne_case == ISTIO__MESH__V1ALPHA1__NETWORK__NETWORK_ENDPOINTS__NE_FROM_REGISTRY &&
                !is_host_label(str_from(n->endpoints[k]->from_registry)))
                check_fault(&c, "fromRegistry", "'%s' is not a registry's name", n->endpoints[k]->from_registry);
        }
        CHECK_EACH (&c, k, n ? n->n_gateways : 0, "gateways") {
            const Istio__Mesh__V1alpha1__Network__IstioNetworkGateway *g = n->gateways[k];
            if (g->gw_case == ISTIO__MESH__V1ALPHA1__NETWORK__ISTIO_NETWORK_GATEWAY__GW_REGISTRY_SERVICE_NAME)
                check_host(&c, "registryServiceName", g->registry_service_name);
            if (g->gw_case == ISTIO__MESH__V1ALPHA1__NETWORK__ISTIO_NETWORK_GATEWAY__GW_ADDRESS &&
                !is_ip(str_from(g->address)) && !is_host(str_from(g->address)))
                check_fault(&c, "address", "'%s' is neither an IP address nor a host name", g->address);
            check_port(&c, "port", g->port);
        }
    }
    proto_reader_fini(&c.r);
}
