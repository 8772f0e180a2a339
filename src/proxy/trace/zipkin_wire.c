/* SPDX-License-Identifier: Apache-2.0
 *
 * Spans as Zipkin's collectors take them (openzipkin/zipkin-api: zipkin2-api.yaml, zipkin.proto). Any thread.
 */
#include <arpa/inet.h>

#include "proto/wire.h"
#include "proxy/trace/tracer.h"

/* Field numbers of zipkin.proto3. */
enum { SPAN_TRACE_ID = 1, SPAN_PARENT_ID = 2, SPAN_ID = 3, SPAN_KIND = 4, SPAN_NAME = 5, SPAN_TIMESTAMP = 6, SPAN_DURATION = 7,
       SPAN_LOCAL = 8, SPAN_ANNOTATIONS = 10, SPAN_TAGS = 11, SPAN_SHARED = 13, LIST_SPANS = 1 };
enum { KIND_CLIENT = 1, KIND_SERVER = 2, ENDPOINT_SERVICE = 1, ENDPOINT_V4 = 2, NOTE_TIMESTAMP = 1, NOTE_VALUE = 2, PAIR_KEY = 1,
       PAIR_VALUE = 2 };

static uint64_t duration_us(const struct span *s)
{
    return s->end_wall_us > s->start_wall_us ? s->end_wall_us - s->start_wall_us : 0;
}

/* "server send", "client receive": the ends of the two kinds. */
static const char *last_note(const struct span *s)
{
    return s->is_client ? "cr" : "ss";
}

static bool says_shared(const struct zipkin_options *o, const struct span *s)
{
    return o->shared_span_context && !s->is_client;
}

/* ---- JSON ---- */

static void add_field(struct strbuf *out, const char *name, struct str value)
{
    strbuf_addf(out, "\"%s\":\"", name);
    strbuf_add_json(out, value);
    strbuf_addz(out, "\",");
}

static void add_id(struct strbuf *out, const char *name, uint64_t id)
{
    char text[16];
    span_id_text(id, text);
    add_field(out, name, str_make(text, sizeof text));
}

static void add_note(struct strbuf *out, const char *value, uint64_t us)
{
    strbuf_addf(out, "{\"value\":\"%s\",\"timestamp\":%llu}", value, (unsigned long long)us);
}

static void add_notes(struct strbuf *out, const struct span *s)
{
    strbuf_addz(out, "\"annotations\":[");
    for (uint32_t i = 0; i < s->event_count; i++) {
        add_note(out, s->events[i].name, s->events[i].wall_us);
        strbuf_addc(out, ',');
    }
    add_note(out, last_note(s), s->end_wall_us);
    strbuf_addz(out, "],");
}

static void add_tags(struct strbuf *out, const struct span *s)
{
    strbuf_addz(out, "\"tags\":{");
    for (uint32_t i = 0; i < s->tag_count; i++) {
        strbuf_addz(out, i ? ",\"" : "\"");
        strbuf_add_json(out, s->tags[i].key);
        strbuf_addz(out, "\":\"");
        strbuf_add_json(out, s->tags[i].value);
        strbuf_addc(out, '"');
    }
    strbuf_addz(out, "}}");
}

/* Each with a comma before it, which the list's wrapping takes from the first. */
void zipkin_encode_json(const struct zipkin_options *o, const struct span *s, struct strbuf *out)
{
    char trace[TRACE_ID_TEXT_BYTES];
    strbuf_addz(out, ",{");
    add_field(out, "traceId", str_make(trace, span_trace_id_text(s, trace)));
    add_id(out, "id", s->id);
    if (s->parent_id)
        add_id(out, "parentId", s->parent_id);
    add_field(out, "name", s->name);
    add_field(out, "kind", s->is_client ? STR("CLIENT") : STR("SERVER"));
    strbuf_addf(out, "\"timestamp\":%llu,\"duration\":%llu,", (unsigned long long)s->start_wall_us, (unsigned long long)duration_us(s));
    strbuf_addz(out, "\"localEndpoint\":{");
    add_field(out, "serviceName", o->service_name);
    add_field(out, "ipv4", o->address);
    strbuf_addz(out, "\"port\":0},");
    if (says_shared(o, s))
        strbuf_addz(out, "\"shared\":true,");
    add_notes(out, s);
    add_tags(out, s);
}

void zipkin_wrap_json(void *owner, struct str entries, struct strbuf *out)
{
    (void)owner;
    strbuf_addc(out, '[');
    strbuf_add(out, entries.p + 1, entries.n - 1);
    strbuf_addc(out, ']');
}

/* ---- protobuf ---- */

static void pack_id(struct strbuf *out, unsigned field, uint64_t id)
{
    char bytes[8];
    span_id_bytes(id, bytes);
    wire_bytes(out, field, bytes, sizeof bytes);
}

static void pack_trace_id(struct strbuf *out, const struct span *s)
{
    char bytes[16];
    span_id_bytes(s->trace_high, bytes);
    span_id_bytes(s->trace_low, bytes + 8);
    wire_bytes(out, SPAN_TRACE_ID, s->trace_high ? bytes : bytes + 8, s->trace_high ? 16 : 8);
}

static void pack_endpoint(struct strbuf *out, const struct zipkin_options *o)
{
    struct in_addr v4;
    size_t at = wire_open(out, SPAN_LOCAL);
    wire_bytes(out, ENDPOINT_SERVICE, o->service_name.p, o->service_name.n);
    if (inet_pton(AF_INET, o->address.p, &v4) == 1)
        wire_bytes(out, ENDPOINT_V4, &v4, sizeof v4);
    wire_close(out, at);
}

static void pack_note(struct strbuf *out, const char *value, uint64_t us)
{
    size_t at = wire_open(out, SPAN_ANNOTATIONS);
    wire_fixed64(out, NOTE_TIMESTAMP, us);
    wire_bytes(out, NOTE_VALUE, value, strlen(value));
    wire_close(out, at);
}

/* Strings of proto3 are UTF-8; headers needn't be. */
static void pack_text(struct strbuf *out, unsigned field, struct str s)
{
    wire_bytes(out, field, s.p, s.n);
    for (size_t at = out->n - s.n; at < out->n;) {
        size_t n = str_utf8_sequence(str_make(out->p + at, out->n - at));
        if (!n)
            out->p[at] = '?';
        at += n ? n : 1;
    }
}

void zipkin_encode_proto(const struct zipkin_options *o, const struct span *s, struct strbuf *out)
{
    size_t span = wire_open(out, LIST_SPANS);
    pack_trace_id(out, s);
    if (s->parent_id)
        pack_id(out, SPAN_PARENT_ID, s->parent_id);
    pack_id(out, SPAN_ID, s->id);
    wire_uint(out, SPAN_KIND, s->is_client ? KIND_CLIENT : KIND_SERVER);
    pack_text(out, SPAN_NAME, s->name);
    wire_fixed64(out, SPAN_TIMESTAMP, s->start_wall_us);
    wire_uint(out, SPAN_DURATION, duration_us(s));
    pack_endpoint(out, o);
    for (uint32_t i = 0; i < s->event_count; i++)
        pack_note(out, s->events[i].name, s->events[i].wall_us);
    pack_note(out, last_note(s), s->end_wall_us);
    for (uint32_t i = 0; i < s->tag_count; i++) {
        size_t tag = wire_open(out, SPAN_TAGS);
        pack_text(out, PAIR_KEY, s->tags[i].key);
        pack_text(out, PAIR_VALUE, s->tags[i].value);
        wire_close(out, tag);
    }
    if (says_shared(o, s))
        wire_uint(out, SPAN_SHARED, 1);
    wire_close(out, span);
}

void zipkin_wrap_proto(void *owner, struct str entries, struct strbuf *out)
{
    (void)owner;
    strbuf_adds(out, entries);
}
