/* SPDX-License-Identifier: Apache-2.0
 *
 * weft capture apply|remove|show: the capture room at a person's hands. Nothing is touched before every flag is understood.
 */
#include "cli/cli.h"

#include "base/check.h"
#include "capture/capture.h"
#include "capture/routes.h"
#include "capture/rules.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define RESOLV_BYTES_MAX (64 * 1024)

static int help(FILE *to)
{
    struct strbuf text = {0};
    strbuf_addz(&text, "usage: weft capture apply|remove|show [--netns NAME|PATH] [flags]\n\n"
                       "  apply   captures traffic of the namespace by nftables, in place of what was captured before\n"
                       "  remove  leaves nothing of it\n"
                       "  show    the rules with their counters, and the routes\n\n"
                       "Flags and variables are istio-iptables':\n");
    capture_opts_help(&text);
    fputs(text.p, to);
    strbuf_fini(&text);
    return to == stdout ? CLI_DONE : CLI_USAGE;
}

static int read_file(const char *path, struct strbuf *out, struct err *err)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return err_set_errno(err, errno, "%s", path);
    strbuf_reserve(out, RESOLV_BYTES_MAX + 2);
    out->n = fread(out->p, 1, RESOLV_BYTES_MAX + 1, f);
    out->p[out->n] = 0;
    int rc = ferror(f) ? err_set_errno(err, EIO, "%s", path) : 0;
    fclose(f);
    return rc;
}

/* The file that a program in the namespace sees: `ip netns exec` puts /etc/netns/NAME over /etc. */
static int read_resolv(struct capture_opts *o, struct err *err)
{
    char own[4096];
    struct strbuf text = {0};
    snprintf(own, sizeof own, "/etc/netns/%.*s/resolv.conf", STR_ARG(o->netns));
    bool has_own = o->netns.n && str_find_char(o->netns, '/') < 0 && access(own, R_OK) == 0;
    int rc = read_file(has_own ? own : "/etc/resolv.conf", &text, err);
    if (rc == 0)
        rc = capture_opts_read_resolv(o, strbuf_str(&text), err);
    strbuf_fini(&text);
    return rc;
}

static int apply(const struct capture_opts *o, struct err *err)
{
    if (!o->is_dry_run)
        return capture_apply(o, err);
    struct strbuf text = {0};
    struct capture_routes routes;
    capture_rules(o, &text);
    capture_routes_wanted(o, &routes);
    capture_routes_text(&routes, &text);
    fputs(text.p, stdout);
    strbuf_fini(&text);
    return 0;
}

static int remove_all(const struct capture_opts *o, struct err *err)
{
    if (o->is_dry_run)
        return err_set(err, ERR_UNSUPPORTED, "--dry-run is for apply");
    return capture_remove(err);
}

static int show(const struct capture_opts *o, struct err *err)
{
    (void)o;
    struct strbuf text = {0};
    int rc = capture_show(&text, err);
    if (rc == 0)
        fputs(text.n ? text.p : "nothing is captured here\n", stdout);
    strbuf_fini(&text);
    return rc;
}

static const struct verb {
    const char *name;
    bool is_apply;
    int (*run)(const struct capture_opts *o, struct err *err);
} verbs[] = {{"apply", true, apply}, {"remove", false, remove_all}, {"show", false, show}};

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; name && i < ARRAY_LEN(verbs); i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static int understand(struct capture_opts *o, const struct verb *verb, int argc, char **argv, struct err *err)
{
    int rc = capture_opts_init(o, environ, err);
    if (rc == 0)
        rc = capture_opts_parse(o, argc, argv, err);
    if (rc == 0 && verb->is_apply && o->redirect_dns && !o->capture_all_dns)
        rc = read_resolv(o, err);
    return rc == 0 && verb->is_apply ? capture_opts_check(o, err) : rc;
}

int cli_capture(int argc, char **argv)
{
    const struct verb *verb = find_verb(argv[1]);
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return help(stdout);
    if (!verb)
        return help(stderr);
    struct capture_opts o;
    struct err err = {0};
    int code = CLI_DONE;
    if (understand(&o, verb, argc - 2, argv + 2, &err) < 0)
        code = cli_fail("capture", &err, CLI_USAGE);
    else if ((o.netns.n && !o.is_dry_run && capture_enter(o.netns, &err) < 0) || verb->run(&o, &err) < 0)
        code = cli_fail("capture", &err, CLI_FAILED);
    capture_opts_fini(&o);
    return code;
}
