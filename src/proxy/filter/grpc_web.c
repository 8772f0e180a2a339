/* SPDX-License-Identifier: Apache-2.0
 *
 * gRPC-Web (the gRPC project's PROTOCOL-WEB.md) to gRPC and back, binary and text (base64). A response's trailers become its
 * last frame, with flag 0x80. What isn't a gRPC response (an error page, an answer of our own) becomes one: its text, up to
 * PLAIN_MAX bytes, goes into grpc-message and its status into grpc-status. In text form each frame is padded by itself; nothing
 * but up to two bytes waits for it. On the exchange's worker.
 */
#include "proxy/filter/grpc_web.h"

#include "proxy/cluster/cluster.h"
#include "proxy/filter/base64.h"
#include "proxy/filter/grpc_frames.h"
#include "proxy/route/route.h"

#define PLAIN_MAX 16384
#define TRAILERS_FLAG 0x80

struct grpc_web {
    bool is_web, request_text, response_text, is_plain;
    struct base64_decoder decoder;
    struct base64_encoder encoder;
    struct grpc_frame_counter frames;
    struct grpc_counts *counts;
    struct buf plain;                 /* what isn't gRPC, for grpc-message */
};

static bool is_text_type(struct str type)
{
    return str_eq(type, STR("application/grpc-web-text")) || str_eq(type, STR("application/grpc-web-text+proto"));
}

static bool is_web_type(struct str type)
{
    return is_text_type(type) || str_eq(type, STR("application/grpc-web")) || str_eq(type, STR("application/grpc-web+proto"));
}

/* ---- requests ---- */

static void start_counting(struct http_filter *f, const struct headers *h)
{
    const struct grpc_web_config *c = f->config;
    struct grpc_web *s = f->state;
    const struct cluster *cluster = exchange_decision(f->x)->cluster;
    struct str service, method, path = headers_get_id(h, HDR_PATH);
    if (cluster && path.p && grpc_path_split(path, &service, &method))
        s->counts = grpc_counts_of(c->counts, cluster, GRPC_COUNTS_GRPC_WEB, service, method, false);
}

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)end;
    struct grpc_web *s = f->state;
    struct str type = headers_get_id(h, HDR_CONTENT_TYPE);
    s->is_web = is_web_type(type);
    if (!s->is_web)
        return FILTER_HEADERS_CONTINUE;
    start_counting(f, h);
    s->request_text = is_text_type(type);
    s->response_text = is_text_type(headers_get(h, STR("accept")));
    headers_remove_id(h, HDR_CONTENT_LENGTH);
    headers_set_id_ref(h, HDR_CONTENT_TYPE, STR("application/grpc"));
    headers_set_id_ref(h, HDR_TE, STR("trailers"));
    headers_set(h, STR("grpc-accept-encoding"), STR("identity"));
    return FILTER_HEADERS_CONTINUE;
}

static bool decode(struct grpc_web *s, struct buf *data)
{
    struct buf out = BUF_INIT;
    struct str piece;
    bool good = true;
    for (struct buf_iter it = {0}; good && buf_next(data, &it, &piece);)
        good = base64_stream_decode(&s->decoder, (const uint8_t *)piece.p, piece.n, &out);
    buf_fini(data);
    buf_move(data, &out);
    return good;
}

static void refuse(struct http_filter *f)
{
    exchange_local_reply(f->x, OUTCOME(DIRECT_RESPONSE), 400, STR("Bad gRPC-web request, invalid base64 data."),
                         STR("grpc_base_64_decode_failed"), NULL, NULL);
}

static enum filter_data on_request_data(struct http_filter *f, struct buf *data, bool end)
{
    struct grpc_web *s = f->state;
    if (!s->request_text)
        return FILTER_DATA_CONTINUE;
    if (decode(s, data) && (!end || base64_decode_end(&s->decoder)))
        return FILTER_DATA_CONTINUE;
    refuse(f);
    return FILTER_DATA_STOP_NO_BUFFER;
}

static enum filter_trailers on_request_trailers(struct http_filter *f, struct headers *h)
{
    (void)h;
    struct grpc_web *s = f->state;
    if (!s->request_text || base64_decode_end(&s->decoder))
        return FILTER_TRAILERS_CONTINUE;
    refuse(f);
    return FILTER_TRAILERS_STOP;
}

/* ---- responses that aren't gRPC ---- */

static void take_plain(struct grpc_web *s, struct buf *data)
{
    size_t room = PLAIN_MAX - s->plain.len;
    buf_move_n(&s->plain, data, data->len < room ? data->len : room);
    buf_fini(data);
}

static void make_grpc(struct http_filter *f, struct headers *h)
{
    struct grpc_web *s = f->state;
    struct arena *a = exchange_arena(f->x);
    uint64_t status = 0;
    str_to_u64(headers_get_id(h, HDR_STATUS), &status);
    size_t n = s->plain.len;
    char *text = n ? arena_bytes(a, n) : NULL;
    if (text) {
        buf_copy_out(&s->plain, 0, text, n);
        headers_set_id_ref(h, HDR_GRPC_MESSAGE, grpc_message_encode(a, str_make(text, n)));
    }
    headers_set_id_ref(h, HDR_GRPC_STATUS, arena_printf(a, "%d", grpc_status_of_http((unsigned)status)));
    headers_set_id_ref(h, HDR_CONTENT_LENGTH, STR("0"));
}

/* ---- responses ---- */

static enum filter_headers on_response_headers(struct http_filter *f, struct headers *h, bool end)
{
    struct grpc_web *s = f->state;
    if (!s->is_web)
        return FILTER_HEADERS_CONTINUE;
    if (s->counts)
        grpc_count_status(s->counts, headers_get_id(h, HDR_GRPC_STATUS));
    s->is_plain = !end && !grpc_is_response(h, end);
    headers_set_id_ref(h, HDR_CONTENT_TYPE,
                       s->response_text ? STR("application/grpc-web-text+proto") : STR("application/grpc-web+proto"));
    return s->is_plain ? FILTER_HEADERS_STOP : FILTER_HEADERS_CONTINUE;
}

/* Each frame is a text of its own. */
static void encode(struct grpc_web *s, struct buf *data, bool end)
{
    struct buf out = BUF_INIT;
    struct str piece;
    bool begins, ends;
    for (struct buf_iter it = {0}; buf_next(data, &it, &piece);) {
        const uint8_t *p = (const uint8_t *)piece.p;
        for (size_t at = 0; at < piece.n;) {
            size_t n = grpc_frame_step(&s->frames, p + at, piece.n - at, &begins, &ends);
            base64_stream_encode(&s->encoder, p + at, n, &out);
            at += n;
            if (ends)
                base64_encode_end(&s->encoder, &out);
        }
    }
    if (end)
        base64_encode_end(&s->encoder, &out);
    buf_fini(data);
    buf_move(data, &out);
}

static enum filter_data on_response_data(struct http_filter *f, struct buf *data, bool end)
{
    struct grpc_web *s = f->state;
    if (s->is_plain) {
        take_plain(s, data);
        if (!end)
            return FILTER_DATA_STOP_NO_BUFFER;
        make_grpc(f, exchange_response_headers(f->x));
        return FILTER_DATA_CONTINUE;
    }
    if (s->response_text)
        encode(s, data, end);
    return FILTER_DATA_CONTINUE;
}

static void put_trailers(const struct headers *h, struct buf *out)
{
    struct strbuf text = {0};
    for (uint32_t i = 0; i < h->count; i++) {
        strbuf_adds(&text, h->items[i].name);
        strbuf_addc(&text, ':');
        strbuf_adds(&text, h->items[i].value);
        strbuf_addz(&text, "\r\n");
    }
    uint8_t head[GRPC_FRAME_HEADER_BYTES] = {TRAILERS_FLAG, (uint8_t)(text.n >> 24), (uint8_t)(text.n >> 16), (uint8_t)(text.n >> 8),
                                             (uint8_t)text.n};
    buf_append(out, head, sizeof head);
    buf_append_str(out, strbuf_str(&text));
    strbuf_fini(&text);
}

static enum filter_trailers on_response_trailers(struct http_filter *f, struct headers *h)
{
    struct grpc_web *s = f->state;
    struct buf data = BUF_INIT;
    if (!s->is_web)
        return FILTER_TRAILERS_CONTINUE;
    if (s->counts)
        grpc_count_status(s->counts, headers_get_id(h, HDR_GRPC_STATUS));
    if (s->is_plain) {
        make_grpc(f, exchange_response_headers(f->x));
        return FILTER_TRAILERS_CONTINUE;
    }
    if (s->response_text) /* of a message cut short */
        base64_encode_end(&s->encoder, &data);
    s->frames = (struct grpc_frame_counter){0};
    struct buf frame = BUF_INIT;
    put_trailers(h, &frame);
    if (s->response_text)
        encode(s, &frame, true);
    buf_move(&data, &frame);
    exchange_add_response_data(f, &data, true);
    buf_fini(&data);
    return FILTER_TRAILERS_STOP; /* for good: they went as data */
}

static void on_destroy(struct http_filter *f)
{
    struct grpc_web *s = f->state;
    buf_fini(&s->plain);
}

static void link(void *config, struct stat_scope *stats)
{
    (void)stats;
    struct grpc_web_config *c = config;
    if (!c->counts)
        c->counts = grpc_counts_table_new();
}

struct str grpc_message_encode(struct arena *a, struct str text)
{
    static const char hex[] = "0123456789ABCDEF";
    char *out = arena_bytes(a, text.n * 3 + 1);
    size_t n = 0;
    for (size_t i = 0; out && i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c >= 0x20 && c <= 0x7e && c != '%') {
            out[n++] = (char)c;
            continue;
        }
        out[n++] = '%';
        out[n++] = hex[c >> 4];
        out[n++] = hex[c & 15];
    }
    return str_make(out, n);
}

const struct http_filter_def grpc_web_filter = {
    .name = "envoy.filters.http.grpc_web",
    .state_bytes = sizeof(struct grpc_web),
    .on_request_headers = on_request_headers,
    .on_request_data = on_request_data,
    .on_request_trailers = on_request_trailers,
    .on_response_headers = on_response_headers,
    .on_response_data = on_response_data,
    .on_response_trailers = on_response_trailers,
    .on_destroy = on_destroy,
    .link = link,
};
