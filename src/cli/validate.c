/* SPDX-License-Identifier: Apache-2.0
 *
 * weft validate FILES|DIRECTORIES: everything that the model knows to be wrong with mesh objects, before anybody runs them.
 */
#include "cli/cli.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/file.h"
#include "base/map.h"
#include "base/mem.h"
#include "model/mesh.h"
#include "model/object.h"

#define FILE_BYTES_MAX ((size_t)64 << 20)
#define DEPTH_MAX 32
#define LINE_BYTES (ERR_MESSAGE_BYTES + ERR_PATH_BYTES + 4)

struct run {
    struct object_list objects;
    struct err_list faults, warnings;
    struct map *seen; /* "kind ns/name" -> struct object */
    size_t files;
    bool only_faults;
};

static int help(FILE *to)
{
    fputs("usage: weft validate [--only-faults] [--mesh-config FILE] FILE|DIRECTORY...\n\n"
          "Reads Istio's and Kubernetes' objects (of directories every .yaml, .yml and .json) and says all that is wrong\n"
          "with them: unknown fields, values that the schema doesn't take, Istio's own rules, one object twice.\n"
          "Kinds that a mesh has nothing to do with are passed over.\n\n"
          "  --only-faults       says nothing of what is legal but hardly meant\n"
          "  --mesh-config FILE  a MeshConfig; mesh.yaml in a directory is taken for one\n\n"
          "The exit status is 0 where nothing is wrong, 1 where something is.\n", to);
    return to == stdout ? CLI_DONE : CLI_USAGE;
}

/* ---- files ---- */

static void cannot_read(struct run *r, const char *path, const struct err *err)
{
    err_list_addf(&r->faults, err->code, path, "%s", err->message);
}

static bool read_text(struct run *r, const char *path, struct strbuf *text)
{
    struct err err = {0};
    r->files++;
    if (file_read(path, FILE_BYTES_MAX, text, &err) == 0)
        return true;
    cannot_read(r, path, &err);
    return false;
}

static struct str text_of(const struct strbuf *b)
{
    return b->n ? strbuf_str(b) : STR("");
}

static void check_mesh(struct run *r, const char *path)
{
    struct strbuf text = {0};
    if (read_text(r, path, &text)) {
        const struct mesh *mesh = mesh_read_warning(text_of(&text), path, &r->faults, &r->warnings);
        mesh_unref(&mesh);
    }
    strbuf_fini(&text);
}

static void check_file(struct run *r, const char *path)
{
    struct strbuf text = {0};
    if (read_text(r, path, &text))
        object_read_all(text_of(&text), path, OBJECT_SKIP_UNKNOWN_KINDS, &r->objects, &r->faults);
    strbuf_fini(&text);
}

static bool is_wanted(struct str name)
{
    return str_has_suffix(name, STR(".yaml")) || str_has_suffix(name, STR(".yml")) || str_has_suffix(name, STR(".json"));
}

static bool is_mesh_config(struct str name)
{
    return str_eq(name, STR("mesh.yaml"));
}

/* ".", "..", and what editors and ConfigMaps keep beside ("..data") are passed over. */
static int is_shown(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static void check_path(struct run *r, const char *path, int depth);

static void check_directory(struct run *r, const char *path, int depth)
{
    struct dirent **entries = NULL;
    struct err err = {0};
    int n = depth > DEPTH_MAX ? -1 : scandir(path, &entries, is_shown, alphasort);
    if (n < 0) {
        err_set_errno(&err, depth > DEPTH_MAX ? ELOOP : errno, "cannot read the directory");
        cannot_read(r, path, &err);
    }
    for (int i = 0; i < n; i++) {
        struct strbuf inner = {0};
        struct stat st;
        struct str name = str_from(entries[i]->d_name);
        strbuf_addf(&inner, "%s/%s", path, entries[i]->d_name);
        bool is_directory = stat(inner.p, &st) == 0 && S_ISDIR(st.st_mode);
        if (is_mesh_config(name) && !is_directory)
            check_mesh(r, inner.p);
        else if (is_directory || is_wanted(name))
            check_path(r, inner.p, depth + 1);
        strbuf_fini(&inner);
        free(entries[i]); /* rooms: allow, scandir's own */
    }
    free(entries); /* rooms: allow, scandir's own */
}

static void check_path(struct run *r, const char *path, int depth)
{
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        check_directory(r, path, depth);
    else
        check_file(r, path);
}

/* ---- the whole ---- */

/* One object, two owners: which of them holds would be a matter of luck. */
static void check_twice(struct run *r)
{
    struct strbuf title = {0};
    for (size_t i = 0; i < r->objects.count; i++) {
        const struct object *o = r->objects.items[i], *first;
        strbuf_reset(&title);
        strbuf_addf(&title, "%s/", o->kind->group);
        size_t group = title.n;
        object_title(o, &title);
        first = map_get(r->seen, strbuf_str(&title));
        if (!first) {
            map_set(r->seen, strbuf_str(&title), (void *)(uintptr_t)o);
            continue;
        }
        struct strbuf path = {0};
        strbuf_addf(&path, "%s:%u:1: %s", o->file, o->line, title.p + group);
        err_list_addf(&r->faults, ERR_EXISTS, path.p, "stands in %s:%u already", first->file, first->line);
        strbuf_fini(&path);
    }
    strbuf_fini(&title);
}

static void print_all(const struct err_list *list, const char *mark)
{
    char line[LINE_BYTES];
    for (size_t i = 0; i < list->count; i++)
        printf("%s%s\n", mark, err_format(&list->items[i], line, sizeof(line)));
    if (list->dropped)
        printf("%s... and %zu more\n", mark, list->dropped);
}

static int report(struct run *r)
{
    size_t faults = r->faults.count + r->faults.dropped, warnings = r->warnings.count + r->warnings.dropped;
    print_all(&r->faults, "");
    if (!r->only_faults)
        print_all(&r->warnings, "warning: ");
    fflush(stdout);
    fprintf(stderr, "weft validate: %zu file%s, %zu object%s without faults, %zu passed over, %zu fault%s", r->files,
            r->files == 1 ? "" : "s", r->objects.count, r->objects.count == 1 ? "" : "s", r->objects.skipped, faults,
            faults == 1 ? "" : "s");
    if (!r->only_faults)
        fprintf(stderr, ", %zu warning%s", warnings, warnings == 1 ? "" : "s");
    fputc('\n', stderr);
    return faults ? CLI_FAILED : CLI_DONE;
}

int cli_validate(int argc, char **argv)
{
    struct run r = {.seen = map_new()};
    int status = CLI_DONE, paths = 0;
    r.objects.warnings = &r.warnings;
    for (int i = 1; i < argc && status == CLI_DONE; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            map_free(&r.seen);
            return help(stdout);
        }
        if (strcmp(argv[i], "--only-faults") == 0) {
            r.only_faults = true;
        } else if (strcmp(argv[i], "--mesh-config") == 0 && i + 1 < argc) {
            check_mesh(&r, argv[++i]);
            paths++;
        } else if (argv[i][0] == '-') {
            fprintf(stderr, "weft validate: there is no flag '%s'\n", argv[i]);
            status = CLI_USAGE;
        } else {
            check_path(&r, argv[i], 0);
            paths++;
        }
    }
    if (status == CLI_DONE && paths == 0)
        status = help(stderr);
    if (status == CLI_DONE) {
        check_twice(&r);
        status = report(&r);
    }
    object_list_fini(&r.objects);
    err_list_fini(&r.faults);
    err_list_fini(&r.warnings);
    map_free(&r.seen);
    return status;
}
