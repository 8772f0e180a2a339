/* SPDX-License-Identifier: Apache-2.0
 *
 * What the push's files share.
 */
#ifndef CONTROL_PUSH_PRIV_H
#define CONTROL_PUSH_PRIV_H

#include "base/list.h"
#include "control/push/push.h"
#include "io/loop.h"

/* Istio's buckets, in seconds, for all its times here. */
#define PUSH_BUCKETS {0.01, 0.1, 0.5, 1, 3, 5, 10, 20, 30}
#define PUSH_BUCKET_COUNT 9
struct push_times { /* a histogram */
    uint64_t buckets[PUSH_BUCKET_COUNT + 1];
    uint64_t count, sum_us;
};
void push_times_add(struct push_times *t, uint64_t us);

struct push_type_counts {
    uint64_t pushes, bytes, resources, rejects;
    struct push_times answered; /* from sending to the answer */
};

/* Changes of a kind that wait for quiet. */
struct debounce {
    struct timer timer;
    struct push *push;
    unsigned kinds;
    uint64_t quiet_us;
    uint64_t first_us, since_us; /* 0: nothing waits */
    uint64_t changes;
};

struct push {
    struct loop *loop;
    struct push_opts opts;
    struct push_source *source;
    struct xds_pool *pool;
    struct list proxies;
    struct list ready;           /* proxies to be looked at */
    struct list fresh, returning; /* proxies that wait for their turn with a first push */
    struct list first;           /* proxies that have it, the one that has it longest first */
    uint32_t first_count, count;
    struct turn_task pump;
    struct debounce endpoints, full;
    struct timer trim, patience;
    struct push_type_counts types[PUSH_TYPE_COUNT];
    struct push_times convergence, debounced, waited;
    uint64_t refreshes, refused, connected_total;
    struct push_door { struct push *push; bool is_plain; } plain, secure; /* to the methods' owner */
};

enum proxy_stage {
    STAGE_NEW,     /* hasn't said who it is */
    STAGE_WAITING, /* for its turn */
    STAGE_FIRST,   /* is being given its first configuration */
    STAGE_SERVED,
};
struct push_proxy {
    struct list node;            /* push->proxies */
    struct list ready;
    struct list turn;            /* fresh, returning or first */
    struct push *push;
    struct grpc_stream *stream;
    struct xds_server *server;
    void *visitor, *client;      /* the source's */
    struct push_refusal refusal;
    enum proxy_stage stage;
    bool is_plain, is_delta, is_open;
    uint64_t connected_us, turn_us;
    uint64_t owed_since_us;      /* a change that it hasn't answered for; 0: none */
    struct deferred deferred;
};

#endif
