/* SPDX-License-Identifier: Apache-2.0
 *
 * From a bootstrap file to plain specs: reads, validates and builds everything, or reports every
 * fault at once with its path. Opens no port, starts nothing; files that the configuration names
 * (certificates, bodies) are read. Main thread.
 */
#ifndef PROXY_CONFIG_BOOTSTRAP_H
#define PROXY_CONFIG_BOOTSTRAP_H

#include "proxy/listener/listener.h"
#include "proxy/match/string_match.h"
#include "proxy/runtime.h"
#include "proxy/server.h"

struct access_log;
struct config_source; /* proxy/discovery/discovery.h */
struct config_frame;
struct overload_spec;
struct stats_sink_spec;
struct stats_config; /* proxy/stats/stats_config.h */

struct config_admin {
    bool enabled;                    /* an address was given */
    struct addr addr;
    struct str profile_path;
    struct sock_opt *sock_opts; uint32_t sock_opt_count;
    struct access_log **access_logs; uint32_t access_log_count;
    struct string_match *allow_paths; uint32_t allow_path_count; /* none: every path is allowed */
    bool ignore_global_conn_limit;
};

struct config_result {
    struct node_info node;
    struct str local_cluster;        /* cluster_manager.local_cluster_name; "" none */
    struct config_admin admin;
    struct listener_spec **listeners; uint32_t listener_count; /* an entry that was taken is set to NULL */
    struct cluster_spec **clusters; uint32_t cluster_count;    /* likewise */
    struct runtime_layer_spec *layers; uint32_t layer_count;
    bool stats_flush_on_admin;       /* instead of the interval: when somebody looks */
    struct stats_sink_spec *sinks; uint32_t sink_count; /* sink/sink.h */
    struct overload_spec *overload;  /* overload/overload.h; NULL: none */
    struct stats_config *stats;      /* NULL when it says nothing */
    uint64_t stats_flush_interval_ms; /* 5000 */
    struct str header_prefix;        /* "x-envoy" */
    struct str log_format;           /* of the process's log; "" the command line's */
    struct str packed;               /* the whole bootstrap, packed, for /config_dump; may be taken (set to the null str) */
    const struct config_source *lds, *cds, *ads; struct str lds_locator, cds_locator; /* dynamic_resources; NULL none */
    const struct config_source *lrs; /* cluster_manager.load_stats_config; NULL none */
    struct str node_packed;          /* core.v3.Node, for management servers */
    uint64_t dynamic_unknown_fields;
    bool has_sources;                /* a static resource names a config source */
    struct config_frame *frame;      /* config/resources.h; NULL: discovery is never used */
    struct err_list unsupported;     /* with --allow-unsupported: what was left out; may be taken */
    struct cluster_slots slots;
    struct arena arena;              /* of all the text above */
};

/* Reads what `opts` names (config_path, config_yaml merged over it, --service-* flags over the node).
 * Faults are whole lines for a person: "bootstrap.yaml: static_resources.clusters[3].lb_policy:
 * MAGLEV is not supported yet"; print them with err_format. On a fault returns a negative code and
 * *out is NULL. Unsupported fields are faults unless opts->allow_unsupported. */
int config_load(const struct server_opts *opts, struct config_result **out, struct err_list *faults);
void config_result_free(struct config_result **r);

#endif
