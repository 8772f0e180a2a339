/* SPDX-License-Identifier: Apache-2.0
 *
 * YAML 1.2 text -> document tree -> message. Anchors, aliases and merge keys ("<<") are followed
 * within DOC_NODES_MAX and DOC_DEPTH_MAX. One document a text; texts of many are cut first. Plain scalars resolve by the core
 * schema, but a string field takes any plain scalar as it stands ("version: 1.10" keeps its zero).
 */
#ifndef PROTO_YAML_H
#define PROTO_YAML_H

#include "proto/doc.h"

const struct doc_node *yaml_read(struct proto_arena *arena, struct str text, const char *file,
                                 struct err_list *faults);
/* The text begins on this line of the file, which faults and nodes count on from. */
const struct doc_node *yaml_read_from(struct proto_arena *arena, struct str text, uint32_t line, const char *file,
                                      struct err_list *faults);

/* Cuts a text where documents begin ("---" at the start of a line ends whatever stands before, YAML 1.2.2, 9.1.2), so that
 * a fault in one of them doesn't hide the others. Start with {text, 1}. */
struct yaml_cut {
    struct str rest;
    uint32_t line;
};
/* The next document that holds more than comments, and the line that it begins on. false: no more. */
bool yaml_cut_next(struct yaml_cut *c, struct str *document, uint32_t *line);

int yaml_decode(struct proto_arena *arena, struct str text, const ProtobufCMessageDescriptor *desc,
                const char *file, ProtobufCMessage **out, struct err_list *faults);

/* A configuration file by its extension: .json, .yaml, .yml, .pb (packed), .pb_text is refused.
 * *root is NULL for .pb; otherwise it and `out` live in the arena. With faults *out is what could be decoded all the
 * same, or NULL: good for finding further faults only. */
int proto_load_file(struct proto_arena *arena, const char *path,
                    const ProtobufCMessageDescriptor *desc, ProtobufCMessage **out,
                    const struct doc_node **root, struct err_list *faults);

#endif
