/* SPDX-License-Identifier: Apache-2.0
 *
 * One question to one address, on a connection of its own: what probes and the merged metrics ask of the application, and the
 * tool of the daemons. On the loop's own thread.
 */
#ifndef HTTP_FETCH_H
#define HTTP_FETCH_H

#include "http/codec/headers.h"
#include "io/addr.h"
#include "io/loop.h"

struct fetch_opts { /* borrowed for the call */
    const struct addr *to;
    const struct addr *source;      /* taken where it can be bound; NULL: the kernel's */
    bool connect_only;              /* that a connection comes about is the answer */
    bool is_tls;                    /* the peer isn't verified */
    bool is_h2;
    const struct headers *request;  /* copied */
    struct str body;
    uint64_t timeout_ms;            /* of everything */
    size_t limit_bytes;             /* of the answer's body … */
    bool cut_at_limit;              /* … more than that is cut off; else it fails */
};
struct fetch_answer {               /* borrowed for the call */
    const char *failure;            /* NULL: there is an answer */
    unsigned status;
    const struct headers *headers, *trailers; /* trailers: NULL when there are none */
    struct str body;
};
struct fetch;
typedef void (*fetch_fn)(void *user, const struct fetch_answer *a); /* once; never from inside fetch_start */
struct fetch *fetch_start(struct loop *loop, const struct fetch_opts *o, fetch_fn fn, void *user);
void fetch_cancel(struct fetch **f); /* fn isn't called; NULL is fine */

#endif
