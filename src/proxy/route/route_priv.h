/* SPDX-License-Identifier: Apache-2.0
 *
 * Room-private: what is worked out once for a request while its route is looked for.
 */
#ifndef PROXY_ROUTE_ROUTE_PRIV_H
#define PROXY_ROUTE_ROUTE_PRIV_H

#include "proxy/route/route.h"

struct route_look {
    const struct route_request *rq;
    struct str path;    /* with query; null when the request has none (CONNECT) */
    struct str bare;    /* without query (and path parameters where the configuration says so) */
    bool is_connect;
};
void route_look_init(struct route_look *l, const struct route_request *rq, bool ignore_path_parameters);
/* All parts; `index` (may be NULL) says which header, query parameter, … refused. */
enum route_refusal route_look_refusal(const struct route_match *m, const struct route_look *l, uint32_t *index);
/* Whether the path's own part agrees (the index asks it of its candidates). */
bool route_look_path(const struct route_match *m, const struct route_look *l);

/* header_rules.c: this thread's buffer for text, empty; its next user takes it over. */
struct strbuf *route_text(void);

/* weighted.c: draws; NULL when no cluster has weight. */
const struct weighted_cluster *route_draw_weighted(const struct route_entry *r, const struct route_request *rq);

#endif
