/* SPDX-License-Identifier: Apache-2.0
 *
 * Room-private: a compiled format. Text is literals and operators in turn; JSON is a tree whose leaves
 * are such texts.
 */
#ifndef PROXY_LOG_FORMAT_PRIV_H
#define PROXY_LOG_FORMAT_PRIV_H

#include "proxy/log/access_log.h"

enum operator_argument { ARG_NONE, ARG_OPTIONAL, ARG_REQUIRED };
/* What an operator alone in a JSON leaf is there: a string, a number, or whatever kind its value has (operator_json). */
enum operator_shape { SHAPE_STRING, SHAPE_NUMBER, SHAPE_VALUE };

struct format_piece;
/* Appends the operator's value; false when there is none (nothing was appended). */
typedef bool (*operator_fn)(const struct format_piece *piece, const struct format_context *cx, struct strbuf *out);

struct operator_def {
    const char *name;
    uint8_t argument;     /* enum operator_argument */
    uint8_t shape;        /* enum operator_shape */
    operator_fn run;
    int (*check)(struct format_piece *piece, struct err *err); /* of the argument; may be NULL */
};

struct format_piece {
    const struct operator_def *op; /* NULL: literal */
    struct str text;               /* literal, or the argument (owned) */
    struct str name, alternative;  /* REQ-like: header names in lower case (inside text) */
    uint16_t name_id, alternative_id; /* of those names: enum header_id */
    size_t max_len;                /* ":Z"; SIZE_MAX = none */
    int variant;                   /* what `check` made of the argument */
    void *extra;                   /* owned (mem_free) */
    struct cel *cel;               /* owned; CEL's */
};

struct format_text {
    struct format_piece *pieces;
    uint32_t count;
};

int format_text_parse(struct str text, struct format_text *out, struct err *err);
void format_text_fini(struct format_text *t);
void format_text_run(const struct format_text *t, const struct format_context *cx, bool omit_empty, struct strbuf *out);

const struct operator_def *operator_find(struct str name);

/* operators_time.c */
struct time_format;
struct time_format *time_format_new(struct str text, struct err *err); /* strftime plus %f %1f..%9f %s %Ns of Envoy */
void time_format_run(const struct time_format *f, uint64_t wall_us, bool local, struct strbuf *out);
bool op_start_time(const struct format_piece *p, const struct format_context *cx, struct strbuf *out);
bool op_start_time_local(const struct format_piece *p, const struct format_context *cx, struct strbuf *out);
bool op_emit_time(const struct format_piece *p, const struct format_context *cx, struct strbuf *out);
bool op_emit_time_local(const struct format_piece *p, const struct format_context *cx, struct strbuf *out);
int check_time(struct format_piece *p, struct err *err);
bool op_common_duration(const struct format_piece *p, const struct format_context *cx, struct strbuf *out);
int check_common_duration(struct format_piece *p, struct err *err);
bool op_duration(const struct format_piece *p, const struct format_context *cx, struct strbuf *out);
bool op_request_duration(const struct format_piece *p, const struct format_context *cx, struct strbuf *out);
bool op_request_tx_duration(const struct format_piece *p, const struct format_context *cx, struct strbuf *out);
bool op_response_duration(const struct format_piece *p, const struct format_context *cx, struct strbuf *out);
bool op_response_tx_duration(const struct format_piece *p, const struct format_context *cx, struct strbuf *out);
bool op_pool_ready_duration(const struct format_piece *p, const struct format_context *cx, struct strbuf *out);

/* operators_state.c: metadata and filter state. `variant` says whose. */
bool op_metadata(const struct format_piece *p, const struct format_context *cx, struct strbuf *out);
int check_metadata(struct format_piece *p, struct err *err);
int check_metadata_typed(struct format_piece *p, struct err *err);
bool op_filter_state(const struct format_piece *p, const struct format_context *cx, struct strbuf *out);
int check_filter_state(struct format_piece *p, struct err *err);
/* SHAPE_VALUE: as run, but the value as JSON. */
bool operator_json(const struct format_piece *p, const struct format_context *cx, struct strbuf *out);

/* operators_cel.c */
bool op_cel(const struct format_piece *p, const struct format_context *cx, struct strbuf *out);
int check_cel(struct format_piece *p, struct err *err);

/* operators_peer.c: addresses and TLS. `variant` says which end and fact. */
bool op_address(const struct format_piece *p, const struct format_context *cx, struct strbuf *out);
bool op_tls(const struct format_piece *p, const struct format_context *cx, struct strbuf *out);

#endif
