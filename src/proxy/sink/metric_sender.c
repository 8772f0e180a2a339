/* SPDX-License-Identifier: Apache-2.0
 *
 *   none --send--> open --collector ends it--> none          (a stream: one at a time)
 *   none --send--> calls, at most QUEUE_BYTES of them --> none (unary)
 *
 * After a failure to open, nothing is tried for REOPEN_MS. A message that finds no room is dropped: the next flush tells
 * totals anew, and a collector that stands still must not take our memory. Main thread.
 */
#include "proxy/sink/metric_sender.h"

#include "base/log.h"
#include "base/mem.h"
#include "io/loop.h"
#include "proxy/service/grpc_call.h"
#include "proxy/stats/stats.h"

#define QUEUE_BYTES ((size_t)32 << 20)
#define REOPEN_MS 1000
#define COMPLAIN_US 60000000ull

#define METRIC_STATS(X)                                                                            \
    X(METRIC_DROPPED, COUNTER, NONE, "weft_metrics_dropped", "Messages of metrics that a collector didn't take")
enum metric_stat { METRIC_STATS(STAT_ENUM_ROW) STAT_METRIC_COUNT };
static const struct stat_desc rows[] = {METRIC_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, STAT_METRIC_COUNT};

struct sending {               /* one call */
    struct list node;
    struct metric_sender *sender;
    struct grpc_call *call;
    size_t bytes;              /* of a unary call's message */
    struct deferred deferred;
};
struct metric_sender {
    struct loop *loop;
    struct grpc_service *service;
    struct str path;
    bool is_stream, has_ended; /* no more messages */
    struct list calls;
    size_t bytes;              /* in unary calls */
    struct stat_scope *stats;
    uint64_t complained_us, reopen_us;
};

static void destroy(struct deferred *d)
{
    mem_free(CONTAINER_OF(d, sending, deferred));
}

static void drop(struct sending *s)
{
    list_remove(&s->node);
    s->sender->bytes -= s->bytes;
    grpc_call_cancel(&s->call);
    loop_defer(s->sender->loop, &s->deferred, destroy);
}

static void complain(struct metric_sender *m, unsigned status, struct str message)
{
    uint64_t now = loop_now_us(m->loop);
    if (m->complained_us && now - m->complained_us < COMPLAIN_US)
        return;
    m->complained_us = now;
    LOG(STATS, WARNING, "metrics collector %.*s: gRPC status %u %.*s", STR_ARG(m->service->cluster_name), status, STR_ARG(message));
}

static void on_done(void *user, unsigned status, struct str message)
{
    struct sending *s = user;
    s->call = NULL;
    if (status != GRPC_OK)
        complain(s->sender, status, message);
    drop(s);
}

static const struct grpc_call_handler handler = {.on_done = on_done};

/* A stream that is open, or a call with its message; NULL: can't be had now. */
static struct sending *open_call(struct metric_sender *m, struct str message)
{
    unsigned status;
    struct sending *s = NEW(sending);
    s->sender = m;
    if (m->is_stream)
        s->call = grpc_call_start(m->service, m->path, NULL, NULL, NULL, 0, false, &handler, s, &status);
    else
        s->call = grpc_call_start(m->service, m->path, NULL, NULL, (const uint8_t *)message.p, message.n, true, &handler, s, &status);
    if (!s->call) {
        mem_free(s);
        complain(m, status, STR("cannot be called"));
        m->reopen_us = loop_now_us(m->loop) + REOPEN_MS * 1000;
        return NULL;
    }
    if (!m->is_stream)
        m->bytes += s->bytes = message.n;
    list_push_back(&m->calls, &s->node);
    return s;
}

static struct sending *stream_of(const struct metric_sender *m)
{
    return list_is_empty(&m->calls) ? NULL : LIST_ENTRY(m->calls.next, sending, node);
}

static bool has_waited(const struct metric_sender *m)
{
    return loop_now_us(m->loop) >= m->reopen_us;
}

static bool send_by_stream(struct metric_sender *m, struct str message)
{
    struct sending *s = stream_of(m);
    if (!s && has_waited(m))
        s = open_call(m, message);
    return s && s->call && grpc_call_send(s->call, (const uint8_t *)message.p, message.n, false);
}

static bool send_by_call(struct metric_sender *m, struct str message)
{
    return m->bytes + message.n <= QUEUE_BYTES && has_waited(m) && open_call(m, message);
}

bool metric_sender_send(struct metric_sender *m, struct str message)
{
    bool sent = m->is_stream ? send_by_stream(m, message) : send_by_call(m, message);
    if (!sent)
        stat_inc(m->stats, STAT_METRIC_DROPPED);
    return sent;
}

bool metric_sender_is_first(const struct metric_sender *m)
{
    return !m->is_stream || !stream_of(m);
}

bool metric_sender_leave(struct metric_sender *m)
{
    struct sending *s = stream_of(m);
    if (s && m->is_stream && !m->has_ended) {
        m->has_ended = true;
        grpc_call_send(s->call, NULL, 0, true);
    }
    return !list_is_empty(&m->calls);
}

struct metric_sender *metric_sender_new(struct loop *loop, struct grpc_service *keep_service, struct str path, bool is_stream)
{
    struct metric_sender *m = NEW(metric_sender);
    m->loop = loop;
    m->service = keep_service;
    m->service->queue_limit_bytes = QUEUE_BYTES;
    m->path = path;
    m->is_stream = is_stream;
    list_init(&m->calls);
    m->stats = stat_scope_get(STR("server."), &table, STR("server."), NULL, 0);
    return m;
}

void metric_sender_free(struct metric_sender **sender)
{
    struct metric_sender *m = *sender;
    *sender = NULL;
    LIST_EACH(it, safe, &m->calls)
        drop(LIST_ENTRY(it, sending, node));
    stat_scope_unref(&m->stats);
    mem_free(m);
}
