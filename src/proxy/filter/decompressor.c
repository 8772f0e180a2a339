/* SPDX-License-Identifier: Apache-2.0
 *
 * Decompresses what comes with our content-encoding, each way. What a body may grow to is bounded by the library's ratio
 * (compression.c): past it, or at broken input, the rest of that piece is dropped and counted, the message goes on. How many
 * bytes went in and out is told in trailers, where there can be any. On the exchange's worker.
 */
#include "proxy/filter/decompressor.h"

#include "base/check.h"
#include "base/log.h"
#include "proxy/filter/filter_scope.h"
#include "proxy/runtime.h"

static const struct stat_desc rows[] = {DECOMPRESSOR_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};
#define ERROR_ROW(name) {name, STAT_COUNTER, STAT_UNIT_NONE, "Errors of the library"}
static const struct stat_desc gzip_rows[] = {ERROR_ROW("zlib_errno"), ERROR_ROW("zlib_stream_error"), ERROR_ROW("zlib_data_error"),
                                             ERROR_ROW("zlib_mem_error"), ERROR_ROW("zlib_buf_error"), ERROR_ROW("zlib_version_error")};
static const struct stat_desc brotli_rows[] = {ERROR_ROW("brotli_error"), ERROR_ROW("brotli_output_overflow"),
                                               ERROR_ROW("brotli_redundant_input")};
static const struct stat_desc zstd_rows[] = {ERROR_ROW("zstd_generic_error"), ERROR_ROW("zstd_dictionary_error"),
                                             ERROR_ROW("zstd_checksum_wrong_error"), ERROR_ROW("zstd_memory_error")};
static const struct { struct stat_table table; const char *name; enum codec_error first; } libraries[] = {
    [COMPRESSION_GZIP] = {{gzip_rows, ARRAY_LEN(gzip_rows)}, "gzip", CODEC_ZLIB_ERRNO},
    [COMPRESSION_BROTLI] = {{brotli_rows, ARRAY_LEN(brotli_rows)}, "brotli", CODEC_BROTLI_ERROR},
    [COMPRESSION_ZSTD] = {{zstd_rows, ARRAY_LEN(zstd_rows)}, "zstd", CODEC_ZSTD_GENERIC},
};

struct flow {
    struct codec *codec;
    uint64_t compressed, uncompressed;
};
struct decompressor {
    struct flow request, response;
};

static bool is_on(const struct decompressor_direction *d)
{
    return d->runtime_key.n ? runtime_bool(d->runtime_key, d->enabled) : d->enabled;
}

/* The outermost coding is ours: the first of the list. */
static bool encoding_matches(const struct headers *h, struct str encoding)
{
    struct str rest, value = headers_get_id(h, HDR_CONTENT_ENCODING);
    return value.p && str_eq_nocase(str_trim(str_split(value, ',', &rest)), encoding);
}

static bool may_be_transformed(const struct decompressor_direction *d, const struct headers *h)
{
    struct str control = headers_get_id(h, HDR_CACHE_CONTROL);
    return d->ignore_no_transform || !control.n || !header_list_has(control, STR("no-transform"));
}

static void strip_encoding(struct headers *h)
{
    struct str rest, value = headers_get_id(h, HDR_CONTENT_ENCODING);
    str_split(value, ',', &rest);
    rest = rest.p ? str_trim(rest) : rest;
    headers_remove_id(h, HDR_CONTENT_LENGTH);
    if (rest.n)
        headers_set_id_ref(h, HDR_CONTENT_ENCODING, rest);
    else
        headers_remove_id(h, HDR_CONTENT_ENCODING);
}

static void start(struct http_filter *f, const struct decompressor_direction *d, struct flow *flow, struct headers *h)
{
    const struct decompressor_config *c = f->config;
    if (is_on(d) && encoding_matches(h, compression_encoding(c->lib)) && may_be_transformed(d, h))
        flow->codec = codec_take(c->lib);
    if (flow->codec)
        strip_encoding(h);
    stat_inc(d->stats, flow->codec ? STAT_DECOMPRESSOR_DECOMPRESSED : STAT_DECOMPRESSOR_NOT_DECOMPRESSED);
}

static void decompress(struct http_filter *f, const struct decompressor_direction *d, struct flow *flow, struct buf *data)
{
    const struct decompressor_config *c = f->config;
    struct buf out = BUF_INIT;
    size_t in_bytes = data->len;
    enum codec_error e = codec_decompress(flow->codec, data, &out);
    if (e) {
        stat_inc(c->library_stats, (uint32_t)e - libraries[compression_params(c->lib)->kind].first);
        LOG_SELDOM(FILTER, WARNING, "decompressor: %zu bytes of %s are broken or expand beyond the limit", in_bytes,
                   libraries[compression_params(c->lib)->kind].name);
    }
    flow->compressed += in_bytes;
    flow->uncompressed += out.len;
    stat_add(d->stats, STAT_DECOMPRESSOR_COMPRESSED_BYTES, in_bytes);
    stat_add(d->stats, STAT_DECOMPRESSOR_UNCOMPRESSED_BYTES, out.len);
    buf_move(data, &out);
}

static void tell_totals(struct http_filter *f, const struct flow *flow, struct headers *trailers)
{
    const struct decompressor_config *c = f->config;
    struct arena *a = exchange_arena(f->x);
    if (!trailers)
        return;
    headers_add_ref(trailers, c->compressed_trailer, arena_printf(a, "%llu", (unsigned long long)flow->compressed));
    headers_add_ref(trailers, c->uncompressed_trailer, arena_printf(a, "%llu", (unsigned long long)flow->uncompressed));
}

/* ---- requests ---- */

/* Ours goes last, at full quality, whatever the client thinks of it. */
static void advertise(struct headers *h, struct str encoding, struct arena *a)
{
    struct str rest = headers_get_joined(h, STR("accept-encoding"), a), params;
    size_t n = 0;
    char *out = arena_bytes(a, rest.n + encoding.n + 1);
    if (!out)
        return;
    while (rest.p) {
        struct str element = str_trim(str_split(rest, ',', &rest));
        if (!element.n || str_eq(str_trim(str_split(element, ';', &params)), encoding))
            continue;
        memcpy(out + n, element.p, element.n);
        n += element.n;
        out[n++] = ',';
    }
    memcpy(out + n, encoding.p, encoding.n);
    headers_set_id_ref(h, HDR_ACCEPT_ENCODING, str_make(out, n + encoding.n));
}

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    const struct decompressor_config *c = f->config;
    struct decompressor *s = f->state;
    if (c->advertise && is_on(&c->response))
        advertise(h, compression_encoding(c->lib), exchange_arena(f->x));
    if (!end)
        start(f, &c->request, &s->request, h);
    return FILTER_HEADERS_CONTINUE;
}

static enum filter_data on_request_data(struct http_filter *f, struct buf *data, bool end)
{
    const struct decompressor_config *c = f->config;
    struct decompressor *s = f->state;
    if (!s->request.codec)
        return FILTER_DATA_CONTINUE;
    decompress(f, &c->request, &s->request, data);
    if (end)
        tell_totals(f, &s->request, exchange_add_request_trailers(f));
    return FILTER_DATA_CONTINUE;
}

static enum filter_trailers on_request_trailers(struct http_filter *f, struct headers *h)
{
    struct decompressor *s = f->state;
    if (s->request.codec)
        tell_totals(f, &s->request, h);
    return FILTER_TRAILERS_CONTINUE;
}

/* ---- responses ---- */

static enum filter_headers on_response_headers(struct http_filter *f, struct headers *h, bool end)
{
    const struct decompressor_config *c = f->config;
    struct decompressor *s = f->state;
    if (!end)
        start(f, &c->response, &s->response, h);
    return FILTER_HEADERS_CONTINUE;
}

static enum filter_data on_response_data(struct http_filter *f, struct buf *data, bool end)
{
    const struct decompressor_config *c = f->config;
    struct decompressor *s = f->state;
    if (!s->response.codec)
        return FILTER_DATA_CONTINUE;
    decompress(f, &c->response, &s->response, data);
    if (end)
        tell_totals(f, &s->response, exchange_add_response_trailers(f));
    return FILTER_DATA_CONTINUE;
}

static enum filter_trailers on_response_trailers(struct http_filter *f, struct headers *h)
{
    struct decompressor *s = f->state;
    if (s->response.codec)
        tell_totals(f, &s->response, h);
    return FILTER_TRAILERS_CONTINUE;
}

static void on_destroy(struct http_filter *f)
{
    const struct decompressor_config *c = f->config;
    struct decompressor *s = f->state;
    codec_give(c->lib, &s->request.codec);
    codec_give(c->lib, &s->response.codec);
}

static void link(void *config, struct stat_scope *parent)
{
    struct decompressor_config *c = config;
    struct strbuf below = {0};
    enum compression_kind kind = compression_params(c->lib)->kind;
    if (c->library_stats)
        return;
    strbuf_addf(&below, "decompressor.%.*s.%s.", STR_ARG(c->library_name), libraries[kind].name);
    size_t base = below.n;
    strbuf_addz(&below, "request.");
    c->request.stats = filter_scope(parent, strbuf_str(&below), &table);
    below.n = base;
    strbuf_addz(&below, "response.");
    c->response.stats = filter_scope(parent, strbuf_str(&below), &table);
    below.n = base;
    strbuf_addz(&below, "decompressor_library.");
    c->library_stats = filter_scope(parent, strbuf_str(&below), &libraries[kind].table);
    strbuf_fini(&below);
}

void decompressor_config_free(void *config)
{
    struct decompressor_config *c = config;
    compression_lib_free(&c->lib);
    stat_scope_unref(&c->request.stats);
    stat_scope_unref(&c->response.stats);
    stat_scope_unref(&c->library_stats);
}

const struct http_filter_def decompressor_filter = {
    .name = "envoy.filters.http.decompressor",
    .state_bytes = sizeof(struct decompressor),
    .on_request_headers = on_request_headers,
    .on_request_data = on_request_data,
    .on_request_trailers = on_request_trailers,
    .on_response_headers = on_response_headers,
    .on_response_data = on_response_data,
    .on_response_trailers = on_response_trailers,
    .on_destroy = on_destroy,
    .link = link,
};
