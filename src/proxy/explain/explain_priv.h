/* SPDX-License-Identifier: Apache-2.0
 *
 * Room-private: the stations of an answer, in the order of a request's road. Each fills its part of the report.
 */
#ifndef PROXY_EXPLAIN_EXPLAIN_PRIV_H
#define PROXY_EXPLAIN_EXPLAIN_PRIV_H

#include "proxy/explain/explain.h"

/* report.c */
void explain_note(struct explain_report *r, struct explain_list *l, struct str name, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
struct str explain_take(struct explain_report *r, struct strbuf *b); /* its text into the arena; the buffer is empty after */
void explain_header_changes(struct explain_report *r, struct explain_list *l, const struct headers *before, const struct headers *after);

/* "object": what of Istio's it was made of, as its metadata names it. */
void explain_object(struct explain_report *r, struct explain_list *l, const struct metadata *m);

void explain_connection(struct explain_report *r); /* connection.c: listener, chain */
void explain_routing(struct explain_report *r);    /* routing.c: virtual host, route */
void explain_action(struct explain_report *r);     /* action.c: what the route says */
void explain_filters(struct explain_report *r);    /* filters.c */
void explain_endpoints(struct explain_report *r);  /* endpoints.c */
void explain_verdict(struct explain_report *r);    /* verdict.c */

#endif
