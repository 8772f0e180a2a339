/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTPMatchRequest as Envoy's RouteMatch. Where a match is for (port, source labels, gateway) is decided here and leaves no trace.
 */
#include "control/translate/route_priv.h"

#include <stdlib.h>

#define MATCH Envoy__Config__Route__V3__RouteMatch
#define HEADER Envoy__Config__Route__V3__HeaderMatcher
#define QUERY Envoy__Config__Route__V3__QueryParameterMatcher
#define MATCHER Envoy__Type__Matcher__V3__StringMatcher
#define TEXT Istio__Networking__V1alpha3__StringMatch

static Envoy__Type__Matcher__V3__RegexMatcher *regex(const struct translation *t, const char *pattern)
{
    Envoy__Type__Matcher__V3__RegexMatcher *r =
        MAKE(t, Envoy__Type__Matcher__V3__RegexMatcher, envoy__type__matcher__v3__regex_matcher__descriptor);
    r->regex = text(t, str_from(pattern));
    return r;
}

static bool is_text(const TEXT *m)
{
    return m && m->match_type_case != ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE__NOT_SET;
}

MATCHER *string_matcher(const struct translation *t, const ProtobufCMessage *match)
{
    const TEXT *from = (const TEXT *)match;
    MATCHER *m = MAKE(t, MATCHER, envoy__type__matcher__v3__string_matcher__descriptor);
    switch (from->match_type_case) {
    case ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_PREFIX:
        m->match_pattern_case = ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_PREFIX;
        m->prefix = text(t, str_from(from->prefix));
        break;
    case ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_REGEX:
        m->match_pattern_case = ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_SAFE_REGEX;
        m->safe_regex = regex(t, from->regex);
        break;
    default:
        m->match_pattern_case = ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_EXACT;
        m->exact = text(t, from->exact ? str_from(from->exact) : STR(""));
    }
    return m;
}

/* ---- path ---- */

static void set_path(const struct translation *t, const TEXT *uri, MATCH *m)
{
    if (!is_text(uri)) {
        m->path_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX;
        m->prefix = text(t, STR("/"));
        return;
    }
    switch (uri->match_type_case) {
    case ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_EXACT:
        m->path_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PATH;
        m->path = text(t, str_from(uri->exact));
        break;
    case ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_PREFIX:
        m->path_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX;
        m->prefix = text(t, str_from(uri->prefix));
        break;
    default:
        m->path_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_SAFE_REGEX;
        m->safe_regex = regex(t, uri->regex);
    }
}

/* ---- headers ---- */

static HEADER *header(const struct translation *t, const char *name, const TEXT *match)
{
    HEADER *h = MAKE(t, HEADER, envoy__config__route__v3__header_matcher__descriptor);
    h->name = text(t, str_from(name));
    if (!is_text(match)) {
        h->header_match_specifier_case = ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_PRESENT_MATCH;
        h->present_match = true;
        return h;
    }
    h->header_match_specifier_case = ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_STRING_MATCH;
    h->string_match = string_matcher(t, &match->base);
    return h;
}

static HEADER *header_without(const struct translation *t, const char *name, const TEXT *match)
{
    HEADER *h = header(t, name, match);
    h->invert_match = true;
    h->treat_missing_header_as_empty = is_text(match);
    return h;
}

static int by_name(const void *a, const void *b)
{
    const HEADER *x = *(HEADER *const *)a, *y = *(HEADER *const *)b;
    return strcmp(x->name, y->name);
}

static void set_headers(const struct translation *t, const HTTP_MATCH *from, MATCH *m)
{
    struct many all = {0};
    for (size_t i = 0; i < from->n_headers; i++)
        if (!is_claim(from->headers[i]->key))
            many_add(t, &all, header(t, from->headers[i]->key, from->headers[i]->value));
    for (size_t i = 0; i < from->n_without_headers; i++)
        if (!is_claim(from->without_headers[i]->key))
            many_add(t, &all, header_without(t, from->without_headers[i]->key, from->without_headers[i]->value));
    if (all.count)
        qsort(all.items, all.count, sizeof(void *), by_name);
    if (is_text(from->method))
        many_add(t, &all, header(t, ":method", from->method));
    if (is_text(from->authority))
        many_add(t, &all, header(t, ":authority", from->authority));
    if (is_text(from->scheme))
        many_add(t, &all, header(t, ":scheme", from->scheme));
    m->headers = (HEADER **)all.items;
    m->n_headers = all.count;
}

static void set_query(const struct translation *t, const HTTP_MATCH *from, MATCH *m)
{
    struct many all = {0};
    for (size_t i = 0; i < from->n_query_params; i++) {
        const TEXT *match = from->query_params[i]->value;
        QUERY *q = MAKE(t, QUERY, envoy__config__route__v3__query_parameter_matcher__descriptor);
        bool is_present = !is_text(match) || (match->match_type_case == ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_REGEX &&
                                              strcmp(match->regex, "*") == 0);
        q->name = text(t, str_from(from->query_params[i]->key));
        q->query_parameter_match_specifier_case =
            is_present ? ENVOY__CONFIG__ROUTE__V3__QUERY_PARAMETER_MATCHER__QUERY_PARAMETER_MATCH_SPECIFIER_PRESENT_MATCH
                       : ENVOY__CONFIG__ROUTE__V3__QUERY_PARAMETER_MATCHER__QUERY_PARAMETER_MATCH_SPECIFIER_STRING_MATCH;
        if (is_present)
            q->present_match = true;
        else
            q->string_match = string_matcher(t, &match->base);
        many_add(t, &all, q);
    }
    m->query_parameters = (QUERY **)all.items;
    m->n_query_parameters = all.count;
}

MATCH *route_match(const struct translation *t, const HTTP_MATCH *from)
{
    MATCH *m = MAKE(t, MATCH, envoy__config__route__v3__route_match__descriptor);
    set_path(t, from ? from->uri : NULL, m);
    if (!from)
        return m;
    set_headers(t, from, m);
    set_claims(t, from, m);
    set_query(t, from, m);
    /* a match that says nothing but where it is for is no match */
    m->case_sensitive = bool_of(t, !from->ignore_uri_case);
    return m;
}

bool match_catches_all(const HTTP_MATCH *m)
{
    if (!m)
        return true;
    bool is_root = !is_text(m->uri) ||
                   (m->uri->match_type_case == ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_PREFIX && strcmp(m->uri->prefix, "/") == 0) ||
                   (m->uri->match_type_case == ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_REGEX && strcmp(m->uri->regex, ".*") == 0);
    return is_root && m->n_headers == 0 && m->n_without_headers == 0 && m->n_query_params == 0 && !is_text(m->method) &&
           !is_text(m->authority) && !is_text(m->scheme);
}

/* ---- where it is for ---- */

bool match_gateways_take(const struct scoped_route *vs, char *const *names, size_t count, struct str gateway)
{
    for (size_t i = 0; i < count; i++) {
        struct str name = str_from(names[i]), rest;
        if (str_eq(name, gateway))
            return true;
        struct str ns = str_split(gateway, '/', &rest);
        if (rest.p && str_eq(name, rest) && str_eq(ns, vs->object->ns))
            return true;
    }
    return count == 0;
}

bool match_is_for(const struct translation *t, const struct scoped_route *vs, const HTTP_MATCH *m, struct str gateway, uint32_t port)
{
    if (!m)
        return true;
    if ((m->port && m->port != port) || !match_gateways_take(vs, m->gateways, m->n_gateways, gateway))
        return false;
    if (!str_eq(gateway, STR("mesh")))
        return true;
    if (m->source_namespace[0] && !str_eq(str_from(m->source_namespace), t->node->ns))
        return false;
    for (size_t i = 0; i < m->n_source_labels; i++)
        if (!str_eq(labels_get(&t->node->labels, str_from(m->source_labels[i]->key)), str_from(m->source_labels[i]->value)))
            return false;
    return true;
}
