/* SPDX-License-Identifier: Apache-2.0
 *
 * Routing: pure; a request in, a decision out. Tables are built on the main thread, read by all.
 */
#ifndef PROXY_ROUTE_ROUTE_H
#define PROXY_ROUTE_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "http/codec/headers.h"
#include "proxy/match/string_match.h"

struct cluster;

enum path_match_kind { PATH_PREFIX, PATH_EXACT, PATH_SEPARATED_PREFIX, PATH_REGEX, PATH_CONNECT };
struct route_match {
    enum path_match_kind kind;
    struct str path;
    bool ignore_case;
    struct regex *regex;
};
enum route_action { ROUTE_CLUSTER, ROUTE_DIRECT_RESPONSE };
struct upgrade_spec { struct str type; bool enabled; bool connect_terminate; };

/* When a request may be tried again (route.v3.RetryPolicy): the route's policy, else its virtual host's. */
#define RETRY_ON_TABLE(X)                                                                          \
    X(0, 5XX, "5xx") X(1, GATEWAY_ERROR, "gateway-error") X(2, RESET, "reset")                     \
    X(3, RESET_BEFORE_REQUEST, "reset-before-request") X(4, CONNECT_FAILURE, "connect-failure")    \
    X(5, REFUSED_STREAM, "refused-stream") X(6, RETRIABLE_4XX, "retriable-4xx")                    \
    X(7, GRPC_CANCELLED, "cancelled") X(8, GRPC_DEADLINE_EXCEEDED, "deadline-exceeded")            \
    X(9, GRPC_INTERNAL, "internal") X(10, GRPC_RESOURCE_EXHAUSTED, "resource-exhausted")           \
    X(11, GRPC_UNAVAILABLE, "unavailable")
enum retry_on {
#define X(bit, name, text) RETRY_ON_##name = 1u << (bit),
    RETRY_ON_TABLE(X)
#undef X
};
struct retry_policy {
    uint32_t on;                     /* enum retry_on bits */
    uint32_t num_retries;            /* 1 */
};

struct route_entry {
    struct str name;
    struct route_match match;
    enum route_action action;
    struct str cluster_name;
    struct cluster *cluster;         /* resolved when the snapshot is built; NULL: answered with cluster_not_found */
    unsigned priority;
    int64_t timeout_ms;              /* 15000; 0 = none */
    int64_t idle_timeout_ms;         /* -1 = the HCM's stream idle timeout */
    uint16_t cluster_not_found_status; /* 503 */
    uint16_t direct_status;
    struct str direct_body, direct_content_type;
    struct upgrade_spec *upgrades; uint32_t upgrade_count;
    const struct virtual_host *vhost;
    const void **filter_configs;     /* typed_per_filter_config by index in the HCM's chain; may be NULL */
    const struct retry_policy *retry; /* NULL: none */
    void *ext;                       /* reserved for TRAFFIC: retries, rewrites, headers… */
};
struct virtual_host {
    struct str name;
    struct str *domains; uint32_t domain_count;
    struct route_entry **routes; uint32_t route_count;
};
struct route_table; /* compiled */
struct route_config_spec {
    struct str name;
    struct virtual_host **vhosts; uint32_t vhost_count;
    bool ignore_port_in_host;
    struct arena *arena;             /* the spec's memory */
};
/* Compiles domains (exact by hash; suffix and prefix wildcards by length, longest first; "*"). Duplicate domains are errors. */
struct route_table *route_table_new(const struct route_config_spec *spec, struct err *err);
void route_table_free(struct route_table **t);
/* `request` needs :authority, :path, :method. NULL: no route. *vhost is set when a virtual host matched. */
const struct route_entry *route_find(const struct route_table *t, const struct headers *request, const struct virtual_host **vhost);

#endif
