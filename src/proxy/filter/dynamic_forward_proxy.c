/* SPDX-License-Identifier: Apache-2.0
 *
 * envoy.filters.http.dynamic_forward_proxy: holds a request until the name that it wants is resolved.
 *
 *   idle -> waiting (request held) -> passed on | 503 where there is no address
 *
 * Only requests to clusters that take their endpoints from a DNS cache are held: others' names are their own affair. The
 * cluster finds the host by the same name later. Runs on the exchange's worker; a request that goes stops waiting.
 */
#include "proxy/filter/dynamic_forward_proxy.h"

#include "base/check.h"
#include "http/codec/uri.h"
#include "proxy/cluster/cluster.h"
#include "proxy/cluster/dns_cache.h"
#include "proxy/route/route.h"

struct forward_proxy_state {
    struct dns_cache_wait wait;
    struct http_filter *f;
};

static const struct filter_state_entry *said(struct http_filter *f, struct str key)
{
    const struct forward_proxy_config *c = f->config;
    return c->host_from_filter_state ? filter_state_find(&exchange_info(f->x)->filter_state, key) : NULL;
}

static void rewrite_host(struct http_filter *f, struct headers *h)
{
    const struct forward_proxy_route *r = exchange_route_config(f);
    struct str to = STR_NULL;
    if (!r)
        return;
    if (r->host_rewrite.n)
        to = r->host_rewrite;
    else if (r->host_rewrite_header.n)
        to = headers_get(h, r->host_rewrite_header);
    if (to.n)
        headers_set_id(h, HDR_AUTHORITY, to);
}

static uint16_t default_port(struct http_filter *f, const struct cluster *cluster)
{
    const struct filter_state_entry *port = said(f, DYNAMIC_PORT_KEY);
    uint64_t n;
    if (port && str_to_u64(port->value, &n) && n && n <= UINT16_MAX)
        return (uint16_t)n;
    return cluster_spec(cluster)->transport->tls ? 443 : 80;
}

static void refuse(struct http_filter *f, const struct outcome *o, const char *body, const char *details)
{
    exchange_local_reply(f->x, o, 503, str_from(body), details ? str_from(details) : STR_NULL, NULL, NULL);
}

/* True: the request may go on. */
static bool take(struct http_filter *f, const struct dns_host *h)
{
    const struct forward_proxy_config *c = f->config;
    char text[ADDR_TEXT_BYTES];
    if (!h) {
        refuse(f, OUTCOME(DNS_CACHE_OVERFLOW), "DNS cache overflow", NULL);
        return false;
    }
    if (!h->addr_count) {
        refuse(f, OUTCOME(DNS_RESOLUTION_FAILED), "DNS resolution failure", h->failure);
        return false;
    }
    if (c->save_upstream_address)
        filter_state_set(&exchange_info(f->x)->filter_state, STR("envoy.stream.upstream_address"),
                         str_from(addr_text(&h->addrs[0], text)), false, FILTER_STATE_PRIVATE);
    return true;
}

static void on_loaded(struct dns_cache_wait *w, const struct dns_host *h)
{
    struct forward_proxy_state *s = CONTAINER_OF(w, forward_proxy_state, wait);
    if (take(s->f, h))
        exchange_continue_request(s->f);
}

static enum filter_headers load(struct http_filter *f, struct str name)
{
    const struct forward_proxy_config *c = f->config;
    struct forward_proxy_state *s = f->state;
    const struct dns_host *h;
    s->f = f;
    s->wait.on_loaded = on_loaded;
    switch (dns_cache_load(c->cache, name, &s->wait, &h)) {
    case DNS_CACHE_KNOWN:
        return take(f, h) ? FILTER_HEADERS_CONTINUE : FILTER_HEADERS_STOP;
    case DNS_CACHE_WAIT:
        return FILTER_HEADERS_STOP_ALL_WATERMARK;
    case DNS_CACHE_TOO_MANY_WAIT:
        refuse(f, OUTCOME(DNS_PENDING_OVERFLOW), "Dynamic forward proxy pending request overflow", NULL);
        return FILTER_HEADERS_STOP;
    case DNS_CACHE_TOO_MANY_HOSTS:
        break;
    }
    take(f, NULL);
    return FILTER_HEADERS_STOP;
}

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)end;
    const struct forward_proxy_config *c = f->config;
    const struct route_decision *d = exchange_decision(f->x);
    char text[DNS_CACHE_NAME_BYTES];
    if (!c->cache || !d->route || d->route->action != ROUTE_CLUSTER || !d->cluster || cluster_spec(d->cluster)->type != CLUSTER_FORWARD_PROXY)
        return FILTER_HEADERS_CONTINUE;
    rewrite_host(f, h);
    const struct filter_state_entry *host = said(f, DYNAMIC_HOST_KEY);
    struct str authority = host ? host->value : headers_get_id(h, HDR_AUTHORITY);
    struct str name = dns_cache_name(authority, default_port(f, d->cluster), text);
    if (name.n)
        return load(f, name);
    refuse(f, OUTCOME(DNS_RESOLUTION_FAILED), "DNS resolution failure", NULL);
    return FILTER_HEADERS_STOP;
}

static void on_destroy(struct http_filter *f)
{
    struct forward_proxy_state *s = f->state;
    dns_cache_cancel(&s->wait);
}

static void link_config(void *config, struct stat_scope *stats)
{
    (void)stats;
    struct forward_proxy_config *c = config;
    if (!c->cache && c->spec)
        c->cache = dns_cache_open(c->spec);
}

const struct http_filter_def forward_proxy_filter = {
    .name = "envoy.filters.http.dynamic_forward_proxy",
    .state_bytes = sizeof(struct forward_proxy_state),
    .on_request_headers = on_request_headers,
    .on_destroy = on_destroy,
    .link = link_config,
};
