/* SPDX-License-Identifier: Apache-2.0
 *
 * One access log: a filter, and what is done with what passes. Here the commonest: a line into the worker's
 * buffer of a file, which is written when full or at an interval; others are in proxy/service. Runs on workers.
 */
#include "proxy/log/access_log.h"

#include "base/check.h"
#include "base/mem.h"
#include "proxy/log/log_file.h"
#include "proxy/server.h"

#define FLUSH_INTERVAL_MS 1000 /* unless --file-flush-interval-msec says otherwise */
#define LINE_BYTES_MAX 65536   /* a peer's headers must not fill memory through logs; longer lines are cut */

void access_log_free(struct access_log **log)
{
    struct access_log *l = *log;
    *log = NULL;
    if (!l)
        return;
    if (l->ops)
        l->ops->free(l->data);
    log_filter_free(&l->filter);
    mem_free(l);
}

void access_log_write(const struct access_log *l, const struct format_context *cx)
{
    if (!l->filter || log_filter_passes(l->filter, cx))
        l->ops->write(l->data, cx);
}

/* ---- files ---- */

struct file_log {
    struct log_file *file;
    struct format *format;
};

static void file_write(void *data, const struct format_context *cx)
{
    const struct file_log *f = data;
    struct strbuf *b = log_file_buffer(f->file);
    size_t before = b->n;
    format_run(f->format, cx, b);
    if (b->n - before > LINE_BYTES_MAX) {
        b->n = before + LINE_BYTES_MAX;
        b->p[b->n - 1] = '\n';
    }
    log_file_flush_if_full(f->file);
}

static void file_free(void *data)
{
    struct file_log *f = data;
    log_file_unref(&f->file);
    format_free(&f->format);
    mem_free(f);
}

static const struct access_log_ops file_ops = {file_write, file_free};

int access_log_to_file(struct access_log *l, struct str path, struct format *take_format, struct err *err)
{
    struct file_log *f = NEW(file_log);
    f->format = take_format;
    f->file = log_file_get(path, err);
    if (!f->file) {
        file_free(f);
        return err->code;
    }
    l->ops = &file_ops;
    l->data = f;
    return 0;
}

/* ---- the start, and the end of a thread ---- */

static bool (*leavers[ACCESS_LOG_LEAVERS])(void);
static void (*starters[ACCESS_LOG_LEAVERS])(void);

void access_log_on_leave(bool (*fn)(void))
{
    size_t i = 0;
    while (i < ARRAY_LEN(leavers) && leavers[i] && leavers[i] != fn)
        i++;
    CHECK(i < ARRAY_LEN(leavers));
    leavers[i] = fn;
}

void access_log_on_start(void (*fn)(void))
{
    size_t i = 0;
    while (i < ARRAY_LEN(starters) && starters[i] && starters[i] != fn)
        i++;
    CHECK(i < ARRAY_LEN(starters));
    starters[i] = fn;
}

bool access_log_leave_here(void)
{
    bool waits = false;
    for (size_t i = 0; i < ARRAY_LEN(leavers) && leavers[i]; i++)
        waits |= leavers[i]();
    return waits;
}

void access_log_started(void)
{
    for (size_t i = 0; i < ARRAY_LEN(starters) && starters[i]; i++)
        starters[i]();
}

/* ---- flushing files ---- */

struct flusher {
    struct timer timer;
    uint64_t interval_ms;
};

static void on_flush(struct timer *t)
{
    log_file_flush_here();
    timer_set_ms(t, CONTAINER_OF(t, flusher, timer)->interval_ms);
}

void access_log_worker_start(struct worker *w)
{
    struct flusher *f = NEW(flusher);
    w->log_state = f;
    f->interval_ms = w->server->opts.log_flush_ms ? w->server->opts.log_flush_ms : FLUSH_INTERVAL_MS;
    timer_init(&f->timer, w->loop, on_flush);
    timer_set_ms(&f->timer, f->interval_ms);
}

void access_log_worker_stop(struct worker *w)
{
    struct flusher *f = w->log_state;
    if (!f)
        return;
    w->log_state = NULL;
    log_file_flush_here();
    timer_clear(&f->timer);
    mem_free(f);
}
