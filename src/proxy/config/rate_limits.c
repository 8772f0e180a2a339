/* SPDX-License-Identifier: Apache-2.0
 *
 * route.v3.RateLimit lists, of routes, virtual hosts and filters. Extension descriptors are refused by name. Main
 * thread.
 */
#include "proxy/filter/rate_limit_actions.h"

#include "proxy/config/route_priv.h"

#define RL(x) Envoy__Config__Route__V3__RateLimit##x
#define ACTION(x) ENVOY__CONFIG__ROUTE__V3__RATE_LIMIT__ACTION__ACTION_SPECIFIER_##x

static void read_metadata_key(struct config_reader *cr, const Envoy__Type__Metadata__V3__MetadataKey *m, struct arena *a,
                              struct metadata_path *out)
{
    if (!m) {
        FAULT("metadata_key", "must be set");
        return;
    }
    IN("metadata_key") {
        out->space = arena_str(a, TEXT(m, key));
        out->count = LEN(m, path);
        out->path = ARENA_ARRAY(a, struct str, out->count);
        for (uint32_t i = 0; i < out->count; i++)
            out->path[i] = arena_str(a, TEXT(m->path[i], key));
    }
}

static struct str or_else(struct arena *a, struct str text, struct str otherwise)
{
    return text.n ? arena_str(a, text) : otherwise;
}

static void read_header_match(struct config_reader *cr, const RL(__Action__HeaderValueMatch) *m, struct arena *a,
                              struct rate_limit_action *out)
{
    out->kind = RL_HEADER_MATCH;
    out->key = or_else(a, TEXT(m, descriptor_key), STR("header_match"));
    out->expect_match = proto_bool_or(GET(m, expect_match), true);
    out->value = arena_str(a, TEXT(m, descriptor_value));
    out->header_count = LEN(m, headers);
    out->headers = cfg_header_matchers(cr, "headers", m->headers, out->header_count, a);
}

static void read_query_match(struct config_reader *cr, const RL(__Action__QueryParameterValueMatch) *m, struct arena *a,
                             struct rate_limit_action *out)
{
    out->kind = RL_QUERY_MATCH;
    out->key = or_else(a, TEXT(m, descriptor_key), STR("query_match"));
    out->expect_match = proto_bool_or(GET(m, expect_match), true);
    out->value = arena_str(a, TEXT(m, descriptor_value));
    out->query_count = LEN(m, query_parameters);
    out->queries = cfg_query_matchers(cr, "query_parameters", m->query_parameters, out->query_count, a);
}

static void read_request_headers(struct config_reader *cr, const RL(__Action__RequestHeaders) *m, struct arena *a,
                                 struct rate_limit_action *out)
{
    out->kind = RL_REQUEST_HEADER;
    out->name = cfg_lower(a, TEXT(m, header_name));
    out->key = arena_str(a, TEXT(m, descriptor_key));
    out->skip_if_absent = GET(m, skip_if_absent);
}

static void read_query_parameters(struct config_reader *cr, const RL(__Action__QueryParameters) *m, struct arena *a,
                                  struct rate_limit_action *out)
{
    out->kind = RL_QUERY_PARAMETER;
    out->name = arena_str(a, TEXT(m, query_parameter_name));
    out->key = arena_str(a, TEXT(m, descriptor_key));
    out->skip_if_absent = GET(m, skip_if_absent);
}

static void read_masked(struct config_reader *cr, const RL(__Action__MaskedRemoteAddress) *m, struct rate_limit_action *out)
{
    out->kind = RL_MASKED_REMOTE_ADDRESS;
    out->key = STR("masked_remote_address");
    out->v4_bits = (uint8_t)proto_u32_or(GET(m, v4_prefix_mask_len), 32);
    out->v6_bits = (uint8_t)proto_u32_or(GET(m, v6_prefix_mask_len), 128);
}

static void read_generic_key(struct config_reader *cr, const RL(__Action__GenericKey) *m, struct arena *a, struct rate_limit_action *out)
{
    out->kind = RL_GENERIC_KEY;
    out->key = or_else(a, TEXT(m, descriptor_key), STR("generic_key"));
    out->value = arena_str(a, TEXT(m, descriptor_value));
}

static void read_dynamic_metadata(struct config_reader *cr, const RL(__Action__DynamicMetaData) *m, struct arena *a,
                                  struct rate_limit_action *out)
{
    out->kind = RL_METADATA;
    out->key = arena_str(a, TEXT(m, descriptor_key));
    out->fallback = arena_str(a, TEXT(m, default_value));
    read_metadata_key(cr, GET(m, metadata_key), a, &out->metadata);
}

static void read_metadata(struct config_reader *cr, const RL(__Action__MetaData) *m, struct arena *a, struct rate_limit_action *out)
{
    out->kind = RL_METADATA;
    out->key = arena_str(a, TEXT(m, descriptor_key));
    out->fallback = arena_str(a, TEXT(m, default_value));
    out->skip_if_absent = GET(m, skip_if_absent);
    out->of_route = GET(m, source) == ENVOY__CONFIG__ROUTE__V3__RATE_LIMIT__ACTION__META_DATA__SOURCE__ROUTE_ENTRY;
    read_metadata_key(cr, GET(m, metadata_key), a, &out->metadata);
}

static void refuse_extension(struct config_reader *cr, const Envoy__Config__Core__V3__TypedExtensionConfig *m)
{
    proto_read_whole(&cr->r, &m->base);
    UNSUPPORTED("extension", m->name);
}

static void read_action(struct config_reader *cr, const RL(__Action) *m, struct arena *a, struct rate_limit_action *out)
{
    switch (m->action_specifier_case) {
    case ACTION(SOURCE_CLUSTER):
        (void)GET(m, source_cluster);
        *out = (struct rate_limit_action){.kind = RL_SOURCE_CLUSTER, .key = STR("source_cluster")};
        return;
    case ACTION(DESTINATION_CLUSTER):
        (void)GET(m, destination_cluster);
        *out = (struct rate_limit_action){.kind = RL_DESTINATION_CLUSTER, .key = STR("destination_cluster")};
        return;
    case ACTION(REMOTE_ADDRESS):
        (void)GET(m, remote_address);
        *out = (struct rate_limit_action){.kind = RL_REMOTE_ADDRESS, .key = STR("remote_address")};
        return;
    case ACTION(REQUEST_HEADERS):
        IN("request_headers")
            read_request_headers(cr, GET(m, request_headers), a, out);
        return;
    case ACTION(QUERY_PARAMETERS):
        IN("query_parameters")
            read_query_parameters(cr, GET(m, query_parameters), a, out);
        return;
    case ACTION(MASKED_REMOTE_ADDRESS):
        IN("masked_remote_address")
            read_masked(cr, GET(m, masked_remote_address), out);
        return;
    case ACTION(GENERIC_KEY):
        IN("generic_key")
            read_generic_key(cr, GET(m, generic_key), a, out);
        return;
    case ACTION(HEADER_VALUE_MATCH):
        IN("header_value_match")
            read_header_match(cr, GET(m, header_value_match), a, out);
        return;
    case ACTION(QUERY_PARAMETER_VALUE_MATCH):
        IN("query_parameter_value_match")
            read_query_match(cr, GET(m, query_parameter_value_match), a, out);
        return;
    case ACTION(DYNAMIC_METADATA):
        IN("dynamic_metadata")
            read_dynamic_metadata(cr, GET(m, dynamic_metadata), a, out);
        return;
    case ACTION(METADATA):
        IN("metadata")
            read_metadata(cr, GET(m, metadata), a, out);
        return;
    case ACTION(EXTENSION):
        refuse_extension(cr, GET(m, extension));
        return;
    default:
        FAULT("", "an action must be set");
    }
}

static void read_override(struct config_reader *cr, const RL(__Override) *m, struct arena *a, struct rate_limit_rule *out)
{
    const RL(__Override__DynamicMetadata) *dynamic = m->override_specifier_case ? GET(m, dynamic_metadata) : NULL;
    if (!dynamic) {
        FAULT("", "dynamic_metadata must be set");
        return;
    }
    out->has_override = true;
    IN("dynamic_metadata")
        read_metadata_key(cr, GET(dynamic, metadata_key), a, &out->override);
}

static void read_hits(struct config_reader *cr, const RL(__HitsAddend) *m, struct rate_limit_rule *out)
{
    struct err err = {0};
    const Google__Protobuf__UInt64Value *number = GET(m, number);
    struct str format = TEXT(m, format);
    if (number && format.n) {
        FAULT("", "number and format exclude each other");
        return;
    }
    out->has_hits = number != NULL;
    out->hits = number ? number->value : 0;
    out->hits_format = format.n ? format_new(format, false, &err) : NULL;
    if (format.n && !out->hits_format)
        cfg_fault_err(cr, "format", &err);
}

static void read_rule(struct config_reader *cr, const pb_rate_limit *m, struct arena *a, struct rate_limit_rule *out)
{
    struct str key = TEXT(m, disable_key);
    out->stage = proto_u32_or(GET(m, stage), 0);
    out->on_stream_done = GET(m, apply_on_stream_done);
    if (key.n)
        out->disable_key = arena_printf(a, "ratelimit.%.*s.http_filter_enabled", STR_ARG(key));
    uint32_t n = LEN(m, actions);
    out->actions = ARENA_ARRAY(a, struct rate_limit_action, n);
    for (; out->action_count < n; out->action_count++)
        IN("actions[%u]", out->action_count)
            read_action(cr, m->actions[out->action_count], a, &out->actions[out->action_count]);
    if (GET(m, limit))
        IN("limit")
            read_override(cr, m->limit, a, out);
    if (GET(m, hits_addend))
        IN("hits_addend")
            read_hits(cr, m->hits_addend, out);
}

const struct rate_limit_rules *cfg_rate_limits(struct config_reader *cr, const char *field, pb_rate_limit *const *items, uint32_t n,
                                               struct arena *a)
{
    if (!n)
        return NULL;
    struct rate_limit_rules *r = arena_zalloc(a, sizeof *r);
    r->items = ARENA_ARRAY(a, struct rate_limit_rule, n);
    r->local_cluster = arena_str(a, cr->out->node.cluster);
    for (; r->count < n; r->count++)
        IN("%s[%u]", field, r->count)
            read_rule(cr, items[r->count], a, &r->items[r->count]);
    return r;
}

const struct rate_limit_rules *cfg_filter_rate_limits(struct config_reader *cr, const char *field, pb_rate_limit *const *items,
                                                      uint32_t n, struct arena *a)
{
    for (uint32_t i = 0; i < n; i++)
        if (GET(items[i], stage) || TEXT(items[i], disable_key).n)
            IN("%s[%u]", field, i)
                FAULT("", "stage and disable_key are not supported here");
    return cfg_rate_limits(cr, field, items, n, a);
}
