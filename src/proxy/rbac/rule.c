/* SPDX-License-Identifier: Apache-2.0
 *
 * Permissions and principals (config.rbac.v3): one tree of rules, of which some are asked of requests and some of peers.
 * What a connection doesn't have (headers, a path) matches as if it were missing. The depth of a tree is bounded by the
 * depth of messages. Pure; any worker.
 */
#include "proxy/rbac/rbac_priv.h"

#include "proxy/cel/cel.h"
#include "proxy/match/value_match.h"

static bool list_matches(const struct string_match *m, const struct str *names)
{
    for (; names && names->p; names++)
        if (string_matches(m, *names))
            return true;
    return false;
}

/* URI SANs, then DNS SANs, then the subject (Envoy: Principal.Authenticated); names of an unverified certificate are none. */
static bool is_authenticated(const struct rbac_rule *r, const struct rbac_peer *p)
{
    if (!p->is_tls)
        return false;
    if (r->any_name)
        return true;
    if (!p->is_verified)
        return string_matches(&r->u.text, STR(""));
    return list_matches(&r->u.text, p->uri_sans) || list_matches(&r->u.text, p->dns_sans) ||
           string_matches(&r->u.text, p->subject);
}

static const struct str *sans_of(const struct rbac_peer *p, enum rbac_san type)
{
    const struct str *all[] = {
        [RBAC_SAN_URI] = p->uri_sans, [RBAC_SAN_DNS] = p->dns_sans, [RBAC_SAN_IP] = p->ip_sans, [RBAC_SAN_EMAIL] = p->email_sans};
    return p->is_verified ? all[type] : NULL;
}

const struct addr *rbac_address_of(enum rbac_rule_kind kind, const struct rbac_input *in)
{
    const struct addr *a = kind == RBAC_SOURCE_IP          ? in->connection_remote
                           : kind == RBAC_DIRECT_REMOTE_IP ? in->info->downstream_direct_remote
                           : kind == RBAC_REMOTE_IP        ? in->info->downstream_remote
                                                           : in->info->downstream_local;
    return a && addr_is_ip(a) ? a : NULL;
}

static bool address_in(const struct rbac_rule *r, const struct rbac_input *in)
{
    const struct addr *a = rbac_address_of(r->kind, in);
    return a && cidr_has(&r->u.cidr, a);
}

static bool port_in(const struct rbac_rule *r, const struct stream_info *info)
{
    const struct addr *a = info->downstream_local;
    if (!a || !addr_is_ip(a))
        return false;
    int32_t port = addr_port(a);
    return port >= r->u.ports.start && port < r->u.ports.end;
}

static bool children_match(const struct rbac_rule *r, const struct rbac_input *in, bool is_and)
{
    for (uint32_t i = 0; i < r->u.children.count; i++)
        if (rbac_rule_matches(&r->u.children.items[i], in) != is_and)
            return !is_and;
    return is_and;
}

bool rbac_rule_matches(const struct rbac_rule *r, const struct rbac_input *in)
{
    switch (r->kind) {
    case RBAC_ANY:
        return true;
    case RBAC_AND:
        return children_match(r, in, true);
    case RBAC_OR:
        return children_match(r, in, false);
    case RBAC_NOT:
        return !rbac_rule_matches(r->u.children.items, in);
    case RBAC_HEADER:
        return header_matches(&r->u.header, in->headers);
    case RBAC_PATH:
        return in->path.p && string_matches(&r->u.text, in->path);
    case RBAC_TEMPLATE:
        return in->path.p && path_template_matches(r->u.path_template, in->path);
    case RBAC_METADATA:
        return metadata_matches(&r->u.metadata, &in->info->metadata);
    case RBAC_ROUTE_METADATA:
        return metadata_matches(&r->u.metadata, in->route_metadata);
    case RBAC_FILTER_STATE:
        return filter_state_matches(&r->u.filter_state, in->info);
    case RBAC_AUTHENTICATED:
        return is_authenticated(r, &in->peer);
    case RBAC_VALIDATED:
        return in->peer.is_verified;
    case RBAC_SAN:
        return list_matches(&r->u.text, sans_of(&in->peer, r->san));
    case RBAC_SOURCE_IP:
    case RBAC_DIRECT_REMOTE_IP:
    case RBAC_REMOTE_IP:
    case RBAC_DESTINATION_IP:
        return address_in(r, in);
    case RBAC_PORT:
    case RBAC_PORTS:
        return port_in(r, in->info);
    case RBAC_SERVER_NAME:
        return string_matches(&r->u.text, in->info->requested_server_name);
    }
    return false;
}

bool rbac_rule_has(const struct rbac_rule *r, uint32_t kinds)
{
    if (r->kind == RBAC_AND || r->kind == RBAC_OR || r->kind == RBAC_NOT)
        for (uint32_t i = 0; i < r->u.children.count; i++)
            if (rbac_rule_has(&r->u.children.items[i], kinds))
                return true;
    return kinds >> r->kind & 1;
}

void rbac_rule_fini(struct rbac_rule *r)
{
    switch (r->kind) {
    case RBAC_AND:
    case RBAC_OR:
    case RBAC_NOT:
        for (uint32_t i = 0; i < r->u.children.count; i++)
            rbac_rule_fini(&r->u.children.items[i]);
        break;
    case RBAC_HEADER:
        header_matcher_fini(&r->u.header);
        break;
    case RBAC_PATH:
    case RBAC_AUTHENTICATED:
    case RBAC_SAN:
    case RBAC_SERVER_NAME:
        string_match_fini(&r->u.text);
        break;
    case RBAC_TEMPLATE:
        path_template_free(&r->u.path_template);
        break;
    case RBAC_METADATA:
    case RBAC_ROUTE_METADATA:
        if (r->u.metadata.value)
            value_matcher_fini(r->u.metadata.value);
        break;
    case RBAC_FILTER_STATE:
        string_match_fini(&r->u.filter_state.value);
        break;
    default:
        break;
    }
}
