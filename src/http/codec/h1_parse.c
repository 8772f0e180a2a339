/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP/1.1 parser's road through a message: finds the end of the head as bytes come in, has it
 * parsed, then moves the body without copying. The result, errors included, doesn't depend on how
 * the bytes were cut. Nothing is kept between messages but the options. Any thread, one at a time.
 *
 *   START -> LENGTH | CLOSE | CHUNK_* | DONE | TUNNEL
 *   CHUNK_SIZE -> CHUNK_BWS -> CHUNK_EXT -> CHUNK_SIZE_LF -> CHUNK_DATA -> CHUNK_CR -> CHUNK_LF
 *              -> CHUNK_SIZE ... -> TRAILERS -> DONE
 *   LENGTH, CHUNK_*, TRAILERS, CLOSE (by eof) -> DONE -> START
 *   any -> FAILED, which is final; h1_parser_tunnel(): any -> TUNNEL, which is final
 */
#include "http/codec/h1_priv.h"

#include "base/check.h"

#include <string.h>

enum state {
    START,
    LENGTH,
    CLOSE,
    CHUNK_SIZE,
    CHUNK_BWS,
    CHUNK_EXT,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_CR,
    CHUNK_LF,
    TRAILERS,
    DONE,
    TUNNEL,
    FAILED,
};

#define CHUNK_DIGITS_MAX 16   /* endless leading zeros; more would not fit 64 bits */
#define CHUNK_COPY_BYTES 256  /* below this a copy is cheaper than a slice of its own */

void h1_parser_init(struct h1_parser *p, const struct h1_parser_opts *opts)
{
    *p = (struct h1_parser){.opts = opts, .state = START};
}

void h1_parser_expect_response_to(struct h1_parser *p, bool head_method, bool connect_method)
{
    p->peer_was_head = head_method;
    p->peer_was_connect = connect_method;
}

void h1_parser_tunnel(struct h1_parser *p)
{
    p->state = TUNNEL;
}

bool h1_parser_is_between_messages(const struct h1_parser *p)
{
    return p->state == START && p->scanned == 0;
}

static enum h1_event fail(struct h1_parser *p, enum h1_error error)
{
    p->error = error;
    p->state = FAILED;
    return H1_FAILED;
}

/* ---- finding the empty line ---- */

enum scan { SCAN_MORE, SCAN_END, SCAN_BAD_LINE_END };

static void section_reset(struct h1_parser *p)
{
    p->scanned = p->line_start = p->line_bytes = 0;
}

/* One LF at offset `at`; `before` is the byte in front of it, if any. */
static enum scan line_end(struct h1_parser *p, size_t at, char before)
{
    size_t n = at - p->line_start;
    if (n == 0 || before != '\r')
        return SCAN_BAD_LINE_END;
    if (n == 1)
        return SCAN_END;
    if (p->line_start == 0)
        p->line_bytes = (uint32_t)n - 1;
    p->line_start = (uint32_t)at + 1;
    return SCAN_MORE;
}

/* Goes on where the last call stopped, up to offset `window`. Every line must end in CRLF. On
 * SCAN_END p->scanned is the size of the section. */
static enum scan section_scan(struct h1_parser *p, const struct buf *in, size_t window)
{
    struct buf_iter it = {0};
    struct str piece;
    size_t base = 0;
    char before = 0; /* the byte in front of `piece` */
    for (; base < window && buf_next(in, &it, &piece); base += piece.n) {
        if (base + piece.n > p->scanned) {
            const char *s = piece.p + (p->scanned - base);
            const char *end = piece.p + (piece.n < window - base ? piece.n : window - base);
            const char *lf;
            while (s < end && (lf = memchr(s, '\n', (size_t)(end - s))) != NULL) {
                size_t at = base + (size_t)(lf - piece.p);
                enum scan r = line_end(p, at, lf > piece.p ? lf[-1] : before);
                p->scanned = (uint32_t)at + 1;
                if (r != SCAN_MORE)
                    return r;
                s = lf + 1;
            }
            p->scanned = (uint32_t)(base + (size_t)(end - piece.p));
        }
        if (piece.n)
            before = piece.p[piece.n - 1];
    }
    return SCAN_MORE;
}

/* The section's bytes move into the arena, with the slack that its parser wants. */
static char *section_take(struct h1_parser *p, struct buf *in, struct arena *a, size_t *n)
{
    *n = p->scanned;
    char *text = arena_bytes(a, *n + H1_TEXT_SLACK);
    if (text) {
        buf_copy_out(in, 0, text, *n);
        memset(text + *n, 0, H1_TEXT_SLACK);
    }
    buf_drain(in, *n);
    return text;
}

/* ---- head ---- */

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t start_line_limit(const struct h1_limits *l)
{
    return l->max_start_line_bytes && l->max_start_line_bytes < l->max_head_bytes
               ? l->max_start_line_bytes
               : l->max_head_bytes;
}

/* RFC 9112 section 2.2: a server ignores an empty line before a request line; one, not any number.
 * False when the bytes so far are no such line's (an error was set) or not enough of it. */
static bool skip_empty_line(struct h1_parser *p, struct buf *in, enum h1_event *event)
{
    char two[2];
    size_t n = buf_copy_out(in, 0, two, sizeof(two));
    if (two[0] == '\n' || (two[0] == '\r' && (p->skipped_empty || (n == 2 && two[1] != '\n')))) {
        *event = fail(p, H1_ERR_BAD_LINE_END);
        return false;
    }
    if (two[0] != '\r')
        return true;
    *event = H1_MORE;
    if (n < 2)
        return false;
    buf_drain(in, 2);
    p->skipped_empty = true;
    return in->len > 0 && skip_empty_line(p, in, event);
}

/* Rubbish (TLS to a plain port, another protocol) is told from its first bytes, not from a head
 * that never ends. */
static enum h1_error first_bytes_check(const struct h1_parser *p, const struct buf *in)
{
    char first[5];
    size_t n = buf_copy_out(in, 0, first, sizeof(first));
    if (p->opts->is_request)
        return h1_token_lower[(unsigned char)first[0]] ? H1_ERR_NONE : H1_ERR_BAD_METHOD;
    return memcmp(first, "HTTP/", n) == 0 ? H1_ERR_NONE : H1_ERR_BAD_VERSION;
}

/* The start line has just become whole but the head is not: a bad one is answered now. */
static enum h1_error early_line_check(const struct h1_parser *p, struct buf *in)
{
    struct h1_start_line line;
    const uint8_t *text = buf_pullup(in, p->line_bytes);
    return h1_start_line_parse(p->opts, (const char *)text, p->line_bytes, &line);
}

static uint8_t state_after_head(const struct h1_parser *p)
{
    const struct h1_head *head = &p->head;
    if (!p->opts->is_request &&
        (head->status == 101 || (p->peer_was_connect && head->status / 100 == 2)))
        return TUNNEL;
    if (head->no_body)
        return DONE;
    if (head->chunked)
        return CHUNK_SIZE;
    return head->until_close ? CLOSE : LENGTH;
}

static enum h1_event take_head(struct h1_parser *p, struct buf *in, struct headers *h)
{
    size_t n, line_bytes = p->line_bytes;
    char *text = section_take(p, in, h->arena, &n);
    section_reset(p);
    p->skipped_empty = false;
    if (!text)
        return fail(p, H1_ERR_HEADERS_TOO_LARGE);
    enum h1_error e = h1_head_parse(p, text, n, line_bytes, h);
    if (e != H1_ERR_NONE)
        return fail(p, e);
    p->state = state_after_head(p);
    p->body_left = p->head.chunked ? 0 : p->head.content_length;
    p->ext_bytes = 0;
    p->chunk_digits = 0;
    return H1_HEAD;
}

/* Until the start line is whole, no more is looked at than it may have: its error must not depend
 * on how many bytes behind it are there already. */
static enum scan head_scan(struct h1_parser *p, const struct buf *in)
{
    const struct h1_limits *l = &p->opts->limits;
    size_t window = min_size(in->len, l->max_head_bytes);
    if (!p->line_bytes) {
        size_t first = min_size(window, start_line_limit(l) + 2);
        enum scan r = section_scan(p, in, first);
        if (r != SCAN_MORE || !p->line_bytes || first == window)
            return r;
    }
    return section_scan(p, in, window);
}

static enum h1_event head_incomplete(struct h1_parser *p, const struct buf *in)
{
    const struct h1_limits *l = &p->opts->limits;
    enum h1_error line_error =
        p->opts->is_request ? H1_ERR_START_LINE_TOO_LONG : H1_ERR_HEADERS_TOO_LARGE;
    if (!p->line_bytes && p->scanned >= min_size(start_line_limit(l) + 2, l->max_head_bytes))
        return fail(p, line_error);
    if (in->len >= l->max_head_bytes)
        return fail(p, H1_ERR_HEADERS_TOO_LARGE);
    return H1_MORE;
}

static enum h1_event next_head(struct h1_parser *p, struct buf *in, struct headers *h)
{
    enum h1_event event;
    if (in->len == 0)
        return H1_MORE;
    if (p->scanned == 0 && p->opts->is_request && !skip_empty_line(p, in, &event))
        return event;
    if (p->scanned < sizeof("HTTP/") - 1) {
        enum h1_error e = first_bytes_check(p, in);
        if (e != H1_ERR_NONE)
            return fail(p, e);
    }
    bool had_line = p->line_bytes > 0;
    enum scan r = head_scan(p, in);
    if (r == SCAN_END)
        return take_head(p, in, h);
    if (p->line_bytes && !had_line) {
        enum h1_error e = early_line_check(p, in);
        if (e != H1_ERR_NONE)
            return fail(p, e);
    }
    return r == SCAN_MORE ? head_incomplete(p, in) : fail(p, H1_ERR_BAD_LINE_END);
}

/* ---- body ---- */

/* False: more digits than a size may have, or not a digit. */
static bool chunk_digit(struct h1_parser *p, unsigned char c)
{
    unsigned digit;
    if (c >= '0' && c <= '9')
        digit = c - (unsigned)'0';
    else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
        digit = (c | 0x20) - (unsigned)'a' + 10;
    else
        return false;
    if (++p->chunk_digits > CHUNK_DIGITS_MAX || p->body_left >> 58)
        return false;
    p->body_left = p->body_left << 4 | digit;
    return true;
}

/* A size is followed by CRLF or by extensions: [BWS] ";" anything but controls (RFC 9112 section
 * 7.1.1). A bare LF in them is where parsers differ about the chunk's begin. */
static bool chunk_size_end(struct h1_parser *p, unsigned char c)
{
    bool is_bws = c == ' ' || c == '\t';
    if (p->chunk_digits == 0)
        return false;
    if (c == '\r' && p->state != CHUNK_BWS) {
        p->state = CHUNK_SIZE_LF;
        return true;
    }
    if (p->state == CHUNK_EXT) {
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    } else if (c == ';') {
        p->state = CHUNK_EXT;
    } else if (is_bws) {
        p->state = CHUNK_BWS;
    } else {
        return false;
    }
    return ++p->ext_bytes <= p->opts->limits.max_chunk_ext_bytes;
}

/* One byte of what stands between chunks; a flat state machine. */
static bool chunk_byte(struct h1_parser *p, unsigned char c)
{
    switch ((enum state)p->state) {
    case CHUNK_SIZE:
        return chunk_digit(p, c) || chunk_size_end(p, c);
    case CHUNK_BWS:
    case CHUNK_EXT:
        return chunk_size_end(p, c);
    case CHUNK_SIZE_LF:
        p->state = p->body_left ? CHUNK_DATA : TRAILERS;
        return c == '\n';
    case CHUNK_CR:
        p->state = CHUNK_LF;
        return c == '\r';
    case CHUNK_LF:
        p->state = CHUNK_SIZE;
        p->chunk_digits = 0;
        return c == '\n';
    default:
        return false;
    }
}

/* Eats framing up to the next data or the trailers. */
static bool chunk_framing(struct h1_parser *p, struct buf *in)
{
    while (in->len && p->state != CHUNK_DATA && p->state != TRAILERS) {
        struct str front = buf_front(in);
        size_t n = 0;
        while (n < front.n && p->state != CHUNK_DATA && p->state != TRAILERS) {
            if (!chunk_byte(p, (unsigned char)front.p[n++]))
                return false;
        }
        buf_drain(in, n);
    }
    return true;
}

/* Many tiny chunks would otherwise cost a slice each: memory by amplification. */
static void move_chunk_data(struct buf *body, struct buf *in, size_t n)
{
    char small[CHUNK_COPY_BYTES];
    if (n > sizeof(small) || body->len == 0) {
        buf_move_n(body, in, n);
        return;
    }
    buf_copy_out(in, 0, small, n);
    buf_append(body, small, n);
    buf_drain(in, n);
}

static enum h1_event next_trailers(struct h1_parser *p, struct buf *in, struct headers *h)
{
    size_t limit = p->opts->limits.max_trailer_bytes, n;
    switch (section_scan(p, in, min_size(in->len, limit))) {
    case SCAN_MORE:
        return in->len >= limit ? fail(p, H1_ERR_TRAILERS_TOO_LARGE) : H1_MORE;
    case SCAN_BAD_LINE_END:
        return fail(p, H1_ERR_BAD_LINE_END);
    case SCAN_END:
        break;
    }
    bool is_empty = p->scanned == 2;
    char *text = is_empty ? NULL : section_take(p, in, h->arena, &n);
    if (is_empty)
        buf_drain(in, 2);
    section_reset(p);
    p->state = START;
    if (is_empty)
        return H1_DONE;
    DCHECK(h->count == 0);
    enum h1_error e = text ? h1_trailers_parse(p->opts, text, n, h) : H1_ERR_TRAILERS_TOO_LARGE;
    if (e != H1_ERR_NONE)
        return fail(p, e);
    if (!p->opts->keep_trailers || h->count == 0) {
        headers_init(h, h->arena);
        return H1_DONE;
    }
    p->state = DONE;
    return H1_TRAILERS;
}

/* As many chunks as are there make one event. */
static enum h1_event next_chunked(struct h1_parser *p, struct buf *in, struct headers *h,
                                  struct buf *body)
{
    bool moved = false;
    while (in->len && p->state != TRAILERS) {
        if (p->state != CHUNK_DATA) {
            if (!chunk_framing(p, in)) {
                fail(p, H1_ERR_BAD_CHUNK);
                break;
            }
            continue;
        }
        size_t n = p->body_left < in->len ? (size_t)p->body_left : in->len;
        move_chunk_data(body, in, n);
        moved = true;
        p->body_left -= n;
        if (p->body_left == 0)
            p->state = CHUNK_CR;
    }
    if (moved)
        return H1_BODY;
    if (p->state == FAILED)
        return H1_FAILED;
    return p->state == TRAILERS ? next_trailers(p, in, h) : H1_MORE;
}

static enum h1_event next_length(struct h1_parser *p, struct buf *in, struct buf *body)
{
    if (in->len == 0)
        return H1_MORE;
    size_t n = p->body_left < in->len ? (size_t)p->body_left : in->len;
    buf_move_n(body, in, n);
    p->body_left -= n;
    if (p->body_left == 0)
        p->state = DONE;
    return H1_BODY;
}

static enum h1_event move_all(struct buf *in, struct buf *body, enum h1_event event)
{
    if (in->len == 0)
        return H1_MORE;
    buf_move(body, in);
    return event;
}

enum h1_event h1_parser_next(struct h1_parser *p, struct buf *in, struct headers *h,
                             struct buf *body)
{
    switch ((enum state)p->state) {
    case START:
        return next_head(p, in, h);
    case LENGTH:
        return next_length(p, in, body);
    case CLOSE:
        return move_all(in, body, H1_BODY);
    case TUNNEL:
        return move_all(in, body, H1_TUNNEL);
    case DONE:
        p->state = START;
        return H1_DONE;
    case FAILED:
        return H1_FAILED;
    default:
        return next_chunked(p, in, h, body);
    }
}

enum h1_event h1_parser_eof(struct h1_parser *p)
{
    switch ((enum state)p->state) {
    case START:
        return p->scanned ? fail(p, H1_ERR_EOF_IN_MESSAGE) : H1_MORE;
    case CLOSE:
    case DONE:
        p->state = START;
        return H1_DONE;
    case TUNNEL:
        return H1_DONE;
    case FAILED:
        return H1_FAILED;
    default:
        return fail(p, H1_ERR_EOF_IN_MESSAGE);
    }
}
