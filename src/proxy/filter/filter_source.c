/* SPDX-License-Identifier: Apache-2.0
 *
 * ECDS. A feed is one subscription and the places that it serves. Requests take what stands in a place
 * when their chain is made and keep it; a resource that one place can't take is refused for all. What
 * a place falls back to (default_config) stands there while nothing has come, and after a removal.
 * Main thread; the two stand-ins run on workers.
 */
#include "proxy/filter/filter_source.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/config/bootstrap.h"
#include "proxy/config/resources.h"
#include "proxy/discovery/discovery.h"
#include "proxy/listener/listener_filter.h"
#include "proxy/server.h"
#include "proxy/warm.h"

#define ECDS_STATS(X)                                                                              \
    X(ECDS_CONFIG_RELOAD, COUNTER, NONE, "config_reload", "Updates put to use")                    \
    X(ECDS_CONFIG_FAIL, COUNTER, NONE, "config_fail", "Updates refused, or not come in time")      \
    X(ECDS_CONFIG_CONFLICT, COUNTER, NONE, "config_conflict", "Updates that places disagreed on")
enum ecds_stat {
    ECDS_STATS(STAT_ENUM_ROW)
};
static const struct stat_desc rows[] = {ECDS_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

struct filter_feed {
    struct list node;
    enum filter_place kind;
    struct list places;
    uint32_t place_count;
    const struct config_source *from;
    struct str name, packed, version; /* heap */
    struct config_frame *frame;
    struct subscription *subscription;
    struct warm_source warm;
    struct stat_scope *stats;
    uint64_t updated_wall_us;
};
static struct list all = {&all, &all};

static const char *const kind_texts[] = {
#define X(id, text) text,
    FILTER_PLACE_TABLE(X)
#undef X
};

/* ---- stand-ins ---- */

static enum filter_headers on_missing(struct http_filter *f, struct headers *h, bool end)
{
    (void)h, (void)end;
    exchange_local_reply(f->x, OUTCOME(NO_FILTER_CONFIG), 500, STR_NULL, STR_NULL, NULL, NULL);
    return FILTER_HEADERS_STOP;
}

const struct http_filter_def dynamic_filter = {.name = "dynamic"};
const struct http_filter_def dynamic_terminal_filter = {.name = "dynamic", .is_terminal = true};
const struct network_filter_def dynamic_network_filter = {.name = "dynamic"};
const struct listener_filter_def dynamic_listener_filter = {.name = "dynamic"};
const struct http_filter_def missing_filter = {.name = "missing", .on_request_headers = on_missing};

/* ---- versions ---- */

static void free_settings(void (*free_config)(void *config), const void *config)
{
    if (free_config && config)
        free_config((void *)(uintptr_t)config);
}

static void fini(struct filter_config *c)
{
    switch (c->kind) {
    case PLACE_HTTP:
        free_settings(c->spec.free_config, c->spec.config);
        break;
    case PLACE_NETWORK:
        free_settings(c->network.free_config, c->network.config);
        break;
    case PLACE_LISTENER:
        free_settings(c->listener.free_config, c->listener.config);
        break;
    }
    stat_scope_unref(&c->stats);
    cluster_slots_fini(&c->slots);
    arena_fini(&c->arena);
}

void filter_config_free(struct filter_config **config)
{
    struct filter_config *c = *config;
    *config = NULL;
    if (!c)
        return;
    fini(c);
    mem_free(c);
}

static void on_unused(struct snapshot *base)
{
    struct filter_config *c = CONTAINER_OF(base, filter_config, base);
    filter_config_free(&c);
}

/* The fallback is a part of its place. */
static void on_fallback_unused(struct snapshot *base)
{
    (void)base;
}

static void link_one(const struct filter_source *s, struct filter_config *c)
{
    struct link_context cx = {.server = s->server}; /* what only terminal filters look at is missing */
    switch (c->kind) {
    case PLACE_HTTP:
        if (c->spec.def->link)
            c->spec.def->link((void *)(uintptr_t)c->spec.config, s->stats);
        break;
    case PLACE_NETWORK:
        if (c->network.def->link)
            c->network.def->link((void *)(uintptr_t)c->network.config, &cx);
        break;
    case PLACE_LISTENER:
        if (c->listener.def->stats)
            c->stats = c->listener.def->stats(c->listener.config);
        break;
    }
}

static void publish(struct filter_source *s, struct filter_config *take_config)
{
    link_one(s, take_config);
    snapshot_init(&take_config->base, on_unused, false);
    snapshot_put(&s->place, &take_config->base);
}

static void fall_back(struct filter_source *s)
{
    if (!s->has_fallback) {
        snapshot_put(&s->place, NULL);
        return;
    }
    if (!s->is_fallback_linked) {
        s->is_fallback_linked = true;
        link_one(s, &s->fallback);
        snapshot_init(&s->fallback.base, on_fallback_unused, true);
    }
    snapshot_put(&s->place, &s->fallback.base);
}

/* ---- feeds ---- */

static struct filter_config *read_for(const struct filter_feed *f, const struct filter_source *s, struct str packed, struct err_list *faults)
{
    struct filter_config *c = NULL;
    struct config_batch *b = config_batch_new(f->frame);
    config_read_filter(b, packed, s, &c, faults);
    config_batch_free(&b);
    return c;
}

/* True: every place has read it, into `out`. */
static bool read_for_all(struct filter_feed *f, struct str packed, struct filter_config **out, struct err_list *faults)
{
    size_t before = faults->count;
    uint32_t n = 0;
    LIST_EACH(it, safe, &f->places) {
        out[n++] = read_for(f, LIST_ENTRY(it, filter_source, node), packed, faults);
        if (faults->count > before)
            break; /* the others would only say the same */
    }
    for (uint32_t i = 0; faults->count > before && i < n; i++)
        filter_config_free(&out[i]);
    return faults->count == before;
}

static void note_taken(struct filter_feed *f, const struct resource *item)
{
    str_replace(&f->packed, item->packed);
    str_replace(&f->version, item->version);
    f->updated_wall_us = clock_wall_us();
    stat_inc(f->stats, STAT_ECDS_CONFIG_RELOAD);
}

static void take(struct filter_feed *f, const struct resource *item, struct err_list *faults)
{
    size_t before = faults->count;
    uint32_t n = 0;
    if (f->packed.p && str_eq(f->packed, item->packed))
        return;
    struct filter_config **fresh = mem_zalloc((f->place_count + 1) * sizeof *fresh);
    if (read_for_all(f, item->packed, fresh, faults)) {
        LIST_EACH(it, safe, &f->places)
            publish(LIST_ENTRY(it, filter_source, node), fresh[n++]);
        note_taken(f, item);
    } else {
        stat_inc(f->stats, STAT_ECDS_CONFIG_FAIL);
    }
    mem_free(fresh);
    for (size_t i = before; i < faults->count; i++)
        err_prefix(&faults->items[i], "%.*s", STR_ARG(f->name));
}

static void take_away(struct filter_feed *f)
{
    LIST_EACH(it, safe, &f->places)
        fall_back(LIST_ENTRY(it, filter_source, node));
    str_free(&f->packed);
    str_free(&f->version);
    stat_inc(f->stats, STAT_ECDS_CONFIG_RELOAD);
}

static void on_update(void *user, const struct resource_update *u, struct err_list *faults)
{
    struct filter_feed *f = user;
    bool is_told = false;
    for (uint32_t i = 0; i < u->removed_count; i++)
        if (str_eq(u->removed[i], f->name))
            take_away(f), is_told = true;
    for (uint32_t i = 0; i < u->count; i++)
        if (str_eq(u->items[i].name, f->name)) {
            size_t before = faults->count;
            take(f, &u->items[i], faults);
            is_told = faults->count == before;
        }
    if (is_told)
        warm_source_ready(&f->warm);
}

static void on_fetch_timeout(void *user)
{
    struct filter_feed *f = user;
    LOG(CONFIG, WARNING, "ecds: '%.*s' has not come in time", STR_ARG(f->name));
    stat_inc(f->stats, STAT_ECDS_CONFIG_FAIL);
    LIST_EACH(it, safe, &f->places)
        if (!filter_source_now(LIST_ENTRY(it, filter_source, node)))
            fall_back(LIST_ENTRY(it, filter_source, node));
    warm_source_ready(&f->warm);
}

static const struct subscription_ops ops = {.on_update = on_update, .on_fetch_timeout = on_fetch_timeout};

static void subscribe(struct filter_feed *f)
{
    struct strbuf prefix = {0}, bare = {0};
    struct stat_tag tag = {STR("envoy.extension_config_discovery"), f->name};
    strbuf_addf(&prefix, "extension_config_discovery.%s.", kind_texts[f->kind]);
    strbuf_adds(&bare, strbuf_str(&prefix));
    strbuf_addf(&prefix, "%.*s.", STR_ARG(f->name));
    f->stats = stat_scope_get(strbuf_str(&prefix), &table, strbuf_str(&bare), &tag, 1);
    f->subscription = discovery_subscribe(f->from, RESOURCE_EXTENSION, f->name, strbuf_str(&prefix), &ops, f);
    strbuf_fini(&prefix);
    strbuf_fini(&bare);
}

static struct filter_feed *feed_get(struct filter_source *s, struct config_frame *keep_frame)
{
    LIST_EACH(it, safe, &all) {
        struct filter_feed *f = LIST_ENTRY(it, filter_feed, node);
        if (f->kind == s->kind && f->from == s->from && str_eq(f->name, s->name))
            return f;
    }
    struct filter_feed *f = NEW(filter_feed);
    f->kind = s->kind;
    list_init(&f->places);
    f->from = config_source_ref(s->from);
    f->frame = keep_frame;
    str_replace(&f->name, s->name);
    warm_source_init(&f->warm);
    list_push_back(&all, &f->node);
    return f;
}

static void feed_free(struct filter_feed *f)
{
    list_remove(&f->node);
    discovery_unsubscribe(&f->subscription);
    warm_source_fini(&f->warm);
    stat_scope_unref(&f->stats);
    config_source_unref(&f->from);
    str_free(&f->name);
    str_free(&f->packed);
    str_free(&f->version);
    mem_free(f);
}

/* ---- places ---- */

/* What the feed has already; a place that can't take it falls back. */
static void catch_up(struct filter_source *s)
{
    struct filter_feed *f = s->feed;
    struct err_list faults = {0};
    struct filter_config *c = f->packed.p ? read_for(f, s, f->packed, &faults) : NULL;
    if (c) {
        publish(s, c);
    } else if (faults.count) {
        LOG(CONFIG, WARNING, "ecds: '%.*s' doesn't fit another place that names it: %s: %s", STR_ARG(f->name), faults.items[0].path,
            faults.items[0].message);
        stat_inc(f->stats, STAT_ECDS_CONFIG_CONFLICT);
        fall_back(s);
    } else if (!s->warms || f->warm.is_ready) {
        fall_back(s);
    }
    err_list_fini(&faults);
}

void filter_source_link(struct filter_source *s, struct server *keep_server, struct stat_scope *stats)
{
    if (s->feed)
        return;
    s->server = keep_server;
    s->stats = stats;
    s->feed = feed_get(s, keep_server->opts.config->frame);
    list_push_back(&s->feed->places, &s->node);
    s->feed->place_count++;
    catch_up(s);
    if (!s->feed->subscription)
        subscribe(s->feed);
}

void filter_source_wait(struct filter_source *s, struct warmth *w)
{
    if (w && s->warms && s->feed)
        warmth_wait(w, &s->feed->warm);
}

void filter_source_fini(struct filter_source *s)
{
    struct filter_feed *f = s->feed;
    snapshot_put(&s->place, NULL);
    if (f) {
        list_remove(&s->node);
        if (--f->place_count == 0)
            feed_free(f);
    }
    if (s->has_fallback)
        fini(&s->fallback);
    config_source_unref(&s->from);
}

void filter_feeds_each(void (*fn)(const struct filter_feed_state *s, void *arg), void *arg)
{
    LIST_EACH(it, safe, &all) {
        struct filter_feed *f = LIST_ENTRY(it, filter_feed, node);
        const struct filter_feed_state state = {f->name, f->version, f->packed, f->updated_wall_us};
        fn(&state, arg);
    }
}
