/* SPDX-License-Identifier: Apache-2.0
 *
 * Bodies at a rate. The bucket is one number, the moment at which it is empty: taking moves that
 * moment forward, time lets it fall behind, and never further than one second. So workers share a
 * bucket by one compare-and-swap and no lock. What waits is held here up to the exchange's limit;
 * past it the sender is paused. On the exchange's worker, but for the bucket.
 *
 *   data -> held -> (timer: as much as the bucket has) -> next filter … -> end | trailers
 */
#include "proxy/filter/stream_rate.h"

#include "base/check.h"
#include "io/loop.h"

#define NS_PER_S 1000000000ull

uint64_t rate_bucket_take(struct rate_bucket *b, uint64_t now_ns, uint64_t interval_us, uint64_t want)
{
    uint64_t seen = atomic_load_explicit(&b->empty_at_ns, memory_order_relaxed);
    for (;;) {
        uint64_t at = seen ? seen : now_ns - interval_us * 1000;
        if (at + NS_PER_S < now_ns)
            at = now_ns - NS_PER_S;
        uint64_t there = at < now_ns ? (uint64_t)((unsigned __int128)(now_ns - at) * b->bytes_per_s / NS_PER_S) : 0;
        uint64_t n = want < there ? want : there;
        if (!n)
            return 0;
        uint64_t cost = (uint64_t)((unsigned __int128)n * NS_PER_S / b->bytes_per_s);
        if (atomic_compare_exchange_weak_explicit(&b->empty_at_ns, &seen, at + cost, memory_order_relaxed, memory_order_relaxed))
            return n;
    }
}

static void pause_source(struct stream_rate *s, bool on)
{
    if (s->paused == on)
        return;
    s->paused = on;
    if (s->is_response)
        exchange_pause_response(s->f->x, on);
    else
        exchange_pause_request(s->f->x, on);
}

static void pass(struct stream_rate *s, struct buf *data, bool end)
{
    if (s->is_response)
        exchange_add_response_data(s->f, data, end);
    else
        exchange_add_request_data(s->f, data, end);
}

static void pass_trailers(struct stream_rate *s)
{
    s->has_trailers = false;
    if (s->is_response)
        exchange_continue_response(s->f);
    else
        exchange_continue_request(s->f);
}

/* Passing on may end the exchange: s->f is NULL then, and the memory still stands until the loop's turn is over. */
static void on_timer(struct timer *t)
{
    struct stream_rate *s = CONTAINER_OF(t, stream_rate, timer);
    uint64_t now_us = loop_now_us(exchange_loop(s->f->x));
    uint64_t n = s->held.len ? rate_bucket_take(s->bucket, now_us * 1000, s->interval_us, s->held.len) : 0;
    struct buf data = BUF_INIT;
    buf_move_n(&data, &s->held, n);
    if (s->held.len) {
        timer_set_us(&s->timer, s->interval_us);
        s->waited = true;
        if (s->on_short)
            s->on_short(s);
    }
    if (s->held.len <= exchange_body_limit_bytes(s->f->x))
        pause_source(s, false);
    bool done = s->held.len == 0 && (s->has_end || s->has_trailers);
    bool end = done && !s->has_trailers;
    if (s->on_moved)
        s->on_moved(s, n, done);
    if (n || end)
        pass(s, &data, end);
    buf_fini(&data);
    if (s->f && done && s->has_trailers)
        pass_trailers(s);
}

void stream_rate_init(struct stream_rate *s, struct http_filter *f, bool is_response, struct rate_bucket *b, uint64_t interval_us)
{
    s->f = f;
    s->bucket = b;
    s->is_response = is_response;
    s->interval_us = interval_us;
    s->begun_us = loop_now_us(exchange_loop(f->x));
    timer_init(&s->timer, exchange_loop(f->x), on_timer);
}

void stream_rate_fini(struct stream_rate *s)
{
    if (!s->f)
        return;
    s->f = NULL;
    timer_clear(&s->timer);
    buf_fini(&s->held);
}

enum filter_data stream_rate_data(struct stream_rate *s, struct buf *data, bool end)
{
    buf_move(&s->held, data);
    s->has_end |= end;
    if (!timer_is_set(&s->timer)) /* not from here: passing on inside of a filter's callback would pass it twice */
        timer_set_us(&s->timer, 0);
    if (s->held.len > exchange_body_limit_bytes(s->f->x))
        pause_source(s, true);
    return FILTER_DATA_STOP_NO_BUFFER;
}

enum filter_trailers stream_rate_trailers(struct stream_rate *s)
{
    if (!s->held.len && !timer_is_set(&s->timer))
        return FILTER_TRAILERS_CONTINUE;
    s->has_trailers = true;
    return FILTER_TRAILERS_STOP;
}
