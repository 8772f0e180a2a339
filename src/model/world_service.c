/* SPDX-License-Identifier: Apache-2.0
 *
 * Services as Kubernetes' Services and Istio's ServiceEntries tell of them. Pure: an object in, services out.
 */
#include "model/world_priv.h"

#include "base/mem.h"
#include "istio/networking/service_entry.pb-c.h"
#include "k8s/core.pb-c.h"

#define ENTRY Istio__Networking__V1alpha3__ServiceEntry

/* ---- visibility ---- */

static void visibility_add(struct visibility *v, struct str word, struct str *room)
{
    word = str_trim(word);
    if (str_eq(word, STR("*")))
        v->everyone = true;
    else if (str_eq(word, STR("~")))
        v->nobody = true;
    else if (str_eq(word, STR(".")))
        v->own_namespace = true;
    else if (word.n)
        room[v->namespace_count++] = word;
}

/* The words of an exportTo; none: the mesh's default. */
static void visibility_of(struct arena *a, char *const *words, size_t count, const struct visibility *otherwise, struct visibility *out)
{
    *out = (struct visibility){0};
    if (count == 0) {
        *out = *otherwise;
        return;
    }
    struct str *room = arena_alloc(a, count * sizeof(*room));
    for (size_t i = 0; i < count; i++)
        visibility_add(out, arena_str(a, str_from(words[i])), room);
    out->namespaces = room;
}

static void visibility_of_text(struct arena *a, struct str text, const struct visibility *otherwise, struct visibility *out)
{
    *out = *otherwise;
    if (text.n == 0)
        return;
    *out = (struct visibility){0};
    struct str *room = arena_alloc(a, (text.n / 2 + 1) * sizeof(*room));
    for (struct str rest = text; rest.p;)
        visibility_add(out, arena_str(a, str_split(rest, ',', &rest)), room);
    out->namespaces = room;
}

static void copy_texts(struct arena *a, char *const *from, size_t count, const struct str **out, uint32_t *out_count)
{
    struct str *room = arena_alloc(a, (count ? count : 1) * sizeof(*room));
    for (size_t i = 0; i < count; i++)
        room[i] = arena_str(a, str_from(from[i]));
    *out = room;
    *out_count = (uint32_t)count;
}

/* ---- Kubernetes ---- */

static void set_target(struct service_port *p, const Google__Protobuf__Value *target)
{
    uint64_t n;
    if (!target)
        p->target = p->number;
    else if (target->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE)
        p->target = (uint32_t)target->number_value;
    else if (target->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE) {
        if (str_to_u64(str_from(target->string_value), &n))
            p->target = (uint32_t)n;
        else
            p->target_name = str_from(target->string_value);
    }
}

static void kubernetes_ports(struct arena *a, const K8s__Core__V1__ServiceSpec *spec, struct service *s)
{
    struct service_port *ports = arena_zalloc(a, (spec->n_ports ? spec->n_ports : 1) * sizeof(*ports));
    for (size_t i = 0; i < spec->n_ports; i++) {
        const K8s__Core__V1__ServicePort *from = spec->ports[i];
        struct service_port *p = &ports[i];
        p->name = str_from(from->name);
        p->number = (uint32_t)from->port;
        p->protocol = protocol_parse(str_from(from->app_protocol), p->name, p->number, str_from(from->protocol));
        set_target(p, from->target_port);
    }
    s->ports = ports;
    s->port_count = (uint32_t)spec->n_ports;
}

static void kubernetes_addresses(struct arena *a, const K8s__Core__V1__ServiceSpec *spec, struct service *s)
{
    char *const *from = spec->clusterips;
    size_t count = spec->n_clusterips;
    if (count == 0 && spec->clusterip[0]) {
        from = &spec->clusterip;
        count = 1;
    }
    s->is_headless = count && strcmp(from[0], "None") == 0;
    if (s->is_headless)
        s->resolution = RESOLUTION_PASSTHROUGH;
    else
        copy_texts(a, from, count, &s->addresses, &s->address_count);
}

static void labels_of_map(struct arena *a, K8s__Core__V1__ServiceSpec__SelectorEntry *const *entries, size_t count, struct labels *out)
{
    struct label *items = arena_alloc(a, (count ? count : 1) * sizeof(*items));
    for (size_t i = 0; i < count; i++)
        items[i] = (struct label){str_from(entries[i]->key), str_from(entries[i]->value)};
    labels_sort(items, (uint32_t)count);
    *out = (struct labels){items, (uint32_t)count};
}

static const struct service *kubernetes_service(const struct world *w, const struct object *o)
{
    const K8s__Core__V1__ServiceSpec *spec = ((const K8s__Core__V1__Service *)o->body)->spec;
    struct arena *a;
    struct service *s = service_new(o, &a);
    s->host = arena_printf(a, "%.*s.%.*s.svc.%.*s", STR_ARG(o->name), STR_ARG(o->ns), STR_ARG(w->domain));
    s->name = o->name;
    s->ns = o->ns;
    s->is_kubernetes = true;
    s->labels = o->labels;
    s->created_s = o->created_s;
    visibility_of_text(a, labels_get(&o->annotations, STR("networking.istio.io/exportTo")), &w->mesh->default_service_export, &s->visibility);
    if (spec) {
        s->publishes_not_ready = spec->publish_not_ready_addresses;
        s->node_local = str_from(spec->traffic_distribution);
        kubernetes_ports(a, spec, s);
        kubernetes_addresses(a, spec, s);
        labels_of_map(a, spec->selector, spec->n_selector, &s->selector);
        if (strcmp(spec->type, "ExternalName") == 0) {
            s->external_name = str_from(spec->external_name);
            s->resolution = RESOLUTION_DNS;
            s->is_external = true;
        }
    }
    service_seal(s);
    return s;
}

/* ---- ServiceEntry ---- */

static enum resolution entry_resolution(const ENTRY *e)
{
    switch (e->resolution) {
    case ISTIO__NETWORKING__V1ALPHA3__SERVICE_ENTRY__RESOLUTION__STATIC:
        return RESOLUTION_CLIENT_SIDE;
    case ISTIO__NETWORKING__V1ALPHA3__SERVICE_ENTRY__RESOLUTION__DNS:
        return RESOLUTION_DNS;
    case ISTIO__NETWORKING__V1ALPHA3__SERVICE_ENTRY__RESOLUTION__DNS_ROUND_ROBIN:
        return RESOLUTION_DNS_ROUND_ROBIN;
    default:
        return RESOLUTION_PASSTHROUGH;
    }
}

static void entry_ports(struct arena *a, const ENTRY *e, struct service *s)
{
    struct service_port *ports = arena_zalloc(a, (e->n_ports ? e->n_ports : 1) * sizeof(*ports));
    for (size_t i = 0; i < e->n_ports; i++) {
        const Istio__Networking__V1alpha3__ServicePort *from = e->ports[i];
        ports[i].name = str_from(from->name);
        ports[i].number = from->number;
        ports[i].target = from->target_port ? from->target_port : from->number;
        ports[i].protocol = protocol_parse(STR(""), str_from(from->protocol), from->number, STR("TCP"));
    }
    s->ports = ports;
    s->port_count = (uint32_t)e->n_ports;
}

/* Those it names, else those allocated for the host (status.addresses). */
static void entry_addresses(struct arena *a, const struct object *o, const ENTRY *e, struct service *s)
{
    copy_texts(a, e->addresses, e->n_addresses, &s->addresses, &s->address_count);
    const Istio__Networking__V1alpha3__ServiceEntryStatus *status =
        PROTO_CAST(const Istio__Networking__V1alpha3__ServiceEntryStatus, istio__networking__v1alpha3__service_entry_status__descriptor, o->status);
    if (s->address_count || !status)
        return;
    struct str *room = arena_alloc(a, (status->n_addresses ? status->n_addresses : 1) * sizeof(*room));
    for (size_t i = 0; i < status->n_addresses; i++)
        if (str_eq(str_from(status->addresses[i]->host), s->host))
            room[s->address_count++] = str_from(status->addresses[i]->value);
    s->addresses = room;
}

static void entry_selector(struct arena *a, const ENTRY *e, struct service *s)
{
    if (!e->workload_selector)
        return;
    size_t count = e->workload_selector->n_labels;
    struct label *items = arena_alloc(a, (count ? count : 1) * sizeof(*items));
    for (size_t i = 0; i < count; i++)
        items[i] = (struct label){str_from(e->workload_selector->labels[i]->key), str_from(e->workload_selector->labels[i]->value)};
    labels_sort(items, (uint32_t)count);
    s->selector = (struct labels){items, (uint32_t)count};
}

static const struct service *entry_service(const struct world *w, const struct object *o, const ENTRY *e, const char *host)
{
    struct arena *a;
    struct service *s = service_new(o, &a);
    s->host = arena_str(a, str_from(host));
    s->name = s->host;
    s->ns = o->ns;
    s->labels = o->labels;
    s->created_s = o->created_s;
    s->resolution = entry_resolution(e);
    s->is_external = e->location == ISTIO__NETWORKING__V1ALPHA3__SERVICE_ENTRY__LOCATION__MESH_EXTERNAL;
    visibility_of(a, e->export_to, e->n_export_to, &w->mesh->default_service_export, &s->visibility);
    copy_texts(a, e->subject_alt_names, e->n_subject_alt_names, &s->sans, &s->san_count);
    entry_ports(a, e, s);
    entry_addresses(a, o, e, s);
    entry_selector(a, e, s);
    service_seal(s);
    return s;
}

bool service_object_gives(enum kind_id kind)
{
    return kind == KIND_SERVICE || kind == KIND_SERVICE_ENTRY;
}

size_t services_of_object(const struct world *w, const struct object *o, struct arena *a, const struct service ***out)
{
    if (o->kind->id == KIND_SERVICE) {
        *out = arena_alloc(a, sizeof(**out));
        (*out)[0] = kubernetes_service(w, o);
        return 1;
    }
    const ENTRY *e = (const ENTRY *)o->body;
    *out = arena_alloc(a, (e->n_hosts ? e->n_hosts : 1) * sizeof(**out));
    for (size_t i = 0; i < e->n_hosts; i++)
        (*out)[i] = entry_service(w, o, e, e->hosts[i]);
    return e->n_hosts;
}
