/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to this folder: DNS settings on their way into a cluster's spec.
 */
#ifndef PROXY_CONFIG_DNS_H
#define PROXY_CONFIG_DNS_H

#include "proxy/config/config_priv.h"

struct cfg_dns { /* what EXT_DNS_RESOLVER and EXT_CLUSTER readers fill; zeroed first */
    struct cluster_dns_spec spec;
    struct arena *memory;
    bool is_logical;             /* EXT_DNS_RESOLVER, and clusters of type DNS */
    enum cluster_type type;      /* EXT_CLUSTER sets it, and what its type wants of `cluster` */
    struct cluster_spec *cluster;
    bool allow_insecure;         /* FORWARD_PROXY: names needn't be checked */
};
void cfg_dns_of_cluster(struct config_reader *cr, const pb_cluster *m, struct cfg_dns *d);
/* Which servers are asked, of a message that has the three members of these names. */
void cfg_dns_resolver(struct config_reader *cr, const pb_typed_extension *typed, const pb_dns_resolution *resolution, bool tcp_only,
                      struct cfg_dns *d);
const struct cluster_dns_spec *cfg_dns_share(struct cfg_dns *d); /* empties d->memory */

#endif
