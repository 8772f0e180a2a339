/* SPDX-License-Identifier: Apache-2.0
 *
 * What names may look like: Kubernetes' and DNS'. Pure.
 */
#include "model/validate_priv.h"

static bool is_lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
    return is_lower_alnum(ascii_lower(c));
}

bool is_dns_label(struct str s)
{
    if (s.n == 0 || s.n > 63 || !is_lower_alnum(s.p[0]) || !is_lower_alnum(s.p[s.n - 1]))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_lower_alnum(s.p[i]) && s.p[i] != '-')
            return false;
    return true;
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
    if (s.n == 0 || s.n > 63 || !is_alnum(s.p[0]) || !is_alnum(s.p[s.n - 1]))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_alnum(s.p[i]) && !strchr("-_.", s.p[i]))
            return false;
    return true;
}
