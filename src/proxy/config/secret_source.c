/* SPDX-License-Identifier: Apache-2.0
 *
 * A secret's way from who brings it to who uses it:
 *
 *     new version -> read -> tried alone -> prepared by every user -> settled by every user -> warm
 *
 * A fault on the way refuses it (to a management server: NACK, naming it) and leaves everything as it was. Secrets that
 * istiod's configuration asks the cluster "sds-grpc" for are this process's own when it runs as a sidecar: decided here
 * (is_own), nowhere else. A file that changes goes the same way with the secret that is there.
 * Main thread. Contents are never logged.
 */
#include "proxy/config/secret_source.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "io/file_watch.h"
#include "proxy/agent/secrets.h"
#include "proxy/config/resources.h"
#include "proxy/config/tls_recipe.h"
#include "proxy/discovery/discovery.h"
#include "proxy/service/grpc_call.h"
#include "proxy/stats/stats.h"
#include "proxy/warm.h"

#include <stdio.h>

#define OWN_CLUSTER "sds-grpc"

#define SECRET_STATS(X)                                                                            \
    X(SECRET_KEY_ROTATION_FAILED, COUNTER, NONE, "key_rotation_failed", "Changed files that were not taken")
#define OWN_SECRET_STATS(X)                                                                        \
    X(OWN_SECRET_UPDATE_ATTEMPT, COUNTER, NONE, "update_attempt", "")                              \
    X(OWN_SECRET_UPDATE_SUCCESS, COUNTER, NONE, "update_success", "")                              \
    X(OWN_SECRET_UPDATE_REJECTED, COUNTER, NONE, "update_rejected", "")                            \
    X(OWN_SECRET_UPDATE_FAILURE, COUNTER, NONE, "update_failure", "")                              \
    X(OWN_SECRET_INIT_FETCH_TIMEOUT, COUNTER, NONE, "init_fetch_timeout", "")
enum { SECRET_STATS(STAT_ENUM_ROW) };
enum { OWN_SECRET_STATS(STAT_ENUM_ROW) };
static const struct stat_desc rows[] = {SECRET_STATS(STAT_DESC_ROW)};
static const struct stat_desc own_rows[] = {OWN_SECRET_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};
static const struct stat_table own_table = {own_rows, ARRAY_LEN(own_rows)};

struct secret_source {
    uint32_t refs;
    enum secret_kind kind;
    struct str key, name;
    struct config_frame *frame;
    const struct config_source *config;
    struct subscription *subscription;   /* this one … */
    struct secret_watch *own;            /* … or that */
    struct secret_spec *now, *candidate;
    struct str version, packed;
    uint64_t updated_wall_us;
    struct list users;
    struct warm_source warm;
    struct file_watch **watches;
    size_t watch_count, watch_cap;
    struct stat_scope *stats, *own_stats; /* NULL before the server starts; own_stats: discovery counts for its own */
};

static struct map *sources; /* by key; borrowed */
static struct file_watcher *watched_by;

struct secret_spec *secret_source_now(const struct secret_source *s)
{
    return s->candidate ? s->candidate : s->now;
}

struct warm_source *secret_source_warm(struct secret_source *s)
{
    return &s->warm;
}

void secret_source_add_user(struct secret_source *s, struct secret_user *u)
{
    list_push_back(&s->users, &u->node);
}

void secret_user_del(struct secret_user *u)
{
    if (u->node.next)
        list_remove(&u->node);
}

/* ---- statistics ---- */

static void count(struct stat_scope *s, uint32_t row)
{
    if (s)
        stat_inc(s, row);
}

static void note_own(struct secret_source *s, bool is_taken)
{
    count(s->own_stats, STAT_OWN_SECRET_UPDATE_ATTEMPT);
    count(s->own_stats, is_taken ? STAT_OWN_SECRET_UPDATE_SUCCESS : STAT_OWN_SECRET_UPDATE_REJECTED);
}

/* While the server runs (secret_sources_watch): configuration is read before there are statistics. */
static void make_stats(struct secret_source *s)
{
    struct strbuf prefix = {0};
    struct stat_tag tag = {STR("envoy.sds_resource_name"), s->name};
    strbuf_addf(&prefix, "sds.%.*s.", STR_ARG(s->name));
    s->stats = stat_scope_get(strbuf_str(&prefix), &table, STR("sds."), &tag, 1);
    if (s->own)
        s->own_stats = stat_scope_get(strbuf_str(&prefix), &own_table, STR("sds."), &tag, 1);
    if (s->own && s->now)
        note_own(s, true);
    strbuf_fini(&prefix);
}

static void drop_stats(struct secret_source *s)
{
    stat_scope_unref(&s->stats);
    stat_scope_unref(&s->own_stats);
}

/* ---- a new version ---- */

static int prepare(struct secret_source *s, struct secret_spec *candidate, struct err *err)
{
    int rc = tls_recipe_try_secret(candidate, err);
    for (struct list *l = s->users.next; rc == 0 && l != &s->users; l = l->next) {
        struct secret_user *u = LIST_ENTRY(l, secret_user, node);
        rc = u->prepare(u, err);
    }
    return rc;
}

/* On a fault nothing has changed. */
static int try_with_users(struct secret_source *s, struct secret_spec *candidate, struct err *err)
{
    s->candidate = candidate;
    int rc = prepare(s, candidate, err);
    LIST_EACH (it, safe, &s->users) {
        struct secret_user *u = LIST_ENTRY(it, secret_user, node);
        u->settle(u, rc == 0);
    }
    s->candidate = NULL;
    return rc;
}

static void on_file_change(void *user, const char *path)
{
    struct secret_source *s = user;
    struct err err = {0};
    char text[ERR_MESSAGE_BYTES];
    if (try_with_users(s, s->now, &err) == 0) {
        LOG(SECRET, INFO, "secret %.*s: %s changed and was taken", STR_ARG(s->name), path);
        return;
    }
    count(s->stats, STAT_SECRET_KEY_ROTATION_FAILED);
    LOG(SECRET, WARNING, "secret %.*s: %s changed and was not taken, what was read before stays in use: %s", STR_ARG(s->name), path,
        err_format(&err, text, sizeof text));
}

static void watch_path(struct str path, void *arg)
{
    struct secret_source *s = arg;
    s->watches = mem_grow(s->watches, &s->watch_cap, s->watch_count + 1, sizeof *s->watches);
    s->watches[s->watch_count++] = file_watch_add(watched_by, path.p, on_file_change, s);
}

static void watch_stop(struct secret_source *s)
{
    for (size_t i = 0; i < s->watch_count; i++)
        file_watch_del(s->watches[i]);
    s->watch_count = 0;
}

static void watch_again(struct secret_source *s)
{
    watch_stop(s);
    if (watched_by && s->now)
        secret_spec_each_path(s->now, watch_path, s);
}

static void forget(struct str *s)
{
    if (s->p)
        explicit_bzero((char *)s->p, s->n);
    mem_free((char *)s->p);
    *s = STR_NULL;
}

static void become_warm(struct secret_source *s)
{
    struct secret_source *held = secret_source_ref(s); /* who waited may drop what it replaces */
    warm_source_ready(&s->warm);
    secret_source_unref(&held);
}

static int take(struct secret_source *s, struct secret_spec *take_spec, struct str version, struct str packed, struct err *err)
{
    int rc = try_with_users(s, take_spec, err);
    if (rc == 0) {
        secret_spec_unref(&s->now);
        s->now = take_spec;
        forget(&s->version);
        forget(&s->packed);
        s->version = str_dup(version);
        s->packed = str_dup(packed);
        s->updated_wall_us = clock_wall_us();
        watch_again(s);
    } else {
        secret_spec_unref(&take_spec);
    }
    return rc;
}

/* ---- from discovery ---- */

static void take_item(struct secret_source *s, const struct resource *item, struct err_list *faults)
{
    struct config_batch *b = config_batch_new(s->frame);
    struct secret_spec *spec;
    struct err_list own = {0};
    struct err err = {0};
    if (config_read_secret(b, item->packed, s->name, s->kind, &spec, &own) == 0 && take(s, spec, item->version, item->packed, &err) < 0)
        err_list_add(&own, &err);
    for (size_t i = 0; i < own.count; i++) {
        const struct err *e = &own.items[i];
        char path[ERR_PATH_BYTES];
        snprintf(path, sizeof path, "%.*s%s%s", STR_ARG(s->name), *e->path ? "." : "", e->path);
        err_list_addf(faults, e->code, path, "%s", e->message);
    }
    err_list_fini(&own);
    config_batch_free(&b);
}

/* A secret that is removed stays in use: its connections have nothing else (as in Envoy). */
static void on_update(void *user, const struct resource_update *u, struct err_list *faults)
{
    struct secret_source *s = user;
    for (uint32_t i = 0; i < u->count; i++)
        if (str_eq(u->items[i].name, s->name) || u->items[i].name.n == 0)
            take_item(s, &u->items[i], faults);
    if (u->count)
        become_warm(s); /* one that was refused too: the start doesn't hang on it */
}

static void on_fetch_timeout(void *user)
{
    struct secret_source *s = user;
    LOG(SECRET, WARNING, "secret %.*s has not come in time", STR_ARG(s->name));
    become_warm(s);
}

static const struct subscription_ops ops = {.on_update = on_update, .on_fetch_timeout = on_fetch_timeout};

/* ---- this process's own ---- */

static struct secret_spec *spec_of(const struct secret *secret, enum secret_kind kind)
{
    struct secret_spec *spec = secret_spec_new(kind);
    if (kind == SECRET_CERTIFICATE) {
        spec->cert.chain.text = arena_str(&spec->arena, secret->chain_pem);
        spec->cert.key.text = arena_str(&spec->arena, secret->key_pem);
    } else {
        spec->validation.ca.text = arena_str(&spec->arena, secret->roots_pem);
        spec->validation.crl.text = arena_str(&spec->arena, secret->crl_pem);
    }
    return spec;
}

static void on_own(void *user, struct secret *secret)
{
    struct secret_source *s = user;
    char version[24], text[ERR_MESSAGE_BYTES];
    struct err err = {0};
    struct strbuf packed = {0};
    snprintf(version, sizeof version, "%llu", (unsigned long long)secret->version);
    struct secret_spec *spec = spec_of(secret, s->kind);
    secret_spec_pack(spec, s->name, &packed);
    bool is_taken = take(s, spec, str_from(version), strbuf_str(&packed), &err) == 0;
    note_own(s, is_taken);
    if (!is_taken)
        LOG(SECRET, ERROR, "secret %.*s was not taken, the one before stays in use: %s", STR_ARG(s->name),
            err_format(&err, text, sizeof text));
    secret_wipe(strbuf_str(&packed));
    strbuf_fini(&packed);
    become_warm(s);
}

static bool is_own(const struct secret_source *s)
{
    const struct config_source *c = s->config;
    if (s->kind == SECRET_TICKET_KEYS || !secret_store_serves(s->name))
        return false;
    return (c->kind == SOURCE_GRPC || c->kind == SOURCE_DELTA_GRPC) && c->service_count > 0 &&
           str_eq(c->services[0].cluster_name, STR(OWN_CLUSTER));
}

static void begin(struct secret_source *s)
{
    if (is_own(s)) {
        s->own = secret_watch_add(s->name, on_own, s);
        struct secret *there = secret_store_get(s->name);
        if (there && !s->now)
            on_own(s, there);
    } else {
        struct strbuf prefix = {0};
        strbuf_addf(&prefix, "sds.%.*s.", STR_ARG(s->name));
        s->subscription = discovery_subscribe(s->config, RESOURCE_SECRET, s->name, strbuf_str(&prefix), &ops, s);
        strbuf_fini(&prefix);
    }
    if (watched_by)
        make_stats(s);
}

/* ---- sources ---- */

struct secret_source *secret_source_get(struct config_frame *keep_frame, const struct config_source **take_config, struct str name,
                                        enum secret_kind kind)
{
    struct strbuf key = {0};
    strbuf_addf(&key, "%p:%d:%.*s", (const void *)*take_config, kind, STR_ARG(name));
    struct secret_source *s = sources ? map_get(sources, strbuf_str(&key)) : NULL;
    if (s) {
        config_source_unref(take_config);
        strbuf_fini(&key);
        return secret_source_ref(s);
    }
    s = NEW(secret_source);
    s->refs = 1;
    s->kind = kind;
    s->key = str_dup(strbuf_str(&key));
    s->name = str_dup(name);
    s->frame = keep_frame;
    s->config = *take_config;
    *take_config = NULL;
    list_init(&s->users);
    warm_source_init(&s->warm);
    if (!sources)
        sources = map_new();
    map_set(sources, s->key, s);
    strbuf_fini(&key);
    begin(s);
    return s;
}

struct secret_source *secret_source_ref(struct secret_source *s)
{
    s->refs++;
    return s;
}

void secret_source_unref(struct secret_source **p)
{
    struct secret_source *s = *p;
    *p = NULL;
    if (!s || --s->refs > 0)
        return;
    discovery_unsubscribe(&s->subscription);
    secret_watch_del(&s->own);
    map_del(sources, s->key);
    if (map_count(sources) == 0)
        map_free(&sources);
    warm_source_fini(&s->warm);
    watch_stop(s);
    mem_free(s->watches);
    secret_spec_unref(&s->now);
    drop_stats(s);
    config_source_unref(&s->config);
    forget(&s->version);
    forget(&s->packed);
    forget(&s->name);
    forget(&s->key);
    mem_free(s);
}

void secret_sources_watch(struct file_watcher *files)
{
    size_t pos = 0;
    struct str key;
    void *s;
    while (sources && map_next(sources, &pos, &key, &s)) {
        watch_stop(s);
        drop_stats(s);
    }
    watched_by = files;
    pos = 0;
    while (files && sources && map_next(sources, &pos, &key, &s)) {
        watch_again(s);
        make_stats(s);
    }
}

void secret_sources_each(void (*fn)(const struct secret_view *v, void *arg), void *arg)
{
    size_t pos = 0;
    struct str key;
    void *p;
    while (sources && map_next(sources, &pos, &key, &p)) {
        const struct secret_source *s = p;
        fn(&(struct secret_view){.name = s->name, .version = s->version, .packed = s->packed, .updated_wall_us = s->updated_wall_us},
           arg);
    }
}
