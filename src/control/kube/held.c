/* SPDX-License-Identifier: Apache-2.0
 *
 * Tens of thousands of objects: an entry is its key and one word, the last round that saw it.
 */
#include "control/kube/held.h"

#include "base/map.h"
#include "base/mem.h"

struct kube_held {
    struct map *rounds; /* key -> round, a number from 1 */
    struct map *faults; /* key -> struct err */
    uintptr_t round;
    struct strbuf key;  /* scratch */
};

struct kube_held *kube_held_new(void)
{
    struct kube_held *h = NEW(kube_held);
    h->rounds = map_new();
    h->faults = map_new();
    h->round = 1;
    return h;
}

void kube_held_free(struct kube_held **p)
{
    struct kube_held *h = *p;
    struct str key;
    void *fault;
    *p = NULL;
    if (!h)
        return;
    for (size_t pos = 0; map_next(h->faults, &pos, &key, &fault);)
        mem_free(fault);
    map_free(&h->faults);
    map_free(&h->rounds);
    strbuf_fini(&h->key);
    mem_free(h);
}

static struct str key_of(struct kube_held *h, struct str ns, struct str name)
{
    strbuf_reset(&h->key);
    strbuf_adds(&h->key, ns);
    strbuf_addc(&h->key, '/');
    strbuf_adds(&h->key, name);
    return strbuf_str(&h->key);
}

void kube_held_begin_round(struct kube_held *h)
{
    h->round++;
}

void kube_held_add(struct kube_held *h, struct str ns, struct str name)
{
    map_set(h->rounds, key_of(h, ns, name), (void *)h->round);
}

bool kube_held_remove(struct kube_held *h, struct str ns, struct str name)
{
    struct str key = key_of(h, ns, name);
    mem_free(map_del(h->faults, key));
    return map_del(h->rounds, key) != NULL;
}

size_t kube_held_end_round(struct kube_held *h, kube_held_fn fn, void *user)
{
    struct strbuf gone = {0}; /* keys hold no NUL */
    struct str key, rest;
    void *round;
    size_t count = 0;
    for (size_t pos = 0; map_next(h->rounds, &pos, &key, &round);)
        if ((uintptr_t)round != h->round) {
            strbuf_adds(&gone, key);
            strbuf_addc(&gone, '\0');
        }
    for (rest = gone.n ? strbuf_str(&gone) : STR_NULL; rest.n; count++) {
        struct str name, ns;
        key = str_split(rest, '\0', &rest);
        ns = str_split(key, '/', &name);
        mem_free(map_del(h->faults, key));
        map_del(h->rounds, key);
        fn(user, ns, name);
    }
    strbuf_fini(&gone);
    return count;
}

size_t kube_held_count(const struct kube_held *h)
{
    return map_count(h->rounds);
}

void kube_held_set_fault(struct kube_held *h, struct str ns, struct str name, const struct err *fault)
{
    struct str key = key_of(h, ns, name);
    struct err *copy = NULL;
    mem_free(map_del(h->faults, key));
    if (!fault || map_count(h->faults) >= KUBE_FAULTS_MAX)
        return;
    copy = NEW(err);
    *copy = *fault;
    map_set(h->faults, key, copy);
}

size_t kube_held_fault_count(const struct kube_held *h)
{
    return map_count(h->faults);
}

void kube_held_faults(const struct kube_held *h, struct err_list *out)
{
    struct str key;
    void *fault;
    for (size_t pos = 0; map_next(h->faults, &pos, &key, &fault);)
        err_list_add(out, fault);
}
