/* SPDX-License-Identifier: Apache-2.0
 *
 * What authorization rules ask of a request and its connection ("to", and conditions of the same sort).
 */
#include "control/translate/authz_priv.h"

#include "envoy/extensions/path/match/uri_template/v3/uri_template_match.pb-c.h"

#define TEMPLATE Envoy__Extensions__Path__Match__UriTemplate__V3__UriTemplateMatchConfig

#define TERM(t_, case_, field_, value_)                                                                                             \
    ({                                                                                                                              \
        PERMISSION *term_ = MAKE(t_, PERMISSION, envoy__config__rbac__v3__permission__descriptor);                                  \
        term_->rule_case = ENVOY__CONFIG__RBAC__V3__PERMISSION__RULE_##case_;                                                       \
        term_->field_ = (value_);                                                                                                   \
        term_;                                                                                                                      \
    })

/* ---- joined ---- */

static void *any(const struct translation *t)
{
    return TERM(t, ANY, any, true);
}

static Envoy__Config__Rbac__V3__Permission__Set *set_of(const struct translation *t, const struct many *terms)
{
    Envoy__Config__Rbac__V3__Permission__Set *s =
        MAKE(t, Envoy__Config__Rbac__V3__Permission__Set, envoy__config__rbac__v3__permission__set__descriptor);
    s->rules = (PERMISSION **)terms->items;
    s->n_rules = terms->count;
    return s;
}

static void *all_of(const struct translation *t, const struct many *terms)
{
    return TERM(t, AND_RULES, and_rules, set_of(t, terms));
}

static void *one_of(const struct translation *t, const struct many *terms)
{
    return TERM(t, OR_RULES, or_rules, set_of(t, terms));
}

static void *not(const struct translation *t, void *term)
{
    return TERM(t, NOT_RULE, not_rule, term);
}

const struct authz_terms authz_permission_terms = {any, all_of, one_of, not};

/* ---- attributes ---- */

static void *host(const struct translation *t, const struct clause *c, struct str value)
{
    (void)c;
    return TERM(t, HEADER, header, match_header(t, STR(":authority"), value, true));
}

static void *method(const struct translation *t, const struct clause *c, struct str value)
{
    (void)c;
    return TERM(t, HEADER, header, match_header(t, STR(":method"), value, false));
}

/* "{*}" a segment, "{**}" any number: Envoy's templates have the same without braces. */
static PERMISSION *path_template(const struct translation *t, struct str value)
{
    struct strbuf b = {0};
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] != '{' && value.p[i] != '}')
            strbuf_addc(&b, value.p[i]);
    TEMPLATE *config = MAKE(t, TEMPLATE, envoy__extensions__path__match__uri_template__v3__uri_template_match_config__descriptor);
    config->path_template = text(t, strbuf_str(&b));
    strbuf_fini(&b);
    Envoy__Config__Core__V3__TypedExtensionConfig *x =
        MAKE(t, Envoy__Config__Core__V3__TypedExtensionConfig, envoy__config__core__v3__typed_extension_config__descriptor);
    x->name = text(t, STR("uri-template"));
    x->typed_config = any_of(t, &config->base);
    return TERM(t, URI_TEMPLATE, uri_template, x);
}

static void *path(const struct translation *t, const struct clause *c, struct str value)
{
    (void)c;
    if (str_find(value, STR("{*}")) >= 0 || str_find(value, STR("{**}")) >= 0)
        return path_template(t, value);
    Envoy__Type__Matcher__V3__PathMatcher *m =
        MAKE(t, Envoy__Type__Matcher__V3__PathMatcher, envoy__type__matcher__v3__path_matcher__descriptor);
    m->rule_case = ENVOY__TYPE__MATCHER__V3__PATH_MATCHER__RULE_PATH;
    m->path = match_text(t, value);
    return TERM(t, URL_PATH, url_path, m);
}

static void *port(const struct translation *t, const struct clause *c, struct str value)
{
    uint64_t n;
    (void)c;
    return str_to_u64(value, &n) && n <= 65535 ? TERM(t, DESTINATION_PORT, destination_port, (uint32_t)n) : NULL;
}

static void *ip(const struct translation *t, const struct clause *c, struct str value)
{
    Envoy__Config__Core__V3__CidrRange *range = match_range(t, value);
    (void)c;
    return range ? TERM(t, DESTINATION_IP, destination_ip, range) : NULL;
}

static void *sni(const struct translation *t, const struct clause *c, struct str value)
{
    (void)c;
    return TERM(t, REQUESTED_SERVER_NAME, requested_server_name, match_text(t, value));
}

/* "experimental.envoy.filters.a.b[c]": key c of what filter envoy.filters.a.b leaves; "[v]" is a value in a list. */
static void *filter_metadata(const struct translation *t, const struct clause *c, char *const *values, size_t count)
{
    struct many all = {0};
    struct str key, filter = str_split(c->name, '[', &key);
    if (!key.p || key.n < 2 || key.p[key.n - 1] != ']')
        return NULL;
    key.n--;
    for (size_t i = 0; i < count; i++) {
        struct str v = str_from(values[i]);
        bool is_list = v.n >= 2 && v.p[0] == '[' && v.p[v.n - 1] == ']';
        Envoy__Type__Matcher__V3__ValueMatcher *one =
            value_of_matcher(t, match_text(t, is_list ? str_make(v.p + 1, v.n - 2) : v));
        many_add(t, &all, is_list ? value_one_of_list(t, one) : one);
    }
    return TERM(t, METADATA, metadata,
                match_metadata(t, textf(t, "envoy.filters.%.*s", STR_ARG(filter)), &key, 1, value_any_of(t, &all)));
}

const struct attribute authz_permissions[PERMISSION_COUNT] = {
    [PERMISSION_HOST] = {STR(""), .is_http = true, .one = host},
    [PERMISSION_METHOD] = {STR(""), .is_http = true, .one = method},
    [PERMISSION_PATH] = {STR(""), .is_http = true, .one = path},
    [PERMISSION_PORT] = {STR("destination.port"), .one = port},
    [PERMISSION_IP] = {STR("destination.ip"), .one = ip},
    [PERMISSION_SNI] = {STR("connection.sni"), .one = sni},
    [PERMISSION_FILTER_METADATA] = {STR("experimental.envoy.filters."), .has_name = true, .every = filter_metadata},
};
