/* SPDX-License-Identifier: Apache-2.0
 *
 * Small files, whole: read into memory, or put in another's place so that a reader, and a machine that starts again after a
 * crash, sees the old text or the new one and nothing between. Any thread; they block.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/err.h"
#include "base/str.h"

/* Appends what the file holds. ERR_LIMIT past limit_bytes; ERR_NOT_FOUND where there is none. What may be a key is the
 * caller's to wipe, after a failure too. */
int file_read(const char *path, size_t limit_bytes, struct strbuf *out, struct err *err);

/* By way of "<path>.new" beside it, which is gone again after a failure. `mode` holds whatever the umask and the old file. */
int file_replace(const char *path, struct str bytes, unsigned mode, struct err *err);

#endif
