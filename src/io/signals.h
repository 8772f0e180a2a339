/* SPDX-License-Identifier: Apache-2.0
 *
 * Signals as events on a loop. Make it on the main thread before any other thread starts: the
 * signals are blocked here, and threads inherit that.
 */
#ifndef IO_SIGNALS_H
#define IO_SIGNALS_H

#include <signal.h>

#include "base/err.h"
#include "io/loop.h"

struct signals;
typedef void (*signal_fn)(void *user, int signal_number);
struct signals *signals_new(struct loop *loop, const sigset_t *mask, signal_fn fn, void *user,
                            struct err *err);
void signals_free(struct signals **s); /* the signals stay blocked */

#endif
