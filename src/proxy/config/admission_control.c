/* SPDX-License-Identifier: Apache-2.0
 *
 * Admission control's configuration. Main thread.
 */
#include "proxy/filter/admission_control.h"

#include "base/mem.h"
#include "proxy/config/config_priv.h"

#define WINDOW_MS_MAX 3600000 /* a slice a second is kept: an hour is plenty */

static void free_config(void *config)
{
    struct admission_config *c = config;
    for (uint32_t i = 0; c->windows && i < STAT_MAX_THREADS; i++)
        mem_free(c->windows[i]);
    mem_free(c->windows);
    stat_scope_unref(&c->stats);
}

static struct runtime_double read_double(struct config_reader *cr, const pb_runtime_double *m, struct arena *a, double otherwise)
{
    return m ? (struct runtime_double){arena_str(a, TEXT(m, runtime_key)), GET(m, default_value)}
             : (struct runtime_double){STR_NULL, otherwise};
}

static struct runtime_double read_percent(struct config_reader *cr, const pb_runtime_percent *m, struct arena *a, double otherwise)
{
    if (!m)
        return (struct runtime_double){STR_NULL, otherwise};
    const pb_percent *v = GET(m, default_value);
    return (struct runtime_double){arena_str(a, TEXT(m, runtime_key)), v ? GET(v, value) : 0};
}

static void read_criteria(struct config_reader *cr, const pb_admission_criteria *m, struct arena *a, struct admission_config *c)
{
    const pb_admission_http *http = GET(m, http_criteria);
    const pb_admission_grpc *grpc = GET(m, grpc_criteria);
    c->http_count = http ? LEN(http, http_success_status) : 0;
    c->http = ARENA_ARRAY(a, struct status_range, c->http_count);
    for (uint32_t i = 0; i < c->http_count; i++)
        IN("http_criteria.http_success_status[%u]", i) {
            struct status_range *r = &c->http[i];
            *r = (struct status_range){GET(http->http_success_status[i], start), GET(http->http_success_status[i], end)};
            if (r->start < 100 || r->end > 600 || r->start >= r->end)
                FAULT("", "[%d, %d) is not a range of HTTP statuses", r->start, r->end);
        }
    c->grpc_count = grpc ? LEN(grpc, grpc_success_status) : 0;
    c->grpc = ARENA_ARRAY(a, uint32_t, c->grpc_count);
    for (uint32_t i = 0; i < c->grpc_count; i++)
        c->grpc[i] = grpc->grpc_success_status[i];
}

static void read_enabled(struct config_reader *cr, const pb_admission *m, struct arena *a, struct admission_config *c)
{
    const pb_runtime_flag *flag = GET(m, enabled);
    c->enabled = true;
    if (!flag)
        return;
    c->enabled = proto_bool_or(GET(flag, default_value), true);
    c->enabled_key = arena_str(a, TEXT(flag, runtime_key));
}

int cfg_admission_control(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_admission *m = (const pb_admission *)msg;
    struct cfg_http_filter *f = out;
    struct arena *a = f->arena;
    struct admission_config *c = arena_zalloc(a, sizeof *c);
    uint64_t window_ms = proto_ms_or(GET(m, sampling_window), 30000);
    const pb_runtime_u32 *rps = GET(m, rps_threshold);
    read_enabled(cr, m, a, c);
    if (!GET(m, success_criteria))
        FAULT("success_criteria", "must be set");
    else
        IN("success_criteria")
            read_criteria(cr, m->success_criteria, a, c);
    if (window_ms < 1000 || window_ms > WINDOW_MS_MAX)
        FAULT("sampling_window", "must be between 1 and %d seconds", WINDOW_MS_MAX / 1000);
    c->window_us = window_ms * 1000;
    c->aggression = read_double(cr, GET(m, aggression), a, 1);
    c->success_pct = read_percent(cr, GET(m, sr_threshold), a, 95);
    c->max_rejection_pct = read_percent(cr, GET(m, max_rejection_probability), a, 80);
    if (c->success_pct.value < 1)
        FAULT("sr_threshold", "must be at least 1%%");
    c->rps = rps ? GET(rps, default_value) : 0;
    c->rps_key = rps ? arena_str(a, TEXT(rps, runtime_key)) : STR_NULL;
    f->spec->config = c;
    f->spec->free_config = free_config;
    return 0;
}
