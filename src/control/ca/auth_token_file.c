/* SPDX-License-Identifier: Apache-2.0
 *
 * Callers by a bootstrap token: what a mesh of files has in the place of Kubernetes' service account tokens. A folder for each
 * namespace, in it a file for each service account; the folder that changed is read again. What is shown is looked for by a hash
 * with a secret of this process, and compared in constant time then, so that the time of an answer says nothing of any token.
 * A token that stands for two workloads stands for none. One loop's thread.
 */
#include "control/ca/auth.h"

#include "base/check.h"
#include "base/file.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rng.h"
#include "io/file_watch.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#define NAMESPACES_MAX 4096u
#define TOKENS_MAX 65536u
#define FILE_MAX_BYTES ((size_t)16 << 10)

struct token {
    struct str text, ns, sa; /* own */
    uint64_t hash;
    bool is_ambiguous;
};
struct auth_token_file {
    struct authenticator authenticator;
    char *folder;
    struct str trust_domain;
    struct token *tokens;
    size_t count, cap;
    uint64_t seed;
    struct file_watcher *watcher;
    struct map *watched; /* namespace -> file_watch */
};

#define OF(a) CONTAINER_OF(a, auth_token_file, authenticator)

/* ---- looking up ---- */

static bool is_same(struct str a, struct str b)
{
    unsigned char differs = a.n != b.n;
    for (size_t i = 0; i < a.n && i < b.n; i++)
        differs |= (unsigned char)(a.p[i] ^ b.p[i]);
    return !differs;
}

static const struct token *find(const struct auth_token_file *f, struct str shown)
{
    const struct token *found = NULL;
    uint64_t hash = str_hash(shown, f->seed);
    for (size_t i = 0; i < f->count; i++)
        if (f->tokens[i].hash == hash && is_same(f->tokens[i].text, shown))
            found = &f->tokens[i];
    return found;
}

static enum auth_step begin(struct authenticator *a, struct auth_call *call, const struct auth_request *q, struct auth_caller *out,
                            struct err *why)
{
    const struct auth_token_file *f = OF(a);
    struct str shown;
    if (auth_bearer(q, &shown, why) < 0)
        return AUTH_REFUSED;
    const struct token *t = find(f, shown);
    if (!t)
        err_set(why, ERR_NOT_FOUND, "the token is no workload's");
    else if (t->is_ambiguous)
        err_set(why, ERR_INVALID, "the token is that of several workloads");
    else if (auth_caller_of(auth_call_arena(call), f->trust_domain, t->ns, t->sa, out, why) == 0)
        return AUTH_TAKEN;
    return AUTH_REFUSED;
}

/* ---- reading ---- */

static void token_fini(struct token *t)
{
    explicit_bzero((char *)(uintptr_t)t->text.p, t->text.n);
    str_free(&t->text);
    str_free(&t->ns);
    str_free(&t->sa);
}

/* Those of a namespace; ns "": all. */
static void forget_tokens(struct auth_token_file *f, struct str ns)
{
    size_t kept = 0;
    for (size_t i = 0; i < f->count; i++) {
        if (!ns.n || str_eq(f->tokens[i].ns, ns))
            token_fini(&f->tokens[i]);
        else
            f->tokens[kept++] = f->tokens[i];
    }
    f->count = kept;
}

static void add_token(struct auth_token_file *f, struct str text, struct str ns, struct str sa)
{
    if (f->count == TOKENS_MAX) {
        LOG_SELDOM(SECRET, WARNING, "%s: more than %u tokens; the others count for nothing", f->folder, TOKENS_MAX);
        return;
    }
    f->tokens = mem_grow(f->tokens, &f->cap, f->count + 1, sizeof *f->tokens);
    f->tokens[f->count++] = (struct token){str_dup(text), str_dup(ns), str_dup(sa), str_hash(text, f->seed), false};
}

static int add_lines(struct auth_token_file *f, struct str text, struct str ns, struct str sa, struct err *err)
{
    while (text.n) {
        struct str line = str_split(text, '\n', &text);
        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        line = str_trim(line);
        if (line.n && (line.n < AUTH_TOKEN_MIN_BYTES || line.n > AUTH_TOKEN_MAX_BYTES))
            return err_set(err, ERR_INVALID, "a token of %zu bytes: it has %u to %u", line.n, AUTH_TOKEN_MIN_BYTES, AUTH_TOKEN_MAX_BYTES);
        if (line.n)
            add_token(f, line, ns, sa);
    }
    return 0;
}

static int check_mode(const char *path, bool *is_file, struct err *err)
{
    struct stat st;
    *is_file = false;
    if (stat(path, &st) < 0)
        return err_set_errno(err, errno, "cannot read it");
    *is_file = S_ISREG(st.st_mode);
    if (*is_file && (st.st_mode & 006))
        return err_set(err, ERR_INVALID, "mode %04o: everybody may read or write it", (unsigned)st.st_mode & 07777);
    return 0;
}

static void read_token_file(struct auth_token_file *f, const char *path, struct str ns, struct str sa)
{
    struct strbuf text = {0};
    struct err err = {0};
    bool is_file;
    size_t before = f->count;
    int rc = check_mode(path, &is_file, &err);
    if (rc == 0 && !is_file)
        return;
    if (rc == 0)
        rc = file_read(path, FILE_MAX_BYTES, &text, &err);
    if (rc == 0)
        rc = add_lines(f, strbuf_str(&text), ns, sa, &err);
    if (rc)
        LOG(SECRET, WARNING, "the token in %s counts for nothing: %s", path, err.message);
    else if (f->count == before && err.code == 0)
        LOG(SECRET, DEBUG, "%s holds no token", path);
    if (text.p)
        explicit_bzero(text.p, text.n);
    strbuf_fini(&text);
}

/* A workload whose token somebody else has too would be whoever came first in a folder. */
static void mark_ambiguous(struct auth_token_file *f)
{
    struct map *seen = map_new();
    for (size_t i = 0; i < f->count; i++)
        f->tokens[i].is_ambiguous = false;
    for (size_t i = 0; i < f->count; i++) {
        struct token *t = &f->tokens[i], *other = map_set(seen, t->text, t);
        if (!other || (str_eq(t->ns, other->ns) && str_eq(t->sa, other->sa) && !other->is_ambiguous))
            continue;
        t->is_ambiguous = other->is_ambiguous = true;
        LOG(SECRET, WARNING, "%s: %.*s/%.*s and %.*s/%.*s have one token; it counts for neither", f->folder, STR_ARG(other->ns),
            STR_ARG(other->sa), STR_ARG(t->ns), STR_ARG(t->sa));
    }
    map_free(&seen);
}

static void read_folder(struct auth_token_file *f);

static void on_folder(void *user, const char *path)
{
    (void)path;
    read_folder(user);
}

static void on_namespace(void *user, const char *path);

static void read_namespace(struct auth_token_file *f, const char *name)
{
    struct strbuf path = {0};
    strbuf_addf(&path, "%s/%s", f->folder, name);
    DIR *d = opendir(path.p);
    struct str ns = str_from(name);
    if (d && !map_get(f->watched, ns) && map_count(f->watched) < NAMESPACES_MAX)
        map_set(f->watched, ns, file_watch_add(f->watcher, path.p, on_namespace, f));
    size_t n = path.n;
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue; /* drafts, and the links by which Kubernetes swaps a volume */
        path.n = n;
        strbuf_addf(&path, "/%s", e->d_name);
        read_token_file(f, path.p, ns, str_from(e->d_name));
    }
    if (d)
        closedir(d);
    strbuf_fini(&path);
}

static void on_namespace(void *user, const char *path)
{
    struct auth_token_file *f = user;
    const char *name = strrchr(path, '/') + 1;
    forget_tokens(f, str_from(name));
    read_namespace(f, name);
    mark_ambiguous(f);
}

static void read_folder(struct auth_token_file *f)
{
    DIR *d = opendir(f->folder);
    if (!d) {
        LOG(SECRET, WARNING, "cannot read the tokens in %s: %s; those that were read stay", f->folder, strerror(errno));
        return;
    }
    forget_tokens(f, STR(""));
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.')
            read_namespace(f, e->d_name);
    closedir(d);
    mark_ambiguous(f);
    LOG(SECRET, DEBUG, "%zu tokens in %s", f->count, f->folder);
}

/* ---- beginning and end ---- */

static void free_it(struct authenticator *a)
{
    struct auth_token_file *f = OF(a);
    file_watcher_free(&f->watcher);
    map_free(&f->watched);
    forget_tokens(f, STR(""));
    mem_free(f->tokens);
    str_free(&f->trust_domain);
    mem_free(f->folder);
    mem_free(f);
}

static const struct authenticator_ops ops = {.name = "BootstrapTokenAuthenticator", .begin = begin, .free = free_it};

struct authenticator *auth_token_file_new(struct loop *loop, const char *folder, struct str trust_domain, struct err *err)
{
    struct auth_token_file *f = NEW(auth_token_file);
    f->authenticator.ops = &ops;
    f->folder = mem_strdup(folder);
    f->trust_domain = str_dup(trust_domain);
    f->watched = map_new();
    rng_secret_bytes(&f->seed, sizeof f->seed);
    f->watcher = file_watcher_new(loop, err);
    if (!f->watcher) {
        free_it(&f->authenticator);
        return NULL;
    }
    file_watch_add(f->watcher, folder, on_folder, f);
    read_folder(f);
    return &f->authenticator;
}
