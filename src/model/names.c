/* SPDX-License-Identifier: Apache-2.0
 *
 * What names may look like: Kubernetes', DNS', and of ports' protocols. Pure.
 */
#include <arpa/inet.h>

#include "model/service.h"
#include "model/validate_priv.h"

#define HOST_MAX_BYTES 255

static bool is_lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
    return is_lower_alnum(ascii_lower(c));
}

/* 1 to 63 bytes, letters and digits at both ends, those and `others` between. */
static bool is_word(struct str s, bool (*is_end)(char c), const char *others)
{
    if (s.n == 0 || s.n > 63 || !is_end(s.p[0]) || !is_end(s.p[s.n - 1]))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_end(s.p[i]) && (!s.p[i] || !strchr(others, s.p[i])))
            return false;
    return true;
}

bool is_dns_label(struct str s)
{
    return is_word(s, is_lower_alnum, "-");
}

bool is_dns_subdomain(struct str s)
{
    struct str rest = s;
    if (s.n == 0 || s.n > 253 || s.p[s.n - 1] == '.')
        return false;
    while (rest.n)
        if (!is_dns_label(str_split(rest, '.', &rest)))
            return false;
    return true;
}

bool is_label_name(struct str s)
{
    return is_word(s, is_alnum, "-_.");
}

bool is_label_key(struct str s)
{
    ptrdiff_t slash = str_find_char(s, '/');
    if (slash < 0)
        return is_label_name(s);
    return is_dns_subdomain(str_make(s.p, (size_t)slash)) &&
           is_label_name(str_make(s.p + slash + 1, s.n - (size_t)slash - 1));
}

/* ---- hosts ---- */

bool is_host_label(struct str s)
{
    return is_word(s, is_alnum, "-");
}

static bool is_number(struct str s)
{
    uint64_t v;
    return str_to_u64(s, &v);
}

/* Labels; a dot may end them; the last isn't a number, which would make it an address. */
static bool are_host_labels(struct str s)
{
    struct str rest = s;
    do {
        struct str label = str_split(rest, '.', &rest);
        bool last = !rest.p;
        if (last && label.n == 0 && s.n > 1)
            return true;
        if (!is_host_label(label) || ((last || rest.n == 0) && is_number(label)))
            return false;
    } while (rest.p);
    return true;
}

bool is_host(struct str s)
{
    return s.n > 0 && s.n <= HOST_MAX_BYTES && are_host_labels(s);
}

bool is_wildcard_host(struct str s)
{
    struct str rest, first = str_split(s, '.', &rest);
    if (s.n == 0 || s.n > HOST_MAX_BYTES || first.n > 63)
        return false;
    if (first.p[0] == '*') {
        first = str_make(first.p + 1, first.n - 1);
        if (first.n > 1 && first.p[0] == '-')
            first = str_make(first.p + 1, first.n - 1);
    } else if (first.n == 0) {
        return false;
    }
    return (first.n == 0 || is_host_label(first)) && (!rest.p || are_host_labels(rest));
}

bool is_partial_wildcard(struct str s)
{
    return str_find_char(s, '*') >= 0 && s.n != 1 && !str_has_prefix(s, STR("*."));
}

/* ---- addresses ---- */

static bool is_ip_of(struct str s, int *bits)
{
    char text[INET6_ADDRSTRLEN + 1];
    unsigned char bytes[16];
    if (s.n == 0 || s.n >= sizeof(text) || memchr(s.p, 0, s.n))
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    *bits = strchr(text, ':') ? 128 : 32;
    return inet_pton(*bits == 128 ? AF_INET6 : AF_INET, text, bytes) == 1;
}

bool is_ip(struct str s)
{
    int bits;
    return is_ip_of(s, &bits);
}

bool is_ip_or_cidr(struct str s)
{
    struct str length, address = str_split(s, '/', &length);
    uint64_t n;
    int bits;
    return is_ip_of(address, &bits) && (!length.p || (str_to_u64(length, &n) && n <= (uint64_t)bits));
}

/* ---- protocols (Istio: "Protocol Selection") ---- */

unsigned protocol_traits(struct str name)
{
    /* appProtocol's own words ("kubernetes.io/h2c") are none of a port's `protocol`. */
    enum protocol p = str_find_char(name, '/') >= 0 ? PROTOCOL_AUTO : protocol_parse(name, STR(""), 0, STR(""));
    if (p == PROTOCOL_AUTO)
        return 0;
    if (protocol_is_http(p))
        return IS_KNOWN | IS_HTTP;
    return IS_KNOWN | (protocol_is_tls(p) ? IS_TLS : 0) | (p == PROTOCOL_UDP ? 0 : IS_TCP);
}
