/* SPDX-License-Identifier: Apache-2.0
 *
 * %CEL(expression)%: what an expression gives, as text; nothing where it fails. Any worker.
 */
#include "proxy/cel/cel.h"
#include "proxy/log/format_priv.h"

int check_cel(struct format_piece *p, struct err *err)
{
    p->cel = cel_new(p->text, err);
    return p->cel ? 0 : err->code;
}

bool op_cel(const struct format_piece *p, const struct format_context *cx, struct strbuf *out)
{
    struct arena a;
    struct str text;
    if (!cx->info)
        return false;
    arena_init(&a, 0);
    bool known = cel_text(p->cel, cx, &a, &text);
    if (known)
        strbuf_adds(out, text);
    arena_fini(&a);
    return known;
}
