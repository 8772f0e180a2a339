/* SPDX-License-Identifier: Apache-2.0
 *
 * Retry and hedge policies. A policy is kept once where many routes say the same. Main thread.
 */
#include "proxy/config/route_priv.h"

#include <stdio.h>
#include <string.h>

#define RESET_MAX_INTERVAL_MS 300000u

static uint32_t read_retry_on(struct config_reader *cr, struct str list)
{
    static const struct { const char *text; uint32_t bit; } names[] = {
#define X(bit, name, text) {text, 1u << (bit)},
        RETRY_ON_TABLE(X)
#undef X
    };
    uint32_t on = 0;
    while (list.p) {
        struct str rest, one = str_trim(str_split(list, ',', &rest));
        uint32_t bit = 0;
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
            bit = str_eq(one, str_from(names[i].text)) ? names[i].bit : bit;
        list = rest;
        if (one.n && !bit) {
            char what[128];
            snprintf(what, sizeof what, "%.*s", STR_ARG(one));
            UNSUPPORTED("retry_on", what);
        }
        on |= bit;
    }
    return on;
}

int cfg_retry_previous_hosts(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    (void)cr, (void)msg;
    ((struct cfg_retry *)out)->policy->skip_previous_hosts = true;
    return 0;
}

int cfg_retry_omit_canary(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    (void)cr, (void)msg;
    ((struct cfg_retry *)out)->policy->skip_canary_hosts = true;
    return 0;
}

int cfg_retry_omit_metadata(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_omit_host_metadata *m = (const pb_omit_host_metadata *)msg;
    struct cfg_retry *to = out;
    IN("metadata_match")
        to->policy->omit_host_metadata = cfg_metadata(cr, GET(m, metadata_match), to->arena);
    return 0;
}

int cfg_retry_previous_priorities(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_previous_priorities *m = (const pb_previous_priorities *)msg;
    int32_t frequency = GET(m, update_frequency);
    if (frequency <= 0)
        return FAULT("update_frequency", "must be greater than 0");
    ((struct cfg_retry *)out)->policy->previous_priorities_frequency = (uint32_t)frequency;
    return 0;
}

static void read_extension(struct config_reader *cr, enum extension_kind kind, struct str name, const pb_any *any, struct cfg_retry *to)
{
    ProtobufCMessage *msg = NULL;
    const struct extension *ext = cfg_extension(cr, kind, "typed_config", name, any, &msg);
    if (ext)
        IN("typed_config")
            ext->read(cr, msg, to);
}

static void read_predicates(struct config_reader *cr, const pb_retry_policy *m, struct retry_policy *p, struct arena *a)
{
    struct cfg_retry to = {p, a};
    for (uint32_t i = 0; i < LEN(m, retry_host_predicate); i++)
        IN("retry_host_predicate[%u]", i) {
            __auto_type x = m->retry_host_predicate[i];
            read_extension(cr, EXT_RETRY_HOST, TEXT(x, name), x->config_type_case ? GET(x, typed_config) : NULL, &to);
        }
    __auto_type priority = GET(m, retry_priority);
    if (priority)
        IN("retry_priority")
            read_extension(cr, EXT_RETRY_PRIORITY, TEXT(priority, name),
                           priority->config_type_case ? GET(priority, typed_config) : NULL, &to);
    int64_t attempts = GET(m, host_selection_retry_max_attempts);
    p->host_selection_attempts = attempts > 0 && attempts <= UINT32_MAX ? (uint32_t)attempts : 1;
}

static void read_backoff(struct config_reader *cr, const pb_retry_policy *m, struct retry_policy *p, struct arena *a)
{
    __auto_type backoff = GET(m, retry_back_off);
    if (backoff) {
        p->base_interval_ms = proto_ms_or(GET(backoff, base_interval), 0);
        p->max_interval_ms = proto_ms_or(GET(backoff, max_interval), 0);
        if (!p->base_interval_ms)
            FAULT("retry_back_off.base_interval", "must be greater than 0");
        else if (backoff->max_interval && p->max_interval_ms < p->base_interval_ms)
            FAULT("retry_back_off.max_interval", "must not be less than base_interval");
    }
    __auto_type limited = GET(m, rate_limited_retry_back_off);
    p->reset_max_interval_ms = RESET_MAX_INTERVAL_MS;
    if (!limited)
        return;
    p->reset_max_interval_ms = proto_ms_or(GET(limited, max_interval), RESET_MAX_INTERVAL_MS);
    p->reset_header_count = LEN(limited, reset_headers);
    p->reset_headers = p->reset_header_count ? arena_zalloc(a, p->reset_header_count * sizeof *p->reset_headers) : NULL;
    for (uint32_t i = 0; i < p->reset_header_count; i++) {
        p->reset_headers[i].name = cfg_lower(a, TEXT(limited->reset_headers[i], name));
        p->reset_headers[i].format = (int)GET(limited->reset_headers[i], format) ? RETRY_RESET_UNIX_TIMESTAMP : RETRY_RESET_SECONDS;
    }
}

static void free_policy(void *object)
{
    struct retry_policy *p = object;
    for (uint32_t i = 0; i < p->response_header_count; i++)
        header_matcher_fini(&p->response_headers[i]);
    for (uint32_t i = 0; i < p->request_header_count; i++)
        header_matcher_fini(&p->request_headers[i]);
}

/* Most routes of a mesh have the same: kept once. Pointers differ where there are lists, so those never are alike. */
static const struct retry_policy *keep_policy(const struct retry_policy *read, struct route_reading *rr)
{
    if (*rr->last_retry && memcmp(*rr->last_retry, read, sizeof *read) == 0)
        return *rr->last_retry;
    struct retry_policy *p = arena_alloc(rr->a, sizeof *p);
    memcpy(p, read, sizeof *p);
    *rr->last_retry = p;
    if (p->response_header_count || p->request_header_count)
        route_own(rr->owned, p, free_policy);
    return p;
}

const struct retry_policy *cfg_retry_policy(struct config_reader *cr, const pb_retry_policy *m, struct route_reading *rr)
{
    if (!m)
        return NULL;
    struct retry_policy read, *p = &read;
    memset(&read, 0, sizeof read); /* padding too: policies are compared whole */
    p->on = read_retry_on(cr, TEXT(m, retry_on));
    p->num_retries = proto_u32_or(GET(m, num_retries), 1);
    p->per_try_timeout_ms = proto_ms_or(GET(m, per_try_timeout), 0);
    p->per_try_idle_timeout_ms = proto_ms_or(GET(m, per_try_idle_timeout), 0);
    read_predicates(cr, m, p, rr->a);
    read_backoff(cr, m, p, rr->a);
    p->status_code_count = LEN(m, retriable_status_codes);
    p->status_codes = ARENA_ARRAY(rr->a, uint32_t, p->status_code_count);
    for (uint32_t i = 0; i < p->status_code_count; i++)
        p->status_codes[i] = m->retriable_status_codes[i];
    p->response_header_count = LEN(m, retriable_headers);
    p->response_headers = cfg_header_matchers(cr, "retriable_headers", m->retriable_headers, p->response_header_count, rr->a);
    p->request_header_count = LEN(m, retriable_request_headers);
    p->request_headers =
        cfg_header_matchers(cr, "retriable_request_headers", m->retriable_request_headers, p->request_header_count, rr->a);
    return keep_policy(&read, rr);
}

const struct hedge_policy *cfg_hedge_policy(struct config_reader *cr, const pb_hedge_policy *m, struct arena *a)
{
    if (!m)
        return NULL;
    struct hedge_policy *p = arena_zalloc(a, sizeof *p);
    p->initial_requests = proto_u32_or(GET(m, initial_requests), 1);
    p->additional_denominator = 100;
    if (GET(m, additional_request_chance))
        IN("additional_request_chance") {
            struct runtime_fraction f = cfg_fraction(cr, m->additional_request_chance);
            p->additional_numerator = f.numerator;
            p->additional_denominator = f.denominator;
        }
    p->on_per_try_timeout = GET(m, hedge_on_per_try_timeout);
    return p;
}
