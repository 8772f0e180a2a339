/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the mesh's objects come from: a folder of files, or a Kubernetes API server. One of the registries, and what it needs.
 */
#ifndef CONTROL_DAEMON_SOURCE_H
#define CONTROL_DAEMON_SOURCE_H

#include "control/daemon/options.h"
#include "control/kube/token_review.h"
#include "model/store.h"

struct source;
/* --config-dir, else --kubeconfig, else the pod's own API server. Nothing is read yet. NULL: *err. */
struct source *source_new(struct loop *loop, const struct daemon_options *keep_o, struct err *err);
/* on_synced comes once all objects are in the store: from inside where they are at once. */
int source_begin(struct source *s, struct store *keep_store, void (*on_synced)(void *user), void *user, struct err *err);
void source_free(struct source **s);

struct kube_client *source_kubernetes(const struct source *s); /* NULL: there is no API server */
const struct token_reviewer *source_reviewer(const struct source *s); /* the same */
/* Why not all is there yet; nothing when it is. Appends. */
void source_waits_for(const struct source *s, struct strbuf *out);
void source_faults(const struct source *s, struct err_list *out);
void source_metrics(const struct source *s, struct strbuf *out);

#endif
