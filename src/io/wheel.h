/* SPDX-License-Identifier: Apache-2.0
 *
 * The timer wheel under a loop: 7 levels of 64 slots, one tick a millisecond. Pure: time comes in
 * as an argument.
 */
#ifndef IO_WHEEL_H
#define IO_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "io/loop.h"

#define WHEEL_LEVELS 7
#define WHEEL_SLOTS 64

struct wheel {
    uint64_t tick;                 /* ticks up to this one have been fired */
    uint64_t used[WHEEL_LEVELS];   /* bit set: the slot isn't empty */
    struct list slots[WHEEL_LEVELS][WHEEL_SLOTS];
    uint64_t count;                /* timers filed */
};

void wheel_init(struct wheel *w, uint64_t now_us);
void wheel_file(struct wheel *w, struct timer *t); /* by due_us; t is not filed */
void wheel_unfile(struct wheel *w, struct timer *t);
/* Fires what is due, in order of ticks. Returns how many callbacks ran. */
uint64_t wheel_advance(struct wheel *w, uint64_t now_us);
/* Earliest moment at which wheel_advance has something to do; UINT64_MAX when empty. May be early
 * (a far slot to be spread out), never late. */
uint64_t wheel_next_us(const struct wheel *w);

#endif
