/* SPDX-License-Identifier: Apache-2.0
 *
 * AuthorizationPolicies of a workload as filters, in the order in which Istio asks them: CUSTOM, then (behind the tokens of
 * policy_jwt.c) AUDIT, DENY, ALLOW. Policies of the annotation istio.io/dry-run go into shadow rules. A CUSTOM policy whose provider
 * can't be had denies what it matches.
 */
#include "control/translate/authz_priv.h"

#include "base/log.h"
#include "envoy/extensions/filters/http/rbac/v3/rbac.pb-c.h"
#include "envoy/extensions/filters/network/rbac/v3/rbac.pb-c.h"

#define HTTP_RBAC Envoy__Extensions__Filters__Http__Rbac__V3__RBAC
#define TCP_RBAC Envoy__Extensions__Filters__Network__Rbac__V3__RBAC
#define ENTRY Envoy__Config__Rbac__V3__RBAC__PoliciesEntry
#define ACTION_(x) ISTIO__SECURITY__V1BETA1__AUTHORIZATION_POLICY__ACTION__##x

/* An ALLOW policy without rules allows nothing, and says so with a rule that never matches. */
static const char never[] =
    "{\"permissions\":[{\"not_rule\":{\"any\":true}}],\"principals\":[{\"not_id\":{\"any\":true}}]}";

static const AUTHZ_POLICY *spec_of(const struct object *o)
{
    return (const AUTHZ_POLICY *)o->body;
}

static bool is_dry_run(const struct object *o)
{
    struct str v = labels_get(&o->annotations, STR("istio.io/dry-run"));
    return str_eq_nocase(v, STR("true")) || str_eq_nocase(v, STR("t")) || str_eq(v, STR("1"));
}

/* Policies of one action, in two sets. */
struct building {
    const struct translation *t;
    enum authz_action action;
    bool is_tcp, is_custom;
    struct str provider;       /* of CUSTOM policies */
    struct many rules, shadow; /* ENTRY */
    bool has_rules, has_shadow;
};

static void add_rule(struct building *b, const struct object *o, size_t i, const Envoy__Config__Rbac__V3__Policy *policy)
{
    const struct translation *t = b->t;
    if (!policy)
        return;
    ENTRY *e = MAKE(t, ENTRY, envoy__config__rbac__v3__rbac__policies_entry__descriptor);
    struct str prefix = b->is_custom ? arena_printf(t->arena, "istio-ext-authz-%.*s-", STR_ARG(b->provider)) : STR("");
    e->key = textf(t, "%.*sns[%.*s]-policy[%.*s]-rule[%zu]", STR_ARG(prefix), STR_ARG(o->ns), STR_ARG(o->name), i);
    e->value = (Envoy__Config__Rbac__V3__Policy *)(uintptr_t)policy;
    many_add(t, is_dry_run(o) ? &b->shadow : &b->rules, e);
}

static void add_policy(struct building *b, const struct object *o)
{
    const struct translation *t = b->t;
    const AUTHZ_POLICY *spec = spec_of(o);
    *(is_dry_run(o) ? &b->has_shadow : &b->has_rules) = true;
    for (size_t i = 0; i < spec->n_rules; i++)
        add_rule(b, o, i, authz_rule(t, o, spec->rules[i], b->action, b->is_tcp));
    if (spec->n_rules == 0)
        add_rule(b, o, 0, (const Envoy__Config__Rbac__V3__Policy *)constant(t, &envoy__config__rbac__v3__policy__descriptor, never));
}

static RBAC_RULES *rules_of(const struct building *b, const struct many *entries)
{
    static const Envoy__Config__Rbac__V3__RBAC__Action actions[] = {
        [AUTHZ_ALLOW] = ENVOY__CONFIG__RBAC__V3__RBAC__ACTION__ALLOW,
        [AUTHZ_DENY] = ENVOY__CONFIG__RBAC__V3__RBAC__ACTION__DENY,
        [AUTHZ_LOG] = ENVOY__CONFIG__RBAC__V3__RBAC__ACTION__LOG,
    };
    RBAC_RULES *r = MAKE(b->t, RBAC_RULES, envoy__config__rbac__v3__rbac__descriptor);
    r->action = actions[b->action];
    r->policies = (ENTRY **)entries->items;
    r->n_policies = entries->count;
    return r;
}

/* ---- filters ---- */

static void add_filter(const struct building *b, const char *http_name, const char *tcp_name, Google__Protobuf__Any *config,
                       struct many *filters)
{
    const struct translation *t = b->t;
    if (b->is_tcp) {
        Envoy__Config__Listener__V3__Filter *f =
            MAKE(t, Envoy__Config__Listener__V3__Filter, envoy__config__listener__v3__filter__descriptor);
        f->name = text(t, str_from(tcp_name));
        f->config_type_case = ENVOY__CONFIG__LISTENER__V3__FILTER__CONFIG_TYPE_TYPED_CONFIG;
        f->typed_config = config;
        many_add(t, filters, f);
        return;
    }
    many_add(t, filters, http_filter_new(t, http_name, config));
}

static void add_rbac(const struct building *b, RBAC_RULES *rules, RBAC_RULES *shadow, const char *shadow_prefix, struct many *filters)
{
    const struct translation *t = b->t;
    Google__Protobuf__Any *config;
    if (b->is_tcp) {
        TCP_RBAC *f = MAKE(t, TCP_RBAC, envoy__extensions__filters__network__rbac__v3__rbac__descriptor);
        f->rules = rules;
        f->shadow_rules = shadow;
        f->shadow_rules_stat_prefix = text(t, str_from(shadow_prefix));
        f->stat_prefix = text(t, STR("tcp."));
        config = any_of(t, &f->base);
    } else {
        HTTP_RBAC *f = MAKE(t, HTTP_RBAC, envoy__extensions__filters__http__rbac__v3__rbac__descriptor);
        f->rules = rules;
        f->shadow_rules = shadow;
        f->shadow_rules_stat_prefix = text(t, str_from(shadow_prefix));
        config = any_of(t, &f->base);
    }
    add_filter(b, "envoy.filters.http.rbac", "envoy.filters.network.rbac", config, filters);
}

static void add_action(const struct translation *t, const struct object *const *policies, size_t count,
                       Istio__Security__V1beta1__AuthorizationPolicy__Action of, enum authz_action action, bool is_tcp, struct many *filters)
{
    struct building b = {.t = t, .action = action, .is_tcp = is_tcp};
    for (size_t i = 0; i < count; i++)
        if (spec_of(policies[i])->action == of)
            add_policy(&b, policies[i]);
    if (b.has_rules || b.has_shadow)
        add_rbac(&b, b.has_rules ? rules_of(&b, &b.rules) : NULL, b.has_shadow ? rules_of(&b, &b.shadow) : NULL,
                 b.has_shadow && action == AUTHZ_DENY ? "istio_dry_run_deny_" : "istio_dry_run_allow_", filters);
}

/* ---- CUSTOM ---- */

static struct str provider_of(const struct object *o)
{
    const AUTHZ_POLICY *spec = spec_of(o);
    bool has = spec->action_detail_case == ISTIO__SECURITY__V1BETA1__AUTHORIZATION_POLICY__ACTION_DETAIL_PROVIDER && spec->provider;
    return has ? str_from(spec->provider->name) : STR("");
}

static void deny_instead(struct building *b, struct many *filters)
{
    for (size_t i = 0; i < b->rules.count; i++) {
        ENTRY *e = b->rules.items[i];
        e->key = textf(b->t, "%s-deny-due-to-bad-CUSTOM-action", e->key);
    }
    add_rbac(b, rules_of(b, &b->rules), NULL, "", filters);
}

static void add_provider(struct building *b, bool is_alone, struct many *filters)
{
    const struct translation *t = b->t;
    struct err err = {0};
    Google__Protobuf__Any *config = NULL;
    if (!is_alone)
        err_set(&err, ERR_INVALID, "another CUSTOM policy for the workload has another provider");
    else
        config = b->is_tcp ? authz_provider_tcp(t, b->provider, &err) : authz_provider_http(t, b->provider, &err);
    if (err.code) {
        LOG_SELDOM(CONFIG, ERROR, "CUSTOM policies with provider \"%.*s\" deny what they match in %.*s: %s", STR_ARG(b->provider),
                   STR_ARG(t->node->ns), err.message);
        deny_instead(b, filters);
    } else if (config) {
        add_rbac(b, b->shadow.count ? rules_of(b, &b->shadow) : NULL, rules_of(b, &b->rules), "istio_ext_authz_", filters);
        add_filter(b, "envoy.filters.http.ext_authz", "envoy.filters.network.ext_authz", config, filters);
    }
}

/* Istio takes one provider a workload: with more, each policy denies. */
static void add_custom(const struct translation *t, const struct object *const *policies, size_t count, bool is_tcp, struct many *filters)
{
    struct many providers = {0};
    for (size_t i = 0; i < count; i++) {
        bool is_new = spec_of(policies[i])->action == ACTION_(CUSTOM);
        for (size_t k = 0; k < providers.count; k++)
            is_new &= !str_eq(((struct building *)providers.items[k])->provider, provider_of(policies[i]));
        if (!is_new)
            continue;
        struct building *b = arena_zalloc(t->arena, sizeof(*b));
        *b = (struct building){.t = t, .action = AUTHZ_DENY, .is_tcp = is_tcp, .is_custom = true, .provider = provider_of(policies[i])};
        for (size_t k = i; k < count; k++)
            if (spec_of(policies[k])->action == ACTION_(CUSTOM) && str_eq(provider_of(policies[k]), b->provider))
                add_policy(b, policies[k]);
        many_add(t, &providers, b);
    }
    for (size_t i = 0; i < providers.count; i++)
        add_provider(providers.items[i], providers.count == 1, filters);
}

/* ---- the workload's ---- */

static void add_own(const struct translation *t, const struct object *const *policies, size_t n, bool is_tcp, struct many *filters)
{
    add_action(t, policies, n, ACTION_(AUDIT), AUTHZ_LOG, is_tcp, filters);
    add_action(t, policies, n, ACTION_(DENY), AUTHZ_DENY, is_tcp, filters);
    add_action(t, policies, n, ACTION_(ALLOW), AUTHZ_ALLOW, is_tcp, filters);
}

static void make(const struct translation *t, const struct chain_purpose *p, bool is_tcp, struct made_list *out)
{
    const struct object *const *policies;
    size_t n = policies_for(t->world, KIND_AUTHORIZATION_POLICY, t->node->ns, &t->node->labels, t->arena, &policies);
    out->is_made = true;
    add_custom(t, policies, n, is_tcp, &out->items);
    if (!is_tcp)
        policy_jwt_filter(t, p, &out->items);
    add_own(t, policies, n, is_tcp, &out->items);
}

void policy_http_filters(const struct translation *t, const struct chain_purpose *p, struct many *filters)
{
    struct made_list *made = &t->made->http_policies[chain_side(p)];
    if (!made->is_made)
        make(t, p, false, made);
    many_add_all(t, filters, &made->items);
}

void policy_network_filters(const struct translation *t, const struct chain_purpose *p, struct many *filters)
{
    struct made_list *made = &t->made->network_policies[chain_side(p)];
    if (!made->is_made)
        make(t, p, true, made);
    many_add_all(t, filters, &made->items);
}
