/* SPDX-License-Identifier: Apache-2.0
 *
 * Statistics of the HTTP/2 codec: "http2." for all listeners together, "cluster.<name>.http2.".
 */
#ifndef PROXY_STATS_H2_STATS_H
#define PROXY_STATS_H2_STATS_H

#include "http/codec/h2.h"
#include "proxy/stats/stats.h"

extern const struct stat_table h2_stat_table; /* a row a h2_stat that has a name in Envoy */
struct stat_scope *h2_stats_downstream(void); /* a new reference; main thread */
/* A connection's counter moved. Rapid resets are a connection manager's to count, not the codec's. */
void h2_stats_count(struct stat_scope *s, enum h2_stat stat);

#endif
