/* SPDX-License-Identifier: Apache-2.0
 *
 * inotify watches directories, never files: a file's own watch dies with the inode that a rename
 * replaces. Each path is walked component by component, and every directory that holds a symlink
 * on the way, or the first thing that doesn't exist, or the file itself, is watched. After any
 * event in one of them the path is walked again and its identity compared (device, inode, time,
 * size), so it doesn't matter which link was swapped. Runs on its loop's thread.
 */
#include "io/file_watch.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

#define LINKS_MAX 40 /* as the kernel's own walk */
#define DIRS_MAX (LINKS_MAX + 2)
#define EVENTS                                                                                     \
    (IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CLOSE_WRITE | IN_DELETE_SELF |       \
     IN_MOVE_SELF | IN_ONLYDIR)

struct identity {
    bool exists, is_dir;
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec mtime;
};

struct file_watch {
    struct list node;
    struct file_watcher *owner; /* NULL: deleted */
    char *path;
    file_watch_fn fn;
    void *user;
    struct identity seen;
    int dirs[DIRS_MAX]; /* inotify's numbers */
    int dir_count;
    char name[NAME_MAX + 1]; /* last component, in the last of dirs */
    bool is_dirty;           /* something happened in one of its directories */
    bool is_touched;         /* the file itself was rewritten */
    bool is_due;
    struct deferred deferred;
};

struct file_watcher {
    struct loop *loop;
    struct watch watch;
    int fd;
    bool dead;
    struct list watches;
    struct turn_task task;
    struct deferred deferred;
};

/* ---- walking a path ---- */

static void watch_dir(struct file_watch *w, const char *dir)
{
    int wd = inotify_add_watch(w->owner->fd, *dir ? dir : "/", EVENTS);
    if (wd < 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            LOG(FILE, WARNING, "cannot watch directory %s for %s: %s", dir, w->path, strerror(errno));
        return;
    }
    for (int i = 0; i < w->dir_count; i++) {
        if (w->dirs[i] == wd) { /* keep the latest at the end: it is the file's own */
            w->dirs[i] = w->dirs[w->dir_count - 1];
            w->dirs[w->dir_count - 1] = wd;
            return;
        }
    }
    if (w->dir_count < DIRS_MAX)
        w->dirs[w->dir_count++] = wd;
}

struct walk {
    char at[PATH_MAX];   /* resolved so far, no slash at the end: "" is the root */
    char rest[PATH_MAX]; /* still to go */
    int links;
};

static bool walk_start(struct walk *k, const char *path)
{
    k->links = 0;
    k->at[0] = 0;
    if (path[0] != '/' && !getcwd(k->at, sizeof(k->at)))
        return false;
    return snprintf(k->rest, sizeof(k->rest), "%s", path) < (int)sizeof(k->rest);
}

/* Cuts the next component off; false at the end. */
static bool next_component(struct walk *k, char name[NAME_MAX + 1])
{
    char *p = k->rest + strspn(k->rest, "/");
    size_t n = strcspn(p, "/");
    if (n == 0 || n > NAME_MAX)
        return false;
    memcpy(name, p, n);
    name[n] = 0;
    memmove(k->rest, p + n, strlen(p + n) + 1);
    return true;
}

/* The link's target takes the component's place. */
static bool follow(struct walk *k, const char *link)
{
    char target[PATH_MAX], rest[PATH_MAX];
    ssize_t n = readlink(link, target, sizeof(target) - 1);
    if (n <= 0 || ++k->links > LINKS_MAX)
        return false;
    target[n] = 0;
    int len = snprintf(rest, sizeof(rest), "%s/%s", target, k->rest);
    if (len >= (int)sizeof(rest))
        return false;
    memcpy(k->rest, rest, (size_t)len + 1);
    if (target[0] == '/')
        k->at[0] = 0;
    return true;
}

static bool is_last(const struct walk *k)
{
    return k->rest[strspn(k->rest, "/")] == 0;
}

static void watch_path(struct file_watch *w)
{
    struct walk k;
    struct stat st;
    char name[NAME_MAX + 1], full[PATH_MAX];
    w->name[0] = 0;
    if (!walk_start(&k, w->path))
        return;
    while (next_component(&k, name)) {
        if (snprintf(full, sizeof(full), "%s/%s", k.at, name) >= (int)sizeof(full))
            return;
        bool exists = lstat(full, &st) == 0, is_link = exists && S_ISLNK(st.st_mode);
        if (!exists || is_link || is_last(&k))
            watch_dir(w, k.at);
        if (!exists)
            return;
        if (is_link) {
            if (!follow(&k, full))
                return;
            continue;
        }
        if (is_last(&k))
            memcpy(w->name, name, sizeof(name));
        memcpy(k.at, full, strlen(full) + 1);
    }
    if (stat(w->path, &st) == 0 && S_ISDIR(st.st_mode))
        watch_dir(w, w->path);
}

static struct identity identify(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return (struct identity){.exists = false};
    return (struct identity){
        .exists = true,
        .is_dir = S_ISDIR(st.st_mode),
        .dev = st.st_dev,
        .ino = st.st_ino,
        .size = st.st_size,
        .mtime = st.st_mtim,
    };
}

static bool is_same(const struct identity *a, const struct identity *b)
{
    if (!a->exists || !b->exists)
        return a->exists == b->exists;
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
           a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec;
}

/* ---- events ---- */

static bool has_dir(const struct file_watch *w, int wd)
{
    for (int i = 0; i < w->dir_count; i++)
        if (w->dirs[i] == wd)
            return true;
    return false;
}

static bool is_dir_used(struct file_watcher *fw, int wd)
{
    LIST_EACH(it, safe, &fw->watches)
        if (has_dir(LIST_ENTRY(it, file_watch, node), wd))
            return true;
    return false;
}

static void drop_dirs(struct file_watcher *fw, const int *dirs, int count)
{
    for (int i = 0; i < count; i++)
        if (!is_dir_used(fw, dirs[i]))
            inotify_rm_watch(fw->fd, dirs[i]); /* EINVAL: went with its directory */
}

static void note(struct file_watcher *fw, const struct inotify_event *e)
{
    LIST_EACH(it, safe, &fw->watches) {
        struct file_watch *w = LIST_ENTRY(it, file_watch, node);
        bool overflow = e->mask & IN_Q_OVERFLOW; /* events were lost: look at everything */
        if (!overflow && !has_dir(w, e->wd))
            continue;
        w->is_dirty = true;
        bool in_last = w->dir_count && w->dirs[w->dir_count - 1] == e->wd;
        if (in_last && e->len && (w->seen.is_dir || strcmp(e->name, w->name) == 0))
            w->is_touched = true;
    }
}

static void on_ready(struct watch *watch, unsigned events)
{
    (void)events;
    struct file_watcher *fw = CONTAINER_OF(watch, file_watcher, watch);
    char space[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t n;
    while ((n = read(fw->fd, space, sizeof(space))) > 0) {
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *e = (const struct inotify_event *)(const void *)(space + at);
            note(fw, e);
            at += (ssize_t)sizeof(*e) + e->len;
        }
    }
    loop_at_turn_end(fw->loop, &fw->task);
}

static void look_again(struct file_watch *w)
{
    int before[DIRS_MAX], count = w->dir_count;
    memcpy(before, w->dirs, sizeof(before));
    w->dir_count = 0;
    watch_path(w);
    drop_dirs(w->owner, before, count);
    struct identity now = identify(w->path);
    if (w->is_touched || !is_same(&now, &w->seen))
        w->is_due = true;
    w->seen = now;
    w->is_dirty = w->is_touched = false;
}

static struct file_watch *next_due(struct file_watcher *fw)
{
    LIST_EACH(it, safe, &fw->watches) {
        struct file_watch *w = LIST_ENTRY(it, file_watch, node);
        if (w->is_due)
            return w;
    }
    return NULL;
}

static void run_task(struct turn_task *t)
{
    struct file_watcher *fw = CONTAINER_OF(t, file_watcher, task);
    struct file_watch *w;
    LIST_EACH(it, safe, &fw->watches)
        if (LIST_ENTRY(it, file_watch, node)->is_dirty)
            look_again(LIST_ENTRY(it, file_watch, node));
    /* From the front each time: a callback may add, delete and free what it likes. */
    while (!fw->dead && (w = next_due(fw)) != NULL) {
        w->is_due = false;
        w->fn(w->user, w->path);
    }
}

/* ---- the interface ---- */

struct file_watcher *file_watcher_new(struct loop *loop, struct err *err)
{
    struct file_watcher *fw = NEW(file_watcher);
    fw->loop = loop;
    fw->task.run = run_task;
    list_init(&fw->watches);
    fw->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (fw->fd < 0)
        err_set_errno(err, errno, "cannot make an inotify descriptor");
    if (fw->fd < 0 || watch_add_level(loop, &fw->watch, fw->fd, on_ready, err) != 0)
        file_watcher_free(&fw);
    return fw;
}

struct file_watch *file_watch_add(struct file_watcher *fw, const char *path, file_watch_fn fn, void *user)
{
    struct file_watch *w = NEW(file_watch);
    w->owner = fw;
    w->path = mem_strdup(path);
    w->fn = fn;
    w->user = user;
    list_push_back(&fw->watches, &w->node);
    watch_path(w);
    w->seen = identify(path);
    return w;
}

static void destroy_watch(struct deferred *d)
{
    struct file_watch *w = CONTAINER_OF(d, file_watch, deferred);
    mem_free(w->path);
    mem_free(w);
}

void file_watch_del(struct file_watch *w)
{
    if (!w || !w->owner)
        return;
    struct file_watcher *fw = w->owner;
    list_remove(&w->node);
    drop_dirs(fw, w->dirs, w->dir_count);
    w->owner = NULL;
    loop_defer(fw->loop, &w->deferred, destroy_watch);
}

static void destroy_watcher(struct deferred *d)
{
    mem_free(CONTAINER_OF(d, file_watcher, deferred));
}

void file_watcher_free(struct file_watcher **watcher)
{
    struct file_watcher *fw = *watcher;
    if (!fw)
        return;
    *watcher = NULL;
    fw->dead = true;
    LIST_EACH(it, safe, &fw->watches)
        file_watch_del(LIST_ENTRY(it, file_watch, node));
    turn_task_cancel(&fw->task);
    watch_del(&fw->watch);
    if (fw->fd >= 0)
        close(fw->fd);
    loop_defer(fw->loop, &fw->deferred, destroy_watcher);
}
