/* SPDX-License-Identifier: Apache-2.0
 *
 * The node: by its id, metadata and locality istiod knows the workload. Whatever the environment adds goes on as it is; what
 * istiod relies on is set in any case. Main thread, pure.
 */
#include "proxy/agent/bootstrap.h"

#include "base/check.h"

void agent_node_id(const struct agent_env *e, struct strbuf *out)
{
    static const char *const roles[] = {"sidecar", "router", "waypoint"};
    strbuf_addf(out, "%s~%.*s~%.*s.%.*s~%.*s", roles[e->role], STR_ARG(e->ips.items[0]), STR_ARG(e->pod_name),
                STR_ARG(e->pod_namespace), STR_ARG(e->domain));
}

/* ---- the service's name ---- */

static struct str label(const struct agent_env *e, const char *name)
{
    return text_pairs_get(&e->labels, str_from(name));
}

static struct str canonical_name(const struct agent_env *e)
{
    static const char *const names[] = {"service.istio.io/canonical-name", "app.kubernetes.io/name", "app"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (label(e, names[i]).n)
            return label(e, names[i]);
    struct str workload = text_pairs_get(&e->meta, STR("WORKLOAD_NAME"));
    return workload.n ? workload : STR("istio-proxy");
}

void agent_node_cluster(const struct agent_env *e, struct strbuf *out)
{
    struct str rule = e->config.tracing_service_name, given = e->config.service_cluster;
    struct str workload = text_pairs_get(&e->meta, STR("WORKLOAD_NAME")), name = label(e, "app");
    if (str_has_prefix(rule, STR("CANONICAL_NAME"))) {
        strbuf_adds(out, canonical_name(e));
        if (str_eq(rule, STR("CANONICAL_NAME_AND_NAMESPACE")))
            strbuf_addf(out, ".%.*s", STR_ARG(e->pod_namespace));
        return;
    }
    if (!rule.n && given.n && !str_eq(given, STR("istio-proxy"))) {
        strbuf_adds(out, given);
        return;
    }
    name = name.n ? name : workload.n ? workload : STR("istio-proxy");
    strbuf_addf(out, "%.*s.%.*s", STR_ARG(name), STR_ARG(e->pod_namespace));
}

/* ---- metadata ---- */

struct writing {
    const struct agent_env *e;
    struct arena arena;
    struct text_pairs all; /* values are JSON */
};

static void set_json(struct writing *w, const char *key, struct strbuf *take)
{
    text_pairs_set(&w->all, &w->arena, str_from(key), strbuf_str(take));
    strbuf_fini(take);
}

static void set_text(struct writing *w, struct str key, struct str text)
{
    struct strbuf json = {0};
    json_add_string(&json, text);
    text_pairs_set(&w->all, &w->arena, key, strbuf_str(&json));
    strbuf_fini(&json);
}

static void set_number(struct writing *w, const char *key, uint64_t n)
{
    struct strbuf json = {0};
    strbuf_addu(&json, n);
    set_json(w, key, &json);
}

static void set_pairs(struct writing *w, const char *key, const struct text_pairs *pairs)
{
    struct strbuf json = {0};
    if (pairs->count == 0)
        return;
    text_pairs_json(pairs, &json);
    set_json(w, key, &json);
}

static void set_defaults(struct writing *w)
{
    set_text(w, STR("INTERCEPTION_MODE"), w->e->config.interception_mode.n ? w->e->config.interception_mode : STR("REDIRECT"));
    set_text(w, STR("ISTIO_VERSION"), STR("weft-" WEFT_VERSION)); /* not a number: istiod takes it for its own newest */
    set_text(w, STR("METADATA_DISCOVERY"), STR("false"));
    set_text(w, STR("WORKLOAD_IDENTITY_SOCKET_FILE"), STR("socket"));
    set_text(w, STR("CLUSTER_ID"), w->e->cluster_id);
    set_text(w, STR("WEFT_VHDS"), STR("true")); /* virtual hosts may come one by one; who doesn't know that ignores it */
    if (w->e->config.mesh_id.n)
        set_text(w, STR("MESH_ID"), w->e->config.mesh_id);
}

static void set_addresses(struct writing *w)
{
    struct strbuf ips = {0};
    for (size_t i = 0; i < w->e->ips.count; i++)
        strbuf_addf(&ips, "%s%.*s", i ? "," : "", STR_ARG(w->e->ips.items[i]));
    set_text(w, STR("INSTANCE_IPS"), strbuf_str(&ips));
    strbuf_fini(&ips);
}

static void set_known(struct writing *w)
{
    const struct agent_env *e = w->e;
    struct strbuf config = {0}, sans = {0};
    set_text(w, STR("NAME"), e->pod_name);
    set_text(w, STR("NAMESPACE"), e->pod_namespace);
    set_text(w, STR("SERVICE_ACCOUNT"), e->service_account);
    set_number(w, "ENVOY_STATUS_PORT", e->status_port);
    set_number(w, "ENVOY_PROMETHEUS_PORT", e->prometheus_port);
    set_pairs(w, "LABELS", &e->labels);
    set_pairs(w, "STATIC_LABELS", &e->static_labels);
    set_pairs(w, "ANNOTATIONS", &e->annotations);
    strbuf_addc(&sans, '[');
    json_add_string(&sans, e->discovery.sni);
    strbuf_addc(&sans, ']');
    set_json(w, "PILOT_SAN", &sans);
    proxy_config_json(&e->config, &config);
    set_json(w, "PROXY_CONFIG", &config);
    set_addresses(w);
}

void agent_node_metadata(const struct agent_env *e, struct strbuf *out)
{
    struct writing w = {.e = e};
    arena_init(&w.arena, 0);
    set_defaults(&w);
    for (size_t i = 0; i < e->meta.count; i++)
        set_text(&w, e->meta.items[i].key, e->meta.items[i].value);
    for (size_t i = 0; i < e->meta_json.count; i++)
        text_pairs_set(&w.all, &w.arena, e->meta_json.items[i].key, e->meta_json.items[i].value);
    set_known(&w);
    strbuf_addc(out, '{');
    for (size_t i = 0; i < w.all.count; i++) {
        strbuf_addz(out, i ? "," : "");
        json_add_string(out, w.all.items[i].key);
        strbuf_addc(out, ':');
        strbuf_adds(out, w.all.items[i].value);
    }
    strbuf_addc(out, '}');
    arena_fini(&w.arena);
}
