/* SPDX-License-Identifier: Apache-2.0
 *
 * istio.stats: the mesh's standard metrics of requests and connections, with what a configuration changes of their labels
 * (stats.PluginConfig).
 */
#ifndef PROXY_FILTER_ISTIO_STATS_H
#define PROXY_FILTER_ISTIO_STATS_H

#include "proxy/cel/cel.h"
#include "proxy/filter/http_filter.h"
#include "proxy/filter/istio_peer.h"
#include "proxy/filter/istio_series.h"
#include "proxy/filter/network_filter.h"

enum istio_reporter { ISTIO_REPORTS_SOURCE, ISTIO_REPORTS_DESTINATION, ISTIO_REPORTS_WAYPOINT };
#define ISTIO_DIMENSIONS_MAX 64  /* expressions of one configuration */
#define ISTIO_OVERRIDES_MAX 64
#define ISTIO_LABEL_BYTES_MAX 256 /* of a value; longer ones are cut: peers choose some */

struct istio_dimension { struct str name; struct cel *value; };
struct istio_override {           /* one entry of `metrics` */
    uint64_t metrics;             /* bit per metric number */
    bool drop;
    struct str *removed; uint32_t removed_count;
    struct istio_dimension *dimensions; uint32_t dimension_count;
    uint32_t first_dimension;     /* its first one's number among all */
    struct cel *match;            /* NULL: always */
};
struct istio_own_metric {         /* a definition; numbered behind the standard ones */
    enum stat_kind kind;
    const struct stat_table *table;
    struct cel *value;
};
struct istio_stats_config {
    enum istio_reporter reporter;
    bool host_fallback;
    uint64_t report_ms;           /* of TCP; 0: only at the end */
    struct istio_override *overrides; uint32_t override_count;
    struct istio_own_metric *own; uint32_t own_count;
    uint32_t dimension_count;
    struct istio_peer *local;     /* who we are */
    struct str version;           /* of Istio */
    uint32_t id;                  /* of all that makes labels from facts: part of every key */
    struct istio_series_set *series;
    struct arena arena;
};

/* What labels are made of. Borrowed from the exchange or connection. */
enum istio_request_kind { ISTIO_HTTP, ISTIO_GRPC, ISTIO_TCP };
struct istio_facts {
    enum istio_request_kind kind;
    uint32_t status, flags;
    int32_t grpc_status;          /* -1 none */
    bool mutual_tls;
    const struct istio_peer *peer; /* NULL: not known */
    struct str endpoint;          /* the chosen endpoint's workload: "name;namespace;canonical name;revision;cluster" */
    struct str peer_san, local_san;
    struct str service, service_name, service_namespace;
    uint64_t matched;             /* bit per override */
    struct str *values;           /* of dimensions: the caller's room for as many as the configuration has; filled by evaluate */
};
/* The label set of these facts; made when it is met for the first time. NULL: there are too many. */
struct istio_series *istio_stats_series(const struct istio_stats_config *c, const struct istio_facts *f);
/* Fills in what both kinds share. `host`: of the request, "" none. SANs are set before by the caller. */
void istio_facts_of_peer(struct istio_facts *f, const struct istio_stats_config *c, const struct stream_info *info, struct str host);
/* Evaluates what the configuration asks for; values go to `a`. */
void istio_facts_evaluate(struct istio_facts *f, const struct istio_stats_config *c, const struct format_context *cx, struct arena *a);
struct tls_session;
void istio_facts_take_sans(struct tls_session *tls, struct str *peer, struct str *local); /* first URI SANs; "" none */
/* Of whoever reports for a server: what an outer tunnel's filters have left in the filter state, else the connection's. */
void istio_facts_take_server_sans(struct istio_facts *f, const struct stream_info *info);

extern const struct http_filter_def istio_http_stats_filter;
extern const struct network_filter_def istio_tcp_stats_filter;
void istio_stats_config_free(void *config);

#endif
