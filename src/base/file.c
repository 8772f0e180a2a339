/* SPDX-License-Identifier: Apache-2.0
 *
 * write, fsync, rename, fsync of the folder: the order in which a crash at any point leaves one whole file (rename(2), fsync(2)).
 * A draft that a killed process left behind is written over. No links are followed to the draft: who may write in the folder
 * shall not choose where a key goes.
 */
#include "base/file.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- reading ---- */

static int read_all(int fd, const char *path, size_t limit, struct strbuf *out, struct err *err)
{
    size_t start = out->n;
    struct stat st;
    if (fstat(fd, &st) == 0 && st.st_size > 0 && (size_t)st.st_size <= limit)
        strbuf_reserve(out, (size_t)st.st_size + 1); /* growing would leave copies of a key behind */
    for (;;) {
        strbuf_reserve(out, 1);
        ssize_t n = read(fd, out->p + out->n, out->cap - out->n - 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, errno, "cannot read %s", path);
        out->n += (size_t)n;
        out->p[out->n] = '\0';
        if (out->n - start > limit)
            return err_set(err, ERR_LIMIT, "%s has more than %zu bytes", path, limit);
        if (n == 0)
            return 0;
    }
}

int file_read(const char *path, size_t limit_bytes, struct strbuf *out, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(err, errno, "cannot open %s", path);
    int rc = read_all(fd, path, limit_bytes, out, err);
    close(fd);
    return rc;
}

/* ---- writing ---- */

static bool write_whole(int fd, struct str bytes, unsigned mode)
{
    while (bytes.n) {
        ssize_t n = write(fd, bytes.p, bytes.n);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0)
            bytes = str_make(bytes.p + n, bytes.n - (size_t)n);
    }
    return fchmod(fd, mode) == 0 && fsync(fd) == 0;
}

static bool write_draft(const char *draft, struct str bytes, unsigned mode)
{
    unlink(draft); /* a stale one may be wider open, or somebody's who holds it open */
    int fd = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return false;
    bool ok = write_whole(fd, bytes, mode);
    int kept = errno;
    if (close(fd) < 0 && ok) {
        ok = false;
        kept = errno;
    }
    errno = kept;
    return ok;
}

static bool sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = !slash ? mem_strdup(".") : slash == path ? mem_strdup("/") : mem_strndup(path, (size_t)(slash - path));
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    int kept = errno;
    if (fd >= 0)
        close(fd);
    mem_free(folder);
    errno = kept;
    return ok;
}

int file_replace(const char *path, struct str bytes, unsigned mode, struct err *err)
{
    struct strbuf draft = {0};
    int rc = 0;
    strbuf_addf(&draft, "%s.new", path);
    if (!write_draft(draft.p, bytes, mode) || rename(draft.p, path) < 0) {
        rc = err_set_errno(err, errno, "cannot write %s", path);
        unlink(draft.p);
    } else if (!sync_folder(path)) {
        rc = err_set_errno(err, errno, "%s was written, but its folder can't be synced", path);
    }
    strbuf_fini(&draft);
    return rc;
}
