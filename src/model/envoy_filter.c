/* SPDX-License-Identifier: Apache-2.0
 *
 * Values of EnvoyFilters -> messages of Envoy's API (Istio: "EnvoyFilter.ApplyTo"), by way of their JSON. Durations may be
 * Go's ("500ms"): Istio takes them. Pure.
 */
#include "model/envoy_filter.h"

#include "istio/networking/envoy_filter.pb-c.h"
#include "proto/json.h"

#define APPLY_TO(name) ISTIO__NETWORKING__V1ALPHA3__ENVOY_FILTER__APPLY_TO__##name

static const char *const types[] = {
    [APPLY_TO(LISTENER)] = "envoy.config.listener.v3.Listener",
    [APPLY_TO(FILTER_CHAIN)] = "envoy.config.listener.v3.FilterChain",
    [APPLY_TO(NETWORK_FILTER)] = "envoy.config.listener.v3.Filter",
    [APPLY_TO(HTTP_FILTER)] = "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
    [APPLY_TO(ROUTE_CONFIGURATION)] = "envoy.config.route.v3.RouteConfiguration",
    [APPLY_TO(VIRTUAL_HOST)] = "envoy.config.route.v3.VirtualHost",
    [APPLY_TO(HTTP_ROUTE)] = "envoy.config.route.v3.Route",
    [APPLY_TO(CLUSTER)] = "envoy.config.cluster.v3.Cluster",
    [APPLY_TO(EXTENSION_CONFIG)] = "envoy.config.core.v3.TypedExtensionConfig",
    [APPLY_TO(BOOTSTRAP)] = "envoy.config.bootstrap.v3.Bootstrap",
    [APPLY_TO(LISTENER_FILTER)] = "envoy.config.listener.v3.ListenerFilter",
};

const ProtobufCMessageDescriptor *envoy_filter_type(int apply_to)
{
    bool known = apply_to > 0 && (size_t)apply_to < sizeof(types) / sizeof(types[0]);
    return known ? proto_type_find(str_from(types[apply_to])) : NULL;
}

ProtobufCMessage *envoy_filter_value(struct proto_arena *arena, int apply_to, const Google__Protobuf__Struct *value,
                                     struct err_list *faults)
{
    const ProtobufCMessageDescriptor *type = envoy_filter_type(apply_to);
    struct strbuf text = {0};
    ProtobufCMessage *msg = NULL;
    if (!type)
        return NULL;
    json_encode(&value->base, 0, &text);
    char *kept = proto_arena_strdup(arena, strbuf_str(&text)); /* the tree borrows it */
    const struct doc_node *root = kept ? json_read(arena, str_make(kept, text.n), NULL, faults) : NULL;
    if (!kept)
        err_list_addf(faults, ERR_LIMIT, "", "the value takes more memory than is allowed");
    else if (root && doc_decode_as(arena, root, type, DOC_GO_DURATIONS, &(struct doc_place){0}, &msg, faults) != 0)
        msg = NULL;
    strbuf_fini(&text);
    return msg;
}
