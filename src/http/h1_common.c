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
