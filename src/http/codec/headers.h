/* SPDX-License-Identifier: Apache-2.0
 *
 * Header lists as the proxy sees them: one ordered list, pseudo headers included (":method", ":path",
 * ":authority", ":scheme", ":protocol", ":status"), names in lower case. Well-known names carry an
 * id from one table, so that the hot path compares integers; a 64-bit mask says at once that a
 * well-known name is absent. Names and values live in the arena of the message (or are static).
 */
#ifndef HTTP_CODEC_HEADERS_H
#define HTTP_CODEC_HEADERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"

/* Ids 0..63 have a bit in headers.mask: keep what is looked up at every request among them. */
#define HEADER_TABLE(X)                                                                            \
    X(METHOD, ":method") X(PATH, ":path") X(AUTHORITY, ":authority") X(SCHEME, ":scheme")          \
    X(PROTOCOL, ":protocol") X(STATUS, ":status")                                                  \
    X(HOST, "host") X(CONNECTION, "connection") X(CONTENT_LENGTH, "content-length")                \
    X(TRANSFER_ENCODING, "transfer-encoding") X(CONTENT_TYPE, "content-type") X(TE, "te")          \
    X(EXPECT, "expect") X(UPGRADE, "upgrade") X(KEEP_ALIVE, "keep-alive")                          \
    X(PROXY_CONNECTION, "proxy-connection") X(HTTP2_SETTINGS, "http2-settings")                    \
    X(TRAILER, "trailer") X(DATE, "date") X(SERVER, "server") X(VIA, "via")                        \
    X(USER_AGENT, "user-agent") X(COOKIE, "cookie") X(REFERER, "referer")                          \
    X(X_REQUEST_ID, "x-request-id") X(X_FORWARDED_FOR, "x-forwarded-for")                          \
    X(X_FORWARDED_PROTO, "x-forwarded-proto") X(X_FORWARDED_HOST, "x-forwarded-host")              \
    X(X_FORWARDED_PORT, "x-forwarded-port")                                                        \
    X(X_FORWARDED_CLIENT_CERT, "x-forwarded-client-cert")                                          \
    X(ENVOY_EXPECTED_TIMEOUT, "x-envoy-expected-rq-timeout-ms")                                    \
    X(ENVOY_TIMEOUT, "x-envoy-upstream-rq-timeout-ms")                                             \
    X(ENVOY_PER_TRY_TIMEOUT, "x-envoy-upstream-rq-per-try-timeout-ms")                             \
    X(ENVOY_UPSTREAM_SERVICE_TIME, "x-envoy-upstream-service-time")                                \
    X(ENVOY_EXTERNAL_ADDRESS, "x-envoy-external-address")                                          \
    X(ENVOY_INTERNAL, "x-envoy-internal") X(ENVOY_ORIGINAL_PATH, "x-envoy-original-path")          \
    X(ENVOY_ATTEMPT_COUNT, "x-envoy-attempt-count") X(ENVOY_RETRY_ON, "x-envoy-retry-on")          \
    X(ENVOY_RETRY_GRPC_ON, "x-envoy-retry-grpc-on") X(ENVOY_MAX_RETRIES, "x-envoy-max-retries")    \
    X(ENVOY_DECORATOR, "x-envoy-decorator-operation") X(ENVOY_FORCE_TRACE, "x-envoy-force-trace")  \
    X(ENVOY_OVERLOADED, "x-envoy-overloaded") X(ENVOY_IMMEDIATE_HEALTH_FAIL, "x-envoy-immediate-health-check-fail") \
    X(ENVOY_DOWNSTREAM_CLUSTER, "x-envoy-downstream-service-cluster")                              \
    X(ENVOY_DOWNSTREAM_NODE, "x-envoy-downstream-service-node")                                    \
    X(ENVOY_ORIGINAL_DST_HOST, "x-envoy-original-dst-host") X(ENVOY_HEDGE, "x-envoy-hedge-on-per-try-timeout") \
    X(ENVOY_DEGRADED, "x-envoy-degraded") X(ENVOY_RATELIMITED, "x-envoy-ratelimited")              \
    X(X_CLIENT_TRACE_ID, "x-client-trace-id") X(TRACEPARENT, "traceparent")                        \
    X(X_B3_TRACEID, "x-b3-traceid") X(B3, "b3")                                                    \
    X(GRPC_TIMEOUT, "grpc-timeout") X(GRPC_STATUS, "grpc-status") X(GRPC_MESSAGE, "grpc-message")  \
    X(LOCATION, "location") X(AUTHORIZATION, "authorization") X(ORIGIN, "origin")                  \
    X(ACCEPT_ENCODING, "accept-encoding") X(CONTENT_ENCODING, "content-encoding")                  \
    /* 64 and up: no bit, found by scanning ids */                                                 \
    X(SET_COOKIE, "set-cookie") X(ACCEPT, "accept") X(CACHE_CONTROL, "cache-control")              \
    X(ETAG, "etag") X(LAST_MODIFIED, "last-modified") X(VARY, "vary") X(RANGE, "range")            \
    X(RETRY_AFTER, "retry-after") X(WWW_AUTHENTICATE, "www-authenticate")                          \
    X(TRACESTATE, "tracestate") X(BAGGAGE, "baggage") X(X_ENVOY_PEER_METADATA, "x-envoy-peer-metadata") \
    X(X_ENVOY_PEER_METADATA_ID, "x-envoy-peer-metadata-id") X(GRPC_STATUS_DETAILS, "grpc-status-details-bin") \
    X(SEC_WEBSOCKET_KEY, "sec-websocket-key") X(CAPSULE_PROTOCOL, "capsule-protocol")

enum header_id {
#define X(id, name) HDR_##id,
    HEADER_TABLE(X)
#undef X
    HDR_OTHER
};

struct header {
    struct str name, value;
    const char *raw_name; /* as written on an HTTP/1 wire, name.n bytes; NULL when the same */
    uint16_t id;          /* enum header_id */
    bool never_index;     /* HPACK never-indexed */
};

struct headers {
    struct header *items;
    uint32_t count, cap;
    uint64_t mask;      /* bit per present id < 64 */
    size_t bytes;       /* sum of name and value lengths */
    struct arena *arena; /* where added text is copied */
};

void headers_init(struct headers *h, struct arena *arena); /* no memory yet */
enum header_id header_id_of(struct str lower_name);
struct str header_name(enum header_id id);

/* Text is borrowed: it must live as long as the list (static, or in the same arena). A false return means that the arena
 * overflowed. */
bool headers_add_ref(struct headers *h, struct str lower_name, struct str value);
bool headers_add_id_ref(struct headers *h, enum header_id id, struct str value);
/* Text is copied; names are lowered. */
bool headers_add(struct headers *h, struct str name, struct str value);
/* First value replaced (further ones removed), or added. _ref: value borrowed. */
bool headers_set(struct headers *h, struct str lower_name, struct str value);
bool headers_set_id(struct headers *h, enum header_id id, struct str value);
bool headers_set_id_ref(struct headers *h, enum header_id id, struct str value);
/* Appends ",value" to the first one with that name, or adds it. */
bool headers_append_id(struct headers *h, enum header_id id, struct str value);

static inline bool headers_has_id(const struct headers *h, enum header_id id) /* ids < 64 */
{
    return (h->mask >> id) & 1;
}
/* First with that name; NULL when absent. The pointer dies with the next change of the list. */
struct header *headers_find_id(const struct headers *h, enum header_id id);
struct header *headers_find(const struct headers *h, struct str lower_name);
struct str headers_get_id(const struct headers *h, enum header_id id); /* null str when absent */
struct str headers_get(const struct headers *h, struct str lower_name);
/* All values joined by "," (arena) as matchers see them; the single value itself when there is one. */
struct str headers_get_joined(const struct headers *h, struct str lower_name, struct arena *a);
size_t headers_remove_id(struct headers *h, enum header_id id); /* how many went */
size_t headers_remove(struct headers *h, struct str lower_name);
void headers_remove_at(struct headers *h, uint32_t index);
/* Deep copy into `arena`. */
bool headers_copy(struct headers *dst, const struct headers *src, struct arena *arena);

/* RFC 9110 section 5.6.2 / 5.5: token characters; field values without CR, LF, NUL and other controls. */
bool header_name_is_valid(struct str name);
bool header_value_is_valid(struct str value);
/* May this field stand in a trailer section? RFC 9110 section 6.5.1: not what frames or routes the
 * message, says how to read its content, or carries credentials. */
bool header_may_be_trailer(enum header_id id);
/* Does a comma list hold this token (case-insensitive)? */
bool header_list_has(struct str list, struct str lower_token);

#endif
