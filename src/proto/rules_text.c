/* SPDX-License-Identifier: Apache-2.0
 *
 * Rules of strings and bytes: lengths, affixes, lists, patterns, and the well-known forms (hosts,
 * addresses, URIs, header names and values). Pure.
 */
#include <arpa/inet.h>

#include "base/check.h"
#include "proto/rules_priv.h"

static bool say(struct strbuf *why, const char *text, struct str what)
{
    strbuf_addz(why, text);
    if (what.p) {
        strbuf_addz(why, " '");
        strbuf_add(why, what.p, what.n < 100 ? what.n : 100);
        strbuf_addz(why, what.n < 100 ? "'" : "...'");
    }
    return false;
}

static bool say_length(struct strbuf *why, const char *rule, uint64_t limit, const char *unit,
                       uint64_t is)
{
    strbuf_addf(why, "must have %s %llu %s, has %llu", rule, (unsigned long long)limit, unit,
                (unsigned long long)is);
    return false;
}

/* ---- well-known forms ---- */

static bool is_ip(struct str s, int family)
{
    char text[64];
    struct in6_addr bytes;
    if (s.n == 0 || s.n >= sizeof(text))
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    return inet_pton(family, text, &bytes) == 1;
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z');
}

/* RFC 1034 section 3.5, with digits in front as RFC 1123 allows. */
static bool is_hostname(struct str s)
{
    struct str rest = s, label;
    if (s.n && s.p[s.n - 1] == '.')
        rest.n--;
    if (rest.n == 0 || rest.n > 253)
        return false;
    do {
        label = str_split(rest, '.', &rest);
        if (label.n == 0 || label.n > 63 || label.p[0] == '-' || label.p[label.n - 1] == '-')
            return false;
        for (size_t i = 0; i < label.n; i++)
            if (!is_alnum(label.p[i]) && label.p[i] != '-')
                return false;
    } while (rest.p);
    return true;
}

static bool is_email(struct str s)
{
    ptrdiff_t at = str_find_char(s, '@');
    return at > 0 && at <= 64 && s.n <= 254 &&
           is_hostname(str_make(s.p + at + 1, s.n - (size_t)at - 1));
}

/* RFC 3986 characters, percent signs followed by two hex digits. */
static bool is_uri_text(struct str s)
{
    static const char others[] = "-._~:/?#[]@!$&'()*+,;=";
    for (size_t i = 0; i < s.n; i++) {
        uint64_t v;
        if (s.p[i] == '%') {
            if (s.n - i < 3 || !str_to_u64_hex(str_make(s.p + i + 1, 2), &v))
                return false;
        } else if (!is_alnum(s.p[i]) && !memchr(others, s.p[i], sizeof(others) - 1)) {
            return false;
        }
    }
    return true;
}

static bool is_uri(struct str s)
{
    ptrdiff_t colon = str_find_char(s, ':');
    if (colon <= 0 || is_alnum(s.p[0]) == false || (s.p[0] >= '0' && s.p[0] <= '9'))
        return false;
    for (ptrdiff_t i = 1; i < colon; i++)
        if (!is_alnum(s.p[i]) && s.p[i] != '+' && s.p[i] != '-' && s.p[i] != '.')
            return false;
    return is_uri_text(s);
}

static bool is_uuid(struct str s)
{
    if (s.n != 36)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        uint64_t v;
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? s.p[i] != '-' : !str_to_u64_hex(str_make(s.p + i, 1), &v))
            return false;
    }
    return true;
}

/* RFC 9110 section 5.6.2 tokens; pseudo-headers may have their colon. */
static bool is_header_name(struct str s)
{
    static const char others[] = "!#$%&'*+-.^_|~`";
    size_t i = s.n && s.p[0] == ':';
    if (i == s.n)
        return false;
    for (; i < s.n; i++)
        if (!is_alnum(s.p[i]) && !memchr(others, s.p[i], sizeof(others) - 1))
            return false;
    return true;
}

/* Strict: no control characters but HTAB; else only what would split a message. */
static bool is_header_value(struct str s, bool strict)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == 0 || c == '\r' || c == '\n' || (strict && ((c < 0x20 && c != '\t') || c == 0x7f)))
            return false;
    }
    return true;
}

static bool check_header(const Validate__StringRules *rules, struct str s, struct strbuf *why)
{
    bool strict = rules->strict;
    if (rules->well_known_regex == VALIDATE__KNOWN_REGEX__HTTP_HEADER_NAME) {
        if (strict ? is_header_name(s) : is_header_value(s, false)) /* not strict: "" too, as in fields left out */
            return true;
        return say(why, "must be a valid header name, is", s);
    }
    if (rules->well_known_regex == VALIDATE__KNOWN_REGEX__HTTP_HEADER_VALUE && !is_header_value(s, strict))
        return say(why, "must be a valid header value, is", s);
    return true;
}

static bool check_well_known(const Validate__StringRules *rules, struct str s, struct strbuf *why)
{
    bool ip = is_ip(s, AF_INET) || is_ip(s, AF_INET6);
    switch (rules->well_known_case) {
    case VALIDATE__STRING_RULES__WELL_KNOWN_EMAIL:
        return is_email(s) || say(why, "must be an email address, is", s);
    case VALIDATE__STRING_RULES__WELL_KNOWN_HOSTNAME:
        return is_hostname(s) || say(why, "must be a host name, is", s);
    case VALIDATE__STRING_RULES__WELL_KNOWN_IP:
        return ip || say(why, "must be an IP address, is", s);
    case VALIDATE__STRING_RULES__WELL_KNOWN_IPV4:
        return is_ip(s, AF_INET) || say(why, "must be an IPv4 address, is", s);
    case VALIDATE__STRING_RULES__WELL_KNOWN_IPV6:
        return is_ip(s, AF_INET6) || say(why, "must be an IPv6 address, is", s);
    case VALIDATE__STRING_RULES__WELL_KNOWN_URI:
        return is_uri(s) || say(why, "must be an absolute URI, is", s);
    case VALIDATE__STRING_RULES__WELL_KNOWN_URI_REF:
        return is_uri_text(s) || say(why, "must be a URI, is", s);
    case VALIDATE__STRING_RULES__WELL_KNOWN_ADDRESS:
        return ip || is_hostname(s) || say(why, "must be a host name or IP address, is", s);
    case VALIDATE__STRING_RULES__WELL_KNOWN_UUID:
        return is_uuid(s) || say(why, "must be a UUID, is", s);
    case VALIDATE__STRING_RULES__WELL_KNOWN_WELL_KNOWN_REGEX:
        return check_header(rules, s, why);
    default:
        return true;
    }
}

/* ---- strings ---- */

static uint64_t count_characters(struct str s)
{
    uint64_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

static bool check_lengths(const Validate__StringRules *r, struct str s, struct strbuf *why)
{
    uint64_t n = r->has_len || r->has_min_len || r->has_max_len ? count_characters(s) : 0;
    if (r->has_len && n != r->len)
        return say_length(why, "exactly", r->len, "characters", n);
    if (r->has_min_len && n < r->min_len)
        return say_length(why, "at least", r->min_len, r->min_len == 1 ? "character" : "characters", n);
    if (r->has_max_len && n > r->max_len)
        return say_length(why, "at most", r->max_len, "characters", n);
    if (r->has_len_bytes && s.n != r->len_bytes)
        return say_length(why, "exactly", r->len_bytes, "bytes", s.n);
    if (r->has_min_bytes && s.n < r->min_bytes)
        return say_length(why, "at least", r->min_bytes, "bytes", s.n);
    if (r->has_max_bytes && s.n > r->max_bytes)
        return say_length(why, "at most", r->max_bytes, "bytes", s.n);
    return true;
}

static bool check_content(const Validate__StringRules *r, struct str s, struct strbuf *why)
{
    if (r->const_ && !str_eq(s, str_from(r->const_)))
        return say(why, "must be", str_from(r->const_));
    if (r->prefix && !str_has_prefix(s, str_from(r->prefix)))
        return say(why, "must begin with", str_from(r->prefix));
    if (r->suffix && !str_has_suffix(s, str_from(r->suffix)))
        return say(why, "must end in", str_from(r->suffix));
    if (r->contains && str_find(s, str_from(r->contains)) < 0)
        return say(why, "must contain", str_from(r->contains));
    if (r->not_contains && str_find(s, str_from(r->not_contains)) >= 0)
        return say(why, "must not contain", str_from(r->not_contains));
    if (r->pattern && !proto_pattern_matches(r->pattern, s)) {
        say(why, "must match", str_from(r->pattern));
        return say(why, ", is", s);
    }
    return true;
}

static bool is_listed(char *const *items, size_t n, struct str s)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(s, str_from(items[i])))
            return true;
    return false;
}

bool rules_string(const Validate__StringRules *rules, struct str value, struct strbuf *why)
{
    if (value.n == 0 && rules->has_ignore_empty && rules->ignore_empty)
        return true;
    if (!check_lengths(rules, value, why) || !check_content(rules, value, why))
        return false;
    if (rules->n_in && !is_listed(rules->in, rules->n_in, value))
        return say(why, "is none of the values allowed:", value);
    if (is_listed(rules->not_in, rules->n_not_in, value))
        return say(why, "must not be", value);
    return check_well_known(rules, value, why);
}

/* ---- bytes ---- */

static struct str bytes_str(ProtobufCBinaryData b)
{
    return str_make((const char *)b.data, b.len);
}

static bool bytes_listed(const ProtobufCBinaryData *items, size_t n, struct str s)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(s, bytes_str(items[i])))
            return true;
    return false;
}

static bool check_bytes_address(const Validate__BytesRules *r, struct str v, struct strbuf *why)
{
    bool four = v.n == 4 && r->well_known_case != VALIDATE__BYTES_RULES__WELL_KNOWN_IPV6;
    bool six = v.n == 16 && r->well_known_case != VALIDATE__BYTES_RULES__WELL_KNOWN_IPV4;
    return r->well_known_case == VALIDATE__BYTES_RULES__WELL_KNOWN__NOT_SET || four || six ||
           say(why, "must be the bytes of an IP address", STR_NULL);
}

bool rules_bytes(const Validate__BytesRules *r, struct str v, struct strbuf *why)
{
    if (v.n == 0 && r->has_ignore_empty && r->ignore_empty)
        return true;
    if (r->has_const_ && !str_eq(v, bytes_str(r->const_)))
        return say(why, "must be a certain constant", STR_NULL);
    if (r->has_len && v.n != r->len)
        return say_length(why, "exactly", r->len, "bytes", v.n);
    if (r->has_min_len && v.n < r->min_len)
        return say_length(why, "at least", r->min_len, "bytes", v.n);
    if (r->has_max_len && v.n > r->max_len)
        return say_length(why, "at most", r->max_len, "bytes", v.n);
    if (r->has_prefix && !str_has_prefix(v, bytes_str(r->prefix)))
        return say(why, "must have a certain beginning", STR_NULL);
    if (r->has_suffix && !str_has_suffix(v, bytes_str(r->suffix)))
        return say(why, "must have a certain end", STR_NULL);
    if (r->has_contains && str_find(v, bytes_str(r->contains)) < 0)
        return say(why, "must contain certain bytes", STR_NULL);
    if (r->n_in && !bytes_listed(r->in, r->n_in, v))
        return say(why, "is none of the values allowed", STR_NULL);
    if (bytes_listed(r->not_in, r->n_not_in, v))
        return say(why, "is a value that is not allowed", STR_NULL);
    return check_bytes_address(r, v, why);
}
