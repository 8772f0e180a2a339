/* SPDX-License-Identifier: Apache-2.0
 *
 * Active health checks: the main thread asks every member of a cluster, by HTTP, TCP or gRPC, whether
 * it is well, and publishes what it learns (Envoy: "Health checking", core.v3.HealthCheck). A member
 * starts as failed and is well from its first good answer on.
 */
#ifndef PROXY_HEALTH_HEALTH_CHECK_H
#define PROXY_HEALTH_HEALTH_CHECK_H

#include "http/client.h"
#include "io/addr.h"
#include "proxy/match/string_match.h"
#include "proxy/metadata.h"
#include "proxy/route/header_rules.h"

struct cluster;
struct rng;
struct endpoint_spec;
struct host;
struct host_set;

enum health_kind { HEALTH_HTTP, HEALTH_TCP, HEALTH_GRPC };
struct status_range { uint32_t from, to; }; /* [from, to) */

struct health_spec {
    enum health_kind kind;
    uint64_t timeout_ms, initial_jitter_ms, interval_jitter_ms;
    /* Pauses between checks, by what the last one said and whether that is already what the host is taken for. */
    uint64_t interval_ms, unhealthy_ms, unhealthy_edge_ms, healthy_edge_ms;
    uint64_t no_traffic_ms, no_traffic_healthy_ms; /* clusters that never had a connection */
    uint32_t interval_jitter_pct, unhealthy_threshold, healthy_threshold;
    bool reuse_connection;       /* true */
    bool log_failures, log_successes;
    struct str *log_paths; uint32_t log_path_count;
    struct meta_value transport_criteria; /* transport_socket_match_criteria; META_NULL: the host's own transport */
    struct str *alpn; uint32_t alpn_count; /* tls_options; else the protocol's own */

    /* HTTP */
    struct str host, path, method;
    enum http_protocol protocol;
    struct status_range *expected, *retriable; uint32_t expected_count, retriable_count;
    bool has_service_match; struct string_match service_match; /* x-envoy-upstream-healthchecked-cluster */
    uint64_t response_bytes;     /* how much of a body is looked at for `receive`; 1024, 0: all */
    /* gRPC */
    struct str service_name, authority;
    /* HTTP and gRPC */
    struct header_rules headers;
    /* HTTP and TCP. What is received must hold all parts, in order, with anything between them. */
    struct str send;
    struct str *receive; uint32_t receive_count;
    uint8_t proxy_protocol_version; /* TCP: a header goes first; 0 none */
};
void health_spec_fini(struct health_spec *s); /* what isn't in its arena */

/* A member's part; NULL where it isn't checked. */
struct health_session;
struct health_host {
    struct addr addr;            /* where to ask */
    struct str hostname;         /* owned; overrides the check's host or authority; null: none */
    struct health_session *session; /* main thread */
};
struct health_host *health_host_new(const struct health_spec *spec, const struct endpoint_spec *e);
void health_host_free(struct health_host **h);
bool health_host_fits(const struct health_host *h, const struct health_spec *spec, const struct endpoint_spec *e);

struct health_checker;
/* ---- main thread ---- */
struct health_checker *health_new(struct cluster *c, const struct health_spec *keep_spec);
void health_free(struct health_checker **hc);
/* Begins with those that are new, ends with those that left; who stayed goes on as it was. */
void health_members_changed(struct health_checker *hc, const struct host_set *now);
/* Once, as soon as every present member has been checked once: at once where there is none. */
void health_when_known(struct health_checker *hc, void (*on_known)(void *arg), void *arg);

/* ---- any thread ---- */
/* A response asked that its host be taken out now (x-envoy-immediate-health-check-fail). */
void health_fail_now(struct cluster *c, struct host *h);

/* ---- pure ---- */
/* Until the next check, jitter included. `has_traffic`: the cluster has had a connection; `is_edge`: the last result isn't yet
 * what the host is taken for. */
uint64_t health_pause_ms(const struct health_spec *spec, struct rng *rng, bool has_traffic, bool passed, bool is_edge);
bool health_status_in(const struct status_range *ranges, uint32_t n, unsigned status);
/* Are the parts in `data`, in order? */
bool health_payload_matches(const struct str *parts, uint32_t n, struct str data);

#endif
