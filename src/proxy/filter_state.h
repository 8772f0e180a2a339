/* SPDX-License-Identifier: Apache-2.0
 *
 * Filter state: objects that filters leave to each other under a key, for a request or for its whole
 * connection (Envoy: StreamInfo::FilterState). All ours are text, with how long they live and whether
 * they go on to the upstream side. One worker's alone.
 */
#ifndef PROXY_FILTER_STATE_H
#define PROXY_FILTER_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

enum filter_state_sharing { FILTER_STATE_PRIVATE, FILTER_STATE_SHARED_ONCE, FILTER_STATE_SHARED_TRANSITIVE };
struct filter_state_entry {
    struct str key, value; /* owned */
    bool read_only;
    enum filter_state_sharing sharing;
    struct filter_state_entry *next;
};
struct filter_state { /* zeroed = empty */
    struct filter_state_entry *first;
    const struct filter_state *parent; /* the connection's, looked at second; NULL */
};
const struct filter_state_entry *filter_state_find(const struct filter_state *s, struct str key);
/* False when a read-only entry stands there already. */
bool filter_state_set(struct filter_state *s, struct str key, struct str value, bool read_only, enum filter_state_sharing sharing);
void filter_state_fini(struct filter_state *s);

#endif
