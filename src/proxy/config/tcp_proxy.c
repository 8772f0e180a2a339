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
#define TARGET(x) ENVOY__EXTENSIONS__FILTERS__NETWORK__TCP_PROXY__V3__TCP_PROXY__CLUSTER_SPECIFIER_##x

static void read_targets(struct config_reader *cr, const pb_tcp_proxy *m, struct tcp_proxy_config *c)
{
    if (m->cluster_specifier_case == TARGET(CLUSTER)) {
        c->target_count = 1;
        c->targets = ARENA_ARRAY(&c->arena, struct tcp_proxy_target, 1);
        c->targets[0].name = arena_str(&c->arena, TEXT(m, cluster));
        c->targets[0].weight = 1;
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
    if (m->upstream_connect_mode == ENVOY__EXTENSIONS__FILTERS__NETWORK__TCP_PROXY__V3__UPSTREAM_CONNECT_MODE__IMMEDIATE)
        (void)GET(m, upstream_connect_mode);
    read_logs(cr, m, c);
    return cr->r.faults->count == faults ? 0 : ERR_INVALID;
}
