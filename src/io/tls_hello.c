/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads the ClientHello without doing TLS (tls_inspector): SNI, ALPN and the highest version
 * offered (RFC 8446 section 4.1.2, RFC 6066 section 3, RFC 7301). Pure: bytes in, result out, any
 * thread. A hello may be spread over many records, so the reader walks records and message at the
 * same time and keeps no state between calls. It refuses what a TLS stack would refuse anyway:
 * records of the wrong type in between, empty or oversized records, lengths that disagree,
 * repeated extensions. It never looks past the hello.
 */
#include "io/tls.h"

#include "base/check.h"

enum {
    RECORD_HANDSHAKE = 22,
    RECORD_HEADER_BYTES = 5,
    RECORD_MAX_BYTES = 16384,
    HANDSHAKE_CLIENT_HELLO = 1,
    EXT_SERVER_NAME = 0,
    EXT_ALPN = 16,
    EXT_SUPPORTED_VERSIONS = 43,
    RANDOM_BYTES = 32,
    SESSION_ID_MAX = 32,
};

/* `at` counts bytes of the handshake stream; ends of nested structures are given in it. */
struct hello_reader {
    const uint8_t *p, *end;
    size_t record_left, at;
    bool any_record;
    enum tls_hello_result status; /* YES while all is well; sticky otherwise */
    struct tls_hello *out;
};

static bool hr_fail(struct hello_reader *r, enum tls_hello_result why)
{
    if (r->status == TLS_HELLO_YES)
        r->status = why;
    return false;
}

/* Checks each header byte as soon as it is there, so that a plain-text protocol is told apart by
 * its first byte instead of by a timeout. */
static bool hr_next_record(struct hello_reader *r)
{
    size_t have = (size_t)(r->end - r->p);
    enum tls_hello_result wrong = r->any_record ? TLS_HELLO_BAD : TLS_HELLO_NOT_TLS;
    if ((have > 0 && r->p[0] != RECORD_HANDSHAKE) || (have > 1 && r->p[1] != 3) ||
        (have > 2 && r->p[2] > 4))
        return hr_fail(r, wrong);
    if (have < RECORD_HEADER_BYTES)
        return hr_fail(r, TLS_HELLO_MORE);
    size_t len = (size_t)r->p[3] << 8 | r->p[4];
    if (len == 0 || len > RECORD_MAX_BYTES) /* an endless row of empty records costs CPU only */
        return hr_fail(r, wrong);
    r->p += RECORD_HEADER_BYTES;
    r->record_left = len;
    r->any_record = true;
    return true;
}

/* The longest piece of the message at hand, at most n bytes; n = 0 on failure. */
static struct str hr_piece(struct hello_reader *r, size_t n)
{
    if (r->status != TLS_HELLO_YES || (r->record_left == 0 && !hr_next_record(r)))
        return STR_NULL;
    size_t have = (size_t)(r->end - r->p);
    if (have == 0) {
        hr_fail(r, TLS_HELLO_MORE);
        return STR_NULL;
    }
    n = n < r->record_left ? n : r->record_left;
    n = n < have ? n : have;
    struct str piece = str_make((const char *)r->p, n);
    r->p += n;
    r->record_left -= n;
    r->at += n;
    return piece;
}

/* Big-endian number of `bytes` bytes that must end before `limit`. */
static uint32_t hr_number(struct hello_reader *r, size_t bytes, size_t limit)
{
    if (r->at + bytes > limit) {
        hr_fail(r, TLS_HELLO_BAD);
        return 0;
    }
    uint32_t v = 0;
    for (size_t i = 0; i < bytes; i++) {
        struct str b = hr_piece(r, 1);
        if (b.n == 0)
            return 0;
        v = v << 8 | (uint8_t)b.p[0];
    }
    return v;
}

static void hr_skip_to(struct hello_reader *r, size_t end)
{
    while (r->status == TLS_HELLO_YES && r->at < end)
        hr_piece(r, end - r->at);
}

static struct str hr_string(struct hello_reader *r, size_t n)
{
    struct str s = n ? hr_piece(r, n) : STR_NULL;
    if (s.n == n || r->status != TLS_HELLO_YES)
        return r->status == TLS_HELLO_YES ? s : STR_NULL;
    struct tls_hello *out = r->out;
    if (n > sizeof out->joined - out->joined_len) {
        hr_fail(r, TLS_HELLO_BAD);
        return STR_NULL;
    }
    char *joined = out->joined + out->joined_len;
    for (size_t have = 0; have < n; s = hr_piece(r, n - have)) {
        if (s.n == 0)
            return STR_NULL;
        memcpy(joined + have, s.p, s.n);
        have += s.n;
        if (have == n)
            break;
    }
    out->joined_len += n;
    return str_make(joined, n);
}

/* Reads a length of `bytes` bytes and returns where that vector ends; checked against `limit`. */
static size_t hr_vector(struct hello_reader *r, size_t bytes, size_t limit)
{
    size_t n = hr_number(r, bytes, limit);
    if (r->status == TLS_HELLO_YES && r->at + n > limit)
        hr_fail(r, TLS_HELLO_BAD);
    return r->at + n;
}

static void read_server_name(struct hello_reader *r, size_t end)
{
    if (hr_vector(r, 2, end) != end)
        hr_fail(r, TLS_HELLO_BAD);
    while (r->status == TLS_HELLO_YES && r->at < end) {
        uint32_t type = hr_number(r, 1, end);
        size_t name_end = hr_vector(r, 2, end);
        if (r->status != TLS_HELLO_YES)
            return;
        if (type != 0) {
            hr_skip_to(r, name_end);
            continue;
        }
        size_t n = name_end - r->at;
        if (n == 0 || n > 255 || r->out->sni.n > 0) {
            hr_fail(r, TLS_HELLO_BAD);
            return;
        }
        struct str name = hr_string(r, n);
        if (name.n && memchr(name.p, 0, name.n))
            hr_fail(r, TLS_HELLO_BAD);
        r->out->sni = name;
    }
}

static void read_alpn(struct hello_reader *r, size_t end)
{
    if (hr_vector(r, 2, end) != end || r->at == end)
        hr_fail(r, TLS_HELLO_BAD);
    while (r->status == TLS_HELLO_YES && r->at < end) {
        size_t name_end = hr_vector(r, 1, end);
        if (r->status == TLS_HELLO_YES && name_end == r->at)
            hr_fail(r, TLS_HELLO_BAD);
        if (r->out->alpn_count < ARRAY_LEN(r->out->alpn)) {
            struct str name = hr_string(r, name_end - r->at);
            if (name.n)
                r->out->alpn[r->out->alpn_count++] = name;
        } else {
            hr_skip_to(r, name_end);
        }
    }
}

/* GREASE values (RFC 8701) and drafts have a first byte other than 3. */
static void read_versions(struct hello_reader *r, size_t end)
{
    if (hr_vector(r, 1, end) != end || (end - r->at) % 2)
        hr_fail(r, TLS_HELLO_BAD);
    uint16_t highest = 0;
    while (r->status == TLS_HELLO_YES && r->at < end) {
        uint16_t v = (uint16_t)hr_number(r, 2, end);
        if (v >> 8 == 3 && v > highest)
            highest = v;
    }
    if (highest)
        r->out->version = highest;
}

static void read_extensions(struct hello_reader *r, size_t end)
{
    bool seen[3] = {false};
    if (hr_vector(r, 2, end) != end)
        hr_fail(r, TLS_HELLO_BAD);
    while (r->status == TLS_HELLO_YES && r->at < end) {
        uint32_t type = hr_number(r, 2, end);
        size_t ext_end = hr_vector(r, 2, end);
        if (r->status != TLS_HELLO_YES)
            return;
        int kind = type == EXT_SERVER_NAME          ? 0
                   : type == EXT_ALPN               ? 1
                   : type == EXT_SUPPORTED_VERSIONS ? 2
                                                    : -1;
        if (kind >= 0 && seen[kind])
            hr_fail(r, TLS_HELLO_BAD);
        if (kind >= 0)
            seen[kind] = true;
        if (kind == 0)
            read_server_name(r, ext_end);
        else if (kind == 1)
            read_alpn(r, ext_end);
        else if (kind == 2)
            read_versions(r, ext_end);
        hr_skip_to(r, ext_end);
    }
}

static void read_hello(struct hello_reader *r)
{
    if (hr_number(r, 1, SIZE_MAX) != HANDSHAKE_CLIENT_HELLO)
        hr_fail(r, TLS_HELLO_BAD);
    size_t end = hr_vector(r, 3, TLS_HELLO_MAX_BYTES);
    r->out->version = (uint16_t)hr_number(r, 2, end);
    if (r->status == TLS_HELLO_YES && r->out->version >> 8 != 3)
        hr_fail(r, TLS_HELLO_BAD);
    if (r->at + RANDOM_BYTES > end)
        hr_fail(r, TLS_HELLO_BAD);
    hr_skip_to(r, r->at + RANDOM_BYTES);
    size_t id_end = hr_vector(r, 1, end);
    if (id_end - r->at > SESSION_ID_MAX)
        hr_fail(r, TLS_HELLO_BAD);
    hr_skip_to(r, id_end);
    size_t ciphers_end = hr_vector(r, 2, end);
    if (ciphers_end == r->at || (ciphers_end - r->at) % 2)
        hr_fail(r, TLS_HELLO_BAD);
    hr_skip_to(r, ciphers_end);
    size_t compressions_end = hr_vector(r, 1, end);
    if (compressions_end == r->at)
        hr_fail(r, TLS_HELLO_BAD);
    hr_skip_to(r, compressions_end);
    if (r->status == TLS_HELLO_YES && r->at < end)
        read_extensions(r, end);
}

enum tls_hello_result tls_hello_parse(const void *p, size_t n, struct tls_hello *out)
{
    out->sni = STR_NULL;
    out->alpn_count = 0;
    out->version = 0;
    out->joined_len = 0;
    struct hello_reader r = {.p = p, .end = (const uint8_t *)p + n, .status = TLS_HELLO_YES, .out = out};
    read_hello(&r);
    if (r.status == TLS_HELLO_MORE && n >= TLS_HELLO_MAX_BYTES)
        return TLS_HELLO_BAD;
    return r.status;
}
