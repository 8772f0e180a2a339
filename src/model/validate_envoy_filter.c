/* SPDX-License-Identifier: Apache-2.0
 *
 * EnvoyFilters (Istio: networking/envoy-filter; its webhook's rules), values too, which are patches of Envoy's own messages. Pure.
 */
#include "model/envoy_filter.h"
#include "model/validate_priv.h"

#define APPLY_TO(name) ISTIO__NETWORKING__V1ALPHA3__ENVOY_FILTER__APPLY_TO__##name
#define MATCH_OF(name) ISTIO__NETWORKING__V1ALPHA3__ENVOY_FILTER__ENVOY_CONFIG_OBJECT_MATCH__OBJECT_TYPES_##name
#define OPERATION(name) ISTIO__NETWORKING__V1ALPHA3__ENVOY_FILTER__PATCH__OPERATION__##name

typedef Istio__Networking__V1alpha3__EnvoyFilter__ListenerMatch__FilterChainMatch filter_chain_match;

/* By which kind of match a kind of object is picked; 0: any. */
static int match_for(int apply_to)
{
    switch (apply_to) {
    case APPLY_TO(LISTENER):
    case APPLY_TO(FILTER_CHAIN):
    case APPLY_TO(NETWORK_FILTER):
    case APPLY_TO(HTTP_FILTER):
    case APPLY_TO(LISTENER_FILTER):
        return MATCH_OF(LISTENER);
    case APPLY_TO(ROUTE_CONFIGURATION):
    case APPLY_TO(VIRTUAL_HOST):
    case APPLY_TO(HTTP_ROUTE):
        return MATCH_OF(ROUTE_CONFIGURATION);
    case APPLY_TO(CLUSTER):
        return MATCH_OF(CLUSTER);
    default:
        return 0;
    }
}

static void check_filter(struct check *c, const ist_config_patch *p, const filter_chain_match *chain)
{
    static const char *const http[] = {"envoy.filters.network.http_connection_manager", "envoy.http_connection_manager"};
    if (!chain || !chain->filter)
        return;
    if (p->apply_to == APPLY_TO(LISTENER) || p->apply_to == APPLY_TO(FILTER_CHAIN))
        check_warn(c, "match.listener.filterChain.filter", "means nothing for whole listeners and filter chains");
    if (!*chain->filter->name)
        check_fault(c, "match.listener.filterChain.filter.name", "is missing");
    if (!chain->filter->sub_filter)
        return;
    if (p->apply_to != APPLY_TO(HTTP_FILTER))
        check_fault(c, "match.listener.filterChain.filter.subFilter", "is for applyTo HTTP_FILTER only");
    if (strcmp(chain->filter->name, http[0]) != 0 && strcmp(chain->filter->name, http[1]) != 0)
        check_fault(c, "match.listener.filterChain.filter.name", "must be %s for subFilter", http[0]);
    if (!*chain->filter->sub_filter->name)
        check_fault(c, "match.listener.filterChain.filter.subFilter.name", "is missing");
}

static void check_match(struct check *c, const ist_config_patch *p)
{
    const Istio__Networking__V1alpha3__EnvoyFilter__EnvoyConfigObjectMatch *m = p->match;
    int wanted = match_for((int)p->apply_to);
    if (!m)
        return;
    if (m->proxy && *m->proxy->proxy_version)
        check_regex(c, "match.proxy.proxyVersion", m->proxy->proxy_version);
    if (m->object_types_case && wanted && (int)m->object_types_case != wanted)
        check_fault(c, "match", "this applyTo is picked by match.%s only",
                    wanted == MATCH_OF(LISTENER) ? "listener" : wanted == MATCH_OF(CLUSTER) ? "cluster" : "routeConfiguration");
    else if (m->object_types_case == MATCH_OF(LISTENER))
        check_filter(c, p, m->listener->filter_chain);
}

#define VALUE_MAX_BYTES ((size_t)16 << 20) /* as a message */

static void check_value(struct check *c, const ist_config_patch *p)
{
    struct proto_arena *arena = proto_arena_new(VALUE_MAX_BYTES);
    struct err_list faults = {0};
    envoy_filter_value(arena, (int)p->apply_to, p->patch->value, &faults);
    for (size_t i = 0; i < faults.count; i++) {
        const char *path = faults.items[i].path;
        struct strbuf field = {0};
        strbuf_addf(&field, "patch.value%s%s", *path && *path != '[' ? "." : "", path);
        check_fault(c, field.p, "%s", faults.items[i].message);
        strbuf_fini(&field);
    }
    err_list_fini(&faults);
    proto_arena_free(&arena);
}

static void check_patch(struct check *c, const ist_config_patch *p)
{
    bool waypoint = p->match && p->match->context == ISTIO__NETWORKING__V1ALPHA3__ENVOY_FILTER__PATCH_CONTEXT__WAYPOINT;
    if (p->apply_to == APPLY_TO(INVALID))
        check_fault(c, "applyTo", "is missing");
    if (!p->patch)
        check_fault(c, "patch", "is missing");
    else if (p->patch->operation == OPERATION(INVALID))
        check_fault(c, "patch.operation", "is missing");
    else if (p->patch->operation != OPERATION(REMOVE) && !p->patch->value)
        check_fault(c, "patch.value", "is missing");
    else if (p->patch->operation != OPERATION(REMOVE))
        check_value(c, p);
    if (!waypoint)
        check_match(c, p);
}

void validate_envoy_filter(struct check *c, const struct object *o)
{
    const ist_envoy_filter *f = (const ist_envoy_filter *)o->body;
    check_workload_selector(c, f->workload_selector);
    if (f->workload_selector && f->n_target_refs)
        check_fault(c, "targetRefs", "must not stand beside workloadSelector");
    check_target(c, NULL, NULL, f->n_target_refs, f->target_refs);
    CHECK_EACH (c, i, f->n_config_patches, "configPatches")
        check_patch(c, f->config_patches[i]);
}
