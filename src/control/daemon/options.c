/* SPDX-License-Identifier: Apache-2.0
 *
 * One table; each row is a flag ("--name VALUE" or "--name=VALUE") and a variable of the environment.
 */
#include "control/daemon/options.h"

#include <stddef.h>
#include <stdlib.h>

#include "base/check.h"

static const struct row {
    size_t offset;
    const char *flag, *otherwise, *help;
} rows[] = {
#define X(field, flag_, otherwise_, help_) {offsetof(struct daemon_options, field), flag_, otherwise_, help_},
    DAEMON_OPTIONS(X)
#undef X
};

static const char **value_of(struct daemon_options *o, const struct row *r)
{
    return (const char **)(void *)((char *)o + r->offset);
}

/* "grpc-addr" -> "WEFTD_GRPC_ADDR" */
static const char *from_environment(const char *flag)
{
    char name[64] = "WEFTD_";
    size_t n = strlen(name);
    for (const char *p = flag; *p && n < sizeof(name) - 1; p++)
        name[n++] = *p == '-' ? '_' : (char)(*p >= 'a' && *p <= 'z' ? *p - 32 : *p);
    name[n] = 0;
    return getenv(name);
}

static const struct row *row_of(struct str flag)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_eq(flag, str_from(rows[i].flag)))
            return &rows[i];
    return NULL;
}

int daemon_options_parse(struct daemon_options *o, int argc, char **argv, struct err *err)
{
    *o = (struct daemon_options){0};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *value = from_environment(rows[i].flag);
        *value_of(o, &rows[i]) = value ? value : rows[i].otherwise;
    }
    for (int i = 1; i < argc; i++) {
        struct str rest, word = str_from(argv[i]);
        if (str_eq(word, STR("--help")) || str_eq(word, STR("--version"))) {
            *(word.p[2] == 'h' ? &o->help : &o->version) = true;
            continue;
        }
        struct str flag = str_has_prefix(word, STR("--")) ? str_split(str_make(word.p + 2, word.n - 2), '=', &rest) : STR("");
        const struct row *r = row_of(flag);
        if (!r)
            return err_set(err, ERR_INVALID, "there is no option '%s'; --help lists them", argv[i]);
        if (!rest.p && i + 1 == argc)
            return err_set(err, ERR_INVALID, "--%s wants a value", r->flag);
        *value_of(o, r) = rest.p ? rest.p : argv[++i];
    }
    return 0;
}

void daemon_options_help(struct strbuf *out)
{
    strbuf_addz(out, "usage: weftd [--config-dir DIR | --kubeconfig FILE] [options]\n\nEach option may stand in the environment: --grpc-addr as WEFTD_GRPC_ADDR.\n\n");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        strbuf_addf(out, "  --%-18s %s", rows[i].flag, rows[i].help);
        if (*rows[i].otherwise)
            strbuf_addf(out, " (%s)", rows[i].otherwise);
        strbuf_addc(out, '\n');
    }
    strbuf_addz(out, "  --version, --help\n");
}
