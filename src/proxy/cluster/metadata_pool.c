/* SPDX-License-Identifier: Apache-2.0
 *
 * Each pooled object is one block: the object, its texts and its key. Table and counts are the main
 * thread's: hosts are made there, and one that goes on a worker posts its reference back.
 */
#include "proxy/cluster/metadata_pool.h"

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"
#include "proxy/cluster/cluster_priv.h"

struct pooled {
    struct metadata metadata;
    uint32_t refs; /* main thread */
    struct str key;
};

static struct map *pool;

/* ---- one block ---- */

static size_t rounded(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

static size_t fields_bytes(const struct meta_field *f, uint32_t n);

static size_t value_bytes(const struct meta_value *v)
{
    size_t n = 0;
    switch (v->kind) {
    case META_STRING:
        return rounded(v->u.string.n + 1);
    case META_LIST:
        n = v->u.list.count * sizeof(struct meta_value);
        for (uint32_t i = 0; i < v->u.list.count; i++)
            n += value_bytes(&v->u.list.items[i]);
        return n;
    case META_STRUCT:
        return fields_bytes(v->u.fields.items, v->u.fields.count);
    default:
        return 0;
    }
}

static size_t fields_bytes(const struct meta_field *f, uint32_t count)
{
    size_t n = count * sizeof *f;
    for (uint32_t i = 0; i < count; i++)
        n += rounded(f[i].name.n + 1) + value_bytes(&f[i].value);
    return n;
}

static void *take(char **at, size_t n)
{
    void *p = *at;
    *at += rounded(n);
    return p;
}

static struct str put_text(char **at, struct str s)
{
    char *p = take(at, s.n + 1);
    memcpy(p, s.n ? s.p : "", s.n);
    p[s.n] = '\0';
    return str_make(p, s.n);
}

static struct meta_field *put_fields(char **at, const struct meta_field *f, uint32_t n);

static struct meta_value put_value(char **at, const struct meta_value *v)
{
    struct meta_value copy = *v;
    switch (v->kind) {
    case META_STRING:
        copy.u.string = put_text(at, v->u.string);
        break;
    case META_LIST:
        copy.u.list.items = take(at, v->u.list.count * sizeof *copy.u.list.items);
        for (uint32_t i = 0; i < v->u.list.count; i++)
            copy.u.list.items[i] = put_value(at, &v->u.list.items[i]);
        break;
    case META_STRUCT:
        copy.u.fields.items = put_fields(at, v->u.fields.items, v->u.fields.count);
        break;
    default:
        break;
    }
    return copy;
}

static struct meta_field *put_fields(char **at, const struct meta_field *f, uint32_t n)
{
    struct meta_field *copy = take(at, n * sizeof *f);
    for (uint32_t i = 0; i < n; i++) {
        copy[i].name = put_text(at, f[i].name);
        copy[i].value = put_value(at, &f[i].value);
    }
    return copy;
}

static struct pooled *copy_of(struct str key, const struct metadata *m)
{
    size_t bytes = sizeof(struct pooled) + fields_bytes(m->items, m->count) + rounded(key.n + 1);
    struct pooled *p = mem_zalloc(bytes);
    char *at = (char *)(p + 1);
    p->metadata.count = m->count;
    p->metadata.items = put_fields(&at, m->items, m->count);
    p->key = put_text(&at, key);
    DCHECK(at <= (char *)p + bytes);
    return p;
}

/* ---- the table ---- */

static struct pooled *of(const struct metadata *m)
{
    return CONTAINER_OF((struct metadata *)(uintptr_t)m, pooled, metadata);
}

const struct metadata *metadata_pool_get(struct str key, const struct metadata *m)
{
    if (!pool)
        pool = map_new();
    struct pooled *p = map_get(pool, key);
    if (!p) {
        p = copy_of(key, m);
        map_set(pool, p->key, p);
    }
    p->refs++;
    return &p->metadata;
}

const struct metadata *metadata_pool_ref(const struct metadata *m)
{
    of(m)->refs++;
    return m;
}

static void drop(void *arg)
{
    struct pooled *p = arg;
    if (--p->refs)
        return;
    map_del(pool, p->key);
    mem_free(p);
    if (map_count(pool) == 0)
        map_free(&pool);
}

void metadata_pool_unref(const struct metadata *m)
{
    if (!m)
        return;
    if (stat_thread)
        loop_post(clusters_main_loop(), drop, of(m));
    else
        drop(of(m));
}

size_t metadata_pool_count(void)
{
    return pool ? map_count(pool) : 0;
}
