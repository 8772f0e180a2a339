/* SPDX-License-Identifier: Apache-2.0
 *
 * What set_metadata sets (extensions.filters.http.set_metadata.v3).
 */
#ifndef PROXY_FILTER_SET_METADATA_H
#define PROXY_FILTER_SET_METADATA_H

#include "proxy/filter/http_filter.h"

struct set_metadata_entry {
    struct str space;
    bool allow_overwrite;
    struct meta_value value; /* META_STRUCT */
};
struct set_metadata_config {
    struct set_metadata_entry *entries; uint32_t count;
    struct stat_scope *stats; /* http.<prefix>.set_metadata. */
};
extern const struct http_filter_def set_metadata_filter;

#endif
