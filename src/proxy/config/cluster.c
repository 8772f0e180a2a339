/* SPDX-License-Identifier: Apache-2.0
 *
 * A cluster from its message: discovery type, balancing, circuit breakers, connections, transport.
 * What clusters usually have alike goes through shared_get. Endpoints are endpoints.c's, HTTP is
 * http_options.c's. Main thread.
 */
#include "base/mem.h"
#include "proxy/config/config_priv.h"
#include "proxy/config/istio_priv.h"
#include "proxy/config/dns.h"
#include "proxy/config/endpoints.h"
#include "proxy/config/lb.h"
#include "proxy/config/shared.h"
#include "proxy/config/tls_source.h"
#include "proxy/discovery/discovery.h"
#include "proxy/health/health_check.h"

#include <math.h>
#include <netinet/in.h>
#include <stdio.h>

#define CONNECT_TIMEOUT_DEFAULT_US 5000000u
#define DISCOVERY(x) ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__##x
#define LB_CONFIG(x) ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_##x
#define CLUSTER_KIND(x) ENVOY__CONFIG__CLUSTER__V3__CLUSTER__CLUSTER_DISCOVERY_TYPE_##x

/* ---- connections ---- */

static void connection_fini(void *part)
{
    struct cluster_connection_spec *c = part;
    addr_fini(&c->bind);
    addr_fini(&c->other_bind);
}

/* As Envoy: one more, of the other family. Options of its own stay unread. */
static void read_other_bind(struct config_reader *cr, const pb_bind_config *m, struct cluster_connection_spec *c)
{
    uint32_t n = LEN(m, extra_source_addresses);
    if (n > 1)
        FAULT("extra_source_addresses", "there can be one only");
    if (n == 0)
        return;
    IN("extra_source_addresses[0].address")
        c->has_other_bind = cfg_socket_address(cr, GET(m->extra_source_addresses[0], address), &c->other_bind, NULL) == 0;
    if (!c->has_bind)
        FAULT("extra_source_addresses", "needs source_address beside it");
    else if (c->has_other_bind && c->bind.sa.sa_family == c->other_bind.sa.sa_family)
        FAULT("extra_source_addresses[0]", "must be of another IP version than source_address");
}

static void read_bind(struct config_reader *cr, const pb_bind_config *m, struct cluster_connection_spec *c, struct arena *a)
{
    const pb_socket_address *source = GET(m, source_address);
    uint32_t n = LEN(m, socket_options), extra = 0;
    struct sock_opt *opts = cfg_sock_opts(cr, a, "socket_options", m->socket_options, n, CFG_SOCK_BEFORE_LISTEN, &extra);
    if (source)
        IN("source_address")
            c->has_bind = cfg_socket_address(cr, source, &c->bind, NULL) == 0;
    read_other_bind(cr, m, c);
    bool freebind = proto_bool_or(GET(m, freebind), false);
    c->sock_opts = ARENA_ARRAY(a, struct sock_opt, extra + freebind);
    if (freebind)
        c->sock_opts[c->sock_opt_count++] = (struct sock_opt){.level = IPPROTO_IP, .name = IP_FREEBIND, .int_value = 1};
    for (uint32_t i = 0; i < extra; i++)
        c->sock_opts[c->sock_opt_count++] = opts[i];
}

static void connection_key(struct strbuf *key, const struct cluster_connection_spec *c)
{
    char text[ADDR_TEXT_BYTES];
    strbuf_addf(key, "conn:%llu:%u:%d:%u:%d:%d:%d:%d:%s", (unsigned long long)c->connect_timeout_us, c->buffer_limit_bytes,
                c->first_family, c->first_family_count, c->keepalive, c->keepalive_probes, c->keepalive_time_s, c->keepalive_interval_s,
                c->has_bind ? addr_text(&c->bind, text) : "");
    strbuf_addf(key, ":%s", c->has_other_bind ? addr_text(&c->other_bind, text) : "");
    for (uint32_t i = 0; i < c->sock_opt_count; i++) {
        const struct sock_opt *o = &c->sock_opts[i];
        strbuf_addf(key, ":%d:%d:%d", o->level, o->name, o->int_value);
        cfg_key_str(key, o->bytes_value);
    }
}

static void read_upstream_options(struct config_reader *cr, const pb_upstream_connection *m, struct cluster_connection_spec *c)
{
    static const sa_family_t families[] = {0, AF_INET, AF_INET6};
    cfg_keepalive(cr, GET(m, tcp_keepalive), &c->keepalive, &c->keepalive_probes, &c->keepalive_time_s, &c->keepalive_interval_s);
    const pb_happy_eyeballs *h = GET(m, happy_eyeballs_config);
    if (!h)
        return;
    int family = GET(h, first_address_family_version);
    if (family >= 0 && (size_t)family < ARRAY_LEN(families))
        c->first_family = families[family];
    c->first_family_count = proto_u32_or(GET(h, first_address_family_count), 1);
    if (!c->first_family_count)
        FAULT("upstream_connection_options.happy_eyeballs_config.first_address_family_count", "must be at least 1");
}

static const struct cluster_connection_spec *read_connection(struct config_reader *cr, const pb_cluster *m)
{
    struct cluster_connection_spec c;
    struct arena a;
    struct strbuf key = {0};
    arena_init(&a, 0);
    memset(&c, 0, sizeof c);
    c.first_family_count = 1;
    if (GET(m, lrs_server)) { /* what is reported is the server's choice: cluster_manager.load_stats_config */
        if (m->lrs_server->config_source_specifier_case != ENVOY__CONFIG__CORE__V3__CONFIG_SOURCE__CONFIG_SOURCE_SPECIFIER_SELF)
            FAULT("lrs_server", "must be self");
        proto_read_whole(&cr->r, &m->lrs_server->base);
    }
    c.connect_timeout_us = proto_us_or(GET(m, connect_timeout), CONNECT_TIMEOUT_DEFAULT_US);
    c.buffer_limit_bytes = proto_u32_or(GET(m, per_connection_buffer_limit_bytes), 1 << 20);
    __auto_type manager = cr->boot ? GET(cr->boot, cluster_manager) : NULL;
    if (GET(m, upstream_bind_config))
        IN("upstream_bind_config")
            read_bind(cr, m->upstream_bind_config, &c, &a);
    else if (manager && GET(manager, upstream_bind_config))
        IN("upstream_bind_config") /* the cluster manager's, for all that have none */
            read_bind(cr, manager->upstream_bind_config, &c, &a);
    const pb_upstream_connection *up = GET(m, upstream_connection_options);
    if (up)
        read_upstream_options(cr, up, &c);
    connection_key(&key, &c);
    const void *shared = shared_get(strbuf_str(&key), &c, sizeof c, &a, connection_fini);
    strbuf_fini(&key);
    return shared;
}

/* ---- transport ---- */

static void transport_fini(void *part)
{
    tls_source_unref(&((struct transport_socket_spec *)part)->tls);
}

static void transport_key(struct strbuf *key, const struct transport_socket_spec *t)
{
    strbuf_addf(key, "transport:%p:%d:%d:%u:%d:%d:%d", (void *)t->tls, t->auto_host_sni, t->proxy_protocol,
                t->proxy_protocol_version, t->pass_all_tlvs, t->allow_unspecified_address, t->tlv_as_pool_key);
    cfg_key_str(key, t->sni);
    cfg_key_str(key, str_make((const char *)t->pass_tlvs, t->pass_tlv_count));
    for (uint32_t i = 0; i < t->added_tlv_count; i++) {
        strbuf_addc(key, (char)t->added_tlvs[i].type);
        cfg_key_str(key, t->added_tlvs[i].value);
    }
}

static const struct transport_socket_spec *read_transport(struct config_reader *cr, const pb_transport_socket *m)
{
    struct transport_socket_spec t;
    struct arena a;
    struct strbuf key = {0};
    ProtobufCMessage *msg = NULL;
    arena_init(&a, 0);
    memset(&t, 0, sizeof t);
    if (m)
        IN("transport_socket") {
            struct cfg_socket socket = {.up = &t, .arena = &a};
            const pb_any *any = m->config_type_case ? GET(m, typed_config) : NULL;
            const struct extension *ext = cfg_extension(cr, EXT_UPSTREAM_SOCKET, "typed_config", TEXT(m, name), any, &msg);
            if (ext)
                IN("typed_config")
                    ext->read(cr, msg, &socket);
            t.tls = socket.tls;
        }
    transport_key(&key, &t);
    const void *shared = shared_get(strbuf_str(&key), &t, sizeof t, &a, transport_fini);
    strbuf_fini(&key);
    return shared;
}

static void read_matches(struct config_reader *cr, const pb_cluster *m, struct cluster_spec *s)
{
    struct arena *a = &s->memory->arena;
    uint32_t n = LEN(m, transport_socket_matches);
    struct transport_match *all = ARENA_ARRAY(a, struct transport_match, n);
    s->transport_matches = all;
    s->transport_match_count = n;
    for (uint32_t i = 0; i < n; i++)
        IN("transport_socket_matches[%u]", i) {
            __auto_type match = m->transport_socket_matches[i];
            all[i].name = arena_str(a, TEXT(match, name));
            if (GET(match, match))
                all[i].criteria = cfg_struct(cr, match->match, a);
            all[i].transport = read_transport(cr, GET(match, transport_socket));
        }
}

/* ---- discovery ---- */

int cfg_aggregate_cluster(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_aggregate_cluster *m = (const pb_aggregate_cluster *)msg;
    struct cfg_dns *d = out;
    struct cluster_spec *s = d->cluster;
    d->type = CLUSTER_AGGREGATE;
    s->child_count = LEN(m, clusters);
    s->children = ARENA_ARRAY(&s->memory->arena, struct cluster_slot *, s->child_count);
    for (uint32_t i = 0; i < s->child_count; i++)
        cfg_cluster_ref(cr, "clusters", str_from(m->clusters[i]), &s->children[i], false);
    return 0;
}

static enum cluster_type read_custom_type(struct config_reader *cr, const pb_custom_cluster *m, struct cfg_dns *d, bool *has_dns)
{
    static const struct { const char *name; enum cluster_type type; } plain[] = {
        {"envoy.cluster.static", CLUSTER_STATIC},           {"envoy.cluster.strict_dns", CLUSTER_STRICT_DNS},
        {"envoy.cluster.logical_dns", CLUSTER_LOGICAL_DNS}, {"envoy.cluster.original_dst", CLUSTER_ORIGINAL_DST},
    };
    ProtobufCMessage *msg = NULL;
    struct str name = TEXT(m, name);
    const pb_any *any = GET(m, typed_config);
    for (size_t i = 0; !any && i < ARRAY_LEN(plain); i++)
        if (str_eq(name, str_from(plain[i].name)))
            return plain[i].type;
    const struct extension *ext = cfg_extension(cr, EXT_CLUSTER, "typed_config", name, any, &msg);
    if (!ext)
        return CLUSTER_STATIC;
    IN("typed_config")
        ext->read(cr, msg, d);
    *has_dns = true;
    return d->type;
}

static enum cluster_type read_type(struct config_reader *cr, const pb_cluster *m, struct cfg_dns *d, bool *has_dns)
{
    enum cluster_type type = CLUSTER_STATIC;
    if (m->cluster_discovery_type_case == CLUSTER_KIND(CLUSTER_TYPE)) {
        const pb_custom_cluster *custom = GET(m, cluster_type);
        IN("cluster_type")
            type = read_custom_type(cr, custom, d, has_dns);
        return type;
    }
    switch (GET(m, type)) {
    case DISCOVERY(STATIC):
        return CLUSTER_STATIC;
    case DISCOVERY(STRICT_DNS):
        return CLUSTER_STRICT_DNS;
    case DISCOVERY(LOGICAL_DNS):
        return CLUSTER_LOGICAL_DNS;
    case DISCOVERY(ORIGINAL_DST):
        return CLUSTER_ORIGINAL_DST;
    case DISCOVERY(EDS):
        return CLUSTER_EDS;
    default:
        proto_unsupported_enum(&cr->r, "type", &envoy__config__cluster__v3__cluster__discovery_type__descriptor, (int)m->type);
        return CLUSTER_STATIC;
    }
}

static const struct cluster_original_dst_spec *read_original_dst(struct config_reader *cr, const pb_cluster *m)
{
    struct cluster_original_dst_spec o;
    struct arena a;
    struct strbuf key = {0};
    arena_init(&a, 0);
    memset(&o, 0, sizeof o);
    o.upstream_port_override = -1;
    o.cleanup_interval_ms = proto_ms_or(GET(m, cleanup_interval), 5000);
    if (m->lb_config_case == LB_CONFIG(ORIGINAL_DST_LB_CONFIG)) {
        const pb_original_dst_lb *c = GET(m, original_dst_lb_config);
        o.use_http_header = GET(c, use_http_header);
        o.http_header_name = cfg_lower(&a, TEXT(c, http_header_name));
        __auto_type port = GET(c, upstream_port_override);
        o.upstream_port_override = port ? (int)port->value : -1;
        if (GET(c, metadata_key))
            IN("original_dst_lb_config.metadata_key") {
                o.space = arena_str(&a, TEXT(c->metadata_key, key));
                o.path_count = LEN(c->metadata_key, path);
                o.path = ARENA_ARRAY(&a, struct str, o.path_count);
                for (uint32_t i = 0; i < o.path_count; i++)
                    o.path[i] = arena_str(&a, TEXT(c->metadata_key->path[i], key));
            }
    }
    strbuf_addf(&key, "original_dst:%d:%d:%llu:", o.use_http_header, o.upstream_port_override,
                (unsigned long long)o.cleanup_interval_ms);
    cfg_key_str(&key, o.http_header_name);
    cfg_key_str(&key, o.space);
    for (uint32_t i = 0; i < o.path_count; i++)
        cfg_key_str(&key, o.path[i]);
    const void *shared = shared_get(strbuf_str(&key), &o, sizeof o, &a, NULL);
    strbuf_fini(&key);
    return shared;
}

/* Static or not: whoever asks ADS needs it to be there. */
static void read_eds(struct config_reader *cr, const Envoy__Config__Cluster__V3__Cluster__EdsClusterConfig *m, struct cluster_spec *s)
{
    if (!m) {
        FAULT("", "must be set for a cluster of type EDS");
        return;
    }
    struct str name = TEXT(m, service_name);
    s->eds_name = name.n ? arena_str(&s->memory->arena, name) : s->name;
    IN("eds_config")
        s->eds = cfg_config_source(cr, GET(m, eds_config));
    if (!s->eds)
        FAULT("eds_config", "must be set");
    cr->out->has_sources = true;
}

static void read_discovery(struct config_reader *cr, const pb_cluster *m, struct cluster_spec *s, bool *allow_insecure)
{
    struct arena a;
    struct cfg_dns d;
    bool has_dns = false;
    memset(&d, 0, sizeof d);
    arena_init(&a, 0);
    d.memory = &a;
    d.cluster = s;
    s->type = read_type(cr, m, &d, &has_dns);
    *allow_insecure = d.allow_insecure;
    bool is_dns = s->type == CLUSTER_STRICT_DNS || s->type == CLUSTER_LOGICAL_DNS;
    if (is_dns && !has_dns)
        cfg_dns_of_cluster(cr, m, &d);
    if (is_dns)
        s->dns = cfg_dns_share(&d);
    if (s->type == CLUSTER_ORIGINAL_DST)
        s->original_dst = read_original_dst(cr, m);
    if (s->type == CLUSTER_EDS)
        IN("eds_cluster_config")
            read_eds(cr, GET(m, eds_cluster_config), s);
    arena_fini(&a);
}

/* What Envoy refuses though each member alone is fine. */
static void check_whole(struct config_reader *cr, const pb_cluster *m, const struct cluster_spec *s, bool allow_insecure)
{
    bool provided = s->lb->policy == &lb_cluster_provided;
    bool provides = s->type == CLUSTER_ORIGINAL_DST || s->type == CLUSTER_AGGREGATE || s->type == CLUSTER_FORWARD_PROXY;
    if (provides && !provided)
        FAULT("lb_policy", "a cluster that chooses hosts itself (ORIGINAL_DST, aggregate, dynamic forward proxy) needs CLUSTER_PROVIDED");
    if (!provides && provided)
        FAULT("lb_policy", "CLUSTER_PROVIDED is for clusters that choose hosts themselves");
    if (s->type == CLUSTER_EDS && m->load_assignment)
        FAULT("load_assignment", "an EDS cluster asks for its endpoints");
    if (s->type == CLUSTER_ORIGINAL_DST && m->load_assignment)
        FAULT("load_assignment", "an ORIGINAL_DST cluster finds its endpoints itself");
    if (s->type == CLUSTER_FORWARD_PROXY && !allow_insecure && !(s->http->auto_sni && s->http->auto_san_validation))
        FAULT("", "dynamic_forward_proxy cluster must have auto_sni and auto_san_validation true unless allow_insecure_cluster_options is set");
    bool all_tls = s->transport->tls != NULL;
    for (uint32_t i = 0; i < s->transport_match_count; i++)
        all_tls &= s->transport_matches[i].transport->tls != NULL;
    if (s->http->alpn && !all_tls)
        FAULT("", "auto_config chooses the protocol by ALPN and needs a TLS transport_socket");
}

static float read_ratio(struct config_reader *cr, const Google__Protobuf__DoubleValue *ratio, const char *field)
{
    if (!ratio)
        return 1.0f;
    if (ratio->value < 1 || ratio->value > 3)
        IN("preconnect_policy")
            FAULT(field, "%g isn't between 1 and 3", ratio->value);
    return (float)ratio->value;
}

static void read_preconnect(struct config_reader *cr, const pb_preconnect *m, struct cluster_spec *s)
{
    s->preconnect_ratio = read_ratio(cr, m ? GET(m, per_upstream_preconnect_ratio) : NULL, "per_upstream_preconnect_ratio");
    s->predictive_ratio = read_ratio(cr, m ? GET(m, predictive_preconnect_ratio) : NULL, "predictive_preconnect_ratio");
}

static void read_tracking(struct config_reader *cr, const Envoy__Config__Cluster__V3__TrackClusterStats *m, struct cluster_spec *s)
{
    if (!m)
        return;
    s->track_timeout_budgets = GET(m, timeout_budgets);
    s->track_request_response_sizes = GET(m, request_response_sizes);
    s->track_endpoints = GET(m, per_endpoint_stats);
}

static void read_endpoints(struct config_reader *cr, const pb_load_assignment *m, struct cluster_spec *s)
{
    struct endpoints e = {.type = s->type, .arena = &s->memory->arena};
    cfg_endpoints(cr, m, &e);
    s->endpoints = e.items;
    s->endpoint_count = e.count;
    s->load = e.load;
}

static void read_rest(struct config_reader *cr, const pb_cluster *m, struct cluster_spec *s)
{
    const pb_load_assignment *load = GET(m, load_assignment);
    s->load.overprovisioning_pct = 140;
    if (load && s->type != CLUSTER_ORIGINAL_DST)
        IN("load_assignment")
            read_endpoints(cr, load, s);
    read_preconnect(cr, GET(m, preconnect_policy), s);
    s->check = cfg_health_checks(cr, m, &s->memory->arena);
    if (GET(m, outlier_detection))
        IN("outlier_detection")
            s->outlier = cfg_outlier(cr, m->outlier_detection, &s->memory->arena);
    s->ignore_health_on_removal = GET(m, ignore_health_on_host_removal);
    s->close_on_health_failure = GET(m, close_connections_on_host_health_failure);
    s->wait_for_warm_on_init = proto_bool_or(GET(m, wait_for_warm_on_init), true);
    read_tracking(cr, GET(m, track_cluster_stats), s);
    s->track_timeout_budgets |= GET(m, track_timeout_budgets);
    IN("metadata")
        s->metadata = cfg_metadata(cr, GET(m, metadata), &s->memory->arena);
}

int cfg_cluster(struct config_reader *cr, const pb_cluster *m, struct cluster_spec **out)
{
    size_t faults = cr->r.faults->count;
    struct cluster_spec *s = NEW(cluster_spec);
    struct cluster_slots *outer = cr->slots;
    cr->slots = &s->slots;
    s->memory = spec_memory_ref(cr->cluster_memory);
    struct arena *a = &s->memory->arena;
    s->name = arena_str(a, TEXT(m, name));
    struct str alt = TEXT(m, alt_stat_name);
    if (alt.n)
        s->alt_stat_name = arena_str(a, alt);
    bool allow_insecure;
    read_discovery(cr, m, s, &allow_insecure);
    s->lb = cfg_cluster_lb(cr, m);
    s->breakers = cfg_breakers(cr, GET(m, circuit_breakers));
    s->connection = read_connection(cr, m);
    s->http = cfg_cluster_http(cr, m, s->type == CLUSTER_FORWARD_PROXY);
    s->transport = read_transport(cr, GET(m, transport_socket));
    read_matches(cr, m, s);
    cfg_cluster_filters(cr, m, s);
    read_rest(cr, m, s);
    check_whole(cr, m, s, allow_insecure);
    cr->slots = outer;
    *out = s;
    return cr->r.faults->count == faults ? 0 : ERR_INVALID;
}

void cluster_spec_free(struct cluster_spec **spec)
{
    struct cluster_spec *s = *spec;
    if (!s)
        return;
    cfg_endpoints_fini(s->endpoints, s->endpoint_count);
    config_source_unref(&s->eds);
    if (s->check)
        health_spec_fini((struct health_spec *)(uintptr_t)s->check);
    shared_unref(s->lb);
    shared_unref(s->breakers);
    shared_unref(s->connection);
    shared_unref(s->http);
    shared_unref(s->transport);
    for (uint32_t i = 0; i < s->transport_match_count; i++)
        shared_unref(s->transport_matches[i].transport);
    shared_unref(s->dns);
    shared_unref(s->original_dst);
    shared_unref(s->dns_cache);
    cluster_slots_fini(&s->slots);
    spec_memory_unref(&s->memory);
    mem_free(s);
    *spec = NULL;
}
