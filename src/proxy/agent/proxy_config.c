/* SPDX-License-Identifier: Apache-2.0
 *
 * ProxyConfig by one table of fields. What a field means here stands in its row: read into the struct, only handed on to
 * istiod (which gets the whole in the node's metadata), or not supported, which is said by name. Main thread.
 */
#include "proxy/agent/proxy_config.h"

#include "base/check.h"
#include "proto/yaml.h"

#include <stdio.h>

enum field_kind {
    FIELD_TEXT, FIELD_U32, FIELD_CONCURRENCY, FIELD_BOOL, FIELD_DURATION, FIELD_MAP, FIELD_LIST, FIELD_CALL,
    FIELD_JSON,       /* kept as it is for who reads it */
    FIELD_FOR_ISTIOD, /* means something there, nothing here */
    FIELD_UNSUPPORTED
};
struct reading {
    struct proxy_config *out;
    const char *source; /* of the text, for paths */
    struct arena *a;
    struct err_list *faults, *notes;
};
struct field {
    const char *name;
    enum field_kind kind;
    size_t offset;
    void (*call)(struct reading *r, const struct doc_node *node);
    const char *otherwise; /* the default, as JSON; NULL: none */
};

static void fault(struct reading *r, const char *name, const char *what)
{
    char path[ERR_PATH_BYTES];
    snprintf(path, sizeof path, "%s.%s", r->source, name);
    err_list_addf(r->faults, ERR_INVALID, path, "%s", what);
}

static void note(struct reading *r, const char *parent, struct str name, const char *what)
{
    char path[ERR_PATH_BYTES];
    snprintf(path, sizeof path, "%s.%s%s%.*s", r->source, parent, *parent ? "." : "", STR_ARG(name));
    err_list_addf(r->notes, ERR_UNSUPPORTED, path, "%s", what);
}

static bool scalar(const struct doc_node *n, struct str *out)
{
    *out = n->kind == DOC_BOOL ? (n->flag ? STR("true") : STR("false")) : n->text;
    return n->kind == DOC_STRING || n->kind == DOC_NUMBER || n->kind == DOC_BOOL;
}

static void read_list(struct reading *r, const char *name, const struct doc_node *node, struct text_list *out)
{
    size_t n = 0;
    *out = (struct text_list){0};
    for (const struct doc_node *i = node->kind == DOC_LIST ? node->first : NULL; i; i = i->next)
        n++;
    out->items = n ? arena_zalloc(r->a, n * sizeof *out->items) : NULL;
    for (const struct doc_node *i = node->kind == DOC_LIST ? node->first : NULL; i; i = i->next) {
        struct str text;
        if (scalar(i, &text))
            out->items[out->count++] = arena_str(r->a, text);
        else
            fault(r, name, "is a list of texts");
    }
    if (node->kind != DOC_LIST)
        fault(r, name, "is a list of texts");
}

/* ---- fields of more than one value ---- */

static void read_stats_matcher(struct reading *r, const struct doc_node *node)
{
    for (const struct doc_node *n = node->kind == DOC_MAP ? node->first : NULL; n; n = n->next) {
        if (json_is_name(n->key, "inclusionPrefixes"))
            read_list(r, "proxyStatsMatcher.inclusionPrefixes", n, &r->out->stat_prefixes);
        else if (json_is_name(n->key, "inclusionSuffixes"))
            read_list(r, "proxyStatsMatcher.inclusionSuffixes", n, &r->out->stat_suffixes);
        else if (json_is_name(n->key, "inclusionRegexps"))
            read_list(r, "proxyStatsMatcher.inclusionRegexps", n, &r->out->stat_regexps);
        else
            note(r, "proxyStatsMatcher", n->key, "is unknown");
    }
}

static void read_tracing(struct reading *r, const struct doc_node *node)
{
    for (const struct doc_node *n = node->kind == DOC_MAP ? node->first : NULL; n; n = n->next) {
        struct str text;
        if (json_is_name(n->key, "zipkin")) {
            const struct doc_node *address = json_member(n, "address");
            if (address && scalar(address, &text) && text.n)
                r->out->zipkin_address = arena_str(r->a, text);
            else if (address)
                fault(r, "tracing.zipkin.address", "is a host and a port");
        } else if (!json_is_name(n->key, "sampling") && !json_is_name(n->key, "customTags") && !json_is_name(n->key, "maxPathTagLength") &&
                   !json_is_name(n->key, "enableIstioTags"))
            note(r, "tracing", n->key, "is not supported; configure it by the Telemetry API"); /* the others are istiod's */
    }
}

static void read_remote(struct reading *r, const char *name, const struct doc_node *node, struct str *out)
{
    for (const struct doc_node *n = node->kind == DOC_MAP ? node->first : NULL; n; n = n->next) {
        struct str text;
        if (json_is_name(n->key, "address") && scalar(n, &text))
            *out = arena_str(r->a, text);
        else
            note(r, name, n->key, "is not supported");
    }
}

static void read_access_log_service(struct reading *r, const struct doc_node *node)
{
    read_remote(r, "envoyAccessLogService", node, &r->out->access_log_service);
}

static void read_metrics_service(struct reading *r, const struct doc_node *node)
{
    read_remote(r, "envoyMetricsService", node, &r->out->metrics_service);
}

/* ---- the table ---- */

#define AT(member_) offsetof(struct proxy_config, member_)
static const struct field fields[] = {
    {"configPath", FIELD_TEXT, AT(config_path), NULL, "\"./etc/istio/proxy\""},
    {"binaryPath", FIELD_TEXT, AT(binary_path), NULL, "\"/usr/local/bin/envoy\""},
    {"serviceCluster", FIELD_TEXT, AT(service_cluster), NULL, "\"istio-proxy\""},
    {"tracingServiceName", FIELD_TEXT, AT(tracing_service_name), NULL, NULL},
    {"drainDuration", FIELD_DURATION, AT(drain_ms), NULL, "\"45s\""},
    {"terminationDrainDuration", FIELD_DURATION, AT(termination_drain_ms), NULL, "\"5s\""},
    {"discoveryAddress", FIELD_TEXT, AT(discovery_address), NULL, "\"istiod.istio-system.svc:15012\""},
    {"controlPlaneAuthPolicy", FIELD_TEXT, AT(control_plane_auth_policy), NULL, "\"MUTUAL_TLS\""},
    {"statsdUdpAddress", FIELD_TEXT, AT(statsd_udp_address), NULL, NULL},
    {"proxyAdminPort", FIELD_U32, AT(proxy_admin_port), NULL, "15000"},
    {"statusPort", FIELD_U32, AT(status_port), NULL, "15020"},
    {"statNameLength", FIELD_U32, AT(stat_name_length), NULL, "189"},
    {"concurrency", FIELD_CONCURRENCY, AT(concurrency), NULL, NULL},
    {"interceptionMode", FIELD_TEXT, AT(interception_mode), NULL, NULL},
    {"meshId", FIELD_TEXT, AT(mesh_id), NULL, NULL},
    {"holdApplicationUntilProxyStarts", FIELD_BOOL, AT(hold_application), NULL, NULL},
    {"proxyMetadata", FIELD_MAP, AT(metadata), NULL, NULL},
    {"runtimeValues", FIELD_MAP, AT(runtime_values), NULL, NULL},
    {"extraStatTags", FIELD_LIST, AT(extra_stat_tags), NULL, NULL},
    {"caCertificatesPem", FIELD_LIST, AT(ca_certificates_pem), NULL, NULL},
    {"proxyStatsMatcher", FIELD_CALL, 0, read_stats_matcher, NULL},
    {"tracing", FIELD_CALL, 0, read_tracing, NULL},
    {"envoyAccessLogService", FIELD_CALL, 0, read_access_log_service, NULL},
    {"envoyMetricsService", FIELD_CALL, 0, read_metrics_service, NULL},
    {"fileFlushInterval", FIELD_DURATION, AT(file_flush_ms), NULL, NULL},
    {"statsEvictionInterval", FIELD_DURATION, AT(stats_eviction_ms), NULL, NULL},
    {"readinessProbe", FIELD_JSON, AT(readiness_probe), NULL, NULL},
    {"gatewayTopology", FIELD_FOR_ISTIOD, 0, NULL, NULL},
    {"proxyHeaders", FIELD_FOR_ISTIOD, 0, NULL, NULL},
    {"image", FIELD_FOR_ISTIOD, 0, NULL, NULL},
    {"privateKeyProvider", FIELD_FOR_ISTIOD, 0, NULL, NULL},
    {"customConfigFile", FIELD_UNSUPPORTED, 0, NULL, NULL},
    {"proxyBootstrapTemplatePath", FIELD_UNSUPPORTED, 0, NULL, NULL},
    {"fileFlushMinSizeKb", FIELD_UNSUPPORTED, 0, NULL, NULL},
    {"statsCompression", FIELD_UNSUPPORTED, 0, NULL, NULL},
};

static bool set_number(const struct field *f, const struct doc_node *node, struct proxy_config *out)
{
    struct str text;
    uint64_t n;
    if (!scalar(node, &text) || !str_to_u64(text, &n) || n > (f->kind == FIELD_CONCURRENCY ? 4096 : UINT32_MAX))
        return false;
    *(uint32_t *)((char *)out + f->offset) = (uint32_t)n;
    out->has_concurrency |= f->kind == FIELD_CONCURRENCY;
    return true;
}

static void set_map(struct reading *r, const struct field *f, const struct doc_node *node)
{
    struct text_pairs *out = (struct text_pairs *)((char *)r->out + f->offset);
    for (const struct doc_node *n = node->kind == DOC_MAP ? node->first : NULL; n; n = n->next) {
        struct str text;
        if (scalar(n, &text))
            text_pairs_set(out, r->a, n->key, text);
        else
            fault(r, f->name, "is a map of texts");
    }
    if (node->kind != DOC_MAP)
        fault(r, f->name, "is a map of texts");
}

static void set_field(struct reading *r, const struct field *f, const struct doc_node *node)
{
    char *at = (char *)r->out + f->offset;
    struct str text = STR_NULL;
    bool flag;
    switch (f->kind) {
    case FIELD_TEXT:
        if (!scalar(node, &text))
            fault(r, f->name, "is a text");
        *(struct str *)at = arena_str(r->a, text);
        return;
    case FIELD_U32:
    case FIELD_CONCURRENCY:
        if (!set_number(f, node, r->out))
            fault(r, f->name, f->kind == FIELD_U32 ? "is a number" : "is a number up to 4096");
        return;
    case FIELD_BOOL:
        if (!scalar(node, &text) || !text_bool(text, &flag))
            fault(r, f->name, "is true or false");
        else
            *(bool *)at = flag;
        return;
    case FIELD_DURATION:
        if (!scalar(node, &text) || !text_duration_ms(text, (uint64_t *)at))
            fault(r, f->name, "is a duration, as \"5s\"");
        return;
    case FIELD_MAP:
        set_map(r, f, node);
        return;
    case FIELD_LIST:
        read_list(r, f->name, node, (struct text_list *)at);
        return;
    case FIELD_CALL:
        f->call(r, node);
        return;
    case FIELD_JSON:
        *(struct str *)at = text_pairs_get(&r->out->json, str_from(f->name));
        return;
    case FIELD_UNSUPPORTED:
        note(r, "", str_from(f->name), "is not supported");
        return;
    case FIELD_FOR_ISTIOD:
        return;
    }
}

static const struct field *find(struct str key)
{
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (json_is_name(key, fields[i].name))
            return &fields[i];
    return NULL;
}

static void take(struct reading *r, const struct doc_node *node)
{
    struct strbuf json = {0};
    const struct field *f = find(node->key);
    if (node->kind == DOC_NULL)
        return; /* as if it weren't there */
    json_add_node(&json, node);
    text_pairs_set(&r->out->json, r->a, f ? str_from(f->name) : node->key, strbuf_str(&json));
    strbuf_fini(&json);
    if (f)
        set_field(r, f, node);
    else
        note(r, "", node->key, "is unknown; istiod is told of it all the same");
}

void proxy_config_init(struct proxy_config *out, struct arena *a)
{
    struct err_list none = {0};
    struct reading r = {out, "defaults", a, &none, &none};
    struct proto_arena *pa = proto_arena_new(0);
    *out = (struct proxy_config){0};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const struct field *f = &fields[i];
        if (!f->otherwise)
            continue;
        text_pairs_set(&out->json, a, str_from(f->name), str_from(f->otherwise));
        set_field(&r, f, yaml_read(pa, str_from(f->otherwise), NULL, &none));
    }
    CHECK(none.count == 0);
    proto_arena_free(&pa);
}

static void check(struct reading *r)
{
    const struct proxy_config *c = r->out;
    if (c->proxy_admin_port > UINT16_MAX)
        fault(r, "proxyAdminPort", "is a port");
    if (c->status_port > UINT16_MAX)
        fault(r, "statusPort", "is a port");
    if (c->control_plane_auth_policy.n && !str_eq(c->control_plane_auth_policy, STR("MUTUAL_TLS")) &&
        !str_eq(c->control_plane_auth_policy, STR("NONE")))
        fault(r, "controlPlaneAuthPolicy", "is MUTUAL_TLS or NONE");
}

void proxy_config_apply(struct proxy_config *out, const char *source, struct str text, bool in_mesh, struct arena *a,
                        struct err_list *faults, struct err_list *notes)
{
    struct reading r = {out, source, a, faults, notes};
    text = str_trim(text);
    if (text.n == 0)
        return;
    struct proto_arena *pa = proto_arena_new(0);
    const struct doc_node *root = yaml_read(pa, text, source, faults);
    if (root && in_mesh)
        root = json_member(root, "defaultConfig"); /* the rest of a MeshConfig is istiod's */
    if (root && root->kind == DOC_MAP) {
        for (const struct doc_node *n = root->first; n; n = n->next)
            take(&r, n);
    } else if (root && root->kind != DOC_NULL)
        err_list_addf(faults, ERR_INVALID, source, "is no map");
    proto_arena_free(&pa);
    check(&r);
}

void proxy_config_json(const struct proxy_config *c, struct strbuf *out)
{
    strbuf_addc(out, '{');
    for (size_t i = 0; i < c->json.count; i++) {
        strbuf_addz(out, i ? "," : "");
        json_add_string(out, c->json.items[i].key);
        strbuf_addc(out, ':');
        strbuf_adds(out, c->json.items[i].value);
    }
    strbuf_addc(out, '}');
}
