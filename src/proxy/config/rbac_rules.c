/* SPDX-License-Identifier: Apache-2.0
 *
 * Permissions and principals. Both become one kind of tree (rbac/rbac.h), in the engine's arena but for texts of matchers
 * and regexes. Nesting is bounded by the decoder. Main thread.
 */
#include "proxy/config/rbac_priv.h"
#include "proxy/config/route_priv.h"

#define RULE(x) ENVOY__CONFIG__RBAC__V3__PERMISSION__RULE_##x
#define ID(x) ENVOY__CONFIG__RBAC__V3__PRINCIPAL__IDENTIFIER_##x

static struct rbac_rule *make_children(struct rbac_rule *out, enum rbac_rule_kind kind, uint32_t n, struct arena *a)
{
    out->kind = kind;
    out->u.children.count = n;
    return out->u.children.items = ARENA_ARRAY(a, struct rbac_rule, n);
}

/* ---- what both have ---- */

static void read_header(struct config_reader *cr, const pb_header_matcher *m, struct rbac_rule *out)
{
    out->kind = RBAC_HEADER;
    IN("header")
        cfg_header_matcher(cr, m, &out->u.header);
}

static void read_path(struct config_reader *cr, const pb_path_matcher *m, struct rbac_rule *out)
{
    out->kind = RBAC_PATH;
    IN("url_path.path")
        if (GET(m, path))
            cfg_string_match(cr, m->path, &out->u.text);
        else
            FAULT("", "must be set");
}

static void read_metadata(struct config_reader *cr, const pb_metadata_matcher *m, struct arena *a, struct rbac_rule *out)
{
    out->kind = RBAC_METADATA;
    IN("metadata")
        cfg_metadata_matcher(cr, m, a, &out->u.metadata);
}

static void read_sourced(struct config_reader *cr, const pb_sourced_metadata *m, struct arena *a, struct rbac_rule *out)
{
    out->kind = GET(m, metadata_source) == ENVOY__CONFIG__RBAC__V3__METADATA_SOURCE__ROUTE ? RBAC_ROUTE_METADATA : RBAC_METADATA;
    IN("sourced_metadata.metadata_matcher")
        if (GET(m, metadata_matcher))
            cfg_metadata_matcher(cr, m->metadata_matcher, a, &out->u.metadata);
        else
            FAULT("", "must be set");
}

static void read_cidr(struct config_reader *cr, const char *field, const pb_cidr_range *m, enum rbac_rule_kind kind,
                      struct rbac_rule *out)
{
    out->kind = kind;
    IN("%s", field)
        cfg_cidr(cr, m, &out->u.cidr);
}

static void read_extension(struct config_reader *cr, const char *field, enum extension_kind kind, const pb_typed_extension *m,
                           struct arena *a, struct rbac_rule *out)
{
    ProtobufCMessage *msg = NULL;
    struct cfg_rbac_rule to = {out, a};
    IN("%s", field) {
        const struct extension *ext = cfg_extension(cr, kind, "typed_config", TEXT(m, name), GET(m, typed_config), &msg);
        if (ext)
            IN("typed_config")
                ext->read(cr, msg, &to);
    }
}

/* ---- permissions ---- */

static void read_template(struct config_reader *cr, const pb_typed_extension *m, struct arena *a, struct rbac_rule *out)
{
    ProtobufCMessage *msg = NULL;
    struct route_match match = {0};
    struct cfg_path_match to = {&match};
    out->kind = RBAC_ANY; /* until it has a template: what is refused must be freed */
    IN("uri_template") {
        const struct extension *ext = cfg_extension(cr, EXT_PATH_MATCH, "typed_config", TEXT(m, name), GET(m, typed_config), &msg);
        if (ext)
            IN("typed_config")
                ext->read(cr, msg, &to);
    }
    if (!match.path_template)
        return;
    out->kind = RBAC_TEMPLATE;
    out->u.path_template = match.path_template;
    out->shown = arena_str(a, str_from(((const pb_template_match *)msg)->path_template));
}

static void read_ports(struct config_reader *cr, const pb_int32_range *m, struct rbac_rule *out)
{
    out->kind = RBAC_PORTS;
    out->u.ports.start = GET(m, start);
    out->u.ports.end = GET(m, end);
    if (out->u.ports.start < 0 || out->u.ports.end > 65536 || out->u.ports.start >= out->u.ports.end)
        FAULT("destination_port_range", "[%d, %d) is no range of ports", out->u.ports.start, out->u.ports.end);
}

static void read_permission(struct config_reader *cr, const pb_permission *m, struct arena *a, struct rbac_rule *out)
{
    switch (m->rule_case) {
    case RULE(AND_RULES):
    case RULE(OR_RULES): {
        bool is_and = m->rule_case == RULE(AND_RULES); /* both stand in one place of the union */
        uint32_t n = LEN(GET(m, and_rules), rules);
        make_children(out, is_and ? RBAC_AND : RBAC_OR, n, a);
        for (uint32_t i = 0; i < n; i++)
            IN("%s.rules[%u]", is_and ? "and_rules" : "or_rules", i)
                read_permission(cr, m->and_rules->rules[i], a, &out->u.children.items[i]);
        break;
    }
    case RULE(NOT_RULE):
        IN("not_rule")
            read_permission(cr, GET(m, not_rule), a, make_children(out, RBAC_NOT, 1, a));
        break;
    case RULE(ANY):
        (void)GET(m, any);
        break;
    case RULE(HEADER):
        read_header(cr, GET(m, header), out);
        break;
    case RULE(URL_PATH):
        read_path(cr, GET(m, url_path), out);
        break;
    case RULE(DESTINATION_IP):
        read_cidr(cr, "destination_ip", GET(m, destination_ip), RBAC_DESTINATION_IP, out);
        break;
    case RULE(DESTINATION_PORT):
        out->kind = RBAC_PORT;
        out->u.ports.start = (int32_t)GET(m, destination_port);
        out->u.ports.end = out->u.ports.start + 1;
        break;
    case RULE(DESTINATION_PORT_RANGE):
        read_ports(cr, GET(m, destination_port_range), out);
        break;
    case RULE(METADATA):
        read_metadata(cr, GET(m, metadata), a, out);
        break;
    case RULE(SOURCED_METADATA):
        read_sourced(cr, GET(m, sourced_metadata), a, out);
        break;
    case RULE(REQUESTED_SERVER_NAME):
        out->kind = RBAC_SERVER_NAME;
        IN("requested_server_name")
            cfg_string_match(cr, GET(m, requested_server_name), &out->u.text);
        break;
    case RULE(MATCHER):
        read_extension(cr, "matcher", EXT_RBAC_PERMISSION, GET(m, matcher), a, out);
        break;
    case RULE(URI_TEMPLATE):
        read_template(cr, GET(m, uri_template), a, out);
        break;
    default:
        FAULT("", "one of its rules must be set");
    }
}

void cfg_permissions(struct config_reader *cr, const char *field, pb_permission *const *items, uint32_t n, struct arena *a,
                     struct rbac_rule *out)
{
    make_children(out, RBAC_OR, n, a);
    for (uint32_t i = 0; i < n; i++)
        IN("%s[%u]", field, i)
            read_permission(cr, items[i], a, &out->u.children.items[i]);
}

/* ---- principals ---- */

int cfg_mtls_authenticated(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    static const enum rbac_san kinds[] = {
        [ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__SUBJECT_ALT_NAME_MATCHER__SAN_TYPE__EMAIL] = RBAC_SAN_EMAIL,
        [ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__SUBJECT_ALT_NAME_MATCHER__SAN_TYPE__DNS] = RBAC_SAN_DNS,
        [ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__SUBJECT_ALT_NAME_MATCHER__SAN_TYPE__URI] = RBAC_SAN_URI,
        [ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__SUBJECT_ALT_NAME_MATCHER__SAN_TYPE__IP_ADDRESS] = RBAC_SAN_IP,
    };
    const pb_mtls_authenticated *m = (const pb_mtls_authenticated *)msg;
    struct rbac_rule *rule = ((struct cfg_rbac_rule *)out)->rule;
    const pb_san_matcher *san = GET(m, san_matcher);
    bool any = GET(m, any_validated_client_certificate);
    rule->kind = RBAC_VALIDATED;
    if (!san)
        return any ? 0 : FAULT("", "one of san_matcher and any_validated_client_certificate must be set");
    unsigned type = (unsigned)GET(san, san_type);
    if (type >= ARRAY_LEN(kinds) || !type)
        return FAULT("san_matcher.san_type", "must be EMAIL, DNS, URI or IP_ADDRESS");
    rule->kind = RBAC_SAN;
    rule->san = kinds[type];
    IN("san_matcher.matcher")
        if (GET(san, matcher))
            cfg_string_match(cr, san->matcher, &rule->u.text);
        else
            FAULT("", "must be set");
    return 0;
}

static void read_authenticated(struct config_reader *cr, const Envoy__Config__Rbac__V3__Principal__Authenticated *m, struct rbac_rule *out)
{
    out->kind = RBAC_AUTHENTICATED;
    out->any_name = !GET(m, principal_name);
    if (m->principal_name)
        IN("authenticated.principal_name")
            cfg_string_match(cr, m->principal_name, &out->u.text);
}

static void read_principal(struct config_reader *cr, const pb_principal *m, struct arena *a, struct rbac_rule *out)
{
    switch (m->identifier_case) {
    case ID(AND_IDS):
    case ID(OR_IDS): {
        bool is_and = m->identifier_case == ID(AND_IDS);
        uint32_t n = LEN(GET(m, and_ids), ids);
        make_children(out, is_and ? RBAC_AND : RBAC_OR, n, a);
        for (uint32_t i = 0; i < n; i++)
            IN("%s.ids[%u]", is_and ? "and_ids" : "or_ids", i)
                read_principal(cr, m->and_ids->ids[i], a, &out->u.children.items[i]);
        break;
    }
    case ID(NOT_ID):
        IN("not_id")
            read_principal(cr, GET(m, not_id), a, make_children(out, RBAC_NOT, 1, a));
        break;
    case ID(ANY):
        (void)GET(m, any);
        break;
    case ID(AUTHENTICATED):
        read_authenticated(cr, GET(m, authenticated), out);
        break;
    case ID(SOURCE_IP):
        read_cidr(cr, "source_ip", GET(m, source_ip), RBAC_SOURCE_IP, out);
        break;
    case ID(DIRECT_REMOTE_IP):
        read_cidr(cr, "direct_remote_ip", GET(m, direct_remote_ip), RBAC_DIRECT_REMOTE_IP, out);
        break;
    case ID(REMOTE_IP):
        read_cidr(cr, "remote_ip", GET(m, remote_ip), RBAC_REMOTE_IP, out);
        break;
    case ID(HEADER):
        read_header(cr, GET(m, header), out);
        break;
    case ID(URL_PATH):
        read_path(cr, GET(m, url_path), out);
        break;
    case ID(METADATA):
        read_metadata(cr, GET(m, metadata), a, out);
        break;
    case ID(SOURCED_METADATA):
        read_sourced(cr, GET(m, sourced_metadata), a, out);
        break;
    case ID(FILTER_STATE):
        out->kind = RBAC_FILTER_STATE;
        IN("filter_state")
            cfg_filter_state_matcher(cr, GET(m, filter_state), a, &out->u.filter_state);
        break;
    case ID(CUSTOM):
        read_extension(cr, "custom", EXT_RBAC_PRINCIPAL, GET(m, custom), a, out);
        break;
    default:
        FAULT("", "one of its identifiers must be set");
    }
}

void cfg_principals(struct config_reader *cr, const char *field, pb_principal *const *items, uint32_t n, struct arena *a,
                    struct rbac_rule *out)
{
    make_children(out, RBAC_OR, n, a);
    for (uint32_t i = 0; i < n; i++)
        IN("%s[%u]", field, i)
            read_principal(cr, items[i], a, &out->u.children.items[i]);
}
