/* SPDX-License-Identifier: Apache-2.0
 *
 * Counting what is missing. A source tells each of its waiters once; a waiter that is freed first
 * takes itself off every list. Main thread.
 */
#include "proxy/warm.h"

#include <stdint.h>

#include "base/mem.h"

struct wait {
    struct list node;           /* the source's */
    struct list mine;           /* the waiter's */
    struct warmth *warmth;
};
struct warmth {
    struct list waits;
    uint32_t missing;
    bool is_started, is_warm;
    void (*on_warm)(void *arg);
    void *arg;
};

void warm_source_init(struct warm_source *s)
{
    list_init(&s->waiters);
    s->is_ready = false;
}

static void check(struct warmth *w)
{
    if (!w->is_started || w->is_warm || w->missing)
        return;
    w->is_warm = true;
    w->on_warm(w->arg);
}

void warm_source_ready(struct warm_source *s)
{
    s->is_ready = true;
    for (struct list *it; (it = list_pop_front(&s->waiters)) != NULL;) {
        struct wait *one = LIST_ENTRY(it, wait, node);
        struct warmth *w = one->warmth;
        list_remove(&one->mine);
        mem_free(one);
        w->missing--;
        check(w);
    }
}

void warm_source_fini(struct warm_source *s)
{
    warm_source_ready(s);
}

struct warmth *warmth_new(void (*on_warm)(void *arg), void *arg)
{
    struct warmth *w = NEW(warmth);
    list_init(&w->waits);
    w->on_warm = on_warm;
    w->arg = arg;
    return w;
}

void warmth_wait(struct warmth *w, struct warm_source *s)
{
    if (!s || s->is_ready)
        return;
    struct wait *one = NEW(wait);
    one->warmth = w;
    list_init(&one->node);
    list_init(&one->mine);
    list_push_back(&s->waiters, &one->node);
    list_push_back(&w->waits, &one->mine);
    w->missing++;
}

void warmth_start(struct warmth *w)
{
    w->is_started = true;
    check(w);
}

void warmth_free(struct warmth **warmth)
{
    struct warmth *w = *warmth;
    *warmth = NULL;
    if (!w)
        return;
    for (struct list *it; (it = list_pop_front(&w->waits)) != NULL;) {
        struct wait *one = LIST_ENTRY(it, wait, mine);
        list_remove(&one->node);
        mem_free(one);
    }
    mem_free(w);
}
