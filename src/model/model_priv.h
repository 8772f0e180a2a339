/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of this room share.
 */
#ifndef MODEL_PRIV_H
#define MODEL_PRIV_H

#include "base/check.h"
#include "model/object.h"

/* ---- object.c ---- */
struct object_box {
    struct object object;
    struct proto_arena *arena; /* holds the box, too */
    uint32_t refs;
};
static inline struct object_box *object_box(const struct object *o)
{
    return CONTAINER_OF(o, object_box, object);
}
/* "VirtualService bookinfo/reviews", "Node n1"; without a name "?". */
void title_add(struct strbuf *out, const struct kind *k, struct str ns, struct str name);

/* ---- read_object.c ---- */
size_t fault_count(const struct err_list *faults);
const struct object *read_object(const struct kind *k, const struct doc_node *root, const char *file,
                                 struct err_list *faults, struct err_list *warnings);

#endif
