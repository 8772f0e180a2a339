/* SPDX-License-Identifier: Apache-2.0
 *
 * What HTTP routes match, and how they change headers (Istio: networking/virtual-service, "HTTPMatchRequest", "Headers"). Pure.
 */
#include "model/validate_http.h"

/* ---- headers ---- */

bool is_claim_header(struct str name)
{
    static const struct str prefix = {"@request.auth.claims", 20};
    if (!str_has_prefix_nocase(name, prefix))
        return false;
    struct str rest = str_make(name.p + prefix.n, name.n - prefix.n);
    return rest.n > 1 && (rest.p[0] == '.' || (rest.n > 2 && rest.p[0] == '[' && rest.p[rest.n - 1] == ']'));
}

bool is_header_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = ascii_lower(s.p[i]);
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_')
            return false;
    }
    return s.n > 0;
}

static bool is_authority(const char *name)
{
    return str_eq_nocase(str_from(name), STR("host")) || str_eq_nocase(str_from(name), STR(":authority"));
}

/* Values are format strings (Envoy: "Custom request/response headers"): "%%", "%NAME%", "%NAME(ARGUMENTS)%". */
static const char *header_value_fault(const char *p)
{
    for (; *p; p++) {
        if (((unsigned char)*p < 0x20 && *p != '\t') || *p == 0x7f)
            return "must not hold control characters";
        if (*p != '%')
            continue;
        if (*++p == '%')
            continue;
        p += strcspn(p, "%(");
        if (*p == '(') {
            p += strcspn(p, ")");
            p += *p ? 1 + strspn(p + 1, " ") : 0;
        }
        if (*p != '%')
            return "has a '%' without its other; a percent sign is written '%%'";
    }
    return NULL;
}

static void check_header(struct check *c, const char *name, const char *value, bool may_set_authority)
{
    const char *fault = value ? header_value_fault(value) : NULL;
    if (!*name)
        check_fault(c, "", "a header's name must not be empty");
    else if (!(may_set_authority && is_authority(name)) && (name[0] == ':' || is_authority(name)))
        check_fault(c, "", "'%s' must not be changed here", name);
    if (fault)
        check_fault(c, "", "'%s' %s", value, fault);
}

/* `set` and `add` are maps of one shape. */
static void check_header_operations(struct check *c, const char *field, const ist_header_operations *h, bool is_request)
{
    if (!h)
        return;
    PROTO_IN (&c->r, "%s", field) {
        CHECK_EACH_KEY (c, i, h->n_set, "set", h->set)
            check_header(c, h->set[i]->key, h->set[i]->value, is_request);
        CHECK_EACH_KEY (c, i, h->n_add, "add", h->add)
            check_header(c, h->add[i]->key, h->add[i]->value, is_request);
        CHECK_EACH (c, i, h->n_remove, "remove")
            check_header(c, h->remove[i], NULL, false);
    }
}

void check_headers(struct check *c, const ist_headers *h)
{
    if (!h)
        return;
    PROTO_IN (&c->r, "headers") {
        check_header_operations(c, "request", h->request, true);
        check_header_operations(c, "response", h->response, false);
    }
}

/* The authority is rewritten in one place at most. */
void check_authority(struct check *c, const ist_http_route *route)
{
    const ist_header_operations *h = route->headers ? route->headers->request : NULL;
    size_t count = route->rewrite && *route->rewrite->authority;
    for (size_t i = 0; h && i < h->n_set; i++)
        count += is_authority(h->set[i]->key);
    for (size_t i = 0; h && i < h->n_add; i++)
        count += is_authority(h->add[i]->key);
    if (count > 1)
        check_fault(c, "headers.request", "the authority is set more than once");
}

/* ---- matches ---- */

void check_string_match(struct check *c, const char *field, const ist_string_match *m, bool takes_empty_prefix)
{
    if (!m)
        return;
    if (m->match_type_case == ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_REGEX)
        check_regex(c, field, m->regex);
    else if (m->match_type_case == ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_PREFIX && !*m->prefix &&
             !takes_empty_prefix)
        check_fault(c, field, "a prefix must not be empty");
}

static bool is_presence(const ist_string_match *m)
{
    return m && m->match_type_case == ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_REGEX && strcmp(m->regex, "*") == 0;
}

static void check_header_match(struct check *c, const char *name, const ist_string_match *m, bool takes_presence)
{
    if (!is_claim_header(str_from(name)) && !is_header_name(str_from(name)))
        check_fault(c, "", "'%s' is not a header's name", name);
    if (!takes_presence || !is_presence(m))
        check_string_match(c, "", m, false);
}

void check_match(struct check *c, const ist_http_match *m)
{
    check_string_match(c, "uri", m->uri, true);
    check_string_match(c, "scheme", m->scheme, false);
    check_string_match(c, "method", m->method, false);
    check_string_match(c, "authority", m->authority, false);
    CHECK_EACH_KEY (c, i, m->n_headers, "headers", m->headers)
        check_header_match(c, m->headers[i]->key, m->headers[i]->value, false);
    CHECK_EACH_KEY (c, i, m->n_without_headers, "withoutHeaders", m->without_headers)
        check_header_match(c, m->without_headers[i]->key, m->without_headers[i]->value, true);
    CHECK_EACH_KEY (c, i, m->n_query_params, "queryParams", m->query_params) {
        if (!is_presence(m->query_params[i]->value))
            check_string_match(c, "", m->query_params[i]->value, false);
    }
    if (m->port)
        check_port(c, "port", m->port);
    CHECK_EACH_KEY (c, i, m->n_source_labels, "sourceLabels", m->source_labels)
        check_label(c, str_from(m->source_labels[i]->key), str_from(m->source_labels[i]->value));
    check_gateway_names(c, m->n_gateways, m->gateways);
    if (*m->source_namespace && !is_dns_label(str_from(m->source_namespace)))
        check_fault(c, "sourceNamespace", "'%s' is not a namespace", m->source_namespace);
}
