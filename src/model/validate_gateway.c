/* SPDX-License-Identifier: Apache-2.0
 *
 * Gateways, and the TLS settings of servers that Sidecars have too (Istio: networking/gateway; its webhook's rules). Pure.
 */
#include "model/validate_priv.h"

#define UNIX_PREFIX "unix://"
#define CERTIFICATES_MAX 2

/* ---- hosts ---- */

void check_scoped_host(struct check *c, const char *text, bool is_gateway)
{
    struct str host, ns = str_split(str_from(text), '/', &host);
    if (!host.p && !is_gateway) {
        check_fault(c, "", "'%s' is not of the form namespace/host", text);
        return;
    }
    if (!host.p) {
        host = ns;
    } else {
        if (!is_gateway && ns.n > 1 && ns.p[0] == '~')
            ns = str_make(ns.p + 1, ns.n - 1);
        bool is_word = str_eq(ns, STR("*")) || str_eq(ns, STR(".")) || (!is_gateway && str_eq(ns, STR("~")));
        if (!is_word && !is_dns_label(ns))
            check_fault(c, "", "'%.*s' is neither a namespace nor '*' nor '.'", STR_ARG(ns));
    }
    if (str_eq(host, STR("*")) || (is_gateway && is_ip(host)))
        return;
    if (!is_wildcard_host(host) || is_partial_wildcard(host))
        check_fault(c, "", "'%.*s' is neither a host name nor a wildcard like *.example.com", STR_ARG(host));
    else if (str_find_char(host, '.') < 0)
        check_fault(c, "", "'%.*s' must be a full name: short ones are not known here", STR_ARG(host));
}

/* ---- TLS ---- */

/* As BoringSSL knows them; what begins with an operator is an expression, and isn't looked into. */
static bool is_cipher(const char *name)
{
    static const char *const known[] = {
        "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA",
        "AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA", "AES256-SHA", "DES-CBC3-SHA", "ALL", "",
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(name, known[i]) == 0)
            return true;
    return strchr("+-!@[", name[0]) != NULL;
}

static void check_ciphers(struct check *c, const ist_server_tls *tls)
{
    bool old = tls->min_protocol_version == ISTIO__NETWORKING__V1ALPHA3__SERVER_TLSSETTINGS__TLSPROTOCOL__TLSV1_0 ||
               tls->min_protocol_version == ISTIO__NETWORKING__V1ALPHA3__SERVER_TLSSETTINGS__TLSPROTOCOL__TLSV1_1;
    if (old && tls->n_cipher_suites == 0)
        check_warn(c, "minProtocolVersion", "below TLSV1_2 needs cipherSuites: none of those used by default fits");
    CHECK_EACH (c, i, tls->n_cipher_suites, "cipherSuites") {
        if (!is_cipher(tls->cipher_suites[i]))
            check_warn(c, "", "'%s' is not known, and is left out", tls->cipher_suites[i]);
        for (size_t k = 0; k < i; k++)
            if (strcmp(tls->cipher_suites[i], tls->cipher_suites[k]) == 0)
                check_warn(c, "", "'%s' stands twice", tls->cipher_suites[i]);
    }
}

static const char *first_certificate(const ist_server_tls *tls)
{
    return *tls->server_certificate ? "serverCertificate" : *tls->private_key ? "privateKey"
         : *tls->ca_certificates ? "caCertificates"       : tls->n_tls_certificates ? "tlsCertificates"
         : *tls->credential_name ? "credentialName"       : tls->n_credential_names ? "credentialNames"
                                                          : NULL;
}

static void check_sources(struct check *c, const ist_server_tls *tls)
{
    size_t sources = (*tls->server_certificate && *tls->private_key) + (*tls->credential_name != 0) +
                     (tls->n_credential_names > 0) + (tls->n_tls_certificates > 0);
    if (sources > 1)
        check_fault(c, "", "only one of credentialName, credentialNames, serverCertificate with privateKey, and tlsCertificates "
                           "may be set");
}

static void check_files(struct check *c, const ist_server_tls *tls, const char *mode, bool mutual)
{
    if (mutual && !*tls->ca_certificates)
        check_fault(c, "caCertificates", "is missing, which %s needs", mode);
    if (tls->n_tls_certificates > CERTIFICATES_MAX)
        check_warn(c, "tlsCertificates", "only %d are used", CERTIFICATES_MAX);
    CHECK_EACH (c, i, tls->n_tls_certificates, "tlsCertificates") {
        if (!*tls->tls_certificates[i]->server_certificate)
            check_fault(c, "serverCertificate", "is missing");
        if (!*tls->tls_certificates[i]->private_key)
            check_fault(c, "privateKey", "is missing");
    }
    if (tls->n_tls_certificates)
        return;
    if (!*tls->server_certificate)
        check_fault(c, "serverCertificate", "is missing, which %s needs", mode);
    if (!*tls->private_key)
        check_fault(c, "privateKey", "is missing, which %s needs", mode);
}

static void check_certificates(struct check *c, const ist_server_tls *tls)
{
    const char *set = first_certificate(tls), *mode = "MUTUAL";
    bool by_name = *tls->credential_name || tls->n_credential_names;
    switch (tls->mode) {
    case ISTIO__NETWORKING__V1ALPHA3__SERVER_TLSSETTINGS__TLSMODE__ISTIO_MUTUAL:
        if (set)
            check_fault(c, set, "must not be set: with ISTIO_MUTUAL the certificate is the workload's own");
        return;
    case ISTIO__NETWORKING__V1ALPHA3__SERVER_TLSSETTINGS__TLSMODE__SIMPLE:
        mode = "SIMPLE";
        if (*tls->ca_crl)
            check_fault(c, "caCrl", "is for MUTUAL");
        /* fallthrough */
    case ISTIO__NETWORKING__V1ALPHA3__SERVER_TLSSETTINGS__TLSMODE__MUTUAL:
    case ISTIO__NETWORKING__V1ALPHA3__SERVER_TLSSETTINGS__TLSMODE__OPTIONAL_MUTUAL:
        check_sources(c, tls);
        if (!by_name)
            check_files(c, tls, mode, strcmp(mode, "MUTUAL") == 0);
        else if (*tls->ca_crl)
            check_fault(c, "caCrl", "must not stand beside credentialName: it belongs into the credential");
        return;
    default:
        check_sources(c, tls);
        if (set && !tls->https_redirect)
            check_warn(c, set, "is not used: this mode ends no TLS");
    }
}

void check_server_tls(struct check *c, const char *field, const ist_server_tls *tls)
{
    if (!tls)
        return;
    PROTO_IN (&c->r, "%s", field) {
        check_ciphers(c, tls);
        check_certificates(c, tls);
        if (tls->min_protocol_version && tls->max_protocol_version && tls->min_protocol_version > tls->max_protocol_version)
            check_fault(c, "minProtocolVersion", "is above maxProtocolVersion");
    }
}

/* ---- servers ---- */

static void check_bind(struct check *c, const ist_server *s)
{
    static const size_t prefix = sizeof(UNIX_PREFIX) - 1;
    if (strncmp(s->bind, UNIX_PREFIX, prefix) == 0) {
        check_unix_address(c, "bind", s->bind + prefix);
        if (s->port && s->port->number)
            check_fault(c, "port.number", "must be 0 where a Unix socket is bound to");
    } else if (*s->bind && !is_ip(str_from(s->bind))) {
        check_fault(c, "bind", "'%s' is neither an IP address nor of the form unix:///path", s->bind);
    }
}

static void check_server_port(struct check *c, const ist_server *s)
{
    bool is_unix = strncmp(s->bind, UNIX_PREFIX, sizeof(UNIX_PREFIX) - 1) == 0;
    if (!protocol_traits(str_from(s->port->protocol)))
        check_fault(c, "port.protocol", "'%s' is none of HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, REDIS, MYSQL, TCP and TLS",
                    s->port->protocol);
    if (s->port->number || !is_unix)
        check_port(c, "port.number", s->port->number);
    if (s->port->target_port)
        check_fault(c, "port.targetPort", "means nothing here");
    if (!*s->port->name)
        check_fault(c, "port.name", "is missing");
}

/* HTTP takes no more of TLS than the redirect to it. */
static bool is_redirect_only(const ist_server_tls *tls)
{
    return tls->mode == ISTIO__NETWORKING__V1ALPHA3__SERVER_TLSSETTINGS__TLSMODE__PASSTHROUGH && !first_certificate(tls);
}

static void check_server_protocol(struct check *c, const ist_server *s)
{
    unsigned traits = protocol_traits(str_from(s->port->protocol));
    if (traits & IS_TLS && !s->tls)
        check_fault(c, "tls", "is missing, which %s needs", s->port->protocol);
    else if (!(traits & IS_TLS) && s->tls && (!(traits & IS_HTTP) || !is_redirect_only(s->tls)))
        check_fault(c, "tls", "must not be set for %s%s", s->port->protocol,
                    traits & IS_HTTP ? ", but for httpsRedirect" : "");
    if (s->tls && s->tls->https_redirect && !(traits & IS_HTTP))
        check_warn(c, "tls.httpsRedirect", "is for servers of HTTP only");
}

static void check_server(struct check *c, const ist_gateway *g, size_t at)
{
    const ist_server *s = g->servers[at];
    if (s->n_hosts == 0)
        check_fault(c, "hosts", "is missing");
    CHECK_EACH (c, i, s->n_hosts, "hosts")
        check_scoped_host(c, s->hosts[i], true);
    check_bind(c, s);
    check_server_tls(c, "tls", s->tls);
    if (!s->port) {
        check_fault(c, "port", "is missing");
        return;
    }
    check_server_port(c, s);
    if (protocol_traits(str_from(s->port->protocol)))
        check_server_protocol(c, s);
    for (size_t i = 0; i < at; i++)
        if (g->servers[i]->port && *s->port->name && strcmp(g->servers[i]->port->name, s->port->name) == 0)
            check_fault(c, "port.name", "'%s' is the name of servers[%zu]'s port as well", s->port->name, i);
}

void validate_gateway(struct check *c, const struct object *o)
{
    const ist_gateway *g = (const ist_gateway *)o->body;
    if (g->n_servers == 0)
        check_fault(c, "servers", "is missing");
    CHECK_EACH (c, i, g->n_servers, "servers")
        check_server(c, g, i);
}
