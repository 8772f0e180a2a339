/* SPDX-License-Identifier: Apache-2.0
 *
 * Retries, faults and cross-origin rules of virtual services' routes.
 */
#include "control/translate/route_priv.h"

#include "envoy/extensions/filters/http/cors/v3/cors.pb-c.h"
#include "envoy/extensions/filters/http/fault/v3/fault.pb-c.h"

#define RETRY Envoy__Config__Route__V3__RetryPolicy
#define FAULT Envoy__Extensions__Filters__Http__Fault__V3__HTTPFault
#define PERCENT Envoy__Type__V3__FractionalPercent

static const char retry_default[] =
    "{\"retry_on\":\"connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes\",\"num_retries\":2,"
    "\"retry_host_predicate\":[{\"name\":\"envoy.retry_host_predicates.previous_hosts\",\"typed_config\":{\"@type\":"
    "\"type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate\"}}],"
    "\"host_selection_retry_max_attempts\":\"5\"}";
static const char remote_localities[] =
    "{\"name\":\"envoy.retry_priorities.previous_priorities\",\"typed_config\":{\"@type\":"
    "\"type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig\",\"update_frequency\":2}}";

/* ---- retries ---- */

/* Bare status codes leave the list and become retriable_status_codes. */
static void set_retry_on(const struct translation *t, struct str words, RETRY *r)
{
    struct strbuf on = {0};
    uint32_t *codes = proto_arena_alloc(t->protos, (words.n / 2 + 1) * sizeof(*codes));
    bool has_word = false;
    r->n_retriable_status_codes = 0;
    for (struct str rest = words; rest.p;) {
        struct str word = str_trim(str_split(rest, ',', &rest));
        uint64_t code;
        if (word.n == 0)
            continue;
        if (str_to_u64(word, &code)) {
            codes[r->n_retriable_status_codes++] = (uint32_t)code;
            continue;
        }
        has_word |= str_eq(word, STR("retriable-status-codes"));
        strbuf_addf(&on, "%s%.*s", on.n ? "," : "", STR_ARG(word));
    }
    if (r->n_retriable_status_codes && !has_word)
        strbuf_addf(&on, "%sretriable-status-codes", on.n ? "," : "");
    r->retriable_status_codes = codes;
    r->retry_on = text(t, strbuf_str(&on));
    strbuf_fini(&on);
}

RETRY *retry_policy(const struct translation *t, const Istio__Networking__V1alpha3__HTTPRetry *from)
{
    if (from && from->attempts <= 0)
        return NULL;
    RETRY *r = COPY_OF(t, RETRY, envoy__config__route__v3__retry_policy__descriptor, retry_default);
    if (!from)
        return r;
    r->num_retries = u32_of(t, (uint32_t)from->attempts);
    if (from->retry_on[0])
        set_retry_on(t, str_from(from->retry_on), r);
    r->per_try_timeout = from->per_try_timeout;
    if (from->retry_ignore_previous_hosts && !from->retry_ignore_previous_hosts->value) {
        r->n_retry_host_predicate = 0;
        r->host_selection_retry_max_attempts = 0;
    }
    if (from->retry_remote_localities && from->retry_remote_localities->value)
        r->retry_priority = COPY_OF(t, Envoy__Config__Route__V3__RetryPolicy__RetryPriority,
                                    envoy__config__route__v3__retry_policy__retry_priority__descriptor, remote_localities);
    if (from->backoff) {
        r->retry_back_off = MAKE(t, Envoy__Config__Route__V3__RetryPolicy__RetryBackOff,
                                 envoy__config__route__v3__retry_policy__retry_back_off__descriptor);
        r->retry_back_off->base_interval = from->backoff;
    }
    return r;
}

/* ---- shares ---- */

static PERCENT *percent_of(const struct translation *t, double percent)
{
    PERCENT *p = MAKE(t, PERCENT, envoy__type__v3__fractional_percent__descriptor);
    p->numerator = (uint32_t)(percent * 10000 + 0.5);
    p->denominator = ENVOY__TYPE__V3__FRACTIONAL_PERCENT__DENOMINATOR_TYPE__MILLION;
    return p;
}

Envoy__Config__Core__V3__RuntimeFractionalPercent *runtime_percent(const struct translation *t, double percent)
{
    Envoy__Config__Core__V3__RuntimeFractionalPercent *r = MAKE(
        t, Envoy__Config__Core__V3__RuntimeFractionalPercent, envoy__config__core__v3__runtime_fractional_percent__descriptor);
    r->default_value = percent_of(t, percent);
    return r;
}

/* ---- faults ---- */

static Envoy__Extensions__Filters__Common__Fault__V3__FaultDelay *delay_of(const struct translation *t,
                                                                           const Istio__Networking__V1alpha3__HTTPFaultInjection__Delay *from)
{
    if (!from || from->http_delay_type_case != ISTIO__NETWORKING__V1ALPHA3__HTTPFAULT_INJECTION__DELAY__HTTP_DELAY_TYPE_FIXED_DELAY)
        return NULL;
    Envoy__Extensions__Filters__Common__Fault__V3__FaultDelay *d =
        MAKE(t, Envoy__Extensions__Filters__Common__Fault__V3__FaultDelay, envoy__extensions__filters__common__fault__v3__fault_delay__descriptor);
    d->fault_delay_secifier_case = ENVOY__EXTENSIONS__FILTERS__COMMON__FAULT__V3__FAULT_DELAY__FAULT_DELAY_SECIFIER_FIXED_DELAY;
    d->fixed_delay = from->fixed_delay;
    d->percentage = percent_of(t, from->percentage ? from->percentage->value : from->percent ? from->percent : 100);
    return d;
}

static uint32_t grpc_code(const char *name)
{
    static const char *const names[] = {"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
                                        "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
                                        "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"};
    uint64_t n;
    if (str_to_u64(str_from(name), &n))
        return (uint32_t)n;
    for (uint32_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return 2;
}

static Envoy__Extensions__Filters__Http__Fault__V3__FaultAbort *abort_of(const struct translation *t,
                                                                         const Istio__Networking__V1alpha3__HTTPFaultInjection__Abort *from)
{
    if (!from)
        return NULL;
    Envoy__Extensions__Filters__Http__Fault__V3__FaultAbort *a =
        MAKE(t, Envoy__Extensions__Filters__Http__Fault__V3__FaultAbort, envoy__extensions__filters__http__fault__v3__fault_abort__descriptor);
    if (from->error_type_case == ISTIO__NETWORKING__V1ALPHA3__HTTPFAULT_INJECTION__ABORT__ERROR_TYPE_HTTP_STATUS) {
        a->error_type_case = ENVOY__EXTENSIONS__FILTERS__HTTP__FAULT__V3__FAULT_ABORT__ERROR_TYPE_HTTP_STATUS;
        a->http_status = (uint32_t)from->http_status;
    } else if (from->error_type_case == ISTIO__NETWORKING__V1ALPHA3__HTTPFAULT_INJECTION__ABORT__ERROR_TYPE_GRPC_STATUS) {
        a->error_type_case = ENVOY__EXTENSIONS__FILTERS__HTTP__FAULT__V3__FAULT_ABORT__ERROR_TYPE_GRPC_STATUS;
        a->grpc_status = grpc_code(from->grpc_status);
    } else
        return NULL;
    a->percentage = percent_of(t, from->percentage ? from->percentage->value : 100);
    return a;
}

Google__Protobuf__Any *fault_config(const struct translation *t, const Istio__Networking__V1alpha3__HTTPFaultInjection *from)
{
    FAULT *f = MAKE(t, FAULT, envoy__extensions__filters__http__fault__v3__httpfault__descriptor);
    f->delay = delay_of(t, from->delay);
    f->abort = abort_of(t, from->abort);
    return any_of(t, &f->base);
}

/* ---- cross-origin ---- */

static char *joined(const struct translation *t, char *const *words, size_t count)
{
    struct strbuf b = {0};
    for (size_t i = 0; i < count; i++)
        strbuf_addf(&b, "%s%s", i ? "," : "", words[i]);
    char *out = text(t, b.n ? strbuf_str(&b) : STR(""));
    strbuf_fini(&b);
    return out;
}

#define CORS Envoy__Extensions__Filters__Http__Cors__V3__CorsPolicy

Google__Protobuf__Any *cors_config(const struct translation *t, const Istio__Networking__V1alpha3__CorsPolicy *from)
{
    CORS *c = MAKE(t, CORS, envoy__extensions__filters__http__cors__v3__cors_policy__descriptor);
    struct many origins = {0};
    for (size_t i = 0; i < from->n_allow_origins; i++)
        many_add(t, &origins, string_matcher(t, &from->allow_origins[i]->base));
    c->allow_origin_string_match = (Envoy__Type__Matcher__V3__StringMatcher **)origins.items;
    c->n_allow_origin_string_match = origins.count;
    c->allow_methods = joined(t, from->allow_methods, from->n_allow_methods);
    c->allow_headers = joined(t, from->allow_headers, from->n_allow_headers);
    c->expose_headers = joined(t, from->expose_headers, from->n_expose_headers);
    c->allow_credentials = from->allow_credentials;
    c->filter_enabled = runtime_percent(t, 100);
    c->filter_enabled->default_value->numerator = 100;
    c->filter_enabled->default_value->denominator = ENVOY__TYPE__V3__FRACTIONAL_PERCENT__DENOMINATOR_TYPE__HUNDRED;
    if (from->max_age)
        c->max_age = textf(t, "%ld", (long)from->max_age->seconds);
    if (from->unmatched_preflights)
        c->forward_not_matching_preflights =
            bool_of(t, from->unmatched_preflights == ISTIO__NETWORKING__V1ALPHA3__CORS_POLICY__UNMATCHED_PREFLIGHTS__FORWARD);
    return any_of(t, &c->base);
}
