/* SPDX-License-Identifier: Apache-2.0
 *
 * Load reports of proxies (envoy.service.load_stats.v3.LoadReportingService) as the graph's loads. Who reports must be who may
 * have configuration: it is asked at the same gate. Main thread.
 */
#ifndef CONTROL_GRAPH_LRS_H
#define CONTROL_GRAPH_LRS_H

#include "control/graph/graph.h"
#include "control/view/view.h"

/* The name of the metric by which weft-proxy tells of requests' times, in milliseconds; Envoy has none of it. */
#define LOAD_REPORT_TIME_METRIC "weft.upstream_rq_time_ms"

struct load_reports;
struct load_reports_opts {     /* 0: the default in brackets */
    uint64_t interval_ms;      /* [5000] between the reports of a proxy */
    uint32_t streams_max;      /* [100000] more are refused with RESOURCE_EXHAUSTED */
    uint32_t clusters_max;     /* [100000] of one report */
};
/* `keep_gate` NULL: everybody may. */
struct load_reports *load_reports_new(struct loop *loop, const struct load_reports_opts *opts, struct graph *keep_graph,
                                      const struct world *keep_world, struct view_gate *keep_gate);
void load_reports_free(struct load_reports **l); /* after its servers, before the graph */
/* Before the first connection, as push_serve. */
void load_reports_serve(struct load_reports *l, struct grpc_server *g, bool is_plain);
void load_reports_metrics(const struct load_reports *l, struct strbuf *prometheus); /* weftd_graph_..., weftd_load_report... */

#endif
