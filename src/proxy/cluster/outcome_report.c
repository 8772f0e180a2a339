/* SPDX-License-Identifier: Apache-2.0
 *
 * What came of attempts, told to those whom it concerns: outlier detection, and active health checks
 * where a response asks that its host be taken out. On the worker that made the attempt; nothing here
 * blocks, or allocates unless a host is about to be ejected.
 *
 * Without split_external_local_origin_errors our own trouble with a host counts as the status that a
 * client would have been given for it (Envoy: "Outlier detection", local-origin errors).
 */
#include "proxy/cluster/cluster_priv.h"
#include "proxy/health/health_check.h"
#include "proxy/health/outlier.h"

static void count_alike(struct outlier_detector *d, struct host *h, const struct host_report *r)
{
    switch (r->result) {
    case HOST_CONNECTED:
        break;
    case HOST_CONNECTED_FINAL:
        outlier_count_status(d, h, 200);
        break;
    case HOST_CONNECT_FAILED:
    case HOST_CONNECT_TIMEOUT:
    case HOST_RESET:
        outlier_count_status(d, h, 503);
        break;
    case HOST_TIMED_OUT:
        outlier_count_status(d, h, r->status ? r->status : 504);
        break;
    case HOST_RESPONDED:
        if (r->status) /* else trailers, whose response has counted */
            outlier_count_status(d, h, r->status);
        break;
    }
}

static void count_split(struct outlier_detector *d, struct host *h, const struct host_report *r)
{
    switch (r->result) {
    case HOST_CONNECTED:
    case HOST_CONNECTED_FINAL:
        outlier_count_local(d, h, true);
        break;
    case HOST_CONNECT_FAILED:
    case HOST_CONNECT_TIMEOUT:
    case HOST_RESET:
    case HOST_TIMED_OUT:
        outlier_count_local(d, h, false);
        break;
    case HOST_RESPONDED:
        if (r->status)
            outlier_count_status(d, h, r->status);
        break;
    }
}

void cluster_report(struct cluster_worker *cw, struct host *h, const struct host_report *report)
{
    struct cluster *c = cw->cluster;
    cluster_note_result(c, h, report, loop_now_us(cw->loop) / 1000);
    if (c->outlier && h->outlier)
        (c->spec->outlier->split ? count_split : count_alike)(c->outlier, h, report);
    if (c->spec->check && report->response && headers_has_id(report->response, HDR_ENVOY_IMMEDIATE_HEALTH_FAIL))
        health_fail_now(c, h);
}
