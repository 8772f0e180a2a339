/* SPDX-License-Identifier: Apache-2.0
 *
 * Two things of HPACK. Any bytes as blocks to one decoder: no text outside of the block and tables, no
 * table past its limit. And the fields that come out of them through our encoder and a second
 * decoder: they must come out the same. Blocks are cut by a length byte each; byte 0 chooses table
 * sizes.
 */
#include "http/codec/headers.h"
#include "http/codec/hpack.h"

#include <stdlib.h>
#include <string.h>

#define FIELDS_MAX 64
#define TEXT_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct coders {
    struct hpack_decoder in, back;
    struct hpack_encoder out;
};

static void check_table(const struct hpack_table *t)
{
    size_t sum = 0;
    for (uint32_t i = t->first; i != t->next; i++) {
        const struct hpack_entry *e = hpack_table_entry(t, i);
        size_t at = e->at - t->text_base;
        if (at + e->name_n + e->value_n > t->text_end)
            abort();
        sum += e->name_n + e->value_n + HPACK_ENTRY_OVERHEAD;
    }
    if (sum != t->bytes || t->bytes > t->max_bytes || t->text_end > t->text_cap ||
        t->text_cap > 4 * HPACK_DEFAULT_TABLE_BYTES)
        abort();
}

/* The decoder's text is good for one step only. */
static size_t read_fields(struct hpack_decoder *d, struct hpack_field *fields, char *text, enum hpack_step *last)
{
    size_t n = 0, used = 0;
    struct hpack_field f;
    while ((*last = hpack_decode_next(d, &f)) == HPACK_FIELD) {
        check_table(&d->table);
        if (f.id != (uint16_t)header_id_of(f.name))
            abort();
        if (n == FIELDS_MAX || used + f.name.n + f.value.n > TEXT_MAX)
            continue;
        memcpy(text + used, f.name.p, f.name.n);
        memcpy(text + used + f.name.n, f.value.p, f.value.n);
        f.name.p = text + used;
        f.value.p = text + used + f.name.n;
        used += f.name.n + f.value.n;
        f.flags &= HPACK_NEVER_INDEX;
        fields[n++] = f;
    }
    return n;
}

static void carry(struct coders *c, const struct hpack_field *fields, size_t n)
{
    size_t most = HPACK_BLOCK_PREFIX_MAX;
    for (size_t i = 0; i < n; i++)
        most += hpack_encoded_max(fields[i].name.n, fields[i].value.n);
    uint8_t *block = malloc(most);
    uint8_t *end = hpack_encode_start(&c->out, block);
    for (size_t i = 0; i < n; i++)
        end = hpack_encode(&c->out, end, &fields[i]);
    if ((size_t)(end - block) > most)
        abort();
    check_table(&c->out.table);
    struct hpack_field f;
    char *scratch = malloc(HPACK_HUFFMAN_MAX((size_t)(end - block)));
    hpack_decode_start(&c->back, block, (size_t)(end - block), scratch);
    for (size_t i = 0; i < n; i++) {
        if (hpack_decode_next(&c->back, &f) != HPACK_FIELD || !str_eq(f.name, fields[i].name) ||
            !str_eq(f.value, fields[i].value))
            abort();
        if (fields[i].flags & HPACK_NEVER_INDEX && !(f.flags & (HPACK_NEVER_INDEX | HPACK_VALUE_STATIC)))
            abort();
    }
    if (hpack_decode_next(&c->back, &f) != HPACK_END || c->back.table.bytes != c->out.table.bytes)
        abort();
    free(scratch);
    free(block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct coders c;
    if (size == 0)
        return 0;
    hpack_decoder_init(&c.in);
    hpack_decoder_init(&c.back);
    hpack_encoder_init(&c.out, HPACK_DEFAULT_TABLE_BYTES);
    hpack_decoder_set_limit(&c.in, (size_t)(data[0] & 15) * 300);
    hpack_encoder_set_peer_limit(&c.out, (size_t)(data[0] >> 4) * 300);
    enum hpack_step last = HPACK_END;
    for (size_t at = 1; at < size && last == HPACK_END;) {
        size_t n = data[at++];
        n = n < size - at ? n : size - at;
        uint8_t *block = malloc(n ? n : 1); /* of its own, so that reading past it shows */
        memcpy(block, data + at, n);
        at += n;
        struct hpack_field fields[FIELDS_MAX];
        char text[TEXT_MAX];
        char *scratch = malloc(HPACK_HUFFMAN_MAX(n));
        hpack_decode_start(&c.in, block, n, scratch);
        size_t count = read_fields(&c.in, fields, text, &last);
        free(scratch);
        free(block);
        carry(&c, fields, count);
    }
    hpack_decoder_fini(&c.in);
    hpack_decoder_fini(&c.back);
    hpack_encoder_fini(&c.out);
    return 0;
}
