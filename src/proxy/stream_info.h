/* SPDX-License-Identifier: Apache-2.0
 *
 * What is known of one exchange (an HTTP request or a TCP session), gathered along its road for
 * access logs, statistics and filters. Times are monotonic microseconds relative to nothing; 0 means
 * "hasn't happened". Belongs to the exchange; text lives in its arena or longer.
 */
#ifndef PROXY_STREAM_INFO_H
#define PROXY_STREAM_INFO_H

#include "http/stream.h"
#include "io/addr.h"
#include "proxy/filter_state.h"
#include "proxy/metadata.h"
#include "proxy/outcome.h"

struct host;
struct cluster;
struct original_source;
struct route_entry;
struct span;
struct explain_record;

struct stream_info {
    uint64_t start_us, start_wall_us;
    uint64_t request_end_us;            /* last byte of the request received */
    uint64_t upstream_first_tx_us, upstream_last_tx_us;
    uint64_t upstream_first_rx_us, upstream_last_rx_us;
    uint64_t downstream_first_tx_us, downstream_last_tx_us;
    uint64_t end_us;
    uint64_t pool_ready_us, upstream_connect_us; /* duration of the pool wait; of the connect */

    uint32_t flags;                     /* enum response_flag bits */
    uint16_t status;                    /* response code; 0 none */
    uint16_t attempts;                  /* upstream request attempts */
    struct str details;                 /* %RESPONSE_CODE_DETAILS% */
    struct str termination_details;     /* %CONNECTION_TERMINATION_DETAILS% */
    struct str upstream_failure;        /* %UPSTREAM_TRANSPORT_FAILURE_REASON% */
    struct str downstream_failure;

    uint64_t bytes_received, bytes_sent;               /* bodies, downstream */
    uint64_t header_bytes_received, header_bytes_sent; /* downstream */
    uint64_t wire_bytes_received, wire_bytes_sent;
    uint64_t up_header_bytes_received, up_header_bytes_sent;
    uint64_t up_wire_bytes_received, up_wire_bytes_sent;

    enum http_protocol protocol;
    bool has_protocol;                  /* false for TCP */
    bool upstream_has_protocol;
    enum http_protocol upstream_protocol;

    struct conn *downstream;            /* NULL once gone; addresses below stay */
    uint64_t connection_id, stream_id;
    const struct addr *downstream_remote, *downstream_direct_remote, *downstream_local;
    const struct original_source *original_source; /* cluster.h; NULL */
    bool local_is_restored;             /* downstream_local is where the client meant to go */
    struct str requested_server_name;
    uint64_t connection_requests;       /* so far on this connection */

    struct host *host;                  /* chosen endpoint, referenced */
    struct cluster *cluster;            /* borrowed from the snapshot the exchange holds */
    uint64_t upstream_connection_id;
    struct addr upstream_local, upstream_remote; /* of the connection used */
    bool has_upstream_addrs;
    const void *upstream_tls;           /* struct tls_session of a living connection, or NULL */

    struct str route_name, virtual_host, virtual_cluster;
    struct str filter_chain_name;
    struct str request_id;
    struct str override_host;           /* the endpoint that a session asks for (stateful_session); "" none */
    bool override_host_strict;          /* … and no other will do */
    const struct str *upstream_alpn; uint32_t upstream_alpn_count; /* offered in TLS instead of the cluster's list; a filter's */
    bool is_health_check, is_internal;
    struct metadata metadata;           /* dynamic; in the exchange's arena */
    struct filter_state filter_state;
    const struct route_entry *route;    /* as decided last; NULL */
    struct span *span;                  /* trace/span.h; NULL: isn't traced */
    struct explain_record *record;      /* explain/record.h; NULL: the request asks for none */
    bool supposed_tls;                  /* of a rehearsed request, which has no connection: it would come over TLS, … */
    struct str supposed_principal;      /* … from a peer whose verified certificate holds this URI; "" none */
    bool is_traceable;                  /* as logs' traceable filter has it: traced because its sender forced it */
};

#endif
