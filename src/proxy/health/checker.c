/* SPDX-License-Identifier: Apache-2.0
 *
 * Active health checks of one cluster: a session a member, each asking by its probe, waiting, asking
 * again. What a result means (thresholds, first results, degraded hosts, jittered pauses) is here;
 * how a question is put stands in health_http.c, health_tcp.c and health_grpc.c. Main thread.
 *
 *     waiting -> asking -> passed | failed -> waiting
 *
 * Invariants: `healthy` counts sessions whose host lacks HOST_FAILED_ACTIVE_HC, `unknown` those
 * without a result; a session lives as long as its host is a member, whatever else changes.
 */
#include "base/mem.h"
#include "proxy/health/event_log.h"
#include "proxy/health/health_priv.h"
#include "proxy/health/outlier.h"
#include "proxy/runtime.h"

#define HEALTH_STATS(X)                                                                            \
    X(HEALTH_ATTEMPT, COUNTER, NONE, "attempt", "Checks made")                                     \
    X(HEALTH_SUCCESS, COUNTER, NONE, "success", "Checks passed")                                   \
    X(HEALTH_FAILURE, COUNTER, NONE, "failure", "Checks failed, for any reason")                   \
    X(HEALTH_PASSIVE_FAILURE, COUNTER, NONE, "passive_failure", "Failures told by responses to real requests") \
    X(HEALTH_NETWORK_FAILURE, COUNTER, NONE, "network_failure", "Failures to connect, resets, timeouts") \
    X(HEALTH_VERIFY_CLUSTER, COUNTER, NONE, "verify_cluster", "Checks that looked at the service's name") \
    X(HEALTH_HEALTHY, GAUGE, NONE, "healthy", "Members that are well")                             \
    X(HEALTH_DEGRADED, GAUGE, NONE, "degraded", "Members that say they are degraded")
enum { HEALTH_STATS(STAT_ENUM_ROW) };
static const struct stat_desc health_rows[] = {HEALTH_STATS(STAT_DESC_ROW)};
static const struct stat_table health_table = {health_rows, ARRAY_LEN(health_rows)};

/* Did a result change what the host is taken for? PENDING: it would, once the threshold is reached. */
enum transition { UNCHANGED, CHANGED, PENDING };

static bool has_bit(const struct host *h, uint32_t bit)
{
    return atomic_load_explicit(&h->health, memory_order_relaxed) & bit;
}

static void set_bits(struct host *h, uint32_t set, uint32_t clear)
{
    atomic_fetch_or_explicit(&h->health, set, memory_order_relaxed);
    atomic_fetch_and_explicit(&h->health, ~clear, memory_order_relaxed);
}

static void count(struct health_checker *hc, int healthy, int degraded)
{
    hc->healthy += (uint32_t)healthy;
    hc->degraded += (uint32_t)degraded;
    stat_set(hc->stats, STAT_HEALTH_HEALTHY, hc->healthy);
    stat_set(hc->stats, STAT_HEALTH_DEGRADED, hc->degraded);
}

void health_count_verified(struct health_session *s)
{
    stat_inc(s->checker->stats, STAT_HEALTH_VERIFY_CLUSTER);
}

struct conn *health_connect(struct health_session *s, const struct str *alpn, uint32_t alpn_count, struct str first_bytes,
                            const struct conn_handler *handler, void *user)
{
    const struct health_spec *spec = s->checker->spec;
    if (spec->alpn_count) {
        alpn = spec->alpn;
        alpn_count = spec->alpn_count;
    }
    return upstream_connect_probe(cluster_here(s->checker->cluster), s->host, health_transport(s), &s->host->check->addr, alpn,
                                  alpn_count, first_bytes, handler, user);
}

const struct transport_socket_spec *health_transport(const struct health_session *s)
{
    const struct health_spec *spec = s->checker->spec;
    return spec->transport_criteria.kind == META_STRUCT ? cluster_transport_by(s->checker->cluster->spec, &spec->transport_criteria)
                                                        : s->host->transport;
}

/* ---- when to ask ---- */

uint64_t health_pause_ms(const struct health_spec *spec, struct rng *rng, bool has_traffic, bool passed, bool is_edge)
{
    uint64_t ms;
    if (!has_traffic)
        ms = passed ? spec->no_traffic_healthy_ms : spec->no_traffic_ms;
    else if (passed)
        ms = is_edge ? spec->healthy_edge_ms : spec->interval_ms;
    else
        ms = is_edge ? spec->unhealthy_edge_ms : spec->unhealthy_ms;
    uint64_t share = spec->interval_jitter_pct * ms / 100;
    return ms + rng_below(rng, share) + rng_below(rng, spec->interval_jitter_ms);
}

static uint64_t pause_ms(struct health_session *s, bool passed, enum transition t)
{
    bool has_traffic = stat_sum(s->checker->cluster->stats, STAT_CLUSTER_UPSTREAM_CX_TOTAL) > 0;
    uint64_t ms = health_pause_ms(s->checker->spec, loop_rng(clusters_main_loop()), has_traffic, passed, t == PENDING);
    uint64_t most = runtime_u64(STR("health_check.max_interval"), UINT64_MAX / 2000);
    uint64_t least = runtime_u64(STR("health_check.min_interval"), 1);
    ms = ms < most ? ms : most;
    ms = ms > least ? ms : least;
    return ms ? ms : 1;
}

static void ask(struct health_session *s)
{
    s->asking = true;
    stat_inc(s->checker->stats, STAT_HEALTH_ATTEMPT);
    timer_set_ms(&s->timeout, s->checker->spec->timeout_ms);
    s->checker->probe->start(s);
}

static void on_interval(struct timer *t)
{
    ask(CONTAINER_OF(t, health_session, interval));
}

static void on_timeout(struct timer *t)
{
    struct health_session *s = CONTAINER_OF(t, health_session, timeout);
    s->checker->probe->stop(s, false);
    health_failed(s, HEALTH_NETWORK_TIMEOUT, false);
}

/* ---- what came of it ---- */

static void note_known(struct health_checker *hc)
{
    if (--hc->unknown || !hc->on_known)
        return;
    void (*on_known)(void *) = hc->on_known;
    hc->on_known = NULL;
    cluster_health_publish(hc->cluster);
    on_known(hc->on_known_arg);
}

/* After a result has been counted. The session may be gone once this returns: whoever waits is called last. */
static void finish(struct health_session *s, bool passed, enum transition t)
{
    struct health_checker *hc = s->checker;
    bool was_first = s->first;
    bool bits_changed = has_bit(s->host, HOST_PENDING_ACTIVE_HC) || (was_first && has_bit(s->host, HOST_EXCLUDED_IMMEDIATE_HC));
    s->first = false;
    s->asking = false;
    if (bits_changed) /* what is excluded counts otherwise than what has failed */
        set_bits(s->host, 0, HOST_PENDING_ACTIVE_HC);
    timer_clear(&s->timeout);
    timer_set_ms(&s->interval, pause_ms(s, passed, t));
    if (t == CHANGED || bits_changed)
        cluster_health_changed(hc->cluster);
    if (t == CHANGED && !passed && !was_first)
        cluster_host_failed(hc->cluster, s->host);
    if (was_first)
        note_known(hc);
}

static enum transition become_healthy(struct health_session *s)
{
    if (!has_bit(s->host, HOST_FAILED_ACTIVE_HC))
        return UNCHANGED;
    if (!s->first && ++s->healthy_row < s->checker->spec->healthy_threshold)
        return PENDING;
    set_bits(s->host, 0, HOST_FAILED_ACTIVE_HC | HOST_EXCLUDED_IMMEDIATE_HC | HOST_ACTIVE_HC_TIMEOUT);
    count(s->checker, 1, 0);
    health_log(s, HEALTH_EVENT_ADD, HEALTH_ACTIVE);
    return CHANGED;
}

static enum transition become_degraded(struct health_session *s, bool degraded, enum transition t)
{
    if (degraded == has_bit(s->host, HOST_DEGRADED_ACTIVE_HC))
        return t;
    set_bits(s->host, degraded ? HOST_DEGRADED_ACTIVE_HC : 0, degraded ? 0 : HOST_DEGRADED_ACTIVE_HC);
    count(s->checker, 0, degraded ? 1 : -1);
    health_log(s, degraded ? HEALTH_EVENT_DEGRADED : HEALTH_EVENT_NOT_DEGRADED, HEALTH_ACTIVE);
    return t == UNCHANGED ? CHANGED : t;
}

void health_passed(struct health_session *s, bool degraded)
{
    struct health_checker *hc = s->checker;
    s->unhealthy_row = 0;
    enum transition t = become_degraded(s, degraded, become_healthy(s));
    if (hc->spec->log_successes)
        health_log(s, HEALTH_EVENT_SUCCESS, HEALTH_ACTIVE);
    stat_inc(hc->stats, STAT_HEALTH_SUCCESS);
    if (hc->cluster->outlier && !has_bit(s->host, HOST_FAILED_ACTIVE_HC))
        outlier_check_passed(hc->cluster->outlier, s->host);
    finish(s, true, t);
}

/* A host that says it isn't well is believed at once; trouble on the way, or an answer that may be tried again, has to
 * repeat itself. */
static enum transition become_unhealthy(struct health_session *s, enum health_failure why, bool retriable)
{
    bool at_once = why != HEALTH_NETWORK && why != HEALTH_NETWORK_TIMEOUT && !retriable;
    s->healthy_row = 0;
    if (has_bit(s->host, HOST_FAILED_ACTIVE_HC))
        return UNCHANGED;
    if (!at_once && ++s->unhealthy_row < s->checker->spec->unhealthy_threshold)
        return PENDING;
    set_bits(s->host, HOST_FAILED_ACTIVE_HC, 0);
    count(s->checker, -1, 0);
    health_log(s, HEALTH_EVENT_EJECT, why);
    return CHANGED;
}

static enum transition count_failure(struct health_session *s, enum health_failure why, bool retriable)
{
    struct health_checker *hc = s->checker;
    enum transition t = become_unhealthy(s, why, retriable);
    bool timed_out = why == HEALTH_NETWORK_TIMEOUT && has_bit(s->host, HOST_FAILED_ACTIVE_HC);
    set_bits(s->host, timed_out ? HOST_ACTIVE_HC_TIMEOUT : 0, timed_out ? 0 : HOST_ACTIVE_HC_TIMEOUT);
    if (s->first || hc->spec->log_failures)
        health_log(s, HEALTH_EVENT_FAILURE, why);
    stat_inc(hc->stats, STAT_HEALTH_FAILURE);
    if (why == HEALTH_PASSIVE)
        stat_inc(hc->stats, STAT_HEALTH_PASSIVE_FAILURE);
    else if (why != HEALTH_ACTIVE)
        stat_inc(hc->stats, STAT_HEALTH_NETWORK_FAILURE);
    return t;
}

void health_failed(struct health_session *s, enum health_failure why, bool retriable)
{
    finish(s, false, count_failure(s, why, retriable));
}

/* ---- taken out by a response ---- */

struct fail_now {
    struct cluster *cluster;
    struct host *host;
};

static void on_fail_now(void *arg)
{
    struct fail_now *f = arg;
    struct health_checker *hc = f->cluster->checker;
    struct health_session *s = hc && f->host->check ? f->host->check->session : NULL;
    if (s && !s->gone) {
        set_bits(f->host, HOST_EXCLUDED_IMMEDIATE_HC, 0);
        if (count_failure(s, HEALTH_PASSIVE, false) == CHANGED)
            cluster_host_failed(f->cluster, f->host);
        cluster_health_changed(f->cluster);
    }
    host_unref(&f->host);
    cluster_unref(&f->cluster);
    mem_free(f);
}

void health_fail_now(struct cluster *c, struct host *h)
{
    if (!h->check || has_bit(h, HOST_EXCLUDED_IMMEDIATE_HC))
        return;
    struct fail_now *f = NEW(fail_now);
    *f = (struct fail_now){cluster_ref(c), host_ref(h)};
    loop_post(clusters_main_loop(), on_fail_now, f);
}

/* ---- sessions ---- */

static void session_begin(struct health_checker *hc, struct host *h)
{
    const struct health_spec *spec = hc->spec;
    struct health_session *s = NEW(health_session);
    s->checker = hc;
    s->host = host_ref(h);
    s->first = true;
    list_push_back(&hc->sessions, &s->node);
    timer_init(&s->interval, clusters_main_loop(), on_interval);
    timer_init(&s->timeout, clusters_main_loop(), on_timeout);
    h->check->session = s;
    hc->unknown++;
    if (!has_bit(h, HOST_FAILED_ACTIVE_HC))
        count(hc, 1, has_bit(h, HOST_DEGRADED_ACTIVE_HC));
    timer_set_us(&s->interval, 1 + rng_below(loop_rng(clusters_main_loop()), spec->initial_jitter_ms) * 1000);
}

static void destroy(struct deferred *d)
{
    struct health_session *s = CONTAINER_OF(d, health_session, deferred);
    strbuf_fini(&s->received);
    if (s->has_arena)
        arena_fini(&s->arena);
    mem_free(s);
}

static void session_end(struct health_session *s)
{
    struct health_checker *hc = s->checker;
    s->gone = true;
    timer_clear(&s->interval);
    timer_clear(&s->timeout);
    hc->probe->stop(s, true);
    list_remove(&s->node);
    s->host->check->session = NULL;
    if (!has_bit(s->host, HOST_FAILED_ACTIVE_HC))
        count(hc, -1, has_bit(s->host, HOST_DEGRADED_ACTIVE_HC) ? -1 : 0);
    host_unref(&s->host);
    loop_defer(clusters_main_loop(), &s->deferred, destroy);
    if (s->first)
        note_known(hc);
}

static struct health_session *session_of(struct list *node)
{
    return LIST_ENTRY(node, health_session, node);
}

void health_members_changed(struct health_checker *hc, const struct host_set *now)
{
    struct list left;
    list_init(&left);
    while (!list_is_empty(&hc->sessions))
        list_push_back(&left, list_pop_front(&hc->sessions));
    hc->unknown++; /* nobody is told before all that are new have begun */
    for (uint32_t i = 0; i < now->count; i++) {
        struct host *h = now->hosts[i];
        if (!h->check)
            continue;
        if (!h->check->session) {
            session_begin(hc, h);
            continue;
        }
        list_remove(&h->check->session->node);
        list_push_back(&hc->sessions, &h->check->session->node);
    }
    while (!list_is_empty(&left))
        session_end(session_of(list_first(&left)));
    note_known(hc);
}

void health_when_known(struct health_checker *hc, void (*on_known)(void *arg), void *arg)
{
    hc->on_known = on_known;
    hc->on_known_arg = arg;
    hc->unknown++;
    note_known(hc);
}

struct health_checker *health_new(struct cluster *c, const struct health_spec *keep_spec)
{
    static const struct health_probe *const probes[] = {
        [HEALTH_HTTP] = &health_http_probe, [HEALTH_TCP] = &health_tcp_probe, [HEALTH_GRPC] = &health_grpc_probe};
    struct health_checker *hc = NEW(health_checker);
    hc->cluster = c;
    hc->spec = keep_spec;
    hc->probe = probes[keep_spec->kind];
    hc->stats = cluster_scope(c->spec, ".health_check.", &health_table);
    hc->logs = mem_zalloc((keep_spec->log_path_count + 1) * sizeof(*hc->logs));
    for (uint32_t i = 0; i < keep_spec->log_path_count; i++)
        if ((hc->logs[hc->log_count] = event_log_get(keep_spec->log_paths[i])) != NULL)
            hc->log_count++;
    list_init(&hc->sessions);
    return hc;
}

void health_free(struct health_checker **checker)
{
    struct health_checker *hc = *checker;
    *checker = NULL;
    if (!hc)
        return;
    hc->on_known = NULL;
    while (!list_is_empty(&hc->sessions))
        session_end(session_of(list_first(&hc->sessions)));
    for (uint32_t i = 0; i < hc->log_count; i++)
        event_log_unref(&hc->logs[i]);
    mem_free(hc->logs);
    stat_scope_unref(&hc->stats);
    mem_free(hc);
}
