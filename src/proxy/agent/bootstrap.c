/* SPDX-License-Identifier: Apache-2.0
 *
 * The bootstrap as text, part by part in the order that pilot-agent's has. Names, statistics and ports are what dashboards
 * and istioctl know, so they are the agent's own; only the ways to the control plane differ. Main thread, pure.
 */
#include "proxy/agent/bootstrap.h"

#include "base/check.h"
#include "io/addr.h"
#include "proto/json.h"

#define HTTP_OPTIONS "'typed_extension_protocol_options':{'envoy.extensions.upstreams.http.v3.HttpProtocolOptions':{" \
    "'@type':'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions','explicit_http_config':{"    \
    "'http2_protocol_options':{%s}}}}"
#define HCM "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
#define ROUTER "{'name':'envoy.filters.http.router','typed_config':{'@type':'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router'}}"
#define MAX_CONNECTIONS "overload.global_downstream_max_connections"
#define PROMETHEUS_PORT 15090
#define STATUS_PORT 15021

struct writing {
    const struct agent_env *e;
    struct strbuf *out;
    struct err_list *faults;
    bool v6; /* the pod's first address is IPv6 */
};

static const char *loopback(const struct writing *w)
{
    return w->v6 ? "::1" : "127.0.0.1";
}

static const char *wildcard(const struct writing *w)
{
    return w->v6 ? "::" : "0.0.0.0";
}

static bool is_ip(struct str host)
{
    struct addr addr = {0};
    bool is = addr_from_ip(&addr, host, 0, NULL) == 0;
    addr_fini(&addr);
    return is;
}

/* ---- node, runtime, overload ---- */

static void add_locality(struct writing *w)
{
    static const char *const labels[] = {"topology.istio.io/locality", "istio-locality"};
    static const char *const names[] = {"region", "zone", "sub_zone"};
    struct str text = STR_NULL;
    for (size_t i = 0; i < ARRAY_LEN(labels) && !text.n; i++)
        text = text_pairs_get(&w->e->labels, str_from(labels[i]));
    char separator = text.n && !memchr(text.p, '/', text.n) ? '.' : '/'; /* labels can't hold a '/' */
    strbuf_addz(w->out, ",\"locality\":{");
    for (size_t i = 0; i < ARRAY_LEN(names) && text.n; i++) {
        struct str part = str_split(text, separator, &text);
        json_add_key(w->out, names[i]);
        json_add_string(w->out, part);
    }
    strbuf_addz(w->out, "}");
}

static void add_node(struct writing *w)
{
    struct strbuf id = {0}, cluster = {0};
    agent_node_id(w->e, &id);
    agent_node_cluster(w->e, &cluster);
    json_addf(w->out, "'node':{'id':%q,'cluster':%q", strbuf_str(&id), strbuf_str(&cluster));
    add_locality(w);
    strbuf_addz(w->out, ",\"metadata\":");
    agent_node_metadata(w->e, w->out);
    strbuf_addc(w->out, '}');
    strbuf_fini(&id);
    strbuf_fini(&cluster);
}

static void add_runtime(struct writing *w)
{
    json_addf(w->out, ",'layered_runtime':{'layers':[{'name':'global config','static_layer':{"
              "'envoy.reloadable_features.http_reject_path_with_fragment':false,'re2.max_program_size.error_level':'32768'");
    for (size_t i = 0; i < w->e->config.runtime_values.count; i++) {
        struct text_pair p = w->e->config.runtime_values.items[i];
        if (!str_eq(p.key, STR(MAX_CONNECTIONS)))
            json_addf(w->out, ",%q:%q", p.key, p.value);
    }
    json_addf(w->out, "}},{'name':'admin','admin_layer':{}}]}");
}

/* The runtime key became a resource monitor, with as many connections as there can be where nobody says a number. */
static void add_overload(struct writing *w)
{
    struct str limit = text_pairs_get(&w->e->config.runtime_values, STR(MAX_CONNECTIONS));
    json_addf(w->out, ",'overload_manager':{'resource_monitors':[{'name':'envoy.resource_monitors.global_downstream_max_connections',"
              "'typed_config':{'@type':'type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3."
              "DownstreamConnectionsConfig','max_active_downstream_connections':%q}}]}", limit.n ? limit : STR("2147483647"));
}

/* ---- statistics ---- */

static const char *const tags[][2] = {
    {"cluster_name", "^cluster(\\.(.+);)"},
    {"http_conn_manager_prefix", "^http\\.(((?:[_.[:digit:]\\w]*|[_\\[\\]aAbBcCdDeEfF[:digit:]\\w\\:]*));\\.)"},
    {"thread_name", "^server(\\.(.+))\\.watchdog"},
    {"tcp_prefix", "^tcp\\.((.*?)\\.)\\w+?$"},
    {"response_code", "_rq(_(\\d{3}))$"},
    {"response_code_class", "_rq(_(\\dxx))$"},
    {"http_conn_manager_listener_prefix", "^listener(?=\\.).*?\\.http\\.(((?:[_.[:digit:]]*|[_\\[\\]aAbBcCdDeEfF[:digit:]]*))\\.)"},
    {"listener_address", "^listener\\.(((?:[_.[:digit:]]*|[_\\[\\]aAbBcCdDeEfF[:digit:]]*))\\.)"},
    {"mongo_prefix", "^mongo\\.(.+?)\\.(collection|cmd|cx_|op_|delays_|decoding_)(.*?)$"},
    {"cache", "(cache\\.(.+?)\\.)"},
    {"component", "(component\\.(.+?)\\.)"},
    {"tag", "(tag\\.(.+?);\\.)"},
    {"wasm_filter", "(wasm_filter\\.(.+?)\\.)"},
    {"authz_enforce_result", "rbac(\\.(allowed|denied))"},
    {"authz_dry_run_action", "(\\.istio_dry_run_(allow|deny)_)"},
    {"authz_dry_run_result", "(\\.shadow_(allowed|denied))"},
};
static const char *const prefixes[] = {"reporter=", "agent.", "cluster_manager", "listener_manager", "server", "cluster.xds-grpc",
                                       "wasm", "component", "istio"};
static const char *const suffixes[] = {"rbac.allowed", "rbac.denied", "shadow_allowed", "shadow_denied", "downstream_cx_active"};

static struct str annotation(struct writing *w, const char *name)
{
    return text_pairs_get(&w->e->annotations, str_from(name));
}

static void add_tag(struct writing *w, struct str name)
{
    struct strbuf regex = {0};
    strbuf_addf(&regex, "(%.*s=\\.=(.*?);\\.)", STR_ARG(name));
    json_addf(w->out, ",{'tag_name':%q,'regex':%q}", name, strbuf_str(&regex));
    strbuf_fini(&regex);
}

static void add_tags(struct writing *w)
{
    struct str more = annotation(w, "sidecar.istio.io/extraStatTags");
    strbuf_addz(w->out, "\"stats_tags\":[");
    for (size_t i = 0; i < ARRAY_LEN(tags); i++)
        json_addf(w->out, "%s{'tag_name':%q,'regex':%q}", i ? "," : "", str_from(tags[i][0]), str_from(tags[i][1]));
    for (size_t i = 0; i < w->e->config.extra_stat_tags.count; i++)
        add_tag(w, w->e->config.extra_stat_tags.items[i]);
    while (more.n)
        add_tag(w, str_trim(str_split(more, ',', &more)));
    strbuf_addz(w->out, "]");
}

/* Of the agent, of PROXY_CONFIG, of an annotation (which has the last word, as there). */
static void add_patterns(struct writing *w, const char *kind, const char *const *own, size_t n, const struct text_list *list,
                         const char *annotation_name)
{
    struct str more = annotation(w, annotation_name);
    const char *end = str_eq(str_from(kind), STR("safe_regex")) ? "}}" : "}";
    const char *begin = end[1] ? "{'safe_regex':{'regex':" : NULL;
    for (size_t i = 0; i < n; i++)
        json_addf(w->out, "%s{'%s':%q},", "", kind, str_from(own[i]));
    for (size_t i = 0; !more.n && i < list->count; i++) {
        json_addf(w->out, begin ? begin : "{'%s':", kind);
        json_addf(w->out, "%q%s,", list->items[i], end);
    }
    while (more.n) {
        json_addf(w->out, begin ? begin : "{'%s':", kind);
        json_addf(w->out, "%q%s,", str_trim(str_split(more, ',', &more)), end);
    }
}

/* {"prefix": [1, 5, 10]}: the bounds of histograms whose names begin so. */
static void add_buckets(struct writing *w)
{
    struct str text = annotation(w, "sidecar.istio.io/statsHistogramBuckets");
    if (!text.n)
        return;
    struct proto_arena *pa = proto_arena_new(0);
    const struct doc_node *root = json_read(pa, text, "sidecar.istio.io/statsHistogramBuckets", w->faults);
    strbuf_addz(w->out, ",\"histogram_bucket_settings\":[");
    for (const struct doc_node *n = root && root->kind == DOC_MAP ? root->first : NULL; n; n = n->next) {
        json_addf(w->out, "%s{'match':{'prefix':%q},'buckets':", n == root->first ? "" : ",", n->key);
        json_add_node(w->out, n);
        strbuf_addc(w->out, '}');
    }
    strbuf_addc(w->out, ']');
    if (root && root->kind != DOC_MAP)
        err_list_addf(w->faults, ERR_INVALID, "sidecar.istio.io/statsHistogramBuckets", "is no JSON object");
    proto_arena_free(&pa);
}

static void add_flush(struct writing *w)
{
    struct str text = annotation(w, "sidecar.istio.io/statsFlushInterval");
    uint64_t ms;
    if (!text.n)
        return;
    if (!text_duration_ms(text, &ms) || ms == 0)
        err_list_addf(w->faults, ERR_INVALID, "sidecar.istio.io/statsFlushInterval", "'%.*s' is no duration, as 5s", STR_ARG(text));
    else
        strbuf_addf(w->out, ",\"stats_flush_interval\":\"%llu.%03us\"", (unsigned long long)(ms / 1000), (unsigned)(ms % 1000));
}

static void add_stats(struct writing *w)
{
    const struct proxy_config *c = &w->e->config;
    strbuf_addz(w->out, ",\"stats_config\":{\"use_all_default_tags\":false,");
    add_tags(w);
    strbuf_addz(w->out, ",\"stats_matcher\":{\"inclusion_list\":{\"patterns\":[");
    add_patterns(w, "prefix", prefixes, ARRAY_LEN(prefixes), &c->stat_prefixes, "sidecar.istio.io/statsInclusionPrefixes");
    add_patterns(w, "suffix", suffixes, ARRAY_LEN(suffixes), &c->stat_suffixes, "sidecar.istio.io/statsInclusionSuffixes");
    add_patterns(w, "safe_regex", NULL, 0, &c->stat_regexps, "sidecar.istio.io/statsInclusionRegexps");
    json_addf(w->out, "{'safe_regex':{'regex':%q}}]}}", STR("vhost\\..*\\.route\\..*"));
    add_buckets(w);
    strbuf_addc(w->out, '}');
    add_flush(w);
}

/* ---- admin and discovery ---- */

static void add_admin(struct writing *w)
{
    json_addf(w->out, ",'admin':{'access_log':[{'name':'envoy.access_loggers.file','typed_config':{'@type':'type.googleapis.com/"
              "envoy.extensions.access_loggers.file.v3.FileAccessLog','path':'/dev/null'}}],'profile_path':"
              "'/var/lib/istio/data/envoy.prof','address':{'socket_address':{'address':'%s','port_value':%u}}}",
              loopback(w), w->e->config.proxy_admin_port);
}

static void add_dynamic(struct writing *w)
{
    static const char source[] = "{'ads':{},'initial_fetch_timeout':'0s','resource_api_version':'V3'}";
    strbuf_addz(w->out, ",\"dynamic_resources\":{\"lds_config\":");
    json_addf(w->out, source);
    strbuf_addz(w->out, ",\"cds_config\":");
    json_addf(w->out, source);
    json_addf(w->out, ",'ads_config':{'api_type':'%s','set_node_on_first_message_only':true,'transport_api_version':'V3',"
              "'grpc_services':[{'envoy_grpc':{'cluster_name':'" AGENT_XDS_CLUSTER "'}}]}}",
              w->e->delta_xds ? "DELTA_GRPC" : "GRPC");
}

/* ---- clusters ---- */

static void add_assignment(struct writing *w, const char *name, struct str host, unsigned port)
{
    json_addf(w->out, ",'load_assignment':{'cluster_name':'%s','endpoints':[{'lb_endpoints':[{'endpoint':{'address':{"
              "'socket_address':{'protocol':'TCP','address':%q,'port_value':%u}}}}]}]}", name, host, port);
}

static void add_local_cluster(struct writing *w, const char *name, unsigned port)
{
    json_addf(w->out, "{'name':'%s','alt_stat_name':'%s;','type':'STATIC','connect_timeout':'0.250s','lb_policy':'ROUND_ROBIN'", name, name);
    add_assignment(w, name, str_from(loopback(w)), port);
    strbuf_addc(w->out, '}');
}

/* A host by name or address. */
static void add_discovery_type(struct writing *w, struct str host)
{
    if (is_ip(host))
        json_addf(w->out, ",'type':'STATIC'");
    else
        json_addf(w->out, ",'type':'STRICT_DNS','respect_dns_ttl':true,'dns_lookup_family':'%s','dns_failure_refresh_rate':{"
                  "'base_interval':'0.5s','max_interval':'10s'}", w->e->is_dual_stack ? "ALL" : w->v6 ? "V6_ONLY" : "V4_PREFERRED");
}

/* What PROV_CERT's directory holds is shown to the server: machines that have a certificate already. */
static void add_client_certificate(struct writing *w)
{
    struct strbuf chain = {0}, key = {0};
    strbuf_addf(&chain, "%.*s/cert-chain.pem", STR_ARG(w->e->client_dir));
    strbuf_addf(&key, "%.*s/key.pem", STR_ARG(w->e->client_dir));
    if (w->e->client_dir.n && env_file_is_there(strbuf_str(&chain)) && env_file_is_there(strbuf_str(&key)))
        json_addf(w->out, "'tls_certificates':[{'certificate_chain':{'filename':%q},'private_key':{'filename':%q}}],",
                  strbuf_str(&chain), strbuf_str(&key));
    strbuf_fini(&chain);
    strbuf_fini(&key);
}

static void add_tls(struct writing *w, const struct control_endpoint *to)
{
    bool ip = is_ip(to->sni);
    if (!to->tls)
        return;
    json_addf(w->out, ",'transport_socket':{'name':'envoy.transport_sockets.tls','typed_config':{'@type':'type.googleapis.com/"
              "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext'");
    if (!ip) /* RFC 6066, section 3: no addresses in server_name */
        json_addf(w->out, ",'sni':%q", to->sni);
    json_addf(w->out, ",'common_tls_context':{");
    add_client_certificate(w);
    json_addf(w->out, "'alpn_protocols':['h2'],'validation_context':{'match_typed_subject_alt_names':[{'san_type':'%s','matcher':{"
              "'exact':%q}}],", ip ? "IP_ADDRESS" : "DNS", to->sni);
    if (to->root_path.n)
        json_addf(w->out, "'trusted_ca':{'filename':%q}}}}}", to->root_path);
    else
        json_addf(w->out, "'system_root_certs':{}}}}}");
}

static void add_control_cluster(struct writing *w, const char *name, const struct control_endpoint *to)
{
    struct strbuf ping = {0};
    strbuf_addf(&ping, "\"connection_keepalive\":{\"interval\":\"%llu.%03us\",\"timeout\":\"%llu.%03us\"}",
                (unsigned long long)(w->e->keepalive_ms / 1000), (unsigned)(w->e->keepalive_ms % 1000),
                (unsigned long long)(w->e->keepalive_timeout_ms / 1000), (unsigned)(w->e->keepalive_timeout_ms % 1000));
    json_addf(w->out, ",{'name':'%s','alt_stat_name':'%s;','connect_timeout':'1s','lb_policy':'ROUND_ROBIN'", name, name);
    add_discovery_type(w, to->host);
    add_assignment(w, name, to->host, to->port);
    add_tls(w, to);
    json_addf(w->out, ",'circuit_breakers':{'thresholds':[{'priority':'DEFAULT','max_connections':100000,'max_pending_requests':100000,"
              "'max_requests':100000},{'priority':'HIGH','max_connections':100000,'max_pending_requests':100000,'max_requests':100000}]},"
              "'upstream_connection_options':{'tcp_keepalive':{'keepalive_time':300}},'max_requests_per_connection':1," HTTP_OPTIONS "}",
              w->e->keepalive_ms && w->e->keepalive_timeout_ms ? ping.p : "");
    strbuf_fini(&ping);
}

static void add_sds_cluster(struct writing *w)
{
    json_addf(w->out, ",{'name':'" AGENT_SDS_CLUSTER "','alt_stat_name':'" AGENT_SDS_CLUSTER ";','type':'STATIC','connect_timeout':'1s',"
              "'lb_policy':'ROUND_ROBIN','load_assignment':{'cluster_name':'" AGENT_SDS_CLUSTER "','endpoints':[{'lb_endpoints':[{"
              "'endpoint':{'address':{'pipe':{'path':%q}}}}]}]}," HTTP_OPTIONS "}", w->e->spiffe_socket, "");
}

/* Of PROXY_CONFIG: "host:port" of a collector. False after a fault. */
static bool add_remote_cluster(struct writing *w, const char *name, const char *field, struct str address, bool http2)
{
    struct control_endpoint to = {0};
    if (!address.n)
        return false;
    if (!control_endpoint_parse(address, &to) || to.port == 0) {
        err_list_addf(w->faults, ERR_INVALID, field, "'%.*s' is not host:port", STR_ARG(address));
        return false;
    }
    json_addf(w->out, ",{'name':'%s','alt_stat_name':'%s;','connect_timeout':'1s','lb_policy':'ROUND_ROBIN'", name, name);
    add_discovery_type(w, to.host);
    add_assignment(w, name, to.host, to.port);
    if (http2)
        json_addf(w->out, "," HTTP_OPTIONS, "");
    strbuf_addc(w->out, '}');
    return true;
}

static void add_clusters(struct writing *w)
{
    const struct agent_env *e = w->e;
    strbuf_addz(w->out, "\"clusters\":[");
    add_local_cluster(w, "prometheus_stats", e->config.proxy_admin_port);
    strbuf_addc(w->out, ',');
    add_local_cluster(w, "agent", e->config.status_port);
    if (e->identity == IDENTITY_SPIFFE)
        add_sds_cluster(w);
    add_control_cluster(w, AGENT_XDS_CLUSTER, &e->discovery);
    if (e->identity == IDENTITY_CA)
        add_control_cluster(w, AGENT_CA_CLUSTER, &e->ca);
    add_remote_cluster(w, "zipkin", "PROXY_CONFIG.tracing.zipkin.address", e->config.zipkin_address, false);
    add_remote_cluster(w, "envoy_metrics_service", "PROXY_CONFIG.envoyMetricsService.address", e->config.metrics_service, true);
    add_remote_cluster(w, "envoy_accesslog_service", "PROXY_CONFIG.envoyAccessLogService.address", e->config.access_log_service, true);
    strbuf_addc(w->out, ']');
}

/* ---- listeners ---- */

static void add_compressor(struct writing *w, const char *name, const char *library)
{
    json_addf(w->out, "{'name':'envoy.filters.http.compressor.%s','typed_config':{'@type':'type.googleapis.com/envoy.extensions.filters.http."
              "compressor.v3.Compressor','compressor_library':{'name':'stats_%s','typed_config':{'@type':'type.googleapis.com/"
              "envoy.extensions.compression.%s.compressor.v3.%s'}},'response_direction_config':{'common_config':{'content_type':["
              "'text/plain','application/vnd.google.protobuf','application/openmetrics-text','application/openmetrics-protobuf']}}}},",
              name, name, name, library);
}

/* `usual`: the port that its name has, whatever the environment makes of it by 0. */
static void add_listener(struct writing *w, unsigned port, unsigned usual, const char *prefix, const char *path, const char *cluster)
{
    json_addf(w->out, "{'name':'%s_%u','address':{'socket_address':{'protocol':'TCP','address':'%s','port_value':%u}},", wildcard(w),
              port ? port : usual, wildcard(w), port);
    if (w->e->is_dual_stack)
        json_addf(w->out, "'additional_addresses':[{'address':{'socket_address':{'protocol':'TCP','address':'%s','port_value':%u}}}],",
                  w->v6 ? "0.0.0.0" : "::", port);
    json_addf(w->out, "'ignore_global_conn_limit':true,'bypass_overload_manager':true,'filter_chains':[{'filters':[{'name':"
              "'envoy.filters.network.http_connection_manager','typed_config':{'@type':'" HCM "','codec_type':'AUTO','stat_prefix':'%s',"
              "'route_config':{'virtual_hosts':[{'name':'backend','domains':['*'],'routes':[{'match':{'prefix':'%s'},"
              "'route':{'cluster':'%s'}}]}]},'http_filters':[", prefix, path, cluster);
    if (usual == PROMETHEUS_PORT) {
        add_compressor(w, "brotli", "Brotli");
        add_compressor(w, "zstd", "Zstd");
        add_compressor(w, "gzip", "Gzip");
    }
    json_addf(w->out, ROUTER "]}}]}]}");
}

static void add_static(struct writing *w)
{
    strbuf_addz(w->out, ",\"static_resources\":{");
    add_clusters(w);
    strbuf_addz(w->out, ",\"listeners\":[");
    add_listener(w, w->e->prometheus_port, PROMETHEUS_PORT, "stats", "/stats/prometheus", "prometheus_stats");
    strbuf_addc(w->out, ',');
    add_listener(w, w->e->status_port, STATUS_PORT, "agent", "/healthz/ready", "agent");
    strbuf_addz(w->out, "]}");
}

/* ---- what PROXY_CONFIG asks for besides ---- */

static void add_tracing(struct writing *w)
{
    if (w->e->config.zipkin_address.n)
        json_addf(w->out, ",'tracing':{'http':{'name':'envoy.tracers.zipkin','typed_config':{'@type':'type.googleapis.com/"
                  "envoy.config.trace.v3.ZipkinConfig','collector_cluster':'zipkin','collector_endpoint':'/api/v2/spans',"
                  "'collector_endpoint_version':'HTTP_JSON','trace_id_128bit':true,'shared_span_context':false}}}");
}

static void add_sinks(struct writing *w)
{
    struct control_endpoint statsd = {0};
    struct str address = w->e->config.statsd_udp_address;
    bool is_good = address.n && control_endpoint_parse(address, &statsd) && statsd.port && is_ip(statsd.host);
    if (address.n && !is_good)
        err_list_addf(w->faults, ERR_INVALID, "PROXY_CONFIG.statsdUdpAddress", "'%.*s' is not an IP address and a port", STR_ARG(address));
    if (!is_good && !w->e->config.metrics_service.n)
        return;
    strbuf_addz(w->out, ",\"stats_sinks\":[");
    if (w->e->config.metrics_service.n)
        json_addf(w->out, "{'name':'envoy.stat_sinks.metrics_service','typed_config':{'@type':'type.googleapis.com/"
                  "envoy.config.metrics.v3.MetricsServiceConfig','transport_api_version':'V3','grpc_service':{'envoy_grpc':{"
                  "'cluster_name':'envoy_metrics_service'}}}}%s", is_good ? "," : "");
    if (is_good)
        json_addf(w->out, "{'name':'envoy.stat_sinks.statsd','typed_config':{'@type':'type.googleapis.com/envoy.config.metrics.v3.StatsdSink',"
                  "'address':{'socket_address':{'address':%q,'port_value':%u}}}}", statsd.host, (unsigned)statsd.port);
    strbuf_addc(w->out, ']');
}

/* To weftd, for its service graph. */
static void add_load_reports(struct writing *w)
{
    if (w->e->reports_load)
        json_addf(w->out, ",'cluster_manager':{'load_stats_config':{'api_type':'GRPC','transport_api_version':'V3','grpc_services':[{"
                  "'envoy_grpc':{'cluster_name':'" AGENT_XDS_CLUSTER "'}}]}}");
}

int agent_bootstrap(const struct agent_env *e, struct strbuf *out, struct err_list *faults)
{
    struct writing w = {e, out, faults, memchr(e->ips.items[0].p, ':', e->ips.items[0].n) != NULL};
    size_t before = faults->count;
    strbuf_addc(out, '{');
    add_node(&w);
    add_runtime(&w);
    add_stats(&w);
    add_admin(&w);
    add_dynamic(&w);
    add_static(&w);
    add_tracing(&w);
    add_sinks(&w);
    add_overload(&w);
    add_load_reports(&w);
    strbuf_addc(out, '}');
    return faults->count == before ? 0 : ERR_INVALID;
}
