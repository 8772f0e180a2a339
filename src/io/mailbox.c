/* SPDX-License-Identifier: Apache-2.0
 *
 * Pushing swings one pointer; the reader exchanges the whole list for an empty one and reverses it,
 * so letters of one sender keep their order and there is no ABA problem: nobody pops single nodes.
 * Only the push that finds the box empty wakes the reader, so a burst costs one wake-up.
 */
#include "io/mailbox.h"

#include "base/mem.h"

bool mailbox_push(struct mailbox *m, post_fn fn, void *arg)
{
    struct letter *l = NEW(letter);
    l->fn = fn;
    l->arg = arg;
    struct letter *head = atomic_load_explicit(&m->newest, memory_order_relaxed);
    do {
        l->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&m->newest, &head, l, memory_order_release,
                                                    memory_order_relaxed));
    return head == NULL;
}

struct letter *mailbox_take(struct mailbox *m)
{
    if (!atomic_load_explicit(&m->newest, memory_order_relaxed))
        return NULL; /* every turn asks: spare it the locked instruction */
    struct letter *newest = atomic_exchange_explicit(&m->newest, NULL, memory_order_acquire);
    struct letter *oldest = NULL;
    while (newest) {
        struct letter *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}
