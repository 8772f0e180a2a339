/* SPDX-License-Identifier: Apache-2.0
 *
 * Compresses requests and responses (envoy.filters.http.compressor).
 */
#ifndef PROXY_FILTER_COMPRESSOR_H
#define PROXY_FILTER_COMPRESSOR_H

#include "proxy/filter/compression.h"
#include "proxy/filter/http_filter.h"
#include "proxy/stats/stats.h"

struct compressor_direction {
    bool is_set;                      /* off for requests unless configured */
    struct str runtime_key; bool enabled;
    uint32_t min_content_length;      /* 30 */
    struct str *content_types; uint32_t content_type_count;
};
struct compressor_config {
    struct str library_name;
    struct compression_lib *lib;
    struct compressor_direction request, response;
    bool response_is_direction;       /* response_direction_config is set: statistics are under "response." */
    bool disable_on_etag, remove_accept_encoding, status_header, choose_first;
    uint32_t *uncompressible_codes; uint32_t uncompressible_count;
    struct stat_scope *stats, *request_stats, *response_stats; /* made by link */
};
struct compressor_route { /* per route */
    bool disabled;
    bool response_enabled;            /* overrides.response_direction_config */
    bool has_remove, remove_accept_encoding;
    struct compression_lib *lib;      /* NULL: the filter's */
};
extern const struct http_filter_def compressor_filter;
void compressor_config_free(void *config);
void compressor_route_free(void *config);

/* What a client accepts: compressor_choose.c. Pure. */
struct compressor_candidate { struct str encoding; bool choose_first; };
enum compressor_choice { COMPRESSOR_VALID, COMPRESSOR_IDENTITY, COMPRESSOR_WILDCARD, COMPRESSOR_NOT_VALID };
/* RFC 9110 section 12.5.3, among the compressors of a chain in order. The encoding chosen is a candidate's or "identity". */
enum compressor_choice compressor_choose(struct str accept_encoding, const struct compressor_candidate *candidates, uint32_t n,
                                         struct str *encoding);

#define COMPRESSOR_STATS(X)                                                                        \
    X(COMPRESSOR_NO_ACCEPT_HEADER, COUNTER, NONE, "no_accept_header", "Responses to requests without accept-encoding") \
    X(COMPRESSOR_HEADER_IDENTITY, COUNTER, NONE, "header_identity", "… whose choice was no encoding") \
    X(COMPRESSOR_HEADER_USED, COUNTER, NONE, "header_compressor_used", "… whose choice was this compressor") \
    X(COMPRESSOR_HEADER_OVERSHADOWED, COUNTER, NONE, "header_compressor_overshadowed", "… another of the chain") \
    X(COMPRESSOR_HEADER_WILDCARD, COUNTER, NONE, "header_wildcard", "… *")                         \
    X(COMPRESSOR_HEADER_NOT_VALID, COUNTER, NONE, "header_not_valid", "… nothing that we have")    \
    X(COMPRESSOR_NOT_COMPRESSED_ETAG, COUNTER, NONE, "not_compressed_etag", "Left alone for their etag")
enum compressor_stat { COMPRESSOR_STATS(STAT_ENUM_ROW) STAT_COMPRESSOR_COUNT };
#define COMPRESSOR_DIRECTION_STATS(X)                                                              \
    X(COMPRESSOR_COMPRESSED, COUNTER, NONE, "compressed", "Messages compressed")                   \
    X(COMPRESSOR_NOT_COMPRESSED, COUNTER, NONE, "not_compressed", "Messages left as they are")     \
    X(COMPRESSOR_UNCOMPRESSED_BYTES, COUNTER, BYTES, "total_uncompressed_bytes", "Bytes before")   \
    X(COMPRESSOR_COMPRESSED_BYTES, COUNTER, BYTES, "total_compressed_bytes", "Bytes after")        \
    X(COMPRESSOR_TOO_SMALL, COUNTER, NONE, "content_length_too_small", "Messages under the least length")
enum compressor_direction_stat { COMPRESSOR_DIRECTION_STATS(STAT_ENUM_ROW) STAT_COMPRESSOR_DIRECTION_COUNT };

#endif
