/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests to one API server over connections that are kept: HTTP/2 where it speaks it, HTTP/1.1 otherwise. An answer is
 * gathered whole up to a limit, or given line by line as it comes (watches). One loop's thread.
 */
#ifndef CONTROL_KUBE_CLIENT_H
#define CONTROL_KUBE_CLIENT_H

#include "control/kube/config.h"
#include "control/kube/lines.h"
#include "io/loop.h"

struct kube_client;
/* NULL: the credentials can't be used, *err says why. The server isn't asked yet. Owns the configuration, in a failure too. */
struct kube_client *kube_client_new(struct loop *loop, struct kube_config *take_config, struct err *err);
/* Calls under way end without being told. */
void kube_client_free(struct kube_client **c);
struct loop *kube_client_loop(const struct kube_client *c);

struct kube_request { /* texts are copied */
    const char *method;             /* "GET"; static */
    struct str path;                /* "/api/v1/pods?limit=500"; kube_escape what goes into its query */
    struct str content_type, body;  /* "" none */
    size_t limit_bytes;             /* of the answer; with on_line, of a line */
    uint64_t timeout_ms;            /* of one try, from its first to its last byte */
    unsigned tries;                 /* at most, after failures that may pass (no answer, 429, 5xx), with pauses; 0 is 1 */
    kube_line_fn on_line;           /* takes the body of an answer of 2xx; called with the call's user. It may cancel the call. */
};
struct kube_answer { /* borrowed for the call */
    const struct err *failure;      /* there is none, or it broke off (ERR_LIMIT: too long, ERR_TIMEOUT); NULL: there is one */
    unsigned status;
    struct str body;                /* without what went to on_line */
    uint64_t retry_after_ms;        /* 0: it didn't say */
};
struct kube_call;
typedef void (*kube_fn)(void *user, const struct kube_answer *a);
/* fn comes once, never from inside. */
struct kube_call *kube_call(struct kube_client *c, const struct kube_request *r, kube_fn fn, void *user);
void kube_cancel(struct kube_call **call); /* NULL is fine; without a word */

/* Why an answer isn't what was wanted, in the server's words where it has some: "403: pods is forbidden: ...". */
int kube_answer_fault(const struct kube_answer *a, struct err *err);
void kube_escape(struct strbuf *out, struct str text); /* RFC 3986, as a query's value */

struct kube_client_counters { uint64_t requests, failures, throttled, server_errors, retries, renewed; };
struct kube_client_counters kube_client_counters(const struct kube_client *c);

#endif
