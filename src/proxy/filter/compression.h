/* SPDX-License-Identifier: Apache-2.0
 *
 * Compression libraries behind one face, for the compressor and decompressor filters: gzip (zlib), brotli, zstd. A library is
 * a configuration; its codecs are one body's each. Codecs that can be reset are kept for the next body, a few a thread.
 */
#ifndef PROXY_FILTER_COMPRESSION_H
#define PROXY_FILTER_COMPRESSION_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

enum compression_kind { COMPRESSION_GZIP, COMPRESSION_BROTLI, COMPRESSION_ZSTD };
struct compression_params {
    enum compression_kind kind;
    uint32_t chunk_bytes;            /* output is made in pieces of this size; 4096 */
    int level;                       /* gzip -1..9 (-1: zlib's), brotli quality, zstd level */
    int window_bits, memory_level, strategy;       /* gzip; window_bits with zlib's +16 */
    int brotli_mode, brotli_window_bits, brotli_block_bits; bool brotli_no_context; /* brotli */
    bool brotli_no_ring_reallocation;
    bool zstd_checksum; int zstd_strategy;         /* zstd; strategy 0: the level's */
    struct str *dictionaries; uint32_t dictionary_count; /* zstd; text of the configuration */
    uint32_t max_inflate_ratio;      /* decompression: output over input of one piece, 100. What stops a zip bomb */
};
struct compression_lib;
/* Main thread. `p` is copied, its dictionaries are borrowed. NULL and `err` when the library refuses the parameters. */
struct compression_lib *compression_lib_new(const struct compression_params *p, bool decompress, struct err *err);
void compression_lib_free(struct compression_lib **lib); /* when no codec is out any more */
struct str compression_encoding(const struct compression_lib *lib);   /* "gzip", "br", "zstd": content-encoding */
const struct compression_params *compression_params(const struct compression_lib *lib);

/* What can go wrong, as Envoy counts it. */
enum codec_error {
    CODEC_OK,
    CODEC_ZLIB_ERRNO, CODEC_ZLIB_STREAM, CODEC_ZLIB_DATA, CODEC_ZLIB_MEM, CODEC_ZLIB_BUF, CODEC_ZLIB_VERSION,
    CODEC_BROTLI_ERROR, CODEC_BROTLI_OVERFLOW, CODEC_BROTLI_REDUNDANT,
    CODEC_ZSTD_GENERIC, CODEC_ZSTD_DICTIONARY, CODEC_ZSTD_CHECKSUM, CODEC_ZSTD_MEMORY,
};
struct codec;
struct codec *codec_take(struct compression_lib *lib);               /* NULL: no memory */
void codec_give(struct compression_lib *lib, struct codec **c);      /* NULL is fine */
/* All of `in` goes in; what comes out is appended to `out`, flushed so that the peer can read up to here, or finished. */
enum codec_error codec_compress(struct codec *c, struct buf *in, struct buf *out, bool finish);
/* The same for decompression. On an error, or past the ratio, the rest of `in` is dropped. */
enum codec_error codec_decompress(struct codec *c, struct buf *in, struct buf *out);

#endif
