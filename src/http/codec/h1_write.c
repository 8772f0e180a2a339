/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes HTTP/1.1 messages: a plan for the framing first (RFC 9112 section 6), then start line and
 * fields in one pass into one piece of memory, whose size is bounded beforehand. What could split a
 * message in two for the reader (CR, LF or NUL in a value, a space in the target) makes the whole
 * head fail; nothing is written then. No state between calls; any thread.
 */
#include "http/codec/h1_priv.h"

#include "base/check.h"
#include "base/mem.h"

#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

struct writer {
    uint8_t *p; /* where the next byte goes; the room was reserved */
    bool bad;
    enum h1_name_case name_case;
};

/* What the head will say about the body and the connection. */
struct plan {
    enum h1_body_form form;
    bool keep_length;       /* the list's content-length goes out */
    bool zero_length;       /* content-length: 0 is added */
    bool list_connection;   /* the list's connection goes out */
    bool upgrade, trailer;  /* these fields of the list go out */
    struct str connection;  /* added */
};

/* ---- bytes ---- */

#define PUT(w, literal) put_bytes(w, literal, sizeof(literal) - 1)

static inline void put_bytes(struct writer *w, const char *p, size_t n)
{
    memcpy(w->p, p, n);
    w->p += n;
}

static bool is_bad_byte(unsigned char c, bool visible)
{
    return visible ? c <= ' ' || c == 0x7f : c == '\r' || c == '\n' || c == '\0';
}

#if defined(__SSE2__)
static inline __m128i bad_bytes(__m128i v, bool visible)
{
    if (visible)
        return _mm_or_si128(_mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(' ')), v),
                            _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f)));
    return _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('\r')),
                                     _mm_cmpeq_epi8(v, _mm_set1_epi8('\n'))),
                        _mm_cmpeq_epi8(v, _mm_setzero_si128()));
}

/* n >= 16: whole vectors, the last one over a part of the one before. */
static inline bool copy_vectors(uint8_t *to, const char *from, size_t n, bool visible)
{
    __m128i bad = _mm_setzero_si128();
    for (size_t i = 0;; i += 16) {
        if (i + 16 > n)
            i = n - 16;
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(from + i));
        _mm_storeu_si128((__m128i *)(void *)(to + i), v);
        bad = _mm_or_si128(bad, bad_bytes(v, visible));
        if (i + 16 == n)
            return _mm_movemask_epi8(bad) != 0;
    }
}

/* 4 <= n < 16: two halves that may overlap, looked at as one vector. */
static inline bool copy_halves(uint8_t *to, const char *from, size_t n, bool visible)
{
    if (n >= 8) {
        uint64_t low, high;
        memcpy(&low, from, 8);
        memcpy(&high, from + n - 8, 8);
        memcpy(to, &low, 8);
        memcpy(to + n - 8, &high, 8);
        __m128i v = _mm_set_epi64x((int64_t)high, (int64_t)low);
        return _mm_movemask_epi8(bad_bytes(v, visible)) != 0;
    }
    uint32_t low, high;
    memcpy(&low, from, 4);
    memcpy(&high, from + n - 4, 4);
    memcpy(to, &low, 4);
    memcpy(to + n - 4, &high, 4);
    __m128i v = _mm_set_epi32((int)high, (int)low, (int)high, (int)low);
    return _mm_movemask_epi8(bad_bytes(v, visible)) != 0;
}
#endif

/* Copies and looks at every byte on the way. visible: no spaces and controls at all (start lines),
 * else no CR, LF, NUL. */
static inline void put_checked(struct writer *w, struct str s, bool visible)
{
    uint8_t *to = w->p;
    bool bad = false;
    w->p += s.n;
#if defined(__SSE2__)
    if (s.n >= 4) {
        w->bad |= s.n >= 16 ? copy_vectors(to, s.p, s.n, visible)
                            : copy_halves(to, s.p, s.n, visible);
        return;
    }
#endif
    for (size_t i = 0; i < s.n; i++) {
        to[i] = (uint8_t)s.p[i];
        bad |= is_bad_byte(to[i], visible);
    }
    w->bad |= bad;
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

/* Envoy's proper_case_words: a letter at the start or behind anything special. */
static void put_proper(struct writer *w, struct str name)
{
    char before = '-';
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        w->bad |= is_bad_byte((unsigned char)c, true);
        bool is_lower = c >= 'a' && c <= 'z';
        *w->p++ = (uint8_t)(is_lower && !is_alnum(before) ? c - 0x20 : c);
        before = c;
    }
}

static inline void put_name(struct writer *w, struct str name, const char *raw_name)
{
    if (w->name_case == H1_CASE_LOWER)
        put_checked(w, name, true);
    else if (w->name_case == H1_CASE_PROPER)
        put_proper(w, name);
    else
        put_checked(w, str_make(raw_name ? raw_name : name.p, name.n), true);
    PUT(w, ": ");
}

static inline void put_field(struct writer *w, const struct header *item)
{
    put_name(w, item->name, item->raw_name);
    put_checked(w, item->value, false);
    PUT(w, "\r\n");
}

static void put_own(struct writer *w, struct str name, struct str value)
{
    put_field(w, &(struct header){.name = name, .value = value});
}

/* Room for a head or a trailer section: in the buf where it fits one block, as nearly all do. */
struct room {
    uint8_t *start, *heap;
};

static struct room room_take(struct buf *out, size_t bytes)
{
    size_t avail;
    if (bytes <= BUF_BLOCK_BYTES)
        return (struct room){buf_reserve(out, bytes, &avail), NULL};
    uint8_t *heap = mem_alloc(bytes);
    return (struct room){heap, heap};
}

static void room_give(struct buf *out, struct room *room, size_t used)
{
    if (room->heap) {
        buf_append(out, room->heap, used);
        mem_free(room->heap);
    } else {
        buf_commit(out, used);
    }
}

/* ---- plans ---- */

static void plan_connection(struct plan *plan, const struct headers *h,
                            const struct h1_write_opts *opts)
{
    struct str listed = headers_get_id(h, HDR_CONNECTION);
    bool lists_upgrade = header_list_has(listed, STR("upgrade"));
    plan->upgrade = opts->upgrade;
    plan->trailer = opts->enable_trailers;
    if (opts->upgrade) {
        plan->list_connection = lists_upgrade;
        if (!lists_upgrade && headers_has_id(h, HDR_UPGRADE))
            plan->connection = STR("upgrade");
    } else if (opts->close || plan->form == H1_BODY_UNTIL_CLOSE) {
        plan->connection = STR("close");
    } else if (opts->keep_alive) {
        plan->connection = STR("keep-alive");
    } else {
        plan->list_connection = !lists_upgrade;
    }
}

/* A length that goes with what follows. A message that ends here but names a length would leave the
 * reader waiting, and take the next message for its body. */
static bool has_true_length(const struct headers *h, bool end)
{
    struct str length = headers_get_id(h, HDR_CONTENT_LENGTH);
    return length.p && (!end || str_eq(length, STR("0")));
}

/* All but those for which RFC 9110 section 9.3 defines no content say that there is none. */
static bool usually_has_body(struct str method)
{
    static const struct str without[] = {{"GET", 3}, {"HEAD", 4}, {"DELETE", 6}, {"TRACE", 5}, {"CONNECT", 7}};
    for (size_t i = 0; i < ARRAY_LEN(without); i++)
        if (str_eq(method, without[i]))
            return false;
    return true;
}

/* False: the body's end can't be told to the peer. */
static bool plan_request(struct plan *plan, const struct headers *h, struct str method,
                         const struct h1_write_opts *opts)
{
    *plan = (struct plan){.form = H1_BODY_NONE};
    if (str_eq(method, STR("CONNECT")) ||
        (opts->upgrade && !headers_has_id(h, HDR_CONTENT_LENGTH))) {
        plan->form = H1_BODY_TUNNEL;
    } else if (has_true_length(h, opts->end)) {
        plan->keep_length = true;
        plan->form = opts->end ? H1_BODY_NONE : H1_BODY_LENGTH;
    } else if (opts->end) {
        plan->zero_length = usually_has_body(method);
    } else {
        plan->form = H1_BODY_CHUNKED;
        if (opts->http10)
            return false;
    }
    plan_connection(plan, h, opts);
    return true;
}

static void plan_response(struct plan *plan, const struct headers *h, unsigned status,
                          const struct h1_write_opts *opts)
{
    *plan = (struct plan){.form = H1_BODY_NONE};
    if ((status == 101 && opts->upgrade) || (status / 100 == 2 && opts->response_to_connect)) {
        plan->form = H1_BODY_TUNNEL; /* RFC 9110 section 9.3.6: no lengths */
    } else if (status < 200 || status == 204) {
        plan->keep_length = false; /* RFC 9110 section 8.6 */
    } else if (opts->response_to_head || status == 304) {
        plan->keep_length = true; /* what a GET would have had */
    } else if (has_true_length(h, opts->end)) {
        plan->keep_length = true;
        plan->form = opts->end ? H1_BODY_NONE : H1_BODY_LENGTH;
    } else if (opts->end) {
        plan->zero_length = true;
    } else {
        plan->form = opts->http10 ? H1_BODY_UNTIL_CLOSE : H1_BODY_CHUNKED;
    }
    plan_connection(plan, h, opts);
}

/* ---- heads ---- */

static bool is_listed_field_written(struct plan *plan, const struct header *item, bool has_authority)
{
    switch ((int)item->id) {
    case HDR_METHOD:
    case HDR_PATH:
    case HDR_AUTHORITY:
    case HDR_SCHEME:
    case HDR_PROTOCOL:
    case HDR_STATUS:
    case HDR_TRANSFER_ENCODING:
        return false;
    case HDR_HOST:
        return !has_authority;
    case HDR_CONTENT_LENGTH: { /* the first one only */
        bool written = plan->keep_length;
        plan->keep_length = false;
        return written;
    }
    case HDR_CONNECTION:
        return plan->list_connection;
    case HDR_UPGRADE:
        return plan->upgrade;
    case HDR_TRAILER:
        return plan->trailer;
    case HDR_OTHER:
        return item->name.n && item->name.p[0] != ':';
    default:
        return true;
    }
}

static void put_fields(struct writer *w, const struct headers *h, struct plan *plan,
                       bool has_authority)
{
    for (const struct header *item = h->items, *end = item + h->count; item < end; item++) {
        if (is_listed_field_written(plan, item, has_authority))
            put_field(w, item);
    }
    if (plan->zero_length)
        put_own(w, STR("content-length"), STR("0"));
    if (plan->form == H1_BODY_CHUNKED)
        put_own(w, STR("transfer-encoding"), STR("chunked"));
    if (plan->connection.n)
        put_own(w, STR("connection"), plan->connection);
    PUT(w, "\r\n");
}

/* The longest head for these fields: each gets ": " and CRLF; the authority may stand twice; the
 * rest is versions, our own fields and a reason phrase. */
static size_t head_bound(const struct headers *h, struct str authority)
{
    return h->bytes + (size_t)h->count * 4 + authority.n + 256;
}

static void put_target(struct writer *w, const struct headers *h, struct str authority,
                       struct str path, bool is_connect, bool absolute_form)
{
    if (is_connect) {
        put_checked(w, authority, true);
        return;
    }
    if (absolute_form) {
        struct str scheme = headers_get_id(h, HDR_SCHEME);
        put_checked(w, scheme.n ? scheme : STR("http"), true);
        PUT(w, "://");
        put_checked(w, authority, true);
        if (path.n == 1 && path.p[0] == '*') /* RFC 9112 section 3.2.4 */
            return;
    }
    put_checked(w, path, true);
}

/* The peer's own spelling of Host rides on :authority, see the parser. */
static void put_host(struct writer *w, const struct header *authority)
{
    put_name(w, STR("host"), authority->raw_name);
    put_checked(w, authority->value, true);
    PUT(w, "\r\n");
}

static bool commit_head(struct buf *out, struct room *room, const struct writer *w)
{
    room_give(out, room, w->bad ? 0 : (size_t)(w->p - room->start));
    return !w->bad;
}

bool h1_write_request(struct buf *out, const struct headers *h, const struct h1_write_opts *opts,
                      enum h1_body_form *form)
{
    struct plan plan;
    struct str method = headers_get_id(h, HDR_METHOD), path = headers_get_id(h, HDR_PATH);
    const struct header *host = headers_find_id(h, HDR_AUTHORITY);
    struct str authority = host ? host->value : STR_NULL;
    bool is_connect = str_eq(method, STR("CONNECT"));
    if (method.n == 0 || (is_connect ? authority.n == 0 : path.n == 0) ||
        !plan_request(&plan, h, method, opts))
        return false;

    struct room room = room_take(out, head_bound(h, authority));
    struct writer w = {.p = room.start, .name_case = opts->name_case};
    put_checked(&w, method, true);
    PUT(&w, " ");
    put_target(&w, h, authority, path, is_connect, opts->absolute_form && host);
    PUT(&w, " HTTP/1.");
    *w.p++ = opts->http10 ? '0' : '1';
    PUT(&w, "\r\n");
    if (host)
        put_host(&w, host);
    put_fields(&w, h, &plan, host != NULL);
    *form = plan.form;
    return commit_head(out, &room, &w);
}

/* 0: not three digits */
static unsigned parse_status(struct str s)
{
    uint64_t status;
    return s.n == 3 && str_to_u64(s, &status) && status >= 100 ? (unsigned)status : 0;
}

bool h1_write_response(struct buf *out, const struct headers *h, const struct h1_write_opts *opts,
                       enum h1_body_form *form)
{
    struct plan plan;
    struct str text = headers_get_id(h, HDR_STATUS);
    unsigned status = parse_status(text);
    if (!status)
        return false;
    plan_response(&plan, h, status, opts);

    struct room room = room_take(out, head_bound(h, STR_NULL));
    struct writer w = {.p = room.start, .name_case = opts->name_case};
    struct str reason = str_from(http_reason(status));
    PUT(&w, "HTTP/1.");
    *w.p++ = opts->http10 ? '0' : '1';
    *w.p++ = ' ';
    put_bytes(&w, text.p, 3);
    *w.p++ = ' ';
    put_bytes(&w, reason.p, reason.n);
    PUT(&w, "\r\n");
    put_fields(&w, h, &plan, false);
    *form = plan.form;
    return commit_head(out, &room, &w);
}

/* ---- bodies ---- */

static void write_chunk_size(struct buf *out, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    char text[2 * sizeof(n) + 2], *end = text + sizeof(text), *p = end;
    *--p = '\n';
    *--p = '\r';
    do {
        *--p = digits[n & 15];
        n >>= 4;
    } while (n);
    buf_append(out, p, (size_t)(end - p));
}

void h1_write_body(struct buf *out, enum h1_body_form form, struct buf *data)
{
    switch (form) {
    case H1_BODY_NONE: /* to HEAD, and the like */
        buf_fini(data);
        return;
    case H1_BODY_CHUNKED:
        if (data->len == 0) /* would be the last chunk */
            return;
        write_chunk_size(out, data->len);
        buf_move(out, data);
        buf_append(out, "\r\n", 2);
        return;
    case H1_BODY_LENGTH:
    case H1_BODY_UNTIL_CLOSE:
    case H1_BODY_TUNNEL:
        buf_move(out, data);
        return;
    }
}

/* A trailer that would break the framing is left out: it is too late to refuse the message. */
static void put_trailer(struct writer *w, const struct header *item)
{
    uint8_t *start = w->p;
    if (!header_may_be_trailer((enum header_id)item->id) || item->name.n == 0 ||
        item->name.p[0] == ':')
        return;
    w->bad = false;
    put_field(w, item);
    if (w->bad)
        w->p = start;
}

void h1_write_end(struct buf *out, enum h1_body_form form, const struct headers *trailers,
                  enum h1_name_case name_case)
{
    if (form != H1_BODY_CHUNKED)
        return;
    if (!trailers || trailers->count == 0) {
        buf_append(out, "0\r\n\r\n", 5);
        return;
    }
    struct room room = room_take(out, head_bound(trailers, STR_NULL));
    struct writer w = {.p = room.start, .name_case = name_case};
    PUT(&w, "0\r\n");
    for (uint32_t i = 0; i < trailers->count; i++)
        put_trailer(&w, &trailers->items[i]);
    PUT(&w, "\r\n");
    room_give(out, &room, (size_t)(w.p - room.start));
}
