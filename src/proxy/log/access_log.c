/* SPDX-License-Identifier: Apache-2.0
 *
 * One access log: filter, format, file. Runs on workers; the line goes into the worker's buffer of the
 * file, which is written when full or at an interval.
 */
#include "proxy/log/access_log.h"

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
    log_file_unref(&l->file);
    format_free(&l->format);
    log_filter_free(&l->filter);
    mem_free(l);
}

void access_log_write(const struct access_log *l, const struct format_context *cx)
{
    if (l->filter && !log_filter_passes(l->filter, cx))
        return;
    struct strbuf *b = log_file_buffer(l->file);
    size_t before = b->n;
    format_run(l->format, cx, b);
    if (b->n - before > LINE_BYTES_MAX) {
        b->n = before + LINE_BYTES_MAX;
        b->p[b->n - 1] = '\n';
    }
    log_file_flush_if_full(l->file);
}

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
