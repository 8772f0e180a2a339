/* SPDX-License-Identifier: Apache-2.0
 *
 * Access logs over gRPC: their messages, and what a log does with an exchange. Entries are made by als_entry.c, gathered and
 * sent by log_channel.c. A stream's first message names us and the log. Writing runs on workers, the rest on the main
 * thread.
 */
#include "proxy/service/als.h"

#include "base/mem.h"

/* StreamAccessLogsMessage: 1 identifier, 2 http_logs, 3 tcp_logs; both lists are field 1 of their message. */
static void wrap(const struct log_channel *c, bool first, unsigned field, struct str entries, struct strbuf *out)
{
    struct str identifier = log_channel_head(c);
    if (first)
        wire_bytes(out, 1, identifier.p, identifier.n);
    wire_bytes(out, field, entries.p, entries.n);
}

static void wrap_http(void *owner, bool first, struct str entries, struct strbuf *out)
{
    wrap(owner, first, 2, entries, out);
}

static void wrap_tcp(void *owner, bool first, struct str entries, struct strbuf *out)
{
    wrap(owner, first, 3, entries, out);
}

struct log_channel *als_channel_new(struct str key, const struct log_channel_opts *o, bool is_tcp, struct str packed_node, struct str log_name)
{
    struct log_channel_opts opts = *o;
    struct strbuf identifier = {0};
    if (packed_node.n)
        wire_bytes(&identifier, 1, packed_node.p, packed_node.n);
    wire_bytes(&identifier, 2, log_name.p, log_name.n);
    opts.batch.way = &batch_by_stream;
    opts.batch.wrap = is_tcp ? wrap_tcp : wrap_http;
    opts.batch.grpc.method = STR("/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs");
    opts.batch.stat_prefix = STR("access_logs.grpc_access_log.");
    struct log_channel *c = log_channel_new(key, &opts, strbuf_str(&identifier));
    strbuf_fini(&identifier);
    return c;
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
    log_channel_unref(&l->channel);
    custom_tags_fini(l->tags, l->tag_count);
    arena_fini(&l->arena);
    mem_free(l);
}

static void als_write(void *data, const struct format_context *cx)
{
    const struct als_log *l = data;
    struct strbuf *out = log_channel_begin(l->channel);
    if (!out)
        return;
    als_entry_add(l, cx, out);
    log_channel_end(l->channel);
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
