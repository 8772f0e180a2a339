/* SPDX-License-Identifier: Apache-2.0
 *
 * What one has of an object: labels, order, title, references. Objects are made in read.c, whole in one arena. One thread counts
 * references, any may read.
 */
#include "model/object.h"

#include "base/check.h"
#include "base/mem.h"
#include "model/model_priv.h"

/* ---- labels ---- */

struct str labels_get(const struct labels *l, struct str key)
{
    size_t low = 0, high = l->count;
    while (low < high) {
        size_t at = low + (high - low) / 2;
        int order = str_cmp(l->items[at].key, key);
        if (order == 0)
            return l->items[at].value;
        if (order < 0)
            low = at + 1;
        else
            high = at;
    }
    return STR_NULL;
}

bool labels_have_all(const struct labels *l, const struct labels *selector)
{
    size_t at = 0;
    for (size_t i = 0; i < selector->count; i++) {
        while (at < l->count && str_cmp(l->items[at].key, selector->items[i].key) < 0)
            at++;
        if (at == l->count || !str_eq(l->items[at].key, selector->items[i].key) ||
            !str_eq(l->items[at].value, selector->items[i].value))
            return false;
    }
    return true;
}

/* ---- objects ---- */

const struct object *object_ref(const struct object *o)
{
    struct object_box *box = object_box(o);
    DCHECK(box->refs > 0);
    box->refs++;
    return o;
}

void object_unref(const struct object **o)
{
    if (!*o)
        return;
    struct object_box *box = object_box(*o);
    *o = NULL;
    CHECK(box->refs > 0);
    if (--box->refs > 0)
        return;
    struct proto_arena *arena = box->arena;
    proto_arena_free(&arena);
}

int object_compare(const struct object *a, const struct object *b)
{
    if (a->created_s != b->created_s)
        return a->created_s < b->created_s ? -1 : 1;
    int order = str_cmp(a->name, b->name);
    return order ? order : str_cmp(a->ns, b->ns);
}

void object_title(const struct object *o, struct strbuf *out)
{
    title_add(out, o->kind, o->ns, o->name);
}

void title_add(struct strbuf *out, const struct kind *k, struct str ns, struct str name)
{
    strbuf_addf(out, "%s ", k->name);
    if (k->is_namespaced)
        strbuf_addf(out, "%.*s/", STR_ARG(ns));
    strbuf_adds(out, name.n ? name : STR("?"));
}

/* ---- lists ---- */

void object_list_add(struct object_list *l, const struct object *take_object)
{
    if (l->count == l->cap)
        l->items = mem_grow(l->items, &l->cap, l->count + 1, sizeof(struct object *));
    l->items[l->count++] = take_object;
}

void object_list_fini(struct object_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        object_unref(&l->items[i]);
    mem_free(l->items);
    *l = (struct object_list){0};
}
