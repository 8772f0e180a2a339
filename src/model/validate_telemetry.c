/* SPDX-License-Identifier: Apache-2.0
 *
 * Telemetries (Istio: telemetry; the webhook's rules). Expressions of CEL are looked at where they are translated. Pure.
 */
#include "model/validate_priv.h"

typedef Istio__Telemetry__V1alpha1__Tracing tracing;
typedef Istio__Telemetry__V1alpha1__Metrics metrics;
typedef Istio__Telemetry__V1alpha1__MetricsOverrides metrics_overrides;

static void check_providers(struct check *c, size_t n, Istio__Telemetry__V1alpha1__ProviderRef *const *providers)
{
    CHECK_EACH (c, i, n, "providers") {
        if (!*providers[i]->name)
            check_fault(c, "name", "is missing");
    }
}

static void check_tag(struct check *c, const Istio__Telemetry__V1alpha1__Tracing__CustomTag *t)
{
    if (t->type_case == ISTIO__TELEMETRY__V1ALPHA1__TRACING__CUSTOM_TAG__TYPE_LITERAL && !*t->literal->value)
        check_fault(c, "literal.value", "is missing");
    if (t->type_case == ISTIO__TELEMETRY__V1ALPHA1__TRACING__CUSTOM_TAG__TYPE_HEADER && !*t->header->name)
        check_fault(c, "header.name", "is missing");
    if (t->type_case == ISTIO__TELEMETRY__V1ALPHA1__TRACING__CUSTOM_TAG__TYPE_ENVIRONMENT && !*t->environment->name)
        check_fault(c, "environment.name", "is missing");
    if (t->type_case == ISTIO__TELEMETRY__V1ALPHA1__TRACING__CUSTOM_TAG__TYPE_FORMATTER && !*t->formatter->value)
        check_fault(c, "formatter.value", "is missing");
}

static void check_tracing(struct check *c, const tracing *t)
{
    if (t->n_providers > 1)
        check_warn(c, "providers", "only the first is used");
    check_providers(c, t->n_providers, t->providers);
    if (t->random_sampling_percentage && !(t->random_sampling_percentage->value >= 0 && t->random_sampling_percentage->value <= 100))
        check_fault(c, "randomSamplingPercentage", "must be between 0 and 100, is %g", t->random_sampling_percentage->value);
    CHECK_EACH_KEY (c, i, t->n_custom_tags, "customTags", t->custom_tags) {
        if (!*t->custom_tags[i]->key)
            check_fault(c, "", "a tag's name must not be empty");
        if (t->custom_tags[i]->value)
            check_tag(c, t->custom_tags[i]->value);
    }
}

static void check_override(struct check *c, const metrics_overrides *o)
{
    CHECK_EACH_KEY (c, i, o->n_tag_overrides, "tagOverrides", o->tag_overrides) {
        const Istio__Telemetry__V1alpha1__MetricsOverrides__TagOverride *t = o->tag_overrides[i]->value;
        bool upsert = !t || t->operation == ISTIO__TELEMETRY__V1ALPHA1__METRICS_OVERRIDES__TAG_OVERRIDE__OPERATION__UPSERT;
        if (!*o->tag_overrides[i]->key)
            check_warn(c, "", "a tag's name must not be empty");
        if (upsert && (!t || !*t->value))
            check_fault(c, "value", "is missing, which UPSERT needs");
        if (!upsert && *t->value)
            check_fault(c, "value", "is for the operation UPSERT");
    }
    if (o->match && o->match->metric_match_case == ISTIO__TELEMETRY__V1ALPHA1__METRIC_SELECTOR__METRIC_MATCH_CUSTOM_METRIC &&
        !*o->match->custom_metric)
        check_fault(c, "match.customMetric", "must not be empty");
}

static void check_metrics(struct check *c, const metrics *m)
{
    check_providers(c, m->n_providers, m->providers);
    CHECK_EACH (c, i, m->n_overrides, "overrides")
        check_override(c, m->overrides[i]);
    check_duration(c, "reportingInterval", m->reporting_interval);
}

void validate_telemetry(struct check *c, const struct object *o)
{
    const ist_telemetry *t = (const ist_telemetry *)o->body;
    check_target(c, t->selector, t->target_ref, t->n_target_refs, t->target_refs);
    if (t->n_tracing > 1)
        check_warn(c, "tracing", "only the first is used");
    CHECK_EACH (c, i, t->n_tracing, "tracing")
        check_tracing(c, t->tracing[i]);
    CHECK_EACH (c, i, t->n_metrics, "metrics")
        check_metrics(c, t->metrics[i]);
    CHECK_EACH (c, i, t->n_access_logging, "accessLogging")
        check_providers(c, t->access_logging[i]->n_providers, t->access_logging[i]->providers);
}
