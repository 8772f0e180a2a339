/* SPDX-License-Identifier: Apache-2.0
 *
 * Destination rules on clusters: of the rule, its subset and its port, each replacing what stood above it component by component
 * (Istio: "Destination Rule"). Tunnels and credentials aren't read yet.
 */
#include "control/translate/locality_priv.h"

#include "envoy/extensions/upstreams/http/v3/http_protocol_options.pb-c.h"
#include "istio/mesh/mesh_config.pb-c.h"

#define CLUSTER Envoy__Config__Cluster__V3__Cluster
#define RULE Istio__Networking__V1alpha3__DestinationRule
#define POLICY Istio__Networking__V1alpha3__TrafficPolicy
#define SUBSET Istio__Networking__V1alpha3__Subset
#define POOL Istio__Networking__V1alpha3__ConnectionPoolSettings
#define BALANCER Istio__Networking__V1alpha3__LoadBalancerSettings
#define OUTLIER Istio__Networking__V1alpha3__OutlierDetection
#define TLS Istio__Networking__V1alpha3__ClientTLSSettings

/* ---- subsets ---- */

static const RULE *rule_of(const struct rule *r)
{
    return r ? (const RULE *)r->merged : NULL;
}

size_t rule_subset_count(const struct rule *r)
{
    return r ? rule_of(r)->n_subsets : 0;
}

const ProtobufCMessage *rule_subset(const struct rule *r, size_t i, struct str *name)
{
    *name = str_from(rule_of(r)->subsets[i]->name);
    return &rule_of(r)->subsets[i]->base;
}

static const SUBSET *subset_named(const struct rule *r, struct str name)
{
    for (size_t i = 0; i < rule_subset_count(r); i++)
        if (str_eq(str_from(rule_of(r)->subsets[i]->name), name))
            return rule_of(r)->subsets[i];
    return NULL;
}

void rule_subset_labels(const struct translation *t, const struct rule *r, struct str subset, struct labels *out)
{
    const SUBSET *s = subset.n ? subset_named(r, subset) : NULL;
    *out = (struct labels){0};
    if (!s)
        return;
    struct label *items = arena_alloc(t->arena, (s->n_labels + 1) * sizeof(*items));
    for (size_t i = 0; i < s->n_labels; i++)
        items[i] = (struct label){str_from(s->labels[i]->key), str_from(s->labels[i]->value)};
    labels_sort(items, (uint32_t)s->n_labels);
    *out = (struct labels){items, (uint32_t)s->n_labels};
}

/* ---- what holds ---- */

struct effective {
    const BALANCER *balancer;
    const POOL *pool;
    const OUTLIER *outlier;
    const TLS *tls;
};

static void take_port(struct effective *e, const POLICY *p, uint32_t port)
{
    for (size_t i = 0; i < p->n_port_level_settings; i++) {
        const Istio__Networking__V1alpha3__TrafficPolicy__PortTrafficPolicy *l = p->port_level_settings[i];
        if (l->port && l->port->number == port) /* what it leaves out has the defaults, not the rule's */
            *e = (struct effective){l->load_balancer, l->connection_pool, l->outlier_detection, l->tls};
    }
}

static void take(struct effective *e, const POLICY *p, uint32_t port)
{
    if (!p)
        return;
    e->balancer = p->load_balancer ? p->load_balancer : e->balancer;
    e->pool = p->connection_pool ? p->connection_pool : e->pool;
    e->outlier = p->outlier_detection ? p->outlier_detection : e->outlier;
    e->tls = p->tls ? p->tls : e->tls;
    take_port(e, p, port);
}

/* ---- pools and breakers ---- */

static Google__Protobuf__UInt32Value *limit_of(const struct translation *t, int32_t n)
{
    return u32_of(t, n > 0 ? (uint32_t)n : UINT32_MAX);
}

static void apply_breakers(const struct translation *t, const POOL *pool, CLUSTER *c)
{
    Envoy__Config__Cluster__V3__CircuitBreakers *b =
        MAKE(t, Envoy__Config__Cluster__V3__CircuitBreakers, envoy__config__cluster__v3__circuit_breakers__descriptor);
    Envoy__Config__Cluster__V3__CircuitBreakers__Thresholds *h = MAKE(
        t, Envoy__Config__Cluster__V3__CircuitBreakers__Thresholds, envoy__config__cluster__v3__circuit_breakers__thresholds__descriptor);
    h->max_connections = limit_of(t, pool->tcp ? pool->tcp->max_connections : 0);
    h->max_pending_requests = limit_of(t, pool->http ? pool->http->http1_max_pending_requests : 0);
    h->max_requests = limit_of(t, pool->http ? pool->http->http2_max_requests : 0);
    h->max_retries = limit_of(t, pool->http ? pool->http->max_retries : 0);
    b->thresholds = pointers(t, 1);
    b->thresholds[0] = h;
    b->n_thresholds = 1;
    c->circuit_breakers = b;
}

static void apply_tcp(const struct translation *t, const Istio__Networking__V1alpha3__ConnectionPoolSettings__TCPSettings *tcp, CLUSTER *c)
{
    if (tcp->connect_timeout)
        c->connect_timeout = tcp->connect_timeout;
    if (!tcp->tcp_keepalive)
        return;
    Envoy__Config__Core__V3__TcpKeepalive *k =
        MAKE(t, Envoy__Config__Core__V3__TcpKeepalive, envoy__config__core__v3__tcp_keepalive__descriptor);
    if (tcp->tcp_keepalive->probes)
        k->keepalive_probes = u32_of(t, tcp->tcp_keepalive->probes);
    if (tcp->tcp_keepalive->time)
        k->keepalive_time = u32_of(t, (uint32_t)tcp->tcp_keepalive->time->seconds);
    if (tcp->tcp_keepalive->interval)
        k->keepalive_interval = u32_of(t, (uint32_t)tcp->tcp_keepalive->interval->seconds);
    c->upstream_connection_options = MAKE(t, Envoy__Config__Cluster__V3__UpstreamConnectionOptions,
                                          envoy__config__cluster__v3__upstream_connection_options__descriptor);
    c->upstream_connection_options->tcp_keepalive = k;
}

static void apply_pool(const struct translation *t, const POOL *pool, CLUSTER *c)
{
    if (!pool)
        return;
    apply_breakers(t, pool, c);
    if (pool->tcp)
        apply_tcp(t, pool->tcp, c);
    if (pool->http)
        cluster_http_options(t, &pool->http->base, c);
}

/* ---- outliers ---- */

static void apply_outlier(const struct translation *t, const OUTLIER *from, CLUSTER *c)
{
    static const char skeleton[] = "{\"enforcing_success_rate\":0}";
    if (!from)
        return;
    Envoy__Config__Cluster__V3__OutlierDetection *o =
        COPY_OF(t, Envoy__Config__Cluster__V3__OutlierDetection, envoy__config__cluster__v3__outlier_detection__descriptor, skeleton);
    o->interval = from->interval;
    o->base_ejection_time = from->base_ejection_time;
    if (from->max_ejection_percent)
        o->max_ejection_percent = u32_of(t, (uint32_t)from->max_ejection_percent);
    if (from->consecutive_5xx_errors) {
        o->consecutive_5xx = from->consecutive_5xx_errors;
        o->enforcing_consecutive_5xx = u32_of(t, from->consecutive_5xx_errors->value ? 100 : 0);
    }
    if (from->consecutive_gateway_errors) {
        o->consecutive_gateway_failure = from->consecutive_gateway_errors;
        o->enforcing_consecutive_gateway_failure = u32_of(t, from->consecutive_gateway_errors->value ? 100 : 0);
    }
    if (from->split_external_local_origin_errors) {
        o->split_external_local_origin_errors = true;
        if (from->consecutive_local_origin_failures) {
            o->consecutive_local_origin_failure = from->consecutive_local_origin_failures;
            o->enforcing_consecutive_local_origin_failure = u32_of(t, 100);
        }
    }
    c->outlier_detection = o;
    Envoy__Config__Cluster__V3__Cluster__CommonLbConfig *lb = MAKE(t, Envoy__Config__Cluster__V3__Cluster__CommonLbConfig,
                                                                   envoy__config__cluster__v3__cluster__common_lb_config__descriptor);
    lb->healthy_panic_threshold = MAKE(t, Envoy__Type__V3__Percent, envoy__type__v3__percent__descriptor);
    lb->healthy_panic_threshold->value = from->min_health_percent;
    c->common_lb_config = lb;
}

/* ---- balancing ---- */

static void apply_hash(const struct translation *t, const Istio__Networking__V1alpha3__LoadBalancerSettings__ConsistentHashLB *h, CLUSTER *c)
{
    if (h->hash_algorithm_case == ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__CONSISTENT_HASH_LB__HASH_ALGORITHM_MAGLEV) {
        c->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__MAGLEV;
        if (!h->maglev->table_size)
            return;
        c->lb_config_case = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_MAGLEV_LB_CONFIG;
        c->maglev_lb_config = MAKE(t, Envoy__Config__Cluster__V3__Cluster__MaglevLbConfig,
                                   envoy__config__cluster__v3__cluster__maglev_lb_config__descriptor);
        c->maglev_lb_config->table_size = MAKE(t, Google__Protobuf__UInt64Value, google__protobuf__uint64_value__descriptor);
        c->maglev_lb_config->table_size->value = h->maglev->table_size;
        return;
    }
    bool has_ring = h->hash_algorithm_case == ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__CONSISTENT_HASH_LB__HASH_ALGORITHM_RING_HASH;
    uint64_t size = has_ring && h->ring_hash->minimum_ring_size ? h->ring_hash->minimum_ring_size : h->minimum_ring_size;
    c->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__RING_HASH;
    c->lb_config_case = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_RING_HASH_LB_CONFIG;
    c->ring_hash_lb_config = MAKE(t, Envoy__Config__Cluster__V3__Cluster__RingHashLbConfig,
                                  envoy__config__cluster__v3__cluster__ring_hash_lb_config__descriptor);
    c->ring_hash_lb_config->minimum_ring_size = MAKE(t, Google__Protobuf__UInt64Value, google__protobuf__uint64_value__descriptor);
    c->ring_hash_lb_config->minimum_ring_size->value = size ? size : 1024;
}

static void apply_simple(Istio__Networking__V1alpha3__LoadBalancerSettings__SimpleLB simple, CLUSTER *c)
{
    switch (simple) {
    case ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__SIMPLE_LB__ROUND_ROBIN:
        c->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__ROUND_ROBIN;
        break;
    case ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__SIMPLE_LB__RANDOM:
        c->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__RANDOM;
        break;
    case ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__SIMPLE_LB__PASSTHROUGH:
        c->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__CLUSTER_PROVIDED;
        c->cluster_discovery_type_case = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__CLUSTER_DISCOVERY_TYPE_TYPE;
        c->type = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__ORIGINAL_DST;
        c->eds_cluster_config = NULL;
        break;
    default:
        c->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__LEAST_REQUEST;
    }
}

/* New endpoints get little at first. */
static void apply_warmup(const struct translation *t, const BALANCER *b, CLUSTER *c)
{
    static const char skeleton[] = "{\"aggression\":{\"default_value\":1,\"runtime_key\":\"(\"},\"min_weight_percent\":{\"value\":10}}";
    const Istio__Networking__V1alpha3__WarmupConfiguration *w = b->warmup;
    if (!w && !b->warmup_duration_secs)
        return;
    Envoy__Config__Cluster__V3__Cluster__SlowStartConfig *s =
        COPY_OF(t, Envoy__Config__Cluster__V3__Cluster__SlowStartConfig, envoy__config__cluster__v3__cluster__slow_start_config__descriptor, skeleton);
    s->slow_start_window = w ? w->duration : b->warmup_duration_secs;
    if (w && w->aggression) {
        Envoy__Config__Core__V3__RuntimeDouble *d = proto_arena_alloc(t->protos, sizeof(*d));
        *d = *s->aggression;
        d->default_value = w->aggression->value;
        s->aggression = d;
    }
    if (w && w->minimum_percent) {
        s->min_weight_percent = MAKE(t, Envoy__Type__V3__Percent, envoy__type__v3__percent__descriptor);
        s->min_weight_percent->value = w->minimum_percent->value;
    }
    if (c->lb_policy == ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__ROUND_ROBIN) {
        c->lb_config_case = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_ROUND_ROBIN_LB_CONFIG;
        c->round_robin_lb_config = MAKE(t, Envoy__Config__Cluster__V3__Cluster__RoundRobinLbConfig,
                                        envoy__config__cluster__v3__cluster__round_robin_lb_config__descriptor);
        c->round_robin_lb_config->slow_start_config = s;
    } else if (c->lb_policy == ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__LEAST_REQUEST) {
        c->lb_config_case = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_LEAST_REQUEST_LB_CONFIG;
        c->least_request_lb_config = MAKE(t, Envoy__Config__Cluster__V3__Cluster__LeastRequestLbConfig,
                                          envoy__config__cluster__v3__cluster__least_request_lb_config__descriptor);
        c->least_request_lb_config->slow_start_config = s;
    }
}

static void apply_balancer(const struct translation *t, const BALANCER *b, CLUSTER *c)
{
    if (!b || c->lb_policy == ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__CLUSTER_PROVIDED)
        return;
    if (b->lb_policy_case == ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__LB_POLICY_CONSISTENT_HASH)
        apply_hash(t, b->consistent_hash, c);
    else if (b->lb_policy_case == ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__LB_POLICY_SIMPLE)
        apply_simple(b->simple, c);
    apply_warmup(t, b, c);
}

/* ---- TLS ---- */

static void apply_tls(const struct translation *t, const struct cluster_purpose *p, const TLS *tls, CLUSTER *c)
{
    const struct str *sans;
    if (!tls) {
        auto_mtls_apply(t, p, c);
        return;
    }
    switch (tls->mode) {
    case ISTIO__NETWORKING__V1ALPHA3__CLIENT_TLSSETTINGS__TLSMODE__DISABLE:
        return;
    case ISTIO__NETWORKING__V1ALPHA3__CLIENT_TLSSETTINGS__TLSMODE__ISTIO_MUTUAL: {
        size_t n = service_identities(t, p->service->service, &sans);
        if (tls->n_subject_alt_names) {
            struct str *named = arena_alloc(t->arena, tls->n_subject_alt_names * sizeof(*named));
            for (size_t i = 0; i < tls->n_subject_alt_names; i++)
                named[i] = str_from(tls->subject_alt_names[i]);
            sans = named;
            n = tls->n_subject_alt_names;
        }
        c->transport_socket =
            upstream_mtls(t, tls->sni[0] ? str_from(tls->sni) : p->sni, sans, (uint32_t)n, protocol_is_http2(p->port->protocol));
        return;
    }
    default:
        cluster_tls_of_files(t, p, &tls->base, c);
    }
}

static struct effective effective_of(const struct cluster_purpose *p)
{
    struct effective e = {0};
    const RULE *rule = rule_of(p->service->rule);
    if (rule)
        take(&e, rule->traffic_policy, p->port->number);
    if (p->subset_spec)
        take(&e, ((const SUBSET *)p->subset_spec)->traffic_policy, p->port->number);
    return e;
}

struct endpoint_purpose endpoint_purpose_of(const struct translation *t, const struct cluster_purpose *p)
{
    static const char by_default[] = "{\"enabled\":true}";
    const Istio__Mesh__V1alpha1__MeshConfig *mesh = (const Istio__Mesh__V1alpha1__MeshConfig *)world_mesh(t->world)->config;
    const LOCALITY_SETTING *setting = mesh ? mesh->locality_lb_setting : NULL;
    struct effective e = effective_of(p);
    if (e.balancer && e.balancer->locality_lb_setting)
        setting = e.balancer->locality_lb_setting;
    return (struct endpoint_purpose){
        .locality = setting ? &setting->base
                            : constant(t, &istio__networking__v1alpha3__locality_load_balancer_setting__descriptor, by_default),
        .has_outliers = e.outlier,
        .is_mesh_tls = !e.tls || e.tls->mode == ISTIO__NETWORKING__V1ALPHA3__CLIENT_TLSSETTINGS__TLSMODE__ISTIO_MUTUAL};
}

/* Envoy looks at the weights of localities only when it is told to. */
static void apply_locality(const struct translation *t, const struct cluster_purpose *p, CLUSTER *c)
{
    struct endpoint_purpose e = endpoint_purpose_of(t, p);
    const LOCALITY_SETTING *s = (const LOCALITY_SETTING *)e.locality;
    if (!s->n_distribute && !(e.has_outliers && (s->n_failover || s->n_failover_priority)))
        return;
    Envoy__Config__Cluster__V3__Cluster__CommonLbConfig *lb = proto_arena_alloc(t->protos, sizeof(*lb));
    *lb = *c->common_lb_config;
    lb->locality_config_specifier_case =
        ENVOY__CONFIG__CLUSTER__V3__CLUSTER__COMMON_LB_CONFIG__LOCALITY_CONFIG_SPECIFIER_LOCALITY_WEIGHTED_LB_CONFIG;
    lb->locality_weighted_lb_config = MAKE(t, Envoy__Config__Cluster__V3__Cluster__CommonLbConfig__LocalityWeightedLbConfig,
                                           envoy__config__cluster__v3__cluster__common_lb_config__locality_weighted_lb_config__descriptor);
    c->common_lb_config = lb;
}

void traffic_policy_apply(const struct translation *t, const struct cluster_purpose *p, CLUSTER *c)
{
    struct effective e = effective_of(p);
    apply_pool(t, e.pool, c);
    apply_outlier(t, e.outlier, c);
    apply_balancer(t, e.balancer, c);
    apply_locality(t, p, c);
    apply_tls(t, p, e.tls, c);
}
