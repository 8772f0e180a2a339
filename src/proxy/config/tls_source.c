/* SPDX-License-Identifier: Apache-2.0
 *
 * The current tls_context of a recipe. Everything is the main thread's but `current`, which any
 * thread reads when it begins a handshake: loading the pointer and taking a reference must be one
 * step against the swap, so both hold a spinlock for those two instructions. A handshake costs a
 * thousand times as much and requests never come here; anything cleverer (hazard pointers, waiting
 * for every worker's turn) buys nothing and keeps old keys in memory for longer.
 *
 * A reload that fails keeps the old context. A certificate and its key change one after the other:
 * the first change may fail (they don't match yet), the second one then succeeds.
 */
#include "proxy/config/tls_source.h"

#include "base/check.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "io/file_watch.h"
#include "proxy/config/secret_source.h"
#include "proxy/config/tls_recipe.h"
#include "proxy/warm.h"

#include <stdatomic.h>

#define TLS_SOURCE_MAGIC 0x715505ceu

struct tls_source {
    uint32_t magic, refs;
    atomic_flag busy; /* guards `current` */
    struct tls_context *current;
    struct str key;
    struct tls_recipe *recipe;
    struct file_watch **watches;
    size_t watch_count, watch_cap;
    uint64_t reloads, failures;
    struct tls_use {
        struct secret_user user;
        struct tls_source *source;
    } *uses;                        /* one for each secret that comes */
    size_t use_count;
    struct tls_context *prepared;
    struct warmth *warmth;          /* over the secrets */
    struct warm_source warm;
};

static struct map *sources; /* by key; borrowed */
static struct file_watcher *watched_by;

static void lock(struct tls_source *s)
{
    while (atomic_flag_test_and_set_explicit(&s->busy, memory_order_acquire))
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#else
        ;
#endif
}

static void unlock(struct tls_source *s)
{
    atomic_flag_clear_explicit(&s->busy, memory_order_release);
}

struct tls_context *tls_source_get(struct tls_source *s)
{
    lock(s);
    struct tls_context *ctx = s->current ? tls_context_ref(s->current) : NULL;
    unlock(s);
    return ctx;
}

static void swap(struct tls_source *s, struct tls_context *take_ctx)
{
    lock(s);
    struct tls_context *old = s->current;
    s->current = take_ctx;
    unlock(s);
    if (old)
        tls_context_unref(&old);
}

int tls_source_reload(struct tls_source *s, struct err *err)
{
    if (!tls_recipe_is_complete(s->recipe))
        return 0; /* read when its secrets come */
    struct tls_context *ctx = tls_recipe_build(s->recipe, err);
    if (!ctx) {
        s->failures++;
        return err && err->code ? err->code : ERR_TLS;
    }
    s->reloads++;
    swap(s, ctx);
    return 0;
}

static void on_file_change(void *user, const char *path)
{
    struct tls_source *s = user;
    struct err err = {0};
    char text[ERR_MESSAGE_BYTES];
    if (tls_source_reload(s, &err) < 0)
        LOG(SECRET, WARNING, "%s changed and was not taken, what was read before stays in use: %s", path,
            err_format(&err, text, sizeof text));
    else
        LOG(SECRET, INFO, "%s changed and was taken", path);
}

static void watch_path(struct str path, void *arg)
{
    struct tls_source *s = arg;
    s->watches = mem_grow(s->watches, &s->watch_cap, s->watch_count + 1, sizeof *s->watches);
    s->watches[s->watch_count++] = file_watch_add(watched_by, path.p, on_file_change, s);
}

static void watch_start(struct tls_source *s)
{
    if (watched_by && s->watch_count == 0)
        tls_recipe_each_path(s->recipe, watch_path, s);
}

static void watch_stop(struct tls_source *s)
{
    for (size_t i = 0; i < s->watch_count; i++)
        file_watch_del(s->watches[i]);
    s->watch_count = 0;
}

void tls_sources_watch(struct file_watcher *files)
{
    size_t pos = 0;
    struct str key;
    void *s;
    while (sources && map_next(sources, &pos, &key, &s))
        watch_stop(s);
    watched_by = files;
    secret_sources_watch(files);
    pos = 0;
    while (sources && map_next(sources, &pos, &key, &s))
        watch_start(s);
}

/* ---- secrets ---- */

static int prepare(struct secret_user *u, struct err *err)
{
    struct tls_source *s = CONTAINER_OF(u, tls_use, user)->source;
    if (s->prepared || !tls_recipe_is_complete(s->recipe))
        return 0;
    s->prepared = tls_recipe_build(s->recipe, err);
    if (!s->prepared)
        s->failures++;
    return s->prepared ? 0 : ERR_TLS;
}

static void settle(struct secret_user *u, bool is_taken)
{
    struct tls_source *s = CONTAINER_OF(u, tls_use, user)->source;
    struct tls_context *ctx = s->prepared;
    s->prepared = NULL;
    if (!ctx)
        return;
    if (is_taken) {
        s->reloads++;
        swap(s, ctx);
    } else {
        tls_context_unref(&ctx);
    }
}

static void count_part(const struct tls_part *p, void *arg)
{
    *(size_t *)arg += p->source != NULL;
}

static void use_part(const struct tls_part *p, void *arg)
{
    struct tls_source *s = arg;
    if (!p->source)
        return;
    struct tls_use *use = &s->uses[s->use_count++];
    use->source = s;
    use->user.prepare = prepare;
    use->user.settle = settle;
    secret_source_add_user(p->source, &use->user);
    warmth_wait(s->warmth, secret_source_warm(p->source));
}

static void on_warm(void *arg)
{
    warm_source_ready(&((struct tls_source *)arg)->warm);
}

static void use_secrets(struct tls_source *s)
{
    size_t n = 0;
    tls_recipe_each_part(s->recipe, count_part, &n);
    warm_source_init(&s->warm);
    s->warmth = warmth_new(on_warm, s);
    s->uses = n ? mem_zalloc(n * sizeof *s->uses) : NULL;
    tls_recipe_each_part(s->recipe, use_part, s);
    warmth_start(s->warmth);
}

struct warm_source *tls_source_warm(struct tls_source *s)
{
    return &s->warm;
}

bool tls_source_has_secrets(const struct tls_source *s)
{
    return s->use_count > 0;
}

/* ---- sources ---- */

struct tls_source *tls_source_new(struct str key, struct tls_recipe **take_recipe, struct err *err)
{
    struct tls_source *s = sources ? map_get(sources, key) : NULL;
    if (s) {
        tls_recipe_free(take_recipe);
        return tls_source_ref(s);
    }
    struct tls_context *ctx = NULL;
    if (tls_recipe_is_complete(*take_recipe) && !(ctx = tls_recipe_build(*take_recipe, err))) {
        tls_recipe_free(take_recipe);
        return NULL;
    }
    s = NEW(tls_source);
    s->magic = TLS_SOURCE_MAGIC;
    s->refs = 1;
    s->current = ctx;
    s->key = str_make(memcpy(mem_alloc(key.n + 1), key.p, key.n), key.n);
    s->recipe = *take_recipe;
    *take_recipe = NULL;
    if (!sources)
        sources = map_new();
    map_set(sources, s->key, s);
    watch_start(s);
    use_secrets(s);
    return s;
}

struct tls_source *tls_source_ref(struct tls_source *s)
{
    s->refs++;
    return s;
}

void tls_source_unref(struct tls_source **p)
{
    struct tls_source *s = *p;
    *p = NULL;
    if (!s)
        return;
    CHECK(s->magic == TLS_SOURCE_MAGIC);
    if (--s->refs > 0)
        return;
    watch_stop(s);
    for (size_t i = 0; i < s->use_count; i++)
        secret_user_del(&s->uses[i].user);
    mem_free(s->uses);
    warmth_free(&s->warmth);
    warm_source_fini(&s->warm);
    map_del(sources, s->key);
    if (map_count(sources) == 0)
        map_free(&sources);
    tls_context_unref(&s->current);
    tls_recipe_free(&s->recipe);
    explicit_bzero((char *)s->key.p, s->key.n); /* inline keys are in it */
    mem_free((char *)s->key.p);
    mem_free(s->watches);
    s->magic = 0;
    mem_free(s);
}

uint64_t tls_source_reloads(const struct tls_source *s)
{
    return s->reloads;
}

uint64_t tls_source_reload_failures(const struct tls_source *s)
{
    return s->failures;
}

void tls_sources_each(void (*fn)(struct tls_source *s, void *arg), void *arg)
{
    size_t pos = 0;
    struct str key;
    void *s;
    while (sources && map_next(sources, &pos, &key, &s))
        fn(s, arg);
}
