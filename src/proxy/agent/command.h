/* SPDX-License-Identifier: Apache-2.0
 *
 * A program run to its end: what an `exec` probe is. No shell; its own process group, which ends with it. Main loop.
 */
#ifndef PROXY_AGENT_COMMAND_H
#define PROXY_AGENT_COMMAND_H

#include "base/str.h"
#include "io/loop.h"

#define COMMAND_OUTPUT_BYTES ((size_t)4 << 10) /* kept of it; what comes beyond is read and dropped */

struct command_end {        /* borrowed for the call */
    const char *failure;    /* couldn't be started, or ran out of time; NULL: it ended by itself */
    int exit_code, signal;  /* signal: not 0 where one has ended it */
    struct str output;      /* stdout and stderr together */
};
struct command;
typedef void (*command_fn)(void *user, const struct command_end *e); /* once; never from inside command_start */
/* The program is looked for in PATH; texts are NUL-terminated and borrowed for the call. */
struct command *command_start(struct loop *loop, const struct str *argv, size_t count, uint64_t timeout_ms, command_fn fn, void *user);
void command_cancel(struct command **c); /* killed; fn isn't called; NULL is fine */

#endif
