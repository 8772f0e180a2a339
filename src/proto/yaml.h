/* SPDX-License-Identifier: Apache-2.0
 *
 * YAML 1.2 text -> document tree -> message. Anchors, aliases and merge keys ("<<") are followed
 * within DOC_NODES_MAX and DOC_DEPTH_MAX. One document a file. Plain scalars resolve by the core
 * schema, but a string field takes any plain scalar as it stands ("version: 1.10" keeps its zero).
 */
#ifndef PROTO_YAML_H
#define PROTO_YAML_H

#include "proto/doc.h"

const struct doc_node *yaml_read(struct proto_arena *arena, struct str text, const char *file,
                                 struct err_list *faults);
int yaml_decode(struct proto_arena *arena, struct str text, const ProtobufCMessageDescriptor *desc,
                const char *file, ProtobufCMessage **out, struct err_list *faults);

/* A configuration file by its extension: .json, .yaml, .yml, .pb (packed), .pb_text is refused.
 * *root is NULL for .pb; otherwise it and `out` live in the arena. With faults *out is what could be decoded all the
 * same, or NULL: good for finding further faults only. */
int proto_load_file(struct proto_arena *arena, const char *path,
                    const ProtobufCMessageDescriptor *desc, ProtobufCMessage **out,
                    const struct doc_node **root, struct err_list *faults);

#endif
