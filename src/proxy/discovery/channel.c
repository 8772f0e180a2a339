/* SPDX-License-Identifier: Apache-2.0
 *
 * A channel: what is watched on it, its protocol client, and whatever carries its messages. What is due is sent at the end of the
 * turn, so that all that one turn wants goes into one request of each type. Main thread.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/discovery/discovery_priv.h"

/* Delta, after what was there came from the cache: the server doesn't know of it and removes nothing of it, so that the first
 * response of a wildcard counts as all that there is. */
static struct xds_update settle_restored(struct channel *c, enum resource_type type, const struct xds_update *u)
{
    struct xds_update all = *u;
    all.is_whole |= c->was_restored[type] && discovery_types[type].is_whole;
    c->was_restored[type] = false;
    return all;
}

static void on_update(void *user, uint32_t index, const struct xds_update *u, struct err_list *faults)
{
    struct channel *c = user;
    enum resource_type type = (enum resource_type)index;
    struct xds_update all = settle_restored(c, type, u);
    size_t before = faults->count;
    discovery_deliver(c, type, &all, faults);
    if (c->is_ads && discovery.cache && faults->count == before)
        cache_note(discovery.cache, type, &all);
}

void channel_restore(struct channel *c)
{
    if (!c->is_ads || !discovery.cache || !cache_restore(discovery.cache))
        return;
    LIST_EACH(of, next, &c->watched) {
        LIST_EACH(at, after, &LIST_ENTRY(of, watched, node)->subscriptions)
            discovery_tell_later(LIST_ENTRY(at, subscription, node));
    }
}

static void on_error(void *user, uint32_t type, const struct xds_resource_error *e)
{
    (void)user;
    LOG_SELDOM(CONFIG, WARNING, "%s: the server has no \"%.*s\": %u %.*s", resource_type_name((enum resource_type)type), STR_ARG(e->name),
               e->code, STR_ARG(e->message));
}

static const struct xds_client_ops client_ops = {.on_update = on_update, .on_error = on_error};

/* ---- sending ---- */

static void pump(struct turn_task *t)
{
    struct channel *c = CONTAINER_OF(t, channel, pump);
    if (c->carried)
        c->carrier->pump(c->carried);
}

void channel_pump_later(struct channel *c)
{
    if (discovery.server && c->carried)
        loop_at_turn_end(discovery.server->main_loop, &c->pump);
}

/* ---- receiving ---- */

static void set_expiry(struct channel *c)
{
    uint64_t at = xds_client_expiry_us(c->client), now = loop_now_us(discovery.server->main_loop);
    if (at)
        timer_set_us(&c->expiry, at > now ? at - now : 0);
    else
        timer_clear(&c->expiry);
}

static void on_expiry(struct timer *t)
{
    struct channel *c = CONTAINER_OF(t, channel, expiry);
    xds_client_expire(c->client, loop_now_us(discovery.server->main_loop));
    set_expiry(c);
    channel_pump_later(c);
}

static void log_faults(const struct channel *c, const struct err_list *faults)
{
    char line[ERR_PATH_BYTES + ERR_MESSAGE_BYTES + 2];
    for (size_t i = 0; i < faults->count && i < 20; i++)
        LOG(CONFIG, WARNING, "%s config rejected: %s", c->is_ads ? "ADS" : resource_type_name(c->type),
            err_format(&faults->items[i], line, sizeof line));
    if (faults->count + faults->dropped > 20)
        LOG(CONFIG, WARNING, "... and %zu more", faults->count + faults->dropped - 20);
}

enum xds_fed channel_feed(struct channel *c, struct str message)
{
    struct err_list faults = {0};
    if (c->is_ads && discovery.cache)
        cache_settle(discovery.cache);
    enum xds_fed fed = xds_client_feed(c->client, message, loop_now_us(discovery.server->main_loop), &faults);
    log_faults(c, &faults);
    err_list_fini(&faults);
    set_expiry(c);
    channel_pump_later(c);
    return fed;
}

void channel_failed(struct channel *c)
{
    LIST_EACH(of, next, &c->watched) {
        LIST_EACH(at, after, &LIST_ENTRY(of, watched, node)->subscriptions)
            subscription_stats_failure(LIST_ENTRY(at, subscription, node)->stats);
    }
}

/* ---- watching ---- */

/* A namespace isn't a name that servers know: it is asked for with everything. */
static struct str asked_name(struct str name)
{
    return is_namespace(name) ? STR("") : name;
}

static void enter_namespace(struct channel *c)
{
    if (!c->namespaces++)
        c->below = kept_new();
}

static void leave_namespace(struct channel *c, enum resource_type type)
{
    if (--c->namespaces)
        return;
    kept_free(&c->below);
    xds_client_unwant(c->client, type, STR(""));
}

struct watched *channel_watch(struct channel *c, enum resource_type type, struct str name)
{
    if (!c->by_name[type])
        c->by_name[type] = map_new();
    struct watched *w = map_get(c->by_name[type], name);
    if (w)
        return w;
    w = NEW(watched);
    w->channel = c;
    w->type = type;
    w->name = str_dup(name);
    list_init(&w->subscriptions);
    list_push_back(&c->watched, &w->node);
    map_set(c->by_name[type], w->name, w);
    if (is_namespace(name))
        enter_namespace(c);
    xds_client_want(c->client, type, asked_name(w->name));
    channel_pump_later(c);
    return w;
}

void channel_unwatch(struct watched *w)
{
    struct channel *c = w->channel;
    map_del(c->by_name[w->type], w->name);
    list_remove(&w->node);
    if (is_namespace(w->name))
        leave_namespace(c, w->type);
    else
        xds_client_unwant(c->client, w->type, w->name);
    str_free(&w->name);
    str_free(&w->body);
    str_free(&w->version);
    mem_free(w);
    if (list_is_empty(&c->watched) && !c->is_ads)
        channel_free(&c);
    else
        channel_pump_later(c);
}

/* ---- its life ---- */

static const struct carrier *carrier_of(const struct channel *c)
{
    switch (c->source->kind) {
    case SOURCE_FILE:
        return &file_carrier;
    case SOURCE_REST:
        return &rest_carrier;
    default:
        return &stream_carrier;
    }
}

bool channel_is_delta(const struct channel *c)
{
    return c->source && c->source->kind == SOURCE_DELTA_GRPC;
}

void channel_report_health(struct channel *c)
{
    if (discovery.knows_health)
        xds_client_report(c->client, RESOURCE_HEALTH_INFORMATION, RESOURCE_LISTENER, discovery.unhealthy);
}

static void make_client(struct channel *c)
{
    const struct xds_client_opts opts = {
        .is_delta = channel_is_delta(c), .node_on_first_message_only = c->source && c->source->node_on_first_message_only,
        .keep_node = discovery.opts ? discovery.opts->packed_node : STR_NULL, .keep_types = discovery_types,
        .type_count = RESOURCE_TYPE_COUNT};
    c->client = xds_client_new(&opts, &client_ops, c);
    for (int type = 0; c->is_ads && type < RESOURCE_TYPE_COUNT; type++)
        for (uint32_t i = 0; i < discovery.held[type]; i++)
            xds_client_hold(c->client, (uint32_t)type);
    LIST_EACH(it, safe, &c->watched) {
        struct watched *w = LIST_ENTRY(it, watched, node);
        xds_client_want(c->client, w->type, asked_name(w->name));
    }
    if (c->is_ads)
        channel_report_health(c);
}

struct channel *channel_new(const struct config_source *source, bool is_ads, enum resource_type type)
{
    struct channel *c = NEW(channel);
    c->source = config_source_ref(source);
    c->is_ads = is_ads;
    c->type = type;
    c->pump.run = pump;
    list_init(&c->watched);
    list_push_back(&discovery.channels, &c->node);
    make_client(c);
    return c;
}

void channel_start(struct channel *c)
{
    if (!c->source) {
        LOG(CONFIG, WARNING, "a configuration names ADS, but the bootstrap has no dynamic_resources.ads_config");
        return;
    }
    /* Made before the node and the kind of ADS were known. */
    xds_client_free(&c->client);
    make_client(c);
    timer_init(&c->expiry, discovery.server->main_loop, on_expiry);
    c->carrier = carrier_of(c);
    c->carried = c->carrier->start(c);
    channel_pump_later(c);
}

void channel_stop(struct channel *c)
{
    if (c->carried)
        c->carrier->stop(c->carried);
    c->carried = NULL;
    turn_task_cancel(&c->pump);
    timer_clear(&c->expiry);
}

void channel_free(struct channel **channel)
{
    struct channel *c = *channel;
    *channel = NULL;
    channel_stop(c);
    list_remove(&c->node);
    for (int i = 0; i < RESOURCE_TYPE_COUNT; i++)
        map_free(&c->by_name[i]);
    xds_client_free(&c->client);
    kept_free(&c->below);
    config_source_unref(&c->source);
    str_free(&c->stat_prefix);
    mem_free(c);
}
