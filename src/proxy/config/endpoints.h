/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to this folder: endpoints of a cluster from a ClusterLoadAssignment.
 */
#ifndef PROXY_CONFIG_ENDPOINTS_H
#define PROXY_CONFIG_ENDPOINTS_H

#include "proxy/config/config_priv.h"

struct endpoints {
    enum cluster_type type;      /* given: says what addresses may be */
    struct arena *arena;         /* given: of the endpoints */
    struct endpoint_spec *items;
    uint32_t count;
    struct load_policy load;
    uint32_t left_out;           /* of an EDS cluster: endpoints behind internal listeners, which aren't there … */
    char first_left_out[ERR_PATH_BYTES]; /* … and where the first of them stands */
};
void cfg_endpoints(struct config_reader *cr, const pb_load_assignment *m, struct endpoints *out);
void cfg_endpoints_fini(struct endpoint_spec *items, uint32_t count); /* what they own beside the arena */

#endif
