/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests on the wrong connection: a client that holds a connection for one name of a shared certificate may send
 * requests for another name on it (RFC 9113 section 9.1.1). Where the listener has another filter chain for that name,
 * with its own routes and rules, this connection's chain must not answer for it: 421 makes the client open another
 * connection (RFC 9110 section 15.5.20). Only where the chain was chosen by the server name (SNI).
 */
#include "http/codec/uri.h"
#include "proxy/hcm/exchange.h"

#define NAME_BYTES_MAX 253 /* of a DNS name; longer ones are nobody's */

static bool name_fits(struct str pattern, struct str name)
{
    if (pattern.n > 1 && pattern.p[0] == '*')
        return name.n > pattern.n - 1 && str_has_suffix(name, str_make(pattern.p + 1, pattern.n - 1));
    return str_eq(pattern, name);
}

static bool chain_serves(const struct filter_chain *c, struct str name)
{
    for (uint32_t i = 0; i < c->match.server_name_count; i++)
        if (name_fits(c->match.server_names[i], name))
            return true;
    return false;
}

bool request_is_misdirected(const struct exchange *x)
{
    const struct downstream *d = x->hc->downstream;
    char lower[NAME_BYTES_MAX];
    struct str host;
    int port;
    if (!d->server_name.n || !d->chain->match.server_name_count ||
        !authority_split(headers_get_id(x->request, HDR_AUTHORITY), &host, &port) ||
        str_eq_nocase(host, d->server_name) || host.n > sizeof(lower))
        return false;
    for (size_t i = 0; i < host.n; i++)
        lower[i] = ascii_lower(host.p[i]);
    host.p = lower;
    if (chain_serves(d->chain, host))
        return false;
    const struct listener_spec *spec = d->listener->spec;
    for (uint32_t i = 0; i < spec->chain_count; i++)
        if (spec->chains[i] != d->chain && chain_serves(spec->chains[i], host))
            return true;
    return false;
}
