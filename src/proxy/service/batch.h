/* SPDX-License-Identifier: Apache-2.0
 *
 * Entries for a collector, gathered on each thread and sent in batches: by a gRPC stream, by unary gRPC calls or by HTTP
 * POST. Who has entries says how many make a batch and when there are too many; a request never waits for a collector. For
 * access logs (log_channel.h) and spans (trace/tracer.h).
 */
#ifndef PROXY_SERVICE_BATCH_H
#define PROXY_SERVICE_BATCH_H

#include "proxy/service/grpc_call.h"
#include "proxy/stats/stats.h"

/* What is counted, where the table has a row for it. */
enum batch_count { BATCH_TAKEN, BATCH_DROPPED, BATCH_SENT, BATCH_TIMER_FLUSHED, BATCH_REPORTS_SENT, BATCH_REPORTS_DROPPED,
                   BATCH_REPORTS_FAILED, BATCH_REPORTS_SKIPPED, BATCH_COUNTS };

struct batch_number { struct str key; uint64_t value; }; /* what runtime says under that key, "" none, or else the value */

struct batch_way;
extern const struct batch_way batch_by_stream, batch_by_call; /* batch_grpc.c */
extern const struct batch_way batch_by_post;                  /* batch_post.c */

struct batch_grpc {
    struct grpc_service *service;    /* NULL: by POST */
    struct str method;               /* its path; static */
    uint32_t retries;                /* of a stream or call that failed; 0 none */
    uint64_t backoff_base_ms, backoff_max_ms; /* between them */
};
struct batch_post {
    struct cluster_slot *cluster;
    struct str path, authority, content_type, user_agent;
    struct header_rules *more;       /* request_headers_to_add; NULL */
    struct batch_number timeout_ms;
    unsigned accepted_status;        /* 0: any 2xx */
};
/* What service and post point to outlives the batch, which takes the formats in it; clusters are resolved later. */
struct batch_opts {
    const struct batch_way *way;
    const char *what;                /* "log": who reads the complaints wants to know; static */
    struct str stat_prefix;          /* with the last '.'; copied */
    const struct stat_table *stats; const uint8_t *rows; /* BATCH_COUNTS of them: row of the table + 1; 0: isn't counted */
    struct batch_number flush_ms;    /* how long an entry waits for others */
    struct batch_grpc grpc;
    struct batch_post *post;         /* NULL: by gRPC */
    /* Makes a message of entries as they were added; `first`: of its stream. */
    void (*wrap)(void *owner, bool first, struct str entries, struct strbuf *out);
    void (*on_answer)(void *owner);  /* NULL; a call of this thread is over, there may be room for another */
};
struct batch;
struct batch *batch_new(const struct batch_opts *o, void *owner); /* main thread */
void batch_free(struct batch **b); /* main thread, workers stopped or never started */

/* Any thread, and of its own entries: */
struct batch_held { size_t bytes; uint32_t count; };
struct batch_held batch_held(struct batch *b); /* not sent yet */
void batch_flush(struct batch *b); /* what can't be sent stays, and the timer tries again */
/* Where to append one entry, or NULL: dropped and counted. batch_end follows. */
struct strbuf *batch_begin(struct batch *b, bool has_room);
void batch_end(struct batch *b);   /* the entry is there, and is sent by the timer at the latest */
uint64_t batch_number(const struct batch_number *n);

#endif
