/* SPDX-License-Identifier: Apache-2.0
 *
 * weft: a table of subcommands. Each is one file of the cli room.
 */
#include "base/check.h"
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static int version(int argc, char **argv)
{
    (void)argc, (void)argv;
    puts("weft " WEFT_VERSION);
    return CLI_DONE;
}

static const struct command {
    const char *name, *help;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"capture", "captures a network namespace's traffic for its proxy", cli_capture},
    {"explain", "says where a request of a proxy goes, and which objects decide that", cli_explain},
    {"proxy-config", "shows what a proxy has: listeners, routes, clusters, endpoints, secrets", cli_proxy_config},
    {"pc", "proxy-config", cli_proxy_config},
    {"proxy-status", "shows the proxies of weftd, and whether they have what it sent", cli_proxy_status},
    {"ps", "proxy-status", cli_proxy_status},
    {"validate", "says what is wrong with files of mesh objects", cli_validate},
    {"version", "the version", version},
};

static int usage(FILE *to)
{
    fputs("usage: weft COMMAND [arguments]; weft COMMAND --help tells more\n\n", to);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(to, "  %-14s %s\n", commands[i].name, commands[i].help);
    return to == stdout ? CLI_DONE : CLI_USAGE;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
        return usage(stdout);
    if (*name)
        fprintf(stderr, "weft: there is no command '%s'\n", name);
    return usage(stderr);
}
