/* SPDX-License-Identifier: Apache-2.0
 *
 * The local rate limits, of requests (filter and route: one message) and of connections. Main thread.
 */
#include "proxy/filter/local_ratelimit.h"

#include "base/mem.h"
#include "proxy/config/config_priv.h"
#include "proxy/filter/simple_network_filters.h"

#include <stdlib.h>

#define MIN_INTERVAL_US 50000u
#define MAX_DYNAMIC_DESCRIPTORS 20u
#define DYNAMIC_MAX 100000u /* of one descriptor */

static struct token_bucket_spec read_bucket(struct config_reader *cr, const pb_token_bucket *m)
{
    uint64_t interval_us = proto_us_or(GET(m, fill_interval), 0);
    uint32_t max_tokens = GET(m, max_tokens);
    if (interval_us < MIN_INTERVAL_US)
        FAULT("fill_interval", "must be at least 50 ms");
    return token_bucket_spec(max_tokens, proto_u32_or(GET(m, tokens_per_fill), 1), interval_us);
}

static void read_descriptor(struct config_reader *cr, const pb_local_descriptor *m, struct arena *a, struct local_descriptor *d)
{
    d->count = LEN(m, entries);
    d->entries = ARENA_ARRAY(a, struct rate_limit_entry, d->count);
    for (uint32_t i = 0; i < d->count; i++) {
        d->entries[i].key = arena_str(a, TEXT(m->entries[i], key));
        d->entries[i].value = arena_str(a, TEXT(m->entries[i], value));
        d->is_dynamic |= !d->entries[i].value.n;
    }
    if (GET(m, token_bucket))
        IN("token_bucket")
            d->spec = read_bucket(cr, m->token_bucket);
    else
        FAULT("token_bucket", "must be set");
}

static int by_rate(const void *a, const void *b)
{
    const struct local_descriptor *x = a, *y = b;
    return (x->spec.per_us > y->spec.per_us) - (x->spec.per_us < y->spec.per_us);
}

static void read_descriptors(struct config_reader *cr, const pb_local_ratelimit *m, struct arena *a, struct local_ratelimit_config *c)
{
    c->max_dynamic = proto_u32_or(GET(m, max_dynamic_descriptors), MAX_DYNAMIC_DESCRIPTORS);
    if (!c->max_dynamic || c->max_dynamic > DYNAMIC_MAX) {
        FAULT("max_dynamic_descriptors", "%u is not between 1 and %u", c->max_dynamic, DYNAMIC_MAX);
        c->max_dynamic = MAX_DYNAMIC_DESCRIPTORS;
    }
    c->descriptor_count = LEN(m, descriptors);
    c->descriptors = ARENA_ARRAY(a, struct local_descriptor, c->descriptor_count);
    for (uint32_t i = 0; i < c->descriptor_count; i++)
        IN("descriptors[%u]", i)
            read_descriptor(cr, m->descriptors[i], a, &c->descriptors[i]);
    if (c->descriptor_count)
        qsort(c->descriptors, c->descriptor_count, sizeof *c->descriptors, by_rate);
    c->bucket_count = 1;
    for (uint32_t i = 0; i < c->descriptor_count; i++)
        if (!c->descriptors[i].is_dynamic)
            c->descriptors[i].first_bucket = c->bucket_count++;
    c->dynamic_at = c->bucket_count;
    for (uint32_t i = 0; i < c->descriptor_count; i++)
        if (c->descriptors[i].is_dynamic) {
            c->descriptors[i].first_bucket = c->bucket_count;
            c->bucket_count += c->max_dynamic;
        }
    c->shared.items = mem_zalloc(c->bucket_count * sizeof *c->shared.items);
    c->shared.slots = mem_zalloc((c->bucket_count - c->dynamic_at + 1) * sizeof *c->shared.slots);
}

static struct runtime_fraction read_fraction(struct config_reader *cr, const char *field, const pb_runtime_fraction *m, struct arena *a)
{
    struct runtime_fraction f = {.denominator = 100};
    if (m)
        IN("%s", field)
            f = cfg_runtime_fraction(cr, a, m, 0);
    return f;
}

static struct local_ratelimit_config *read_local(struct config_reader *cr, const pb_local_ratelimit *m, struct arena *a)
{
    struct local_ratelimit_config *c = arena_zalloc(a, sizeof *c);
    const pb_http_status *status = GET(m, status);
    unsigned code = status ? (unsigned)GET(status, code) : 0;
    c->status = code >= 400 ? (uint16_t)code : 429;
    c->enabled = read_fraction(cr, "filter_enabled", GET(m, filter_enabled), a);
    c->enforced = read_fraction(cr, "filter_enforced", GET(m, filter_enforced), a);
    if (GET(m, token_bucket)) {
        c->has_default = true;
        IN("token_bucket")
            c->spec = read_bucket(cr, m->token_bucket);
    }
    read_descriptors(cr, m, a, c);
    pb_header_option **adds = GET(m, request_headers_to_add_when_not_enforced);
    cfg_header_rules(cr, "request_headers_to_add_when_not_enforced", adds, LEN(m, request_headers_to_add_when_not_enforced), "", NULL,
                     0, a, &c->request_rules);
    adds = GET(m, response_headers_to_add);
    cfg_header_rules(cr, "response_headers_to_add", adds, LEN(m, response_headers_to_add), "", NULL, 0, a, &c->response_rules);
    c->stage = GET(m, stage);
    c->per_connection = GET(m, local_rate_limit_per_downstream_connection);
    c->rate_limit_headers = GET(m, enable_x_ratelimit_headers) != 0;
    c->vhost_limits = (unsigned)GET(m, vh_rate_limits) <= VHOST_LIMITS_IGNORE ? (unsigned)m->vh_rate_limits : VHOST_LIMITS_OVERRIDE;
    c->always_default = proto_bool_or(GET(m, always_consume_default_token_bucket), true);
    c->resource_exhausted = GET(m, rate_limited_as_resource_exhausted);
    pb_rate_limit **rules = GET(m, rate_limits);
    c->rules = cfg_filter_rate_limits(cr, "rate_limits", rules, LEN(m, rate_limits), a);
    c->stat_prefix = arena_str(a, TEXT(m, stat_prefix));
    local_ratelimit_config_made(c);
    return c;
}

int cfg_local_ratelimit(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    struct cfg_http_filter *f = out;
    f->spec->config = read_local(cr, (const pb_local_ratelimit *)msg, f->arena);
    f->spec->free_config = local_ratelimit_config_free;
    return 0;
}

int cfg_local_ratelimit_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    struct cfg_route_filter *f = out;
    f->override->config = read_local(cr, (const pb_local_ratelimit *)msg, f->arena);
    f->override->free_config = local_ratelimit_config_free;
    return 0;
}

/* ---- of connections ---- */

static void free_network(void *config)
{
    struct network_local_ratelimit_config *c = config;
    stat_scope_unref(&c->stats);
    shared_bucket_unref(&c->bucket);
    str_free(&c->stat_prefix);
    str_free(&c->runtime_key);
    mem_free(c);
}

int cfg_network_local_ratelimit(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_network_local_ratelimit *m = (const pb_network_local_ratelimit *)msg;
    struct cfg_network_filter *f = out;
    struct network_local_ratelimit_config *c = NEW(network_local_ratelimit_config);
    const pb_runtime_flag *flag = GET(m, runtime_enabled);
    f->spec->config = c;
    f->spec->free_config = free_network;
    c->stat_prefix = str_from(mem_strdup(GET(m, stat_prefix)));
    c->enabled = true;
    if (flag) {
        c->runtime_key = str_from(mem_strdup(GET(flag, runtime_key)));
        c->enabled = proto_bool_or(GET(flag, default_value), true);
    }
    if (GET(m, token_bucket))
        IN("token_bucket")
            c->spec = read_bucket(cr, m->token_bucket);
    c->bucket = shared_bucket_get(TEXT(m, share_key), &c->spec);
    return 0;
}
