/* SPDX-License-Identifier: Apache-2.0
 *
 * AuthorizationPolicies as Envoy's RBAC: what a rule asks for (authz_rule.c), of the request (authz_permission.c), of its source
 * (authz_principal.c), who else is asked (authz_provider.c), and the filters (policy_authz.c). Istio: "Authorization Policy".
 */
#ifndef CONTROL_TRANSLATE_AUTHZ_PRIV_H
#define CONTROL_TRANSLATE_AUTHZ_PRIV_H

#include "control/translate/provider_priv.h"
#include "envoy/config/rbac/v3/rbac.pb-c.h"
#include "envoy/type/matcher/v3/metadata.pb-c.h"
#include "istio/security/policies.pb-c.h"

#define PERMISSION Envoy__Config__Rbac__V3__Permission
#define PRINCIPAL Envoy__Config__Rbac__V3__Principal
#define RBAC_RULES Envoy__Config__Rbac__V3__RBAC
#define AUTHZ_POLICY Istio__Security__V1beta1__AuthorizationPolicy

enum authz_action { AUTHZ_ALLOW, AUTHZ_DENY, AUTHZ_LOG };

/* ---- authz_rule.c ---- */
struct clause;
/* One thing that a rule can ask for. A term is a PERMISSION or a PRINCIPAL. */
struct attribute {
    struct str key;     /* as conditions name it; what follows a key in brackets is the clause's name */
    bool has_name, is_http;
    /* The term for one value; NULL: the value can't be one. */
    void *(*one)(const struct translation *t, const struct clause *c, struct str value);
    /* Where `one` is NULL: the term for all values, of which there is at least one. */
    void *(*every)(const struct translation *t, const struct clause *c, char *const *values, size_t count);
};
struct clause {
    const struct attribute *attribute;
    struct str name; /* "x" of "request.headers[x]"; "[a][b]" of "request.auth.claims[a][b]" */
    struct str ns;   /* of the policy */
    char **values, **not_values;
    size_t value_count, not_count;
};
/* NULL: the rule can't match on such a chain (an ALLOW rule that asks for HTTP, of bytes). */
Envoy__Config__Rbac__V3__Policy *authz_rule(const struct translation *t, const struct object *o, const Istio__Security__V1beta1__Rule *rule,
                                            enum authz_action action, bool is_tcp);

/* ---- authz_permission.c, authz_principal.c ---- */
enum permission_kind { PERMISSION_HOST, PERMISSION_METHOD, PERMISSION_PATH, PERMISSION_PORT, PERMISSION_IP, PERMISSION_SNI,
                       PERMISSION_FILTER_METADATA, PERMISSION_COUNT };
extern const struct attribute authz_permissions[PERMISSION_COUNT];
enum principal_kind { PRINCIPAL_NAME, PRINCIPAL_REQUEST, PRINCIPAL_SERVICE_ACCOUNT, PRINCIPAL_NAMESPACE, PRINCIPAL_TRUST_DOMAIN,
                      PRINCIPAL_REMOTE_IP, PRINCIPAL_IP, PRINCIPAL_AUDIENCES, PRINCIPAL_PRESENTER, PRINCIPAL_HEADER, PRINCIPAL_CLAIMS,
                      PRINCIPAL_COUNT };
extern const struct attribute authz_principals[PRINCIPAL_COUNT];
/* Terms joined; of one kind. */
struct authz_terms {
    void *(*any)(const struct translation *t);
    void *(*all_of)(const struct translation *t, const struct many *terms);
    void *(*one_of)(const struct translation *t, const struct many *terms);
    void *(*not)(const struct translation *t, void *term);
};
extern const struct authz_terms authz_permission_terms, authz_principal_terms;

/* ---- authz_match.c ---- */
typedef Envoy__Type__Matcher__V3__StringMatcher text_matcher;
/* "abc", "abc*", "*abc", "*" (not empty). */
text_matcher *match_text(const struct translation *t, struct str value);
text_matcher *match_exact(const struct translation *t, struct str value);
text_matcher *match_regex(const struct translation *t, struct str pattern);
/* The text as a pattern that matches it alone; "*" in it becomes `wildcard`. */
void regex_add_quoted(struct strbuf *b, struct str s, const char *wildcard);
Envoy__Config__Route__V3__HeaderMatcher *match_header(const struct translation *t, struct str name, struct str value, bool ignore_case);
/* NULL: neither an address nor a range. */
Envoy__Config__Core__V3__CidrRange *match_range(const struct translation *t, struct str value);
Envoy__Type__Matcher__V3__ValueMatcher *value_of_matcher(const struct translation *t, text_matcher *m);
/* Any of them; one stands for itself. */
Envoy__Type__Matcher__V3__ValueMatcher *value_any_of(const struct translation *t, const struct many *values);
/* An item of the list that the value is. */
Envoy__Type__Matcher__V3__ValueMatcher *value_one_of_list(const struct translation *t, Envoy__Type__Matcher__V3__ValueMatcher *value);
/* The value or, where it is a list, one of its items. */
Envoy__Type__Matcher__V3__ValueMatcher *value_in_list(const struct translation *t, Envoy__Type__Matcher__V3__ValueMatcher *value);
/* `path`: strings in the metadata of the filter. */
Envoy__Type__Matcher__V3__MetadataMatcher *match_metadata(const struct translation *t, const char *filter, const struct str *path,
                                                          size_t depth, Envoy__Type__Matcher__V3__ValueMatcher *value);
/* A claim of the request's token, where policy_jwt.c has it left: at most CLAIM_DEPTH_MAX names deep. */
#define CLAIM_DEPTH_MAX 8 /* Istio has no limit; deeper claims than this are nobody's */
Envoy__Type__Matcher__V3__MetadataMatcher *match_claim(const struct translation *t, const struct str *path, size_t depth,
                                                       Envoy__Type__Matcher__V3__ValueMatcher *value);
/* "[a][b]": 2; 0: not of that form, or more than `max`. */
size_t names_in_brackets(struct str s, struct str *out, size_t max);

/* ---- policy_jwt.c ---- */
void policy_jwt_filter(const struct translation *t, const struct chain_purpose *p, struct many *http_filters);

/* ---- authz_provider.c: the ext_authz filter's configuration ---- */
/* NULL with an error: there is no such provider, or what it says of itself can't be used. */
Google__Protobuf__Any *authz_provider_http(const struct translation *t, struct str provider, struct err *err);
/* NULL without an error: the provider speaks HTTP, chains of bytes don't ask it. */
Google__Protobuf__Any *authz_provider_tcp(const struct translation *t, struct str provider, struct err *err);

#endif
