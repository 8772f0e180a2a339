/* SPDX-License-Identifier: Apache-2.0
 *
 * ServiceEntries, WorkloadEntries and WorkloadGroups (Istio: networking/service-entry, workload-entry, workload-group; the webhook's
 * rules). Pure.
 */
#include "model/validate_http.h"

#define UNIX_PREFIX "unix://"

#define RESOLUTION(name) ISTIO__NETWORKING__V1ALPHA3__SERVICE_ENTRY__RESOLUTION__##name

/* ---- workloads ---- */

static bool has_port_named(const ist_service_entry *se, const char *name)
{
    for (size_t i = 0; i < se->n_ports; i++)
        if (strcmp(se->ports[i]->name, name) == 0)
            return true;
    return false;
}

/* Of a ServiceEntry (NULL: on its own) with the addresses that its resolution takes. */
static void check_workload(struct check *c, const ist_workload_entry *w, const ist_service_entry *se, bool takes_names)
{
    static const size_t prefix = sizeof(UNIX_PREFIX) - 1;
    bool is_unix = strncmp(w->address, UNIX_PREFIX, prefix) == 0;
    if (!*w->address && !*w->network)
        check_fault(c, "address", "is missing");
    else if (!*w->address)
        check_warn(c, "address", "is missing: only the gateway of the network '%s' leads to it", w->network);
    else if (is_unix)
        check_unix_address(c, "address", w->address + prefix);
    else if (!is_ip(str_from(w->address)) && (!takes_names || !is_host(str_from(w->address))))
        check_fault(c, "address", "'%s' is not an IP address%s", w->address, takes_names ? " and no host name" : "");
    if (is_unix && w->n_ports)
        check_fault(c, "ports", "must not be set for a Unix socket");
    if (is_unix && se && se->n_ports != 1)
        check_fault(c, "address", "a Unix socket is for services of exactly one port");
    CHECK_EACH_KEY (c, i, w->n_ports, "ports", w->ports) {
        if (!is_host_label(str_from(w->ports[i]->key)))
            check_fault(c, "", "'%s' is not a port's name", w->ports[i]->key);
        else if (se && !has_port_named(se, w->ports[i]->key))
            check_fault(c, "", "the service entry has no port '%s'", w->ports[i]->key);
        check_port(c, "", w->ports[i]->value);
    }
    CHECK_EACH_KEY (c, i, w->n_labels, "labels", w->labels)
        check_label(c, str_from(w->labels[i]->key), str_from(w->labels[i]->value));
}

void validate_workload_entry(struct check *c, const struct object *o)
{
    check_workload(c, (const ist_workload_entry *)o->body, NULL, true);
}

static void check_method(struct check *c, const ist_probe *p)
{
    switch (p->health_check_method_case) {
    case ISTIO__NETWORKING__V1ALPHA3__READINESS_PROBE__HEALTH_CHECK_METHOD_HTTP_GET:
        check_port(c, "httpGet.port", p->http_get->port);
        if (*p->http_get->scheme && strcmp(p->http_get->scheme, "HTTP") != 0 && strcmp(p->http_get->scheme, "HTTPS") != 0)
            check_fault(c, "httpGet.scheme", "must be HTTP or HTTPS, is '%s'", p->http_get->scheme);
        CHECK_EACH (c, i, p->http_get->n_http_headers, "httpGet.httpHeaders") {
            if (!is_header_name(str_from(p->http_get->http_headers[i]->name)))
                check_fault(c, "name", "'%s' is not a header's name", p->http_get->http_headers[i]->name);
        }
        break;
    case ISTIO__NETWORKING__V1ALPHA3__READINESS_PROBE__HEALTH_CHECK_METHOD_TCP_SOCKET:
        check_port(c, "tcpSocket.port", p->tcp_socket->port);
        break;
    case ISTIO__NETWORKING__V1ALPHA3__READINESS_PROBE__HEALTH_CHECK_METHOD_GRPC:
        check_port(c, "grpc.port", p->grpc->port);
        break;
    case ISTIO__NETWORKING__V1ALPHA3__READINESS_PROBE__HEALTH_CHECK_METHOD_EXEC:
        if (p->exec->n_command == 0)
            check_fault(c, "exec.command", "is missing");
        break;
    default:
        check_fault(c, "", "one of httpGet, tcpSocket, exec and grpc must be set");
    }
}

void validate_workload_group(struct check *c, const struct object *o)
{
    const ist_workload_group *g = (const ist_workload_group *)o->body;
    if (!g->template_)
        check_fault(c, "template", "is missing");
    if (g->metadata)
        CHECK_EACH_KEY (c, i, g->metadata->n_labels, "metadata.labels", g->metadata->labels)
            check_label(c, str_from(g->metadata->labels[i]->key), str_from(g->metadata->labels[i]->value));
    if (!g->probe)
        return;
    PROTO_IN (&c->r, "probe") {
        check_not_negative(c, "initialDelaySeconds", g->probe->initial_delay_seconds);
        check_not_negative(c, "timeoutSeconds", g->probe->timeout_seconds);
        check_not_negative(c, "periodSeconds", g->probe->period_seconds);
        check_not_negative(c, "successThreshold", g->probe->success_threshold);
        check_not_negative(c, "failureThreshold", g->probe->failure_threshold);
        check_method(c, g->probe);
    }
}

/* ---- services ---- */

static void check_hosts(struct check *c, const ist_service_entry *se)
{
    if (se->n_hosts == 0)
        check_fault(c, "hosts", "is missing");
    CHECK_EACH (c, i, se->n_hosts, "hosts") {
        struct str host = str_from(se->hosts[i]);
        if (str_eq(host, STR("*")))
            check_fault(c, "", "'*' names no host");
        else
            check_wildcard_host(c, "", se->hosts[i]);
        if (se->resolution != RESOLUTION(DYNAMIC_DNS) && is_partial_wildcard(host))
            check_warn(c, "", "'%s' is known by its whole first label only: write *.", se->hosts[i]);
    }
}

static void check_ports(struct check *c, const ist_service_entry *se)
{
    CHECK_EACH (c, i, se->n_ports, "ports") {
        const ist_service_port *p = se->ports[i];
        check_port(c, "number", p->number);
        if (!is_host_label(str_from(p->name)))
            check_fault(c, "name", "'%s' must be 1 to 63 letters, digits and '-'", p->name);
        if (*p->protocol && !protocol_traits(str_from(p->protocol)))
            check_fault(c, "protocol", "'%s' is not known", p->protocol);
        if (p->target_port)
            check_port(c, "targetPort", p->target_port);
        for (size_t k = 0; k < i; k++) {
            if (strcmp(se->ports[k]->name, p->name) == 0)
                check_fault(c, "name", "'%s' is the name of ports[%zu] as well", p->name, k);
            if (se->ports[k]->number == p->number)
                check_fault(c, "number", "%u is the number of ports[%zu] as well", p->number, k);
        }
    }
}

static void check_addresses(struct check *c, const ist_service_entry *se)
{
    bool takes_ranges = se->resolution == RESOLUTION(NONE) || se->resolution == RESOLUTION(STATIC);
    CHECK_EACH (c, i, se->n_addresses, "addresses") {
        if (!is_ip_or_cidr(str_from(se->addresses[i])))
            check_fault(c, "", "'%s' is neither an IP address nor a CIDR range", se->addresses[i]);
        else if (strchr(se->addresses[i], '/') && !takes_ranges)
            check_fault(c, "", "'%s' is a range, which only the resolutions NONE and STATIC take", se->addresses[i]);
    }
}

static void check_endpoints(struct check *c, const ist_service_entry *se, bool takes_names)
{
    CHECK_EACH (c, i, se->n_endpoints, "endpoints")
        check_workload(c, se->endpoints[i], se, takes_names);
}

static void check_dns(struct check *c, const ist_service_entry *se)
{
    CHECK_EACH (c, i, se->n_endpoints ? 0 : se->n_hosts, "hosts") {
        if (!is_host(str_from(se->hosts[i])))
            check_fault(c, "", "'%s' can't be looked up, and there are no endpoints to look up instead", se->hosts[i]);
    }
    if (se->resolution == RESOLUTION(DNS_ROUND_ROBIN) && se->n_endpoints > 1)
        check_fault(c, "endpoints", "DNS_ROUND_ROBIN takes one at most");
    check_endpoints(c, se, true);
}

static void check_dynamic_dns(struct check *c, const ist_service_entry *se)
{
    CHECK_EACH (c, i, se->n_hosts, "hosts") {
        if (se->hosts[i][0] != '*')
            check_fault(c, "", "DYNAMIC_DNS is for wildcards; '%s' is none", se->hosts[i]);
    }
    if (se->n_addresses)
        check_fault(c, "addresses", "must not be set with DYNAMIC_DNS");
    if (se->n_endpoints)
        check_fault(c, "endpoints", "must not be set with DYNAMIC_DNS");
    CHECK_EACH (c, i, se->n_ports, "ports") {
        static const char *const known[] = {"http", "tls", "grpc", "http2"};
        bool found = false;
        for (size_t k = 0; k < ARRAY_LEN(known); k++)
            found |= str_eq_nocase(str_from(se->ports[i]->protocol), str_from(known[k]));
        if (!found)
            check_fault(c, "protocol", "DYNAMIC_DNS takes HTTP, HTTP2, GRPC and TLS only, is '%s'", se->ports[i]->protocol);
    }
}

static void check_resolution(struct check *c, const ist_service_entry *se)
{
    switch (se->resolution) {
    case RESOLUTION(NONE):
        if (se->n_endpoints)
            check_fault(c, "endpoints", "must not be set where resolution is NONE");
        if (se->workload_selector)
            check_warn(c, "workloadSelector", "is not used where resolution is NONE");
        break;
    case RESOLUTION(STATIC):
        check_endpoints(c, se, false);
        break;
    case RESOLUTION(DNS):
    case RESOLUTION(DNS_ROUND_ROBIN):
        check_dns(c, se);
        break;
    case RESOLUTION(DYNAMIC_DNS):
        check_dynamic_dns(c, se);
        break;
    default:
        check_fault(c, "resolution", "%d is not known", (int)se->resolution);
    }
}

/* By what of TCP could several hosts be told apart? */
static void check_many_hosts(struct check *c, const ist_service_entry *se)
{
    if (se->resolution == RESOLUTION(NONE) || se->n_hosts < 2)
        return;
    CHECK_EACH (c, i, se->n_ports, "ports") {
        if (!(protocol_traits(str_from(se->ports[i]->protocol)) & (IS_HTTP | IS_TLS)))
            check_fault(c, "protocol", "must be one of HTTP or TLS: several hosts aren't told apart otherwise");
    }
}

void validate_service_entry(struct check *c, const struct object *o)
{
    const ist_service_entry *se = (const ist_service_entry *)o->body;
    check_workload_selector(c, se->workload_selector);
    if (se->workload_selector && se->n_endpoints)
        check_fault(c, "endpoints", "must not stand beside workloadSelector");
    check_hosts(c, se);
    check_addresses(c, se);
    check_ports(c, se);
    check_resolution(c, se);
    check_many_hosts(c, se);
    check_export_to(c, se->n_export_to, se->export_to, true, false);
}
