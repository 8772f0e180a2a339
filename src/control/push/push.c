/* SPDX-License-Identifier: Apache-2.0
 *
 * Proxies from their first request to their last. What has something to be sent stands in `ready`, and some of those are looked at in
 * each turn of the loop, so that a push to thousands leaves room for requests and answers between. A proxy:
 *
 *     new --node--> waiting --a turn is free--> first --has its listeners, or long enough--> served
 *
 * Invariants: a response is made only where the stream has room for it (grpc_stream_can_write), from the state of that moment; a
 * proxy that waits for its turn is heard but not answered. Main thread.
 */
#include "control/push/push_priv.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"

#define PROXIES_A_TURN 64
#define TURN_MAX_US 2000000         /* a slow proxy gives its turn up, and is served all the same */
#define TRIM_MS 10000
#define TRIM_UNUSED_US 30000000

/* Make before break: what names clusters comes after them and their endpoints, and they go after what named them. */
#define CLUSTERS (1u << PUSH_CDS | 1u << PUSH_EDS)
#define NAMES_CLUSTERS (1u << PUSH_LDS | 1u << PUSH_RDS | 1u << PUSH_VHDS)
#define REMOVES_AFTER(t)                                                                           \
    ((t) == PUSH_CDS ? NAMES_CLUSTERS : (t) == PUSH_EDS ? NAMES_CLUSTERS | 1u << PUSH_CDS : (t) == PUSH_RDS ? 1u << PUSH_LDS : 0)
#define SENT_AFTER(t) (1u << (t) & NAMES_CLUSTERS ? CLUSTERS : 0)

static const struct xds_served_type served_types[PUSH_TYPE_COUNT] = {
#define X(id, text, name, whole, named, below, echo) {name, whole, named, below, echo, REMOVES_AFTER(PUSH_##id), SENT_AFTER(PUSH_##id)},
    PUSH_TYPE_TABLE(X)
#undef X
};

const char *push_type_text(enum push_type t)
{
    static const char *const texts[PUSH_TYPE_COUNT] = {
#define X(id, text, name, whole, named, below, echo) text,
        PUSH_TYPE_TABLE(X)
#undef X
    };
    return texts[t];
}

const char *push_type_name(enum push_type t)
{
    return served_types[t].name;
}

/* ---- sending ---- */

static void set_ready(struct push_proxy *x)
{
    if (list_is_empty(&x->ready))
        list_push_back(&x->push->ready, &x->ready);
    loop_at_turn_end(x->push->loop, &x->push->pump);
}

static void note_sent(struct push *p, const struct xds_sent *sent)
{
    struct push_type_counts *c = &p->types[sent->type];
    c->pushes++;
    c->bytes += sent->bytes;
    c->resources += sent->resources;
}

/* Everything that is due has been answered. */
static void note_settled(struct push_proxy *x)
{
    if (!x->owed_since_us || !xds_server_is_settled(x->server))
        return;
    push_times_add(&x->push->convergence, loop_now_us(x->push->loop) - x->owed_since_us);
    x->owed_since_us = 0;
}

static void send_due(struct push_proxy *x)
{
    struct buf message = BUF_INIT;
    struct xds_sent sent;
    if (x->stage < STAGE_FIRST)
        return;
    while (grpc_stream_can_write(x->stream) && xds_server_next(x->server, loop_now_us(x->push->loop), &message, &sent)) {
        note_sent(x->push, &sent);
        grpc_stream_send(x->stream, &message);
    }
    note_settled(x);
}

static void pump(struct turn_task *t)
{
    struct push *p = CONTAINER_OF(t, push, pump);
    struct list *node;
    for (int i = 0; i < PROXIES_A_TURN && (node = list_pop_front(&p->ready)); i++)
        send_due(LIST_ENTRY(node, push_proxy, ready));
    if (!list_is_empty(&p->ready))
        loop_at_next_turn(p->loop, &p->pump);
}

/* ---- turns ---- */

static void give_turns(struct push *p)
{
    struct list *node;
    while (p->first_count < p->opts.first_pushes_max && ((node = list_pop_front(&p->fresh)) || (node = list_pop_front(&p->returning)))) {
        struct push_proxy *x = LIST_ENTRY(node, push_proxy, turn);
        x->stage = STAGE_FIRST;
        push_times_add(&p->waited, loop_now_us(p->loop) - x->turn_us);
        x->turn_us = loop_now_us(p->loop);
        list_push_back(&p->first, &x->turn);
        p->first_count++;
        set_ready(x);
    }
    struct list *oldest = list_first(&p->first);
    if (oldest && (!list_is_empty(&p->fresh) || !list_is_empty(&p->returning)) && !timer_is_set(&p->patience))
        timer_set_us(&p->patience, TURN_MAX_US);
}

static void leave_turn(struct push_proxy *x)
{
    struct push *p = x->push;
    list_remove(&x->turn);
    if (x->stage != STAGE_FIRST)
        return;
    x->stage = STAGE_SERVED;
    p->first_count--;
    give_turns(p);
}

static void on_patience_over(struct timer *t)
{
    struct push *p = CONTAINER_OF(t, push, patience);
    struct list *node;
    uint64_t now = loop_now_us(p->loop);
    while ((node = list_first(&p->first)) && LIST_ENTRY(node, push_proxy, turn)->turn_us + TURN_MAX_US <= now)
        leave_turn(LIST_ENTRY(node, push_proxy, turn));
    give_turns(p);
}

static void await_turn(struct push_proxy *x)
{
    x->stage = STAGE_WAITING;
    x->turn_us = loop_now_us(x->push->loop);
    list_push_back(xds_server_is_fresh(x->server) ? &x->push->fresh : &x->push->returning, &x->turn);
    give_turns(x->push);
}

/* Proxies ask for listeners when clusters and endpoints are there. */
static void check_first(struct push_proxy *x)
{
    struct xds_type_state lds;
    if (x->stage != STAGE_FIRST || !xds_server_is_settled(x->server))
        return;
    xds_server_state(x->server, PUSH_LDS, &lds);
    if (lds.answered_us)
        leave_turn(x);
}

/* ---- the protocol's side ---- */

static uint32_t on_parts(void *user, uint32_t type, const struct xds_names *names, struct xds_set *out[XDS_PARTS_MAX])
{
    struct push_proxy *x = user;
    struct push_source *source = x->push->source;
    return source->ops->parts(source, x->client, type, names, out);
}

static struct push_peer peer_of(struct push_proxy *x)
{
    return (struct push_peer){.proxy = x, .stream = x->stream, .is_delta = x->is_delta, .is_plain = x->is_plain, .visitor = x->visitor};
}

static int on_node(void *user, struct str node, struct err *err)
{
    struct push_proxy *x = user;
    struct push_source *source = x->push->source;
    struct push_peer peer = peer_of(x);
    x->refusal.status = GRPC_PERMISSION_DENIED;
    if (source->ops->open(source, &peer, node, &x->client, &x->refusal)) {
        *err = x->refusal.err;
        return err->code ? err->code : ERR_INVALID;
    }
    x->is_open = true;
    return 0;
}

static void on_answer(void *user, uint32_t type, const struct xds_answer *a)
{
    struct push_proxy *x = user;
    struct push_source *source = x->push->source;
    struct push_type_counts *c = &x->push->types[type];
    push_times_add(&c->answered, loop_now_us(x->push->loop) - a->sent_us);
    if (!a->is_ack) {
        struct push_about about = {0};
        c->rejects++;
        source->ops->about(source, x->client, &about);
        LOG_SELDOM(CONFIG, WARNING, "%s refused by %.*s: %u, %.*s", push_type_text(type), STR_ARG(about.id), a->code, STR_ARG(a->message));
    }
    if (source->ops->on_answer)
        source->ops->on_answer(source, x->client, type, a);
}

static void on_other(void *user, const struct xds_request *r)
{
    struct push_proxy *x = user;
    struct push_source *source = x->push->source;
    if (source->ops->on_other)
        source->ops->on_other(source, x->client, r);
}

static const struct xds_server_ops server_ops = {on_parts, on_node, on_answer, on_other};

/* ---- the stream's side ---- */

static void arrive(struct push_proxy *x)
{
    struct push_source *source = x->push->source;
    struct push_peer peer = peer_of(x);
    bool is_asking = false;
    if (source->ops->arrive)
        x->visitor = source->ops->arrive(source, &peer, &is_asking);
    if (is_asking)
        grpc_stream_pause(x->stream, true);
}

static void *begin(const struct push_door *door, struct grpc_stream *s, bool is_delta)
{
    struct push *p = door->push;
    if (p->count >= p->opts.streams_max) {
        p->refused++;
        grpc_stream_end(s, GRPC_RESOURCE_EXHAUSTED, STR("too many proxies are connected"));
        return NULL;
    }
    const struct xds_server_opts opts = {
        .is_delta = is_delta, .keep_pool = p->pool, .keep_identifier = p->opts.keep_identifier, .keep_types = served_types,
        .type_count = PUSH_TYPE_COUNT, .names_max = p->opts.names_max, .names_bytes_max = p->opts.names_bytes_max};
    struct push_proxy *x = NEW(push_proxy);
    x->push = p;
    x->stream = s;
    x->is_plain = door->is_plain;
    x->is_delta = is_delta;
    x->connected_us = loop_now_us(p->loop);
    x->server = xds_server_new(&opts, &server_ops, x);
    list_init(&x->ready);
    list_init(&x->turn);
    list_push_back(&p->proxies, &x->node);
    p->count++;
    p->connected_total++;
    arrive(x);
    return x;
}

static void *on_delta_call(void *owner, struct grpc_stream *s)
{
    return begin(owner, s, true);
}

static void *on_sotw_call(void *owner, struct grpc_stream *s)
{
    return begin(owner, s, false);
}

static enum grpc_status status_of(const struct push_proxy *x, int rc)
{
    if (!x->is_open && x->refusal.status)
        return x->refusal.status;
    return rc == ERR_LIMIT ? GRPC_RESOURCE_EXHAUSTED : GRPC_INVALID_ARGUMENT;
}

static void on_message(void *call, struct grpc_stream *s, struct str message)
{
    struct push_proxy *x = call;
    struct err err = {0};
    char text[ERR_MESSAGE_BYTES + ERR_PATH_BYTES];
    int rc = xds_server_feed(x->server, message, loop_now_us(x->push->loop), &err);
    if (rc) {
        LOG_SELDOM(CONFIG, WARNING, "a proxy's stream is ended: %s", err_format(&err, text, sizeof text));
        grpc_stream_end(s, status_of(x, rc), str_from(err_format(&err, text, sizeof text)));
        return;
    }
    if (x->stage == STAGE_NEW && x->is_open)
        await_turn(x);
    set_ready(x); /* at the turn's end: a client's answer and what it asks for next often come together, and belong together */
    check_first(x);
}

static void on_writable(void *call, struct grpc_stream *s)
{
    (void)s;
    set_ready(call);
}

static void destroy(struct deferred *d)
{
    struct push_proxy *x = CONTAINER_OF(d, push_proxy, deferred);
    mem_free(x);
}

static void on_closed(void *call, struct grpc_stream *s)
{
    struct push_proxy *x = call;
    struct push *p = x->push;
    (void)s;
    leave_turn(x);
    list_remove(&x->node);
    list_remove(&x->ready);
    p->count--;
    xds_server_free(&x->server);
    if (x->is_open)
        p->source->ops->close(p->source, x->client);
    if (x->visitor)
        p->source->ops->leave(p->source, x->visitor);
    loop_defer(p->loop, &x->deferred, destroy);
}

static const struct grpc_method_ops sotw_ops = {.on_call = on_sotw_call, .on_message = on_message, .on_writable = on_writable, .on_closed = on_closed};
static const struct grpc_method_ops delta_ops = {.on_call = on_delta_call, .on_message = on_message, .on_writable = on_writable, .on_closed = on_closed};

void push_serve(struct push *p, struct grpc_server *g, bool is_plain)
{
    struct push_door *door = is_plain ? &p->plain : &p->secure;
    grpc_server_add(g, "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources", &sotw_ops, door);
    grpc_server_add(g, "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources", &delta_ops, door);
}

void push_touch(struct push_proxy *x, uint32_t types)
{
    xds_server_touch(x->server, types);
    set_ready(x);
}

void push_end(struct push_proxy *x, enum grpc_status status, struct str message)
{
    grpc_stream_end(x->stream, status, message);
}

/* ---- changes ---- */

static void refresh(struct push *p, unsigned kinds, uint64_t since_us)
{
    struct push_source *source = p->source;
    uint32_t types = source->ops->refresh(source, kinds);
    p->refreshes++;
    LIST_EACH(it, safe, &p->proxies) {
        struct push_proxy *x = LIST_ENTRY(it, push_proxy, node);
        if (!types || !x->is_open || (source->ops->concerns && !source->ops->concerns(source, x->client)))
            continue;
        xds_server_touch(x->server, types);
        if (!x->owed_since_us && x->stage == STAGE_SERVED)
            x->owed_since_us = since_us;
        set_ready(x);
    }
}

static void on_quiet(struct timer *t)
{
    struct debounce *d = CONTAINER_OF(t, debounce, timer);
    uint64_t since_us = d->since_us;
    push_times_add(&d->push->debounced, loop_now_us(d->push->loop) - d->first_us);
    d->first_us = d->since_us = 0;
    refresh(d->push, d->kinds, since_us);
}

void push_changed(struct push *p, enum push_kind kind, uint64_t since_us)
{
    struct debounce *d = kind == PUSH_ENDPOINTS ? &p->endpoints : &p->full;
    uint64_t now = loop_now_us(p->loop);
    since_us = since_us ? since_us : now;
    d->first_us = d->first_us ? d->first_us : now;
    d->since_us = d->since_us && d->since_us < since_us ? d->since_us : since_us;
    d->changes++;
    uint64_t last = d->first_us + p->opts.debounce_max_ms * 1000, due = now + d->quiet_us;
    due = due < last ? due : last;
    timer_set_us(&d->timer, due > now ? due - now : 0);
}

/* ---- making and freeing ---- */

static void on_trim(struct timer *t)
{
    struct push *p = CONTAINER_OF(t, push, trim);
    uint64_t now = loop_now_us(p->loop);
    xds_pool_trim(p->pool, now > TRIM_UNUSED_US ? now - TRIM_UNUSED_US : 0);
    timer_set_ms(&p->trim, TRIM_MS);
}

static void fill_defaults(struct push_opts *o)
{
#define DEFAULT(field, value) o->field = o->field ? o->field : (value)
    DEFAULT(debounce_ms, 100);
    DEFAULT(debounce_max_ms, 10000);
    DEFAULT(endpoint_debounce_ms, o->debounce_ms);
    DEFAULT(first_pushes_max, 64);
    DEFAULT(streams_max, 100000);
    DEFAULT(names_max, 100000);
    DEFAULT(names_bytes_max, (size_t)4 << 20);
    DEFAULT(kept_bytes_max, (size_t)128 << 20);
#undef DEFAULT
}

static void debounce_init(struct debounce *d, struct push *p, unsigned kinds, uint64_t quiet_ms)
{
    d->push = p;
    d->kinds = kinds;
    d->quiet_us = quiet_ms * 1000;
    timer_init(&d->timer, p->loop, on_quiet);
}

struct push *push_new(struct loop *loop, const struct push_opts *opts, struct push_source *keep_source)
{
    struct push *p = NEW(push);
    p->loop = loop;
    p->opts = *opts;
    fill_defaults(&p->opts);
    p->source = keep_source;
    p->pool = xds_pool_new(p->opts.kept_bytes_max);
    p->plain = (struct push_door){p, true};
    p->secure = (struct push_door){p, false};
    p->pump.run = pump;
    list_init(&p->proxies);
    list_init(&p->ready);
    list_init(&p->fresh);
    list_init(&p->returning);
    list_init(&p->first);
    debounce_init(&p->endpoints, p, PUSH_ENDPOINTS, p->opts.endpoint_debounce_ms);
    debounce_init(&p->full, p, PUSH_FULL, p->opts.debounce_ms);
    timer_init(&p->trim, loop, on_trim);
    timer_init(&p->patience, loop, on_patience_over);
    timer_set_ms(&p->trim, TRIM_MS);
    return p;
}

void push_free(struct push **owned)
{
    struct push *p = *owned;
    *owned = NULL;
    if (!p)
        return;
    CHECK(!p->count);
    turn_task_cancel(&p->pump);
    timer_clear(&p->endpoints.timer);
    timer_clear(&p->full.timer);
    timer_clear(&p->trim);
    timer_clear(&p->patience);
    xds_pool_free(&p->pool);
    mem_free(p);
}

struct xds_pool *push_pool(struct push *p)
{
    return p->pool;
}
