/* SPDX-License-Identifier: Apache-2.0
 *
 * Who calls whom, from what proxies report of their clusters: an edge goes from a workload's canonical service to a host, and
 * holds what happened in the last minute. Nothing older is kept: an edge goes once its minute is empty and nothing is under way
 * on it. The clock is the caller's, so all of it is pure. Main thread.
 */
#ifndef CONTROL_GRAPH_GRAPH_H
#define CONTROL_GRAPH_GRAPH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

#define GRAPH_BUCKETS 12u
#define GRAPH_NAME_BYTES_MAX 253u /* of a host, a name, a namespace (RFC 1035, section 2.3.4, without the last dot) */

struct graph;
struct graph_opts {               /* 0: the default in brackets */
    uint64_t bucket_us;           /* [5 s] the window is GRAPH_BUCKETS of them */
    uint32_t edges_max;           /* [65536] past it what is new isn't kept, and counted */
    uint32_t source_edges_max;    /* [4096] from one source: none takes the room of the others */
    struct str domain;            /* [cluster.local] of Kubernetes' services: "reviews.bookinfo.svc.cluster.local" is shown as reviews */
};
struct graph *graph_new(const struct graph_opts *opts);
void graph_free(struct graph **g); /* after its reporters */

/* The host of a mesh's cluster name: "outbound|9080|v1|HOST", "outbound_.9080_.v1_.HOST", or "PassthroughCluster" for what goes
 * where nobody knows. False: the cluster is no edge (inbound, or the proxy's own). */
bool graph_destination(struct str cluster, struct str *host);

/* ---- reporting ---- */

struct graph_load {               /* since the last report but for `active`, which is of now */
    uint64_t issued, successes, errors, active;
    uint64_t timed; double time_ms; /* requests whose time is known, and the sum of their times */
};
/* One proxy, for as long as it reports. */
struct graph_reporter;
/* ERR_LIMIT: a name is longer than GRAPH_NAME_BYTES_MAX. */
int graph_reporter_new(struct graph *g, struct str ns, struct str name, struct graph_reporter **out, struct err *err);
void graph_reporter_free(struct graph_reporter **r); /* what it had under way ends */
/* A report is whole between the two: clusters that it doesn't tell of have nothing under way. */
void graph_report_begin(struct graph_reporter *r, uint64_t now_us);
/* `host` of graph_destination. Several of a host (its ports, its subsets, its localities) add up. */
int graph_report_add(struct graph_reporter *r, struct str host, const struct graph_load *load, struct err *err);
void graph_report_end(struct graph_reporter *r);

/* ---- what is known ---- */

/* {"window_s": 60, "dropped": 0, "edges": [{"source": ..., "destination": ..., "requests": n, "errors": n, ...}]}, by source and
 * destination. `requests` are those that began or, where that is more, those that ended; latency_ms is a mean, and isn't there
 * where nobody told of times. */
void graph_json(struct graph *g, uint64_t now_us, struct strbuf *out);

struct graph_counters { uint32_t edges, sources, reporters; uint64_t dropped; /* loads that no edge was made for */ };
struct graph_counters graph_counters(const struct graph *g);

#endif
