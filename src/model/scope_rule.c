/* SPDX-License-Identifier: Apache-2.0
 *
 * Which destination rules hold for a service as a namespace sees it, and what they come to together (Istio: "Destination Rule":
 * the client's namespace, the service's, the root namespace; rules of one host in one namespace are joined).
 */
#include "model/scope_priv.h"

#include "base/mem.h"
#include "istio/networking/destination_rule.pb-c.h"

#define RULE Istio__Networking__V1alpha3__DestinationRule

/* Rules of one namespace: by exact host, and those with wildcards. */
struct rule_ns {
    struct map *exact; /* host -> bag of objects, oldest first */
    struct bag wild;   /* struct wild_rule */
};
struct wild_rule {
    struct str host;
    struct bag objects;
};
struct rule_index {
    struct arena arena;
    struct map *by_ns;
};

static struct rule_ns *ns_of(struct rule_index *x, struct str ns)
{
    struct rule_ns *r = map_get(x->by_ns, ns);
    if (!r) {
        r = NEW(rule_ns);
        r->exact = map_new();
        map_set(x->by_ns, ns, r);
    }
    return r;
}

static struct bag *wild_of(struct rule_index *x, struct rule_ns *r, struct str host)
{
    for (size_t i = 0; i < r->wild.count; i++) {
        struct wild_rule *w = r->wild.items[i];
        if (str_eq(w->host, host))
            return &w->objects;
    }
    struct wild_rule *w = arena_zalloc(&x->arena, sizeof(*w));
    w->host = host;
    bag_add(&r->wild, w);
    return &w->objects;
}

struct rule_index *rule_index_new(const struct world *w)
{
    struct rule_index *x = NEW(rule_index);
    size_t n;
    const struct object *const *rules = store_list(w->store, KIND_DESTINATION_RULE, &n);
    arena_init(&x->arena, 0);
    x->by_ns = map_new();
    for (size_t i = 0; i < n; i++) { /* oldest first */
        const RULE *rule = (const RULE *)rules[i]->body;
        struct str host = host_whole(&x->arena, str_from(rule->host), rules[i]->ns, w->domain);
        struct rule_ns *r = ns_of(x, rules[i]->ns);
        bool is_wild = host.n && host.p[0] == '*';
        bag_add(is_wild ? wild_of(x, r, host) : bag_at(r->exact, host), (void *)(uintptr_t)rules[i]);
    }
    return x;
}

void rule_index_free(struct rule_index **px)
{
    struct rule_index *x = *px;
    size_t pos = 0;
    struct str key;
    void *value;
    *px = NULL;
    if (!x)
        return;
    while (map_next(x->by_ns, &pos, &key, &value)) {
        struct rule_ns *r = value;
        for (size_t i = 0; i < r->wild.count; i++)
            bag_fini(&((struct wild_rule *)r->wild.items[i])->objects);
        bag_fini(&r->wild);
        bag_map_free(&r->exact);
        mem_free(r);
    }
    map_free(&x->by_ns);
    arena_fini(&x->arena);
    mem_free(x);
}

/* ---- who may use a rule ---- */

static bool is_exported(const struct world *w, const struct object *o, struct str ns)
{
    const RULE *rule = (const RULE *)o->body;
    if (rule->n_export_to == 0)
        return visibility_allows(&w->mesh->default_rule_export, o->ns, ns);
    for (size_t i = 0; i < rule->n_export_to; i++) {
        struct str word = str_from(rule->export_to[i]);
        if (str_eq(word, STR("*")) || str_eq(word, ns) || (str_eq(word, STR(".")) && str_eq(o->ns, ns)))
            return true;
    }
    return false;
}

bool selector_matches(Istio__Type__V1beta1__WorkloadSelector__MatchLabelsEntry *const *entries, size_t count, const struct labels *labels)
{
    for (size_t i = 0; i < count; i++)
        if (!str_eq(labels_get(labels, str_from(entries[i]->key)), str_from(entries[i]->value)))
            return false;
    return true;
}

enum selected { SELECTED_BY_LABELS, SELECTED_ALL, NOT_SELECTED };
static enum selected selects(const struct object *o, struct str ns, const struct labels *labels)
{
    const RULE *rule = (const RULE *)o->body;
    if (!rule->workload_selector)
        return SELECTED_ALL;
    if (!str_eq(o->ns, ns) || !selector_matches(rule->workload_selector->match_labels, rule->workload_selector->n_match_labels, labels))
        return NOT_SELECTED;
    return SELECTED_BY_LABELS;
}

/* Of one host's rules those that hold for the client: with a selector that names it, else those without one. */
static size_t holding(const struct world *w, const struct bag *b, struct str ns, const struct labels *labels, struct arena *a,
                      const struct object ***out)
{
    size_t n = 0;
    *out = arena_alloc(a, (b && b->count ? b->count : 1) * sizeof(**out));
    for (int pass = SELECTED_BY_LABELS; b && pass <= SELECTED_ALL && n == 0; pass++)
        for (size_t i = 0; i < b->count; i++) {
            const struct object *o = b->items[i];
            if (selects(o, ns, labels) == (enum selected)pass && is_exported(w, o, ns))
                (*out)[n++] = o;
        }
    return n;
}

/* The most specific host of a namespace that has rules for the client. */
static size_t find_in(const struct world *w, const struct rule_index *x, struct str rule_ns, struct str host, struct str ns,
                      const struct labels *labels, struct arena *a, const struct object ***out)
{
    const struct rule_ns *r = map_get(x->by_ns, rule_ns);
    if (!r)
        return 0;
    size_t n = holding(w, map_get(r->exact, host), ns, labels, a, out), longest = 0;
    if (n)
        return n;
    for (size_t i = 0; i < r->wild.count; i++) {
        const struct wild_rule *wild = r->wild.items[i];
        const struct object **objects;
        if (wild->host.n <= longest || !host_is_subset(host, wild->host))
            continue;
        size_t count = holding(w, &wild->objects, ns, labels, a, &objects);
        if (count) {
            longest = wild->host.n;
            *out = objects;
            n = count;
        }
    }
    return n;
}

/* ---- joining ---- */

static bool has_subset(const RULE *r, const char *name)
{
    for (size_t i = 0; i < r->n_subsets; i++)
        if (strcmp(r->subsets[i]->name, name) == 0)
            return true;
    return false;
}

static const RULE *join(struct proto_arena *pa, const struct object *const *objects, size_t count)
{
    if (count == 1)
        return (const RULE *)objects[0]->body;
    RULE *all = PROTO_NEW(pa, RULE, istio__networking__v1alpha3__destination_rule__descriptor);
    size_t most = 0;
    for (size_t i = 0; i < count; i++)
        most += ((const RULE *)objects[i]->body)->n_subsets;
    all->subsets = proto_arena_alloc(pa, (most ? most : 1) * sizeof(*all->subsets));
    for (size_t i = 0; i < count; i++) {
        const RULE *r = (const RULE *)objects[i]->body;
        if (!all->traffic_policy)
            all->traffic_policy = r->traffic_policy;
        for (size_t k = 0; k < r->n_subsets; k++)
            if (!has_subset(all, r->subsets[k]->name))
                all->subsets[all->n_subsets++] = r->subsets[k];
    }
    all->host = ((const RULE *)objects[0]->body)->host;
    return all;
}

const struct rule *rule_find(const struct world *w, const struct rule_index *x, const struct service *s, struct str ns,
                             const struct labels *labels, struct arena *a, struct proto_arena *pa)
{
    const struct str places[] = {ns, s->ns, w->mesh->root_namespace};
    const struct object **objects;
    size_t n = 0;
    for (int i = 0; i < 3 && n == 0; i++)
        if (i == 0 || !str_eq(places[i], places[i - 1]))
            n = find_in(w, x, places[i], s->host, ns, labels, a, &objects);
    if (n == 0)
        return NULL;
    struct rule *r = arena_alloc(a, sizeof(*r));
    *r = (struct rule){objects, (uint32_t)n, &join(pa, objects, n)->base};
    return r;
}

void rule_selectors_key(const struct world *w, struct str ns, const struct labels *labels, struct strbuf *key)
{
    size_t n;
    const struct object *const *rules = store_list_in(w->store, KIND_DESTINATION_RULE, ns, &n);
    for (size_t i = 0; i < n; i++)
        if (selects(rules[i], ns, labels) == SELECTED_BY_LABELS)
            strbuf_addf(key, "%.*s ", STR_ARG(rules[i]->name));
}
