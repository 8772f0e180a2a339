/* SPDX-License-Identifier: Apache-2.0
 *
 * Names of hosts: exact ones and those that begin with "*" (Istio: host.Name). Any thread.
 */
#include "model/scope.h"

static bool is_wild(struct str h)
{
    return h.n && h.p[0] == '*';
}

static struct str tail(struct str wild)
{
    return str_make(wild.p + 1, wild.n - 1);
}

bool host_is_subset(struct str a, struct str of)
{
    if (!is_wild(of))
        return str_eq(a, of);
    struct str rest = tail(of);
    if (!is_wild(a))
        return str_has_suffix(a, rest) && (rest.n == 0 || a.n > rest.n);
    return str_has_suffix(tail(a), rest);
}

bool host_overlaps(struct str a, struct str b)
{
    return host_is_subset(a, b) || host_is_subset(b, a);
}

struct str host_whole(struct arena *a, struct str host, struct str ns, struct str domain)
{
    if (host.n == 0 || is_wild(host) || str_find_char(host, '.') >= 0)
        return arena_str(a, host);
    return arena_printf(a, "%.*s.%.*s.svc.%.*s", STR_ARG(host), STR_ARG(ns), STR_ARG(domain));
}

bool visibility_allows(const struct visibility *v, struct str own_ns, struct str ns)
{
    if (v->nobody)
        return false;
    if (v->everyone || (v->own_namespace && str_eq(own_ns, ns)))
        return true;
    for (uint32_t i = 0; i < v->namespace_count; i++)
        if (str_eq(v->namespaces[i], ns))
            return true;
    return false;
}
