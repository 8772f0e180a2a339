/* SPDX-License-Identifier: Apache-2.0
 *
 * Three grades of check on our own state; never on bytes from outside.
 * CHECK aborts always; DCHECK in debug builds; COUNT_IF counts the nearly impossible and goes on,
 * each place listed by check_counts_each() (the admin page shows them).
 */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#include <stdbool.h>
#include <stdint.h>

/* What the calling thread is doing, printed by a failed CHECK and by the crash handler. */
struct check_context {
    const char *worker; /* "main", "worker_0"; borrowed, static lifetime */
    uint64_t connection_id;
    uint64_t stream_id;
};
extern __thread struct check_context check_context;

_Noreturn void check_fail(const char *file, int line, const char *expr, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#define CHECK(expr)                                                                                \
    do {                                                                                           \
        if (__builtin_expect(!(expr), 0))                                                          \
            check_fail(__FILE__, __LINE__, #expr, NULL);                                           \
    } while (0)

#ifdef NDEBUG
#define DCHECK(expr) ((void)sizeof(expr))
#else
#define DCHECK(expr) CHECK(expr)
#endif

struct check_count {
    const char *file, *why;
    int line;
    uint64_t hits; /* relaxed atomic */
    struct check_count *next;
    int linked; /* atomic: first hit links it into the list */
};
void check_count_hit(struct check_count *c);
void check_counts_each(void (*fn)(const struct check_count *c, void *arg), void *arg);

#define COUNT_IF(cond, text)                                                                       \
    ({                                                                                             \
        static struct check_count check_count_ = {__FILE__, text, __LINE__, 0, NULL, 0};           \
        bool hit_ = (cond);                                                                        \
        if (__builtin_expect(hit_, 0))                                                             \
            check_count_hit(&check_count_);                                                        \
        hit_;                                                                                      \
    })

/* Long-lived objects start with `uint32_t magic`. OBJECT casts a void pointer and checks it. */
#define OBJECT(type, magic_value, pointer)                                                         \
    ({                                                                                             \
        struct type *object_ = (pointer);                                                          \
        DCHECK(object_ && object_->magic == (magic_value));                                        \
        object_;                                                                                   \
    })

#define CONTAINER_OF(ptr, type, member)                                                            \
    ((struct type *)((char *)(ptr) - __builtin_offsetof(struct type, member)))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
