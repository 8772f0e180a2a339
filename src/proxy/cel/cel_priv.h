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
#define CEL_TEXT_MAX 65536  /* of an expression */
#define CEL_STEPS_MAX 20000 /* of one evaluation: macros in macros must not burn a worker */
#define CEL_MEMORY_MAX ((size_t)256 << 10)
#define CEL_VARIABLES_MAX 16 /* of macros inside each other */

enum cel_kind {
    CEL_ERROR, CEL_NULL, CEL_BOOL, CEL_INT, CEL_UINT, CEL_DOUBLE, CEL_STRING, CEL_BYTES /* s */,
    CEL_DURATION /* i: microseconds */, CEL_TIMESTAMP /* i: microseconds since 1970 */, CEL_LIST,
    CEL_PAIRS /* a map that the expression made: list of keys and values in turn */, CEL_META /* a value of metadata */, CEL_MAP,
};
/* Maps of attributes. A METADATA_OF is a message whose one member is the map behind it. */
enum cel_map {
    CEL_REQUEST_HEADERS, CEL_RESPONSE_HEADERS, CEL_RESPONSE_TRAILERS, CEL_METADATA, CEL_FILTER_STATE,
    CEL_METADATA_OF_CLUSTER, CEL_METADATA_OF_ROUTE, CEL_METADATA_OF_VHOST, CEL_METADATA_OF_HOST,
    CEL_CLUSTER_METADATA, CEL_ROUTE_METADATA, CEL_VHOST_METADATA, CEL_HOST_METADATA,
};
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
    CEL_TO_INT, CEL_TO_UINT, CEL_TO_DOUBLE, CEL_TO_STRING, CEL_TO_BYTES, CEL_TO_DURATION, CEL_TO_TIMESTAMP, CEL_TO_ITSELF /* dyn() */,
    CEL_VARIABLE, CEL_PAIRS_OF, CEL_TIME_PART,
    CEL_ALL, CEL_EXISTS, CEL_EXISTS_ONE, CEL_MAPPED, CEL_FILTERED, /* macros: range, what is asked of each, what is made of it */
};
/* Parts of a timestamp and of a duration, as methods call them. */
enum cel_part {
    CEL_YEAR, CEL_MONTH, CEL_DAY_OF_YEAR, CEL_DATE, CEL_DAY_OF_MONTH, CEL_DAY_OF_WEEK, CEL_HOURS, CEL_MINUTES, CEL_SECONDS,
    CEL_MILLISECONDS,
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
    uint8_t slot;                           /* VARIABLE, macros: which variable; TIME_PART: which part */
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
/* The keys of a map of attributes as a list; an error where they can't be told. */
struct cel_value cel_map_keys(enum cel_map map, const struct format_context *cx, struct arena *a);
/* One evaluation. */
struct cel_run {
    const struct format_context *cx;
    struct arena *arena;
    uint32_t steps;
    struct cel_value variables[CEL_VARIABLES_MAX];
};
/* eval.c */
struct cel_value cel_eval(const struct cel_node *n, struct cel_run *r);
/* What is looked into counts as steps: a list may hold another many times over. False past the bound. */
bool cel_equal(const struct cel_value *a, const struct cel_value *b, struct cel_run *r);
/* macros.c */
struct cel_value cel_macro(const struct cel_node *n, struct cel_run *r);
struct cel_value cel_elements(const struct cel_value *in, struct cel_run *r); /* what a macro goes over: a CEL_LIST, or an error */
/* time.c */
bool cel_parse_duration(struct str text, int64_t *us);
bool cel_parse_timestamp(struct str text, int64_t *us);
struct cel_value cel_print_time(const struct cel_value *v, struct arena *a); /* of a duration or timestamp, as strings are made of them */
struct str cel_show_time(const struct cel_value *v, struct arena *a); /* … as Envoy's formats show them: "1h30m", "…+00:00" */
struct cel_value cel_time_part(enum cel_part part, const struct cel_value *v, const struct cel_value *zone /* NULL: UTC */);

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
