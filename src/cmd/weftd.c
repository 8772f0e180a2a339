/* SPDX-License-Identifier: Apache-2.0
 *
 * weftd: the control plane; or, started by itself, the process that holds its authority's keys.
 */
#include "base/crash.h"
#include "base/log.h"
#include "control/ca/signer_process.h"
#include "control/daemon/daemon.h"

#include <stdio.h>
#include <stdlib.h>

static int print(const struct daemon_options *o)
{
    struct strbuf text = {0};
    if (o->help)
        daemon_options_help(&text);
    else
        strbuf_addz(&text, "weftd " WEFT_VERSION "\n");
    fputs(text.p, stdout);
    strbuf_fini(&text);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct daemon_options o;
    struct err err = {0};
    enum log_level level;
    if (signer_is_asked_for(argc, argv))
        signer_main();
    if (daemon_options_parse(&o, argc, argv, &err) < 0) {
        fprintf(stderr, "weftd: %s\n", err.message);
        return EXIT_FAILURE;
    }
    if (o.help || o.version)
        return print(&o);
    if (!log_level_parse(o.log_level, &level)) {
        fprintf(stderr, "weftd: --log-level: '%s' is not a level\n", o.log_level);
        return EXIT_FAILURE;
    }
    log_set_level_all(level);
    crash_install(WEFT_VERSION);
    return daemon_main(&o);
}
