/* SPDX-License-Identifier: Apache-2.0
 *
 * Scopes of HTTP filters: names under the connection manager's "http.<prefix>.", with its Prometheus label. Main thread.
 */
#ifndef PROXY_FILTER_FILTER_SCOPE_H
#define PROXY_FILTER_FILTER_SCOPE_H

#include "proxy/stats/stats.h"

/* `parent` is what link() is given; `below` ends with a dot ("compressor.text.gzip."). A new reference. */
struct stat_scope *filter_scope(const struct stat_scope *parent, struct str below, const struct stat_table *table);

#endif
