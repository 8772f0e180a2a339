/* SPDX-License-Identifier: Apache-2.0
 *
 * One document of a known kind -> an object. What is read first lands in scratch memory; an object that has no faults is then made in an arena of its
 * own, no larger than it must be, since tens of thousands of them stay. Refuses unknown fields of Istio's kinds, objects
 * without a name. Any thread.
 */
#include "base/mem.h"
#include "base/nearest.h"
#include "istio/networking/service_entry.pb-c.h"
#include "istio/status.pb-c.h"
#include "k8s/core.pb-c.h"
#include "k8s/meta.pb-c.h"
#include "model/model_priv.h"

#define DEFAULT_NAMESPACE "default"
/* kubectl's copy of the whole object: it would double what is kept. */
#define LAST_APPLIED "kubectl.kubernetes.io/last-applied-configuration"

/* What was decoded of a document, before it is known to be whole. */
struct draft {
    const struct kind *kind;
    const struct doc_node *root;
    struct doc_place place;
    struct err_list *faults, *warnings;
    struct proto_arena *arena; /* of the messages */
    struct str ns, name;
    const K8s__Meta__V1__ObjectMeta *meta;
    const ProtobufCMessage *body, *status;
};

/* ---- parts ---- */

static void check_top(struct draft *d)
{
    static const char *const known[] = {"apiVersion", "kind", "metadata", "spec", "status"};
    for (const struct doc_node *c = d->root->first; c; c = c->next) {
        struct nearest near = {c->key, NULL, 0};
        for (size_t i = 0; i < ARRAY_LEN(known); i++)
            nearest_try(&near, known[i]);
        if (near.name && str_eq(c->key, str_from(near.name)))
            continue;
        doc_fault_at(d->faults, &d->place, c, "%.*s: no such field in %s%s%s%s", STR_ARG(c->key), d->kind->name,
                     near.name ? "; did you mean '" : "", near.name ? near.name : "", near.name ? "'?" : "");
    }
}

static const ProtobufCMessage *decode_part(struct draft *d, const struct doc_node *node, const char *path,
                                           const ProtobufCMessageDescriptor *type, unsigned flags)
{
    struct doc_place place = d->place;
    ProtobufCMessage *msg = NULL;
    place.path = path;
    if (node && node->kind != DOC_NULL)
        (void)!doc_decode_as(d->arena, node, type, DOC_KUBERNETES | flags, &place, &msg, d->faults);
    else
        msg = proto_new(d->arena, type);
    return msg;
}

/* managedFields is most of what an API server sends, and nobody here asks about it. */
static const struct doc_node *without_managed_fields(const struct doc_node *metadata, struct proto_arena *arena)
{
    struct doc_node *copy = PROTO_ARENA_NEW(arena, struct doc_node);
    if (!copy || metadata->kind != DOC_MAP)
        return metadata;
    *copy = *metadata;
    struct doc_node **tail = &copy->first;
    copy->first = NULL;
    for (const struct doc_node *c = metadata->first; c; c = c->next) {
        if (str_eq(c->key, STR("managedFields")))
            continue;
        struct doc_node *item = PROTO_ARENA_NEW(arena, struct doc_node);
        if (!item)
            return metadata;
        *item = *c;
        item->next = NULL;
        *tail = item;
        tail = &item->next;
    }
    return copy;
}

static void read_metadata(struct draft *d)
{
    const struct doc_node *node = doc_member(d->root, STR("metadata"));
    if (!node) {
        doc_fault_at(d->faults, &d->place, d->root, "metadata is missing");
        return;
    }
    d->meta = (const K8s__Meta__V1__ObjectMeta *)decode_part(d, without_managed_fields(node, d->arena), "metadata",
                                                             &k8s__meta__v1__object_meta__descriptor,
                                                             d->place.file ? 0 : DOC_LENIENT);
    struct doc_place place = d->place;
    place.path = "metadata.name";
    if (!d->name.n)
        doc_fault_at(d->faults, &place, node, "is missing");
    place.path = "metadata.namespace";
    if (!d->kind->is_namespaced && d->ns.n)
        doc_fault_at(d->faults, &place, doc_member(node, STR("namespace")), "a %s is in no namespace", d->kind->name);
}

/* Values given as text count as data, where both have a key instead of it: what an API server does on writing. */
static void merge_string_data(struct draft *d)
{
    K8s__Core__V1__Secret *secret = (K8s__Core__V1__Secret *)(uintptr_t)d->body;
    if (d->kind->id != KIND_SECRET || !secret || !secret->n_string_data)
        return;
    size_t n = secret->n_data, room = n + secret->n_string_data;
    K8s__Core__V1__Secret__DataEntry **all = proto_arena_alloc(d->arena, room * sizeof(*all));
    if (!all)
        return;
    if (n)
        memcpy(all, secret->data, n * sizeof(*all));
    for (size_t i = 0; i < secret->n_string_data; i++) {
        const K8s__Core__V1__Secret__StringDataEntry *from = secret->string_data[i];
        size_t at = 0;
        while (at < n && strcmp(all[at]->key, from->key) != 0)
            at++;
        if (at == n)
            all[n++] = PROTO_NEW(d->arena, K8s__Core__V1__Secret__DataEntry,
                                 k8s__core__v1__secret__data_entry__descriptor);
        if (!all[at])
            return;
        all[at]->key = from->key;
        all[at]->value = (ProtobufCBinaryData){strlen(from->value), (uint8_t *)from->value};
    }
    secret->data = all;
    secret->n_data = n;
    secret->n_string_data = 0;
}

static void read_body(struct draft *d)
{
    const ProtobufCMessageDescriptor *type = kind_message(d->kind);
    if (d->kind->shape == KIND_WHOLE) {
        d->body = decode_part(d, d->root, NULL, type, DOC_LENIENT);
        merge_string_data(d);
        return;
    }
    const struct doc_node *status = doc_member(d->root, STR("status"));
    check_top(d);
    d->body = decode_part(d, doc_member(d->root, STR("spec")), "spec", type, 0);
    if (status && status->kind != DOC_NULL)
        d->status = decode_part(d, status, "status",
                                d->kind->id == KIND_SERVICE_ENTRY
                                    ? &istio__networking__v1alpha3__service_entry_status__descriptor
                                    : &istio__meta__v1alpha1__istio_status__descriptor,
                                DOC_LENIENT);
}

/* ---- objects ---- */

static struct str keep(struct proto_arena *arena, const char *s)
{
    char *copy = proto_arena_strdup(arena, str_from(s));
    return str_make(copy ? copy : "", copy ? strlen(s) : 0);
}

/* Entries of labels and annotations are of two types with one shape. */
static struct labels keep_labels(struct proto_arena *arena, size_t n,
                                 K8s__Meta__V1__ObjectMeta__LabelsEntry *const *entries)
{
    struct label *items = n ? proto_arena_alloc(arena, n * sizeof(*items)) : NULL;
    struct labels out = {items, 0};
    for (size_t i = 0; items && i < n; i++)
        if (strcmp(entries[i]->key, LAST_APPLIED) != 0)
            items[out.count++] = (struct label){keep(arena, entries[i]->key), keep(arena, entries[i]->value)};
    labels_sort(items, out.count);
    return out;
}
_Static_assert(sizeof(K8s__Meta__V1__ObjectMeta__LabelsEntry) == sizeof(K8s__Meta__V1__ObjectMeta__AnnotationsEntry) &&
                   offsetof(K8s__Meta__V1__ObjectMeta__LabelsEntry, key) ==
                       offsetof(K8s__Meta__V1__ObjectMeta__AnnotationsEntry, key) &&
                   offsetof(K8s__Meta__V1__ObjectMeta__LabelsEntry, value) ==
                       offsetof(K8s__Meta__V1__ObjectMeta__AnnotationsEntry, value),
               "one shape");

static void keep_metadata(struct object *o, struct proto_arena *arena, const K8s__Meta__V1__ObjectMeta *meta)
{
    o->uid = keep(arena, meta->uid);
    o->resource_version = keep(arena, meta->resource_version);
    o->generation = meta->generation;
    o->created_s = meta->creation_timestamp ? meta->creation_timestamp->seconds : 0;
    o->is_deleting = meta->deletion_timestamp != NULL;
    o->labels = keep_labels(arena, meta->n_labels, meta->labels);
    o->annotations = keep_labels(arena, meta->n_annotations,
                                 (K8s__Meta__V1__ObjectMeta__LabelsEntry *const *)meta->annotations);
    for (size_t i = 0; i < meta->n_owner_references; i++) {
        const K8s__Meta__V1__OwnerReference *owner = meta->owner_references[i];
        if (!owner->controller || !owner->controller->value)
            continue;
        o->owner_kind = keep(arena, owner->kind);
        o->owner_name = keep(arena, owner->name);
    }
}

/* A copy of the message in `arena`, and the hash of its bytes after `hash`. */
static const ProtobufCMessage *keep_message(struct proto_arena *arena, const ProtobufCMessage *msg, uint64_t *hash)
{
    struct strbuf packed = {0};
    ProtobufCMessage *copy = NULL;
    proto_pack(msg, &packed);
    *hash = str_hash(strbuf_str(&packed), *hash);
    (void)!proto_unpack(arena, msg->descriptor, strbuf_str(&packed), &copy, NULL);
    strbuf_fini(&packed);
    return copy;
}

static uint64_t hash_labels(const struct labels *l, uint64_t hash)
{
    for (uint32_t i = 0; i < l->count; i++)
        hash = str_hash(l->items[i].value, str_hash(l->items[i].key, hash));
    return hash + l->count;
}

static uint64_t hash_metadata(const struct object *o)
{
    uint64_t numbers[] = {(uint64_t)o->kind->id, (uint64_t)o->created_s, o->is_deleting};
    uint64_t hash = str_hash(str_make((const char *)numbers, sizeof(numbers)), 0);
    hash = str_hash(o->owner_name, str_hash(o->uid, str_hash(o->name, str_hash(o->ns, hash))));
    return hash_labels(&o->annotations, hash_labels(&o->labels, hash));
}

/* The whole object in `arena`; NULL when it is full, or the message too deep to be copied. */
static struct object_box *fill_object(const struct draft *d, struct proto_arena *arena)
{
    struct object_box *box = PROTO_ARENA_NEW(arena, struct object_box);
    if (!box)
        return NULL;
    struct object *o = &box->object;
    o->kind = d->kind;
    o->line = d->root->line;
    o->file = d->place.file ? keep(arena, d->place.file).p : NULL;
    o->ns = d->kind->is_namespaced ? keep(arena, d->meta->namespace_[0] ? d->meta->namespace_ : DEFAULT_NAMESPACE) : STR("");
    o->name = keep(arena, d->meta->name);
    keep_metadata(o, arena, d->meta);
    o->hash = hash_metadata(o);
    o->body = keep_message(arena, d->body, &o->hash);
    o->status = d->status ? keep_message(arena, d->status, &o->status_hash) : NULL;
    return o->body && !proto_arena_is_full(arena) ? box : NULL;
}

/* Made twice: in scratch memory, which tells its size, then in an arena of just that. */
static const struct object *make_object(const struct draft *d)
{
    size_t before = proto_arena_used_bytes(d->arena);
    struct object_box *box = fill_object(d, d->arena);
    if (!box) {
        doc_fault_at(d->faults, &d->place, d->root, "the object is nested too deeply, or larger than is allowed");
        return NULL;
    }
    struct proto_arena *arena = proto_arena_new_small(0, proto_arena_used_bytes(d->arena) - before);
    box = fill_object(d, arena);
    CHECK(box);
    box->arena = arena;
    box->refs = 1;
    return &box->object;
}

size_t fault_count(const struct err_list *faults)
{
    return faults->count + faults->dropped;
}

/* The rules beyond the schema. NULL after faults. */
static const struct object *check_object(const struct draft *d, const struct object *o)
{
    size_t faults = fault_count(d->faults), first = d->faults->count, warning = d->warnings ? d->warnings->count : 0;
    object_validate(o, d->faults, d->warnings);
    doc_locate_faults(d->root, d->place.file, d->place.title, d->faults, first);
    if (d->warnings)
        doc_locate_faults(d->root, d->place.file, d->place.title, d->warnings, warning);
    if (fault_count(d->faults) != faults)
        object_unref(&o);
    return o;
}

const struct object *read_object(const struct kind *k, const struct doc_node *root, const char *file,
                                        struct err_list *faults, struct err_list *warnings)
{
    struct strbuf title = {0};
    const struct doc_node *metadata = doc_member(root, STR("metadata"));
    const struct object *o = NULL;
    size_t before = fault_count(faults);
    struct draft d = {.kind = k, .root = root, .faults = faults, .warnings = warnings,
                      .ns = doc_text(metadata, STR("namespace")), .name = doc_text(metadata, STR("name"))};
    title_add(&title, k, d.ns.n ? d.ns : STR(DEFAULT_NAMESPACE), d.name);
    d.place = (struct doc_place){.file = file, .title = title.p};
    d.arena = proto_arena_new(0);
    read_metadata(&d);
    read_body(&d);
    if (proto_arena_is_full(d.arena))
        doc_fault_at(faults, &d.place, root, "the object takes more memory than is allowed");
    if (fault_count(faults) == before)
        o = make_object(&d);
    if (o)
        o = check_object(&d, o);
    proto_arena_free(&d.arena);
    strbuf_fini(&title);
    return o;
}

