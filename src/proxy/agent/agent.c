/* SPDX-License-Identifier: Apache-2.0
 *
 * Ties the agent's parts to one process. The store of secrets opens before the configuration is read, since TLS contexts look
 * there for what they need; files are read from the first wish on and watched once there is a loop. Main thread.
 */
#include "proxy/agent/agent.h"

#include "base/mem.h"
#include "proxy/agent/bootstrap.h"
#include "proxy/agent/dns_proxy.h"
#include "proxy/agent/file_secrets.h"
#include "proxy/agent/identity.h"
#include "proxy/agent/pushed_roots.h"
#include "proxy/agent/readiness.h"
#include "proxy/agent/secrets.h"
#include "proxy/agent/status.h"
#include "proxy/agent/termination.h"
#include "proxy/agent/token.h"
#include "proxy/service/grpc_credentials.h"

#include <stdio.h>
#include <stdlib.h>

#define OVERRIDE_MAX_BYTES ((size_t)4 << 20)

struct agent {
    struct agent_env env;
    struct strbuf bootstrap;
    struct str override;          /* of ISTIO_BOOTSTRAP_OVERRIDE's file; the environment's arena */
    struct trust trust;
    struct file_secrets *files;
    struct identity *identity;    /* IDENTITY_CA, once started */
    struct pushed_roots *pushed;
    struct status *status;        /* NULL where nothing is to be served */
    struct readiness *readiness;  /* NULL where no probe is configured */
    struct dns_proxy *dns;        /* NULL where nobody asked for it */
    struct termination termination;
};

/* ---- the store ---- */

static bool serves(void *user, struct str name)
{
    const struct agent *a = user;
    if (str_eq(name, STR("default")) || str_eq(name, STR("ROOTCA")))
        return a->env.identity != IDENTITY_SPIFFE; /* SPIRE's, behind the cluster "sds-grpc" */
    return file_secrets_serves(name);
}

static void wanted(void *user, struct str name)
{
    file_secrets_want(((struct agent *)user)->files, name);
}

static const struct secret_provider provider = {serves, wanted};

/* Roots that PROXY_CONFIG gives are trusted besides the mesh's own. */
static void take_given_roots(struct agent *a, struct err_list *faults)
{
    struct strbuf all = {0};
    struct err err = {0};
    bool changed;
    for (size_t i = 0; i < a->env.config.ca_certificates_pem.count; i++) {
        strbuf_adds(&all, a->env.config.ca_certificates_pem.items[i]);
        strbuf_addc(&all, '\n');
    }
    if (all.n && trust_set(&a->trust, TRUST_SETTINGS, strbuf_str(&all), &changed, &err) < 0)
        err_list_addf(faults, ERR_INVALID, "PROXY_CONFIG.caCertificatesPem", "%s", err.message);
    strbuf_fini(&all);
}

static void open_store(struct agent *a, struct err_list *faults)
{
    a->files = file_secrets_new();
    secret_store_open(&provider, a);
    if (a->env.identity != IDENTITY_SPIFFE) {
        take_given_roots(a, faults);
        file_secrets_add_crl(a->files, STR(AGENT_CRL_PATH), &a->trust);
    }
    if (a->env.identity == IDENTITY_FILES) {
        file_secrets_add_trust(a->files, a->env.root_path, &a->trust);
        file_secrets_add(a->files, STR("default"), a->env.cert_chain_path, a->env.key_path);
    }
}

/* ---- making ---- */

static void read_override(struct agent *a, struct err_list *faults)
{
    struct err err = {0};
    if (a->env.bootstrap_override.n &&
        text_read_file(a->env.bootstrap_override.p, &a->env.arena, OVERRIDE_MAX_BYTES, &a->override, &err) < 0)
        err_list_addf(faults, err.code, "ISTIO_BOOTSTRAP_OVERRIDE", "%s", err.message);
}

struct agent *agent_new(int argc, char **argv, char **envp, struct err_list *faults, struct err_list *notes)
{
    struct agent *a = NEW(agent);
    size_t before = faults->count;
    if (agent_env_read(&a->env, argc, argv, envp, faults, notes) == 0) {
        if (!a->env.print_bootstrap && a->env.serves_dns)
            a->dns = dns_proxy_new(&a->env, faults);
        if (!a->env.print_bootstrap)
            a->status = status_new(&a->env, a->dns, faults);
        a->readiness = readiness_new(&a->env, faults);
        agent_bootstrap(&a->env, &a->bootstrap, faults);
        read_override(a, faults);
        if (faults->count == before)
            open_store(a, faults);
    }
    if (faults->count > before)
        agent_free(&a);
    return a;
}

void agent_free(struct agent **p)
{
    struct agent *a = *p;
    *p = NULL;
    if (!a)
        return;
    if (a->files)
        secret_store_close();
    file_secrets_free(&a->files);
    readiness_free(&a->readiness);
    status_free(&a->status);
    dns_proxy_free(&a->dns);
    trust_fini(&a->trust);
    strbuf_fini(&a->bootstrap);
    agent_env_fini(&a->env);
    mem_free(a);
}

const struct agent_env *agent_env(const struct agent *a)
{
    return &a->env;
}

struct str agent_bootstrap_text(const struct agent *a)
{
    return strbuf_str(&a->bootstrap);
}

/* ---- the server's ---- */

static void show_token(void *user, struct headers *h)
{
    const struct agent *a = user;
    token_add_headers(&a->env, &a->env.xds_headers, h);
}

static int start(struct server *s, struct err *err)
{
    struct agent *a = s->opts.agent;
    file_secrets_watch(a->files, s->main_loop, s->files);
    grpc_credentials_set(STR(AGENT_XDS_CLUSTER), show_token, a);
    if (a->env.takes_proxy_config && a->env.identity != IDENTITY_SPIFFE)
        a->pushed = pushed_roots_new(&a->trust);
    if (a->env.identity == IDENTITY_CA)
        a->identity = identity_new(&a->env, &a->trust, s->main_loop);
    if (a->readiness)
        readiness_start(a->readiness, s->main_loop);
    if (a->dns && dns_proxy_start(a->dns, s->main_loop, err) < 0)
        return ERR_IO;
    return a->status ? status_start(a->status, s, err) : 0;
}

/* Before clusters and watches end. TLS contexts have what they need. */
static void stop(struct server *s)
{
    struct agent *a = s->opts.agent;
    termination_stop(&a->termination);
    readiness_free(&a->readiness);
    if (a->dns)
        dns_proxy_stop(a->dns);
    if (a->status)
        status_stop(a->status);
    grpc_credentials_set(STR(AGENT_XDS_CLUSTER), NULL, NULL);
    pushed_roots_free(&a->pushed);
    identity_free(&a->identity);
    secret_store_close();
    file_secrets_free(&a->files);
}

static void terminate(struct server *s)
{
    struct agent *a = s->opts.agent;
    termination_begin(&a->termination, s, &a->env);
}

void agent_configure(struct agent *a, struct server_opts *out)
{
    out->agent = a;
    out->config_json = strbuf_str(&a->bootstrap);
    out->config_yaml = a->override;
    out->concurrency = a->env.concurrency;
    out->drain_time_s = a->env.config.drain_ms / 1000;
    out->shutdown_time_ms = a->env.config.termination_drain_ms;
    out->drain_immediate = true;
    out->log_flush_ms = a->env.config.file_flush_ms ? a->env.config.file_flush_ms : 1000;
    out->admin_address_path = a->env.admin_address_path;
    out->allow_unsupported = true; /* an override's fields are warned of, as Envoy is told --allow-unknown-static-fields */
    out->hooks.agent_start = start;
    out->hooks.agent_stop = stop;
    out->hooks.agent_terminate = terminate;
}
