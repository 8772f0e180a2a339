/* SPDX-License-Identifier: Apache-2.0
 *
 * Location of a redirect, as Envoy makes it: scheme://host[:port]path. A direct response whose status
 * is 201 or 3xx gets one too, the request's own URL (RFC 9110 section 10.2.2). Any worker.
 */
#include "proxy/route/redirect.h"

#include "http/codec/uri.h"
#include "proxy/route/rewrite.h"
#include "proxy/route/route_priv.h"

static const struct redirect_rule none;

/* The request's host; its port goes when another one is named, or when it was the default of a scheme that changes. */
static struct str host_of(const struct headers *h, struct str scheme, struct str port)
{
    struct str host = headers_get_id(h, HDR_AUTHORITY), proto = headers_get_id(h, HDR_X_FORWARDED_PROTO);
    size_t colon = host.n;
    while (colon > 0 && host.p[colon - 1] != ':' && host.p[colon - 1] != ']')
        colon--;
    if (!colon || host.p[colon - 1] != ':')
        return host;
    struct str own = str_make(host.p + colon - 1, host.n - colon + 1);
    bool gone = port.n > 0;
    if (!str_eq(scheme, proto))
        gone = gone || (str_eq(proto, STR("https")) && str_eq(own, STR(":443"))) ||
               (str_eq(proto, STR("http")) && str_eq(own, STR(":80")));
    return gone ? str_make(host.p, colon - 1) : host;
}

static struct str cut_query(struct str path)
{
    ptrdiff_t at = str_find_char(path, '?');
    return at < 0 ? path : str_make(path.p, (size_t)at);
}

void route_redirect_rewrite(const struct route_decision *d, struct headers *request, const struct format_context *cx,
                            bool suppress_envoy_headers, struct arena *a)
{
    const struct redirect_rule *r = d->route->redirect;
    struct str path = headers_get_id(request, HDR_PATH);
    if (d->route->action != ROUTE_REDIRECT || !path.p || (!r->prefix.n && !r->regex && !r->path_format))
        return;
    const struct rewrite_rule rule = {.prefix = r->prefix, .regex = r->regex, .substitution = r->substitution,
                                      .path_format = r->path_format};
    struct str fresh = rewrite_path(&rule, &d->route->match, path, cx, a);
    if (!fresh.p)
        return;
    if (!suppress_envoy_headers)
        headers_set_id(request, HDR_ENVOY_ORIGINAL_PATH, path);
    headers_set_id_ref(request, HDR_PATH, fresh);
}

static struct str path_of(const struct redirect_rule *r, struct str path, struct arena *a)
{
    if (!r->path.n)
        return r->strip_query ? cut_query(path) : path;
    ptrdiff_t query = str_find_char(path, '?');
    if (r->path_has_query || r->strip_query || query < 0)
        return r->path;
    return arena_printf(a, "%.*s%.*s", STR_ARG(r->path), (int)(path.n - (size_t)query), path.p + query);
}

static struct str location(const struct redirect_rule *r, const struct headers *h, struct arena *a)
{
    struct str scheme = r->scheme.n ? r->scheme : r->https ? STR("https") : headers_get_id(h, HDR_SCHEME);
    struct str host = r->host.n ? r->host : host_of(h, scheme, r->port);
    struct str path = path_of(r, headers_get_id(h, HDR_PATH), a);
    return arena_printf(a, "%.*s://%.*s%.*s%.*s", STR_ARG(scheme), STR_ARG(host), STR_ARG(r->port), STR_ARG(path));
}

struct str route_redirect_location(const struct route_decision *d, const struct headers *request, const struct format_context *cx,
                                   struct arena *a, unsigned *status)
{
    const struct route_entry *e = d->route;
    const struct redirect_rule *r = e->action == ROUTE_REDIRECT ? e->redirect : &none;
    (void)cx;
    *status = e->action == ROUTE_REDIRECT ? r->status : e->direct_status;
    if (!headers_get_id(request, HDR_PATH).p || !(*status == 201 || *status / 100 == 3))
        return STR_NULL;
    return location(r, request, a);
}

struct str route_https_location(const struct headers *request, struct arena *a)
{
    struct str host = headers_get_id(request, HDR_AUTHORITY), path = headers_get_id(request, HDR_PATH);
    return arena_printf(a, "https://%.*s%.*s", STR_ARG(host), STR_ARG(path));
}

void redirect_rule_fini(struct redirect_rule *r)
{
    regex_free(&r->regex);
    format_free(&r->path_format);
}
