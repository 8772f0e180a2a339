/* SPDX-License-Identifier: Apache-2.0
 *
 * Circuit breakers of a cluster, one shared copy for all clusters with the same. Main thread.
 */
#include <string.h>

#include "proxy/config/config_priv.h"
#include "proxy/config/shared.h"

static void read_budget(struct config_reader *cr, const pb_retry_budget *m, struct circuit_thresholds *c)
{
    __auto_type percent = GET(m, budget_percent);
    c->has_budget = true;
    c->budget_pct = percent ? GET(percent, value) : 20.0;
    c->min_retries = proto_u32_or(GET(m, min_retry_concurrency), 3);
    if (c->budget_pct < 0 || c->budget_pct > 100)
        FAULT("budget_percent", "%g isn't a percentage", c->budget_pct);
}

static void read_thresholds(struct config_reader *cr, const pb_thresholds *t, struct circuit_thresholds *c)
{
    c->max_connections = proto_u32_or(GET(t, max_connections), 1024);
    c->max_pending = proto_u32_or(GET(t, max_pending_requests), 1024);
    c->max_requests = proto_u32_or(GET(t, max_requests), 1024);
    c->max_retries = proto_u32_or(GET(t, max_retries), 3);
    c->max_pools = proto_u32_or(GET(t, max_connection_pools), UINT32_MAX);
    c->track_remaining = GET(t, track_remaining);
    if (GET(t, retry_budget))
        IN("retry_budget")
            read_budget(cr, t->retry_budget, c);
}

static void set_defaults(struct cluster_breakers_spec *b)
{
    for (int i = 0; i < ROUTING_PRIORITIES; i++) {
        struct circuit_thresholds *c = &b->thresholds[i];
        c->max_connections = c->max_pending = c->max_requests = 1024;
        c->max_retries = 3;
        c->max_pools = UINT32_MAX;
    }
}

/* The limit of connections to each host, whatever the priority: all that Envoy takes of these. */
static void read_per_host(struct config_reader *cr, const pb_circuit_breakers *m, struct cluster_breakers_spec *b)
{
    uint32_t n = m ? LEN(m, per_host_thresholds) : 0;
    for (uint32_t i = 0; i < n; i++) {
        const pb_thresholds *t = m->per_host_thresholds[i];
        if (GET(t, priority) != ENVOY__CONFIG__CORE__V3__ROUTING_PRIORITY__DEFAULT || b->has_per_host)
            continue;
        IN("circuit_breakers.per_host_thresholds[%u]", i)
            if (GET(t, max_connections)) {
                b->has_per_host = true;
                b->per_host_max_connections = t->max_connections->value;
            }
    }
}

const struct cluster_breakers_spec *cfg_breakers(struct config_reader *cr, const pb_circuit_breakers *m)
{
    struct cluster_breakers_spec b;
    memset(&b, 0, sizeof b); /* padding too: the bytes are the key */
    set_defaults(&b);
    uint32_t n = m ? LEN(m, thresholds) : 0;
    bool seen[ROUTING_PRIORITIES] = {false};
    for (uint32_t i = 0; i < n; i++) {
        unsigned p = m->thresholds[i]->priority == ENVOY__CONFIG__CORE__V3__ROUTING_PRIORITY__HIGH ? PRIORITY_HIGH : PRIORITY_DEFAULT;
        if (seen[p]) /* Envoy takes the first of a priority; the rest stays unread and is reported */
            continue;
        seen[p] = true;
        (void)GET(m->thresholds[i], priority);
        IN("circuit_breakers.thresholds[%u]", i)
            read_thresholds(cr, m->thresholds[i], &b.thresholds[p]);
    }
    read_per_host(cr, m, &b);
    char key[16 + sizeof b];
    memcpy(key, "breakers:", 9);
    memcpy(key + 9, &b, sizeof b);
    return shared_get(str_make(key, 9 + sizeof b), &b, sizeof b, NULL, NULL);
}
