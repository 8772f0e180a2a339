/* SPDX-License-Identifier: Apache-2.0
 *
 * What stands in an HTTP/1.1 head: start line, fields, and the framing that they give the body
 * (RFC 9112 sections 3 to 6). Works on a whole head that lies in the message's arena, so results
 * point into it. What two parsers could read in two ways is refused (request smuggling): this file
 * never repairs. Nothing here knows about reading or states; see h1_parse.c.
 */
#include "http/codec/h1_priv.h"

#include "base/check.h"
#include "http/codec/uri.h"

#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* First byte that may not stand in a field value: a control other than HTAB. The text ends in CRLF,
 * so there is one; up to 16 bytes behind it may be read. */
static char *find_control(char *p)
{
#if defined(__SSE2__)
    const __m128i last_control = _mm_set1_epi8(0x1f), tab = _mm_set1_epi8('\t');
    const __m128i del = _mm_set1_epi8(0x7f);
    for (;; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(v, last_control), v);
        __m128i bad = _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(v, tab), low),
                                   _mm_cmpeq_epi8(v, del));
        unsigned bits = (unsigned)_mm_movemask_epi8(bad);
        if (bits)
            return p + __builtin_ctz(bits);
    }
#else
    for (;; p++) {
        unsigned char c = (unsigned char)*p;
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return p;
    }
#endif
}

/* ---- start line ---- */

/* A CR inside of a line is what smuggling is made of; it gets that name wherever it stands. */
static enum h1_error error_at(const char *p, const char *end, enum h1_error otherwise)
{
    return p < end && *p == '\r' ? H1_ERR_BAD_LINE_END : otherwise;
}

/* "HTTP/" DIGIT "." DIGIT, upper case only (RFC 9112 section 2.3). A higher minor version is
 * treated as 1.1 (RFC 9110 section 2.5). */
static enum h1_error parse_version(const char *p, size_t n, uint8_t *minor)
{
    if (n != 8 || memcmp(p, "HTTP/", 5) != 0 || p[6] != '.' || p[5] < '0' || p[5] > '9' ||
        p[7] < '0' || p[7] > '9') {
        return memchr(p, '\r', n) ? H1_ERR_BAD_LINE_END : H1_ERR_BAD_VERSION;
    }
    if (p[5] != '1')
        return H1_ERR_UNSUPPORTED_VERSION;
    *minor = p[7] != '0';
    return H1_ERR_NONE;
}

/* http or https only: for any other scheme this proxy is no authority. Userinfo is refused as RFC
 * 9110 section 4.2.4 advises, and an empty host as section 4.2.1 demands. */
static enum h1_error parse_absolute_form(const struct h1_parser_opts *opts, struct str target,
                                         struct h1_start_line *out)
{
    struct uri uri;
    if (!opts->allow_absolute_url || !uri_parse_absolute(target, &uri))
        return H1_ERR_BAD_URL;
    if (str_eq_nocase(uri.scheme, STR("http")))
        out->scheme = STR("http");
    else if (str_eq_nocase(uri.scheme, STR("https")))
        out->scheme = STR("https");
    else
        return H1_ERR_BAD_SCHEME;
    if (!authority_is_valid(uri.authority))
        return H1_ERR_BAD_URL;
    out->authority = uri.authority;
    out->path = uri.path;
    if (uri.path.n == 0) /* RFC 9112 section 3.2.4 */
        out->path = str_eq(out->method, STR("OPTIONS")) ? STR("*") : STR("/");
    return H1_ERR_NONE;
}

/* RFC 9112 section 3.2: each form only with its methods. */
static enum h1_error parse_target(const struct h1_parser_opts *opts, struct str target,
                                  struct h1_start_line *out)
{
    if (out->is_connect) {
        struct str host;
        int port;
        if (!authority_is_valid(target) || !authority_split(target, &host, &port) || port < 0 ||
            host.n == 0)
            return H1_ERR_BAD_URL;
        out->authority = target;
        return H1_ERR_NONE;
    }
    if (target.p[0] == '/') {
        out->path = target;
        return H1_ERR_NONE;
    }
    if (target.n == 1 && target.p[0] == '*') {
        out->path = target;
        return str_eq(out->method, STR("OPTIONS")) ? H1_ERR_NONE : H1_ERR_BAD_URL;
    }
    return parse_absolute_form(opts, target, out);
}

/* method SP request-target SP HTTP-version, with single spaces. Of the target's characters those
 * that every parser takes for a part of it are allowed: visible ASCII but '#', which has no place
 * there (RFC 9112 section 3.2). */
static enum h1_error parse_request_line(const struct h1_parser_opts *opts, const char *p, size_t n,
                                        struct h1_start_line *out)
{
    const char *end = p + n, *s = p;
    while (s < end && h1_token_lower[(unsigned char)*s])
        s++;
    if (s == p || s == end || *s != ' ')
        return error_at(s, end, H1_ERR_BAD_METHOD);
    out->method = str_make(p, (size_t)(s - p));
    out->is_connect = str_eq(out->method, STR("CONNECT"));

    const char *target = ++s;
    while (s < end && *s > ' ' && *s < 0x7f && *s != '#')
        s++;
    if (s < end && *s != ' ')
        return error_at(s, end, *s == '#' ? H1_ERR_FRAGMENT : H1_ERR_BAD_URL);
    if (s == target)
        return H1_ERR_BAD_URL;
    if (s == end) /* HTTP/0.9 */
        return H1_ERR_BAD_VERSION;
    size_t target_bytes = (size_t)(s - target);

    enum h1_error e = parse_version(s + 1, (size_t)(end - s - 1), &out->minor);
    if (e != H1_ERR_NONE)
        return e;
    if (!opts->allow_custom_methods && !h1_method_is_registered(out->method))
        return H1_ERR_BAD_METHOD;
    e = parse_target(opts, str_make(target, target_bytes), out);
    if (e == H1_ERR_NONE && out->minor == 0 && !opts->accept_http10)
        return H1_ERR_HTTP10_NOT_ACCEPTED;
    return e;
}

/* HTTP-version SP 3DIGIT [SP reason]. Many servers leave out the space before an empty reason; no
 * parser reads that in another way. */
static enum h1_error parse_status_line(const char *p, size_t n, struct h1_start_line *out)
{
    const char *space = memchr(p, ' ', n), *end = p + n;
    size_t version_bytes = space ? (size_t)(space - p) : n;
    enum h1_error e = parse_version(p, version_bytes, &out->minor);
    if (e != H1_ERR_NONE)
        return e;
    if (n < 12 || (n > 12 && p[12] != ' '))
        return n > 12 ? error_at(p + 12, end, H1_ERR_BAD_STATUS) : H1_ERR_BAD_STATUS;
    for (int i = 9; i < 12; i++) {
        if (p[i] < '0' || p[i] > '9')
            return error_at(p + i, end, H1_ERR_BAD_STATUS);
    }
    out->status = (uint16_t)((p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0'));
    if (out->status < 100)
        return H1_ERR_BAD_STATUS;
    for (const char *s = p + 12; s < end; s++) {
        if ((*s >= 0 && *s < ' ' && *s != '\t') || *s == 0x7f)
            return error_at(s, end, H1_ERR_BAD_STATUS);
    }
    return H1_ERR_NONE;
}

enum h1_error h1_start_line_parse(const struct h1_parser_opts *opts, const char *line, size_t n,
                                  struct h1_start_line *out)
{
    *out = (struct h1_start_line){.scheme = STR_NULL};
    return opts->is_request ? parse_request_line(opts, line, n, out)
                            : parse_status_line(line, n, out);
}

/* ---- fields ---- */

/* What the fields say, gathered while they go by. */
struct fields {
    const struct h1_parser_opts *opts;
    struct headers *h;
    char *text;           /* start of the section */
    const char *raw;      /* copy of the section before lowering; NULL unless keep_raw_names */
    bool is_trailers, is_first;
    bool connection_close, connection_keep_alive, connection_upgrade, has_upgrade;
    bool expect_continue, is_te_chunked, dropped_underscores;
    uint32_t count, hosts, lengths, encodings;
    struct str host;
    const char *host_raw;
    uint64_t content_length;
};

/* 1*DIGIT without overflow. A list ("5, 5"), a sign or a space inside is refused although RFC 9112
 * section 6.3 would let equal values pass: peers differ in which one they take. */
static bool parse_content_length(struct str s, uint64_t *out)
{
    uint64_t v = 0;
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned digit = (unsigned char)s.p[i] - (unsigned)'0';
        if (digit > 9 || __builtin_mul_overflow(v, (uint64_t)10, &v) ||
            __builtin_add_overflow(v, (uint64_t)digit, &v))
            return false;
    }
    *out = v;
    return v <= INT64_MAX;
}

static void note_connection(struct fields *f, struct str value)
{
    /* The two usual values first. */
    if (str_eq_nocase(value, STR("keep-alive"))) {
        f->connection_keep_alive = true;
        return;
    }
    f->connection_close |= header_list_has(value, STR("close"));
    f->connection_keep_alive |= header_list_has(value, STR("keep-alive"));
    f->connection_upgrade |= header_list_has(value, STR("upgrade"));
}

/* Looks at the fields that frame the message or steer the connection. *keep = false: the field
 * doesn't go into the list. */
static enum h1_error note_field(struct fields *f, enum header_id id, struct str value, bool *keep)
{
    switch ((int)id) {
    case HDR_HOST:
        if (!f->opts->is_request)
            break;
        f->hosts++;
        f->host = value;
        *keep = false;
        break;
    case HDR_CONTENT_LENGTH:
        if (f->lengths++ || !parse_content_length(value, &f->content_length))
            return H1_ERR_BAD_CONTENT_LENGTH;
        break;
    case HDR_TRANSFER_ENCODING:
        f->encodings++;
        f->is_te_chunked = str_eq_nocase(value, STR("chunked"));
        break;
    case HDR_CONNECTION:
        note_connection(f, value);
        break;
    case HDR_UPGRADE:
        f->has_upgrade = value.n > 0;
        break;
    case HDR_EXPECT:
        f->expect_continue |= str_eq_nocase(value, STR("100-continue"));
        break;
    default:
        break;
    }
    return H1_ERR_NONE;
}

/* Envoy's headers_with_underscores_action: "a_b" and "a-b" become the same name behind CGI. */
static enum h1_error check_underscore(struct fields *f, struct str name, bool *keep)
{
    if (f->opts->underscore == H1_UNDERSCORE_ALLOW || !memchr(name.p, '_', name.n))
        return H1_ERR_NONE;
    if (f->opts->underscore == H1_UNDERSCORE_REJECT)
        return H1_ERR_UNDERSCORE;
    f->dropped_underscores = true;
    *keep = false;
    return H1_ERR_NONE;
}

static enum h1_error overflow_error(const struct fields *f)
{
    return f->is_trailers ? H1_ERR_TRAILERS_TOO_LARGE : H1_ERR_HEADERS_TOO_LARGE;
}

static enum h1_error take_field(struct fields *f, struct str name, struct str value)
{
    bool keep = true;
    enum header_id id = header_id_of(name);
    enum h1_error e = H1_ERR_NONE;
    if (++f->count > f->opts->limits.max_headers)
        return H1_ERR_TOO_MANY_HEADERS;
    if (id == HDR_OTHER)
        e = check_underscore(f, name, &keep);
    else if (f->is_trailers)
        keep = header_may_be_trailer(id);
    else
        e = note_field(f, id, value, &keep);
    if (e != H1_ERR_NONE)
        return e;

    const char *raw = f->raw ? f->raw + (name.p - f->text) : NULL;
    if (raw && memcmp(raw, name.p, name.n) == 0)
        raw = NULL;
    if (!keep) {
        if (id == HDR_HOST)
            f->host_raw = raw;
        return H1_ERR_NONE;
    }
    bool added = id != HDR_OTHER ? headers_add_id_ref(f->h, id, value)
                                 : headers_add_ref(f->h, name, value);
    if (!added)
        return overflow_error(f);
    f->h->items[f->h->count - 1].raw_name = raw;
    return H1_ERR_NONE;
}

/* Lowers a name where it stands. Whole vectors, so that the loads which hash it needn't wait for
 * single bytes on their way to memory; what lies behind the name is written back as it was. */
static void lower_name(char *p, size_t n)
{
#if defined(__SSE2__)
    const __m128i iota = _mm_set_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    for (size_t i = 0; i < n; i += 16) {
        int left = n - i < 16 ? (int)(n - i) : 16;
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        __m128i upper = _mm_and_si128(_mm_cmpgt_epi8(v, _mm_set1_epi8('A' - 1)),
                                      _mm_cmpgt_epi8(_mm_set1_epi8('Z' + 1), v));
        upper = _mm_and_si128(upper, _mm_cmpgt_epi8(_mm_set1_epi8((char)left), iota));
        v = _mm_or_si128(v, _mm_and_si128(upper, _mm_set1_epi8(0x20)));
        _mm_storeu_si128((__m128i *)(void *)(p + i), v);
    }
#else
    for (size_t i = 0; i < n; i++)
        p[i] = (char)h1_token_lower[(unsigned char)p[i]];
#endif
}

/* One "name: value CRLF" at *at; moves *at behind it. */
static enum h1_error parse_field_line(struct fields *f, char **at)
{
    char *name = *at, *s = name;
    unsigned char c, changed = 0;
    while ((c = h1_token_lower[(unsigned char)*s]) != 0)
        changed |= c ^ (unsigned char)*s++;
    if (*s != ':' || s == name) {
        if ((*name == ' ' || *name == '\t') && !f->is_first)
            return H1_ERR_OBS_FOLD;
        return *s == '\r' && s[1] != '\n' ? H1_ERR_BAD_LINE_END : H1_ERR_BAD_HEADER_NAME;
    }
    size_t name_bytes = (size_t)(s - name);
    if (changed)
        lower_name(name, name_bytes);
    do
        s++;
    while (*s == ' ' || *s == '\t');

    char *value = s, *value_end = find_control(s);
    if (*value_end != '\r')
        return H1_ERR_BAD_HEADER_VALUE;
    if (value_end[1] != '\n')
        return H1_ERR_BAD_LINE_END;
    *at = value_end + 2;
    while (value_end > value && (value_end[-1] == ' ' || value_end[-1] == '\t'))
        value_end--;
    return take_field(f, str_make(name, name_bytes), str_make(value, (size_t)(value_end - value)));
}

/* Field lines up to the empty line that ends at `end`. */
static enum h1_error parse_fields(struct fields *f, char *p, const char *end)
{
    if (f->opts->keep_raw_names && !f->raw) {
        char *raw = arena_bytes(f->h->arena, (size_t)(end - f->text));
        if (!raw)
            return overflow_error(f);
        memcpy(raw, f->text, (size_t)(end - f->text));
        f->raw = raw;
    }
    f->is_first = true;
    while (p < end - 2) {
        enum h1_error e = parse_field_line(f, &p);
        if (e != H1_ERR_NONE)
            return e;
        f->is_first = false;
    }
    return H1_ERR_NONE;
}

enum h1_error h1_trailers_parse(const struct h1_parser_opts *opts, char *text, size_t n,
                                struct headers *h)
{
    struct fields f = {.opts = opts, .h = h, .text = text, .is_trailers = true};
    return parse_fields(&f, text, text + n);
}

/* ---- framing: RFC 9112 section 6.3 ---- */

/* Both lengths, or a coding other than one "chunked": CL.TE, TE.CL and TE.TE end here. */
static enum h1_error check_lengths(struct fields *f)
{
    if (f->encodings > 1 || (f->encodings && !f->is_te_chunked))
        return H1_ERR_BAD_TRANSFER_ENCODING;
    if (f->encodings && f->lengths) {
        if (!f->opts->allow_chunked_length)
            return H1_ERR_CONFLICTING_LENGTHS;
        headers_remove_id(f->h, HDR_CONTENT_LENGTH);
        f->lengths = 0;
    }
    return H1_ERR_NONE;
}

/* A body on CONNECT would be read as the first bytes of the tunnel by others. "content-length: 0"
 * says nothing and goes. */
static enum h1_error check_connect(struct fields *f)
{
    if (f->encodings || (f->lengths && f->content_length))
        return H1_ERR_BODY_NOT_ALLOWED;
    if (f->lengths)
        headers_remove_id(f->h, HDR_CONTENT_LENGTH);
    f->lengths = 0;
    return H1_ERR_NONE;
}

static enum h1_error frame(struct h1_head *head, struct fields *f)
{
    /* RFC 9112 section 6.1: such a message has faulty framing, whatever it says. */
    if (head->minor == 0 && f->encodings)
        return H1_ERR_TE_IN_HTTP10;
    enum h1_error e = check_lengths(f);
    if (e == H1_ERR_NONE && head->connect)
        e = check_connect(f);
    if (e != H1_ERR_NONE)
        return e;
    head->chunked = f->encodings > 0;
    head->has_length = f->lengths > 0;
    head->content_length = f->lengths ? f->content_length : 0;
    head->dropped_underscores = f->dropped_underscores;
    head->keep_alive = !f->connection_close && (head->minor > 0 || f->connection_keep_alive);
    return H1_ERR_NONE;
}

/* Host: exactly one for 1.1 (RFC 9112 section 3.2). An empty one is in the grammar and right beside
 * targets that don't need it; as the authority of an http URI it is invalid (RFC 9110 section
 * 4.2.1). An authority in the target overrides it. */
static enum h1_error settle_authority(const struct h1_parser_opts *opts, const struct fields *f,
                                      const struct h1_start_line *line, struct str *authority)
{
    if (f->hosts > 1)
        return H1_ERR_BAD_HOST;
    if (f->hosts == 0 && (line->minor > 0 || (!line->authority.p && !opts->default_host_http10.n)))
        return H1_ERR_NO_HOST;
    if (f->host.n && !authority_is_valid(f->host))
        return H1_ERR_BAD_HOST;
    *authority = line->authority.p ? line->authority : f->host;
    if (f->hosts == 0 && !line->authority.p)
        *authority = opts->default_host_http10;
    bool may_be_empty = line->path.n == 1 && line->path.p[0] == '*';
    if (authority->n == 0) {
        *authority = STR("");
        return may_be_empty ? H1_ERR_NONE : H1_ERR_BAD_HOST;
    }
    return H1_ERR_NONE;
}

/* Host's own spelling rides on :authority, in the first four of as many bytes as its name has. */
static bool keep_host_spelling(struct headers *h, const char *raw)
{
    char *p = arena_bytes(h->arena, sizeof(":authority") - 1);
    if (!p)
        return false;
    memset(p, ' ', sizeof(":authority") - 1);
    memcpy(p, raw, sizeof("host") - 1);
    h->items[0].raw_name = p;
    return true;
}

/* "http://host?query" has the path "/?query". */
static struct str origin_path(struct headers *h, struct str path)
{
    if (path.n && path.p[0] == '?')
        return arena_printf(h->arena, "/%.*s", STR_ARG(path));
    return path;
}

/* Pseudo headers come first, but the authority is known last: its place is kept free. */
static bool add_request_pseudo(struct headers *h, const struct h1_start_line *line)
{
    return headers_add_id_ref(h, HDR_AUTHORITY, STR("")) &&
           (line->is_connect ||
            headers_add_id_ref(h, HDR_PATH, origin_path(h, line->path))) &&
           headers_add_id_ref(h, HDR_METHOD, line->method) &&
           (!line->scheme.p || headers_add_id_ref(h, HDR_SCHEME, line->scheme));
}

static enum h1_error finish_request(struct h1_parser *p, struct fields *f,
                                    const struct h1_start_line *line)
{
    struct h1_head *head = &p->head;
    struct str authority;
    head->connect = line->is_connect;
    enum h1_error e = settle_authority(p->opts, f, line, &authority);
    if (e == H1_ERR_NONE)
        e = frame(head, f);
    if (e != H1_ERR_NONE)
        return e;
    f->h->items[0].value = authority;
    f->h->bytes += authority.n;
    if (f->host_raw && !keep_host_spelling(f->h, f->host_raw))
        return H1_ERR_HEADERS_TOO_LARGE;
    head->no_body = !head->chunked && head->content_length == 0;
    /* A server ignores both in HTTP/1.0 (RFC 9110 sections 7.8 and 10.1.1). */
    head->upgrade = p->opts->allow_upgrade && head->minor > 0 && f->connection_upgrade &&
                    f->has_upgrade && !head->connect;
    head->expect_continue = head->minor > 0 && f->expect_continue;
    return H1_ERR_NONE;
}

static enum h1_error finish_response(struct h1_parser *p, struct fields *f)
{
    struct h1_head *head = &p->head;
    enum h1_error e = frame(head, f);
    if (e != H1_ERR_NONE)
        return e;
    bool is_tunnel = p->peer_was_connect && head->status / 100 == 2;
    head->upgrade = head->status == 101;
    if (head->status < 200 || head->status == 204 || head->status == 304 || p->peer_was_head ||
        is_tunnel) {
        head->no_body = true;
        head->chunked = false;
        return H1_ERR_NONE;
    }
    head->until_close = !head->chunked && !head->has_length;
    head->no_body = head->has_length && head->content_length == 0;
    if (head->until_close)
        head->keep_alive = false;
    return H1_ERR_NONE;
}

enum h1_error h1_head_parse(struct h1_parser *p, char *text, size_t n, size_t line_bytes,
                            struct headers *h)
{
    struct h1_start_line line;
    struct fields f = {.opts = p->opts, .h = h, .text = text};
    DCHECK(h->count == 0);
    enum h1_error e = h1_start_line_parse(p->opts, text, line_bytes, &line);
    if (e != H1_ERR_NONE)
        return e;
    p->head = (struct h1_head){.minor = line.minor, .status = line.status};
    bool added = p->opts->is_request
                     ? add_request_pseudo(h, &line)
                     : headers_add_id_ref(h, HDR_STATUS, str_make(text + 9, 3));
    if (!added)
        return H1_ERR_HEADERS_TOO_LARGE;
    e = parse_fields(&f, text + line_bytes + 2, text + n);
    if (e != H1_ERR_NONE)
        return e;
    return p->opts->is_request ? finish_request(p, &f, &line) : finish_response(p, &f);
}
