/* SPDX-License-Identifier: Apache-2.0
 *
 * envoy.filters.network.sni_dynamic_forward_proxy: holds a connection until the name that its client asked for in TLS is
 * resolved; tcp_proxy behind it goes there. A connection without a name, or whose name can't be waited for, passes or ends
 * as Envoy's does. On the connection's worker.
 */
#include "base/mem.h"
#include "proxy/cluster/dns_cache.h"
#include "proxy/filter/dynamic_forward_proxy.h"
#include "proxy/listener/listener.h"

#include <stdio.h>

struct waiting {
    struct dns_cache_wait wait;
    struct downstream *d;
    const struct forward_proxy_config *config;
};

static void close_it(struct downstream *d)
{
    conn_set_handler(d->conn, NULL, NULL);
    conn_close(d->conn, CONN_CLOSE_LOCAL);
    downstream_closed(d, true, CONN_CLOSE_LOCAL);
}

/* tcp_proxy finds no host for a name without an address, and says so in its own log and statistics. */
static void note(struct downstream *d, const struct forward_proxy_config *c, const struct dns_host *h)
{
    char text[ADDR_TEXT_BYTES];
    if (c->save_upstream_address && h->addr_count)
        filter_state_set(&d->filter_state, STR("envoy.stream.upstream_address"), str_from(addr_text(&h->addrs[0], text)), false,
                         FILTER_STATE_PRIVATE);
}

static void on_loaded(struct dns_cache_wait *w, const struct dns_host *h)
{
    struct waiting *q = CONTAINER_OF(w, waiting, wait);
    struct downstream *d = q->d;
    if (h)
        note(d, q->config, h);
    mem_free(q);
    if (h)
        downstream_continue(d);
    else
        close_it(d);
}

static enum prologue load(struct downstream *d, const struct forward_proxy_config *c, struct str name, void **state)
{
    const struct dns_host *h;
    struct waiting *q = NEW(waiting);
    *q = (struct waiting){.wait.on_loaded = on_loaded, .d = d, .config = c};
    enum dns_cache_result result = dns_cache_load(c->cache, name, &q->wait, &h);
    if (result == DNS_CACHE_WAIT) {
        *state = q;
        return PROLOGUE_WAIT;
    }
    mem_free(q);
    if (result == DNS_CACHE_KNOWN) {
        note(d, c, h);
        return PROLOGUE_PASS;
    }
    close_it(d);
    return PROLOGUE_CLOSED;
}

static enum prologue on_connection(struct downstream *d, const void *config, void **state)
{
    const struct forward_proxy_config *c = config;
    char text[DNS_CACHE_NAME_BYTES], port[8];
    if (!d->server_name.n)
        return PROLOGUE_PASS;
    snprintf(port, sizeof port, "%u", c->port);
    filter_state_set(&d->filter_state, DYNAMIC_PORT_KEY, str_from(port), false, FILTER_STATE_PRIVATE);
    struct str name = dns_cache_name(d->server_name, c->port, text);
    if (name.n)
        return load(d, c, name, state);
    close_it(d);
    return PROLOGUE_CLOSED;
}

static void on_abort(struct downstream *d, void *state)
{
    (void)d;
    struct waiting *q = state;
    dns_cache_cancel(&q->wait);
    mem_free(q);
}

static void link_config(void *config, struct link_context *cx)
{
    (void)cx;
    struct forward_proxy_config *c = config;
    if (!c->cache)
        c->cache = dns_cache_open(c->spec);
}

const struct network_filter_def sni_forward_proxy_filter = {
    .name = "envoy.filters.network.sni_dynamic_forward_proxy",
    .on_connection = on_connection,
    .on_abort = on_abort,
    .link = link_config,
};
