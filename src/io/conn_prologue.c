/* SPDX-License-Identifier: Apache-2.0
 *
 * A prologue's part of a connection: what is read goes through it until it is done, then to the
 * handler, who never sees its bytes in `in` and isn't told of them in counts. On the loop's thread.
 */
#include "io/conn_priv.h"

struct conn_prologue *conn_prologue(const struct conn *c)
{
    return c->ext ? c->ext->prologue : NULL;
}

void conn_set_prologue(struct conn *c, struct conn_prologue *take_prologue)
{
    struct conn_ext *x = conn_ext(c);
    DCHECK(!x->prologue);
    x->prologue = take_prologue;
    if (c->state == CONN_OPEN)
        conn_prologue_open(c);
}

void conn_prologue_free(struct conn_ext *x)
{
    if (!x->prologue)
        return;
    buf_fini(&x->prologue->held);
    x->prologue->ops->free(x->prologue);
}

void conn_prologue_open(struct conn *c)
{
    struct conn_prologue *p = c->ext->prologue;
    size_t before = c->out.len;
    p->is_active = p->ops->on_open(p, c);
    p->sent = c->out.len - before;
    if (p->sent)
        conn_flush_later(c);
    if (p->is_active && c->in.len) /* it came with the handshake: looked at before any handler has it */
        conn_prologue_take(c, false);
}

void conn_prologue_take(struct conn *c, bool end)
{
    struct conn_prologue *p = c->ext->prologue;
    uint64_t before = p->held.len + c->in.len;
    buf_move(&p->held, &c->in);
    enum conn_prologue_step step = p->ops->on_bytes(p, c, &p->held, end);
    p->received += before - p->held.len;
    if (step == CONN_PROLOGUE_MORE && !end)
        return;
    p->is_active = false;
    if (step == CONN_PROLOGUE_FAIL) {
        conn_set_failure_text(c, "the peer's prologue is too long");
        conn_fail(c, CONN_CLOSE_IO_ERROR);
        return;
    }
    buf_move(&c->in, &p->held);
    if (!c->in.len)
        return;
    if (c->handler && !c->pauses)
        c->handler->on_data(c, c->user);
    else
        conn_later(c, WORK_DATA);
}
