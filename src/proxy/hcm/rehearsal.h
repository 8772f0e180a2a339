/* SPDX-License-Identifier: Apache-2.0
 *
 * A rehearsal: a request that nobody sent takes the road of a real one up to the filters, by the same code, with nothing
 * counted, timed or sent. For explain. Main thread.
 */
#ifndef PROXY_HCM_REHEARSAL_H
#define PROXY_HCM_REHEARSAL_H

#include "proxy/hcm/hcm.h"
#include "proxy/listener/listener.h"

struct rehearsal {
    /* What is asked; all borrowed until rehearsal_end. */
    struct server *server;
    const struct hcm_config *config;
    const struct listener_spec *listener;
    const struct filter_chain *chain;
    const struct addr *remote, *local;
    struct str server_name;
    bool is_tls;
    struct str principal;    /* URI of the verified certificate that the peer would present; "" none */
    uint64_t random;         /* what fractions and weights are drawn from */
    struct headers *request; /* as it would arrive; changed as the connection manager changes it */
    struct arena *arena;

    /* What comes of it. */
    struct exchange *x;      /* for exchange_decision, exchange_info … */
    const struct outcome *answer; /* the connection manager answers by itself; NULL: the filters have it */
    unsigned status;
    struct str body, details, location;
    void *scratch;
};
/* False: the arena is full. */
bool rehearse(struct rehearsal *r);
/* Of the chain's configuration; as the request's route and its levels say. */
bool rehearsal_filter_is_off(const struct rehearsal *r, uint32_t index);
void rehearsal_end(struct rehearsal *r);

#endif
