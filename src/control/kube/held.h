/* SPDX-License-Identifier: Apache-2.0
 *
 * Which objects of one kind a server is known to have, by "namespace/name", and what is wrong with them. A list that is read
 * anew is a round: what was not seen in it has vanished meanwhile. Pure.
 */
#ifndef CONTROL_KUBE_HELD_H
#define CONTROL_KUBE_HELD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"

struct kube_held;
struct kube_held *kube_held_new(void);
void kube_held_free(struct kube_held **h);

void kube_held_begin_round(struct kube_held *h);
void kube_held_add(struct kube_held *h, struct str ns, struct str name); /* seen in this round */
bool kube_held_remove(struct kube_held *h, struct str ns, struct str name); /* false: it wasn't there */
/* fn for each that this round hasn't seen; they are forgotten. How many. */
typedef void (*kube_held_fn)(void *user, struct str ns, struct str name);
size_t kube_held_end_round(struct kube_held *h, kube_held_fn fn, void *user);
size_t kube_held_count(const struct kube_held *h);

/* An object that can't be read; an object without faults, or that is gone, has none. Past KUBE_FAULTS_MAX objects
they are not kept. */
#define KUBE_FAULTS_MAX 1000u
void kube_held_set_fault(struct kube_held *h, struct str ns, struct str name, const struct err *fault); /* NULL: none any more */
size_t kube_held_fault_count(const struct kube_held *h);
void kube_held_faults(const struct kube_held *h, struct err_list *out);

#endif
