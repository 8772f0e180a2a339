/* SPDX-License-Identifier: Apache-2.0
 *
 * "Why did my request go there?" One question (request.h) is taken through the configuration by the code that requests
 * take, and every station says what it chose, what it didn't, and why. Main thread; bounded in size and time.
 */
#ifndef PROXY_EXPLAIN_EXPLAIN_H
#define PROXY_EXPLAIN_EXPLAIN_H

#include "proxy/explain/request.h"
#include "proxy/hcm/rehearsal.h"
#include "proxy/listener/listener.h"
#include "proxy/route/explain.h"

#define EXPLAIN_ARENA_BYTES (16u << 20) /* all that one answer may take */
#define EXPLAIN_LIST_MAX 64             /* entries of a list; how many more there were is told */
#define EXPLAIN_HOSTS_MAX 256
#define EXPLAIN_NEAR_MAX 8              /* domains that nearly fit */
#define EXPLAIN_PATHS_MAX 12            /* routes refused for their path alone: few of them tell anything */

struct explain_item {
    struct str name, text;
};
struct explain_list {
    struct explain_item *items;
    uint32_t count, left_out;
};
struct explain_refused {  /* a route before the one that was taken */
    uint32_t index;
    struct str name, part, wanted, seen;
};
struct explain_filter {
    struct str name;
    const char *kind;     /* envoy.filters.http.… */
    bool is_off;
    struct str why;       /* off: who says so; on by a route although off: likewise */
    const char *levels[4]; uint32_t level_count; /* where per-route settings come from, the least specific first */
    const char *effect;   /* what it may do to the way; NULL nothing, or it is known (says) */
    struct explain_list says;  /* in its own words */
    const struct outcome *answer; unsigned status; struct str details; /* it would answer; NULL: lets pass */
};
struct explain_host {
    struct str address, hostname, health, locality, ejection;
    bool stands_by;       /* may be chosen now */
    bool is_tls;          /* what goes there, by its own transport socket */
    uint32_t weight, priority, active, connections, successes, errors;
};
struct explain_priority {
    uint32_t total, healthy, degraded, excluded, load_pct;
    bool panic;
};
struct explain_breaker {
    const char *name;
    uint32_t used, limit;
};
#define EXPLAIN_BREAKERS 5
struct explain_cluster {
    struct str name;
    const char *type, *policy, *child;
    struct explain_priority *priorities; uint32_t priority_count;
    struct explain_breaker breakers[ROUTING_PRIORITIES][EXPLAIN_BREAKERS];
    struct explain_host *hosts; uint32_t host_count, hosts_left_out;
    uint32_t total, stand_by;
    bool is_open_ended;   /* the policy or type finds endpoints by itself: nobody can say here how many there are */
    struct explain_list facts;
};

struct explain_report {
    const struct explain_request *rq;
    struct server *server;
    struct arena *arena;

    struct addr source, destination;
    struct explain_list assumed;       /* what wasn't said */
    struct explain_list listeners;     /* the others, and why not */
    const struct listener_spec *listener;
    struct str listener_why;
    struct explain_list chains;        /* likewise */
    const struct filter_chain *chain;
    struct str chain_name, chain_why;
    struct str network_filter;         /* the terminal one */
    struct explain_list prologue;      /* what filters before it say */
    struct str closed_by, closed_details; /* the one of them that would close the connection; null: none */

    const struct hcm_config *hcm;      /* NULL: no HTTP there */
    struct rehearsal rehearsal;
    struct explain_list shaped;        /* what the connection manager changed in the request */

    struct str route_config, scope;
    struct str host, domain;           /* the name asked for; the domain that it was found by */
    struct explain_list near;          /* other domains that (nearly) fit */
    const struct route_decision *decision;
    uint32_t route_index, route_count; /* of the route taken; of all candidates */
    struct explain_refused *refused; uint32_t refused_shown, refused_total;
    struct explain_list refused_parts; /* how many routes each part refused, where not all are shown */
    struct explain_list says;          /* what the route says */
    struct explain_list shares;        /* of weighted clusters */
    struct explain_list edits;         /* request headers as they go upstream, or to the answer */
    unsigned own_status;               /* direct response, redirect; 0 */
    struct str location;

    struct explain_filter *filters; uint32_t filter_count;
    struct explain_cluster *cluster;   /* NULL: none */

    unsigned status;                   /* of our own answer; 0: the upstream's */
    int grpc_status;                   /* of our own answer to gRPC, whose status is 200 then; -1 none */
    uint32_t flags;                    /* enum response_flag */
    struct str details, verdict;
    struct explain_list warnings;      /* what the answer doesn't know */
};

/* All that can be said; texts live in the arena. `rq` is settled. */
void explain_request(struct explain_report *out, struct server *s, const struct explain_request *rq, struct arena *a);
void explain_text(const struct explain_report *r, struct strbuf *out);
/* Gives back what the answer kept beyond its arena. */
void explain_end(struct explain_report *r);

#endif
