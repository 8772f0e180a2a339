/* SPDX-License-Identifier: Apache-2.0
 *
 * The compressor and decompressor filters, their per-route settings, and the compression libraries that they name. Main thread.
 */
#include "proxy/config/config_priv.h"
#include "proxy/filter/compressor.h"
#include "proxy/filter/decompressor.h"

#include <zlib.h>

#define CHUNK_BYTES 4096u
#define MAX_INFLATE_RATIO 100u
#define MIN_CONTENT_LENGTH 30u
#define GZIP_HEADER 16 /* added to zlib's window bits: a gzip header instead of zlib's */
#define DICTIONARY_MAX_BYTES (1u << 20)
#define GZIP_LEVEL(x) ENVOY__EXTENSIONS__COMPRESSION__GZIP__COMPRESSOR__V3__GZIP__COMPRESSION_LEVEL__##x

struct library_out { struct compression_params params; struct arena *arena; };

/* ---- libraries ---- */

int cfg_gzip_compressor(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_gzip_compressor *m = (const pb_gzip_compressor *)msg;
    struct compression_params *p = &((struct library_out *)out)->params;
    int level = (int)GET(m, compression_level);
    p->kind = COMPRESSION_GZIP;
    p->memory_level = (int)proto_u32_or(GET(m, memory_level), 5);
    p->level = level == GZIP_LEVEL(DEFAULT_COMPRESSION) ? Z_DEFAULT_COMPRESSION : level;
    p->strategy = (int)GET(m, compression_strategy); /* the same numbers as zlib's */
    p->window_bits = (int)proto_u32_or(GET(m, window_bits), 12) + GZIP_HEADER;
    p->chunk_bytes = proto_u32_or(GET(m, chunk_size), CHUNK_BYTES);
    return 0;
}

int cfg_brotli_compressor(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_brotli_compressor *m = (const pb_brotli_compressor *)msg;
    struct compression_params *p = &((struct library_out *)out)->params;
    static const uint8_t modes[] = {0, 0, 1, 2}; /* default, generic, text, font */
    unsigned mode = GET(m, encoder_mode);
    p->kind = COMPRESSION_BROTLI;
    p->level = (int)proto_u32_or(GET(m, quality), 3);
    p->brotli_mode = mode < sizeof modes ? modes[mode] : 0;
    p->brotli_window_bits = (int)proto_u32_or(GET(m, window_bits), 18);
    p->brotli_block_bits = (int)proto_u32_or(GET(m, input_block_bits), 24);
    p->brotli_no_context = GET(m, disable_literal_context_modeling);
    p->chunk_bytes = proto_u32_or(GET(m, chunk_size), CHUNK_BYTES);
    return 0;
}

static void read_dictionaries(struct config_reader *cr, struct library_out *out, const char *field, pb_data_source *const *items,
                              uint32_t n)
{
    out->params.dictionaries = ARENA_ARRAY(out->arena, struct str, n);
    for (uint32_t i = 0; i < n; i++)
        IN("%s", field)
            if (!cfg_data_source(cr, out->arena, items[i], DICTIONARY_MAX_BYTES, &out->params.dictionaries[i]))
                out->params.dictionary_count++;
}

int cfg_zstd_compressor(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_zstd_compressor *m = (const pb_zstd_compressor *)msg;
    struct compression_params *p = &((struct library_out *)out)->params;
    pb_data_source *dictionary = GET(m, dictionary);
    p->kind = COMPRESSION_ZSTD;
    p->level = (int)proto_u32_or(GET(m, compression_level), 3);
    p->zstd_checksum = GET(m, enable_checksum);
    p->zstd_strategy = (int)GET(m, strategy); /* the same numbers as the library's */
    p->chunk_bytes = proto_u32_or(GET(m, chunk_size), CHUNK_BYTES);
    if (dictionary)
        read_dictionaries(cr, out, "dictionary", &dictionary, 1);
    return 0;
}

int cfg_gzip_decompressor(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_gzip_decompressor *m = (const pb_gzip_decompressor *)msg;
    struct compression_params *p = &((struct library_out *)out)->params;
    p->kind = COMPRESSION_GZIP;
    p->window_bits = (int)proto_u32_or(GET(m, window_bits), 15) + GZIP_HEADER;
    p->chunk_bytes = proto_u32_or(GET(m, chunk_size), CHUNK_BYTES);
    p->max_inflate_ratio = proto_u32_or(GET(m, max_inflate_ratio), MAX_INFLATE_RATIO);
    return 0;
}

int cfg_brotli_decompressor(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_brotli_decompressor *m = (const pb_brotli_decompressor *)msg;
    struct compression_params *p = &((struct library_out *)out)->params;
    p->kind = COMPRESSION_BROTLI;
    p->brotli_no_ring_reallocation = GET(m, disable_ring_buffer_reallocation);
    p->chunk_bytes = proto_u32_or(GET(m, chunk_size), CHUNK_BYTES);
    p->max_inflate_ratio = MAX_INFLATE_RATIO;
    return 0;
}

int cfg_zstd_decompressor(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_zstd_decompressor *m = (const pb_zstd_decompressor *)msg;
    struct compression_params *p = &((struct library_out *)out)->params;
    p->kind = COMPRESSION_ZSTD;
    p->chunk_bytes = proto_u32_or(GET(m, chunk_size), CHUNK_BYTES);
    p->max_inflate_ratio = MAX_INFLATE_RATIO;
    pb_data_source **dictionaries = GET(m, dictionaries);
    read_dictionaries(cr, out, "dictionaries", dictionaries, LEN(m, dictionaries));
    return 0;
}

static struct compression_lib *read_library(struct config_reader *cr, enum extension_kind kind, const char *field,
                                            const pb_extension *m, struct arena *a, struct str *name)
{
    struct compression_lib *lib = NULL;
    IN("%s", field) {
        struct library_out out = {.arena = a};
        struct err err = {0};
        ProtobufCMessage *msg = NULL;
        *name = arena_str(a, TEXT(m, name));
        const struct extension *ext = cfg_extension(cr, kind, "typed_config", *name, GET(m, typed_config), &msg);
        size_t faults = cr->r.faults->count;
        if (ext)
            IN("typed_config")
                ext->read(cr, msg, &out);
        if (ext && cr->r.faults->count == faults) {
            lib = compression_lib_new(&out.params, kind == EXT_DECOMPRESSION, &err);
            if (!lib)
                FAULT("typed_config", "%s", err.message);
        }
    }
    return lib;
}

/* ---- the compressor ---- */

static void read_flag(struct config_reader *cr, const pb_runtime_flag *m, struct arena *a, struct str *key, bool *enabled)
{
    *enabled = true;
    if (!m)
        return;
    *key = arena_str(a, TEXT(m, runtime_key));
    *enabled = proto_bool_or(GET(m, default_value), true);
}

static void read_types(struct arena *a, char *const *types, uint32_t n, struct compressor_direction *d)
{
    static const struct str defaults[] = {
        {"application/javascript", 22}, {"application/json", 16}, {"application/xhtml+xml", 21}, {"image/svg+xml", 13},
        {"text/css", 8}, {"text/html", 9}, {"text/plain", 10}, {"text/xml", 8}};
    d->content_type_count = n ? n : ARRAY_LEN(defaults);
    d->content_types = ARENA_ARRAY(a, struct str, d->content_type_count);
    for (uint32_t i = 0; i < d->content_type_count; i++)
        d->content_types[i] = n ? arena_str(a, str_from(types[i])) : defaults[i];
}

static void read_direction(struct config_reader *cr, const pb_compressor_direction *m, struct arena *a,
                           struct compressor_direction *d)
{
    d->is_set = true;
    d->min_content_length = MIN_CONTENT_LENGTH;
    d->enabled = true;
    if (!m) {
        read_types(a, NULL, 0, d);
        return;
    }
    read_flag(cr, GET(m, enabled), a, &d->runtime_key, &d->enabled);
    d->min_content_length = proto_u32_or(GET(m, min_content_length), MIN_CONTENT_LENGTH);
    char **types = GET(m, content_type);
    read_types(a, types, LEN(m, content_type), d);
}

static void read_response(struct config_reader *cr, const pb_compressor *m, struct arena *a, struct compressor_config *c)
{
    const pb_compressor_response *r = GET(m, response_direction_config);
    if (!r) { /* the old fields, which only count where there is no direction */
        c->response.is_set = true;
        read_flag(cr, GET(m, runtime_enabled), a, &c->response.runtime_key, &c->response.enabled);
        c->response.min_content_length = proto_u32_or(GET(m, content_length), MIN_CONTENT_LENGTH);
        char **types = GET(m, content_type);
        read_types(a, types, LEN(m, content_type), &c->response);
        c->disable_on_etag = GET(m, disable_on_etag_header);
        c->remove_accept_encoding = GET(m, remove_accept_encoding_header);
        return;
    }
    c->response_is_direction = true;
    c->disable_on_etag = GET(r, disable_on_etag_header);
    c->remove_accept_encoding = GET(r, remove_accept_encoding_header);
    c->status_header = GET(r, status_header_enabled);
    c->uncompressible_count = LEN(r, uncompressible_response_codes);
    c->uncompressible_codes = ARENA_ARRAY(a, uint32_t, c->uncompressible_count);
    for (uint32_t i = 0; i < c->uncompressible_count; i++)
        c->uncompressible_codes[i] = r->uncompressible_response_codes[i];
    IN("response_direction_config.common_config")
        read_direction(cr, GET(r, common_config), a, &c->response);
}

int cfg_compressor(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_compressor *m = (const pb_compressor *)msg;
    struct cfg_http_filter *f = out;
    struct compressor_config *c = arena_zalloc(f->arena, sizeof *c);
    f->spec->config = c;
    f->spec->free_config = compressor_config_free;
    c->lib = read_library(cr, EXT_COMPRESSION, "compressor_library", GET(m, compressor_library), f->arena, &c->library_name);
    c->choose_first = GET(m, choose_first);
    const pb_compressor_request *rq = GET(m, request_direction_config);
    if (rq)
        IN("request_direction_config.common_config")
            read_direction(cr, GET(rq, common_config), f->arena, &c->request);
    read_response(cr, m, f->arena, c);
    return 0;
}

#define OVERRIDE(x) ENVOY__EXTENSIONS__FILTERS__HTTP__COMPRESSOR__V3__COMPRESSOR_PER_ROUTE__OVERRIDE_##x
int cfg_compressor_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_compressor_route *m = (const pb_compressor_route *)msg;
    struct cfg_route_filter *f = out;
    struct compressor_route *c = arena_zalloc(f->arena, sizeof *c);
    f->override->config = c;
    f->override->free_config = compressor_route_free;
    if (m->override_case == OVERRIDE(DISABLED))
        c->disabled = GET(m, disabled);
    if (m->override_case != OVERRIDE(OVERRIDES))
        return 0;
    const pb_compressor_overrides *o = GET(m, overrides);
    const pb_compressor_response_overrides *r = GET(o, response_direction_config);
    struct str name;
    if (GET(o, compressor_library))
        IN("overrides")
            c->lib = read_library(cr, EXT_COMPRESSION, "compressor_library", o->compressor_library, f->arena, &name);
    if (r) {
        c->response_enabled = true;
        c->has_remove = GET(r, remove_accept_encoding_header) != NULL;
        c->remove_accept_encoding = proto_bool_or(r->remove_accept_encoding_header, false);
    }
    return 0;
}

/* ---- the decompressor ---- */

static void read_decompression(struct config_reader *cr, const pb_decompressor_direction *m, struct arena *a,
                               struct decompressor_direction *d)
{
    d->enabled = true;
    if (!m)
        return;
    read_flag(cr, GET(m, enabled), a, &d->runtime_key, &d->enabled);
    d->ignore_no_transform = GET(m, ignore_no_transform_header);
}

int cfg_decompressor(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_decompressor *m = (const pb_decompressor *)msg;
    struct cfg_http_filter *f = out;
    struct decompressor_config *c = arena_zalloc(f->arena, sizeof *c);
    f->spec->config = c;
    f->spec->free_config = decompressor_config_free;
    c->lib = read_library(cr, EXT_DECOMPRESSION, "decompressor_library", GET(m, decompressor_library), f->arena, &c->library_name);
    const pb_decompressor_request *rq = GET(m, request_direction_config);
    const pb_decompressor_response *rs = GET(m, response_direction_config);
    c->advertise = proto_bool_or(rq ? GET(rq, advertise_accept_encoding) : NULL, true);
    IN("request_direction_config.common_config")
        read_decompression(cr, rq ? GET(rq, common_config) : NULL, f->arena, &c->request);
    IN("response_direction_config.common_config")
        read_decompression(cr, rs ? GET(rs, common_config) : NULL, f->arena, &c->response);
    struct str name = cfg_lower(f->arena, c->library_name);
    c->compressed_trailer = arena_printf(f->arena, "x-envoy-decompressor-%.*s-compressed-bytes", STR_ARG(name));
    c->uncompressed_trailer = arena_printf(f->arena, "x-envoy-decompressor-%.*s-uncompressed-bytes", STR_ARG(name));
    if (!header_name_is_valid(c->compressed_trailer))
        FAULT("decompressor_library.name", "\"%.*s\" can't stand in a header's name", STR_ARG(name));
    return 0;
}
