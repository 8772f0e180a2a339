/* SPDX-License-Identifier: Apache-2.0
 *
 * Which policies hold for a workload (Istio: selectors, the root namespace).
 */
#include "model/scope_priv.h"

#include "istio/networking/envoy_filter.pb-c.h"
#include "istio/security/policies.pb-c.h"
#include "istio/telemetry/telemetry.pb-c.h"

#define SELECTOR Istio__Type__V1beta1__WorkloadSelector
#define PEERS Istio__Security__V1beta1__PeerAuthentication

/* false: it has target references, which workloads without a Gateway ignore. */
static bool selector_of(const struct object *o, const SELECTOR **out)
{
    switch (o->kind->id) {
    case KIND_PEER_AUTHENTICATION:
        *out = ((const PEERS *)o->body)->selector;
        return true;
    case KIND_REQUEST_AUTHENTICATION: {
        const Istio__Security__V1beta1__RequestAuthentication *r = (const void *)o->body;
        *out = r->selector;
        return !r->target_ref && r->n_target_refs == 0;
    }
    case KIND_AUTHORIZATION_POLICY: {
        const Istio__Security__V1beta1__AuthorizationPolicy *p = (const void *)o->body;
        *out = p->selector;
        return !p->target_ref && p->n_target_refs == 0;
    }
    case KIND_TELEMETRY: {
        const Istio__Telemetry__V1alpha1__Telemetry *t = (const void *)o->body;
        *out = t->selector;
        return t->n_target_refs == 0;
    }
    default:
        *out = NULL;
        return true;
    }
}

static bool envoy_filter_selects(const struct object *o, const struct labels *labels)
{
    const Istio__Networking__V1alpha3__EnvoyFilter *f = (const void *)o->body;
    if (f->n_target_refs)
        return false;
    for (size_t i = 0; f->workload_selector && i < f->workload_selector->n_labels; i++)
        if (!str_eq(labels_get(labels, str_from(f->workload_selector->labels[i]->key)), str_from(f->workload_selector->labels[i]->value)))
            return false;
    return true;
}

static bool holds(const struct object *o, const struct labels *labels)
{
    const SELECTOR *s;
    if (o->kind->id == KIND_ENVOY_FILTER)
        return envoy_filter_selects(o, labels);
    return selector_of(o, &s) && (!s || selector_matches(s->match_labels, s->n_match_labels, labels));
}

size_t policies_for(const struct world *w, enum kind_id kind, struct str ns, const struct labels *labels, struct arena *a,
                    const struct object *const **out)
{
    size_t n, m, count = 0;
    struct str root = w->mesh->root_namespace;
    const struct object *const *of_root = store_list_in(w->store, kind, root, &n);
    const struct object **found = arena_alloc(a, (n + 1) * sizeof(*found));
    for (size_t i = 0; i < n; i++)
        if (holds(of_root[i], labels))
            found[count++] = of_root[i];
    if (!str_eq(root, ns)) {
        const struct object *const *own = store_list_in(w->store, kind, ns, &m);
        const struct object **both = arena_alloc(a, (count + m + 1) * sizeof(*both));
        memcpy(both, found, count * sizeof(*both));
        for (size_t i = 0; i < m; i++)
            if (holds(own[i], labels))
                both[count++] = own[i];
        found = both;
    }
    *out = found;
    return count;
}

/* ---- peers' authentication ---- */

static enum mtls_mode mode_of(const Istio__Security__V1beta1__PeerAuthentication__MutualTLS *m, enum mtls_mode otherwise)
{
    switch (m ? m->mode : ISTIO__SECURITY__V1BETA1__PEER_AUTHENTICATION__MUTUAL_TLS__MODE__UNSET) {
    case ISTIO__SECURITY__V1BETA1__PEER_AUTHENTICATION__MUTUAL_TLS__MODE__DISABLE:
        return MTLS_DISABLE;
    case ISTIO__SECURITY__V1BETA1__PEER_AUTHENTICATION__MUTUAL_TLS__MODE__PERMISSIVE:
        return MTLS_PERMISSIVE;
    case ISTIO__SECURITY__V1BETA1__PEER_AUTHENTICATION__MUTUAL_TLS__MODE__STRICT:
        return MTLS_STRICT;
    default:
        return otherwise;
    }
}

static bool has_selector(const PEERS *p)
{
    return p->selector && p->selector->n_match_labels;
}

/* The oldest of a namespace, without a selector or with one that matches. */
static const PEERS *oldest(const struct world *w, struct str ns, const struct labels *labels, bool with_selector)
{
    size_t n;
    const struct object *const *all = store_list_in(w->store, KIND_PEER_AUTHENTICATION, ns, &n);
    for (size_t i = 0; i < n; i++) {
        const PEERS *p = (const PEERS *)all[i]->body;
        if (has_selector(p) == with_selector &&
            (!with_selector || selector_matches(p->selector->match_labels, p->selector->n_match_labels, labels)))
            return p;
    }
    return NULL;
}

enum mtls_mode mtls_mode_for(const struct world *w, struct str ns, const struct labels *labels, uint32_t port)
{
    struct str root = w->mesh->root_namespace;
    enum mtls_mode mode = MTLS_UNKNOWN;
    const PEERS *p = oldest(w, root, labels, false);
    mode = p ? mode_of(p->mtls, mode) : mode;
    p = str_eq(ns, root) ? NULL : oldest(w, ns, labels, false);
    mode = p ? mode_of(p->mtls, mode) : mode;
    p = str_eq(ns, root) ? NULL : oldest(w, ns, labels, true);
    if (!p)
        return mode;
    mode = mode_of(p->mtls, mode);
    for (size_t i = 0; i < p->n_port_level_mtls; i++)
        if (p->port_level_mtls[i]->key == port)
            mode = mode_of(p->port_level_mtls[i]->value, mode);
    return mode;
}
