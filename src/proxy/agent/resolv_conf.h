/* SPDX-License-Identifier: Apache-2.0
 *
 * What resolv.conf(5) says to the agent's name server: whom to ask, and the first search domain. The rest of it is for the
 * resolvers of applications.
 */
#ifndef PROXY_AGENT_RESOLV_CONF_H
#define PROXY_AGENT_RESOLV_CONF_H

#include "base/arena.h"
#include "io/addr.h"

#define RESOLV_SERVERS_MAX 8 /* libc takes 3 */

struct resolv_conf {
    struct addr servers[RESOLV_SERVERS_MAX]; /* with ports */
    uint32_t server_count;
    struct str search;                       /* "" none; the arena's */
};
/* Lines that can't be read are left out and logged. A server may have a port, as "127.0.0.1:5353" or "[::1]:5353". */
void resolv_conf_parse(struct str text, struct arena *a, struct resolv_conf *out);
void resolv_conf_fini(struct resolv_conf *c);

#endif
