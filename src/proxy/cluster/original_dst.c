/* SPDX-License-Identifier: Apache-2.0
 *
 * ORIGINAL_DST membership: the endpoint is where the connection was going before it was diverted, or
 * what a trusted header says (use_http_header). Hosts are made on demand, per worker, and dropped by a
 * sweep when nothing has used them for a whole interval.
 */
#include "base/mem.h"
#include "http/codec/uri.h"
#include "proxy/cluster/cluster_priv.h"

#define ORIGINAL_DST_HOSTS_MAX 65536 /* per worker: a client may name any address; memory stays bounded */

struct dst_host {
    struct host *host;
    bool used;
};
struct original_dst {
    struct cluster_worker *view;
    struct map *hosts; /* address text -> struct dst_host */
    struct timer sweep;
};

static void drop(struct original_dst *o, struct str key, struct dst_host *d)
{
    map_del(o->hosts, key);
    host_unref(&d->host);
    mem_free(d);
}

static bool is_idle(const struct host *h)
{
    return !atomic_load_explicit(&h->stats[HOST_CX_ACTIVE], memory_order_relaxed) &&
           !atomic_load_explicit(&h->stats[HOST_RQ_ACTIVE], memory_order_relaxed);
}

static void drain_pools_of(struct cluster_worker *v, const struct host *h)
{
    for (uint32_t b = 0; b < v->bucket_count; b++) {
        for (struct upstream_pool *p = v->buckets[b], *next; p; p = next) {
            next = p->next;
            if (p->host == h && !p->is_draining) {
                p->is_draining = true;
                http_pool_drain(p->pool);
            }
        }
    }
}

static void on_sweep(struct timer *t)
{
    struct original_dst *o = CONTAINER_OF(t, original_dst, sweep);
    size_t at = 0, n = 0;
    struct str key;
    void *value;
    char (*gone)[ADDR_TEXT_BYTES] = mem_alloc((map_count(o->hosts) + 1) * ADDR_TEXT_BYTES);
    while (map_next(o->hosts, &at, &key, &value)) {
        struct dst_host *d = value;
        if (!d->used && is_idle(d->host)) {
            memcpy(gone[n], key.p, key.n);
            gone[n++][key.n] = 0;
        }
        d->used = false;
    }
    for (size_t i = 0; i < n; i++) {
        struct dst_host *d = map_get(o->hosts, str_from(gone[i]));
        drain_pools_of(o->view, d->host);
        drop(o, str_from(gone[i]), d);
    }
    mem_free(gone);
    if (map_count(o->hosts))
        timer_set_ms(&o->sweep, o->view->cluster->spec->original_dst->cleanup_interval_ms);
}

static struct original_dst *table_of(struct cluster_worker *v)
{
    if (!v->original_dst) {
        struct original_dst *o = v->original_dst = NEW(original_dst);
        o->view = v;
        o->hosts = map_new();
        timer_init(&o->sweep, v->loop, on_sweep);
    }
    return v->original_dst;
}

static bool parse(struct str text, struct addr *out)
{
    struct str host;
    int port;
    return authority_split(text, &host, &port) && port > 0 && addr_from_ip(out, host, (uint16_t)port, NULL) == 0;
}

static struct str named_by_header(const struct cluster_original_dst_spec *spec, const struct lb_context *ctx)
{
    struct str name = spec->http_header_name.n ? spec->http_header_name : STR("x-envoy-original-dst-host");
    return spec->use_http_header && ctx->request ? headers_get(ctx->request, name) : STR_NULL;
}

/* Of a list the first counts. */
static struct str named_by_metadata(const struct cluster_original_dst_spec *spec, const struct lb_context *ctx)
{
    if (!spec->path_count)
        return STR_NULL;
    const struct meta_value *v = metadata_find(ctx->dynamic, spec->space, spec->path, spec->path_count);
    if (v && v->kind == META_LIST && v->u.list.count)
        v = &v->u.list.items[0];
    return v && v->kind == META_STRING ? v->u.string : STR_NULL;
}

/* Metadata first, then the header, then where the connection was going: each asked only if the one before gave nothing. */
static bool destination(struct cluster_worker *v, const struct lb_context *ctx, struct addr *out)
{
    const struct cluster_original_dst_spec *spec = v->cluster->spec->original_dst;
    struct str named[] = {named_by_metadata(spec, ctx), named_by_header(spec, ctx)};
    bool found = false;
    *out = (struct addr){0};
    for (size_t i = 0; i < ARRAY_LEN(named) && !found; i++) {
        found = named[i].p && parse(named[i], out);
        if (named[i].p && !found)
            stat_inc(v->cluster->stats, STAT_CLUSTER_ORIGINAL_DST_INVALID);
    }
    if (!found) {
        if (!ctx->local_is_restored || !ctx->downstream_local || !addr_is_ip(ctx->downstream_local))
            return false;
        addr_copy(out, ctx->downstream_local);
    }
    if (spec->upstream_port_override > 0)
        addr_set_port(out, (uint16_t)spec->upstream_port_override);
    return true;
}

struct host *original_dst_pick(struct cluster_worker *v, const struct lb_context *ctx)
{
    struct addr a;
    char text[ADDR_TEXT_BYTES];
    if (!destination(v, ctx, &a))
        return NULL;
    struct original_dst *o = table_of(v);
    struct str key = str_from(addr_text(&a, text));
    struct dst_host *d = map_get(o->hosts, key);
    if (!d) {
        if (map_count(o->hosts) >= ORIGINAL_DST_HOSTS_MAX)
            return NULL;
        d = NEW(dst_host);
        d->host = host_new(&a, STR_NULL, 1, 0, NULL);
        d->host->transport = cluster_take_transport(v->cluster, NULL, NULL);
        map_set(o->hosts, key, d);
        if (!timer_is_set(&o->sweep))
            timer_set_ms(&o->sweep, v->cluster->spec->original_dst->cleanup_interval_ms);
    }
    d->used = true;
    return host_ref(d->host);
}

void original_dst_free(struct original_dst **table)
{
    struct original_dst *o = *table;
    size_t at = 0;
    struct str key;
    void *value;
    *table = NULL;
    if (!o)
        return;
    timer_clear(&o->sweep);
    while (map_next(o->hosts, &at, &key, &value)) {
        struct dst_host *d = value;
        host_unref(&d->host);
        mem_free(d);
    }
    map_free(&o->hosts);
    mem_free(o);
}
