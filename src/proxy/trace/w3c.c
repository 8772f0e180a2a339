/* SPDX-License-Identifier: Apache-2.0
 *
 * W3C Trace Context: version "-" trace-id "-" parent-id "-" flags, all in hexadecimal, and tracestate, which goes on as it
 * came. Any version is read as version 00 (section 3.2.2.1, but for longer ones), and 00 is what goes out.
 */
#include "proxy/trace/propagation.h"

#define PARENT_BYTES 55

bool hex_read(struct str s, size_t n, uint64_t *out)
{
    uint64_t v = 0;
    if (s.n != n || n > 16)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = ascii_lower(s.p[i]);
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            v = v << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    *out = v;
    return true;
}

enum context_result w3c_extract(const struct headers *h, struct arena *a, struct trace_parent *out)
{
    uint64_t version, flags;
    if (!headers_has_id(h, HDR_TRACEPARENT))
        return CONTEXT_NONE;
    struct str s = headers_get_id(h, HDR_TRACEPARENT);
    *out = (struct trace_parent){0};
    if (s.n != PARENT_BYTES || s.p[2] != '-' || s.p[35] != '-' || s.p[52] != '-')
        return CONTEXT_INVALID;
    if (!hex_read(str_make(s.p, 2), 2, &version) || !hex_read(str_make(s.p + 3, 16), 16, &out->trace_high) ||
        !hex_read(str_make(s.p + 19, 16), 16, &out->trace_low) || !hex_read(str_make(s.p + 36, 16), 16, &out->id) ||
        !hex_read(str_make(s.p + 53, 2), 2, &flags))
        return CONTEXT_INVALID;
    if (!(out->trace_high | out->trace_low) || !out->id)
        return CONTEXT_INVALID;
    out->sampled = flags & 1;
    out->state = headers_get_joined(h, STR("tracestate"), a);
    return CONTEXT_FOUND;
}

void w3c_inject(const struct span *s, bool with_state, struct headers *h)
{
    char text[PARENT_BYTES] = "00-";
    span_id_text(s->trace_high, text + 3);
    span_id_text(s->trace_low, text + 19);
    text[35] = text[52] = '-';
    span_id_text(s->id, text + 36);
    text[53] = '0';
    text[54] = s->sampled ? '1' : '0';
    /* A list that is compared with Envoy's has them last, wherever they were. */
    headers_remove_id(h, HDR_TRACEPARENT);
    headers_add_id_ref(h, HDR_TRACEPARENT, arena_str(h->arena, str_make(text, sizeof text)));
    if (!with_state)
        return;
    headers_remove_id(h, HDR_TRACESTATE);
    headers_add_id_ref(h, HDR_TRACESTATE, s->state.p ? s->state : STR(""));
}
