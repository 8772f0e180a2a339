/* SPDX-License-Identifier: Apache-2.0
 *
 * Capture in a network namespace: the rules go in in one transaction, in place of what was there, or not at all. Blocking calls
 * that need CAP_NET_ADMIN in that namespace.
 */
#ifndef CAPTURE_CAPTURE_H
#define CAPTURE_CAPTURE_H

#include "base/err.h"
#include "base/str.h"
#include "capture/options.h"

/* The calling thread enters the namespace: a name under /run/netns or a path (/proc/PID/ns/net). It doesn't come back. */
int capture_enter(struct str netns, struct err *err);
/* Twice is as once. When it fails, rules and routes are as they were. */
int capture_apply(const struct capture_opts *o, struct err *err);
/* Leaves nothing, whatever was applied with which options; nothing to remove is fine. */
int capture_remove(struct err *err);
/* The tables with their counters and the routes; empty when there are none. */
int capture_show(struct strbuf *out, struct err *err);

#endif
