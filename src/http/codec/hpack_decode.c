/* SPDX-License-Identifier: Apache-2.0
 *
 * HPACK decoding (RFC 7541), a whole block at a time, field by field. What a field's text is like is
 * found out when the text is read: once for an entry of the table, however often the peer refers to
 * it. Refuses indices that don't exist, integers past 32 bits, bad Huffman code, table sizes above
 * what we allowed, and size updates anywhere but at the block's start; a table can't be trusted
 * after any of these, so the connection ends.
 */
#include "http/codec/hpack.h"

#include "http/codec/headers.h"

#include <string.h>

/* ---- what text is like ---- */

enum { NAME_CHAR = 1, VALUE_CHAR = 2, UNDERSCORE = 4 };

static uint8_t classes[256];

__attribute__((constructor)) static void make_classes(void)
{
    for (unsigned c = 0; c < 256; c++) {
        bool is_lower = c >= 'a' && c <= 'z', is_digit = c >= '0' && c <= '9';
        if (is_lower || is_digit || (c && c < 128 && strchr("!#$%&'*+-.^_`|~", (int)c)))
            classes[c] |= NAME_CHAR;
        if ((c >= 0x20 && c != 0x7f) || c == '\t')
            classes[c] |= VALUE_CHAR;
        if (c == '_')
            classes[c] |= UNDERSCORE;
    }
}

static uint8_t name_flags(struct str name)
{
    uint8_t all = NAME_CHAR, any = 0;
    size_t i = name.n && name.p[0] == ':' ? 1 : 0;
    if (i == name.n)
        return HPACK_NAME_BAD;
    for (; i < name.n; i++) {
        uint8_t class = classes[(uint8_t)name.p[i]];
        all &= class;
        any |= class;
    }
    return (all ? 0 : HPACK_NAME_BAD) | (any & UNDERSCORE ? HPACK_UNDERSCORED : 0);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static uint8_t value_flags(struct str v)
{
    uint8_t all = VALUE_CHAR;
    if (v.n == 0)
        return 0;
    for (size_t i = 0; i < v.n; i++)
        all &= classes[(uint8_t)v.p[i]];
    return all && !is_space(v.p[0]) && !is_space(v.p[v.n - 1]) ? 0 : HPACK_VALUE_BAD;
}

/* ---- primitives ---- */

/* Section 5.1. False: the block ends, or the value is past 32 bits. */
static bool read_int(struct hpack_decoder *d, unsigned prefix_bits, uint32_t *value)
{
    uint32_t mask = (1u << prefix_bits) - 1;
    if (d->at == d->end)
        return false;
    uint32_t first = *d->at++ & mask;
    *value = first;
    if (first < mask)
        return true;
    uint64_t sum = first;
    for (unsigned shift = 0; d->at < d->end && shift <= 28; shift += 7) {
        uint8_t byte = *d->at++;
        sum += (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *value = (uint32_t)sum;
            return sum <= UINT32_MAX;
        }
    }
    return false;
}

/* Section 5.2. Plain text is left where it is. */
static bool read_string(struct hpack_decoder *d, struct str *s)
{
    if (d->at == d->end)
        return false;
    bool is_huffman = *d->at & 0x80;
    uint32_t n;
    if (!read_int(d, 7, &n) || n > (size_t)(d->end - d->at))
        return false;
    const uint8_t *p = d->at;
    d->at += n;
    if (!is_huffman) {
        *s = str_make((const char *)p, n);
        return true;
    }
    ptrdiff_t decoded = hpack_huffman_decode(d->scratch_at, p, n);
    if (decoded < 0)
        return false;
    *s = str_make(d->scratch_at, (size_t)decoded);
    d->scratch_at += decoded;
    return true;
}

/* Index 1 to 61 is the static table, the newest dynamic entry follows (section 2.3.3). */
static bool look_up(const struct hpack_decoder *d, uint32_t index, struct hpack_field *f)
{
    if (index - 1 < HPACK_STATIC_COUNT) {
        *f = *hpack_static(index);
        return true;
    }
    uint32_t age = index - HPACK_STATIC_COUNT - 1;
    if (index == 0 || age >= hpack_table_count(&d->table))
        return false;
    const struct hpack_entry *e = hpack_table_entry(&d->table, d->table.next - 1 - age);
    const char *name = hpack_entry_name(&d->table, e);
    struct str known = header_name((enum header_id)e->id);
    f->name = known.p ? known : str_make(name, e->name_n);
    f->value = str_make(name + e->name_n, e->value_n);
    f->id = e->id;
    f->flags = e->flags | (known.p ? HPACK_NAME_STATIC : 0);
    return true;
}

/* ---- fields ---- */

/* Section 6.3 */
static enum hpack_step resize(struct hpack_decoder *d)
{
    uint32_t bytes;
    if (d->fields_seen || !read_int(d, 5, &bytes) || bytes > d->limit_bytes)
        return HPACK_BAD;
    d->must_shrink = false;
    hpack_table_set_max(&d->table, bytes);
    return HPACK_FIELD;
}

static void learn_name(struct hpack_field *f)
{
    f->id = (uint16_t)header_id_of(f->name);
    if (f->id != HDR_OTHER) {
        f->name = header_name((enum header_id)f->id);
        f->flags |= HPACK_NAME_STATIC;
    } else {
        f->flags |= name_flags(f->name);
    }
}

/* Section 6.2 */
static enum hpack_step literal(struct hpack_decoder *d, struct hpack_field *f, unsigned prefix_bits, bool add)
{
    uint32_t index;
    if (!read_int(d, prefix_bits, &index))
        return HPACK_BAD;
    if (index) {
        if (!look_up(d, index, f))
            return HPACK_BAD;
        f->flags &= HPACK_NAME_STATIC | HPACK_NAME_BAD | HPACK_UNDERSCORED;
    } else {
        f->flags = 0;
        if (!read_string(d, &f->name))
            return HPACK_BAD;
        learn_name(f);
    }
    if (!read_string(d, &f->value))
        return HPACK_BAD;
    f->flags |= value_flags(f->value);
    if (add && !hpack_table_add(&d->table, f, 0, 0))
        return HPACK_NO_MEMORY;
    return HPACK_FIELD;
}

enum hpack_step hpack_decode_next(struct hpack_decoder *d, struct hpack_field *f)
{
    while (d->at < d->end && (*d->at & 0xe0) == 0x20) {
        if (resize(d) != HPACK_FIELD)
            return HPACK_BAD;
    }
    if (d->at == d->end)
        return HPACK_END;
    if (d->must_shrink)
        return HPACK_BAD;
    d->fields_seen = true;
    d->scratch_at = d->scratch;
    uint8_t first = *d->at;
    if (first & 0x80) {
        uint32_t index;
        return read_int(d, 7, &index) && look_up(d, index, f) ? HPACK_FIELD : HPACK_BAD;
    }
    if (first & 0x40)
        return literal(d, f, 6, true);
    enum hpack_step step = literal(d, f, 4, false);
    if (first & 0x10)
        f->flags |= HPACK_NEVER_INDEX;
    return step;
}

void hpack_decode_start(struct hpack_decoder *d, const uint8_t *block, size_t n, char *scratch)
{
    d->at = block;
    d->end = block + n;
    d->scratch = scratch;
    d->fields_seen = false;
}

void hpack_decoder_init(struct hpack_decoder *d)
{
    *d = (struct hpack_decoder){.limit_bytes = HPACK_DEFAULT_TABLE_BYTES};
    hpack_table_init(&d->table, HPACK_DEFAULT_TABLE_BYTES);
}

void hpack_decoder_fini(struct hpack_decoder *d)
{
    hpack_table_fini(&d->table);
}

void hpack_decoder_set_limit(struct hpack_decoder *d, size_t bytes)
{
    d->limit_bytes = bytes;
    d->must_shrink = bytes < d->table.max_bytes;
}
