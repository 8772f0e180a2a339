/* SPDX-License-Identifier: Apache-2.0
 *
 * Sidecars (Istio: networking/sidecar; its webhook's rules). Pure.
 */
#include "model/validate_priv.h"

#define UNIX_PREFIX "unix://"

static const size_t unix_prefix = sizeof(UNIX_PREFIX) - 1;

static void check_sidecar_port(struct check *c, const ist_sidecar_port *p)
{
    if (*p->name && !is_host_label(str_from(p->name)))
        check_fault(c, "port.name", "'%s' must be at most 63 letters, digits and '-'", p->name);
    if (*p->protocol && !protocol_traits(str_from(p->protocol)))
        check_fault(c, "port.protocol", "'%s' is not known", p->protocol);
    if (p->target_port)
        check_fault(c, "port.targetPort", "means nothing here");
}

static void check_bind_ip(struct check *c, const char *bind)
{
    if (*bind && !is_ip(str_from(bind)))
        check_fault(c, "bind", "'%s' is not an IP address", bind);
}

/* ---- ingress ---- */

/* "127.0.0.1:8080", "[::1]:8080", ":8080", "unix:///path" */
static void check_default_endpoint(struct check *c, const char *text)
{
    static const char *const hosts[] = {"", "127.0.0.1", "0.0.0.0", "[::1]", "[::]"};
    const char *colon = strrchr(text, ':');
    bool known = false;
    uint64_t port = 0;
    if (!*text)
        return;
    if (strncmp(text, UNIX_PREFIX, unix_prefix) == 0) {
        check_unix_address(c, "defaultEndpoint", text + unix_prefix);
        return;
    }
    for (size_t i = 0; colon && i < ARRAY_LEN(hosts); i++)
        known |= str_eq(str_make(text, (size_t)(colon - text)), str_from(hosts[i]));
    if (!known || !str_to_u64(str_from(colon + 1), &port) || port < 1 || port > 65535)
        check_fault(c, "defaultEndpoint", "'%s' is none of 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT, :PORT and "
                                          "unix:///path", text);
}

static void check_ingress_tls(struct check *c, const ist_server_tls *tls)
{
    if (tls->n_subject_alt_names)
        check_fault(c, "tls.subjectAltNames", "is not supported here");
    if (tls->https_redirect)
        check_fault(c, "tls.httpsRedirect", "is not supported here");
    if (*tls->credential_name)
        check_fault(c, "tls.credentialName", "is not supported here");
    if (tls->mode == ISTIO__NETWORKING__V1ALPHA3__SERVER_TLSSETTINGS__TLSMODE__ISTIO_MUTUAL ||
        tls->mode == ISTIO__NETWORKING__V1ALPHA3__SERVER_TLSSETTINGS__TLSMODE__AUTO_PASSTHROUGH)
        check_fault(c, "tls.mode", "must be SIMPLE, MUTUAL, OPTIONAL_MUTUAL or PASSTHROUGH");
    check_server_tls(c, "tls", tls);
}

static void check_ingress(struct check *c, const ist_sidecar *s, size_t at)
{
    const ist_ingress_listener *l = s->ingress[at];
    check_default_endpoint(c, l->default_endpoint);
    if (l->tls)
        check_ingress_tls(c, l->tls);
    check_connection_pool(c, "connectionPool", l->connection_pool);
    check_bind_ip(c, l->bind);
    if (!l->port) {
        check_fault(c, "port", "is missing");
        return;
    }
    check_sidecar_port(c, l->port);
    check_port(c, "port.number", l->port->number);
    for (size_t i = 0; i < at; i++)
        if (s->ingress[i]->port && s->ingress[i]->port->number == l->port->number)
            check_fault(c, "port.number", "%u is the port of ingress[%zu] as well", l->port->number, i);
    if (l->connection_pool && l->connection_pool->http && !(protocol_traits(str_from(l->port->protocol)) & IS_HTTP))
        check_warn(c, "connectionPool.http", "is not used: the port's protocol is not HTTP");
}

/* ---- egress ---- */

static void check_egress_bind(struct check *c, const ist_egress_listener *l)
{
    if (l->port->number) {
        check_port(c, "port.number", l->port->number);
        check_bind_ip(c, l->bind);
        return;
    }
    if (strncmp(l->bind, UNIX_PREFIX, unix_prefix) != 0)
        check_fault(c, "bind", "must be unix:///path where the port is 0, is '%s'", l->bind);
    else
        check_unix_address(c, "bind", l->bind + unix_prefix);
    if (l->capture_mode == ISTIO__NETWORKING__V1ALPHA3__CAPTURE_MODE__IPTABLES)
        check_fault(c, "captureMode", "must be DEFAULT or NONE for a Unix socket");
}

static bool same_bind(const ist_egress_listener *a, const ist_egress_listener *b)
{
    if (!a->port || !b->port || a->port->number != b->port->number)
        return false;
    return a->port->number || strcmp(a->bind, b->bind) == 0;
}

static void check_egress_hosts(struct check *c, const ist_egress_listener *l)
{
    if (l->n_hosts == 0)
        check_fault(c, "hosts", "is missing");
    CHECK_EACH (c, i, l->n_hosts, "hosts") {
        check_scoped_host(c, l->hosts[i], false);
        if (strcmp(l->hosts[i], "*/*") == 0 && l->n_hosts > 1)
            check_warn(c, "", "'*/*' is everything; others beside it say nothing");
        for (size_t k = 0; k < i; k++)
            if (strcmp(l->hosts[k], l->hosts[i]) == 0)
                check_warn(c, "", "'%s' stands twice", l->hosts[i]);
    }
}

static void check_egress(struct check *c, const ist_sidecar *s, size_t at)
{
    const ist_egress_listener *l = s->egress[at];
    check_egress_hosts(c, l);
    if (!l->port) {
        if (at + 1 < s->n_egress)
            check_fault(c, "port", "is missing: only the last listener may take whatever the others don't");
        return;
    }
    check_sidecar_port(c, l->port);
    check_egress_bind(c, l);
    for (size_t i = 0; i < at; i++)
        if (same_bind(s->egress[i], l))
            check_fault(c, "port", "egress[%zu] listens there as well", i);
}

static void check_outbound_policy(struct check *c, const Istio__Networking__V1alpha3__OutboundTrafficPolicy *p)
{
    if (!p || !p->egress_proxy)
        return;
    if (p->mode != ISTIO__NETWORKING__V1ALPHA3__OUTBOUND_TRAFFIC_POLICY__MODE__ALLOW_ANY)
        check_fault(c, "outboundTrafficPolicy.egressProxy", "is for the mode ALLOW_ANY");
    if (!p->egress_proxy->port)
        check_fault(c, "outboundTrafficPolicy.egressProxy.port", "is missing");
    check_host(c, "outboundTrafficPolicy.egressProxy.host", p->egress_proxy->host);
    check_destination(c, "outboundTrafficPolicy.egressProxy", p->egress_proxy);
}

void validate_sidecar(struct check *c, const struct object *o)
{
    const ist_sidecar *s = (const ist_sidecar *)o->body;
    check_workload_selector(c, s->workload_selector);
    if (!s->n_egress && !s->n_ingress && !s->outbound_traffic_policy && !s->inbound_connection_pool)
        check_fault(c, "", "says nothing");
    CHECK_EACH (c, i, s->n_ingress, "ingress")
        check_ingress(c, s, i);
    CHECK_EACH (c, i, s->n_egress, "egress")
        check_egress(c, s, i);
    check_connection_pool(c, "inboundConnectionPool", s->inbound_connection_pool);
    check_outbound_policy(c, s->outbound_traffic_policy);
}
