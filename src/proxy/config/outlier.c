/* SPDX-License-Identifier: Apache-2.0
 *
 * Outlier detection of a cluster. Main thread.
 */
#include "proxy/config/config_priv.h"
#include "proxy/health/outlier.h"

static uint64_t duration_ms(struct config_reader *cr, const char *field, const pb_duration *d, uint64_t fallback)
{
    uint64_t ms = proto_ms_or(d, fallback);
    if (d && !ms)
        FAULT(field, "must be longer than 0");
    return ms ? ms : fallback;
}

static void check_percent(struct config_reader *cr, const char *field, uint32_t value)
{
    if (value > 100)
        FAULT(field, "%u is above 100", value);
}

/* Where events of all clusters are logged: cluster_manager.outlier_detection. */
static struct str log_path(struct config_reader *cr, struct arena *a)
{
    __auto_type manager = cr->boot ? GET(cr->boot, cluster_manager) : NULL;
    __auto_type events = manager ? GET(manager, outlier_detection) : NULL;
    return events ? arena_str(a, TEXT(events, event_log_path)) : STR_NULL;
}

const struct outlier_spec *cfg_outlier(struct config_reader *cr, const pb_outlier *m, struct arena *a)
{
    struct outlier_spec *s = arena_zalloc(a, sizeof *s);
#define X(name, fallback) s->limits[OUTLIER_##name] = proto_u32_or(GET(m, name), fallback);
    OUTLIER_LIMITS(X)
#undef X
    static const struct { enum outlier_limit limit; const char *field; } percents[] = {
        {OUTLIER_enforcing_consecutive_5xx, "enforcing_consecutive_5xx"},
        {OUTLIER_enforcing_consecutive_gateway_failure, "enforcing_consecutive_gateway_failure"},
        {OUTLIER_enforcing_consecutive_local_origin_failure, "enforcing_consecutive_local_origin_failure"},
        {OUTLIER_enforcing_success_rate, "enforcing_success_rate"},
        {OUTLIER_enforcing_local_origin_success_rate, "enforcing_local_origin_success_rate"},
        {OUTLIER_enforcing_failure_percentage, "enforcing_failure_percentage"},
        {OUTLIER_enforcing_failure_percentage_local_origin, "enforcing_failure_percentage_local_origin"},
        {OUTLIER_failure_percentage_threshold, "failure_percentage_threshold"},
        {OUTLIER_max_ejection_percent, "max_ejection_percent"},
    };
    for (size_t i = 0; i < ARRAY_LEN(percents); i++)
        check_percent(cr, percents[i].field, s->limits[percents[i].limit]);
    s->interval_ms = duration_ms(cr, "interval", GET(m, interval), 10000);
    s->base_ejection_ms = duration_ms(cr, "base_ejection_time", GET(m, base_ejection_time), 30000);
    s->max_ejection_ms = duration_ms(cr, "max_ejection_time", GET(m, max_ejection_time),
                                     s->base_ejection_ms > 300000 ? s->base_ejection_ms : 300000);
    if (s->max_ejection_ms < s->base_ejection_ms)
        FAULT("max_ejection_time", "is shorter than base_ejection_time");
    s->max_jitter_ms = proto_ms_or(GET(m, max_ejection_time_jitter), 0);
    s->split = GET(m, split_external_local_origin_errors);
    s->uneject_on_check = proto_bool_or(GET(m, successful_active_health_check_uneject_host), true);
    s->always_one = proto_bool_or(GET(m, always_eject_one_host), false);
    s->log_path = log_path(cr, a);
    return s;
}
