/* SPDX-License-Identifier: Apache-2.0
 *
 * What the room has a place for and doesn't do yet; each goes to a file of its own when it is done.
 */
#include "control/translate/translate_priv.h"

void name_table(const struct translation *t, struct resource_sink *out)
{
    (void)t, (void)out;
}

void extensions(const struct translation *t, struct resource_sink *out)
{
    (void)t, (void)out;
}

void envoy_filter_cluster(const struct translation *t, Envoy__Config__Cluster__V3__Cluster *c, bool is_inbound)
{
    (void)t, (void)c, (void)is_inbound;
}

void envoy_filter_listener(const struct translation *t, Envoy__Config__Listener__V3__Listener *l, bool is_inbound)
{
    (void)t, (void)l, (void)is_inbound;
}

void envoy_filter_routes(const struct translation *t, Envoy__Config__Route__V3__RouteConfiguration *r, bool is_inbound)
{
    (void)t, (void)r, (void)is_inbound;
}
