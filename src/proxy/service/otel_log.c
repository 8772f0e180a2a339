/* SPDX-License-Identifier: Apache-2.0
 *
 * OpenTelemetry log records (opentelemetry-proto, logs/v1 and common/v1), packed by hand: few fields, and trees of any
 * shape. A batch is one Export call. Writing runs on workers, the rest on the main thread.
 */
#include "proxy/service/otel_log.h"

#include "base/mem.h"
#include "proxy/trace/span.h"

/* Field numbers. */
enum { ANY_TEXT = 1, ANY_LIST = 5, ANY_MAP = 6, LIST_VALUES = 1, MAP_VALUES = 1, PAIR_KEY = 1, PAIR_VALUE = 2 };
enum { RECORD_TIME = 1, RECORD_BODY = 5, RECORD_ATTRIBUTES = 6, RECORD_TRACE_ID = 9, RECORD_SPAN_ID = 10, SCOPE_RECORDS = 2, RESOURCE_LOGS_RESOURCE = 1, RESOURCE_LOGS_SCOPE = 2,
       REQUEST_RESOURCE_LOGS = 1 };

/* Strings of proto3 are UTF-8; headers needn't be. */
static void make_text(struct strbuf *b)
{
    for (size_t i = 0; i < b->n;) {
        size_t n = str_utf8_sequence(str_make(b->p + i, b->n - i));
        if (!n)
            b->p[i] = '?';
        i += n ? n : 1;
    }
}

static void add_text(const struct otel_value *v, const struct format_context *cx, struct strbuf *out)
{
    struct strbuf text = {0};
    if (v->format)
        format_run(v->format, cx, &text);
    else
        strbuf_adds(&text, v->literal);
    make_text(&text);
    wire_bytes(out, ANY_TEXT, text.p, text.n);
    strbuf_fini(&text);
}

void otel_pairs_add(const struct otel_value *map, unsigned field, const struct format_context *cx, struct strbuf *out)
{
    struct strbuf pair = {0}, value = {0};
    for (uint32_t i = 0; i < map->child_count; i++) {
        const struct otel_value *v = &map->children[i];
        strbuf_reset(&pair);
        strbuf_reset(&value);
        otel_value_add(v, cx, &value);
        wire_bytes(&pair, PAIR_KEY, v->key.p, v->key.n);
        wire_bytes(&pair, PAIR_VALUE, value.p, value.n);
        wire_bytes(out, field, pair.p, pair.n);
    }
    strbuf_fini(&pair);
    strbuf_fini(&value);
}

void otel_value_add(const struct otel_value *v, const struct format_context *cx, struct strbuf *out)
{
    struct strbuf all = {0}, one = {0};
    switch (v->kind) {
    case OTEL_TEXT:
        add_text(v, cx, out);
        return;
    case OTEL_LIST:
        for (uint32_t i = 0; i < v->child_count; i++) {
            strbuf_reset(&one);
            otel_value_add(&v->children[i], cx, &one);
            wire_bytes(&all, LIST_VALUES, one.p, one.n);
        }
        wire_bytes(out, ANY_LIST, all.p, all.n);
        break;
    case OTEL_MAP:
        otel_pairs_add(v, MAP_VALUES, cx, &all);
        wire_bytes(out, ANY_MAP, all.p, all.n);
        break;
    }
    strbuf_fini(&all);
    strbuf_fini(&one);
}

void otel_value_fini(struct otel_value *v)
{
    format_free(&v->format);
    for (uint32_t i = 0; i < v->child_count; i++)
        otel_value_fini(&v->children[i]);
}

/* ---- records ---- */

static void add_trace(struct strbuf *record, const struct span *s)
{
    char id[16];
    span_id_bytes(s->trace_high, id);
    span_id_bytes(s->trace_low, id + 8);
    wire_bytes(record, RECORD_TRACE_ID, id, 16);
    span_id_bytes(s->id, id);
    wire_bytes(record, RECORD_SPAN_ID, id, 8);
}

static void otel_write(void *data, const struct format_context *cx)
{
    const struct otel_log *l = data;
    struct strbuf *out = log_channel_begin(l->channel);
    struct strbuf record = {0}, body = {0};
    if (!out)
        return;
    wire_fixed64(&record, RECORD_TIME, cx->info->start_wall_us * 1000);
    if (l->has_body) {
        otel_value_add(&l->body, cx, &body);
        wire_bytes(&record, RECORD_BODY, body.p, body.n);
    }
    otel_pairs_add(&l->attributes, RECORD_ATTRIBUTES, cx, &record);
    if (cx->info->span)
        add_trace(&record, cx->info->span);
    wire_bytes(out, SCOPE_RECORDS, record.p, record.n);
    strbuf_fini(&record);
    strbuf_fini(&body);
    log_channel_end(l->channel);
}

static void wrap(void *owner, bool first, struct str entries, struct strbuf *out)
{
    (void)first;
    struct strbuf logs = {0};
    struct str resource = log_channel_head(owner);
    wire_bytes(&logs, RESOURCE_LOGS_RESOURCE, resource.p, resource.n);
    wire_bytes(&logs, RESOURCE_LOGS_SCOPE, entries.p, entries.n);
    wire_bytes(out, REQUEST_RESOURCE_LOGS, logs.p, logs.n);
    strbuf_fini(&logs);
}

struct log_channel *otel_channel_new(struct str key, const struct log_channel_opts *o, struct str resource)
{
    struct log_channel_opts opts = *o;
    opts.batch.way = &batch_by_call;
    opts.batch.wrap = wrap;
    opts.batch.grpc.method = STR("/opentelemetry.proto.collector.logs.v1.LogsService/Export");
    return log_channel_new(key, &opts, resource);
}

struct otel_log *otel_log_new(void)
{
    struct otel_log *l = NEW(otel_log);
    arena_init(&l->arena, 0);
    l->attributes.kind = OTEL_MAP;
    return l;
}

void otel_log_free(struct otel_log **log)
{
    struct otel_log *l = *log;
    *log = NULL;
    if (!l)
        return;
    log_channel_unref(&l->channel);
    otel_value_fini(&l->body);
    otel_value_fini(&l->attributes);
    arena_fini(&l->arena);
    mem_free(l);
}

static void otel_free(void *data)
{
    struct otel_log *l = data;
    otel_log_free(&l);
}

static const struct access_log_ops ops = {otel_write, otel_free};

void access_log_to_otel(struct access_log *l, struct otel_log *take)
{
    l->ops = &ops;
    l->data = take;
}
