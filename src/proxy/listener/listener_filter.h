/* SPDX-License-Identifier: Apache-2.0
 *
 * Listener filters: each looks at a new connection before its filter chain is chosen. A filter sees
 * conn_in() without taking bytes from it (PROXY protocol takes its header), says what it found, and
 * lets the next one look. Workers run them; specs are made by proxy/config.
 */
#ifndef PROXY_LISTENER_LISTENER_FILTER_H
#define PROXY_LISTENER_LISTENER_FILTER_H

#include "proxy/listener/listener.h"

enum inspect {
    INSPECT_DONE,  /* the next filter's turn */
    INSPECT_MORE,  /* call again when conn_in() has grown */
    INSPECT_CLOSE, /* this connection ends here; the filter has counted why */
};

/* A connection among its listener filters; gone once a chain is chosen. */
struct inspection {
    struct conn *conn;
    struct downstream
        *downstream; /* detected_transport: static text; server_name by inspection_set_name */
    struct stat_scope *stats; /* the present filter's own; NULL when it has none */
    struct str *protocols;    /* application protocols for the chain match; owned */
    uint32_t protocol_count;
    uint64_t seen; /* the present filter's to use; 0 at its first call */
};
void inspection_set_name(struct inspection *in, struct str name); /* lower case; copied */
void inspection_add_protocol(struct inspection *in, struct str name);

struct listener_filter_def {
    const char *name; /* "envoy.filters.listener.tls_inspector" */
    /* Called first with whatever has arrived (perhaps nothing), then at every growth. */
    enum inspect (*look)(struct inspection *in, const void *config);
    /* Main thread: a new reference to the scope it counts in; NULL: counts nothing. */
    struct stat_scope *(*stats)(const void *config);
};
extern const struct listener_filter_def tls_inspector_filter, http_inspector_filter,
    proxy_protocol_filter, original_dst_filter, original_src_filter;

/* ListenerFilterChainMatchPredicate: of the address that a connection goes to, as far as that is known by then. */
struct listener_predicate {
    enum { PORTS_ANY, PORTS_NOT, PORTS_ALL, PORTS_ONE, PORTS_RANGE } kind;
    int32_t start, end; /* RANGE: [start, end) */
    struct listener_predicate *children; uint32_t child_count; /* NOT: one */
};
bool listener_predicate_holds(const struct listener_predicate *p, const struct addr *local);

/* ---- their configurations (const void *config); NULL where there is nothing to say ---- */
struct tls_inspector_config {
    uint32_t max_client_hello_bytes; /* max_client_hello_size; 16 KiB */
    bool close_on_parse_error;       /* close_connection_on_client_hello_parsing_errors */
};

struct original_src_config {
    bool bind_port; /* the port too */
    int mark;       /* SO_MARK; 0 none */
};

struct proxy_protocol_config {
    struct str stat_prefix; /* "" = none: "proxy_proto." */
    bool allow_without;     /* allow_requests_without_proxy_protocol */
    bool disallow_v1, disallow_v2;
    bool keep_all_tlvs; /* pass_through_tlvs: INCLUDE_ALL */
    uint8_t *keep_tlvs; /* … INCLUDE: these types */
    uint32_t keep_tlv_count;
};

#define TLS_INSPECTOR_STATS(X)                                                                     \
    X(TLS_INSPECTOR_CLIENT_HELLO_TOO_LARGE, COUNTER, NONE, "client_hello_too_large",               \
      "ClientHellos past the limit")                                                               \
    X(TLS_INSPECTOR_TLS_FOUND, COUNTER, NONE, "tls_found", "Connections that began with TLS")      \
    X(TLS_INSPECTOR_TLS_NOT_FOUND, COUNTER, NONE, "tls_not_found", "Connections that did not")     \
    X(TLS_INSPECTOR_ALPN_FOUND, COUNTER, NONE, "alpn_found", "ClientHellos with ALPN")             \
    X(TLS_INSPECTOR_ALPN_NOT_FOUND, COUNTER, NONE, "alpn_not_found", "… without")                  \
    X(TLS_INSPECTOR_SNI_FOUND, COUNTER, NONE, "sni_found", "ClientHellos with SNI")                \
    X(TLS_INSPECTOR_SNI_NOT_FOUND, COUNTER, NONE, "sni_not_found", "… without")                    \
    X(TLS_INSPECTOR_BYTES_PROCESSED, HISTOGRAM, BYTES, "bytes_processed", "Bytes looked at")
#define HTTP_INSPECTOR_STATS(X)                                                                    \
    X(HTTP_INSPECTOR_READ_ERROR, COUNTER, NONE, "read_error", "Failures reading")                  \
    X(HTTP_INSPECTOR_HTTP10_FOUND, COUNTER, NONE, "http10_found", "HTTP/1.0 connections")          \
    X(HTTP_INSPECTOR_HTTP11_FOUND, COUNTER, NONE, "http11_found", "HTTP/1.1 connections")          \
    X(HTTP_INSPECTOR_HTTP2_FOUND, COUNTER, NONE, "http2_found", "HTTP/2 connections")              \
    X(HTTP_INSPECTOR_HTTP_NOT_FOUND, COUNTER, NONE, "http_not_found",                              \
      "Connections of something else")
#define PROXY_PROTOCOL_STATS(X)                                                                    \
    X(PROXY_PROTOCOL_NOT_FOUND_ALLOWED, COUNTER, NONE, "not_found_allowed",                        \
      "Connections without a header, let pass")                                                    \
    X(PROXY_PROTOCOL_NOT_FOUND_DISALLOWED, COUNTER, NONE, "not_found_disallowed", "… refused")     \
    X(PROXY_PROTOCOL_V1_FOUND, COUNTER, NONE, "versions.v1.found", "Version 1 headers")            \
    X(PROXY_PROTOCOL_V1_DISALLOWED, COUNTER, NONE, "versions.v1.disallowed",                       \
      "… of a disallowed version")                                                                 \
    X(PROXY_PROTOCOL_V1_ERROR, COUNTER, NONE, "versions.v1.error", "… malformed")                  \
    X(PROXY_PROTOCOL_V2_FOUND, COUNTER, NONE, "versions.v2.found", "Version 2 headers")            \
    X(PROXY_PROTOCOL_V2_DISALLOWED, COUNTER, NONE, "versions.v2.disallowed",                       \
      "… of a disallowed version")                                                                 \
    X(PROXY_PROTOCOL_V2_ERROR, COUNTER, NONE, "versions.v2.error", "… malformed")
enum tls_inspector_stat { TLS_INSPECTOR_STATS(STAT_ENUM_ROW) };
enum http_inspector_stat { HTTP_INSPECTOR_STATS(STAT_ENUM_ROW) };
enum proxy_protocol_stat { PROXY_PROTOCOL_STATS(STAT_ENUM_ROW) };

/* ---- the PROXY protocol's header, sans I/O (listener/proxy_header.c) ---- */
enum proxy_header_result {
    PROXY_HEADER_MORE,
    PROXY_HEADER_YES,
    PROXY_HEADER_NONE /* other bytes */,
    PROXY_HEADER_BAD
};
struct proxy_header {
    uint8_t version;                 /* 1, 2; set as soon as it is known, for BAD too */
    bool has_addresses;              /* false: LOCAL, UNKNOWN, AF_UNSPEC: the socket's own hold */
    struct addr source, destination; /* IP, or Unix with an owned path: addr_fini */
    size_t bytes;                    /* of the whole header, TLVs included */
    struct str tlvs;                 /* point into the bytes given; well-formed */
};
/* haproxy's proxy-protocol.txt, sections 2.1 and 2.2. MORE: call again with the same bytes and
 * more. */
#define PROXY_HEADER_MAX_BYTES (16 + 65535)
enum proxy_header_result proxy_header_parse(const void *p, size_t n, struct proxy_header *out);
/* Steps through TLVs: *at starts as the whole; false at the end. */
bool proxy_tlv_next(struct str *at, uint8_t *type, struct str *value);

#endif
