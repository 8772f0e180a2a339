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
/* Brings labels into their order. */
void labels_sort(struct label *items, uint32_t count);
/* Is every one of `selector` among `l`? The empty selector is in all. */
bool labels_have_all(const struct labels *l, const struct labels *selector);

struct object {
    const struct kind *kind;
    struct str ns, name; /* ns: "" for kinds of the whole cluster */
    struct str uid, resource_version; /* "" in files */
    struct str owner_kind, owner_name; /* of the controller among its owners: "ReplicaSet"; "" none */
    int64_t created_s;   /* metadata.creationTimestamp; files without it: 0 */
    int64_t generation;
    bool is_deleting;    /* it has a deletionTimestamp */
    struct labels labels, annotations; /* without what kubectl keeps for itself there: last-applied-configuration */
    const ProtobufCMessage *body;   /* of kind_message(kind): the spec, or the whole */
    const ProtobufCMessage *status; /* KIND_SPEC: istio.meta.v1alpha1.IstioStatus, of a ServiceEntry
                                       istio.networking.v1alpha3.ServiceEntryStatus; NULL: none */
    uint64_t hash;       /* of all but status, resource_version and generation: equal objects mean the same */
    uint64_t status_hash; /* 0: no status */
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
    /* A directory may hold Deployments too: they are no faults. Unknown kinds of Istio's and the Gateway API's groups are. */
    OBJECT_SKIP_UNKNOWN_KINDS = 1,
};
/* What was read of a document; the caller owns the references. */
struct object_list {
    const struct object **items;
    size_t count, cap, skipped; /* documents of unknown kinds */
    struct err_list *warnings; /* the caller's, placed as faults are; NULL: it wants none */
};
void object_list_add(struct object_list *l, const struct object *take_object);
void object_list_fini(struct object_list *l);

/* Every document of a YAML or JSON text (`kind: List` is opened). Each fault of each document goes to `faults` as
 * "FILE:LINE:COLUMN: VirtualService bookinfo/reviews: spec.http[0].route[1].weight: ..."; a document with faults gives no object,
 * the others do. */
void object_read_all(struct str text, const char *file, unsigned flags, struct object_list *out, struct err_list *faults);
/* One document that was parsed already (a watch event). NULL after faults, and where it was skipped. `file` NULL: from an API
 * server, whose metadata may have fields that we don't know. */
const struct object *object_read(const struct doc_node *root, const char *file, unsigned flags, struct err_list *faults);
/* The same of a known kind, for documents that needn't say theirs: the items of an API server's lists. */
const struct object *object_read_as(const struct kind *k, const struct doc_node *root, const char *file,
                                    struct err_list *faults);

/* The rules for the kind beyond the schema: Istio's own (what istiod's webhook enforces), and of metadata Kubernetes'. Each fault
 * with its path in the object ("spec.http[0].timeout"). Warnings (legal, but hardly meant) go to `warnings`, which may be NULL.
 * object_read has called it for the faults. */
void object_validate(const struct object *o, struct err_list *faults, struct err_list *warnings);

#endif
