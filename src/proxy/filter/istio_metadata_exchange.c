/* SPDX-License-Identifier: Apache-2.0
 *
 * Metadata exchange of HTTP. A sidecar's inbound side looks downstream: it reads what a request says
 * of its sender, takes it off, and answers with our own where it was asked (the request had the
 * header). Its outbound side looks upstream: it puts our own on the request and reads and takes off
 * what the response says. On the exchange's worker; nothing is allocated for a peer that is known.
 */
#include "proxy/filter/istio_metadata_exchange.h"

#include "proxy/cluster/cluster.h"
#include "proxy/route/route.h"

struct state {
    struct filter_state_entry downstream, upstream;
    bool had_id, had_metadata; /* of the request */
};

static void discover(struct http_filter *f, const struct headers *h, struct str key, struct filter_state_entry *entry,
                     enum filter_state_sharing sharing)
{
    const struct istio_mx_config *c = f->config;
    struct str said = headers_get_id(h, HDR_X_ENVOY_PEER_METADATA);
    struct istio_peer *peer;
    if (!said.n)
        return;
    peer = istio_peers_look_up(c->peers, headers_get_id(h, HDR_X_ENVOY_PEER_METADATA_ID), said);
    if (peer)
        filter_state_link(&exchange_info(f->x)->filter_state, entry, key, &peer->object, sharing);
}

static void strip(struct headers *h)
{
    headers_remove_id(h, HDR_X_ENVOY_PEER_METADATA);
    headers_remove_id(h, HDR_X_ENVOY_PEER_METADATA_ID);
}

static bool says(const struct metadata *m, struct str key)
{
    const struct meta_value *v = metadata_find(m, STR("istio"), &key, 1);
    return v && v->kind == META_BOOL && v->u.boolean;
}

static bool is_external(const struct cluster *cluster)
{
    if (!cluster)
        return false;
    const struct cluster_spec *spec = cluster_spec(cluster);
    return str_eq(spec->name, STR("PassthroughCluster")) || says(spec->metadata, STR("external")) ||
           says(spec->metadata, STR("disable_mx"));
}

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)end;
    const struct istio_mx_config *c = f->config;
    struct state *s = f->state;
    s->had_id = headers_find_id(h, HDR_X_ENVOY_PEER_METADATA_ID) != NULL;
    s->had_metadata = headers_find_id(h, HDR_X_ENVOY_PEER_METADATA) != NULL;
    if (c->downstream.discovers) {
        discover(f, h, ISTIO_DOWNSTREAM_PEER, &s->downstream, c->sharing);
        strip(h);
    }
    if (c->upstream.propagates && !(c->upstream.skips_external && is_external(exchange_decision(f->x)->cluster))) {
        headers_set_id_ref(h, HDR_X_ENVOY_PEER_METADATA_ID, c->id);
        headers_set_id_ref(h, HDR_X_ENVOY_PEER_METADATA, c->metadata);
    }
    return FILTER_HEADERS_CONTINUE;
}

static enum filter_headers on_response_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)end;
    const struct istio_mx_config *c = f->config;
    struct state *s = f->state;
    if (c->upstream.discovers) {
        discover(f, h, ISTIO_UPSTREAM_PEER, &s->upstream, FILTER_STATE_PRIVATE);
        strip(h);
    }
    if (!c->downstream.propagates || (c->downstream.skips_external && is_external(exchange_info(f->x)->cluster)))
        return FILTER_HEADERS_CONTINUE;
    if (s->had_id)
        headers_set_id_ref(h, HDR_X_ENVOY_PEER_METADATA_ID, c->id);
    if (s->had_metadata)
        headers_set_id_ref(h, HDR_X_ENVOY_PEER_METADATA, c->metadata);
    return FILTER_HEADERS_CONTINUE;
}

const struct http_filter_def istio_http_mx_filter = {
    .name = "istio.metadata_exchange",
    .state_bytes = sizeof(struct state),
    .on_request_headers = on_request_headers,
    .on_response_headers = on_response_headers,
};
