/* SPDX-License-Identifier: Apache-2.0
 *
 * Istio's way of naming an object in metadata, read back.
 */
#include "cli/owner.h"

bool owner_read(const char *config, struct owner *out)
{
    static const struct str mark = {"/namespaces/", 12};
    struct str text = str_from(config), rest;
    ptrdiff_t at = str_find(text, mark);
    if (at < 0)
        return false;
    rest = str_make(text.p + at + mark.n, text.n - (size_t)at - mark.n);
    out->ns = str_split(rest, '/', &rest);
    out->kind = str_split(rest, '/', &rest);
    out->name = rest;
    return out->ns.n && out->kind.n && out->name.n;
}

void owner_add_kind(const struct owner *o, struct strbuf *out)
{
    bool is_first = true;
    for (size_t i = 0; i < o->kind.n; i++) {
        char c = o->kind.p[i];
        if (c != '-')
            strbuf_addc(out, is_first && c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c);
        is_first = c == '-';
    }
}
