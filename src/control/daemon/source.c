/* SPDX-License-Identifier: Apache-2.0
 *
 * Chooses; each registry does the rest.
 */
#include "control/daemon/source.h"

#include "base/mem.h"
#include "control/registry/files.h"
#include "control/registry/kubernetes.h"

/* Istio's name for the cluster that a control plane runs in, as proxies say it. */
#define CLUSTER_ID "Kubernetes"

struct source {
    struct loop *loop;
    const struct daemon_options *options;
    struct registry_files *files;           /* or */
    struct kube_client *client;
    struct kube_reviewer *reviewer;
    struct registry_kubernetes *kubernetes;
};

static int load_config(const struct daemon_options *o, struct kube_config *config, struct err *err)
{
    if (*o->kubeconfig)
        return kube_config_load(config, o->kubeconfig, err);
    int rc = kube_config_in_cluster(config, KUBE_ACCOUNT_FOLDER, err);
    if (rc == ERR_NOT_FOUND)
        err_set(err, rc, "--config-dir or --kubeconfig says where the mesh's objects are, outside of Kubernetes");
    return rc;
}

static int make_client(struct source *s, struct err *err)
{
    struct kube_config config = {0};
    int rc = load_config(s->options, &config, err);
    if (rc == 0)
        s->client = kube_client_new(s->loop, &config, err);
    kube_config_fini(&config);
    if (!s->client)
        return ERR_INVALID;
    s->reviewer = kube_reviewer_new(s->client, STR(CLUSTER_ID));
    return 0;
}

struct source *source_new(struct loop *loop, const struct daemon_options *keep_o, struct err *err)
{
    struct source *s = NEW(source);
    s->loop = loop;
    s->options = keep_o;
    int rc = 0;
    if (*keep_o->config_dir && *keep_o->kubeconfig)
        rc = err_set(err, ERR_INVALID, "--config-dir and --kubeconfig exclude each other");
    else if (!*keep_o->config_dir)
        rc = make_client(s, err);
    if (rc)
        source_free(&s);
    return s;
}

int source_begin(struct source *s, struct store *keep_store, void (*on_synced)(void *user), void *user, struct err *err)
{
    if (s->client) {
        s->kubernetes = registry_kubernetes_new(
            &(struct registry_kubernetes_opts){.client = s->client, .store = keep_store, .on_synced = on_synced, .user = user});
        return 0;
    }
    s->files = registry_files_new(s->loop, s->options->config_dir, keep_store, err);
    if (!s->files)
        return ERR_INVALID;
    on_synced(user);
    return 0;
}

void source_free(struct source **p)
{
    struct source *s = *p;
    *p = NULL;
    if (!s)
        return;
    registry_files_free(&s->files);
    registry_kubernetes_free(&s->kubernetes);
    kube_reviewer_free(&s->reviewer);
    kube_client_free(&s->client);
    mem_free(s);
}

struct kube_client *source_kubernetes(const struct source *s)
{
    return s->client;
}

const struct token_reviewer *source_reviewer(const struct source *s)
{
    return s->reviewer ? kube_reviewer(s->reviewer) : NULL;
}

void source_waits_for(const struct source *s, struct strbuf *out)
{
    if (s->kubernetes)
        registry_kubernetes_waits_for(s->kubernetes, out);
}

void source_faults(const struct source *s, struct err_list *out)
{
    if (s->kubernetes)
        registry_kubernetes_faults(s->kubernetes, out);
    const struct err_list *faults = s->files ? registry_files_faults(s->files) : NULL;
    for (size_t i = 0; faults && i < faults->count; i++)
        err_list_add(out, &faults->items[i]);
}

static void files_metrics(const struct registry_files *files, struct strbuf *out)
{
    struct registry_files_state s = registry_files_state(files);
    strbuf_addf(out, "# TYPE weftd_config_files gauge\nweftd_config_files %u\n", s.files);
    strbuf_addf(out, "# TYPE weftd_config_objects gauge\nweftd_config_objects %u\n", s.objects);
    strbuf_addf(out, "# TYPE weftd_config_broken_files gauge\nweftd_config_broken_files %u\n", s.broken_files);
    strbuf_addf(out, "# TYPE weftd_config_reads_total counter\nweftd_config_reads_total %lu\n", (unsigned long)s.reads);
}

void source_metrics(const struct source *s, struct strbuf *out)
{
    if (s->kubernetes)
        registry_kubernetes_metrics(s->kubernetes, out);
    else if (s->files)
        files_metrics(s->files, out);
}
