/* SPDX-License-Identifier: Apache-2.0
 *
 * What listeners of every direction are made of.
 */
#include "control/translate/translate_priv.h"

Envoy__Config__Listener__V3__Listener *listener_new(const struct translation *t, const char *skeleton, const char *name, struct str address,
                                                    uint32_t port)
{
    Envoy__Config__Listener__V3__Listener *l =
        COPY_OF(t, Envoy__Config__Listener__V3__Listener, envoy__config__listener__v3__listener__descriptor, skeleton);
    l->name = text(t, str_from(name));
    l->address = address_of(t, address, port);
    return l;
}

Envoy__Config__Listener__V3__FilterChain *filter_chain_new(const struct translation *t, const char *name)
{
    Envoy__Config__Listener__V3__FilterChain *c =
        MAKE(t, Envoy__Config__Listener__V3__FilterChain, envoy__config__listener__v3__filter_chain__descriptor);
    if (name)
        c->name = text(t, str_from(name));
    return c;
}

Envoy__Config__Listener__V3__FilterChainMatch *filter_chain_match(const struct translation *t, const char *literal, uint32_t port)
{
    Envoy__Config__Listener__V3__FilterChainMatch *m =
        COPY_OF(t, Envoy__Config__Listener__V3__FilterChainMatch, envoy__config__listener__v3__filter_chain_match__descriptor, literal);
    if (port)
        m->destination_port = u32_of(t, port);
    return m;
}
