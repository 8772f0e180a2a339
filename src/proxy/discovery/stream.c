/* SPDX-License-Identifier: Apache-2.0
 *
 * A channel over a gRPC stream:
 *
 *     waiting --back-off--> open (asks for all) --ends--> waiting ...
 *
 * The back-off is full jitter over an interval that doubles from 500 ms to 30 s and starts over once the server has said something
 * (Envoy: "xDS REST and gRPC protocol"). Of several servers the next is tried when one ends a stream without having said anything.
 * What was taken stays in force meanwhile, for ever. Requests go out one by one while the peer takes them and the rate allows;
 * those that wait become one when they go. Main thread.
 */
#include "base/log.h"
#include "base/mem.h"
#include "proxy/discovery/discovery_priv.h"
#include "proxy/service/grpc_call.h"

#define BACKOFF_BASE_MS 500u
#define BACKOFF_MAX_MS 30000u
#define NEXT_SERVER_MS 50u         /* when there are others to try */
#define PATIENCE_MS 5000u          /* with a server that says nothing, before what was kept on disk is taken */
#define QUEUE_BYTES (1u << 20)     /* requests wait here, where they still can become fewer */

struct stream {
    struct channel *channel;
    struct grpc_call *call;        /* NULL: waiting */
    struct control_stats *stats;
    struct timer again;
    struct timer patience;         /* before the first word */
    struct timer refill;           /* the rate allows another request */
    struct strbuf request;
    uint32_t server;               /* index into the source's services */
    uint64_t interval_ms;
    bool has_heard;                /* on this stream */
    bool has_ever_heard;
    bool has_failed;               /* the last one; it was logged */
    double tokens;
    uint64_t tokens_at_us;
};

static struct loop *loop_of(void)
{
    return discovery.server->main_loop;
}

static const struct grpc_service *service_of(const struct stream *s)
{
    return &s->channel->source->services[s->server];
}

static const char *path_of(const struct channel *c)
{
    bool is_delta = channel_is_delta(c);
    if (c->is_ads)
        return is_delta ? "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
                        : "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
    return is_delta ? discovery_methods[c->type].delta : discovery_methods[c->type].sotw;
}

/* ---- the rate ---- */

static bool take_token(struct stream *s)
{
    const struct config_source *source = s->channel->source;
    uint64_t now = loop_now_us(loop_of());
    if (!source->has_rate_limit)
        return true;
    s->tokens += (double)(now - s->tokens_at_us) / 1e6 * source->rate_limit_per_s;
    s->tokens_at_us = now;
    if (s->tokens > source->rate_limit_tokens)
        s->tokens = source->rate_limit_tokens;
    if (s->tokens < 1)
        return false;
    s->tokens--;
    return true;
}

static void wait_for_token(struct stream *s)
{
    if (timer_is_set(&s->refill))
        return;
    control_stats_limited(s->stats);
    timer_set_us(&s->refill, 1 + (uint64_t)((1 - s->tokens) / s->channel->source->rate_limit_per_s * 1e6));
}

/* ---- requests ---- */

static void send_due(struct stream *s)
{
    struct xds_client *client = s->channel->client;
    while (s->call && grpc_call_queued(s->call) < QUEUE_BYTES && xds_client_is_due(client)) {
        if (!take_token(s)) {
            wait_for_token(s);
            break;
        }
        if (!xds_client_next(client, &s->request))
            break;
        if (!grpc_call_send(s->call, (const uint8_t *)s->request.p, s->request.n, false)) {
            LOG(CONFIG, ERROR, "a request of %zu bytes can't be sent", s->request.n); /* its stream is over, or ends for it */
            break;
        }
    }
    control_stats_pending(s->stats, timer_is_set(&s->refill) ? xds_client_pending(client) : 0);
}

static void on_refill(struct timer *t)
{
    send_due(CONTAINER_OF(t, stream, refill));
}

static void stream_pump(void *carrier)
{
    struct stream *s = carrier;
    if (s->call && !timer_is_set(&s->refill))
        send_due(s);
}

/* ---- the end of a stream ---- */

static uint64_t next_wait_ms(struct stream *s)
{
    uint32_t servers = s->channel->source->service_count;
    if (s->has_heard) {
        s->server = 0;
    } else {
        s->server = (s->server + 1) % servers;
        if (s->server)
            return NEXT_SERVER_MS;
    }
    uint64_t wait = rng_below(loop_rng(loop_of()), s->interval_ms);
    s->interval_ms = s->interval_ms * 2 < BACKOFF_MAX_MS ? s->interval_ms * 2 : BACKOFF_MAX_MS;
    return wait;
}

static void fail(struct stream *s, unsigned status, struct str message)
{
    const struct grpc_service *service = service_of(s);
    bool is_new = !s->has_failed;
    s->call = NULL;
    s->has_failed = true;
    timer_clear(&s->refill);
    control_stats_connected(s->stats, false);
    control_stats_pending(s->stats, 0);
    xds_client_disconnected(s->channel->client);
    channel_failed(s->channel);
    if (!s->has_ever_heard)
        channel_restore(s->channel);
    uint64_t wait = next_wait_ms(s);
    if (is_new)
        LOG(CONFIG, WARNING, "%s gRPC config stream to %.*s closed: %u, %.*s", s->channel->is_ads ? "ADS" : resource_type_name(s->channel->type),
            STR_ARG(service->cluster_name), status, STR_ARG(message));
    else
        LOG_SELDOM(CONFIG, WARNING, "gRPC config stream to %.*s still closed: %u, %.*s", STR_ARG(service->cluster_name), status,
                   STR_ARG(message));
    timer_set_ms(&s->again, wait);
}

static void on_done(void *user, unsigned status, struct str message)
{
    fail(user, status, message);
}

/* ---- responses ---- */

static void on_message(void *user, const uint8_t *bytes, size_t n)
{
    struct stream *s = user;
    s->has_heard = s->has_ever_heard = true;
    s->has_failed = false;
    timer_clear(&s->patience);
    s->interval_ms = BACKOFF_BASE_MS;
    enum xds_fed fed = channel_feed(s->channel, str_make((const char *)bytes, n));
    control_stats_identifier(s->stats, xds_client_control_plane(s->channel->client));
    if (fed != XDS_BROKEN)
        return;
    grpc_call_cancel(&s->call);
    fail(s, GRPC_INTERNAL, STR("not a message of the protocol"));
}

static void on_watermark(void *user, bool above)
{
    if (!above)
        stream_pump(user);
}

static const struct grpc_call_handler handler = {.on_message = on_message, .on_done = on_done, .on_watermark = on_watermark};

/* ---- its life ---- */

static void open_stream(struct timer *t)
{
    struct stream *s = CONTAINER_OF(t, stream, again);
    unsigned status = GRPC_UNAVAILABLE;
    s->has_heard = false;
    s->call = grpc_call_start(service_of(s), str_from(path_of(s->channel)), NULL, NULL, NULL, 0, false, &handler, s, &status);
    if (!s->call) {
        fail(s, status, STR("no connection can be made"));
        return;
    }
    control_stats_connected(s->stats, true);
    xds_client_connected(s->channel->client);
    send_due(s);
}

static void on_patience_over(struct timer *t)
{
    channel_restore(CONTAINER_OF(t, stream, patience)->channel);
}

static void *stream_start(struct channel *c)
{
    if (!path_of(c)) {
        LOG(CONFIG, ERROR, "%s isn't served by streams of its own in this form", resource_type_name(c->type));
        return NULL;
    }
    struct stream *s = NEW(stream);
    s->channel = c;
    s->stats = control_stats_new(c->stat_prefix);
    s->interval_ms = BACKOFF_BASE_MS;
    s->tokens = c->source->rate_limit_tokens;
    s->tokens_at_us = loop_now_us(loop_of());
    timer_init(&s->again, loop_of(), open_stream);
    timer_init(&s->refill, loop_of(), on_refill);
    timer_init(&s->patience, loop_of(), on_patience_over);
    timer_set_ms(&s->patience, PATIENCE_MS);
    timer_set_ms(&s->again, 0); /* clusters that are there at once are, then */
    return s;
}

static void stream_stop(void *carrier)
{
    struct stream *s = carrier;
    timer_clear(&s->again);
    timer_clear(&s->patience);
    timer_clear(&s->refill);
    grpc_call_cancel(&s->call);
    xds_client_disconnected(s->channel->client);
    control_stats_free(&s->stats);
    strbuf_fini(&s->request);
    mem_free(s);
}

const struct carrier stream_carrier = {stream_start, stream_stop, stream_pump};

bool discovery_is_connected(void)
{
    const struct channel *ads = discovery.ads;
    return ads && ads->carried && ads->carrier == &stream_carrier && ((const struct stream *)ads->carried)->call;
}
