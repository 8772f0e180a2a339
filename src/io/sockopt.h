/* SPDX-License-Identifier: Apache-2.0
 *
 * Socket options that connecting and listening share.
 */
#ifndef IO_SOCKOPT_H
#define IO_SOCKOPT_H

#include <stdbool.h>

#include "base/err.h"
#include "io/conn.h"

/* The error names the option and what the kernel said. */
int sock_set_int(int fd, int level, int name, int value, const char *text, struct err *err);
int sock_set_raw(int fd, const struct sock_opt *opts, size_t count, struct err *err);
int sock_set_transparent(int fd, int family, struct err *err);
/* 0 and negative values leave the system's defaults. */
int sock_set_keepalive(int fd, int probes, int time_s, int interval_s, struct err *err);

#endif
