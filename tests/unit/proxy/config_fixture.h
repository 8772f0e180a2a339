/* SPDX-License-Identifier: Apache-2.0
 *
 * Loading configurations given as text, for the tests of proxy/config.
 */
#ifndef TESTS_PROXY_CONFIG_FIXTURE_H
#define TESTS_PROXY_CONFIG_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "proxy/config/bootstrap.h"

struct loaded {
    struct config_result *result;
    struct err_list faults;
};

static inline struct loaded load_with(const char *yaml, bool allow_unsupported)
{
    struct loaded l = {0};
    struct server_opts opts = {.config_yaml = str_from(yaml), .allow_unsupported = allow_unsupported};
    config_load(&opts, &l.result, &l.faults);
    return l;
}

static inline struct loaded load(const char *yaml)
{
    struct loaded l = load_with(yaml, false);
    char text[1024];
    for (size_t i = 0; i < l.faults.count; i++)
        print_message("%s\n", err_format(&l.faults.items[i], text, sizeof text));
    assert_non_null(l.result);
    return l;
}

static inline void unload(struct loaded *l)
{
    config_result_free(&l->result);
    err_list_fini(&l->faults);
}

static inline bool has_fault(const struct err_list *list, const char *text)
{
    char all[1024];
    for (size_t i = 0; i < list->count; i++)
        if (strstr(err_format(&list->items[i], all, sizeof all), text))
            return true;
    return false;
}

static inline void assert_faults(const char *yaml, const char *const *texts, size_t n)
{
    struct loaded l = load_with(yaml, false);
    char text[1024];
    assert_null(l.result);
    for (size_t i = 0; i < n; i++)
        if (!has_fault(&l.faults, texts[i])) {
            for (size_t j = 0; j < l.faults.count; j++)
                print_message("have: %s\n", err_format(&l.faults.items[j], text, sizeof text));
            fail_msg("no fault like: %s", texts[i]);
        }
    assert_int_equal(l.faults.count, n);
    unload(&l);
}

#define ANY(type_) "\"@type\": type.googleapis.com/envoy.extensions." type_
#define ROUTER "{name: envoy.filters.http.router, typed_config: {" ANY("filters.http.router.v3.Router") "}}"
#define HCM_OPEN "{name: hcm, typed_config: {" ANY("filters.network.http_connection_manager.v3.HttpConnectionManager") ", stat_prefix: in, "
#define HCM_ROUTES(routes_) \
    "http_filters: [" ROUTER "], route_config: {virtual_hosts: [{name: v, domains: ['*'], routes: [" routes_ "]}]}}}"
#define LISTENER(filter_) \
    "{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 8080}}, filter_chains: [{filters: [" filter_ "]}]}"
#define CLUSTER(name_) \
    "{name: " name_ ", load_assignment: {cluster_name: x, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 80}}}}]}]}}"
#define RESOURCES_OF(listeners_, clusters_) "static_resources: {listeners: [" listeners_ "], clusters: [" clusters_ "]}\n"
#define TO_A "{match: {prefix: /}, route: {cluster: a}}"

#endif
