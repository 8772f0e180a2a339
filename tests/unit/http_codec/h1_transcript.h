/* SPDX-License-Identifier: Apache-2.0
 *
 * What a parser said about some bytes, as one line of text, so that two ways of cutting the same
 * bytes can be compared, and a test can spell out what it expects:
 *
 *   [:authority=a;:path=/;:method=GET; 1.1 ka nobody]   a head: fields, then what it says
 *   <abc>   body        {abc}   tunnel bytes        (x=1;)   trailers
 *   D       done        !NAME   failed              .        eof between messages
 */
#ifndef TESTS_H1_TRANSCRIPT_H
#define TESTS_H1_TRANSCRIPT_H

#include "base/arena.h"
#include "base/buf.h"
#include "http/codec/h1.h"

struct transcript {
    struct strbuf text;
    char open; /* the kind of bytes being gathered: '<', '{' or 0 */
};

static void transcript_close(struct transcript *t)
{
    if (t->open)
        strbuf_addc(&t->text, t->open == '<' ? '>' : '}');
    t->open = 0;
}

static void transcript_bytes(struct transcript *t, char kind, struct buf *body)
{
    struct str piece;
    if (t->open != kind) {
        transcript_close(t);
        strbuf_addc(&t->text, kind);
        t->open = kind;
    }
    while ((piece = buf_front(body)).n) {
        strbuf_adds(&t->text, piece);
        buf_drain(body, piece.n);
    }
}

static void transcript_fields(struct transcript *t, const struct headers *h)
{
    for (uint32_t i = 0; i < h->count; i++) {
        strbuf_adds(&t->text, h->items[i].name);
        strbuf_addc(&t->text, '=');
        strbuf_adds(&t->text, h->items[i].value);
        strbuf_addc(&t->text, ';');
    }
}

static void transcript_flag(struct transcript *t, bool on, const char *name)
{
    if (on)
        strbuf_addf(&t->text, " %s", name);
}

static void transcript_head(struct transcript *t, const struct h1_head *head,
                            const struct headers *h)
{
    strbuf_addc(&t->text, '[');
    transcript_fields(t, h);
    strbuf_addf(&t->text, " 1.%u", head->minor);
    transcript_flag(t, head->keep_alive, "ka");
    transcript_flag(t, head->chunked, "chunked");
    if (head->has_length)
        strbuf_addf(&t->text, " len=%llu", (unsigned long long)head->content_length);
    transcript_flag(t, head->until_close, "close");
    transcript_flag(t, head->no_body, "nobody");
    transcript_flag(t, head->upgrade, "upgrade");
    transcript_flag(t, head->connect, "connect");
    transcript_flag(t, head->expect_continue, "100");
    transcript_flag(t, head->dropped_underscores, "dropped");
    strbuf_addc(&t->text, ']');
}

/* Takes events until the parser wants more. */
static enum h1_event transcript_run(struct transcript *t, struct h1_parser *p, struct buf *in)
{
    enum h1_event event;
    do {
        struct arena arena;
        struct headers h;
        struct buf body = BUF_INIT;
        arena_init(&arena, 1 << 20);
        headers_init(&h, &arena);
        event = h1_parser_next(p, in, &h, &body);
        if (event != H1_MORE && event != H1_BODY && event != H1_TUNNEL)
            transcript_close(t);
        if (event == H1_HEAD) {
            transcript_head(t, &p->head, &h);
        } else if (event == H1_TRAILERS) {
            strbuf_addc(&t->text, '(');
            transcript_fields(t, &h);
            strbuf_addc(&t->text, ')');
        } else if (event == H1_DONE) {
            strbuf_addc(&t->text, 'D');
        } else if (event == H1_FAILED) {
            strbuf_addf(&t->text, "!%s", h1_error_name(p->error));
        } else if (event == H1_BODY || event == H1_TUNNEL) {
            transcript_bytes(t, event == H1_BODY ? '<' : '{', &body);
        }
        buf_fini(&body);
        arena_fini(&arena);
    } while (event != H1_MORE && event != H1_FAILED);
    return event;
}

static void transcript_eof(struct transcript *t, struct h1_parser *p)
{
    enum h1_event event = h1_parser_eof(p);
    transcript_close(t);
    if (event == H1_DONE)
        strbuf_addc(&t->text, 'D');
    else if (event == H1_FAILED)
        strbuf_addf(&t->text, "!%s", h1_error_name(p->error));
    else
        strbuf_addc(&t->text, '.');
}

/* How the bytes reach the parser: in pieces that end where `ends` says, each a slice of its own when
 * `apart` (static bytes), else gathered by the buf. */
struct transcript_cut {
    bool (*ends)(size_t at, const void *arg);
    const void *arg;
    bool apart;
};

/* The caller owns the result's text. */
static struct strbuf transcript_of(const struct h1_parser_opts *opts, bool to_head, bool to_connect,
                                   struct str bytes, const struct transcript_cut *cut)
{
    struct transcript t = {0};
    struct h1_parser p;
    struct buf in = BUF_INIT;
    enum h1_event event = H1_MORE;
    h1_parser_init(&p, opts);
    h1_parser_expect_response_to(&p, to_head, to_connect);
    for (size_t from = 0; from < bytes.n && event != H1_FAILED;) {
        size_t to = from + 1;
        while (to < bytes.n && !cut->ends(to, cut->arg))
            to++;
        if (cut->apart)
            buf_append_static(&in, bytes.p + from, to - from);
        else
            buf_append(&in, bytes.p + from, to - from);
        event = transcript_run(&t, &p, &in);
        from = to;
    }
    if (event != H1_FAILED)
        transcript_eof(&t, &p);
    buf_fini(&in);
    return t.text;
}

#endif
