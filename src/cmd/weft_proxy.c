/* SPDX-License-Identifier: Apache-2.0
 *
 * weft-proxy: options -> log -> configuration -> server; or settings of a pod in place of options.
 */
#include "base/crash.h"
#include "base/mem.h"
#include "proxy/admin/admin.h"
#include "proxy/agent/agent.h"
#include "proxy/config/bootstrap.h"
#include "proxy/config/options.h"
#include "proxy/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int print(bool help)
{
    struct strbuf text = {0};
    if (help)
        options_help(&text);
    else
        options_version(&text, WEFT_BUILD "\nlibraries: " WEFT_LIBRARIES "\nfeatures: " WEFT_FEATURES);
    fputs(text.p, stdout);
    strbuf_fini(&text);
    return EXIT_SUCCESS;
}

static int fail(const struct err *err)
{
    char text[ERR_MESSAGE_BYTES + ERR_PATH_BYTES];
    fprintf(stderr, "weft-proxy: %s\n", err_format(err, text, sizeof text));
    return EXIT_FAILURE;
}

static void print_faults(const struct err_list *faults, const char *before)
{
    char text[ERR_MESSAGE_BYTES + ERR_PATH_BYTES];
    for (size_t i = 0; i < faults->count; i++)
        fprintf(stderr, "%s%s\n", before, err_format(&faults->items[i], text, sizeof text));
    if (faults->dropped)
        fprintf(stderr, "... and %zu more\n", faults->dropped);
}

static int run(struct server_opts *opts)
{
    struct err err = {0};
    struct server *server = server_new(opts, &err);
    if (!server)
        return fail(&err);
    int code = server_run(server);
    server_free(&server);
    return code;
}

static int load_and_run(struct server_opts *opts)
{
    const char *name = opts->agent ? "of the agent" : opts->config_path.n ? opts->config_path.p : "--config-yaml";
    opts->hooks.admin_start = admin_start, opts->hooks.admin_stop = admin_stop, opts->hooks.metrics = admin_prometheus;
    crash_install(WEFT_VERSION);
    struct err_list faults = {0};
    int rc = config_load(opts, &opts->config, &faults);
    print_faults(&faults, "");
    err_list_fini(&faults);
    if (rc < 0) {
        fprintf(stderr, "weft-proxy: configuration '%s' was refused\n", name);
        return EXIT_FAILURE;
    }
    print_faults(&opts->config->unsupported, "warning: ");
    if (opts->mode == SERVER_VALIDATE) {
        printf("configuration '%s' OK\n", name);
        config_result_free(&opts->config);
        return EXIT_SUCCESS;
    }
    return run(opts);
}

int main(int argc, char **argv)
{
    struct options o;
    struct err err = {0};
    if (agent_env_is_asked_for(argc, argv))
        return agent_main(argc, argv, environ, load_and_run);
    if (argc > 1 && str_eq(str_from(argv[1]), STR("wait")))
        return agent_wait_main(argc, argv);
    if (options_parse(&o, argc, argv, &err) < 0)
        return fail(&err);
    if (o.help || o.version)
        return print(o.help);
    if (options_apply_log(&o, &err) < 0)
        return fail(&err);
    struct str *args = mem_zalloc((size_t)argc * sizeof *args);
    for (int i = 0; i < argc; i++)
        args[i] = str_from(argv[i]);
    o.server.argv = args;
    o.server.argc = (uint32_t)argc;
    int code = load_and_run(&o.server);
    mem_free(args);
    return code;
}
