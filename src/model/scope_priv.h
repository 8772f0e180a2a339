/* SPDX-License-Identifier: Apache-2.0
 *
 * How scopes are made: rules (scope_rule.c), routes (scope_route.c), services (scope.c); policies by selector (policy.c).
 */
#ifndef MODEL_SCOPE_PRIV_H
#define MODEL_SCOPE_PRIV_H

#include "istio/security/selector.pb-c.h"
#include "model/scope.h"
#include "model/world_priv.h"

bool selector_matches(Istio__Type__V1beta1__WorkloadSelector__MatchLabelsEntry *const *entries, size_t count, const struct labels *labels);

struct rule_index *rule_index_new(const struct world *w);
void rule_index_free(struct rule_index **x);
/* NULL: none. In the arenas. */
const struct rule *rule_find(const struct world *w, const struct rule_index *x, const struct service *s, struct str ns,
                             const struct labels *labels, struct arena *a, struct proto_arena *pa);

/* All virtual services, worked out once for all scopes: delegates merged in. */
struct route_index;
struct route_index *route_index_new(const struct world *w);
void route_index_free(struct route_index **x);
/* Those that the namespace may see, oldest first; arena's array. */
size_t routes_visible(const struct world *w, const struct route_index *x, struct str ns, struct arena *a, const struct scoped_route ***out);

bool route_is_exported(const struct world *w, const struct object *route, struct str ns);

/* delegate.c. The body itself where there is nothing to merge. */
const ProtobufCMessage *route_with_delegates(const struct world *w, const struct object *root, struct proto_arena *pa);
uint64_t delegates_hash(const ProtobufCMessage *merged);

/* Adds the names of rules with a selector that names these labels: proxies for which they differ have scopes of their own. */
void rule_selectors_key(const struct world *w, struct str ns, const struct labels *labels, struct strbuf *key);

#endif
