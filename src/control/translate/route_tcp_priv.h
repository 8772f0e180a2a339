/* SPDX-License-Identifier: Apache-2.0
 *
 * Virtual services' TCP and TLS routes: where connections go, told by port, source and, at run time, server name and address.
 */
#ifndef CONTROL_TRANSLATE_ROUTE_TCP_PRIV_H
#define CONTROL_TRANSLATE_ROUTE_TCP_PRIV_H

#include "control/translate/route_priv.h"

/* One filter chain that a route asks for. */
struct tls_choice {
    const struct scoped_route *vs;
    struct tcp_target to;
    struct many names;   /* server names; none: whichever */
    struct many subnets; /* texts; of the destination; none: whichever */
};

/* ---- at gateways ---- */
/* false: none of its TCP routes is for the gateway's port. */
bool tcp_route_of_gateway(const struct translation *t, const struct scoped_route *vs, struct str gateway, uint32_t port, struct tcp_target *out);
/* struct tls_choice. */
void tls_routes_of_gateway(const struct translation *t, const struct scoped_route *vs, struct str gateway, uint32_t port, struct many *out);

/* ---- at sidecars: of the virtual services in `routes` that have the service's host ---- */
/* struct tls_choice; true: the last takes every connection. */
bool tcp_routes_of_service(const struct translation *t, const struct scope_egress *e, const struct service *s, uint32_t port, struct many *out);
void tls_routes_of_service(const struct translation *t, const struct scope_egress *e, const struct service *s, uint32_t port, struct many *out);

#endif
