/* SPDX-License-Identifier: Apache-2.0
 *
 * Membership from DNS, on the main thread. STRICT_DNS: every address of every name is an endpoint.
 * LOGICAL_DNS: one endpoint at one address of the one name; while the address in use is still among the
 * answers it stays, the others stand behind it. A failed look-up keeps what was known and tries again
 * with back-off; an empty answer is a failure for LOGICAL_DNS, for STRICT_DNS it is an answer.
 */
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "proxy/cluster/cluster_priv.h"

struct dns_name {
    struct cluster_dns *owner;
    const struct endpoint_spec *spec;
    struct addr *addrs;
    uint32_t addr_count;
    struct dns_query *query;
    struct timer timer;
    uint32_t failures;   /* in a row */
    bool was_answered;   /* well or not: for start-up */
};

struct cluster_dns {
    struct cluster *cluster;
    struct dns_resolver *resolver;
    struct dns_name *names;
    uint32_t name_count, unanswered;
    void (*on_ready)(void *arg);
    void *arg;
};

static void resolve(struct dns_name *n);

static void on_timer(struct timer *t)
{
    resolve(CONTAINER_OF(t, dns_name, timer));
}

static void free_addrs(struct dns_name *n)
{
    for (uint32_t i = 0; i < n->addr_count; i++)
        addr_fini(&n->addrs[i]);
    mem_free(n->addrs);
    n->addrs = NULL;
    n->addr_count = 0;
}

/* ---- from answers to endpoints ---- */

/* Where in the answer the address in use stands; 0 when it isn't there, or none is in use. */
static size_t current_at(const struct dns_name *n, const struct dns_answer *answer)
{
    for (size_t i = 0; i < answer->count && n->addr_count; i++) {
        struct addr with_port = answer->addrs[i];
        addr_set_port(&with_port, addr_port(&n->spec->addr));
        if (addr_eq(&with_port, &n->addrs[0]))
            return i;
    }
    return 0;
}

static void swap(struct addr *a, struct addr *b)
{
    struct addr t = *a;
    *a = *b;
    *b = t;
}

static void take_answer(struct dns_name *n, const struct dns_answer *answer)
{
    bool logical = n->owner->cluster->spec->type == CLUSTER_LOGICAL_DNS;
    size_t first = logical ? current_at(n, answer) : 0;
    free_addrs(n);
    n->addr_count = (uint32_t)answer->count;
    n->addrs = answer->count ? mem_zalloc(answer->count * sizeof(*n->addrs)) : NULL;
    for (size_t i = 0; i < answer->count; i++) {
        addr_copy(&n->addrs[i], &answer->addrs[i]);
        addr_set_port(&n->addrs[i], addr_port(&n->spec->addr));
    }
    if (first)
        swap(&n->addrs[0], &n->addrs[first]);
}

static void publish(struct cluster_dns *d)
{
    bool logical = d->cluster->spec->type == CLUSTER_LOGICAL_DNS;
    uint32_t total = 0, at = 0;
    for (uint32_t i = 0; i < d->name_count; i++)
        total += d->names[i].addr_count;
    struct endpoint_spec *eps = total ? mem_zalloc(total * sizeof(*eps)) : NULL;
    for (uint32_t i = 0; i < d->name_count; i++) {
        const struct dns_name *n = &d->names[i];
        for (uint32_t k = 0; k < n->addr_count; k++) {
            struct endpoint_spec *e = &eps[at++];
            *e = *n->spec;
            e->addr = n->addrs[k];
            if (!e->hostname.n)
                e->hostname = n->spec->dns_name;
            if (logical) { /* the rest are where to go when the first doesn't answer */
                e->extra_addrs = n->addrs + 1;
                e->extra_addr_count = n->addr_count - 1;
                break;
            }
        }
    }
    cluster_set_endpoints(d->cluster, eps, at);
    mem_free(eps);
}

/* ---- asking ---- */

static uint64_t next_ms(struct dns_name *n, bool failed, uint32_t ttl_s)
{
    const struct cluster_dns_spec *spec = n->owner->cluster->spec->dns;
    struct rng *rng = loop_rng(clusters_main_loop());
    uint64_t ms = spec->refresh_ms;
    if (failed && spec->failure_base_ms) {
        uint32_t shift = n->failures > 16 ? 16 : n->failures - 1;
        uint64_t ceiling = spec->failure_base_ms << shift;
        if (ceiling > spec->failure_max_ms)
            ceiling = spec->failure_max_ms;
        ms = rng_below(rng, ceiling) + 1; /* full jitter */
    } else if (!failed && spec->respect_ttl && ttl_s) {
        ms = (uint64_t)ttl_s * 1000;
    }
    if (spec->jitter_ms)
        ms += rng_below(rng, spec->jitter_ms);
    return ms;
}

static void note_first_answer(struct dns_name *n)
{
    struct cluster_dns *d = n->owner;
    if (n->was_answered)
        return;
    n->was_answered = true;
    if (--d->unanswered == 0 && d->on_ready) {
        void (*on_ready)(void *) = d->on_ready;
        d->on_ready = NULL;
        on_ready(d->arg);
    }
}

static void on_answer(void *user, enum dns_status status, const struct dns_answer *answer)
{
    struct dns_name *n = user;
    struct cluster *c = n->owner->cluster;
    /* A logical endpoint can't do without an address: no answer for it is as good as none at all. */
    bool is_empty = !answer || !answer->count;
    bool failed = status == DNS_FAILED || status == DNS_TIMED_OUT || (is_empty && c->spec->type == CLUSTER_LOGICAL_DNS);
    n->query = NULL;
    if (failed) {
        n->failures++;
        stat_inc(c->stats, STAT_CLUSTER_UPDATE_FAILURE);
        LOG_SELDOM(DNS, WARNING, "cluster %.*s: cannot resolve %.*s", STR_ARG(c->spec->name), STR_ARG(n->spec->dns_name));
    } else {
        n->failures = 0;
        stat_inc(c->stats, STAT_CLUSTER_UPDATE_SUCCESS);
        take_answer(n, answer);
        publish(n->owner);
    }
    timer_set_ms(&n->timer, next_ms(n, failed, answer ? answer->ttl_s : 0));
    note_first_answer(n);
}

static void resolve(struct dns_name *n)
{
    struct cluster *c = n->owner->cluster;
    stat_inc(c->stats, STAT_CLUSTER_UPDATE_ATTEMPT);
    n->query = dns_resolve(n->owner->resolver, n->spec->dns_name, c->spec->dns->family, on_answer, n);
}

void cluster_dns_start(struct cluster *c, void (*on_ready)(void *arg), void *arg)
{
    struct err err;
    struct cluster_dns *d = NEW(cluster_dns);
    c->dns = d;
    d->cluster = c;
    d->on_ready = on_ready;
    d->arg = arg;
    d->resolver = dns_resolver_new(clusters_main_loop(), &c->spec->dns->opts, &err);
    d->name_count = d->unanswered = c->spec->endpoint_count;
    if (!d->resolver || !d->name_count) {
        if (!d->resolver)
            LOG(DNS, ERROR, "cluster %.*s: no resolver: %s", STR_ARG(c->spec->name), err.message);
        d->name_count = 0;
        if (on_ready)
            on_ready(arg);
        return;
    }
    d->names = mem_zalloc(d->name_count * sizeof(*d->names));
    for (uint32_t i = 0; i < d->name_count; i++) {
        struct dns_name *n = &d->names[i];
        n->owner = d;
        n->spec = &c->spec->endpoints[i];
        timer_init(&n->timer, clusters_main_loop(), on_timer);
    }
    for (uint32_t i = 0; i < d->name_count; i++)
        resolve(&d->names[i]);
}

void cluster_dns_stop(struct cluster *c)
{
    struct cluster_dns *d = c->dns;
    if (!d)
        return;
    c->dns = NULL;
    for (uint32_t i = 0; i < d->name_count; i++) {
        timer_clear(&d->names[i].timer);
        if (d->names[i].query)
            dns_cancel(d->names[i].query);
        free_addrs(&d->names[i]);
    }
    dns_resolver_free(&d->resolver);
    mem_free(d->names);
    mem_free(d);
}
