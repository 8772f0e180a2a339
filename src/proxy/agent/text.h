/* SPDX-License-Identifier: Apache-2.0
 *
 * How the environment of a pod writes things: Go's durations and booleans, lists, JSON. For this folder.
 */
#ifndef PROXY_AGENT_TEXT_H
#define PROXY_AGENT_TEXT_H

#include "base/arena.h"
#include "base/str.h"
#include "proto/doc.h"

/* "24h0m0s", "1.5h", "300ms", "5s", "0" (Go's time.ParseDuration; Protobuf's JSON durations are among them). Milliseconds,
 * rounded down but never to 0 from more. False: isn't one, is negative, or is longer than a century. */
bool text_duration_ms(struct str s, uint64_t *out);
/* Go's strconv.ParseBool. */
bool text_bool(struct str s, bool *out);

struct text_pair {
    struct str key, value;
};
struct text_pairs { /* in an arena, by key in bytewise order, each key once */
    struct text_pair *items;
    size_t count, cap;
};
/* Copies; a key that is there gets the new value. */
void text_pairs_set(struct text_pairs *p, struct arena *a, struct str key, struct str value);
struct str text_pairs_get(const struct text_pairs *p, struct str key); /* null str when absent */
/* {"key":"value",...} */
void text_pairs_json(const struct text_pairs *p, struct strbuf *out);

void json_add_string(struct strbuf *out, struct str s); /* with its quotes */
/* Compact; numbers as they were written. */
void json_add_node(struct strbuf *out, const struct doc_node *node);
/* "\"name\": " after a comma unless it is the first of its object. */
void json_add_key(struct strbuf *out, const char *name);

/* JSON by a pattern: ' becomes a quotation mark, %q takes a `struct str` (quoted and escaped), %s a `const char *` as it is,
 * %u an `unsigned`. Nothing else is special. */
void json_addf(struct strbuf *out, const char *pattern, ...);

/* Is a key the field `camel`? Protobuf's JSON takes lowerCamelCase and the field's own snake_case. */
bool json_is_name(struct str key, const char *camel);
const struct doc_node *json_member(const struct doc_node *map, const char *camel); /* NULL: none, or no map */

/* Whole file, at most `limit` bytes, NUL-terminated in the arena. ERR_NOT_FOUND, ERR_IO, ERR_LIMIT. */
int text_read_file(const char *path, struct arena *a, size_t limit, struct str *out, struct err *err);

#endif
