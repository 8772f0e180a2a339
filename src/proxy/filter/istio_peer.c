/* SPDX-License-Identifier: Apache-2.0
 *
 * Peers from what they say of themselves, and what we say. The bytes are a peer's: size, depth and the
 * number of labels are bounded, and what isn't understood makes no peer at all. What a workload calls
 * its facts is Istio's (pilot-agent's node metadata; labels app, version, service.istio.io/canonical-*).
 */
#include "proxy/filter/istio_peer.h"

#include "base/mem.h"
#include "proxy/filter/value_wire.h"
#include "proto/wire.h"

#include <stdlib.h>

#define CANONICAL_NAME "service.istio.io/canonical-name"
#define CANONICAL_REVISION "service.istio.io/canonical-revision"
#define OWNER_PREFIX "kubernetes://apis/"

static const struct str fact_names[] = {
#define X(id, name) {name, sizeof(name) - 1},
    ISTIO_PEER_FACTS(X)
#undef X
};

static struct str text_of(const struct meta_value *fields, const char *name)
{
    const struct meta_value *v = meta_field(fields, str_from(name));
    return v && v->kind == META_STRING ? v->u.string : STR("");
}

/* "kubernetes://apis/apps/v1/namespaces/NS/deployments/NAME" -> "deployment" */
static struct str type_of_owner(struct str owner)
{
    static const char *const kinds[][2] = {
        {"deployments", "deployment"}, {"jobs", "job"}, {"cronjobs", "cronjob"}, {"pods", "pod"}};
    if (!str_has_prefix(owner, STR(OWNER_PREFIX)))
        return STR("");
    const char *last = memrchr(owner.p, '/', owner.n);
    size_t n = (size_t)(last - owner.p);
    const char *before = memrchr(owner.p, '/', n);
    struct str kind = before ? str_make(before + 1, (size_t)(last - before - 1)) : STR("");
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (str_eq(kind, str_from(kinds[i][0])))
            return str_from(kinds[i][1]);
    return STR("pod");
}

static void read_facts(struct istio_peer *p, const struct meta_value *fields)
{
    const struct meta_value *labels = meta_field(fields, STR("LABELS"));
    struct str found[ISTIO_PEER_FACT_COUNT] = {
        [ISTIO_PEER_WORKLOAD] = text_of(fields, "WORKLOAD_NAME"),
        [ISTIO_PEER_TYPE] = type_of_owner(text_of(fields, "OWNER")),
        [ISTIO_PEER_NAME] = text_of(fields, "NAME"),
        [ISTIO_PEER_CLUSTER] = text_of(fields, "CLUSTER_ID"),
        [ISTIO_PEER_NAMESPACE] = text_of(fields, "NAMESPACE"),
        [ISTIO_PEER_SERVICE] = text_of(labels, CANONICAL_NAME),
        [ISTIO_PEER_REVISION] = text_of(labels, CANONICAL_REVISION),
        [ISTIO_PEER_APP] = text_of(labels, "app"),
        [ISTIO_PEER_VERSION] = text_of(labels, "version"),
        [ISTIO_PEER_IDENTITY] = text_of(fields, "IDENTITY"),
        [ISTIO_PEER_REGION] = text_of(fields, "REGION"),
        [ISTIO_PEER_ZONE] = text_of(fields, "AVAILABILITY_ZONE"),
    };
    for (int i = 0; i < ISTIO_PEER_FACT_COUNT; i++)
        p->facts[i] = arena_str(&p->arena, found[i]);
}

static struct meta_value text_value(struct str s)
{
    return (struct meta_value){.kind = META_STRING, .u.string = s};
}

/* The fields that expressions see: unknown facts are absent. */
static void make_fields(struct istio_peer *p, const struct meta_value *labels)
{
    struct meta_value *all = arena_zalloc(&p->arena, sizeof(*all));
    struct meta_field *items = arena_zalloc(&p->arena, (ISTIO_PEER_FACT_COUNT + 1) * sizeof(*items));
    uint32_t n = 0;
    for (int i = 0; i < ISTIO_PEER_FACT_COUNT; i++)
        if (p->facts[i].n)
            items[n++] = (struct meta_field){fact_names[i], text_value(p->facts[i])};
    if (labels && labels->kind == META_STRUCT && labels->u.fields.count <= ISTIO_PEER_LABELS_MAX)
        items[n++] = (struct meta_field){STR("labels"), meta_copy(&p->arena, labels)};
    *all = (struct meta_value){.kind = META_STRUCT, .u.fields = {items, n}};
    p->object.fields = all;
}

/* The text that a log shows, as Istio's object prints itself: "type=deployment,workload=a,…". */
static void make_texts(struct istio_peer *p)
{
    static const enum istio_peer_fact shown[] = {
        ISTIO_PEER_TYPE,    ISTIO_PEER_WORKLOAD, ISTIO_PEER_NAME, ISTIO_PEER_CLUSTER, ISTIO_PEER_NAMESPACE,
        ISTIO_PEER_SERVICE, ISTIO_PEER_REVISION, ISTIO_PEER_APP,  ISTIO_PEER_VERSION, ISTIO_PEER_IDENTITY};
    struct strbuf b = {0};
    for (size_t i = 0; i < ARRAY_LEN(shown); i++) {
        if (!p->facts[shown[i]].n)
            continue;
        if (b.n)
            strbuf_addc(&b, ',');
        strbuf_adds(&b, fact_names[shown[i]]);
        strbuf_addc(&b, '=');
        strbuf_adds(&b, p->facts[shown[i]]);
    }
    p->object.text = arena_str(&p->arena, strbuf_str(&b));
    strbuf_reset(&b);
    for (int i = 0; i < ISTIO_PEER_FACT_COUNT; i++) {
        uint32_t n = (uint32_t)p->facts[i].n;
        strbuf_add(&b, &n, sizeof(n));
        strbuf_adds(&b, p->facts[i]);
    }
    p->packed = arena_str(&p->arena, strbuf_str(&b));
    strbuf_fini(&b);
}

static void free_peer(struct filter_state_object *o)
{
    struct istio_peer *p = istio_peer_of(o);
    arena_fini(&p->arena);
    mem_free(p);
}

struct istio_peer *istio_peer_new(const struct meta_value *fields)
{
    struct istio_peer *p = NEW(istio_peer);
    arena_init(&p->arena, 0);
    p->object.refs = 1;
    p->object.free = free_peer;
    read_facts(p, fields);
    make_fields(p, meta_field(fields, STR("LABELS")));
    make_texts(p);
    return p;
}

bool istio_struct_from_wire(struct str bytes, struct arena *a, struct meta_value *out)
{
    struct strbuf value = {0};
    if (bytes.n > ISTIO_PEER_BYTES_MAX)
        return false;
    wire_bytes(&value, 5, bytes.p ? bytes.p : "", bytes.n); /* a Value that is this Struct */
    struct str copy = arena_str(a, strbuf_str(&value));
    strbuf_fini(&value);
    return value_from_wire(copy, a, out) && out->kind == META_STRUCT;
}

struct istio_peer *istio_peer_from_wire(struct str bytes)
{
    struct arena a;
    struct meta_value fields = {0};
    struct istio_peer *p = NULL;
    arena_init(&a, ISTIO_PEER_MEMORY_MAX);
    if (istio_struct_from_wire(bytes, &a, &fields))
        p = istio_peer_new(&fields);
    arena_fini(&a);
    return p;
}

const struct istio_peer *istio_peer_find(const struct filter_state *s, struct str key)
{
    const struct filter_state_entry *e = filter_state_find(s, key);
    return e && e->object && e->object->free == free_peer ? istio_peer_of(e->object) : NULL;
}

/* ---- what we say ---- */

static int by_name(const void *a, const void *b)
{
    return str_cmp((*(const struct meta_field *const *)a)->name, (*(const struct meta_field *const *)b)->name);
}

static void pack_value(const struct meta_value *v, struct strbuf *out)
{
    size_t opened;
    switch (v->kind) {
    case META_NULL:
        wire_varint(out, 1 << 3);
        wire_varint(out, 0);
        break;
    case META_NUMBER:
        wire_double(out, 2, v->u.number);
        break;
    case META_STRING:
        wire_bytes(out, 3, v->u.string.p ? v->u.string.p : "", v->u.string.n);
        break;
    case META_BOOL:
        wire_varint(out, 4 << 3);
        wire_varint(out, v->u.boolean);
        break;
    case META_STRUCT:
        opened = wire_open(out, 5);
        istio_pack_struct(v, out);
        wire_close(out, opened);
        break;
    case META_LIST:
        opened = wire_open(out, 6);
        for (uint32_t i = 0; i < v->u.list.count; i++) {
            size_t item = wire_open(out, 1);
            pack_value(&v->u.list.items[i], out);
            wire_close(out, item);
        }
        wire_close(out, opened);
        break;
    }
}

void istio_pack_struct(const struct meta_value *fields, struct strbuf *out)
{
    uint32_t n = fields->u.fields.count;
    const struct meta_field **sorted = mem_alloc((n + 1) * sizeof(*sorted));
    for (uint32_t i = 0; i < n; i++)
        sorted[i] = &fields->u.fields.items[i];
    qsort(sorted, n, sizeof(*sorted), by_name);
    for (uint32_t i = 0; i < n; i++) {
        size_t entry = wire_open(out, 1), value;
        wire_bytes(out, 1, sorted[i]->name.p, sorted[i]->name.n);
        value = wire_open(out, 2);
        pack_value(&sorted[i]->value, out);
        wire_close(out, value);
        wire_close(out, entry);
    }
    mem_free(sorted);
}

struct fields_maker {
    struct meta_field *items;
    uint32_t count;
};

static void add_text(struct fields_maker *m, const char *name, struct str value)
{
    if (value.n)
        m->items[m->count++] = (struct meta_field){str_from(name), text_value(value)};
}

static bool has_field(const struct fields_maker *m, struct str name)
{
    for (uint32_t i = 0; i < m->count; i++)
        if (str_eq(m->items[i].name, name))
            return true;
    return false;
}

static void pick_labels(const struct meta_value *labels, const struct str *extra, uint32_t extra_count, struct fields_maker *out)
{
    static const char *const always[] = {CANONICAL_NAME, CANONICAL_REVISION, "app", "version"};
    for (size_t i = 0; i < ARRAY_LEN(always); i++)
        add_text(out, always[i], text_of(labels, always[i]));
    for (uint32_t i = 0; i < extra_count; i++) {
        const struct meta_value *v = meta_field(labels, extra[i]);
        if (v && v->kind == META_STRING && !has_field(out, extra[i]))
            out->items[out->count++] = (struct meta_field){extra[i], *v};
    }
}

void istio_pack_self(const struct meta_value *node_metadata, const struct str *extra_labels, uint32_t extra_count, struct strbuf *out)
{
    static const char *const names[] = {"NAME",     "NAMESPACE", "WORKLOAD_NAME",    "CLUSTER_ID", "OWNER",
                                        "IDENTITY", "REGION",    "AVAILABILITY_ZONE"};
    struct meta_field items[ARRAY_LEN(names) + 1];
    struct fields_maker all = {items, 0}, labels = {mem_alloc((4 + extra_count) * sizeof(struct meta_field)), 0};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        add_text(&all, names[i], text_of(node_metadata, names[i]));
    pick_labels(meta_field(node_metadata, STR("LABELS")), extra_labels, extra_count, &labels);
    struct meta_value label_value = {.kind = META_STRUCT, .u.fields = {labels.items, labels.count}};
    if (labels.count)
        items[all.count++] = (struct meta_field){STR("LABELS"), label_value};
    istio_pack_struct(&(struct meta_value){.kind = META_STRUCT, .u.fields = {items, all.count}}, out);
    mem_free(labels.items);
}
