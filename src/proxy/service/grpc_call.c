/* SPDX-License-Identifier: Apache-2.0
 *
 * gRPC calls over upstream_call. Outgoing messages get their five-byte prefix; incoming ones are gathered, bounded by
 * the service's max_receive_bytes, and handed on one by one. Compressed messages are refused: no grpc-accept-encoding
 * is sent, so a peer that compresses breaks the protocol. Whatever ends the call ends as one gRPC status.
 * A unary call of a service with a retry policy keeps its request until the answer begins.
 * Thread: the caller's.
 */
#include "proxy/service/grpc_call.h"

#include "base/mem.h"
#include "proxy/log/access_log.h"
#include "proxy/outcome.h"
#include "proxy/route/header_rules.h"
#include "proxy/route/route.h"
#include "proxy/service/grpc_credentials.h"

#define FRAME_BYTES 5
#define HEAD_BYTES 16384      /* of a call's own headers */
#define MESSAGE_BYTES_MAX 1024 /* of grpc-message, decoded */

struct grpc_call {
    struct upstream_call *call;
    struct loop *loop;
    const struct grpc_call_handler *handler;
    void *user;
    struct buf in;
    uint32_t max_receive_bytes;
    bool told, in_event, has_status;
    unsigned status;
    char message[MESSAGE_BYTES_MAX];
    size_t message_bytes;
    struct retrying *again;   /* NULL: is not retried */
    struct deferred deferred;
};

/* What it takes to send a call once more. */
struct retrying {
    struct grpc_call *owner;
    const struct grpc_service *service;
    struct arena arena;
    struct headers head;
    struct buf body;
    uint32_t left;
    uint64_t wait_ms, deadline_us; /* 0: none */
    struct timer timer;
};

static unsigned status_of_reset(enum stream_reset why)
{
    switch (why) {
    case STREAM_TIMEOUT:
        return GRPC_DEADLINE_EXCEEDED;
    case STREAM_PROTOCOL_ERROR:
        return GRPC_INTERNAL;
    default:
        return GRPC_UNAVAILABLE;
    }
}

/* ---- the end ---- */

static void destroy(struct deferred *d)
{
    struct grpc_call *c = CONTAINER_OF(d, grpc_call, deferred);
    if (c->again) {
        buf_fini(&c->again->body);
        arena_fini(&c->again->arena);
        mem_free(c->again);
    }
    buf_fini(&c->in);
    mem_free(c);
}

static void stop(struct grpc_call *c)
{
    c->told = true;
    if (c->again)
        timer_clear(&c->again->timer);
    upstream_call_cancel(&c->call);
    loop_defer(c->loop, &c->deferred, destroy);
}

static void finish(struct grpc_call *c, unsigned status, struct str message)
{
    if (c->told)
        return;
    stop(c);
    if (c->handler->on_done)
        c->handler->on_done(c->user, status, message);
}

/* ---- once more ---- */

static uint32_t retry_bits_of_http(unsigned status)
{
    return (status >= 500 ? RETRY_ON_5XX : 0) | (status >= 502 && status <= 504 ? RETRY_ON_GATEWAY_ERROR : 0);
}

static uint32_t retry_bits_of_grpc(unsigned status)
{
    switch (status) {
    case GRPC_CANCELLED:
        return RETRY_ON_GRPC_CANCELLED;
    case GRPC_DEADLINE_EXCEEDED:
        return RETRY_ON_GRPC_DEADLINE_EXCEEDED;
    case GRPC_RESOURCE_EXHAUSTED:
        return RETRY_ON_GRPC_RESOURCE_EXHAUSTED;
    case GRPC_INTERNAL:
        return RETRY_ON_GRPC_INTERNAL;
    case GRPC_UNAVAILABLE:
        return RETRY_ON_GRPC_UNAVAILABLE;
    default:
        return 0;
    }
}

static uint32_t retry_bits_of_reset(enum stream_reset why)
{
    uint32_t any = RETRY_ON_RESET | RETRY_ON_5XX | RETRY_ON_GATEWAY_ERROR;
    switch (why) {
    case STREAM_CONNECT_FAILED:
    case STREAM_CONNECT_TIMEOUT:
        return any | RETRY_ON_CONNECT_FAILURE | RETRY_ON_RESET_BEFORE_REQUEST;
    case STREAM_REMOTE_REFUSED:
        return any | RETRY_ON_REFUSED_STREAM;
    case STREAM_TIMEOUT: /* of the whole call */
    case STREAM_OVERFLOW:
        return 0;
    default:
        return any;
    }
}

static void on_again(struct timer *t);

/* True: the call will be made once more, after a back-off (full jitter, as Envoy's). */
static bool once_more(struct grpc_call *c, uint32_t bits)
{
    struct retrying *r = c->again;
    uint64_t now = loop_now_us(c->loop);
    if (!r || !r->left || !(r->service->retry_on & bits) || (r->deadline_us && now >= r->deadline_us))
        return false;
    r->left--;
    upstream_call_cancel(&c->call);
    c->has_status = false;
    timer_set_ms(&r->timer, 1 + rng_next(loop_rng(c->loop)) % r->wait_ms);
    r->wait_ms = r->wait_ms * 2 < r->service->backoff_max_ms ? r->wait_ms * 2 : r->service->backoff_max_ms;
    return true;
}

/* ---- what is said of the end ---- */

static int hex(char c)
{
    c = ascii_lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* grpc-message is percent-encoded; what isn't right stands as it is. */
static size_t decode_message(struct str s, char *out, size_t room)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n && n < room; i++) {
        int high = s.p[i] == '%' && i + 2 < s.n ? hex(s.p[i + 1]) : -1;
        int low = high >= 0 ? hex(s.p[i + 2]) : -1;
        out[n++] = low >= 0 ? (char)(high << 4 | low) : s.p[i];
        i += low >= 0 ? 2 : 0;
    }
    return n;
}

static void take_status(struct grpc_call *c, const struct headers *h)
{
    struct str text = headers_get_id(h, HDR_GRPC_STATUS);
    uint64_t status = GRPC_UNKNOWN;
    if (!text.p)
        return;
    if (!str_to_u64(text, &status) || status > 16)
        status = GRPC_UNKNOWN;
    c->has_status = true;
    c->status = (unsigned)status;
    c->message_bytes = decode_message(headers_get_id(h, HDR_GRPC_MESSAGE), c->message, sizeof c->message);
}

static void finish_as_told(struct grpc_call *c)
{
    if (c->in.len)
        finish(c, GRPC_INTERNAL, STR("message cut short"));
    else if (!c->has_status)
        finish(c, GRPC_UNKNOWN, STR("no grpc-status"));
    else
        finish(c, c->status, str_make(c->message, c->message_bytes));
}

/* ---- receiving ---- */

static void on_headers(void *user, struct headers *h, bool end)
{
    struct grpc_call *c = user;
    uint64_t status = 0;
    str_to_u64(headers_get_id(h, HDR_STATUS), &status);
    if (end)
        take_status(c, h);
    uint32_t bits = end && c->has_status ? retry_bits_of_grpc(c->status) : retry_bits_of_http((unsigned)status);
    if (once_more(c, bits))
        return;
    if (end && c->has_status)
        finish_as_told(c);
    else if (status != 200)
        finish(c, (unsigned)grpc_status_of_http((unsigned)status), STR_NULL);
}

/* False: the call is over. */
static bool take_one(struct grpc_call *c)
{
    uint8_t head[FRAME_BYTES];
    buf_copy_out(&c->in, 0, head, sizeof head);
    uint32_t n = (uint32_t)head[1] << 24 | (uint32_t)head[2] << 16 | (uint32_t)head[3] << 8 | head[4];
    if (head[0]) {
        finish(c, GRPC_INTERNAL, STR("compressed message"));
        return false;
    }
    if (n > c->max_receive_bytes) {
        finish(c, GRPC_RESOURCE_EXHAUSTED, STR("message is larger than max_receive_message_length"));
        return false;
    }
    if (c->in.len < FRAME_BYTES + (size_t)n)
        return false;
    buf_drain(&c->in, FRAME_BYTES);
    if (c->handler->on_message)
        c->handler->on_message(c->user, n ? buf_pullup(&c->in, n) : (const uint8_t *)"", n);
    buf_drain(&c->in, c->told ? 0 : n);
    return !c->told;
}

static void on_data(void *user, struct buf *data, bool end)
{
    struct grpc_call *c = user;
    if (!c->call) /* given up for another attempt */
        return;
    buf_move(&c->in, data);
    while (!c->told && c->in.len >= FRAME_BYTES && take_one(c))
        ;
    if (end && !c->told)
        finish_as_told(c);
}

static void on_trailers(void *user, struct headers *h)
{
    struct grpc_call *c = user;
    take_status(c, h);
    finish_as_told(c);
}

static void on_call_done(void *user, enum stream_reset why, const char *details)
{
    struct grpc_call *c = user;
    c->call = NULL;
    if (c->told || (why != STREAM_OK && !c->in.len && once_more(c, retry_bits_of_reset(why))))
        return;
    if (why == STREAM_OK)
        finish_as_told(c);
    else
        finish(c, status_of_reset(why), str_from(details && *details ? details : stream_reset_text(why)));
}

static void on_watermark(void *user, bool above)
{
    struct grpc_call *c = user;
    if (c->handler->on_watermark)
        c->handler->on_watermark(c->user, above);
}

static const struct upstream_call_handler call_handler = {on_headers, on_data, on_trailers, on_call_done, on_watermark};

/* ---- sending ---- */

static void frame(struct buf *out, const uint8_t *message, size_t n)
{
    const uint8_t head[FRAME_BYTES] = {0, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    buf_append(out, head, sizeof head);
    buf_append(out, message, n);
}

/* TimeoutValue has at most eight digits. */
static void add_timeout(struct headers *h, uint64_t ms)
{
    struct str text = ms <= 99999999 ? arena_printf(h->arena, "%llum", (unsigned long long)ms)
                                     : arena_printf(h->arena, "%lluS", (unsigned long long)(ms / 1000 > 99999999 ? 99999999 : ms / 1000));
    headers_add_id_ref(h, HDR_GRPC_TIMEOUT, text);
}

static void add_metadata(struct headers *h, const struct grpc_service *s, const struct format_context *cx)
{
    static const struct format_context nothing;
    struct strbuf value = {0};
    for (uint32_t i = 0; i < s->metadata_count; i++) {
        const struct header_mutation *m = &s->metadata[i];
        strbuf_reset(&value);
        format_run(m->value, cx ? cx : &nothing, &value);
        if (value.n && header_value_is_valid(strbuf_str(&value)))
            headers_set(h, m->name, strbuf_str(&value));
    }
    strbuf_fini(&value);
}

static void make_head(struct headers *h, const struct grpc_service *s, struct str path, const struct headers *more,
                      const struct format_context *cx)
{
    headers_add_id_ref(h, HDR_METHOD, STR("POST"));
    headers_add_id_ref(h, HDR_PATH, path);
    headers_add_id_ref(h, HDR_AUTHORITY, s->authority.n ? s->authority : s->cluster_name);
    headers_add_id_ref(h, HDR_SCHEME, cluster_spec(cluster_slot_now(s->cluster))->transport->tls ? STR("https") : STR("http"));
    headers_add_id_ref(h, HDR_TE, STR("trailers"));
    headers_add_id_ref(h, HDR_CONTENT_TYPE, STR("application/grpc"));
    if (s->timeout_ms)
        add_timeout(h, s->timeout_ms);
    if (s->timeout_ms)
        headers_add_id_ref(h, HDR_ENVOY_EXPECTED_TIMEOUT, arena_printf(h->arena, "%llu", (unsigned long long)s->timeout_ms));
    if (!s->skip_envoy_headers)
        headers_add_id_ref(h, HDR_ENVOY_INTERNAL, STR("true"));
    add_metadata(h, s, cx);
    grpc_credentials_add(s->cluster_name, h);
    for (uint32_t i = 0; more && i < more->count; i++)
        headers_set(h, more->items[i].name, more->items[i].value);
}

/* Keeps the request of a unary call for as often as its service may be asked again. */
static void prepare_retries(struct grpc_call *c, const struct grpc_service *s, const struct headers *h, const struct buf *body)
{
    struct retrying *r = c->again = NEW(retrying);
    r->owner = c;
    r->service = s;
    r->left = s->retries;
    r->wait_ms = s->backoff_base_ms;
    r->deadline_us = s->timeout_ms ? loop_now_us(c->loop) + s->timeout_ms * 1000 : 0;
    arena_init(&r->arena, HEAD_BYTES);
    headers_init(&r->head, &r->arena);
    headers_copy(&r->head, h, &r->arena);
    buf_share(&r->body, body, body->len);
    timer_init(&r->timer, c->loop, on_again);
}

static void on_again(struct timer *t)
{
    struct retrying *r = CONTAINER_OF(t, retrying, timer);
    struct grpc_call *c = r->owner;
    uint64_t now = loop_now_us(c->loop);
    struct upstream_call_opts o = {.cluster = cluster_slot_now(r->service->cluster), .protocol = HTTP_2};
    struct buf body = BUF_INIT;
    enum stream_reset why = STREAM_TIMEOUT;
    if (r->deadline_us)
        o.timeout_ms = r->deadline_us > now ? (r->deadline_us - now) / 1000 + 1 : 1;
    if (!o.cluster) { /* gone meanwhile */
        finish(c, GRPC_UNAVAILABLE, STR("the cluster is gone"));
        return;
    }
    buf_share(&body, &r->body, r->body.len);
    c->call = upstream_call_start(&o, &r->head, &body, true, &call_handler, c, &why);
    buf_fini(&body);
    if (!c->call)
        finish(c, status_of_reset(why), str_from(stream_reset_text(why)));
}

struct grpc_call *grpc_call_start(const struct grpc_service *s, struct str path, const struct headers *more,
                                  const struct format_context *cx, const uint8_t *message, size_t n, bool half_close,
                                  const struct grpc_call_handler *handler, void *user, unsigned *status)
{
    *status = GRPC_UNAVAILABLE;
    struct cluster *cluster = cluster_slot_now(s->cluster);
    if (!cluster)
        return NULL;
    struct arena a;
    struct headers h;
    struct buf body = BUF_INIT, kept = BUF_INIT;
    enum stream_reset why;
    bool may_retry = s->retries && message && half_close;
    struct upstream_call_opts o = {.cluster = cluster, .timeout_ms = s->timeout_ms, .protocol = HTTP_2,
                                   .body_limit_bytes = s->queue_limit_bytes};
    struct grpc_call *c = NEW(grpc_call);
    c->handler = handler;
    c->user = user;
    c->max_receive_bytes = s->max_receive_bytes;
    arena_init(&a, HEAD_BYTES);
    headers_init(&h, &a);
    make_head(&h, s, path, more, cx);
    if (message)
        frame(&body, message, n);
    if (may_retry)
        buf_share(&kept, &body, body.len);
    if (a.overflowed)
        *status = GRPC_RESOURCE_EXHAUSTED;
    else
        c->call = upstream_call_start(&o, &h, &body, half_close, &call_handler, c, &why);
    if (c->call) {
        c->loop = upstream_call_loop(c->call);
        if (may_retry)
            prepare_retries(c, s, &h, &kept);
    }
    buf_fini(&kept);
    buf_fini(&body);
    arena_fini(&a);
    if (c->call)
        return c;
    mem_free(c);
    return NULL;
}

bool grpc_call_send(struct grpc_call *c, const uint8_t *message, size_t n, bool half_close)
{
    struct buf body = BUF_INIT;
    if (c->told || !c->call || (message && !upstream_call_has_room(c->call, n + FRAME_BYTES)))
        return false;
    if (message)
        frame(&body, message, n);
    bool sent = upstream_call_send(c->call, &body, half_close);
    buf_fini(&body);
    return sent;
}

size_t grpc_call_queued(const struct grpc_call *c)
{
    return c->call ? upstream_call_queued(c->call) : 0;
}

struct host *grpc_call_host(const struct grpc_call *c)
{
    return c->call ? upstream_call_host(c->call) : NULL;
}

void grpc_call_cancel(struct grpc_call **call)
{
    struct grpc_call *c = *call;
    *call = NULL;
    if (c && !c->told)
        stop(c);
}

void grpc_service_fini(struct grpc_service *s)
{
    for (uint32_t i = 0; i < s->metadata_count; i++)
        format_free(&s->metadata[i].value);
    s->metadata_count = 0;
}
