/* SPDX-License-Identifier: Apache-2.0
 *
 * The detector of one cluster. Workers count and, at the end of a row of failures, post; everything
 * else runs on the main thread: whether a host may be ejected (share, chance), for how long, when it
 * comes back, and the rules that compare hosts every interval.
 *
 * Invariants: `active` is the number of current members with HOST_FAILED_OUTLIER; a host is ejected
 * once at a time. A count at the threshold posts once: later ones of the same row pass it.
 */
#include "proxy/health/outlier.h"

#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "proxy/cluster/cluster_priv.h"
#include "proxy/health/event_log.h"
#include "proxy/runtime.h"

#define OUTLIER_STATS(X)                                                                           \
    X(OUTLIER_ACTIVE, GAUGE, NONE, "ejections_active", "Hosts ejected now")                        \
    X(OUTLIER_OLD_5XX, COUNTER, NONE, "ejections_consecutive_5xx", "Detected rows of 5xx (old name)") \
    X(OUTLIER_DETECTED_5XX, COUNTER, NONE, "ejections_detected_consecutive_5xx", "")               \
    X(OUTLIER_DETECTED_GATEWAY, COUNTER, NONE, "ejections_detected_consecutive_gateway_failure", "") \
    X(OUTLIER_DETECTED_LOCAL, COUNTER, NONE, "ejections_detected_consecutive_local_origin_failure", "") \
    X(OUTLIER_DETECTED_DEGRADATION, COUNTER, NONE, "ejections_detected_degradation", "0")          \
    X(OUTLIER_DETECTED_FAILURES, COUNTER, NONE, "ejections_detected_failure_percentage", "")       \
    X(OUTLIER_DETECTED_FAILURES_LOCAL, COUNTER, NONE, "ejections_detected_local_origin_failure_percentage", "") \
    X(OUTLIER_DETECTED_RATE_LOCAL, COUNTER, NONE, "ejections_detected_local_origin_success_rate", "") \
    X(OUTLIER_DETECTED_RATE, COUNTER, NONE, "ejections_detected_success_rate", "")                 \
    X(OUTLIER_ENFORCED_5XX, COUNTER, NONE, "ejections_enforced_consecutive_5xx", "")               \
    X(OUTLIER_ENFORCED_GATEWAY, COUNTER, NONE, "ejections_enforced_consecutive_gateway_failure", "") \
    X(OUTLIER_ENFORCED_LOCAL, COUNTER, NONE, "ejections_enforced_consecutive_local_origin_failure", "") \
    X(OUTLIER_ENFORCED_FAILURES, COUNTER, NONE, "ejections_enforced_failure_percentage", "")       \
    X(OUTLIER_ENFORCED_FAILURES_LOCAL, COUNTER, NONE, "ejections_enforced_local_origin_failure_percentage", "") \
    X(OUTLIER_ENFORCED_RATE_LOCAL, COUNTER, NONE, "ejections_enforced_local_origin_success_rate", "") \
    X(OUTLIER_ENFORCED_RATE, COUNTER, NONE, "ejections_enforced_success_rate", "")                 \
    X(OUTLIER_ENFORCED_TOTAL, COUNTER, NONE, "ejections_enforced_total", "Hosts ejected")          \
    X(OUTLIER_OVERFLOW, COUNTER, NONE, "ejections_overflow", "Not ejected: enough are")            \
    X(OUTLIER_OLD_RATE, COUNTER, NONE, "ejections_success_rate", "Detected by success rate (old name)") \
    X(OUTLIER_OLD_TOTAL, COUNTER, NONE, "ejections_total", "Ejections, enforced or not (old name)")
enum { OUTLIER_STATS(STAT_ENUM_ROW) };
static const struct stat_desc outlier_rows[] = {OUTLIER_STATS(STAT_DESC_ROW)};
static const struct stat_table outlier_table = {outlier_rows, ARRAY_LEN(outlier_rows)};

/* ---- what each kind is called, counted as and switched by ---- */
static const struct kind {
    const char *name; /* in the event log */
    uint16_t detected, enforced;
    enum outlier_limit enforcing;
} kinds[OUTLIER_KINDS] = {
    [OUTLIER_KIND_5XX] = {"CONSECUTIVE_5XX", STAT_OUTLIER_DETECTED_5XX, STAT_OUTLIER_ENFORCED_5XX,
                          OUTLIER_enforcing_consecutive_5xx},
    [OUTLIER_KIND_GATEWAY] = {"CONSECUTIVE_GATEWAY_FAILURE", STAT_OUTLIER_DETECTED_GATEWAY, STAT_OUTLIER_ENFORCED_GATEWAY,
                              OUTLIER_enforcing_consecutive_gateway_failure},
    [OUTLIER_KIND_SUCCESS_RATE] = {"SUCCESS_RATE", STAT_OUTLIER_DETECTED_RATE, STAT_OUTLIER_ENFORCED_RATE,
                                   OUTLIER_enforcing_success_rate},
    [OUTLIER_KIND_LOCAL] = {"CONSECUTIVE_LOCAL_ORIGIN_FAILURE", STAT_OUTLIER_DETECTED_LOCAL, STAT_OUTLIER_ENFORCED_LOCAL,
                            OUTLIER_enforcing_consecutive_local_origin_failure},
    [OUTLIER_KIND_SUCCESS_RATE_LOCAL] = {"SUCCESS_RATE_LOCAL_ORIGIN", STAT_OUTLIER_DETECTED_RATE_LOCAL,
                                         STAT_OUTLIER_ENFORCED_RATE_LOCAL, OUTLIER_enforcing_local_origin_success_rate},
    [OUTLIER_KIND_FAILURES] = {"FAILURE_PERCENTAGE", STAT_OUTLIER_DETECTED_FAILURES, STAT_OUTLIER_ENFORCED_FAILURES,
                               OUTLIER_enforcing_failure_percentage},
    [OUTLIER_KIND_FAILURES_LOCAL] = {"FAILURE_PERCENTAGE_LOCAL_ORIGIN", STAT_OUTLIER_DETECTED_FAILURES_LOCAL,
                                     STAT_OUTLIER_ENFORCED_FAILURES_LOCAL, OUTLIER_enforcing_failure_percentage_local_origin},
};

struct outlier_detector {
    struct cluster *cluster;     /* its owner */
    const struct outlier_spec *spec;
    struct stat_scope *stats;
    struct event_log *log;
    struct timer interval;
    uint32_t active;
    bool is_stopped;
    double average[OUTLIER_ORIGINS], threshold[OUTLIER_ORIGINS];
};

static uint64_t limit_of(const struct outlier_detector *d, enum outlier_limit l)
{
    static const char *const keys[] = {
#define X(name, fallback) "outlier_detection." #name,
        OUTLIER_LIMITS(X)
#undef X
    };
    return runtime_u64(str_from(keys[l]), d->spec->limits[l]);
}

struct outlier_host *outlier_host_new(const struct outlier_spec *spec)
{
    if (!spec)
        return NULL;
    struct outlier_host *o = NEW(outlier_host);
    o->success_rate[OUTLIER_EXTERNAL] = o->success_rate[OUTLIER_LOCAL] = -1;
    return o;
}

static bool is_ejected(const struct host *h)
{
    return atomic_load_explicit(&h->health, memory_order_relaxed) & HOST_FAILED_OUTLIER;
}

static bool is_member(const struct host_set *s, const struct host *h)
{
    for (uint32_t i = 0; i < s->count; i++)
        if (s->hosts[i] == h)
            return true;
    return false;
}

/* ---- events ---- */

static void log_action(const struct outlier_detector *d, const struct host *h, enum outlier_kind kind, bool eject, bool enforced,
                       uint64_t last_action_us)
{
    const struct outlier_host *o = h->outlier;
    char url[ADDR_TEXT_BYTES];
    struct strbuf b = {0};
    if (!d->log)
        return;
    strbuf_addc(&b, '{');
    event_add_text(&b, "type", str_from(kinds[kind].name));
    event_add_time(&b, loop_wall_us(clusters_main_loop()));
    if (last_action_us)
        strbuf_addf(&b, ",\"secs_since_last_action\":\"%llu\"",
                    (unsigned long long)((loop_now_us(clusters_main_loop()) - last_action_us) / 1000000));
    event_add_text(&b, "cluster_name", d->cluster->spec->name);
    event_add_text(&b, "upstream_url", str_from(addr_text(&h->addr, url)));
    event_add_text(&b, "action", eject ? STR("EJECT") : STR("UNEJECT"));
    strbuf_addf(&b, ",\"num_ejections\":%u,\"enforced\":%s", o->ejections, enforced ? "true" : "false");
    enum outlier_origin origin = kind == OUTLIER_KIND_SUCCESS_RATE_LOCAL || kind == OUTLIER_KIND_FAILURES_LOCAL;
    if (eject && (kind == OUTLIER_KIND_SUCCESS_RATE || kind == OUTLIER_KIND_SUCCESS_RATE_LOCAL))
        strbuf_addf(&b, ",\"eject_success_rate_event\":{\"host_success_rate\":%u,\"cluster_average_success_rate\":%u,"
                        "\"cluster_success_rate_ejection_threshold\":%u}",
                    (unsigned)o->success_rate[origin], (unsigned)d->average[origin],
                    d->threshold[origin] > 0 ? (unsigned)d->threshold[origin] : 0);
    else if (eject && (kind == OUTLIER_KIND_FAILURES || kind == OUTLIER_KIND_FAILURES_LOCAL))
        strbuf_addf(&b, ",\"eject_failure_percentage_event\":{\"host_success_rate\":%u}", (unsigned)o->success_rate[origin]);
    else if (eject)
        event_add_raw(&b, "eject_consecutive_event", "{}");
    strbuf_addc(&b, '}');
    event_log_write(d->log, &b);
    strbuf_fini(&b);
}

/* ---- ejecting and letting back in ---- */

static uint64_t base_ms(const struct outlier_detector *d)
{
    return runtime_u64(STR("outlier_detection.base_ejection_time_ms"), d->spec->base_ejection_ms);
}

static uint64_t max_ms(const struct outlier_detector *d)
{
    return runtime_u64(STR("outlier_detection.max_ejection_time_ms"), d->spec->max_ejection_ms);
}

static void set_active(struct outlier_detector *d, uint32_t active)
{
    d->active = active;
    stat_set(d->stats, STAT_OUTLIER_ACTIVE, active);
}

/* One more may be out, as a share of all members whatever their priority. */
static bool may_eject(const struct outlier_detector *d, const struct host_set *s)
{
    uint64_t most = limit_of(d, OUTLIER_max_ejection_percent);
    if (d->spec->always_one && !d->active)
        return true;
    return 100.0 * (d->active + 1) / s->count <= (double)(most > 100 ? 100 : most);
}

static void enforce(struct outlier_detector *d, struct host *h, enum outlier_kind kind)
{
    struct outlier_host *o = h->outlier;
    uint64_t jitter = runtime_u64(STR("outlier_detection.max_ejection_time_jitter_ms"), d->spec->max_jitter_ms);
    uint64_t last_us = o->unejected_at_us;
    set_active(d, d->active + 1);
    stat_inc(d->stats, STAT_OUTLIER_ENFORCED_TOTAL);
    stat_inc(d->stats, kinds[kind].enforced);
    o->ejections++;
    o->kind = kind;
    o->ejected_at_us = loop_now_us(clusters_main_loop());
    o->jitter_ms = jitter ? rng_below(loop_rng(clusters_main_loop()), jitter + 1) : 0;
    if (o->multiplier * base_ms(d) < max_ms(d) + base_ms(d))
        o->multiplier++;
    atomic_fetch_or_explicit(&h->health, HOST_FAILED_OUTLIER, memory_order_relaxed);
    cluster_health_changed(d->cluster);
    cluster_host_failed(d->cluster, h);
    log_action(d, h, kind, true, true, last_us);
}

static void eject(struct outlier_detector *d, const struct host_set *s, struct host *h, enum outlier_kind kind)
{
    if (is_ejected(h))
        return;
    if (!may_eject(d, s)) {
        stat_inc(d->stats, STAT_OUTLIER_OVERFLOW);
        return;
    }
    if (kind == OUTLIER_KIND_5XX || kind == OUTLIER_KIND_SUCCESS_RATE)
        stat_inc(d->stats, STAT_OUTLIER_OLD_TOTAL);
    if (rng_below(loop_rng(clusters_main_loop()), 100) < limit_of(d, kinds[kind].enforcing))
        enforce(d, h, kind);
    else
        log_action(d, h, kind, true, false, h->outlier->unejected_at_us);
}

static void detect(struct outlier_detector *d, const struct host_set *s, struct host *h, enum outlier_kind kind)
{
    stat_inc(d->stats, kinds[kind].detected);
    if (kind == OUTLIER_KIND_5XX)
        stat_inc(d->stats, STAT_OUTLIER_OLD_5XX);
    if (kind == OUTLIER_KIND_SUCCESS_RATE)
        stat_inc(d->stats, STAT_OUTLIER_OLD_RATE);
    eject(d, s, h, kind);
}

static void uneject(struct outlier_detector *d, struct host *h)
{
    struct outlier_host *o = h->outlier;
    o->unejected_at_us = loop_now_us(clusters_main_loop());
    atomic_store_explicit(&o->row_5xx, 0, memory_order_relaxed);
    atomic_store_explicit(&o->row_gateway, 0, memory_order_relaxed);
    atomic_store_explicit(&o->row_local, 0, memory_order_relaxed);
    set_active(d, d->active - 1);
    atomic_fetch_and_explicit(&h->health, ~(uint32_t)HOST_FAILED_OUTLIER, memory_order_relaxed);
    cluster_health_changed(d->cluster);
    log_action(d, h, o->kind, false, false, o->ejected_at_us);
}

static void uneject_when_due(struct outlier_detector *d, struct host *h)
{
    const struct outlier_host *o = h->outlier;
    uint64_t ms = base_ms(d) * o->multiplier, most = max_ms(d);
    uint64_t out_us = loop_now_us(clusters_main_loop()) - o->ejected_at_us;
    if (((ms < most ? ms : most) + o->jitter_ms) * 1000 <= out_us)
        uneject(d, h);
}

void outlier_check_passed(struct outlier_detector *d, struct host *h)
{
    if (d->spec->uneject_on_check && h->outlier && is_ejected(h))
        uneject(d, h);
}

void outlier_members_changed(struct outlier_detector *d, const struct host_set *old, const struct host_set *now)
{
    uint32_t gone = 0;
    for (uint32_t i = 0; d->active && i < old->count; i++)
        gone += is_ejected(old->hosts[i]) && !is_member(now, old->hosts[i]);
    if (gone)
        set_active(d, d->active - gone);
}

/* ---- rows of failures ---- */

struct row {
    struct cluster *cluster;
    struct host *host;
    enum outlier_kind kind;
};

static _Atomic uint32_t *row_of(struct outlier_host *o, enum outlier_kind kind)
{
    return kind == OUTLIER_KIND_5XX ? &o->row_5xx : kind == OUTLIER_KIND_GATEWAY ? &o->row_gateway : &o->row_local;
}

/* The host may have left, or be out by another rule, since the worker posted. */
static void on_row(void *arg)
{
    struct row *r = arg;
    struct outlier_detector *d = r->cluster->outlier;
    struct host_set *s = cluster_hosts(r->cluster);
    if (d && !d->is_stopped && is_member(s, r->host) && !is_ejected(r->host)) {
        detect(d, s, r->host, r->kind);
        atomic_store_explicit(row_of(r->host->outlier, r->kind), 0, memory_order_relaxed);
    }
    host_set_unref(&s);
    host_unref(&r->host);
    cluster_unref(&r->cluster);
    mem_free(r);
}

static void count_row(struct outlier_detector *d, struct host *h, enum outlier_kind kind, enum outlier_limit limit)
{
    uint32_t n = atomic_fetch_add_explicit(row_of(h->outlier, kind), 1, memory_order_relaxed) + 1;
    if (n != limit_of(d, limit))
        return;
    struct row *r = NEW(row);
    *r = (struct row){cluster_ref(d->cluster), host_ref(h), kind};
    loop_post(clusters_main_loop(), on_row, r);
}

/* Written only where it changes something: this is every good answer's way. */
static void end_row(_Atomic uint32_t *row)
{
    if (atomic_load_explicit(row, memory_order_relaxed))
        atomic_store_explicit(row, 0, memory_order_relaxed);
}

void outlier_count_status(struct outlier_detector *d, struct host *h, unsigned status)
{
    struct outlier_host *o = h->outlier;
    atomic_fetch_add_explicit(&o->total[OUTLIER_EXTERNAL], 1, memory_order_relaxed);
    if (status < 500 || status > 599) {
        atomic_fetch_add_explicit(&o->good[OUTLIER_EXTERNAL], 1, memory_order_relaxed);
        end_row(&o->row_5xx);
        end_row(&o->row_gateway);
        return;
    }
    if (status >= 502 && status <= 504)
        count_row(d, h, OUTLIER_KIND_GATEWAY, OUTLIER_consecutive_gateway_failure);
    else
        end_row(&o->row_gateway);
    count_row(d, h, OUTLIER_KIND_5XX, OUTLIER_consecutive_5xx);
}

void outlier_count_local(struct outlier_detector *d, struct host *h, bool good)
{
    struct outlier_host *o = h->outlier;
    atomic_fetch_add_explicit(&o->total[OUTLIER_LOCAL], 1, memory_order_relaxed);
    if (good) {
        atomic_fetch_add_explicit(&o->good[OUTLIER_LOCAL], 1, memory_order_relaxed);
        end_row(&o->row_local);
    } else {
        count_row(d, h, OUTLIER_KIND_LOCAL, OUTLIER_consecutive_local_origin_failure);
    }
}

/* ---- every interval ---- */

double outlier_rate_threshold(const double *rates, uint32_t n, double factor, double *mean)
{
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += rates[i];
    *mean = sum / n;
    for (uint32_t i = 0; i < n; i++)
        squares += (rates[i] - *mean) * (rates[i] - *mean);
    return *mean - factor * sqrt(squares / n);
}

/* What the interval that ends now holds of each host; the next one starts from nothing. */
struct sample {
    struct host *host;
    double rate;
    uint32_t volume;
};

static uint32_t take_samples(const struct host_set *s, enum outlier_origin o, uint64_t least, struct sample *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        struct outlier_host *h = s->hosts[i]->outlier;
        uint32_t total = atomic_exchange_explicit(&h->total[o], 0, memory_order_relaxed);
        uint32_t good = atomic_exchange_explicit(&h->good[o], 0, memory_order_relaxed);
        h->success_rate[o] = -1;
        if (!total || is_ejected(s->hosts[i]))
            continue;
        double rate = 100.0 * (good < total ? good : total) / total; /* counted between the two reads: never above all */
        if (total >= least)
            h->success_rate[o] = rate;
        out[n++] = (struct sample){s->hosts[i], rate, total};
    }
    return n;
}

static void judge_success_rates(struct outlier_detector *d, const struct host_set *s, enum outlier_origin o,
                                const struct sample *samples, uint32_t n)
{
    uint64_t volume = limit_of(d, OUTLIER_success_rate_request_volume), hosts = limit_of(d, OUTLIER_success_rate_minimum_hosts);
    double *rates = mem_alloc((n + 1) * sizeof(*rates));
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++)
        if (samples[i].volume >= volume)
            rates[count++] = samples[i].rate;
    d->average[o] = d->threshold[o] = -1;
    if (count && count >= hosts) {
        double factor = (double)limit_of(d, OUTLIER_success_rate_stdev_factor) / 1000.0;
        d->threshold[o] = outlier_rate_threshold(rates, count, factor, &d->average[o]);
        for (uint32_t i = 0; i < n; i++)
            if (samples[i].volume >= volume && samples[i].rate < d->threshold[o])
                detect(d, s, samples[i].host, o == OUTLIER_LOCAL ? OUTLIER_KIND_SUCCESS_RATE_LOCAL : OUTLIER_KIND_SUCCESS_RATE);
    }
    mem_free(rates);
}

static void judge_failures(struct outlier_detector *d, const struct host_set *s, enum outlier_origin o,
                           const struct sample *samples, uint32_t n)
{
    uint64_t volume = limit_of(d, OUTLIER_failure_percentage_request_volume);
    uint64_t hosts = limit_of(d, OUTLIER_failure_percentage_minimum_hosts), count = 0;
    double threshold = (double)limit_of(d, OUTLIER_failure_percentage_threshold);
    for (uint32_t i = 0; i < n; i++)
        count += samples[i].volume >= volume;
    if (!count || count < hosts)
        return;
    for (uint32_t i = 0; i < n; i++)
        if (samples[i].volume >= volume && 100.0 - samples[i].rate >= threshold)
            detect(d, s, samples[i].host, o == OUTLIER_LOCAL ? OUTLIER_KIND_FAILURES_LOCAL : OUTLIER_KIND_FAILURES);
}

static void judge(struct outlier_detector *d, const struct host_set *s, enum outlier_origin o)
{
    uint64_t rate_volume = limit_of(d, OUTLIER_success_rate_request_volume);
    uint64_t failure_volume = limit_of(d, OUTLIER_failure_percentage_request_volume);
    struct sample *samples = mem_alloc((s->count + 1) * sizeof(*samples));
    uint32_t n = take_samples(s, o, rate_volume < failure_volume ? rate_volume : failure_volume, samples);
    judge_success_rates(d, s, o, samples, n);
    judge_failures(d, s, o, samples, n);
    mem_free(samples);
}

static void arm(struct outlier_detector *d)
{
    timer_set_ms(&d->interval, runtime_u64(STR("outlier_detection.interval_ms"), d->spec->interval_ms));
}

static void on_interval(struct timer *t)
{
    struct outlier_detector *d = CONTAINER_OF(t, outlier_detector, interval);
    struct host_set *s = cluster_hosts(d->cluster);
    for (uint32_t i = 0; i < s->count; i++)
        if (is_ejected(s->hosts[i]))
            uneject_when_due(d, s->hosts[i]);
    judge(d, s, OUTLIER_EXTERNAL);
    judge(d, s, OUTLIER_LOCAL);
    for (uint32_t i = 0; i < s->count; i++) { /* an interval in good order shortens the next ejection */
        struct outlier_host *o = s->hosts[i]->outlier;
        if (!is_ejected(s->hosts[i]) && o->multiplier)
            o->multiplier--;
    }
    host_set_unref(&s);
    arm(d);
}

/* ---- making ---- */

struct outlier_detector *outlier_new(struct cluster *c, const struct outlier_spec *keep_spec)
{
    struct outlier_detector *d = NEW(outlier_detector);
    d->cluster = c;
    d->spec = keep_spec;
    d->stats = cluster_scope(c->spec, ".outlier_detection.", &outlier_table);
    d->log = event_log_get(keep_spec->log_path);
    for (int o = 0; o < OUTLIER_ORIGINS; o++)
        d->average[o] = d->threshold[o] = -1;
    timer_init(&d->interval, clusters_main_loop(), on_interval);
    return d;
}

void outlier_start(struct outlier_detector *d)
{
    arm(d);
}

/* The gauge may be another cluster's from now on, of the same name. */
void outlier_stop(struct outlier_detector *d)
{
    timer_clear(&d->interval);
    if (d->active)
        set_active(d, 0);
    d->is_stopped = true;
}

void outlier_free(struct outlier_detector **detector)
{
    struct outlier_detector *d = *detector;
    *detector = NULL;
    if (!d)
        return;
    timer_clear(&d->interval);
    event_log_unref(&d->log);
    stat_scope_unref(&d->stats);
    mem_free(d);
}

double outlier_average(const struct outlier_detector *d, enum outlier_origin o)
{
    return d->average[o];
}

double outlier_threshold(const struct outlier_detector *d, enum outlier_origin o)
{
    return d->threshold[o];
}
