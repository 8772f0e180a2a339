/* SPDX-License-Identifier: Apache-2.0
 *
 * Route tables: virtual host by domain, then the first route that matches. A table is immutable
 * once it is published and read by every worker; the next version is a copy that shares with it
 * whatever hasn't changed, so that one virtual host of ten thousand costs no more than one of ten.
 */
#include "proxy/route/route.h"

#include "base/mem.h"
#include "http/codec/uri.h"
#include "proxy/cluster/slot.h"
#include "proxy/match/matcher.h"
#include "proxy/route/domains.h"
#include "proxy/route/path_index.h"
#include "proxy/route/route_priv.h"

struct route_table {
    struct domains domains;
    struct pmap *resources; /* virtual hosts that came by themselves, by their resources' names; NULL: none */
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

static void index_paths(struct virtual_host *v)
{
    if (!v->matcher && v->route_count >= PATH_INDEX_MIN_ROUTES && !v->index)
        v->index = path_index_new(v->routes, v->route_count);
}

struct route_table *route_table_new(const struct route_config_spec *spec, struct err *err)
{
    struct route_table *t = NEW(route_table);
    domains_init(&t->domains);
    t->ignore_port = spec->ignore_port_in_host;
    t->spec = spec;
    for (uint32_t i = 0; i < spec->vhost_count; i++) {
        index_paths(spec->vhosts[i]);
        if (domains_add(&t->domains, spec->vhosts[i], err) < 0) {
            err_prefix(err, "virtual_hosts[%u]", i);
            route_table_free(&t);
            return NULL;
        }
    }
    return t;
}

void route_table_free(struct route_table **t)
{
    if (!*t)
        return;
    domains_fini(&(*t)->domains);
    pmap_free(&(*t)->resources);
    mem_free(*t);
    *t = NULL;
}

/* ---- the next version ---- */

struct route_table *route_table_copy(const struct route_table *t)
{
    struct route_table *copy = NEW(route_table);
    *copy = *t;
    domains_copy(&copy->domains, &t->domains);
    copy->resources = t->resources ? pmap_copy(t->resources) : NULL;
    return copy;
}

static void drop_resource(void *value)
{
    struct vhost_resource *r = value;
    vhost_resource_unref(&r);
}

int route_table_put(struct route_table *t, struct str name, struct vhost_resource *r, struct err *err)
{
    index_paths(r->vhost);
    route_table_remove(t, name);
    if (domains_add(&t->domains, r->vhost, err) < 0)
        return ERR_EXISTS;
    if (!t->resources)
        t->resources = pmap_new(drop_resource);
    pmap_set(t->resources, name, vhost_resource_ref(r));
    return 0;
}

void route_table_remove(struct route_table *t, struct str name)
{
    struct vhost_resource *r = t->resources ? pmap_get(t->resources, name) : NULL;
    if (!r)
        return;
    domains_remove(&t->domains, r->vhost);
    pmap_del(t->resources, name);
}

struct each_resource {
    void (*fn)(const struct virtual_host *v, void *arg);
    void *arg;
};

static void tell_resource(struct str name, void *value, void *arg)
{
    (void)name;
    const struct each_resource *e = arg;
    e->fn(((struct vhost_resource *)value)->vhost, e->arg);
}

void route_table_each(const struct route_table *t, void (*fn)(const struct virtual_host *v, void *arg), void *arg)
{
    struct each_resource e = {fn, arg};
    for (uint32_t i = 0; i < t->spec->vhost_count; i++)
        fn(t->spec->vhosts[i], arg);
    if (t->resources)
        pmap_each(t->resources, tell_resource, &e);
}

/* ---- looking up ---- */

#define HOST_BYTES_MAX 512 /* longer ones can't be a configured domain's (a DNS name has 255) */

static const struct virtual_host *find_vhost(const struct route_table *t, struct str authority)
{
    char text[HOST_BYTES_MAX];
    struct str host = authority;
    int port;
    if (t->ignore_port && !authority_split(authority, &host, &port))
        host = authority;
    if (!host.n || host.n > sizeof(text))
        return t->domains.any;
    return domains_find(&t->domains, lower_copy(host, text));
}

bool route_table_knows(const struct route_table *t, struct str host)
{
    return domains_find(&t->domains, host) != NULL;
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
