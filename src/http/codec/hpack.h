/* SPDX-License-Identifier: Apache-2.0
 *
 * HPACK (RFC 7541): header blocks to fields and back. One decoder and one encoder a connection; both
 * belong to its thread. The dynamic tables never hold more than their limit, and take no memory
 * before something enters them.
 */
#ifndef HTTP_CODEC_HPACK_H
#define HTTP_CODEC_HPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

#define HPACK_DEFAULT_TABLE_BYTES 4096 /* until SETTINGS say otherwise */
#define HPACK_ENTRY_OVERHEAD 32        /* section 4.1 */
#define HPACK_STATIC_COUNT 61

/* Facts about a field's text; an entry of a table learns them once, when it enters. */
enum {
    HPACK_NEVER_INDEX = 1,
    HPACK_NAME_STATIC = 2,  /* the text outlives everything */
    HPACK_VALUE_STATIC = 4,
    HPACK_NAME_BAD = 8,     /* RFC 9113 section 8.2.1: not a lower-case token (a leading colon is fine) */
    HPACK_VALUE_BAD = 16,   /* a control character, or white space at either end */
    HPACK_UNDERSCORED = 32,
    HPACK_UNIQUE = 64,      /* encoding: not worth an entry */
};

struct hpack_field {
    struct str name, value; /* valid until the decoder's next step, where not static */
    uint16_t id;            /* enum header_id */
    uint8_t flags;
};

/* ---- tables ---- */

struct hpack_entry {
    uint32_t at;             /* position of its text, the name first; see hpack_table.text_base */
    uint32_t name_n, value_n;
    uint32_t hash, name_hash; /* the encoder's */
    uint16_t id;
    uint8_t flags;
};

/* Entries are known by a serial number that grows by one with each; those from `first` to before
 * `next` are alive. Their text lies in the same order in one buffer, moved to its front when the
 * end is reached. */
struct hpack_table {
    struct hpack_entry *entries; /* a ring; its size is a power of two */
    uint32_t entry_cap, first, next;
    size_t bytes, max_bytes;     /* as section 4.1 counts */
    char *text;
    size_t text_cap, text_end;
    uint32_t text_base;          /* position of text[0] */
};
void hpack_table_init(struct hpack_table *t, size_t max_bytes);
void hpack_table_fini(struct hpack_table *t);
void hpack_table_set_max(struct hpack_table *t, size_t max_bytes); /* evicts what doesn't fit */
/* Evicts the oldest to make room; one that is larger than the table empties it and isn't kept
 * (section 4.4). The text of `f` may be an entry's own. False: no memory; the table is unchanged.
 * `*f` is made to point to text that is good until the next change. */
bool hpack_table_add(struct hpack_table *t, struct hpack_field *f, uint32_t hash, uint32_t name_hash);
static inline uint32_t hpack_table_count(const struct hpack_table *t)
{
    return t->next - t->first;
}
static inline bool hpack_table_has(const struct hpack_table *t, uint32_t serial)
{
    return serial - t->first < t->next - t->first;
}
static inline const struct hpack_entry *hpack_table_entry(const struct hpack_table *t, uint32_t serial)
{
    return &t->entries[serial & (t->entry_cap - 1)];
}
static inline const char *hpack_entry_name(const struct hpack_table *t, const struct hpack_entry *e)
{
    return t->text + (e->at - t->text_base);
}
static inline const char *hpack_entry_value(const struct hpack_table *t, const struct hpack_entry *e)
{
    return hpack_entry_name(t, e) + e->name_n;
}
/* Appendix A, index 1 to 61. */
const struct hpack_field *hpack_static(uint32_t index);
uint32_t hpack_static_of_id(uint16_t id); /* lowest index with that name; 0: none */

/* ---- Huffman code (section 5.2, appendix B) ---- */

size_t hpack_huffman_bytes(struct str s); /* encoded; counts no further than s.n */
uint8_t *hpack_huffman_encode(uint8_t *out, struct str s); /* the end of what it wrote */
/* `out` has room for HPACK_HUFFMAN_MAX(n). The count, or -1: not a code, or padded wrongly. */
ptrdiff_t hpack_huffman_decode(char *out, const uint8_t *p, size_t n);
#define HPACK_HUFFMAN_MAX(n) ((n) + (n) / 5 * 3 + 16)

/* ---- decoding ---- */

struct hpack_decoder {
    struct hpack_table table;
    size_t limit_bytes;   /* what we told the peer that it may use */
    bool must_shrink;     /* the limit fell below what it uses: a block begins with saying so (section 4.2) */
    const uint8_t *at, *end; /* the block */
    char *scratch, *scratch_at; /* decoded text of the present field */
    bool fields_seen;     /* in this block: no more size updates */
};
enum hpack_step { HPACK_FIELD, HPACK_END, HPACK_BAD, HPACK_NO_MEMORY };

void hpack_decoder_init(struct hpack_decoder *d);
void hpack_decoder_fini(struct hpack_decoder *d);
void hpack_decoder_set_limit(struct hpack_decoder *d, size_t bytes); /* the peer has acknowledged it */
/* A whole block, and HPACK_HUFFMAN_MAX of its size to decode text into; both are borrowed until
 * HPACK_END. Every block must be decoded to its end, wanted or not. */
void hpack_decode_start(struct hpack_decoder *d, const uint8_t *block, size_t n, char *scratch);
enum hpack_step hpack_decode_next(struct hpack_decoder *d, struct hpack_field *f);

/* ---- encoding ---- */

#define HPACK_SEEN 64 /* powers of two */
#define HPACK_SLOTS 256

struct hpack_encoder {
    struct hpack_table table;
    size_t limit_bytes;      /* ours */
    size_t smallest_bytes;   /* since the last block, to be told where it isn't the present one */
    bool size_changed;
    uint32_t seen[HPACK_SEEN];   /* hashes of fields sent lately: what comes twice is worth an entry */
    uint32_t slots[HPACK_SLOTS]; /* hash to serial number; what is there may be wrong or gone */
    uint32_t name_slots[HPACK_SEEN];
};
void hpack_encoder_init(struct hpack_encoder *e, size_t limit_bytes);
void hpack_encoder_fini(struct hpack_encoder *e);
void hpack_encoder_set_peer_limit(struct hpack_encoder *e, size_t bytes); /* SETTINGS_HEADER_TABLE_SIZE */
/* Room that a field needs at most. */
static inline size_t hpack_encoded_max(size_t name_n, size_t value_n)
{
    return name_n + value_n + 3 * 6;
}
#define HPACK_BLOCK_PREFIX_MAX 12 /* size updates */
uint8_t *hpack_encode_start(struct hpack_encoder *e, uint8_t *out);
/* The end of what it wrote. */
uint8_t *hpack_encode(struct hpack_encoder *e, uint8_t *out, const struct hpack_field *f);

#endif
