/* SPDX-License-Identifier: Apache-2.0
 *
 * Access control of requests and of connections: rules or a matcher tree, once enforced and once as a shadow. Engines have
 * arenas of their own. Main thread.
 */
#include "proxy/filter/rbac.h"

#include "base/mem.h"
#include "proxy/cel/cel.h"
#include "proxy/config/matcher_priv.h"
#include "proxy/config/rbac_priv.h"
#include "proxy/listener/listener.h"

/* ---- policies ---- */

static void read_condition(struct config_reader *cr, const pb_rbac_policy *m, struct arena *a, struct rbac_policy *out)
{
    const Google__Api__Expr__V1alpha1__CheckedExpr *checked = GET(m, checked_condition);
    const pb_cel_expr *expr = GET(m, condition);
    size_t faults = cr->r.faults->count;
    const char *field = "condition";
    struct strbuf text = {0};
    struct err err = {0};
    if (checked && expr) {
        proto_read_whole(&cr->r, &checked->base); /* the same, checked; the plain one counts where both are given, as in Envoy */
    } else if (checked) {
        field = "checked_condition.expr";
        expr = GET(checked, expr);
        proto_read_whole(&cr->r, &checked->base); /* types and places of its parts: our compiler checks for itself */
        if (!expr)
            FAULT(field, "must be set");
    }
    if (!expr)
        return;
    IN("%s", field)
        cfg_cel_text(cr, expr, &text);
    if (cr->r.faults->count == faults) {
        out->condition_text = arena_str(a, strbuf_str(&text));
        out->condition = cel_new(out->condition_text, &err);
        if (!out->condition)
            cfg_fault_err(cr, field, &err);
    }
    strbuf_fini(&text);
}

static void read_policy(struct config_reader *cr, const pb_rbac_policy *m, struct arena *a, struct rbac_policy *out)
{
    cfg_permissions(cr, "permissions", m->permissions, LEN(m, permissions), a, &out->permissions);
    cfg_principals(cr, "principals", m->principals, LEN(m, principals), a, &out->principals);
    read_condition(cr, m, a, out);
}

/* Where rules are read: once for requests, once for connections, which have no headers. */
static struct rbac_engine *read_rules(struct config_reader *cr, const pb_rbac_rules *m, bool is_connection)
{
    static const enum rbac_action actions[] = {RBAC_ALLOW, RBAC_DENY, RBAC_LOG};
    unsigned action = (unsigned)GET(m, action);
    struct rbac_engine *e = rbac_engine_new(action < ARRAY_LEN(actions) ? actions[action] : RBAC_ALLOW);
    uint32_t n = LEN(m, policies);
    struct rbac_policy *policies = rbac_engine_policies(e, n);
    if (action >= ARRAY_LEN(actions))
        FAULT("action", "must be ALLOW, DENY or LOG");
    for (uint32_t i = 0; i < n; i++)
        IN("policies[%s]", m->policies[i]->key) {
            policies[i].name = arena_str(rbac_engine_arena(e), str_from(m->policies[i]->key));
            if (m->policies[i]->value)
                read_policy(cr, m->policies[i]->value, rbac_engine_arena(e), &policies[i]);
            else
                FAULT("", "must be set");
            if (is_connection && (rbac_rule_has(&policies[i].permissions, 1u << RBAC_HEADER) ||
                                  rbac_rule_has(&policies[i].principals, 1u << RBAC_HEADER)))
                FAULT("", "asks for a header, and a connection has none");
        }
    rbac_engine_build(e);
    return e;
}

/* ---- matcher trees ---- */

struct tree_reading { struct rbac_tree_action **actions; uint32_t count, cap; };

static const void *read_action(struct matcher_reading *mr, const pb_xds_extension *m)
{
    struct config_reader *cr = mr->cr;
    struct tree_reading *t = mr->arg;
    (void)TEXT(m, name);
    const pb_any *any = GET(m, typed_config);
    if (!any) {
        FAULT("typed_config", "must be set");
        return NULL;
    }
    const pb_rbac_action *action = PROTO_ANY_AS(&cr->r, "typed_config", any, pb_rbac_action, envoy__config__rbac__v3__action__descriptor);
    if (!action)
        return NULL;
    struct rbac_tree_action *out = arena_zalloc(mr->a, sizeof(*out));
    out->name = arena_str(mr->a, TEXT(action, name));
    out->action = (enum rbac_action)GET(action, action);
    out->index = t->count;
    if (t->count == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 8;
        t->actions = mem_realloc(t->actions, t->cap * sizeof(*t->actions));
    }
    t->actions[t->count++] = out;
    return out;
}

static struct rbac_engine *read_tree(struct config_reader *cr, const pb_matcher *m, bool is_connection)
{
    struct rbac_engine *e = rbac_engine_new(RBAC_DENY);
    struct tree_reading t = {0};
    struct matcher_reading mr = {.cr = cr, .a = rbac_engine_arena(e), .read_action = read_action, .arg = &t, .is_connection = is_connection};
    struct matcher *tree = cfg_matcher(&mr, m);
    struct rbac_tree_action **kept = arena_zalloc(mr.a, (t.count + 1) * sizeof(*kept));
    if (t.count)
        memcpy(kept, t.actions, t.count * sizeof(*kept));
    mem_free(t.actions);
    rbac_engine_use_tree(e, tree, (const struct rbac_tree_action *const *)kept, t.count);
    return e;
}

/* A tree stands before rules (Envoy: "rules are ignored where a matcher is configured"). */
static struct rbac_engine *read_engine(struct config_reader *cr, const char *rules_field, const pb_rbac_rules *rules,
                                       const char *tree_field, const pb_matcher *tree, bool is_connection)
{
    struct rbac_engine *e = NULL;
    if (tree) {
        if (rules)
            proto_read_whole(&cr->r, &rules->base);
        IN("%s", tree_field)
            e = read_tree(cr, tree, is_connection);
    } else if (rules) {
        IN("%s", rules_field)
            e = read_rules(cr, rules, is_connection);
    }
    return e;
}

/* A prefix of statistics ends with a dot. */
static struct str dotted(struct arena *a, struct str s)
{
    return s.n && s.p[s.n - 1] != '.' ? arena_printf(a, "%.*s.", STR_ARG(s)) : arena_str(a, s);
}

static void name_results(struct rbac_rules *r, const char *mode, struct arena *a, struct str prefix)
{
    r->stat_prefix = dotted(a, prefix);
    r->policy_key = arena_printf(a, "%.*s%s_effective_policy_id", STR_ARG(prefix), mode);
    r->result_key = arena_printf(a, "%.*s%s_engine_result", STR_ARG(prefix), mode);
}

/* ---- requests ---- */

static void free_config(void *config)
{
    struct rbac_config *c = config;
    for (int m = 0; m < RBAC_MODES; m++)
        rbac_rules_fini(&c->rules[m]);
}

static struct rbac_config *read_config(struct config_reader *cr, const pb_http_rbac *m, struct arena *a)
{
    struct rbac_config *c = arena_zalloc(a, sizeof(*c));
    c->rules[RBAC_ENFORCED].engine = read_engine(cr, "rules", GET(m, rules), "matcher", GET(m, matcher), false);
    c->rules[RBAC_SHADOW].engine =
        read_engine(cr, "shadow_rules", GET(m, shadow_rules), "shadow_matcher", GET(m, shadow_matcher), false);
    name_results(&c->rules[RBAC_ENFORCED], "enforced", a, TEXT(m, rules_stat_prefix));
    name_results(&c->rules[RBAC_SHADOW], "shadow", a, TEXT(m, shadow_rules_stat_prefix));
    return c;
}

int cfg_rbac(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_http_rbac *m = (const pb_http_rbac *)msg;
    struct cfg_http_filter *f = out;
    struct rbac_config *c = read_config(cr, m, f->arena);
    c->track_policies = GET(m, track_per_rule_stats);
    f->spec->config = c;
    f->spec->free_config = free_config;
    return 0;
}

int cfg_rbac_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_http_rbac_route *m = (const pb_http_rbac_route *)msg;
    struct cfg_route_filter *f = out;
    f->override->free_config = free_config;
    if (!GET(m, rbac)) { /* nothing is asked on this route */
        f->override->config = arena_zalloc(f->arena, sizeof(struct rbac_config));
        return 0;
    }
    IN("rbac")
        f->override->config = read_config(cr, m->rbac, f->arena);
    return 0;
}

/* ---- connections ---- */

struct network_memory { struct network_rbac_config config; struct arena arena; };

static void free_network(void *config)
{
    struct network_memory *c = config;
    for (int m = 0; m < RBAC_MODES; m++)
        rbac_rules_fini(&c->config.rules[m]);
    arena_fini(&c->arena);
    mem_free(c);
}

int cfg_network_rbac(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_network_rbac *m = (const pb_network_rbac *)msg;
    struct cfg_network_filter *f = out;
    struct network_memory *c = NEW(network_memory);
    arena_init(&c->arena, 0);
    f->spec->config = c;
    f->spec->free_config = free_network;
    c->config.rules[RBAC_ENFORCED].engine = read_engine(cr, "rules", GET(m, rules), "matcher", GET(m, matcher), true);
    c->config.rules[RBAC_SHADOW].engine =
        read_engine(cr, "shadow_rules", GET(m, shadow_rules), "shadow_matcher", GET(m, shadow_matcher), true);
    name_results(&c->config.rules[RBAC_ENFORCED], "enforced", &c->arena, STR(""));
    name_results(&c->config.rules[RBAC_SHADOW], "shadow", &c->arena, TEXT(m, shadow_rules_stat_prefix));
    c->config.stat_prefix = dotted(&c->arena, TEXT(m, stat_prefix));
    (void)GET(m, enforcement_type); /* asking once is what both come to (filter/network_rbac.c) */
    c->config.delay_deny_ms = proto_ms_or(GET(m, delay_deny), 0);
    if (m->delay_deny && (m->delay_deny->seconds < 0 || m->delay_deny->nanos < 0))
        FAULT("delay_deny", "must not be negative");
    return 0;
}
