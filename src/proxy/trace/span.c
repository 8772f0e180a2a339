/* SPDX-License-Identifier: Apache-2.0
 *
 * Spans: tags, events and how ids are written. Bounded by SPAN_TAGS_MAX and the exchange's arena; a full arena loses tags,
 * never more. On the exchange's worker.
 */
#include "proxy/trace/span.h"

#define TAGS_AT_FIRST 24

static struct span_tag *find(struct span *s, struct str key)
{
    for (uint32_t i = 0; i < s->tag_count; i++)
        if (str_eq(s->tags[i].key, key))
            return &s->tags[i];
    return NULL;
}

static bool grow(struct span *s)
{
    uint32_t cap = s->tag_cap ? s->tag_cap * 2 : TAGS_AT_FIRST;
    if (s->tag_cap >= SPAN_TAGS_MAX)
        return false;
    struct span_tag *more = arena_alloc(s->arena, cap * sizeof *more);
    if (!more)
        return false;
    if (s->tag_count)
        memcpy(more, s->tags, s->tag_count * sizeof *more);
    s->tags = more;
    s->tag_cap = cap;
    return true;
}

void span_tag(struct span *s, struct str key, struct str value)
{
    if (!s->sampled)
        return;
    struct span_tag *t = find(s, key);
    if (t) {
        t->value = value;
        return;
    }
    if (s->tag_count == s->tag_cap && !grow(s))
        return;
    s->tags[s->tag_count++] = (struct span_tag){key, value};
}

void span_tag_copy(struct span *s, struct str key, struct str value)
{
    if (s->sampled)
        span_tag(s, key, arena_str(s->arena, value));
}

void span_tag_number(struct span *s, struct str key, uint64_t value)
{
    char digits[20];
    span_tag_copy(s, key, str_make(digits, u64_format(value, digits)));
}

void span_fail(struct span *s)
{
    span_tag(s, STR("error"), STR("true"));
}

void span_event(struct span *s, const char *name, uint64_t wall_us)
{
    if (s->sampled && s->event_count < SPAN_EVENTS_MAX)
        s->events[s->event_count++] = (struct span_event){name, wall_us};
}

void span_id_text(uint64_t id, char out[16])
{
    static const char hex[] = "0123456789abcdef";
    for (int i = 0; i < 16; i++)
        out[i] = hex[id >> (60 - 4 * i) & 15];
}

size_t span_trace_id_text(const struct span *s, char out[TRACE_ID_TEXT_BYTES])
{
    bool is_long = s->trace_high || s->format == SPAN_W3C;
    if (is_long)
        span_id_text(s->trace_high, out);
    span_id_text(s->trace_low, out + (is_long ? 16 : 0));
    return is_long ? 32 : 16;
}

void span_id_bytes(uint64_t id, char out[8])
{
    for (int i = 0; i < 8; i++)
        out[i] = (char)(id >> (56 - 8 * i));
}
