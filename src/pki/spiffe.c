/* SPDX-License-Identifier: Apache-2.0
 *
 * Parsing SPIFFE IDs. Pure, any thread; the text may be a peer's SAN. Strict on purpose: an ID is
 * compared byte for byte by policies, so whatever could be written in two ways (upper case,
 * percent-encoding, empty or dot segments, a trailing slash) is refused rather than normalised.
 */
#include "pki/spiffe.h"

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool spiffe_trust_domain_is_valid(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if ((c >= 'A' && c <= 'Z') || (!is_alnum(c) && c != '.' && c != '-' && c != '_'))
            return false;
    }
    return s.n > 0 && s.n <= SPIFFE_TRUST_DOMAIN_MAX_BYTES;
}

static bool segment_is_valid(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!is_alnum(s.p[i]) && s.p[i] != '.' && s.p[i] != '-' && s.p[i] != '_')
            return false;
    }
    return s.n > 0 && !str_eq(s, STR(".")) && !str_eq(s, STR(".."));
}

/* `path` begins with '/'. */
static bool path_is_valid(struct str path)
{
    size_t start = 1;
    for (size_t i = 1; i <= path.n; i++) {
        if (i < path.n && path.p[i] != '/')
            continue;
        if (!segment_is_valid(str_make(path.p + start, i - start)))
            return false;
        start = i + 1;
    }
    return true;
}

int spiffe_id_parse(struct str text, struct spiffe_id *out, struct err *err)
{
    static const struct str scheme = STR("spiffe://");
    if (text.n > SPIFFE_ID_MAX_BYTES)
        return err_set(err, ERR_INVALID, "SPIFFE ID of %zu bytes, at most %d are allowed", text.n,
                       SPIFFE_ID_MAX_BYTES);
    if (!str_has_prefix(text, scheme))
        return err_set(err, ERR_INVALID, "\"%.*s\" does not begin with spiffe://", STR_ARG(text));
    struct str rest = str_make(text.p + scheme.n, text.n - scheme.n);
    ptrdiff_t slash = str_find_char(rest, '/');
    size_t n = slash < 0 ? rest.n : (size_t)slash;
    out->trust_domain = str_make(rest.p, n);
    out->path = str_make(rest.p + n, rest.n - n);
    if (!spiffe_trust_domain_is_valid(out->trust_domain))
        return err_set(err, ERR_INVALID,
                       "\"%.*s\": a trust domain has 1 to %d of a-z, 0-9, '.', '-', '_'",
                       STR_ARG(text), SPIFFE_TRUST_DOMAIN_MAX_BYTES);
    if (out->path.n && !path_is_valid(out->path))
        return err_set(err, ERR_INVALID,
                       "\"%.*s\": path segments are not empty, no dots, of letters, digits, "
                       "'.', '-', '_'",
                       STR_ARG(text));
    return 0;
}

bool spiffe_id_workload(const struct spiffe_id *id, struct spiffe_workload *out)
{
    struct str rest = id->path, empty, ns, sa;
    if (rest.n == 0)
        return false;
    empty = str_split(rest, '/', &rest);
    ns = str_split(rest, '/', &rest);
    out->namespace_name = str_split(rest, '/', &rest);
    sa = str_split(rest, '/', &rest);
    out->service_account = rest;
    return empty.n == 0 && str_eq(ns, STR("ns")) && str_eq(sa, STR("sa")) &&
           out->namespace_name.n && rest.n && str_find_char(rest, '/') < 0;
}
