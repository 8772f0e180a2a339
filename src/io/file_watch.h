/* SPDX-License-Identifier: Apache-2.0
 *
 * Changes of files, told on a loop: rewritten in place, replaced by rename, or swapped by a symlink
 * anywhere on the way (Kubernetes ConfigMaps and Secrets swap "..data"). A file may not exist yet.
 * A path that is a directory is told of when an entry in it comes, goes or is rewritten.
 */
#ifndef IO_FILE_WATCH_H
#define IO_FILE_WATCH_H

#include "base/err.h"
#include "io/loop.h"

struct file_watcher;
struct file_watch;
/* At the end of the turn in which it was noticed, once however much happened. May add and delete
 * watches, itself included, and free the watcher. */
typedef void (*file_watch_fn)(void *user, const char *path);

struct file_watcher *file_watcher_new(struct loop *loop, struct err *err);
void file_watcher_free(struct file_watcher **fw); /* deletes its watches */
/* path is copied. Never NULL; a path that can't be watched (limits) is logged. */
struct file_watch *file_watch_add(struct file_watcher *fw, const char *path, file_watch_fn fn, void *user);
void file_watch_del(struct file_watch *w);

#endif
