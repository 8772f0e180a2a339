/* SPDX-License-Identifier: Apache-2.0
 *
 * Kubernetes' own kinds: of its API server's rules those that the mesh counts on, since files don't pass one. Pure.
 */
#include "model/validate_priv.h"

/* ---- Service ---- */

static void check_target_port(struct check *c, const Google__Protobuf__Value *v)
{
    if (!v)
        return;
    if (v->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE) {
        if (!is_dns_label(str_from(v->string_value)) || strlen(v->string_value) > 15)
            check_fault(c, "targetPort", "'%s' must be at most 15 lower-case letters, digits and '-'", v->string_value);
    } else if (v->kind_case != GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE || v->number_value < 1 || v->number_value > 65535 ||
               v->number_value != (double)(uint32_t)v->number_value) {
        check_fault(c, "targetPort", "must be a port's number or name");
    }
}

static bool is_l4_protocol(const char *protocol)
{
    return !*protocol || strcmp(protocol, "TCP") == 0 || strcmp(protocol, "UDP") == 0 || strcmp(protocol, "SCTP") == 0;
}

static void check_service_ports(struct check *c, const K8s__Core__V1__ServiceSpec *spec)
{
    CHECK_EACH (c, i, spec->n_ports, "spec.ports") {
        const K8s__Core__V1__ServicePort *p = spec->ports[i];
        check_port(c, "port", p->port);
        check_target_port(c, p->target_port);
        if (!is_l4_protocol(p->protocol))
            check_fault(c, "protocol", "must be TCP, UDP or SCTP, is '%s'", p->protocol);
        if (spec->n_ports > 1 && !*p->name)
            check_fault(c, "name", "is missing, which services of several ports need");
        else if (*p->name && !is_dns_label(str_from(p->name)))
            check_fault(c, "name", "'%s' must be at most 63 lower-case letters, digits and '-'", p->name);
        for (size_t k = 0; k < i; k++) {
            const K8s__Core__V1__ServicePort *other = spec->ports[k];
            bool same_protocol = strcmp(*p->protocol ? p->protocol : "TCP", *other->protocol ? other->protocol : "TCP") == 0;
            if (*p->name && strcmp(p->name, other->name) == 0)
                check_fault(c, "name", "'%s' is the name of spec.ports[%zu] as well", p->name, k);
            if (p->port == other->port && same_protocol)
                check_fault(c, "port", "%d is the number of spec.ports[%zu] as well", (int)p->port, k);
        }
    }
}

void validate_service(struct check *c, const struct object *o)
{
    static const char *const types[] = {"", "ClusterIP", "NodePort", "LoadBalancer", "ExternalName"};
    const K8s__Core__V1__ServiceSpec *spec = ((const K8s__Core__V1__Service *)o->body)->spec;
    bool known = false;
    if (!spec)
        return;
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        known |= strcmp(spec->type, types[i]) == 0;
    if (!known)
        check_fault(c, "spec.type", "'%s' is none of ClusterIP, NodePort, LoadBalancer and ExternalName", spec->type);
    if (strcmp(spec->type, "ExternalName") == 0)
        check_host(c, "spec.externalName", spec->external_name);
    else if (*spec->clusterip && strcmp(spec->clusterip, "None") != 0 && !is_ip(str_from(spec->clusterip)))
        check_fault(c, "spec.clusterIP", "'%s' is neither an IP address nor None", spec->clusterip);
    check_service_ports(c, spec);
    CHECK_EACH_KEY (c, i, spec->n_selector, "spec.selector", spec->selector)
        check_label(c, str_from(spec->selector[i]->key), str_from(spec->selector[i]->value));
}

/* ---- EndpointSlice ---- */

void validate_endpoint_slice(struct check *c, const struct object *o)
{
    const K8s__Discovery__V1__EndpointSlice *s = (const K8s__Discovery__V1__EndpointSlice *)o->body;
    bool by_name = strcmp(s->address_type, "FQDN") == 0;
    if (!by_name && strcmp(s->address_type, "IPv4") != 0 && strcmp(s->address_type, "IPv6") != 0)
        check_fault(c, "addressType", "must be IPv4, IPv6 or FQDN, is '%s'", s->address_type);
    CHECK_EACH (c, i, s->n_endpoints, "endpoints") {
        if (s->endpoints[i]->n_addresses == 0)
            check_fault(c, "addresses", "is missing");
        CHECK_EACH (c, k, s->endpoints[i]->n_addresses, "addresses") {
            const char *address = s->endpoints[i]->addresses[k];
            if (by_name ? !is_host(str_from(address)) : !is_ip(str_from(address)))
                check_fault(c, "", "'%s' is not %s", address, by_name ? "a host name" : "an IP address");
        }
    }
    CHECK_EACH (c, i, s->n_ports, "ports") {
        if (s->ports[i]->port)
            check_port(c, "port", s->ports[i]->port->value);
    }
}

/* ---- Ingress ---- */

static void check_backend(struct check *c, const char *field, const K8s__Networking__V1__IngressBackend *b)
{
    PROTO_IN (&c->r, "%s", field) {
        if (!b || (!b->service && !b->resource)) {
            check_fault(c, "", "must have service or resource");
        } else if (b->service) {
            if (!*b->service->name)
                check_fault(c, "service.name", "is missing");
            if (!b->service->port || (!*b->service->port->name && b->service->port->number == 0))
                check_fault(c, "service.port", "must have a name or a number");
        }
    }
}

static void check_path(struct check *c, const K8s__Networking__V1__HTTPIngressPath *p)
{
    bool exact = strcmp(p->path_type, "Exact") == 0, prefix = strcmp(p->path_type, "Prefix") == 0;
    if (!exact && !prefix && strcmp(p->path_type, "ImplementationSpecific") != 0)
        check_fault(c, "pathType", "must be Exact, Prefix or ImplementationSpecific, is '%s'", p->path_type);
    if ((exact || prefix) && p->path[0] != '/')
        check_fault(c, "path", "must begin with '/', is '%s'", p->path);
    check_backend(c, "backend", p->backend);
}

void validate_ingress(struct check *c, const struct object *o)
{
    const K8s__Networking__V1__IngressSpec *spec = ((const K8s__Networking__V1__Ingress *)o->body)->spec;
    if (!spec || (!spec->default_backend && spec->n_rules == 0)) {
        check_fault(c, "spec", "must have defaultBackend or rules");
        return;
    }
    if (spec->default_backend)
        check_backend(c, "spec.defaultBackend", spec->default_backend);
    CHECK_EACH (c, i, spec->n_rules, "spec.rules") {
        const K8s__Networking__V1__IngressRule *r = spec->rules[i];
        if (*r->host && !is_wildcard_host(str_from(r->host)))
            check_wildcard_host(c, "host", r->host);
        CHECK_EACH (c, k, r->http ? r->http->n_paths : 0, "http.paths")
            check_path(c, r->http->paths[k]);
    }
}
