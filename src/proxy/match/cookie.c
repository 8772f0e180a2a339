/* SPDX-License-Identifier: Apache-2.0
 *
 * Cookie look-up. Pure, any worker; text is borrowed from the headers.
 */
#include "proxy/match/cookie.h"

static bool find_in(struct str field, struct str name, struct str *value)
{
    while (field.p) {
        struct str one = str_split(field, ';', &field);
        while (one.n && one.p[0] == ' ')
            one = str_make(one.p + 1, one.n - 1);
        struct str v, k = str_split(one, '=', &v);
        if (!v.p || !str_eq(k, name))
            continue;
        if (v.n >= 2 && v.p[0] == '"' && v.p[v.n - 1] == '"')
            v = str_make(v.p + 1, v.n - 2);
        *value = v;
        return true;
    }
    return false;
}

struct str cookie_get(const struct headers *h, struct str name)
{
    struct str value = STR_NULL;
    if (!headers_has_id(h, HDR_COOKIE))
        return value;
    for (uint32_t i = 0; i < h->count; i++)
        if (h->items[i].id == HDR_COOKIE && find_in(h->items[i].value, name, &value))
            return value;
    return value;
}
