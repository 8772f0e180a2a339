/* SPDX-License-Identifier: Apache-2.0
 *
 * Members of an EDS cluster, as discovery assigns them (Envoy: "Endpoint discovery service"). The
 * cluster is warm with the first assignment, or once it has been waited for long enough; one that can't
 * be read changes nothing. Main thread.
 */
#include "base/log.h"
#include "proxy/cluster/cluster_priv.h"
#include "proxy/cluster/manager.h"
#include "proxy/config/resources.h"
#include "proxy/discovery/discovery.h"

static void take(struct cluster *c, const struct resource *item, struct err_list *faults)
{
    struct config_batch *b = config_batch_new(clusters_frame());
    size_t before = faults->count;
    stat_inc(c->stats, STAT_CLUSTER_UPDATE_ATTEMPT);
    if (config_read_assignment(b, item->packed, c, faults) == 0) {
        stat_inc(c->stats, STAT_CLUSTER_UPDATE_SUCCESS);
        stat_set(c->stats, STAT_CLUSTER_VERSION, str_hash(item->version, 0));
    } else {
        stat_inc(c->stats, STAT_CLUSTER_UPDATE_REJECTED);
    }
    config_batch_free(&b);
    for (size_t i = before; i < faults->count; i++)
        err_prefix(&faults->items[i], "%.*s", STR_ARG(item->name));
}

static void on_update(void *user, const struct resource_update *u, struct err_list *faults)
{
    struct cluster *c = user;
    for (uint32_t i = 0; i < u->count; i++)
        take(c, &u->items[i], faults);
    if (!u->count && !u->removed_count) /* an answer without it (state of the world): the old members stay, as in Envoy */
        stat_inc(c->stats, STAT_CLUSTER_UPDATE_EMPTY);
    if (u->count)
        cluster_assigned(c);
}

static void on_fetch_timeout(void *user)
{
    struct cluster *c = user;
    stat_inc(c->stats, STAT_CLUSTER_INIT_FETCH_TIMEOUT);
    LOG(UPSTREAM, WARNING, "cluster %.*s: no endpoints came in time", STR_ARG(c->spec->name));
    cluster_assigned(c);
}

static const struct subscription_ops ops = {.on_update = on_update, .on_fetch_timeout = on_fetch_timeout};

void assignment_start(struct cluster *c)
{
    cluster_set_endpoints(c, NULL, 0);
    c->assignment = discovery_subscribe(c->spec->eds, RESOURCE_ENDPOINTS, c->spec->eds_name, STR_NULL, &ops, c);
}
