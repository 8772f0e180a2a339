/* SPDX-License-Identifier: Apache-2.0
 *
 * Holding a body to a rate: a bucket of bytes, which many streams of many workers may draw from, and a stream's queue in
 * front of it. Used by fault (a bucket a stream) and bandwidth_limit (a bucket a configuration).
 */
#ifndef PROXY_FILTER_STREAM_RATE_H
#define PROXY_FILTER_STREAM_RATE_H

#include <stdatomic.h>

#include "proxy/filter/http_filter.h"

struct rate_bucket { /* holds one second's bytes at most; begins with one interval's */
    uint64_t bytes_per_s;
    _Atomic uint64_t empty_at_ns; /* when it was (or will be) empty; 0: not begun */
};
/* Takes up to `want` bytes' worth; how many there were. Any worker. */
uint64_t rate_bucket_take(struct rate_bucket *b, uint64_t now_ns, uint64_t interval_us, uint64_t want);

struct stream_rate {
    struct http_filter *f; /* NULL: not in use, or over */
    struct rate_bucket *bucket;
    struct timer timer;
    struct buf held;
    uint64_t interval_us, begun_us;
    bool is_response, has_end, has_trailers, paused, waited;
    /* After each portion went on; `done`: it was the last. May be NULL. */
    void (*on_moved)(struct stream_rate *s, uint64_t bytes, bool done);
    /* Whenever a portion had to wait for the bucket. May be NULL. */
    void (*on_short)(struct stream_rate *s);
};
void stream_rate_init(struct stream_rate *s, struct http_filter *f, bool is_response, struct rate_bucket *b, uint64_t interval_us);
void stream_rate_fini(struct stream_rate *s); /* idempotent; zeroed is fine */
/* All of `data`; it goes on by and by. */
enum filter_data stream_rate_data(struct stream_rate *s, struct buf *data, bool end);
enum filter_trailers stream_rate_trailers(struct stream_rate *s);

#endif
