/* SPDX-License-Identifier: Apache-2.0
 *
 * Settings and NDS on one side, the name server on the other. A table that can't be read is refused (NACK) and changes nothing;
 * a response without one does neither. At port 53, without rules that divert anybody, the machine's own names depend on the
 * proxy: then queries before the first table go upstream, and /var/lib/istio/resolv.conf says where that is (pilot-agent's
 * rules). Main thread.
 */
#include "proxy/agent/dns_proxy.h"

#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "proxy/agent/dns_server.h"
#include "proxy/discovery/discovery.h"

#define RESOLV_CONF_PATH "/etc/resolv.conf"
#define RESOLV_CONF_OF_53_PATH "/var/lib/istio/resolv.conf"
#define RESOLV_CONF_MAX_BYTES ((size_t)64 << 10)

struct dns_proxy {
    const struct agent_env *env;
    struct arena arena;
    struct resolv_conf resolv;
    struct dns_server *server;
    struct subscription *subscription;
};

/* ---- NDS ---- */

static void on_update(void *user, const struct resource_update *u, struct err_list *faults)
{
    struct dns_proxy *p = user;
    struct name_table_opts o = {.pod_namespace = p->env->pod_namespace, .domain = p->env->domain, .search = p->resolv.search};
    struct err err = {0};
    if (u->count == 0)
        return;
    struct name_table *t = name_table_new(u->items[u->count - 1].packed, &o, &err);
    if (!t) {
        err_list_addf(faults, err.code, "NameTable", "%s", err.message);
        return;
    }
    LOG(DNS, DEBUG, "%zu names of the mesh", name_table_count(t));
    dns_server_set_table(p->server, t);
}

static const struct subscription_ops ops = {.on_update = on_update};

/* ---- its life ---- */

static bool is_at_53(const struct agent_env *e)
{
    return str_has_suffix(e->dns_address, STR(":53")) && getuid() == 0;
}

static int read_resolv_conf(struct dns_proxy *p, struct err *err)
{
    struct str text, path = p->env->resolv_conf_path;
    if (!path.n)
        path = is_at_53(p->env) && env_file_is_there(STR(RESOLV_CONF_OF_53_PATH)) ? STR(RESOLV_CONF_OF_53_PATH) : STR(RESOLV_CONF_PATH);
    int rc = text_read_file(path.p, &p->arena, RESOLV_CONF_MAX_BYTES, &text, err);
    if (rc == 0)
        resolv_conf_parse(text, &p->arena, &p->resolv);
    return rc;
}

struct dns_proxy *dns_proxy_new(const struct agent_env *keep_env, struct err_list *faults)
{
    struct dns_proxy *p = NEW(dns_proxy);
    struct err err = {0};
    const char *what = "resolv.conf";
    p->env = keep_env;
    arena_init(&p->arena, 0);
    int rc = read_resolv_conf(p, &err);
    if (rc == 0) {
        struct dns_server_opts o = {.address = keep_env->dns_address, .upstreams = &p->resolv, .timeout_ms = keep_env->dns_forward_ms,
                                    .is_parallel = keep_env->dns_forward_parallel, .forwards_before_table = is_at_53(keep_env)};
        what = "DNS_PROXY_ADDR";
        p->server = dns_server_new(&o, &err);
    }
    if (p->server)
        return p;
    err_list_addf(faults, err.code, what, "%s", err.message);
    dns_proxy_free(&p);
    return NULL;
}

int dns_proxy_start(struct dns_proxy *p, struct loop *loop, struct err *err)
{
    static const struct config_source over_ads = {.kind = SOURCE_ADS};
    int rc = dns_server_start(p->server, loop, err);
    if (rc == 0)
        p->subscription = discovery_subscribe(&over_ads, RESOURCE_NAME_TABLE, STR(""), STR("agent.nds."), &ops, p);
    return rc;
}

void dns_proxy_stop(struct dns_proxy *p)
{
    discovery_unsubscribe(&p->subscription);
    dns_server_stop(p->server);
}

void dns_proxy_free(struct dns_proxy **pp)
{
    struct dns_proxy *p = *pp;
    *pp = NULL;
    if (!p)
        return;
    dns_server_free(&p->server);
    resolv_conf_fini(&p->resolv);
    arena_fini(&p->arena);
    mem_free(p);
}

/* ---- looking ---- */

bool dns_proxy_is_ready(const struct dns_proxy *p)
{
    return dns_server_table(p->server) != NULL;
}

void dns_proxy_metrics(const struct dns_proxy *p, struct buf *out)
{
    dns_server_metrics(p->server, out);
}

bool dns_proxy_table_json(const struct dns_proxy *p, struct strbuf *out)
{
    const struct name_table *t = dns_server_table(p->server);
    if (t)
        name_table_json(t, out);
    return t != NULL;
}
