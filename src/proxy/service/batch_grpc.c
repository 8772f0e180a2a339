/* SPDX-License-Identifier: Apache-2.0
 *
 * Batches over gRPC: as messages of one stream, or each by a call of its own.
 *
 *   none --send--> open --fails, retries left--> waiting --back-off--> open ...
 *                       \--ends--> none
 *
 * A stream that ends is opened again with the next batch. With retries, messages that nobody has answered yet are kept (up
 * to KEPT_BYTES_MAX) and sent again when their stream or call fails. The calling thread's.
 */
#include "proxy/service/batch_priv.h"

#include "base/rng.h"

#define KEPT_BYTES_MAX 65536

struct grpc_batch {
    struct batch_call base;
    struct grpc_call *call;    /* NULL: waiting */
    struct strbuf kept;        /* messages so far, each after its length; only with retries */
    bool keeps, above, is_first;
    uint32_t retries_left;
    uint64_t wait_ms;
    struct timer retry;
};

static bool is_stream(const struct batch_thread *t)
{
    return t->batch->o.way == &batch_by_stream;
}

static void complain(struct batch_thread *t, unsigned status, struct str message)
{
    batch_complain(t, "gRPC status %u %.*s", status, STR_ARG(message));
}

/* ---- calls ---- */

static void on_done(void *user, unsigned status, struct str message)
{
    struct grpc_batch *g = user;
    struct batch_thread *t = g->base.here;
    const struct batch_grpc *o = &t->batch->o.grpc;
    g->call = NULL;
    if (status != GRPC_OK && !(t->left && is_stream(t))) /* an ended stream has no more to say */
        complain(t, status, message);
    if (status == GRPC_OK || t->left || !g->retries_left || !g->kept.n) {
        batch_call_over(&g->base);
        return;
    }
    g->retries_left--;
    timer_set_ms(&g->retry, 1 + rng_next(loop_rng(t->loop)) % g->wait_ms); /* full jitter, as Envoy's back-off */
    g->wait_ms = g->wait_ms * 2 < o->backoff_max_ms ? g->wait_ms * 2 : o->backoff_max_ms;
}

static void on_watermark(void *user, bool above)
{
    struct grpc_batch *g = user;
    g->above = above;
}

static const struct grpc_call_handler handler = {.on_done = on_done, .on_watermark = on_watermark};

/* A stream, or a call with its message. */
static bool open_call(struct grpc_batch *g, struct str message, bool half_close)
{
    const struct batch_grpc *o = &g->base.here->batch->o.grpc;
    unsigned status;
    g->above = false;
    g->call = grpc_call_start(o->service, o->method, NULL, NULL, (const uint8_t *)message.p, message.n, half_close, &handler, g,
                              &status);
    if (!g->call)
        complain(g->base.here, status, STR("cannot be called"));
    return g->call != NULL;
}

static void keep(struct grpc_batch *g, struct str message)
{
    uint32_t n = (uint32_t)message.n;
    if (!g->keeps)
        return;
    if (g->kept.n + sizeof n + message.n > KEPT_BYTES_MAX) { /* too much to be said twice */
        g->keeps = false;
        strbuf_fini(&g->kept);
        return;
    }
    strbuf_add(&g->kept, &n, sizeof n);
    strbuf_add(&g->kept, message.p, message.n);
}

/* False when not all of it could be sent. */
static bool send_kept(struct grpc_batch *g)
{
    uint32_t n;
    for (size_t at = 0; at < g->kept.n; at += sizeof n + n) {
        memcpy(&n, g->kept.p + at, sizeof n);
        if (!grpc_call_send(g->call, (const uint8_t *)g->kept.p + at + sizeof n, n, false))
            return false;
    }
    return true;
}

/* Opens again and says what was said. */
static void on_retry(struct timer *timer)
{
    struct grpc_batch *g = CONTAINER_OF(timer, grpc_batch, retry);
    bool again = open_call(g, STR_NULL, false) && send_kept(g);
    if (!again || (!is_stream(g->base.here) && !grpc_call_send(g->call, NULL, 0, true)))
        batch_call_drop(&g->base);
}

static struct grpc_batch *prepare(struct batch_call *c)
{
    const struct batch_grpc *o = &c->here->batch->o.grpc;
    struct grpc_batch *g = CONTAINER_OF(c, grpc_batch, base);
    g->is_first = true;
    g->keeps = o->retries > 0;
    g->retries_left = o->retries;
    g->wait_ms = o->backoff_base_ms;
    timer_init(&g->retry, c->here->loop, on_retry);
    return g;
}

static void cancel(struct batch_call *c)
{
    struct grpc_batch *g = CONTAINER_OF(c, grpc_batch, base);
    timer_clear(&g->retry);
    grpc_call_cancel(&g->call);
    strbuf_fini(&g->kept);
}

/* ---- the two ways ---- */

static struct grpc_batch *stream_of(struct batch_thread *t)
{
    if (t->calls)
        return CONTAINER_OF(t->calls, grpc_batch, base);
    struct grpc_batch *g = prepare(batch_call_new(t));
    if (open_call(g, STR_NULL, false))
        return g;
    batch_call_drop(&g->base);
    return NULL;
}

static enum batch_sent send_by_stream(struct batch_thread *t)
{
    struct strbuf message = {0};
    struct grpc_batch *g = stream_of(t);
    if (!g)
        return BATCH_FAILED;
    if (!g->call || g->above)
        return BATCH_LATER;
    batch_wrap(t, g->is_first, &message);
    bool sent = grpc_call_send(g->call, (const uint8_t *)message.p, message.n, false);
    if (sent) {
        g->is_first = false;
        keep(g, strbuf_str(&message));
    }
    strbuf_fini(&message);
    return sent ? BATCH_OK : BATCH_LATER;
}

static bool start_call(struct batch_call *c, struct str message)
{
    struct grpc_batch *g = prepare(c);
    keep(g, message);
    return open_call(g, message, true);
}

static bool end(struct batch_call *c)
{
    struct grpc_batch *g = CONTAINER_OF(c, grpc_batch, base);
    if (g->call && is_stream(c->here))
        grpc_call_send(g->call, NULL, 0, true);
    return g->call != NULL;
}

const struct batch_way batch_by_stream = {sizeof(struct grpc_batch), send_by_stream, NULL, end, cancel};
const struct batch_way batch_by_call = {sizeof(struct grpc_batch), batch_send_alone, start_call, end, cancel};
