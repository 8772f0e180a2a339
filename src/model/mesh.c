/* SPDX-License-Identifier: Apache-2.0
 *
 * MeshConfig with Istio's defaults. The message stays beside the values for what few ask for.
 */
#include "model/mesh.h"

#include "base/mem.h"
#include "istio/mesh/mesh_config.pb-c.h"
#include "proto/fields.h"
#include "proto/yaml.h"

#define CONFIG Istio__Mesh__V1alpha1__MeshConfig

#define CONNECT_TIMEOUT_MS 10000
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

static void fill_values(struct mesh *m, const CONFIG *c)
{
    bool is_registry_only = c->outbound_traffic_policy && c->outbound_traffic_policy->mode ==
                                                              ISTIO__MESH__V1ALPHA1__MESH_CONFIG__OUTBOUND_TRAFFIC_POLICY__MODE__REGISTRY_ONLY;
    m->auto_mtls = proto_bool_or(c->enable_auto_mtls, true);
    m->access_log_json = c->access_log_encoding == ISTIO__MESH__V1ALPHA1__MESH_CONFIG__ACCESS_LOG_ENCODING__JSON;
    m->ingress_strict = c->ingress_controller_mode == ISTIO__MESH__V1ALPHA1__MESH_CONFIG__INGRESS_CONTROLLER_MODE__STRICT;
    m->outbound = is_registry_only ? MESH_REGISTRY_ONLY : MESH_ALLOW_ANY;
    m->connect_timeout_ms = proto_ms_or(c->connect_timeout, CONNECT_TIMEOUT_MS);
    m->protocol_detection_timeout_ms = proto_ms_or(c->protocol_detection_timeout, 0);
    m->proxy_listen_port = c->proxy_listen_port > 0 ? (uint32_t)c->proxy_listen_port : PROXY_PORT;
    m->inbound_listen_port = c->proxy_inbound_listen_port > 0 ? (uint32_t)c->proxy_inbound_listen_port : INBOUND_PORT;
    m->http_proxy_port = c->proxy_http_port > 0 ? (uint32_t)c->proxy_http_port : 0;
}

static uint64_t hash_of(const ProtobufCMessage *m)
{
    struct strbuf b = {0};
    proto_pack(m, &b);
    uint64_t h = str_hash(b.n ? strbuf_str(&b) : STR(""), 17);
    strbuf_fini(&b);
    return h;
}

const struct mesh *mesh_read(struct str text, const char *file, struct err_list *faults)
{
    struct mesh_body *b = NEW(mesh_body);
    const ProtobufCMessageDescriptor *desc = &istio__mesh__v1alpha1__mesh_config__descriptor;
    ProtobufCMessage *m;
    arena_init(&b->arena, 0);
    b->protos = proto_arena_new(0);
    b->refs = 1;
    const struct mesh *mesh = &b->mesh;
    if (str_trim(text).n == 0)
        m = proto_new(b->protos, desc);
    else if (yaml_decode(b->protos, text, desc, file, &m, faults)) {
        mesh_unref(&mesh);
        return NULL;
    }
    b->mesh.config = m;
    b->mesh.hash = hash_of(m);
    fill_names(b, (const CONFIG *)m);
    fill_values(&b->mesh, (const CONFIG *)m);
    return mesh;
}
