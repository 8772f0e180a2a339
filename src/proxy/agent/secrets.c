/* SPDX-License-Identifier: Apache-2.0
 *
 * The store of the process's own secrets. An entry is a name with its present secret and its watches; it is made by the first
 * who sets or watches it and stays until both are gone. Telling walks the watches by a cursor that deletion moves on, so
 * that callbacks may delete any watch, their own too; those added meanwhile aren't told, they ask for themselves.
 * Main thread. It reads no file and knows no certificate: what is set was looked at before.
 */
#include "proxy/agent/secrets.h"

#include "base/check.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"

struct entry {
    struct str name;
    struct secret *now;
    struct list watches;
    struct list *cursor; /* the next to be told; NULL: nobody is being told */
    bool was_wanted;
};
struct secret_watch {
    struct list node;
    struct entry *entry;
    secret_fn fn;
    void *user;
    uint64_t since; /* the newest version when it was added */
};

static struct map *entries;
static uint64_t versions;
static const struct secret_provider *provider; /* NULL: the store is closed */
static void *provider_user;

/* ---- secrets ---- */

static void wipe(struct str *s)
{
    if (s->p)
        explicit_bzero((char *)s->p, s->n);
    mem_free((char *)s->p);
    *s = STR_NULL;
}

struct secret *secret_ref(struct secret *s)
{
    s->refs++;
    return s;
}

void secret_unref(struct secret **p)
{
    struct secret *s = *p;
    *p = NULL;
    if (!s || --s->refs > 0)
        return;
    wipe(&s->key_pem);
    mem_free((char *)s->name.p);
    mem_free((char *)s->chain_pem.p);
    mem_free((char *)s->roots_pem.p);
    mem_free((char *)s->crl_pem.p);
    mem_free(s);
}

/* ---- entries ---- */

static struct entry *entry_of(struct str name)
{
    struct entry *e = entries ? map_get(entries, name) : NULL;
    if (e)
        return e;
    if (!entries)
        entries = map_new();
    e = NEW(entry);
    e->name = str_dup(name);
    list_init(&e->watches);
    map_set(entries, e->name, e);
    return e;
}

static void drop_if_unused(struct entry *e)
{
    if (e->now || !list_is_empty(&e->watches) || e->cursor)
        return;
    map_del(entries, e->name);
    if (map_count(entries) == 0)
        map_free(&entries);
    mem_free((char *)e->name.p);
    mem_free(e);
}

bool secret_store_serves(struct str name)
{
    return provider && provider->serves(provider_user, name);
}

struct secret *secret_store_get(struct str name)
{
    struct entry *e = entries ? map_get(entries, name) : NULL;
    return e ? e->now : NULL;
}

size_t secret_store_watchers(struct str name)
{
    struct entry *e = entries ? map_get(entries, name) : NULL;
    size_t n = 0;
    for (struct list *l = e ? e->watches.next : NULL; l && l != &e->watches; l = l->next)
        n++;
    return n;
}

/* ---- watches ---- */

static void want(struct entry *e)
{
    if (!provider || e->was_wanted || e->now)
        return;
    e->was_wanted = true;
    provider->wanted(provider_user, e->name);
}

struct secret_watch *secret_watch_add(struct str name, secret_fn fn, void *user)
{
    struct secret_watch *w = NEW(secret_watch);
    w->entry = entry_of(name);
    w->fn = fn;
    w->user = user;
    w->since = versions;
    list_push_back(&w->entry->watches, &w->node);
    want(w->entry);
    return w;
}

void secret_watch_del(struct secret_watch **p)
{
    struct secret_watch *w = *p;
    *p = NULL;
    if (!w)
        return;
    struct entry *e = w->entry;
    if (e->cursor == &w->node)
        e->cursor = w->node.next;
    list_remove(&w->node);
    mem_free(w);
    drop_if_unused(e);
}

static void tell(struct entry *e, struct secret *s)
{
    struct secret *held = secret_ref(s);
    for (e->cursor = e->watches.next; e->cursor != &e->watches;) {
        struct secret_watch *w = CONTAINER_OF(e->cursor, secret_watch, node);
        e->cursor = e->cursor->next;
        if (w->since < s->version)
            w->fn(w->user, s);
    }
    e->cursor = NULL;
    secret_unref(&held);
    drop_if_unused(e);
}

/* ---- setting ---- */

static bool is_same(const struct secret *a, const struct secret *b)
{
    return a && str_eq(a->chain_pem, b->chain_pem) && str_eq(a->key_pem, b->key_pem) && str_eq(a->roots_pem, b->roots_pem) &&
           str_eq(a->crl_pem, b->crl_pem);
}

static bool set(const struct secret *from)
{
    struct entry *e = entry_of(from->name);
    DCHECK(!e->cursor); /* a watch that sets what it is told of would tell for ever */
    if (is_same(e->now, from))
        return false;
    struct secret *s = NEW(secret);
    *s = (struct secret){.name = str_dup(from->name), .chain_pem = str_dup(from->chain_pem), .key_pem = str_dup(from->key_pem),
                         .roots_pem = str_dup(from->roots_pem), .crl_pem = str_dup(from->crl_pem), .version = ++versions, .refs = 1};
    struct secret *old = e->now;
    e->now = s;
    tell(e, s);
    secret_unref(&old);
    return true;
}

bool secret_store_set(struct str name, struct str chain_pem, struct str key_pem)
{
    return set(&(struct secret){.name = name, .chain_pem = chain_pem, .key_pem = key_pem});
}

bool secret_store_set_roots(struct str name, struct str roots_pem, struct str crl_pem)
{
    return set(&(struct secret){.name = name, .roots_pem = roots_pem, .crl_pem = crl_pem});
}

/* ---- the store ---- */

/* Names first: who is told of a wish may set, and so change the map. */
static size_t names_of(struct str **out)
{
    size_t n = 0, cap = 0, pos = 0;
    struct str name;
    void *e;
    *out = NULL;
    while (entries && map_next(entries, &pos, &name, &e)) {
        *out = mem_grow(*out, &cap, n + 1, sizeof **out);
        (*out)[n++] = str_dup(((struct entry *)e)->name);
    }
    return n;
}

void secret_store_open(const struct secret_provider *keep, void *user)
{
    struct str *names;
    size_t n = names_of(&names);
    provider = keep;
    provider_user = user;
    for (size_t i = 0; i < n; i++) {
        struct entry *e = entries ? map_get(entries, names[i]) : NULL;
        if (e && !list_is_empty(&e->watches))
            want(e);
        mem_free((char *)names[i].p);
    }
    mem_free(names);
}

void secret_store_close(void)
{
    struct str *names;
    size_t n = names_of(&names);
    provider = NULL;
    for (size_t i = 0; i < n; i++) {
        struct entry *e = map_get(entries, names[i]);
        secret_unref(&e->now);
        e->was_wanted = false;
        drop_if_unused(e);
        mem_free((char *)names[i].p);
    }
    mem_free(names);
}
