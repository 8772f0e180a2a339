/* SPDX-License-Identifier: Apache-2.0
 *
 * Which filter chain a connection belongs to. A tree with one level for each criterion, in the
 * order that Envoy's FilterChainMatch documents; at each level the most specific key that is
 * present wins, and there is no way back up: a chain for "a.example.com" hides those without a name
 * even when a later criterion then fails. Text is found by hash, addresses by one hash lookup for
 * each prefix length in use. Built on the main thread, read by all; pure.
 */
#include "base/map.h"
#include "base/mem.h"
#include "proxy/listener/listener.h"

enum level {
#define X(id, field) BY_##id,
    CHAIN_CRITERION_TABLE(X)
#undef X
    LEVELS,
};

/* A place in the tree. Below the last level stand chains instead of nodes. */
struct node {
    struct map *keys;       /* NULL until there is one */
    void *any;              /* for those who don't say */
    uint64_t lengths[2][3]; /* address levels: prefix lengths in use, IPv4 and IPv6 */
};
struct chain_index {
    struct node root;
};

#define KEY_BYTES 18
struct key {
    struct str text;
    char bytes[KEY_BYTES];
};

static struct str key_of_bytes(struct key *k, const void *p, size_t n)
{
    memcpy(k->bytes, p, n);
    return k->text = str_make(k->bytes, n);
}

static struct str key_of_cidr(struct key *k, uint8_t family, unsigned bits, const uint8_t *bytes)
{
    size_t n = family == AF_INET ? 4 : 16;
    k->bytes[0] = (char)family;
    k->bytes[1] = (char)bits;
    memcpy(k->bytes + 2, bytes, n);
    return k->text = str_make(k->bytes, n + 2);
}

/* ---- building ---- */

static uint32_t key_count(const struct chain_match_spec *m, enum level level)
{
    switch (level) {
    case BY_PORT:
        return m->has_destination_port;
    case BY_DESTINATION:
        return m->prefix_count;
    case BY_NAME:
        return m->server_name_count;
    case BY_TRANSPORT:
        return m->transport_protocol.n > 0;
    case BY_PROTOCOL:
        return m->application_protocol_count;
    case BY_DIRECT_SOURCE:
        return m->direct_source_count;
    case BY_SOURCE_TYPE:
        return m->source_type != SOURCE_ANY;
    case BY_SOURCE:
        return m->source_count;
    case BY_SOURCE_PORT:
        return m->source_port_count;
    case LEVELS:
        break;
    }
    return 0;
}

static const struct cidr *cidr_at(const struct chain_match_spec *m, enum level level, uint32_t i)
{
    if (level == BY_DESTINATION)
        return &m->prefix_ranges[i];
    return level == BY_SOURCE ? &m->source_ranges[i] : &m->direct_source_ranges[i];
}

/* The ith key at a level; a null text stands for "any" ("*" as a server name). */
static struct str key_at(const struct chain_match_spec *m, enum level level, uint32_t i,
                         struct key *k)
{
    uint8_t type = (uint8_t)m->source_type;
    switch (level) {
    case BY_PORT:
        return key_of_bytes(k, &m->destination_port, sizeof(uint16_t));
    case BY_NAME:
        if (str_has_prefix(m->server_names[i], STR("*"))) /* kept as ".example.com" */
            return str_make(m->server_names[i].p + 1, m->server_names[i].n - 1);
        return m->server_names[i];
    case BY_TRANSPORT:
        return m->transport_protocol;
    case BY_PROTOCOL:
        return m->application_protocols[i];
    case BY_SOURCE_TYPE:
        return key_of_bytes(k, &type, 1);
    case BY_SOURCE_PORT:
        return key_of_bytes(k, &m->source_ports[i], sizeof(uint16_t));
    case BY_DESTINATION:
    case BY_SOURCE:
    case BY_DIRECT_SOURCE: {
        const struct cidr *c = cidr_at(m, level, i);
        return key_of_cidr(k, c->family, c->prefix_bits, c->bytes);
    }
    case LEVELS:
        break;
    }
    return STR_NULL;
}

static void note_length(struct node *n, const struct cidr *c)
{
    n->lengths[c->family != AF_INET][c->prefix_bits >> 6] |= 1ull << (c->prefix_bits & 63);
}

static const struct filter_chain *insert(struct node *n, enum level level,
                                         const struct filter_chain *chain);

/* Goes on below one key; returns a chain that stands there already. */
static const struct filter_chain *insert_below(struct node *n, enum level level, struct str key,
                                               const struct filter_chain *chain)
{
    void *child = key.n ? (n->keys ? map_get(n->keys, key) : NULL) : n->any;
    if (child && level + 1 == LEVELS)
        return child == chain ? NULL : child; /* one chain may name the same thing twice */
    if (!child) {
        child = level + 1 == LEVELS ? (void *)(uintptr_t)chain : NEW(node);
        if (!key.n) {
            n->any = child;
        } else {
            if (!n->keys)
                n->keys = map_new();
            map_set(n->keys, key, child);
        }
    }
    return level + 1 == LEVELS ? NULL : insert(child, level + 1, chain);
}

static const struct filter_chain *insert(struct node *n, enum level level,
                                         const struct filter_chain *chain)
{
    uint32_t count = key_count(&chain->match, level);
    bool is_address = level == BY_DESTINATION || level == BY_DIRECT_SOURCE || level == BY_SOURCE;
    if (!count)
        return insert_below(n, level, STR_NULL, chain);
    for (uint32_t i = 0; i < count; i++) {
        struct key k;
        if (is_address)
            note_length(n, cidr_at(&chain->match, level, i));
        const struct filter_chain *twin =
            insert_below(n, level, key_at(&chain->match, level, i, &k), chain);
        if (twin)
            return twin;
    }
    return NULL;
}

static void free_node(struct node *n, enum level level)
{
    struct str key;
    void *child;
    if (level + 1 < LEVELS) {
        if (n->keys)
            for (size_t pos = 0; map_next(n->keys, &pos, &key, &child);) {
                free_node(child, level + 1);
                mem_free(child);
            }
        if (n->any) {
            free_node(n->any, level + 1);
            mem_free(n->any);
        }
    }
    map_free(&n->keys);
}

void chain_index_free(struct chain_index **index)
{
    struct chain_index *ix = *index;
    *index = NULL;
    if (!ix)
        return;
    free_node(&ix->root, BY_PORT);
    mem_free(ix);
}

struct chain_index *chain_index_new(struct filter_chain *const *chains, uint32_t count,
                                    struct err *err)
{
    struct chain_index *ix = NEW(chain_index);
    for (uint32_t i = 0; i < count; i++) {
        const struct filter_chain *twin = insert(&ix->root, BY_PORT, chains[i]);
        if (!twin)
            continue;
        err_set(err, ERR_EXISTS,
                "filter chain '%.*s' has the same matching rules defined as '%.*s'",
                STR_ARG(chains[i]->name), STR_ARG(twin->name));
        err_prefix(err, "filter_chains[%u]", i);
        chain_index_free(&ix);
        return NULL;
    }
    return ix;
}

/* ---- finding ---- */

static void *at_key(const struct node *n, struct str key)
{
    return n->keys && key.n ? map_get(n->keys, key) : NULL;
}

static void *at_port(const struct node *n, const struct addr *a)
{
    struct key k;
    uint16_t port = a ? addr_port(a) : 0;
    void *child =
        n->keys && a && addr_is_ip(a) ? at_key(n, key_of_bytes(&k, &port, sizeof(port))) : NULL;
    return child ? child : n->any;
}

/* Address bytes, an IPv4-mapped one as IPv4; 0 for other families. */
static uint8_t address_bytes(const struct addr *a, uint8_t out[16])
{
    if (!a || !addr_is_ip(a))
        return 0;
    if (a->sa.sa_family == AF_INET) {
        memcpy(out, &a->in4.sin_addr, 4);
        return AF_INET;
    }
    const uint8_t *b = a->in6.sin6_addr.s6_addr;
    bool mapped = IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr);
    memcpy(out, mapped ? b + 12 : b, mapped ? 4 : 16);
    return mapped ? AF_INET : AF_INET6;
}

static void mask_to(uint8_t *bytes, size_t n, unsigned bits)
{
    for (size_t i = 0; i < n; i++) {
        unsigned left = bits > i * 8 ? bits - (unsigned)i * 8 : 0;
        if (left < 8)
            bytes[i] &= (uint8_t)(0xff00u >> left);
    }
}

static void *at_address(const struct node *n, const struct addr *a)
{
    uint8_t bytes[16];
    uint8_t family = n->keys ? address_bytes(a, bytes) : 0;
    if (family) {
        size_t len = family == AF_INET ? 4 : 16;
        const uint64_t *used = n->lengths[family != AF_INET];
        for (int bits = (int)len * 8; bits >= 0;
             bits--) { /* longest first; masks only get shorter */
            struct key k;
            if (!(used[bits >> 6] >> (bits & 63) & 1))
                continue;
            mask_to(bytes, len, (unsigned)bits);
            void *child = at_key(n, key_of_cidr(&k, family, (unsigned)bits, bytes));
            if (child)
                return child;
        }
    }
    return n->any;
}

/* "www.a.com": itself, then ".a.com", then ".com", then any. */
static void *at_name(const struct node *n, struct str name)
{
    void *child = at_key(n, name);
    for (size_t i = 1; n->keys && !child && i < name.n; i++)
        if (name.p[i] == '.')
            child = at_key(n, str_make(name.p + i, name.n - i));
    return child ? child : n->any;
}

static void *at_protocol(const struct node *n, const struct chain_query *q)
{
    void *child = NULL;
    for (uint32_t i = 0; n->keys && !child && i < q->application_protocol_count; i++)
        child = at_key(n, q->application_protocols[i]);
    return child ? child : n->any;
}

static bool is_same_ip(const struct addr *a, const struct addr *b)
{
    uint8_t x[16], y[16];
    uint8_t fx = address_bytes(a, x), fy = address_bytes(b, y);
    return fx && fx == fy && memcmp(x, y, fx == AF_INET ? 4 : 16) == 0;
}

static bool is_local(const struct chain_query *q)
{
    if (q->source && !addr_is_ip(q->source))
        return true;
    return q->source && (addr_is_loopback(q->source) || is_same_ip(q->source, q->destination));
}

static void *at_source_type(const struct node *n, const struct chain_query *q)
{
    struct key k;
    if (!n->keys)
        return n->any;
    uint8_t type = is_local(q) ? SOURCE_SAME_IP_OR_LOOPBACK : SOURCE_EXTERNAL;
    void *child = at_key(n, key_of_bytes(&k, &type, 1));
    return child ? child : n->any;
}

/* The place below a node that a connection goes to; NULL: none. */
static void *descend(const struct node *n, enum level level, const struct chain_query *q)
{
    void *at;
    switch (level) {
    case BY_PORT:
        return at_port(n, q->destination);
    case BY_DESTINATION:
        return at_address(n, q->destination);
    case BY_NAME:
        return at_name(n, q->server_name);
    case BY_TRANSPORT:
        at = at_key(n, q->transport_protocol);
        return at ? at : n->any;
    case BY_PROTOCOL:
        return at_protocol(n, q);
    case BY_DIRECT_SOURCE:
        return at_address(n, q->direct_source);
    case BY_SOURCE_TYPE:
        return at_source_type(n, q);
    case BY_SOURCE:
        return at_address(n, q->source);
    case BY_SOURCE_PORT:
        return at_port(n, q->source);
    case LEVELS:
        break;
    }
    return NULL;
}

const struct filter_chain *chain_index_find(const struct chain_index *ix,
                                            const struct chain_query *q)
{
    void *at = descend(&ix->root, BY_PORT, q);
    for (int level = BY_DESTINATION; at && level < LEVELS; level++)
        at = descend(at, (enum level)level, q);
    return at;
}

/* ---- why not ---- */

static bool leads_to(const struct node *n, enum level level, const struct chain_match_spec *m,
                     const void *child)
{
    uint32_t count = key_count(m, level);
    struct key k;
    for (uint32_t i = 0; i < count; i++) {
        struct str key = key_at(m, level, i, &k);
        if ((key.n ? at_key(n, key) : n->any) == child)
            return true;
    }
    return !count && n->any == child;
}

enum chain_criterion chain_index_refusal(const struct chain_index *ix, const struct chain_query *q,
                                         const struct filter_chain *chain)
{
    const void *at = &ix->root;
    for (int level = BY_PORT; level < LEVELS; level++) {
        void *child = descend(at, (enum level)level, q);
        if (!child || !leads_to(at, (enum level)level, &chain->match, child))
            return (enum chain_criterion)level;
        at = child;
    }
    return CHAIN_TAKEN;
}

const char *chain_criterion_text(enum chain_criterion c)
{
    static const char *const fields[] = {
#define X(id, field) field,
        CHAIN_CRITERION_TABLE(X)
#undef X
        "taken",
    };
    return fields[c];
}
