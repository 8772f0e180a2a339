/* SPDX-License-Identifier: Apache-2.0
 *
 * A stream of JSON objects, one a line, cut into its lines as it comes. Pure.
 */
#ifndef CONTROL_KUBE_LINES_H
#define CONTROL_KUBE_LINES_H

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"

struct kube_lines { /* zeroed, but for the limit */
    size_t limit_bytes; /* of one line */
    struct strbuf held; /* the line that isn't whole yet */
};
/* A line without its end, and never empty. False: no more of them, the rest is dropped. */
typedef bool (*kube_line_fn)(void *user, struct str line);
/* ERR_LIMIT: a line is longer. */
int kube_lines_feed(struct kube_lines *l, struct str piece, kube_line_fn fn, void *user, struct err *err);
void kube_lines_fini(struct kube_lines *l);

#endif
