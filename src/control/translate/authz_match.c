/* SPDX-License-Identifier: Apache-2.0
 *
 * Values of authorization rules as Envoy's matchers.
 */
#include "control/translate/authz_priv.h"

#include "io/addr.h"

#define VALUE Envoy__Type__Matcher__V3__ValueMatcher
#define METADATA Envoy__Type__Matcher__V3__MetadataMatcher
#define HEADER Envoy__Config__Route__V3__HeaderMatcher
#define STRING_CASE(x) ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_##x
#define VALUE_CASE(x) ENVOY__TYPE__MATCHER__V3__VALUE_MATCHER__MATCH_PATTERN_##x

static text_matcher *matcher_new(const struct translation *t)
{
    return MAKE(t, text_matcher, envoy__type__matcher__v3__string_matcher__descriptor);
}

text_matcher *match_exact(const struct translation *t, struct str value)
{
    text_matcher *m = matcher_new(t);
    m->match_pattern_case = STRING_CASE(EXACT);
    m->exact = text(t, value);
    return m;
}

text_matcher *match_regex(const struct translation *t, struct str pattern)
{
    text_matcher *m = matcher_new(t);
    m->match_pattern_case = STRING_CASE(SAFE_REGEX);
    m->safe_regex = MAKE(t, Envoy__Type__Matcher__V3__RegexMatcher, envoy__type__matcher__v3__regex_matcher__descriptor);
    m->safe_regex->regex = text(t, pattern);
    return m;
}

text_matcher *match_text(const struct translation *t, struct str value)
{
    text_matcher *m;
    if (str_eq(value, STR("*")))
        return match_regex(t, STR(".+"));
    if (!str_has_prefix(value, STR("*")) && !str_has_suffix(value, STR("*")))
        return match_exact(t, value);
    m = matcher_new(t);
    if (value.p[0] == '*') {
        m->match_pattern_case = STRING_CASE(SUFFIX);
        m->suffix = text(t, str_make(value.p + 1, value.n - 1));
    } else {
        m->match_pattern_case = STRING_CASE(PREFIX);
        m->prefix = text(t, str_make(value.p, value.n - 1));
    }
    return m;
}

void regex_add_quoted(struct strbuf *b, struct str s, const char *wildcard)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '*' && wildcard) {
            strbuf_addz(b, wildcard);
            continue;
        }
        if (strchr("\\.+*?()|[]{}^$", s.p[i]))
            strbuf_addc(b, '\\');
        strbuf_addc(b, s.p[i]);
    }
}

HEADER *match_header(const struct translation *t, struct str name, struct str value, bool ignore_case)
{
    HEADER *h = MAKE(t, HEADER, envoy__config__route__v3__header_matcher__descriptor);
    h->name = text(t, name);
    if (str_eq(value, STR("*"))) {
        h->header_match_specifier_case = ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_PRESENT_MATCH;
        h->present_match = true;
        return h;
    }
    h->header_match_specifier_case = ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_STRING_MATCH;
    h->string_match = match_text(t, value);
    h->string_match->ignore_case = ignore_case;
    return h;
}

Envoy__Config__Core__V3__CidrRange *match_range(const struct translation *t, struct str value)
{
    struct cidr range;
    struct err err = {0};
    struct str bits, ip = str_split(value, '/', &bits);
    uint64_t n = str_find_char(ip, ':') >= 0 ? 128 : 32;
    if ((bits.p && (!str_to_u64(bits, &n) || n > 128)) || cidr_parse(&range, ip, (unsigned)n, &err))
        return NULL;
    Envoy__Config__Core__V3__CidrRange *r =
        MAKE(t, Envoy__Config__Core__V3__CidrRange, envoy__config__core__v3__cidr_range__descriptor);
    r->address_prefix = text(t, ip);
    r->prefix_len = u32_of(t, (uint32_t)n);
    return r;
}

/* ---- metadata ---- */

static VALUE *value_new(const struct translation *t)
{
    return MAKE(t, VALUE, envoy__type__matcher__v3__value_matcher__descriptor);
}

VALUE *value_of_matcher(const struct translation *t, text_matcher *m)
{
    VALUE *v = value_new(t);
    v->match_pattern_case = VALUE_CASE(STRING_MATCH);
    v->string_match = m;
    return v;
}

VALUE *value_any_of(const struct translation *t, const struct many *values)
{
    if (values->count == 1)
        return values->items[0];
    VALUE *v = value_new(t);
    v->match_pattern_case = VALUE_CASE(OR_MATCH);
    v->or_match = MAKE(t, Envoy__Type__Matcher__V3__OrMatcher, envoy__type__matcher__v3__or_matcher__descriptor);
    v->or_match->value_matchers = (VALUE **)values->items;
    v->or_match->n_value_matchers = values->count;
    return v;
}

VALUE *value_one_of_list(const struct translation *t, VALUE *value)
{
    VALUE *v = value_new(t);
    v->match_pattern_case = VALUE_CASE(LIST_MATCH);
    v->list_match = MAKE(t, Envoy__Type__Matcher__V3__ListMatcher, envoy__type__matcher__v3__list_matcher__descriptor);
    v->list_match->match_pattern_case = ENVOY__TYPE__MATCHER__V3__LIST_MATCHER__MATCH_PATTERN_ONE_OF;
    v->list_match->one_of = value;
    return v;
}

VALUE *value_in_list(const struct translation *t, VALUE *value)
{
    struct many either = {0};
    many_add(t, &either, value_one_of_list(t, value));
    many_add(t, &either, value);
    return value_any_of(t, &either);
}

METADATA *match_metadata(const struct translation *t, const char *filter, const struct str *path, size_t depth, VALUE *value)
{
    METADATA *m = MAKE(t, METADATA, envoy__type__matcher__v3__metadata_matcher__descriptor);
    m->filter = text(t, str_from(filter));
    m->path = pointers(t, depth);
    for (size_t i = 0; i < depth; i++) {
        m->path[i] = MAKE(t, Envoy__Type__Matcher__V3__MetadataMatcher__PathSegment,
                          envoy__type__matcher__v3__metadata_matcher__path_segment__descriptor);
        m->path[i]->segment_case = ENVOY__TYPE__MATCHER__V3__METADATA_MATCHER__PATH_SEGMENT__SEGMENT_KEY;
        m->path[i]->key = text(t, path[i]);
    }
    m->n_path = depth;
    m->value = value;
    return m;
}

METADATA *match_claim(const struct translation *t, const struct str *path, size_t depth, VALUE *value)
{
    struct str whole[CLAIM_DEPTH_MAX + 1] = {STR("payload")};
    memcpy(whole + 1, path, depth * sizeof(*path));
    return match_metadata(t, "envoy.filters.http.jwt_authn", whole, depth + 1, value);
}

size_t names_in_brackets(struct str s, struct str *out, size_t max)
{
    size_t n = 0;
    while (s.n) {
        ptrdiff_t end = str_find_char(s, ']');
        if (s.p[0] != '[' || end < 2 || n == max)
            return 0;
        out[n++] = str_make(s.p + 1, (size_t)end - 1);
        s = str_make(s.p + end + 1, s.n - (size_t)end - 1);
    }
    return n;
}
