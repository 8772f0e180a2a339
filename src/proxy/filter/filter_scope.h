/* SPDX-License-Identifier: Apache-2.0
 *
 * Scopes of filters. HTTP filters': names under the connection manager's "http.<prefix>.", with its Prometheus label;
 * network filters': "<family>.<prefix>.", with one of their own. Main thread.
 */
#ifndef PROXY_FILTER_FILTER_SCOPE_H
#define PROXY_FILTER_FILTER_SCOPE_H

#include "proxy/stats/stats.h"

/* `parent` is what link() is given; `below` ends with a dot ("compressor.text.gzip."). A new reference. */
struct stat_scope *filter_scope(const struct stat_scope *parent, struct str below, const struct stat_table *table);
/* `tag`: the prefix's name ("envoy.tcp_prefix"). A new reference. */
struct stat_scope *network_filter_scope(const char *family, struct str stat_prefix, struct str tag, const struct stat_table *table);

#endif
