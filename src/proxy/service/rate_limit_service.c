/* SPDX-License-Identifier: Apache-2.0
 *
 * RateLimitService's client: packs the descriptors, makes one unary call bounded by the service's timeout, unpacks the
 * answer. An answer that can't be read is a failure of the service like any other. Thread: the caller's.
 */
#include "proxy/service/rate_limit_service.h"

#include "base/mem.h"
#include "envoy/service/ratelimit/v3/rls.pb-c.h"
#include "proto/message.h"
#include "proxy/service/values.h"

#define PB(x) Envoy__Service__Ratelimit__V3__##x
#define DESC(x) Envoy__Extensions__Common__Ratelimit__V3__RateLimitDescriptor##x
#define UNIT(x) ENVOY__SERVICE__RATELIMIT__V3__RATE_LIMIT_RESPONSE__RATE_LIMIT__UNIT__##x
#define OVER ENVOY__SERVICE__RATELIMIT__V3__RATE_LIMIT_RESPONSE__CODE__OVER_LIMIT
#define METHOD STR("/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit")
#define MEMORY_BYTES ((size_t)4 << 20)

struct rate_limit_call {
    struct grpc_call *call;
    rate_limit_fn fn;
    void *user;
    struct strbuf answer;
    bool answered;
};

/* ---- asking ---- */

static DESC(__Entry) *entry_to_pb(const struct rate_limit_entry *e, struct proto_arena *a)
{
    DESC(__Entry) *m = PROTO_NEW(a, DESC(__Entry), envoy__extensions__common__ratelimit__v3__rate_limit_descriptor__entry__descriptor);
    if (m) {
        m->key = text_to_pb(e->key, a);
        m->value = text_to_pb(e->value, a);
    }
    return m;
}

static DESC() *descriptor_to_pb(const struct rate_limit_descriptor *d, struct proto_arena *a)
{
    DESC() *m = PROTO_NEW(a, DESC(), envoy__extensions__common__ratelimit__v3__rate_limit_descriptor__descriptor);
    if (!m)
        return NULL;
    m->entries = d->count ? proto_arena_alloc(a, d->count * sizeof *m->entries) : NULL;
    for (uint32_t i = 0; m->entries && i < d->count; i++)
        if ((m->entries[m->n_entries] = entry_to_pb(&d->entries[i], a)))
            m->n_entries++;
    if (d->has_limit)
        m->limit = PROTO_NEW(a, DESC(__RateLimitOverride),
                             envoy__extensions__common__ratelimit__v3__rate_limit_descriptor__rate_limit_override__descriptor);
    if (m->limit) {
        m->limit->requests_per_unit = d->limit_requests;
        m->limit->unit = (Envoy__Type__V3__RateLimitUnit)d->limit_unit;
    }
    if (d->has_hits)
        m->hits_addend = PROTO_NEW(a, Google__Protobuf__UInt64Value, google__protobuf__uint64_value__descriptor);
    if (m->hits_addend)
        m->hits_addend->value = d->hits;
    return m;
}

static bool pack(struct str domain, const struct rate_limit_descriptors *d, uint32_t hits_addend, struct strbuf *out)
{
    struct proto_arena *a = proto_arena_new(MEMORY_BYTES);
    PB(RateLimitRequest) *m = PROTO_NEW(a, PB(RateLimitRequest), envoy__service__ratelimit__v3__rate_limit_request__descriptor);
    if (m) {
        m->domain = text_to_pb(domain, a);
        m->hits_addend = hits_addend;
        m->descriptors = proto_arena_alloc(a, d->count * sizeof *m->descriptors);
        for (uint32_t i = 0; m->descriptors && i < d->count; i++)
            if ((m->descriptors[m->n_descriptors] = descriptor_to_pb(&d->items[i], a)))
                m->n_descriptors++;
    }
    bool whole = m && !proto_arena_is_full(a);
    if (whole)
        proto_pack(&m->base, out);
    proto_arena_free(&a);
    return whole;
}

/* ---- the answer ---- */

static uint32_t window_of(int unit)
{
    switch (unit) {
    case UNIT(SECOND):
        return 1;
    case UNIT(MINUTE):
        return 60;
    case UNIT(HOUR):
        return 3600;
    case UNIT(DAY):
        return 86400;
    case UNIT(WEEK):
        return 7 * 86400;
    case UNIT(MONTH):
        return 30 * 86400;
    case UNIT(YEAR):
        return 365 * 86400;
    default:
        return 0;
    }
}

static void read_status(const PB(RateLimitResponse__DescriptorStatus) *m, struct rate_limit_status *out)
{
    out->over_limit = m->code == OVER;
    out->remaining = m->limit_remaining;
    out->has_limit = m->current_limit != NULL;
    if (m->current_limit) {
        out->limit_name = str_from(m->current_limit->name);
        out->requests_per_unit = m->current_limit->requests_per_unit;
        out->window_s = window_of((int)m->current_limit->unit);
    }
    if (m->duration_until_reset && m->duration_until_reset->seconds > 0)
        out->reset_s = (uint64_t)m->duration_until_reset->seconds;
}

/* Headers that can't stand in a message are left out: the service must not be able to split one. */
static struct rate_limit_header *read_headers(Envoy__Config__Core__V3__HeaderValue *const *items, size_t n, struct arena *a, uint32_t *count)
{
    struct rate_limit_header *out = n ? arena_zalloc(a, n * sizeof *out) : NULL;
    for (size_t i = 0; out && i < n; i++) {
        struct str name = arena_str(a, str_from(items[i]->key)), value = str_from(items[i]->value);
        if (!value.n)
            value = str_make((const char *)items[i]->raw_value.data, items[i]->raw_value.len);
        if (!name.n || name.p[0] == ':' || !header_name_is_valid(name) || !header_value_is_valid(value))
            continue;
        for (size_t k = 0; k < name.n; k++)
            ((char *)(uintptr_t)name.p)[k] = ascii_lower(name.p[k]);
        out[(*count)++] = (struct rate_limit_header){name, value};
    }
    return out;
}

static void read_answer(const PB(RateLimitResponse) *m, struct arena *a, struct rate_limit_answer *out)
{
    out->over_limit = m->overall_code == OVER;
    out->statuses = m->n_statuses ? arena_zalloc(a, m->n_statuses * sizeof *out->statuses) : NULL;
    for (size_t i = 0; out->statuses && i < m->n_statuses; i++)
        read_status(m->statuses[i], &out->statuses[out->status_count++]);
    out->response_headers = read_headers(m->response_headers_to_add, m->n_response_headers_to_add, a, &out->response_header_count);
    out->request_headers = read_headers(m->request_headers_to_add, m->n_request_headers_to_add, a, &out->request_header_count);
    out->body = str_make((const char *)m->raw_body.data, m->raw_body.len);
    if (m->dynamic_metadata && m->dynamic_metadata->n_fields)
        out->metadata = value_from_struct(m->dynamic_metadata, a);
}

static void tell(struct rate_limit_call *c)
{
    struct proto_arena *memory = proto_arena_new(MEMORY_BYTES);
    struct arena a;
    ProtobufCMessage *m = NULL;
    struct err err;
    struct rate_limit_answer answer = {0};
    arena_init(&a, MEMORY_BYTES);
    if (proto_unpack(memory, &envoy__service__ratelimit__v3__rate_limit_response__descriptor, strbuf_str(&c->answer), &m, &err) < 0) {
        c->fn(c->user, NULL);
    } else {
        read_answer((const PB(RateLimitResponse) *)m, &a, &answer);
        c->fn(c->user, &answer);
    }
    arena_fini(&a);
    proto_arena_free(&memory);
}

static void on_message(void *user, const uint8_t *bytes, size_t n)
{
    struct rate_limit_call *c = user;
    strbuf_reset(&c->answer);
    strbuf_add(&c->answer, bytes, n);
    c->answered = true;
}

static void destroy(struct rate_limit_call *c)
{
    strbuf_fini(&c->answer);
    mem_free(c);
}

static void on_done(void *user, unsigned status, struct str message)
{
    (void)message;
    struct rate_limit_call *c = user;
    c->call = NULL;
    if (c->fn && status == GRPC_OK && c->answered)
        tell(c);
    else if (c->fn)
        c->fn(c->user, NULL);
    destroy(c);
}

static const struct grpc_call_handler handler = {on_message, on_done, NULL};

struct rate_limit_call *rate_limit_ask(const struct grpc_service *s, struct str domain, const struct rate_limit_descriptors *d,
                                       uint32_t hits_addend, const struct format_context *cx, rate_limit_fn fn, void *user)
{
    struct strbuf packed = {0};
    unsigned status;
    struct rate_limit_call *c = NEW(rate_limit_call);
    c->fn = fn;
    c->user = user;
    if (pack(domain, d, hits_addend, &packed))
        c->call = grpc_call_start(s, METHOD, NULL, cx, (const uint8_t *)packed.p, packed.n, true, &handler, c, &status);
    strbuf_fini(&packed);
    if (c->call)
        return c;
    destroy(c);
    return NULL;
}

void rate_limit_call_cancel(struct rate_limit_call **call)
{
    struct rate_limit_call *c = *call;
    *call = NULL;
    if (!c)
        return;
    grpc_call_cancel(&c->call);
    destroy(c);
}
