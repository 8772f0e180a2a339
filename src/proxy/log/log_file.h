/* SPDX-License-Identifier: Apache-2.0
 *
 * Room-private: files that lines are appended to by every worker, each through a buffer of its own.
 */
#ifndef PROXY_LOG_LOG_FILE_H
#define PROXY_LOG_LOG_FILE_H

#include "base/str.h"

struct log_file;
/* The calling worker's buffer of that file; lines are appended whole. */
struct strbuf *log_file_buffer(struct log_file *f);
/* Writes the calling worker's buffers: this file's when it is full, or all. */
void log_file_flush_if_full(struct log_file *f);
void log_file_flush_here(void);

#endif
