/* SPDX-License-Identifier: Apache-2.0
 *
 * URIs, authorities and paths (RFC 3986). Views into the caller's text, except where a path had to
 * be rewritten: then into the arena. Normalisation follows Envoy's connection manager, step by
 * step: fragment, escaped slashes, canonical form (what browsers do), then slash merging. A second
 * run never changes the result of the first but where escaped slashes are kept out of it by option.
 * No state; any thread.
 */
#include "http/codec/uri.h"

#include <string.h>

static bool is_alpha(char c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_unreserved(char c)
{
    return is_alpha(c) || is_digit(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

/* The byte that "%XX" at p stands for, or -1. */
static int escaped_byte(const char *p, const char *end)
{
    if (end - p < 3 || *p != '%')
        return -1;
    int high = hex_value(p[1]), low = hex_value(p[2]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* ---- URI and authority ---- */

static size_t scheme_length(struct str text)
{
    size_t n = 0;
    if (text.n == 0 || !is_alpha(text.p[0]))
        return 0;
    while (n < text.n && (is_alpha(text.p[n]) || is_digit(text.p[n]) || text.p[n] == '+' ||
                          text.p[n] == '-' || text.p[n] == '.'))
        n++;
    return n;
}

bool uri_parse_absolute(struct str text, struct uri *out)
{
    size_t n = scheme_length(text);
    if (n == 0 || text.n - n < 3 || memcmp(text.p + n, "://", 3) != 0)
        return false;
    const char *authority = text.p + n + 3, *end = text.p + text.n, *p = authority;
    while (p < end && *p != '/' && *p != '?' && *p != '#')
        p++;
    out->scheme = str_make(text.p, n);
    out->authority = str_make(authority, (size_t)(p - authority));
    out->path = str_make(p, (size_t)(end - p));
    return true;
}

/* Bytes of the host in front of ":port": an IP literal ends at its bracket. */
static size_t host_length(struct str authority)
{
    if (authority.n && authority.p[0] == '[') {
        const char *close = memchr(authority.p, ']', authority.n);
        return close ? (size_t)(close - authority.p) + 1 : authority.n;
    }
    const char *colon = authority.n ? memchr(authority.p, ':', authority.n) : NULL;
    return colon ? (size_t)(colon - authority.p) : authority.n;
}

/* What follows the host: nothing, ":" (RFC 3986 section 3.2.3 lets the port be empty) or a port. */
static bool parse_port(struct str rest, int *port)
{
    int v = 0;
    *port = -1;
    if (rest.n == 0)
        return true;
    if (rest.p[0] != ':')
        return false;
    for (size_t i = 1; i < rest.n; i++) {
        if (!is_digit(rest.p[i]))
            return false;
        v = v * 10 + (rest.p[i] - '0');
        if (v > 65535)
            return false;
        *port = v;
    }
    return true;
}

bool authority_split(struct str authority, struct str *host, int *port)
{
    size_t n = host_length(authority);
    *host = str_make(authority.p, n);
    return parse_port(str_make(authority.p ? authority.p + n : NULL, authority.n - n), port);
}

#define C1(c) [c] = 1
/* unreserved and sub-delims of RFC 3986 section 2, as in reg-name */
static const bool reg_name_chars[256] = {
    ['0' ... '9'] = true, ['a' ... 'z'] = true, ['A' ... 'Z'] = true,
    C1('-'), C1('.'), C1('_'), C1('~'), C1('!'), C1('$'), C1('&'), C1('\''),
    C1('('), C1(')'), C1('*'), C1('+'), C1(','), C1(';'), C1('='),
};
#undef C1

static bool ip_literal_is_valid(struct str host)
{
    if (host.n < 4 || host.p[host.n - 1] != ']')
        return false;
    bool is_future = (host.p[1] | 0x20) == 'v';
    for (size_t i = 1; i < host.n - 1; i++) {
        char c = host.p[i];
        bool ok = is_future ? c == ':' || reg_name_chars[(unsigned char)c]
                            : c == ':' || c == '.' || hex_value(c) >= 0;
        if (!ok)
            return false;
    }
    return true;
}

static bool reg_name_is_valid(struct str host)
{
    const char *end = host.p + host.n;
    for (const char *p = host.p; p < end; p++) {
        if (reg_name_chars[(unsigned char)*p])
            continue;
        if (escaped_byte(p, end) < 0)
            return false;
        p += 2;
    }
    return host.n > 0;
}

bool authority_is_valid(struct str authority)
{
    struct str host;
    int port;
    if (authority.n == 0 || !authority_split(authority, &host, &port))
        return false;
    return host.n && host.p[0] == '[' ? ip_literal_is_valid(host) : reg_name_is_valid(host);
}

/* ---- path and query ---- */

struct str path_without_query(struct str path)
{
    size_t n = 0;
    while (n < path.n && path.p[n] != '?' && path.p[n] != '#')
        n++;
    return str_make(path.p, n);
}

struct str path_query(struct str path)
{
    size_t n = path_without_query(path).n;
    if (n == path.n || path.p[n] == '#')
        return STR_NULL;
    struct str query = str_make(path.p + n + 1, path.n - n - 1);
    const char *hash = memchr(query.p, '#', query.n);
    if (hash)
        query.n = (size_t)(hash - query.p);
    return query;
}

bool query_get(struct str query, struct str name, struct str *value)
{
    struct str rest = query;
    while (rest.p) {
        struct str text, key = str_split(str_split(rest, '&', &rest), '=', &text);
        if (str_eq(key, name)) {
            *value = text.p ? text : STR("");
            return true;
        }
    }
    return false;
}

/* ---- normalisation ---- */

/* Characters that the canonical form writes as %XX: they have no place in a path, or browsers
 * escape them. */
static bool wants_escape(unsigned char c)
{
    return c <= 0x20 || c >= 0x7f || c == '"' || c == '<' || c == '>' || c == '^' || c == '`' ||
           c == '{' || c == '|' || c == '}';
}

/* Would any step change the path? Nearly always not, and nothing is allocated then. */
static bool is_plain(struct str path, const struct path_opts *opts)
{
    for (size_t i = 0; i < path.n; i++) {
        char c = path.p[i], next = i + 1 < path.n ? path.p[i + 1] : '\0';
        if (c == '%' && (opts->normalize || opts->escaped_slashes != PATH_SLASH_KEEP))
            return false;
        if (opts->merge_slashes && c == '/' && next == '/')
            return false;
        if (opts->normalize &&
            (c == '\\' || wants_escape((unsigned char)c) || (c == '/' && next == '.')))
            return false;
    }
    return true;
}

static size_t write_escaped(char *out, unsigned char c)
{
    static const char digits[] = "0123456789ABCDEF";
    out[0] = '%';
    out[1] = digits[c >> 4];
    out[2] = digits[c & 15];
    return 3;
}

/* %2F and %5C become the slashes that they stand for; true when there were any. */
static bool unescape_slashes(char *path, size_t *n)
{
    const char *end = path + *n;
    char *out = path;
    for (const char *p = path; p < end; p++) {
        int c = escaped_byte(p, end);
        if (c == '/' || c == '\\') {
            *out++ = (char)c;
            p += 2;
        } else {
            *out++ = *p;
        }
    }
    bool changed = out != end;
    *n = (size_t)(out - path);
    return changed;
}

static bool has_escaped_slash(struct str path)
{
    for (const char *p = path.p, *end = p + path.n; p < end; p++) {
        int c = escaped_byte(p, end);
        if (c == '/' || c == '\\')
            return true;
    }
    return false;
}

static bool is_hex(char c)
{
    return hex_value(c) >= 0;
}

/* Unreserved characters are unescaped, others that need it escaped, '\' becomes '/'. Escapes of
 * everything else, %2F above all, stay: they mean something else than the character. A broken
 * escape stays as it is, unless unescaping what follows would mend it ("%%32e"): then its '%' is
 * escaped, or whoever is behind us would decode a second time. NUL is refused, C code behind us
 * would end the path there. */
static bool canonical_characters(const char *in, size_t n, char *out, size_t *out_n)
{
    const char *end = in + n;
    char *at = out, *broken = NULL;
    for (const char *p = in; p < end; p++) {
        int c = escaped_byte(p, end);
        if (c == 0 || *p == '\0')
            return false;
        if (c > 0 && is_unreserved((char)c)) {
            *at++ = (char)c;
            p += 2;
        } else if (c > 0) {
            memcpy(at, p, 3);
            at += 3;
            p += 2;
        } else if (*p == '\\') {
            *at++ = '/';
        } else if (wants_escape((unsigned char)*p)) {
            at += write_escaped(at, (unsigned char)*p);
        } else {
            if (*p == '%')
                broken = at;
            *at++ = *p;
        }
        if (broken && at - broken == 3 && is_hex(broken[1]) && is_hex(broken[2])) {
            memmove(broken + 3, broken + 1, 2);
            memcpy(broken, "%25", 3);
            at += 2;
            broken = NULL;
        }
    }
    *out_n = (size_t)(at - out);
    return true;
}

/* RFC 3986 section 5.2.4, in place: path[0] is '/', the output never overtakes the input. */
static size_t remove_dot_segments(char *path, size_t n)
{
    size_t r = 0, w = 0;
    while (r < n) {
        const char *slash = memchr(path + r + 1, '/', n - r - 1);
        size_t end = slash ? (size_t)(slash - path) : n, bytes = end - r - 1;
        const char *segment = path + r + 1;
        bool is_dot = bytes == 1 && segment[0] == '.';
        bool is_dots = bytes == 2 && segment[0] == '.' && segment[1] == '.';
        if (!is_dot && !is_dots) {
            memmove(path + w, path + r, end - r);
            w += end - r;
        }
        while (is_dots && w > 0 && path[--w] != '/')
            ;
        if ((is_dot || is_dots) && end == n)
            path[w++] = '/';
        r = end;
    }
    return w;
}

static size_t merge_slashes(char *path, size_t n)
{
    size_t w = 0;
    for (size_t r = 0; r < n; r++) {
        if (path[r] != '/' || w == 0 || path[w - 1] != '/')
            path[w++] = path[r];
    }
    return w;
}

/* Cuts the fragment; false: it is there and to be refused. */
static bool cut_fragment(struct str *path, const struct path_opts *opts)
{
    const char *hash = memchr(path->p, '#', path->n);
    if (!hash)
        return true;
    path->n = (size_t)(hash - path->p);
    return !opts->reject_fragment;
}

/* The steps on a copy; room for every byte escaped, then the query as it is. */
static enum path_result rewrite(struct str *path, struct str part, const struct path_opts *opts,
                                struct arena *a)
{
    struct str query = str_make(path->p + part.n, path->n - part.n);
    char *text = arena_bytes(a, part.n), *out = arena_bytes(a, part.n * 3 + query.n);
    size_t n = part.n;
    if (!text || !out)
        return PATH_INVALID;
    memcpy(text, part.p, n);
    bool unescaped = (opts->escaped_slashes == PATH_SLASH_UNESCAPE_REDIRECT ||
                      opts->escaped_slashes == PATH_SLASH_UNESCAPE_FORWARD) &&
                     unescape_slashes(text, &n);
    if (opts->normalize) {
        if (!canonical_characters(text, n, out, &n))
            return PATH_INVALID;
        n = remove_dot_segments(out, n);
    } else {
        memcpy(out, text, n);
    }
    if (opts->merge_slashes)
        n = merge_slashes(out, n);
    memcpy(out + n, query.p, query.n);
    *path = str_make(out, n + query.n);
    bool redirect = unescaped && opts->escaped_slashes == PATH_SLASH_UNESCAPE_REDIRECT;
    return redirect ? PATH_CHANGED_REDIRECT : PATH_OK;
}

enum path_result path_normalize(struct str *path, const struct path_opts *opts, struct arena *a)
{
    if (path->n == 0)
        return PATH_INVALID;
    if (!cut_fragment(path, opts))
        return PATH_INVALID;
    if (path->n == 1 && path->p[0] == '*')
        return PATH_OK;
    struct str part = path_without_query(*path);
    if (part.n == 0 || (part.p[0] != '/' && !(opts->normalize && part.p[0] == '\\')))
        return opts->normalize ? PATH_INVALID : PATH_OK;
    if (opts->escaped_slashes == PATH_SLASH_REJECT && has_escaped_slash(part))
        return PATH_INVALID;
    return is_plain(part, opts) ? PATH_OK : rewrite(path, part, opts, a);
}
