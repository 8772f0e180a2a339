/* SPDX-License-Identifier: Apache-2.0
 *
 * Credentials of calls. The token lives in the call's own arena and nowhere else; it is never logged. Main thread: a small
 * file on a tmpfs is read where it stands.
 */
#include "proxy/agent/token.h"

#define TOKEN_MAX_BYTES 12288 /* what a call's headers have room for; service account tokens have about one kilobyte */

static struct str trim(struct str s)
{
    while (s.n && strchr(" \t\r\n", s.p[s.n - 1]))
        s.n--;
    while (s.n && strchr(" \t\r\n", s.p[0]))
        s = str_make(s.p + 1, s.n - 1);
    return s;
}

static void add_token(const char *path, struct headers *h)
{
    struct err err = {0};
    struct str text, token;
    if (text_read_file(path, h->arena, TOKEN_MAX_BYTES, &text, &err) < 0) {
        LOG_SELDOM(MAIN, WARNING, "there is no token to show to the control plane: %s", err.message);
        return;
    }
    token = trim(text);
    struct str value = arena_printf(h->arena, "Bearer %.*s", STR_ARG(token));
    if (token.n && header_value_is_valid(value) && headers_set(h, STR("authorization"), value))
        headers_find_id(h, HDR_AUTHORIZATION)->never_index = true;
    else
        LOG_SELDOM(MAIN, WARNING, "%s holds no token", path);
}

void token_add_headers(const struct agent_env *e, const struct text_pairs *more, struct headers *h)
{
    if (e->token_path.n)
        add_token(e->token_path.p, h);
    headers_set(h, STR("clusterid"), e->cluster_id);
    for (size_t i = 0; i < more->count; i++)
        if (header_value_is_valid(more->items[i].value))
            headers_set(h, more->items[i].key, more->items[i].value);
}
