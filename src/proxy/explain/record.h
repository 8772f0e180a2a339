/* SPDX-License-Identifier: Apache-2.0
 *
 * The decision record of a live request that asked for one (header x-weft-explain: 1, where runtime's
 * weft.explain.allow_header lets it): one line of text, at most EXPLAIN_RECORD_BYTES, written while the request goes its way
 * and left as dynamic metadata weft.explain/record for logs and traces. In the exchange's arena; its worker's alone.
 */
#ifndef PROXY_EXPLAIN_RECORD_H
#define PROXY_EXPLAIN_RECORD_H

#include "base/arena.h"
#include "proxy/route/route.h"
#include "proxy/stream_info.h"

#define EXPLAIN_RECORD_BYTES 4096 /* a client could ask for it with every request */
#define EXPLAIN_RECORD_REFUSED 8  /* routes whose reasons it holds; how many there were is told */

struct explain_record;
/* NULL: the request doesn't ask, or the arena is full. */
struct explain_record *explain_record_begin(struct arena *a, const struct headers *request, const struct stream_info *info,
                                            struct str listener);
/* Each time that a route is decided on. */
void explain_record_decision(struct explain_record *r, const struct route_config_spec *spec, const struct route_request *rq,
                             const struct route_decision *d);
/* What a filter did to the request's way: "waits", "answered 403". */
void explain_record_filter(struct explain_record *r, struct str name, const char *what, unsigned status);
/* What a filter has to say about its decision, in its own words. */
void explain_record_note(struct explain_record *r, struct str filter, struct str text);
/* An attempt upstream is over; `flags`: its own response flags. */
void explain_record_attempt(struct explain_record *r, const struct host *h, unsigned status, uint32_t flags, uint64_t took_us);
/* The exchange is over: the last word, and the metadata. */
void explain_record_finish(struct explain_record *r, struct stream_info *info, struct arena *a);
/* As far as it is written. */
struct str explain_record_text(const struct explain_record *r);

#endif
