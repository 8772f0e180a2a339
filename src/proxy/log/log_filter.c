/* SPDX-License-Identifier: Apache-2.0
 *
 * Access-log filters: pure predicates over what is known of an exchange (Envoy: AccessLogFilter).
 */
#include "base/check.h"
#include "base/rng.h"
#include "proxy/cel/cel.h"
#include "proxy/log/access_log.h"
#include "proxy/match/header_match.h"
#include "proxy/match/value_match.h"
#include "proxy/route/match.h"
#include "proxy/runtime.h"

static bool compare(enum log_compare op, uint64_t a, uint64_t b)
{
    switch (op) {
    case LOG_EQ:
        return a == b;
    case LOG_GE:
        return a >= b;
    case LOG_LE:
        return a <= b;
    case LOG_NE:
        return a != b;
    }
    return false;
}

static uint64_t threshold(const struct log_filter *f)
{
    return f->runtime_key.n ? runtime_u64(f->runtime_key, f->value) : f->value;
}

/* The same request id samples alike everywhere: its random part decides (Envoy's stable sampling). */
static uint64_t sample_value(const struct log_filter *f, const struct format_context *cx)
{
    static __thread struct rng rng;
    static __thread bool seeded;
    struct str id = cx->info->request_id;
    uint64_t v;
    if (!f->independent_randomness && id.n >= 8 && str_to_u64_hex(str_make(id.p, 8), &v))
        return v;
    if (!seeded) {
        rng_seed(&rng, 0);
        seeded = true;
    }
    return rng_next(&rng);
}

static int grpc_status(const struct format_context *cx)
{
    const struct headers *places[] = {cx->trailers, cx->response};
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        uint64_t v;
        if (places[i] && str_to_u64(headers_get_id(places[i], HDR_GRPC_STATUS), &v))
            return (int)v;
    }
    return cx->info->status ? grpc_status_of_http(cx->info->status) : 2;
}

bool log_filter_passes(const struct log_filter *f, const struct format_context *cx)
{
    const struct stream_info *info = cx->info;
    switch (f->kind) {
    case LOGF_STATUS:
        return compare(f->op, info->status, threshold(f));
    case LOGF_DURATION:
        return compare(f->op, (info->end_us - info->start_us) / 1000, threshold(f));
    case LOGF_NOT_HEALTH_CHECK:
        return !info->is_health_check;
    case LOGF_TRACEABLE:
        return info->is_traceable && !info->is_health_check;
    case LOGF_RUNTIME:
        return runtime_fraction(f->runtime_key, f->numerator, f->denominator, sample_value(f, cx));
    case LOGF_AND:
        for (uint32_t i = 0; i < f->child_count; i++)
            if (!log_filter_passes(f->children[i], cx))
                return false;
        return true;
    case LOGF_OR:
        for (uint32_t i = 0; i < f->child_count; i++)
            if (log_filter_passes(f->children[i], cx))
                return true;
        return false;
    case LOGF_HEADER:
        return cx->request && header_matches(f->header, cx->request);
    case LOGF_RESPONSE_FLAG:
        return f->flags ? (info->flags & f->flags) != 0 : info->flags != 0;
    case LOGF_GRPC_STATUS: {
        int s = grpc_status(cx);
        bool in = s >= 0 && s < 32 && (f->grpc_mask >> s & 1);
        return in != f->exclude;
    }
    case LOGF_METADATA: {
        const struct metadata_matcher *m = f->metadata;
        const struct meta_value *v = m ? metadata_find(&info->metadata, m->space, m->path, m->path_count) : NULL;
        return v && v->kind != META_NULL ? value_matches(m->value, v) : f->match_if_missing; /* Envoy has no use for invert here */
    }
    case LOGF_CEL:
        return cel_is_true(f->cel, cx);
    case LOGF_LOG_TYPE:
        return true; /* narrowed when the log is written: only one type is made so far */
    }
    return true;
}
