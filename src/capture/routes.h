/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of traffic capture that are routing: the rule and routes that bring packets with TPROXY's mark to loopback, and ::6
 * on lo, from which the proxy speaks to the application over IPv6 (127.0.0.6 is there anyway). By rtnetlink in the caller's
 * network namespace; each is marked with a protocol number, by which it is found again.
 */
#ifndef CAPTURE_ROUTES_H
#define CAPTURE_ROUTES_H

#include "base/err.h"
#include "base/str.h"
#include "capture/options.h"

struct capture_rule { /* packets with the mark are routed by the table, which holds one route: all to loopback */
    int family;
    uint32_t mark, table;
};
#define CAPTURE_RULES_MAX 64
struct capture_routes {
    struct capture_rule rules[CAPTURE_RULES_MAX];
    size_t count;
    bool has_address; /* ::6 */
};

void capture_routes_wanted(const struct capture_opts *o, struct capture_routes *out);
/* What is there of any process's capture. */
int capture_routes_read(struct capture_routes *out, struct err *err);
/* What isn't among those that are there; a kernel without IPv6 is fine. */
int capture_routes_add(const struct capture_routes *routes, const struct capture_routes *there, struct err *err);
/* Takes away all of capture's that isn't among these. */
int capture_routes_keep(const struct capture_routes *routes, struct err *err);
/* One line each, as `ip` would take them. */
void capture_routes_text(const struct capture_routes *routes, struct strbuf *out);

#endif
