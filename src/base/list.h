/* SPDX-License-Identifier: Apache-2.0
 *
 * Intrusive doubly linked list with a sentinel. A node that is in no list points to itself.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/check.h"

struct list {
    struct list *prev, *next;
};

static inline void list_init(struct list *l)
{
    l->prev = l->next = l;
}
static inline bool list_is_empty(const struct list *l)
{
    return l->next == l;
}
static inline void list_insert_after(struct list *at, struct list *node)
{
    node->prev = at;
    node->next = at->next;
    at->next->prev = node;
    at->next = node;
}
static inline void list_push_front(struct list *head, struct list *node)
{
    list_insert_after(head, node);
}
static inline void list_push_back(struct list *head, struct list *node)
{
    list_insert_after(head->prev, node);
}
static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->prev = node->next = node;
}
static inline struct list *list_first(struct list *head) /* NULL when empty */
{
    return head->next == head ? NULL : head->next;
}
static inline struct list *list_last(struct list *head)
{
    return head->prev == head ? NULL : head->prev;
}
static inline struct list *list_pop_front(struct list *head)
{
    struct list *n = list_first(head);
    if (n)
        list_remove(n);
    return n;
}

/* `it` and `safe` are struct list pointers; the body may remove `it`. */
#define LIST_EACH(it, safe, head)                                                                  \
    for (struct list *it = (head)->next, *safe = it->next; it != (head); it = safe, safe = it->next)

#define LIST_ENTRY(node, type, member) CONTAINER_OF(node, type, member)

#endif
