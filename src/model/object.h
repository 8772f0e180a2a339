/* SPDX-License-Identifier: Apache-2.0
 *
 * One object of the mesh as it was read: immutable, reference-counted, in an arena of its own. Any number of readers, one
 * thread counts references.
 */
#ifndef MODEL_OBJECT_H
#define MODEL_OBJECT_H

#include "base/err.h"
#include "model/kind.h"
#include "proto/doc.h"

/* One of an object's labels or annotations. */
struct label { struct str key, value; };
/* Sorted by key, bytewise; keys differ. */
struct labels {
    const struct label *items;
    uint32_t count;
};
/* The null str when absent. */
struct str labels_get(const struct labels *l, struct str key);
/* Is every one of `selector` among `l`? The empty selector is in all. */
bool labels_have_all(const struct labels *l, const struct labels *selector);

struct object {
    const struct kind *kind;
    struct str ns, name; /* ns: "" for kinds of the whole cluster */
    struct str uid, resource_version; /* "" in files */
    int64_t created_s;   /* metadata.creationTimestamp; files without it: 0 */
    int64_t generation;
    struct labels labels, annotations;
    const ProtobufCMessage *body;   /* of kind_message(kind): the spec, or the whole */
    const ProtobufCMessage *status; /* KIND_SPEC: istio.meta.v1alpha1.IstioStatus and its like; NULL: none */
    uint64_t hash;       /* of all but status, resource_version and generation: equal objects mean the same */
    const char *file;    /* where it was read; NULL: from an API server */
    uint32_t line;
};

const struct object *object_ref(const struct object *o);
void object_unref(const struct object **o);

/* The order in which Istio lets the older of two win: creation time, then name, then namespace. */
int object_compare(const struct object *a, const struct object *b);
/* "VirtualService bookinfo/reviews" */
void object_title(const struct object *o, struct strbuf *out);

/* ---- reading ---- */

enum object_read_flag {
    OBJECT_SKIP_UNKNOWN_KINDS = 1, /* a directory may hold Deployments too: they are no faults */
};
/* What was read of a document; the caller owns the references. */
struct object_list {
    const struct object **items;
    size_t count, cap;
};
void object_list_fini(struct object_list *l);

/* Every document of a YAML or JSON text (`kind: List` is opened). Each fault of each document goes to `faults` as
 * "FILE:LINE:COLUMN: VirtualService bookinfo/reviews: spec.http[0].route[1].weight: ..."; a document with faults gives no object,
 * the others do. */
void object_read_all(struct str text, const char *file, unsigned flags, struct object_list *out, struct err_list *faults);
/* One document that was parsed already (a watch event, a list's item). NULL after faults. `file` may be NULL. */
const struct object *object_read(const struct doc_node *root, const char *file, unsigned flags, struct err_list *faults);

/* Istio's own rules for the kind, beyond the schema (what istiod's webhook enforces). Each fault with its path in the object.
 * Warnings (legal, but hardly meant) go to `warnings`, which may be NULL. object_read has called it. */
void object_validate(const struct object *o, struct err_list *faults, struct err_list *warnings);

#endif
