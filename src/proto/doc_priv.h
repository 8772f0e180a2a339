/* SPDX-License-Identifier: Apache-2.0
 *
 * What the readers of documents and the decoder share.
 */
#ifndef PROTO_DOC_PRIV_H
#define PROTO_DOC_PRIV_H

#include "base/nearest.h"
#include "proto/doc.h"
#include "proto/proto_priv.h"

/* ---- doc.c ---- */
/* "an object", "the number 12", "the string 'x'" for fault texts. */
const char *doc_describe(const struct doc_node *node, char *buf, size_t n);
size_t doc_length(const struct doc_node *node); /* items of a list or map */
/* Adds a fault for every key that stands twice in a map. */
void doc_check_duplicates(const struct doc_node *map, const char *file, struct err_list *faults);
/* Adds a fault whose path is "FILE:LINE:COLUMN: path" (without the file: just the path). */
void doc_fault(struct err_list *faults, int code, const char *file, uint32_t line, uint32_t column,
               const char *path, const char *fmt, ...) __attribute__((format(printf, 7, 8)));

/* ---- decode.c ---- */
struct decoder {
    struct proto_arena *arena;
    const char *file, *title;
    unsigned flags; /* enum doc_flag */
    struct err_list *faults;
    struct strbuf path;
    int depth;
    bool failed;
};
/* Adds a fault at the present path and the node's place. Returns false. */
bool decode_fault(struct decoder *d, const struct doc_node *node, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
bool decode_nomem(struct decoder *d, const struct doc_node *node);
/* Into msg, which is new. */
bool decode_message(struct decoder *d, const struct doc_node *node, ProtobufCMessage *msg);
/* The members of an object, one by one; with skip_type not the "@type" that an Any adds. */
bool decode_members(struct decoder *d, const struct doc_node *node, ProtobufCMessage *msg,
                    bool skip_type);
bool decode_field(struct decoder *d, const struct doc_node *node, ProtobufCMessage *msg,
                  const ProtobufCFieldDescriptor *field);
/* An array of n items for a repeated field, still of length 0; NULL with a fault. */
void *decode_array(struct decoder *d, const struct doc_node *node, ProtobufCMessage *msg,
                   const ProtobufCFieldDescriptor *field, size_t n);
size_t decode_enter(struct decoder *d, const char *prefix, struct str name, const char *suffix);
size_t decode_enter_index(struct decoder *d, size_t index);
void decode_leave(struct decoder *d, size_t mark);

/* Is a plain scalar one of the words that YAML 1.1 has for booleans? */
bool decode_is_yaml11_bool(const struct doc_node *node, bool *out);
/* ---- decode_scalar.c: a value of any type but message into `out` ---- */
bool decode_scalar(struct decoder *d, const struct doc_node *node,
                   const ProtobufCFieldDescriptor *field, void *out);

/* ---- decode_wkt.c ---- */
bool decode_wkt(struct decoder *d, const struct doc_node *node, ProtobufCMessage *msg,
                enum proto_wkt wkt);
/* ---- wkt_text.c: the text forms of durations and timestamps ---- */
/* "1.5s", within 10,000 years either way; false: not one. Both numbers have the sign. */
bool duration_parse(struct str s, int64_t *seconds, int32_t *nanos);
/* As Go has it, and so Kubernetes and Istio: "1h30m", "800ms", "1.5s", "0". Within 292 years; what is below a nanosecond is cut. */
bool duration_parse_go(struct str s, int64_t *seconds, int32_t *nanos);
/* RFC 3339, years 1 to 9999. */
bool timestamp_parse(struct str s, int64_t *seconds, int32_t *nanos);
void duration_format(struct strbuf *out, int64_t seconds, int32_t nanos);
void timestamp_format(struct strbuf *out, int64_t seconds, int32_t nanos);

/* ---- base64.c (RFC 4648, both alphabets, padding optional) ---- */
bool base64_decode(struct str s, uint8_t *out, size_t *n); /* out: s.n bytes are enough */

#endif
