/* SPDX-License-Identifier: Apache-2.0
 *
 * What the readers of a listener share.
 */
#ifndef PROXY_CONFIG_LISTENER_PRIV_H
#define PROXY_CONFIG_LISTENER_PRIV_H

#include "proxy/config/config_priv.h"

struct listener_reading {
    struct listener_spec *spec;
    const struct listener_spec *const *older; /* generations that filter chains may be shared with */
    uint32_t older_count;
};
/* A reference: a new chain, or an older generation's. */
struct filter_chain *cfg_filter_chain(struct config_reader *cr, const pb_filter_chain *m, const struct listener_reading *lr);
void filter_chain_unref(struct filter_chain **c); /* NULL is fine */
void cfg_listener_filters(struct config_reader *cr, const pb_listener *m, struct listener_spec *l); /* listener_filters.c */
struct content_digest cfg_digest(const struct strbuf *bytes);

#endif
