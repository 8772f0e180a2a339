/* SPDX-License-Identifier: Apache-2.0
 *
 * The TCP proxy's configuration. Main thread.
 */
#include "proxy/filter/tcp_proxy.h"

#include "base/mem.h"
#include "proxy/config/config_priv.h"
#include "proxy/listener/listener.h"
#include "proxy/log/access_log.h"

#include <stdio.h>

#define IDLE_TIMEOUT_MS 3600000u
#define MODE(x) ENVOY__EXTENSIONS__FILTERS__NETWORK__TCP_PROXY__V3__UPSTREAM_CONNECT_MODE__##x
#define HASH(x) ENVOY__TYPE__V3__HASH_POLICY__POLICY_SPECIFIER_##x
#define TARGET(x) ENVOY__EXTENSIONS__FILTERS__NETWORK__TCP_PROXY__V3__TCP_PROXY__CLUSTER_SPECIFIER_##x

/* Of a weighted cluster: its keys of envoy.lb over those of tcp_proxy. */
static const struct metadata *merge_match(struct arena *a, const struct metadata *base, const struct metadata *own)
{
    if (!base || !own)
        return own ? own : base;
    struct metadata *both = arena_zalloc(a, sizeof *both);
    for (int k = 0; k < 2; k++) {
        const struct metadata *from = k ? own : base;
        for (uint32_t i = 0; i < from->count; i++)
            metadata_merge(both, a, from->items[i].name, &from->items[i].value);
    }
    return both;
}

static void read_targets(struct config_reader *cr, const pb_tcp_proxy *m, struct tcp_proxy_config *c)
{
    const struct metadata *match = NULL;
    if (GET(m, metadata_match))
        IN("metadata_match")
            match = cfg_metadata(cr, m->metadata_match, &c->arena);
    if (m->cluster_specifier_case == TARGET(CLUSTER)) {
        c->target_count = 1;
        c->targets = ARENA_ARRAY(&c->arena, struct tcp_proxy_target, 1);
        c->targets[0].name = arena_str(&c->arena, TEXT(m, cluster));
        c->targets[0].weight = 1;
        c->targets[0].metadata_match = match;
        cfg_cluster_ref(cr, "cluster", c->targets[0].name, &c->targets[0].cluster, true);
        return;
    }
    if (m->cluster_specifier_case != TARGET(WEIGHTED_CLUSTERS)) {
        FAULT("", "one of cluster and weighted_clusters must be set");
        return;
    }
    const pb_weighted_cluster *w = GET(m, weighted_clusters);
    uint64_t total = 0;
    c->target_count = LEN(w, clusters);
    c->targets = ARENA_ARRAY(&c->arena, struct tcp_proxy_target, c->target_count);
    for (uint32_t i = 0; i < c->target_count; i++)
        IN("weighted_clusters.clusters[%u]", i) {
            struct tcp_proxy_target *t = &c->targets[i];
            t->name = arena_str(&c->arena, TEXT(w->clusters[i], name));
            t->weight = GET(w->clusters[i], weight);
            total += t->weight;
            t->metadata_match = merge_match(&c->arena, match, cfg_metadata(cr, GET(w->clusters[i], metadata_match), &c->arena));
            cfg_cluster_ref(cr, "name", t->name, &t->cluster, true);
        }
    if (total > UINT32_MAX)
        FAULT("weighted_clusters", "the weights add up to more than %u", UINT32_MAX);
}

static void read_logs(struct config_reader *cr, const pb_tcp_proxy *m, struct tcp_proxy_config *c)
{
    c->access_logs = cfg_access_logs(cr, "access_log", GET(m, access_log), LEN(m, access_log), &c->arena, &c->access_log_count);
    c->access_log_flush_interval_ms = proto_ms_or(GET(m, access_log_flush_interval), 0);
    c->flush_log_on_connected = GET(m, flush_access_log_on_connected);
    __auto_type o = GET(m, access_log_options);
    if (!o)
        return;
    c->access_log_flush_interval_ms = proto_ms_or(GET(o, access_log_flush_interval), c->access_log_flush_interval_ms);
    c->flush_log_on_connected = GET(o, flush_access_log_on_connected) || c->flush_log_on_connected;
}

static void read_connecting(struct config_reader *cr, const pb_tcp_proxy *m, struct tcp_proxy_config *c)
{
    const pb_backoff *b = GET(m, backoff_options);
    const pb_percent *jitter = GET(m, max_downstream_connection_duration_jitter_percentage);
    if (b) {
        c->backoff_base_ms = proto_ms_or(GET(b, base_interval), 0);
        c->backoff_max_ms = proto_ms_or(GET(b, max_interval), c->backoff_base_ms * 10);
        if (c->backoff_max_ms < c->backoff_base_ms)
            FAULT("backoff_options.max_interval", "must not be less than base_interval");
    }
    if (jitter)
        c->max_duration_jitter_pct = (uint32_t)(GET(jitter, value) * 100);
    /* Once TLS is through, we begin: ON_DOWNSTREAM_TLS_HANDSHAKE is what IMMEDIATE is here. */
    c->waits_for_data = GET(m, upstream_connect_mode) == MODE(ON_DOWNSTREAM_DATA);
    /* How much may be taken from the client before there is an upstream: it may, all the same, wait in the socket. */
    (void)GET(m, max_early_data_bytes);
    if (c->waits_for_data && !m->max_early_data_bytes)
        FAULT("max_early_data_bytes", "must be set for upstream_connect_mode ON_DOWNSTREAM_DATA");
}

static void read_hashes(struct config_reader *cr, const pb_tcp_proxy *m, struct tcp_proxy_config *c)
{
    c->hash_count = LEN(m, hash_policy);
    c->hashes = ARENA_ARRAY(&c->arena, struct hash_policy, c->hash_count);
    for (uint32_t i = 0; i < c->hash_count; i++)
        IN("hash_policy[%u]", i) {
            const pb_tcp_hash_policy *h = m->hash_policy[i];
            if (h->policy_specifier_case == HASH(SOURCE_IP)) {
                (void)GET(h, source_ip);
                c->hashes[i].kind = HASH_SOURCE_IP;
            } else if (h->policy_specifier_case == HASH(FILTER_STATE)) {
                c->hashes[i].kind = HASH_FILTER_STATE;
                c->hashes[i].name = arena_str(&c->arena, TEXT(GET(h, filter_state), key));
            } else {
                FAULT("", "one of source_ip and filter_state must be set");
            }
        }
}

static void read_tunnel(struct config_reader *cr, const pb_tcp_tunnel *m, struct tcp_proxy_config *c)
{
    struct err err = {0};
    struct tcp_tunnel_config *t = arena_zalloc(&c->arena, sizeof *t);
    c->tunnel = t;
    t->hostname = format_new(TEXT(m, hostname), false, &err);
    if (!t->hostname)
        cfg_fault_err(cr, "hostname", &err);
    t->use_post = GET(m, use_post);
    t->post_path = arena_str(&c->arena, TEXT(m, post_path));
    if (t->post_path.n && !t->use_post)
        FAULT("post_path", "is only for use_post");
    if (!t->post_path.n)
        t->post_path = STR("/");
    pb_header_option **adds = GET(m, headers_to_add);
    cfg_header_rules(cr, "headers_to_add", adds, LEN(m, headers_to_add), "", NULL, 0, &c->arena, &t->headers);
}

int cfg_tcp_proxy(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_tcp_proxy *m = (const pb_tcp_proxy *)msg;
    struct cfg_network_filter *f = out;
    size_t faults = cr->r.faults->count;
    struct tcp_proxy_config *c = NEW(tcp_proxy_config);
    arena_init(&c->arena, 0);
    f->spec->config = c;
    f->spec->free_config = tcp_proxy_config_free;
    c->stat_prefix = arena_str(&c->arena, TEXT(m, stat_prefix));
    read_targets(cr, m, c);
    c->idle_timeout_ms = proto_ms_or(GET(m, idle_timeout), IDLE_TIMEOUT_MS);
    c->max_duration_ms = proto_ms_or(GET(m, max_downstream_connection_duration), 0);
    c->max_connect_attempts = proto_u32_or(GET(m, max_connect_attempts), 1);
    read_connecting(cr, m, c);
    read_hashes(cr, m, c);
    if (GET(m, tunneling_config))
        IN("tunneling_config")
            read_tunnel(cr, m->tunneling_config, c);
    read_logs(cr, m, c);
    return cr->r.faults->count == faults ? 0 : ERR_INVALID;
}
