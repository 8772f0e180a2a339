/* SPDX-License-Identifier: Apache-2.0
 *
 * B3: x-b3-traceid, x-b3-spanid, x-b3-parentspanid and x-b3-sampled, or all in one header, "b3: trace-span-sampled-parent"
 * (or b3: sampled alone). Who is spoken to in one form answers in it. x-b3-flags goes on as it came.
 */
#include "proxy/trace/propagation.h"

#define TRACEID STR("x-b3-traceid")
#define SPANID STR("x-b3-spanid")
#define PARENTID STR("x-b3-parentspanid")
#define SAMPLED STR("x-b3-sampled")

static bool sampled_char(char c, bool otherwise)
{
    return c == '1' || c == 'd' ? true : c == '0' ? false : otherwise;
}

bool b3_sampled(const struct headers *h, bool otherwise)
{
    if (headers_has_id(h, HDR_B3)) {
        struct str one = headers_get_id(h, HDR_B3), rest = one;
        if (one.n == 1)
            return sampled_char(one.p[0], otherwise);
        str_split(rest, '-', &rest);
        str_split(rest, '-', &rest);
        struct str flag = str_split(rest, '-', &rest);
        return flag.n == 1 ? sampled_char(flag.p[0], otherwise) : otherwise;
    }
    struct str s = headers_get(h, SAMPLED);
    return s.p ? str_eq(s, STR("1")) || str_eq(s, STR("true")) : otherwise;
}

static bool read_trace_id(struct str s, struct trace_parent *out)
{
    if (s.n == 32)
        return hex_read(str_make(s.p, 16), 16, &out->trace_high) && hex_read(str_make(s.p + 16, 16), 16, &out->trace_low);
    out->trace_high = 0;
    return s.n > 0 && hex_read(s, s.n, &out->trace_low);
}

static enum context_result read_single(struct str s, struct trace_parent *out)
{
    struct str rest = s;
    if (s.n == 1)
        return s.p[0] == '0' || s.p[0] == '1' || s.p[0] == 'd' ? CONTEXT_NONE : CONTEXT_INVALID;
    struct str trace = str_split(rest, '-', &rest), id = str_split(rest, '-', &rest);
    struct str flag = str_split(rest, '-', &rest);
    if ((trace.n != 16 && trace.n != 32) || !read_trace_id(trace, out) || !hex_read(id, 16, &out->id))
        return CONTEXT_INVALID;
    if (flag.p && (flag.n != 1 || !strchr("01d", flag.p[0])))
        return CONTEXT_INVALID;
    if (rest.p && !hex_read(rest, 16, &out->parent_id))
        return CONTEXT_INVALID;
    return CONTEXT_FOUND;
}

enum context_result b3_extract(const struct headers *h, struct trace_parent *out, enum span_format *format)
{
    *out = (struct trace_parent){0};
    *format = SPAN_B3;
    if (headers_has_id(h, HDR_B3)) {
        *format = SPAN_B3_SINGLE;
        return read_single(headers_get_id(h, HDR_B3), out);
    }
    struct str trace = headers_get(h, TRACEID), id = headers_get(h, SPANID), parent = headers_get(h, PARENTID);
    if (!trace.p || !id.p)
        return CONTEXT_NONE;
    if (!read_trace_id(trace, out) || !id.n || !hex_read(id, id.n, &out->id) || (parent.n && !hex_read(parent, parent.n, &out->parent_id)))
        return CONTEXT_INVALID;
    return CONTEXT_FOUND;
}

/* Last in the list, wherever it was: so does Envoy. */
static void put(struct headers *h, struct str name, struct str value)
{
    headers_remove(h, name);
    headers_add_ref(h, name, arena_str(h->arena, value));
}

static size_t add_part(char *text, size_t n, uint64_t id)
{
    text[n++] = '-';
    span_id_text(id, text + n);
    return n + 16;
}

static void inject_single(const struct span *s, struct headers *h)
{
    char text[TRACE_ID_TEXT_BYTES + 2 + 2 * 17];
    size_t n = span_trace_id_text(s, text);
    n = add_part(text, n, s->id);
    text[n++] = '-';
    text[n++] = s->sampled ? '1' : '0';
    if (s->parent_id)
        n = add_part(text, n, s->parent_id);
    put(h, STR("b3"), str_make(text, n));
}

void b3_inject(const struct span *s, struct headers *h)
{
    char text[TRACE_ID_TEXT_BYTES];
    if (s->format == SPAN_B3_SINGLE) {
        inject_single(s, h);
        return;
    }
    put(h, TRACEID, str_make(text, span_trace_id_text(s, text)));
    span_id_text(s->id, text);
    put(h, SPANID, str_make(text, 16));
    if (s->parent_id) {
        span_id_text(s->parent_id, text);
        put(h, PARENTID, str_make(text, 16));
    }
    put(h, SAMPLED, s->sampled ? STR("1") : STR("0"));
}
