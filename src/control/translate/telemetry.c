/* SPDX-License-Identifier: Apache-2.0
 *
 * Which Telemetry objects hold for a workload, and where in listeners stands what they ask for.
 */
#include "control/translate/telemetry_priv.h"

#define FILTER Envoy__Config__Listener__V3__Filter
#define ACCESS_LOG Envoy__Config__Accesslog__V3__AccessLog

static bool has_selector(const struct object *o)
{
    const TELEMETRY *spec = (const TELEMETRY *)o->body;
    return spec->selector && spec->selector->n_match_labels;
}

static void take_first(const struct object *const *all, size_t count, struct str ns, bool with_selector, struct telemetries *out)
{
    for (size_t i = 0; i < count; i++)
        if (str_eq(all[i]->ns, ns) && has_selector(all[i]) == with_selector) {
            out->objects[out->count] = all[i];
            out->items[out->count++] = (const TELEMETRY *)all[i]->body;
            return;
        }
}

struct telemetries telemetries_of(const struct translation *t)
{
    struct telemetries out = {0};
    const struct object *const *all;
    struct str root = world_mesh(t->world)->root_namespace, own = t->node->ns;
    size_t n = policies_for(t->world, KIND_TELEMETRY, own, &t->node->labels, t->arena, &all);
    take_first(all, n, root, false, &out);
    if (!str_eq(root, own))
        take_first(all, n, own, false, &out);
    take_first(all, n, own, true, &out);
    return out;
}

bool telemetry_mode_is(Istio__Telemetry__V1alpha1__WorkloadMode mode, const struct chain_purpose *p)
{
    bool is_server = p->is_inbound && !p->is_gateway;
    switch (mode) {
    case ISTIO__TELEMETRY__V1ALPHA1__WORKLOAD_MODE__CLIENT:
        return !is_server;
    case ISTIO__TELEMETRY__V1ALPHA1__WORKLOAD_MODE__SERVER:
        return is_server;
    default:
        return true;
    }
}

struct many provider_names(const struct translation *t, Istio__Telemetry__V1alpha1__ProviderRef *const *refs, size_t count)
{
    struct many names = {0};
    for (size_t i = 0; i < count; i++)
        many_add(t, &names, refs[i]->name);
    return names;
}

bool names_have(const struct many *names, struct str name)
{
    for (size_t i = 0; i < names->count; i++)
        if (str_eq(str_from(names->items[i]), name))
            return true;
    return false;
}

/* ---- places ---- */

void telemetry_http_filters(const struct translation *t, const struct chain_purpose *p, struct many *filters)
{
    Google__Protobuf__Any *stats = t->node->takes_istio_filters ? metrics_config(t, p) : NULL;
    if (stats)
        many_add(t, filters, http_filter_new(t, "istio.stats", stats));
}

void telemetry_network_filters(const struct translation *t, const struct chain_purpose *p, struct many *filters)
{
    Google__Protobuf__Any *stats = t->node->takes_istio_filters ? metrics_config(t, p) : NULL;
    if (!stats)
        return;
    FILTER *f = MAKE(t, FILTER, envoy__config__listener__v3__filter__descriptor);
    f->name = text(t, STR("istio.stats"));
    f->config_type_case = ENVOY__CONFIG__LISTENER__V3__FILTER__CONFIG_TYPE_TYPED_CONFIG;
    f->typed_config = stats;
    many_add(t, filters, f);
}

void telemetry_hcm(const struct translation *t, const struct chain_purpose *p, HCM *hcm)
{
    const struct many *logs = access_logs(t, p);
    tracing_apply(t, p, hcm);
    hcm->access_log = (ACCESS_LOG **)logs->items;
    hcm->n_access_log = logs->count;
}

void telemetry_access_logs(const struct translation *t, const struct chain_purpose *p, struct many *out)
{
    many_add_all(t, out, access_logs(t, p));
}

/* Connections for which no chain is found end without one that could log them. */
static const char without_chain[] = "{\"response_flag_filter\":{\"flags\":[\"NR\"]}}";

static const Envoy__Config__Accesslog__V3__AccessLogFilter *also_without_chain(const struct translation *t,
                                                                               Envoy__Config__Accesslog__V3__AccessLogFilter *own)
{
    struct many both = {0};
    const void *filter = constant(t, &envoy__config__accesslog__v3__access_log_filter__descriptor, without_chain);
    if (!own)
        return filter;
    many_add(t, &both, filter);
    many_add(t, &both, own);
    Envoy__Config__Accesslog__V3__AccessLogFilter *f =
        MAKE(t, Envoy__Config__Accesslog__V3__AccessLogFilter, envoy__config__accesslog__v3__access_log_filter__descriptor);
    f->filter_specifier_case = ENVOY__CONFIG__ACCESSLOG__V3__ACCESS_LOG_FILTER__FILTER_SPECIFIER_AND_FILTER;
    f->and_filter = MAKE(t, Envoy__Config__Accesslog__V3__AndFilter, envoy__config__accesslog__v3__and_filter__descriptor);
    f->and_filter->filters = (Envoy__Config__Accesslog__V3__AccessLogFilter **)both.items;
    f->and_filter->n_filters = both.count;
    return f;
}

void telemetry_listener(const struct translation *t, bool is_inbound, Envoy__Config__Listener__V3__Listener *l)
{
    struct chain_purpose p = {.is_inbound = is_inbound};
    const struct many *of_chains = access_logs(t, &p);
    struct many logs = {0};
    for (size_t i = 0; i < of_chains->count; i++) {
        ACCESS_LOG *log = proto_arena_alloc(t->protos, sizeof(*log));
        *log = *(const ACCESS_LOG *)of_chains->items[i];
        log->filter = (Envoy__Config__Accesslog__V3__AccessLogFilter *)(uintptr_t)also_without_chain(t, log->filter);
        many_add(t, &logs, log);
    }
    l->access_log = (ACCESS_LOG **)logs.items;
    l->n_access_log = logs.count;
}
