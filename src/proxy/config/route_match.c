/* SPDX-License-Identifier: Apache-2.0
 *
 * RouteMatch: every part of it. Main thread.
 */
#include "proxy/config/route_priv.h"
#include "proxy/match/path_template.h"
#include "proxy/match/value_match.h"

#define PATH(x) ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_##x
#define VALUE(x) ENVOY__TYPE__MATCHER__V3__VALUE_MATCHER__MATCH_PATTERN_##x

/* ---- the path ---- */

int cfg_path_template_match(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_template_match *m = (const pb_template_match *)msg;
    struct cfg_path_match *to = out;
    struct err err = {0};
    to->match->path_template = path_template_new(TEXT(m, path_template), &err);
    return to->match->path_template ? 0 : cfg_fault_err(cr, "path_template", &err);
}

static void read_path_policy(struct config_reader *cr, const pb_typed_extension *m, struct route_match *out, struct arena *a)
{
    ProtobufCMessage *msg = NULL;
    struct cfg_path_match to = {out};
    const struct extension *ext = cfg_extension(cr, EXT_PATH_MATCH, "typed_config", TEXT(m, name), GET(m, typed_config), &msg);
    out->kind = PATH_TEMPLATE;
    if (!ext)
        return;
    IN("typed_config")
        ext->read(cr, msg, &to);
    /* The text, for whoever shows or indexes it. */
    if (out->path_template)
        out->path = arena_str(a, str_from(((const pb_template_match *)msg)->path_template));
}

static void read_separated(struct config_reader *cr, const pb_route_match *m, struct route_match *out, struct arena *a)
{
    out->kind = PATH_SEPARATED_PREFIX;
    out->path = arena_str(a, TEXT(m, path_separated_prefix));
    if (out->path.n && out->path.p[out->path.n - 1] == '/')
        FAULT("path_separated_prefix", "must not end with '/'");
}

static void read_path(struct config_reader *cr, const pb_route_match *m, struct route_match *out, struct arena *a)
{
    switch (m->path_specifier_case) {
    case PATH(PREFIX):
        out->kind = PATH_PREFIX;
        out->path = arena_str(a, TEXT(m, prefix));
        break;
    case PATH(PATH):
        out->kind = PATH_EXACT;
        out->path = arena_str(a, TEXT(m, path));
        break;
    case PATH(PATH_SEPARATED_PREFIX):
        read_separated(cr, m, out, a);
        break;
    case PATH(SAFE_REGEX):
        out->kind = PATH_REGEX;
        out->regex = cfg_regex(cr, "safe_regex", GET(m, safe_regex));
        out->path = arena_str(a, str_from(m->safe_regex->regex));
        break;
    case PATH(CONNECT_MATCHER):
        out->kind = PATH_CONNECT;
        (void)GET(m, connect_matcher);
        break;
    case PATH(PATH_MATCH_POLICY):
        IN("path_match_policy")
            read_path_policy(cr, GET(m, path_match_policy), out, a);
        break;
    default:
        FAULT("", "one of prefix, path, path_separated_prefix, safe_regex, connect_matcher and path_match_policy must be set");
    }
}

/* ---- query parameters ---- */

static void read_query(struct config_reader *cr, const pb_query_matcher *m, struct query_matcher *out, struct arena *a)
{
    out->name = arena_str(a, TEXT(m, name));
    out->present = true;
    if (m->query_parameter_match_specifier_case == ENVOY__CONFIG__ROUTE__V3__QUERY_PARAMETER_MATCHER__QUERY_PARAMETER_MATCH_SPECIFIER_STRING_MATCH) {
        out->has_value = true;
        IN("string_match")
            cfg_string_match(cr, GET(m, string_match), &out->value);
    } else if (m->query_parameter_match_specifier_case) {
        out->present = GET(m, present_match);
    }
}

struct query_matcher *cfg_query_matchers(struct config_reader *cr, const char *field, pb_query_matcher *const *items, uint32_t n,
                                         struct arena *a)
{
    struct query_matcher *out = ARENA_ARRAY(a, struct query_matcher, n);
    for (uint32_t i = 0; i < n; i++)
        IN("%s[%u]", field, i)
            read_query(cr, items[i], &out[i], a);
    return out;
}

static void read_cookie(struct config_reader *cr, const pb_cookie_matcher *m, struct cookie_matcher *out, struct arena *a)
{
    out->name = arena_str(a, TEXT(m, name));
    out->invert = GET(m, invert_match);
    if (GET(m, string_match))
        IN("string_match")
            cfg_string_match(cr, m->string_match, &out->value);
}

/* ---- metadata and filter state ---- */

static void read_double(struct config_reader *cr, const pb_double_matcher *m, struct value_matcher *out)
{
    if (m->match_pattern_case == ENVOY__TYPE__MATCHER__V3__DOUBLE_MATCHER__MATCH_PATTERN_RANGE) {
        const pb_double_range *range = GET(m, range);
        out->kind = VALUE_RANGE;
        out->start = GET(range, start);
        out->end = GET(range, end);
        return;
    }
    out->kind = VALUE_NUMBER;
    out->start = GET(m, exact);
}

static void read_children(struct config_reader *cr, const char *field, pb_value_matcher *const *items, uint32_t n, struct arena *a,
                          struct value_matcher *out)
{
    out->child_count = n;
    out->children = ARENA_ARRAY(a, struct value_matcher, n);
    for (uint32_t i = 0; i < n; i++)
        IN("%s[%u]", field, i)
            cfg_value_matcher(cr, items[i], a, &out->children[i]);
}

void cfg_value_matcher(struct config_reader *cr, const pb_value_matcher *m, struct arena *a, struct value_matcher *out)
{
    *out = (struct value_matcher){.kind = VALUE_NULL};
    switch (m->match_pattern_case) {
    case VALUE(NULL_MATCH):
        (void)GET(m, null_match);
        break;
    case VALUE(DOUBLE_MATCH):
        read_double(cr, GET(m, double_match), out);
        break;
    case VALUE(STRING_MATCH):
        out->kind = VALUE_STRING;
        IN("string_match")
            cfg_string_match(cr, GET(m, string_match), &out->string);
        break;
    case VALUE(BOOL_MATCH):
        out->kind = VALUE_BOOL;
        out->boolean = GET(m, bool_match);
        break;
    case VALUE(PRESENT_MATCH):
        out->kind = VALUE_PRESENT;
        out->boolean = GET(m, present_match);
        break;
    case VALUE(LIST_MATCH):
        out->kind = VALUE_LIST;
        IN("list_match")
            if (GET(GET(m, list_match), one_of))
                read_children(cr, "one_of", &m->list_match->one_of, 1, a, out);
        break;
    case VALUE(OR_MATCH):
        out->kind = VALUE_OR;
        IN("or_match")
            read_children(cr, "value_matchers", GET(GET(m, or_match), value_matchers), LEN(m->or_match, value_matchers), a, out);
        break;
    default:
        FAULT("", "one of its matchers must be set");
    }
}

void cfg_metadata_matcher(struct config_reader *cr, const pb_metadata_matcher *m, struct arena *a, struct metadata_matcher *out)
{
    out->space = arena_str(a, TEXT(m, filter));
    out->path_count = LEN(m, path);
    out->path = ARENA_ARRAY(a, struct str, out->path_count);
    for (uint32_t i = 0; i < out->path_count; i++)
        out->path[i] = arena_str(a, TEXT(m->path[i], key));
    out->invert = GET(m, invert);
    out->value = ARENA_ARRAY(a, struct value_matcher, 1);
    IN("value")
        if (GET(m, value))
            cfg_value_matcher(cr, m->value, a, out->value);
        else
            FAULT("", "must be set");
}

void cfg_filter_state_matcher(struct config_reader *cr, const pb_filter_state_matcher *m, struct arena *a,
                              struct filter_state_matcher *out)
{
    out->key = arena_str(a, TEXT(m, key));
    if (m->matcher_case == ENVOY__TYPE__MATCHER__V3__FILTER_STATE_MATCHER__MATCHER_ADDRESS_MATCH) {
        const pb_address_matcher *am = GET(m, address_match);
        out->range_count = LEN(am, ranges);
        IN("address_match")
            out->ranges = cfg_xds_cidrs(cr, a, "ranges", am->ranges, out->range_count);
    } else if (m->matcher_case) {
        IN("string_match")
            cfg_string_match(cr, GET(m, string_match), &out->value);
    } else {
        FAULT("", "one of string_match and address_match must be set");
    }
}

static int8_t wanted(const Google__Protobuf__BoolValue *v)
{
    return v ? v->value != 0 : -1;
}

static void read_stream_parts(struct config_reader *cr, const pb_route_match *m, struct route_match *out, struct arena *a)
{
    const pb_tls_match *tls = GET(m, tls_context);
    out->tls = (struct tls_match){.on = tls != NULL, .presented = -1, .validated = -1};
    if (tls) {
        out->tls.presented = wanted(GET(tls, presented));
        out->tls.validated = wanted(GET(tls, validated));
    }
    out->metadata_count = LEN(m, dynamic_metadata);
    out->metadata = ARENA_ARRAY(a, struct metadata_matcher, out->metadata_count);
    for (uint32_t i = 0; i < out->metadata_count; i++)
        IN("dynamic_metadata[%u]", i)
            cfg_metadata_matcher(cr, m->dynamic_metadata[i], a, &out->metadata[i]);
    out->filter_state_count = LEN(m, filter_state);
    out->filter_state = ARENA_ARRAY(a, struct filter_state_matcher, out->filter_state_count);
    for (uint32_t i = 0; i < out->filter_state_count; i++)
        IN("filter_state[%u]", i)
            cfg_filter_state_matcher(cr, m->filter_state[i], a, &out->filter_state[i]);
}

void cfg_route_match(struct config_reader *cr, const pb_route_match *m, struct route_match *out, struct arena *a)
{
    if (!m) {
        FAULT("", "must be set");
        return;
    }
    out->ignore_case = !proto_bool_or(GET(m, case_sensitive), true);
    read_path(cr, m, out, a);
    out->has_fraction = GET(m, runtime_fraction) != NULL;
    if (out->has_fraction)
        IN("runtime_fraction")
            out->fraction = cfg_runtime_fraction(cr, a, m->runtime_fraction, 100);
    out->grpc = GET(m, grpc) != NULL;
    out->header_count = LEN(m, headers);
    out->headers = cfg_header_matchers(cr, "headers", m->headers, out->header_count, a);
    out->query_count = LEN(m, query_parameters);
    out->queries = cfg_query_matchers(cr, "query_parameters", m->query_parameters, out->query_count, a);
    out->cookie_count = LEN(m, cookies);
    out->cookies = ARENA_ARRAY(a, struct cookie_matcher, out->cookie_count);
    for (uint32_t i = 0; i < out->cookie_count; i++)
        IN("cookies[%u]", i)
            read_cookie(cr, m->cookies[i], &out->cookies[i], a);
    read_stream_parts(cr, m, out, a);
}
