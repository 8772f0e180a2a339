/* SPDX-License-Identifier: Apache-2.0
 *
 * HPACK's Huffman code (RFC 7541 section 5.2). The code is canonical: the lengths of appendix B say
 * everything, and codes and tables are made of them once, before main. Decoding looks up to two
 * symbols up at a time by the next LOOKUP_BITS bits; codes longer than that, which no text of
 * headers has but rarely, are found by their length. Refuses EOS, padding of eight bits and more,
 * and padding other than ones.
 */
#include "http/codec/hpack.h"

#include "base/check.h"

#include <string.h>

#define SYMBOLS 257
#define EOS 256
#define LONGEST 30
#define LOOKUP_BITS 12

static const uint8_t lengths[SYMBOLS] = {
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11,
    10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8,
    15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5,
    6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23,
    23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21,
    23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25,
    26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26,
    28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
};

struct code {
    uint32_t bits;
    uint8_t n;
};
struct lookup {
    uint8_t symbols[2];
    uint8_t count;  /* 0: longer than LOOKUP_BITS */
    uint8_t first_n, n; /* bits of the first, of all */
};

static struct code codes[SYMBOLS];
static struct lookup lookups[1 << LOOKUP_BITS];
static uint16_t by_code[SYMBOLS];       /* symbols in the order of their codes */
static uint32_t first_code[LONGEST + 1]; /* of a length, at the top of 32 bits */
static uint16_t first_rank[LONGEST + 1];

static void make_codes(void)
{
    uint32_t code = 0;
    uint16_t rank = 0;
    for (uint8_t n = 1; n <= LONGEST; n++) {
        code <<= 1;
        first_code[n] = code << (32 - n);
        first_rank[n] = rank;
        for (unsigned s = 0; s < SYMBOLS; s++) {
            if (lengths[s] != n)
                continue;
            codes[s] = (struct code){code++, n};
            by_code[rank++] = (uint16_t)s;
        }
    }
    CHECK(rank == SYMBOLS && code == 1u << LONGEST);
}

/* The length of the code at the top of `bits`. */
static uint8_t code_length(uint32_t bits)
{
    uint8_t n = 5;
    while (n < LONGEST && bits >= first_code[n + 1])
        n++;
    return n;
}

static unsigned symbol_at(uint32_t bits, uint8_t n)
{
    return by_code[first_rank[n] + ((bits - first_code[n]) >> (32 - n))];
}

static void make_lookup(uint32_t index)
{
    uint32_t bits = index << (32 - LOOKUP_BITS);
    struct lookup *l = &lookups[index];
    while (l->count < 2) {
        uint8_t n = code_length(bits);
        if (l->n + n > LOOKUP_BITS)
            return;
        l->symbols[l->count] = (uint8_t)symbol_at(bits, n);
        l->n += n;
        l->first_n = l->count ? l->first_n : n;
        l->count++;
        bits <<= n;
    }
}

__attribute__((constructor)) static void make_tables(void)
{
    make_codes();
    for (uint32_t i = 0; i < 1 << LOOKUP_BITS; i++)
        make_lookup(i);
}

size_t hpack_huffman_bytes(struct str s)
{
    size_t bits = 0, most = s.n * 8;
    for (size_t i = 0; i < s.n && bits < most; i++)
        bits += codes[(uint8_t)s.p[i]].n;
    return (bits + 7) / 8;
}

uint8_t *hpack_huffman_encode(uint8_t *out, struct str s)
{
    uint64_t acc = 0;
    unsigned held = 0; /* bits at the low end of acc; fewer than 8 between symbols */
    for (size_t i = 0; i < s.n; i++) {
        struct code c = codes[(uint8_t)s.p[i]];
        acc = acc << c.n | c.bits;
        held += c.n;
        while (held >= 8) {
            held -= 8;
            *out++ = (uint8_t)(acc >> held);
        }
    }
    if (held)
        *out++ = (uint8_t)(acc << (8 - held) | 0xff >> held);
    return out;
}

struct bits {
    uint64_t acc;  /* the next bit at the top */
    unsigned held;
    const uint8_t *at, *end;
};

static inline void refill(struct bits *b)
{
    while (b->held <= 56 && b->at < b->end) {
        b->acc |= (uint64_t)*b->at++ << (56 - b->held);
        b->held += 8;
    }
}

static inline void take(struct bits *b, unsigned n)
{
    b->acc <<= n;
    b->held -= n;
}

/* What is left can't be a symbol: section 5.2 allows up to seven ones. */
static bool is_padding(const struct bits *b)
{
    return b->held < 8 && b->acc == ~(UINT64_MAX >> b->held);
}

ptrdiff_t hpack_huffman_decode(char *out, const uint8_t *p, size_t n)
{
    struct bits b = {.at = p, .end = p + n};
    char *start = out;
    refill(&b);
    while (b.held >= 5) {
        const struct lookup *l = &lookups[b.acc >> (64 - LOOKUP_BITS)];
        if (__builtin_expect(l->count && l->n <= b.held, 1)) {
            memcpy(out, l->symbols, 2); /* the second may be of no meaning yet; there is room */
            out += l->count;
            take(&b, l->n);
        } else if (l->count && l->first_n <= b.held) {
            *out++ = (char)l->symbols[0];
            take(&b, l->first_n);
        } else {
            uint8_t length = code_length((uint32_t)(b.acc >> 32));
            if (length > b.held)
                break;
            unsigned symbol = symbol_at((uint32_t)(b.acc >> 32), length);
            if (symbol == EOS)
                return -1;
            *out++ = (char)symbol;
            take(&b, length);
        }
        if (b.held < LONGEST)
            refill(&b);
    }
    return is_padding(&b) ? out - start : -1;
}
