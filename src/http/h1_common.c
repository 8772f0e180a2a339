/* SPDX-License-Identifier: Apache-2.0
 *
 * What the server and the client half of HTTP/1 share: gathering body bytes, Connection: close, the
 * promise of Content-Length. Runs on the conn's loop; knows no conn.
 */
#include "http/h1_common.h"

enum h1_event h1_gather(struct h1_parser *p, struct buf *in, struct buf *body,
                        struct headers **trailers, struct arena *arena)
{
    struct headers found;
    enum h1_event ev;

    headers_init(&found, arena);
    do
        ev = h1_parser_next(p, in, &found, body);
    while (ev == H1_BODY || (ev == H1_TUNNEL && in->len));

    if (ev == H1_TRAILERS) {
        *trailers = headers_new(arena);
        if (!*trailers)
            return H1_FAILED;
        **trailers = found;
    }
    return ev;
}

bool h1_take_close(struct headers *h)
{
    if (!headers_has_id(h, HDR_CONNECTION) ||
        !header_list_has(headers_get_id(h, HDR_CONNECTION), STR("close")))
        return false;
    headers_remove_id(h, HDR_CONNECTION);
    return true;
}

void h1_out_length_begin(struct h1_out_length *l, enum h1_body_form form, const struct headers *h)
{
    l->known =
        form == H1_BODY_LENGTH && str_to_u64(headers_get_id(h, HDR_CONTENT_LENGTH), &l->left);
}

bool h1_out_length_take(struct h1_out_length *l, struct buf *data)
{
    if (!l->known)
        return true;
    if (data->len <= l->left) {
        l->left -= data->len;
        return true;
    }

    struct buf keep = BUF_INIT;

    buf_move_n(&keep, data, (size_t)l->left);
    buf_fini(data);
    *data = keep;
    l->left = 0;
    return false;
}

uint64_t h1_fields_read_bytes(const struct headers *h)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < h->count; i++) {
        const struct header *f = &h->items[i];
        if (f->id == HDR_AUTHORITY)
            n += sizeof("host:\r\n") - 1 + f->value.n;
        else if (f->name.p[0] != ':')
            n += sizeof(":\r\n") - 1 + f->name.n + f->value.n;
    }
    return n;
}

uint64_t h1_fields_written_bytes(const struct headers *h, size_t head_bytes)
{
    struct str status = headers_get_id(h, HDR_STATUS), method = headers_get_id(h, HDR_METHOD);
    struct str target = headers_get_id(h, str_eq(method, STR("CONNECT")) ? HDR_AUTHORITY : HDR_PATH);
    uint64_t code = 0;
    size_t start_line;
    if (status.n && str_to_u64(status, &code))
        start_line = sizeof("HTTP/1.1 200 \r\n") - 1 + strlen(http_reason((unsigned)code));
    else
        start_line = method.n + target.n + sizeof("  HTTP/1.1\r\n") - 1;
    return head_bytes > start_line + 2 ? head_bytes - start_line - 2 : 0;
}
