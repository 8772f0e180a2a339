/* SPDX-License-Identifier: Apache-2.0
 *
 * One entry for each question and whatever else in a query changes its answer: recursion, checking, EDNS, DNSSEC. Queries with
 * EDNS options (a client's subnet, a cookie) are never answered from here. The least recently used entry goes first. An entry
 * is aged in place: `aged_s` of its life were taken off its records already. Pure, one thread.
 */
#include "proxy/agent/answer_cache.h"

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"

#define KEY_BYTES (DNS_NAME_BYTES + 5)
#define LIFE_MAX_S 3600
#define NEGATIVE_MAX_S 30         /* a service that comes up must not stay unknown for long */
#define ANSWER_MAX_BYTES 16384
#define TURNS_MAX 64              /* addresses of one answer that take turns */
#define SOA_MIN_BYTES 22
#define TYPE_ANY 255

struct entry {
    struct list node;             /* cache->used: latest first */
    struct str key, answer;       /* behind it */
    uint64_t came_us;
    uint32_t life_s, aged_s;
};
struct answer_cache {
    struct map *by_key;
    struct list used;
    uint32_t max_entries;
    size_t max_bytes, bytes;
};

static struct str key_of(const struct dns_packet_query *q, char out[KEY_BYTES])
{
    size_t n = q->name.n;
    memcpy(out, q->name.bytes, n);
    out[n++] = (char)(q->type >> 8);
    out[n++] = (char)q->type;
    out[n++] = (char)(q->class >> 8);
    out[n++] = (char)q->class;
    out[n++] = (char)((q->flags & DNS_FLAG_RECURSE ? 1 : 0) | (q->flags & DNS_FLAG_UNCHECKED ? 2 : 0) | (q->has_edns ? 4 : 0) |
                      (q->wants_dnssec ? 8 : 0));
    return str_make(out, n);
}

struct answer_cache *answer_cache_new(uint32_t max_entries, size_t max_bytes)
{
    struct answer_cache *c = NEW(answer_cache);
    c->by_key = map_new();
    list_init(&c->used);
    c->max_entries = max_entries;
    c->max_bytes = max_bytes;
    return c;
}

static size_t size_of(const struct entry *e)
{
    return sizeof *e + e->key.n + e->answer.n;
}

static void drop(struct answer_cache *c, struct entry *e)
{
    map_del(c->by_key, e->key);
    list_remove(&e->node);
    c->bytes -= size_of(e);
    mem_free(e);
}

void answer_cache_free(struct answer_cache **p)
{
    struct answer_cache *c = *p;
    *p = NULL;
    if (!c)
        return;
    LIST_EACH(it, safe, &c->used)
        drop(c, LIST_ENTRY(it, entry, node));
    map_free(&c->by_key);
    mem_free(c);
}

uint32_t answer_cache_count(const struct answer_cache *c)
{
    return (uint32_t)map_count(c->by_key);
}

/* ---- how long ---- */

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint32_t read_u32(const char *p)
{
    const uint8_t *b = (const uint8_t *)p;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* 0: not at all. Without an answer of the type asked for it is the zone that says for how long there is none. */
static uint32_t life_of(const struct dns_packet_query *q, struct str answer)
{
    struct dns_records walk = dns_records_of(answer);
    unsigned rcode = dns_packet_flags(answer) & DNS_FLAGS_RCODE;
    uint32_t life = LIFE_MAX_S;
    bool has_answer = false, has_soa = false;
    for (struct dns_record r; dns_records_next(&walk, &r);) {
        if (r.type == DNS_TYPE_OPT) {
            if (r.ttl_s >> 24) /* an extended rcode */
                return 0;
            continue;
        }
        life = least(life, r.ttl_s >> 31 ? 0 : r.ttl_s); /* RFC 2181 section 8 */
        has_answer |= r.section == DNS_ANSWER && (r.type == q->type || q->type == TYPE_ANY);
        if (r.section != DNS_AUTHORITY || r.type != DNS_TYPE_SOA || r.data.n < SOA_MIN_BYTES)
            continue;
        has_soa = true;
        life = least(life, read_u32(r.data.p + r.data.n - 4));
    }
    if (walk.is_broken || (rcode != DNS_RCODE_OK && rcode != DNS_RCODE_NO_NAME))
        return 0;
    if (has_answer && rcode == DNS_RCODE_OK)
        return life;
    return has_soa ? least(life, NEGATIVE_MAX_S) : 0;
}

/* ---- keeping ---- */

void answer_cache_put(struct answer_cache *c, const struct dns_packet_query *q, struct str answer, uint64_t now_us)
{
    char bytes[KEY_BYTES];
    struct str key = key_of(q, bytes);
    struct entry *old = map_get(c->by_key, key);
    if (q->has_options || answer.n > ANSWER_MAX_BYTES || dns_packet_flags(answer) & DNS_FLAG_CUT)
        return;
    uint32_t life_s = life_of(q, answer);
    if (old)
        drop(c, old);
    if (!life_s)
        return;
    struct entry *e = mem_alloc(sizeof *e + key.n + answer.n);
    char *text = (char *)(e + 1);
    *e = (struct entry){.key = str_make(text, key.n), .answer = str_make(text + key.n, answer.n), .came_us = now_us, .life_s = life_s};
    memcpy(text, key.p, key.n);
    memcpy(text + key.n, answer.p, answer.n);
    map_set(c->by_key, e->key, e);
    list_push_front(&c->used, &e->node);
    c->bytes += size_of(e);
    while (map_count(c->by_key) > c->max_entries || c->bytes > c->max_bytes)
        drop(c, LIST_ENTRY(list_last(&c->used), entry, node));
}

/* ---- giving ---- */

static void age(struct entry *e, uint32_t age_s)
{
    struct dns_records walk = dns_records_of(e->answer);
    uint32_t more = age_s - e->aged_s;
    e->aged_s = age_s;
    for (struct dns_record r; more && dns_records_next(&walk, &r);) {
        uint32_t left = r.ttl_s - more; /* of the life, which no TTL is below */
        uint8_t *at = (uint8_t *)(uintptr_t)e->answer.p + r.ttl_at;
        for (int i = 0; i < 4 && r.type != DNS_TYPE_OPT; i++)
            at[i] = (uint8_t)(left >> (24 - 8 * i));
    }
}

/* Upstreams let addresses take turns so that load is spread: a cache must not end that. */
static void take_turns(struct entry *e, uint16_t type)
{
    struct dns_records walk = dns_records_of(e->answer);
    size_t bytes = type == DNS_TYPE_A ? 4 : 16, n = 0;
    uint8_t *data[TURNS_MAX], first[16];
    if (type != DNS_TYPE_A && type != DNS_TYPE_AAAA)
        return;
    for (struct dns_record r; n < TURNS_MAX && dns_records_next(&walk, &r) && r.section == DNS_ANSWER;)
        if (r.type == type && r.data.n == bytes)
            data[n++] = (uint8_t *)(uintptr_t)r.data.p;
    if (n < 2)
        return;
    memcpy(first, data[0], bytes);
    for (size_t i = 0; i + 1 < n; i++)
        memcpy(data[i], data[i + 1], bytes);
    memcpy(data[n - 1], first, bytes);
}

struct str answer_cache_get(struct answer_cache *c, const struct dns_packet_query *q, uint64_t now_us)
{
    char bytes[KEY_BYTES];
    struct entry *e = q->has_options ? NULL : map_get(c->by_key, key_of(q, bytes));
    if (!e)
        return STR_NULL;
    uint64_t age_s = (now_us - e->came_us) / 1000000;
    if (age_s >= e->life_s) {
        drop(c, e);
        return STR_NULL;
    }
    list_remove(&e->node);
    list_push_front(&c->used, &e->node);
    age(e, (uint32_t)age_s);
    take_turns(e, q->type);
    return e->answer;
}
