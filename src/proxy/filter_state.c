/* SPDX-License-Identifier: Apache-2.0
 *
 * Filter state: a short list on the heap, since an object may outlive the request that left it (a
 * connection's). A handful of entries at most: filters choose the keys, never a peer. Read-only
 * entries stay as they were first set. One worker's alone.
 */
#include "proxy/filter_state.h"

#include "base/mem.h"

static struct filter_state_entry *find_own(const struct filter_state *s, struct str key)
{
    for (struct filter_state_entry *e = s->first; e; e = e->next)
        if (str_eq(e->key, key))
            return e;
    return NULL;
}

const struct filter_state_entry *filter_state_find(const struct filter_state *s, struct str key)
{
    for (; s; s = s->parent) {
        const struct filter_state_entry *e = find_own(s, key);
        if (e)
            return e;
    }
    return NULL;
}

void filter_state_object_unref(struct filter_state_object **o)
{
    struct filter_state_object *old = *o;
    *o = NULL;
    if (old && --old->refs == 0)
        old->free(old);
}

static void append(struct filter_state *s, struct filter_state_entry *e)
{
    struct filter_state_entry **end = &s->first;
    while (*end)
        end = &(*end)->next;
    *end = e;
}

static struct filter_state_entry *add(struct filter_state *s, struct str key)
{
    struct filter_state_entry *e = NEW(filter_state_entry);
    e->key = str_dup(key);
    append(s, e);
    return e;
}

static void drop_value(struct filter_state_entry *e)
{
    if (!e->object)
        str_free(&e->value);
    filter_state_object_unref(&e->object);
}

bool filter_state_set(struct filter_state *s, struct str key, struct str value, bool read_only, enum filter_state_sharing sharing)
{
    const struct filter_state_entry *there = filter_state_find(s, key);
    if (there && there->read_only)
        return false;
    struct filter_state_entry *e = find_own(s, key);
    if (!e)
        e = add(s, key);
    struct str copy = str_dup(value); /* `value` may be the old one's text */
    drop_value(e);
    e->value = copy;
    e->read_only = read_only;
    e->sharing = sharing;
    return true;
}

bool filter_state_link(struct filter_state *s, struct filter_state_entry *keep_entry, struct str keep_key, struct filter_state_object *o,
                       enum filter_state_sharing sharing)
{
    if (filter_state_find(s, keep_key))
        return false;
    *keep_entry = (struct filter_state_entry){.key = keep_key, .value = o->text, .object = filter_state_object_ref(o),
                                              .is_kept_elsewhere = true, .sharing = sharing};
    append(s, keep_entry);
    return true;
}

bool filter_state_set_object(struct filter_state *s, struct str key, struct filter_state_object *o, enum filter_state_sharing sharing)
{
    if (filter_state_find(s, key))
        return false;
    struct filter_state_entry *e = add(s, key);
    e->value = o->text;
    e->object = filter_state_object_ref(o);
    e->sharing = sharing;
    return true;
}

void filter_state_fini(struct filter_state *s)
{
    struct filter_state_entry *e = s->first;
    s->first = NULL;
    while (e) {
        struct filter_state_entry *next = e->next;
        drop_value(e);
        if (!e->is_kept_elsewhere) {
            str_free(&e->key);
            mem_free(e);
        }
        e = next;
    }
}
