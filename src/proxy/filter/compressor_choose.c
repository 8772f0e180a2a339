/* SPDX-License-Identifier: Apache-2.0
 *
 * Which of a chain's compressors a client's accept-encoding asks for (RFC 9110 section 12.5.3). The highest q-value wins; of
 * equal ones the first named, or one whose compressor says choose_first. Elements without a readable q-value don't count. Pure.
 */
#include "proxy/filter/compressor.h"

#define CANDIDATES_MAX 16

static bool read_element(struct str element, struct str *name, double *q)
{
    struct str params, value;
    *name = str_trim(str_split(element, ';', &params));
    *q = 1;
    if (!params.p)
        return true;
    struct str key = str_split(params, '=', &value);
    if (value.p && str_eq_nocase(str_trim(key), STR("q")))
        return str_to_double(str_trim(value), q);
    return true;
}

static int find(const struct compressor_candidate *c, uint32_t n, uint32_t refused, struct str name)
{
    for (uint32_t i = 0; i < n; i++)
        if (!(refused >> i & 1) && str_eq(c[i].encoding, name))
            return (int)i;
    return -1;
}

/* Candidates that the client rules out with q=0, and whether it names anything at all. */
static uint32_t find_refused(struct str list, const struct compressor_candidate *c, uint32_t n, bool *any)
{
    uint32_t refused = 0;
    struct str rest = list, name;
    while (rest.p) {
        double q;
        struct str element = str_split(rest, ',', &rest);
        if (!element.n || !read_element(element, &name, &q))
            continue;
        *any = true;
        for (uint32_t i = 0; q == 0 && i < n; i++)
            if (str_eq(c[i].encoding, name))
                refused |= 1u << i;
    }
    return refused;
}

enum compressor_choice compressor_choose(struct str accept_encoding, const struct compressor_candidate *c, uint32_t n,
                                         struct str *encoding)
{
    bool any = false;
    n = n > CANDIDATES_MAX ? CANDIDATES_MAX : n;
    uint32_t refused = find_refused(accept_encoding, c, n, &any);
    bool left = refused != (1u << n) - 1; /* some candidate */
    struct str rest = accept_encoding, name, best = STR("identity");
    double best_q = 0;
    *encoding = STR("identity");
    while (any && rest.p) {
        double q;
        struct str element = str_split(rest, ',', &rest);
        if (!element.n || !read_element(element, &name, &q))
            continue;
        int at = find(c, n, refused, name);
        bool known = at >= 0 || str_eq(name, STR("identity")) || (str_eq(name, STR("*")) && left);
        bool preferred = at >= 0 && c[at].choose_first && q == best_q && q > 0;
        if ((q > best_q && known) || preferred) {
            best = name;
            best_q = q;
        }
    }
    if (best_q <= 0)
        return COMPRESSOR_NOT_VALID;
    if (str_eq(best, STR("identity")))
        return COMPRESSOR_IDENTITY;
    if (!str_eq(best, STR("*"))) {
        *encoding = best;
        return COMPRESSOR_VALID;
    }
    for (uint32_t i = 0; i < n; i++)
        if (!(refused >> i & 1)) {
            *encoding = c[i].encoding;
            return COMPRESSOR_WILDCARD;
        }
    return COMPRESSOR_NOT_VALID;
}
