/* SPDX-License-Identifier: Apache-2.0
 *
 * What batches and the ways to send them share.
 */
#ifndef PROXY_SERVICE_BATCH_PRIV_H
#define PROXY_SERVICE_BATCH_PRIV_H

#include "io/loop.h"
#include "proxy/service/batch.h"

struct batch_thread {
    struct batch *batch;
    struct loop *loop;
    struct strbuf entries;
    uint32_t count;
    struct timer flush;
    struct batch_call *calls;
    uint32_t call_count;
    bool left;
    uint64_t complained_us, reopen_us;
};
struct batch {
    struct batch_opts o;
    void *owner;
    struct stat_scope *stats;  /* NULL until statistics stand */
    struct batch *next;
    struct batch_thread *threads[STAT_MAX_THREADS];
};
struct batch_call {            /* a way's own begins with it: made and freed as one */
    struct batch_thread *here;
    struct batch_call *next;
    struct deferred deferred;
};

/* FAILED: no call can be had, which was said; for a while none is tried. */
enum batch_sent { BATCH_OK, BATCH_LATER, BATCH_FAILED };
struct batch_way {
    size_t call_bytes;         /* of its struct */
    enum batch_sent (*send)(struct batch_thread *t); /* all of its entries */
    bool (*start)(struct batch_call *c, struct str message); /* for batch_send_alone; false: can't be had */
    bool (*end)(struct batch_call *c); /* nothing more comes; false: there is no answer to wait for */
    void (*cancel)(struct batch_call *c); /* with all that it holds, but not the struct itself */
};
enum batch_sent batch_send_alone(struct batch_thread *t); /* each message by a call of its own */

struct batch_call *batch_call_new(struct batch_thread *t); /* zeroed, and the first of its calls */
void batch_call_drop(struct batch_call *c);
void batch_call_over(struct batch_call *c); /* dropped, and its end is told */
void batch_wrap(struct batch_thread *t, bool first, struct strbuf *out);
void batch_add(struct batch *b, enum batch_count what, uint64_t n);
void batch_complain(struct batch_thread *t, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* once a minute */

#endif
