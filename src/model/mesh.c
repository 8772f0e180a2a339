/* SPDX-License-Identifier: Apache-2.0
 *
 * MeshConfig with Istio's defaults. The message stays beside the values for what few ask for.
 */
#include "model/mesh.h"

#include "base/mem.h"
#include "model/mesh_priv.h"
#include "proto/fields.h"
#include "proto/yaml.h"

#define CONFIG Istio__Mesh__V1alpha1__MeshConfig

#define CONNECT_TIMEOUT_MS 10000
#define DNS_REFRESH_MS 60000
#define HBONE_IDLE_MS 3600000
#define PROXY_PORT 15001
#define INBOUND_PORT 15006

struct mesh_body {
    struct mesh mesh; /* first */
    struct arena arena;
    struct proto_arena *protos;
    uint32_t refs;
};

const struct mesh *mesh_ref(const struct mesh *m)
{
    ((struct mesh_body *)(uintptr_t)m)->refs++;
    return m;
}

void mesh_unref(const struct mesh **m)
{
    struct mesh_body *b = (struct mesh_body *)(uintptr_t)*m;
    *m = NULL;
    if (!b || --b->refs)
        return;
    proto_arena_free(&b->protos);
    arena_fini(&b->arena);
    mem_free(b);
}

static struct str or(const char *text, struct str otherwise)
{
    return text[0] ? str_from(text) : otherwise;
}

/* The words of default…ExportTo; none: everyone. */
static void visibility(struct arena *a, char *const *words, size_t count, struct visibility *out)
{
    struct str *names = arena_alloc(a, (count + 1) * sizeof(*names));
    *out = (struct visibility){.everyone = count == 0, .namespaces = names};
    for (size_t i = 0; i < count; i++) {
        struct str word = str_from(words[i]);
        if (str_eq(word, STR("*")))
            out->everyone = true;
        else if (str_eq(word, STR("~")))
            out->nobody = true;
        else if (str_eq(word, STR(".")))
            out->own_namespace = true;
        else
            names[out->namespace_count++] = word;
    }
}

static void fill_names(struct mesh_body *b, const CONFIG *c)
{
    struct mesh *m = &b->mesh;
    struct str *aliases = arena_alloc(&b->arena, (c->n_trust_domain_aliases + 1) * sizeof(*aliases));
    m->root_namespace = or(c->root_namespace, STR("istio-system"));
    m->trust_domain = or(c->trust_domain, STR("cluster.local"));
    m->domain = STR("cluster.local");
    for (size_t i = 0; i < c->n_trust_domain_aliases; i++)
        aliases[m->alias_count++] = str_from(c->trust_domain_aliases[i]);
    m->trust_domain_aliases = aliases;
    visibility(&b->arena, c->default_service_export_to, c->n_default_service_export_to, &m->default_service_export);
    visibility(&b->arena, c->default_virtual_service_export_to, c->n_default_virtual_service_export_to, &m->default_route_export);
    visibility(&b->arena, c->default_destination_rule_export_to, c->n_default_destination_rule_export_to, &m->default_rule_export);
    m->ingress_class = or(c->ingress_class, STR("istio"));
    m->ingress_service = or(c->ingress_service, STR("istio-ingressgateway"));
    m->ingress_selector = or(c->ingress_selector, STR("ingressgateway"));
    m->access_log_file = str_from(c->access_log_file);
    m->access_log_format = str_from(c->access_log_format);
}

static enum mesh_normalization normalization(const CONFIG *c)
{
    if (!c->path_normalization)
        return MESH_PATH_BASE;
    switch (c->path_normalization->normalization) {
    case ISTIO__MESH__V1ALPHA1__MESH_CONFIG__PROXY_PATH_NORMALIZATION__NORMALIZATION_TYPE__NONE:
        return MESH_PATH_NONE;
    case ISTIO__MESH__V1ALPHA1__MESH_CONFIG__PROXY_PATH_NORMALIZATION__NORMALIZATION_TYPE__MERGE_SLASHES:
        return MESH_PATH_MERGE_SLASHES;
    case ISTIO__MESH__V1ALPHA1__MESH_CONFIG__PROXY_PATH_NORMALIZATION__NORMALIZATION_TYPE__DECODE_AND_MERGE_SLASHES:
        return MESH_PATH_DECODE_AND_MERGE_SLASHES;
    default:
        return MESH_PATH_BASE;
    }
}

static uint32_t port_or(int32_t port, uint32_t otherwise)
{
    return port > 0 ? (uint32_t)port : otherwise;
}

static void fill_values(struct mesh *m, const CONFIG *c)
{
    m->outbound = c->outbound_traffic_policy &&
                          c->outbound_traffic_policy->mode ==
                              ISTIO__MESH__V1ALPHA1__MESH_CONFIG__OUTBOUND_TRAFFIC_POLICY__MODE__ALLOW_ANY_DYNAMIC_DNS
                      ? MESH_ALLOW_ANY_DYNAMIC_DNS
                      : MESH_ALLOW_ANY;
    m->inbound_localhost = c->inbound_traffic_policy && c->inbound_traffic_policy->mode ==
                                                            ISTIO__MESH__V1ALPHA1__MESH_CONFIG__INBOUND_TRAFFIC_POLICY__MODE__LOCALHOST;
    m->auto_mtls = proto_bool_or(c->enable_auto_mtls, true);
    m->access_log_json = c->access_log_encoding == ISTIO__MESH__V1ALPHA1__MESH_CONFIG__ACCESS_LOG_ENCODING__JSON;
    m->ingress_off = c->ingress_controller_mode == ISTIO__MESH__V1ALPHA1__MESH_CONFIG__INGRESS_CONTROLLER_MODE__OFF;
    m->ingress_strict = !m->ingress_off && c->ingress_controller_mode !=
                                               ISTIO__MESH__V1ALPHA1__MESH_CONFIG__INGRESS_CONTROLLER_MODE__DEFAULT;
    m->prometheus_merge = proto_bool_or(c->enable_prometheus_merge, true);
    m->h2_upgrade = c->h2_upgrade_policy == ISTIO__MESH__V1ALPHA1__MESH_CONFIG__H2_UPGRADE_POLICY__UPGRADE;
    m->path_normalization = normalization(c);
    m->connect_timeout_ms = proto_ms_or(c->connect_timeout, CONNECT_TIMEOUT_MS);
    m->protocol_detection_timeout_ms = proto_ms_or(c->protocol_detection_timeout, 0);
    m->dns_refresh_ms = proto_ms_or(c->dns_refresh_rate, DNS_REFRESH_MS);
    m->hbone_idle_ms = proto_ms_or(c->hbone_idle_timeout, HBONE_IDLE_MS);
    m->proxy_listen_port = port_or(c->proxy_listen_port, PROXY_PORT);
    m->inbound_listen_port = port_or(c->proxy_inbound_listen_port, INBOUND_PORT);
    m->http_proxy_port = port_or(c->proxy_http_port, 0);
}

static void hash_in(struct mesh *m, const ProtobufCMessage *msg)
{
    struct strbuf b = {0};
    proto_pack(msg, &b);
    m->hash = str_hash(strbuf_str(&b), m->hash + 1);
    strbuf_fini(&b);
}

/* ---- reading ---- */

/* Where a text stands, and what is said of it. */
struct source {
    const char *file;
    struct err_list *faults, *warnings;
};

static const struct doc_node *read_tree(struct mesh_body *b, struct str text, const struct source *s)
{
    size_t before = fault_count(s->faults);
    const struct doc_node *root = yaml_read(b->protos, text, s->file, s->faults);
    return fault_count(s->faults) == before ? root : NULL;
}

/* Decodes a text and holds it to the rules; NULL after faults. */
static const ProtobufCMessage *read_message(struct mesh_body *b, const struct doc_node *root, const ProtobufCMessageDescriptor *type,
                                            mesh_rules_fn rules, const struct source *s)
{
    struct doc_place place = {.file = s->file};
    ProtobufCMessage *msg;
    size_t before = fault_count(s->faults), first = s->faults->count, warning = s->warnings ? s->warnings->count : 0;
    if (root->kind == DOC_NULL)
        return proto_new(b->protos, type);
    if (doc_decode_as(b->protos, root, type, DOC_KUBERNETES, &place, &msg, s->faults) != 0)
        return NULL;
    rules(msg, s->faults, s->warnings);
    doc_locate_faults(root, s->file, NULL, s->faults, first);
    if (s->warnings)
        doc_locate_faults(root, s->file, NULL, s->warnings, warning);
    return fault_count(s->faults) == before ? msg : NULL;
}

/* By its name in either case. */
static const struct doc_node *said(const struct doc_node *map, struct str camel, struct str snake)
{
    const struct doc_node *node = doc_member(map, camel);
    return node ? node : doc_member(map, snake);
}

/* What the schema has for "not said" means the opposite of Istio's default here. */
static void fill_said(struct mesh *m, const struct doc_node *root, const CONFIG *c)
{
    const struct doc_node *policy = said(root, STR("outboundTrafficPolicy"), STR("outbound_traffic_policy"));
    if (c->outbound_traffic_policy && doc_member(policy, STR("mode")) &&
        c->outbound_traffic_policy->mode == ISTIO__MESH__V1ALPHA1__MESH_CONFIG__OUTBOUND_TRAFFIC_POLICY__MODE__REGISTRY_ONLY)
        m->outbound = MESH_REGISTRY_ONLY;
    m->tracing = c->enable_tracing || !said(root, STR("enableTracing"), STR("enable_tracing"));
}

static bool read_config(struct mesh_body *b, struct str text, const struct source *s)
{
    const struct doc_node *root = read_tree(b, text, s);
    const CONFIG *c = root ? (const CONFIG *)read_message(b, root, &istio__mesh__v1alpha1__mesh_config__descriptor,
                                                          mesh_check_config, s)
                           : NULL;
    if (!c)
        return false;
    b->mesh.config = &c->base;
    hash_in(&b->mesh, &c->base);
    fill_names(b, c);
    fill_values(&b->mesh, c);
    fill_said(&b->mesh, root, c);
    b->mesh.hash += 2 * (uint64_t)b->mesh.outbound + b->mesh.tracing; /* what is said and is the schema's default isn't in the bytes */
    return true;
}

static bool read_networks(struct mesh_body *b, struct str text, const struct source *s)
{
    const struct doc_node *root = read_tree(b, text, s);
    if (root)
        b->mesh.networks = read_message(b, root, &istio__mesh__v1alpha1__mesh_networks__descriptor, mesh_check_networks, s);
    if (b->mesh.networks)
        hash_in(&b->mesh, b->mesh.networks);
    return b->mesh.networks != NULL;
}

/* The text under a key of the ConfigMap; lines count from the key on, since a block has its own. */
static struct str text_in(const struct doc_node *data, const char *key, const struct source *s, struct strbuf *name)
{
    struct str text = doc_text(data, str_from(key));
    strbuf_addf(name, "%s(%s)", s->file ? s->file : "", key);
    return text.p ? text : STR("");
}

static bool read_config_map(struct mesh_body *b, const struct doc_node *data, const struct source *s)
{
    struct strbuf mesh_name = {0}, networks_name = {0};
    struct str mesh = text_in(data, "mesh", s, &mesh_name), networks = text_in(data, "meshNetworks", s, &networks_name);
    struct source of_mesh = {mesh_name.p, s->faults, s->warnings}, of_networks = {networks_name.p, s->faults, s->warnings};
    bool ok = read_config(b, mesh, &of_mesh);
    if (str_trim(networks).n)
        ok &= read_networks(b, networks, &of_networks);
    strbuf_fini(&mesh_name);
    strbuf_fini(&networks_name);
    return ok;
}

static bool read_text(struct mesh_body *b, struct str text, const struct source *s)
{
    struct err_list quiet = {0};
    const struct doc_node *root = yaml_read(b->protos, text, s->file, &quiet);
    bool is_config_map = root && str_eq(doc_text(root, STR("kind")), STR("ConfigMap"));
    err_list_fini(&quiet);
    return is_config_map ? read_config_map(b, doc_member(root, STR("data")), s) : read_config(b, text, s);
}

const struct mesh *mesh_read_warning(struct str text, const char *file, struct err_list *faults, struct err_list *warnings)
{
    struct mesh_body *b = NEW(mesh_body);
    const struct mesh *mesh = &b->mesh;
    struct source s = {file, faults, warnings};
    arena_init(&b->arena, 0);
    b->protos = proto_arena_new(0);
    b->refs = 1;
    if (!read_text(b, text.n ? text : STR(""), &s))
        mesh_unref(&mesh);
    return mesh;
}

const struct mesh *mesh_read(struct str text, const char *file, struct err_list *faults)
{
    return mesh_read_warning(text, file, faults, NULL);
}
