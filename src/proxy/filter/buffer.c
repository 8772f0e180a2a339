/* SPDX-License-Identifier: Apache-2.0
 *
 * Keeps a request back until all of it is there, so that whoever serves it need not wait for a slow
 * client: past max_request_bytes it ends with 413. What then goes on has a content-length. On the
 * exchange's worker.
 */
#include "proxy/filter/buffer.h"

struct buffer {
    bool is_on;
    uint64_t bytes;
};

static void say_length(struct http_filter *f)
{
    const struct buffer *s = f->state;
    struct headers *h = exchange_request_headers(f->x);
    char digits[20];
    if (headers_has_id(h, HDR_CONTENT_LENGTH))
        return;
    headers_remove_id(h, HDR_TRANSFER_ENCODING);
    headers_set_id(h, HDR_CONTENT_LENGTH, str_make(digits, u64_format(s->bytes, digits)));
}

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)h;
    struct buffer *s = f->state;
    if (end)
        return FILTER_HEADERS_CONTINUE;
    const struct buffer_config *own = exchange_route_config(f), *c = own ? own : f->config;
    if (c->disabled)
        return FILTER_HEADERS_CONTINUE;
    s->is_on = true;
    exchange_set_body_limit_bytes(f->x, c->max_request_bytes);
    return FILTER_HEADERS_STOP;
}

static enum filter_data on_request_data(struct http_filter *f, struct buf *data, bool end)
{
    struct buffer *s = f->state;
    if (!s->is_on)
        return FILTER_DATA_CONTINUE;
    s->bytes += data->len;
    if (!end || s->bytes > exchange_body_limit_bytes(f->x))
        return FILTER_DATA_STOP_BUFFER;
    say_length(f);
    return FILTER_DATA_CONTINUE;
}

static enum filter_trailers on_request_trailers(struct http_filter *f, struct headers *h)
{
    (void)h;
    const struct buffer *s = f->state;
    if (s->is_on)
        say_length(f);
    return FILTER_TRAILERS_CONTINUE;
}

const struct http_filter_def buffer_filter = {
    .name = "envoy.filters.http.buffer",
    .state_bytes = sizeof(struct buffer),
    .on_request_headers = on_request_headers,
    .on_request_data = on_request_data,
    .on_request_trailers = on_request_trailers,
};
