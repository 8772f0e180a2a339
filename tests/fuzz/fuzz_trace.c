/* SPDX-License-Identifier: Apache-2.0
 *
 * Trace contexts from anybody, W3C and B3 in both forms: what was read goes out in the same form and
 * reads back the same. The input's lines are traceparent or b3, then the three of x-b3-*.
 */
#include "base/arena.h"
#include "base/check.h"
#include "proxy/trace/propagation.h"
#include "proxy/trace/tracer.h"

#define FUZZ_ARENA_BYTES ((size_t)1 << 20)
#define FUZZ_TEXT_BYTES 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_lines(struct headers *h, struct str rest)
{
    static const struct str names[] = {{"x-b3-traceid", 12}, {"x-b3-spanid", 11}, {"x-b3-parentspanid", 17}, {"x-b3-sampled", 12}};
    for (size_t i = 0; i < ARRAY_LEN(names) && rest.p; i++)
        headers_add_ref(h, names[i], str_split(rest, '\n', &rest));
}

static struct span span_of(const struct trace_parent *p, enum span_format format)
{
    return (struct span){.trace_high = p->trace_high, .trace_low = p->trace_low, .id = p->id, .parent_id = p->parent_id,
                         .sampled = p->sampled, .format = format, .state = p->state};
}

static void check_w3c(struct str text, struct arena *a)
{
    struct headers h;
    struct trace_parent first, second;
    headers_init(&h, a);
    headers_add_id_ref(&h, HDR_TRACEPARENT, text);
    headers_add_ref(&h, STR("tracestate"), text);
    if (w3c_extract(&h, a, &first) != CONTEXT_FOUND)
        return;
    struct span s = span_of(&first, SPAN_W3C);
    w3c_inject(&s, true, &h);
    CHECK(w3c_extract(&h, a, &second) == CONTEXT_FOUND);
    CHECK(first.trace_high == second.trace_high && first.trace_low == second.trace_low && first.id == second.id &&
          first.sampled == second.sampled && str_eq(first.state, second.state));
}

static void check_b3(struct headers *h)
{
    struct trace_parent out;
    enum span_format format;
    enum context_result r = b3_extract(h, &out, &format);
    b3_sampled(h, false);
    CHECK(r == CONTEXT_FOUND || r == CONTEXT_NONE || r == CONTEXT_INVALID);
    CHECK(format == SPAN_B3 || format == SPAN_B3_SINGLE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct headers single, multi;
    struct str text = str_make((const char *)data, size);
    if (size > FUZZ_TEXT_BYTES)
        return 0;
    arena_init(&a, FUZZ_ARENA_BYTES);
    headers_init(&single, &a);
    headers_init(&multi, &a);
    headers_add_id_ref(&single, HDR_B3, text);
    put_lines(&multi, text);
    check_w3c(text, &a);
    check_b3(&single);
    check_b3(&multi);
    arena_fini(&a);
    return 0;
}
