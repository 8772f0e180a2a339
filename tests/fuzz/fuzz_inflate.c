/* SPDX-License-Identifier: Apache-2.0
 *
 * Compressed bodies from anybody: the first byte chooses gzip, brotli or zstd and how the rest is cut.
 * Each piece grows by the ratio and a chunk at most, a body that is whole says the same however it is
 * cut, and a codec that has met nonsense serves the next body well.
 */
#include "base/check.h"
#include "proxy/filter/compression.h"

#define FUZZ_BODY_BYTES 16384
#define RATIO 100
#define CHUNK_BYTES 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct compression_lib *library(enum compression_kind kind, bool decompress)
{
    static struct compression_lib *made[3][2];
    struct err err = {0};
    struct compression_params p = {.kind = kind, .chunk_bytes = CHUNK_BYTES, .level = 1, .window_bits = 15 + 16, .memory_level = 5,
                                   .brotli_window_bits = 18, .brotli_block_bits = 0, .max_inflate_ratio = RATIO};
    if (!made[kind][decompress])
        made[kind][decompress] = compression_lib_new(&p, decompress, &err);
    CHECK(made[kind][decompress]);
    return made[kind][decompress];
}

static enum codec_error unpack(struct compression_lib *lib, const uint8_t *p, size_t n, size_t step, struct buf *out)
{
    enum codec_error first = CODEC_OK;
    struct codec *c = codec_take(lib);
    CHECK(c);
    for (size_t at = 0; at < n; at += step) {
        struct buf piece = BUF_INIT;
        size_t part = n - at < step ? n - at : step, before = out->len;
        buf_append(&piece, p + at, part);
        enum codec_error e = codec_decompress(c, &piece, out);
        CHECK(!piece.len && out->len - before <= part * RATIO + CHUNK_BYTES);
        first = first ? first : e;
        buf_fini(&piece);
    }
    codec_give(lib, &c);
    return first;
}

static void check_cuts(struct compression_lib *lib, const uint8_t *p, size_t n, size_t step)
{
    struct buf whole = BUF_INIT, cut = BUF_INIT;
    enum codec_error a = unpack(lib, p, n, n ? n : 1, &whole), b = unpack(lib, p, n, step, &cut);
    size_t len = whole.len;
    if (!a && !b) /* the ratio is of a piece, so one may pass where the other doesn't */
        CHECK(len == cut.len && (!len || !memcmp(buf_pullup(&whole, len), buf_pullup(&cut, len), len)));
    buf_fini(&whole);
    buf_fini(&cut);
}

static void check_round_trip(enum compression_kind kind, const uint8_t *p, size_t n, size_t step)
{
    struct compression_lib *lib = library(kind, false);
    struct codec *c = codec_take(lib);
    struct buf packed = BUF_INIT, back = BUF_INIT;
    CHECK(c);
    for (size_t at = 0; at < n; at += step) {
        struct buf piece = BUF_INIT;
        buf_append(&piece, p + at, n - at < step ? n - at : step);
        CHECK(codec_compress(c, &piece, &packed, at + step >= n) == CODEC_OK);
        buf_fini(&piece);
    }
    codec_give(lib, &c);
    size_t len = packed.len;
    /* In pieces of its own size: what was flushed alone doesn't grow past the ratio. */
    enum codec_error e = unpack(library(kind, true), len ? buf_pullup(&packed, len) : p, len, len ? len : 1, &back);
    CHECK(e || (back.len == n && (!n || !memcmp(buf_pullup(&back, n), p, n))));
    CHECK(!e || n > len * RATIO);
    buf_fini(&packed);
    buf_fini(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size || size > FUZZ_BODY_BYTES)
        return 0;
    enum compression_kind kind = data[0] % 3u;
    size_t step = (size_t)data[0] / 3u * 7 + 1;
    check_cuts(library(kind, true), data + 1, size - 1, step);
    check_round_trip(kind, data + 1, size - 1, step < 64 ? 64 : step);
    return 0;
}
