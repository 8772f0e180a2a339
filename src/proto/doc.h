/* SPDX-License-Identifier: Apache-2.0
 *
 * The document tree that the JSON and the YAML reader both produce, and its decoding into messages
 * by the Protobuf JSON mapping. Scalars stay text (numbers keep every digit); every node knows its
 * line and column. Nodes may be shared (YAML aliases): never change one.
 */
#ifndef PROTO_DOC_H
#define PROTO_DOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/message.h"

/* Nesting of documents; stops stack exhaustion ("[[[[..."). */
#define DOC_DEPTH_MAX 200
/* Nodes of one document after following aliases; stops "billion laughs". */
#define DOC_NODES_MAX ((size_t)20 << 20)

enum doc_kind { DOC_NULL, DOC_BOOL, DOC_NUMBER, DOC_STRING, DOC_LIST, DOC_MAP };

struct doc_node {
    uint8_t kind;     /* enum doc_kind */
    bool plain;       /* YAML plain scalar: a string field takes its text whatever it looks like */
    bool flag;        /* DOC_BOOL */
    uint32_t line, column; /* from 1 */
    uint32_t key_line, key_column;
    struct doc_node *next; /* in its list or map */
    struct str key;        /* in a map */
    union {
        struct str text;        /* string, number, and the source text of plain scalars */
        struct doc_node *first; /* list, map */
    };
};

const struct doc_node *doc_member(const struct doc_node *map, struct str key); /* NULL: none, or no map */
struct str doc_text(const struct doc_node *map, struct str key); /* a string or a number; the null str otherwise */

/* Decodes into a new message; every fault goes to `faults` with the path
 * "FILE:LINE:COLUMN: static_resources.clusters[3].lb_policy" ("static_resources..." where `file` is
 * NULL), so that err_format gives the line that a person wants. Returns 0, ERR_INVALID (*out is then what could be
 * decoded, good for finding more faults only) or ERR_LIMIT (*out is NULL). */
int doc_decode(struct proto_arena *arena, const struct doc_node *root,
               const ProtobufCMessageDescriptor *desc, const char *file, ProtobufCMessage **out,
               struct err_list *faults);

enum doc_flag {
    DOC_LENIENT = 1, /* fields that the schema doesn't have are dropped */
    /* Faults spell fields as JSON does, and plain YAML scalars are what Kubernetes (YAML 1.1) takes them for: "on" is true in a
     * google.protobuf.Value, and a fault in a string, as numbers are. Durations are Go's ("800ms", "1h30m"). */
    DOC_KUBERNETES = 2,
    DOC_GO_DURATIONS = 4, /* those alone */
};
/* Where a part of a document stands, for faults; each may be NULL. */
struct doc_place {
    const char *file;
    const char *title; /* of the object: "FILE:LINE:COLUMN: TITLE: path" */
    const char *path;  /* that leads to the part */
};
int doc_decode_as(struct proto_arena *arena, const struct doc_node *root, const ProtobufCMessageDescriptor *desc,
                  unsigned flags, const struct doc_place *place, ProtobufCMessage **out, struct err_list *faults);
/* A fault at a node (at its key, where it has one): path is place's. */
void doc_fault_at(struct err_list *faults, const struct doc_place *place, const struct doc_node *node, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The node at a path of the form used in faults, or the deepest that exists; for giving faults that
 * were found later (rules, unsupported fields) their line. NULL only for a NULL root. */
const struct doc_node *doc_locate(const struct doc_node *root, const char *path);
/* Puts "FILE:LINE:COLUMN: TITLE: " before the path of every fault from index `from` on; none of them may
 * have it yet. `title` may be NULL. */
void doc_locate_faults(const struct doc_node *root, const char *file, const char *title, struct err_list *faults,
                       size_t from);

#endif
