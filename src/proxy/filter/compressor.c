/* SPDX-License-Identifier: Apache-2.0
 *
 * Compresses what passes, each way by its own rules: enabled, long enough, of a listed content type, not compressed yet, not
 * no-transform; responses also only where the client accepts the encoding. Several compressors of one chain decide together,
 * once per exchange, which of them the client's accept-encoding asks for. A strong etag is removed where the body changes
 * (RFC 9110 section 8.8.1). Data is flushed as it comes: nothing is held back. On the exchange's worker.
 */
#include "proxy/filter/compressor.h"

#include "base/check.h"
#include "proxy/filter/filter_scope.h"
#include "proxy/runtime.h"

#define SIBLINGS_MAX 16

static const struct stat_desc rows[] = {COMPRESSOR_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};
static const struct stat_desc direction_rows[] = {COMPRESSOR_DIRECTION_STATS(STAT_DESC_ROW)};
static const struct stat_table direction_table = {direction_rows, ARRAY_LEN(direction_rows)};

struct compressor {
    struct str accept_encoding;       /* of the request, copied; null without */
    struct codec *request, *response;
    struct compression_lib *request_lib, *response_lib;
    bool decided;                     /* first of the chain's compressors only: what the client asks for */
    enum compressor_choice choice;
    struct str encoding;
};

static const struct compressor_config *config_of(const struct http_filter *f)
{
    return f->config;
}

static struct compression_lib *lib_of(struct http_filter *f, const struct compressor_route *r)
{
    (void)f;
    return r && r->lib ? r->lib : config_of(f)->lib;
}

static bool is_on(const struct compressor_direction *d)
{
    return d->is_set && (d->runtime_key.n ? runtime_bool(d->runtime_key, d->enabled) : d->enabled);
}

static bool response_is_on(const struct compressor_config *c, const struct compressor_route *r)
{
    if (r && (r->disabled || r->response_enabled))
        return !r->disabled;
    return is_on(&c->response);
}

/* ---- what may be compressed ---- */

static bool is_long_enough(const struct compressor_direction *d, struct stat_scope *stats, const struct headers *h, bool count)
{
    struct str text = headers_get_id(h, HDR_CONTENT_LENGTH);
    uint64_t length;
    if (!text.p) /* unknown until its end */
        return true;
    if (str_to_u64(text, &length) && length >= d->min_content_length)
        return true;
    if (count)
        stat_inc(stats, STAT_COMPRESSOR_TOO_SMALL);
    return false;
}

static bool type_is_listed(const struct compressor_direction *d, const struct headers *h)
{
    struct str type = headers_get_id(h, HDR_CONTENT_TYPE), params;
    if (!type.n)
        return true;
    type = str_trim(str_split(type, ';', &params));
    for (uint32_t i = 0; i < d->content_type_count; i++)
        if (str_eq_nocase(type, d->content_types[i]))
            return true;
    return false;
}

static bool has_no_transform(const struct headers *h)
{
    struct str value = headers_get_id(h, HDR_CACHE_CONTROL);
    return value.n && header_list_has(value, STR("no-transform"));
}

static bool is_coded(const struct headers *h)
{
    struct str te = headers_get_id(h, HDR_TRANSFER_ENCODING);
    static const struct str codings[] = {{"gzip", 4}, {"deflate", 7}, {"br", 2}, {"zstd", 4}, {"compress", 8}};
    if (headers_has_id(h, HDR_CONTENT_ENCODING))
        return true;
    for (size_t i = 0; te.n && i < ARRAY_LEN(codings); i++)
        if (header_list_has(te, codings[i]))
            return true;
    return false;
}

static bool code_is_allowed(const struct compressor_config *c, const struct headers *h)
{
    uint64_t status = 0;
    str_to_u64(headers_get_id(h, HDR_STATUS), &status);
    for (uint32_t i = 0; i < c->uncompressible_count; i++)
        if (c->uncompressible_codes[i] == status)
            return false;
    return true;
}

static bool etag_is_allowed(const struct compressor_config *c, const struct headers *h)
{
    if (!c->disable_on_etag || !headers_get_id(h, HDR_ETAG).p)
        return true;
    stat_inc(c->stats, STAT_COMPRESSOR_NOT_COMPRESSED_ETAG);
    return false;
}

/* ---- which compressor the client wants ---- */

static void decide(struct http_filter *f, const struct headers *response, struct http_filter *const *siblings, uint32_t n)
{
    struct compressor *first = siblings[0]->state, *s = f->state;
    struct compressor_candidate candidates[SIBLINGS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct compressor_config *c = config_of(siblings[i]);
        struct str encoding = compression_encoding(c->lib);
        bool known = !type_is_listed(&c->response, response); /* a compressor for other types isn't in the game */
        for (uint32_t k = 0; !known && k < count; k++)
            known = str_eq(candidates[k].encoding, encoding);
        if (!known)
            candidates[count++] = (struct compressor_candidate){encoding, c->choose_first};
    }
    first->choice = compressor_choose(s->accept_encoding, candidates, count, &first->encoding);
    first->decided = true;
}

static bool client_wants_it(struct http_filter *f, struct compression_lib *lib, const struct headers *response)
{
    static const enum compressor_stat choice_rows[] = {
        [COMPRESSOR_IDENTITY] = STAT_COMPRESSOR_HEADER_IDENTITY,
        [COMPRESSOR_WILDCARD] = STAT_COMPRESSOR_HEADER_WILDCARD,
        [COMPRESSOR_NOT_VALID] = STAT_COMPRESSOR_HEADER_NOT_VALID,
    };
    const struct compressor_config *c = config_of(f);
    struct compressor *s = f->state;
    struct http_filter *siblings[SIBLINGS_MAX];
    if (!s->accept_encoding.p) {
        stat_inc(c->stats, STAT_COMPRESSOR_NO_ACCEPT_HEADER);
        return false;
    }
    uint32_t n = exchange_filters_alike(f, siblings, SIBLINGS_MAX);
    struct compressor *first = siblings[0]->state;
    if (!first->decided)
        decide(f, response, siblings, n);
    bool wanted = str_eq(compression_encoding(lib), first->encoding);
    if (first->choice == COMPRESSOR_VALID)
        stat_inc(c->stats, wanted ? STAT_COMPRESSOR_HEADER_USED : STAT_COMPRESSOR_HEADER_OVERSHADOWED);
    else
        stat_inc(c->stats, choice_rows[first->choice]);
    return wanted;
}

/* ---- requests ---- */

static void compress(struct codec *codec, struct stat_scope *stats, struct buf *data, bool end)
{
    struct buf out = BUF_INIT;
    stat_add(stats, STAT_COMPRESSOR_UNCOMPRESSED_BYTES, data->len);
    codec_compress(codec, data, &out, end);
    stat_add(stats, STAT_COMPRESSOR_COMPRESSED_BYTES, out.len);
    buf_move(data, &out);
}

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    const struct compressor_config *c = config_of(f);
    const struct compressor_route *r = exchange_route_config(f);
    struct compressor *s = f->state;
    struct str accept = headers_get_joined(h, STR("accept-encoding"), exchange_arena(f->x));
    bool removes = r && r->has_remove ? r->remove_accept_encoding : c->remove_accept_encoding;
    if (accept.p)
        s->accept_encoding = arena_str(exchange_arena(f->x), accept);
    if (removes && response_is_on(c, r))
        headers_remove_id(h, HDR_ACCEPT_ENCODING);
    bool compresses = !end && is_on(&c->request) && !(r && r->disabled) && !headers_has_id(h, HDR_UPGRADE) &&
                      is_long_enough(&c->request, c->request_stats, h, true) && type_is_listed(&c->request, h) && !is_coded(h);
    s->request_lib = lib_of(f, r);
    if (compresses)
        s->request = codec_take(s->request_lib);
    if (s->request) {
        headers_remove_id(h, HDR_CONTENT_LENGTH);
        headers_set_id_ref(h, HDR_CONTENT_ENCODING, compression_encoding(s->request_lib));
    }
    stat_inc(c->request_stats, s->request ? STAT_COMPRESSOR_COMPRESSED : STAT_COMPRESSOR_NOT_COMPRESSED);
    return FILTER_HEADERS_CONTINUE;
}

static enum filter_data on_request_data(struct http_filter *f, struct buf *data, bool end)
{
    struct compressor *s = f->state;
    if (s->request)
        compress(s->request, config_of(f)->request_stats, data, end);
    return FILTER_DATA_CONTINUE;
}

static enum filter_trailers on_request_trailers(struct http_filter *f, struct headers *h)
{
    (void)h;
    struct compressor *s = f->state;
    struct buf data = BUF_INIT;
    if (!s->request)
        return FILTER_TRAILERS_CONTINUE;
    compress(s->request, config_of(f)->request_stats, &data, true);
    exchange_add_request_data(f, &data, false);
    buf_fini(&data);
    return FILTER_TRAILERS_CONTINUE;
}

/* ---- responses ---- */

static void add_vary(struct headers *h, struct arena *a)
{
    struct header *vary = headers_find_id(h, HDR_VARY);
    if (!vary) {
        headers_add_id_ref(h, HDR_VARY, STR("Accept-Encoding"));
        return;
    }
    struct str rest = vary->value;
    while (rest.p)
        if (str_eq(str_trim(str_split(rest, ',', &rest)), STR("Accept-Encoding")))
            return;
    headers_set_id_ref(h, HDR_VARY, arena_printf(a, "%.*s, Accept-Encoding", STR_ARG(vary->value)));
}

static void remove_strong_etag(struct headers *h)
{
    struct str etag = headers_get_id(h, HDR_ETAG);
    bool is_weak = etag.n > 2 && (etag.p[0] | 0x20) == 'w' && etag.p[1] == '/';
    if (etag.n > 2 && !is_weak)
        headers_remove_id(h, HDR_ETAG);
}

static void say_status(struct http_filter *f, struct headers *h, struct compression_lib *lib, const char *what, struct str length)
{
    struct str text = arena_printf(exchange_arena(f->x), "%.*s;%s%.*s", STR_ARG(compression_encoding(lib)), what, STR_ARG(length));
    headers_add_ref(h, STR("x-envoy-compression-status"), text);
}

/* NULL: it may be compressed; "": it may not; else why not, for x-envoy-compression-status. */
static const char *obstacle(const struct compressor_config *c, const struct headers *h)
{
    if (has_no_transform(h) || is_coded(h))
        return "";
    if (c->status_header && !is_long_enough(&c->response, c->response_stats, h, true))
        return "ContentLengthTooSmall";
    if (!type_is_listed(&c->response, h))
        return "ContentTypeNotAllowed";
    if (!etag_is_allowed(c, h))
        return "EtagNotAllowed";
    return code_is_allowed(c, h) ? NULL : "StatusCodeNotAllowed";
}

static void start_response(struct http_filter *f, struct headers *h)
{
    struct compressor *s = f->state;
    struct str length = headers_get_id(h, HDR_CONTENT_LENGTH);
    s->response = codec_take(s->response_lib);
    if (!s->response)
        return;
    if (config_of(f)->status_header)
        say_status(f, h, s->response_lib, "Compressed;OriginalLength=", length.p ? length : STR(""));
    remove_strong_etag(h);
    headers_remove_id(h, HDR_CONTENT_LENGTH);
    headers_set_id_ref(h, HDR_CONTENT_ENCODING, compression_encoding(s->response_lib));
}

static enum filter_headers on_response_headers(struct http_filter *f, struct headers *h, bool end)
{
    const struct compressor_config *c = config_of(f);
    const struct compressor_route *r = exchange_route_config(f);
    struct compressor *s = f->state;
    bool on = response_is_on(c, r) && !headers_has_id(h, HDR_UPGRADE);
    bool accepted = false;
    s->response_lib = lib_of(f, r);
    /* Without the status header the client's wish is looked at (and counted) before the response is. */
    if (on && !c->status_header) {
        on = is_long_enough(&c->response, c->response_stats, h, true);
        accepted = on && !end && client_wants_it(f, s->response_lib, h);
    }
    const char *why_not = on ? obstacle(c, h) : "";
    if (!why_not && !end && c->status_header)
        accepted = client_wants_it(f, s->response_lib, h);
    if (!why_not && accepted)
        start_response(f, h);
    else if (c->status_header && why_not && *why_not && !end)
        say_status(f, h, s->response_lib, why_not, STR(""));
    stat_inc(c->response_stats, s->response ? STAT_COMPRESSOR_COMPRESSED : STAT_COMPRESSOR_NOT_COMPRESSED);
    if (!why_not) /* even where this client doesn't accept it: caches must know */
        add_vary(h, exchange_arena(f->x));
    return FILTER_HEADERS_CONTINUE;
}

static enum filter_data on_response_data(struct http_filter *f, struct buf *data, bool end)
{
    struct compressor *s = f->state;
    if (s->response)
        compress(s->response, config_of(f)->response_stats, data, end);
    return FILTER_DATA_CONTINUE;
}

static enum filter_trailers on_response_trailers(struct http_filter *f, struct headers *h)
{
    (void)h;
    struct compressor *s = f->state;
    struct buf data = BUF_INIT;
    if (!s->response)
        return FILTER_TRAILERS_CONTINUE;
    compress(s->response, config_of(f)->response_stats, &data, true);
    exchange_add_response_data(f, &data, false);
    buf_fini(&data);
    return FILTER_TRAILERS_CONTINUE;
}

static void on_destroy(struct http_filter *f)
{
    struct compressor *s = f->state;
    codec_give(s->request_lib, &s->request);
    codec_give(s->response_lib, &s->response);
}

static void link(void *config, struct stat_scope *parent)
{
    struct compressor_config *c = config;
    struct strbuf below = {0};
    static const char *const families[] = {"gzip", "brotli", "zstd"};
    if (c->stats)
        return;
    strbuf_addf(&below, "compressor.%.*s.%s.", STR_ARG(c->library_name), families[compression_params(c->lib)->kind]);
    size_t base = below.n;
    c->stats = filter_scope(parent, strbuf_str(&below), &table);
    strbuf_addz(&below, "request.");
    c->request_stats = filter_scope(parent, strbuf_str(&below), &direction_table);
    below.n = base;
    if (c->response_is_direction)
        strbuf_addz(&below, "response.");
    c->response_stats = filter_scope(parent, strbuf_str(&below), &direction_table);
    strbuf_fini(&below);
}

void compressor_config_free(void *config)
{
    struct compressor_config *c = config;
    compression_lib_free(&c->lib);
    stat_scope_unref(&c->stats);
    stat_scope_unref(&c->request_stats);
    stat_scope_unref(&c->response_stats);
}

void compressor_route_free(void *config)
{
    struct compressor_route *r = config;
    compression_lib_free(&r->lib);
}

const struct http_filter_def compressor_filter = {
    .name = "envoy.filters.http.compressor",
    .state_bytes = sizeof(struct compressor),
    .on_request_headers = on_request_headers,
    .on_request_data = on_request_data,
    .on_request_trailers = on_request_trailers,
    .on_response_headers = on_response_headers,
    .on_response_data = on_response_data,
    .on_response_trailers = on_response_trailers,
    .on_destroy = on_destroy,
    .link = link,
};
