/* SPDX-License-Identifier: Apache-2.0
 *
 * Making services and sets of endpoints: what is filled in lives in the arena; sealed before anybody sees it.
 */
#ifndef MODEL_SERVICE_PRIV_H
#define MODEL_SERVICE_PRIV_H

#include "base/arena.h"
#include "model/service.h"

struct service *service_new(const struct object *object, struct arena **arena); /* one reference */
void service_seal(struct service *s);
struct endpoint_set *endpoint_set_new(struct arena **arena);
void endpoint_set_seal(struct endpoint_set *set);
/* The order of a set; 0: one endpoint, whatever else is said of it. */
int endpoint_compare(const struct endpoint *x, const struct endpoint *y);

uint64_t hash_text(uint64_t h, struct str s);
uint64_t hash_number(uint64_t h, uint64_t v);
uint64_t hash_labels(uint64_t h, const struct labels *l);

#endif
