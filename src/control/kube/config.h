/* SPDX-License-Identifier: Apache-2.0
 *
 * Where an API server is and who we are to it: a kubeconfig's current context, or what Kubernetes puts into a pod. Texts are
 * read once; what stands in files (tokens, keys) is named here and read by kube_secret_read whenever it may have changed.
 */
#ifndef CONTROL_KUBE_CONFIG_H
#define CONTROL_KUBE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"

#define KUBE_CONFIG_BYTES_MAX ((size_t)1 << 20)
/* A token, a key or a bundle of roots. */
#define KUBE_SECRET_BYTES_MAX ((size_t)1 << 20)

/* A text, or the file that holds it; both null: none; both: the text counts. */
struct kube_secret { struct str text, file; };

struct kube_config {
    struct arena arena;          /* of all texts */
    bool is_tls, skip_verify;
    struct str host;             /* a name or an address, without brackets */
    uint16_t port;
    struct str authority;        /* as the header has it */
    struct str path;             /* before every request's: "" or "/k8s/clusters/c1" */
    struct str server_name;      /* that its certificate must have; "" the host's */
    struct str ns;               /* the context's namespace; "" none */
    struct kube_secret ca, certificate, key, token; /* ca without either: the system's roots */
};

/* `file` is for messages, and files that it names are beside it. What isn't supported (exec plugins, passwords, proxies ...) is
 * refused by name. kube_config_fini after a fault, too. */
int kube_config_read(struct kube_config *c, struct str yaml, const char *file, struct err *err);
int kube_config_load(struct kube_config *c, const char *file, struct err *err);
/* KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT and the service account's folder ("Accessing the API from within a Pod",
 * kubernetes.io). ERR_NOT_FOUND outside of a pod. */
#define KUBE_ACCOUNT_FOLDER "/var/run/secrets/kubernetes.io/serviceaccount"
int kube_config_in_cluster(struct kube_config *c, const char *folder, struct err *err);
void kube_config_fini(struct kube_config *c);

/* Appends the text as it is now; nothing where there is none. The caller wipes it. */
int kube_secret_read(const struct kube_secret *s, struct strbuf *out, struct err *err);

#endif
