/* SPDX-License-Identifier: Apache-2.0
 *
 * Listeners of discovery for /config_dump: one item a name, with the state that serves, the one that warms, the newest that
 * drains, and what was wrong with the last update. Bytes are borrowed from the listeners. Main thread.
 */
#include "proxy/config/dump_listeners.h"

#include "base/map.h"
#include "proxy/config/dump_parts.h"
#include "proxy/listener/listener.h"

typedef Envoy__Admin__V3__ListenersConfigDump__DynamicListener pb_dynamic_listener;
typedef Envoy__Admin__V3__ListenersConfigDump__DynamicListenerState pb_listener_state;
typedef Envoy__Admin__V3__UpdateFailureState pb_failure;

struct collecting {
    struct proto_arena *arena;
    struct map *by_name;
    pb_dynamic_listener **items;
    size_t count, cap;
};

static pb_dynamic_listener *item_of(struct collecting *c, struct str name)
{
    pb_dynamic_listener *item = map_get(c->by_name, name);
    if (item || c->count == c->cap)
        return item;
    item = PROTO_NEW(c->arena, pb_dynamic_listener, envoy__admin__v3__listeners_config_dump__dynamic_listener__descriptor);
    char *text = proto_arena_strdup(c->arena, name);
    if (!item || !text)
        return NULL;
    item->name = text;
    map_set(c->by_name, name, item);
    c->items[c->count++] = item;
    return item;
}

static void add_failure(struct collecting *c, pb_dynamic_listener *item, const struct listener_state *s)
{
    pb_failure *f = PROTO_NEW(c->arena, pb_failure, envoy__admin__v3__update_failure_state__descriptor);
    if (!f)
        return;
    f->failed_configuration = dump_any(c->arena, RESOURCE_LISTENER, s->packed);
    f->last_update_attempt = dump_timestamp(c->arena, s->wall_us);
    f->details = proto_arena_strdup(c->arena, str_from(s->details));
    f->version_info = proto_arena_strdup(c->arena, s->version);
    item->error_state = f;
}

static void add(const struct listener_state *s, void *arg)
{
    struct collecting *c = arg;
    pb_dynamic_listener *item = item_of(c, s->name);
    if (!item)
        return;
    if (s->phase == LISTENER_FAULTY) {
        add_failure(c, item, s);
        return;
    }
    pb_listener_state *state =
        PROTO_NEW(c->arena, pb_listener_state, envoy__admin__v3__listeners_config_dump__dynamic_listener_state__descriptor);
    if (!state)
        return;
    state->version_info = proto_arena_strdup(c->arena, s->version);
    state->listener = dump_any(c->arena, RESOURCE_LISTENER, s->packed);
    state->last_updated = dump_timestamp(c->arena, s->wall_us);
    if (s->phase == LISTENER_ACTIVE)
        item->active_state = state;
    else if (s->phase == LISTENER_WARMING)
        item->warming_state = state;
    else
        item->draining_state = state; /* the last one told of is the newest */
}

static void count(const struct listener_state *s, void *arg)
{
    (void)s;
    ++*(size_t *)arg;
}

size_t dump_dynamic_listeners(struct proto_arena *a, const struct server *s, pb_dynamic_listener ***items)
{
    struct collecting c = {.arena = a};
    *items = NULL;
    if (!s->listeners)
        return 0;
    listener_manager_each_state(s->listeners, count, &c.cap);
    c.items = proto_arena_alloc(a, (c.cap + 1) * sizeof *c.items);
    if (!c.items)
        return 0;
    c.by_name = map_new();
    listener_manager_each_state(s->listeners, add, &c);
    map_free(&c.by_name);
    *items = c.items;
    return c.count;
}
