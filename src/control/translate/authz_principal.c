/* SPDX-License-Identifier: Apache-2.0
 *
 * What authorization rules ask of a request's source ("from", and conditions of the same sort). Identities are SPIFFE IDs; what a
 * token says stands in the metadata that the jwt_authn filter leaves.
 */
#include "control/translate/authz_priv.h"

#define TERM(t_, case_, field_, value_)                                                                                             \
    ({                                                                                                                              \
        PRINCIPAL *term_ = MAKE(t_, PRINCIPAL, envoy__config__rbac__v3__principal__descriptor);                                     \
        term_->identifier_case = ENVOY__CONFIG__RBAC__V3__PRINCIPAL__IDENTIFIER_##case_;                                            \
        term_->field_ = (value_);                                                                                                   \
        term_;                                                                                                                      \
    })

/* ---- joined ---- */

static void *any(const struct translation *t)
{
    return TERM(t, ANY, any, true);
}

static Envoy__Config__Rbac__V3__Principal__Set *set_of(const struct translation *t, const struct many *terms)
{
    Envoy__Config__Rbac__V3__Principal__Set *s =
        MAKE(t, Envoy__Config__Rbac__V3__Principal__Set, envoy__config__rbac__v3__principal__set__descriptor);
    s->ids = (PRINCIPAL **)terms->items;
    s->n_ids = terms->count;
    return s;
}

static void *all_of(const struct translation *t, const struct many *terms)
{
    return TERM(t, AND_IDS, and_ids, set_of(t, terms));
}

static void *one_of(const struct translation *t, const struct many *terms)
{
    return TERM(t, OR_IDS, or_ids, set_of(t, terms));
}

static void *not(const struct translation *t, void *term)
{
    return TERM(t, NOT_ID, not_id, term);
}

const struct authz_terms authz_principal_terms = {any, all_of, one_of, not};

/* ---- the peer's identity ---- */

static PRINCIPAL *authenticated(const struct translation *t, text_matcher *name)
{
    Envoy__Config__Rbac__V3__Principal__Authenticated *a = MAKE(t, Envoy__Config__Rbac__V3__Principal__Authenticated,
                                                                envoy__config__rbac__v3__principal__authenticated__descriptor);
    a->principal_name = name;
    return TERM(t, AUTHENTICATED, authenticated, a);
}

static PRINCIPAL *authenticated_by(const struct translation *t, struct strbuf *pattern)
{
    PRINCIPAL *p = authenticated(t, match_regex(t, strbuf_str(pattern)));
    strbuf_fini(pattern);
    return p;
}

static void *name(const struct translation *t, const struct clause *c, struct str value)
{
    struct strbuf pattern = {0};
    (void)c;
    if (str_eq(value, STR("*")))
        return authenticated(t, match_regex(t, STR(".+")));
    if (!str_has_prefix(value, STR("*")))
        return authenticated(t, match_text(t, arena_printf(t->arena, "spiffe://%.*s", STR_ARG(value))));
    strbuf_addz(&pattern, "spiffe://.*");
    regex_add_quoted(&pattern, str_make(value.p + 1, value.n - 1), NULL);
    return authenticated_by(t, &pattern);
}

static void *namespace(const struct translation *t, const struct clause *c, struct str value)
{
    struct strbuf pattern = {0};
    (void)c;
    strbuf_addz(&pattern, ".*/ns/");
    regex_add_quoted(&pattern, value, ".*");
    strbuf_addz(&pattern, "/.*");
    return authenticated_by(t, &pattern);
}

/* "name" in the policy's namespace, or "namespace/name". */
static void *service_account(const struct translation *t, const struct clause *c, struct str value)
{
    struct strbuf pattern = {0};
    struct str account, ns = str_split(value, '/', &account);
    strbuf_addz(&pattern, "spiffe://.+/ns/");
    regex_add_quoted(&pattern, account.p ? ns : c->ns, NULL);
    strbuf_addz(&pattern, "/(.+/|)sa/");
    regex_add_quoted(&pattern, account.p ? account : value, NULL);
    strbuf_addz(&pattern, "(/.+)?");
    return authenticated_by(t, &pattern);
}

static void *trust_domain(const struct translation *t, const struct clause *c, struct str value)
{
    struct strbuf pattern = {0};
    (void)c;
    if (str_find_char(value, '*') < 0)
        return authenticated(t, match_text(t, arena_printf(t->arena, "spiffe://%.*s/*", STR_ARG(value))));
    strbuf_addz(&pattern, "spiffe://");
    regex_add_quoted(&pattern, value, "[^/]*");
    strbuf_addz(&pattern, "/.*");
    return authenticated_by(t, &pattern);
}

/* ---- its address ---- */

static void *ip(const struct translation *t, const struct clause *c, struct str value)
{
    Envoy__Config__Core__V3__CidrRange *range = match_range(t, value);
    (void)c;
    return range ? TERM(t, DIRECT_REMOTE_IP, direct_remote_ip, range) : NULL;
}

static void *remote_ip(const struct translation *t, const struct clause *c, struct str value)
{
    Envoy__Config__Core__V3__CidrRange *range = match_range(t, value);
    (void)c;
    return range ? TERM(t, REMOTE_IP, remote_ip, range) : NULL;
}

/* ---- the request's token ---- */

static PRINCIPAL *claim(const struct translation *t, const struct str *path, size_t depth, Envoy__Type__Matcher__V3__ValueMatcher *value)
{
    return TERM(t, METADATA, metadata, match_claim(t, path, depth, value));
}

static PRINCIPAL *claim_is(const struct translation *t, const char *name, struct str value)
{
    struct str path = str_from(name);
    return claim(t, &path, 1, value_of_matcher(t, match_text(t, value)));
}

/* "issuer/subject", where the issuer may have slashes; a wildcard at either end goes to the half that it stands in. */
static PRINCIPAL *request_principal(const struct translation *t, struct str value)
{
    struct many both = {0};
    struct str issuer = value, subject = STR("");
    for (size_t i = value.n; i-- > 0;)
        if (value.p[i] == '/') {
            issuer.n = i;
            subject = str_make(value.p + i + 1, value.n - i - 1);
            break;
        }
    if (issuer.n == value.n && value.n && value.p[0] == '*') {
        issuer = STR("*");
        subject = value;
    } else if (issuer.n == value.n && str_has_suffix(value, STR("*")))
        subject = STR("*");
    many_add(t, &both, claim_is(t, "iss", issuer));
    many_add(t, &both, claim_is(t, "sub", subject));
    return all_of(t, &both);
}

static void *request(const struct translation *t, const struct clause *c, char *const *values, size_t count)
{
    struct many all = {0};
    (void)c;
    for (size_t i = 0; i < count; i++)
        many_add(t, &all, request_principal(t, str_from(values[i])));
    return count == 1 ? all.items[0] : one_of(t, &all);
}

static PRINCIPAL *claim_in(const struct translation *t, const struct str *path, size_t depth, char *const *values, size_t count)
{
    struct many all = {0};
    for (size_t i = 0; i < count; i++)
        many_add(t, &all, value_of_matcher(t, match_text(t, str_from(values[i]))));
    return claim(t, path, depth, value_in_list(t, value_any_of(t, &all)));
}

static void *audiences(const struct translation *t, const struct clause *c, char *const *values, size_t count)
{
    (void)c;
    return claim_in(t, (struct str[]){STR("aud")}, 1, values, count);
}

static void *presenter(const struct translation *t, const struct clause *c, char *const *values, size_t count)
{
    (void)c;
    return claim_in(t, (struct str[]){STR("azp")}, 1, values, count);
}

static void *claims(const struct translation *t, const struct clause *c, char *const *values, size_t count)
{
    struct str path[CLAIM_DEPTH_MAX];
    size_t depth = names_in_brackets(c->name, path, CLAIM_DEPTH_MAX);
    return depth ? claim_in(t, path, depth, values, count) : NULL;
}

static void *header(const struct translation *t, const struct clause *c, struct str value)
{
    struct str key;
    return names_in_brackets(c->name, &key, 1) ? TERM(t, HEADER, header, match_header(t, key, value, false)) : NULL;
}

const struct attribute authz_principals[PRINCIPAL_COUNT] = {
    [PRINCIPAL_NAME] = {STR("source.principal"), .one = name},
    [PRINCIPAL_REQUEST] = {STR("request.auth.principal"), .is_http = true, .every = request},
    [PRINCIPAL_SERVICE_ACCOUNT] = {STR("source.serviceAccount"), .one = service_account},
    [PRINCIPAL_NAMESPACE] = {STR("source.namespace"), .one = namespace},
    [PRINCIPAL_TRUST_DOMAIN] = {STR("source.trustDomain"), .one = trust_domain},
    [PRINCIPAL_REMOTE_IP] = {STR("remote.ip"), .one = remote_ip},
    [PRINCIPAL_IP] = {STR("source.ip"), .one = ip},
    [PRINCIPAL_AUDIENCES] = {STR("request.auth.audiences"), .is_http = true, .every = audiences},
    [PRINCIPAL_PRESENTER] = {STR("request.auth.presenter"), .is_http = true, .every = presenter},
    [PRINCIPAL_HEADER] = {STR("request.headers"), .has_name = true, .is_http = true, .one = header},
    [PRINCIPAL_CLAIMS] = {STR("request.auth.claims"), .has_name = true, .is_http = true, .every = claims},
};
