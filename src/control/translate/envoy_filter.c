/* SPDX-License-Identifier: Apache-2.0
 *
 * The patches that hold for a proxy: those of the root namespace first, then of its own, each by priority and age. Applied to
 * clusters, and where they add whole resources.
 */
#include "control/translate/envoy_filter_priv.h"

#include <stdlib.h>

#include "base/log.h"
#include "model/envoy_filter.h"
#include "model/pattern.h"

#define FILTER Istio__Networking__V1alpha3__EnvoyFilter
#define CLUSTER Envoy__Config__Cluster__V3__Cluster
#define BIT(operation_) (1u << OPERATION(operation_))

/* How each kind of thing may be patched; 0: not at all. */
#define MERGES (BIT(MERGE) | BIT(MERGE_AND_REPLACE_LIST))
#define INSERTS (BIT(INSERT_BEFORE) | BIT(INSERT_AFTER) | BIT(INSERT_FIRST))
static const unsigned operations[APPLY_TO_COUNT] = {
    [APPLY_TO(LISTENER)] = MERGES | BIT(ADD) | BIT(REMOVE),
    [APPLY_TO(FILTER_CHAIN)] = MERGES | BIT(ADD) | BIT(REMOVE),
    [APPLY_TO(LISTENER_FILTER)] = MERGES | INSERTS | BIT(ADD) | BIT(REMOVE) | BIT(REPLACE),
    [APPLY_TO(NETWORK_FILTER)] = MERGES | INSERTS | BIT(ADD) | BIT(REMOVE) | BIT(REPLACE),
    [APPLY_TO(HTTP_FILTER)] = MERGES | INSERTS | BIT(ADD) | BIT(REMOVE) | BIT(REPLACE),
    [APPLY_TO(ROUTE_CONFIGURATION)] = MERGES,
    [APPLY_TO(VIRTUAL_HOST)] = MERGES | BIT(ADD) | BIT(REMOVE) | BIT(REPLACE),
    [APPLY_TO(HTTP_ROUTE)] = MERGES | INSERTS | BIT(ADD) | BIT(REMOVE),
    [APPLY_TO(CLUSTER)] = MERGES | BIT(ADD) | BIT(REMOVE),
    [APPLY_TO(EXTENSION_CONFIG)] = BIT(ADD),
};

void patch_refuse(const struct patch *p, const char *why)
{
    LOG_SELDOM(CONFIG, WARNING, "EnvoyFilter %.*s/%.*s: configPatches[%zu]: %s", STR_ARG(p->object->ns), STR_ARG(p->object->name), p->index,
               why);
}

/* ---- which hold ---- */

static const FILTER *spec_of(const struct object *o)
{
    return (const FILTER *)o->body;
}

static bool is_for_proxy(const struct node *n, const PATCH_MATCH *m)
{
    if (!m || !m->proxy)
        return true;
    if (m->proxy->proxy_version[0] && (n->version.n == 0 || !pattern_finds(str_from(m->proxy->proxy_version), n->version)))
        return false;
    for (size_t i = 0; i < m->proxy->n_metadata; i++) {
        const Google__Protobuf__Value *v = node_metadata(n, m->proxy->metadata[i]->key);
        if (!v || v->kind_case != GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE || strcmp(v->string_value, m->proxy->metadata[i]->value) != 0)
            return false;
    }
    return true;
}

/* Where nothing has an order to be inserted in, an insertion adds. */
static patch_operation operation_of(const PATCH_SPEC *spec)
{
    patch_operation o = spec->patch->operation;
    bool inserts = INSERTS & (1u << o);
    return inserts && !(operations[spec->apply_to] & INSERTS) ? OPERATION(ADD) : o;
}

static bool is_done(const struct patch *p)
{
    const PATCH_SPEC *spec = p->spec;
    bool is_known = spec->apply_to < APPLY_TO_COUNT && operations[spec->apply_to];
    if (!is_known)
        patch_refuse(p, "this applyTo is not supported");
    else if (!spec->patch || !(operations[spec->apply_to] & (1u << operation_of(spec))))
        patch_refuse(p, "this operation is not supported for its applyTo");
    else {
        if (spec->patch->filter_class != ISTIO__NETWORKING__V1ALPHA3__ENVOY_FILTER__PATCH__FILTER_CLASS__UNSPECIFIED)
            patch_refuse(p, "patch.filterClass is not supported: the place is what the operation says");
        return true;
    }
    return false;
}

static int by_priority(const void *a, const void *b)
{
    const struct object *x = *(const struct object *const *)a, *y = *(const struct object *const *)b;
    int32_t one = spec_of(x)->priority, other = spec_of(y)->priority;
    return one != other ? (one < other ? -1 : 1) : object_compare(x, y);
}

/* Those of the root namespace stand first in what policies_for gives. */
static size_t filters_of(const struct translation *t, const struct object ***out)
{
    const struct object *const *found;
    size_t n = policies_for(t->world, KIND_ENVOY_FILTER, t->node->ns, &t->node->labels, t->arena, &found), roots = 0;
    const struct object **all = arena_alloc(t->arena, (n + 1) * sizeof(*all));
    memcpy(all, found, n * sizeof(*all));
    while (roots < n && str_eq(all[roots]->ns, world_mesh(t->world)->root_namespace))
        roots++;
    if (n) {
        qsort(all, roots, sizeof(*all), by_priority);
        qsort(all + roots, n - roots, sizeof(*all), by_priority);
    }
    *out = all;
    return n;
}

struct patches *envoy_filter_patches(const struct translation *t)
{
    const struct object **filters;
    size_t n = filters_of(t, &filters), total = 0;
    struct patches *all = arena_zalloc(t->arena, sizeof(*all));
    for (size_t i = 0; i < n; i++)
        total += spec_of(filters[i])->n_config_patches;
    all->items = arena_zalloc(t->arena, (total + 1) * sizeof(*all->items));
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < spec_of(filters[i])->n_config_patches; k++) {
            struct patch p = {.object = filters[i], .spec = spec_of(filters[i])->config_patches[k], .index = k};
            p.match = p.spec->match;
            p.context = p.match ? p.match->context : CONTEXT(ANY);
            if (!is_done(&p) || !is_for_proxy(t->node, p.match))
                continue;
            p.operation = operation_of(p.spec);
            all->of_kind[p.spec->apply_to]++;
            all->items[all->count++] = p;
        }
    return all;
}

void envoy_filter_key(const struct translation *t, struct strbuf *key)
{
    const struct object **filters;
    size_t n = filters_of(t, &filters);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < spec_of(filters[i])->n_config_patches; k++)
            strbuf_addc(key, is_for_proxy(t->node, spec_of(filters[i])->config_patches[k]->match) ? '+' : '-');
}

/* ---- walking over them ---- */

patch_context patch_context_of(const struct translation *t, bool is_inbound)
{
    if (t->node->type == NODE_ROUTER)
        return CONTEXT(GATEWAY);
    if (t->node->type == NODE_WAYPOINT)
        return CONTEXT(WAYPOINT);
    return is_inbound ? CONTEXT(SIDECAR_INBOUND) : CONTEXT(SIDECAR_OUTBOUND);
}

bool patches_have(const struct translation *t, apply_to kind)
{
    return t->patches && t->patches->of_kind[kind];
}

struct patch *patch_next(const struct translation *t, apply_to kind, patch_context context, size_t *pos)
{
    if (!patches_have(t, kind))
        return NULL;
    while (*pos < t->patches->count) {
        struct patch *p = &t->patches->items[(*pos)++];
        if (p->spec->apply_to == kind && (p->context == context || p->context == CONTEXT(ANY)))
            return p;
    }
    return NULL;
}

static void decode(const struct translation *t, struct patch *p)
{
    struct err_list faults = {0};
    char line[512];
    p->is_decoded = true;
    p->value = p->spec->patch->value ? envoy_filter_value(t->protos, (int)p->spec->apply_to, p->spec->patch->value, &faults) : NULL;
    if (!p->value)
        patch_refuse(p, faults.count ? err_format(&faults.items[0], line, sizeof(line)) : "patch.value is missing");
    err_list_fini(&faults);
}

ProtobufCMessage *patch_value(const struct translation *t, struct patch *p)
{
    if (!p->is_decoded)
        decode(t, p);
    return p->value ? proto_clone(t->protos, p->value) : NULL;
}

/* ---- clusters ---- */

/* "outbound|9080|v1|reviews.bookinfo.svc.cluster.local" */
static bool is_cluster(const CLUSTER *c, struct str service, const struct patch *p)
{
    const Istio__Networking__V1alpha3__EnvoyFilter__ClusterMatch *m =
        p->match && p->match->object_types_case == MATCH_OF(CLUSTER) ? p->match->cluster : NULL;
    struct str rest = str_from(c->name), port, subset;
    uint64_t number = 0;
    if (!m)
        return true;
    if (m->name[0])
        return strcmp(m->name, c->name) == 0;
    str_split(rest, '|', &rest);
    port = rest.p ? str_split(rest, '|', &rest) : STR("");
    subset = rest.p ? str_split(rest, '|', &rest) : STR("");
    str_to_u64(port, &number);
    return (!m->subset[0] || str_eq(str_from(m->subset), subset)) &&
           (!m->service[0] || str_eq(str_from(m->service), rest.n ? rest : service)) && (!m->port_number || m->port_number == number);
}

static Envoy__Config__Core__V3__TransportSocket *socket_like(const CLUSTER *c, const char *name)
{
    for (size_t i = 0; i < c->n_transport_socket_matches; i++) {
        Envoy__Config__Core__V3__TransportSocket *s = c->transport_socket_matches[i]->transport_socket;
        if (s && strcmp(s->name, name) == 0)
            return s;
    }
    return c->transport_socket && strcmp(c->transport_socket->name, name) == 0 ? c->transport_socket : NULL;
}

/* A socket of the same name merges where it stands, among matches too; another takes its place, but not beside matches. */
static void merge_cluster(const struct translation *t, struct patch *p, CLUSTER *into)
{
    CLUSTER *from = (CLUSTER *)patch_value(t, p);
    Envoy__Config__Core__V3__TransportSocket *socket = from ? from->transport_socket : NULL;
    if (socket) {
        Envoy__Config__Core__V3__TransportSocket *like = socket_like(into, socket->name);
        if (like)
            patch_merge_socket(t, p, like, socket);
        else if (into->n_transport_socket_matches == 0)
            into->transport_socket = socket;
        else
            patch_refuse(p, "patch.value.transport_socket: the cluster chooses among sockets, of which none has this name");
    }
    patch_merge(t, p, &into->base);
}

bool envoy_filter_cluster(const struct translation *t, CLUSTER *c, bool is_inbound, struct str service)
{
    patch_context context = patch_context_of(t, is_inbound);
    bool is_own = false;
    size_t pos = 0;
    for (struct patch *p; (p = patch_next(t, APPLY_TO(CLUSTER), context, &pos));) {
        if (p->operation == OPERATION(ADD) || !is_cluster(c, service, p))
            continue;
        if (p->operation == OPERATION(REMOVE))
            return false;
        if (!is_own)
            *c = *(CLUSTER *)proto_clone(t->protos, &c->base);
        is_own = true;
        merge_cluster(t, p, c);
    }
    return true;
}

/* ---- whole resources ---- */

static void add_all(const struct translation *t, apply_to kind, patch_context context, bool takes_any, struct resource_sink *out)
{
    size_t pos = 0;
    for (struct patch *p; (p = patch_next(t, kind, context, &pos));) {
        if (p->operation != OPERATION(ADD) || (p->context == CONTEXT(ANY) && !takes_any))
            continue;
        ProtobufCMessage *value = patch_value(t, p);
        const ProtobufCFieldDescriptor *name = proto_field_find(envoy_filter_type((int)kind), STR("name"));
        struct str s = value ? str_from(*(char *const *)proto_field_at(value, name, 0)) : STR("");
        if (s.n)
            out->add(out, s, value);
        else if (value)
            patch_refuse(p, "patch.value.name is missing");
    }
}

void envoy_filter_added(const struct translation *t, enum part part, struct resource_sink *out)
{
    bool is_inbound = part == PART_CDS_INBOUND || part == PART_LDS_INBOUND;
    patch_context context = patch_context_of(t, is_inbound);
    if (part == PART_CDS_OUTBOUND || part == PART_CDS_INBOUND)
        add_all(t, APPLY_TO(CLUSTER), context, !is_inbound, out);
    else if (part == PART_LDS_OUTBOUND || part == PART_LDS_INBOUND)
        add_all(t, APPLY_TO(LISTENER), context, !is_inbound, out);
    else if (part == PART_ECDS)
        add_all(t, APPLY_TO(EXTENSION_CONFIG), context, true, out);
    if (part == PART_ECDS && t->node->type == NODE_SIDECAR)
        add_all(t, APPLY_TO(EXTENSION_CONFIG), CONTEXT(SIDECAR_INBOUND), false, out);
}
