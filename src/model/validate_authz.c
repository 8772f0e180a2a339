/* SPDX-License-Identifier: Apache-2.0
 *
 * AuthorizationPolicies (Istio: security/authorization-policy, "Authorization Policy Conditions"; the webhook's rules). Pure.
 */
#include "model/validate_priv.h"

#define SERVICE_ACCOUNTS_MAX 16
#define SERVICE_ACCOUNT_MAX_BYTES 320
#define DRY_RUN "istio.io/dry-run"

#define ACTION(name) ISTIO__SECURITY__V1BETA1__AUTHORIZATION_POLICY__ACTION__##name

/* ---- values; NULL: right, else what is wrong ---- */

static const char *any_fault(struct str s)
{
    return s.n ? NULL : "must not be empty";
}

static const char *ip_fault(struct str s)
{
    return is_ip_or_cidr(s) ? NULL : "is neither an IP address nor a CIDR range";
}

static const char *port_fault(struct str s)
{
    uint64_t port;
    return str_to_u64(s, &port) && port <= 65535 ? NULL : "is not a port";
}

/* exact, prefix*, *suffix, or * */
static const char *wildcard_fault(struct str s)
{
    size_t stars = 0;
    for (size_t i = 0; i < s.n; i++)
        stars += s.p[i] == '*';
    if (s.n == 0)
        return "must not be empty";
    return stars == 0 || (stars == 1 && (s.p[0] == '*' || s.p[s.n - 1] == '*')) ? NULL : "may have one '*', at either end";
}

static const char *trust_domain_fault(struct str s)
{
    return str_find_char(s, '/') >= 0 ? "must not have a '/'" : wildcard_fault(s);
}

static const char *account_fault(struct str s)
{
    struct str account, ns = str_split(s, '/', &account);
    if (s.n > SERVICE_ACCOUNT_MAX_BYTES)
        return "is too long";
    if (str_find_char(s, '*') >= 0)
        return "must not have wildcards";
    return ns.n && (!account.p || (account.n && str_find_char(account, '/') < 0))
               ? NULL
               : "is not of the form account or namespace/account";
}

/* RFC 3986: pchar, as Envoy's URI templates take them. */
static bool is_path_literal(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = ascii_lower(s.p[i]);
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && !strchr("-._~%!$&'()+,;:@=", c))
            return false;
    }
    return s.n > 0;
}

static const char *path_fault(struct str path)
{
    bool is_template = str_find(path, STR("{*}")) >= 0 || str_find(path, STR("{**}")) >= 0, is_over = false;
    struct str rest = path;
    if (path.n == 0)
        return "must not be empty";
    if (rest.p[0] == '/')
        rest = str_make(rest.p + 1, rest.n - 1);
    if (rest.n && rest.p[rest.n - 1] == '/')
        rest.n--;
    while (rest.p) {
        struct str segment = str_split(rest, '/', &rest);
        bool one = str_eq(segment, STR("{*}")), any = str_eq(segment, STR("{**}"));
        if ((one || any) && is_over)
            return "has something behind {**}";
        is_over |= any;
        if (!one && !any && (str_find_char(segment, '{') >= 0 || str_find_char(segment, '}') >= 0))
            return "has braces that are neither {*} nor {**}";
        if (!one && !any && is_template && !is_path_literal(segment))
            return "has a segment that a path can't have, beside {*} or {**}";
    }
    return NULL;
}

static void check_values(struct check *c, const char *field, size_t n, char *const *values, const char *(*fault_of)(struct str))
{
    for (size_t i = 0; i < n; i++)
        PROTO_IN (&c->r, "%s[%zu]", field, i) {
            const char *fault = fault_of(str_from(values[i]));
            if (fault)
                check_fault(c, "", "'%s' %s", values[i], fault);
        }
    if (fault_of == account_fault && n > SERVICE_ACCOUNTS_MAX)
        check_fault(c, field, "must be at most %d, are %zu", SERVICE_ACCOUNTS_MAX, n);
}
#define CHECK_VALUES(c_, json_, msg_, field_, fault_of_) check_values(c_, json_, (msg_)->n_##field_, (msg_)->field_, fault_of_)

/* ---- who ---- */

static bool is_source_empty(const ist_source *s)
{
    return !(s->n_principals + s->n_request_principals + s->n_namespaces + s->n_ip_blocks + s->n_not_principals +
             s->n_not_request_principals + s->n_not_namespaces + s->n_not_ip_blocks + s->n_remote_ip_blocks +
             s->n_not_remote_ip_blocks + s->n_service_accounts + s->n_not_service_accounts + s->n_trust_domains +
             s->n_not_trust_domains);
}

static bool is_source_of_tcp(const ist_source *s)
{
    return s->n_principals + s->n_not_principals + s->n_ip_blocks + s->n_not_ip_blocks + s->n_namespaces + s->n_not_namespaces +
               s->n_remote_ip_blocks + s->n_not_remote_ip_blocks + s->n_service_accounts + s->n_not_service_accounts >
           0;
}

static void check_source(struct check *c, const ist_source *s)
{
    if (is_source_empty(s))
        check_fault(c, "", "must not be empty");
    if (s->n_service_accounts + s->n_not_service_accounts &&
        s->n_principals + s->n_not_principals + s->n_namespaces + s->n_not_namespaces)
        check_fault(c, "serviceAccounts", "must not stand beside principals or namespaces");
    CHECK_VALUES(c, "principals", s, principals, any_fault);
    CHECK_VALUES(c, "notPrincipals", s, not_principals, any_fault);
    CHECK_VALUES(c, "requestPrincipals", s, request_principals, any_fault);
    CHECK_VALUES(c, "notRequestPrincipals", s, not_request_principals, any_fault);
    CHECK_VALUES(c, "namespaces", s, namespaces, any_fault);
    CHECK_VALUES(c, "notNamespaces", s, not_namespaces, any_fault);
    CHECK_VALUES(c, "serviceAccounts", s, service_accounts, account_fault);
    CHECK_VALUES(c, "notServiceAccounts", s, not_service_accounts, account_fault);
    CHECK_VALUES(c, "ipBlocks", s, ip_blocks, ip_fault);
    CHECK_VALUES(c, "notIpBlocks", s, not_ip_blocks, ip_fault);
    CHECK_VALUES(c, "remoteIpBlocks", s, remote_ip_blocks, ip_fault);
    CHECK_VALUES(c, "notRemoteIpBlocks", s, not_remote_ip_blocks, ip_fault);
    CHECK_VALUES(c, "trustDomains", s, trust_domains, trust_domain_fault);
    CHECK_VALUES(c, "notTrustDomains", s, not_trust_domains, trust_domain_fault);
}

/* ---- what ---- */

static void check_operation(struct check *c, const ist_operation *o)
{
    if (!(o->n_hosts + o->n_ports + o->n_methods + o->n_paths + o->n_not_hosts + o->n_not_ports + o->n_not_methods +
          o->n_not_paths))
        check_fault(c, "", "must not be empty");
    CHECK_VALUES(c, "hosts", o, hosts, any_fault);
    CHECK_VALUES(c, "notHosts", o, not_hosts, any_fault);
    CHECK_VALUES(c, "ports", o, ports, port_fault);
    CHECK_VALUES(c, "notPorts", o, not_ports, port_fault);
    CHECK_VALUES(c, "methods", o, methods, any_fault);
    CHECK_VALUES(c, "notMethods", o, not_methods, any_fault);
    CHECK_VALUES(c, "paths", o, paths, path_fault);
    CHECK_VALUES(c, "notPaths", o, not_paths, path_fault);
}

/* ---- when ---- */

struct attribute {
    const char *name;
    bool is_map;   /* "name[key]" */
    bool by_identity; /* Istio's webhook refuses it with CUSTOM; istiod knows how to translate it, and so do we */
    const char *(*fault_of)(struct str);
};
static const struct attribute attributes[] = {
    {"request.headers", true, false, any_fault},
    {"source.ip", false, false, ip_fault},
    {"remote.ip", false, false, ip_fault},
    {"source.namespace", false, true, any_fault},
    {"source.serviceAccount", false, true, account_fault},
    {"source.principal", false, true, any_fault},
    {"source.trustDomain", false, true, wildcard_fault},
    {"request.auth.principal", false, true, any_fault},
    {"request.auth.audiences", false, true, any_fault},
    {"request.auth.presenter", false, true, any_fault},
    {"request.auth.claims", true, true, any_fault},
    {"destination.ip", false, false, ip_fault},
    {"destination.port", false, false, port_fault},
    {"connection.sni", false, false, any_fault},
    {"experimental.envoy.filters.", true, false, any_fault},
};

static const struct attribute *attribute_find(struct str key)
{
    for (size_t i = 0; i < ARRAY_LEN(attributes); i++) {
        struct str name = str_from(attributes[i].name);
        if (attributes[i].is_map ? str_has_prefix(key, name) : str_eq(key, name))
            return &attributes[i];
    }
    return NULL;
}

static void check_condition(struct check *c, const ist_condition *w, bool is_custom)
{
    struct str key = str_from(w->key);
    const struct attribute *a = attribute_find(key);
    ptrdiff_t open = str_find_char(key, '[');
    if (!*w->key) {
        check_fault(c, "key", "is missing");
        return;
    }
    if (!a) {
        check_fault(c, "key", "'%s' is not known", w->key);
        return;
    }
    if (a->is_map && (open < 1 || (size_t)open + 2 >= key.n || key.p[key.n - 1] != ']'))
        check_fault(c, "key", "'%s' is not of the form %s[key]", w->key, a->name);
    if (is_custom && a->by_identity)
        check_warn(c, "key", "'%s' is refused by Istio with the action CUSTOM", w->key);
    if (w->n_values + w->n_not_values == 0)
        check_fault(c, "values", "one of values and notValues must be set");
    CHECK_VALUES(c, "values", w, values, a->fault_of);
    CHECK_VALUES(c, "notValues", w, not_values, a->fault_of);
}

/* ---- the whole ---- */

static void check_custom_source(struct check *c, const ist_source *s)
{
    const struct {
        size_t n;
        const char *field;
    } unsupported[] = {
        {s->n_namespaces, "namespaces"},
        {s->n_not_namespaces, "notNamespaces"},
        {s->n_service_accounts, "serviceAccounts"},
        {s->n_not_service_accounts, "notServiceAccounts"},
        {s->n_trust_domains, "trustDomains"},
        {s->n_not_trust_domains, "notTrustDomains"},
        {s->n_principals, "principals"},
        {s->n_not_principals, "notPrincipals"},
        {s->n_request_principals, "requestPrincipals"},
        {s->n_not_request_principals, "notRequestPrincipals"},
    };
    for (size_t i = 0; i < ARRAY_LEN(unsupported); i++)
        if (unsupported[i].n)
            check_warn(c, unsupported[i].field, "is refused by Istio with the action CUSTOM");
}

/* A DENY of what only HTTP has denies whatever isn't HTTP: what can't be looked at is taken to match. */
static void warn_of_tcp(struct check *c, const ist_rule *r)
{
    bool from_tcp = false, to_tcp = false;
    for (size_t i = 0; i < r->n_from; i++)
        from_tcp |= r->from[i]->source && is_source_of_tcp(r->from[i]->source);
    for (size_t i = 0; i < r->n_to; i++)
        to_tcp |= r->to[i]->operation && r->to[i]->operation->n_ports + r->to[i]->operation->n_not_ports > 0;
    if ((r->n_from && !r->n_to && !from_tcp) || (r->n_to && !to_tcp))
        check_warn(c, "", "denies all of TCP too, which has none of what HTTP has: name the ports that are meant");
}

static void check_rule(struct check *c, const ist_rule *r, bool is_custom)
{
    CHECK_EACH (c, i, r->n_from, "from") {
        PROTO_IN (&c->r, "source") {
            if (!r->from[i]->source) {
                check_fault(c, "", "is missing");
            } else {
                check_source(c, r->from[i]->source);
                if (is_custom)
                    check_custom_source(c, r->from[i]->source);
            }
        }
    }
    CHECK_EACH (c, i, r->n_to, "to") {
        PROTO_IN (&c->r, "operation") {
            if (r->to[i]->operation)
                check_operation(c, r->to[i]->operation);
            else
                check_fault(c, "", "is missing");
        }
    }
    CHECK_EACH (c, i, r->n_when, "when")
        check_condition(c, r->when[i], is_custom);
}

static void check_dry_run(const struct object *o, const ist_authorization_policy *p, struct check *c)
{
    struct str value = labels_get(&o->annotations, STR(DRY_RUN));
    static const char *const known[] = {"true", "false", "1", "0", "t", "f", "T", "F", "TRUE", "FALSE", "True", "False"};
    bool found = false;
    if (!value.p)
        return;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        found |= str_eq(value, str_from(known[i]));
    size_t mark = c->r.path.n;
    struct strbuf spec = c->r.path;
    c->r.path = (struct strbuf){0};
    if (!found)
        check_fault(c, "metadata.annotations[\"" DRY_RUN "\"]", "must be true or false, is '%.*s'", STR_ARG(value));
    if (p->action != ACTION(ALLOW) && p->action != ACTION(DENY))
        check_fault(c, "metadata.annotations[\"" DRY_RUN "\"]", "is for the actions ALLOW and DENY");
    strbuf_fini(&c->r.path);
    c->r.path = spec;
    proto_leave(&c->r, mark);
}

void validate_authorization_policy(struct check *c, const struct object *o)
{
    const ist_authorization_policy *p = (const ist_authorization_policy *)o->body;
    bool is_custom = p->action == ACTION(CUSTOM);
    bool has_provider = p->action_detail_case == ISTIO__SECURITY__V1BETA1__AUTHORIZATION_POLICY__ACTION_DETAIL_PROVIDER;
    check_dry_run(o, p, c);
    check_target(c, p->selector, p->target_ref, p->n_target_refs, p->target_refs);
    if (p->n_rules == 0 && (is_custom || p->action == ACTION(DENY)))
        check_fault(c, "rules", "is missing, so that nothing is ever matched; an empty rule {} matches all");
    if (is_custom && (!has_provider || !*p->provider->name))
        check_fault(c, "provider.name", "is missing, which CUSTOM needs");
    if (!is_custom && has_provider)
        check_fault(c, "provider", "is for the action CUSTOM");
    CHECK_EACH (c, i, p->n_rules, "rules") {
        check_rule(c, p->rules[i], is_custom);
        if (p->action == ACTION(DENY))
            warn_of_tcp(c, p->rules[i]);
    }
}
