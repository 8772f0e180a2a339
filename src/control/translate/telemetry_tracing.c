/* SPDX-License-Identifier: Apache-2.0
 *
 * Tracing of connection managers: how much is sampled, what stands in spans, who gets them. Without any Telemetry that says so the
 * mesh's default is sampled and nobody gets them, so that what a proxy's bootstrap names may.
 */
#include "control/translate/telemetry_priv.h"

#include <stdlib.h>

#include "base/log.h"

#define PREFIX_(x) envoy__extensions__filters__network__http_connection_manager__v3__##x
#define TRACING Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpConnectionManager__Tracing
#define TAG Envoy__Type__Tracing__V3__CustomTag
#define TAG_CASE(x) ENVOY__TYPE__TRACING__V3__CUSTOM_TAG__TYPE_##x
#define FROM_TAG Istio__Telemetry__V1alpha1__Tracing__CustomTag
#define SAMPLING_DEFAULT 1.0 /* percent */

#define DRY_RUN(tag_, key_)                                                                                                         \
    "{\"tag\":\"istio.authorization.dry_run." tag_ "\",\"metadata\":{\"kind\":{\"request\":{}},\"metadata_key\":{\"key\":"           \
    "\"envoy.filters.http.rbac\",\"path\":[{\"key\":\"istio_dry_run_" key_ "\"}]}}}"
static const char skeleton[] =
    "{\"client_sampling\":{\"value\":100},\"overall_sampling\":{\"value\":100},\"custom_tags\":["
    DRY_RUN("allow_policy.name", "allow_shadow_effective_policy_id") "," DRY_RUN("allow_policy.result", "allow_shadow_engine_result") ","
    DRY_RUN("deny_policy.name", "deny_shadow_effective_policy_id") "," DRY_RUN("deny_policy.result", "deny_shadow_engine_result") "]}";
static const char random_request_id[] =
    "{\"typed_config\":{\"@type\":\"type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig\","
    "\"use_request_id_for_trace_sampling\":false}}";

/* What the objects say, merged: each field of the last that sets it. */
struct tracing {
    bool is_said; /* by an object or by the mesh's default providers */
    bool is_disabled, use_request_id, has_istio_tags;
    struct str provider;
    double percent;
    Istio__Telemetry__V1alpha1__Tracing__CustomTagsEntry *const *tags;
    size_t tag_count;
};

static void merge_one(const Istio__Telemetry__V1alpha1__Tracing *from, struct tracing *out)
{
    out->is_said = true;
    if (from->n_providers)
        out->provider = str_from(from->providers[0]->name);
    out->is_disabled = proto_bool_or(from->disable_span_reporting, out->is_disabled);
    out->use_request_id = proto_bool_or(from->use_request_id_for_trace_sampling, out->use_request_id);
    out->has_istio_tags = proto_bool_or(from->enable_istio_tags, out->has_istio_tags);
    out->percent = proto_double_or(from->random_sampling_percentage, out->percent);
    if (from->n_custom_tags) {
        out->tags = from->custom_tags;
        out->tag_count = from->n_custom_tags;
    }
}

static const Google__Protobuf__Struct *struct_of(const Google__Protobuf__Value *v)
{
    return v && v->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE ? v->struct_value : NULL;
}

/* What the proxy was started with (annotation proxy.istio.io/config) before what the mesh has for all. */
static double base_percent(const struct translation *t, const Istio__Mesh__V1alpha1__Tracing *mesh)
{
    const Google__Protobuf__Struct *own = struct_of(node_metadata(t->node, "PROXY_CONFIG"));
    const Google__Protobuf__Value *v = struct_member(struct_of(struct_member(own, "tracing")), "sampling");
    double percent = v && v->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE ? v->number_value : 0;
    if (percent > 0 && percent <= 100)
        return percent;
    return mesh && mesh->sampling > 0 ? mesh->sampling : SAMPLING_DEFAULT;
}

static struct tracing merged(const struct translation *t, const struct chain_purpose *p)
{
    const Istio__Mesh__V1alpha1__MeshConfig *mesh = mesh_config(t);
    const Istio__Mesh__V1alpha1__Tracing *base = mesh->default_config ? mesh->default_config->tracing : NULL;
    struct telemetries all = telemetries_of(t);
    struct tracing out = {.use_request_id = true, .percent = base_percent(t, base)};
    out.has_istio_tags = proto_bool_or(base ? base->enable_istio_tags : NULL, true);
    if (mesh->default_providers && mesh->default_providers->n_tracing) {
        out.is_said = true;
        out.provider = str_from(mesh->default_providers->tracing[0]);
    }
    for (size_t i = 0; i < all.count; i++)
        for (size_t k = 0; k < all.items[i]->n_tracing; k++) {
            const Istio__Telemetry__V1alpha1__Tracing *one = all.items[i]->tracing[k];
            if (!one->match || telemetry_mode_is(one->match->mode, p))
                merge_one(one, &out);
            if (proto_bool_or(one->disable_context_propagation, false))
                LOG_SELDOM(CONFIG, WARNING, "Telemetry %.*s/%.*s: tracing.disableContextPropagation is not supported yet",
                           STR_ARG(all.objects[i]->ns), STR_ARG(all.objects[i]->name));
        }
    return out;
}

/* ---- tags ---- */

static TAG *tag_new(const struct translation *t, const char *name)
{
    TAG *tag = MAKE(t, TAG, envoy__type__tracing__v3__custom_tag__descriptor);
    tag->tag = text(t, str_from(name));
    return tag;
}

static void add_literal(const struct translation *t, struct many *tags, const char *name, struct str value)
{
    TAG *tag = tag_new(t, name);
    tag->type_case = TAG_CASE(LITERAL);
    tag->literal = MAKE(t, Envoy__Type__Tracing__V3__CustomTag__Literal, envoy__type__tracing__v3__custom_tag__literal__descriptor);
    tag->literal->value = text(t, value.n ? value : STR("unknown")); /* Envoy refuses an empty one */
    many_add(t, tags, tag);
}

static void add_environment(const struct translation *t, struct many *tags, const char *name, const char *variable, const char *otherwise)
{
    TAG *tag = tag_new(t, name);
    tag->type_case = TAG_CASE(ENVIRONMENT);
    tag->environment =
        MAKE(t, Envoy__Type__Tracing__V3__CustomTag__Environment, envoy__type__tracing__v3__custom_tag__environment__descriptor);
    tag->environment->name = text(t, str_from(variable));
    tag->environment->default_value = text(t, str_from(otherwise));
    many_add(t, tags, tag);
}

static void add_header(const struct translation *t, struct many *tags, const char *name, const char *header, const char *otherwise)
{
    TAG *tag = tag_new(t, name);
    tag->type_case = TAG_CASE(REQUEST_HEADER);
    tag->request_header = MAKE(t, Envoy__Type__Tracing__V3__CustomTag__Header, envoy__type__tracing__v3__custom_tag__header__descriptor);
    tag->request_header->name = text(t, str_from(header));
    tag->request_header->default_value = text(t, str_from(otherwise));
    many_add(t, tags, tag);
}

static void add_custom(const struct translation *t, struct many *tags, const char *name, const FROM_TAG *from)
{
    TAG *tag;
    switch (from->type_case) {
    case ISTIO__TELEMETRY__V1ALPHA1__TRACING__CUSTOM_TAG__TYPE_LITERAL:
        add_literal(t, tags, name, str_from(from->literal->value));
        break;
    case ISTIO__TELEMETRY__V1ALPHA1__TRACING__CUSTOM_TAG__TYPE_ENVIRONMENT:
        add_environment(t, tags, name, from->environment->name, from->environment->default_value);
        break;
    case ISTIO__TELEMETRY__V1ALPHA1__TRACING__CUSTOM_TAG__TYPE_HEADER:
        add_header(t, tags, name, from->header->name, from->header->default_value);
        break;
    case ISTIO__TELEMETRY__V1ALPHA1__TRACING__CUSTOM_TAG__TYPE_FORMATTER:
        tag = tag_new(t, name);
        tag->type_case = TAG_CASE(VALUE);
        tag->value = text(t, str_from(from->formatter->value));
        many_add(t, tags, tag);
        break;
    default:
        break;
    }
}

/* The mesh's own, where no Telemetry has any. */
static void add_base_tags(const struct translation *t, struct many *tags)
{
    const Istio__Mesh__V1alpha1__ProxyConfig *base = mesh_config(t)->default_config;
    for (size_t i = 0; base && base->tracing && i < base->tracing->n_custom_tags; i++) {
        const Istio__Mesh__V1alpha1__Tracing__CustomTag *from = base->tracing->custom_tags[i]->value;
        const char *name = base->tracing->custom_tags[i]->key;
        if (from->type_case == ISTIO__MESH__V1ALPHA1__TRACING__CUSTOM_TAG__TYPE_LITERAL)
            add_literal(t, tags, name, str_from(from->literal->value));
        else if (from->type_case == ISTIO__MESH__V1ALPHA1__TRACING__CUSTOM_TAG__TYPE_ENVIRONMENT)
            add_environment(t, tags, name, from->environment->name, from->environment->default_value);
        else if (from->type_case == ISTIO__MESH__V1ALPHA1__TRACING__CUSTOM_TAG__TYPE_HEADER)
            add_header(t, tags, name, from->header->name, from->header->default_value);
    }
}

static int by_tag(const void *a, const void *b)
{
    const TAG *x = *(TAG *const *)a, *y = *(TAG *const *)b;
    return strcmp(x->tag, y->tag);
}

static void set_tags(const struct translation *t, const struct tracing *from, TRACING *out)
{
    const struct node *n = t->node;
    struct many tags = {0};
    for (size_t i = 0; i < out->n_custom_tags; i++)
        many_add(t, &tags, out->custom_tags[i]);
    if (from->has_istio_tags) {
        add_literal(t, &tags, "istio.canonical_revision", n->canonical_revision);
        add_literal(t, &tags, "istio.canonical_service", n->canonical_name);
        add_literal(t, &tags, "istio.cluster_id", n->cluster_id);
        add_literal(t, &tags, "istio.mesh_id", n->mesh_id.n ? n->mesh_id : STR("unknown")); /* istiod; Envoy refuses an empty one */
        add_literal(t, &tags, "istio.namespace", n->ns);
    }
    for (size_t i = 0; i < from->tag_count; i++)
        add_custom(t, &tags, from->tags[i]->key, from->tags[i]->value);
    if (from->tag_count == 0)
        add_base_tags(t, &tags);
    qsort(tags.items, tags.count, sizeof(void *), by_tag);
    out->custom_tags = (TAG **)tags.items;
    out->n_custom_tags = tags.count;
}

/* ---- to whom ---- */

/* false: there is nobody to send spans to. */
static bool set_provider(const struct translation *t, const struct tracing *from, TRACING *out)
{
    struct err err = {0};
    const PROVIDER *p = provider_find(t, from->provider);
    struct tracer tracer = {0};
    if (p)
        tracer = tracer_of(t, p, &err);
    else
        err_set(&err, ERR_NOT_FOUND, "there is none of that name");
    if (!tracer.config) {
        LOG_SELDOM(CONFIG, WARNING, "tracing provider \"%.*s\": %s", STR_ARG(from->provider), err.message);
        return false;
    }
    out->provider = MAKE(t, Envoy__Config__Trace__V3__Tracing__Http, envoy__config__trace__v3__tracing__http__descriptor);
    out->provider->name = text(t, str_from(tracer.name));
    out->provider->config_type_case = ENVOY__CONFIG__TRACE__V3__TRACING__HTTP__CONFIG_TYPE_TYPED_CONFIG;
    out->provider->typed_config = any_of(t, tracer.config);
    if (tracer.max_tag_length)
        out->max_path_tag_length = u32_of(t, tracer.max_tag_length);
    if (tracer.spawns_upstream_span)
        out->spawn_upstream_span = bool_of(t, true);
    return true;
}

/* The fields of a connection manager that tracing sets; NULL: none. */
static TRACING *make(const struct translation *t, const struct chain_purpose *p, bool *uses_request_id)
{
    const Istio__Mesh__V1alpha1__MeshConfig *mesh = mesh_config(t);
    struct tracing from = merged(t, p);
    TRACING *out = COPY_OF(t, TRACING, PREFIX_(http_connection_manager__tracing__descriptor), skeleton);
    if (from.is_said ? from.is_disabled || !set_provider(t, &from, out) : !world_mesh(t->world)->tracing)
        return NULL;
    out->random_sampling = MAKE(t, Envoy__Type__V3__Percent, envoy__type__v3__percent__descriptor);
    out->random_sampling->value = from.percent;
    if (!out->max_path_tag_length && mesh->default_config && mesh->default_config->tracing && mesh->default_config->tracing->max_path_tag_length)
        out->max_path_tag_length = u32_of(t, mesh->default_config->tracing->max_path_tag_length);
    set_tags(t, &from, out);
    *uses_request_id = from.use_request_id;
    return out;
}

void tracing_apply(const struct translation *t, const struct chain_purpose *p, HCM *hcm)
{
    struct made_list *made = &t->made->tracing[chain_side(p)];
    if (!made->is_made) {
        bool uses_request_id = true;
        many_add(t, &made->items, make(t, p, &uses_request_id));
        if (!uses_request_id)
            many_add(t, &made->items, constant(t, &PREFIX_(request_idextension__descriptor), random_request_id));
    }
    made->is_made = true;
    hcm->tracing = made->items.items[0];
    if (made->items.count > 1)
        hcm->request_id_extension = made->items.items[1];
}

/* What a proxy says of itself: how much is sampled, and where somebody gets spans the name that they bear. */
void tracing_key(const struct translation *t, struct strbuf *key)
{
    struct tracing client = merged(t, &(struct chain_purpose){0}), server = merged(t, &(struct chain_purpose){.is_inbound = true});
    strbuf_add(key, &client.percent, sizeof(client.percent));
    strbuf_add(key, &server.percent, sizeof(server.percent));
    if (client.provider.p || server.provider.p)
        strbuf_adds(key, tracing_service_name(t));
}
