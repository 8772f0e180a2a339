/* SPDX-License-Identifier: Apache-2.0
 *
 * How a subcommand says that it didn't come to its end.
 */
#include "cli/cli.h"

#include "base/err.h"

#include <stdio.h>

int cli_fail(const char *command, const struct err *err, int code)
{
    char text[ERR_MESSAGE_BYTES + ERR_PATH_BYTES];
    fprintf(stderr, "weft %s: %s\n", command, err_format(err, text, sizeof text));
    return code;
}
