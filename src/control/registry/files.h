/* SPDX-License-Identifier: Apache-2.0
 *
 * Objects from a directory of YAML and JSON files (*.yaml, *.yml, *.json; folders in it too), watched: a file that is written,
 * replaced by rename or swapped by a symlink is read again. A file with faults keeps what it gave when it was last without;
 * of an object that stands twice the first file's counts, and both places are named. Main thread.
 */
#ifndef CONTROL_REGISTRY_FILES_H
#define CONTROL_REGISTRY_FILES_H

#include "io/loop.h"
#include "model/store.h"

/* A folder tree deeper or larger than this isn't configuration: stops a loop of symlinks, or "/" by mistake. */
#define REGISTRY_DEPTH_MAX 16
#define REGISTRY_FILES_MAX 200000
#define REGISTRY_FILE_BYTES_MAX ((size_t)64 << 20)

struct registry_files;

/* Reads everything before it returns (and commits to the store), faults and all: they are told by registry_files_faults. Fails
 * only where the directory can't be read. `loop` NULL: isn't watched. */
struct registry_files *registry_files_new(struct loop *loop, const char *directory, struct store *keep_store, struct err *err);
void registry_files_free(struct registry_files **r);

/* What is wrong at present; borrowed until the next change. */
const struct err_list *registry_files_faults(const struct registry_files *r);
/* How often it was read, and how many files there are. */
struct registry_files_state { uint64_t reads; uint32_t files, objects, broken_files; };
struct registry_files_state registry_files_state(const struct registry_files *r);

#endif
