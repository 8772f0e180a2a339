/* SPDX-License-Identifier: Apache-2.0
 *
 * Telemetry objects of a workload (telemetry.c) as istio.stats (telemetry_metrics.c), tracing (telemetry_tracing.c, telemetry_tracer.c) and access logs
 * (telemetry_log.c). Istio: "Telemetry", "MeshConfig" (defaultProviders, accessLogFile, defaultConfig.tracing).
 */
#ifndef CONTROL_TRANSLATE_TELEMETRY_PRIV_H
#define CONTROL_TRANSLATE_TELEMETRY_PRIV_H

#include "control/translate/provider_priv.h"
#include "istio/telemetry/telemetry.pb-c.h"
#include "proto/fields.h"

#define TELEMETRY Istio__Telemetry__V1alpha1__Telemetry
#define HCM Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpConnectionManager

/* At most one of the root namespace, of the proxy's own, and of the workload; the later says more. */
struct telemetries {
    const TELEMETRY *items[3];
    const struct object *objects[3];
    size_t count;
};
struct telemetries telemetries_of(const struct translation *t);
/* Is what a selector of that mode says meant for the chain? */
bool telemetry_mode_is(Istio__Telemetry__V1alpha1__WorkloadMode mode, const struct chain_purpose *p);
/* A list of names (char *) that a level sets; a level that sets none leaves its parent's. */
struct many provider_names(const struct translation *t, Istio__Telemetry__V1alpha1__ProviderRef *const *refs, size_t count);
bool names_have(const struct many *names, struct str name);

/* NULL: nobody asked for metrics. */
Google__Protobuf__Any *metrics_config(const struct translation *t, const struct chain_purpose *p);
/* Who takes spans, as Envoy's tracer; config NULL with an error: nobody of that name. */
struct tracer {
    const char *name;
    const ProtobufCMessage *config;
    uint32_t max_tag_length; /* 0: not said */
    bool spawns_upstream_span;
};
struct tracer tracer_of(const struct translation *t, const PROVIDER *p, struct err *err);
/* As the proxy calls itself (its cluster), else by its Pod. */
struct str tracing_service_name(const struct translation *t);
void tracing_apply(const struct translation *t, const struct chain_purpose *p, HCM *hcm);
/* The loggers of a chain, without a listener's own filter; shared. */
const struct many *access_logs(const struct translation *t, const struct chain_purpose *p);

#endif
