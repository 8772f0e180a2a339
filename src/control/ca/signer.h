/* SPDX-License-Identifier: Apache-2.0
 *
 * weftd's end of the signer (signer_process.h): starts it, asks it, notices when it dies or hangs, starts it again. One loop's
 * thread. Nothing is answered from inside the functions that ask.
 */
#ifndef CONTROL_CA_SIGNER_H
#define CONTROL_CA_SIGNER_H

#include "control/ca/signer_wire.h"
#include "io/loop.h"

#define SIGNER_CALLS_MAX 4096u /* that wait; stops a storm of requests from growing without end */
#define SIGNER_CALL_MS 10000   /* for an answer, a start of the signer included */

struct signer_opts {
    struct loop *loop;
    struct signer_open open; /* copied */
    uint64_t call_ms;        /* 0: SIGNER_CALL_MS */
    /* Another bundle or chain, the first one included. */
    void (*on_trust)(void *user, const struct ca_trust *trust);
    /* It serves, or (`why`) it doesn't: to be shown to people. May be told again with another reason. */
    void (*on_state)(void *user, bool is_up, const char *why);
    void *user;
};

struct signer;
/* Begins with the loop's next turn. Never NULL. */
struct signer *signer_new(const struct signer_opts *o);
/* The process ends with it. Calls are forgotten, not answered. NULL is fine. */
void signer_free(struct signer **s);

bool signer_is_up(const struct signer *s);
const char *signer_why_down(const struct signer *s);           /* "" while it is up */
const struct ca_trust *signer_trust(const struct signer *s);   /* NULL before the first; the last known while it is down */

struct signer_answer {
    int code;                     /* 0 or enum err_code; ERR_STATE and ERR_TIMEOUT: another time it may do */
    const char *message;          /* of a failure */
    struct str leaf, serial_hex;  /* sign */
    int64_t leaf_until_s;
    const struct ca_trust *trust; /* that the leaf goes with; may be NULL after a failure */
};
typedef void (*signer_fn)(void *user, const struct signer_answer *answer); /* once; texts are valid until it returns */

struct signer_call;
/* NULL: not asked, *err says why (it is down for a reason that stays, or too many wait). A signer that dies before it has
 * answered is asked once more. */
struct signer_call *signer_sign(struct signer *s, const struct authority_request *q, signer_fn fn, void *user, struct err *err);
/* fn may be NULL. Never asked twice. */
struct signer_call *signer_rotate(struct signer *s, signer_fn fn, void *user, struct err *err);
struct signer_call *signer_reload(struct signer *s, signer_fn fn, void *user, struct err *err);
void signer_call_cancel(struct signer_call **call); /* fn won't be called; NULL is fine */

#endif
