/* SPDX-License-Identifier: Apache-2.0
 *
 * Cross-site request forgery: a request that changes something must come from the host it goes to
 * (Origin, else Referer, against :authority) or from an origin that is listed. In shadow mode it is
 * only counted. On the exchange's worker.
 */
#include "proxy/filter/csrf.h"

#include "base/check.h"
#include "http/codec/uri.h"
#include "proxy/filter/filter_scope.h"

#define CSRF_STATS(X)                                                                              \
    X(CSRF_MISSING_SOURCE_ORIGIN, COUNTER, NONE, "missing_source_origin", "Requests that don't say where from") \
    X(CSRF_REQUEST_INVALID, COUNTER, NONE, "request_invalid", "Requests from elsewhere")           \
    X(CSRF_REQUEST_VALID, COUNTER, NONE, "request_valid", "Requests from where they may come")
enum { CSRF_STATS(STAT_ENUM_ROW) };
static const struct stat_desc csrf_rows[] = {CSRF_STATS(STAT_DESC_ROW)};
static const struct stat_table csrf_table = {csrf_rows, ARRAY_LEN(csrf_rows)};

static bool method_changes(struct str m)
{
    return str_eq(m, STR("POST")) || str_eq(m, STR("PUT")) || str_eq(m, STR("DELETE")) || str_eq(m, STR("PATCH"));
}

/* "https://host:port/path" -> "host:port"; what isn't a URI stands for itself. */
static struct str host_and_port(struct str text)
{
    struct uri uri;
    return uri_parse_absolute(text, &uri) ? uri.authority : text;
}

static struct str source_of(const struct headers *h)
{
    struct str origin = headers_get_id(h, HDR_ORIGIN);
    if (str_eq(origin, STR("null"))) /* RFC 6454 section 7.1: withheld; then Referer is not to be believed either */
        return STR_NULL;
    return host_and_port(origin.n ? origin : headers_get_id(h, HDR_REFERER));
}

static bool source_is_allowed(const struct csrf_policy *p, const struct headers *h, struct str source)
{
    if (str_eq(source, host_and_port(headers_get_id(h, HDR_AUTHORITY))))
        return true;
    for (uint32_t i = 0; i < p->origin_count; i++)
        if (string_matches(&p->origins[i], source))
            return true;
    return false;
}

static bool is_hit(const struct http_filter *f, const struct runtime_fraction *r)
{
    return runtime_fraction_hits(r, rng_next(loop_rng(exchange_loop(f->x))));
}

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)end;
    const struct csrf_policy *all = f->config, *own = exchange_route_config(f), *p = own ? own : all;
    bool on = is_hit(f, &p->enabled), shadow = p->has_shadow && is_hit(f, &p->shadow);
    if ((!on && !shadow) || !method_changes(headers_get_id(h, HDR_METHOD)))
        return FILTER_HEADERS_CONTINUE;
    struct str source = source_of(h);
    if (source.n && source_is_allowed(p, h, source)) {
        stat_inc(all->stats, STAT_CSRF_REQUEST_VALID);
        return FILTER_HEADERS_CONTINUE;
    }
    stat_inc(all->stats, source.n ? STAT_CSRF_REQUEST_INVALID : STAT_CSRF_MISSING_SOURCE_ORIGIN);
    if (!on)
        return FILTER_HEADERS_CONTINUE;
    exchange_local_reply(f->x, OUTCOME(CSRF_REFUSED), 403, STR("Invalid origin"), STR_NULL, NULL, NULL);
    return FILTER_HEADERS_STOP;
}

static void link(void *config, struct stat_scope *stats)
{
    struct csrf_policy *p = config;
    if (!p->stats)
        p->stats = filter_scope(stats, STR("csrf."), &csrf_table);
}

const struct http_filter_def csrf_filter = {
    .name = "envoy.filters.http.csrf",
    .on_request_headers = on_request_headers,
    .link = link,
};
