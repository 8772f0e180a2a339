/* SPDX-License-Identifier: Apache-2.0
 *
 * envoy.filters.http.ext_authz with its per-route message, and envoy.filters.network.ext_authz. Main thread.
 */
#include "proxy/filter/ext_authz.h"

#include "base/mem.h"
#include "http/codec/uri.h"
#include "proxy/config/config_priv.h"
#include "proxy/match/value_match.h"

#define HTTP(x) ENVOY__EXTENSIONS__FILTERS__HTTP__EXT_AUTHZ__V3__EXT_AUTHZ__SERVICES_##x
#define OVERRIDE(x) ENVOY__EXTENSIONS__FILTERS__HTTP__EXT_AUTHZ__V3__CHECK_SETTINGS__SERVICE_OVERRIDE_##x
#define ROUTE(x) ENVOY__EXTENSIONS__FILTERS__HTTP__EXT_AUTHZ__V3__EXT_AUTHZ_PER_ROUTE__OVERRIDE_##x
#define GRPC_TIMEOUT_MS 200

/* ---- shared ---- */

static void read_names(struct config_reader *cr, const char *field, const pb_list_string_matcher *m, struct arena *a, struct authz_names *out)
{
    if (!m)
        return;
    IN("%s", field) {
        out->count = LEN(m, patterns);
        out->items = ARENA_ARRAY(a, struct string_match, out->count);
        for (uint32_t i = 0; i < out->count; i++)
            IN("patterns[%u]", i)
                cfg_string_match(cr, m->patterns[i], &out->items[i]);
    }
}

static struct str *texts(struct arena *a, char *const *items, uint32_t n)
{
    struct str *out = ARENA_ARRAY(a, struct str, n);
    for (uint32_t i = 0; i < n; i++)
        out[i] = arena_str(a, str_from(items[i]));
    return out;
}

static struct metadata_matcher *read_metadata_matcher(struct config_reader *cr, const pb_metadata_matcher *m, struct arena *a)
{
    if (!m)
        return NULL;
    struct metadata_matcher *out = arena_zalloc(a, sizeof *out);
    IN("filter_enabled_metadata")
        cfg_metadata_matcher(cr, m, a, out);
    return out;
}

static void fini_telling(struct authz_telling *t)
{
    authz_names_fini(&t->allowed);
    authz_names_fini(&t->disallowed);
}

static void fini_matcher(struct metadata_matcher *m)
{
    if (m && m->value)
        value_matcher_fini(m->value);
}

/* The node's own labels: a Struct in its metadata; what isn't text is "". */
static void read_labels(struct config_reader *cr, struct str key, struct arena *a, struct authz_telling *out)
{
    const Google__Protobuf__Struct *m = cr->boot->node ? cr->boot->node->metadata : NULL, *labels = NULL;
    for (size_t i = 0; key.n && m && i < m->n_fields; i++)
        if (str_eq(str_from(m->fields[i]->key), key) && m->fields[i]->value &&
            m->fields[i]->value->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE)
            labels = m->fields[i]->value->struct_value;
    out->labels = labels ? ARENA_ARRAY(a, struct authz_text, labels->n_fields) : NULL;
    for (size_t i = 0; labels && i < labels->n_fields; i++) {
        const Google__Protobuf__Value *v = labels->fields[i]->value;
        bool is_text = v && v->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE;
        struct str text = is_text ? str_from(v->string_value) : STR("");
        out->labels[out->label_count++] = (struct authz_text){arena_str(a, str_from(labels->fields[i]->key)), arena_str(a, text)};
    }
}

static void read_grpc(struct config_reader *cr, const pb_grpc_service *m, struct arena *a, struct authz_service *out)
{
    IN("grpc_service")
        cfg_grpc_service(cr, m, a, &out->grpc);
    if (m && !m->timeout)
        out->grpc.timeout_ms = GRPC_TIMEOUT_MS;
}

/* ---- the HTTP service ---- */

static void read_added(struct config_reader *cr, const pb_header_value *m, struct arena *a, struct header_mutation *out)
{
    struct err err = {0};
    out->name = cfg_lower(a, TEXT(m, key));
    out->action = HEADER_OVERWRITE_OR_ADD;
    struct str name = out->name.n && out->name.p[0] == ':' ? str_make(out->name.p + 1, out->name.n - 1) : out->name;
    if (!header_name_is_valid(name))
        FAULT("key", "'%.*s' is no header name", STR_ARG(out->name));
    out->value = format_new(TEXT(m, value), false, &err);
    if (!out->value)
        cfg_fault_err(cr, "value", &err);
}

static void read_asked(struct config_reader *cr, const pb_authorization_request *m, struct arena *a, struct authz_http_service *out,
                       struct authz_telling *telling)
{
    if (!m)
        return;
    IN("authorization_request") {
        const pb_list_string_matcher *allowed = GET(m, allowed_headers);
        if (allowed && !telling)
            UNSUPPORTED("allowed_headers", "of a route's service");
        else if (allowed && telling->allowed.count)
            FAULT("allowed_headers", "stands in the filter's own allowed_headers already");
        else if (allowed)
            read_names(cr, "allowed_headers", allowed, a, &telling->allowed);
        uint32_t n = LEN(m, headers_to_add);
        out->add = ARENA_ARRAY(a, struct header_mutation, n);
        for (; out->add_count < n; out->add_count++)
            IN("headers_to_add[%u]", out->add_count)
                read_added(cr, m->headers_to_add[out->add_count], a, &out->add[out->add_count]);
    }
}

static void read_answered(struct config_reader *cr, const pb_authorization_response *m, struct arena *a, struct authz_http_service *out)
{
    if (!m)
        return;
    IN("authorization_response") {
        read_names(cr, "allowed_upstream_headers", GET(m, allowed_upstream_headers), a, &out->upstream);
        read_names(cr, "allowed_upstream_headers_to_append", GET(m, allowed_upstream_headers_to_append), a, &out->upstream_append);
        read_names(cr, "allowed_client_headers", GET(m, allowed_client_headers), a, &out->client);
        read_names(cr, "allowed_client_headers_on_success", GET(m, allowed_client_headers_on_success), a, &out->client_on_success);
        read_names(cr, "dynamic_metadata_from_headers", GET(m, dynamic_metadata_from_headers), a, &out->metadata);
    }
}

static void read_uri(struct config_reader *cr, const pb_http_uri *m, struct authz_http_service *out)
{
    struct uri uri;
    if (!m) {
        FAULT("server_uri", "must be set");
        return;
    }
    IN("server_uri") {
        struct str text = TEXT(m, uri);
        if (!uri_parse_absolute(text, &uri))
            FAULT("uri", "'%.*s' is no absolute URI", STR_ARG(text));
        out->timeout_ms = proto_ms_or(GET(m, timeout), 0);
        if (m->http_upstream_type_case)
            cfg_cluster_ref(cr, "cluster", TEXT(m, cluster), &out->cluster, true);
        else
            FAULT("cluster", "must be set");
    }
}

static void read_http(struct config_reader *cr, const pb_authz_http_service *m, struct arena *a, struct authz_service *out,
                      struct authz_telling *telling)
{
    struct authz_http_service *s = &out->http;
    out->is_http = true;
    IN("http_service") {
        read_uri(cr, GET(m, server_uri), s);
        s->path_prefix = arena_str(a, TEXT(m, path_prefix));
        if (s->path_prefix.n && (s->path_prefix.p[0] != '/' || !header_value_is_valid(s->path_prefix)))
            FAULT("path_prefix", "must begin with '/'");
        read_asked(cr, GET(m, authorization_request), a, s, telling);
        read_answered(cr, GET(m, authorization_response), a, s);
    }
}

/* ---- HTTP filter ---- */

static void free_http(void *config)
{
    struct ext_authz_config *c = config;
    authz_service_fini(&c->service);
    fini_telling(&c->telling);
    fini_matcher(c->enabled_metadata);
    stat_scope_unref(&c->stats);
}

static void read_body(struct config_reader *cr, const pb_authz_buffer *m, struct ext_authz_body *out)
{
    if (!m)
        return;
    IN("with_request_body") {
        out->is_on = true;
        out->max_bytes = GET(m, max_request_bytes);
        out->allows_partial = GET(m, allow_partial_message);
        out->as_bytes = GET(m, pack_as_bytes);
        if (!out->max_bytes)
            FAULT("max_request_bytes", "must be above 0");
    }
}

static void read_telling(struct config_reader *cr, const pb_http_ext_authz *m, struct arena *a, struct authz_telling *t)
{
    t->certificate = GET(m, include_peer_certificate);
    t->tls_session = GET(m, include_tls_session);
    t->raw_headers = GET(m, encode_raw_headers);
    read_labels(cr, TEXT(m, bootstrap_metadata_labels_key), a, t);
    t->space_count = LEN(m, metadata_context_namespaces);
    t->spaces = texts(a, m->metadata_context_namespaces, t->space_count);
    t->route_space_count = LEN(m, route_metadata_context_namespaces);
    t->route_spaces = texts(a, m->route_metadata_context_namespaces, t->route_space_count);
    (void)LEN(m, typed_metadata_context_namespaces); /* there is no typed metadata: nothing to tell */
    (void)LEN(m, route_typed_metadata_context_namespaces);
    read_names(cr, "allowed_headers", GET(m, allowed_headers), a, &t->allowed);
    read_names(cr, "disallowed_headers", GET(m, disallowed_headers), a, &t->disallowed);
}

static void read_when(struct config_reader *cr, const pb_http_ext_authz *m, struct arena *a, struct ext_authz_config *c)
{
    c->enabled = (struct runtime_fraction){STR(""), 100, 100};
    if (GET(m, filter_enabled))
        IN("filter_enabled")
            c->enabled = cfg_runtime_fraction(cr, a, m->filter_enabled, 100);
    c->enabled_metadata = read_metadata_matcher(cr, GET(m, filter_enabled_metadata), a);
    const pb_runtime_flag *deny = GET(m, deny_at_disable);
    if (!deny)
        return;
    c->deny_at_disable = proto_bool_or(GET(deny, default_value), false);
    c->deny_at_disable_key = arena_str(a, TEXT(deny, runtime_key));
}

static void read_failures(struct config_reader *cr, const pb_http_ext_authz *m, struct ext_authz_config *c)
{
    const pb_http_status *status = GET(m, status_on_error);
    unsigned code = status ? (unsigned)GET(status, code) : 403;
    c->failure_mode_allow = GET(m, failure_mode_allow);
    c->failure_mode_header = GET(m, failure_mode_allow_header_add);
    if (code < 200 || code > 599)
        FAULT("status_on_error", "%u is no status of an answer", code);
    c->error_status = (uint16_t)code;
    c->max_denied_body_bytes = GET(m, max_denied_response_body_bytes);
}

int cfg_ext_authz(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_http_ext_authz *m = (const pb_http_ext_authz *)msg;
    struct cfg_http_filter *f = out;
    struct arena *a = f->arena;
    struct ext_authz_config *c = arena_zalloc(a, sizeof *c);
    f->spec->config = c;
    f->spec->free_config = free_http;
    if (GET(m, transport_api_version) != ENVOY__CONFIG__CORE__V3__API_VERSION__V3)
        FAULT("transport_api_version", "must be V3");
    read_telling(cr, m, a, &c->telling);
    if (m->services_case == HTTP(GRPC_SERVICE))
        read_grpc(cr, GET(m, grpc_service), a, &c->service);
    else if (m->services_case == HTTP(HTTP_SERVICE))
        read_http(cr, GET(m, http_service), a, &c->service, &c->telling);
    else
        FAULT("services", "grpc_service or http_service must be set");
    read_body(cr, GET(m, with_request_body), &c->body);
    read_failures(cr, m, c);
    read_when(cr, m, a, c);
    c->clear_route_cache = GET(m, clear_route_cache);
    c->validate_mutations = GET(m, validate_mutations);
    c->takes_metadata = proto_bool_or(GET(m, enable_dynamic_metadata_ingestion), true);
    c->charges_cluster = proto_bool_or(GET(m, charge_cluster_response_stats), true);
    c->stat_prefix = arena_str(a, TEXT(m, stat_prefix));
    c->stat_family = cfg_stat_family("ext_authz", c->stat_prefix);
    return 0;
}

/* ---- per route ---- */

static void free_route(void *config)
{
    struct ext_authz_route_config *c = config;
    if (c->service)
        authz_service_fini(c->service);
}

static void read_override(struct config_reader *cr, const pb_authz_check_settings *m, struct arena *a, struct ext_authz_route_config *c)
{
    if (!m->service_override_case)
        return;
    c->service = arena_zalloc(a, sizeof *c->service);
    if (m->service_override_case == OVERRIDE(GRPC_SERVICE))
        read_grpc(cr, GET(m, grpc_service), a, c->service);
    else
        read_http(cr, GET(m, http_service), a, c->service, NULL);
}

static void read_settings(struct config_reader *cr, const pb_authz_check_settings *m, struct arena *a, struct ext_authz_route_config *c)
{
    uint32_t n = LEN(m, context_extensions);
    c->extensions = ARENA_ARRAY(a, struct authz_text, n);
    for (; c->extension_count < n; c->extension_count++) {
        __auto_type e = m->context_extensions[c->extension_count];
        c->extensions[c->extension_count] = (struct authz_text){arena_str(a, TEXT(e, key)), arena_str(a, TEXT(e, value))};
    }
    c->no_body = GET(m, disable_request_body_buffering);
    read_body(cr, GET(m, with_request_body), &c->body);
    if (c->no_body && c->body.is_on)
        FAULT("with_request_body", "excludes disable_request_body_buffering");
    read_override(cr, m, a, c);
}

int cfg_ext_authz_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_http_ext_authz_route *m = (const pb_http_ext_authz_route *)msg;
    struct cfg_route_filter *f = out;
    struct ext_authz_route_config *c = arena_zalloc(f->arena, sizeof *c);
    f->override->config = c;
    f->override->free_config = free_route;
    if (m->override_case == ROUTE(DISABLED)) {
        c->disabled = GET(m, disabled);
        if (!c->disabled)
            FAULT("disabled", "must be true");
    } else if (m->override_case == ROUTE(CHECK_SETTINGS)) {
        IN("check_settings")
            read_settings(cr, GET(m, check_settings), f->arena, c);
    } else {
        FAULT("override", "disabled or check_settings must be set");
    }
    return 0;
}

/* ---- network ---- */

static void free_network(void *config)
{
    struct network_ext_authz_config *c = config;
    authz_service_fini(&c->service);
    fini_matcher(c->enabled_metadata);
    stat_scope_unref(&c->stats);
}

int cfg_network_ext_authz(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_network_ext_authz *m = (const pb_network_ext_authz *)msg;
    struct cfg_network_filter *f = out;
    struct arena *a = f->arena;
    struct network_ext_authz_config *c = arena_zalloc(a, sizeof *c);
    f->spec->config = c;
    f->spec->free_config = free_network;
    if (GET(m, transport_api_version) != ENVOY__CONFIG__CORE__V3__API_VERSION__V3)
        FAULT("transport_api_version", "must be V3");
    c->stat_prefix = arena_str(a, TEXT(m, stat_prefix));
    c->failure_mode_allow = GET(m, failure_mode_allow);
    c->telling.certificate = GET(m, include_peer_certificate);
    c->telling.tls_session = GET(m, include_tls_session);
    c->telling.space_count = LEN(m, metadata_context_namespaces);
    c->telling.spaces = texts(a, m->metadata_context_namespaces, c->telling.space_count);
    (void)LEN(m, typed_metadata_context_namespaces); /* there is no typed metadata: nothing to tell */
    read_labels(cr, TEXT(m, bootstrap_metadata_labels_key), a, &c->telling);
    c->enabled_metadata = read_metadata_matcher(cr, GET(m, filter_enabled_metadata), a);
    if (GET(m, grpc_service))
        read_grpc(cr, m->grpc_service, a, &c->service);
    else
        FAULT("grpc_service", "must be set");
    return 0;
}
