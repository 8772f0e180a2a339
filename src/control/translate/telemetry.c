/* SPDX-License-Identifier: Apache-2.0
 *
 * What is seen of the traffic: Istio's standard metrics, tracing tags, access logs. Telemetry objects aren't read yet.
 */
#include "control/translate/translate_priv.h"

#define HCM Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpConnectionManager
#define TRACING Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpConnectionManager__Tracing
#define TAG Envoy__Type__Tracing__V3__CustomTag

#define STATS(value_) "{\"name\":\"istio.stats\",\"typed_config\":{\"@type\":\"type.googleapis.com/stats.PluginConfig\"" value_ "}}"
static const char stats_outbound[] = STATS("");
static const char stats_inbound[] = STATS(",\"disable_host_header_fallback\":true");

static const char *stats_of(const struct chain_purpose *p)
{
    return p->is_inbound && !p->is_gateway ? stats_inbound : stats_outbound;
}

void telemetry_http_filters(const struct translation *t, const struct chain_purpose *p, struct many *filters)
{
    if (t->node->takes_istio_filters)
        many_add(t, filters,
                 constant(t, &envoy__extensions__filters__network__http_connection_manager__v3__http_filter__descriptor, stats_of(p)));
}

void telemetry_network_filters(const struct translation *t, const struct chain_purpose *p, struct many *filters)
{
    if (t->node->takes_istio_filters)
        many_add(t, filters, constant(t, &envoy__config__listener__v3__filter__descriptor, stats_of(p)));
}

/* ---- tracing ---- */

#define DRY_RUN(tag_, key_)                                                                                                         \
    "{\"tag\":\"istio.authorization.dry_run." tag_ "\",\"metadata\":{\"kind\":{\"request\":{}},\"metadata_key\":{\"key\":"           \
    "\"envoy.filters.http.rbac\",\"path\":[{\"key\":\"istio_dry_run_" key_ "\"}]}}}"
static const char tracing[] =
    "{\"client_sampling\":{\"value\":100},\"random_sampling\":{\"value\":1},\"overall_sampling\":{\"value\":100},\"custom_tags\":["
    DRY_RUN("allow_policy.name", "allow_shadow_effective_policy_id") "," DRY_RUN("allow_policy.result", "allow_shadow_engine_result") ","
    DRY_RUN("deny_policy.name", "deny_shadow_effective_policy_id") "," DRY_RUN("deny_policy.result", "deny_shadow_engine_result") "]}";

static void add_tag(const struct translation *t, struct many *tags, const char *name, struct str value)
{
    TAG *tag = MAKE(t, TAG, envoy__type__tracing__v3__custom_tag__descriptor);
    tag->tag = text(t, str_from(name));
    tag->type_case = ENVOY__TYPE__TRACING__V3__CUSTOM_TAG__TYPE_LITERAL;
    tag->literal = MAKE(t, Envoy__Type__Tracing__V3__CustomTag__Literal, envoy__type__tracing__v3__custom_tag__literal__descriptor);
    tag->literal->value = text(t, value.n ? value : STR("unknown"));
    many_add(t, tags, tag);
}

void telemetry_hcm(const struct translation *t, const struct chain_purpose *p, HCM *hcm)
{
    (void)p;
    const struct node *n = t->node;
    TRACING *out = COPY_OF(
        t, TRACING, envoy__extensions__filters__network__http_connection_manager__v3__http_connection_manager__tracing__descriptor, tracing);
    struct many tags = {0};
    for (size_t i = 0; i < out->n_custom_tags; i++)
        many_add(t, &tags, out->custom_tags[i]);
    add_tag(t, &tags, "istio.canonical_revision", n->canonical_revision);
    add_tag(t, &tags, "istio.canonical_service", n->canonical_name);
    add_tag(t, &tags, "istio.cluster_id", n->cluster_id);
    add_tag(t, &tags, "istio.mesh_id", n->mesh_id);
    add_tag(t, &tags, "istio.namespace", n->ns);
    out->custom_tags = (TAG **)tags.items;
    out->n_custom_tags = tags.count;
    hcm->tracing = out;
}

void telemetry_access_logs(const struct translation *t, const struct chain_purpose *p, struct many *access_logs)
{
    (void)t, (void)p, (void)access_logs;
}
