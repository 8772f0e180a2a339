/* SPDX-License-Identifier: Apache-2.0
 *
 * envoy.filters.network.set_filter_state: leaves texts in the connection's filter state, made by formats from what is known of
 * the connection. On the connection's worker.
 */
#include "proxy/filter/set_filter_state.h"
#include "proxy/filter/simple_network_filters.h"
#include "proxy/listener/listener.h"

void downstream_describe(const struct downstream *d, struct stream_info *info)
{
    *info = (struct stream_info){
        .start_us = d->start_us,
        .start_wall_us = d->start_wall_us,
        .downstream = d->conn,
        .connection_id = conn_id(d->conn),
        .downstream_remote = conn_remote(d->conn),
        .downstream_direct_remote = conn_direct_remote(d->conn),
        .downstream_local = conn_local(d->conn),
        .requested_server_name = d->server_name,
        .filter_chain_name = d->chain->name,
    };
    info->filter_state.parent = &d->filter_state;
    info->metadata = d->metadata;
}

static enum prologue on_connection(struct downstream *d, const void *config, void **state)
{
    (void)state;
    struct stream_info info;
    downstream_describe(d, &info);
    struct format_context cx = {.info = &info, .log_type = "NotSet"};
    filter_state_rules_apply(config, &cx, &d->filter_state);
    return PROLOGUE_PASS;
}

const struct network_filter_def network_set_filter_state_filter = {
    .name = "envoy.filters.network.set_filter_state",
    .on_connection = on_connection,
};
