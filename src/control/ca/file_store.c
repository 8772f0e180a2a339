/* SPDX-License-Identifier: Apache-2.0
 *
 * The keys' file. Signer's process, its one thread. A file that others may read has told its secret already: it is refused
 * rather than mended.
 */
#include "control/ca/ca_store.h"

#include "base/check.h"
#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct file_store {
    struct ca_store store;
    char *path;
    int lock_fd;
};

#define OF(s) CONTAINER_OF(s, file_store, store)

static int check_owner(const char *path, struct err *err)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return err_set_errno(err, errno, "cannot open %s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%s is not a file", path);
    if (st.st_uid != geteuid())
        return err_set(err, ERR_INVALID, "%s belongs to user %u, this is user %u", path, (unsigned)st.st_uid, (unsigned)geteuid());
    if (st.st_mode & 077)
        return err_set(err, ERR_INVALID, "%s has mode %04o: the keys in it are for its owner only (0600)", path,
                       (unsigned)st.st_mode & 07777);
    return 0;
}

static int load(struct ca_store *s, struct strbuf *text, struct err *err)
{
    int rc = check_owner(OF(s)->path, err);
    return rc ? rc : file_read(OF(s)->path, CA_STORE_MAX_BYTES, text, err);
}

static int save(struct ca_store *s, struct str text, struct err *err)
{
    return file_replace(OF(s)->path, text, 0600, err);
}

static void free_store(struct ca_store *s)
{
    struct file_store *f = OF(s);
    if (f->lock_fd >= 0)
        close(f->lock_fd);
    mem_free(f->path);
    mem_free(f);
}

static const struct ca_store_ops ops = {.load = load, .save = save, .free = free_store};

/* The lock's file stays: removing it would let two in. */
static int take_lock(struct file_store *f, struct err *err)
{
    struct strbuf name = {0};
    int rc = 0;
    strbuf_addf(&name, "%s.lock", f->path);
    f->lock_fd = open(name.p, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (f->lock_fd < 0)
        rc = err_set_errno(err, errno, "cannot open %s", name.p);
    else if (flock(f->lock_fd, LOCK_EX | LOCK_NB) < 0)
        rc = errno == EWOULDBLOCK ? err_set(err, ERR_STATE, "%s is in use by another process", f->path)
                                  : err_set_errno(err, errno, "cannot lock %s", name.p);
    strbuf_fini(&name);
    return rc;
}

struct ca_store *ca_file_store_new(const char *path, struct err *err)
{
    struct file_store *f = NEW(file_store);
    struct ca_store *s = &f->store;
    s->ops = &ops;
    f->path = mem_strdup(path);
    if (take_lock(f, err) < 0)
        ca_store_free(&s);
    return s;
}

void ca_store_free(struct ca_store **s)
{
    if (*s)
        (*s)->ops->free(*s);
    *s = NULL;
}
