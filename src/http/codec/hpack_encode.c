/* SPDX-License-Identifier: Apache-2.0
 *
 * HPACK encoding (RFC 7541). A field that comes for the second time within the last few dozen
 * enters the dynamic table: what never comes again (identifiers, paths with a number in them) would
 * only push others out. Fields are found again through a hash of name and value, with a slot for
 * each hash: a collision costs some compression and nothing else. Text is Huffman-coded only where
 * it enters the table, thus once; what is sent as it is costs a copy. Secrets are marked as never
 * to be indexed (section 7.1.3).
 */
#include "http/codec/hpack.h"

#include "http/codec/headers.h"

#include <string.h>

#define COOKIE_GUESSABLE_BYTES 20

void hpack_encoder_init(struct hpack_encoder *e, size_t limit_bytes)
{
    memset(e, 0, sizeof(*e));
    e->limit_bytes = limit_bytes;
    hpack_table_init(&e->table, HPACK_DEFAULT_TABLE_BYTES);
    hpack_encoder_set_peer_limit(e, HPACK_DEFAULT_TABLE_BYTES);
}

void hpack_encoder_fini(struct hpack_encoder *e)
{
    hpack_table_fini(&e->table);
}

void hpack_encoder_set_peer_limit(struct hpack_encoder *e, size_t bytes)
{
    bytes = bytes < e->limit_bytes ? bytes : e->limit_bytes;
    if (bytes == e->table.max_bytes)
        return;
    if (!e->size_changed || bytes < e->smallest_bytes)
        e->smallest_bytes = bytes;
    e->size_changed = true;
    hpack_table_set_max(&e->table, bytes);
}

/* ---- primitives ---- */

/* Section 5.1; `first` holds what stands before the prefix. */
static inline uint8_t *put_int(uint8_t *out, uint8_t first, unsigned prefix_bits, uint32_t value)
{
    uint32_t mask = (1u << prefix_bits) - 1;
    if (value < mask) {
        *out++ = (uint8_t)(first | value);
        return out;
    }
    *out++ = (uint8_t)(first | mask);
    for (value -= mask; value >= 0x80; value >>= 7)
        *out++ = (uint8_t)(value | 0x80);
    *out++ = (uint8_t)value;
    return out;
}

static uint8_t *put_string(uint8_t *out, struct str s, bool huffman)
{
    size_t n = huffman ? hpack_huffman_bytes(s) : s.n;
    if (n < s.n) {
        out = put_int(out, 0x80, 7, (uint32_t)n);
        return hpack_huffman_encode(out, s);
    }
    out = put_int(out, 0, 7, (uint32_t)s.n);
    if (s.n)
        memcpy(out, s.p, s.n);
    return out + s.n;
}

/* Sections 4.2 and 6.3: the smallest size in between, then the present one. */
uint8_t *hpack_encode_start(struct hpack_encoder *e, uint8_t *out)
{
    if (!e->size_changed)
        return out;
    e->size_changed = false;
    if (e->smallest_bytes < e->table.max_bytes)
        out = put_int(out, 0x20, 5, (uint32_t)e->smallest_bytes);
    return put_int(out, 0x20, 5, (uint32_t)e->table.max_bytes);
}

/* ---- finding ---- */

static inline uint64_t load(const char *p, size_t n)
{
    uint64_t v = 0;
    memcpy(&v, p, n);
    return v;
}

static inline uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ (h >> 29);
}

/* Not against collisions on purpose: those cost the peer compression. */
static inline uint32_t hash_text(uint64_t h, struct str s)
{
    const char *p = s.p;
    size_t n = s.n;
    h ^= n;
    for (; n > 8; p += 8, n -= 8)
        h = mix(h, load(p, 8));
    if (s.n >= 8)
        h = mix(h, load(s.p + s.n - 8, 8));
    else if (n & 4)
        h = mix(h, load(p, 4) << 32 | load(s.p + s.n - 4, 4));
    else if (n)
        h = mix(h, (uint64_t)(uint8_t)p[0] << 16 | (uint64_t)(uint8_t)p[n / 2] << 8 | (uint8_t)p[n - 1]);
    return (uint32_t)(h >> 32 ^ h);
}

static inline uint32_t hash_name(const struct hpack_field *f)
{
    return f->id != HDR_OTHER ? f->id * 0x85ebca6bu + 1 : hash_text(7, f->name);
}

static inline bool is_entry_named(const struct hpack_table *t, const struct hpack_entry *e,
                                  const struct hpack_field *f)
{
    if (f->id != HDR_OTHER)
        return e->id == f->id;
    return e->id == HDR_OTHER && e->name_n == f->name.n &&
           memcmp(hpack_entry_name(t, e), f->name.p, f->name.n) == 0;
}

static inline uint32_t index_of(const struct hpack_table *t, uint32_t serial)
{
    return HPACK_STATIC_COUNT + t->next - serial;
}

/* 0: not there. */
static uint32_t find(const struct hpack_encoder *e, const struct hpack_field *f, uint32_t hash)
{
    const struct hpack_table *t = &e->table;
    uint32_t serial = e->slots[hash % HPACK_SLOTS];
    if (!hpack_table_has(t, serial))
        return 0;
    const struct hpack_entry *entry = hpack_table_entry(t, serial);
    if (entry->hash != hash || entry->value_n != f->value.n || !is_entry_named(t, entry, f) ||
        (f->value.n && memcmp(hpack_entry_value(t, entry), f->value.p, f->value.n) != 0))
        return 0;
    return index_of(t, serial);
}

static uint32_t find_name(const struct hpack_encoder *e, const struct hpack_field *f, uint32_t name_hash)
{
    uint32_t index = hpack_static_of_id(f->id);
    if (index)
        return index;
    const struct hpack_table *t = &e->table;
    uint32_t serial = e->name_slots[name_hash % HPACK_SEEN];
    if (!hpack_table_has(t, serial) || !is_entry_named(t, hpack_table_entry(t, serial), f))
        return 0;
    return index_of(t, serial);
}

/* The static table's fields with a value; 0: none. */
static uint32_t find_static(const struct hpack_field *f)
{
    uint32_t first, last;
    switch (f->id) {
    case HDR_METHOD:
        first = 2, last = 3;
        break;
    case HDR_PATH:
        first = 4, last = 5;
        break;
    case HDR_SCHEME:
        first = 6, last = 7;
        break;
    case HDR_STATUS:
        first = 8, last = 14;
        break;
    case HDR_ACCEPT_ENCODING:
        first = last = 16;
        break;
    default:
        return 0;
    }
    for (uint32_t i = first; i <= last; i++) {
        if (str_eq(hpack_static(i)->value, f->value))
            return i;
    }
    return 0;
}

/* ---- fields ---- */

static bool is_secret(const struct hpack_field *f)
{
    return f->flags & HPACK_NEVER_INDEX || f->id == HDR_AUTHORIZATION ||
           (f->id == HDR_COOKIE && f->value.n < COOKIE_GUESSABLE_BYTES);
}

static uint8_t *put_literal(uint8_t *out, const struct hpack_field *f, uint8_t first, unsigned prefix_bits,
                            uint32_t name_index, bool huffman)
{
    out = put_int(out, first, prefix_bits, name_index);
    if (!name_index)
        out = put_string(out, f->name, huffman);
    return put_string(out, f->value, huffman);
}

static bool is_seen(struct hpack_encoder *e, uint32_t hash)
{
    uint32_t *slot = &e->seen[hash % HPACK_SEEN];
    bool seen = *slot == hash;
    *slot = hash;
    return seen;
}

/* False: too large, or no memory; the peer must not index it either. */
static bool remember(struct hpack_encoder *e, const struct hpack_field *f, uint32_t hash, uint32_t name_hash)
{
    struct hpack_field copy = *f;
    uint32_t serial = e->table.next;
    if (f->name.n + f->value.n + HPACK_ENTRY_OVERHEAD > e->table.max_bytes ||
        !hpack_table_add(&e->table, &copy, hash, name_hash))
        return false;
    e->slots[hash % HPACK_SLOTS] = serial;
    e->name_slots[name_hash % HPACK_SEEN] = serial;
    return true;
}

uint8_t *hpack_encode(struct hpack_encoder *e, uint8_t *out, const struct hpack_field *f)
{
    uint32_t index = find_static(f);
    if (index)
        return put_int(out, 0x80, 7, index);
    uint32_t name_hash = hash_name(f);
    if (is_secret(f))
        return put_literal(out, f, 0x10, 4, find_name(e, f, name_hash), false);
    if (f->flags & HPACK_UNIQUE)
        return put_literal(out, f, 0, 4, find_name(e, f, name_hash), false);
    uint32_t hash = hash_text(name_hash, f->value);
    index = find(e, f, hash);
    if (index)
        return put_int(out, 0x80, 7, index);
    index = find_name(e, f, name_hash); /* as it is before the entry is added */
    if (is_seen(e, hash) && remember(e, f, hash, name_hash))
        return put_literal(out, f, 0x40, 6, index, true);
    return put_literal(out, f, 0, 4, index, false);
}
