/* SPDX-License-Identifier: Apache-2.0
 *
 * One rule of an AuthorizationPolicy as one policy of Envoy's: each "to" a permission, each "from" a principal, the conditions
 * ("when") added to each of them.
 *
 * What can't be said on a chain never opens it: an ALLOW rule with such a value is dropped (fewer are allowed), of other rules only the
 * value is (more is denied). So does Istio.
 */
#include "control/translate/authz_priv.h"

#include "base/log.h"

#define RULE Istio__Security__V1beta1__Rule
#define POLICY Envoy__Config__Rbac__V3__Policy

struct making {
    const struct translation *t;
    const struct object *object;
    enum authz_action action;
    bool is_tcp, is_broken; /* is_broken: the rule can't be had */
};

/* ---- trust domains: what is said of one holds for its aliases ---- */

static bool domain_matches(struct str domain, struct str pattern)
{
    if (str_has_prefix(pattern, STR("*")))
        return str_has_suffix(domain, str_make(pattern.p + 1, pattern.n - 1));
    return str_eq(domain, pattern);
}

static struct str domain_at(const struct mesh *m, uint32_t i)
{
    return i == 0 ? m->trust_domain : m->trust_domain_aliases[i - 1];
}

static bool is_ours(const struct mesh *m, struct str domain)
{
    for (uint32_t i = 0; i <= m->alias_count; i++)
        if (domain_matches(domain_at(m, i), domain))
            return true;
    return str_eq(domain, STR("cluster.local")); /* in policies it means the mesh's own, whatever that is called */
}

static bool is_among(const struct many *texts, const char *s)
{
    for (size_t i = 0; i < texts->count; i++)
        if (strcmp(texts->items[i], s) == 0)
            return true;
    return false;
}

/* Of "domain/ns/NS/sa/ACCOUNT"; the null str for what isn't one or leaves the domain open. */
static struct str domain_of_principal(struct str principal)
{
    size_t slashes = 0;
    struct str rest, domain = str_split(principal, '/', &rest);
    for (size_t i = 0; i < principal.n; i++)
        slashes += principal.p[i] == '/';
    return slashes == 4 && !str_eq(domain, STR("*")) ? domain : STR_NULL;
}

static void add_aliases(const struct translation *t, const char *principal, struct many *out)
{
    const struct mesh *m = world_mesh(t->world);
    struct str whole = str_from(principal), domain = domain_of_principal(whole);
    if (!domain.p || !is_ours(m, domain)) {
        many_add(t, out, principal);
        return;
    }
    for (uint32_t i = 0; i <= m->alias_count; i++) {
        struct str own = domain_at(m, i);
        const char *s = domain_matches(own, domain)
                            ? principal
                            : textf(t, "%.*s%s", STR_ARG(own), principal + domain.n);
        if (!is_among(out, s))
            many_add(t, out, s);
    }
}

static void expand_principals(const struct translation *t, char ***values, size_t *count)
{
    struct many all = {0};
    for (size_t i = 0; i < *count; i++)
        add_aliases(t, (*values)[i], &all);
    *values = (char **)all.items;
    *count = all.count;
}

static void expand_domains(const struct translation *t, char ***values, size_t *count)
{
    const struct mesh *m = world_mesh(t->world);
    struct many all = {0};
    for (size_t i = 0; i < *count; i++) {
        bool is_own = false;
        for (uint32_t k = 0; k <= m->alias_count; k++)
            is_own |= str_eq(str_from((*values)[i]), domain_at(m, k));
        for (uint32_t k = 0; is_own && k <= m->alias_count; k++)
            many_add(t, &all, text(t, domain_at(m, k)));
        if (!is_own)
            many_add(t, &all, (*values)[i]);
    }
    *values = (char **)all.items;
    *count = all.count;
}

/* ---- clauses ---- */

static void add_clause(const struct making *m, struct many *list, const struct attribute *a, struct str name, char **values, size_t n,
                       char **not_values, size_t not_n)
{
    if (n == 0 && not_n == 0)
        return;
    struct clause *c = arena_zalloc(m->t->arena, sizeof(*c));
    *c = (struct clause){a, name, m->object->ns, values, not_values, n, not_n};
    void (*expand)(const struct translation *, char ***, size_t *) = a == &authz_principals[PRINCIPAL_NAME] ? expand_principals
                                                                     : a == &authz_principals[PRINCIPAL_TRUST_DOMAIN] ? expand_domains
                                                                                                                      : NULL;
    if (expand) {
        expand(m->t, &c->values, &c->value_count);
        expand(m->t, &c->not_values, &c->not_count);
    }
    many_add(m->t, list, c);
}

static const struct attribute *find(const struct attribute *table, size_t n, struct str key, struct str *name)
{
    for (size_t i = 0; i < n; i++) {
        const struct attribute *a = &table[i];
        if (a->key.n == 0 || !(a->has_name ? str_has_prefix(key, a->key) : str_eq(key, a->key)))
            continue;
        *name = str_make(key.p + a->key.n, key.n - a->key.n);
        return a;
    }
    return NULL;
}

static void add_conditions(struct making *m, const RULE *rule, struct many *permissions, struct many *principals)
{
    for (size_t i = 0; i < rule->n_when; i++) {
        const Istio__Security__V1beta1__Condition *w = rule->when[i];
        struct str name;
        bool is_principal = false;
        const struct attribute *a = find(authz_permissions, PERMISSION_COUNT, str_from(w->key), &name);
        if (!a) {
            a = find(authz_principals, PRINCIPAL_COUNT, str_from(w->key), &name);
            is_principal = true;
        }
        if (a) {
            add_clause(m, is_principal ? principals : permissions, a, name, w->values, w->n_values, w->not_values, w->n_not_values);
            continue;
        }
        m->is_broken |= m->action == AUTHZ_ALLOW;
        LOG_SELDOM(CONFIG, WARNING, "AuthorizationPolicy %.*s/%.*s: condition key \"%s\" is not supported", STR_ARG(m->object->ns),
                   STR_ARG(m->object->name), w->key);
    }
}

#define ADD(table_, kind_, from_, field_)                                                                                           \
    add_clause(m, list, &table_[kind_], STR(""), from_->field_, from_->n_##field_, from_->not_##field_, from_->n_not_##field_)

static void add_source(const struct making *m, const Istio__Security__V1beta1__Source *s, struct many *list)
{
    if (!s)
        return;
    ADD(authz_principals, PRINCIPAL_NAME, s, principals);
    ADD(authz_principals, PRINCIPAL_REQUEST, s, request_principals);
    ADD(authz_principals, PRINCIPAL_SERVICE_ACCOUNT, s, service_accounts);
    ADD(authz_principals, PRINCIPAL_NAMESPACE, s, namespaces);
    ADD(authz_principals, PRINCIPAL_TRUST_DOMAIN, s, trust_domains);
    ADD(authz_principals, PRINCIPAL_REMOTE_IP, s, remote_ip_blocks);
    ADD(authz_principals, PRINCIPAL_IP, s, ip_blocks);
}

static void add_operation(const struct making *m, const Istio__Security__V1beta1__Operation *o, struct many *list)
{
    if (!o)
        return;
    ADD(authz_permissions, PERMISSION_HOST, o, hosts);
    ADD(authz_permissions, PERMISSION_METHOD, o, methods);
    ADD(authz_permissions, PERMISSION_PATH, o, paths);
    ADD(authz_permissions, PERMISSION_PORT, o, ports);
}

/* ---- terms ---- */

/* The values of one side of a clause as one term; NULL: none of them can be had. */
static void *values_term(struct making *m, const struct authz_terms *terms, const struct clause *c, char *const *values, size_t count)
{
    struct many all = {0};
    bool is_sayable = !(c->attribute->is_http && m->is_tcp);
    if (c->attribute->every) {
        void *term = is_sayable && count ? c->attribute->every(m->t, c, values, count) : NULL;
        m->is_broken |= count && !term && m->action == AUTHZ_ALLOW;
        return term;
    }
    for (size_t i = 0; i < count; i++) {
        void *term = is_sayable ? c->attribute->one(m->t, c, str_from(values[i])) : NULL;
        if (term)
            many_add(m->t, &all, term);
        m->is_broken |= !term && m->action == AUTHZ_ALLOW;
    }
    return all.count ? terms->one_of(m->t, &all) : NULL;
}

static void *clauses_term(struct making *m, const struct authz_terms *terms, const struct many *own, const struct many *common)
{
    struct many all = {0};
    for (size_t i = 0; i < own->count + common->count; i++) {
        const struct clause *c = i < own->count ? own->items[i] : common->items[i - own->count];
        void *term = values_term(m, terms, c, c->values, c->value_count);
        if (term)
            many_add(m->t, &all, term);
        term = values_term(m, terms, c, c->not_values, c->not_count);
        if (term)
            many_add(m->t, &all, terms->not(m->t, term));
    }
    if (all.count == 0)
        many_add(m->t, &all, terms->any(m->t));
    return terms->all_of(m->t, &all);
}

POLICY *authz_rule(const struct translation *t, const struct object *o, const RULE *rule, enum authz_action action, bool is_tcp)
{
    struct making m = {t, o, action, is_tcp, false};
    struct many of_request = {0}, of_source = {0}, permissions = {0}, principals = {0};
    add_conditions(&m, rule, &of_request, &of_source);
    for (size_t i = 0; i < (rule->n_to ? rule->n_to : 1); i++) {
        struct many own = {0};
        if (rule->n_to)
            add_operation(&m, rule->to[i]->operation, &own);
        many_add(t, &permissions, clauses_term(&m, &authz_permission_terms, &own, &of_request));
    }
    for (size_t i = 0; i < (rule->n_from ? rule->n_from : 1); i++) {
        struct many own = {0};
        if (rule->n_from)
            add_source(&m, rule->from[i]->source, &own);
        many_add(t, &principals, clauses_term(&m, &authz_principal_terms, &own, &of_source));
    }
    if (m.is_broken)
        return NULL;
    POLICY *p = MAKE(t, POLICY, envoy__config__rbac__v3__policy__descriptor);
    p->permissions = (PERMISSION **)permissions.items;
    p->n_permissions = permissions.count;
    p->principals = (PRINCIPAL **)principals.items;
    p->n_principals = principals.count;
    return p;
}
