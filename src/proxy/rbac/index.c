/* SPDX-License-Identifier: Apache-2.0
 *
 * Which policies can match. Most policies ask for something that is looked up faster than tried: a name of the peer, its
 * namespace, a path, a header's value, a port. For each policy a set of keys is chosen of which at least one must hold for
 * the policy to match: of an AND the cheapest part, of an OR all parts; cheap is what few policies share. Policies without
 * such a set are asked each time. Whatever the index says is only where to look: whether a policy matches, its rules say.
 *
 * Immutable once built; a look-up takes no memory. Postings are in the policies' order, so that the first match of each ends it.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "proxy/rbac/rbac_priv.h"

#define UNINDEXABLE UINT64_MAX
#define PREFIX_MIN_BYTES 2 /* "/" holds for every path */

struct key { unsigned dim; struct str text; char port[2]; };
struct building { struct rbac_index *x; struct map *shares[DIM_COUNT]; /* text -> how many rules ask for it, as uintptr_t */ };

/* ---- keys ---- */

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == ':' || c == '/';
}

/* Is a pattern nothing but text, ".", "\.", ".*" and ".+"? Then what is text in it must stand in what it matches. */
static bool is_glob(struct str pattern)
{
    for (size_t i = 0; i < pattern.n; i++) {
        char c = pattern.p[i];
        bool is_repeat = (c == '*' || c == '+') && i && pattern.p[i - 1] == '.' && (i < 2 || pattern.p[i - 2] != '\\');
        if (c == '\\' && i + 1 < pattern.n && pattern.p[i + 1] == '.')
            i++;
        else if (c != '.' && !is_repeat && !is_plain(c))
            return false;
    }
    return true;
}

static bool namespace_key(const struct string_match *m, struct key *k)
{
    struct str rest = m->text, space;
    if (m->kind != MATCH_REGEX || m->ignore_case || !is_glob(rest))
        return false;
    space = rbac_next_namespace(&rest);
    for (size_t i = 0; i < space.n; i++)
        if (!is_plain(space.p[i]))
            return false;
    k->dim = DIM_NAMESPACE;
    k->text = space;
    return space.n > 0;
}

static bool text_key(const struct string_match *m, unsigned exact, struct key *k)
{
    k->dim = exact;
    k->text = m->text;
    if (m->ignore_case)
        return false;
    if (m->kind == MATCH_EXACT)
        return true;
    if (m->kind == MATCH_PREFIX && exact == DIM_PATH && m->text.n >= PREFIX_MIN_BYTES) {
        k->dim = DIM_PREFIX;
        return true;
    }
    return exact == DIM_NAME && namespace_key(m, k);
}

/* A header whose missing never matches. */
static bool header_key(struct rbac_index *x, const struct header_matcher *m, struct key *k)
{
    uint32_t i = 0;
    if (m->kind != HEADER_MATCH_STRING || m->invert || m->treat_missing_as_empty || !text_key(&m->string, DIM_HEADER, k))
        return false;
    while (i < x->header_count && !str_eq(x->headers[i]->name, m->name))
        i++;
    if (i == HEADERS_MAX)
        return false;
    x->headers[i] = m;
    if (i == x->header_count)
        x->header_count++;
    k->dim = DIM_HEADER + i;
    return true;
}

/* The bytes of a range; "/0" holds for every address of its family. */
static bool range_key(struct rbac_index *x, const struct rbac_rule *r, struct key *k)
{
    const struct cidr *c = &r->u.cidr;
    uint32_t i = 0;
    if (!c->prefix_bits)
        return false;
    while (i < x->range_count && (x->ranges[i].kind != r->kind || x->ranges[i].family != c->family || x->ranges[i].prefix_bits != c->prefix_bits))
        i++;
    if (i == RANGES_MAX)
        return false;
    x->ranges[i] = (struct range_shape){r->kind, c->family, c->prefix_bits};
    if (i == x->range_count)
        x->range_count++;
    k->dim = DIM_RANGE + i;
    k->text = str_make((const char *)c->bytes, c->family == AF_INET ? 4 : 16);
    return true;
}

static bool key_of(struct rbac_index *x, const struct rbac_rule *r, struct key *k)
{
    switch (r->kind) {
    case RBAC_SOURCE_IP:
    case RBAC_DIRECT_REMOTE_IP:
    case RBAC_REMOTE_IP:
    case RBAC_DESTINATION_IP:
        return range_key(x, r, k);
    case RBAC_AUTHENTICATED:
        return !r->any_name && text_key(&r->u.text, DIM_NAME, k);
    case RBAC_SAN:
        return (r->san == RBAC_SAN_URI || r->san == RBAC_SAN_DNS) && text_key(&r->u.text, DIM_NAME, k);
    case RBAC_PATH:
        return text_key(&r->u.text, DIM_PATH, k);
    case RBAC_SERVER_NAME:
        return text_key(&r->u.text, DIM_SERVER_NAME, k);
    case RBAC_HEADER:
        return header_key(x, &r->u.header, k);
    case RBAC_PORT:
        k->dim = DIM_PORT;
        k->port[0] = (char)(r->u.ports.start >> 8);
        k->port[1] = (char)r->u.ports.start;
        k->text = str_make(k->port, 2);
        return true;
    default:
        return false;
    }
}

/* ---- building ---- */

static struct map *map_at(struct map **slot)
{
    return *slot ? *slot : (*slot = map_new());
}

static void count_shares(struct building *b, const struct rbac_rule *r)
{
    struct key k;
    if (r->kind == RBAC_AND || r->kind == RBAC_OR) {
        for (uint32_t i = 0; i < r->u.children.count; i++)
            count_shares(b, &r->u.children.items[i]);
    } else if (key_of(b->x, r, &k)) {
        struct map *m = map_at(&b->shares[k.dim]);
        map_set(m, k.text, (void *)((uintptr_t)map_get(m, k.text) + 1));
    }
}

static const struct rbac_rule *cheapest(struct building *b, const struct rbac_rule *and_rule);

/* How many rules its keys share; 0: it never matches. */
static uint64_t cost_of(struct building *b, const struct rbac_rule *r)
{
    struct key k;
    uint64_t sum = 0, one;
    switch (r->kind) {
    case RBAC_AND:
        return r->u.children.count ? cost_of(b, cheapest(b, r)) : UNINDEXABLE;
    case RBAC_OR:
        for (uint32_t i = 0; i < r->u.children.count; i++) {
            if ((one = cost_of(b, &r->u.children.items[i])) == UNINDEXABLE)
                return UNINDEXABLE;
            sum += one;
        }
        return sum;
    case RBAC_NOT: /* Istio's way to say "nobody" */
        return r->u.children.items->kind == RBAC_ANY ? 0 : UNINDEXABLE;
    default:
        return key_of(b->x, r, &k) ? (uintptr_t)map_get(b->shares[k.dim], k.text) : UNINDEXABLE;
    }
}

static const struct rbac_rule *cheapest(struct building *b, const struct rbac_rule *r)
{
    const struct rbac_rule *best = &r->u.children.items[0];
    uint64_t least = cost_of(b, best);
    for (uint32_t i = 1; i < r->u.children.count; i++) {
        uint64_t cost = cost_of(b, &r->u.children.items[i]);
        if (cost < least) {
            least = cost;
            best = &r->u.children.items[i];
        }
    }
    return best;
}

static void posting_add(struct rbac_index *x, struct posting *p, uint32_t id)
{
    if (p->count && p->ids[p->count - 1] == id)
        return;
    if (p->count == p->cap) {
        uint32_t cap = p->cap ? p->cap * 2 : 1, *bigger = arena_alloc(&x->arena, cap * sizeof(*bigger));
        if (p->count)
            memcpy(bigger, p->ids, p->count * sizeof(*bigger));
        p->ids = bigger;
        p->cap = cap;
    }
    p->ids[p->count++] = id;
}

static void enter(struct building *b, const struct rbac_rule *r, uint32_t id)
{
    struct key k;
    if (r->kind == RBAC_AND) {
        enter(b, cheapest(b, r), id);
    } else if (r->kind == RBAC_OR) {
        for (uint32_t i = 0; i < r->u.children.count; i++)
            enter(b, &r->u.children.items[i], id);
    } else if (r->kind != RBAC_NOT && key_of(b->x, r, &k)) {
        struct posting *p = map_get(map_at(&b->x->maps[k.dim]), k.text);
        if (!p) {
            p = arena_zalloc(&b->x->arena, sizeof(*p));
            map_set(b->x->maps[k.dim], k.text, p);
        }
        posting_add(b->x, p, id);
    }
}

/* Sorted, what begins with a text stands behind it: the first one upwards that a prefix begins with is its parent. */
static void sort_prefixes(struct rbac_index *x)
{
    struct map *m = x->maps[DIM_PREFIX];
    size_t pos = 0;
    struct str key;
    void *posting;
    if (!m)
        return;
    x->prefixes = arena_zalloc(&x->arena, map_count(m) * sizeof(*x->prefixes));
    while (map_next(m, &pos, &key, &posting))
        x->prefixes[x->prefix_count++] = (struct prefix){key, posting, 0};
    qsort(x->prefixes, x->prefix_count, sizeof(*x->prefixes), rbac_prefix_compare);
    for (uint32_t i = 1; i < x->prefix_count; i++) {
        uint32_t p = i; /* counts from 1: the one before */
        while (p && !str_has_prefix(x->prefixes[i].text, x->prefixes[p - 1].text))
            p = x->prefixes[p - 1].parent;
        x->prefixes[i].parent = p;
    }
}

struct rbac_index *rbac_index_new(const struct rbac_policy *policies, uint32_t count)
{
    struct building b = {.x = NEW(rbac_index)};
    arena_init(&b.x->arena, 0);
    b.x->policies = policies;
    for (uint32_t i = 0; i < count; i++) {
        count_shares(&b, &policies[i].permissions);
        count_shares(&b, &policies[i].principals);
    }
    for (uint32_t i = 0; i < count; i++) {
        uint64_t what = cost_of(&b, &policies[i].permissions), who = cost_of(&b, &policies[i].principals);
        if (what == UNINDEXABLE && who == UNINDEXABLE)
            posting_add(b.x, &b.x->always, i);
        else
            enter(&b, what < who ? &policies[i].permissions : &policies[i].principals, i);
    }
    sort_prefixes(b.x);
    for (unsigned d = 0; d < DIM_COUNT; d++)
        map_free(&b.shares[d]);
    return b.x;
}

void rbac_index_free(struct rbac_index **at)
{
    struct rbac_index *x = *at;
    if (!x)
        return;
    for (unsigned d = 0; d < DIM_COUNT; d++)
        map_free(&x->maps[d]);
    arena_fini(&x->arena);
    mem_free(x);
    *at = NULL;
}
