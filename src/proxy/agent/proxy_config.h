/* SPDX-License-Identifier: Apache-2.0
 *
 * PROXY_CONFIG: one workload's part of the mesh configuration (istio.mesh.v1alpha1.ProxyConfig as YAML or JSON,
 * https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig), over the defaults that pilot-agent has.
 */
#ifndef PROXY_AGENT_PROXY_CONFIG_H
#define PROXY_AGENT_PROXY_CONFIG_H

#include "proxy/agent/text.h"

struct text_list {
    struct str *items;
    size_t count;
};

struct proxy_config {
    struct str config_path, binary_path, service_cluster, tracing_service_name, discovery_address, control_plane_auth_policy;
    struct str statsd_udp_address, mesh_id, interception_mode;
    bool has_concurrency;
    uint32_t concurrency;            /* 0: by the CPUs */
    uint32_t proxy_admin_port, status_port, stat_name_length;
    uint64_t drain_ms, termination_drain_ms, file_flush_ms, stats_eviction_ms;
    bool hold_application;           /* holdApplicationUntilProxyStarts */
    struct text_pairs metadata;      /* proxyMetadata */
    struct text_pairs runtime_values;
    struct text_list extra_stat_tags, ca_certificates_pem;
    struct text_list stat_prefixes, stat_suffixes, stat_regexps; /* proxyStatsMatcher */
    struct str zipkin_address;       /* tracing.zipkin */
    struct str readiness_probe;      /* readinessProbe as JSON; "" none */
    struct str access_log_service, metrics_service; /* envoyAccessLogService, envoyMetricsService: addresses */
    struct text_pairs json;          /* every field that is set, the defaults too, by name: its value as JSON */
};

void proxy_config_init(struct proxy_config *out, struct arena *a); /* the defaults */
/* `text` over what is there; "" changes nothing. Everything is copied to `a`. Bad values are faults; fields that are unknown
 * or not supported come to `notes` by name. Paths begin with `source` ("PROXY_CONFIG", a file). With `in_mesh` it is a
 * MeshConfig, whose defaultConfig is taken. */
void proxy_config_apply(struct proxy_config *out, const char *source, struct str text, bool in_mesh, struct arena *a,
                        struct err_list *faults, struct err_list *notes);
/* {"binaryPath":"...",...}: what the node's metadata tells istiod. */
void proxy_config_json(const struct proxy_config *c, struct strbuf *out);

#endif
