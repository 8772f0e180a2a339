/* SPDX-License-Identifier: Apache-2.0
 *
 * `weft-proxy [proxy] sidecar|router|waypoint --flag value ...`: pilot-agent's flags from one table. Those that mean nothing
 * here are noted by name, unknown ones are faults. Main thread.
 */
#include "proxy/agent/env_priv.h"

#include "base/check.h"

#include <stdio.h>

enum flag_kind { FLAG_TEXT, FLAG_CALL, FLAG_SWITCH, FLAG_NOTE, FLAG_NOTE_SWITCH };
struct flag {
    const char *name;
    enum flag_kind kind;
    size_t offset; /* in struct agent_env */
    void (*call)(struct env_reading *r, struct str value);
};

static void set_concurrency(struct env_reading *r, struct str value)
{
    uint64_t n;
    if (!str_to_u64(value, &n) || n > 4096) {
        env_fault(r, "--concurrency", "'%.*s' is not a number up to 4096", STR_ARG(value));
        return;
    }
    r->out->concurrency = (uint32_t)n;
    r->has_concurrency = true;
}

static void set_level(struct env_reading *r, const char *flag, struct str value, enum log_level *out)
{
    char text[32];
    snprintf(text, sizeof text, "%.*s", STR_ARG(value));
    if (str_eq(value, STR("none")))
        *out = LOG_OFF;
    else if (str_eq(value, STR("fatal")))
        *out = LOG_CRITICAL;
    else if (value.n >= sizeof text || !log_level_parse(text, out))
        env_fault(r, flag, "'%.*s' is not a level", STR_ARG(value));
}

static void set_proxy_level(struct env_reading *r, struct str value)
{
    set_level(r, "--proxyLogLevel", value, &r->out->log_level);
}

/* "default:info,xds:debug": scopes are pilot-agent's; the default one is taken, with the words for all of them. */
static void set_output_level(struct env_reading *r, struct str value)
{
    struct str rest = value;
    while (rest.n) {
        struct str level, scope = str_split(str_split(rest, ',', &rest), ':', &level);
        if (!level.p) {
            level = scope;
            scope = STR("default");
        }
        if (str_eq(scope, STR("default")) || str_eq(scope, STR("all")))
            set_level(r, "--log_output_level", level, &r->out->own_level);
    }
}

static void set_service_cluster(struct env_reading *r, struct str value)
{
    r->flag_service_cluster = value;
}

#define AT(member) offsetof(struct agent_env, member)
static const struct flag flags[] = {
    {"domain", FLAG_TEXT, AT(domain), NULL},
    {"concurrency", FLAG_CALL, 0, set_concurrency},
    {"proxyLogLevel", FLAG_CALL, 0, set_proxy_level},
    {"proxyComponentLogLevel", FLAG_TEXT, AT(component_log_level), NULL},
    {"log_output_level", FLAG_CALL, 0, set_output_level},
    {"log_as_json", FLAG_SWITCH, AT(log_as_json), NULL},
    {"serviceCluster", FLAG_CALL, 0, set_service_cluster},
    {"admin-address-path", FLAG_TEXT, AT(admin_address_path), NULL},
    {"print-bootstrap", FLAG_SWITCH, AT(print_bootstrap), NULL},
    {"meshConfig", FLAG_NOTE, 0, NULL},
    {"networksConfig", FLAG_NOTE, 0, NULL},
    {"stsPort", FLAG_NOTE, 0, NULL},
    {"tokenManagerPlugin", FLAG_NOTE, 0, NULL},
    {"templateFile", FLAG_NOTE, 0, NULL},
    {"outlierLogPath", FLAG_NOTE, 0, NULL},
    {"profiling", FLAG_NOTE_SWITCH, 0, NULL},
    {"keepaliveInterval", FLAG_NOTE, 0, NULL},
    {"keepaliveTimeout", FLAG_NOTE, 0, NULL},
    {"keepaliveMaxServerConnectionAge", FLAG_NOTE, 0, NULL},
    {"log_caller", FLAG_NOTE, 0, NULL},
    {"log_target", FLAG_NOTE, 0, NULL},
    {"log_stacktrace_level", FLAG_NOTE, 0, NULL},
    {"log_rotate", FLAG_NOTE, 0, NULL},
    {"log_rotate_max_age", FLAG_NOTE, 0, NULL},
    {"log_rotate_max_backups", FLAG_NOTE, 0, NULL},
    {"log_rotate_max_size", FLAG_NOTE, 0, NULL},
    {"vklog", FLAG_NOTE, 0, NULL},
};

static const struct flag *find(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        if (str_eq(name, str_from(flags[i].name)))
            return &flags[i];
    return NULL;
}

static bool takes_value(const struct flag *f)
{
    return f->kind != FLAG_SWITCH && f->kind != FLAG_NOTE_SWITCH;
}

static void apply(struct env_reading *r, const struct flag *f, struct str value)
{
    char *at = (char *)r->out + f->offset;
    char name[64];
    bool on = true;
    switch (f->kind) {
    case FLAG_TEXT:
        *(struct str *)at = arena_str(&r->out->arena, value);
        return;
    case FLAG_CALL:
        f->call(r, value);
        return;
    case FLAG_SWITCH:
        if (value.p && !text_bool(value, &on))
            env_fault(r, f->name, "'%.*s' is not true or false", STR_ARG(value));
        *(bool *)at = on;
        return;
    case FLAG_NOTE:
    case FLAG_NOTE_SWITCH:
        snprintf(name, sizeof name, "--%s", f->name);
        env_note(r, name, "has no effect here");
        return;
    }
}

static int role_index(int argc, char **argv)
{
    return argc > 1 && strcmp(argv[1], "proxy") == 0 ? 2 : 1;
}

static bool role_of(const char *text, enum agent_role *out)
{
    static const char *const roles[] = {"sidecar", "router", "waypoint"};
    for (size_t i = 0; text && i < ARRAY_LEN(roles); i++)
        if (strcmp(text, roles[i]) == 0) {
            *out = (enum agent_role)i;
            return true;
        }
    return false;
}

bool agent_env_is_asked_for(int argc, char **argv)
{
    enum agent_role role;
    int at = role_index(argc, argv);
    return argc > at && role_of(argv[at], &role);
}

void env_read_arguments(struct env_reading *r, int argc, char **argv)
{
    int at = role_index(argc, argv);
    if (argc <= at || !role_of(argv[at], &r->out->role))
        env_fault(r, "command line", "the role is sidecar, router or waypoint");
    for (int i = at + 1; i < argc; i++) {
        struct str value, name = str_split(str_from(argv[i]), '=', &value);
        const struct flag *f = str_has_prefix(name, STR("--")) ? find(str_make(name.p + 2, name.n - 2)) : NULL;
        if (!f) {
            env_fault(r, "command line", "unknown argument '%s'", argv[i]);
            continue;
        }
        if (takes_value(f) && !value.p && i + 1 >= argc) {
            env_fault(r, "command line", "%s needs a value", argv[i]);
            continue;
        }
        if (takes_value(f) && !value.p)
            value = str_from(argv[++i]);
        apply(r, f, value);
    }
}
