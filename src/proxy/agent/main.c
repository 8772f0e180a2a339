/* SPDX-License-Identifier: Apache-2.0
 *
 * `weft-proxy sidecar|router|waypoint`, from arguments to the exit code. Main thread.
 */
#include "proxy/agent/agent.h"

#include "base/mem.h"
#include "proxy/config/options.h"

#include <stdio.h>
#include <stdlib.h>

#define JSON_LOG "{\"time\":\"%Y-%m-%dT%T.%fZ\",\"level\":\"%l\",\"scope\":\"%n\",\"caller\":\"%g:%#\",\"msg\":\"%j\"}"

static void print(const struct err_list *list, const char *before)
{
    char text[ERR_MESSAGE_BYTES + ERR_PATH_BYTES];
    for (size_t i = 0; i < list->count; i++)
        fprintf(stderr, "%s%s\n", before, err_format(&list->items[i], text, sizeof text));
    if (list->dropped)
        fprintf(stderr, "%s... and %zu more\n", before, list->dropped);
}

/* The proxy's level for everything, the agent's own for what pilot-agent would say. */
static int apply_log(const struct agent_env *e, struct err *err)
{
    log_set_level_all(e->log_level);
    log_set_level("main", e->own_level);
    log_set_level("secret", e->own_level);
    log_set_level("config", e->own_level);
    if (e->log_as_json && log_set_format(JSON_LOG, err) < 0)
        return ERR_INVALID;
    return options_apply_components(e->component_log_level.p, err);
}

static int serve(struct agent *a, int argc, char **argv, int (*run)(struct server_opts *o))
{
    struct server_opts opts = {.mode = SERVER_SERVE, .parent_shutdown_time_s = 900};
    struct str *args = mem_zalloc((size_t)argc * sizeof *args);
    for (int i = 0; i < argc; i++)
        args[i] = str_from(argv[i]);
    opts.argv = args;
    opts.argc = (uint32_t)argc;
    agent_configure(a, &opts);
    opts.concurrency = opts.concurrency ? opts.concurrency : options_core_count();
    int code = run(&opts);
    mem_free(args);
    return code;
}

static int print_bootstrap(const struct agent *a)
{
    printf("%.*s\n", STR_ARG(agent_bootstrap_text(a)));
    return EXIT_SUCCESS;
}

int agent_main(int argc, char **argv, char **envp, int (*run)(struct server_opts *o))
{
    struct err_list faults = {0}, notes = {0};
    struct err err = {0};
    int code = EXIT_FAILURE;
    struct agent *a = agent_new(argc, argv, envp, &faults, &notes);
    print(&faults, "");
    print(&notes, "warning: ");
    if (!a)
        fprintf(stderr, "weft-proxy: what the environment says was refused\n");
    else if (apply_log(agent_env(a), &err) < 0)
        fprintf(stderr, "weft-proxy: %s\n", err.message);
    else if (agent_env(a)->print_bootstrap)
        code = print_bootstrap(a);
    else
        code = serve(a, argc, argv, run);
    agent_free(&a);
    err_list_fini(&faults);
    err_list_fini(&notes);
    return code;
}
