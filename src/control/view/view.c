/* SPDX-License-Identifier: Apache-2.0
 *
 * A part lives as long as a client has it; its key is what it was made of. A refresh asks of each part whether what changed concerns
 * it, and lets go of those that it does: the next client that asks has it made anew. Assignments are different: a set of them is
 * carried on from the one before, with only those hosts made anew whose endpoints changed.
 */
#include "control/view/view.h"

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "io/loop.h"

struct client {
    struct view *view;
    struct arena arena;
    struct proto_arena *protos;
    struct node node;
    const struct scope *scope;   /* a reference; of `generation` */
    uint64_t generation;
    struct part_entry *parts[PART_COUNT + 1]; /* referenced; the last: assignments */
    uint64_t part_generation[PART_COUNT + 1];
    /* Its own and nobody else's: keys are in them. */
    struct xds_set *secrets;
    struct xds_names *secret_names; /* that they were made for */
    uint64_t secret_generation;
    bool is_proven;              /* who it is was checked; without that it gets no secrets */
};

struct part_entry {
    struct view *view;
    struct str key;              /* owned */
    struct xds_set *set;
    const struct scope *scope;   /* a reference */
    enum part part;              /* PART_COUNT: assignments */
    uint32_t refs;               /* of clients */
    bool is_stale;               /* out of the map; goes with its last client */
};

struct view {
    struct push_source source; /* first */
    struct push *push;
    struct world *world;
    struct view_gate *gate;
    struct constants *constants;
    struct map *parts;         /* key -> part_entry */
    struct map *clients;       /* by where they are in memory */
    struct map *addresses;     /* of workloads -> who of them came last */
    uint64_t generation;       /* counts refreshes */
    struct arena scratch;
    struct proto_arena *protos;
    struct view_counters counters;
    /* gathered since the last refresh */
    struct map *services, *endpoints;
    uint64_t kinds;
    bool everything;
};

static struct view *view_of(struct push_source *s)
{
    return (struct view *)s;
}

/* ---- parts ---- */

struct set_sink {
    struct resource_sink sink; /* first */
    struct xds_set_builder *builder;
    struct strbuf packed;
};

static void on_resource(struct resource_sink *sink, struct str name, const ProtobufCMessage *resource)
{
    struct set_sink *s = (struct set_sink *)sink;
    strbuf_reset(&s->packed);
    proto_pack(resource, &s->packed);
    xds_set_put(s->builder, name, strbuf_str(&s->packed));
}

static struct translation translation_begin(struct client *c)
{
    struct view *v = c->view;
    arena_init(&v->scratch, 0);
    v->protos = proto_arena_new(0);
    return (struct translation){.world = v->world, .node = &c->node, .scope = c->scope, .arena = &v->scratch, .protos = v->protos,
                                .constants = v->constants};
}

static void translation_end(struct view *v)
{
    proto_arena_free(&v->protos);
    arena_fini(&v->scratch);
}

static const char *type_of(enum part p)
{
    return p == PART_COUNT ? push_type_name(PUSH_EDS) : part_type_url(p);
}

static void entry_forget(struct part_entry *e)
{
    if (!e->is_stale)
        map_del(e->view->parts, e->key);
    e->is_stale = true;
    if (e->refs)
        return;
    e->view->counters.parts_held--;
    xds_set_unref(&e->set);
    scope_unref(&e->scope);
    str_free(&e->key);
    mem_free(e);
}

static void entry_drop(struct part_entry **pe)
{
    struct part_entry *e = *pe;
    *pe = NULL;
    if (e && --e->refs == 0)
        entry_forget(e);
}

static void set_make(struct client *c, enum part p, struct part_entry *e)
{
    struct view *v = c->view;
    struct translation t = translation_begin(c);
    struct set_sink sink = {{on_resource}, xds_set_begin(push_pool(v->push), type_of(p), NULL), {0}};
    if (p == PART_COUNT)
        translate_assignments(&t, STR_NULL, &sink.sink);
    else
        translate_part(&t, p, &sink.sink);
    e->set = xds_set_end(&sink.builder);
    strbuf_fini(&sink.packed);
    translation_end(v);
    v->counters.parts_made++;
}

static void key_make(struct client *c, enum part p, struct strbuf *key)
{
    struct translation t = translation_begin(c);
    if (p == PART_COUNT)
        translate_assignments_key(&t, key);
    else
        translate_key(&t, p, key);
    translation_end(c->view);
}

/* Found or made; a reference for the client. */
static struct part_entry *entry_get(struct client *c, enum part p)
{
    struct view *v = c->view;
    struct strbuf key = {0};
    strbuf_addc(&key, (char)('A' + p));
    key_make(c, p, &key);
    struct part_entry *e = map_get(v->parts, strbuf_str(&key));
    if (!e) {
        e = NEW(part_entry);
        e->view = v;
        e->key = str_dup(strbuf_str(&key));
        e->part = p;
        e->scope = scope_ref(c->scope);
        set_make(c, p, e);
        map_set(v->parts, e->key, e);
        v->counters.parts_held++;
    } else
        v->counters.parts_shared++;
    e->refs++;
    strbuf_fini(&key);
    return e;
}

static void scope_update(struct client *c)
{
    struct world *w = c->view->world;
    if (c->scope && c->generation == c->view->generation)
        return;
    node_locate(&c->node, &c->arena, w); /* its Pod may have come after it */
    const struct scope *s = c->node.type == NODE_ROUTER ? scope_of_gateway(w, c->node.ns, &c->node.labels)
                                                        : scope_of_sidecar(w, c->node.ns, &c->node.labels);
    s = scope_ref(s);
    if (c->scope)
        scope_unref(&c->scope);
    c->scope = s;
    c->generation = c->view->generation;
}

static struct xds_set *part_of(struct client *c, enum part p)
{
    struct part_entry *e = c->parts[p];
    scope_update(c);
    if (e && c->part_generation[p] == c->view->generation && !e->is_stale)
        return e->set;
    e = entry_get(c, p);
    entry_drop(&c->parts[p]);
    c->parts[p] = e;
    c->part_generation[p] = c->view->generation;
    return e->set;
}

/* ---- secrets ---- */

static struct xds_set *secrets_make(struct client *c, const struct xds_names *names)
{
    struct view *v = c->view;
    struct translation t = translation_begin(c);
    struct set_sink sink = {{on_resource}, xds_set_begin(push_pool(v->push), push_type_name(PUSH_SDS), NULL), {0}};
    for (uint32_t i = 0; c->is_proven && i < xds_names_count(names); i++)
        translate_secret(&t, xds_names_at(names, i), &sink.sink);
    strbuf_fini(&sink.packed);
    translation_end(v);
    return xds_set_end(&sink.builder);
}

static struct xds_set *secrets_of(struct client *c, const struct xds_names *names)
{
    if (c->secrets && c->secret_generation == c->view->generation && c->secret_names == names)
        return c->secrets;
    scope_update(c);
    xds_set_unref(&c->secrets);
    xds_names_unref(&c->secret_names);
    c->secrets = secrets_make(c, names);
    c->secret_names = names ? xds_names_ref((struct xds_names *)(uintptr_t)names) : NULL;
    c->secret_generation = c->view->generation;
    return c->secrets;
}

/* ---- the push asks ---- */

static uint32_t parts(struct push_source *s, void *client, enum push_type type, const struct xds_names *names, struct xds_set *out[XDS_PARTS_MAX])
{
    struct client *c = client;
    (void)s; /* sets hold more than this client asks for, but for secrets */
    switch (type) {
    case PUSH_CDS:
        out[0] = part_of(c, PART_CDS_OUTBOUND);
        out[1] = part_of(c, PART_CDS_INBOUND);
        return 2;
    case PUSH_LDS:
        out[0] = part_of(c, PART_LDS_OUTBOUND);
        out[1] = part_of(c, PART_LDS_INBOUND);
        return 2;
    case PUSH_RDS:
        out[0] = part_of(c, PART_RDS);
        return 1;
    case PUSH_VHDS:
        out[0] = c->node.takes_vhds ? part_of(c, PART_VHDS) : NULL;
        return 1;
    case PUSH_EDS:
        out[0] = part_of(c, PART_COUNT);
        return 1;
    case PUSH_NDS:
        out[0] = part_of(c, PART_NDS);
        return 1;
    case PUSH_SDS:
        out[0] = secrets_of(c, names);
        return 1;
    case PUSH_ECDS:
        out[0] = part_of(c, PART_ECDS);
        return 1;
    default:
        return 0;
    }
}

static struct str client_key(struct client *const *c)
{
    return str_make((const char *)c, sizeof(*c));
}

/* Its first address tells a workload; two proxies of one are none but for a moment (a restart). */
static void client_enter(struct client *c)
{
    map_set(c->view->clients, client_key(&c), c);
    map_set(c->view->addresses, c->node.addresses[0], c);
}

static void client_leave_view(struct client *c)
{
    if (map_del(c->view->clients, client_key(&c)) && map_get(c->view->addresses, c->node.addresses[0]) == c)
        map_del(c->view->addresses, c->node.addresses[0]);
}

static void client_free(struct client *c)
{
    client_leave_view(c);
    for (int i = 0; i <= PART_COUNT; i++)
        entry_drop(&c->parts[i]);
    xds_set_unref(&c->secrets);
    xds_names_unref(&c->secret_names);
    if (c->scope)
        scope_unref(&c->scope);
    proto_arena_free(&c->protos);
    arena_fini(&c->arena);
    mem_free(c);
}

static void *client_arrive(struct push_source *s, const struct push_peer *peer, bool *is_asking)
{
    struct view_gate *gate = view_of(s)->gate;
    return gate ? gate->arrive(gate, peer, is_asking) : NULL;
}

static void client_leave(struct push_source *s, void *visitor)
{
    struct view_gate *gate = view_of(s)->gate;
    gate->leave(gate, visitor);
}

static int client_open(struct push_source *s, const struct push_peer *peer, struct str node, void **client, struct push_refusal *why)
{
    struct view *v = view_of(s);
    struct client *c = NEW(client);
    c->view = v;
    c->is_proven = v->gate && !peer->is_plain;
    arena_init(&c->arena, 0);
    c->protos = proto_arena_new(0);
    why->status = GRPC_INVALID_ARGUMENT;
    int rc = node_read(&c->arena, c->protos, node, v->world, &c->node, &why->err);
    if (rc == 0 && v->gate)
        rc = v->gate->check(v->gate, peer, &c->node, why);
    if (rc) {
        client_free(c);
        return rc;
    }
    client_enter(c);
    *client = c;
    return 0;
}

static void client_close(struct push_source *s, void *client)
{
    (void)s;
    client_free(client);
}

static void about(struct push_source *s, const void *client, struct push_about *out)
{
    const struct client *c = client;
    static const char *const types[] = {"sidecar", "router", "waypoint", "ztunnel", "grpc", "other"};
    (void)s;
    *out = (struct push_about){.id = c->node.id, .cluster_id = c->node.cluster_id, .version = c->node.version,
                               .type = str_from(types[c->node.type])};
}

/* ---- changes ---- */

/* Changes of these matter by the endpoints that they change. */
static const uint64_t endpoint_kinds = UINT64_C(1) << KIND_ENDPOINT_SLICE | UINT64_C(1) << KIND_POD | UINT64_C(1) << KIND_NODE |
                                       UINT64_C(1) << KIND_WORKLOAD_ENTRY;

static void gather(struct map *m, const struct str *hosts, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        map_set(m, hosts[i], m);
}

/* Did an endpoint come or go that is a proxy's own? What it listens for is another then. */
static bool is_of_client(const struct view *v, const struct world_delta *d)
{
    for (uint32_t i = 0; i < d->address_count; i++)
        if (map_get(v->addresses, d->addresses[i]))
            return true;
    return false;
}

static void on_world(void *user, const struct world_delta *d)
{
    struct view *v = user;
    v->kinds |= d->kinds;
    v->everything |= d->everything;
    gather(v->services, d->services, d->service_count);
    gather(v->endpoints, d->endpoints, d->endpoint_count);
    bool is_full = d->everything || d->service_count || (d->kinds & ~endpoint_kinds) || is_of_client(v, d);
    if (is_full || d->endpoint_count)
        push_changed(v->push, is_full ? PUSH_FULL : PUSH_ENDPOINTS, 0);
}

/* The hosts of `m` that aren't in `but` (NULL: all). */
static const struct str *keys_of(const struct map *m, const struct map *but, struct arena *a, uint32_t *count)
{
    size_t pos = 0;
    uint32_t n = 0;
    void *value;
    struct str key, *out = arena_alloc(a, (map_count(m) + 1) * sizeof(*out));
    while (map_next(m, &pos, &key, &value))
        if (!but || !map_get(but, key))
            out[n++] = key;
    *count = n;
    return out;
}

/* The same set with the changed hosts' assignments made anew. */
static void assignments_carry_on(struct view *v, struct part_entry *e, struct client *like, const struct world_delta *d)
{
    struct translation t = translation_begin(like);
    struct set_sink sink = {{on_resource}, xds_set_begin(push_pool(v->push), type_of(PART_COUNT), e->set), {0}};
    for (uint32_t i = 0; i < d->endpoint_count; i++)
        translate_assignments(&t, d->endpoints[i], &sink.sink);
    xds_set_unref(&e->set);
    e->set = xds_set_end(&sink.builder);
    strbuf_fini(&sink.packed);
    translation_end(v);
}

/* Somebody who has the entry, in whose place it can be made again. */
static struct client *holder_of(struct view *v, const struct part_entry *e)
{
    size_t pos = 0;
    struct str key;
    void *value;
    while (map_next(v->clients, &pos, &key, &value))
        if (((struct client *)value)->parts[e->part] == e)
            return value;
    return NULL;
}

static void entry_refresh(struct view *v, struct part_entry *e, const struct world_delta *d)
{
    struct translation t = {.world = v->world, .scope = e->scope};
    if (e->part == PART_COUNT) {
        struct client *like = d->endpoint_count && !d->everything ? holder_of(v, e) : NULL;
        if (like)
            assignments_carry_on(v, e, like, d);
        else if (d->endpoint_count || d->everything)
            entry_forget(e);
    } else if (translate_concerns(&t, e->part, d))
        entry_forget(e);
}

static void entries_refresh(struct view *v, const struct world_delta *d, struct arena *a)
{
    size_t n = 0, pos = 0;
    struct str key;
    void *value;
    struct part_entry **all = arena_alloc(a, (map_count(v->parts) + 1) * sizeof(struct part_entry *));
    while (map_next(v->parts, &pos, &key, &value))
        all[n++] = value;
    for (size_t i = 0; i < n; i++)
        entry_refresh(v, all[i], d);
}

/* Endpoints don't wait for the rest: their assignments are carried on within the scopes that proxies have. Of services that changed
 * too they come with the full refresh. */
static uint32_t refresh_endpoints(struct view *v, struct arena *a)
{
    struct world_delta d = {0};
    d.endpoints = keys_of(v->endpoints, v->services, a, &d.endpoint_count);
    entries_refresh(v, &d, a);
    uint32_t left_count;
    const struct str *left = keys_of(v->endpoints, NULL, a, &left_count);
    struct map *later = map_new();
    for (uint32_t i = 0; i < left_count; i++)
        if (map_get(v->services, left[i]))
            map_set(later, left[i], v);
    map_free(&v->endpoints);
    v->endpoints = later;
    return 1u << PUSH_EDS;
}

static uint32_t refresh_all(struct view *v, struct arena *a)
{
    struct world_delta d = {.kinds = v->kinds, .everything = v->everything};
    d.services = keys_of(v->services, NULL, a, &d.service_count);
    d.endpoints = keys_of(v->endpoints, NULL, a, &d.endpoint_count);
    entries_refresh(v, &d, a);
    v->generation++;
    v->kinds = 0;
    v->everything = false;
    map_free(&v->services);
    map_free(&v->endpoints);
    v->services = map_new();
    v->endpoints = map_new();
    return (1u << PUSH_TYPE_COUNT) - 1;
}

static uint32_t refresh(struct push_source *s, unsigned kinds)
{
    struct view *v = view_of(s);
    struct arena a;
    arena_init(&a, 0);
    uint32_t types = kinds & PUSH_FULL ? refresh_all(v, &a) : refresh_endpoints(v, &a);
    arena_fini(&a);
    return types;
}

/* ---- life ---- */

static const struct push_source_ops source_ops = {
    .arrive = client_arrive,
    .leave = client_leave,
    .open = client_open,
    .close = client_close,
    .about = about,
    .parts = parts,
    .refresh = refresh,
};

struct view *view_new(struct loop *loop, struct world *keep_world, const struct push_opts *opts, struct view_gate *keep_gate)
{
    struct view *v = NEW(view);
    v->source.ops = &source_ops;
    v->world = keep_world;
    v->gate = keep_gate;
    v->constants = constants_new();
    v->parts = map_new();
    v->clients = map_new();
    v->addresses = map_new();
    v->services = map_new();
    v->endpoints = map_new();
    v->push = push_new(loop, opts, &v->source);
    world_watch(v->world, on_world, v);
    return v;
}

void view_free(struct view **pv)
{
    struct view *v = *pv;
    *pv = NULL;
    if (!v)
        return;
    world_watch(v->world, NULL, NULL);
    push_free(&v->push);
    map_free(&v->parts);
    map_free(&v->clients);
    map_free(&v->addresses);
    map_free(&v->services);
    map_free(&v->endpoints);
    constants_free(&v->constants);
    mem_free(v);
}

struct push *view_push(struct view *v)
{
    return v->push;
}

struct view_counters view_counters(const struct view *v)
{
    return v->counters;
}
