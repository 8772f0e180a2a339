/* SPDX-License-Identifier: Apache-2.0
 *
 * Names the list of ALPN protocols for the request's upstream connection; pools part by it. Clusters
 * whose metadata says istio.alpn_override: "false" keep their own. On the exchange's worker.
 */
#include "proxy/filter/istio_alpn.h"

#include "proxy/cluster/cluster.h"
#include "proxy/route/route.h"

static bool keeps_its_own(const struct cluster_spec *spec)
{
    struct str key = STR("alpn_override");
    const struct meta_value *v = metadata_find(spec->metadata, STR("istio"), &key, 1);
    return v && v->kind == META_STRING && str_eq(v->u.string, STR("false"));
}

static enum http_protocol upstream_protocol(const struct cluster_http_spec *http, enum http_protocol downstream)
{
    if (http->use_downstream_protocol)
        return downstream;
    return http->alpn ? HTTP_2 : http->protocol; /* Envoy asks for the first it would take, which with ALPN is HTTP/2 */
}

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)h, (void)end;
    const struct istio_alpn_config *c = f->config;
    const struct cluster *cluster = exchange_decision(f->x)->cluster;
    struct stream_info *info = exchange_info(f->x);
    if (!cluster || keeps_its_own(cluster_spec(cluster)))
        return FILTER_HEADERS_CONTINUE;
    enum http_protocol p = upstream_protocol(cluster_spec(cluster)->http, info->protocol);
    if (p <= HTTP_2 && c->lists[p].count) {
        info->upstream_alpn = c->lists[p].names;
        info->upstream_alpn_count = c->lists[p].count;
    }
    return FILTER_HEADERS_CONTINUE;
}

const struct http_filter_def istio_alpn_filter = {
    .name = "istio.alpn",
    .state_bytes = 0,
    .on_request_headers = on_request_headers,
};
