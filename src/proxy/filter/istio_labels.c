/* SPDX-License-Identifier: Apache-2.0
 *
 * From facts to labels: names, order and defaults are those of Istio's standard metrics (its page
 * "Istio Standard Metrics"), since dashboards and alerts are written for them. Every request makes a
 * key of its facts; labels are written as text only for a key that wasn't met before. Any worker.
 */
#include "proxy/filter/istio_stats.h"

#include <stdio.h>

#include "base/mem.h"
#include "io/tls.h"
#include "proxy/cluster/cluster.h"
#include "proxy/outcome.h"

#define LABELS(X)                                                                                  \
    X(reporter) X(source_workload) X(source_canonical_service) X(source_canonical_revision)        \
    X(source_workload_namespace) X(source_principal) X(source_app) X(source_version)               \
    X(source_cluster) X(destination_workload) X(destination_workload_namespace)                    \
    X(destination_principal) X(destination_app) X(destination_version) X(destination_service)      \
    X(destination_canonical_service) X(destination_canonical_revision)                             \
    X(destination_service_name) X(destination_service_namespace) X(destination_cluster)            \
    X(request_protocol) X(response_code) X(grpc_response_status) X(response_flags)                 \
    X(connection_security_policy)
enum label {
#define X(name) LABEL_##name,
    LABELS(X)
#undef X
    LABEL_COUNT
};
static const struct str label_names[] = {
#define X(name) {#name, sizeof(#name) - 1},
    LABELS(X)
#undef X
};

/* ---- facts ---- */

static struct str cut(struct str s)
{
    return str_make(s.p, s.n > ISTIO_LABEL_BYTES_MAX ? ISTIO_LABEL_BYTES_MAX : s.n);
}

static struct str field_text(const struct meta_value *v, const char *name)
{
    const struct meta_value *field = meta_field(v, str_from(name));
    return field && field->kind == META_STRING ? cut(field->u.string) : STR("");
}

static bool is_virtual(struct str cluster)
{
    static const char *const names[] = {"BlackHoleCluster", "PassthroughCluster", "InboundPassthroughCluster",
                                        "InboundPassthroughClusterIpv4", "InboundPassthroughClusterIpv6"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq(cluster, str_from(names[i])))
            return true;
    return false;
}

static void take_service(struct istio_facts *f, const struct cluster *cluster)
{
    const struct cluster_spec *spec = cluster_spec(cluster);
    struct str key = STR("services");
    if (is_virtual(spec->name)) {
        f->service_name = spec->name;
        return;
    }
    const struct meta_value *services = metadata_find(spec->metadata, STR("istio"), &key, 1);
    if (!services || services->kind != META_LIST || !services->u.list.count)
        return;
    const struct meta_value *first = &services->u.list.items[0];
    f->service = field_text(first, "host");
    f->service_name = field_text(first, "name");
    f->service_namespace = field_text(first, "namespace");
}

static void take_endpoint(struct istio_facts *f, const struct host *host)
{
    struct str key = STR("workload");
    const struct meta_value *v = host ? metadata_find(host->metadata, STR("istio"), &key, 1) : NULL;
    if (v && v->kind == META_STRING)
        f->endpoint = str_make(v->u.string.p, v->u.string.n > 4 * ISTIO_LABEL_BYTES_MAX ? 4 * ISTIO_LABEL_BYTES_MAX : v->u.string.n);
}

void istio_facts_of_peer(struct istio_facts *f, const struct istio_stats_config *c, const struct stream_info *info, struct str host)
{
    bool is_client = c->reporter == ISTIO_REPORTS_SOURCE;
    f->peer = istio_peer_find(&info->filter_state, is_client ? ISTIO_UPSTREAM_PEER : ISTIO_DOWNSTREAM_PEER);
    if (c->reporter == ISTIO_REPORTS_WAYPOINT || (is_client && !f->peer))
        take_endpoint(f, info->host);
    if (c->host_fallback)
        f->service = f->service_name = cut(host);
    if (str_eq(info->route_name, STR("block_all")))
        f->service_name = STR("BlackHoleCluster");
    else if (str_eq(info->route_name, STR("allow_any")))
        f->service_name = STR("PassthroughCluster");
    else if (info->cluster)
        take_service(f, info->cluster);
    f->mutual_tls = f->peer_san.n && f->local_san.n;
    f->flags = info->flags;
}

void istio_facts_take_sans(struct tls_session *tls, struct str *peer, struct str *local)
{
    const struct tls_cert_facts *theirs = tls ? tls_session_peer(tls) : NULL, *ours = tls ? tls_session_local(tls) : NULL;
    *peer = theirs && theirs->uri_sans && theirs->uri_sans[0].p ? cut(theirs->uri_sans[0]) : STR("");
    *local = ours && ours->uri_sans && ours->uri_sans[0].p ? cut(ours->uri_sans[0]) : STR("");
}

static struct str principal_of(const struct stream_info *info, struct str key)
{
    const struct filter_state_entry *e = filter_state_find(&info->filter_state, key);
    return e ? cut(e->value) : STR("");
}

void istio_facts_take_server_sans(struct istio_facts *f, const struct stream_info *info)
{
    f->peer_san = principal_of(info, STR("io.istio.peer_principal"));
    f->local_san = principal_of(info, STR("io.istio.local_principal"));
    if (!f->peer_san.n && !f->local_san.n)
        istio_facts_take_sans(info->downstream ? conn_tls(info->downstream) : NULL, &f->peer_san, &f->local_san);
}

void istio_facts_evaluate(struct istio_facts *f, const struct istio_stats_config *c, const struct format_context *cx, struct arena *a)
{
    for (uint32_t i = 0; i < c->dimension_count; i++)
        f->values[i] = STR(""); /* of overrides that don't match */
    for (uint32_t i = 0; i < c->override_count; i++) {
        const struct istio_override *o = &c->overrides[i];
        if (o->match && !cel_is_true(o->match, cx))
            continue;
        f->matched |= 1ull << i;
        for (uint32_t d = 0; d < o->dimension_count; d++) {
            struct str text;
            bool known = cel_text(o->dimensions[d].value, cx, a, &text);
            f->values[o->first_dimension + d] = known ? cut(text) : STR("unknown");
        }
    }
}

/* ---- keys ---- */

struct key {
    size_t n;
    uint8_t bytes[ISTIO_KEY_MAX];
};

static void key_add(struct key *k, const void *p, size_t n)
{
    if (n > sizeof(k->bytes) - k->n) /* can't be: every text is bounded; a cut one would only merge sets */
        n = sizeof(k->bytes) - k->n;
    if (n)
        memcpy(k->bytes + k->n, p, n);
    k->n += n;
}

static void key_text(struct key *k, struct str s)
{
    uint32_t n = (uint32_t)s.n;
    key_add(k, &n, sizeof(n));
    key_add(k, s.p, s.n);
}

static void make_key(struct key *k, const struct istio_stats_config *c, const struct istio_facts *f)
{
    struct { uint64_t matched; uint32_t id, status, flags; int32_t grpc_status; uint32_t kind, mutual_tls; } fixed = {
        f->matched, c->id, f->status, f->flags, f->grpc_status, f->kind, f->mutual_tls};
    k->n = 0;
    key_add(k, &fixed, sizeof(fixed));
    key_text(k, f->peer_san);
    key_text(k, f->local_san);
    key_text(k, f->service);
    key_text(k, f->service_name);
    key_text(k, f->service_namespace);
    key_text(k, f->endpoint);
    key_text(k, f->peer ? f->peer->packed : STR_NULL);
    for (uint32_t i = 0; i < c->dimension_count; i++)
        key_text(k, f->values[i]);
}

/* ---- labels ---- */

static struct str or_unknown(struct str s)
{
    return s.n ? s : STR("unknown");
}

static struct str or_latest(struct str s)
{
    return s.n ? s : STR("latest");
}

/* "spiffe://<trust domain>/ns/<namespace>/sa/<account>" */
static struct str namespace_of(struct str san)
{
    ptrdiff_t at = str_has_prefix(san, STR("spiffe://")) ? str_find(san, STR("/ns/")) : -1;
    struct str rest;
    return at < 0 ? STR("") : str_split(str_make(san.p + at + 4, san.n - (size_t)at - 4), '/', &rest);
}

struct end { /* of a request: what its labels are made of */
    struct str workload, service, revision, space, principal, app, version, cluster;
};

static struct end end_of_facts(const struct str *facts, struct str principal)
{
    return (struct end){facts[ISTIO_PEER_WORKLOAD], facts[ISTIO_PEER_SERVICE], facts[ISTIO_PEER_REVISION], facts[ISTIO_PEER_NAMESPACE],
                        principal,                  facts[ISTIO_PEER_APP],     facts[ISTIO_PEER_VERSION],  facts[ISTIO_PEER_CLUSTER]};
}

static struct end end_of_endpoint(struct str text, struct str principal)
{
    struct end e = {.principal = principal};
    struct str *const parts[] = {&e.workload, &e.space, &e.service, &e.revision, &e.cluster};
    for (size_t i = 0; i < ARRAY_LEN(parts) && text.n; i++)
        *parts[i] = cut(str_split(text, ';', &text));
    return e;
}

static void label_source(struct str *l, const struct end *e)
{
    l[LABEL_source_workload] = or_unknown(e->workload);
    l[LABEL_source_canonical_service] = or_unknown(e->service);
    l[LABEL_source_canonical_revision] = or_latest(e->revision);
    l[LABEL_source_workload_namespace] = or_unknown(e->space);
    l[LABEL_source_principal] = or_unknown(e->principal);
    l[LABEL_source_app] = or_unknown(e->app);
    l[LABEL_source_version] = or_unknown(e->version);
    l[LABEL_source_cluster] = or_unknown(e->cluster);
}

static void label_destination(struct str *l, const struct end *e)
{
    l[LABEL_destination_workload] = or_unknown(e->workload);
    l[LABEL_destination_canonical_service] = or_unknown(e->service);
    l[LABEL_destination_canonical_revision] = or_latest(e->revision);
    l[LABEL_destination_workload_namespace] = or_unknown(e->space);
    l[LABEL_destination_principal] = or_unknown(e->principal);
    l[LABEL_destination_app] = or_unknown(e->app);
    l[LABEL_destination_version] = or_unknown(e->version);
    l[LABEL_destination_cluster] = or_unknown(e->cluster);
}

/* The service; where its name isn't known a server stands for itself. */
static void label_service(struct str *l, const struct istio_facts *f, struct str otherwise, struct str space)
{
    l[LABEL_destination_service] = or_unknown(f->service.n ? f->service : otherwise);
    l[LABEL_destination_service_name] = or_unknown(f->service_name.n ? f->service_name : otherwise);
    l[LABEL_destination_service_namespace] = or_unknown(f->service_namespace.n ? f->service_namespace : space);
}

static void label_ends(struct str *l, const struct istio_stats_config *c, const struct istio_facts *f)
{
    static const struct str nobody[ISTIO_PEER_FACT_COUNT];
    struct end peer = end_of_facts(f->peer ? f->peer->facts : nobody, f->peer_san), self = end_of_facts(c->local->facts, f->local_san);
    struct str san_space = namespace_of(f->peer_san);
    if (c->reporter == ISTIO_REPORTS_SOURCE && !f->peer && f->endpoint.n)
        peer = end_of_endpoint(f->endpoint, f->peer_san);
    if (san_space.n)
        peer.space = san_space;
    switch (c->reporter) {
    case ISTIO_REPORTS_SOURCE:
        l[LABEL_reporter] = STR("source");
        label_source(l, &self);
        label_destination(l, &peer);
        label_service(l, f, STR(""), peer.space);
        break;
    case ISTIO_REPORTS_DESTINATION:
        l[LABEL_reporter] = STR("destination");
        label_source(l, &peer);
        label_destination(l, &self);
        label_service(l, f, self.service, self.space);
        break;
    case ISTIO_REPORTS_WAYPOINT: {
        struct end chosen = end_of_endpoint(f->endpoint, STR(""));
        l[LABEL_reporter] = STR("waypoint");
        label_source(l, &peer);
        label_destination(l, &chosen);
        label_service(l, f, STR(""), chosen.space);
        break;
    }
    }
}

struct texts { /* of labels that are numbers */
    char status[24], grpc[24], flags[256];
};

static void label_request(struct str *l, const struct istio_stats_config *c, const struct istio_facts *f, struct texts *t)
{
    static const char *const protocols[] = {[ISTIO_HTTP] = "http", [ISTIO_GRPC] = "grpc", [ISTIO_TCP] = "tcp"};
    size_t n = response_flags_format(f->flags, false, t->flags, sizeof(t->flags));
    l[LABEL_request_protocol] = str_from(protocols[f->kind]);
    l[LABEL_response_code] = str_make(t->status, (size_t)snprintf(t->status, sizeof(t->status), "%u", f->status));
    l[LABEL_grpc_response_status] = STR("");
    if (f->grpc_status >= 0)
        l[LABEL_grpc_response_status] = str_make(t->grpc, (size_t)snprintf(t->grpc, sizeof(t->grpc), "%d", f->grpc_status));
    l[LABEL_response_flags] = n ? str_make(t->flags, n) : STR("-");
    l[LABEL_connection_security_policy] = c->reporter == ISTIO_REPORTS_SOURCE ? STR("unknown")
                                          : f->mutual_tls                     ? STR("mutual_tls")
                                                                              : STR("none");
}

/* ---- what a configuration changes ---- */

static bool applies(const struct istio_override *o, uint32_t i, const struct istio_facts *f, unsigned metric)
{
    return (o->metrics >> metric & 1) && (f->matched >> i & 1);
}

/* The last word on a label; -1: none is said, -2: it goes, else the number of the dimension that stands for it. */
static int verdict(const struct istio_stats_config *c, const struct istio_facts *f, unsigned metric, struct str name)
{
    int said = -1;
    for (uint32_t i = 0; i < c->override_count; i++) {
        const struct istio_override *o = &c->overrides[i];
        if (!applies(o, i, f, metric))
            continue;
        for (uint32_t r = 0; r < o->removed_count; r++)
            if (str_eq(o->removed[r], name))
                said = -2;
        for (uint32_t d = 0; d < o->dimension_count; d++)
            if (str_eq(o->dimensions[d].name, name))
                said = (int)(o->first_dimension + d);
    }
    return said;
}

static bool is_dropped(const struct istio_stats_config *c, const struct istio_facts *f, unsigned metric)
{
    for (uint32_t i = 0; i < c->override_count; i++)
        if (c->overrides[i].drop && applies(&c->overrides[i], i, f, metric))
            return true;
    return false;
}

struct label_list {
    struct stat_tag items[LABEL_COUNT + ISTIO_DIMENSIONS_MAX];
    uint32_t count;
};

static bool has_name(const struct label_list *l, struct str name)
{
    for (uint32_t i = 0; i < l->count; i++)
        if (str_eq(l->items[i].name, name))
            return true;
    return false;
}

static void add_dimensions(const struct istio_stats_config *c, const struct istio_facts *f, unsigned metric, struct label_list *out)
{
    for (uint32_t i = 0; i < c->override_count; i++) {
        const struct istio_override *o = &c->overrides[i];
        for (uint32_t d = 0; applies(o, i, f, metric) && d < o->dimension_count; d++) {
            int said = verdict(c, f, metric, o->dimensions[d].name);
            if (said >= 0 && !has_name(out, o->dimensions[d].name))
                out->items[out->count++] = (struct stat_tag){o->dimensions[d].name, f->values[said]};
        }
    }
}

static void list_labels(const struct istio_stats_config *c, const struct istio_facts *f, unsigned metric, const struct str *values,
                        struct label_list *out)
{
    out->count = 0;
    for (int i = 0; i < LABEL_COUNT; i++) {
        if (f->kind == ISTIO_TCP && (i == LABEL_response_code || i == LABEL_grpc_response_status))
            continue;
        int said = verdict(c, f, metric, label_names[i]);
        if (said != -2)
            out->items[out->count++] = (struct stat_tag){label_names[i], said >= 0 ? f->values[said] : values[i]};
    }
    add_dimensions(c, f, metric, out);
}

static void describe(struct istio_series *x, const struct istio_stats_config *c, const struct istio_facts *f)
{
    struct str values[LABEL_COUNT];
    struct texts texts;
    struct label_list list;
    unsigned first = f->kind == ISTIO_TCP ? STAT_ISTIO_TCP_OPENED : 0, end = f->kind == ISTIO_TCP ? ISTIO_METRIC_COUNT : STAT_ISTIO_TCP_OPENED;
    label_ends(values, c, f);
    label_request(values, c, f, &texts);
    for (unsigned m = first; m < end; m++) {
        if (is_dropped(c, f, m))
            continue;
        list_labels(c, f, m, values, &list);
        istio_series_describe(x, m, &istio_metric_table, m, list.items, list.count);
    }
    for (uint32_t i = 0; f->kind != ISTIO_TCP && i < c->own_count; i++) {
        unsigned m = ISTIO_METRIC_COUNT + i;
        if (is_dropped(c, f, m))
            continue;
        list_labels(c, f, m, values, &list);
        istio_series_describe(x, m, c->own[i].table, 0, list.items, list.count);
    }
}

struct istio_series *istio_stats_series(const struct istio_stats_config *c, const struct istio_facts *f)
{
    struct key k;
    make_key(&k, c, f);
    struct istio_series *x = istio_series_find(c->series, k.bytes, k.n);
    if (__builtin_expect(x != NULL, 1))
        return x;
    x = istio_series_add(c->series, k.bytes, k.n);
    if (x) {
        describe(x, c, f);
        istio_series_ask(c->series, x);
    }
    return x;
}
