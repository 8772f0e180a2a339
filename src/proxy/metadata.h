/* SPDX-License-Identifier: Apache-2.0
 *
 * Metadata: values (as google.protobuf.Struct has them) by namespace and key. Configured metadata
 * (of routes, clusters, endpoints) is immutable; a request's dynamic metadata is built in its
 * exchange's arena and is its worker's alone.
 */
#ifndef PROXY_METADATA_H
#define PROXY_METADATA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"

enum meta_kind { META_NULL, META_BOOL, META_NUMBER, META_STRING, META_LIST, META_STRUCT };
struct meta_field;
struct meta_value {
    enum meta_kind kind;
    union {
        bool boolean;
        double number;
        struct str string;
        struct { struct meta_value *items; uint32_t count; } list;
        struct { struct meta_field *items; uint32_t count; } fields;
    } u;
};
struct meta_field {
    struct str name;
    struct meta_value value;
};
struct metadata { /* namespaces: each value is a META_STRUCT */
    struct meta_field *items;
    uint32_t count;
};

/* The value at namespace / path[0] / path[1] …; n 0 gives the namespace itself. NULL when there is none (or m is NULL). */
const struct meta_value *metadata_find(const struct metadata *m, struct str space, const struct str *path, uint32_t n);
/* Field of a META_STRUCT; NULL for anything else. */
const struct meta_value *meta_field(const struct meta_value *v, struct str name);
bool meta_equal(const struct meta_value *a, const struct meta_value *b);
/* Deep copies into `a`. A zeroed value (META_NULL) when the arena is full. */
struct meta_value meta_copy(struct arena *a, const struct meta_value *v);
/* Sets one key of a namespace, replacing what was there; texts are copied. False: limits (METADATA_*_MAX) or a full arena. */
#define METADATA_KEYS_MAX 1024 /* in one namespace of one request: a client that chooses keys can't grow it without end */
bool metadata_set(struct metadata *m, struct arena *a, struct str space, struct str key, const struct meta_value *v);
/* Merges a META_STRUCT into a namespace as Protobuf merges Structs: structs recursively, anything else replaced; lists are
 * appended (Envoy: StructUtil::update, documented at set_metadata's allow_overwrite). */
bool metadata_merge(struct metadata *m, struct arena *a, struct str space, const struct meta_value *fields);
/* JSON text; a bare string without quotes when `bare_string`. Numbers as Protobuf JSON prints doubles. */
void meta_print_json(const struct meta_value *v, bool bare_string, struct strbuf *out);

#endif
