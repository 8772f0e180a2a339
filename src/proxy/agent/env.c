/* SPDX-License-Identifier: Apache-2.0
 *
 * The environment of a pod, by one table of plain variables; what follows from several of them is in env_pod.c and
 * env_control.c. Order matters: arguments, annotations (one holds more of PROXY_CONFIG), PROXY_CONFIG (its proxyMetadata is
 * environment too), the pod, the control plane.
 * Main thread, before anything runs.
 */
#include "proxy/agent/env_priv.h"

#include "base/check.h"

#include <stdio.h>
#include <sys/stat.h>

#define MESH_CONFIG_PATH "./etc/istio/config/mesh"
#define CONFIG_ANNOTATION "proxy.istio.io/config"
#define MESH_CONFIG_LIMIT_BYTES ((size_t)1 << 20)

enum var_kind { VAR_TEXT, VAR_BOOL, VAR_DURATION, VAR_PORT, VAR_RATIO };
struct var {
    const char *name;
    enum var_kind kind;
    size_t offset;
    const char *otherwise; /* NULL: empty */
};

#define AT(member) offsetof(struct agent_env, member)
static const struct var vars[] = {
    {"TRUST_DOMAIN", VAR_TEXT, AT(trust_domain), "cluster.local"},
    {"ENVOY_STATUS_PORT", VAR_PORT, AT(status_port), "15021"},
    {"ENVOY_PROMETHEUS_PORT", VAR_PORT, AT(prometheus_port), "15090"},
    {"ISTIO_DUAL_STACK", VAR_BOOL, AT(is_dual_stack), NULL},
    {"ISTIO_BOOTSTRAP_OVERRIDE", VAR_TEXT, AT(bootstrap_override), NULL},
    {"ISTIO_DELTA_XDS", VAR_BOOL, AT(delta_xds), "true"},
    {"PROXY_CONFIG_XDS_AGENT", VAR_BOOL, AT(takes_proxy_config), NULL},
    {"PROV_CERT", VAR_TEXT, AT(client_dir), NULL},
    {"OUTPUT_CERTS", VAR_TEXT, AT(output_dir), NULL},
    {"GRPC_KEEPALIVE_INTERVAL", VAR_DURATION, AT(keepalive_ms), "30s"},
    {"GRPC_KEEPALIVE_TIMEOUT", VAR_DURATION, AT(keepalive_timeout_ms), "10s"},
    {"PKCS8_KEY", VAR_BOOL, AT(pkcs8_key), NULL},
    {"SECRET_TTL", VAR_DURATION, AT(secret_ttl_ms), "24h"},
    {"SECRET_GRACE_PERIOD_RATIO", VAR_RATIO, AT(grace_ratio), "0.5"},
    {"SECRET_GRACE_PERIOD_RATIO_JITTER", VAR_RATIO, AT(grace_jitter), "0.01"},
    {"EXIT_ON_ZERO_ACTIVE_CONNECTIONS", VAR_BOOL, AT(exit_on_zero_connections), NULL},
    {"MINIMUM_DRAIN_DURATION", VAR_DURATION, AT(minimum_drain_ms), "5s"},
    {"ISTIO_KUBE_APP_PROBERS", VAR_TEXT, AT(app_probers), NULL},
    {"ISTIO_PROMETHEUS_ANNOTATIONS", VAR_TEXT, AT(prometheus_annotations), NULL},
    {"DNS_PROXY_ADDR", VAR_TEXT, AT(dns_address), "localhost:15053"},
    {"DNS_FORWARD_PARALLEL", VAR_BOOL, AT(dns_forward_parallel), NULL},
    {"DNS_FORWARD_TIMEOUT", VAR_DURATION, AT(dns_forward_ms), "5s"},
    {"WEFT_LOAD_REPORTS", VAR_BOOL, AT(reports_load), NULL},
    {"WEFT_RESOLV_CONF", VAR_TEXT, AT(resolv_conf_path), NULL},
};

/* ---- what all readers use ---- */

struct str env_get(const struct env_reading *r, const char *name)
{
    size_t n = strlen(name);
    for (char **v = r->envp; *v; v++)
        if (strncmp(*v, name, n) == 0 && (*v)[n] == '=')
            return str_from(*v + n + 1);
    return text_pairs_get(&r->out->config.metadata, str_from(name));
}

void env_fault(struct env_reading *r, const char *name, const char *fmt, ...)
{
    char text[ERR_MESSAGE_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_list_addf(r->faults, ERR_INVALID, name, "%s", text);
}

void env_note(struct env_reading *r, const char *name, const char *what)
{
    err_list_addf(r->notes, ERR_UNSUPPORTED, name, "%s", what);
}

bool env_file_is_there(struct str path)
{
    struct stat st;
    return path.n && stat(path.p, &st) == 0 && S_ISREG(st.st_mode);
}

/* ---- the table ---- */

static bool set_var(struct agent_env *e, const struct var *v, struct str text)
{
    void *at = (char *)e + v->offset;
    uint64_t n;
    switch (v->kind) {
    case VAR_TEXT:
        *(struct str *)at = arena_str(&e->arena, text);
        return true;
    case VAR_BOOL:
        return text_bool(text, at);
    case VAR_DURATION:
        return text_duration_ms(text, at);
    case VAR_PORT:
        if (!str_to_u64(text, &n) || n > UINT16_MAX)
            return false;
        *(uint16_t *)at = (uint16_t)n;
        return true;
    case VAR_RATIO:
        return str_to_double(text, at) && *(double *)at >= 0 && *(double *)at <= 1;
    }
    return false;
}

static void read_vars(struct env_reading *r)
{
    static const char *const expected[] = {"a text", "true or false", "a duration, as 30s", "a port", "a number from 0 to 1"};
    for (size_t i = 0; i < ARRAY_LEN(vars); i++) {
        struct str text = env_get(r, vars[i].name);
        if (text.n == 0)
            text = str_from(vars[i].otherwise);
        if (text.n && !set_var(r->out, &vars[i], text))
            env_fault(r, vars[i].name, "'%.*s' is not %s", STR_ARG(text), expected[vars[i].kind]);
    }
}

/* ---- PROXY_CONFIG and its relatives ---- */

static void read_proxy_config(struct env_reading *r)
{
    struct agent_env *e = r->out;
    struct err err = {0};
    struct str mesh;
    proxy_config_init(&e->config, &e->arena);
    int rc = text_read_file(MESH_CONFIG_PATH, &e->arena, MESH_CONFIG_LIMIT_BYTES, &mesh, &err);
    if (rc < 0 && rc != ERR_NOT_FOUND)
        env_fault(r, MESH_CONFIG_PATH, "%s", err.message);
    proxy_config_apply(&e->config, MESH_CONFIG_PATH, mesh, true, &e->arena, r->faults, r->notes);
    proxy_config_apply(&e->config, "PROXY_CONFIG", env_get(r, "PROXY_CONFIG"), false, &e->arena, r->faults, r->notes);
    proxy_config_apply(&e->config, CONFIG_ANNOTATION, text_pairs_get(&e->annotations, STR(CONFIG_ANNOTATION)), false, &e->arena,
                       r->faults, r->notes);
    if (r->flag_service_cluster.n)
        e->config.service_cluster = arena_str(&e->arena, r->flag_service_cluster);
}

/* The flag, then PROXY_CONFIG, then the CPUs that the container may use. */
static void choose_concurrency(struct env_reading *r)
{
    uint64_t limit;
    if (r->has_concurrency)
        return;
    if (r->out->config.has_concurrency)
        r->out->concurrency = r->out->config.concurrency;
    else if (str_to_u64(env_get(r, "ISTIO_CPU_LIMIT"), &limit) && limit <= 4096)
        r->out->concurrency = (uint32_t)limit;
}

static bool read_meta_bool(struct env_reading *r, const char *name)
{
    bool on = false;
    struct str text = text_pairs_get(&r->out->meta, str_from(name + sizeof "ISTIO_META_" - 1));
    if (text.n && !text_bool(text, &on))
        env_fault(r, name, "'%.*s' is not true or false", STR_ARG(text));
    return on;
}

/* Rules divert a sidecar's look-ups; a gateway has nobody's to divert and is asked for it by another name. */
static void read_dns(struct env_reading *r)
{
    bool is_captured = read_meta_bool(r, "ISTIO_META_DNS_CAPTURE");
    bool is_asked_for = read_meta_bool(r, "ISTIO_META_ENABLE_DNS_SERVER");
    r->out->serves_dns = is_asked_for || (is_captured && r->out->role == AGENT_SIDECAR);
    if (r->out->serves_dns && r->out->dns_forward_ms == 0)
        env_fault(r, "DNS_FORWARD_TIMEOUT", "is more than 0");
}

int agent_env_read(struct agent_env *out, int argc, char **argv, char **envp, struct err_list *faults, struct err_list *notes)
{
    struct env_reading r = {.out = out, .envp = envp, .faults = faults, .notes = notes};
    size_t before = faults->count;
    *out = (struct agent_env){.log_level = LOG_WARNING, .own_level = LOG_INFO};
    arena_init(&out->arena, 0);
    env_read_arguments(&r, argc, argv);
    env_read_annotations(&r);
    read_proxy_config(&r);
    read_vars(&r);
    env_read_pod(&r);
    choose_concurrency(&r);
    out->reports_load |= read_meta_bool(&r, "ISTIO_META_WEFT_LOAD_REPORTS");
    read_dns(&r);
    env_read_control(&r);
    return faults->count == before ? 0 : ERR_INVALID;
}

void agent_env_fini(struct agent_env *e)
{
    arena_fini(&e->arena);
}
