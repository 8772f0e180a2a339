/* SPDX-License-Identifier: Apache-2.0
 *
 * What makes a message malformed (RFC 9113 section 8.1.1): pseudo-header fields late, twice, unknown
 * or missing, connection-specific fields, bad characters, a body of another length than promised.
 * Knows nothing of limits and stores nothing but marks; h2_headers.c decides what follows.
 */
#include "http/codec/h2_priv.h"

const char h2_bad_field[] = "http2.invalid.header.field";
const char h2_bad_message[] = "http2.violation.of.messaging.rule";

/* Marks of h2_stream.seen. Pseudo-header fields have the bit of their id. */
enum {
    SEEN_METHOD = 1 << HDR_METHOD, SEEN_PATH = 1 << HDR_PATH, SEEN_AUTHORITY = 1 << HDR_AUTHORITY,
    SEEN_SCHEME = 1 << HDR_SCHEME, SEEN_PROTOCOL = 1 << HDR_PROTOCOL, SEEN_STATUS = 1 << HDR_STATUS,
    SEEN_HOST = 1 << 8, SEEN_REGULAR = 1 << 9,
    SEEN_OPTIONS = 1 << 10, SEEN_PATH_SLASH = 1 << 11, SEEN_PATH_STAR = 1 << 12, SEEN_HTTP_SCHEME = 1 << 13,
};
_Static_assert(HDR_STATUS < 8, "marks of pseudo-header fields are their ids' bits");

#define BIT(id) (1ull << HDR_##id)
#define PSEUDO (BIT(METHOD) | BIT(PATH) | BIT(AUTHORITY) | BIT(SCHEME) | BIT(PROTOCOL) | BIT(STATUS))
#define FORBIDDEN (BIT(CONNECTION) | BIT(KEEP_ALIVE) | BIT(PROXY_CONNECTION) | BIT(TRANSFER_ENCODING) | BIT(UPGRADE))
#define SPECIAL (PSEUDO | FORBIDDEN | BIT(HOST) | BIT(CONTENT_LENGTH) | BIT(TE))

void h2_message_begin(struct h2_stream *st)
{
    st->seen = 0;
    st->malformed = NULL;
}

static bool is_path_fine(struct h2_stream *st, struct str path)
{
    st->seen |= path.p[0] == '/' ? SEEN_PATH_SLASH : 0;
    st->seen |= str_eq(path, STR("*")) ? SEEN_PATH_STAR : 0;
    return !memchr(path.p, ' ', path.n) && !memchr(path.p, '\t', path.n);
}

/* RFC 3986 section 3.1 */
static bool is_scheme_fine(struct h2_stream *st, struct str scheme)
{
    if (str_eq(scheme, STR("http")) || str_eq(scheme, STR("https"))) {
        st->seen |= SEEN_HTTP_SCHEME;
        return true;
    }
    for (size_t i = 0; i < scheme.n; i++) {
        char c = ascii_lower(scheme.p[i]);
        bool is_alpha = c >= 'a' && c <= 'z', is_other = (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
        if (!is_alpha && (!is_other || i == 0))
            return false;
    }
    return true;
}

static bool is_method_fine(struct h2_stream *st, const struct hpack_field *f)
{
    st->is_connect = str_eq(f->value, STR("CONNECT"));
    st->seen |= str_eq(f->value, STR("OPTIONS")) ? SEEN_OPTIONS : 0;
    return f->flags & HPACK_VALUE_STATIC || header_name_is_valid(f->value);
}

/* Section 8.6 of RFC 9113 rules 101 out. */
static bool is_status_fine(struct h2_stream *st, struct str v)
{
    if (v.n != 3 || v.p[0] < '1' || v.p[0] > '9' || v.p[1] < '0' || v.p[1] > '9' || v.p[2] < '0' || v.p[2] > '9')
        return false;
    st->status = (uint16_t)((v.p[0] - '0') * 100 + (v.p[1] - '0') * 10 + (v.p[2] - '0'));
    return st->status != 101;
}

static bool is_pseudo_fine(struct h2_stream *st, const struct hpack_field *f)
{
    bool is_server = st->session->opts.is_server;
    uint32_t mark = 1u << f->id;
    if (st->head_received || st->seen & (SEEN_REGULAR | mark) || f->value.n == 0 || is_server == (f->id == HDR_STATUS))
        return false;
    st->seen |= mark;
    switch (f->id) {
    case HDR_METHOD:
        return is_method_fine(st, f);
    case HDR_PATH:
        return is_path_fine(st, f->value);
    case HDR_SCHEME:
        return is_scheme_fine(st, f->value);
    case HDR_PROTOCOL:
        return st->session->opts.allow_connect;
    case HDR_STATUS:
        return is_status_fine(st, f->value);
    default:
        return true; /* :authority is looked at with Host */
    }
}

static int64_t parse_length(struct str v)
{
    int64_t n = 0;
    if (v.n == 0 || v.n > 18)
        return -1;
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9')
            return -1;
        n = n * 10 + (v.p[i] - '0');
    }
    return n;
}

/* RFC 9110 section 8.6: none in 1xx and 204, and none that counts in a response to CONNECT. */
static bool is_length_fine(struct h2_stream *st, struct str value)
{
    if (st->head_received)
        return true; /* a trailer; left out later */
    int64_t n = parse_length(value);
    bool is_first = st->content_length < 0;
    if (!st->session->opts.is_server) {
        if (st->status / 100 == 1 || (st->status == 204 && n != 0))
            return false;
        if (st->is_connect && st->status / 100 == 2)
            return true;
    }
    st->content_length = n;
    return is_first && n >= 0;
}

static bool is_special_fine(struct h2_stream *st, const struct hpack_field *f)
{
    if (PSEUDO >> f->id & 1)
        return is_pseudo_fine(st, f);
    st->seen |= SEEN_REGULAR;
    switch (f->id) {
    case HDR_HOST:
        if (!st->session->opts.is_server || st->head_received)
            return true;
        if (st->seen & SEEN_HOST || f->value.n == 0)
            return false;
        st->seen |= SEEN_HOST;
        return true;
    case HDR_CONTENT_LENGTH:
        return is_length_fine(st, f->value);
    case HDR_TE:
        return str_eq_nocase(f->value, STR("trailers"));
    default:
        return false; /* section 8.2.2 */
    }
}

bool h2_message_field(struct h2_stream *st, const struct hpack_field *f)
{
    if (f->flags & (HPACK_NAME_BAD | HPACK_VALUE_BAD))
        return false;
    if (f->id < 64 && SPECIAL >> f->id & 1)
        return is_special_fine(st, f);
    st->seen |= SEEN_REGULAR;
    return f->id != HDR_OTHER || f->name.p[0] != ':';
}

/* Sections 8.3.1 and 8.5, RFC 8441 section 4. */
static bool is_request_whole(const struct h2_stream *st)
{
    uint32_t seen = st->seen;
    if (st->is_connect && !(seen & SEEN_PROTOCOL))
        return seen & SEEN_AUTHORITY && !(seen & (SEEN_SCHEME | SEEN_PATH));
    uint32_t needed = SEEN_METHOD | SEEN_SCHEME | SEEN_PATH;
    if ((seen & needed) != needed || !(seen & (SEEN_AUTHORITY | SEEN_HOST)))
        return false;
    if (seen & SEEN_PROTOCOL && (!st->is_connect || !(seen & SEEN_AUTHORITY)))
        return false;
    return !(seen & SEEN_HTTP_SCHEME) || seen & SEEN_PATH_SLASH || (seen & SEEN_OPTIONS && seen & SEEN_PATH_STAR);
}

bool h2_message_is_informational(const struct h2_stream *st)
{
    return !st->session->opts.is_server && !st->head_received && st->status / 100 == 1;
}

bool h2_message_block(struct h2_stream *st, bool end)
{
    bool is_server = st->session->opts.is_server;
    if (st->head_received)
        return end && h2_message_end(st); /* section 8.1: trailers are the last */
    if (is_server ? !is_request_whole(st) : !(st->seen & SEEN_STATUS))
        return false;
    if (h2_message_is_informational(st))
        return !end;
    if (st->is_connect)
        st->content_length = -1; /* a tunnel's bytes are no body */
    else if (!is_server && (st->is_head_request || st->status == 204 || st->status == 304))
        st->content_length = 0;
    return !end || h2_message_end(st);
}

bool h2_message_body(struct h2_stream *st, size_t n)
{
    if (!st->head_received)
        return false;
    st->content_received += (int64_t)n;
    return st->content_length < 0 || st->content_received <= st->content_length;
}

bool h2_message_end(const struct h2_stream *st)
{
    return st->content_length < 0 || st->content_received == st->content_length;
}
