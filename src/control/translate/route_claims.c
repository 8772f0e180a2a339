/* SPDX-License-Identifier: Apache-2.0
 *
 * Matches of a token's claims that stand among a route's headers ("@request.auth.claims.a.b", "@request.auth.claims[a][b]") as matches of
 * what the jwt_authn filter leaves. Istio: "JWT claim based routing".
 */
#include "control/translate/authz_priv.h"
#include "control/translate/route_priv.h"

#define VALUE Envoy__Type__Matcher__V3__ValueMatcher
#define METADATA Envoy__Type__Matcher__V3__MetadataMatcher
#define TEXT Istio__Networking__V1alpha3__StringMatch
#define PREFIX "@request.auth.claims"

bool is_claim(const char *header)
{
    return str_has_prefix(str_from(header), STR(PREFIX));
}

static size_t names_between_dots(struct str s, struct str *out, size_t max)
{
    size_t n = 0;
    while (s.p) {
        struct str name = str_split(s, '.', &s);
        if (name.n == 0 || n == max)
            return 0;
        out[n++] = name;
    }
    return n;
}

/* A name that can't be read is a claim that nobody has: the match shall not hold for all. */
static size_t names_of(struct str header, struct str *out)
{
    struct str rest = str_make(header.p + strlen(PREFIX), header.n - strlen(PREFIX));
    size_t n = 0;
    if (rest.n > 1 && rest.p[0] == '.')
        n = names_between_dots(str_make(rest.p + 1, rest.n - 1), out, CLAIM_DEPTH_MAX);
    else if (rest.n)
        n = names_in_brackets(rest, out, CLAIM_DEPTH_MAX);
    if (n == 0)
        out[0] = header;
    return n ? n : 1;
}

static METADATA *claim_match(const struct translation *t, const char *header, const TEXT *match, bool is_without)
{
    struct str names[CLAIM_DEPTH_MAX];
    size_t n = names_of(str_from(header), names);
    VALUE *value;
    if (match && match->match_type_case != ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE__NOT_SET)
        value = value_in_list(t, value_of_matcher(t, string_matcher(t, &match->base)));
    else {
        value = MAKE(t, VALUE, envoy__type__matcher__v3__value_matcher__descriptor);
        value->match_pattern_case = ENVOY__TYPE__MATCHER__V3__VALUE_MATCHER__MATCH_PATTERN_PRESENT_MATCH;
        value->present_match = true;
    }
    METADATA *m = match_claim(t, names, n, value);
    m->invert = is_without;
    return m;
}

void set_claims(const struct translation *t, const HTTP_MATCH *from, Envoy__Config__Route__V3__RouteMatch *m)
{
    struct many all = {0};
    for (size_t i = 0; i < from->n_headers; i++)
        if (is_claim(from->headers[i]->key))
            many_add(t, &all, claim_match(t, from->headers[i]->key, from->headers[i]->value, false));
    for (size_t i = 0; i < from->n_without_headers; i++)
        if (is_claim(from->without_headers[i]->key))
            many_add(t, &all, claim_match(t, from->without_headers[i]->key, from->without_headers[i]->value, true));
    m->dynamic_metadata = (METADATA **)all.items;
    m->n_dynamic_metadata = all.count;
}
