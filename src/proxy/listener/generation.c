/* SPDX-License-Identifier: Apache-2.0
 *
 * One generation of a listener: its statistics, its limits, what it needs, and its end. It lives until the
 * manager, every worker that runs it and its predecessor have let go, and is freed on the main thread, since
 * its specification holds sources, slots and shared filter chains that are the main thread's.
 */
#include "base/log.h"
#include "base/mem.h"
#include "proxy/config/tls_source.h"
#include "proxy/filter/filter_source.h"
#include "proxy/listener/listener_priv.h"
#include "proxy/runtime.h"
#include "proxy/stats/tls_stats.h"

#include <stdio.h>

static const struct stat_desc listener_rows[] = {LISTENER_STATS(STAT_DESC_ROW)};
static const struct stat_table listener_table = {listener_rows, ARRAY_LEN(listener_rows)};
static const struct stat_desc worker_rows[] = {WORKER_LISTENER_STATS(STAT_DESC_ROW)};
static const struct stat_table worker_table = {worker_rows, ARRAY_LEN(worker_rows)};

/* ---- the end ---- */

static void destroy(void *arg)
{
    struct listener *l = arg;
    warmth_free(&l->warmth);
    timer_clear(&l->drain_limit);
    for (uint32_t i = 0; i < l->spec->address_count; i++)
        addr_fini(&l->bound[i]);
    for (uint32_t i = 0; i < l->spec->listener_filter_count; i++)
        stat_scope_unref(&l->filter_stats[i]);
    for (uint32_t i = 0; i < l->server->worker_count; i++) {
        stat_scope_unref(&l->actives[i].worker_stats);
        mem_free(l->actives[i].sockets);
    }
    stat_scope_unref(&l->stats);
    stat_scope_unref(&l->tls_stats);
    stat_scope_unref(&l->tls_socket_stats);
    if (l->successor)
        listener_unref(l->successor);
    listener_spec_free(&l->spec);
    str_free(&l->packed);
    str_free(&l->version);
    mem_free(l->groups);
    mem_free(l->fds);
    mem_free(l->first_fd);
    mem_free(l->bound);
    mem_free(l->filter_stats);
    mem_free(l->counts);
    mem_free(l->actives);
    l->magic = 0;
    mem_free(l);
}

struct listener *listener_ref(struct listener *l)
{
    atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
    return l;
}

void listener_unref(struct listener *l)
{
    if (atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (worker_current())
        loop_post(l->server->main_loop, destroy, l);
    else
        destroy(l);
}

struct active_listener *active_listener_keep(struct active_listener *a)
{
    listener_ref(listener_of(a));
    return a;
}

void active_listener_let_go(struct active_listener **a)
{
    if (*a)
        listener_unref(listener_of(*a));
    *a = NULL;
}

/* ---- statistics ---- */

static struct stat_scope *scope(const char *middle, struct str name, const char *suffix,
                                const char *extracted, const struct stat_table *table)
{
    struct strbuf prefix = {0};
    strbuf_addz(&prefix, middle);
    strbuf_adds(&prefix, name);
    strbuf_addz(&prefix, suffix);
    struct stat_tag tag = {STR("envoy.listener_address"), name};
    struct stat_scope *s = stat_scope_get(strbuf_str(&prefix), table, str_from(extracted), &tag, 1);
    strbuf_fini(&prefix);
    return s;
}

struct str listener_stat_name(const struct listener_spec *spec, char text[ADDR_TEXT_BYTES])
{
    if (spec->stat_prefix.n)
        return spec->stat_prefix;
    addr_text(&spec->addresses[0], text); /* as configured: port 0 stays 0, as Envoy has it */
    for (char *p = text; *p; p++)
        if (*p == ':')
            *p = '_';
    return str_from(text);
}

static struct stat_scope *worker_scope(struct str name, uint32_t index)
{
    struct strbuf prefix = {0};
    char id[12];
    strbuf_addz(&prefix, "listener.");
    strbuf_adds(&prefix, name);
    strbuf_addf(&prefix, ".worker_%u.", index);
    struct stat_tag tags[] = {{STR("envoy.listener_address"), name},
                              {STR("envoy.worker_id"), str_make(id, u64_format(index, id))}};
    struct stat_scope *s =
        stat_scope_get(strbuf_str(&prefix), &worker_table, STR("listener.worker_"), tags, 2);
    strbuf_fini(&prefix);
    return s;
}

static bool has_tls(const struct listener_spec *spec)
{
    for (uint32_t i = 0; i < spec->chain_count; i++)
        if (spec->chains[i]->tls)
            return true;
    return spec->default_chain && spec->default_chain->tls;
}

static void make_stats(struct listener *l)
{
    const struct listener_spec *spec = l->spec;
    char text[ADDR_TEXT_BYTES];
    struct str name = listener_stat_name(spec, text);
    l->stats = scope("listener.", name, ".", "listener.", &listener_table);
    if (has_tls(spec)) {
        l->tls_stats = scope("listener.", name, ".ssl.", "listener.ssl.", &tls_stat_table);
        l->tls_socket_stats =
            scope("listener.", name, ".server_ssl_socket_factory.", "listener.server_ssl_socket_factory.", &tls_socket_stat_table);
    }
    for (uint32_t i = 0; i < l->server->worker_count; i++)
        l->actives[i].worker_stats = worker_scope(name, i);
    for (uint32_t i = 0; i < spec->listener_filter_count; i++) {
        const struct listener_filter_spec *f = &spec->listener_filters[i];
        l->filter_stats[i] = !f->dynamic && f->def->stats ? f->def->stats(f->config) : NULL;
    }
}

static void link_source(struct filter_source *s, struct link_context *cx)
{
    filter_source_link(s, cx->server, NULL);
    filter_source_wait(s, cx->warm);
}

static void link_chain(const struct filter_chain *chain, struct link_context *cx)
{
    for (uint32_t i = 0; chain && i < chain->filter_count; i++)
        if (chain->filters[i].dynamic)
            link_source(chain->filters[i].dynamic, cx);
        else if (chain->filters[i].def->link)
            chain->filters[i].def->link((void *)(uintptr_t)chain->filters[i].config, cx);
    if (chain && chain->tls && cx->warm)
        warmth_wait(cx->warm, tls_source_warm(chain->tls));
}

void listener_link(struct listener *l, struct warmth *warm)
{
    struct link_context cx = {.server = l->server, .listener = l->spec, .warm = warm};
    for (uint32_t i = 0; i < l->spec->listener_filter_count; i++)
        if (l->spec->listener_filters[i].dynamic)
            link_source(l->spec->listener_filters[i].dynamic, &cx);
    for (uint32_t i = 0; i < l->spec->chain_count; i++)
        link_chain(l->spec->chains[i], &cx);
    link_chain(l->spec->default_chain, &cx);
}

/* ---- making ---- */

static bool matches_anything(const struct chain_match_spec *m)
{
    return !m->has_destination_port && !m->prefix_count && !m->server_name_count &&
           !m->transport_protocol.n && !m->application_protocol_count && !m->direct_source_count &&
           m->source_type == SOURCE_ANY && !m->source_count && !m->source_port_count;
}

static const struct filter_chain *sole_chain(const struct listener_spec *spec)
{
    if (spec->chain_count == 0)
        return spec->default_chain;
    return spec->chain_count == 1 && matches_anything(&spec->chains[0]->match) ? spec->chains[0]
                                                                               : NULL;
}

void listener_refresh_limit(struct listener *l)
{
    char key[512];
    int n = snprintf(key, sizeof(key), "envoy.resource_limits.listener.%.*s.connection_limit",
                     STR_ARG(l->spec->name));
    uint64_t limit = l->spec->max_connections;
    if (n > 0 && (size_t)n < sizeof(key))
        limit = runtime_u64(str_make(key, (size_t)n), limit);
    atomic_store_explicit(&l->limit, limit, memory_order_relaxed);
}

struct listener *listener_new(struct listener_manager *m, struct server *s, struct listener_spec *take_spec)
{
    static uint64_t generations;
    struct listener *l = NEW(listener);
    l->magic = LISTENER_MAGIC;
    atomic_init(&l->refs, 1);
    l->manager = m;
    l->server = s;
    l->spec = take_spec;
    l->generation = ++generations;
    list_init(&l->node);
    l->first_fd = mem_zalloc((take_spec->address_count + 1) * sizeof(*l->first_fd));
    l->bound = mem_zalloc((take_spec->address_count + 1) * sizeof(*l->bound));
    l->groups = mem_zalloc((take_spec->address_count + 1) * sizeof(*l->groups));
    l->filter_stats = mem_zalloc((take_spec->listener_filter_count + 1) * sizeof(*l->filter_stats));
    l->counts = mem_zalloc(s->worker_count * sizeof(*l->counts));
    l->actives = mem_zalloc(s->worker_count * sizeof(*l->actives));
    l->sole = sole_chain(take_spec);
    make_stats(l);
    for (uint32_t i = 0; i < s->worker_count; i++)
        l->actives[i].base = (struct active_listener){.worker = &s->workers[i],
                                                      .spec = l->spec,
                                                      .shared = l,
                                                      .stats = l->stats,
                                                      .tls_stats = l->tls_stats,
                                                      .tls_socket_stats = l->tls_socket_stats};
    listener_refresh_limit(l);
    return l;
}
