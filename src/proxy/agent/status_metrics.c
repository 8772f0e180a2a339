/* SPDX-License-Identifier: Apache-2.0
 *
 * The agent's own metrics (istio_agent_*), by the names of pilot-agent, from this process's statistics; and what
 * ISTIO_PROMETHEUS_ANNOTATIONS says about the application's page. Main thread.
 */
#include "proxy/agent/status_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "proto/json.h"
#include "proxy/stats/registry.h"

bool status_stat(struct str prefix, const char *row, uint64_t *out)
{
    size_t count;
    bool found = false;
    const struct stat_scope **all = stats_scopes(&count);
    for (size_t i = 0; i < count && !found; i++)
        for (uint32_t k = 0; str_eq(all[i]->prefix, prefix) && k < all[i]->table->count && !found; k++)
            if (strcmp(all[i]->table->rows[k].name, row) == 0) {
                *out = stat_sum(all[i], k);
                found = true;
            }
    mem_free(all);
    return found;
}

static void add(struct buf *out, const char *name, const char *labels, const char *kind, uint64_t value)
{
    buf_append_fmt(out, "# TYPE %s %s\n%s%s %lu\n", name, kind, name, labels, (unsigned long)value);
}

static void add_certificate(struct buf *out)
{
    uint64_t ends = 0, n = 0;
    if (!status_stat(STR("agent.ca."), "not_after_s", &ends))
        return;
    uint64_t now_s = loop_wall_us(loop_current()) / 1000000;
    if (ends)
        buf_append_fmt(out, "# TYPE istio_agent_cert_expiry_seconds gauge\nistio_agent_cert_expiry_seconds{resource_name=\"default\"} %ld\n",
                       (long)(ends - now_s));
    status_stat(STR("agent.ca."), "requests", &n);
    add(out, "istio_agent_num_outgoing_requests", "{request_type=\"csr\"}", "counter", n);
    status_stat(STR("agent.ca."), "failed", &n);
    add(out, "istio_agent_num_failed_outgoing_requests", "{request_type=\"csr\"}", "counter", n);
}

void status_own_metrics(const struct status *st, struct buf *out)
{
    add(out, "istio_agent_scrapes_total", "", "counter", st->scrapes);
    add(out, "istio_agent_scrape_failures_total", "{type=\"application\"}", "counter", st->scrape_failures);
    add_certificate(out);
    if (st->dns)
        dns_proxy_metrics(st->dns, out);
}

static struct str text_of(const struct doc_node *map, const char *name)
{
    for (const struct doc_node *n = map->first; n; n = n->next)
        if (str_eq(n->key, str_from(name)) && (n->kind == DOC_STRING || n->kind == DOC_NUMBER))
            return n->text;
    return STR("");
}

static bool has_targets(const struct doc_node *map)
{
    for (const struct doc_node *n = map->first; n; n = n->next)
        if (str_eq(n->key, STR("targets")) && n->kind != DOC_NULL && n->text.n + (n->first != NULL) > 0)
            return true;
    return false;
}

void status_read_annotations(struct status *st, struct err_list *faults)
{
    static const char name[] = "ISTIO_PROMETHEUS_ANNOTATIONS";
    struct err err = {0};
    uint64_t port = 80;
    if (!st->env->prometheus_annotations.n)
        return;
    struct proto_arena *pa = proto_arena_new(0);
    const struct doc_node *root = json_read(pa, st->env->prometheus_annotations, name, faults);
    if (root && root->kind != DOC_MAP) {
        err_list_addf(faults, ERR_INVALID, name, "is no JSON object");
    } else if (root && has_targets(root)) {
        err_list_addf(faults, ERR_UNSUPPORTED, name, "targets is not supported: one page of the application is merged");
    } else if (root && str_eq(text_of(root, "scrape"), STR("true"))) {
        struct str path = text_of(root, "path"), text = text_of(root, "port");
        st->app_path = arena_str(&st->env->arena, path.n ? path : STR("/metrics"));
        if (text.n && (!str_to_u64(text, &port) || port == 0 || port > UINT16_MAX))
            err_list_addf(faults, ERR_INVALID, name, "port '%.*s' is no number from 1 to 65535", STR_ARG(text));
        else if (port == st->env->config.status_port)
            err_list_addf(faults, ERR_INVALID, name, "port %lu is the agent's own", (unsigned long)port);
        else if (addr_from_ip(&st->app, STR("127.0.0.1"), (uint16_t)port, &err) == 0)
            st->scrapes_app = true;
    }
    proto_arena_free(&pa);
}
