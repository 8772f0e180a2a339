/* SPDX-License-Identifier: Apache-2.0
 *
 * Lives and ends of a route configuration: what its tables own beyond their arena (formats, regular
 * expressions, matchers, filters' settings, scopes of statistics), and the scopes' making. Main thread.
 */
#include "base/mem.h"
#include "proxy/custom_tag.h"
#include "proxy/discovery/discovery.h"
#include "proxy/match/matcher.h"
#include "proxy/route/path_index.h"
#include "proxy/route/redirect.h"
#include "proxy/route/rewrite.h"
#include "proxy/route/route_priv.h"
#include "proxy/route/route_stats.h"

static void overrides_fini(struct filter_overrides *o)
{
    for (uint32_t i = 0; i < o->count; i++)
        if (o->items[i].free_config && o->items[i].config)
            o->items[i].free_config((void *)(uintptr_t)o->items[i].config);
    o->count = 0;
}

static void level_fini(struct header_rules *request, struct header_rules *response, struct filter_overrides *overrides)
{
    header_rules_fini(request);
    header_rules_fini(response);
    overrides_fini(overrides);
}

static void header_matchers_fini(struct header_matcher *items, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        header_matcher_fini(&items[i]);
}

static void entry_fini(struct route_entry *e)
{
    route_match_fini(&e->match);
    level_fini(&e->request_rules, &e->response_rules, &e->overrides);
    for (uint32_t i = 0; i < e->weighted_count; i++)
        level_fini(&e->weighted[i].request_rules, &e->weighted[i].response_rules, &e->weighted[i].overrides);
    for (uint32_t i = 0; i < e->hash_count; i++)
        regex_free(&e->hashes[i].regex);
    /* The spec's own; const for those who read them. */
    if (e->rewrite)
        rewrite_rule_fini((struct rewrite_rule *)(uintptr_t)e->rewrite);
    if (e->redirect)
        redirect_rule_fini((struct redirect_rule *)(uintptr_t)e->redirect);
    format_free(&e->direct_format);
    if (e->tracing) {
        custom_tags_fini(e->tracing->custom_tags, e->tracing->custom_tag_count);
        format_free(&e->tracing->operation);
        format_free(&e->tracing->upstream_operation);
    }
    stat_scope_unref(&e->stats);
}

static void owned_fini(struct route_owned_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        list->items[i].free(list->items[i].object);
    mem_free(list->items);
    *list = (struct route_owned_list){0};
}

static void vhost_fini(struct virtual_host *v)
{
    path_index_free(&v->index);
    for (uint32_t i = 0; i < v->route_count; i++)
        entry_fini(v->routes[i]);
    if (v->matcher)
        matcher_fini(v->matcher);
    level_fini(&v->request_rules, &v->response_rules, &v->overrides);
    for (uint32_t i = 0; i < v->virtual_cluster_count; i++) {
        header_matchers_fini(v->virtual_clusters[i].headers, v->virtual_clusters[i].header_count);
        stat_scope_unref(&v->virtual_clusters[i].stats);
    }
    stat_scope_unref(&v->other_stats);
}

void route_config_fini(struct route_config_spec *spec)
{
    for (uint32_t i = 0; i < spec->vhost_count; i++)
        if (spec->vhosts[i])
            vhost_fini(spec->vhosts[i]);
    level_fini(&spec->request_rules, &spec->response_rules, &spec->overrides);
    owned_fini(&spec->owned);
    config_source_unref(&spec->vhds);
    spec->vhost_count = 0;
}

void route_config_free(struct route_config_spec **spec)
{
    struct route_config_spec *s = *spec;
    *spec = NULL;
    if (!s)
        return;
    struct arena *a = s->arena;
    route_config_fini(s);
    cluster_slots_fini(&s->slots);
    arena_fini(a);
    mem_free(a);
}

struct vhost_resource *vhost_resource_ref(struct vhost_resource *r)
{
    r->refs++;
    return r;
}

void vhost_resource_unref(struct vhost_resource **resource)
{
    struct vhost_resource *r = *resource;
    *resource = NULL;
    if (!r || --r->refs)
        return;
    if (r->vhost)
        vhost_fini(r->vhost);
    owned_fini(&r->owned);
    cluster_slots_fini(&r->slots);
    arena_fini(&r->arena);
    mem_free(r);
}

void route_own(struct route_owned_list *list, void *object, void (*free)(void *object))
{
    list->items = mem_grow(list->items, &list->cap, list->count + 1, sizeof *list->items);
    list->items[list->count++] = (struct route_owned){free, object};
}

/* ---- statistics ---- */

static const struct stat_desc route_rows[] = {ROUTE_STATS(STAT_DESC_ROW)};
static const struct stat_table route_table_of_stats = {route_rows, STAT_ROUTE_COUNT};

static struct stat_scope *make_scope(struct str vhost, const char *kind, const char *tag, struct str name)
{
    struct strbuf prefix = {0}, bare = {0};
    strbuf_addf(&prefix, "vhost.%.*s.%s.%.*s.", STR_ARG(vhost), kind, STR_ARG(name));
    strbuf_addf(&bare, "vhost.%s.", kind);
    struct stat_tag tags[] = {{STR("envoy.virtual_host"), vhost}, {str_from(tag), name}};
    struct stat_scope *s = stat_scope_get(strbuf_str(&prefix), &route_table_of_stats, strbuf_str(&bare), tags, 2);
    strbuf_fini(&prefix);
    strbuf_fini(&bare);
    return s;
}

static void link_overrides(const struct filter_overrides *o)
{
    for (uint32_t i = 0; i < o->count; i++)
        if (o->items[i].link)
            o->items[i].link((void *)(uintptr_t)o->items[i].config);
}

static void link_vhost(struct virtual_host *v)
{
    link_overrides(&v->overrides);
    for (uint32_t i = 0; i < v->route_count; i++) {
        struct route_entry *e = v->routes[i];
        link_overrides(&e->overrides);
        for (uint32_t k = 0; k < e->weighted_count; k++)
            link_overrides(&e->weighted[k].overrides);
        if (e->stat_prefix.n && !e->stats)
            e->stats = make_scope(v->name, "route", "envoy.route", e->stat_prefix);
    }
    for (uint32_t i = 0; i < v->virtual_cluster_count; i++)
        if (!v->virtual_clusters[i].stats)
            v->virtual_clusters[i].stats = make_scope(v->name, "vcluster", "envoy.virtual_cluster", v->virtual_clusters[i].name);
    if (v->virtual_cluster_count && !v->other_stats)
        v->other_stats = make_scope(v->name, "vcluster", "envoy.virtual_cluster", STR("other"));
}

void vhost_resource_link(struct vhost_resource *r)
{
    link_vhost(r->vhost);
}

void route_config_link(struct route_config_spec *spec)
{
    link_overrides(&spec->overrides);
    for (uint32_t i = 0; i < spec->vhost_count; i++)
        link_vhost(spec->vhosts[i]);
}
