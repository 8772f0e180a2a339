/* SPDX-License-Identifier: Apache-2.0
 *
 * Hierarchical timer wheel. A timer lies on the level of the highest 6-bit digit in which its tick
 * differs from the wheel's: so on each level only slots after the present digit are used, level 0
 * is all that happens before the next 64-tick boundary, and the lowest used bit of the lowest used
 * level is the next thing to do, however far away: an idle loop jumps there at once.
 *
 * Invariants: used[] bit <=> list not empty; a timer is never fired early; a tick already passed
 * is filed at the next one, so a timer set from its own callback can't keep a turn from ending.
 * Runs on the loop's thread only.
 */
#include "io/wheel.h"

#include "base/check.h"

#define TICK_US 1000
#define DIGIT_BITS 6
#define MAX_AHEAD ((UINT64_C(1) << 40) - 1) /* 34 years; further ones are filed there and refiled */

void wheel_init(struct wheel *w, uint64_t now_us)
{
    *w = (struct wheel){.tick = now_us / TICK_US};
    for (int level = 0; level < WHEEL_LEVELS; level++)
        for (int i = 0; i < WHEEL_SLOTS; i++)
            list_init(&w->slots[level][i]);
}

static unsigned digit(uint64_t tick, int level)
{
    return (tick >> (level * DIGIT_BITS)) & (WHEEL_SLOTS - 1);
}

static uint64_t due_tick(const struct timer *t)
{
    return t->due_us / TICK_US + (t->due_us % TICK_US != 0);
}

void wheel_file(struct wheel *w, struct timer *t)
{
    uint64_t tick = due_tick(t);
    if (tick <= w->tick)
        tick = w->tick + 1;
    if (tick - w->tick > MAX_AHEAD)
        tick = w->tick + MAX_AHEAD;
    int level = (63 - __builtin_clzll(tick ^ w->tick)) / DIGIT_BITS;
    if (level >= WHEEL_LEVELS)
        level = WHEEL_LEVELS - 1;
    unsigned slot = digit(tick, level);
    list_push_back(&w->slots[level][slot], &t->node);
    w->used[level] |= UINT64_C(1) << slot;
    t->wheel_due_us = tick * TICK_US;
    w->count++;
}

void wheel_unfile(struct wheel *w, struct timer *t)
{
    struct list *head = t->node.next;
    list_remove(&t->node);
    t->node.next = NULL;
    w->count--;
    if (!list_is_empty(head))
        return;
    /* `head` was the only other node: a slot's, or that of the list being fired. */
    uintptr_t base = (uintptr_t)&w->slots[0][0], at = (uintptr_t)head;
    if (at < base || at >= base + sizeof(w->slots))
        return;
    size_t i = (at - base) / sizeof(struct list);
    w->used[i / WHEEL_SLOTS] &= ~(UINT64_C(1) << (i % WHEEL_SLOTS));
}

/* The next used slot and the tick at which it begins. Level 6's slots can lie behind the present
 * digit only after 139 years of uptime. */
static bool next_slot(const struct wheel *w, int *level, unsigned *slot, uint64_t *tick)
{
    for (int l = 0; l < WHEEL_LEVELS; l++) {
        if (!w->used[l])
            continue;
        *level = l;
        *slot = (unsigned)__builtin_ctzll(w->used[l]);
        uint64_t above = w->tick >> ((l + 1) * DIGIT_BITS) << ((l + 1) * DIGIT_BITS);
        *tick = above | (uint64_t)*slot << (l * DIGIT_BITS);
        return true;
    }
    return false;
}

uint64_t wheel_next_us(const struct wheel *w)
{
    int level;
    unsigned slot;
    uint64_t tick;
    return next_slot(w, &level, &slot, &tick) ? tick * TICK_US : UINT64_MAX;
}

static bool fire_or_refile(struct wheel *w, struct timer *t)
{
    if (due_tick(t) > w->tick) { /* moved later meanwhile, or one of a far slot */
        wheel_file(w, t);
        return false;
    }
    t->due_us = 0;
    t->on_fire(t);
    return true;
}

uint64_t wheel_advance(struct wheel *w, uint64_t now_us)
{
    uint64_t now = now_us / TICK_US, fired = 0, tick;
    int level;
    unsigned slot;
    while (next_slot(w, &level, &slot, &tick) && tick <= now) {
        struct list due;
        list_init(&due);
        struct list *from = &w->slots[level][slot];
        list_insert_after(from, &due); /* splice: `due` takes the place of the slot's head */
        list_remove(from);
        w->used[level] &= ~(UINT64_C(1) << slot);
        w->tick = tick;
        /* Timers of exactly this tick are due now, the rest of a far slot is spread out. */
        while (!list_is_empty(&due)) {
            struct timer *t = LIST_ENTRY(due.next, timer, node);
            wheel_unfile(w, t);
            fired += fire_or_refile(w, t);
        }
    }
    if (w->tick < now)
        w->tick = now;
    return fired;
}
