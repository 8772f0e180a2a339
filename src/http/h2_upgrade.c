/* SPDX-License-Identifier: Apache-2.0
 *
 * Upgrades between their two forms (RFC 8441): inside the proxy HTTP/1's, on an HTTP/2 wire extended
 * CONNECT. Pure: header lists in, header lists out. A WebSocket's key and its answer exist in
 * HTTP/1 only (RFC 8441 section 5.1): they are made up here and dropped here.
 */
#include "http/h2_half.h"

#include "base/base64.h"

static bool is_websocket(struct str protocol)
{
    return str_eq_nocase(protocol, STR("websocket"));
}

/* An HTTP/1 server refuses a WebSocket without one (RFC 6455 section 4.2.1). */
static bool add_websocket_key(struct headers *h, struct rng *rng)
{
    uint64_t nonce[2] = {rng_next(rng), rng_next(rng)};
    char text[B64_BYTES(sizeof(nonce))];
    size_t n = b64_encode(str_make((const char *)nonce, sizeof(nonce)), text);
    return headers_add(h, STR("sec-websocket-key"), str_make(text, n));
}

struct str h2_upgrade_request_in(struct headers *h, struct rng *rng)
{
    if (!headers_has_id(h, HDR_PROTOCOL))
        return STR_NULL;
    struct str protocol = headers_get_id(h, HDR_PROTOCOL);
    headers_remove_id(h, HDR_PROTOCOL);
    headers_set_id_ref(h, HDR_METHOD, STR("GET"));
    headers_set_id_ref(h, HDR_CONNECTION, STR("upgrade"));
    headers_set_id_ref(h, HDR_UPGRADE, protocol);
    if (is_websocket(protocol) && !headers_find_id(h, HDR_SEC_WEBSOCKET_KEY))
        add_websocket_key(h, rng);
    return protocol;
}

/* The list's items are copied; their text stays where it is. */
static struct headers *copy_items(const struct headers *h, struct arena *arena)
{
    struct headers *copy = headers_new(arena);
    if (!copy)
        return NULL;
    for (uint32_t i = 0; i < h->count; i++) {
        const struct header *f = &h->items[i];
        bool ok = f->id == HDR_OTHER ? headers_add_ref(copy, f->name, f->value)
                                     : headers_add_id_ref(copy, f->id, f->value);
        if (!ok)
            return NULL;
        copy->items[copy->count - 1].never_index = f->never_index;
    }
    return copy;
}

struct headers *h2_upgrade_request_out(const struct headers *h, struct arena *arena)
{
    struct headers *copy = copy_items(h, arena);
    if (!copy)
        return NULL;
    struct str protocol = headers_get_id(copy, HDR_UPGRADE);
    headers_set_id_ref(copy, HDR_METHOD, STR("CONNECT"));
    headers_remove_id(copy, HDR_CONNECTION);
    headers_remove_id(copy, HDR_UPGRADE);
    headers_remove_id(copy, HDR_SEC_WEBSOCKET_KEY);
    headers_remove_id(copy, HDR_CONTENT_LENGTH);
    return headers_set_id_ref(copy, HDR_PROTOCOL, protocol) ? copy : NULL;
}

struct headers *h2_upgrade_response_out(const struct headers *h, struct arena *arena)
{
    struct headers *copy = copy_items(h, arena);
    if (!copy)
        return NULL;
    headers_remove_id(copy, HDR_CONNECTION);
    headers_remove_id(copy, HDR_UPGRADE);
    headers_remove(copy, STR("sec-websocket-accept"));
    return headers_set_id_ref(copy, HDR_STATUS, STR("200")) ? copy : NULL;
}

bool h2_upgrade_response_in(struct headers *h, struct str protocol)
{
    return headers_set_id_ref(h, HDR_STATUS, STR("101")) &&
           headers_set_id_ref(h, HDR_CONNECTION, STR("upgrade")) &&
           headers_set_id_ref(h, HDR_UPGRADE, protocol);
}
