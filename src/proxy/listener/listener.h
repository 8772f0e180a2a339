/* SPDX-License-Identifier: Apache-2.0
 *
 * Listeners. `listener_spec` is what the configuration says (immutable, from proxy/config). The
 * manager opens sockets on the main thread (one per worker with reuse_port, else one shared) and
 * every worker accepts on its own. A connection runs: listener filters -> filter chain match ->
 * transport socket -> network filters.
 */
#ifndef PROXY_LISTENER_LISTENER_H
#define PROXY_LISTENER_LISTENER_H

#include <stdatomic.h>

#include "base/arena.h"
#include "io/listen.h"
#include "io/tls.h"
#include "proxy/cluster/slot.h"
#include "proxy/filter/network_filter.h"
#include "proxy/match/string_match.h"
#include "proxy/server.h"

struct tls_source; /* proxy/config/tls_source.h */
struct map;
struct warmth;

/* What a message is recognised by: XXH3 of its bytes, 128 bits. */
struct content_digest { uint64_t low, high; };

/* One FilterChainMatch; counts of 0 mean "any". */
struct chain_match_spec {
    bool has_destination_port; uint16_t destination_port;
    struct cidr *prefix_ranges; uint32_t prefix_count;
    struct str *server_names; uint32_t server_name_count; /* "*.example.com" kept as written, lower case */
    struct str transport_protocol;                        /* "", "raw_buffer", "tls" */
    struct str *application_protocols; uint32_t application_protocol_count;
    struct cidr *direct_source_ranges; uint32_t direct_source_count;
    enum { SOURCE_ANY, SOURCE_SAME_IP_OR_LOOPBACK, SOURCE_EXTERNAL } source_type;
    struct cidr *source_ranges; uint32_t source_count;
    uint16_t *source_ports; uint32_t source_port_count;
};
/* Shared by the generations of a listener in which its message is the same (and what it takes from the rest of the listener);
 * everything of it is in its own arena. Its connections stay while a generation has it. */
struct filter_chain {
    struct str name;
    struct chain_match_spec match;
    struct tls_source *tls;        /* NULL: raw */
    uint64_t transport_timeout_ms; /* transport_socket_connect_timeout; 0 = none */
    struct network_filter_spec *filters; /* the last is terminal */
    uint32_t filter_count;
    struct content_digest digest;
    _Atomic uint64_t generation;   /* the newest that has it; written by the main thread as it comes into force */
    uint32_t refs;                 /* of specs; main thread */
    struct cluster_slots slots;
    struct arena arena;
};
struct chain_index; /* compiled matcher, Envoy's precedence */
struct chain_index *chain_index_new(struct filter_chain *const *chains, uint32_t count, struct err *err); /* duplicates are errors */
void chain_index_free(struct chain_index **ix);
struct chain_query {
    const struct addr *destination, *source, *direct_source;
    struct str server_name, transport_protocol; /* lower case SNI; "raw_buffer"/"tls" */
    const struct str *application_protocols; uint32_t application_protocol_count;
};
const struct filter_chain *chain_index_find(const struct chain_index *ix, const struct chain_query *q); /* NULL: none */
/* What FilterChainMatch looks at, in its order of precedence. */
#define CHAIN_CRITERION_TABLE(X)                                                                   \
    X(PORT, "destination_port") X(DESTINATION, "prefix_ranges") X(NAME, "server_names")            \
    X(TRANSPORT, "transport_protocol") X(PROTOCOL, "application_protocols")                        \
    X(DIRECT_SOURCE, "direct_source_prefix_ranges") X(SOURCE_TYPE, "source_type")                  \
    X(SOURCE, "source_prefix_ranges") X(SOURCE_PORT, "source_ports")
enum chain_criterion {
#define X(id, field) CHAIN_REFUSED_##id,
    CHAIN_CRITERION_TABLE(X)
#undef X
    CHAIN_TAKEN
};
/* The first criterion by which a chain of the index isn't the one for this connection: it asks for something else, or is
 * less specific than another that fits. */
enum chain_criterion chain_index_refusal(const struct chain_index *ix, const struct chain_query *q, const struct filter_chain *chain);
const char *chain_criterion_text(enum chain_criterion c); /* the field of FilterChainMatch */

struct listener_filter_def;
struct listener_predicate; /* listener_filter.h */
struct listener_filter_spec {
    struct str name;
    const struct listener_filter_def *def;
    const void *config;
    void (*free_config)(void *);
    const struct listener_predicate *disabled; /* filter_disabled: left out where this holds; NULL never */
    struct filter_source *dynamic; /* filter/filter_source.h: def and config come from there; NULL */
};

struct listener_spec {
    struct str name, stat_prefix;
    struct addr *addresses; uint32_t address_count; /* first + additional_addresses */
    struct listen_opts *listen;   /* one per address */
    bool bind_to_port, reuse_port, exact_balance, use_original_dst, transparent, freebind;
    uint32_t buffer_limit_bytes;  /* per_connection_buffer_limit_bytes, 1 MiB */
    uint64_t max_connections;     /* runtime envoy.resource_limits.listener.<name>.connection_limit; 0 none */
    uint32_t max_accepts_per_event;
    struct listener_filter_spec *listener_filters; uint32_t listener_filter_count;
    uint64_t listener_filters_timeout_ms; /* 15000; 0 none */
    bool continue_on_listener_filters_timeout;
    struct filter_chain **chains; uint32_t chain_count;
    struct filter_chain *default_chain;
    struct chain_index *index;
    bool drain_modify_only, is_outbound, is_inbound;
    struct content_digest frame;  /* of all but the filter chains */
    bool ignore_global_conn_limit, bypass_overload;
    struct access_log **access_logs; uint32_t access_log_count;
    struct cluster_slots slots;   /* of all but the filter chains */
    struct arena arena;
};
void listener_spec_free(struct listener_spec **spec);
/* The piece of statistics' names that means this listener: its stat_prefix, or its first address with ':' as '_'. May be
 * written to `text`. */
struct str listener_stat_name(const struct listener_spec *spec, char text[ADDR_TEXT_BYTES]);

#define LISTENER_STATS(X)                                                                          \
    X(LISTENER_CX_TOTAL, COUNTER, NONE, "downstream_cx_total", "Connections")                      \
    X(LISTENER_CX_ACTIVE, GAUGE, NONE, "downstream_cx_active", "Connections open")                 \
    X(LISTENER_CX_DESTROY, COUNTER, NONE, "downstream_cx_destroy", "Connections closed")           \
    X(LISTENER_CX_LENGTH_MS, HISTOGRAM, MS, "downstream_cx_length_ms", "Connection length")        \
    X(LISTENER_CX_OVERFLOW, COUNTER, NONE, "downstream_cx_overflow", "Refused: listener's connection limit") \
    X(LISTENER_CX_OVERLOAD_REJECT, COUNTER, NONE, "downstream_cx_overload_reject", "Refused: overload") \
    X(LISTENER_CX_TRANSPORT_TIMEOUT, COUNTER, NONE, "downstream_cx_transport_socket_connect_timeout", "TLS handshakes timed out") \
    X(LISTENER_GLOBAL_CX_OVERFLOW, COUNTER, NONE, "downstream_global_cx_overflow", "Refused: global connection limit") \
    X(LISTENER_EXTENSION_CONFIG_MISSING, COUNTER, NONE, "extension_config_missing", "")            \
    X(LISTENER_NETWORK_EXTENSION_CONFIG_MISSING, COUNTER, NONE, "network_extension_config_missing", "") \
    X(LISTENER_NO_FILTER_CHAIN, COUNTER, NONE, "no_filter_chain_match", "No filter chain matched") \
    X(LISTENER_PRE_CX_ACTIVE, GAUGE, NONE, "downstream_pre_cx_active", "In listener filters")      \
    X(LISTENER_PRE_CX_TIMEOUT, COUNTER, NONE, "downstream_pre_cx_timeout", "Listener filters timed out") \
    X(LISTENER_LF_REMOTE_CLOSE, COUNTER, NONE, "downstream_listener_filter_remote_close", "Closed by the peer in listener filters") \
    X(LISTENER_LF_ERROR, COUNTER, NONE, "downstream_listener_filter_error", "Listener filter errors") \
    X(LISTENER_CONNECTIONS_ACCEPTED_PER_EVENT, HISTOGRAM, NONE, "connections_accepted_per_socket_event", "")
enum listener_stat {
    LISTENER_STATS(STAT_ENUM_ROW)
    STAT_LISTENER_COUNT
};

struct listener_manager;
struct listener_manager *listener_manager_new(struct server *s);
void listener_manager_free(struct listener_manager **m);
/* A listener of the bootstrap: opens sockets, builds statistics; workers start at listener_manager_start. Takes the spec. */
int listener_manager_add(struct listener_manager *m, struct listener_spec *take_spec, struct err *err);
/* Before the workers run, once: what its listeners need, those of the bootstrap and those that discovery brings meanwhile,
 * is waited for by `keep_init`. */
void listener_manager_warm_up(struct listener_manager *m, struct warmth *keep_init);

/* ---- listeners that discovery brings (LDS) ---- */
struct listener_origin { struct str packed, version; }; /* of the resource; copied */
/* A new listener, or a new generation of the one with that name. It warms (its warmth) while the old one serves; then it takes
 * over the sockets of addresses that stay and the connections of filter chains that it shares, and the rest drains. A fault
 * (an address that can't be had) changes nothing. Takes the spec in any case. */
int listener_manager_set(struct listener_manager *m, struct listener_spec *take_spec, const struct listener_origin *from,
                         struct err *err);
/* That is so already, or can't be: the listener is the bootstrap's. */
bool listener_manager_has(struct listener_manager *m, struct str name, struct str packed);
/* Generations whose filter chains may be shared; at most 2. */
uint32_t listener_manager_generations(struct listener_manager *m, struct str name, const struct listener_spec *out[2]);
void listener_manager_remove(struct listener_manager *m, struct str name);      /* drains; nothing for the bootstrap's */
void listener_manager_remove_others(struct listener_manager *m, const struct map *names); /* all that aren't keys */
/* What was wrong with the last update, for /config_dump: forgotten at the next one. */
void listener_manager_begin_update(struct listener_manager *m);
void listener_manager_note_fault(struct listener_manager *m, struct str name, const struct listener_origin *from, const char *details);

enum listener_phase { LISTENER_ACTIVE, LISTENER_WARMING, LISTENER_DRAINING, LISTENER_FAULTY };
struct listener_state {
    enum listener_phase phase;
    struct str name, packed, version;
    uint64_t wall_us;              /* since when */
    const char *details;           /* FAULTY */
};
/* Dynamic listeners for /config_dump, those of one name together. */
void listener_manager_each_state(struct listener_manager *m, void (*fn)(const struct listener_state *s, void *arg), void *arg);

void listener_manager_start(struct listener_manager *m);
/* Stops accepting everywhere (sockets closed); connections drain when graceful, are left alone else. */
void listener_manager_stop(struct listener_manager *m, bool inbound_only);
void listener_manager_drain(struct listener_manager *m, bool inbound_only); /* connections finish */
/* The same, spread over `us` by chance (drain_strategy gradual); new connections are let in meanwhile, idle ones may wait. */
void listener_manager_drain_over(struct listener_manager *m, bool inbound_only, uint64_t us);
void listener_manager_close_all(struct listener_manager *m);
/* Of listeners that discovery brought, those that drain among them. */
uint64_t listener_manager_connections(const struct listener_manager *m);
/* Connection limits from the runtime, read anew; once a second. */
void listener_manager_refresh(struct listener_manager *m);
/* A worker's last duty to its listeners, on its thread: accepting ends, connections are closed. */
void listeners_leave(struct worker *w);
/* Overload, on the worker: accepting stops or goes on; every connection is visited (fn may end it). */
void listeners_accept(struct worker *w, bool on);
/* TCP listeners refuse connections in the kernel, or take them again. Main thread; may be said again and again. */
void listener_manager_refuse(struct listener_manager *m, bool on);
void listeners_each_connection(struct worker *w, void (*fn)(struct downstream *d));
/* For /listeners and /config_dump. */
void listener_manager_each(struct listener_manager *m, void (*fn)(const struct listener_spec *spec, const struct addr *bound, uint32_t bound_count, void *arg), void *arg);

/* A listener as one worker runs it. */
struct active_listener {
    struct list node;
    struct worker *worker;
    const struct listener_spec *spec;
    void *shared;                  /* the manager's reference-counted object */
    struct stat_scope *stats, *tls_stats, *tls_socket_stats;
    struct list connections;       /* struct downstream */
    bool draining;
    bool idle_may_wait;            /* when it drains: for their next request, or the end */
};
/* The listener's worker: keeps what it is configured with and counts in, beyond its last connection. */
struct active_listener *active_listener_keep(struct active_listener *a);
void active_listener_let_go(struct active_listener **a);

#endif
