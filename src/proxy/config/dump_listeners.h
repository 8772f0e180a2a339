/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to this folder: listeners of discovery for /config_dump.
 */
#ifndef PROXY_CONFIG_DUMP_LISTENERS_H
#define PROXY_CONFIG_DUMP_LISTENERS_H

#include "envoy/admin/v3/config_dump_shared.pb-c.h"
#include "proto/arena.h"
#include "proxy/server.h"

/* One item a name, in the arena; what they point to holds until the listeners change. */
size_t dump_dynamic_listeners(struct proto_arena *a, const struct server *s,
                              Envoy__Admin__V3__ListenersConfigDump__DynamicListener ***items);

#endif
