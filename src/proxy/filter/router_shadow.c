/* SPDX-License-Identifier: Apache-2.0
 *
 * Mirrors: copies of a request to other clusters, whose answers nobody waits for (Envoy: request_mirror_policies). The
 * body goes along as it comes; a mirror that can't keep up is given up, the request itself never waits for one. A
 * copy that is whole outlives its exchange: the call belongs to itself, with nobody listening.
 */
#include "base/mem.h"
#include "proxy/cluster/upstream_call.h"
#include "proxy/filter/router_priv.h"

struct mirror { /* heap: it may outlive the exchange */
    struct mirror *next;
    struct upstream_call *call; /* NULL: over */
    struct loop *loop;
    bool whole;                 /* all of the request was given to it */
    bool orphan;                /* its exchange is gone */
    struct deferred deferred;
};

static void destroy(struct deferred *d)
{
    mem_free(CONTAINER_OF(d, mirror, deferred));
}

static void on_done(void *user, enum stream_reset why, const char *details)
{
    struct mirror *m = user;
    (void)why, (void)details;
    m->call = NULL;
    if (m->orphan)
        loop_defer(m->loop, &m->deferred, destroy);
}

static const struct upstream_call_handler listening = {.on_done = on_done};
static const struct upstream_call_handler unheard = {0};

/* "host-shadow", "host-shadow:port": logs of the other side tell copies apart. */
static struct str shadow_host(struct arena *a, struct str host)
{
    ptrdiff_t colon = str_find_char(host, ':');
    bool one_colon = colon > 0 && str_find_char(str_make(host.p + colon + 1, host.n - (size_t)colon - 1), ':') < 0;
    if (!one_colon)
        return arena_printf(a, "%.*s-shadow", STR_ARG(host));
    return arena_printf(a, "%.*s-shadow%.*s", (int)colon, host.p, (int)(host.n - (size_t)colon), host.p + colon);
}

static bool is_chosen(struct router *r, const struct mirror_policy *p)
{
    if (p->has_fraction)
        return runtime_fraction_hits(&p->fraction, exchange_random(r->x));
    return true;
}

static struct cluster *target_of(const struct mirror_policy *p, const struct headers *h)
{
    if (!p->cluster_header.n)
        return cluster_slot_now(p->cluster);
    struct str name = headers_get(h, p->cluster_header);
    return name.n ? cluster_named(name) : NULL;
}

/* As a client of ours would look to the next proxy: what the copy's sender adds are this proxy's own words. */
static bool make_headers(struct router *r, const struct mirror_policy *p, const struct headers *h, struct headers *copy)
{
    struct arena *a = exchange_arena(r->x);
    const struct stream_info *info = exchange_info(r->x);
    char text[ADDR_TEXT_BYTES];
    if (!headers_copy(copy, h, a))
        return false;
    if (p->host_rewrite.n)
        headers_set_id_ref(copy, HDR_AUTHORITY, p->host_rewrite);
    header_rules_apply(&p->request_rules, copy, exchange_format_context(r->x), a);
    if (!p->disable_host_suffix)
        headers_set_id_ref(copy, HDR_AUTHORITY, shadow_host(a, headers_get_id(copy, HDR_AUTHORITY)));
    headers_set_id_ref(copy, HDR_ENVOY_INTERNAL, STR("true"));
    if (info->downstream_local)
        headers_append_id(copy, HDR_X_FORWARDED_FOR, str_from(addr_ip_text(info->downstream_local, text)));
    if (info->span)
        trace_mirror(r, !p->has_trace_sampled || p->trace_sampled, copy);
    return !a->overflowed;
}

static void start(struct router *r, const struct mirror_policy *p, const struct headers *h, bool end)
{
    struct cluster *c = target_of(p, h);
    struct headers copy;
    if (!c || !is_chosen(r, p) || !make_headers(r, p, h, &copy))
        return;
    struct upstream_call_opts opts = {
        .cluster = c,
        .timeout_ms = r->timeout_ms,
        .body_limit_bytes = exchange_body_limit_bytes(r->x),
        .priority = PRIORITY_DEFAULT,
    };
    struct buf none = BUF_INIT;
    enum stream_reset why;
    if (end) {
        upstream_call_start(&opts, &copy, &none, true, &unheard, NULL, &why);
        return;
    }
    struct mirror *m = NEW(mirror);
    m->loop = exchange_loop(r->x);
    m->call = upstream_call_start(&opts, &copy, &none, false, &listening, m, &why);
    if (!m->call) {
        mem_free(m);
        return;
    }
    m->next = r->mirrors;
    r->mirrors = m;
}

void shadow_start(struct router *r, const struct headers *h, bool end)
{
    for (uint32_t i = 0; i < r->route->mirror_count; i++)
        start(r, &r->route->mirrors[i], h, end);
}

void shadow_data(struct router *r, const struct buf *data, bool end)
{
    for (struct mirror *m = r->mirrors; m; m = m->next) {
        struct buf copy = BUF_INIT;
        if (!m->call)
            continue;
        buf_share(&copy, data, data->len);
        if (!upstream_call_send(m->call, &copy, end)) {
            stat_inc(cluster_stats(r->cluster), STAT_CLUSTER_RETRY_OR_SHADOW_ABANDONED);
            upstream_call_cancel(&m->call);
        } else if (end) {
            m->whole = true;
        }
        buf_fini(&copy);
    }
}

void shadow_trailers(struct router *r, const struct headers *trailers)
{
    for (struct mirror *m = r->mirrors; m; m = m->next) {
        if (m->call && upstream_call_send_trailers(m->call, trailers))
            m->whole = true;
        else if (m->call)
            upstream_call_cancel(&m->call);
    }
}

/* Copies of half a request say nothing. */
void shadow_stop(struct router *r)
{
    for (struct mirror *m = r->mirrors, *next; m; m = next) {
        next = m->next;
        if (m->call && m->whole) {
            m->orphan = true;
            continue;
        }
        if (m->call)
            upstream_call_cancel(&m->call);
        loop_defer(m->loop, &m->deferred, destroy);
    }
    r->mirrors = NULL;
}
