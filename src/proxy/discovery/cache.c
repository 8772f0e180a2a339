/* SPDX-License-Identifier: Apache-2.0
 *
 * The cache: for each type one DeltaDiscoveryResponse, each after its length, big endian. Read once, when the first
 * stream has failed without a word from the server; written SAVE_DELAY_MS after a change, to a file beside it that then takes its
 * name, for its owner only. Resources with a private key in them, and secrets, aren't written. A file that is cut short or isn't
 * ours is as good as none. Main thread.
 */
#include "proxy/discovery/cache.h"

#include "base/cursor.h"
#include "base/file.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "io/loop.h"

#define SAVE_DELAY_MS 1000
#define FILE_BYTES_MAX ((size_t)1 << 30)

struct kept {
    struct str body, version;
};
struct cache {
    char *path;
    struct timer save;
    struct map *types[RESOURCE_TYPE_COUNT]; /* name -> kept */
    bool was_read, is_restored;
};

static bool is_cached(enum resource_type type)
{
    return type != RESOURCE_SECRET && type != RESOURCE_HEALTH_INFORMATION;
}

static bool holds_key(struct str body)
{
    return str_find(body, STR("PRIVATE KEY")) >= 0;
}

/* ---- what is kept ---- */

static void kept_free(struct kept *k)
{
    if (!k)
        return;
    str_free(&k->body);
    str_free(&k->version);
    mem_free(k);
}

static void clear_type(struct cache *c, enum resource_type type)
{
    struct str name;
    void *value;
    for (size_t pos = 0; c->types[type] && map_next(c->types[type], &pos, &name, &value);)
        kept_free(value);
    map_free(&c->types[type]);
}

static void keep(struct cache *c, enum resource_type type, const struct xds_resource *r, struct str version)
{
    if (!c->types[type])
        c->types[type] = map_new();
    if (holds_key(r->packed)) {
        kept_free(map_del(c->types[type], r->name));
        return;
    }
    struct kept *k = NEW(kept);
    *k = (struct kept){str_dup(r->packed), str_dup(r->version.n ? r->version : version)};
    kept_free(map_set(c->types[type], r->name, k));
}

void cache_note(struct cache *c, enum resource_type type, const struct xds_update *u)
{
    if (!is_cached(type))
        return;
    if (u->is_whole)
        clear_type(c, type);
    for (uint32_t i = 0; i < u->count; i++)
        keep(c, type, &u->items[i], u->version);
    for (uint32_t i = 0; c->types[type] && i < u->removed_count; i++)
        kept_free(map_del(c->types[type], u->removed[i]));
    if (!timer_is_set(&c->save))
        timer_set_ms(&c->save, SAVE_DELAY_MS);
}

/* ---- the file ---- */

static void write_type(const struct cache *c, enum resource_type type, struct strbuf *out)
{
    struct xds_response r = {.is_delta = true, .type_url = str_from(resource_type_name(type))};
    struct strbuf packed = {0};
    r.resources = cache_all(c, type, &r.resource_count);
    xds_response_write(&r, &packed);
    if (r.resource_count) {
        uint32_t n = (uint32_t)packed.n;
        strbuf_add(out, (const uint8_t[]){(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n}, 4);
        strbuf_adds(out, strbuf_str(&packed));
    }
    strbuf_fini(&packed);
    mem_free(r.resources);
}

static void save(struct cache *c)
{
    struct strbuf all = {0};
    struct err err = {0};
    for (int type = 0; type < RESOURCE_TYPE_COUNT; type++)
        write_type(c, (enum resource_type)type, &all);
    if (file_replace(c->path, strbuf_str(&all), 0600, &err) < 0)
        LOG_SELDOM(CONFIG, WARNING, "the configuration can't be kept: %s", err.message);
    strbuf_fini(&all);
}

static void on_save(struct timer *t)
{
    save(CONTAINER_OF(t, cache, save));
}

static int type_of(struct str name)
{
    for (int i = 0; i < RESOURCE_TYPE_COUNT; i++)
        if (str_eq(name, str_from(resource_type_name((enum resource_type)i))) && is_cached((enum resource_type)i))
            return i;
    return -1;
}

/* False: what follows isn't ours. */
static bool load_type(struct cache *c, struct cursor *at)
{
    struct str packed = cursor_bytes(at, cursor_u32(at));
    struct arena a;
    struct xds_response r;
    arena_init(&a, 0);
    bool is_good = !at->failed && xds_response_read(&a, true, packed, &r, NULL) == 0;
    int type = is_good ? type_of(r.type_url) : -1;
    for (uint32_t i = 0; type >= 0 && i < r.resource_count; i++)
        keep(c, (enum resource_type)type, &r.resources[i], STR(""));
    arena_fini(&a);
    return is_good;
}

static void load(struct cache *c)
{
    struct strbuf all = {0};
    if (file_read(c->path, FILE_BYTES_MAX, &all, NULL) == 0 && all.n) {
        struct cursor at = cursor_make(all.p, all.n);
        while (cursor_left(&at) && load_type(c, &at))
            ;
        if (cursor_left(&at) || at.failed)
            LOG(CONFIG, WARNING, "%s isn't whole: what can be read of it is used", c->path);
    }
    strbuf_fini(&all);
}

/* ---- restoring ---- */

bool cache_restore(struct cache *c)
{
    size_t any = 0;
    if (c->was_read)
        return false;
    c->was_read = c->is_restored = true;
    load(c);
    for (int type = 0; type < RESOURCE_TYPE_COUNT; type++)
        any += c->types[type] ? map_count(c->types[type]) : 0;
    if (any)
        LOG(CONFIG, WARNING, "no management server answers: %zu resources are taken from %s", any, c->path);
    return any > 0;
}

void cache_settle(struct cache *c)
{
    c->was_read = true;
    c->is_restored = false;
}

bool cache_is_restored(const struct cache *c)
{
    return c && c->is_restored;
}

struct str cache_find(const struct cache *c, enum resource_type type, struct str name, struct str *version)
{
    const struct kept *k = c->types[type] ? map_get(c->types[type], name) : NULL;
    *version = k ? k->version : STR_NULL;
    return k ? k->body : STR_NULL;
}

struct xds_resource *cache_all(const struct cache *c, enum resource_type type, uint32_t *count)
{
    size_t n = c->types[type] ? map_count(c->types[type]) : 0, pos = 0;
    struct xds_resource *items = mem_zalloc((n + 1) * sizeof *items);
    struct str name;
    void *value;
    *count = 0;
    while (n && map_next(c->types[type], &pos, &name, &value)) {
        const struct kept *k = value;
        items[(*count)++] = (struct xds_resource){.name = name, .version = k->version, .packed = k->body, .has_body = true};
    }
    return items;
}

/* ---- its life ---- */

struct cache *cache_new(struct loop *loop, struct str path)
{
    struct cache *c = NEW(cache);
    c->path = mem_strndup(path.p, path.n);
    timer_init(&c->save, loop, on_save);
    return c;
}

void cache_free(struct cache **cache)
{
    struct cache *c = *cache;
    *cache = NULL;
    if (!c)
        return;
    if (timer_is_set(&c->save))
        save(c);
    timer_clear(&c->save);
    for (int type = 0; type < RESOURCE_TYPE_COUNT; type++)
        clear_type(c, (enum resource_type)type);
    mem_free(c->path);
    mem_free(c);
}
