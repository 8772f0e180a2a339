/* SPDX-License-Identifier: Apache-2.0
 *
 * External authorizers (extensionProviders of the mesh) as configurations of the ext_authz filters. A request goes there when a rule of
 * a CUSTOM policy with that provider matched it, which the RBAC filter before has left in its metadata.
 */
#include "control/translate/authz_priv.h"

#include "envoy/extensions/filters/http/ext_authz/v3/ext_authz.pb-c.h"
#include "envoy/extensions/filters/network/ext_authz/v3/ext_authz.pb-c.h"

#define HTTP_FILTER Envoy__Extensions__Filters__Http__ExtAuthz__V3__ExtAuthz
#define TCP_FILTER Envoy__Extensions__Filters__Network__ExtAuthz__V3__ExtAuthz
#define HTTP_SERVICE Envoy__Extensions__Filters__Http__ExtAuthz__V3__HttpService
#define FROM_HTTP Istio__Mesh__V1alpha1__ExtensionProvider__EnvoyExternalAuthorizationHttpProvider
#define FROM_GRPC Istio__Mesh__V1alpha1__ExtensionProvider__EnvoyExternalAuthorizationGrpcProvider
#define FROM_BODY Istio__Mesh__V1alpha1__ExtensionProvider__EnvoyExternalAuthorizationRequestBody
#define HEADERS Envoy__Type__Matcher__V3__ListStringMatcher
#define TIMEOUT_MS_DEFAULT 600000 /* Istio's: so long that destination rules decide */

static Envoy__Type__Matcher__V3__MetadataMatcher *when_matched(const struct translation *t, const char *filter, struct str provider)
{
    struct str path = STR("istio_ext_authz_shadow_effective_policy_id");
    struct str ids = arena_printf(t->arena, "istio-ext-authz-%.*s*", STR_ARG(provider));
    return match_metadata(t, filter, &path, 1, value_of_matcher(t, match_text(t, ids)));
}

static HEADERS *headers(const struct translation *t, char *const *names, size_t count)
{
    struct many all = {0};
    if (count == 0)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        text_matcher *m = match_text(t, str_from(names[i]));
        m->ignore_case = m->match_pattern_case != ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_SAFE_REGEX;
        many_add(t, &all, m);
    }
    HEADERS *h = MAKE(t, HEADERS, envoy__type__matcher__v3__list_string_matcher__descriptor);
    h->patterns = (text_matcher **)all.items;
    h->n_patterns = all.count;
    return h;
}

static Envoy__Extensions__Filters__Http__ExtAuthz__V3__BufferSettings *body_of(const struct translation *t, const FROM_BODY *from)
{
    if (!from)
        return NULL;
    Envoy__Extensions__Filters__Http__ExtAuthz__V3__BufferSettings *b =
        MAKE(t, Envoy__Extensions__Filters__Http__ExtAuthz__V3__BufferSettings,
             envoy__extensions__filters__http__ext_authz__v3__buffer_settings__descriptor);
    b->max_request_bytes = from->max_request_bytes;
    b->allow_partial_message = from->allow_partial_message;
    b->pack_as_bytes = from->pack_as_bytes;
    return b;
}

static int set_status(const struct translation *t, const char *status, HTTP_FILTER *f, struct err *err)
{
    uint64_t code;
    if (!status[0])
        return 0;
    if (!str_to_u64(str_from(status), &code) || !proto_enum_name(&envoy__type__v3__status_code__descriptor, (int)code))
        return err_set(err, ERR_INVALID, "statusOnError: \"%s\" isn't a status code that Envoy knows", status);
    f->status_on_error = MAKE(t, Envoy__Type__V3__HttpStatus, envoy__type__v3__http_status__descriptor);
    f->status_on_error->code = (Envoy__Type__V3__StatusCode)code;
    return 0;
}

/* ---- what each provider says ---- */

static Envoy__Config__Core__V3__GrpcService *grpc_service(const struct translation *t, const FROM_GRPC *from, struct err *err)
{
    struct provider_service to;
    if (provider_service(t, from->service, from->port, &to, err))
        return NULL;
    Envoy__Config__Core__V3__GrpcService *g = provider_grpc(t, &to);
    g->timeout = from->timeout ? from->timeout : duration_of_ms(t, TIMEOUT_MS_DEFAULT);
    return g;
}

static void set_authorization(const struct translation *t, const FROM_HTTP *from, HTTP_SERVICE *s)
{
    if (from->n_include_additional_headers_in_check) {
        struct many all = {0};
        for (size_t i = 0; i < from->n_include_additional_headers_in_check; i++) {
            Envoy__Config__Core__V3__HeaderValue *h =
                MAKE(t, Envoy__Config__Core__V3__HeaderValue, envoy__config__core__v3__header_value__descriptor);
            h->key = from->include_additional_headers_in_check[i]->key;
            h->value = from->include_additional_headers_in_check[i]->value;
            many_add(t, &all, h);
        }
        s->authorization_request = MAKE(t, Envoy__Extensions__Filters__Http__ExtAuthz__V3__AuthorizationRequest,
                                        envoy__extensions__filters__http__ext_authz__v3__authorization_request__descriptor);
        s->authorization_request->headers_to_add = (Envoy__Config__Core__V3__HeaderValue **)all.items;
        s->authorization_request->n_headers_to_add = all.count;
    }
    if (!from->n_headers_to_upstream_on_allow && !from->n_headers_to_downstream_on_deny && !from->n_headers_to_downstream_on_allow)
        return;
    Envoy__Extensions__Filters__Http__ExtAuthz__V3__AuthorizationResponse *r =
        MAKE(t, Envoy__Extensions__Filters__Http__ExtAuthz__V3__AuthorizationResponse,
             envoy__extensions__filters__http__ext_authz__v3__authorization_response__descriptor);
    r->allowed_upstream_headers = headers(t, from->headers_to_upstream_on_allow, from->n_headers_to_upstream_on_allow);
    r->allowed_client_headers = headers(t, from->headers_to_downstream_on_deny, from->n_headers_to_downstream_on_deny);
    r->allowed_client_headers_on_success = headers(t, from->headers_to_downstream_on_allow, from->n_headers_to_downstream_on_allow);
    s->authorization_response = r;
}

static HTTP_SERVICE *http_service(const struct translation *t, const FROM_HTTP *from, struct err *err)
{
    struct provider_service to;
    if (provider_service(t, from->service, from->port, &to, err))
        return NULL;
    if (from->path_prefix[0] && from->path_prefix[0] != '/') {
        err_set(err, ERR_INVALID, "pathPrefix: \"%s\" doesn't begin with a slash", from->path_prefix);
        return NULL;
    }
    HTTP_SERVICE *s = MAKE(t, HTTP_SERVICE, envoy__extensions__filters__http__ext_authz__v3__http_service__descriptor);
    s->server_uri = MAKE(t, Envoy__Config__Core__V3__HttpUri, envoy__config__core__v3__http_uri__descriptor);
    s->server_uri->uri = textf(t, "http://%.*s", STR_ARG(to.host));
    s->server_uri->http_upstream_type_case = ENVOY__CONFIG__CORE__V3__HTTP_URI__HTTP_UPSTREAM_TYPE_CLUSTER;
    s->server_uri->cluster = text(t, to.cluster);
    s->server_uri->timeout = from->timeout ? from->timeout : duration_of_ms(t, TIMEOUT_MS_DEFAULT);
    s->path_prefix = from->path_prefix;
    set_authorization(t, from, s);
    return s;
}

/* ---- filters ---- */

static int fill_http(const struct translation *t, const FROM_HTTP *from, HTTP_FILTER *f, struct err *err)
{
    f->services_case = ENVOY__EXTENSIONS__FILTERS__HTTP__EXT_AUTHZ__V3__EXT_AUTHZ__SERVICES_HTTP_SERVICE;
    f->http_service = http_service(t, from, err);
    if (!f->http_service || set_status(t, from->status_on_error, f, err))
        return err->code;
    f->failure_mode_allow = from->fail_open;
    f->clear_route_cache = from->clear_route_cache;
    f->with_request_body = body_of(t, from->include_request_body_in_check);
    f->allowed_headers = from->n_include_request_headers_in_check
                             ? headers(t, from->include_request_headers_in_check, from->n_include_request_headers_in_check)
                             : headers(t, from->include_headers_in_check, from->n_include_headers_in_check);
    return 0;
}

static int fill_grpc(const struct translation *t, const FROM_GRPC *from, HTTP_FILTER *f, struct err *err)
{
    f->services_case = ENVOY__EXTENSIONS__FILTERS__HTTP__EXT_AUTHZ__V3__EXT_AUTHZ__SERVICES_GRPC_SERVICE;
    f->grpc_service = grpc_service(t, from, err);
    if (!f->grpc_service || set_status(t, from->status_on_error, f, err))
        return err->code;
    f->failure_mode_allow = from->fail_open;
    f->clear_route_cache = from->clear_route_cache;
    f->with_request_body = body_of(t, from->include_request_body_in_check);
    return 0;
}

Google__Protobuf__Any *authz_provider_http(const struct translation *t, struct str name, struct err *err)
{
    const PROVIDER *p = provider_find(t, name);
    HTTP_FILTER *f = MAKE(t, HTTP_FILTER, envoy__extensions__filters__http__ext_authz__v3__ext_authz__descriptor);
    int rc;
    f->transport_api_version = ENVOY__CONFIG__CORE__V3__API_VERSION__V3;
    f->filter_enabled_metadata = when_matched(t, "envoy.filters.http.rbac", name);
    switch (p ? p->provider_case : ISTIO__MESH__V1ALPHA1__EXTENSION_PROVIDER__PROVIDER__NOT_SET) {
    case ISTIO__MESH__V1ALPHA1__EXTENSION_PROVIDER__PROVIDER_ENVOY_EXT_AUTHZ_HTTP:
        rc = fill_http(t, p->envoy_ext_authz_http, f, err);
        break;
    case ISTIO__MESH__V1ALPHA1__EXTENSION_PROVIDER__PROVIDER_ENVOY_EXT_AUTHZ_GRPC:
        rc = fill_grpc(t, p->envoy_ext_authz_grpc, f, err);
        break;
    default:
        rc = err_set(err, ERR_NOT_FOUND, "no extension provider of that name authorizes");
    }
    return rc ? NULL : any_of(t, &f->base);
}

Google__Protobuf__Any *authz_provider_tcp(const struct translation *t, struct str name, struct err *err)
{
    const PROVIDER *p = provider_find(t, name);
    if (p && p->provider_case == ISTIO__MESH__V1ALPHA1__EXTENSION_PROVIDER__PROVIDER_ENVOY_EXT_AUTHZ_HTTP)
        return NULL;
    if (!p || p->provider_case != ISTIO__MESH__V1ALPHA1__EXTENSION_PROVIDER__PROVIDER_ENVOY_EXT_AUTHZ_GRPC) {
        err_set(err, ERR_NOT_FOUND, "no extension provider of that name authorizes");
        return NULL;
    }
    TCP_FILTER *f = MAKE(t, TCP_FILTER, envoy__extensions__filters__network__ext_authz__v3__ext_authz__descriptor);
    f->stat_prefix = text(t, STR("tcp."));
    f->transport_api_version = ENVOY__CONFIG__CORE__V3__API_VERSION__V3;
    f->failure_mode_allow = p->envoy_ext_authz_grpc->fail_open;
    f->filter_enabled_metadata = when_matched(t, "envoy.filters.network.rbac", name);
    f->grpc_service = grpc_service(t, p->envoy_ext_authz_grpc, err);
    return f->grpc_service ? any_of(t, &f->base) : NULL;
}
