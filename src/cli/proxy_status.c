/* SPDX-License-Identifier: Apache-2.0
 *
 * weft proxy-status: which proxies are connected to weftd, and whether each has taken what it was sent.
 */
#include "cli/cli.h"

#include "base/check.h"
#include "cli/args.h"
#include "cli/ask.h"
#include "cli/proxies.h"
#include "cli/table.h"

#include <string.h>

static const struct column {
    const char *head, *word; /* weftd's word for the type */
} types[] = {{"CDS", "cluster"}, {"LDS", "listener"}, {"EDS", "endpoint"}, {"RDS", "route"}};

static int help(FILE *to)
{
    fputs("usage: weft proxy-status [PROXY] [--weftd IP:PORT] [-o json]\n\n"
          "The proxies that are connected to weftd (its HTTP port; " ASK_WEFTD "), and of each type of configuration:\n\n"
          "  SYNCED    it has taken what it was sent last\n"
          "  STALE     it hasn't answered yet\n"
          "  NOT SENT  there was nothing to send, or it never asked\n"
          "  ERROR     it refused what it was sent; why is told below the table\n", to);
    return to == stdout ? CLI_DONE : CLI_USAGE;
}

static const char *field(const json_t *proxy, const char *word, const char *what)
{
    char key[64];
    snprintf(key, sizeof(key), "%s_%s", word, what);
    return ask_text(proxy, key);
}

static const char *state_of(const json_t *proxy, const char *word)
{
    const char *sent = field(proxy, word, "sent");
    if (*field(proxy, word, "error"))
        return "ERROR";
    if (!*sent)
        return "NOT SENT";
    return strcmp(sent, field(proxy, word, "acked")) == 0 ? "SYNCED" : "STALE";
}

static void add_row(struct table *t, const json_t *proxy)
{
    struct str name = proxies_short_name(ask_text(proxy, "proxy"));
    table_addf(t, "%.*s", STR_ARG(name));
    table_add(t, ask_text(proxy, "cluster"));
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        table_add(t, state_of(proxy, types[i].word));
    table_add(t, ask_text(proxy, "istio_version"));
}

static void add_errors(struct table *t, const json_t *proxy)
{
    static const char ending[] = "_error";
    const char *key;
    const json_t *value;
    struct str name = proxies_short_name(ask_text(proxy, "proxy"));
    json_object_foreach((json_t *)(uintptr_t)proxy, key, value)
        if (str_has_suffix(str_from(key), STR("_error"))) {
            table_addf(t, "%.*s", STR_ARG(name));
            table_addf(t, "%.*s", (int)(strlen(key) - strlen(ending)), key);
            table_add(t, json_string_value(value) ? json_string_value(value) : "");
        }
}

static void print(const json_t *list)
{
    static const char *const head[] = {"NAME", "CLUSTER", "CDS", "LDS", "EDS", "RDS", "VERSION"};
    static const char *const error_head[] = {"NAME", "REFUSES", "BECAUSE"};
    struct table proxies, errors;
    size_t i;
    const json_t *one;
    table_init(&proxies, head, ARRAY_LEN(head));
    table_init(&errors, error_head, ARRAY_LEN(error_head));
    json_array_foreach(list, i, one) {
        add_row(&proxies, one);
        add_errors(&errors, one);
    }
    table_sort(&proxies);
    table_print(&proxies, stdout);
    if (table_rows(&errors)) {
        putchar('\n');
        table_print(&errors, stdout);
    }
    table_fini(&proxies);
    table_fini(&errors);
}

/* All of the list, or the one that was asked for. */
static int show(const json_t *list, const char *name, bool as_json, struct err *err)
{
    const json_t *one;
    json_t *shown = name ? json_array() : json_incref((json_t *)(uintptr_t)list);
    int rc = name ? proxies_find(list, name, &one, err) : 0;
    if (name && rc == 0)
        json_array_append(shown, (json_t *)(uintptr_t)one);
    if (rc == 0 && as_json)
        ask_print(shown);
    else if (rc == 0 && json_array_size(shown) == 0)
        puts("no proxy is connected");
    else if (rc == 0)
        print(shown);
    json_decref(shown);
    return rc;
}

int cli_proxy_status(int argc, char **argv)
{
    const char *weftd = ASK_WEFTD, *name = NULL;
    const struct args_flag flags[] = {{"--weftd", &weftd, NULL}};
    struct args a = {.flags = flags, .flag_count = ARRAY_LEN(flags), .words = &name, .words_max = 1};
    struct err err = {0};
    json_t *list = NULL;
    if (args_read(&a, argc, argv, &err) < 0)
        return cli_fail("proxy-status", &err, CLI_USAGE);
    if (a.wants_help)
        return help(stdout);
    int rc = proxies_read(weftd, &list, &err);
    if (rc == 0)
        rc = show(list, name, a.output != NULL, &err);
    json_decref(list);
    return rc < 0 ? cli_fail("proxy-status", &err, CLI_FAILED) : CLI_DONE;
}
