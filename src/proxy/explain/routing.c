/* SPDX-License-Identifier: Apache-2.0
 *
 * Virtual host and route: the decision is route_decide's, made in the rehearsal; here stands which domain found the virtual
 * host, which others come near, and what refused each route before the one that was taken. Work is bounded: domains are
 * compared one after the other only as far as DOMAINS_MAX, routes as far as ROUTES_MAX. Main thread.
 */
#include "proxy/explain/explain_priv.h"
#include "proxy/route/scopes.h"

#define DOMAINS_MAX 200000 /* compared for near misses: a few milliseconds */
#define ROUTES_MAX 20000   /* asked why they refused */
#define HOST_BYTES 512

/* ---- virtual hosts ---- */

static void note_near(struct explain_report *r, const struct virtual_host *v, struct str domain, enum domain_near n)
{
    if (r->near.count >= EXPLAIN_NEAR_MAX) {
        r->near.left_out++;
        return;
    }
    explain_note(r, &r->near, domain, "of virtual host %.*s: %s", STR_ARG(v->name), domain_near_text(n));
}

static const enum domain_near near_order[] = {DOMAIN_FITS, DOMAIN_BUT_PORT, DOMAIN_BUT_LABEL, DOMAIN_SIBLING};
struct near_search {
    const struct explain_report *report;
    const struct virtual_host *taken;
    uint64_t seen;
    struct { const struct virtual_host *v; struct str domain; } kept[ARRAY_LEN(near_order)][EXPLAIN_NEAR_MAX];
    uint32_t counts[ARRAY_LEN(near_order)];
};

static void look_near(const struct virtual_host *v, void *arg)
{
    struct near_search *s = arg;
    const struct explain_report *r = s->report;
    for (uint32_t k = 0; k < v->domain_count && s->seen < DOMAINS_MAX; k++, s->seen++) {
        if (v == s->taken) /* as good as the one that found it */
            continue;
        enum domain_near n = domain_compare(v->domains[k], r->host);
        if (n == DOMAIN_FAR || (s->taken && n == DOMAIN_SIBLING && !str_eq(r->domain, STR("*"))))
            continue;
        uint32_t at = (uint32_t)n - DOMAIN_FITS;
        if (s->counts[at] < EXPLAIN_NEAR_MAX) {
            s->kept[at][s->counts[at]].v = v;
            s->kept[at][s->counts[at]].domain = v->domains[k];
        }
        s->counts[at]++;
    }
}

/* The nearest first: those that fit, then ports, then wildcards and siblings. */
static void find_near(struct explain_report *r, const struct route_table *t, const struct virtual_host *taken)
{
    struct near_search s = {.report = r, .taken = taken};
    route_table_each(t, look_near, &s);
    for (uint32_t at = 0; at < ARRAY_LEN(near_order); at++) {
        uint32_t n = s.counts[at] < EXPLAIN_NEAR_MAX ? s.counts[at] : EXPLAIN_NEAR_MAX;
        for (uint32_t i = 0; i < n; i++)
            note_near(r, s.kept[at][i].v, s.kept[at][i].domain, near_order[at]);
        r->near.left_out += s.counts[at] - n;
    }
}

/* ---- routes ---- */

static void note_refused(struct explain_report *r, const struct route_entry *e, const struct route_request *rq, uint32_t at,
                         enum route_refusal why, uint32_t item)
{
    struct explain_refused *to = &r->refused[r->refused_shown++];
    struct strbuf part = {0}, wanted = {0}, seen = {0};
    route_refusal_part(why, item, &part);
    route_refusal_wanted(&e->match, why, item, &wanted);
    route_refusal_seen(&e->match, rq, why, item, &seen);
    *to = (struct explain_refused){.index = at, .name = e->name};
    to->part = explain_take(r, &part);
    to->wanted = explain_take(r, &wanted);
    to->seen = explain_take(r, &seen);
}

/* The routes before the one that was taken. Those whose path fits are told first of all that is left room for. */
static void ask_routes(struct explain_report *r, const struct virtual_host *v, const struct route_request *rq)
{
    uint32_t n, by_part[ROUTE_REFUSED_FILTER_STATE + 1] = {0}, paths = 0, item;
    bool ignore = v->config && v->config->ignore_path_parameters;
    struct route_entry *const *list = route_candidates(v, rq, &n);
    r->route_count = n;
    r->refused = arena_zalloc(r->arena, EXPLAIN_LIST_MAX * sizeof(*r->refused));
    uint32_t end = n;
    for (uint32_t i = 0; i < n; i++)
        if (list[i] == r->decision->route) {
            end = r->route_index = i;
            break;
        }
    r->refused_total = end;
    for (uint32_t i = 0; r->refused && i < end && i < ROUTES_MAX; i++) {
        enum route_refusal why = route_match_refusal(&list[i]->match, rq, ignore, &item);
        by_part[why]++;
        if (r->refused_shown == EXPLAIN_LIST_MAX || (why == ROUTE_REFUSED_PATH && ++paths > EXPLAIN_PATHS_MAX))
            continue;
        note_refused(r, list[i], rq, i, why, item);
    }
    for (uint32_t why = ROUTE_REFUSED_PATH; r->refused_shown < r->refused_total && why <= ROUTE_REFUSED_FILTER_STATE; why++)
        if (by_part[why])
            explain_note(r, &r->refused_parts, str_from(route_refusal_text((enum route_refusal)why)), "%u", by_part[why]);
}

static const struct route_snapshot *find_snapshot(struct explain_report *r)
{
    const struct hcm_config *c = r->hcm;
    const struct route_scope *scope = c->scopes ? route_scopes_find(c->scopes, r->rehearsal.request) : NULL;
    if (scope)
        r->scope = scope->name;
    else if (c->scopes)
        explain_note(r, &r->warnings, STR("scope"), "the request's headers give no key of any scope");
    return route_source_now(scope ? scope->routes : c->routes);
}

void explain_routing(struct explain_report *r)
{
    char text[HOST_BYTES];
    struct exchange *x = r->rehearsal.x;
    r->decision = exchange_decision(x);
    const struct route_snapshot *routes = find_snapshot(r);
    const struct route_config_spec *spec = routes ? routes->spec : NULL;
    if (!spec)
        return;
    r->route_config = spec->name;
    r->host = arena_str(r->arena, route_host_asked(spec, r->rehearsal.request, text, sizeof(text)));
    const struct virtual_host *v = r->decision->vhost;
    if (v)
        r->domain = virtual_host_domain(v, r->host);
    find_near(r, routes->table, v);
    if (!v || r->decision->needs_tls)
        return;
    const struct route_request rq = {.headers = r->rehearsal.request, .info = exchange_info(x), .random = exchange_random(x)};
    ask_routes(r, v, &rq);
}
