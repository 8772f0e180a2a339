/* SPDX-License-Identifier: Apache-2.0
 *
 * /config_dump: Envoy's admin.v3.ConfigDump as JSON, secrets redacted. Main thread.
 */
#ifndef PROXY_CONFIG_DUMP_H
#define PROXY_CONFIG_DUMP_H

#include "base/err.h"
#include "proxy/server.h"

/* Appends to `out`. `resource` ("" = everything) names a repeated field of one of the dumps
 * ("static_clusters", "static_listeners", "static_route_configs", "static_secrets") and gives only
 * its items; `mask` is a FieldMask for each resource, or, when no resource is named, for each dump: one
 * that it doesn't fit is left out; `name_regex` keeps resources whose name it matches whole. Errors:
 * ERR_INVALID for a mask or regex, ERR_NOT_FOUND for an unknown resource. include_eds adds the
 * endpoints dump: without EDS there is none of it yet, only static endpoint configurations. */
int config_dump_json(const struct server *s, struct str resource, struct str mask, struct str name_regex, bool include_eds,
                     struct strbuf *out, struct err *err);

#endif
