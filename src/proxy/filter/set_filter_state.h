/* SPDX-License-Identifier: Apache-2.0
 *
 * What set_filter_state sets (extensions.filters.common.set_filter_state.v3), for the HTTP filter and the network filter.
 */
#ifndef PROXY_FILTER_SET_FILTER_STATE_H
#define PROXY_FILTER_SET_FILTER_STATE_H

#include "proxy/filter/http_filter.h"
#include "proxy/log/access_log.h"

/* The kinds of objects that text can become; each says whether a text is one. */
struct filter_state_kind {
    const char *key;
    bool (*is_valid)(struct str text); /* NULL: any */
};
const struct filter_state_kind *filter_state_kind_find(struct str key); /* NULL: none is known by that name */

struct filter_state_rule {
    struct str key;
    const struct filter_state_kind *kind;
    struct format *value;
    bool read_only, skip_if_empty;
    enum filter_state_sharing sharing;
};
struct set_filter_state_config {
    struct filter_state_rule *rules; uint32_t count;
};
void filter_state_rules_apply(const struct set_filter_state_config *c, const struct format_context *cx, struct filter_state *s);
extern const struct http_filter_def set_filter_state_filter;

#endif
