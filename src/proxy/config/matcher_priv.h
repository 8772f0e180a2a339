/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading matcher trees: what the reader and the owner of a tree hand each other.
 */
#ifndef PROXY_CONFIG_MATCHER_PRIV_H
#define PROXY_CONFIG_MATCHER_PRIV_H

#include "proxy/config/config_priv.h"
#include "proxy/match/matcher.h"

struct cfg_matcher_input { struct matcher_input *input; struct arena *arena; }; /* EXT_MATCH_INPUT */

struct matcher_reading {
    struct config_reader *cr;
    struct arena *a;
    /* The action at the present path, or NULL after a fault. */
    const void *(*read_action)(struct matcher_reading *mr, const pb_xds_extension *m);
    void *arg; /* the owner's */
    bool is_connection; /* there are no headers: inputs that want some are faults */
};
/* Never NULL; the caller calls matcher_fini at its end. */
struct matcher *cfg_matcher(struct matcher_reading *mr, const pb_matcher *m);

#endif
