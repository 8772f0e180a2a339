/* SPDX-License-Identifier: Apache-2.0
 *
 * Network filters of a filter chain: any number of prologue filters, each of which lets a new
 * connection pass, delays it, or closes it (and may look at its first bytes), then one terminal
 * filter that takes the connection over whole (HTTP connection manager, tcp_proxy, echo …). So the
 * common chain costs nothing per byte.
 */
#ifndef PROXY_FILTER_NETWORK_FILTER_H
#define PROXY_FILTER_NETWORK_FILTER_H

#include "base/list.h"
#include "io/conn.h"
#include "proxy/filter/filter_words.h"
#include "proxy/stats/stats.h"
#include "proxy/stream_info.h"

struct worker;
struct active_listener;
struct filter_chain;
struct original_source;
struct downstream;
struct listener_spec;
struct server;
struct warmth;

/* What configurations are tied to when they are put to use. */
struct link_context {
    struct server *server;
    const struct listener_spec *listener; /* during the call */
    struct warmth *warm; /* proxy/warm.h: of the listener; NULL: nobody waits */
};

/* Of a prologue filter that let the connection pass and must know when it is gone; embedded in what it keeps. */
struct downstream_hook {
    struct downstream_hook *next;
    void (*on_gone)(struct downstream *d, struct downstream_hook *hook);
    /* Before it, while the terminal filter can still describe the session; NULL: doesn't matter. */
    void (*on_end)(struct downstream *d, struct downstream_hook *hook);
};

/* A downstream connection after listener filters and TLS; embedded in what the listener keeps of it. */
struct downstream {
    struct list node;                 /* the listener's on this worker */
    struct conn *conn;
    struct worker *worker;
    struct active_listener *listener; /* referenced */
    const struct filter_chain *chain;
    struct str server_name, alpn, detected_transport; /* from inspectors, else from TLS; owned by the downstream */
    uint64_t start_us, start_wall_us;
    const struct network_filter_def *terminal;
    void *terminal_state;
    uint32_t prologue_at;
    void *prologue_state;
    bool original_dst_restored;
    const struct original_source *original_source; /* upstream connections come from there (cluster.h); in its arena; NULL */
    struct filter_state filter_state; /* what filters leave for the whole connection; parent of its requests' */
    struct metadata metadata;         /* dynamic, of the connection; in its arena */
    struct str termination_details;   /* why a filter refused it, for logs; in its arena */
    struct arena *arena;              /* downstream_arena() */
    struct downstream_hook *hooks;    /* called when the connection is over */
};
/* Memory for what filters leave with the connection, at most DOWNSTREAM_ARENA_BYTES; made when it is first asked for. */
#define DOWNSTREAM_ARENA_BYTES 65536
struct arena *downstream_arena(struct downstream *d);
static inline void downstream_on_gone(struct downstream *d, struct downstream_hook *hook)
{
    hook->next = d->hooks;
    d->hooks = hook;
}
/* By terminal filters that can describe their session, when it ends and before they let go of it. */
static inline void downstream_ending(struct downstream *d)
{
    for (struct downstream_hook *next, *hook = d->hooks; hook; hook = next) {
        next = hook->next;
        if (hook->on_end)
            hook->on_end(d, hook);
    }
}
/* The terminal filter calls this once when the connection is over, in the turn in which it closes the conn (before or
 * after): listener statistics and its access log are kept here; the downstream is freed at the turn's end. */
void downstream_closed(struct downstream *d, bool local, enum conn_close why);

enum prologue { PROLOGUE_PASS, PROLOGUE_WAIT /* downstream_continue() later */, PROLOGUE_CLOSED /* it closed the conn and called downstream_closed */ };

struct network_filter_def {
    const char *name;                 /* "envoy.filters.network.tcp_proxy" */
    bool is_terminal;
    enum prologue (*on_connection)(struct downstream *d, const void *config, void **state); /* prologue */
    void (*on_abort)(struct downstream *d, void *state); /* prologue waiting, connection went */
    /* Terminal: takes d->conn (sets its handler). */
    void (*attach)(struct downstream *d, const void *config);
    /* The listener drains: finish gracefully (HTTP: connection: close, GOAWAY). */
    void (*drain)(struct downstream *d);
    void (*close)(struct downstream *d); /* at once */
    /* Terminal: what is known of the session now, borrowed until the next turn. May be NULL. */
    void (*describe)(const struct downstream *d, struct stream_info *out);
    /* Main thread, before the listener starts, idempotent: statistics scopes, and what the listener has to wait for. May be
     * NULL. */
    void (*link)(void *config, struct link_context *cx);
    /* Main thread, prologue filters, about a connection that nobody made: what is known of it. Counts and changes nothing.
     * NULL: can't say. */
    void (*explain)(const void *config, const struct stream_info *info, struct filter_words *out);
};
struct network_filter_spec {
    struct str name;
    const struct network_filter_def *def;
    const void *config;
    void (*free_config)(void *config);
    struct filter_source *dynamic; /* filter/filter_source.h: def and config come from there; NULL */
};
void downstream_continue(struct downstream *d);

#endif
