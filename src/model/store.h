/* SPDX-License-Identifier: Apache-2.0
 *
 * All objects that the registries have told of, by kind. Changes are gathered and told of together: a registry puts and
 * removes what it learnt in one turn, then commits. Putting an object that means the same (its hash and status) as the one
 * held changes nothing and is told to nobody. Main thread.
 */
#ifndef MODEL_STORE_H
#define MODEL_STORE_H

#include "model/object.h"

struct store;
struct store *store_new(void);
void store_free(struct store **s);

void store_put(struct store *s, const struct object *take_object);
void store_remove(struct store *s, enum kind_id kind, struct str ns, struct str name);
/* NULL: none. Borrowed until the object is replaced and the next commit has been told of (what came and went between two
 * commits dies at once). */
const struct object *store_get(const struct store *s, enum kind_id kind, struct str ns, struct str name);
/* All of a kind, oldest first (object_compare). Valid until the next put or remove of the kind. */
const struct object *const *store_list(const struct store *s, enum kind_id kind, size_t *count);
/* The same of one namespace, oldest first. */
const struct object *const *store_list_in(const struct store *s, enum kind_id kind, struct str ns, size_t *count);

/* Put (before NULL), changed, or removed (after NULL); several changes of one object between two commits are one. */
struct change {
    const struct object *before, *after;
};
static inline const struct object *change_object(const struct change *c)
{
    return c->after ? c->after : c->before;
}
/* `changes` hold references for the time of the call. May not put or remove. */
typedef void (*store_changed_fn)(void *user, const struct change *changes, size_t count);
void store_watch(struct store *s, store_changed_fn changed, void *user);
void store_unwatch(struct store *s, store_changed_fn changed, void *user);
void store_commit(struct store *s);

#endif
