/* SPDX-License-Identifier: Apache-2.0
 *
 * gRPC for clients of HTTP/1.1 that can't read trailers: the whole response is held back until its trailers tell how the call
 * ended; grpc-status and grpc-message go into the head, a call that failed answers 503. Where asked for, a bare Protobuf
 * message (application/x-protobuf) is put into a frame on its way up and taken out of it on its way back. What is held meets
 * the exchange's body limit. On the exchange's worker.
 */
#include "proxy/filter/grpc_web.h"

#include "proxy/filter/grpc_frames.h"

struct bridge {
    bool is_bridged, is_framed; /* framed: we put it into a frame */
    bool is_grpc_response;
};

static void upgrade(struct http_filter *f, struct headers *h)
{
    const struct grpc_bridge_config *c = f->config;
    struct str rest, path = headers_get_id(h, HDR_PATH);
    headers_set_id_ref(h, HDR_CONTENT_TYPE, STR("application/grpc"));
    headers_remove_id(h, HDR_CONTENT_LENGTH);
    if (c->ignore_query && str_find_char(path, '?') >= 0)
        headers_set_id_ref(h, HDR_PATH, str_split(path, '?', &rest));
}

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    const struct grpc_bridge_config *c = f->config;
    struct bridge *s = f->state;
    struct str type = headers_get_id(h, HDR_CONTENT_TYPE);
    s->is_framed = c->upgrade_protobuf && str_eq(type, STR("application/x-protobuf"));
    if (s->is_framed)
        upgrade(f, h);
    s->is_bridged = exchange_info(f->x)->protocol < HTTP_2 && (s->is_framed || grpc_is_content_type(type));
    return s->is_framed && !end ? FILTER_HEADERS_STOP : FILTER_HEADERS_CONTINUE;
}

static void put_frame_header(struct buf *data, size_t length)
{
    uint8_t head[GRPC_FRAME_HEADER_BYTES] = {0, (uint8_t)(length >> 24), (uint8_t)(length >> 16), (uint8_t)(length >> 8), (uint8_t)length};
    buf_prepend(data, head, sizeof head);
}

static enum filter_data on_request_data(struct http_filter *f, struct buf *data, bool end)
{
    struct bridge *s = f->state;
    if (!s->is_framed)
        return FILTER_DATA_CONTINUE;
    if (!end)
        return FILTER_DATA_STOP_BUFFER;
    struct buf *held = exchange_request_buffer(f);
    put_frame_header(held->len ? held : data, held->len + data->len);
    return FILTER_DATA_CONTINUE;
}

static enum filter_trailers on_request_trailers(struct http_filter *f, struct headers *h)
{
    (void)h;
    struct bridge *s = f->state;
    struct buf *held = exchange_request_buffer(f);
    if (s->is_framed)
        put_frame_header(held, held->len);
    return FILTER_TRAILERS_CONTINUE;
}

static enum filter_headers on_response_headers(struct http_filter *f, struct headers *h, bool end)
{
    struct bridge *s = f->state;
    s->is_grpc_response = grpc_is_response(h, end);
    return s->is_bridged && !end ? FILTER_HEADERS_STOP : FILTER_HEADERS_CONTINUE;
}

static enum filter_data on_response_data(struct http_filter *f, struct buf *data, bool end)
{
    (void)data;
    const struct bridge *s = f->state;
    return s->is_bridged && !end ? FILTER_DATA_STOP_BUFFER : FILTER_DATA_CONTINUE;
}

static enum filter_trailers on_response_trailers(struct http_filter *f, struct headers *trailers)
{
    const struct bridge *s = f->state;
    struct headers *h = exchange_response_headers(f->x);
    struct arena *a = exchange_arena(f->x);
    struct str status = headers_get_id(trailers, HDR_GRPC_STATUS), message = headers_get_id(trailers, HDR_GRPC_MESSAGE);
    uint64_t code = 0;
    if (!s->is_bridged)
        return FILTER_TRAILERS_CONTINUE;
    struct buf *held = exchange_response_buffer(f);
    if (s->is_framed && s->is_grpc_response)
        buf_drain(held, held->len < GRPC_FRAME_HEADER_BYTES ? held->len : GRPC_FRAME_HEADER_BYTES);
    if (status.p) {
        if (!str_to_u64(status, &code) || code)
            headers_set_id_ref(h, HDR_STATUS, STR("503"));
        headers_set_id(h, HDR_GRPC_STATUS, status);
    }
    if (message.p)
        headers_set_id(h, HDR_GRPC_MESSAGE, message);
    headers_set_id_ref(h, HDR_CONTENT_LENGTH, arena_printf(a, "%zu", held->len));
    return FILTER_TRAILERS_CONTINUE;
}

const struct http_filter_def grpc_http1_bridge_filter = {
    .name = "envoy.filters.http.grpc_http1_bridge",
    .state_bytes = sizeof(struct bridge),
    .on_request_headers = on_request_headers,
    .on_request_data = on_request_data,
    .on_request_trailers = on_request_trailers,
    .on_response_headers = on_response_headers,
    .on_response_data = on_response_data,
    .on_response_trailers = on_response_trailers,
};
