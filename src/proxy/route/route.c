/* SPDX-License-Identifier: Apache-2.0
 *
 * Route tables: virtual host by domain, then the first route that matches. Domains are found
 * in at most (number of different wildcard lengths) hash look-ups: exact first, then "*.suffix"
 * from the longest, then "prefix.*" from the longest, then "*" (Envoy: VirtualHost.domains).
 * Immutable once built; read by every worker.
 */
#include "proxy/route/route.h"

#include <stdlib.h>

#include "base/map.h"
#include "base/mem.h"
#include "http/codec/uri.h"
#include "proxy/cluster/slot.h"
#include "proxy/match/matcher.h"
#include "proxy/route/path_index.h"
#include "proxy/route/route_priv.h"

struct wildcards { /* domains with one '*', by the length of their fixed part */
    struct map *map;
    size_t *lengths; /* descending */
    size_t count, cap;
};

struct route_table {
    struct map *exact;
    struct wildcards suffixes, prefixes;
    const struct virtual_host *any;
    const struct route_config_spec *spec;
    bool ignore_port;
};

/* ---- building ---- */

static struct str lower_copy(struct str s, char *out)
{
    for (size_t i = 0; i < s.n; i++)
        out[i] = ascii_lower(s.p[i]);
    return str_make(out, s.n);
}

static void note_length(struct wildcards *w, size_t n)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->lengths[i] == n)
            return;
    w->lengths = mem_grow(w->lengths, &w->cap, w->count + 1, sizeof(*w->lengths));
    w->lengths[w->count++] = n;
}

static bool insert(struct map *m, struct str key, const struct virtual_host *v)
{
    if (map_get(m, key))
        return false;
    map_set(m, key, (void *)(uintptr_t)v);
    return true;
}

static int add_domain(struct route_table *t, const struct virtual_host *v, struct str domain, struct err *err)
{
    char *text = mem_alloc(domain.n + 1);
    struct str d = lower_copy(domain, text);
    bool fresh;
    if (str_eq(d, STR("*"))) {
        fresh = !t->any;
        t->any = v;
    } else if (d.n && d.p[0] == '*') {
        fresh = insert(t->suffixes.map, str_make(d.p + 1, d.n - 1), v);
        note_length(&t->suffixes, d.n - 1);
    } else if (d.n && d.p[d.n - 1] == '*') {
        fresh = insert(t->prefixes.map, str_make(d.p, d.n - 1), v);
        note_length(&t->prefixes, d.n - 1);
    } else {
        fresh = insert(t->exact, d, v);
    }
    mem_free(text);
    if (!fresh)
        return err_set(err, ERR_INVALID, "domain %.*s stands in two virtual hosts or twice in %.*s; domains must be unique",
                       STR_ARG(domain), STR_ARG(v->name));
    return 0;
}

static int longer_first(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

struct route_table *route_table_new(const struct route_config_spec *spec, struct err *err)
{
    struct route_table *t = NEW(route_table);
    t->exact = map_new();
    t->suffixes.map = map_new();
    t->prefixes.map = map_new();
    t->ignore_port = spec->ignore_port_in_host;
    t->spec = spec;
    for (uint32_t i = 0; i < spec->vhost_count; i++) {
        struct virtual_host *v = spec->vhosts[i];
        if (!v->matcher && v->route_count >= PATH_INDEX_MIN_ROUTES && !v->index)
            v->index = path_index_new(v->routes, v->route_count);
        for (uint32_t k = 0; k < v->domain_count; k++) {
            if (add_domain(t, v, v->domains[k], err) < 0) {
                err_prefix(err, "virtual_hosts[%u].domains[%u]", i, k);
                route_table_free(&t);
                return NULL;
            }
        }
    }
    if (t->suffixes.count)
        qsort(t->suffixes.lengths, t->suffixes.count, sizeof(size_t), longer_first);
    if (t->prefixes.count)
        qsort(t->prefixes.lengths, t->prefixes.count, sizeof(size_t), longer_first);
    return t;
}

static void wildcards_fini(struct wildcards *w)
{
    map_free(&w->map);
    mem_free(w->lengths);
}

void route_table_free(struct route_table **t)
{
    if (!*t)
        return;
    map_free(&(*t)->exact);
    wildcards_fini(&(*t)->suffixes);
    wildcards_fini(&(*t)->prefixes);
    mem_free(*t);
    *t = NULL;
}

/* ---- looking up ---- */

#define HOST_BYTES_MAX 512 /* longer ones can't be a configured domain's (a DNS name has 255) */

static const struct virtual_host *find_wildcard(const struct wildcards *w, struct str host, bool at_end)
{
    for (size_t i = 0; i < w->count; i++) {
        size_t n = w->lengths[i];
        if (n >= host.n) /* the '*' stands for at least one character */
            continue;
        struct str part = at_end ? str_make(host.p + host.n - n, n) : str_make(host.p, n);
        const struct virtual_host *v = map_get(w->map, part);
        if (v)
            return v;
    }
    return NULL;
}

static const struct virtual_host *find_vhost(const struct route_table *t, struct str authority)
{
    char text[HOST_BYTES_MAX];
    struct str host = authority;
    int port;
    if (t->ignore_port && !authority_split(authority, &host, &port))
        host = authority;
    if (!host.n || host.n > sizeof(text))
        return t->any;
    host = lower_copy(host, text);
    const struct virtual_host *v = map_count(t->exact) ? map_get(t->exact, host) : NULL;
    if (!v)
        v = find_wildcard(&t->suffixes, host, true);
    if (!v)
        v = find_wildcard(&t->prefixes, host, false);
    return v ? v : t->any;
}

/* ---- deciding ---- */

static struct str host_asked(const struct route_table *t, const struct headers *h)
{
    const struct route_config_spec *spec = t->spec;
    return spec->vhost_header.n ? headers_get(h, spec->vhost_header) : headers_get_id(h, HDR_AUTHORITY);
}

/* x-forwarded-proto says how the client came to the first proxy (Envoy: VirtualHost.require_tls). */
static bool wants_tls(const struct virtual_host *v, const struct headers *h)
{
    if (v->require_tls == VHOST_TLS_NONE || str_eq(headers_get_id(h, HDR_X_FORWARDED_PROTO), STR("https")))
        return false;
    return v->require_tls == VHOST_TLS_ALL || !str_eq(headers_get_id(h, HDR_ENVOY_INTERNAL), STR("true"));
}

static const struct route_entry *find_in_tree(const struct virtual_host *v, const struct route_look *l)
{
    const struct matcher_data data = {l->rq->headers, l->rq->info};
    const struct route_list *list = matcher_find(v->matcher, &data);
    for (uint32_t i = 0; list && i < list->count; i++)
        if (route_look_refusal(&list->items[i]->match, l, NULL) == ROUTE_TAKEN)
            return list->items[i];
    return NULL;
}

static const struct route_entry *find_route(const struct virtual_host *v, const struct route_look *l)
{
    if (v->matcher)
        return find_in_tree(v, l);
    if (v->index)
        return path_index_find(v->index, l);
    for (uint32_t i = 0; i < v->route_count; i++)
        if (route_look_refusal(&v->routes[i]->match, l, NULL) == ROUTE_TAKEN)
            return v->routes[i];
    return NULL;
}

/* Names that only the request gives: of a route's cluster_header, of a weighted cluster's. A missing header names nothing. */
static void choose_by_header(struct str header, const struct route_request *rq, struct cluster *(*named)(struct str name),
                             struct route_decision *out)
{
    out->cluster_name = headers_get(rq->headers, header);
    out->cluster = out->cluster_name.n && named ? named(out->cluster_name) : NULL;
}

static void choose_cluster(const struct route_entry *r, const struct route_request *rq, struct cluster *(*named)(struct str name),
                           struct route_decision *out)
{
    if (r->action != ROUTE_CLUSTER)
        return;
    out->cluster = cluster_slot_now(r->cluster);
    out->cluster_name = r->cluster_name;
    if (r->cluster_header.n) {
        choose_by_header(r->cluster_header, rq, named, out);
        return;
    }
    if (!r->weighted_count)
        return;
    const struct weighted_cluster *w = out->weighted = route_draw_weighted(r, rq);
    if (w && w->cluster_header.n)
        choose_by_header(w->cluster_header, rq, named, out);
    else if (w)
        out->cluster_name = w->name, out->cluster = cluster_slot_now(w->cluster);
}

bool route_matches(const struct route_entry *r, const struct virtual_host *v, const struct route_request *rq)
{
    bool ignore = v && v->config && v->config->ignore_path_parameters;
    return route_match_refusal(&r->match, rq, ignore, NULL) == ROUTE_TAKEN;
}

bool route_decide(const struct route_table *t, const struct route_request *rq, struct cluster *(*named)(struct str name),
                  struct route_decision *out)
{
    struct route_look look;
    const struct virtual_host *v = find_vhost(t, host_asked(t, rq->headers));
    if (!v)
        return false;
    out->vhost = v;
    if (wants_tls(v, rq->headers)) {
        out->needs_tls = true;
        return true;
    }
    route_look_init(&look, rq, t->spec->ignore_path_parameters);
    out->route = find_route(v, &look);
    if (!out->route)
        return false;
    choose_cluster(out->route, rq, named, out);
    return true;
}
