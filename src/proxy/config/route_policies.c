/* SPDX-License-Identifier: Apache-2.0
 *
 * Mirrors, hash policies, stream durations and internal redirects of a route. Main thread.
 */
#include "proxy/config/route_priv.h"

#define HASH(x) ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_##x

/* ---- mirrors ---- */

static void free_rules(void *object)
{
    header_rules_fini(object);
}

static void read_mirror(struct config_reader *cr, const pb_mirror_policy *m, struct mirror_policy *p, struct route_reading *rr)
{
    struct str name = TEXT(m, cluster), header = TEXT(m, cluster_header);
    if (!name.n == !header.n)
        FAULT("", name.n ? "cluster excludes cluster_header" : "one of cluster and cluster_header must be set");
    p->cluster_name = arena_str(rr->a, name);
    p->cluster_header = header.n ? cfg_lower(rr->a, header) : STR("");
    if (name.n)
        cfg_cluster_ref(cr, "cluster", p->cluster_name, &p->cluster, rr->validate_clusters);
    p->has_fraction = GET(m, runtime_fraction) != NULL;
    if (p->has_fraction)
        IN("runtime_fraction")
            p->fraction = cfg_runtime_fraction(cr, rr->a, m->runtime_fraction, 100);
    const Google__Protobuf__BoolValue *sampled = GET(m, trace_sampled);
    p->has_trace_sampled = sampled != NULL;
    p->trace_sampled = proto_bool_or(sampled, true);
    p->disable_host_suffix = GET(m, disable_shadow_host_suffix_append);
    p->host_rewrite = arena_str(rr->a, TEXT(m, host_rewrite_literal));
    uint32_t n = LEN(m, request_headers_mutations);
    cfg_header_mutations(cr, "request_headers_mutations", m->request_headers_mutations, n, rr->a, &p->request_rules);
    if (n)
        route_own(rr->owned, &p->request_rules, free_rules);
}

struct mirror_policy *cfg_mirrors(struct config_reader *cr, pb_mirror_policy *const *items, uint32_t n, struct route_reading *rr)
{
    struct mirror_policy *out = ARENA_ARRAY(rr->a, struct mirror_policy, n);
    for (uint32_t i = 0; i < n; i++)
        IN("request_mirror_policies[%u]", i)
            read_mirror(cr, items[i], &out[i], rr);
    return out;
}

/* ---- hashes ---- */

static void read_cookie(struct config_reader *cr, const pb_hash_cookie *m, struct hash_policy *p, struct arena *a)
{
    p->kind = HASH_COOKIE;
    p->name = arena_str(a, TEXT(m, name));
    p->has_ttl = GET(m, ttl) != NULL;
    p->ttl_s = proto_ms_or(m->ttl, 0) / 1000;
    p->path = arena_str(a, TEXT(m, path));
    p->attribute_count = LEN(m, attributes);
    p->attributes = p->attribute_count ? arena_zalloc(a, p->attribute_count * sizeof *p->attributes) : NULL;
    for (uint32_t i = 0; i < p->attribute_count; i++) {
        p->attributes[i].name = arena_str(a, TEXT(m->attributes[i], name));
        p->attributes[i].value = arena_str(a, TEXT(m->attributes[i], value));
    }
}

static void read_header(struct config_reader *cr, const pb_hash_header *m, struct hash_policy *p, struct arena *a)
{
    p->kind = HASH_HEADER;
    p->name = cfg_lower(a, TEXT(m, header_name));
    if (GET(m, regex_rewrite))
        p->regex = cfg_regex_rewrite(cr, "regex_rewrite", m->regex_rewrite, a, &p->substitution);
}

/* False: it says nothing (connection_properties without source_ip). */
static bool read_hash(struct config_reader *cr, const pb_hash_policy *m, struct hash_policy *p, struct arena *a)
{
    p->terminal = GET(m, terminal);
    switch (m->policy_specifier_case) {
    case HASH(HEADER):
        IN("header")
            read_header(cr, GET(m, header), p, a);
        return true;
    case HASH(COOKIE):
        IN("cookie")
            read_cookie(cr, GET(m, cookie), p, a);
        return true;
    case HASH(CONNECTION_PROPERTIES):
        p->kind = HASH_SOURCE_IP;
        return GET(GET(m, connection_properties), source_ip);
    case HASH(QUERY_PARAMETER):
        p->kind = HASH_QUERY_PARAMETER;
        p->name = arena_str(a, TEXT(GET(m, query_parameter), name));
        return true;
    case HASH(FILTER_STATE):
        p->kind = HASH_FILTER_STATE;
        p->name = arena_str(a, TEXT(GET(m, filter_state), key));
        return true;
    default:
        FAULT("", "one of header, cookie, connection_properties, query_parameter and filter_state must be set");
        return false;
    }
}

struct hash_policy *cfg_hash_policies(struct config_reader *cr, pb_hash_policy *const *items, uint32_t n, struct arena *a,
                                      uint32_t *count)
{
    struct hash_policy *out = ARENA_ARRAY(a, struct hash_policy, n);
    *count = 0;
    for (uint32_t i = 0; i < n; i++)
        IN("hash_policy[%u]", i)
            if (read_hash(cr, items[i], &out[*count], a))
                ++*count;
    return out;
}

/* ---- durations ---- */

const struct max_stream_duration *cfg_max_stream_duration(struct config_reader *cr, const pb_route_action *m, struct arena *a)
{
    __auto_type d = GET(m, max_stream_duration);
    const pb_duration *old_max = GET(m, max_grpc_timeout), *old_offset = GET(m, grpc_timeout_offset);
    if (!d && !old_max && !old_offset)
        return NULL;
    struct max_stream_duration *out = arena_zalloc(a, sizeof *out);
    if (d) {
        out->has_max = GET(d, max_stream_duration) != NULL;
        out->max_ms = proto_ms_or(d->max_stream_duration, 0);
        out->has_grpc_max = GET(d, grpc_timeout_header_max) != NULL;
        out->grpc_max_ms = proto_ms_or(d->grpc_timeout_header_max, 0);
        out->grpc_offset_ms = proto_ms_or(GET(d, grpc_timeout_header_offset), 0);
        return out; /* the older pair counts only by itself */
    }
    out->is_older_form = true;
    out->has_grpc_max = old_max != NULL;
    out->grpc_max_ms = proto_ms_or(old_max, 0);
    out->grpc_offset_ms = proto_ms_or(old_offset, 0);
    return out;
}

/* ---- internal redirects ---- */

int cfg_redirect_previous_routes(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    (void)cr, (void)msg;
    ((struct cfg_redirect_predicate *)out)->policy->previous_routes = true;
    return 0;
}

int cfg_redirect_safe_cross_scheme(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    (void)cr, (void)msg;
    ((struct cfg_redirect_predicate *)out)->policy->safe_cross_scheme = true;
    return 0;
}

int cfg_redirect_allow_listed(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_allow_listed_routes *m = (const pb_allow_listed_routes *)msg;
    struct cfg_redirect_predicate *to = out;
    to->policy->has_allow_list = true;
    to->policy->allow_listed_count = LEN(m, allowed_route_names);
    to->policy->allow_listed_routes = ARENA_ARRAY(to->arena, struct str, to->policy->allow_listed_count);
    for (uint32_t i = 0; i < to->policy->allow_listed_count; i++)
        to->policy->allow_listed_routes[i] = arena_str(to->arena, str_from(m->allowed_route_names[i]));
    return 0;
}

static void read_redirect_codes(struct config_reader *cr, const pb_internal_redirect *m, struct internal_redirect_policy *p,
                                struct arena *a)
{
    uint32_t n = LEN(m, redirect_response_codes);
    p->codes = ARENA_ARRAY(a, uint32_t, n ? n : 1);
    for (uint32_t i = 0; i < n; i++) /* others than redirects are left out, as Envoy does */
        if (m->redirect_response_codes[i] >= 301 && m->redirect_response_codes[i] <= 308)
            p->codes[p->code_count++] = m->redirect_response_codes[i];
    if (!n)
        p->codes[p->code_count++] = 302;
}

const struct internal_redirect_policy *cfg_internal_redirect(struct config_reader *cr, const pb_internal_redirect *m, struct arena *a)
{
    if (!m)
        return NULL;
    struct internal_redirect_policy *p = arena_zalloc(a, sizeof *p);
    p->max_redirects = proto_u32_or(GET(m, max_internal_redirects), 1);
    read_redirect_codes(cr, m, p, a);
    p->allow_cross_scheme = GET(m, allow_cross_scheme_redirect);
    struct cfg_redirect_predicate to = {p, a};
    for (uint32_t i = 0; i < LEN(m, predicates); i++)
        IN("predicates[%u]", i) {
            ProtobufCMessage *msg = NULL;
            const pb_typed_extension *x = m->predicates[i];
            const struct extension *ext =
                cfg_extension(cr, EXT_REDIRECT_PREDICATE, "typed_config", TEXT(x, name), GET(x, typed_config), &msg);
            if (ext)
                IN("typed_config")
                    ext->read(cr, msg, &to);
        }
    p->copied_header_count = LEN(m, response_headers_to_copy);
    p->copied_headers = ARENA_ARRAY(a, struct str, p->copied_header_count);
    for (uint32_t i = 0; i < p->copied_header_count; i++) {
        struct str name = p->copied_headers[i] = cfg_lower(a, str_from(m->response_headers_to_copy[i]));
        if (name.n && (name.p[0] == ':' || str_eq(name, STR("host"))))
            FAULT("response_headers_to_copy", "'%.*s': names that begin with ':' and host may not be copied", STR_ARG(name));
    }
    return p;
}
