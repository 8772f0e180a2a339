/* SPDX-License-Identifier: Apache-2.0
 *
 * One pass over the directory finds what is there; files whose identity (inode, size, time) is new are read; then the objects of
 * all files go to the store, and those that no file gives any more leave it.
 */
#include "control/registry/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "io/file_watch.h"

struct file {
    struct str path;          /* owned */
    struct stat seen;
    struct object_list objects; /* when it was last without faults */
    struct object_list before;  /* what it gave to the store, if that is something else */
    struct err_list faults;
    bool is_there;            /* in this pass */
    bool is_changed;          /* since the store was told */
};
struct registry_files {
    struct store *store;
    struct str directory;     /* owned */
    struct file_watcher *watcher;
    struct map *watches;      /* path of a folder -> struct file_watch */
    struct map *files;        /* path -> struct file */
    struct map *given;        /* "kind ns/name" -> struct file that gives it */
    bool is_whole_due;        /* the store is told of all files again: one has gone, or two give one object */
    struct err_list faults;
    struct registry_files_state state;
};

static void add_fault(struct err_list *faults, const char *path, const char *fmt, const char *detail)
{
    struct err err;
    err_set(&err, ERR_INVALID, fmt, detail);
    err_prefix(&err, "%s", path);
    err_list_add(faults, &err);
}

/* ---- one file ---- */

static bool is_wanted(struct str name)
{
    return name.n && name.p[0] != '.' &&
           (str_has_suffix(name, STR(".yaml")) || str_has_suffix(name, STR(".yml")) || str_has_suffix(name, STR(".json")));
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static int read_text(const char *path, struct strbuf *out, struct stat *st, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;
    if (fd < 0 || fstat(fd, st) != 0)
        rc = err_set_errno(err, errno, "cannot read it");
    else if ((size_t)st->st_size > REGISTRY_FILE_BYTES_MAX)
        rc = err_set(err, ERR_LIMIT, "%lld bytes are more than %zu", (long long)st->st_size, REGISTRY_FILE_BYTES_MAX);
    while (rc == 0) {
        strbuf_reserve(out, 65536);
        ssize_t n = read(fd, out->p + out->n, 65536);
        if (n <= 0) {
            rc = n < 0 ? err_set_errno(err, errno, "cannot read it") : 0;
            break;
        }
        out->n += (size_t)n;
        if (out->n > REGISTRY_FILE_BYTES_MAX)
            rc = err_set(err, ERR_LIMIT, "it is longer than %zu bytes", REGISTRY_FILE_BYTES_MAX);
    }
    if (fd >= 0)
        close(fd);
    return rc;
}

static void file_read(struct file *f)
{
    struct strbuf text = {0};
    struct err err = {0};
    struct object_list objects = {0};
    err_list_fini(&f->faults);
    f->faults = (struct err_list){0};
    if (read_text(f->path.p, &text, &f->seen, &err)) {
        err_prefix(&err, "%s", f->path.p);
        err_list_add(&f->faults, &err);
    } else
        object_read_all(text.n ? strbuf_str(&text) : STR(""), f->path.p, OBJECT_SKIP_UNKNOWN_KINDS, &objects, &f->faults);
    strbuf_fini(&text);
    if (f->faults.count) { /* what it gave before stays */
        object_list_fini(&objects);
        return;
    }
    if (f->is_changed)
        object_list_fini(&f->objects); /* `before` stands already */
    else
        f->before = f->objects;
    f->objects = objects;
    f->is_changed = true;
}

static struct file *file_at(struct registry_files *r, const char *path)
{
    struct file *f = map_get(r->files, str_from(path));
    if (!f) {
        f = NEW(file);
        f->path = str_dup(str_from(path));
        map_set(r->files, f->path, f);
    }
    return f;
}

static void file_free(struct file *f)
{
    object_list_fini(&f->objects);
    object_list_fini(&f->before);
    err_list_fini(&f->faults);
    str_free(&f->path);
    mem_free(f);
}

/* ---- the directory ---- */

static void on_change(void *user, const char *path);

static void watch(struct registry_files *r, const char *folder)
{
    if (r->watcher && !map_get(r->watches, str_from(folder)))
        map_set(r->watches, str_from(folder), file_watch_add(r->watcher, folder, on_change, r));
}

static void visit(struct registry_files *r, const char *folder, int depth);

static void visit_entry(struct registry_files *r, const char *folder, const char *name, int depth)
{
    struct strbuf path = {0};
    struct stat st;
    strbuf_addf(&path, "%s/%s", folder, name);
    if (name[0] == '.' || stat(path.p, &st) != 0) /* ".", "..", "..data" of ConfigMaps, editors' files */
        ;
    else if (S_ISDIR(st.st_mode))
        visit(r, path.p, depth + 1);
    else if (S_ISREG(st.st_mode) && is_wanted(str_from(name))) {
        if (map_count(r->files) >= REGISTRY_FILES_MAX && !map_get(r->files, strbuf_str(&path)))
            add_fault(&r->faults, path.p, "more than %s files", "200000");
        else {
            struct file *f = file_at(r, path.p);
            f->is_there = true;
            if (!is_same(&f->seen, &st))
                file_read(f);
        }
    }
    strbuf_fini(&path);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void visit(struct registry_files *r, const char *folder, int depth)
{
    struct dirent **entries;
    watch(r, folder);
    if (depth > REGISTRY_DEPTH_MAX) {
        add_fault(&r->faults, folder, "folders are nested more than %s deep", "16");
        return;
    }
    int n = scandir(folder, &entries, NULL, by_name);
    if (n < 0) {
        struct err err;
        err_set_errno(&err, errno, "cannot read the folder");
        err_prefix(&err, "%s", folder);
        err_list_add(&r->faults, &err);
        return;
    }
    for (int i = 0; i < n; i++) {
        visit_entry(r, folder, entries[i]->d_name, depth);
        free(entries[i]);
    }
    free(entries);
}

/* ---- the store ---- */

static void key_of(const struct object *o, struct strbuf *key)
{
    strbuf_reset(key);
    strbuf_addf(key, "%s %.*s/%.*s", o->kind->name, STR_ARG(o->ns), STR_ARG(o->name));
}

static void give(struct registry_files *r, struct map *given, struct file *f, const struct object *o)
{
    struct strbuf key = {0};
    key_of(o, &key);
    struct file *other = map_get(given, strbuf_str(&key));
    if (other) {
        struct err err;
        err_set(&err, ERR_EXISTS, "%s stands in %s too, which counts", key.p, other->path.p);
        err_prefix(&err, "%s:%u", f->path.p, o->line);
        err_list_add(&r->faults, &err);
        r->is_whole_due = true; /* the next time, too: the fault is found again */
    } else {
        map_set(given, strbuf_str(&key), f);
        store_put(r->store, object_ref(o));
    }
    strbuf_fini(&key);
}

static void take_back(struct registry_files *r, struct str key)
{
    struct str rest, kind = str_split(key, ' ', &rest), name, ns = str_split(rest, '/', &name);
    for (int k = 0; k < KIND_COUNT; k++)
        if (str_eq(str_from(kind_of((enum kind_id)k)->name), kind))
            store_remove(r->store, (enum kind_id)k, ns, name);
}

static int by_path(const void *a, const void *b)
{
    return str_cmp((*(struct file *const *)a)->path, (*(struct file *const *)b)->path);
}

static struct file **files_by_path(const struct registry_files *r, size_t *count)
{
    size_t n = 0, pos = 0;
    struct str key;
    void *value;
    struct file **all = mem_alloc((map_count(r->files) + 1) * sizeof(struct file *));
    while (map_next(r->files, &pos, &key, &value))
        all[n++] = value;
    qsort(all, n, sizeof(struct file *), by_path);
    *count = n;
    return all;
}

static void publish_whole(struct registry_files *r, struct file *const *all, size_t n)
{
    size_t pos = 0;
    struct str key;
    void *value;
    struct map *given = map_new();
    r->is_whole_due = false;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < all[i]->objects.count; k++)
            give(r, given, all[i], all[i]->objects.items[k]);
    while (map_next(r->given, &pos, &key, &value))
        if (!map_get(given, key))
            take_back(r, key);
    map_free(&r->given);
    r->given = given;
}

/* Of one file: what it gives no more goes, what it gives comes. */
static void publish_file(struct registry_files *r, struct file *f)
{
    struct strbuf key = {0};
    struct map *now = map_new();
    for (size_t i = 0; i < f->objects.count; i++) {
        key_of(f->objects.items[i], &key);
        map_set(now, strbuf_str(&key), f);
    }
    for (size_t i = 0; i < f->before.count; i++) {
        key_of(f->before.items[i], &key);
        map_del(r->given, strbuf_str(&key));
        if (!map_get(now, strbuf_str(&key)))
            take_back(r, strbuf_str(&key));
    }
    for (size_t i = 0; i < f->objects.count; i++)
        give(r, r->given, f, f->objects.items[i]);
    map_free(&now);
    strbuf_fini(&key);
}

static void publish(struct registry_files *r)
{
    size_t n;
    struct file **all = files_by_path(r, &n);
    size_t before = r->faults.count;
    for (size_t i = 0; i < n && !r->is_whole_due; i++)
        if (all[i]->is_changed)
            publish_file(r, all[i]);
    if (r->is_whole_due) { /* which of two files counts, their order says */
        r->faults.count = before;
        publish_whole(r, all, n);
    }
    r->state.broken_files = 0;
    for (size_t i = 0; i < n; i++) {
        object_list_fini(&all[i]->before);
        all[i]->before = (struct object_list){0};
        all[i]->is_changed = false;
        for (size_t k = 0; k < all[i]->faults.count; k++)
            err_list_add(&r->faults, &all[i]->faults.items[k]);
        r->state.broken_files += all[i]->faults.count > 0;
    }
    mem_free(all);
    r->state.objects = (uint32_t)map_count(r->given);
    store_commit(r->store);
}

static void forget_gone(struct registry_files *r)
{
    size_t pos = 0, n = 0;
    struct str key;
    void *value;
    struct file **gone = mem_alloc((map_count(r->files) + 1) * sizeof(struct file *));
    while (map_next(r->files, &pos, &key, &value))
        if (!((struct file *)value)->is_there)
            gone[n++] = value;
    for (size_t i = 0; i < n; i++) {
        map_del(r->files, gone[i]->path);
        file_free(gone[i]);
    }
    r->is_whole_due |= n > 0;
    mem_free(gone);
}

static void tell_faults(const struct registry_files *r)
{
    char line[ERR_MESSAGE_BYTES + ERR_PATH_BYTES + 8];
    for (size_t i = 0; i < r->faults.count; i++)
        LOG(CONFIG, WARNING, "%s", err_format(&r->faults.items[i], line, sizeof(line)));
}

static void read_all(struct registry_files *r)
{
    size_t pos = 0;
    struct str key;
    void *value;
    while (map_next(r->files, &pos, &key, &value))
        ((struct file *)value)->is_there = false;
    err_list_fini(&r->faults);
    r->faults = (struct err_list){0};
    visit(r, r->directory.p, 0);
    forget_gone(r);
    publish(r);
    r->state.reads++;
    r->state.files = (uint32_t)map_count(r->files);
    tell_faults(r);
}

static void on_change(void *user, const char *path)
{
    (void)path;
    read_all(user);
}

/* ---- life ---- */

struct registry_files *registry_files_new(struct loop *loop, const char *directory, struct store *keep_store, struct err *err)
{
    struct stat st;
    if (stat(directory, &st) != 0) {
        err_set_errno(err, errno, "cannot read the folder");
        err_prefix(err, "%s", directory);
        return NULL;
    }
    if (!S_ISDIR(st.st_mode)) {
        err_set(err, ERR_INVALID, "%s is no folder", directory);
        return NULL;
    }
    struct file_watcher *watcher = loop ? file_watcher_new(loop, err) : NULL;
    if (loop && !watcher)
        return NULL;
    struct registry_files *r = NEW(registry_files);
    r->store = keep_store;
    r->directory = str_dup(str_from(directory));
    r->watcher = watcher;
    r->watches = map_new();
    r->files = map_new();
    r->given = map_new();
    read_all(r);
    return r;
}

void registry_files_free(struct registry_files **pr)
{
    struct registry_files *r = *pr;
    size_t pos = 0;
    struct str key;
    void *value;
    *pr = NULL;
    if (!r)
        return;
    file_watcher_free(&r->watcher);
    while (map_next(r->files, &pos, &key, &value))
        file_free(value);
    map_free(&r->files);
    map_free(&r->watches);
    map_free(&r->given);
    err_list_fini(&r->faults);
    str_free(&r->directory);
    mem_free(r);
}

const struct err_list *registry_files_faults(const struct registry_files *r)
{
    return &r->faults;
}

struct registry_files_state registry_files_state(const struct registry_files *r)
{
    return r->state;
}
