/* SPDX-License-Identifier: Apache-2.0
 *
 * Session persistence (extensions.filters.http.stateful_session.v3): where the session stands, a cookie or a header.
 */
#ifndef PROXY_FILTER_STATEFUL_SESSION_H
#define PROXY_FILTER_STATEFUL_SESSION_H

#include "proxy/filter/http_filter.h"

struct session_attribute { struct str name, value; };
struct session_config {
    bool disabled;          /* by a route */
    bool is_cookie;         /* else a header */
    bool strict;            /* the session's host or none */
    struct str name;        /* of the cookie; of the header, in lower case */
    struct str path;        /* cookie: only below it; "" everywhere */
    uint64_t ttl_s;         /* cookie: 0 as long as the browser runs */
    struct session_attribute *attributes; uint32_t attribute_count;
    struct str stat_prefix; /* "" : nothing is counted */
    struct stat_scope *stats; /* http.<prefix>.stateful_session.<stat_prefix>.; a route's without "http.<prefix>." */
};
extern const struct http_filter_def stateful_session_filter;
void stateful_session_link(void *config); /* of routes */

/* What a cookie says: an address (borrowed from `a`); null str when it is broken, or past its time. */
struct str session_cookie_read(struct str value, uint64_t wall_s, struct arena *a);
/* The value for an address; `expires_s` 0: never. */
struct str session_cookie_write(struct str address, uint64_t expires_s, struct arena *a);

#endif
