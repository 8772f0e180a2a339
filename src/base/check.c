/* SPDX-License-Identifier: Apache-2.0
 *
 * A failed CHECK writes where, what and in whose service, then aborts (crash.c adds the backtrace).
 * It may fire anywhere, so it takes no heap memory and no lock. Counted checks link themselves into
 * one list on their first hit; any thread, atomics only.
 */
#include "base/check.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

__thread struct check_context check_context;

static struct check_count *counts;

static void write_all(const char *p, size_t n)
{
    while (n) {
        ssize_t done = write(STDERR_FILENO, p, n);
        if (done <= 0)
            return;
        p += done;
        n -= (size_t)done;
    }
}

_Noreturn void check_fail(const char *file, int line, const char *expr, const char *fmt, ...)
{
    char text[1024], why[512] = "";
    if (fmt) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(why, sizeof(why), fmt, ap);
        va_end(ap);
    }
    int n =
        snprintf(text, sizeof(text),
                 "check failed: %s%s%s at %s:%d (%s, connection %" PRIu64 ", stream %" PRIu64 ")\n",
                 expr, why[0] ? ": " : "", why, file, line,
                 check_context.worker ? check_context.worker : "no worker",
                 check_context.connection_id, check_context.stream_id);
    if (n > 0)
        write_all(text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
    abort();
}

void check_count_hit(struct check_count *c)
{
    __atomic_fetch_add(&c->hits, 1, __ATOMIC_RELAXED);
    if (__atomic_exchange_n(&c->linked, 1, __ATOMIC_RELAXED))
        return;
    struct check_count *head = __atomic_load_n(&counts, __ATOMIC_RELAXED);
    do {
        c->next = head;
    } while (
        !__atomic_compare_exchange_n(&counts, &head, c, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
}

void check_counts_each(void (*fn)(const struct check_count *c, void *arg), void *arg)
{
    const struct check_count *c = __atomic_load_n(&counts, __ATOMIC_ACQUIRE);
    for (; c; c = c->next)
        fn(c, arg);
}
