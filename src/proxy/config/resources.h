/* SPDX-License-Identifier: Apache-2.0
 *
 * Single resources of the API, as discovery brings them: packed messages become the same specs that a
 * bootstrap's static resources do. One that has a fault makes nothing. Main thread.
 *
 * What isn't implemented: an extension that isn't known, and fields that security or routing depend on,
 * refuse the resource; other fields are warned about, counted (server.dynamic_unknown_fields) and shown
 * on the admin page /unsupported.
 */
#ifndef PROXY_CONFIG_RESOURCES_H
#define PROXY_CONFIG_RESOURCES_H

#include "base/err.h"
#include "base/str.h"

struct arena; /* base/arena.h */
struct cluster;
struct cluster_spec;
struct listener_spec;
struct route_config_spec;
struct scope_resource; /* route/scope_source.h */
struct vhost_resource;
struct filter_config; /* filter/filter_source.h */
struct filter_source;
struct config_frame; /* config_result.frame */

/* The resources of one response: they share what they can (memory is given back when the last of them goes). */
struct config_batch;
struct config_batch *config_batch_new(struct config_frame *keep_frame);
void config_batch_free(struct config_batch **b);
/* Each reads one packed message into a new spec. Faults: "<path in the resource>: <sentence>". */
int config_read_cluster(struct config_batch *b, struct str packed, struct cluster_spec **out, struct err_list *faults);
/* A ClusterLoadAssignment, at once for the cluster that has asked: nothing is kept of it but members. */
int config_read_assignment(struct config_batch *b, struct str packed, struct cluster *c, struct err_list *faults);
/* A Runtime, into the arena. */
struct runtime_values { const struct str *keys, *values; size_t count; };
int config_read_runtime(struct config_batch *b, struct str packed, struct arena *a, struct runtime_values *out, struct err_list *faults);
/* `older`: generations of this listener that filter chains may be shared with. */
int config_read_listener(struct config_batch *b, struct str packed, const struct listener_spec *const *older, uint32_t older_count,
                         struct listener_spec **out, struct err_list *faults);
/* A TypedExtensionConfig for a place in a chain of HTTP filters. */
int config_read_filter(struct config_batch *b, struct str packed, const struct filter_source *place, struct filter_config **out,
                       struct err_list *faults);
/* A VirtualHost of this configuration. */
int config_read_virtual_host(struct config_batch *b, struct str packed, const struct route_config_spec *config,
                             struct vhost_resource **out, struct err_list *faults);
/* A ScopedRouteConfiguration that came under this name. */
int config_read_scope(struct config_batch *b, struct str packed, struct str name, struct scope_resource **out, struct err_list *faults);
int config_read_route_config(struct config_batch *b, struct str packed, struct route_config_spec **out, struct err_list *faults);

#endif
