/* SPDX-License-Identifier: Apache-2.0
 *
 * Errors that a person reads: a code, one sentence naming the bad value and the rule, and the path
 * to the fault, lengthened by each level as it unwinds. `err_list` collects all faults of one file.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/* The one table of codes. Functions return 0 or one of these, negative. */
#define ERR_TABLE(X)                                                                               \
    X(ERR_NOMEM, 1, "out of memory")                                                               \
    X(ERR_IO, 2, "input/output error")                                                             \
    X(ERR_NOT_FOUND, 3, "not found")                                                               \
    X(ERR_SYNTAX, 4, "syntax error")                                                               \
    X(ERR_INVALID, 5, "invalid value")                                                             \
    X(ERR_UNSUPPORTED, 6, "not supported")                                                         \
    X(ERR_LIMIT, 7, "limit exceeded")                                                              \
    X(ERR_EXISTS, 8, "already exists")                                                             \
    X(ERR_STATE, 9, "wrong state")                                                                 \
    X(ERR_TLS, 10, "TLS error")                                                                    \
    X(ERR_TIMEOUT, 11, "timed out")

enum err_code {
#define X(name, value, text) name = -(value),
    ERR_TABLE(X)
#undef X
};

#define ERR_MESSAGE_BYTES 512
#define ERR_PATH_BYTES 384

struct err {
    int code;                        /* 0 or enum err_code */
    char message[ERR_MESSAGE_BYTES]; /* truncated with "..." when longer */
    char path[ERR_PATH_BYTES];       /* "listeners[2].filter_chains[0].tls"; empty where none */
};

/* Static text of a code; never NULL. */
const char *err_code_text(int code);

/* Fills *err (err may be NULL), replacing what it held, and returns `code` for `return
 * err_set(...)`. */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int err_vset(struct err *err, int code, const char *fmt, va_list ap);

/* Like err_set, with ": <strerror(errno)>" appended. Returns ERR_IO, ERR_NOT_FOUND for ENOENT. */
int err_set_errno(struct err *err, int errno_value, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts a path segment before the path held: err_prefix(e, "listeners[%zu]", i). A '.' is inserted
 * between segments unless the held path starts with '['. Returns err->code (0 when err is NULL). */
int err_prefix(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "path: message" or "message", NUL-terminated, truncated at n. Returns buf. */
const char *err_format(const struct err *err, char *buf, size_t n);

/* All the faults of one input. Grows on the heap, capped: past ERR_LIST_MAX only counted. */
#define ERR_LIST_MAX 1000
struct err_list {
    struct err *items;
    size_t count;   /* items held */
    size_t dropped; /* past the cap */
    size_t cap;
};

void err_list_add(struct err_list *list, const struct err *err);
void err_list_addf(struct err_list *list, int code, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void err_list_fini(struct err_list *list);

#endif
