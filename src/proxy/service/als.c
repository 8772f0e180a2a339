/* SPDX-License-Identifier: Apache-2.0
 *
 * Access logs over gRPC: channels and what a log does with an exchange. Entries are made by als_entry.c, gathered and
 * sent by log_batch.c. A stream's first message names us and the log. Writing runs on workers, the rest on the main
 * thread.
 */
#include "proxy/service/als.h"

#include "base/mem.h"

struct als_channel {
    struct als_channel *next;
    uint32_t refs;
    struct strbuf key, identifier;
    bool is_tcp;
    struct log_batch *batch;
};
static struct als_channel *channels;

struct als_channel *als_channel_find(struct str key)
{
    for (struct als_channel *c = channels; c; c = c->next)
        if (str_eq(strbuf_str(&c->key), key)) {
            c->refs++;
            return c;
        }
    return NULL;
}

/* StreamAccessLogsMessage: 1 identifier, 2 http_logs, 3 tcp_logs; both lists are field 1 of their message. */
static void wrap(void *owner, bool first, struct str entries, struct strbuf *out)
{
    const struct als_channel *c = owner;
    if (first)
        wire_bytes(out, 1, c->identifier.p, c->identifier.n);
    wire_bytes(out, c->is_tcp ? 3 : 2, entries.p, entries.n);
}

struct als_channel *als_channel_new(struct str key, const struct log_batch_opts *o, bool is_tcp, struct str packed_node, struct str log_name)
{
    struct als_channel *c = NEW(als_channel);
    struct log_batch_opts opts = *o;
    c->refs = 1;
    c->is_tcp = is_tcp;
    strbuf_adds(&c->key, key);
    if (packed_node.n)
        wire_bytes(&c->identifier, 1, packed_node.p, packed_node.n);
    wire_bytes(&c->identifier, 2, log_name.p, log_name.n);
    opts.is_stream = true;
    opts.wrap = wrap;
    opts.path = STR("/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs");
    opts.stat_prefix = STR("access_logs.grpc_access_log.");
    c->batch = log_batch_new(&opts, c);
    c->next = channels;
    channels = c;
    return c;
}

struct grpc_service *als_channel_service(struct als_channel *c)
{
    return log_batch_service(c->batch);
}

void als_channel_unref(struct als_channel **channel)
{
    struct als_channel *c = *channel;
    *channel = NULL;
    if (!c || --c->refs)
        return;
    for (struct als_channel **at = &channels; *at; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            break;
        }
    log_batch_free(&c->batch);
    strbuf_fini(&c->key);
    strbuf_fini(&c->identifier);
    mem_free(c);
}

struct als_log *als_log_new(void)
{
    struct als_log *l = NEW(als_log);
    arena_init(&l->arena, 0);
    return l;
}

void als_log_free(struct als_log **log)
{
    struct als_log *l = *log;
    *log = NULL;
    if (!l)
        return;
    als_channel_unref(&l->channel);
    custom_tags_fini(l->tags, l->tag_count);
    arena_fini(&l->arena);
    mem_free(l);
}

static void als_write(void *data, const struct format_context *cx)
{
    const struct als_log *l = data;
    struct strbuf *out = log_batch_begin(l->channel->batch);
    if (!out)
        return;
    als_entry_add(l, cx, out);
    log_batch_end(l->channel->batch);
}

static void als_free(void *data)
{
    struct als_log *l = data;
    als_log_free(&l);
}

static const struct access_log_ops ops = {als_write, als_free};

void access_log_to_als(struct access_log *l, struct als_log *take)
{
    l->ops = &ops;
    l->data = take;
}
