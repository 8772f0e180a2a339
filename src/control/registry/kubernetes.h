/* SPDX-License-Identifier: Apache-2.0
 *
 * Objects from a Kubernetes API server: a reflector a kind (control/kube/reflector.h). Nothing is committed to the store before
 * every kind was listed once: half a mesh is never told of. From then on each turn's changes are. One loop's thread.
 */
#ifndef CONTROL_REGISTRY_KUBERNETES_H
#define CONTROL_REGISTRY_KUBERNETES_H

#include "control/kube/reflector.h"

struct registry_kubernetes;
struct registry_kubernetes_opts {
    struct kube_client *client;      /* kept */
    struct store *store;             /* kept */
    uint64_t absent_ms;              /* as the reflector's; 0 the usual */
    void (*on_synced)(void *user);   /* once, after the first commit; not from inside registry_kubernetes_new */
    void *user;
};
struct registry_kubernetes *registry_kubernetes_new(const struct registry_kubernetes_opts *o);
void registry_kubernetes_free(struct registry_kubernetes **r); /* before the client */

bool registry_kubernetes_is_synced(const struct registry_kubernetes *r);
/* Why it isn't: "waiting for pods: 403: ..."; nothing once it is. Appends. */
void registry_kubernetes_waits_for(const struct registry_kubernetes *r, struct strbuf *out);
void registry_kubernetes_faults(const struct registry_kubernetes *r, struct err_list *out);
void registry_kubernetes_metrics(const struct registry_kubernetes *r, struct strbuf *out);

#endif
