/* SPDX-License-Identifier: Apache-2.0
 *
 * Filter state: a short list on the heap, since an object may outlive the request that left it (a
 * connection's). A handful of entries at most: filters choose the keys, never a peer. Read-only
 * entries stay as they were first set. One worker's alone.
 */
#include "proxy/filter_state.h"

#include "base/mem.h"

static struct str keep(struct str s)
{
    return str_make(mem_strndup(s.p ? s.p : "", s.n), s.n);
}

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

static struct filter_state_entry *add(struct filter_state *s, struct str key)
{
    struct filter_state_entry *e = NEW(filter_state_entry), **end = &s->first;
    while (*end)
        end = &(*end)->next;
    e->key = keep(key);
    *end = e;
    return e;
}

bool filter_state_set(struct filter_state *s, struct str key, struct str value, bool read_only, enum filter_state_sharing sharing)
{
    const struct filter_state_entry *there = filter_state_find(s, key);
    if (there && there->read_only)
        return false;
    struct filter_state_entry *e = find_own(s, key);
    if (!e)
        e = add(s, key);
    struct str copy = keep(value); /* `value` may be the old one's text */
    mem_free((char *)(uintptr_t)e->value.p);
    e->value = copy;
    e->read_only = read_only;
    e->sharing = sharing;
    return true;
}

void filter_state_fini(struct filter_state *s)
{
    struct filter_state_entry *e = s->first;
    s->first = NULL;
    while (e) {
        struct filter_state_entry *next = e->next;
        mem_free((char *)(uintptr_t)e->key.p);
        mem_free((char *)(uintptr_t)e->value.p);
        mem_free(e);
        e = next;
    }
}
