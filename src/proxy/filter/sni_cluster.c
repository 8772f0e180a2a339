/* SPDX-License-Identifier: Apache-2.0
 *
 * envoy.filters.network.sni_cluster: the name that the client asked for in TLS becomes the cluster of tcp_proxy behind it.
 * On the connection's worker.
 */
#include "proxy/filter/simple_network_filters.h"

static enum prologue on_connection(struct downstream *d, const void *config, void **state)
{
    (void)config, (void)state;
    if (d->server_name.n)
        filter_state_set(&d->filter_state, STR("envoy.tcp_proxy.cluster"), d->server_name, false, FILTER_STATE_PRIVATE);
    return PROLOGUE_PASS;
}

const struct network_filter_def sni_cluster_filter = {
    .name = "envoy.filters.network.sni_cluster",
    .on_connection = on_connection,
};
