/* SPDX-License-Identifier: Apache-2.0
 *
 * Access-log files. One descriptor a path, opened on the main thread with O_APPEND; each thread gathers
 * whole lines in a buffer of its own and writes them with one write(2), so lines never mix. Reopening
 * (SIGUSR1) puts the new file under the same descriptor number with dup3: workers notice nothing.
 * A write that fails or is short loses what didn't fit and counts it; it never blocks a worker on a pipe
 * that nobody reads (O_NONBLOCK where the target is no regular file).
 */
#include "proxy/log/log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/log/access_log.h"
#include "proxy/stats/stats.h"

#define FLUSH_BYTES 65536

/* Envoy's names: filesystem.* */
#define FILE_STATS(X)                                                                                                  \
    X(FILE_WRITE_BUFFERED, COUNTER, NONE, "write_buffered", "Lines put into a buffer")                                 \
    X(FILE_WRITE_COMPLETED, COUNTER, NONE, "write_completed", "Writes done")                                           \
    X(FILE_WRITE_FAILED, COUNTER, NONE, "write_failed", "Writes that failed or were short")                            \
    X(FILE_FLUSHED_BY_TIMER, COUNTER, NONE, "flushed_by_timer", "Flushes by the timer")                                \
    X(FILE_REOPEN_FAILED, COUNTER, NONE, "reopen_failed", "Reopenings that failed")
enum file_stat {
    FILE_STATS(STAT_ENUM_ROW)
};
static const struct stat_desc file_rows[] = {FILE_STATS(STAT_DESC_ROW)};
static const struct stat_table file_table = {file_rows, ARRAY_LEN(file_rows)};

struct log_file {
    struct log_file *next;
    uint32_t refs;
    int fd;
    bool is_standard; /* stdout, stderr: not reopened */
    char *path;
    struct strbuf buffers[STAT_MAX_THREADS];
};

static struct log_file *files; /* main thread changes it; workers walk it only while it can't shrink: at flush */
static struct stat_scope *stats;

static int open_path(const char *path, int *fd, struct err *err)
{
    *fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0644);
    if (*fd < 0)
        return err_set_errno(err, errno, "cannot open access log %s", path);
    return 0;
}

static bool path_is(struct str path, const char *text)
{
    return str_eq(path, str_from(text));
}

struct log_file *log_file_get(struct str path, struct err *err)
{
    for (struct log_file *f = files; f; f = f->next) {
        if (path_is(path, f->path)) {
            f->refs++;
            return f;
        }
    }
    struct log_file *f = NEW(log_file);
    f->path = mem_strndup(path.p, path.n);
    f->refs = 1;
    f->is_standard = path_is(path, "/dev/stdout") || path_is(path, "/dev/stderr");
    if (f->is_standard) {
        f->fd = fcntl(path_is(path, "/dev/stdout") ? 1 : 2, F_DUPFD_CLOEXEC, 3);
    } else if (open_path(f->path, &f->fd, err) < 0) {
        mem_free(f->path);
        mem_free(f);
        return NULL;
    }
    f->next = files;
    __atomic_store_n(&files, f, __ATOMIC_RELEASE);
    return f;
}

void log_files_start(void)
{
    if (!stats)
        stats = stat_scope_get(STR("filesystem."), &file_table, STR("filesystem."), NULL, 0);
    access_log_started();
}

static void count(uint32_t row, uint64_t n)
{
    if (stats)
        stat_add(stats, row, n);
}

static void write_out(struct log_file *f, struct strbuf *b)
{
    size_t at = 0;
    while (at < b->n) {
        ssize_t n = write(f->fd, b->p + at, b->n - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            count(STAT_FILE_WRITE_FAILED, 1);
            break;
        }
        at += (size_t)n;
    }
    count(STAT_FILE_WRITE_COMPLETED, 1);
    strbuf_reset(b);
}

struct strbuf *log_file_buffer(struct log_file *f)
{
    count(STAT_FILE_WRITE_BUFFERED, 1);
    return &f->buffers[stat_thread];
}

void log_file_flush_if_full(struct log_file *f)
{
    struct strbuf *b = &f->buffers[stat_thread];
    if (b->n >= FLUSH_BYTES)
        write_out(f, b);
}

void log_file_flush_here(void)
{
    for (struct log_file *f = __atomic_load_n(&files, __ATOMIC_ACQUIRE); f; f = f->next)
        if (f->buffers[stat_thread].n) {
            count(STAT_FILE_FLUSHED_BY_TIMER, 1);
            write_out(f, &f->buffers[stat_thread]);
        }
}

void log_files_flush_all(void)
{
    for (struct log_file *f = files; f; f = f->next)
        for (size_t i = 0; i < ARRAY_LEN(f->buffers); i++)
            if (f->buffers[i].n)
                write_out(f, &f->buffers[i]);
}

void log_files_reopen(void)
{
    for (struct log_file *f = files; f; f = f->next) {
        struct err err;
        int fd;
        if (f->is_standard)
            continue;
        if (open_path(f->path, &fd, &err) < 0) {
            count(STAT_FILE_REOPEN_FAILED, 1);
            LOG(FILE, WARNING, "%s; going on with the file that is open", err.message);
            continue;
        }
        dup3(fd, f->fd, O_CLOEXEC);
        close(fd);
    }
}

void log_file_unref(struct log_file **file)
{
    struct log_file *f = *file;
    *file = NULL;
    if (!f || --f->refs)
        return;
    for (size_t i = 0; i < ARRAY_LEN(f->buffers); i++) {
        if (f->buffers[i].n)
            write_out(f, &f->buffers[i]);
        strbuf_fini(&f->buffers[i]);
    }
    for (struct log_file **at = &files; *at; at = &(*at)->next) {
        if (*at == f) {
            *at = f->next;
            break;
        }
    }
    close(f->fd);
    mem_free(f->path);
    mem_free(f);
    if (!files && stats)
        stat_scope_unref(&stats);
}
