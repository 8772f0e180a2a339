/* SPDX-License-Identifier: Apache-2.0
 *
 * RequestAuthentications of a workload as one jwt_authn filter: a provider for each rule. A request without a token passes (an
 * AuthorizationPolicy may ask for one), a token that no rule can vouch for doesn't. Istio: "RequestAuthentication".
 *
 * Keys come with the rule or from a service of the mesh, which the proxy asks itself. Nothing is fetched from elsewhere: tokens of such an
 * issuer are refused, and the log says so.
 */
#include "control/translate/authz_priv.h"

#include <stdlib.h>

#include "base/log.h"
#include "envoy/extensions/filters/http/jwt_authn/v3/config.pb-c.h"
#include "http/codec/uri.h"

#define PREFIX_(x) envoy__extensions__filters__http__jwt_authn__v3__##x
#define CASE_(x) ENVOY__EXTENSIONS__FILTERS__HTTP__JWT_AUTHN__V3__##x
#define FILTER Envoy__Extensions__Filters__Http__JwtAuthn__V3__JwtAuthentication
#define PROVIDER_ENTRY Envoy__Extensions__Filters__Http__JwtAuthn__V3__JwtAuthentication__ProvidersEntry
#define JWT_PROVIDER Envoy__Extensions__Filters__Http__JwtAuthn__V3__JwtProvider
#define REQUIREMENT Envoy__Extensions__Filters__Http__JwtAuthn__V3__JwtRequirement
#define REMOTE Envoy__Extensions__Filters__Http__JwtAuthn__V3__RemoteJwks
#define RULE Istio__Security__V1beta1__JWTRule
#define TIMEOUT_MS_DEFAULT 5000

struct jwt_rule {
    const struct object *object;
    const RULE *rule;
};

static const char match_all[] = "{\"match\":{\"prefix\":\"/\"}}";
static const char payload[] = "{\"payload_in_metadata\":\"payload\"}";
static const char remote_cached[] = "{\"cache_duration\":\"300s\"}";
static const char missing[] = "{\"allow_missing\":{}}";

/* ---- keys ---- */

/* The cluster of the service that a URI is of; the null str: of none. */
static struct str cluster_of_uri(const struct translation *t, struct str text)
{
    struct uri uri;
    struct str host;
    int port;
    if (!uri_parse_absolute(text, &uri) || !authority_split(uri.authority, &host, &port))
        return STR_NULL;
    uint32_t number = port > 0 ? (uint32_t)port : str_eq_nocase(uri.scheme, STR("https")) ? 443 : 80;
    const struct service *s = world_service(t->world, host, t->node->ns);
    return s && service_port_find(s, number) ? cluster_name(t->arena, "outbound", STR(""), host, number) : STR_NULL;
}

static void set_local(const struct translation *t, struct str keys, JWT_PROVIDER *p)
{
    p->jwks_source_specifier_case = CASE_(JWT_PROVIDER__JWKS_SOURCE_SPECIFIER_LOCAL_JWKS);
    p->local_jwks = MAKE(t, Envoy__Config__Core__V3__DataSource, envoy__config__core__v3__data_source__descriptor);
    p->local_jwks->specifier_case = ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_STRING;
    p->local_jwks->inline_string = text(t, keys);
}

static void set_keys(const struct translation *t, const struct jwt_rule *r, JWT_PROVIDER *p)
{
    if (r->rule->jwks[0]) {
        set_local(t, str_from(r->rule->jwks), p);
        return;
    }
    struct str cluster = cluster_of_uri(t, str_from(r->rule->jwks_uri));
    if (!cluster.p) {
        LOG_SELDOM(CONFIG, WARNING,
                   "RequestAuthentication %.*s/%.*s: keys of issuer \"%s\" from outside of the mesh are not supported yet: its tokens are "
                   "refused",
                   STR_ARG(r->object->ns), STR_ARG(r->object->name), r->rule->issuer);
        set_local(t, STR("{\"keys\":[]}"), p);
        return;
    }
    REMOTE *remote = COPY_OF(t, REMOTE, PREFIX_(remote_jwks__descriptor), remote_cached);
    remote->http_uri = MAKE(t, Envoy__Config__Core__V3__HttpUri, envoy__config__core__v3__http_uri__descriptor);
    remote->http_uri->uri = r->rule->jwks_uri;
    remote->http_uri->http_upstream_type_case = ENVOY__CONFIG__CORE__V3__HTTP_URI__HTTP_UPSTREAM_TYPE_CLUSTER;
    remote->http_uri->cluster = text(t, cluster);
    remote->http_uri->timeout = r->rule->timeout ? r->rule->timeout : duration_of_ms(t, TIMEOUT_MS_DEFAULT);
    p->jwks_source_specifier_case = CASE_(JWT_PROVIDER__JWKS_SOURCE_SPECIFIER_REMOTE_JWKS);
    p->remote_jwks = remote;
}

/* ---- a rule's provider ---- */

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Claims whose text is a list of words: the two that standards know and what the rule adds, sorted, each once. */
static void set_normalized(const struct translation *t, const RULE *rule, JWT_PROVIDER *p)
{
    struct many all = {0};
    many_add(t, &all, "permission");
    many_add(t, &all, "scope");
    for (size_t i = 0; i < rule->n_space_delimited_claims; i++)
        many_add(t, &all, rule->space_delimited_claims[i]);
    qsort(all.items, all.count, sizeof(void *), compare_texts);
    size_t n = 0;
    for (size_t i = 0; i < all.count; i++)
        if (i == 0 || strcmp(all.items[i], all.items[i - 1]) != 0)
            all.items[n++] = all.items[i];
    p->normalize_payload_in_metadata = MAKE(t, Envoy__Extensions__Filters__Http__JwtAuthn__V3__JwtProvider__NormalizePayload,
                                            PREFIX_(jwt_provider__normalize_payload__descriptor));
    p->normalize_payload_in_metadata->space_delimited_claims = (char **)all.items;
    p->normalize_payload_in_metadata->n_space_delimited_claims = n;
}

static void set_places(const struct translation *t, const RULE *rule, JWT_PROVIDER *p)
{
    struct many headers = {0}, claims = {0};
    for (size_t i = 0; i < rule->n_from_headers; i++) {
        Envoy__Extensions__Filters__Http__JwtAuthn__V3__JwtHeader *h =
            MAKE(t, Envoy__Extensions__Filters__Http__JwtAuthn__V3__JwtHeader, PREFIX_(jwt_header__descriptor));
        h->name = rule->from_headers[i]->name;
        h->value_prefix = rule->from_headers[i]->prefix;
        many_add(t, &headers, h);
    }
    for (size_t i = 0; i < rule->n_output_claim_to_headers; i++) {
        Envoy__Extensions__Filters__Http__JwtAuthn__V3__JwtClaimToHeader *h =
            MAKE(t, Envoy__Extensions__Filters__Http__JwtAuthn__V3__JwtClaimToHeader, PREFIX_(jwt_claim_to_header__descriptor));
        h->header_name = rule->output_claim_to_headers[i]->header;
        h->claim_name = rule->output_claim_to_headers[i]->claim;
        many_add(t, &claims, h);
    }
    p->from_headers = (void *)headers.items;
    p->n_from_headers = headers.count;
    p->claim_to_headers = (void *)claims.items;
    p->n_claim_to_headers = claims.count;
    p->from_params = rule->from_params;
    p->n_from_params = rule->n_from_params;
    p->from_cookies = rule->from_cookies;
    p->n_from_cookies = rule->n_from_cookies;
}

static PROVIDER_ENTRY *provider_of(const struct translation *t, const struct jwt_rule *r, size_t i, bool is_gateway)
{
    PROVIDER_ENTRY *e = MAKE(t, PROVIDER_ENTRY, PREFIX_(jwt_authentication__providers_entry__descriptor));
    JWT_PROVIDER *p = COPY_OF(t, JWT_PROVIDER, PREFIX_(jwt_provider__descriptor), payload);
    p->issuer = r->rule->issuer;
    p->audiences = r->rule->audiences;
    p->n_audiences = r->rule->n_audiences;
    p->forward = r->rule->forward_original_token;
    p->forward_payload_header = r->rule->output_payload_to_header;
    p->clear_route_cache = is_gateway; /* its routes may match claims */
    set_keys(t, r, p);
    set_places(t, r->rule, p);
    set_normalized(t, r->rule, p);
    e->key = textf(t, "origins-%zu", i);
    e->value = p;
    return e;
}

/* ---- what is asked of a request ---- */

static REQUIREMENT *requirement(const struct translation *t)
{
    return MAKE(t, REQUIREMENT, PREFIX_(jwt_requirement__descriptor));
}

static REQUIREMENT *require_provider(const struct translation *t, char *name)
{
    REQUIREMENT *r = requirement(t);
    r->requires_type_case = CASE_(JWT_REQUIREMENT__REQUIRES_TYPE_PROVIDER_NAME);
    r->provider_name = name;
    return r;
}

static REQUIREMENT *require_any(const struct translation *t, const struct many *of)
{
    REQUIREMENT *r = requirement(t);
    r->requires_type_case = CASE_(JWT_REQUIREMENT__REQUIRES_TYPE_REQUIRES_ANY);
    r->requires_any = MAKE(t, Envoy__Extensions__Filters__Http__JwtAuthn__V3__JwtRequirementOrList, PREFIX_(jwt_requirement_or_list__descriptor));
    r->requires_any->requirements = (REQUIREMENT **)of->items;
    r->requires_any->n_requirements = of->count;
    return r;
}

static REQUIREMENT *require_provider_or_none(const struct translation *t, char *name)
{
    struct many either = {0};
    many_add(t, &either, require_provider(t, name));
    many_add(t, &either, constant(t, &PREFIX_(jwt_requirement__descriptor), missing));
    return require_any(t, &either);
}

/* One good token is enough; without one there must be none that is bad by any provider. */
static REQUIREMENT *require_all(const struct translation *t, const struct many *providers)
{
    struct many any = {0}, each = {0};
    for (size_t i = 0; i < providers->count; i++) {
        PROVIDER_ENTRY *e = providers->items[i];
        many_add(t, &any, require_provider(t, e->key));
        many_add(t, &each, require_provider_or_none(t, e->key));
    }
    if (providers->count == 1)
        return each.items[0];
    REQUIREMENT *r = requirement(t);
    r->requires_type_case = CASE_(JWT_REQUIREMENT__REQUIRES_TYPE_REQUIRES_ALL);
    r->requires_all = MAKE(t, Envoy__Extensions__Filters__Http__JwtAuthn__V3__JwtRequirementAndList, PREFIX_(jwt_requirement_and_list__descriptor));
    r->requires_all->requirements = (REQUIREMENT **)each.items;
    r->requires_all->n_requirements = each.count;
    many_add(t, &any, r);
    return require_any(t, &any);
}

/* ---- the workload's ---- */

static int compare_issuers(const void *a, const void *b)
{
    const struct jwt_rule *x = *(struct jwt_rule *const *)a, *y = *(struct jwt_rule *const *)b;
    int order = strcmp(x->rule->issuer, y->rule->issuer);
    return order ? order : object_compare(x->object, y->object);
}

/* Of all policies, by issuer (Istio numbers providers in that order). */
static struct many rules_of(const struct translation *t)
{
    const struct object *const *policies;
    struct many all = {0};
    size_t n = policies_for(t->world, KIND_REQUEST_AUTHENTICATION, t->node->ns, &t->node->labels, t->arena, &policies);
    for (size_t i = 0; i < n; i++) {
        const Istio__Security__V1beta1__RequestAuthentication *spec = (const void *)policies[i]->body;
        for (size_t k = 0; k < spec->n_jwt_rules; k++) {
            struct jwt_rule *r = arena_zalloc(t->arena, sizeof(*r));
            *r = (struct jwt_rule){policies[i], spec->jwt_rules[k]};
            if (r->rule->presence == ISTIO__SECURITY__V1BETA1__JWTRULE__PRESENCE__REQUIRED)
                LOG_SELDOM(CONFIG, WARNING, "RequestAuthentication %.*s/%.*s: presence: REQUIRED is not supported: requests without a token pass",
                           STR_ARG(r->object->ns), STR_ARG(r->object->name));
            many_add(t, &all, r);
        }
    }
    if (all.count)
        qsort(all.items, all.count, sizeof(void *), compare_issuers);
    return all;
}

void policy_jwt_filter(const struct translation *t, const struct chain_purpose *p, struct many *http_filters)
{
    struct many rules = rules_of(t), providers = {0}, requirements = {0};
    if (rules.count == 0)
        return;
    for (size_t i = 0; i < rules.count; i++)
        many_add(t, &providers, provider_of(t, rules.items[i], i, p->is_gateway));
    FILTER *f = MAKE(t, FILTER, PREFIX_(jwt_authentication__descriptor));
    f->providers = (PROVIDER_ENTRY **)providers.items;
    f->n_providers = providers.count;
    Envoy__Extensions__Filters__Http__JwtAuthn__V3__RequirementRule *rule =
        COPY_OF(t, Envoy__Extensions__Filters__Http__JwtAuthn__V3__RequirementRule, PREFIX_(requirement_rule__descriptor), match_all);
    rule->requirement_type_case = CASE_(REQUIREMENT_RULE__REQUIREMENT_TYPE_REQUIRES);
    rule->requires = require_all(t, &providers);
    many_add(t, &requirements, rule);
    f->rules = (void *)requirements.items;
    f->n_rules = requirements.count;
    f->bypass_cors_preflight = true;
    many_add(t, http_filters, http_filter_new(t, "envoy.filters.http.jwt_authn", any_of(t, &f->base)));
}

void policy_jwt_key(const struct translation *t, struct strbuf *key)
{
    struct many rules = rules_of(t);
    for (size_t i = 0; i < rules.count; i++) {
        const struct jwt_rule *r = rules.items[i];
        if (r->rule->jwks[0] == '\0')
            strbuf_addc(key, cluster_of_uri(t, str_from(r->rule->jwks_uri)).p ? '+' : '-');
    }
}
