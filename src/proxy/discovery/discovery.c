/* SPDX-License-Identifier: Apache-2.0
 *
 * Subscriptions and the channels behind them. All that names ADS shares one channel; a source of its own gives each name a channel
 * of its own, as Envoy opens a stream for each subscription. Subscriptions are made while configuration is read, long before there
 * is a loop: channels only begin to talk at discovery_start. Main thread.
 */
#include "proxy/discovery/discovery.h"

#include "base/log.h"
#include "base/mem.h"
#include "proxy/discovery/discovery_priv.h"

struct discovery discovery = {
    .channels = {&discovery.channels, &discovery.channels},
    .latecomers = {&discovery.latecomers, &discovery.latecomers},
    .dead = {&discovery.dead, &discovery.dead},
};

const char *resource_type_name(enum resource_type t)
{
    return discovery_types[t].name;
}

/* ---- subscribing ---- */

static bool is_everything(struct str name)
{
    return name.n == 0 || str_eq(name, STR("*"));
}

static struct channel *find_own(const struct config_source *source, enum resource_type type, struct str name)
{
    LIST_EACH(it, safe, &discovery.channels) {
        struct channel *c = LIST_ENTRY(it, channel, node);
        if (c->is_ads || c->source != source || c->type != type || !c->by_name[type])
            continue;
        if (discovery_types[type].is_namespaced || map_get(c->by_name[type], name)) /* single names go where their namespace does */
            return c;
    }
    return NULL;
}

static struct channel *channel_of(const struct config_source *source, enum resource_type type, struct str name)
{
    if (source->kind != SOURCE_ADS) {
        struct channel *c = find_own(source, type, name);
        return c ? c : channel_new(source, false, type);
    }
    if (!discovery.ads) {
        discovery.ads = channel_new(discovery.opts ? discovery.opts->ads : NULL, true, type);
        if (discovery.server)
            channel_start(discovery.ads);
    }
    return discovery.ads;
}

static void on_fetch_timeout(struct timer *t)
{
    struct subscription *s = CONTAINER_OF(t, subscription, fetch);
    LOG(CONFIG, WARNING, "gRPC config: initial fetch timed out for %s \"%.*s\"", resource_type_name(s->watched->type),
        STR_ARG(s->watched->name));
    subscription_stats_timeout(s->stats);
    discovery.depth++;
    if (s->ops->on_fetch_timeout)
        s->ops->on_fetch_timeout(s->user);
    discovery.depth--;
}

/* Once discovery has started. */
static void begin(struct subscription *s)
{
    timer_init(&s->fetch, discovery.server->main_loop, on_fetch_timeout);
    if (s->source->initial_fetch_timeout_ms && !s->has_heard)
        timer_set_ms(&s->fetch, s->source->initial_fetch_timeout_ms);
    subscription_stats_attempt(s->stats);
}

struct subscription *discovery_subscribe(const struct config_source *source, enum resource_type type, struct str name,
                                         struct str stat_prefix, const struct subscription_ops *ops, void *user)
{
    struct subscription *s = NEW(subscription);
    struct str whole = is_everything(name) ? STR("") : name;
    struct channel *c = channel_of(source, type, whole);
    s->source = source;
    s->ops = ops;
    s->user = user;
    s->stats = subscription_stats_new(stat_prefix);
    s->watched = channel_watch(c, type, whole);
    list_push_back(&s->watched->subscriptions, &s->node);
    list_init(&s->turn);
    if (!c->is_ads && stat_prefix.n && !c->stat_prefix.n)
        c->stat_prefix = str_dup(stat_prefix);
    if (!discovery.server)
        return s;
    if (!c->is_ads && !c->carried)
        channel_start(c);
    begin(s);
    if (s->watched->body.p || discovery.depth || (is_namespace(whole) && kept_is_answered(c->below)) || (c->is_ads && cache_is_restored(discovery.cache)))
        discovery_tell_later(s);
    return s;
}

static void subscription_free(struct subscription *s)
{
    struct watched *w = s->watched;
    list_remove(&s->node);
    list_remove(&s->turn);
    subscription_stats_free(&s->stats);
    mem_free(s);
    if (list_is_empty(&w->subscriptions))
        channel_unwatch(w);
}

static void bury(struct turn_task *t)
{
    (void)t;
    for (struct list *node; (node = list_first(&discovery.dead));)
        subscription_free(LIST_ENTRY(node, subscription, turn));
}

/* A name that is wanted again within the turn isn't told to the server as unwanted. */
void discovery_unsubscribe(struct subscription **subscription)
{
    struct subscription *s = *subscription;
    *subscription = NULL;
    if (!s)
        return;
    timer_clear(&s->fetch);
    s->is_dead = true;
    list_remove(&s->turn);
    if (!discovery.server) {
        subscription_free(s);
        return;
    }
    list_push_back(&discovery.dead, &s->turn);
    discovery.bury.run = bury;
    loop_at_turn_end(discovery.server->main_loop, &discovery.bury);
}

void discovery_each_below(const struct subscription *s, void (*fn)(const struct resource *r, void *arg), void *arg)
{
    const struct watched *w = s->watched;
    if (w->channel->below)
        kept_each(w->channel->below, w->name, fn, arg);
}

bool discovery_is_delta(const struct config_source *source)
{
    if (source->kind == SOURCE_ADS)
        return discovery.ads && channel_is_delta(discovery.ads);
    return source->kind == SOURCE_DELTA_GRPC;
}

/* ---- holding back ---- */

void discovery_hold(enum resource_type type)
{
    discovery.held[type]++;
    if (discovery.ads)
        xds_client_hold(discovery.ads->client, type);
}

void discovery_resume(enum resource_type type)
{
    DCHECK(discovery.held[type] > 0);
    discovery.held[type]--;
    if (!discovery.ads)
        return;
    xds_client_resume(discovery.ads->client, type);
    channel_pump_later(discovery.ads);
}

/* ---- the application's health ---- */

void discovery_report_health(struct str why_not)
{
    str_free(&discovery.unhealthy);
    discovery.unhealthy = why_not.p ? str_dup(why_not) : STR_NULL;
    discovery.knows_health = true;
    if (!discovery.ads)
        return;
    channel_report_health(discovery.ads);
    channel_pump_later(discovery.ads);
}

/* ---- start and stop ---- */

void discovery_start(struct server *s, const struct discovery_opts *keep_opts)
{
    discovery.server = s;
    discovery.opts = keep_opts;
    if (keep_opts->cache_path.n)
        discovery.cache = cache_new(s->main_loop, keep_opts->cache_path);
    if (discovery.ads)
        discovery.ads->source = config_source_ref(keep_opts->ads);
    else if (keep_opts->ads)
        discovery.ads = channel_new(keep_opts->ads, true, RESOURCE_CLUSTER);
    LIST_EACH(it, safe, &discovery.channels) {
        struct channel *c = LIST_ENTRY(it, channel, node);
        LIST_EACH(of, next, &c->watched) {
            LIST_EACH(at, after, &LIST_ENTRY(of, watched, node)->subscriptions)
                begin(LIST_ENTRY(at, subscription, node));
        }
        channel_start(c);
    }
}

void discovery_stop(void)
{
    LIST_EACH(it, safe, &discovery.channels) {
        struct channel *c = LIST_ENTRY(it, channel, node);
        LIST_EACH(of, next, &c->watched) {
            LIST_EACH(at, after, &LIST_ENTRY(of, watched, node)->subscriptions)
                timer_clear(&LIST_ENTRY(at, subscription, node)->fetch);
        }
        channel_stop(c);
        config_source_unref(&c->source);
    }
    turn_task_cancel(&discovery.tell);
    turn_task_cancel(&discovery.bury);
    bury(&discovery.bury);
    while (!list_is_empty(&discovery.latecomers))
        list_remove(discovery.latecomers.next);
    cache_free(&discovery.cache);
    str_free(&discovery.unhealthy);
    discovery.knows_health = false;
    discovery.server = NULL;
    discovery.opts = NULL;
}
