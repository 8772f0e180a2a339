/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP routes and what they do (Istio: networking/virtual-service, "HTTPRoute"; its webhook's rules). Pure.
 */
#include "model/validate_http.h"

#define BODY_MAX_BYTES (1 << 20)
#define BODY_LARGE_BYTES (100 << 10)

/* ---- destinations ---- */

void check_destination(struct check *c, const char *field, const ist_destination *d)
{
    if (!d)
        return;
    PROTO_IN (&c->r, "%s", field) {
        if (strcmp(d->host, "*") == 0)
            check_fault(c, "host", "must name a host");
        else
            check_wildcard_host(c, "host", d->host);
        if (*d->subset && !is_host_label(str_from(d->subset)))
            check_fault(c, "subset", "'%s' must be at most 63 letters, digits and '-'", d->subset);
        if (d->port)
            check_port(c, "port.number", d->port->number);
    }
}

static void check_destinations(struct check *c, const ist_http_route *route)
{
    int64_t total = 0;
    CHECK_EACH (c, i, route->n_route, "route") {
        const ist_http_destination *d = route->route[i];
        if (!d->destination)
            check_fault(c, "destination", "is missing");
        check_destination(c, "destination", d->destination);
        check_headers(c, d->headers);
        check_not_negative(c, "weight", d->weight);
        total += d->weight;
    }
    if (route->n_route > 1 && total == 0)
        check_fault(c, "route", "one destination must have a weight above 0");
}

static void check_fraction(struct check *c, const char *field, const ist_percent *p)
{
    if (p && !(p->value >= 0 && p->value <= 100))
        check_fault(c, field, "must be between 0 and 100, is %g", p->value);
}

static void check_mirrors(struct check *c, const ist_http_route *route)
{
    if (route->mirror && route->n_mirrors)
        check_fault(c, "mirrors", "must not stand beside mirror");
    check_destination(c, "mirror", route->mirror);
    CHECK_EACH (c, i, route->n_mirrors, "mirrors") {
        if (!route->mirrors[i]->destination)
            check_fault(c, "destination", "is missing");
        check_destination(c, "destination", route->mirrors[i]->destination);
        check_fraction(c, "percentage.value", route->mirrors[i]->percentage);
    }
    if (route->mirror_percent) {
        check_percent(c, "mirrorPercent", route->mirror_percent->value);
        check_warn(c, "mirrorPercent", "is deprecated: use mirrorPercentage");
    }
    check_fraction(c, "mirrorPercentage.value", route->mirror_percentage);
}

/* ---- what else a route does ---- */

static void check_redirect(struct check *c, const ist_http_route *route)
{
    const ist_redirect *r = route->redirect;
    if (!r)
        return;
    if (*r->uri && *r->prefix_rewrite)
        check_fault(c, "redirect", "only one of uri and prefixRewrite may be set");
    for (size_t i = 0; *r->prefix_rewrite && i < route->n_match; i++)
        if (route->match[i]->uri &&
            route->match[i]->uri->match_type_case != ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_PREFIX)
            check_fault(c, "redirect.prefixRewrite", "needs matches of the URI by prefix only");
    if (!*r->uri && !*r->prefix_rewrite && !*r->authority && !*r->scheme && !r->redirect_port_case)
        check_fault(c, "redirect", "changes nothing: set uri, prefixRewrite, authority, scheme or a port");
    if (r->redirect_code && (r->redirect_code < 300 || r->redirect_code > 399))
        check_fault(c, "redirect.redirectCode", "must be 3xx, is %u", r->redirect_code);
    if (*r->scheme && strcmp(r->scheme, "http") != 0 && strcmp(r->scheme, "https") != 0)
        check_fault(c, "redirect.scheme", "must be http or https, is '%s'", r->scheme);
    if (r->redirect_port_case == ISTIO__NETWORKING__V1ALPHA3__HTTPREDIRECT__REDIRECT_PORT_PORT)
        check_port(c, "redirect.port", r->port);
}

static void check_status(struct check *c, const char *field, int64_t status)
{
    if (status < 200 || status > 599)
        check_fault(c, field, "must be between 200 and 599, is %lld", (long long)status);
}

static void check_direct_response(struct check *c, const ist_direct_response *d)
{
    if (!d)
        return;
    size_t bytes = 0;
    if (d->body && d->body->specifier_case == ISTIO__NETWORKING__V1ALPHA3__HTTPBODY__SPECIFIER_STRING)
        bytes = strlen(d->body->string);
    else if (d->body && d->body->specifier_case == ISTIO__NETWORKING__V1ALPHA3__HTTPBODY__SPECIFIER_BYTES)
        bytes = d->body->bytes.len;
    check_status(c, "directResponse.status", d->status);
    if (bytes > BODY_MAX_BYTES)
        check_fault(c, "directResponse.body", "must have at most %d bytes, has %zu", BODY_MAX_BYTES, bytes);
    else if (bytes > BODY_LARGE_BYTES)
        check_warn(c, "directResponse.body", "has %zu bytes, which every proxy is sent and keeps", bytes);
}

static void check_rewrite(struct check *c, const ist_rewrite *r)
{
    if (!r)
        return;
    if (*r->uri && r->uri_regex_rewrite)
        check_fault(c, "rewrite", "only one of uri and uriRegexRewrite may be set");
    if (!*r->uri && !r->uri_regex_rewrite && !*r->authority)
        check_fault(c, "rewrite", "changes nothing: set uri, uriRegexRewrite or authority");
    if (!r->uri_regex_rewrite)
        return;
    if (!*r->uri_regex_rewrite->rewrite)
        check_fault(c, "rewrite.uriRegexRewrite.rewrite", "is missing");
    check_regex(c, "rewrite.uriRegexRewrite.match", r->uri_regex_rewrite->match);
}

static bool is_retry_on(struct str word)
{
    static const char *const known[] = {
        "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "retriable-4xx", "refused-stream",
        "retriable-status-codes", "retriable-headers", "envoy-ratelimited", "http3-post-connect-failure", "cancelled",
        "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
    };
    uint64_t status;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (str_eq(word, str_from(known[i])))
            return true;
    return str_to_u64(word, &status) && status >= 100 && status <= 599;
}

void check_retry(struct check *c, const char *field, const ist_retry *r)
{
    if (!r)
        return;
    PROTO_IN (&c->r, "%s", field) {
        check_not_negative(c, "attempts", r->attempts);
        if (r->attempts == 0 && (r->per_try_timeout || *r->retry_on || r->retry_remote_localities))
            check_fault(c, "attempts", "is 0, which turns retries off; the rest contradicts that");
        check_duration(c, "perTryTimeout", r->per_try_timeout);
        check_duration(c, "backoff", r->backoff);
        for (struct str rest = str_from(r->retry_on), word; rest.n;) {
            word = str_split(rest, ',', &rest);
            if (!is_retry_on(word))
                check_fault(c, "retryOn", "'%.*s' is no condition that retries know", STR_ARG(word));
        }
    }
}

/* https://grpc.github.io/grpc/core/md_doc_statuscodes.html */
static bool is_grpc_status(const char *name)
{
    static const char *const known[] = {
        "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
        "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
        "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(name, known[i]) == 0)
            return true;
    return false;
}

static void check_fault_percentage(struct check *c, const char *field, const ist_percent *p)
{
    if (p && !(p->value >= 0 && p->value <= 100 && (p->value == 0 || p->value >= 0.0001)))
        check_fault(c, field, "must be 0 or between 0.0001 and 100, is %g", p->value);
}

static void check_abort(struct check *c, const ist_fault_abort *a)
{
    check_fault_percentage(c, "fault.abort.percentage.value", a->percentage);
    switch (a->error_type_case) {
    case ISTIO__NETWORKING__V1ALPHA3__HTTPFAULT_INJECTION__ABORT__ERROR_TYPE_HTTP_STATUS:
        check_status(c, "fault.abort.httpStatus", a->http_status);
        break;
    case ISTIO__NETWORKING__V1ALPHA3__HTTPFAULT_INJECTION__ABORT__ERROR_TYPE_GRPC_STATUS:
        if (!is_grpc_status(a->grpc_status))
            check_fault(c, "fault.abort.grpcStatus", "'%s' is no status of gRPC, such as NOT_FOUND", a->grpc_status);
        break;
    case ISTIO__NETWORKING__V1ALPHA3__HTTPFAULT_INJECTION__ABORT__ERROR_TYPE_HTTP2_ERROR:
        check_fault(c, "fault.abort.http2Error", "is not supported");
        break;
    default:
        check_warn(c, "fault.abort", "says no status to abort with");
    }
}

static void check_delay(struct check *c, const ist_fault_delay *d)
{
    check_fault_percentage(c, "fault.delay.percentage.value", d->percentage);
    if (d->http_delay_type_case == ISTIO__NETWORKING__V1ALPHA3__HTTPFAULT_INJECTION__DELAY__HTTP_DELAY_TYPE_FIXED_DELAY)
        check_duration(c, "fault.delay.fixedDelay", d->fixed_delay);
    else if (d->http_delay_type_case)
        check_fault(c, "fault.delay.exponentialDelay", "is not supported");
}

static void check_faults(struct check *c, const ist_fault *f)
{
    if (!f)
        return;
    if (!f->abort && !f->delay)
        check_fault(c, "fault", "must have abort or delay");
    if (f->abort)
        check_abort(c, f->abort);
    if (f->delay)
        check_delay(c, f->delay);
}

static void check_cors(struct check *c, const ist_cors *p)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"};
    CHECK_EACH (c, i, p->n_allow_origins, "allowOrigins") {
        if (!p->allow_origins[i]->match_type_case || !*p->allow_origins[i]->exact)
            check_fault(c, "", "must not be empty");
        else
            check_string_match(c, "", p->allow_origins[i], false);
    }
    CHECK_EACH (c, i, p->n_allow_methods, "allowMethods") {
        bool known = false;
        for (size_t k = 0; k < ARRAY_LEN(methods); k++)
            known |= strcmp(p->allow_methods[i], methods[k]) == 0;
        if (!known)
            check_fault(c, "", "'%s' is no method of HTTP", p->allow_methods[i]);
    }
    CHECK_EACH (c, i, p->n_allow_headers, "allowHeaders") {
        if (strcmp(p->allow_headers[i], "*") != 0 && !is_header_name(str_from(p->allow_headers[i])))
            check_fault(c, "", "'%s' is not a header's name", p->allow_headers[i]);
    }
    CHECK_EACH (c, i, p->n_expose_headers, "exposeHeaders") {
        if (strcmp(p->expose_headers[i], "*") != 0 && !is_header_name(str_from(p->expose_headers[i])))
            check_fault(c, "", "'%s' is not a header's name", p->expose_headers[i]);
    }
    check_duration(c, "maxAge", p->max_age);
    if (p->max_age && p->max_age->nanos)
        check_fault(c, "maxAge", "must be whole seconds");
}

/* ---- the whole ---- */

/* A route does one thing; `fault` and `rewrite` are of those that go somewhere. */
static void check_action(struct check *c, const ist_http_route *route)
{
    const char *action = route->redirect ? "redirect" : route->direct_response ? "directResponse" : NULL;
    if (!action) {
        if (route->n_route == 0)
            check_fault(c, "", "one of route, redirect, directResponse and delegate must be set");
        return;
    }
    if (route->redirect && route->direct_response)
        check_fault(c, "directResponse", "must not stand beside redirect");
    if (route->n_route)
        check_fault(c, "route", "must not stand beside %s", action);
    if (route->fault)
        check_fault(c, "fault", "must not stand beside %s", action);
    if (route->rewrite)
        check_fault(c, "rewrite", "must not stand beside %s", action);
}

static void check_kind(struct check *c, const ist_http_route *route, bool is_delegate)
{
    if (is_delegate && route->delegate)
        check_fault(c, "delegate", "must not be set in a virtual service that others delegate to: there is one level");
    if (!route->delegate || is_delegate) {
        check_action(c, route);
        return;
    }
    if (!*route->delegate->name)
        check_fault(c, "delegate.name", "is missing");
    if (route->redirect)
        check_fault(c, "redirect", "must not stand beside delegate");
    if (route->n_route)
        check_fault(c, "route", "must not stand beside delegate");
}

static void check_http_route(struct check *c, const ist_http_route *route, bool is_delegate)
{
    check_kind(c, route, is_delegate);
    CHECK_EACH (c, i, route->n_match, "match")
        check_match(c, route->match[i]);
    check_headers(c, route->headers);
    if (route->cors_policy)
        PROTO_IN (&c->r, "corsPolicy")
            check_cors(c, route->cors_policy);
    check_faults(c, route->fault);
    check_mirrors(c, route);
    check_redirect(c, route);
    check_direct_response(c, route->direct_response);
    check_retry(c, "retries", route->retries);
    check_rewrite(c, route->rewrite);
    check_authority(c, route);
    check_destinations(c, route);
    check_duration(c, "timeout", route->timeout);
}

/* Do the two matches ask the same, names aside? */
static bool same_match(const ist_http_match *a, const ist_http_match *b)
{
    ist_http_match x = *a, y = *b;
    x.name = y.name = (char *)"";
    return proto_equal(&x.base, &y.base);
}

static void warn_of_unused(struct check *c, size_t n, ist_http_route *const *routes, size_t at)
{
    const ist_http_route *route = routes[at];
    size_t twice = 0;
    for (size_t i = 0; i < at; i++)
        if (routes[i]->n_match == 0) {
            check_warn(c, "", "is never used: http[%zu] before it matches all", i);
            return;
        }
    for (size_t k = 0; k < route->n_match; k++) {
        bool found = false;
        for (size_t i = 0; !found && i < at; i++)
            for (size_t m = 0; !found && m < routes[i]->n_match; m++)
                found = same_match(routes[i]->match[m], route->match[k]);
        twice += found;
        if (found && route->n_match > 1)
            check_warn(c, "match", "[%zu] is never used: a rule before has the same", k);
    }
    if (n && route->n_match && twice == route->n_match)
        check_warn(c, "", "is never used: rules before it have all of its matches");
}

void check_http_routes(struct check *c, size_t n, ist_http_route *const *routes, bool is_delegate)
{
    CHECK_EACH (c, i, n, "http") {
        check_http_route(c, routes[i], is_delegate);
        if (c->warnings)
            warn_of_unused(c, n, routes, i);
    }
}
