/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line, Envoy's flags and ours. Text is borrowed from argv.
 */
#ifndef PROXY_CONFIG_OPTIONS_H
#define PROXY_CONFIG_OPTIONS_H

#include "base/log.h"
#include "proxy/server.h"

struct options {
    struct server_opts server;
    bool help, version;
    enum log_level log_level;         /* info */
    bool has_log_level;
    const char *component_log_level;  /* NULL: none; checked */
    const char *log_path;             /* NULL: stderr */
    const char *log_format;           /* NULL: the default */
    const char *notes[16];            /* accepted flags that mean nothing here, to be logged */
    size_t note_count;
};
/* Errors name the flag. On ERR_INVALID nothing else is usable. */
int options_parse(struct options *o, int argc, char **argv, struct err *err);
/* Levels, path and format of the process log; then what was noted. */
int options_apply_log(const struct options *o, struct err *err);
/* "upstream:debug,connection:trace" applied; NULL and "" change nothing. */
int options_apply_components(const char *list, struct err *err);
uint32_t options_core_count(void); /* cores that this process may run on, as many as there can be workers */
void options_help(struct strbuf *out);
void options_version(struct strbuf *out, const char *build); /* how and with what it was built: one or more lines */

#endif
