/* SPDX-License-Identifier: Apache-2.0
 *
 * Redirects: where an answer sends the client. Pure.
 */
#ifndef PROXY_ROUTE_REDIRECT_H
#define PROXY_ROUTE_REDIRECT_H

#include "base/str.h"
#include "proxy/log/access_log.h"
#include "proxy/match/string_match.h"

struct redirect_rule {
    bool https;
    struct str scheme, host;   /* "" as the request's */
    struct str port;           /* ":8443"; "" none */
    struct str path;           /* path_redirect; "" none */
    bool path_has_query;       /* it brings its own, which goes before the request's */
    struct format *path_format;/* path_rewrite; NULL none */
    struct str prefix;         /* prefix_rewrite; "" none */
    struct regex *regex; struct str substitution;
    bool strip_query;
    uint16_t status;           /* 301 */
};
void redirect_rule_fini(struct redirect_rule *r);

#endif
