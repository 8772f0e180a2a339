/* SPDX-License-Identifier: Apache-2.0
 *
 * Command line parsing from one table of flags: "--flag value", "--flag=value", "-f value". Unknown
 * flags are errors; flags of Envoy's that mean nothing here are accepted with a note. Main thread.
 */
#include "proxy/config/options.h"

#include "base/check.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#define CONCURRENCY_MAX 128 /* STAT_MAX_THREADS less main */

enum flag_kind { FLAG_TEXT, FLAG_NUMBER, FLAG_SWITCH, FLAG_CALL, FLAG_NOTE, FLAG_NOTE_SWITCH };
struct flag {
    const char *name;
    char letter;
    enum flag_kind kind;
    size_t offset; /* TEXT: struct str; NUMBER: uint64_t; SWITCH: bool; in struct options */
    int (*call)(struct options *o, const char *value, struct err *err);
    const char *argument, *help; /* help NULL: not shown */
};

static int set_concurrency(struct options *o, const char *value, struct err *err)
{
    uint64_t n;
    if (!str_to_u64(str_from(value), &n) || n > CONCURRENCY_MAX)
        return err_set(err, ERR_INVALID, "--concurrency: '%s' is not a number from 0 to %d", value, CONCURRENCY_MAX);
    o->server.concurrency = (uint32_t)n;
    return 0;
}

static int set_mode(struct options *o, const char *value, struct err *err)
{
    if (strcmp(value, "serve") == 0)
        o->server.mode = SERVER_SERVE;
    else if (strcmp(value, "validate") == 0)
        o->server.mode = SERVER_VALIDATE;
    else if (strcmp(value, "init_only") == 0)
        o->server.mode = SERVER_INIT_ONLY;
    else
        return err_set(err, ERR_INVALID, "--mode: '%s' is not serve, validate or init_only", value);
    return 0;
}

static int set_drain_strategy(struct options *o, const char *value, struct err *err)
{
    if (strcmp(value, "gradual") != 0 && strcmp(value, "immediate") != 0)
        return err_set(err, ERR_INVALID, "--drain-strategy: '%s' is not gradual or immediate", value);
    o->server.drain_immediate = value[0] == 'i';
    return 0;
}

static int set_log_level(struct options *o, const char *value, struct err *err)
{
    if (!log_level_parse(value, &o->log_level))
        return err_set(err, ERR_INVALID, "--log-level: '%s' is not trace, debug, info, warning, error, critical or off", value);
    o->has_log_level = true;
    return 0;
}

/* "upstream:debug,connection:trace": each pair is looked at with fn, which may be NULL (check only). */
static int each_component(const char *list, bool apply, struct err *err)
{
    char name[64];
    while (*list) {
        size_t n = strcspn(list, ",");
        const char *colon = memchr(list, ':', n);
        enum log_level level;
        char text[32];
        if (!colon || (size_t)(colon - list) >= sizeof name || n - (size_t)(colon - list) > sizeof text)
            return err_set(err, ERR_INVALID, "--component-log-level: '%.*s' is not component:level", (int)n, list);
        snprintf(name, sizeof name, "%.*s", (int)(colon - list), list);
        snprintf(text, sizeof text, "%.*s", (int)(list + n - colon - 1), colon + 1);
        if (!log_level_parse(text, &level))
            return err_set(err, ERR_INVALID, "--component-log-level: '%s' is not a level", text);
        bool known = false;
        for (int c = 0; c < LOG_COMPONENT_COUNT; c++)
            known = known || strcmp(log_component_text((enum log_component)c), name) == 0;
        if (!known)
            return err_set(err, ERR_INVALID, "--component-log-level: there is no component '%s'", name);
        if (apply)
            log_set_level(name, level);
        list += n + (list[n] == ',');
    }
    return 0;
}

static int set_component_level(struct options *o, const char *value, struct err *err)
{
    o->component_log_level = value;
    return each_component(value, false, err);
}

static int set_log_path(struct options *o, const char *value, struct err *err)
{
    (void)err;
    o->log_path = value;
    return 0;
}

static int set_log_format(struct options *o, const char *value, struct err *err)
{
    (void)err;
    o->log_format = value;
    return 0;
}

#define IN_SERVER(field) offsetof(struct options, server.field)
static const struct flag flags[] = {
    {"config-path", 'c', FLAG_TEXT, IN_SERVER(config_path), NULL, "FILE", "configuration (.json, .yaml, .yml, .pb)"},
    {"config-yaml", 0, FLAG_TEXT, IN_SERVER(config_yaml), NULL, "TEXT", "configuration as YAML, merged over the file's"},
    {"concurrency", 0, FLAG_CALL, 0, set_concurrency, "N", "worker threads; 0 or absent: one a core"},
    {"mode", 0, FLAG_CALL, 0, set_mode, "MODE", "serve (default), validate (read the configuration and exit) or init_only"},
    {"allow-unsupported", 0, FLAG_SWITCH, IN_SERVER(allow_unsupported), NULL, NULL,
     "warn of what is not supported instead of refusing it"},
    {"base-id", 0, FLAG_NUMBER, IN_SERVER(base_id), NULL, "N", "shown in /server_info; instances need no different ones"},
    {"log-level", 'l', FLAG_CALL, 0, set_log_level, "LEVEL", "trace, debug, info (default), warning, error, critical, off"},
    {"component-log-level", 0, FLAG_CALL, 0, set_component_level, "LIST", "as in upstream:debug,connection:trace"},
    {"log-path", 0, FLAG_CALL, 0, set_log_path, "FILE", "where to log; default: stderr. SIGUSR1 opens it again"},
    {"log-format", 0, FLAG_CALL, 0, set_log_format, "FORMAT", "as in [%Y-%m-%d %T.%e][%t][%l][%n] %v"},
    {"service-cluster", 0, FLAG_TEXT, IN_SERVER(service_cluster), NULL, "NAME", "overrides node.cluster"},
    {"service-node", 0, FLAG_TEXT, IN_SERVER(service_node), NULL, "NAME", "overrides node.id"},
    {"service-zone", 0, FLAG_TEXT, IN_SERVER(service_zone), NULL, "NAME", "overrides node.locality.zone"},
    {"drain-time-s", 0, FLAG_NUMBER, IN_SERVER(drain_time_s), NULL, "N", "seconds to drain at the end; default 600"},
    {"drain-strategy", 0, FLAG_CALL, 0, set_drain_strategy, "HOW", "gradual (default) or immediate"},
    {"parent-shutdown-time-s", 0, FLAG_NUMBER, IN_SERVER(parent_shutdown_time_s), NULL, "N", "shown in /server_info"},
    {"file-flush-interval-msec", 0, FLAG_NUMBER, IN_SERVER(log_flush_ms), NULL, "N", "access logs are written this often; default 1000"},
    {"admin-address-path", 0, FLAG_TEXT, IN_SERVER(admin_address_path), NULL, "FILE", "admin's address is written there"},
    {"help", 'h', FLAG_SWITCH, offsetof(struct options, help), NULL, NULL, "this text"},
    {"version", 0, FLAG_SWITCH, offsetof(struct options, version), NULL, NULL, "the version"},

    {"restart-epoch", 0, FLAG_NOTE, 0, NULL, "N", NULL},
    {"disable-hot-restart", 0, FLAG_NOTE_SWITCH, 0, NULL, NULL, NULL},
    {"hot-restart-version", 0, FLAG_NOTE_SWITCH, 0, NULL, NULL, NULL},
    {"skip-hot-restart-on-no-parent", 0, FLAG_NOTE_SWITCH, 0, NULL, NULL, NULL},
    {"skip-hot-restart-parent-stats", 0, FLAG_NOTE_SWITCH, 0, NULL, NULL, NULL},
    {"use-dynamic-base-id", 0, FLAG_NOTE_SWITCH, 0, NULL, NULL, NULL},
    {"base-id-path", 0, FLAG_NOTE, 0, NULL, "FILE", NULL},
    {"socket-path", 0, FLAG_NOTE, 0, NULL, "PATH", NULL},
    {"socket-mode", 0, FLAG_NOTE, 0, NULL, "MODE", NULL},
    {"file-flush-min-size-kb", 0, FLAG_NOTE, 0, NULL, "N", NULL},
    {"local-address-ip-version", 0, FLAG_NOTE, 0, NULL, "V", NULL},
    {"enable-fine-grain-logging", 0, FLAG_NOTE_SWITCH, 0, NULL, NULL, NULL},
    {"log-format-escaped", 0, FLAG_NOTE_SWITCH, 0, NULL, NULL, NULL},
    {"enable-mutex-tracing", 0, FLAG_NOTE_SWITCH, 0, NULL, NULL, NULL},
    {"enable-core-dump", 0, FLAG_NOTE_SWITCH, 0, NULL, NULL, NULL},
    {"cpuset-threads", 0, FLAG_NOTE_SWITCH, 0, NULL, NULL, NULL},
    {"allow-unknown-fields", 0, FLAG_NOTE_SWITCH, 0, NULL, NULL, NULL},
    {"allow-unknown-static-fields", 0, FLAG_NOTE_SWITCH, 0, NULL, NULL, NULL},
    {"reject-unknown-dynamic-fields", 0, FLAG_NOTE_SWITCH, 0, NULL, NULL, NULL},
    {"ignore-unknown-dynamic-fields", 0, FLAG_NOTE_SWITCH, 0, NULL, NULL, NULL},
    {"skip-deprecated-logs", 0, FLAG_NOTE_SWITCH, 0, NULL, NULL, NULL},
};

static const struct flag *find_flag(const char *arg, const char **value)
{
    *value = NULL;
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        size_t n = strlen(flags[i].name);
        if (arg[1] != '-') {
            if (flags[i].letter && arg[1] == flags[i].letter && (arg[2] == '\0' || arg[2] == '=')) {
                *value = arg[2] == '=' ? arg + 3 : NULL;
                return &flags[i];
            }
        } else if (strncmp(arg + 2, flags[i].name, n) == 0 && (arg[2 + n] == '\0' || arg[2 + n] == '=')) {
            *value = arg[2 + n] == '=' ? arg + 3 + n : NULL;
            return &flags[i];
        }
    }
    return NULL;
}

static bool takes_value(const struct flag *f)
{
    return f->kind != FLAG_SWITCH && f->kind != FLAG_NOTE_SWITCH;
}

static int apply(struct options *o, const struct flag *f, const char *value, struct err *err)
{
    char *at = (char *)o + f->offset;
    switch (f->kind) {
    case FLAG_TEXT:
        *(struct str *)at = str_from(value);
        return 0;
    case FLAG_NUMBER:
        if (!str_to_u64(str_from(value), (uint64_t *)at))
            return err_set(err, ERR_INVALID, "--%s: '%s' is not a number", f->name, value);
        return 0;
    case FLAG_SWITCH:
        *(bool *)at = true;
        return 0;
    case FLAG_CALL:
        return f->call(o, value, err);
    case FLAG_NOTE:
    case FLAG_NOTE_SWITCH:
        o->server.hot_restart_noted = true;
        if (o->note_count < ARRAY_LEN(o->notes))
            o->notes[o->note_count++] = f->name;
        return 0;
    }
    return 0;
}

uint32_t options_core_count(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < 1 ? 1 : n > CONCURRENCY_MAX ? CONCURRENCY_MAX : (uint32_t)n;
}

int options_parse(struct options *o, int argc, char **argv, struct err *err)
{
    *o = (struct options){.log_level = LOG_INFO};
    o->server.drain_time_s = 600;
    o->server.parent_shutdown_time_s = 900;
    for (int i = 1; i < argc; i++) {
        const char *value, *arg = argv[i];
        const struct flag *f = arg[0] == '-' && arg[1] ? find_flag(arg, &value) : NULL;
        if (!f)
            return err_set(err, ERR_INVALID, "unknown argument '%s'; --help lists the flags", arg);
        if (!takes_value(f) && value)
            return err_set(err, ERR_INVALID, "--%s takes no value", f->name);
        if (takes_value(f) && !value) {
            if (i + 1 >= argc)
                return err_set(err, ERR_INVALID, "--%s needs a value", f->name);
            value = argv[++i];
        }
        int rc = apply(o, f, value, err);
        if (rc < 0)
            return rc;
    }
    if (o->server.concurrency == 0)
        o->server.concurrency = options_core_count();
    return 0;
}

int options_apply_log(const struct options *o, struct err *err)
{
    if (o->log_format && log_set_format(o->log_format, err) < 0)
        return ERR_INVALID;
    if (o->log_path && log_open(o->log_path, err) < 0)
        return ERR_IO;
    log_set_level_all(o->log_level);
    for (size_t i = 0; i < o->note_count; i++)
        LOG(MAIN, INFO, "--%s has no effect here", o->notes[i]);
    return o->component_log_level ? each_component(o->component_log_level, true, err) : 0;
}

int options_apply_components(const char *list, struct err *err)
{
    return list && *list ? each_component(list, true, err) : 0;
}

void options_help(struct strbuf *out)
{
    strbuf_addz(out, "usage: weft-proxy -c FILE [flags]\n"
                   "       weft-proxy sidecar|router|waypoint [flags of pilot-agent]\n"
                   "       weft-proxy wait [--url URL] [--timeoutSeconds N]\n\n"
                   "A proxy that runs Envoy's configurations, or a mesh's sidecar by the environment of its pod.\n\n");
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        const struct flag *f = &flags[i];
        char left[64];
        if (!f->help)
            continue;
        snprintf(left, sizeof left, "%s%c%s--%s%s%s", f->letter ? "-" : " ", f->letter ? f->letter : ' ', f->letter ? ", " : "  ",
                 f->name, f->argument ? " " : "", f->argument ? f->argument : "");
        strbuf_addf(out, "  %-34s %s\n", left, f->help);
    }
    strbuf_addz(out, "\nAccepted for the sake of existing command lines, without effect:\n ");
    for (size_t i = 0, column = 1; i < ARRAY_LEN(flags); i++) {
        size_t n = strlen(flags[i].name) + 3;
        if (flags[i].help)
            continue;
        if (column + n > 98) {
            strbuf_addz(out, "\n ");
            column = 1;
        }
        strbuf_addf(out, " --%s", flags[i].name);
        column += n;
    }
    strbuf_addc(out, '\n');
}

void options_version(struct strbuf *out, const char *build)
{
    strbuf_addf(out, "weft-proxy  version: " WEFT_VERSION "\n%s\n", build);
}
