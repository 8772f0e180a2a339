/* SPDX-License-Identifier: Apache-2.0
 *
 * Secrets that discovery brings, or this process itself (proxy/agent/secrets.h): one source for each configuration source,
 * kind and name, however many contexts use it. A new version is tried with all users first and then taken by all or by
 * none: what serves, serves on. Files that a secret names are watched. Main thread.
 */
#ifndef PROXY_CONFIG_SECRET_SOURCE_H
#define PROXY_CONFIG_SECRET_SOURCE_H

#include "base/err.h"
#include "base/list.h"
#include "proxy/config/secret.h"

struct config_frame;
struct config_source;
struct file_watcher;
struct secret_source;
struct warm_source;

/* A new reference; asks for the secret from now on. */
struct secret_source *secret_source_get(struct config_frame *keep_frame, const struct config_source **take_config, struct str name,
                                        enum secret_kind kind);
struct secret_source *secret_source_ref(struct secret_source *s);
void secret_source_unref(struct secret_source **s); /* NULL is fine */
/* The secret as it is, or, while users prepare, as it would be. Borrowed; NULL: none yet. */
struct secret_spec *secret_source_now(const struct secret_source *s);
/* Ready with the first version, also with a first that was refused, and when it hasn't come in time. */
struct warm_source *secret_source_warm(struct secret_source *s);

/* Somebody who makes something of it; embedded. */
struct secret_user {
    struct list node;
    /* Makes what the candidate would give, and keeps it aside. */
    int (*prepare)(struct secret_user *u, struct err *err);
    /* Everybody could (`is_taken`), or what was prepared is dropped. It must not add or remove users. */
    void (*settle)(struct secret_user *u, bool is_taken);
};
void secret_source_add_user(struct secret_source *s, struct secret_user *u);
void secret_user_del(struct secret_user *u); /* one that was never added is fine when zeroed */

/* The server runs: files are watched, and it is counted. NULL ends it. */
void secret_sources_watch(struct file_watcher *files);

/* For /config_dump. */
struct secret_view {
    struct str name, version, packed; /* packed: the Secret, with its keys in it; "" : there is none yet */
    uint64_t updated_wall_us;
};
void secret_sources_each(void (*fn)(const struct secret_view *v, void *arg), void *arg);

#endif
