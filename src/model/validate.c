/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules beyond the schema: metadata here (Kubernetes: "Object Names and IDs", "Labels and Selectors"), each kind's in a file
 * of its own. Pure.
 */
#include "model/validate_priv.h"

#define DRY_RUN "istio.io/dry-run"

static void (*const kind_rules[KIND_COUNT])(struct check *c, const struct object *o) = {
    [KIND_VIRTUAL_SERVICE] = validate_virtual_service,
    [KIND_DESTINATION_RULE] = validate_destination_rule,
    [KIND_GATEWAY] = validate_gateway,
    [KIND_SERVICE_ENTRY] = validate_service_entry,
    [KIND_WORKLOAD_ENTRY] = validate_workload_entry,
    [KIND_WORKLOAD_GROUP] = validate_workload_group,
    [KIND_SIDECAR] = validate_sidecar,
    [KIND_ENVOY_FILTER] = validate_envoy_filter,
    [KIND_PROXY_CONFIG] = validate_proxy_config,
    [KIND_PEER_AUTHENTICATION] = validate_peer_authentication,
    [KIND_REQUEST_AUTHENTICATION] = validate_request_authentication,
    [KIND_AUTHORIZATION_POLICY] = validate_authorization_policy,
    [KIND_TELEMETRY] = validate_telemetry,
    [KIND_SERVICE] = validate_service,
    [KIND_ENDPOINT_SLICE] = validate_endpoint_slice,
    [KIND_INGRESS] = validate_ingress,
};

void check_warn(struct check *c, const char *field, const char *fmt, ...)
{
    char text[ERR_MESSAGE_BYTES];
    struct err_list *faults = c->r.faults;
    va_list ap;
    if (!c->warnings)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    c->r.faults = c->warnings;
    proto_fault(&c->r, ERR_INVALID, field, "%s", text);
    c->r.faults = faults;
}

/* Kinds whose names Kubernetes, or of gateways Istio, wants shorter than a DNS name. */
static bool is_short_named(enum kind_id kind)
{
    return kind == KIND_SERVICE || kind == KIND_NAMESPACE || kind == KIND_GATEWAY;
}

static void check_metadata(struct check *c, const struct object *o)
{
    bool is_short = is_short_named(o->kind->id);
    if (!(is_short ? is_dns_label(o->name) : is_dns_subdomain(o->name)))
        check_fault(c, "metadata.name", "'%.*s' must be lower-case letters, digits%s '-', and begin and end with one of the former two",
                    STR_ARG(o->name), is_short ? " and" : ", '.' and");
    if (o->kind->is_namespaced && !is_dns_label(o->ns))
        check_fault(c, "metadata.namespace", "'%.*s' must be at most 63 lower-case letters, digits and '-'", STR_ARG(o->ns));
    for (uint32_t i = 0; i < o->labels.count; i++)
        PROTO_IN (&c->r, "metadata.labels[\"%.*s\"]", STR_ARG(o->labels.items[i].key))
            check_label(c, o->labels.items[i].key, o->labels.items[i].value);
    if (o->kind->shape == KIND_SPEC && o->kind->id != KIND_AUTHORIZATION_POLICY && labels_get(&o->annotations, STR(DRY_RUN)).p)
        check_fault(c, "metadata.annotations[\"" DRY_RUN "\"]", "is for AuthorizationPolicies only");
}

void object_validate(const struct object *o, struct err_list *faults, struct err_list *warnings)
{
    struct check c = {.warnings = warnings, .ns = o->ns};
    proto_reader_init(&c.r, NULL, faults);
    check_metadata(&c, o);
    if (kind_rules[o->kind->id]) {
        size_t mark = o->kind->shape == KIND_SPEC ? proto_enter(&c.r, "spec") : 0;
        kind_rules[o->kind->id](&c, o);
        proto_leave(&c.r, mark);
    }
    proto_reader_fini(&c.r);
}
