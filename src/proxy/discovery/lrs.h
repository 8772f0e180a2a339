/* SPDX-License-Identifier: Apache-2.0
 *
 * Load reports to a management server (envoy.service.load_stats.v3; Envoy: "Load Reporting Service"). Main thread.
 */
#ifndef PROXY_DISCOVERY_LRS_H
#define PROXY_DISCOVERY_LRS_H

#include "base/str.h"

struct config_source; /* proxy/discovery/discovery.h */
struct lrs;
struct server;
/* Begins at once; `keep_source` is one of kind GRPC. */
struct lrs *lrs_new(struct server *s, const struct config_source *keep_source, struct str keep_node);
void lrs_free(struct lrs **l); /* NULL is fine */

#endif
