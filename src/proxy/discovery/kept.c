/* SPDX-License-Identifier: Apache-2.0
 *
 * What has come below namespaces, whether or not somebody stands above them yet: a wildcard is answered
 * once, and who comes later gets it from here. Main thread.
 */
#include "base/mem.h"
#include "proxy/discovery/discovery_priv.h"

struct one {
    struct str name, version, packed;
};
struct kept {
    struct map *namespaces; /* -> map of struct one, by full name; none is empty */
    bool is_answered, is_restored;
};

bool is_namespace(struct str name)
{
    return name.n && name.p[name.n - 1] == '/';
}

struct str namespace_of(struct str name)
{
    size_t n = name.n;
    while (n && name.p[n - 1] != '/')
        n--;
    return str_make(name.p, n);
}

struct kept *kept_new(void)
{
    struct kept *k = NEW(kept);
    k->namespaces = map_new();
    return k;
}

static void one_free(struct one *o)
{
    if (!o)
        return;
    str_free(&o->name);
    str_free(&o->version);
    str_free(&o->packed);
    mem_free(o);
}

void kept_free(struct kept **kept)
{
    struct kept *k = *kept;
    struct str name;
    void *map, *one;
    *kept = NULL;
    if (!k)
        return;
    for (size_t at = 0; map_next(k->namespaces, &at, &name, &map);) {
        struct map *m = map;
        for (size_t i = 0; map_next(m, &i, &name, &one);)
            one_free(one);
        map_free(&m);
    }
    map_free(&k->namespaces);
    mem_free(k);
}

static struct map *below(const struct kept *k, struct str namespace)
{
    return map_get(k->namespaces, namespace);
}

struct str kept_find(const struct kept *k, struct str name)
{
    const struct map *m = below(k, namespace_of(name));
    const struct one *o = m ? map_get(m, name) : NULL;
    return o ? o->packed : STR_NULL;
}

void kept_put(struct kept *k, struct str name, struct str version, struct str packed)
{
    struct map *m = below(k, namespace_of(name));
    if (!m)
        map_set(k->namespaces, namespace_of(name), m = map_new());
    struct one *o = map_get(m, name);
    if (!o) {
        o = NEW(one);
        o->name = str_dup(name);
        map_set(m, name, o);
    }
    str_replace(&o->version, version);
    str_replace(&o->packed, packed);
}

void kept_del(struct kept *k, struct str name)
{
    struct map *m = below(k, namespace_of(name));
    if (!m)
        return;
    one_free(map_del(m, name));
    if (map_count(m))
        return;
    map_del(k->namespaces, namespace_of(name));
    map_free(&m);
}

uint32_t kept_count(const struct kept *k, struct str namespace)
{
    const struct map *m = below(k, namespace);
    return m ? (uint32_t)map_count(m) : 0;
}

void kept_each(const struct kept *k, struct str namespace, void (*fn)(const struct resource *r, void *arg), void *arg)
{
    const struct map *m = below(k, namespace);
    struct str name;
    void *value;
    for (size_t at = 0; m && map_next(m, &at, &name, &value);) {
        const struct one *o = value;
        fn(&(struct resource){.name = o->name, .version = o->version, .packed = o->packed}, arg);
    }
}

bool kept_is_answered(const struct kept *k)
{
    return k && k->is_answered;
}

void kept_note_answer(struct kept *k)
{
    k->is_answered = true;
}

void kept_note_restored(struct kept *k)
{
    k->is_answered = k->is_restored = true;
}

bool kept_take_restored(struct kept *k)
{
    bool was = k->is_restored;
    k->is_restored = false;
    return was;
}

struct str *kept_absent(const struct kept *k, const struct resource *items, uint32_t count, uint32_t *absent)
{
    struct map *present = map_new();
    struct str namespace, name, *out;
    void *map, *value;
    size_t n = 0;
    for (uint32_t i = 0; i < count; i++)
        map_set(present, items[i].name, present);
    for (size_t at = 0; map_next(k->namespaces, &at, &namespace, &map);)
        n += map_count(map);
    out = mem_alloc((n + 1) * sizeof *out);
    *absent = 0;
    for (size_t at = 0; map_next(k->namespaces, &at, &namespace, &map);)
        for (size_t i = 0; map_next(map, &i, &name, &value);)
            if (!map_get(present, name))
                out[(*absent)++] = str_dup(name);
    map_free(&present);
    return out;
}
