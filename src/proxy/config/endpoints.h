/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to this folder: endpoints of a cluster from a ClusterLoadAssignment.
 */
#ifndef PROXY_CONFIG_ENDPOINTS_H
#define PROXY_CONFIG_ENDPOINTS_H

#include "proxy/config/config_priv.h"

/* Fills s->endpoints and s->overprovisioning_factor; s->type says what addresses may be. */
int cfg_endpoints(struct config_reader *cr, const pb_load_assignment *m, struct cluster_spec *s);

#endif
