/* SPDX-License-Identifier: Apache-2.0
 *
 * Admission control: the fewer of the last requests succeeded, the likelier a request is refused
 * before it goes anywhere, so that an upstream in trouble isn't drowned ("Handling Overload", Site
 * Reliability Engineering, chapter 21: client-side throttling). Each worker judges by its own
 * requests. Health checks are neither judged nor counted.
 */
#include "proxy/filter/admission_control.h"

#include <math.h>

#include "base/check.h"
#include "base/mem.h"
#include "io/loop.h"
#include "proxy/filter/filter_scope.h"
#include "proxy/runtime.h"

#define SLICE_US 1000000ull

#define ADMISSION_STATS(X)                                                                         \
    X(ADMISSION_RQ_FAILURE, COUNTER, NONE, "rq_failure", "Requests that failed")                   \
    X(ADMISSION_RQ_REJECTED, COUNTER, NONE, "rq_rejected", "Requests refused")                     \
    X(ADMISSION_RQ_SUCCESS, COUNTER, NONE, "rq_success", "Requests that succeeded")
enum { ADMISSION_STATS(STAT_ENUM_ROW) };
static const struct stat_desc rows[] = {ADMISSION_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

struct admission {
    bool is_open;          /* admitted, and its end not known yet */
    bool wants_trailers;   /* there the gRPC status will be */
};

/* ---- the window ---- */

struct admission_window *admission_window_new(uint64_t length_us)
{
    uint32_t cap = (uint32_t)(length_us / SLICE_US) + 2;
    struct admission_window *w = mem_zalloc(sizeof(*w) + cap * sizeof(w->slices[0]));
    w->length_us = length_us;
    w->cap = cap;
    return w;
}

void admission_window_turn(struct admission_window *w, uint64_t now_us)
{
    while (w->count && now_us - w->slices[w->first].begun_us >= w->length_us) {
        const struct admission_slice *old = &w->slices[w->first];
        w->requests -= old->requests;
        w->successes -= old->successes;
        w->first = (w->first + 1) % w->cap;
        w->count--;
    }
}

static struct admission_slice *present_slice(struct admission_window *w, uint64_t now_us)
{
    struct admission_slice *last = w->count ? &w->slices[(w->first + w->count - 1) % w->cap] : NULL;
    if (last && now_us - last->begun_us < SLICE_US)
        return last;
    struct admission_slice *s = &w->slices[(w->first + w->count++) % w->cap];
    *s = (struct admission_slice){.begun_us = now_us};
    return s;
}

void admission_window_note(struct admission_window *w, uint64_t now_us, bool success)
{
    admission_window_turn(w, now_us);
    struct admission_slice *s = present_slice(w, now_us);
    s->requests++;
    s->successes += success;
    w->requests++;
    w->successes += success;
}

uint64_t admission_window_rps(const struct admission_window *w, uint64_t now_us)
{
    uint64_t seconds = w->count ? (now_us - w->slices[w->first].begun_us) / 1000000 : 0;
    return w->requests / (seconds ? seconds : 1);
}

double admission_rejection(uint32_t requests, uint32_t successes, double success_ratio, double aggression, double most)
{
    double p = (requests - successes / success_ratio) / (requests + 1.0);
    if (p <= 0)
        return 0;
    if (aggression != 1)
        p = pow(p, 1 / aggression);
    return p < most ? p : most;
}

/* ---- judging ---- */

static double tuned(const struct runtime_double *d, double least, double most)
{
    double v = d->value;
    struct str text = d->key.n ? runtime_get(d->key) : STR_NULL;
    if (text.p && !str_to_double(text, &v))
        v = d->value;
    return v < least ? least : v > most ? most : v;
}

static struct admission_window *window_of(const struct admission_config *c)
{
    struct admission_window **w = &c->windows[stat_thread];
    if (!*w)
        *w = admission_window_new(c->window_us);
    return *w;
}

static bool is_rejected(struct http_filter *f)
{
    const struct admission_config *c = f->config;
    struct loop *loop = exchange_loop(f->x);
    struct admission_window *w = window_of(c);
    admission_window_turn(w, loop_now_us(loop));
    uint64_t rps = c->rps_key.n ? runtime_u64(c->rps_key, c->rps) : c->rps;
    if (admission_window_rps(w, loop_now_us(loop)) < rps)
        return false;
    double p = admission_rejection(w->requests, w->successes, tuned(&c->success_pct, 1, 100) / 100,
                                   tuned(&c->aggression, 1, 1e6), tuned(&c->max_rejection_pct, 0, 100) / 100);
    return p * 10000 > (double)rng_below(loop_rng(loop), 10000);
}

static void settle(struct http_filter *f, bool success)
{
    const struct admission_config *c = f->config;
    struct admission *s = f->state;
    s->is_open = false;
    stat_inc(c->stats, success ? STAT_ADMISSION_RQ_SUCCESS : STAT_ADMISSION_RQ_FAILURE);
    admission_window_note(window_of(c), loop_now_us(exchange_loop(f->x)), success);
}

static bool http_is_success(const struct admission_config *c, uint64_t status)
{
    if (!c->http_count)
        return status >= 100 && status < 500;
    for (uint32_t i = 0; i < c->http_count; i++)
        if (status >= (uint64_t)c->http[i].start && status < (uint64_t)c->http[i].end)
            return true;
    return false;
}

/* Without a list: DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED, INTERNAL, UNAVAILABLE and DATA_LOSS are a server's failures. */
static bool grpc_is_success(const struct admission_config *c, uint64_t status)
{
    if (!c->grpc_count)
        return status != 4 && status != 8 && status != 10 && status != 13 && status != 14 && status != 15;
    for (uint32_t i = 0; i < c->grpc_count; i++)
        if (status == c->grpc[i])
            return true;
    return false;
}

/* ---- the filter ---- */

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)h, (void)end;
    const struct admission_config *c = f->config;
    struct admission *s = f->state;
    bool on = c->enabled_key.n ? runtime_bool(c->enabled_key, c->enabled) : c->enabled;
    if (!on || exchange_info(f->x)->is_health_check)
        return FILTER_HEADERS_CONTINUE;
    if (is_rejected(f)) {
        stat_inc(c->stats, STAT_ADMISSION_RQ_REJECTED);
        exchange_local_reply(f->x, OUTCOME(ADMISSION_DENIED), 503, STR_NULL, STR_NULL, NULL, NULL);
        return FILTER_HEADERS_STOP;
    }
    s->is_open = true;
    return FILTER_HEADERS_CONTINUE;
}

static enum filter_headers on_response_headers(struct http_filter *f, struct headers *h, bool end)
{
    const struct admission_config *c = f->config;
    struct admission *s = f->state;
    uint64_t status = 0;
    if (!s->is_open)
        return FILTER_HEADERS_CONTINUE;
    str_to_u64(headers_get_id(h, HDR_STATUS), &status);
    bool is_grpc = status == 200 && headers_is_grpc_request(h) && (!end || headers_has_id(h, HDR_GRPC_STATUS));
    if (!is_grpc)
        settle(f, http_is_success(c, status));
    else if (str_to_u64(headers_get_id(h, HDR_GRPC_STATUS), &status))
        settle(f, grpc_is_success(c, status));
    else
        s->wants_trailers = true;
    return FILTER_HEADERS_CONTINUE;
}

static enum filter_trailers on_response_trailers(struct http_filter *f, struct headers *h)
{
    const struct admission *s = f->state;
    uint64_t status;
    if (s->is_open && s->wants_trailers)
        settle(f, str_to_u64(headers_get_id(h, HDR_GRPC_STATUS), &status) && grpc_is_success(f->config, status));
    return FILTER_TRAILERS_CONTINUE;
}

static void on_destroy(struct http_filter *f)
{
    const struct admission *s = f->state;
    if (s->is_open) /* it ended without an answer */
        settle(f, false);
}

static void link(void *config, struct stat_scope *stats)
{
    struct admission_config *c = config;
    if (c->stats)
        return;
    c->stats = filter_scope(stats, STR("admission_control."), &table);
    c->windows = mem_zalloc(STAT_MAX_THREADS * sizeof(struct admission_window *));
}

const struct http_filter_def admission_control_filter = {
    .name = "envoy.filters.http.admission_control",
    .state_bytes = sizeof(struct admission),
    .on_request_headers = on_request_headers,
    .on_response_headers = on_response_headers,
    .on_response_trailers = on_response_trailers,
    .on_destroy = on_destroy,
    .link = link,
};
