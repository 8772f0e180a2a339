/* SPDX-License-Identifier: Apache-2.0
 *
 * CEL, the Common Expression Language (cel-spec: langdef), over Envoy's request attributes ("Attributes"),
 * for access-log filters and formats and for labels of metrics. Compiled once on the main thread,
 * evaluated by every worker, within bounds of steps and memory. What isn't implemented (types as
 * values, patterns that are computed, messages) is refused by name when it is compiled.
 */
#ifndef PROXY_CEL_CEL_H
#define PROXY_CEL_CEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct cel;
struct format_context;
struct cel *cel_new(struct str text, struct err *err); /* NULL and the place in the text, 1-based */
void cel_free(struct cel **e);
/* What xds.node shows: a META_STRUCT. Main thread, when the bootstrap is read. */
struct meta_value;
void cel_set_node(const struct meta_value *keep_node);
/* Is the result the boolean true? Errors (an attribute that isn't there, types that don't fit) are not. */
bool cel_is_true(const struct cel *e, const struct format_context *cx);
/* The result as text, in `a` (or longer lived): strings as they are, numbers, booleans, times and durations as Envoy prints
 * them. False: an error, or a value that has no such form (lists, maps). */
struct arena;
bool cel_text(const struct cel *e, const struct format_context *cx, struct arena *a, struct str *out);
/* The result as a count: a number that isn't negative (rounded down), a duration in milliseconds. False: anything else. */
bool cel_count(const struct cel *e, const struct format_context *cx, uint64_t *out);

#endif
