/* SPDX-License-Identifier: Apache-2.0
 *
 * What the route table says of an exchange: decided at the first look, kept until a filter clears it,
 * and the settings that routes hold for filters. On the exchange's worker.
 */
#include "proxy/cluster/cluster.h"
#include "proxy/explain/record.h"
#include "proxy/hcm/exchange.h"
#include "proxy/route/scopes.h"
#include "proxy/route/vhost_ask.h"

/* ---- what an exchange keeps of what may be replaced ---- */

bool exchange_keep(struct exchange *x, struct snapshot *s)
{
    struct kept_snapshot *k = x->kept;
    if (!s->holds)
        return true;
    while (k && k->snapshot != s)
        k = k->next;
    if (k)
        return true;
    k = arena_alloc(x->arena, sizeof *k);
    if (!k)
        return false;
    *k = (struct kept_snapshot){x->kept, s};
    x->kept = k;
    snapshot_hold(s);
    return true;
}

void exchange_release(struct exchange *x)
{
    for (const struct kept_snapshot *k = x->kept; k; k = k->next)
        snapshot_release(k->snapshot, x->loop);
    x->kept = NULL;
}

/* ---- routes ---- */

static struct route_source *source_of(const struct exchange *x)
{
    const struct hcm_config *c = x->config;
    const struct route_scope *scope = c->scopes ? route_scopes_find(c->scopes, x->request) : NULL;
    return scope ? scope->routes : c->routes;
}

static const struct route_snapshot *find_routes(struct exchange *x)
{
    struct route_snapshot *s = route_source_now(source_of(x));
    return s && exchange_keep(x, &s->base) ? s : NULL;
}

/* The one that it saw first, for all decisions of an exchange; of scopes the one that its headers name now. */
static const struct route_snapshot *routes_of(struct exchange *x)
{
    if (!x->routes || x->config->scopes)
        x->routes = find_routes(x);
    return x->routes;
}

const struct route_config_spec *exchange_route_spec(struct exchange *x)
{
    const struct route_snapshot *s = routes_of(x);
    return s ? s->spec : NULL;
}

/* One decision's at a time; the router holds what it works with by itself. */
static void hold_cluster(struct exchange *x)
{
    struct cluster_worker *old = x->here;
    x->here = x->decision.cluster ? view_hold(cluster_here(x->decision.cluster)) : NULL;
    view_release(&old);
}

const struct route_entry *exchange_route(struct exchange *x)
{
    if (x->route_known)
        return x->decision.route;
    x->route_known = true;
    x->decision = (struct route_decision){0};
    struct route_request rq = {.headers = x->request, .info = &x->info, .random = x->random};
    const struct route_snapshot *routes = routes_of(x);
    if (routes)
        route_decide(routes->table, &rq, cluster_named, &x->decision);
    const struct route_entry *route = x->info.route = x->decision.route;
    x->info.cluster = x->decision.cluster; /* logs name it even where a filter answers */
    hold_cluster(x);
    if (x->info.record)
        explain_record_decision(x->info.record, routes ? routes->spec : NULL, &rq, &x->decision);
    if (x->decision.vhost)
        x->info.virtual_host = x->decision.vhost->name;
    if (route)
        x->info.route_name = route->name;
    if (route && !x->rehearsal) {
        if (route->filter_body_limit_bytes > x->body_limit_bytes)
            x->body_limit_bytes = route->filter_body_limit_bytes;
        if (route->idle_timeout_ms >= 0) {
            x->stream_idle_us = (uint64_t)route->idle_timeout_ms * 1000;
            timer_clear(&x->idle_timer);
            exchange_touch(x);
        }
        if (route->max_stream_duration)
            duration_settle(x);
    }
    return route;
}

const struct route_decision *exchange_decision(struct exchange *x)
{
    exchange_route(x);
    return &x->decision;
}

void exchange_clear_route_cache(struct exchange *x)
{
    x->route_known = false;
    x->decision = (struct route_decision){0};
    x->info.route = NULL;
}

void exchange_renew_routes(struct exchange *x)
{
    x->routes = NULL;
    exchange_clear_route_cache(x);
}

struct vhost_ask *exchange_ask_vhost(struct exchange *x, void (*on_answer)(void *arg), void *arg)
{
    if (exchange_decision(x)->vhost)
        return NULL;
    return vhost_ask_new(source_of(x), routes_of(x), x->request, x->loop, on_answer, arg);
}

void exchange_put_decision(struct exchange *x, const struct route_decision *d)
{
    x->route_known = true;
    x->decision = *d;
    x->info.route = d->route;
    hold_cluster(x);
}

/* ---- per-route settings ---- */

static const void *find_override(const struct filter_overrides *o, struct str name)
{
    for (uint32_t i = 0; i < o->count; i++)
        if (o->items[i].config && str_eq(o->items[i].name, name))
            return o->items[i].config;
    return NULL;
}

/* The most specific level that names the filter decides; any entry but a disabling one turns it on. */
bool exchange_filter_is_off(struct exchange *x, uint32_t index)
{
    const struct http_filter_spec *spec = &x->config->filters[index];
    if (spec->def->is_terminal)
        return false;
    const struct route_decision *d = exchange_decision(x);
    if (!d->route)
        return spec->disabled;
    const struct filter_overrides *levels[] = {
        d->weighted ? &d->weighted->overrides : NULL,
        &d->route->overrides,
        &d->vhost->overrides,
        d->vhost->config ? &d->vhost->config->overrides : NULL,
    };
    for (size_t i = 0; i < ARRAY_LEN(levels); i++)
        for (uint32_t k = 0; levels[i] && k < levels[i]->count; k++)
            if (str_eq(levels[i]->items[k].name, spec->name))
                return levels[i]->items[k].disabled;
    return spec->disabled;
}

uint32_t exchange_route_configs(struct http_filter *f, const void *out[4])
{
    const struct route_decision *d = exchange_decision(f->x);
    struct str name = f->x->config->filters[f->index].name;
    uint32_t n = 0;
    if (!d->route)
        return 0;
    const struct filter_overrides *levels[] = {
        d->vhost->config ? &d->vhost->config->overrides : NULL,
        &d->vhost->overrides,
        &d->route->overrides,
        d->weighted ? &d->weighted->overrides : NULL,
    };
    for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
        const void *config = levels[i] && levels[i]->count ? find_override(levels[i], name) : NULL;
        if (config)
            out[n++] = config;
    }
    return n;
}

const void *exchange_route_config(struct http_filter *f)
{
    const void *all[4];
    uint32_t n = exchange_route_configs(f, all);
    return n ? all[n - 1] : NULL;
}

uint64_t exchange_random(const struct exchange *x)
{
    return x->random;
}

const struct format_context *exchange_format_context(struct exchange *x)
{
    x->format = (struct format_context){
        .info = &x->info,
        .request = x->request,
        .response = x->response,
        .trailers = x->response_trailers,
        .local_reply_body = x->local_body,
    };
    return &x->format;
}
