/* SPDX-License-Identifier: Apache-2.0
 *
 * Arguments of a subcommand: words in their order, and flags that take a value ("--flag VALUE", "--flag=VALUE").
 */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define ARGS_REPEATED_MAX 64

struct args_flag {
    const char *name;    /* "--weftd" */
    const char **values; /* where it goes … */
    uint32_t *count;     /* … of a flag that may stand there again, up to ARGS_REPEATED_MAX times; NULL: one, the last */
};
struct args {
    const struct args_flag *flags; uint32_t flag_count;
    const char **words; uint32_t words_max, word_count;
    const char *output;  /* -o, --output: "json", or NULL for text; any other is refused */
    bool wants_help;     /* nothing else counts then */
};
int args_read(struct args *a, int argc, char **argv, struct err *err);

#endif
