/* SPDX-License-Identifier: Apache-2.0
 *
 * nftables through libnftables. Order of an application: routes are added, which nothing uses yet; the rules are put in place
 * by one transaction; routes that the new rules don't want go. If the transaction fails, the routes just added go again.
 */
#include "capture/capture.h"

#include "base/check.h"
#include "capture/routes.h"
#include "capture/rules.h"

#include <errno.h>
#include <fcntl.h>
#include <nftables/libnftables.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

int capture_enter(struct str netns, struct err *err)
{
    char path[4096];
    bool is_path = str_find_char(netns, '/') >= 0;
    if (!netns.n || netns.n > sizeof path - 16)
        return err_set(err, ERR_INVALID, "--netns: '%.*s' is no name", STR_ARG(netns));
    snprintf(path, sizeof path, "%s%.*s", is_path ? "" : "/run/netns/", STR_ARG(netns));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(err, errno, "network namespace %s", path);
    int rc = setns(fd, CLONE_NEWNET) < 0 ? err_set_errno(err, errno, "network namespace %s", path) : 0;
    close(fd);
    return rc;
}

/* libnftables says the fault, the line and a row of ^^^ under it; the first line is what a person wants. */
static int nft_fault(struct nft_ctx *nft, struct err *err)
{
    struct str text = str_from(nft_ctx_get_error_buffer(nft)), rest, line = str_trim(str_split(text, '\n', &rest));
    return err_set(err, ERR_IO, "nftables: %.*s", STR_ARG(line.n ? line : STR("refused without a reason")));
}

/* All of the text is one transaction. Its output is added to *out, where that isn't NULL. */
static int run(const char *commands, struct strbuf *out, struct err *err)
{
    struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
    if (!nft)
        return err_set(err, ERR_IO, "nftables: libnftables doesn't start");
    nft_ctx_buffer_output(nft);
    nft_ctx_buffer_error(nft);
    nft_ctx_output_set_flags(nft, NFT_CTX_OUTPUT_NUMERIC_PRIO);
    int rc = nft_run_cmd_from_buffer(nft, commands) < 0 ? nft_fault(nft, err) : 0;
    if (rc == 0 && out)
        strbuf_addz(out, nft_ctx_get_output_buffer(nft));
    nft_ctx_free(nft);
    return rc;
}

int capture_apply(const struct capture_opts *o, struct err *err)
{
    struct capture_routes before, wanted;
    int rc = capture_routes_read(&before, err);
    if (rc < 0)
        return rc;
    struct strbuf rules = {0};
    capture_rules(o, &rules);
    capture_routes_wanted(o, &wanted);
    rc = capture_routes_add(&wanted, &before, err);
    if (rc == 0)
        rc = run(rules.p, NULL, err);
    strbuf_fini(&rules);
    if (rc == 0)
        return capture_routes_keep(&wanted, err);
    (void)capture_routes_keep(&before, NULL); /* err says why the rules failed */
    return rc;
}

int capture_remove(struct err *err)
{
    static const struct capture_routes none = {0};
    struct strbuf rules = {0};
    capture_rules_remove(&rules);
    int rc = run(rules.p, NULL, err);
    strbuf_fini(&rules);
    return rc < 0 ? rc : capture_routes_keep(&none, err);
}

int capture_show(struct strbuf *out, struct err *err)
{
    struct strbuf tables = {0}, command = {0};
    int rc = run("list tables inet", &tables, err);
    for (size_t i = 0; rc == 0 && i < CAPTURE_TABLE_COUNT; i++) {
        strbuf_reset(&command);
        strbuf_addf(&command, "table inet %s\n", capture_tables[i]);
        bool is_there = str_find(strbuf_str(&tables), strbuf_str(&command)) >= 0;
        strbuf_reset(&command);
        strbuf_addf(&command, "list table inet %s\n", capture_tables[i]);
        rc = is_there ? run(command.p, out, err) : 0;
    }
    strbuf_fini(&tables);
    strbuf_fini(&command);
    struct capture_routes routes;
    if (rc == 0)
        rc = capture_routes_read(&routes, err);
    if (rc == 0)
        capture_routes_text(&routes, out);
    return rc;
}
