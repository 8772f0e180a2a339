/* SPDX-License-Identifier: Apache-2.0
 *
 * Secrets that this process makes or reads for itself, by name: "default" (the workload's certificate and key), "ROOTCA" (the
 * mesh's roots), "file-cert:<chain>~<key>", "file-root:<bundle>". What pilot-agent serves over a Unix socket as SDS stays
 * inside here: who would ask the cluster "sds-grpc" looks here instead. One store a process, main thread, all of it.
 *
 * A secret is immutable; a new one takes its place by name. Nothing in it is ever logged or dumped.
 */
#ifndef PROXY_AGENT_SECRETS_H
#define PROXY_AGENT_SECRETS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

struct secret {
    struct str name;
    struct str chain_pem, key_pem; /* a certificate (leaf first) and its key; or, both empty, … */
    struct str roots_pem, crl_pem; /* … trust anchors, and revocations ("" none) */
    uint64_t version;              /* another number for each that was ever set here */
    uint32_t refs;
};
struct secret *secret_ref(struct secret *s);
void secret_unref(struct secret **s); /* the last one wipes the key; NULL is fine */

/* ---- consumers ---- */

/* Does this process fill that name itself? False: ask the source that the configuration names. So it is without an agent
 * (started with -c), for names that aren't the agent's, and for "default" and "ROOTCA" where SPIRE's socket stands behind the
 * cluster "sds-grpc". */
bool secret_store_serves(struct str name);
/* Borrowed until the loop's turn ends or the next set; NULL: not there (yet). */
struct secret *secret_store_get(struct str name);

/* Told of every change, from inside secret_store_set; not of what is there when it begins: ask secret_store_get after it.
 * The first watch of a name is also the wish for it: files are read for it. fn may add and delete watches. Works before the
 * store is open. */
typedef void (*secret_fn)(void *user, struct secret *s);
struct secret_watch;
struct secret_watch *secret_watch_add(struct str name, secret_fn fn, void *user);
void secret_watch_del(struct secret_watch **w); /* NULL is fine */

/* ---- who fills it ---- */

struct secret_provider {
    bool (*serves)(void *user, struct str name);
    void (*wanted)(void *user, struct str name); /* once for each name that is watched and not there; may set it */
};
/* Watches that are there already make their wishes now. */
void secret_store_open(const struct secret_provider *keep, void *user);
/* Forgets all secrets; watches stay their owners'. */
void secret_store_close(void);
/* Texts are copied. The same again changes nothing and tells nobody: false. */
bool secret_store_set(struct str name, struct str chain_pem, struct str key_pem);
bool secret_store_set_roots(struct str name, struct str roots_pem, struct str crl_pem);
/* How many watch it. */
size_t secret_store_watchers(struct str name);

#endif
