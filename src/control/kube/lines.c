/* SPDX-License-Identifier: Apache-2.0
 *
 * A line that comes whole is given as it lies in the piece; only what straddles pieces is copied. Holds at most limit_bytes.
 */
#include "control/kube/lines.h"

static bool give(struct str line, kube_line_fn fn, void *user)
{
    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    return line.n == 0 || fn(user, line);
}

static int too_long(const struct kube_lines *l, struct err *err)
{
    return err_set(err, ERR_LIMIT, "a line of the answer is longer than %zu bytes", l->limit_bytes);
}

int kube_lines_feed(struct kube_lines *l, struct str piece, kube_line_fn fn, void *user, struct err *err)
{
    for (ptrdiff_t end; (end = str_find_char(piece, '\n')) >= 0;) {
        struct str line = str_make(piece.p, (size_t)end);
        piece = str_make(piece.p + end + 1, piece.n - (size_t)end - 1);
        if (l->held.n + line.n > l->limit_bytes)
            return too_long(l, err);
        bool is_joined = l->held.n > 0;
        if (is_joined) {
            strbuf_adds(&l->held, line);
            line = strbuf_str(&l->held);
        }
        bool goes_on = give(line, fn, user);
        if (is_joined)
            strbuf_fini(&l->held); /* one large object shall not hold memory for ever */
        if (!goes_on)
            return 0;
    }
    if (l->held.n + piece.n > l->limit_bytes)
        return too_long(l, err);
    if (piece.n)
        strbuf_adds(&l->held, piece);
    return 0;
}

void kube_lines_fini(struct kube_lines *l)
{
    strbuf_fini(&l->held);
}
