/* SPDX-License-Identifier: Apache-2.0
 *
 * Looking policies up in an index (index.c): each key that a request has is tried, and of the policies that stand there the
 * first one that matches is kept. A policy that stands at several keys may be asked several times. Takes no memory; any worker.
 */
#include "proxy/rbac/rbac_priv.h"

int rbac_prefix_compare(const void *a, const void *b)
{
    const struct prefix *x = a, *y = b;
    size_t n = x->text.n < y->text.n ? x->text.n : y->text.n;
    int cmp = memcmp(x->text.p, y->text.p, n);
    return cmp ? cmp : (x->text.n > y->text.n) - (x->text.n < y->text.n);
}

/* The token behind "/ns/" and before the next slash, of SPIFFE IDs as Istio writes them; null str: none. The next look begins
 * at the slash before the token: "/ns/ns/a/" holds two. */
struct str rbac_next_namespace(struct str *rest)
{
    ptrdiff_t at = str_find(*rest, STR("/ns/"));
    if (at < 0)
        return STR_NULL;
    *rest = str_make(rest->p + at + 3, rest->n - (size_t)at - 3);
    struct str behind = str_make(rest->p + 1, rest->n - 1);
    ptrdiff_t end = str_find_char(behind, '/');
    return end < 0 ? STR_NULL : str_make(behind.p, (size_t)end);
}

struct look {
    const struct rbac_index *x;
    const struct rbac_input *in;
    bool (*matches)(const struct rbac_policy *p, const struct rbac_input *in);
    uint32_t best;
};

static void try_posting(struct look *l, const struct posting *p)
{
    for (uint32_t i = 0; p && i < p->count && p->ids[i] < l->best; i++)
        if (l->matches(&l->x->policies[p->ids[i]], l->in)) {
            l->best = p->ids[i];
            return;
        }
}

static void try_key(struct look *l, unsigned dim, struct str text)
{
    if (l->x->maps[dim])
        try_posting(l, map_get(l->x->maps[dim], text));
}

static void try_name(struct look *l, struct str name)
{
    struct str rest = name, space;
    try_key(l, DIM_NAME, name);
    while (l->x->maps[DIM_NAMESPACE] && (space = rbac_next_namespace(&rest)).p)
        try_key(l, DIM_NAMESPACE, space);
}

static void try_names(struct look *l)
{
    const struct rbac_peer *p = &l->in->peer;
    if (!p->is_tls || (!l->x->maps[DIM_NAME] && !l->x->maps[DIM_NAMESPACE]))
        return;
    for (const struct str *s = p->is_verified ? p->uri_sans : NULL; s && s->p; s++)
        try_name(l, *s);
    for (const struct str *s = p->is_verified ? p->dns_sans : NULL; s && s->p; s++)
        try_name(l, *s);
    try_name(l, p->is_verified ? p->subject : STR(""));
}

/* All prefixes of a path stand at the last one that isn't behind it, or are its ancestors. */
static void try_prefixes(struct look *l)
{
    const struct rbac_index *x = l->x;
    uint32_t low = 0, high = x->prefix_count;
    struct prefix path = {.text = l->in->path};
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (rbac_prefix_compare(&x->prefixes[mid], &path) <= 0)
            low = mid + 1;
        else
            high = mid;
    }
    while (low && !str_has_prefix(path.text, x->prefixes[low - 1].text))
        low = x->prefixes[low - 1].parent;
    for (; low; low = x->prefixes[low - 1].parent)
        try_posting(l, x->prefixes[low - 1].posting);
}

static void try_headers(struct look *l)
{
    const struct headers *h = l->in->headers;
    for (uint32_t k = 0; h && k < l->x->header_count; k++) {
        const struct header_matcher *m = l->x->headers[k];
        if (!l->x->maps[DIM_HEADER + k] || (m->id < 64 && !headers_has_id(h, m->id)))
            continue;
        for (uint32_t i = 0; i < h->count; i++)
            if (m->id != HDR_OTHER ? h->items[i].id == m->id : h->items[i].id == HDR_OTHER && str_eq(h->items[i].name, m->name))
                try_key(l, DIM_HEADER + k, h->items[i].value);
    }
}

static void try_ranges(struct look *l)
{
    const struct rbac_index *x = l->x;
    for (uint32_t i = 0; i < x->range_count; i++) {
        const struct range_shape *s = &x->ranges[i];
        const struct addr *a = rbac_address_of(s->kind, l->in);
        struct cidr c;
        if (x->maps[DIM_RANGE + i] && a && cidr_of(&c, a, s->family, s->prefix_bits))
            try_key(l, DIM_RANGE + i, str_make((const char *)c.bytes, s->family == AF_INET ? 4 : 16));
    }
}

static void try_port(struct look *l)
{
    const struct addr *a = l->in->info->downstream_local;
    if (!l->x->maps[DIM_PORT] || !a || !addr_is_ip(a))
        return;
    uint16_t port = addr_port(a);
    const char bytes[2] = {(char)(port >> 8), (char)port};
    try_key(l, DIM_PORT, str_make(bytes, 2));
}

uint32_t rbac_index_first(const struct rbac_index *x, const struct rbac_input *in,
                          bool (*matches)(const struct rbac_policy *p, const struct rbac_input *in))
{
    struct look l = {x, in, matches, UINT32_MAX};
    try_posting(&l, &x->always);
    try_names(&l);
    if (in->path.p) {
        try_key(&l, DIM_PATH, in->path);
        if (x->prefix_count)
            try_prefixes(&l);
    }
    try_headers(&l);
    try_ranges(&l);
    try_port(&l);
    try_key(&l, DIM_SERVER_NAME, in->info->requested_server_name);
    return l.best;
}
