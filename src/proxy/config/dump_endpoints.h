/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to this folder: endpoints for /config_dump?include_eds.
 */
#ifndef PROXY_CONFIG_DUMP_ENDPOINTS_H
#define PROXY_CONFIG_DUMP_ENDPOINTS_H

#include "envoy/admin/v3/config_dump.pb-c.h"
#include "proto/arena.h"
#include "proxy/config/pb.h"

/* In the arena; bytes are borrowed from discovery. NULL when the arena is full. */
Envoy__Admin__V3__EndpointsConfigDump *dump_endpoints(struct proto_arena *a, const pb_bootstrap *boot);

#endif
