/* SPDX-License-Identifier: Apache-2.0
 *
 * Route tables from YAML, and requests to them, for the tests of proxy/route.
 */
#ifndef TESTS_PROXY_ROUTE_FIXTURE_H
#define TESTS_PROXY_ROUTE_FIXTURE_H

#include "../unit.h"

#include "proxy/hcm/hcm.h"
#include "proxy/listener/listener.h"
#include "proxy/route/route.h"
#include "proxy/stats/stats.h"

#include "config_fixture.h"

#define ROUTE_BOOTSTRAP                                                                            \
    "static_resources:\n"                                                                          \
    "  clusters: [{name: a}, {name: b}, {name: c}]\n"                                              \
    "  listeners:\n"                                                                               \
    "  - name: l\n"                                                                                \
    "    address: {socket_address: {address: 127.0.0.1, port_value: 80}}\n"                        \
    "    filter_chains: [{filters: [{name: h, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network." \
    "http_connection_manager.v3.HttpConnectionManager, stat_prefix: h, http_filters: [{name: r, typed_config: {'@type': "    \
    "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}], route_config: {%s}}}]}]\n"

struct routes {
    struct loaded loaded;
    const struct hcm_config *hcm;
    struct arena arena; /* of requests */
};

/* `route_config`: what stands inside its braces. */
static inline struct loaded load_routes(const char *route_config)
{
    struct strbuf b = {0};
    strbuf_addf(&b, ROUTE_BOOTSTRAP, route_config);
    struct loaded l = load_with(b.p, false);
    strbuf_fini(&b);
    return l;
}

static inline struct routes routes_from(const char *route_config)
{
    struct routes r = {.loaded = load_routes(route_config)};
    char text[1024];
    for (size_t i = 0; i < r.loaded.faults.count; i++)
        print_message("%s\n", err_format(&r.loaded.faults.items[i], text, sizeof text));
    assert_non_null(r.loaded.result);
    r.hcm = r.loaded.result->listeners[0]->chains[0]->filters[0].config;
    arena_init(&r.arena, 0);
    return r;
}

/* One virtual host with these routes. */
static inline struct routes routes_of(const char *routes)
{
    struct strbuf b = {0};
    strbuf_addf(&b, "virtual_hosts: [{name: v, domains: ['*'], routes: [%s]}]", routes);
    struct routes r = routes_from(b.p);
    strbuf_fini(&b);
    return r;
}

static inline void routes_drop(struct routes *r)
{
    unload(&r->loaded);
    arena_fini(&r->arena);
    arena_thread_fini();
}

/* "GET host /path name:value name:value …"; a missing path is "-". */
static inline struct headers request_of(struct routes *r, const char *text)
{
    struct headers h;
    struct str rest = arena_str(&r->arena, str_from(text));
    headers_init(&h, &r->arena);
    headers_add_id_ref(&h, HDR_METHOD, str_split(rest, ' ', &rest));
    headers_add_id_ref(&h, HDR_AUTHORITY, str_split(rest, ' ', &rest));
    struct str path = str_split(rest, ' ', &rest);
    if (!str_eq(path, STR("-")))
        headers_add_id_ref(&h, HDR_PATH, path);
    headers_add_id_ref(&h, HDR_SCHEME, STR("http"));
    while (rest.p) {
        struct str value, name = str_split(str_split(rest, ' ', &rest), ':', &value);
        if (name.n)
            headers_add_ref(&h, name, value);
    }
    return h;
}

static inline struct route_decision decide(struct routes *r, const struct headers *h, uint64_t random)
{
    struct route_request rq = {.headers = h, .random = random};
    struct route_decision d = {0};
    route_decide(route_source_now(r->hcm->routes)->table, &rq, NULL, &d);
    return d;
}

/* The name of the route taken; "" for none. */
static inline struct str taken(struct routes *r, const char *request)
{
    struct headers h = request_of(r, request);
    struct route_decision d = decide(r, &h, 0);
    return d.route ? d.route->name : STR("");
}

#endif
