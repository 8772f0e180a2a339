/* SPDX-License-Identifier: Apache-2.0
 *
 * Arguments against a table of flags. Nothing is guessed: what isn't known is refused by name.
 */
#include "cli/args.h"

#include "base/str.h"

#include <string.h>

static bool is_one_of(const char *text, const char *a, const char *b)
{
    return strcmp(text, a) == 0 || strcmp(text, b) == 0;
}

static int set_output(struct args *a, const char *value, struct err *err)
{
    if (strcmp(value, "json") != 0)
        return err_set(err, ERR_UNSUPPORTED, "there is no output '%s' (json)", value);
    a->output = value;
    return 0;
}

static int set(struct args *a, const struct args_flag *f, const char *value, struct err *err)
{
    if (!f)
        return set_output(a, value, err);
    if (f->count && *f->count == ARGS_REPEATED_MAX)
        return err_set(err, ERR_LIMIT, "%s stands there more than %d times", f->name, ARGS_REPEATED_MAX);
    f->values[f->count ? (*f->count)++ : 0] = value;
    return 0;
}

/* Takes argv[*i] and, where the value isn't in it, the next one. */
static int read_flag(struct args *a, int argc, char **argv, int *i, struct err *err)
{
    struct str value, name = str_split(str_from(argv[*i]), '=', &value);
    const struct args_flag *flag = NULL;
    bool is_output = str_eq(name, STR("-o")) || str_eq(name, STR("--output"));
    for (uint32_t k = 0; k < a->flag_count; k++)
        if (str_eq(name, str_from(a->flags[k].name)))
            flag = &a->flags[k];
    if (!flag && !is_output)
        return err_set(err, ERR_INVALID, "there is no flag '%.*s'", STR_ARG(name));
    if (value.p)
        return set(a, flag, value.p, err);
    if (*i + 1 == argc)
        return err_set(err, ERR_INVALID, "%.*s wants a value", STR_ARG(name));
    return set(a, flag, argv[++*i], err);
}

int args_read(struct args *a, int argc, char **argv, struct err *err)
{
    int rc = 0;
    for (int i = 1; i < argc; i++)
        if (is_one_of(argv[i], "--help", "-h")) {
            a->wants_help = true;
            return 0;
        }
    for (int i = 1; i < argc && rc == 0; i++) {
        if (argv[i][0] == '-')
            rc = read_flag(a, argc, argv, &i, err);
        else if (a->word_count == a->words_max)
            rc = err_set(err, ERR_INVALID, "'%s' is one argument too many", argv[i]);
        else
            a->words[a->word_count++] = argv[i];
    }
    return rc;
}
