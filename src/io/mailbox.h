/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages to a loop's thread: a lock-free list that many push to and one takes whole.
 */
#ifndef IO_MAILBOX_H
#define IO_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>

#include "io/loop.h"

struct letter {
    struct letter *next;
    post_fn fn;
    void *arg;
};
struct mailbox {
    _Atomic(struct letter *) newest;
};
bool mailbox_push(struct mailbox *m, post_fn fn, void *arg); /* true: it was empty, wake the reader */
struct letter *mailbox_take(struct mailbox *m);              /* oldest first; NULL when empty */

#endif
