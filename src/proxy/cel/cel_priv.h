/* SPDX-License-Identifier: Apache-2.0
 *
 * Room-private: the tree of an expression and its values.
 */
#ifndef PROXY_CEL_PRIV_H
#define PROXY_CEL_PRIV_H

#include "base/arena.h"
#include "proxy/cel/cel.h"
#include "proxy/log/access_log.h"
#include "proxy/match/string_match.h"
#include "proxy/metadata.h"

#define CEL_DEPTH_MAX 64    /* of nesting: the parser and the evaluator recurse */
#define CEL_NODES_MAX 2000

enum cel_kind {
    CEL_ERROR, CEL_NULL, CEL_BOOL, CEL_INT, CEL_UINT, CEL_DOUBLE, CEL_STRING, CEL_DURATION /* i: microseconds */, CEL_LIST,
    CEL_META /* a value of metadata */, CEL_MAP,
};
enum cel_map { CEL_REQUEST_HEADERS, CEL_RESPONSE_HEADERS, CEL_RESPONSE_TRAILERS, CEL_METADATA, CEL_FILTER_STATE };
struct cel_value {
    enum cel_kind kind;
    union {
        bool b;
        int64_t i;
        uint64_t u;
        double d;
        struct str s;
        const struct meta_value *meta;
        enum cel_map map;
        struct { struct cel_value *items; uint32_t count; } list;
    } v;
};

enum cel_op {
    CEL_CONST, CEL_ATTRIBUTE, CEL_INDEX /* a[b], a.name */, CEL_LIST_OF, CEL_HAS,
    CEL_OR, CEL_AND, CEL_NOT, CEL_NEGATE, CEL_TERNARY,
    CEL_EQ, CEL_NE, CEL_LT, CEL_LE, CEL_GT, CEL_GE, CEL_IN,
    CEL_ADD, CEL_SUB, CEL_MUL, CEL_DIV, CEL_MOD,
    CEL_SIZE, CEL_STARTS_WITH, CEL_ENDS_WITH, CEL_CONTAINS, CEL_MATCHES,
    CEL_TO_INT, CEL_TO_UINT, CEL_TO_DOUBLE, CEL_TO_STRING,
};
struct cel_attribute;
struct cel_node {
    enum cel_op op;
    struct cel_value value;                 /* CONST */
    const struct cel_attribute *attribute;  /* ATTRIBUTE */
    struct format *format;                  /* its text, where it has one; owned */
    struct regex *regex;                    /* MATCHES; owned */
    struct cel_node **args;
    uint32_t arg_count;
    bool is_select;                         /* INDEX written as a.name */
    struct cel_node *next;                  /* all nodes, for what they own */
};
struct cel {
    struct arena arena;
    struct cel_node *root, *all;
    uint32_t node_count;
};

/* attributes.c. `path` is "request.method" and so on; NULL: unknown. */
struct cel_attribute {
    const char *name;
    enum cel_kind kind;
    const char *operators; /* a format whose text is the value ("-" or "": absent); NULL: read() */
    struct cel_value (*read)(const struct format_context *cx, struct arena *a);
};
const struct cel_attribute *cel_attribute_find(struct str path);
bool cel_is_root(struct str name);
struct cel_value cel_attribute_value(const struct cel_node *n, const struct format_context *cx, struct arena *a);
struct cel_value cel_map_get(enum cel_map map, struct str key, const struct format_context *cx, struct arena *a);
struct cel_value cel_of_meta(const struct meta_value *m);
/* eval.c */
struct cel_value cel_eval(const struct cel_node *n, const struct format_context *cx, struct arena *a);

static inline struct cel_value cel_error(void)
{
    return (struct cel_value){.kind = CEL_ERROR};
}
static inline struct cel_value cel_bool(bool b)
{
    return (struct cel_value){.kind = CEL_BOOL, .v.b = b};
}
static inline struct cel_value cel_int(int64_t i)
{
    return (struct cel_value){.kind = CEL_INT, .v.i = i};
}
static inline struct cel_value cel_string(struct str s)
{
    return (struct cel_value){.kind = CEL_STRING, .v.s = s};
}

#endif
