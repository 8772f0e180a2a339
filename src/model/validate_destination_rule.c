/* SPDX-License-Identifier: Apache-2.0
 *
 * DestinationRules, and the parts of their traffic policies that others have too (Istio: networking/destination-rule; its webhook's
 * rules). Pure.
 */
#include "model/validate_priv.h"

#define MAGLEV_TABLE_MAX 5000011

typedef Istio__Networking__V1alpha3__ConnectionPoolSettings__TCPSettings tcp_settings;
typedef Istio__Networking__V1alpha3__ConnectionPoolSettings__HTTPSettings http_settings;

/* ---- pools and outliers ---- */

static void check_tcp_settings(struct check *c, const tcp_settings *tcp)
{
    check_not_negative(c, "maxConnections", tcp->max_connections);
    check_duration(c, "connectTimeout", tcp->connect_timeout);
    check_duration(c, "maxConnectionDuration", tcp->max_connection_duration);
    /* 0s: never */
    if (tcp->idle_timeout && (tcp->idle_timeout->seconds || tcp->idle_timeout->nanos))
        check_duration(c, "idleTimeout", tcp->idle_timeout);
    if (tcp->tcp_keepalive) {
        check_duration(c, "tcpKeepalive.time", tcp->tcp_keepalive->time);
        check_duration(c, "tcpKeepalive.interval", tcp->tcp_keepalive->interval);
    }
}

static void check_http_settings(struct check *c, const http_settings *http)
{
    check_not_negative(c, "http1MaxPendingRequests", http->http1_max_pending_requests);
    check_not_negative(c, "http2MaxRequests", http->http2_max_requests);
    check_not_negative(c, "maxRequestsPerConnection", http->max_requests_per_connection);
    check_not_negative(c, "maxRetries", http->max_retries);
    check_not_negative(c, "maxConcurrentStreams", http->max_concurrent_streams);
    check_duration(c, "idleTimeout", http->idle_timeout);
    if (http->http2_keep_alive) {
        check_duration(c, "http2KeepAlive.interval", http->http2_keep_alive->interval);
        check_duration(c, "http2KeepAlive.timeout", http->http2_keep_alive->timeout);
    }
    if (http->use_client_protocol &&
        http->h2_upgrade_policy == ISTIO__NETWORKING__V1ALPHA3__CONNECTION_POOL_SETTINGS__HTTPSETTINGS__H2_UPGRADE_POLICY__UPGRADE)
        check_fault(c, "useClientProtocol", "must not be true where h2UpgradePolicy is UPGRADE");
}

void check_connection_pool(struct check *c, const char *field, const ist_connection_pool *pool)
{
    if (!pool)
        return;
    PROTO_IN (&c->r, "%s", field) {
        if (!pool->tcp && !pool->http)
            check_fault(c, "", "must have tcp or http");
        if (pool->tcp)
            PROTO_IN (&c->r, "tcp")
                check_tcp_settings(c, pool->tcp);
        if (pool->http)
            PROTO_IN (&c->r, "http")
                check_http_settings(c, pool->http);
    }
}

void check_outlier_detection(struct check *c, const char *field, const ist_outlier_detection *o)
{
    if (!o)
        return;
    PROTO_IN (&c->r, "%s", field) {
        check_duration(c, "baseEjectionTime", o->base_ejection_time);
        check_duration(c, "interval", o->interval);
        check_percent(c, "maxEjectionPercent", o->max_ejection_percent);
        check_percent(c, "minHealthPercent", o->min_health_percent);
        if (o->consecutive_errors)
            check_warn(c, "consecutiveErrors", "is deprecated: use consecutiveGatewayErrors or consecutive5xxErrors");
        if (!o->split_external_local_origin_errors && o->consecutive_local_origin_failures &&
            o->consecutive_local_origin_failures->value)
            check_fault(c, "consecutiveLocalOriginFailures", "needs splitExternalLocalOriginErrors");
        CHECK_EACH (c, i, o->n_outlier_detection_http_error_codes, "outlierDetectionHttpErrorCodes") {
            uint32_t code = o->outlier_detection_http_error_codes[i];
            if (code < 100 || code > 599)
                check_fault(c, "", "must be between 100 and 599, is %u", code);
        }
    }
}

/* ---- localities ---- */

/* "region/zone/subzone" down to any level, "*" at the end. */
static bool is_locality(struct str s)
{
    struct str rest = s;
    int levels = 0;
    ptrdiff_t star = str_find_char(s, '*');
    if (star >= 0 && (size_t)star + 1 != s.n)
        return false;
    do {
        struct str level = str_split(rest, '/', &rest);
        if (level.n == 0 || ++levels > 3)
            return false;
    } while (rest.p);
    return levels > 0;
}

/* Is every locality of the one also one of the other? A region alone stands for all of it, as with a star behind. */
static bool locality_covers(struct str wide, struct str s)
{
    if (str_has_suffix(wide, STR("*")))
        wide = str_make(wide.p, wide.n - 1);
    if (str_has_suffix(wide, STR("/")))
        wide = str_make(wide.p, wide.n - 1);
    if (str_has_suffix(s, STR("/*")))
        s = str_make(s.p, s.n - 2);
    return wide.n == 0 || str_eq(wide, s) || (str_has_prefix(s, wide) && s.p[wide.n] == '/');
}

static void check_locality(struct check *c, const char *field, const char *locality)
{
    if (!is_locality(str_from(locality)))
        check_fault(c, field, "'%s' is not of the form region/zone/subzone, with '*' at most at its end", locality);
}

static void check_overlap(struct check *c, const char *field, const char *one, const char *other)
{
    struct str a = str_from(one), b = str_from(other);
    if (locality_covers(a, b) || locality_covers(b, a))
        check_fault(c, field, "'%s' and '%s' overlap", one, other);
}

static void check_distribute(struct check *c, const ist_locality_lb *lb, size_t at)
{
    const Istio__Networking__V1alpha3__LocalityLoadBalancerSetting__Distribute *d = lb->distribute[at];
    uint64_t total = 0;
    check_locality(c, "from", d->from);
    for (size_t i = 0; i < at; i++)
        check_overlap(c, "from", d->from, lb->distribute[i]->from);
    CHECK_EACH_KEY (c, i, d->n_to, "to", d->to) {
        check_locality(c, "", d->to[i]->key);
        if (d->to[i]->value < 1 || d->to[i]->value > 100)
            check_fault(c, "", "must be between 1 and 100, is %u", d->to[i]->value);
        total += d->to[i]->value;
        for (size_t k = 0; k < i; k++)
            check_overlap(c, "", d->to[i]->key, d->to[k]->key);
    }
    if (total != 100)
        check_fault(c, "to", "the percentages must make 100, make %llu", (unsigned long long)total);
}

static void check_failover(struct check *c, const char *from, const char *to)
{
    if (strcmp(from, to) == 0)
        check_fault(c, "", "must lead from one region to another");
    if (strpbrk(from, "/*") || strpbrk(to, "/*"))
        check_fault(c, "", "takes regions only, without '/' and '*'");
}

static bool is_topology_label(const char *label)
{
    return strcmp(label, "topology.kubernetes.io/region") == 0 || strcmp(label, "topology.kubernetes.io/zone") == 0 ||
           strcmp(label, "topology.istio.io/subzone") == 0;
}

void check_locality_lb(struct check *c, const char *field, const ist_locality_lb *lb, bool has_outlier_detection)
{
    if (!lb)
        return;
    PROTO_IN (&c->r, "%s", field) {
        if (lb->n_distribute && lb->n_failover)
            check_fault(c, "failover", "must not stand beside distribute");
        CHECK_EACH (c, i, lb->n_distribute, "distribute")
            check_distribute(c, lb, i);
        CHECK_EACH (c, i, lb->n_failover, "failover")
            check_failover(c, lb->failover[i]->from, lb->failover[i]->to);
        CHECK_EACH (c, i, lb->n_failover_priority, "failoverPriority") {
            if (lb->n_failover && is_topology_label(lb->failover_priority[i]))
                check_fault(c, "", "'%s' must not stand beside failover", lb->failover_priority[i]);
        }
        if ((lb->n_failover || lb->n_failover_priority) && !has_outlier_detection)
            check_warn(c, "", "without outlierDetection nothing ever fails over");
    }
}

static void check_zone_aware(struct check *c, const ist_zone_aware_lb *lb, bool has_outlier_detection)
{
    PROTO_IN (&c->r, "zoneAwareLbSetting") {
        CHECK_EACH (c, i, lb->n_failover, "failover")
            check_failover(c, lb->failover[i]->from, lb->failover[i]->to);
        CHECK_EACH (c, i, lb->n_failover_priority, "failoverPriority") {
            if (is_topology_label(lb->failover_priority[i]))
                check_fault(c, "", "'%s' is cared for already", lb->failover_priority[i]);
        }
        if ((lb->n_failover || lb->n_failover_priority) && !has_outlier_detection)
            check_warn(c, "", "without outlierDetection nothing ever fails over");
    }
}

/* ---- balancing ---- */

static bool is_prime(uint64_t n)
{
    if (n < 4)
        return n > 1;
    if (n % 2 == 0)
        return false;
    for (uint64_t i = 3; i * i <= n; i += 2)
        if (n % i == 0)
            return false;
    return true;
}

static void check_cookie(struct check *c, const Istio__Networking__V1alpha3__LoadBalancerSettings__ConsistentHashLB__HTTPCookie *k)
{
    if (!*k->name)
        check_fault(c, "name", "is missing");
    CHECK_EACH (c, i, k->n_attributes, "attributes") {
        if (!*k->attributes[i]->name)
            check_fault(c, "name", "is missing");
        for (size_t n = 0; n < i; n++)
            if (strcmp(k->attributes[n]->name, k->attributes[i]->name) == 0)
                check_fault(c, "name", "'%s' stands twice", k->attributes[i]->name);
    }
}

static void check_consistent_hash(struct check *c, const ist_consistent_hash *h)
{
    if (h->hash_key_case == ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__CONSISTENT_HASH_LB__HASH_KEY_HTTP_COOKIE)
        PROTO_IN (&c->r, "httpCookie")
            check_cookie(c, h->http_cookie);
    if (h->minimum_ring_size && h->hash_algorithm_case)
        check_fault(c, "minimumRingSize", "must not stand beside ringHash or maglev");
    else if (h->minimum_ring_size)
        check_warn(c, "minimumRingSize", "is deprecated: use ringHash.minimumRingSize");
    if (h->hash_algorithm_case != ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__CONSISTENT_HASH_LB__HASH_ALGORITHM_MAGLEV)
        return;
    uint64_t size = h->maglev->table_size;
    if (size == 0 || size >= MAGLEV_TABLE_MAX || !is_prime(size))
        check_fault(c, "maglev.tableSize", "must be a prime number below %d, is %llu", MAGLEV_TABLE_MAX,
                    (unsigned long long)size);
}

static void check_warmup(struct check *c, const Istio__Networking__V1alpha3__WarmupConfiguration *w)
{
    if (!w->duration)
        check_fault(c, "duration", "is missing");
    check_duration(c, "duration", w->duration);
    if (w->minimum_percent && !(w->minimum_percent->value >= 0 && w->minimum_percent->value <= 100))
        check_fault(c, "minimumPercent", "must be between 0 and 100, is %g", w->minimum_percent->value);
    if (w->aggression && !(w->aggression->value > 0))
        check_fault(c, "aggression", "must be above 0, is %g", w->aggression->value);
}

static void check_load_balancer(struct check *c, const ist_load_balancer *lb, bool has_outlier_detection)
{
    if (!lb)
        return;
    PROTO_IN (&c->r, "loadBalancer") {
        if (lb->lb_policy_case == ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__LB_POLICY_CONSISTENT_HASH)
            PROTO_IN (&c->r, "consistentHash")
                check_consistent_hash(c, lb->consistent_hash);
        if (lb->locality_lb_setting && lb->zone_aware_lb_setting)
            check_fault(c, "zoneAwareLbSetting", "must not stand beside localityLbSetting");
        check_locality_lb(c, "localityLbSetting", lb->locality_lb_setting, has_outlier_detection);
        if (lb->zone_aware_lb_setting)
            check_zone_aware(c, lb->zone_aware_lb_setting, has_outlier_detection);
        check_duration(c, "warmupDurationSecs", lb->warmup_duration_secs);
        if (lb->warmup)
            PROTO_IN (&c->r, "warmup")
                check_warmup(c, lb->warmup);
    }
}

/* ---- TLS ---- */

static void check_skip_verify(struct check *c, const ist_client_tls *tls)
{
    bool simple = tls->mode == ISTIO__NETWORKING__V1ALPHA3__CLIENT_TLSSETTINGS__TLSMODE__SIMPLE;
    bool mutual = tls->mode == ISTIO__NETWORKING__V1ALPHA3__CLIENT_TLSSETTINGS__TLSMODE__MUTUAL;
    if (!tls->insecure_skip_verify || !tls->insecure_skip_verify->value || (!simple && !mutual))
        return;
    if (*tls->ca_certificates || tls->n_subject_alt_names || (simple && *tls->credential_name))
        check_fault(c, "insecureSkipVerify", "contradicts what the server is to be verified by");
}

void check_client_tls(struct check *c, const char *field, const ist_client_tls *tls)
{
    static const struct str from_config_map = {"configmap://", 12};
    if (!tls)
        return;
    bool mutual = tls->mode == ISTIO__NETWORKING__V1ALPHA3__CLIENT_TLSSETTINGS__TLSMODE__MUTUAL;
    bool simple = tls->mode == ISTIO__NETWORKING__V1ALPHA3__CLIENT_TLSSETTINGS__TLSMODE__SIMPLE;
    struct str credential = str_from(tls->credential_name), ns, name;
    PROTO_IN (&c->r, "%s", field) {
        check_skip_verify(c, tls);
        if (str_has_prefix(credential, from_config_map)) {
            ns = str_split(str_make(credential.p + from_config_map.n, credential.n - from_config_map.n), '/', &name);
            if (name.p && !str_eq(ns, c->ns))
                check_fault(c, "credentialName", "'%s' must be of the own namespace, %.*s", tls->credential_name, STR_ARG(c->ns));
        }
        if ((simple || mutual) && credential.n) {
            if (*tls->client_certificate || *tls->private_key || *tls->ca_certificates || *tls->ca_crl)
                check_fault(c, "credentialName", "must not stand beside certificates from files");
        } else if (mutual) {
            if (!*tls->client_certificate)
                check_fault(c, "clientCertificate", "is missing, which MUTUAL needs");
            if (!*tls->private_key)
                check_fault(c, "privateKey", "is missing, which MUTUAL needs");
        }
    }
}

/* ---- policies ---- */

static void check_tunnel(struct check *c, const Istio__Networking__V1alpha3__TrafficPolicy__TunnelSettings *t)
{
    if (*t->protocol && strcmp(t->protocol, "CONNECT") != 0 && strcmp(t->protocol, "POST") != 0)
        check_fault(c, "protocol", "must be CONNECT or POST, is '%s'", t->protocol);
    if (!is_ip(str_from(t->target_host)))
        check_host(c, "targetHost", t->target_host);
    check_port(c, "targetPort", t->target_port);
}

static void check_port_policy(struct check *c, const ist_port_traffic_policy *p)
{
    if (!p->port)
        check_fault(c, "port", "is missing");
    else
        check_port(c, "port.number", p->port->number);
    if (!p->outlier_detection && !p->connection_pool && !p->load_balancer && !p->tls)
        check_fault(c, "", "says nothing");
    check_outlier_detection(c, "outlierDetection", p->outlier_detection);
    check_connection_pool(c, "connectionPool", p->connection_pool);
    check_load_balancer(c, p->load_balancer, p->outlier_detection != NULL);
    check_client_tls(c, "tls", p->tls);
}

static void check_retry_budget(struct check *c, const Istio__Networking__V1alpha3__TrafficPolicy__RetryBudget *b)
{
    if (b->percent && !(b->percent->value >= 0 && b->percent->value <= 100))
        check_fault(c, "retryBudget.percent", "must be between 0 and 100, is %g", b->percent->value);
    check_duration(c, "retryBudget.budgetInterval", b->budget_interval);
}

static void check_traffic_policy(struct check *c, const ist_traffic_policy *p)
{
    if (!p)
        return;
    PROTO_IN (&c->r, "trafficPolicy") {
        if (!p->outlier_detection && !p->connection_pool && !p->load_balancer && !p->tls && !p->n_port_level_settings &&
            !p->tunnel && !p->proxy_protocol && !p->retry_budget)
            check_fault(c, "", "says nothing");
        if (p->tunnel && p->proxy_protocol)
            check_fault(c, "proxyProtocol", "must not stand beside tunnel");
        check_outlier_detection(c, "outlierDetection", p->outlier_detection);
        check_connection_pool(c, "connectionPool", p->connection_pool);
        check_load_balancer(c, p->load_balancer, p->outlier_detection != NULL);
        check_client_tls(c, "tls", p->tls);
        CHECK_EACH (c, i, p->n_port_level_settings, "portLevelSettings")
            check_port_policy(c, p->port_level_settings[i]);
        if (p->tunnel)
            PROTO_IN (&c->r, "tunnel")
                check_tunnel(c, p->tunnel);
        if (p->retry_budget)
            check_retry_budget(c, p->retry_budget);
    }
}

static void check_subset(struct check *c, const ist_destination_rule *rule, size_t at)
{
    const ist_subset *s = rule->subsets[at];
    if (!is_host_label(str_from(s->name)))
        check_fault(c, "name", "'%s' must be 1 to 63 letters, digits and '-'", s->name);
    for (size_t i = 0; i < at; i++)
        if (strcmp(rule->subsets[i]->name, s->name) == 0)
            check_fault(c, "name", "'%s' is the name of subsets[%zu] as well", s->name, i);
    CHECK_EACH_KEY (c, i, s->n_labels, "labels", s->labels)
        check_label(c, str_from(s->labels[i]->key), str_from(s->labels[i]->value));
    check_traffic_policy(c, s->traffic_policy);
}

void validate_destination_rule(struct check *c, const struct object *o)
{
    const ist_destination_rule *rule = (const ist_destination_rule *)o->body;
    check_wildcard_host(c, "host", rule->host);
    check_traffic_policy(c, rule->traffic_policy);
    CHECK_EACH (c, i, rule->n_subsets, "subsets")
        check_subset(c, rule, i);
    check_export_to(c, rule->n_export_to, rule->export_to, false, rule->workload_selector != NULL);
    check_selector(c, "workloadSelector", rule->workload_selector);
}
