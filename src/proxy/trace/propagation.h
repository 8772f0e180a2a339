/* SPDX-License-Identifier: Apache-2.0
 *
 * Trace contexts in request headers, a file a format: W3C (traceparent, tracestate) and B3 (x-b3-*, b3). Headers of other
 * formats, and baggage, go on untouched. Pure.
 */
#ifndef PROXY_TRACE_PROPAGATION_H
#define PROXY_TRACE_PROPAGATION_H

#include "proxy/trace/span.h"

enum context_result {
    CONTEXT_NONE,    /* nothing there: a new trace begins */
    CONTEXT_FOUND,
    CONTEXT_INVALID, /* there, but not readable: nothing is traced, and the headers go on as they are */
};

struct trace_parent {
    uint64_t trace_high, trace_low, id, parent_id;
    bool sampled;
    struct str state;       /* borrowed from the headers, or in `a` */
};

/* w3c.c (W3C Trace Context, section 3) */
enum context_result w3c_extract(const struct headers *h, struct arena *a, struct trace_parent *out);
void w3c_inject(const struct span *s, bool with_state, struct headers *h);

/* b3.c (github.com/openzipkin/b3-propagation). What the sender said of sampling, else `otherwise`. */
bool b3_sampled(const struct headers *h, bool otherwise);
enum context_result b3_extract(const struct headers *h, struct trace_parent *out, enum span_format *format);
void b3_inject(const struct span *s, struct headers *h);

/* Exactly `n` hexadecimal digits, 16 at most. */
bool hex_read(struct str s, size_t n, uint64_t *out);

#endif
