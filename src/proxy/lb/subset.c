/* SPDX-License-Identifier: Apache-2.0
 *
 * Subsets: hosts that have the same values of the keys that a selector names form a set of their own,
 * with the policy below inside; a request's criteria choose among them (Envoy: "Load Balancer Subsets").
 * Built whole on the main thread; a lookup packs the criteria into one key and asks a map. A selector's
 * own fallback comes before the policy's; nothing matches criteria that are no selector's keys.
 */
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "proxy/cluster/cluster.h"

#define CRITERIA_MAX 32   /* keys of one request; more match nothing */
#define KEY_MAX_BYTES 4096 /* of all names and values; longer ones are no subset */
#define VALUES_MAX 256    /* subsets of one selector that one host may be in, through lists */

struct subset {
    char *key;
    size_t key_len;
    struct host **hosts; /* while building */
    size_t count, cap;
    struct host *single; /* single_host_per_subset: whatever its health; in `set` too */
    struct host_set *set;
};
struct subsets {
    struct map *by_key;
    struct subset **items;
    size_t count, cap;
    struct host_set *any, *by_default;
    uint32_t duplicates;
};

struct criterion {
    struct str name;
    const struct meta_value *value;
};
struct criteria {
    struct criterion items[CRITERIA_MAX];
    uint32_t count;
};

/* ---- keys ---- */

struct packed {
    size_t len;
    bool full;
    char bytes[KEY_MAX_BYTES];
};

static void pack(struct packed *p, const void *bytes, size_t n)
{
    if (n > sizeof p->bytes - p->len) {
        p->full = true;
        return;
    }
    if (n)
        memcpy(p->bytes + p->len, bytes, n);
    p->len += n;
}

static void pack_text(struct packed *p, struct str s)
{
    uint32_t n = (uint32_t)s.n;
    pack(p, &n, sizeof n);
    pack(p, s.p, s.n);
}

static void pack_value(struct packed *p, const struct meta_value *v)
{
    char kind = (char)v->kind;
    pack(p, &kind, 1);
    switch (v->kind) {
    case META_NULL:
        break;
    case META_BOOL:
        pack(p, &v->u.boolean, sizeof v->u.boolean);
        break;
    case META_NUMBER:
        pack(p, &v->u.number, sizeof v->u.number);
        break;
    case META_STRING:
        pack_text(p, v->u.string);
        break;
    case META_LIST:
        for (uint32_t i = 0; i < v->u.list.count; i++)
            pack_value(p, &v->u.list.items[i]);
        break;
    case META_STRUCT:
        for (uint32_t i = 0; i < v->u.fields.count; i++) {
            pack_text(p, v->u.fields.items[i].name);
            pack_value(p, &v->u.fields.items[i].value);
        }
        break;
    }
    kind = (char)0xff;
    pack(p, &kind, 1);
}

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct criterion *)a)->name, ((const struct criterion *)b)->name);
}

static bool take_fields(struct criteria *c, const struct meta_value *v)
{
    if (!v || v->kind != META_STRUCT || v->u.fields.count > CRITERIA_MAX)
        return false;
    for (uint32_t i = 0; i < v->u.fields.count; i++)
        c->items[c->count++] = (struct criterion){v->u.fields.items[i].name, &v->u.fields.items[i].value};
    qsort(c->items, c->count, sizeof(c->items[0]), by_name);
    return c->count > 0;
}

static const struct criterion *find(const struct criteria *c, struct str name)
{
    for (uint32_t i = 0; i < c->count; i++)
        if (str_eq(c->items[i].name, name))
            return &c->items[i];
    return NULL;
}

/* ---- building ---- */

static struct host_set *make_set(const struct host_set *whole, struct host **take_hosts, uint32_t n, const struct host_set_opts *opts)
{
    const struct lb_subset_spec *spec = whole->lb->subset;
    struct host_set_opts child = *opts;
    child.whole_of = whole;
    child.no_locality_weights = !spec->locality_weight_aware;
    child.scale_locality_weight = spec->scale_locality_weight;
    return host_set_new(take_hosts, n, whole->lb->child, &child);
}

static struct subset *subset_at(struct subsets *s, const struct packed *key)
{
    struct str k = str_make(key->bytes, key->len);
    struct subset *found = map_get(s->by_key, k);
    if (found)
        return found;
    found = NEW(subset);
    found->key = mem_strndup(key->bytes, key->len);
    found->key_len = key->len;
    map_set(s->by_key, k, found);
    s->items = mem_grow(s->items, &s->cap, s->count + 1, sizeof(struct subset *));
    s->items[s->count++] = found;
    return found;
}

static void add(struct subsets *s, const struct packed *key, struct host *h, bool single)
{
    if (key->full)
        return;
    struct subset *at = subset_at(s, key);
    if (single && at->count) {
        s->duplicates += at->hosts[0] != h;
        return;
    }
    if (at->count && at->hosts[at->count - 1] == h) /* two selectors of the same keys */
        return;
    at->hosts = mem_grow(at->hosts, &at->cap, at->count + 1, sizeof(struct host *));
    at->hosts[at->count++] = host_ref(h);
    if (single)
        at->single = h;
}

/* All combinations of values where lists stand for any of their items. */
static void add_by_keys(struct subsets *s, const struct lb_subset_spec *spec, const struct lb_subset_selector *sel,
                        const struct meta_value *fields, struct host *h)
{
    uint64_t combinations = 1;
    const struct meta_value *values[CRITERIA_MAX];
    if (sel->key_count > CRITERIA_MAX)
        return;
    for (uint32_t k = 0; k < sel->key_count; k++) {
        values[k] = meta_field(fields, sel->keys[k]);
        if (!values[k])
            return;
        if (spec->list_as_any && values[k]->kind == META_LIST && combinations <= VALUES_MAX)
            combinations *= values[k]->u.list.count;
    }
    struct packed *key = mem_alloc(sizeof(*key));
    for (uint32_t n = 0; n < combinations && n < VALUES_MAX; n++) {
        key->len = 0;
        key->full = false;
        for (uint32_t k = 0, rest = n; k < sel->key_count; k++) {
            const struct meta_value *v = values[k];
            if (spec->list_as_any && v->kind == META_LIST) {
                uint32_t which = rest % v->u.list.count;
                rest /= v->u.list.count;
                v = &v->u.list.items[which];
            }
            pack_text(key, sel->keys[k]);
            pack_value(key, v);
        }
        add(s, key, h, sel->single_host);
    }
    mem_free(key);
}

static bool value_matches(const struct meta_value *want, const struct meta_value *has, bool list_as_any)
{
    if (!has)
        return false;
    if (list_as_any && has->kind == META_LIST) {
        for (uint32_t i = 0; i < has->u.list.count; i++)
            if (meta_equal(want, &has->u.list.items[i]))
                return true;
        return false;
    }
    return meta_equal(want, has);
}

static bool is_default(const struct lb_subset_spec *spec, const struct host *h)
{
    const struct meta_value *fields = metadata_find(h->metadata, STR("envoy.lb"), NULL, 0);
    for (uint32_t i = 0; i < spec->default_subset.u.fields.count; i++) {
        const struct meta_field *f = &spec->default_subset.u.fields.items[i];
        if (!value_matches(&f->value, fields ? meta_field(fields, f->name) : NULL, spec->list_as_any))
            return false;
    }
    return true;
}

static struct host_set *make_fallback(const struct host_set *set, const struct host_set_opts *opts, bool any)
{
    struct host **hosts = mem_alloc((set->count + 1) * sizeof(*hosts));
    uint32_t n = 0;
    for (uint32_t i = 0; i < set->count; i++)
        if (any || is_default(set->lb->subset, set->hosts[i]))
            hosts[n++] = host_ref(set->hosts[i]);
    return make_set(set, hosts, n, opts);
}

static bool wants(const struct lb_subset_spec *spec, enum lb_subset_fallback which)
{
    bool found = spec->fallback == which || (which == SUBSET_ANY && spec->panic_mode_any);
    for (uint32_t i = 0; i < spec->selector_count && !found; i++)
        found = spec->selectors[i].fallback == which;
    return found;
}

static void *build_whole(const struct host_set *set, const struct host_set_opts *opts)
{
    const struct lb_subset_spec *spec = set->lb->subset;
    struct subsets *s = NEW(subsets);
    s->by_key = map_new();
    for (uint32_t i = 0; i < set->count; i++) {
        const struct meta_value *fields = metadata_find(set->hosts[i]->metadata, STR("envoy.lb"), NULL, 0);
        for (uint32_t k = 0; fields && k < spec->selector_count; k++)
            add_by_keys(s, spec, &spec->selectors[k], fields, set->hosts[i]);
    }
    for (size_t i = 0; i < s->count; i++) {
        s->items[i]->set = make_set(set, s->items[i]->hosts, (uint32_t)s->items[i]->count, opts);
        s->items[i]->hosts = NULL; /* the set's now */
    }
    if (wants(spec, SUBSET_ANY))
        s->any = make_fallback(set, opts, true);
    if (wants(spec, SUBSET_DEFAULT))
        s->by_default = make_fallback(set, opts, false);
    return s;
}

static void free_whole(void *whole)
{
    struct subsets *s = whole;
    for (size_t i = 0; i < s->count; i++) {
        host_set_unref(&s->items[i]->set);
        mem_free(s->items[i]->key);
        mem_free(s->items[i]);
    }
    host_set_unref(&s->any);
    host_set_unref(&s->by_default);
    map_free(&s->by_key);
    mem_free(s->items);
    mem_free(s);
}

struct lb_subset_counts lb_subset_compare(const struct host_set *before, const struct host_set *now)
{
    const struct subsets *a = before && before->lb->policy == &lb_subset ? before->whole : NULL;
    const struct subsets *b = now && now->lb->policy == &lb_subset ? now->whole : NULL;
    struct lb_subset_counts n = {.active = b ? (uint32_t)b->count : 0, .duplicates = b ? b->duplicates : 0};
    for (size_t i = 0; b && i < b->count; i++)
        n.created += !a || !map_get(a->by_key, str_make(b->items[i]->key, b->items[i]->key_len));
    n.removed = (a ? (uint32_t)a->count : 0) + n.created - n.active;
    return n;
}

/* ---- choosing ---- */

static void count(struct lb_context *ctx, enum cluster_stat stat)
{
    if (ctx->stats)
        stat_inc(ctx->stats, stat);
}

static const struct subset *lookup(const struct subsets *s, const struct criteria *c)
{
    struct packed key;
    key.len = 0;
    key.full = false;
    for (uint32_t i = 0; i < c->count; i++) {
        pack_text(&key, c->items[i].name);
        pack_value(&key, c->items[i].value);
    }
    return key.full || !c->count ? NULL : map_get(s->by_key, str_make(key.bytes, key.len));
}

static bool has_keys(const struct criteria *c, const struct str *keys, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (!find(c, keys[i]))
            return false;
    return true;
}

static struct criteria only(const struct criteria *c, const struct str *keys, uint32_t n)
{
    struct criteria few = {.count = 0};
    for (uint32_t i = 0; i < n; i++) {
        const struct criterion *at = find(c, keys[i]);
        if (at)
            few.items[few.count++] = *at;
    }
    return few;
}

static struct host *choose_by(const struct host_set *set, const struct criteria *criteria, struct lb_context *ctx);

/* As Envoy keeps selectors in a tree by their keys: one whose keys begin those of an earlier one has no fallback of its own. */
static bool is_shadowed(const struct lb_subset_spec *spec, uint32_t at)
{
    const struct lb_subset_selector *sel = &spec->selectors[at];
    for (uint32_t i = 0; i < at; i++) {
        const struct lb_subset_selector *earlier = &spec->selectors[i];
        uint32_t same = 0;
        while (same < sel->key_count && same < earlier->key_count && str_eq(sel->keys[same], earlier->keys[same]))
            same++;
        if (same == sel->key_count)
            return true;
    }
    return false;
}

/* True: the selector with these very keys decides who is next. */
static bool selector_decides(const struct host_set *set, const struct criteria *c, struct lb_context *ctx, struct host **out)
{
    const struct lb_subset_spec *spec = set->lb->subset;
    const struct subsets *s = set->whole;
    const struct lb_subset_selector *sel = NULL;
    for (uint32_t i = 0; i < spec->selector_count && !sel; i++)
        if (spec->selectors[i].key_count == c->count && has_keys(c, spec->selectors[i].keys, c->count) && !is_shadowed(spec, i))
            sel = &spec->selectors[i];
    if (!c->count || !sel || sel->fallback == SUBSET_UNDEFINED)
        return false;
    *out = NULL;
    if (sel->fallback == SUBSET_ANY && s->any) {
        *out = host_set_choose(s->any, ctx);
    } else if (sel->fallback == SUBSET_DEFAULT && s->by_default) {
        *out = host_set_choose(s->by_default, ctx);
    } else if (sel->fallback == SUBSET_KEYS) { /* fewer keys than these: it ends */
        struct criteria fewer = only(c, sel->fallback_keys, sel->fallback_key_count);
        *out = choose_by(set, &fewer, ctx);
    }
    return true;
}

static struct host *choose_by(const struct host_set *set, const struct criteria *criteria, struct lb_context *ctx)
{
    const struct lb_subset_spec *spec = set->lb->subset;
    const struct subsets *s = set->whole;
    struct criteria few;
    const struct criteria *c = criteria;
    for (uint32_t i = 0; spec->allow_redundant_keys && i < spec->selector_count; i++) {
        if (has_keys(criteria, spec->selectors[i].keys, spec->selectors[i].key_count)) {
            few = only(criteria, spec->selectors[i].keys, spec->selectors[i].key_count);
            c = &few;
            break;
        }
    }
    const struct subset *found = lookup(s, c);
    struct host *h;
    if (found) {
        count(ctx, STAT_CLUSTER_LB_SUBSETS_SELECTED);
        return found->single ? found->single : host_set_choose(found->set, ctx);
    }
    if (selector_decides(set, c, ctx, &h))
        return h;
    const struct host_set *fallback = spec->fallback == SUBSET_ANY ? s->any : spec->fallback == SUBSET_DEFAULT ? s->by_default : NULL;
    if (!fallback)
        return NULL;
    h = host_set_choose(fallback, ctx);
    if (h) {
        count(ctx, STAT_CLUSTER_LB_SUBSETS_FALLBACK);
        return h;
    }
    h = spec->panic_mode_any ? host_set_choose(s->any, ctx) : NULL;
    if (h)
        count(ctx, STAT_CLUSTER_LB_SUBSETS_FALLBACK_PANIC);
    return h;
}

/* Criteria with those of one entry of the list in the place of the request's own of the same name. */
static struct criteria override(const struct criteria *c, const struct meta_value *entry)
{
    struct criteria merged = {.count = 0};
    if (!take_fields(&merged, entry))
        merged.count = 0;
    for (uint32_t i = 0; i < c->count && merged.count < CRITERIA_MAX; i++)
        if (!find(&merged, c->items[i].name))
            merged.items[merged.count++] = c->items[i];
    qsort(merged.items, merged.count, sizeof(merged.items[0]), by_name);
    return merged;
}

static struct host *choose(const struct host_set *set, struct lb_context *ctx)
{
    static const struct str list_name = {"fallback_list", 13};
    struct criteria c;
    c.count = 0;
    const struct meta_value *fields = metadata_find(ctx->metadata_match, STR("envoy.lb"), NULL, 0);
    take_fields(&c, fields);
    const struct criterion *list = set->lb->subset->fallback_list ? find(&c, list_name) : NULL;
    if (!list)
        return choose_by(set, &c, ctx);
    const struct meta_value *entries = list->value;
    struct criteria rest = {.count = 0};
    for (uint32_t i = 0; i < c.count; i++)
        if (&c.items[i] != list)
            rest.items[rest.count++] = c.items[i];
    if (entries->kind != META_LIST || !entries->u.list.count)
        return choose_by(set, &rest, ctx);
    struct host *h = NULL;
    for (uint32_t i = 0; i < entries->u.list.count && !h; i++) {
        struct criteria merged = override(&rest, &entries->u.list.items[i]);
        h = choose_by(set, &merged, ctx);
    }
    return h;
}

const struct lb_policy lb_subset = {.name = "SUBSET", .build_whole = build_whole, .free_whole = free_whole, .choose = choose};
