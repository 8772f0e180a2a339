/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a filter chain or cluster gets its tls_context from: built once, rebuilt on the main thread
 * when a watched file changes or a secret arrives. Readers on any thread take a reference
 * to the current context; a broken new file changes nothing but a counter and a log line.
 *
 * Sources are shared by content: clusters and chains with the same settings hold one source, hence
 * one context, one session cache, one set of watches.
 */
#ifndef PROXY_CONFIG_TLS_SOURCE_H
#define PROXY_CONFIG_TLS_SOURCE_H

#include "io/tls.h"

struct file_watcher; /* io/file_watch.h */
struct tls_recipe; /* proxy/config/tls_recipe.h */
struct tls_source;
struct warm_source; /* proxy/warm.h */
/* Any thread. A new reference; NULL: not ready (no secret yet). */
struct tls_context *tls_source_get(struct tls_source *s);

/* The rest: main thread. */
struct tls_source *tls_source_ref(struct tls_source *s);
void tls_source_unref(struct tls_source **s); /* NULL is fine */
/* A reference to the source with this key, or a new one from the recipe (taken in any case), whose
 * files are read now; its secrets may come later. NULL with the fault in *err. */
struct tls_source *tls_source_new(struct str key, struct tls_recipe **take_recipe, struct err *err);
/* From now on files are watched, those of later sources too; NULL ends it
 * (before the watcher is freed). */
void tls_sources_watch(struct file_watcher *files);
/* Reads the files again now; what a watch does. */
int tls_source_reload(struct tls_source *s, struct err *err);
/* Ready when its secrets have come, or have been given up. */
struct warm_source *tls_source_warm(struct tls_source *s);
bool tls_source_has_secrets(const struct tls_source *s); /* some that come */
uint64_t tls_source_reloads(const struct tls_source *s), tls_source_reload_failures(const struct tls_source *s);
void tls_sources_each(void (*fn)(struct tls_source *s, void *arg), void *arg); /* /certs */

#endif
