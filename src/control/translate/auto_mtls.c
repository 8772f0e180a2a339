/* SPDX-License-Identifier: Apache-2.0
 *
 * Mutual TLS without being told (Istio: "Auto mutual TLS"): per endpoint where endpoints are known, of all or none where connections
 * go to addresses that the application chose.
 */
#include "control/translate/translate_priv.h"

#include <stdlib.h>

#define CLUSTER Envoy__Config__Cluster__V3__Cluster
#define MATCH Envoy__Config__Cluster__V3__Cluster__TransportSocketMatch

static const char match_istio[] =
    "{\"name\":\"tlsMode-istio\",\"match\":{\"tlsMode\":\"istio\"}}";
static const char match_disabled[] =
    "{\"name\":\"tlsMode-disabled\",\"match\":{},\"transport_socket\":{\"name\":\"envoy.transport_sockets.raw_buffer\",\"typed_config\":"
    "{\"@type\":\"type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer\"}}}";

static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

size_t service_identities(const struct translation *t, const struct service *s, const struct str **out)
{
    const struct endpoint_set *set = world_endpoints(t->world, s);
    size_t n = 0, most = s->san_count + (set ? set->count : 0);
    struct str *all = arena_alloc(t->arena, (most ? most : 1) * sizeof(*all));
    for (uint32_t i = 0; i < s->san_count; i++)
        all[n++] = s->sans[i];
    for (uint32_t i = 0; set && i < set->count; i++)
        if (set->items[i].identity.n)
            all[n++] = set->items[i].identity;
    qsort(all, n, sizeof(*all), by_text);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || !str_eq(all[kept - 1], all[i]))
            all[kept++] = all[i];
    *out = all;
    return kept;
}

static bool all_take_mtls(const struct translation *t, const struct service *s, uint32_t port)
{
    const struct endpoint_set *set = world_endpoints(t->world, s);
    uint32_t n = 0;
    for (uint32_t i = 0; set && i < set->count; i++) {
        if (set->items[i].service_port != port)
            continue;
        n++;
        if (!str_eq(set->items[i].tls_mode, STR("istio")))
            return false;
    }
    return n > 0;
}

/* A mesh or namespace whose peers must not authenticate is called in clear. */
static bool is_wanted(const struct translation *t, const struct service *s)
{
    static const struct labels none = {0};
    return world_mesh(t->world)->auto_mtls && !s->is_external && mtls_mode_for(t->world, s->ns, &none, 0) != MTLS_DISABLE;
}

void auto_mtls_apply(const struct translation *t, const struct cluster_purpose *p, CLUSTER *c)
{
    const struct service *s = p->service->service;
    if (!is_wanted(t, s))
        return;
    const struct str *sans;
    size_t san_count = service_identities(t, s, &sans);
    bool is_http2 = protocol_is_http2(p->port->protocol);
    if (c->lb_policy == ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__CLUSTER_PROVIDED) {
        if (all_take_mtls(t, s, p->port->number))
            c->transport_socket = upstream_mtls(t, p->sni, sans, (uint32_t)san_count, is_http2);
        return;
    }
    MATCH *istio = COPY_OF(t, MATCH, envoy__config__cluster__v3__cluster__transport_socket_match__descriptor, match_istio);
    istio->transport_socket = upstream_mtls(t, p->sni, sans, (uint32_t)san_count, is_http2);
    c->transport_socket_matches = pointers(t, 2);
    c->transport_socket_matches[0] = istio;
    c->transport_socket_matches[1] =
        COPY_OF(t, MATCH, envoy__config__cluster__v3__cluster__transport_socket_match__descriptor, match_disabled);
    c->n_transport_socket_matches = 2;
}
