/* SPDX-License-Identifier: Apache-2.0
 *
 * JwtAuthentication: providers first, then requirements that name them, then rules. Into the chain's
 * arena, but for key sets, maps and matchers. Main thread.
 */
#include "proxy/filter/jwt_authn.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "http/codec/uri.h"
#include "proxy/config/route_priv.h"

#define REQUIRES(x) ENVOY__EXTENSIONS__FILTERS__HTTP__JWT_AUTHN__V3__JWT_REQUIREMENT__REQUIRES_TYPE_##x
#define SOURCE(x) ENVOY__EXTENSIONS__FILTERS__HTTP__JWT_AUTHN__V3__JWT_PROVIDER__JWKS_SOURCE_SPECIFIER_##x
#define RULE(x) ENVOY__EXTENSIONS__FILTERS__HTTP__JWT_AUTHN__V3__REQUIREMENT_RULE__REQUIREMENT_TYPE_##x
#define ROUTE(x) ENVOY__EXTENSIONS__FILTERS__HTTP__JWT_AUTHN__V3__PER_ROUTE_CONFIG__REQUIREMENT_SPECIFIER_##x
#define CACHE_MS 600000u
#define REFETCH_MS 1000u
#define SKEW_S 60u
#define TOKENS_KEPT 100u
#define TOKEN_KEPT_BYTES 4096u
#define CLAIM_DEPTH_MAX 16u
#define REQUIREMENT_DEPTH_MAX 32u

struct reading {
    struct config_reader *cr;
    struct jwt_authn_config *c;
    struct arena *a;
};

static struct str *texts(struct arena *a, char *const *items, uint32_t n)
{
    struct str *out = ARENA_ARRAY(a, struct str, n);
    for (uint32_t i = 0; i < n; i++)
        out[i] = arena_str(a, str_from(items[i]));
    return out;
}

/* ---- keys ---- */

static void read_retries(struct config_reader *cr, const Envoy__Config__Core__V3__RetryPolicy *m, struct jwks_source_spec *s)
{
    s->backoff_base_ms = 1000;
    s->backoff_max_ms = 10000;
    if (!m)
        return;
    __auto_type backoff = GET(m, retry_back_off);
    s->retries = proto_u32_or(GET(m, num_retries), 1);
    if (!backoff)
        return;
    s->backoff_base_ms = proto_ms_or(GET(backoff, base_interval), 1000);
    s->backoff_max_ms = proto_ms_or(GET(backoff, max_interval), 10 * s->backoff_base_ms);
    if (!s->backoff_base_ms || s->backoff_max_ms < s->backoff_base_ms)
        FAULT("retry_back_off", "max_interval must not be below base_interval, which must be above 0");
}

static void read_remote(struct config_reader *cr, const pb_remote_jwks *m, struct jwt_provider *p, struct arena *a)
{
    struct jwks_source_spec *s = &p->remote_spec;
    const pb_http_uri *to = GET(m, http_uri);
    struct uri uri;
    s->cache_ms = proto_ms_or(GET(m, cache_duration), CACHE_MS);
    if (GET(m, async_fetch)) {
        s->is_async = true;
        s->failed_refetch_ms = proto_ms_or(GET(m->async_fetch, failed_refetch_duration), REFETCH_MS);
        (void)GET(m->async_fetch, fast_listener); /* listeners never wait for keys; requests do */
    }
    IN("retry_policy")
        read_retries(cr, GET(m, retry_policy), s);
    if (!to) {
        FAULT("http_uri", "must be set");
        return;
    }
    IN("http_uri") {
        s->uri = arena_str(a, TEXT(to, uri));
        s->timeout_ms = proto_ms_or(GET(to, timeout), 0);
        if (!uri_parse_absolute(s->uri, &uri))
            FAULT("uri", "'%.*s' is no absolute URI", STR_ARG(s->uri));
        s->authority = uri.authority;
        s->path = uri.path.n ? uri.path : STR("/");
        if (to->http_upstream_type_case)
            cfg_cluster_ref(cr, "cluster", TEXT(to, cluster), &s->cluster, false);
    }
    p->remote = jwks_source_new(s);
}

static void read_local(struct config_reader *cr, const pb_data_source *m, struct jwt_provider *p)
{
    struct arena a;
    struct err err = {0};
    struct str text;
    arena_init(&a, 0);
    if (cfg_data_source(cr, &a, m, JWKS_MAX_BYTES, &text) == 0) {
        p->local = jwks_new(text, &err);
        if (!p->local && err.code == ERR_NOT_FOUND) /* a control plane that found no keys says so: every token is refused */
            LOG(CONFIG, WARNING, "jwt_authn: provider %.*s: %s", STR_ARG(p->name), err.message);
        else if (!p->local)
            cfg_fault_err(cr, "", &err);
    }
    arena_fini(&a);
}

static void read_keys(struct config_reader *cr, const pb_jwt_provider *m, struct jwt_provider *p, struct arena *a)
{
    switch (m->jwks_source_specifier_case) {
    case SOURCE(REMOTE_JWKS):
        IN("remote_jwks")
            read_remote(cr, GET(m, remote_jwks), p, a);
        break;
    case SOURCE(LOCAL_JWKS):
        IN("local_jwks")
            read_local(cr, GET(m, local_jwks), p);
        break;
    default:
        FAULT("", "one of remote_jwks and local_jwks must be set");
    }
}

/* ---- providers ---- */

static int by_place(const struct jwt_location *a, const struct jwt_location *b)
{
    if (a->place != b->place)
        return a->place < b->place ? -1 : 1;
    int names = str_cmp(a->name, b->name);
    return names ? names : str_cmp(a->prefix, b->prefix);
}

static int by_location(const void *a, const void *b)
{
    return by_place(a, b);
}

static int by_place_of(const void *a, const void *b)
{
    return by_place(((const struct jwt_place_of *)a)->location, ((const struct jwt_place_of *)b)->location);
}

static void add_location(struct jwt_provider *p, enum jwt_place place, struct str name, struct str prefix)
{
    p->locations[p->location_count++] = (struct jwt_location){place, name, prefix};
}

static void read_locations(struct config_reader *cr, const pb_jwt_provider *m, struct jwt_provider *p, struct arena *a)
{
    uint32_t headers = LEN(m, from_headers), params = LEN(m, from_params), cookies = LEN(m, from_cookies);
    p->locations = ARENA_ARRAY(a, struct jwt_location, headers + params + cookies + 2);
    for (uint32_t i = 0; i < headers; i++)
        add_location(p, JWT_IN_HEADER, cfg_lower(a, TEXT(m->from_headers[i], name)), arena_str(a, TEXT(m->from_headers[i], value_prefix)));
    for (uint32_t i = 0; i < params; i++)
        add_location(p, JWT_IN_QUERY, arena_str(a, str_from(m->from_params[i])), STR_NULL);
    for (uint32_t i = 0; i < cookies; i++)
        add_location(p, JWT_IN_COOKIE, arena_str(a, str_from(m->from_cookies[i])), STR_NULL);
    if (p->location_count) {
        qsort(p->locations, p->location_count, sizeof *p->locations, by_location); /* Envoy's order */
        return;
    }
    add_location(p, JWT_IN_HEADER, STR("authorization"), STR("Bearer ")); /* RFC 6750 sections 2.1 and 2.3 */
    add_location(p, JWT_IN_QUERY, STR("access_token"), STR_NULL);
}

static void read_claim_headers(struct config_reader *cr, const pb_jwt_provider *m, struct jwt_provider *p, struct arena *a)
{
    p->claim_header_count = LEN(m, claim_to_headers);
    p->claim_headers = ARENA_ARRAY(a, struct jwt_claim_header, p->claim_header_count);
    for (uint32_t i = 0; i < p->claim_header_count; i++)
        IN("claim_to_headers[%u]", i) {
            struct jwt_claim_header *c = &p->claim_headers[i];
            struct str rest = TEXT(m->claim_to_headers[i], claim_name);
            c->header = cfg_lower(a, TEXT(m->claim_to_headers[i], header_name));
            if (!header_name_is_valid(c->header) || c->header.p[0] == ':')
                FAULT("header_name", "'%.*s' is no name of a header", STR_ARG(c->header));
            c->path = ARENA_ARRAY(a, struct str, CLAIM_DEPTH_MAX);
            while (rest.n && c->path_count < CLAIM_DEPTH_MAX)
                c->path[c->path_count++] = arena_str(a, str_split(rest, '.', &rest));
            if (rest.n)
                FAULT("claim_name", "has more than %u parts", CLAIM_DEPTH_MAX);
        }
}

static void read_outputs(struct config_reader *cr, const pb_jwt_provider *m, struct jwt_provider *p, struct arena *a)
{
    p->forward = GET(m, forward);
    p->payload_header = cfg_lower(a, TEXT(m, forward_payload_header));
    p->pad_payload = GET(m, pad_forward_payload_header);
    p->payload_key = arena_str(a, TEXT(m, payload_in_metadata));
    p->header_key = arena_str(a, TEXT(m, header_in_metadata));
    p->failed_key = arena_str(a, TEXT(m, failed_status_in_metadata));
    p->clear_route_cache = GET(m, clear_route_cache);
    if (p->payload_key.n && str_eq(p->payload_key, p->header_key))
        FAULT("header_in_metadata", "is payload_in_metadata's key already");
    __auto_type normal = GET(m, normalize_payload_in_metadata);
    if (normal) {
        p->space_delimited_count = LEN(normal, space_delimited_claims);
        p->space_delimited = texts(a, normal->space_delimited_claims, p->space_delimited_count);
    }
    read_claim_headers(cr, m, p, a);
}

static void read_provider(struct config_reader *cr, struct str name, const pb_jwt_provider *m, struct jwt_provider *p, struct arena *a)
{
    p->name = arena_str(a, name);
    p->issuer = arena_str(a, TEXT(m, issuer));
    p->audience_count = LEN(m, audiences);
    p->audiences = texts(a, m->audiences, p->audience_count);
    if (GET(m, subjects))
        IN("subjects")
            p->has_subject = cfg_string_match(cr, m->subjects, &p->subject) == 0;
    p->require_expiration = GET(m, require_expiration);
    p->max_lifetime_s = proto_ms_or(GET(m, max_lifetime), 0) / 1000;
    uint32_t skew = GET(m, clock_skew_seconds);
    p->skew_s = skew ? skew : SKEW_S;
    p->cache_size = TOKENS_KEPT;
    p->cache_token_bytes = TOKEN_KEPT_BYTES;
    __auto_type cache = GET(m, jwt_cache_config);
    if (cache) {
        uint32_t size = GET(cache, jwt_cache_size), bytes = GET(cache, jwt_max_token_size);
        p->cache_size = size ? size : TOKENS_KEPT;
        p->cache_token_bytes = bytes ? bytes : TOKEN_KEPT_BYTES;
    }
    read_locations(cr, m, p, a);
    read_outputs(cr, m, p, a);
    read_keys(cr, m, p, a);
}

static const struct jwt_provider *find_provider(const struct jwt_authn_config *c, struct str name)
{
    for (uint32_t i = 0; i < c->provider_count; i++)
        if (str_eq(c->providers[i].name, name))
            return &c->providers[i];
    return NULL;
}

/* ---- requirements ---- */

static void read_requirement(struct reading *rd, const pb_jwt_requirement *m, struct jwt_requirement *out, uint32_t depth);

static const struct jwt_provider *named_provider(struct reading *rd, const char *field, struct str name)
{
    struct config_reader *cr = rd->cr;
    const struct jwt_provider *p = find_provider(rd->c, name);
    if (!p)
        FAULT(field, "there is no provider '%.*s'", STR_ARG(name));
    return p;
}

static void read_list(struct reading *rd, const char *field, pb_jwt_requirement *const *items, uint32_t n, struct jwt_requirement *out, uint32_t depth)
{
    struct config_reader *cr = rd->cr;
    out->child_count = n;
    out->children = ARENA_ARRAY(rd->a, struct jwt_requirement, n);
    for (uint32_t i = 0; i < n; i++)
        IN("%s.requirements[%u]", field, i)
            read_requirement(rd, items[i], &out->children[i], depth + 1);
}

static struct jwt_place_of *place_for(struct jwt_requirement *out, const struct jwt_location *l)
{
    for (uint32_t i = 0; i < out->place_count; i++)
        if (by_place(out->places[i].location, l) == 0)
            return &out->places[i];
    return NULL;
}

/* Places of all providers, those that several have once. */
static void take_all_places(struct reading *rd, struct jwt_requirement *out)
{
    const struct jwt_authn_config *c = rd->c;
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->provider_count; i++)
        n += c->providers[i].location_count;
    out->places = ARENA_ARRAY(rd->a, struct jwt_place_of, n);
    for (uint32_t i = 0; i < c->provider_count; i++)
        for (uint32_t k = 0; k < c->providers[i].location_count; k++) {
            struct jwt_place_of *place = place_for(out, &c->providers[i].locations[k]);
            if (!place) {
                place = &out->places[out->place_count++];
                *place = (struct jwt_place_of){.location = &c->providers[i].locations[k], .index = k};
                place->providers = ARENA_ARRAY(rd->a, const struct jwt_provider *, c->provider_count);
            }
            place->providers[place->provider_count++] = &c->providers[i];
        }
    if (out->place_count)
        qsort(out->places, out->place_count, sizeof *out->places, by_place_of);
}

static void read_requirement(struct reading *rd, const pb_jwt_requirement *m, struct jwt_requirement *out, uint32_t depth)
{
    struct config_reader *cr = rd->cr;
    if (depth > REQUIREMENT_DEPTH_MAX) {
        FAULT("", "requirements are nested more than %u deep", REQUIREMENT_DEPTH_MAX);
        return;
    }
    switch (m->requires_type_case) {
    case REQUIRES(PROVIDER_NAME):
        out->kind = JWT_REQUIRE_PROVIDER;
        out->provider = named_provider(rd, "provider_name", TEXT(m, provider_name));
        break;
    case REQUIRES(PROVIDER_AND_AUDIENCES): {
        __auto_type with = GET(m, provider_and_audiences);
        out->kind = JWT_REQUIRE_PROVIDER;
        out->provider = named_provider(rd, "provider_and_audiences.provider_name", TEXT(with, provider_name));
        out->has_audiences = true;
        out->audience_count = LEN(with, audiences);
        out->audiences = texts(rd->a, with->audiences, out->audience_count);
        break;
    }
    case REQUIRES(REQUIRES_ANY): {
        __auto_type list = GET(m, requires_any);
        out->kind = JWT_REQUIRE_ANY;
        read_list(rd, "requires_any", list->requirements, LEN(list, requirements), out, depth);
        break;
    }
    case REQUIRES(REQUIRES_ALL): {
        __auto_type list = GET(m, requires_all);
        out->kind = JWT_REQUIRE_ALL;
        read_list(rd, "requires_all", list->requirements, LEN(list, requirements), out, depth);
        break;
    }
    case REQUIRES(ALLOW_MISSING):
        proto_read_whole(&cr->r, &GET(m, allow_missing)->base);
        out->kind = JWT_ALLOW_MISSING;
        take_all_places(rd, out);
        break;
    case REQUIRES(ALLOW_MISSING_OR_FAILED):
        proto_read_whole(&cr->r, &GET(m, allow_missing_or_failed)->base);
        out->kind = JWT_ALLOW_MISSING_OR_FAILED;
        take_all_places(rd, out);
        break;
    default:
        out->kind = JWT_REQUIRE_NOTHING;
    }
    if (out->kind == JWT_REQUIRE_PROVIDER && !out->provider)
        out->kind = JWT_REQUIRE_NOTHING; /* a fault already */
}

static struct jwt_requirement *new_requirement(struct reading *rd, const pb_jwt_requirement *m)
{
    struct jwt_requirement *r = arena_zalloc(rd->a, sizeof *r);
    read_requirement(rd, m, r, 0);
    return r;
}

/* ---- rules ---- */

static void read_rules(struct reading *rd, const pb_jwt_authn *m)
{
    struct config_reader *cr = rd->cr;
    struct jwt_authn_config *c = rd->c;
    uint32_t n = LEN(m, rules);
    c->rules = ARENA_ARRAY(rd->a, struct jwt_rule, n);
    for (uint32_t i = 0; i < n; i++)
        IN("rules[%u]", i) {
            __auto_type rule = m->rules[i];
            struct jwt_rule *out = &c->rules[c->rule_count++];
            if (GET(rule, match))
                IN("match")
                    cfg_route_match(cr, rule->match, &out->match, rd->a);
            else
                FAULT("match", "must be set");
            if (rule->requirement_type_case == RULE(REQUIRES)) {
                const pb_jwt_requirement *requires = GET(rule, requires);
                IN("requires")
                    out->requirement = new_requirement(rd, requires);
            } else if (rule->requirement_type_case == RULE(REQUIREMENT_NAME)) {
                struct str name = TEXT(rule, requirement_name);
                out->requirement = map_get(c->requirements, name);
                if (!out->requirement)
                    FAULT("requirement_name", "there is no requirement '%.*s'", STR_ARG(name));
            }
        }
}

static void read_filter_state_rules(struct reading *rd, const Envoy__Extensions__Filters__Http__JwtAuthn__V3__FilterStateRule *m)
{
    struct config_reader *cr = rd->cr;
    struct jwt_authn_config *c = rd->c;
    if (!m)
        return;
    uint32_t n = LEN(m, requires);
    c->filter_state_name = arena_str(rd->a, TEXT(m, name));
    c->filter_state_rules = map_new();
    for (uint32_t i = 0; i < n; i++)
        IN("filter_state_rules.requires[%s]", m->requires[i]->key)
            map_set(c->filter_state_rules, str_from(m->requires[i]->key), new_requirement(rd, m->requires[i]->value));
}

static struct str dotted(struct arena *a, struct str prefix)
{
    return !prefix.n ? STR_NULL : prefix.p[prefix.n - 1] == '.' ? arena_str(a, prefix) : arena_printf(a, "%.*s.", STR_ARG(prefix));
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static struct str names_of(const pb_jwt_authn *m, uint32_t n, struct arena *a)
{
    const char **names = ARENA_ARRAY(a, const char *, n);
    struct strbuf all = {0};
    for (uint32_t i = 0; i < n; i++)
        names[i] = m->requirement_map[i]->key;
    if (n)
        qsort(names, n, sizeof *names, by_text);
    for (uint32_t i = 0; i < n; i++)
        strbuf_addf(&all, "%s%s", i ? "," : "", names[i]);
    struct str out = arena_str(a, strbuf_str(&all));
    strbuf_fini(&all);
    return out;
}

int cfg_jwt_authn(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_jwt_authn *m = (const pb_jwt_authn *)msg;
    struct cfg_http_filter *f = out;
    struct jwt_authn_config *c = arena_zalloc(f->arena, sizeof *c);
    struct reading rd = {cr, c, f->arena};
    uint32_t n = LEN(m, providers), named = LEN(m, requirement_map);
    c->stat_prefix = dotted(f->arena, TEXT(m, stat_prefix));
    c->bypass_cors_preflight = GET(m, bypass_cors_preflight);
    c->strip_failure_response = GET(m, strip_failure_response);
    c->providers = ARENA_ARRAY(f->arena, struct jwt_provider, n);
    for (uint32_t i = 0; i < n; i++)
        IN("providers[%s]", m->providers[i]->key)
            read_provider(cr, str_from(m->providers[i]->key), m->providers[i]->value, &c->providers[c->provider_count++], f->arena);
    c->requirements = map_new();
    for (uint32_t i = 0; i < named; i++)
        IN("requirement_map[%s]", m->requirement_map[i]->key)
            map_set(c->requirements, str_from(m->requirement_map[i]->key), new_requirement(&rd, m->requirement_map[i]->value));
    c->requirement_names = names_of(m, named, f->arena);
    read_rules(&rd, m);
    read_filter_state_rules(&rd, GET(m, filter_state_rules));
    f->spec->config = c;
    f->spec->free_config = jwt_authn_config_free;
    return 0;
}

int cfg_jwt_authn_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_jwt_route *m = (const pb_jwt_route *)msg;
    struct cfg_route_filter *f = out;
    struct jwt_authn_route_config *c = arena_zalloc(f->arena, sizeof *c);
    if (m->requirement_specifier_case == ROUTE(DISABLED))
        c->disabled = GET(m, disabled);
    else
        c->requirement_name = arena_str(f->arena, TEXT(m, requirement_name));
    f->override->config = c;
    return 0;
}
