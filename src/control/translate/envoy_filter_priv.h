/* SPDX-License-Identifier: Apache-2.0
 *
 * EnvoyFilters: which patches hold for a proxy (envoy_filter.c), how a message is changed by one (envoy_filter_merge.c), and where they
 * are applied: clusters and whole resources (envoy_filter.c), listeners (envoy_filter_listener.c), routes (envoy_filter_route.c).
 * Istio: "Envoy Filter".
 *
 * What is patched is copied first: what lies below a resource may be shared.
 */
#ifndef CONTROL_TRANSLATE_ENVOY_FILTER_PRIV_H
#define CONTROL_TRANSLATE_ENVOY_FILTER_PRIV_H

#include "control/translate/translate_priv.h"
#include "istio/networking/envoy_filter.pb-c.h"

#define PATCH_SPEC Istio__Networking__V1alpha3__EnvoyFilter__EnvoyConfigObjectPatch
#define PATCH_MATCH Istio__Networking__V1alpha3__EnvoyFilter__EnvoyConfigObjectMatch
#define APPLY_TO(x) ISTIO__NETWORKING__V1ALPHA3__ENVOY_FILTER__APPLY_TO__##x
#define CONTEXT(x) ISTIO__NETWORKING__V1ALPHA3__ENVOY_FILTER__PATCH_CONTEXT__##x
#define OPERATION(x) ISTIO__NETWORKING__V1ALPHA3__ENVOY_FILTER__PATCH__OPERATION__##x
#define MATCH_OF(x) ISTIO__NETWORKING__V1ALPHA3__ENVOY_FILTER__ENVOY_CONFIG_OBJECT_MATCH__OBJECT_TYPES_##x
#define APPLY_TO_COUNT 12

typedef Istio__Networking__V1alpha3__EnvoyFilter__ApplyTo apply_to;
typedef Istio__Networking__V1alpha3__EnvoyFilter__Patch__Operation patch_operation;
typedef Istio__Networking__V1alpha3__EnvoyFilter__PatchContext patch_context;

struct patch {
    const struct object *object;
    const PATCH_SPEC *spec;
    size_t index;              /* in its object, for the log */
    patch_operation operation;
    patch_context context;
    const PATCH_MATCH *match;  /* NULL: everything */
    bool is_decoded;
    ProtobufCMessage *value;   /* decoded when it is first needed; NULL after a fault, which the log has told */
};
/* In the order in which they are applied. */
struct patches {
    struct patch *items;
    size_t count;
    size_t of_kind[APPLY_TO_COUNT];
};

/* The next patch of the kind and context after *pos that isn't broken; NULL: no more. Start with 0. */
struct patch *patch_next(const struct translation *t, apply_to kind, patch_context context, size_t *pos);
bool patches_have(const struct translation *t, apply_to kind);
/* Of the proxy and the direction of what is patched. */
patch_context patch_context_of(const struct translation *t, bool is_inbound);
/* What the patch holds, a new copy; NULL after a fault. */
ProtobufCMessage *patch_value(const struct translation *t, struct patch *p);
/* "EnvoyFilter foo/bar: configPatches[2]" said before the text. */
void patch_refuse(const struct patch *p, const char *why);

/* ---- envoy_filter_merge.c ---- */
/* Merges what the patch holds into a message that nobody shares. */
void patch_merge(const struct translation *t, struct patch *p, ProtobufCMessage *into);
/* The same for one with a member "typed_config" beside a name: configurations of one type merge, others are refused. */
Google__Protobuf__Any *merge_any(const struct translation *t, struct patch *p, Google__Protobuf__Any *into, const Google__Protobuf__Any *from);
void patch_merge_socket(const struct translation *t, struct patch *p, Envoy__Config__Core__V3__TransportSocket *into,
                        const Envoy__Config__Core__V3__TransportSocket *from);
/* Adds, inserts, replaces, removes in a list of messages. `is_picky`: the patch names an item of the list. */
typedef bool (*patch_matches_fn)(const void *item, const struct patch *p);
void patch_list(const struct translation *t, struct patch *p, bool is_picky, patch_matches_fn matches, void ***items, size_t *count);

#endif
