/* SPDX-License-Identifier: Apache-2.0
 *
 * See the header. Output is written straight into the queue's blocks. A decompressor bounds what one piece of input may become
 * (max_inflate_ratio; looked at after each full chunk): past it the rest of the piece is dropped and counted, as Envoy does; memory never grows past that.
 * On the exchange's worker; a library's list of idle codecs has one head a thread.
 */
#include "proxy/filter/compression.h"

#include <brotli/decode.h>
#include <brotli/encode.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/mem.h"
#include "proxy/stats/stats.h"

#define IDLE_MAX 4
#define ZSTD_WINDOW_LOG_MAX 23 /* 8 MiB: RFC 9659 section 3; the library would take 128 MiB for one stream */

struct codec {
    const struct compression_lib *lib;
    struct codec *next;
    union {
        z_stream z;
        BrotliEncoderState *brotli_enc;
        BrotliDecoderState *brotli_dec;
        ZSTD_CCtx *zstd_enc;
        ZSTD_DCtx *zstd_dec;
    } u;
    bool ended, dictionary_chosen;
};
struct compression_lib {
    struct compression_params p;
    bool decompress;
    ZSTD_CDict *zstd_cdict;
    ZSTD_DDict **zstd_ddicts;
    struct { struct codec *first; uint32_t count; } idle[STAT_MAX_THREADS];
};

/* ---- one codec ---- */

static bool zstd_set_up(struct codec *c)
{
    const struct compression_params *p = &c->lib->p;
    if (c->lib->decompress)
        return true;
    ZSTD_CCtx_setParameter(c->u.zstd_enc, ZSTD_c_compressionLevel, p->level);
    ZSTD_CCtx_setParameter(c->u.zstd_enc, ZSTD_c_checksumFlag, p->zstd_checksum);
    ZSTD_CCtx_setParameter(c->u.zstd_enc, ZSTD_c_strategy, p->zstd_strategy);
    if (c->lib->zstd_cdict)
        ZSTD_CCtx_refCDict(c->u.zstd_enc, c->lib->zstd_cdict);
    return true;
}

static bool brotli_set_up(struct codec *c)
{
    const struct compression_params *p = &c->lib->p;
    if (c->lib->decompress) {
        if (!(c->u.brotli_dec = BrotliDecoderCreateInstance(NULL, NULL, NULL)))
            return false;
        BrotliDecoderSetParameter(c->u.brotli_dec, BROTLI_DECODER_PARAM_DISABLE_RING_BUFFER_REALLOCATION,
                                  p->brotli_no_ring_reallocation);
        return true;
    }
    if (!(c->u.brotli_enc = BrotliEncoderCreateInstance(NULL, NULL, NULL)))
        return false;
    BrotliEncoderSetParameter(c->u.brotli_enc, BROTLI_PARAM_QUALITY, (uint32_t)p->level);
    BrotliEncoderSetParameter(c->u.brotli_enc, BROTLI_PARAM_MODE, (uint32_t)p->brotli_mode);
    BrotliEncoderSetParameter(c->u.brotli_enc, BROTLI_PARAM_LGWIN, (uint32_t)p->brotli_window_bits);
    BrotliEncoderSetParameter(c->u.brotli_enc, BROTLI_PARAM_LGBLOCK, (uint32_t)p->brotli_block_bits);
    BrotliEncoderSetParameter(c->u.brotli_enc, BROTLI_PARAM_DISABLE_LITERAL_CONTEXT_MODELING, p->brotli_no_context);
    return true;
}

static bool codec_begin(struct codec *c)
{
    const struct compression_params *p = &c->lib->p;
    switch (p->kind) {
    case COMPRESSION_GZIP:
        return (c->lib->decompress ? inflateInit2(&c->u.z, p->window_bits)
                                   : deflateInit2(&c->u.z, p->level, Z_DEFLATED, p->window_bits, p->memory_level, p->strategy)) == Z_OK;
    case COMPRESSION_BROTLI:
        return brotli_set_up(c);
    case COMPRESSION_ZSTD:
        if (c->lib->decompress)
            return (c->u.zstd_dec = ZSTD_createDCtx()) != NULL &&
                   !ZSTD_isError(ZSTD_DCtx_setParameter(c->u.zstd_dec, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX));
        return (c->u.zstd_enc = ZSTD_createCCtx()) != NULL && zstd_set_up(c);
    }
    return false;
}

static void codec_end(struct codec *c)
{
    bool decompress = c->lib->decompress;
    switch (c->lib->p.kind) {
    case COMPRESSION_GZIP:
        decompress ? inflateEnd(&c->u.z) : deflateEnd(&c->u.z);
        break;
    case COMPRESSION_BROTLI:
        if (decompress)
            BrotliDecoderDestroyInstance(c->u.brotli_dec);
        else
            BrotliEncoderDestroyInstance(c->u.brotli_enc);
        break;
    case COMPRESSION_ZSTD:
        if (decompress)
            ZSTD_freeDCtx(c->u.zstd_dec);
        else
            ZSTD_freeCCtx(c->u.zstd_enc);
        break;
    }
    mem_free(c);
}

/* False: it can't be used again. */
static bool codec_reset(struct codec *c)
{
    bool decompress = c->lib->decompress;
    c->ended = c->dictionary_chosen = false;
    switch (c->lib->p.kind) {
    case COMPRESSION_GZIP:
        return (decompress ? inflateReset(&c->u.z) : deflateReset(&c->u.z)) == Z_OK;
    case COMPRESSION_BROTLI: /* the library has no reset */
        return false;
    case COMPRESSION_ZSTD:
        if (decompress)
            return !ZSTD_isError(ZSTD_DCtx_reset(c->u.zstd_dec, ZSTD_reset_session_only)) &&
                   !ZSTD_isError(ZSTD_DCtx_refDDict(c->u.zstd_dec, NULL));
        return !ZSTD_isError(ZSTD_CCtx_reset(c->u.zstd_enc, ZSTD_reset_session_only));
    }
    return false;
}

struct codec *codec_take(struct compression_lib *lib)
{
    struct codec *c = lib->idle[stat_thread].first;
    if (c) {
        lib->idle[stat_thread].first = c->next;
        lib->idle[stat_thread].count--;
        return c;
    }
    if (!(c = mem_try_alloc(sizeof *c)))
        return NULL;
    memset(c, 0, sizeof *c);
    c->lib = lib;
    if (!codec_begin(c)) {
        mem_free(c);
        return NULL;
    }
    return c;
}

void codec_give(struct compression_lib *lib, struct codec **codec)
{
    struct codec *c = *codec;
    *codec = NULL;
    if (!c)
        return;
    if (lib->idle[stat_thread].count >= IDLE_MAX || !codec_reset(c)) {
        codec_end(c);
        return;
    }
    c->next = lib->idle[stat_thread].first;
    lib->idle[stat_thread].first = c;
    lib->idle[stat_thread].count++;
}

/* ---- compressing ---- */

static void deflate_piece(struct codec *c, struct str piece, struct buf *out, int flush)
{
    z_stream *z = &c->u.z;
    z->next_in = (Bytef *)(uintptr_t)piece.p;
    z->avail_in = (uInt)piece.n;
    do {
        size_t room;
        uint8_t *at = buf_reserve(out, c->lib->p.chunk_bytes, &room);
        z->next_out = at;
        z->avail_out = (uInt)room;
        int r = deflate(z, flush);
        buf_commit(out, room - z->avail_out);
        if (r != Z_OK) /* ended, or nothing left to say (Z_BUF_ERROR) */
            return;
    } while (z->avail_in || !z->avail_out);
}

static bool brotli_piece(struct codec *c, struct str piece, struct buf *out, BrotliEncoderOperation op)
{
    const uint8_t *in = (const uint8_t *)piece.p;
    size_t left = piece.n;
    do {
        size_t room, before;
        uint8_t *at = buf_reserve(out, c->lib->p.chunk_bytes, &room);
        before = room;
        if (!BrotliEncoderCompressStream(c->u.brotli_enc, op, &left, &in, &room, &at, NULL)) {
            buf_commit(out, 0);
            return false;
        }
        buf_commit(out, before - room);
    } while (left || BrotliEncoderHasMoreOutput(c->u.brotli_enc));
    return true;
}

static bool zstd_piece(struct codec *c, struct str piece, struct buf *out, ZSTD_EndDirective op)
{
    ZSTD_inBuffer in = {piece.p, piece.n, 0};
    size_t left;
    do {
        size_t room;
        uint8_t *at = buf_reserve(out, c->lib->p.chunk_bytes, &room);
        ZSTD_outBuffer to = {at, room, 0};
        left = ZSTD_compressStream2(c->u.zstd_enc, &to, &in, op);
        buf_commit(out, to.pos);
        if (ZSTD_isError(left))
            return false;
    } while (in.pos < in.size || (op != ZSTD_e_continue && left));
    return true;
}

enum { STEP_GO_ON, STEP_FLUSH, STEP_FINISH };
static enum codec_error compress_piece(struct codec *c, struct str piece, struct buf *out, int step)
{
    static const int zlib[] = {Z_NO_FLUSH, Z_SYNC_FLUSH, Z_FINISH};
    static const BrotliEncoderOperation brotli[] = {BROTLI_OPERATION_PROCESS, BROTLI_OPERATION_FLUSH, BROTLI_OPERATION_FINISH};
    static const ZSTD_EndDirective zstd[] = {ZSTD_e_continue, ZSTD_e_flush, ZSTD_e_end};
    switch (c->lib->p.kind) {
    case COMPRESSION_GZIP:
        deflate_piece(c, piece, out, zlib[step]);
        return CODEC_OK;
    case COMPRESSION_BROTLI:
        return brotli_piece(c, piece, out, brotli[step]) ? CODEC_OK : CODEC_BROTLI_ERROR;
    case COMPRESSION_ZSTD:
        return zstd_piece(c, piece, out, zstd[step]) ? CODEC_OK : CODEC_ZSTD_GENERIC;
    }
    return CODEC_OK;
}

enum codec_error codec_compress(struct codec *c, struct buf *in, struct buf *out, bool finish)
{
    enum codec_error e = CODEC_OK;
    struct str piece;
    if (!in->len && !finish)
        return CODEC_OK;
    for (struct buf_iter it = {0}; !e && buf_next(in, &it, &piece);)
        e = compress_piece(c, piece, out, STEP_GO_ON);
    buf_drain(in, in->len);
    return e ? e : compress_piece(c, STR(""), out, finish ? STEP_FINISH : STEP_FLUSH);
}

/* ---- decompressing ---- */

struct inflation { /* of one piece of input into `out` */
    struct buf *out;
    size_t start, limit; /* bytes of `out` before; what may be added */
};

static bool is_bomb(const struct inflation *i)
{
    return i->out->len - i->start > i->limit;
}

static enum codec_error zlib_error(int r)
{
    switch (r) {
    case Z_ERRNO: return CODEC_ZLIB_ERRNO;
    case Z_STREAM_ERROR: return CODEC_ZLIB_STREAM;
    case Z_DATA_ERROR: case Z_NEED_DICT: return CODEC_ZLIB_DATA;
    case Z_MEM_ERROR: return CODEC_ZLIB_MEM;
    case Z_VERSION_ERROR: return CODEC_ZLIB_VERSION;
    default: return CODEC_OK; /* Z_BUF_ERROR: wants more input */
    }
}

static enum codec_error inflate_piece(struct codec *c, struct str piece, struct inflation *to)
{
    z_stream *z = &c->u.z;
    z->next_in = (Bytef *)(uintptr_t)piece.p;
    z->avail_in = (uInt)piece.n;
    while (!c->ended) {
        size_t room, chunk = c->lib->p.chunk_bytes;
        z->next_out = buf_reserve(to->out, chunk, &room);
        z->avail_out = (uInt)chunk;
        int r = inflate(z, Z_NO_FLUSH);
        buf_commit(to->out, chunk - z->avail_out);
        if (r != Z_OK && r != Z_STREAM_END)
            return zlib_error(r);
        c->ended = r == Z_STREAM_END; /* what follows isn't the body's */
        if (z->avail_out)
            return CODEC_OK;
        if (is_bomb(to))
            return CODEC_ZLIB_DATA;
    }
    return CODEC_OK;
}

static enum codec_error brotli_unpack(struct codec *c, struct str piece, struct inflation *to)
{
    const uint8_t *in = (const uint8_t *)piece.p;
    size_t left = piece.n;
    for (;;) {
        size_t room, chunk = c->lib->p.chunk_bytes;
        uint8_t *at = buf_reserve(to->out, chunk, &room);
        size_t free_bytes = chunk;
        BrotliDecoderResult r = BrotliDecoderDecompressStream(c->u.brotli_dec, &left, &in, &free_bytes, &at, NULL);
        buf_commit(to->out, chunk - free_bytes);
        if (r == BROTLI_DECODER_RESULT_ERROR)
            return CODEC_BROTLI_ERROR;
        if (!free_bytes && is_bomb(to))
            return CODEC_BROTLI_OVERFLOW;
        if (r == BROTLI_DECODER_RESULT_SUCCESS && left)
            return CODEC_BROTLI_REDUNDANT;
        if (r != BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT)
            return CODEC_OK;
    }
}

static enum codec_error zstd_error(size_t r)
{
    switch (ZSTD_getErrorCode(r)) {
    case ZSTD_error_dictionary_corrupted: case ZSTD_error_dictionary_wrong: return CODEC_ZSTD_DICTIONARY;
    case ZSTD_error_checksum_wrong: return CODEC_ZSTD_CHECKSUM;
    case ZSTD_error_memory_allocation: return CODEC_ZSTD_MEMORY;
    default: return CODEC_ZSTD_GENERIC;
    }
}

/* A frame names its dictionary by number. */
static bool choose_dictionary(struct codec *c, struct str piece)
{
    unsigned id = ZSTD_getDictID_fromFrame(piece.p, piece.n);
    c->dictionary_chosen = true;
    for (uint32_t i = 0; id && i < c->lib->p.dictionary_count; i++)
        if (ZSTD_getDictID_fromDDict(c->lib->zstd_ddicts[i]) == id)
            return !ZSTD_isError(ZSTD_DCtx_refDDict(c->u.zstd_dec, c->lib->zstd_ddicts[i]));
    return !id;
}

static enum codec_error zstd_unpack(struct codec *c, struct str piece, struct inflation *to)
{
    ZSTD_inBuffer in = {piece.p, piece.n, 0};
    if (c->lib->p.dictionary_count && !c->dictionary_chosen && piece.n && !choose_dictionary(c, piece))
        return CODEC_ZSTD_DICTIONARY;
    for (;;) {
        size_t room, chunk = c->lib->p.chunk_bytes;
        ZSTD_outBuffer out = {buf_reserve(to->out, chunk, &room), chunk, 0};
        size_t r = ZSTD_decompressStream(c->u.zstd_dec, &out, &in);
        buf_commit(to->out, out.pos);
        if (ZSTD_isError(r))
            return zstd_error(r);
        if (out.pos == out.size && is_bomb(to))
            return CODEC_ZSTD_GENERIC;
        if (in.pos == in.size && out.pos < out.size)
            return CODEC_OK;
    }
}

enum codec_error codec_decompress(struct codec *c, struct buf *in, struct buf *out)
{
    struct inflation to = {out, out->len, in->len * c->lib->p.max_inflate_ratio};
    enum codec_error e = CODEC_OK;
    struct str piece;
    for (struct buf_iter it = {0}; !e && buf_next(in, &it, &piece);)
        switch (c->lib->p.kind) {
        case COMPRESSION_GZIP:
            e = inflate_piece(c, piece, &to);
            break;
        case COMPRESSION_BROTLI:
            e = brotli_unpack(c, piece, &to);
            break;
        case COMPRESSION_ZSTD:
            e = zstd_unpack(c, piece, &to);
            break;
        }
    buf_drain(in, in->len);
    return e;
}

/* ---- libraries ---- */

static bool make_dictionaries(struct compression_lib *lib, struct err *err)
{
    const struct compression_params *p = &lib->p;
    if (!p->dictionary_count)
        return true;
    if (!lib->decompress) {
        lib->zstd_cdict = ZSTD_createCDict(p->dictionaries[0].p, p->dictionaries[0].n, p->level);
        if (!lib->zstd_cdict)
            err_set(err, ERR_INVALID, "the dictionary isn't one of zstd");
        return lib->zstd_cdict != NULL;
    }
    lib->zstd_ddicts = mem_zalloc(p->dictionary_count * sizeof *lib->zstd_ddicts);
    for (uint32_t i = 0; i < p->dictionary_count; i++)
        if (!(lib->zstd_ddicts[i] = ZSTD_createDDict(p->dictionaries[i].p, p->dictionaries[i].n))) {
            err_set(err, ERR_INVALID, "dictionary %u isn't one of zstd", i);
            return false;
        }
    return true;
}

struct compression_lib *compression_lib_new(const struct compression_params *p, bool decompress, struct err *err)
{
    struct compression_lib *lib = NEW(compression_lib);
    lib->p = *p;
    lib->decompress = decompress;
    if (lib->p.chunk_bytes > BUF_BLOCK_BYTES)
        lib->p.chunk_bytes = BUF_BLOCK_BYTES;
    struct codec *c = make_dictionaries(lib, err) ? codec_take(lib) : NULL;
    if (c) { /* the parameters are good */
        codec_give(lib, &c);
        return lib;
    }
    if (!err->code)
        err_set(err, ERR_INVALID, "the compression library refuses these parameters");
    compression_lib_free(&lib);
    return NULL;
}

void compression_lib_free(struct compression_lib **lib)
{
    struct compression_lib *l = *lib;
    *lib = NULL;
    if (!l)
        return;
    for (uint32_t i = 0; i < STAT_MAX_THREADS; i++)
        while (l->idle[i].first) {
            struct codec *c = l->idle[i].first;
            l->idle[i].first = c->next;
            codec_end(c);
        }
    ZSTD_freeCDict(l->zstd_cdict);
    for (uint32_t i = 0; l->zstd_ddicts && i < l->p.dictionary_count; i++)
        ZSTD_freeDDict(l->zstd_ddicts[i]);
    mem_free(l->zstd_ddicts);
    mem_free(l);
}

struct str compression_encoding(const struct compression_lib *lib)
{
    static const struct str names[] = {{"gzip", 4}, {"br", 2}, {"zstd", 4}};
    return names[lib->p.kind];
}

const struct compression_params *compression_params(const struct compression_lib *lib)
{
    return &lib->p;
}
