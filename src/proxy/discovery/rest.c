/* SPDX-License-Identifier: Apache-2.0
 *
 * A channel by polling: POST of a DiscoveryRequest as JSON, answered by a DiscoveryResponse as JSON (Envoy: "REST-JSON polling
 * subscriptions"). The next poll comes refresh_delay after the end of the last, and up to as much again, at random. 304 says that
 * nothing changed; whatever else isn't 200 is a failure, after which what was taken stays. Main thread.
 */
#include "base/log.h"
#include "base/mem.h"
#include "proto/json.h"
#include "proxy/cluster/upstream_call.h"
#include "proxy/discovery/discovery_priv.h"

#define HEAD_BYTES 16384
#define BODY_BYTES_MAX ((size_t)64 << 20)
#define ANSWER_BYTES_MAX ((size_t)256 << 20)

struct rest {
    struct channel *channel;
    struct upstream_call *call;
    struct timer poll;
    struct strbuf request;     /* packed; the last one, which is repeated when nothing is due */
    struct strbuf answer;
    uint64_t status;
    bool is_too_large;
};

static void poll_later(struct rest *r)
{
    struct loop *loop = discovery.server->main_loop;
    uint64_t delay = r->channel->source->refresh_ms;
    timer_set_ms(&r->poll, delay + rng_below(loop_rng(loop), delay));
}

static void fail(struct rest *r, const char *why)
{
    LOG_SELDOM(CONFIG, WARNING, "REST config update of %s failed: %s", resource_type_name(r->channel->type), why);
    channel_failed(r->channel);
}

/* ---- answers ---- */

static bool decode(struct str json, struct strbuf *packed)
{
    struct proto_arena *arena = proto_arena_new(0);
    struct err_list faults = {0};
    ProtobufCMessage *m = NULL;
    char line[ERR_PATH_BYTES + ERR_MESSAGE_BYTES + 2];
    int rc = json_decode(arena, json, proto_type_find(STR("envoy.service.discovery.v3.DiscoveryResponse")), "response", &m, &faults);
    for (size_t i = 0; i < faults.count && i < 20; i++)
        LOG(CONFIG, WARNING, "REST config: %s", err_format(&faults.items[i], line, sizeof line));
    bool is_good = rc == 0 && m && !faults.count;
    if (is_good)
        proto_pack(m, packed);
    err_list_fini(&faults);
    proto_arena_free(&arena);
    return is_good;
}

static void take(struct rest *r)
{
    struct strbuf packed = {0};
    if (!decode(strbuf_str(&r->answer), &packed) || channel_feed(r->channel, strbuf_str(&packed)) == XDS_BROKEN)
        fail(r, "the answer isn't a DiscoveryResponse");
    strbuf_fini(&packed);
}

static void on_headers(void *user, struct headers *h, bool end)
{
    struct rest *r = user;
    (void)end;
    str_to_u64(headers_get_id(h, HDR_STATUS), &r->status);
}

static void on_data(void *user, struct buf *data, bool end)
{
    struct rest *r = user;
    struct str piece;
    (void)end;
    r->is_too_large |= r->answer.n + data->len > ANSWER_BYTES_MAX;
    if (r->is_too_large)
        return;
    for (struct buf_iter it = {0}; buf_next(data, &it, &piece);)
        strbuf_adds(&r->answer, piece);
}

static void on_done(void *user, enum stream_reset why, const char *details)
{
    struct rest *r = user;
    r->call = NULL;
    if (why != STREAM_OK)
        fail(r, details && *details ? details : stream_reset_text(why));
    else if (r->is_too_large)
        fail(r, "the answer is too large");
    else if (r->status == 200)
        take(r);
    else if (r->status != 304)
        fail(r, "the answer's status isn't 200");
    strbuf_fini(&r->answer);
    poll_later(r);
}

static const struct upstream_call_handler handler = {.on_headers = on_headers, .on_data = on_data, .on_done = on_done};

/* ---- requests ---- */

static void encode(struct str packed, struct buf *out)
{
    struct proto_arena *arena = proto_arena_new(0);
    struct strbuf json = {0};
    ProtobufCMessage *m;
    if (proto_unpack(arena, proto_type_find(STR("envoy.service.discovery.v3.DiscoveryRequest")), packed, &m, NULL) == 0)
        json_encode(m, 0, &json);
    buf_append(out, json.p, json.n);
    strbuf_fini(&json);
    proto_arena_free(&arena);
}

static void make_head(struct headers *h, struct arena *a, const struct rest *r, const struct cluster *cluster, size_t body_bytes)
{
    headers_init(h, a);
    headers_add_id_ref(h, HDR_METHOD, STR("POST"));
    headers_add_id_ref(h, HDR_PATH, str_from(discovery_methods[r->channel->type].rest));
    headers_add_id_ref(h, HDR_AUTHORITY, r->channel->source->cluster);
    headers_add_id_ref(h, HDR_SCHEME, cluster_spec(cluster)->transport->tls ? STR("https") : STR("http"));
    headers_add_id_ref(h, HDR_CONTENT_TYPE, STR("application/json"));
    headers_add_id_ref(h, HDR_CONTENT_LENGTH, arena_printf(a, "%zu", body_bytes));
}

static bool post(struct rest *r)
{
    struct upstream_call_opts o = {.cluster = cluster_named(r->channel->source->cluster), .body_limit_bytes = BODY_BYTES_MAX,
                                   .timeout_ms = r->channel->source->request_timeout_ms};
    struct arena a;
    struct headers h;
    struct buf body = BUF_INIT;
    enum stream_reset why;
    if (!o.cluster)
        return false;
    arena_init(&a, HEAD_BYTES);
    encode(strbuf_str(&r->request), &body);
    make_head(&h, &a, r, o.cluster, body.len);
    r->call = upstream_call_start(&o, &h, &body, true, &handler, r, &why);
    buf_fini(&body);
    arena_fini(&a);
    return r->call != NULL;
}

static void on_poll(struct timer *t)
{
    struct rest *r = CONTAINER_OF(t, rest, poll);
    struct strbuf next = {0};
    while (xds_client_next(r->channel->client, &next)) { /* answers go with the next poll */
        strbuf_fini(&r->request);
        r->request = next;
        next = (struct strbuf){0};
    }
    strbuf_fini(&next);
    strbuf_reset(&r->answer);
    r->status = 0;
    r->is_too_large = false;
    if (post(r))
        return;
    fail(r, "no connection can be made");
    poll_later(r);
}

/* ---- its life ---- */

/* What is due goes with the next poll: a channel of its own wants the same one name for all its life. */
static void rest_pump(void *carrier)
{
    (void)carrier;
}

static void *rest_start(struct channel *c)
{
    if (!discovery_methods[c->type].rest) {
        LOG(CONFIG, ERROR, "%s isn't served over REST", resource_type_name(c->type));
        return NULL;
    }
    struct rest *r = NEW(rest);
    r->channel = c;
    timer_init(&r->poll, discovery.server->main_loop, on_poll);
    timer_set_ms(&r->poll, 0);
    xds_client_connected(c->client);
    return r;
}

static void rest_stop(void *carrier)
{
    struct rest *r = carrier;
    timer_clear(&r->poll);
    upstream_call_cancel(&r->call);
    strbuf_fini(&r->request);
    strbuf_fini(&r->answer);
    mem_free(r);
}

const struct carrier rest_carrier = {rest_start, rest_stop, rest_pump};
