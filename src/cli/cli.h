/* SPDX-License-Identifier: Apache-2.0
 *
 * The subcommands of `weft`, one file each. argv[0] is the subcommand's name; the result is the exit status: 0 done, 1 not done
 * (why is on stderr), 2 not understood.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

int cli_capture(int argc, char **argv);
int cli_explain(int argc, char **argv);
int cli_proxy_config(int argc, char **argv);
int cli_proxy_status(int argc, char **argv);
int cli_validate(int argc, char **argv);

struct err;
int cli_fail(const char *command, const struct err *err, int code); /* says why on stderr; returns `code` */

#endif
