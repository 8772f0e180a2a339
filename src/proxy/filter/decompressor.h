/* SPDX-License-Identifier: Apache-2.0
 *
 * Decompresses requests and responses (envoy.filters.http.decompressor).
 */
#ifndef PROXY_FILTER_DECOMPRESSOR_H
#define PROXY_FILTER_DECOMPRESSOR_H

#include "proxy/filter/compression.h"
#include "proxy/filter/http_filter.h"
#include "proxy/stats/stats.h"

struct decompressor_direction {
    struct str runtime_key; bool enabled;
    bool ignore_no_transform;
    struct stat_scope *stats;         /* made by link */
};
struct decompressor_config {
    struct str library_name;
    struct compression_lib *lib;
    struct decompressor_direction request, response;
    bool advertise;                   /* advertise_accept_encoding */
    struct stat_scope *library_stats; /* made by link */
    struct str compressed_trailer, uncompressed_trailer; /* names of the totals in trailers */
};
extern const struct http_filter_def decompressor_filter;
void decompressor_config_free(void *config);

#define DECOMPRESSOR_STATS(X)                                                                      \
    X(DECOMPRESSOR_DECOMPRESSED, COUNTER, NONE, "decompressed", "Messages decompressed")           \
    X(DECOMPRESSOR_NOT_DECOMPRESSED, COUNTER, NONE, "not_decompressed", "Messages left as they are") \
    X(DECOMPRESSOR_UNCOMPRESSED_BYTES, COUNTER, BYTES, "total_uncompressed_bytes", "Bytes after")  \
    X(DECOMPRESSOR_COMPRESSED_BYTES, COUNTER, BYTES, "total_compressed_bytes", "Bytes before")
enum decompressor_stat { DECOMPRESSOR_STATS(STAT_ENUM_ROW) STAT_DECOMPRESSOR_COUNT };

#endif
