/* SPDX-License-Identifier: Apache-2.0
 *
 * Header lists. Invariants: items[0..count) are in wire order; bit i of `mask` is set exactly while
 * an item with id i (< 64) is there; `bytes` is the sum of all name and value lengths. All memory
 * comes from the list's arena, so there is nothing to free. A list belongs to one thread. Nothing is
 * validated here: codecs do that at the edge.
 *
 * Names become ids through a perfect hash over the length and the first, middle and last eight
 * bytes; its multiplier is searched once, before main, so that a row added to HEADER_TABLE needs no
 * other step.
 */
#include "http/codec/headers.h"

#include "base/check.h"

#include <string.h>

#define HEADERS_CAP_FIRST 16
#define SLOT_BITS 10
#define SLOT_EMPTY 0xff

static const struct str names[] = {
#define X(id, name) {name, sizeof(name) - 1},
    HEADER_TABLE(X)
#undef X
};
_Static_assert(HDR_OTHER < SLOT_EMPTY, "an id must fit a slot of the hash");

static uint8_t slots[1 << SLOT_BITS];
static uint64_t slot_multiplier;

static inline uint64_t load_u64(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint32_t load_u32(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

/* Reads inside [p, p + n) only; n > 0. */
static inline uint64_t name_key(const char *p, size_t n)
{
    uint64_t head, tail;
    if (n >= 8) {
        head = load_u64(p) ^ load_u64(p + n / 2 - 4) * 0xff51afd7ed558ccdu;
        tail = load_u64(p + n - 8);
    } else if (n >= 4) {
        head = load_u32(p);
        tail = load_u32(p + n - 4);
    } else {
        head = (unsigned char)p[0];
        tail = (unsigned char)p[n - 1];
    }
    return head ^ (tail * 0x9e3779b97f4a7c15u) ^ ((uint64_t)n << 56);
}

static inline unsigned name_slot(const char *p, size_t n, uint64_t multiplier)
{
    uint64_t h = name_key(p, n);
    h = (h ^ (h >> 32)) * multiplier;
    return (unsigned)(h >> (64 - SLOT_BITS));
}

static bool slots_fill(uint64_t multiplier)
{
    memset(slots, SLOT_EMPTY, sizeof(slots));
    for (unsigned id = 0; id < HDR_OTHER; id++) {
        unsigned slot = name_slot(names[id].p, names[id].n, multiplier);
        if (slots[slot] != SLOT_EMPTY)
            return false;
        slots[slot] = (uint8_t)id;
    }
    return true;
}

__attribute__((constructor)) static void slots_search(void)
{
    uint64_t multiplier = 0x2545f4914f6cdd1du;
    for (unsigned tries = 0; !slots_fill(multiplier); tries++) {
        CHECK(tries < 100000); /* rows of HEADER_TABLE that are alike in all that is hashed */
        multiplier = (multiplier * 6364136223846793005u + 1442695040888963407u) | 1;
    }
    slot_multiplier = multiplier;
}

/* Equal lengths; n > 0. The same loads as the hash's, which reach every byte of up to 24. */
static inline bool is_same_name(const char *a, const char *b, size_t n)
{
    if (n > 24)
        return memcmp(a, b, n) == 0;
    if (n >= 8)
        return load_u64(a) == load_u64(b) && load_u64(a + n - 8) == load_u64(b + n - 8) &&
               load_u64(a + n / 2 - 4) == load_u64(b + n / 2 - 4);
    if (n >= 4)
        return load_u32(a) == load_u32(b) && load_u32(a + n - 4) == load_u32(b + n - 4);
    return a[0] == b[0] && a[n / 2] == b[n / 2] && a[n - 1] == b[n - 1];
}

enum header_id header_id_of(struct str lower_name)
{
    if (lower_name.n == 0)
        return HDR_OTHER;
    unsigned id = slots[name_slot(lower_name.p, lower_name.n, slot_multiplier)];
    if (id == SLOT_EMPTY || names[id].n != lower_name.n ||
        !is_same_name(names[id].p, lower_name.p, lower_name.n))
        return HDR_OTHER;
    return (enum header_id)id;
}

struct str header_name(enum header_id id)
{
    return id < HDR_OTHER ? names[id] : STR_NULL;
}

void headers_init(struct headers *h, struct arena *arena)
{
    *h = (struct headers){.arena = arena};
}

static bool grow(struct headers *h)
{
    uint32_t cap = h->cap ? h->cap * 2 : HEADERS_CAP_FIRST;
    struct header *items = arena_alloc(h->arena, cap * sizeof(*items));
    if (!items)
        return false;
    if (h->count)
        memcpy(items, h->items, h->count * sizeof(*items));
    h->items = items;
    h->cap = cap;
    return true;
}

static inline uint64_t id_bit(unsigned id)
{
    return id < 64 ? (uint64_t)1 << id : 0;
}

static inline bool push(struct headers *h, enum header_id id, struct str name, struct str value)
{
    if (__builtin_expect(h->count == h->cap, 0) && !grow(h))
        return false;
    h->items[h->count++] = (struct header){.name = name, .value = value, .id = (uint16_t)id};
    h->mask |= id_bit(id);
    h->bytes += name.n + value.n;
    return true;
}

/* A copy in the arena, NUL-terminated as a kindness to debuggers; false on overflow. */
static bool copy_text(struct arena *a, struct str *s)
{
    char *p = arena_bytes(a, s->n + 1);
    if (!p)
        return false;
    if (s->n)
        memcpy(p, s->p, s->n);
    p[s->n] = '\0';
    s->p = p;
    return true;
}

bool headers_add_ref(struct headers *h, struct str lower_name, struct str value)
{
    return push(h, header_id_of(lower_name), lower_name, value);
}

bool headers_add_id_ref(struct headers *h, enum header_id id, struct str value)
{
    DCHECK(id < HDR_OTHER);
    return push(h, id, names[id], value);
}

/* Lowers `name` into the arena, or gives the static text of a well-known name. */
static bool own_name(struct arena *a, struct str *name, enum header_id *id)
{
    char *p = arena_bytes(a, name->n + 1);
    if (!p)
        return false;
    for (size_t i = 0; i < name->n; i++)
        p[i] = ascii_lower(name->p[i]);
    p[name->n] = '\0';
    name->p = p;
    *id = header_id_of(*name);
    return true;
}

bool headers_add(struct headers *h, struct str name, struct str value)
{
    enum header_id id = header_id_of(name);
    if (id != HDR_OTHER)
        name = names[id];
    else if (!own_name(h->arena, &name, &id))
        return false;
    return copy_text(h->arena, &value) && push(h, id, name, value);
}

static bool is_named(const struct header *item, enum header_id id, struct str name)
{
    return id != HDR_OTHER ? item->id == id : item->id == HDR_OTHER && str_eq(item->name, name);
}

/* Index of the first item so named from `from` on, or count. */
static uint32_t index_of(const struct headers *h, enum header_id id, struct str name, uint32_t from)
{
    if (id < 64 && !headers_has_id(h, id))
        return h->count;
    for (uint32_t i = from; i < h->count; i++) {
        if (is_named(&h->items[i], id, name))
            return i;
    }
    return h->count;
}

/* Compacts over the items so named from index `from` on. */
static size_t remove_from(struct headers *h, enum header_id id, struct str name, uint32_t from)
{
    uint32_t kept = index_of(h, id, name, from), gone = 0;
    for (uint32_t i = kept; i < h->count; i++) {
        const struct header *item = &h->items[i];
        if (is_named(item, id, name)) {
            h->bytes -= item->name.n + item->value.n;
            gone++;
        } else {
            h->items[kept++] = *item;
        }
    }
    h->count -= gone;
    return gone;
}

static bool set_ref(struct headers *h, enum header_id id, struct str name, struct str value)
{
    uint32_t at = index_of(h, id, name, 0);
    if (at == h->count)
        return push(h, id, name, value);
    struct header *item = &h->items[at];
    h->bytes += value.n;
    h->bytes -= item->value.n;
    item->value = value;
    item->never_index = false;
    remove_from(h, id, name, at + 1);
    return true;
}

bool headers_set(struct headers *h, struct str lower_name, struct str value)
{
    enum header_id id = header_id_of(lower_name);
    if (id != HDR_OTHER)
        return headers_set_id(h, id, value);
    uint32_t at = index_of(h, id, lower_name, 0);
    if (at < h->count)
        lower_name = h->items[at].name;
    else if (!copy_text(h->arena, &lower_name))
        return false;
    return copy_text(h->arena, &value) && set_ref(h, id, lower_name, value);
}

bool headers_set_id(struct headers *h, enum header_id id, struct str value)
{
    DCHECK(id < HDR_OTHER);
    return copy_text(h->arena, &value) && set_ref(h, id, names[id], value);
}

bool headers_set_id_ref(struct headers *h, enum header_id id, struct str value)
{
    DCHECK(id < HDR_OTHER);
    return set_ref(h, id, names[id], value);
}

bool headers_append_id(struct headers *h, enum header_id id, struct str value)
{
    struct header *item = headers_find_id(h, id);
    if (!item)
        return headers_set_id(h, id, value);
    size_t n = item->value.n + 1 + value.n;
    char *p = arena_bytes(h->arena, n + 1);
    if (!p)
        return false;
    if (item->value.n)
        memcpy(p, item->value.p, item->value.n);
    p[item->value.n] = ',';
    if (value.n)
        memcpy(p + item->value.n + 1, value.p, value.n);
    p[n] = '\0';
    h->bytes += n - item->value.n;
    item->value = str_make(p, n);
    return true;
}

struct header *headers_find_id(const struct headers *h, enum header_id id)
{
    if (id < 64 && !headers_has_id(h, id))
        return NULL;
    for (struct header *item = h->items, *end = item + h->count; item < end; item++) {
        if (item->id == id)
            return item;
    }
    return NULL;
}

struct header *headers_find(const struct headers *h, struct str lower_name)
{
    uint32_t at = index_of(h, header_id_of(lower_name), lower_name, 0);
    return at < h->count ? &h->items[at] : NULL;
}

struct str headers_get_id(const struct headers *h, enum header_id id)
{
    const struct header *item = headers_find_id(h, id);
    return item ? item->value : STR_NULL;
}

struct str headers_get(const struct headers *h, struct str lower_name)
{
    const struct header *item = headers_find(h, lower_name);
    return item ? item->value : STR_NULL;
}

struct str headers_get_joined(const struct headers *h, struct str lower_name, struct arena *a)
{
    enum header_id id = header_id_of(lower_name);
    uint32_t first = index_of(h, id, lower_name, 0);
    if (first == h->count)
        return STR_NULL;
    if (index_of(h, id, lower_name, first + 1) == h->count)
        return h->items[first].value;
    size_t n = 0;
    for (uint32_t i = first; i < h->count; i = index_of(h, id, lower_name, i + 1))
        n += h->items[i].value.n + 1;
    char *p = arena_bytes(a, n), *at = p;
    if (!p)
        return STR_NULL;
    for (uint32_t i = first; i < h->count; i = index_of(h, id, lower_name, i + 1)) {
        struct str value = h->items[i].value;
        if (i != first)
            *at++ = ',';
        if (value.n)
            memcpy(at, value.p, value.n);
        at += value.n;
    }
    return str_make(p, (size_t)(at - p));
}

size_t headers_remove_id(struct headers *h, enum header_id id)
{
    DCHECK(id < HDR_OTHER);
    size_t gone = remove_from(h, id, names[id], 0);
    h->mask &= ~id_bit(id);
    return gone;
}

size_t headers_remove(struct headers *h, struct str lower_name)
{
    enum header_id id = header_id_of(lower_name);
    if (id != HDR_OTHER)
        return headers_remove_id(h, id);
    return remove_from(h, id, lower_name, 0);
}

void headers_remove_at(struct headers *h, uint32_t index)
{
    CHECK(index < h->count);
    struct header *item = &h->items[index];
    enum header_id id = (enum header_id)item->id;
    h->bytes -= item->name.n + item->value.n;
    memmove(item, item + 1, (h->count - index - 1) * sizeof(*item));
    h->count--;
    if (id < 64 && index_of(h, id, STR_NULL, 0) == h->count)
        h->mask &= ~id_bit(id);
}

static bool copy_item(struct headers *dst, const struct header *item)
{
    struct str name = item->name, value = item->value;
    struct str raw = str_make(item->raw_name, name.n);
    if (item->id < HDR_OTHER)
        name = names[item->id];
    else if (!copy_text(dst->arena, &name))
        return false;
    if (!copy_text(dst->arena, &value) || (raw.p && !copy_text(dst->arena, &raw)) ||
        !push(dst, (enum header_id)item->id, name, value))
        return false;
    dst->items[dst->count - 1].raw_name = raw.p;
    dst->items[dst->count - 1].never_index = item->never_index;
    return true;
}

bool headers_copy(struct headers *dst, const struct headers *src, struct arena *arena)
{
    headers_init(dst, arena);
    for (uint32_t i = 0; i < src->count; i++) {
        if (!copy_item(dst, &src->items[i]))
            return false;
    }
    return true;
}

/* RFC 9110 section 5.6.2 */
static bool is_token_char(unsigned char c)
{
    if ((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'))
        return true;
    return c && strchr("!#$%&'*+-.^_`|~", c);
}

bool header_name_is_valid(struct str name)
{
    for (size_t i = 0; i < name.n; i++) {
        if (!is_token_char((unsigned char)name.p[i]))
            return false;
    }
    return name.n > 0;
}

bool header_value_is_valid(struct str value)
{
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

bool header_list_has(struct str list, struct str lower_token)
{
    if (list.n == 0)
        return false;
    const char *p = list.p, *end = p + list.n;
    while (p < end) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        const char *stop = comma ? comma : end;
        if (str_eq_nocase(str_trim(str_make(p, (size_t)(stop - p))), lower_token))
            return true;
        p = stop + 1;
    }
    return false;
}

bool header_may_be_trailer(enum header_id id)
{
    switch ((int)id) {
    case HDR_HOST:
    case HDR_CONNECTION:
    case HDR_CONTENT_LENGTH:
    case HDR_TRANSFER_ENCODING:
    case HDR_CONTENT_TYPE:
    case HDR_CONTENT_ENCODING:
    case HDR_TE:
    case HDR_EXPECT:
    case HDR_UPGRADE:
    case HDR_KEEP_ALIVE:
    case HDR_PROXY_CONNECTION:
    case HDR_HTTP2_SETTINGS:
    case HDR_TRAILER:
    case HDR_AUTHORIZATION:
    case HDR_COOKIE:
    case HDR_SET_COOKIE:
    case HDR_RANGE:
    case HDR_CACHE_CONTROL:
    case HDR_X_FORWARDED_CLIENT_CERT:
        return false;
    default:
        return true;
    }
}
