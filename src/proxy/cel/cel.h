/* SPDX-License-Identifier: Apache-2.0
 *
 * CEL, the Common Expression Language (cel-spec: langdef), over Envoy's request attributes ("Attributes"),
 * for access-log filters. Compiled once on the main thread, evaluated by every worker. What isn't
 * implemented (macros over lists, timestamps, types as values, map and bytes literals) is refused by
 * name when it is compiled.
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
/* Is the result the boolean true? Errors (an attribute that isn't there, types that don't fit) are not. */
bool cel_is_true(const struct cel *e, const struct format_context *cx);
/* The result as text, in `a` (or longer lived): strings as they are, numbers, booleans, times and durations as Envoy prints
 * them. False: an error, or a value that has no such form (lists, maps). */
struct arena;
bool cel_text(const struct cel *e, const struct format_context *cx, struct arena *a, struct str *out);
/* The result as a count: a number that isn't negative (rounded down), a duration in milliseconds. False: anything else. */
bool cel_count(const struct cel *e, const struct format_context *cx, uint64_t *out);

#endif
