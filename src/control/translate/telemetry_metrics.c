/* SPDX-License-Identifier: Apache-2.0
 *
 * Overrides of Istio's standard metrics. A later override of the same metric changes what an earlier one said of the same tag.
 */
#include "control/translate/telemetry_priv.h"

#include <stdlib.h>

#include "istio/stats.pb-c.h"

#define PLUGIN Stats__PluginConfig
#define METRIC Stats__MetricConfig
#define OVERRIDES Istio__Telemetry__V1alpha1__MetricsOverrides
#define METRICS Istio__Telemetry__V1alpha1__Metrics
#define OF(x) ISTIO__TELEMETRY__V1ALPHA1__METRIC_SELECTOR__ISTIO_METRIC__##x

#define STATS(value_) "{\"@type\":\"type.googleapis.com/stats.PluginConfig\"" value_ "}"
static const char plain_client[] = STATS("");
static const char plain_server[] = STATS(",\"disable_host_header_fallback\":true");

/* By the names of the API, which is istiod's order. */
static const struct standard {
    Istio__Telemetry__V1alpha1__MetricSelector__IstioMetric metric;
    const char *api_name, *name;
} standards[] = {
    {OF(GRPC_REQUEST_MESSAGES), "GRPC_REQUEST_MESSAGES", "request_messages_total"},
    {OF(GRPC_RESPONSE_MESSAGES), "GRPC_RESPONSE_MESSAGES", "response_messages_total"},
    {OF(REQUEST_COUNT), "REQUEST_COUNT", "requests_total"},
    {OF(REQUEST_DURATION), "REQUEST_DURATION", "request_duration_milliseconds"},
    {OF(REQUEST_SIZE), "REQUEST_SIZE", "request_bytes"},
    {OF(RESPONSE_SIZE), "RESPONSE_SIZE", "response_bytes"},
    {OF(TCP_CLOSED_CONNECTIONS), "TCP_CLOSED_CONNECTIONS", "tcp_connections_closed_total"},
    {OF(TCP_OPENED_CONNECTIONS), "TCP_OPENED_CONNECTIONS", "tcp_connections_opened_total"},
    {OF(TCP_RECEIVED_BYTES), "TCP_RECEIVED_BYTES", "tcp_received_bytes_total"},
    {OF(TCP_SENT_BYTES), "TCP_SENT_BYTES", "tcp_sent_bytes_total"},
};
#define STANDARD_COUNT (sizeof(standards) / sizeof(standards[0]))

struct tag {
    const char *name;
    const Istio__Telemetry__V1alpha1__MetricsOverrides__TagOverride *says;
};
struct metric {
    const char *api_name, *name;
    bool is_dropped;
    struct many tags; /* struct tag */
};
struct merging {
    const struct translation *t;
    const struct chain_purpose *chain;
    struct many metrics; /* struct metric */
    bool is_off;
    Google__Protobuf__Duration *interval;
};

static struct metric *metric_of(struct merging *m, const char *api_name, const char *name)
{
    for (size_t i = 0; i < m->metrics.count; i++)
        if (strcmp(((struct metric *)m->metrics.items[i])->api_name, api_name) == 0)
            return m->metrics.items[i];
    struct metric *n = arena_zalloc(m->t->arena, sizeof(*n));
    n->api_name = api_name;
    n->name = name;
    many_add(m->t, &m->metrics, n);
    return n;
}

static void set_tag(struct merging *m, struct metric *to, const Istio__Telemetry__V1alpha1__MetricsOverrides__TagOverridesEntry *from)
{
    for (size_t i = 0; i < to->tags.count; i++) {
        struct tag *old = to->tags.items[i];
        if (strcmp(old->name, from->key) == 0) {
            old->says = from->value;
            return;
        }
    }
    struct tag *n = arena_zalloc(m->t->arena, sizeof(*n));
    *n = (struct tag){from->key, from->value};
    many_add(m->t, &to->tags, n);
}

static void override_metric(struct merging *m, const OVERRIDES *o, const char *api_name, const char *name)
{
    struct metric *to = metric_of(m, api_name, name);
    to->is_dropped = proto_bool_or(o->disabled, to->is_dropped);
    for (size_t i = 0; i < o->n_tag_overrides; i++)
        set_tag(m, to, o->tag_overrides[i]);
}

static void apply(struct merging *m, const OVERRIDES *o)
{
    const Istio__Telemetry__V1alpha1__MetricSelector *match = o->match;
    bool is_custom = match && match->metric_match_case == ISTIO__TELEMETRY__V1ALPHA1__METRIC_SELECTOR__METRIC_MATCH_CUSTOM_METRIC;
    bool is_named = match && match->metric_match_case == ISTIO__TELEMETRY__V1ALPHA1__METRIC_SELECTOR__METRIC_MATCH_METRIC;
    if (is_named && match->metric == OF(ALL_METRICS) && proto_bool_or(o->disabled, false)) {
        m->is_off = true;
        return;
    }
    m->is_off = false; /* a level below may want again what one above has switched off */
    if (match && !telemetry_mode_is(match->mode, m->chain))
        return;
    if (is_custom) {
        override_metric(m, o, match->custom_metric, match->custom_metric);
        return;
    }
    for (size_t i = 0; i < STANDARD_COUNT; i++)
        if (!is_named || match->metric == OF(ALL_METRICS) || match->metric == standards[i].metric)
            override_metric(m, o, standards[i].api_name, standards[i].name);
}

/* ---- which providers ---- */

/* Without defaultProviders Prometheus takes them: a mesh whose configuration says nothing shall be seen. */
static struct many default_names(const struct translation *t)
{
    const Istio__Mesh__V1alpha1__MeshConfig__DefaultProviders *d = mesh_config(t)->default_providers;
    struct many names = {0};
    for (size_t i = 0; d && i < d->n_metrics; i++)
        many_add(t, &names, d->metrics[i]);
    if (!d)
        many_add(t, &names, "prometheus");
    return names;
}

/* Only Prometheus' metrics are made by a filter; it needn't be among the extension providers. */
static bool has_prometheus(const struct translation *t, const struct many *names, struct str *name)
{
    for (size_t i = 0; i < names->count; i++) {
        const PROVIDER *p = provider_find(t, *name = str_from(names->items[i]));
        if (p ? p->provider_case == ISTIO__MESH__V1ALPHA1__EXTENSION_PROVIDER__PROVIDER_PROMETHEUS : str_eq(*name, STR("prometheus")))
            return true;
    }
    return false;
}

static void merge(struct merging *m, const struct telemetries *all, struct str provider, struct many parent)
{
    for (size_t i = 0; i < all->count; i++)
        for (size_t k = 0; k < all->items[i]->n_metrics; k++) {
            const METRICS *from = all->items[i]->metrics[k];
            if (from->n_providers)
                parent = provider_names(m->t, from->providers, from->n_providers);
            if (!names_have(&parent, provider))
                continue;
            if (from->reporting_interval)
                m->interval = from->reporting_interval;
            for (size_t o = 0; o < from->n_overrides; o++)
                apply(m, from->overrides[o]);
        }
}

/* ---- the filter's configuration ---- */

static int by_api_name(const void *a, const void *b)
{
    const struct metric *x = *(struct metric *const *)a, *y = *(struct metric *const *)b;
    return strcmp(x->api_name, y->api_name);
}

static int by_tag_name(const void *a, const void *b)
{
    const struct tag *x = *(struct tag *const *)a, *y = *(struct tag *const *)b;
    return strcmp(x->name, y->name);
}

static METRIC *metric_config(const struct translation *t, const struct metric *from)
{
    METRIC *out = MAKE(t, METRIC, stats__metric_config__descriptor);
    struct many removed = {0}, dimensions = {0};
    if (from->tags.count)
        qsort(from->tags.items, from->tags.count, sizeof(void *), by_tag_name);
    for (size_t i = 0; i < from->tags.count; i++) {
        const struct tag *tag = from->tags.items[i];
        if (tag->says->operation == ISTIO__TELEMETRY__V1ALPHA1__METRICS_OVERRIDES__TAG_OVERRIDE__OPERATION__REMOVE) {
            many_add(t, &removed, tag->name);
            continue;
        }
        Stats__MetricConfig__DimensionsEntry *e =
            MAKE(t, Stats__MetricConfig__DimensionsEntry, stats__metric_config__dimensions_entry__descriptor);
        e->key = text(t, str_from(tag->name));
        e->value = tag->says->value;
        many_add(t, &dimensions, e);
    }
    out->name = text(t, str_from(from->name));
    out->drop = from->is_dropped;
    out->tags_to_remove = (char **)removed.items;
    out->n_tags_to_remove = removed.count;
    out->dimensions = (Stats__MetricConfig__DimensionsEntry **)dimensions.items;
    out->n_dimensions = dimensions.count;
    return out;
}

static Google__Protobuf__Any *make(const struct translation *t, const struct chain_purpose *p)
{
    struct telemetries all = telemetries_of(t);
    struct merging m = {.t = t, .chain = p};
    struct many names = default_names(t), configs = {0};
    struct str provider;
    bool is_server = p->is_inbound || p->is_gateway; /* the host that a client names is nothing to go by */
    for (size_t i = 0; i < all.count; i++)
        for (size_t k = 0; k < all.items[i]->n_metrics; k++)
            if (all.items[i]->metrics[k]->n_providers)
                names = provider_names(t, all.items[i]->metrics[k]->providers, all.items[i]->metrics[k]->n_providers);
    if (!has_prometheus(t, &names, &provider))
        return NULL;
    merge(&m, &all, provider, default_names(t));
    if (m.is_off)
        return NULL;
    if (m.metrics.count == 0 && !m.interval)
        return constant_any(t, is_server ? plain_server : plain_client);
    if (m.metrics.count)
        qsort(m.metrics.items, m.metrics.count, sizeof(void *), by_api_name);
    for (size_t i = 0; i < m.metrics.count; i++)
        many_add(t, &configs, metric_config(t, m.metrics.items[i]));
    PLUGIN *out = MAKE(t, PLUGIN, stats__plugin_config__descriptor);
    out->disable_host_header_fallback = is_server;
    out->tcp_reporting_duration = m.interval;
    out->metrics = (METRIC **)configs.items;
    out->n_metrics = configs.count;
    return any_of(t, &out->base);
}

Google__Protobuf__Any *metrics_config(const struct translation *t, const struct chain_purpose *p)
{
    struct made_list *made = &t->made->metrics[chain_side(p)];
    if (!made->is_made)
        many_add(t, &made->items, make(t, p));
    made->is_made = true;
    return made->items.items[0];
}
