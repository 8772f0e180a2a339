/* SPDX-License-Identifier: Apache-2.0
 *
 * VirtualServices (Istio: networking/virtual-service; its webhook's rules). HTTP routes are in validate_http_route.c. Pure.
 */
#include "model/scope.h"
#include "model/validate_http.h"

#define MESH_GATEWAY "mesh"

static bool has_mesh(size_t n, char *const *gateways)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(gateways[i], MESH_GATEWAY) == 0)
            return true;
    return n == 0;
}

/* "mesh", "name", "namespace/name", and of old "name.namespace.svc.cluster.local". */
void check_gateway_names(struct check *c, size_t n, char *const *names)
{
    CHECK_EACH (c, i, n, "gateways") {
        struct str name, ns = str_split(str_from(names[i]), '/', &name);
        if (!name.p) {
            check_host(c, "", names[i]);
            if (str_find_char(ns, '.') >= 0)
                check_warn(c, "", "names of gateways with dots are of old; write namespace/name");
            continue;
        }
        if (!is_dns_label(ns) || !is_dns_label(name))
            check_fault(c, "", "'%s' is not of the form namespace/name", names[i]);
    }
}

/* ---- hosts ---- */

/* Names that a gateway with AUTO_PASSTHROUGH routes by: "outbound_.80_.v1_.reviews.ns.svc.cluster.local". */
static bool is_generated_sni(struct str host)
{
    struct str rest = host, port, name;
    if (!str_has_prefix(host, STR("outbound_")))
        return false;
    str_split(rest, '_', &rest);
    port = str_split(rest, '_', &rest);
    str_split(rest, '_', &name);
    uint64_t number;
    return port.n > 1 && str_to_u64(str_make(port.p + 1, port.n - 1), &number) && name.n > 1;
}

static bool has_sni_hosts(const ist_virtual_service *vs)
{
    for (size_t i = 0; i < vs->n_tls; i++)
        for (size_t k = 0; k < vs->tls[i]->n_match; k++)
            if (vs->tls[i]->match[k]->n_sni_hosts)
                return true;
    return false;
}

static void check_hosts(struct check *c, const ist_virtual_service *vs, bool for_mesh)
{
    bool valid = true, sni = !for_mesh && has_sni_hosts(vs);
    CHECK_EACH (c, i, vs->n_hosts, "hosts") {
        struct str host = str_from(vs->hosts[i]);
        bool known = is_wildcard_host(host) || is_ip(host) || (sni && is_generated_sni(host));
        valid &= known;
        if (!known)
            check_wildcard_host(c, "", vs->hosts[i]);
        else if (for_mesh && str_eq(host, STR("*")))
            check_fault(c, "", "'*' is for virtual services of gateways; in the mesh every host must be named");
    }
    if (!valid)
        return;
    CHECK_EACH (c, i, vs->n_hosts, "hosts") {
        for (size_t k = 0; k < i; k++)
            if (host_overlaps(str_from(vs->hosts[k]), str_from(vs->hosts[i])))
                check_fault(c, "", "'%s' and '%s' name the same hosts", vs->hosts[i], vs->hosts[k]);
    }
}

/* ---- TLS and TCP ---- */

static void check_subnets(struct check *c, size_t n, char *const *subnets)
{
    CHECK_EACH (c, i, n, "destinationSubnets") {
        if (!is_ip_or_cidr(str_from(subnets[i])))
            check_fault(c, "", "'%s' is neither an IP address nor a CIDR range", subnets[i]);
    }
}

static void check_route(struct check *c, size_t n, ist_route_destination *const *routes)
{
    int64_t total = 0;
    if (n == 0)
        check_fault(c, "route", "is missing");
    CHECK_EACH (c, i, n, "route") {
        if (!routes[i]->destination)
            check_fault(c, "destination", "is missing");
        check_destination(c, "destination", routes[i]->destination);
        check_not_negative(c, "weight", routes[i]->weight);
        total += routes[i]->weight;
    }
    if (n > 1 && total == 0)
        check_fault(c, "route", "one destination must have a weight above 0");
}

static void check_sni_host(struct check *c, const ist_virtual_service *vs, const char *sni)
{
    struct str host = str_from(sni);
    bool generated = !has_mesh(vs->n_gateways, vs->gateways) && is_generated_sni(host);
    if (!generated && is_ip(host)) {
        check_warn(c, "", "'%s' is an IP address, which most clients never send as SNI", sni);
        return;
    }
    if (!generated && !is_wildcard_host(host)) {
        check_wildcard_host(c, "", sni);
        return;
    }
    for (size_t i = 0; i < vs->n_hosts; i++)
        if (host_is_subset(host, str_from(vs->hosts[i])))
            return;
    check_fault(c, "", "'%s' is not among the hosts of the virtual service", sni);
}

static void check_tls_match(struct check *c, const ist_virtual_service *vs, const ist_tls_match *m)
{
    if (m->n_sni_hosts == 0)
        check_fault(c, "sniHosts", "is missing");
    CHECK_EACH (c, i, m->n_sni_hosts, "sniHosts")
        check_sni_host(c, vs, m->sni_hosts[i]);
    check_subnets(c, m->n_destination_subnets, m->destination_subnets);
    if (m->port)
        check_port(c, "port", m->port);
    CHECK_EACH_KEY (c, i, m->n_source_labels, "sourceLabels", m->source_labels)
        check_label(c, str_from(m->source_labels[i]->key), str_from(m->source_labels[i]->value));
    check_gateway_names(c, m->n_gateways, m->gateways);
}

static void check_tls(struct check *c, const ist_virtual_service *vs)
{
    CHECK_EACH (c, i, vs->n_tls, "tls") {
        const ist_tls_route *route = vs->tls[i];
        if (route->n_match == 0)
            check_fault(c, "match", "is missing");
        CHECK_EACH (c, k, route->n_match, "match")
            check_tls_match(c, vs, route->match[k]);
        check_route(c, route->n_route, route->route);
    }
}

static void check_tcp_match(struct check *c, const ist_tcp_match *m)
{
    check_subnets(c, m->n_destination_subnets, m->destination_subnets);
    if (m->port)
        check_port(c, "port", m->port);
    if (*m->source_subnet && !is_ip_or_cidr(str_from(m->source_subnet)))
        check_fault(c, "sourceSubnet", "'%s' is neither an IP address nor a CIDR range", m->source_subnet);
    CHECK_EACH_KEY (c, i, m->n_source_labels, "sourceLabels", m->source_labels)
        check_label(c, str_from(m->source_labels[i]->key), str_from(m->source_labels[i]->value));
    check_gateway_names(c, m->n_gateways, m->gateways);
}

static void check_tcp(struct check *c, const ist_virtual_service *vs)
{
    CHECK_EACH (c, i, vs->n_tcp, "tcp") {
        const ist_tcp_route *route = vs->tcp[i];
        CHECK_EACH (c, k, route->n_match, "match")
            check_tcp_match(c, route->match[k]);
        check_route(c, route->n_route, route->route);
        if (route->n_match == 0 && i + 1 < vs->n_tcp)
            check_warn(c, "", "matches all: the rules behind it are never used");
    }
}

/* ---- the whole ---- */

static void check_delegate(struct check *c, const ist_virtual_service *vs)
{
    if (vs->n_gateways)
        check_fault(c, "gateways", "must not be set in a virtual service without hosts, which others delegate to");
    if (vs->n_tls)
        check_fault(c, "tls", "must not be set in a virtual service without hosts: only HTTP is delegated");
    if (vs->n_tcp)
        check_fault(c, "tcp", "must not be set in a virtual service without hosts: only HTTP is delegated");
}

/* JWT claims are known where gateways have checked them. */
static void check_claims(struct check *c, const ist_virtual_service *vs)
{
    CHECK_EACH (c, i, vs->n_http, "http") {
        const ist_http_route *route = vs->http[i];
        CHECK_EACH (c, k, route->n_match, "match") {
            const ist_http_match *m = route->match[k];
            for (size_t h = 0; h < m->n_headers; h++)
                if (is_claim_header(str_from(m->headers[h]->key)))
                    check_fault(c, "headers", "'%s' routes by claims, which only gateways do", m->headers[h]->key);
            for (size_t h = 0; h < m->n_without_headers; h++)
                if (is_claim_header(str_from(m->without_headers[h]->key)))
                    check_fault(c, "withoutHeaders", "'%s' routes by claims, which only gateways do", m->without_headers[h]->key);
        }
    }
}

void validate_virtual_service(struct check *c, const struct object *o)
{
    const ist_virtual_service *vs = (const ist_virtual_service *)o->body;
    bool for_mesh = has_mesh(vs->n_gateways, vs->gateways);
    if (vs->n_hosts == 0)
        check_delegate(c, vs);
    check_gateway_names(c, vs->n_gateways, vs->gateways);
    if (for_mesh && vs->n_hosts)
        check_claims(c, vs);
    check_hosts(c, vs, for_mesh);
    if (vs->n_http + vs->n_tls + vs->n_tcp == 0)
        check_fault(c, "", "one of http, tls and tcp must be set");
    check_http_routes(c, vs->n_http, vs->http, vs->n_hosts == 0);
    check_tls(c, vs);
    check_tcp(c, vs);
    check_export_to(c, vs->n_export_to, vs->export_to, false, false);
}
