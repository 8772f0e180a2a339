/* SPDX-License-Identifier: Apache-2.0
 *
 * What both protocols need to know of a message's fields: names of resets and protocols, hop-by-hop
 * fields, upgrades, gRPC; and the sink of streams that nobody listens to. Pure; no I/O.
 */
#include "http/stream.h"

#include "base/check.h"
#include "http/http_priv.h"

const char *stream_reset_text(enum stream_reset r)
{
    static const char *const texts[] = {
#define X(name, text) text,
        STREAM_RESET_TABLE(X)
#undef X
    };

    return (size_t)r < ARRAY_LEN(texts) ? texts[r] : "";
}

const char *http_protocol_text(enum http_protocol p)
{
    static const char *const texts[] = {"HTTP/1.0", "HTTP/1.1", "HTTP/2", "HTTP/3"};

    return (size_t)p < ARRAY_LEN(texts) ? texts[p] : "";
}

static void ignore_headers(struct http_sink *s, struct headers *h, bool end)
{
    (void)s, (void)h, (void)end;
}

static void ignore_one(struct http_sink *s, struct headers *h)
{
    (void)s, (void)h;
}

static void ignore_data(struct http_sink *s, struct buf *data, bool end)
{
    (void)s, (void)end;
    buf_drain(data, data->len);
}

static void ignore_closed(struct http_sink *s, enum stream_reset why, const char *details)
{
    (void)s, (void)why, (void)details;
}

static void ignore_watermark(struct http_sink *s, bool above)
{
    (void)s, (void)above;
}

static const struct http_sink_ops deaf_ops = {ignore_headers, ignore_one,    ignore_data,
                                              ignore_one,     ignore_closed, ignore_watermark};
struct http_sink http_deaf_sink = {&deaf_ops};

struct headers *headers_new(struct arena *arena)
{
    struct headers *h = arena_alloc(arena, sizeof(*h));

    if (h)
        headers_init(h, arena);
    return h;
}

/* Does any Connection field name this token? There may be several fields (RFC 9110 section 5.3). */
static bool connection_names(const struct headers *h, struct str lower_token)
{
    if (!headers_has_id(h, HDR_CONNECTION))
        return false;
    for (uint32_t i = 0; i < h->count; i++)
        if (h->items[i].id == HDR_CONNECTION && header_list_has(h->items[i].value, lower_token))
            return true;
    return false;
}

bool headers_is_upgrade(const struct headers *request)
{
    if (!headers_has_id(request, HDR_UPGRADE) || !connection_names(request, STR("upgrade")))
        return false;
    /* RFC 9113 section 3.1 took "h2c" away; a proxy that doesn't speak it must not tunnel it
     * either: the request smuggled inside would pass unseen. */
    return !header_list_has(headers_get_id(request, HDR_UPGRADE), STR("h2c"));
}

bool headers_is_connect(const struct headers *request)
{
    return str_eq(headers_get_id(request, HDR_METHOD), STR("CONNECT"));
}

static bool is_stripped_always(const struct header *f)
{
    return f->id == HDR_CONNECTION || f->id == HDR_KEEP_ALIVE || f->id == HDR_PROXY_CONNECTION ||
           f->id == HDR_TRANSFER_ENCODING || f->id == HDR_HTTP2_SETTINGS;
}

/* What Connection may not take away: routing and framing would change under the receiver's feet
 * (pseudo fields, Host, and lengths). */
static bool is_protected(const struct header *f)
{
    return f->name.n == 0 || f->name.p[0] == ':' || f->id == HDR_HOST ||
           f->id == HDR_CONTENT_LENGTH || f->id == HDR_TE || f->id == HDR_UPGRADE;
}

static void strip_te(struct headers *h)
{
    if (!headers_has_id(h, HDR_TE))
        return;
    if (header_list_has(headers_get_id(h, HDR_TE), STR("trailers")))
        headers_set_id_ref(h, HDR_TE, STR("trailers"));
    else
        headers_remove_id(h, HDR_TE);
}

#define HOP_MASK                                                                                   \
    (1ull << HDR_CONNECTION | 1ull << HDR_KEEP_ALIVE | 1ull << HDR_PROXY_CONNECTION |              \
     1ull << HDR_TE | 1ull << HDR_UPGRADE | 1ull << HDR_TRANSFER_ENCODING |                        \
     1ull << HDR_HTTP2_SETTINGS)

/* Removes the fields that Connection names. Values stay alive (arena), so the list may shrink under
 * us. */
static void strip_named(struct headers *h)
{
    for (uint32_t i = h->count; i-- > 0;) {
        if (!is_protected(&h->items[i]) && !is_stripped_always(&h->items[i]) &&
            connection_names(h, h->items[i].name))
            headers_remove_at(h, i);
    }
}

/* "close", "keep-alive" and "upgrade" name no field that needs a walk: the usual case. */
static bool connection_is_plain(const struct headers *h)
{
    for (uint32_t i = 0; i < h->count; i++) {
        struct str v = h->items[i].value;

        if (h->items[i].id == HDR_CONNECTION && !str_eq_nocase(v, STR("keep-alive")) &&
            !str_eq_nocase(v, STR("close")) && !str_eq_nocase(v, STR("upgrade")))
            return false;
    }
    return true;
}

void headers_strip_hop_by_hop(struct headers *h, bool keep_upgrade)
{
    if (!(h->mask & HOP_MASK))
        return;

    bool upgrade = keep_upgrade && headers_is_upgrade(h);

    if (headers_has_id(h, HDR_CONNECTION)) {
        if (!connection_is_plain(h))
            strip_named(h);
        headers_remove_id(h, HDR_CONNECTION);
    }
    headers_remove_id(h, HDR_KEEP_ALIVE);
    headers_remove_id(h, HDR_PROXY_CONNECTION);
    headers_remove_id(h, HDR_TRANSFER_ENCODING);
    headers_remove_id(h, HDR_HTTP2_SETTINGS);
    strip_te(h);
    if (upgrade)
        headers_add_id_ref(h, HDR_CONNECTION, STR("upgrade"));
    else
        headers_remove_id(h, HDR_UPGRADE);
}

bool headers_is_grpc_request(const struct headers *request)
{
    struct str type = headers_get_id(request, HDR_CONTENT_TYPE);

    if (!str_has_prefix_nocase(type, STR("application/grpc")))
        return false;
    return type.n == STR("application/grpc").n || type.p[STR("application/grpc").n] == '+';
}
