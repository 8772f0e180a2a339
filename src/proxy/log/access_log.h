/* SPDX-License-Identifier: Apache-2.0
 *
 * Access logs: a compiled format (text with %OPERATORS% or a JSON tree), a filter, and a sink. Lines
 * gather in each worker's buffer and are written in batches (64 KiB or one second), whole lines
 * only; SIGUSR1 reopens files.
 */
#ifndef PROXY_LOG_ACCESS_LOG_H
#define PROXY_LOG_ACCESS_LOG_H

#include "base/err.h"
#include "base/str.h"
#include "http/codec/headers.h"
#include "proxy/stream_info.h"

/* What a format may look at; any may be NULL. */
struct format_context {
    const struct stream_info *info;
    const struct headers *request, *response, *trailers;
    struct str local_reply_body;
    const char *log_type; /* %ACCESS_LOG_TYPE%: "DownstreamEnd", "TcpConnectionEnd" … */
};

/* ---- formats: substitution strings as Envoy's; also used by header manipulation and local replies ---- */
struct format;
struct format *format_new(struct str text, bool omit_empty, struct err *err); /* unknown operators are errors, by name */
/* JSON: a tree given as an opaque list of (path, text) pairs made by config. */
struct json_format_node {
    struct str key;                 /* "" in lists */
    enum { JSON_FORMAT_TEXT, JSON_FORMAT_OBJECT, JSON_FORMAT_LIST, JSON_FORMAT_NUMBER, JSON_FORMAT_BOOL, JSON_FORMAT_NULL } kind;
    struct str text;                /* operator text, or the literal number/bool */
    struct json_format_node *children; uint32_t child_count;
};
struct format *format_new_json(const struct json_format_node *root, bool omit_empty, bool sort_keys, struct err *err);
void format_free(struct format **f);
void format_run(const struct format *f, const struct format_context *cx, struct strbuf *out);
struct str format_default_http(void); /* Envoy's default format text, ours */

/* ---- filters ---- */
struct cel;
struct log_filter; /* tree: status, duration, not_health_check, traceable, runtime, and, or, header, response_flag, grpc_status, log_type */
enum log_filter_kind { LOGF_STATUS, LOGF_DURATION, LOGF_NOT_HEALTH_CHECK, LOGF_TRACEABLE, LOGF_RUNTIME, LOGF_AND, LOGF_OR, LOGF_HEADER, LOGF_RESPONSE_FLAG, LOGF_GRPC_STATUS, LOGF_LOG_TYPE, LOGF_METADATA, LOGF_CEL };
enum log_compare { LOG_EQ, LOG_GE, LOG_LE, LOG_NE };
struct header_matcher; /* proxy/match/header_match.h */
struct log_filter {
    enum log_filter_kind kind;
    enum log_compare op; uint64_t value; struct str runtime_key;
    uint64_t numerator, denominator; bool independent_randomness;
    uint32_t flags;                 /* RESPONSE_FLAG: any of; 0 = any flag at all */
    uint32_t grpc_mask; bool exclude;
    const struct header_matcher *header;
    struct log_filter **children; uint32_t child_count;
    uint64_t type_mask;
    struct metadata_matcher *metadata; /* METADATA: in `arena`; NULL: only whether nothing is there counts */
    bool match_if_missing;
    struct arena *arena;             /* owned; of what a metadata matcher is made */
    struct cel *cel;                /* cel/cel.h; owned */
};
void log_filter_free(struct log_filter **f); /* the whole tree, heap; proxy/config/log_filter.c makes and frees them */
bool log_filter_passes(const struct log_filter *f, const struct format_context *cx);

/* ---- logs ---- */
struct log_file; /* shared by all logs to one path; process-wide, reference-counted, main thread makes them */
struct log_file *log_file_get(struct str path /* "/dev/stdout" and "/dev/stderr" too */, struct err *err);
void log_file_unref(struct log_file **f);
void log_files_start(void);         /* main thread, once statistics stand: counts from here on */
void log_files_reopen(void);        /* SIGUSR1, main thread */
void log_files_flush_all(void);     /* at exit, main thread, workers stopped */

/* A kind of log: what is done with an exchange that passed the filter. */
struct access_log_ops {
    void (*write)(void *data, const struct format_context *cx); /* any thread; cheap, never blocks */
    void (*free)(void *data);       /* main thread, workers stopped or never started */
};
struct access_log {
    struct log_filter *filter;      /* NULL: all */
    const struct access_log_ops *ops;
    void *data;
};
void access_log_free(struct access_log **l); /* with its data and filter */
void access_log_write(const struct access_log *l, const struct format_context *cx);
/* Lines to a file. Takes `format`, also when it fails. */
int access_log_to_file(struct access_log *l, struct str path, struct format *take_format, struct err *err);
/* `fn` runs on each worker before its clusters' pools close, and on the main thread after the workers' end: last batches
 * go out. It says whether some are still on their way, and is asked again for a while. At most ACCESS_LOG_LEAVERS; main
 * thread, before workers start; idempotent. */
#define ACCESS_LOG_LEAVERS 4
void access_log_on_leave(bool (*fn)(void));
void access_log_on_start(void (*fn)(void)); /* main thread, once statistics stand: by log_files_start */
bool access_log_leave_here(void);
void access_log_started(void);
/* Per worker: flushing timer. */
struct worker;
void access_log_worker_start(struct worker *w);
void access_log_worker_stop(struct worker *w);

#endif
