/* SPDX-License-Identifier: Apache-2.0
 *
 * weftd's secure side: the certificate authority, discovery over TLS by its own certificate, and the gate that every proxy comes
 * through there: it must be known, and say of itself only what its credential says. Main thread.
 */
#ifndef CONTROL_DAEMON_SECURE_H
#define CONTROL_DAEMON_SECURE_H

#include "control/ca/ca.h"
#include "control/daemon/options.h"
#include "control/graph/lrs.h"
#include "control/view/view.h"

struct secure;
/* Without a folder for an authority: one without, whose port stays closed. keep_reviewer NULL: tokens of Kubernetes' service
 * accounts aren't known. NULL: *err. */
struct secure *secure_new(struct loop *loop, const struct daemon_options *keep_o, const struct mesh *mesh,
                          const struct token_reviewer *keep_reviewer, struct err *err);
struct view_gate *secure_gate(struct secure *s); /* lets plaintext through: nobody is asked there */
/* Listens, for what `push` gives and what `reports` takes. */
int secure_serve(struct secure *s, struct push *push, struct load_reports *reports, struct err *err);
uint16_t secure_port(const struct secure *s); /* 0: closed */

void secure_set_mesh(struct secure *s, const struct mesh *mesh); /* says what of it can't change while weftd runs */
void secure_rotate(struct secure *s);        /* a new root is announced; what comes of it is logged */

/* Why weftd isn't ready here; "" it is. */
const char *secure_fault(const struct secure *s);
void secure_metrics(const struct secure *s, struct strbuf *out);
/* Proxies are sent away; on_drained comes once, not from inside; at the end of this turn where nobody is. */
void secure_drain(struct secure *s, void (*on_drained)(void *user), void *user);
void secure_free(struct secure **s); /* before the push and the reports */

#endif
