/* SPDX-License-Identifier: Apache-2.0
 *
 * What a route makes of a request's path and host. Compiled on the main thread, run by every worker.
 */
#ifndef PROXY_ROUTE_REWRITE_H
#define PROXY_ROUTE_REWRITE_H

#include "http/codec/headers.h"
#include "proxy/log/access_log.h"
#include "proxy/match/path_template.h"
#include "proxy/match/string_match.h"
#include "proxy/route/match.h"

enum host_rewrite {
    HOST_REWRITE_NONE, HOST_REWRITE_LITERAL,
    HOST_REWRITE_AUTO,       /* the chosen endpoint's name: the router calls rewrite_host once it knows it */
    HOST_REWRITE_HEADER, HOST_REWRITE_PATH_REGEX, HOST_REWRITE_FORMAT
};
struct rewrite_rule {
    struct str prefix;                           /* prefix_rewrite: takes the place of what matched; "" none */
    struct regex *regex; struct str substitution;/* regex_rewrite, over the path without query */
    struct path_template_rewrite *path_template; /* path_rewrite_policy */
    struct format *path_format;                  /* path_rewrite */
    enum host_rewrite host_kind;
    struct str host;                             /* LITERAL: the host; HEADER: the header's name, lower case */
    struct regex *host_regex; struct str host_substitution;
    struct format *host_format;
    bool append_x_forwarded_host;
};
/* What of the path (with query) the match stood for: a prefix, or all of it without the query. */
struct str route_matched_path(const struct route_match *m, struct str path);
/* The path after the rules (arena; the query kept), or a null str when they change nothing. */
struct str rewrite_path(const struct rewrite_rule *r, const struct route_match *m, struct str path, const struct format_context *cx,
                        struct arena *a);
/* Puts `host` in :authority's place: x-forwarded-host is extended where told, x-envoy-original-host set unless suppressed. */
void rewrite_host(struct headers *h, struct str host, bool append_x_forwarded_host, bool keep_original);
void rewrite_rule_fini(struct rewrite_rule *r);

#endif
