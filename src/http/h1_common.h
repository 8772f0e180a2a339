/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to the two HTTP/1 halves: reading what both read alike.
 */
#ifndef HTTP_H1_COMMON_H
#define HTTP_H1_COMMON_H

#include "http/http_priv.h"

/* While a body flows a read takes this much at once; otherwise one block. */
#define H1_BODY_CHUNK_BYTES ((size_t)4 * BUF_BLOCK_BYTES)

/* Takes events from `in` until one comes that isn't body: all the body bytes at hand end in `body`
 * and are told in one call. `trailers` is made (in `arena`) when H1_TRAILERS comes. */
enum h1_event h1_gather(struct h1_parser *p, struct buf *in, struct buf *body,
                        struct headers **trailers, struct arena *arena);

/* Takes `connection: close` out of a message that the caller above wants to be the last; what else
 * Connection says is the writer's business. True when it was there. */
bool h1_take_close(struct headers *h);

/* Header bytes as Envoy counts them: fields without the start line and the empty line; of those that were read, also
 * without the space after the colon. */
uint64_t h1_fields_read_bytes(const struct headers *h);
uint64_t h1_fields_written_bytes(const struct headers *h, size_t head_bytes);

/* Content-Length bookkeeping of a message that we write: what a peer above promised is what goes
 * out, or the connection ends: a body of another length would be read as the next message. */
struct h1_out_length {
    bool known;
    uint64_t left;
};
void h1_out_length_begin(struct h1_out_length *l, enum h1_body_form form, const struct headers *h);
/* Cuts `data` to what may still be sent; false when it was longer. */
bool h1_out_length_take(struct h1_out_length *l, struct buf *data);

#endif
