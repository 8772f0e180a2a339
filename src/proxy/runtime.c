/* SPDX-License-Identifier: Apache-2.0
 *
 * Runtime values. The main thread keeps the layers; what readers see is one immutable version, a
 * sorted array, behind an atomic pointer. A change makes a new version. Old ones of the admin page's
 * changes are kept until the end, since a worker may be reading one: they come from a person and are few
 * (RUNTIME_VERSIONS_MAX bounds what a loop on that page can take). Those of discovery's go to the caller,
 * who knows when no worker is.
 */
#include "proxy/runtime.h"

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>

#define RUNTIME_VERSIONS_MAX 100000

struct entry {
    struct str key, value; /* the value of the last layer that has one */
};
struct runtime_version {
    struct runtime_version *older;
    size_t count;
    struct entry entries[]; /* sorted by key */
};
struct layer {
    struct str name;
    bool is_admin;
    struct map *values; /* key -> NUL-terminated text, owned */
};
struct runtime {
    struct layer *layers;
    size_t count;
    uint64_t versions;
};

static _Atomic(struct runtime_version *) current;
static struct runtime *the_runtime;

static int compare_entries(const void *a, const void *b)
{
    return str_cmp(((const struct entry *)a)->key, ((const struct entry *)b)->key);
}

/* Merges the layers, last one wins, into a new version. */
static struct runtime_version *version_new(const struct runtime *rt)
{
    struct map *merged = map_new();
    struct str key;
    void *value;
    for (size_t i = 0; i < rt->count; i++) {
        size_t pos = 0;
        while (map_next(rt->layers[i].values, &pos, &key, &value))
            map_set(merged, key, value);
    }
    size_t n = map_count(merged), pos = 0;
    struct runtime_version *v = mem_zalloc(sizeof *v + n * sizeof v->entries[0]);
    while (map_next(merged, &pos, &key, &value))
        v->entries[v->count++] = (struct entry){str_dup(key), str_dup(str_from(value))};
    qsort(v->entries, v->count, sizeof v->entries[0], compare_entries);
    map_free(&merged);
    return v;
}

static void publish(struct runtime *rt)
{
    struct runtime_version *v = version_new(rt);
    v->older = atomic_load_explicit(&current, memory_order_relaxed);
    rt->versions++;
    atomic_store_explicit(&current, v, memory_order_release);
}

static void layer_set(struct layer *l, struct str key, struct str value)
{
    mem_free(map_set(l->values, key, mem_strndup(value.p ? value.p : "", value.n)));
}

struct runtime *runtime_new(const struct runtime_layer_spec *layers, size_t count)
{
    CHECK(!the_runtime);
    struct runtime *rt = the_runtime = NEW(runtime);
    rt->count = count;
    rt->layers = mem_zalloc((count ? count : 1) * sizeof *rt->layers);
    for (size_t i = 0; i < count; i++) {
        struct layer *l = &rt->layers[i];
        *l = (struct layer){str_dup(layers[i].name), layers[i].is_admin, map_new()};
        for (size_t j = 0; j < layers[i].count; j++)
            layer_set(l, layers[i].keys[j], layers[i].values[j]);
    }
    publish(rt);
    return rt;
}

void runtime_version_free(void *version)
{
    struct runtime_version *v = version;
    for (size_t i = 0; i < v->count; i++) {
        mem_free((char *)v->entries[i].key.p);
        mem_free((char *)v->entries[i].value.p);
    }
    mem_free(v);
}

static void layer_fini(struct layer *l)
{
    size_t pos = 0;
    struct str key;
    void *value;
    while (map_next(l->values, &pos, &key, &value))
        mem_free(value);
    map_free(&l->values);
    mem_free((char *)l->name.p);
}

void runtime_free(struct runtime **p)
{
    struct runtime *rt = *p;
    *p = NULL;
    if (!rt)
        return;
    struct runtime_version *v = atomic_exchange(&current, NULL);
    while (v) {
        struct runtime_version *older = v->older;
        runtime_version_free(v);
        v = older;
    }
    for (size_t i = 0; i < rt->count; i++)
        layer_fini(&rt->layers[i]);
    mem_free(rt->layers);
    mem_free(rt);
    the_runtime = NULL;
}

struct str runtime_get(struct str key)
{
    const struct runtime_version *v = atomic_load_explicit(&current, memory_order_acquire);
    if (!v || v->count == 0)
        return STR_NULL;
    struct entry wanted = {key, STR_NULL};
    const struct entry *e = bsearch(&wanted, v->entries, v->count, sizeof v->entries[0], compare_entries);
    return e ? e->value : STR_NULL;
}

uint64_t runtime_u64(struct str key, uint64_t fallback)
{
    struct str value = runtime_get(key);
    uint64_t n;
    double d;
    if (str_to_u64(value, &n))
        return n;
    return str_to_double(value, &d) && d >= 0 && d < 1.8e19 ? (uint64_t)d : fallback;
}

bool runtime_bool(struct str key, bool fallback)
{
    struct str value = runtime_get(key);
    if (str_eq_nocase(value, STR("true")) || str_eq(value, STR("1")))
        return true;
    if (str_eq_nocase(value, STR("false")) || str_eq(value, STR("0")))
        return false;
    return fallback;
}

bool runtime_fraction(struct str key, uint64_t numerator, uint64_t denominator, uint64_t random_value)
{
    struct str rest, value = runtime_get(key);
    uint64_t n, d;
    if (str_to_u64(value, &n)) {
        numerator = n; /* a plain integer is a percentage, whatever the default's denominator (Envoy's rule) */
        denominator = 100;
    } else if (str_to_u64(str_split(value, '/', &rest), &n) && str_to_u64(rest, &d) && d > 0) {
        numerator = n;
        denominator = d;
    }
    return denominator > 0 && random_value % denominator < numerator;
}

int runtime_modify(struct str key, struct str value, struct err *err)
{
    struct runtime *rt = the_runtime;
    struct layer *admin = NULL;
    for (size_t i = 0; rt && i < rt->count; i++)
        admin = rt->layers[i].is_admin ? &rt->layers[i] : admin;
    if (!admin)
        return err_set(err, ERR_STATE, "no admin layer specified");
    if (rt->versions >= RUNTIME_VERSIONS_MAX)
        return err_set(err, ERR_LIMIT, "the runtime was modified %d times: restart to modify it again", RUNTIME_VERSIONS_MAX);
    if (value.n)
        layer_set(admin, key, value);
    else
        mem_free(map_del(admin->values, key));
    publish(rt);
    return 0;
}

static bool has_just(const struct layer *l, const struct str *keys, const struct str *values, size_t count)
{
    if (map_count(l->values) != count)
        return false;
    for (size_t i = 0; i < count; i++) {
        const char *value = map_get(l->values, keys[i]);
        if (!value || !str_eq(str_from(value), values[i]))
            return false;
    }
    return true;
}

struct runtime_version *runtime_replace_layer(size_t index, const struct str *keys, const struct str *values, size_t count)
{
    struct runtime *rt = the_runtime;
    struct layer *l = &rt->layers[index];
    if (has_just(l, keys, values, count))
        return NULL;
    struct str name = str_dup(l->name);
    layer_fini(l);
    *l = (struct layer){name, false, map_new()};
    for (size_t i = 0; i < count; i++)
        layer_set(l, keys[i], values[i]);
    publish(rt);
    struct runtime_version *now = atomic_load_explicit(&current, memory_order_relaxed), *old = now->older;
    now->older = old->older;
    rt->versions--; /* it won't be kept */
    return old;
}

static void dump_entry(const struct runtime *rt, const struct entry *e, struct strbuf *out)
{
    strbuf_addz(out, "  \"");
    strbuf_add_json(out, e->key);
    strbuf_addz(out, "\": {\n   \"final_value\": \"");
    strbuf_add_json(out, e->value);
    strbuf_addz(out, "\",\n   \"layer_values\": [\n");
    for (size_t i = 0; i < rt->count; i++) {
        const char *value = map_get(rt->layers[i].values, e->key);
        strbuf_addz(out, "    \"");
        strbuf_add_json(out, str_from(value ? value : ""));
        strbuf_addz(out, i + 1 < rt->count ? "\",\n" : "\"\n");
    }
    strbuf_addz(out, "   ]\n  }");
}

void runtime_dump_json(struct strbuf *out)
{
    const struct runtime *rt = the_runtime;
    const struct runtime_version *v = atomic_load_explicit(&current, memory_order_acquire);
    strbuf_addz(out, "{\n \"layers\": [\n");
    for (size_t i = 0; rt && i < rt->count; i++) {
        strbuf_addz(out, "  \"");
        strbuf_add_json(out, rt->layers[i].name);
        strbuf_addz(out, i + 1 < rt->count ? "\",\n" : "\"\n");
    }
    strbuf_addz(out, " ],\n \"entries\": {");
    for (size_t i = 0; rt && v && i < v->count; i++) {
        strbuf_addz(out, i ? ",\n" : "\n");
        dump_entry(rt, &v->entries[i], out);
    }
    strbuf_addz(out, rt && v && v->count ? "\n }\n}\n" : "}\n}\n");
}
