/* SPDX-License-Identifier: Apache-2.0
 *
 * What a filter would do about a request or a connection, for people (admin's explain). Main thread.
 */
#ifndef PROXY_FILTER_FILTER_WORDS_H
#define PROXY_FILTER_FILTER_WORDS_H

#include "base/arena.h"
#include "proxy/outcome.h"

struct filter_words {
    void (*say)(void *arg, struct str line);
    void *arg;
    struct arena *arena;            /* for `details` */
    bool is_certain;                /* nothing that a rehearsal doesn't know (what other filters leave) decides */
    const struct outcome *answer;   /* it would answer by itself; NULL: it lets the request pass */
    unsigned status;
    bool closes;                    /* of a connection: it would be closed */
    struct str details;
};

#endif
