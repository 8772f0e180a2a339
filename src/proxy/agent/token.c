/* SPDX-License-Identifier: Apache-2.0
 *
 * Credentials of calls. The token lives in the call's own arena and nowhere else; it is never logged. Main thread: a small
 * file on a tmpfs is read where it stands.
 */
#include "proxy/agent/token.h"

#include "base/clock.h"
#include "pki/jwt.h"

#define TOKEN_MAX_BYTES 8192 /* what a call's headers have room for; service account tokens have about one kilobyte */

static struct str trim(struct str s)
{
    while (s.n && strchr(" \t\r\n", s.p[s.n - 1]))
        s.n--;
    while (s.n && strchr(" \t\r\n", s.p[0]))
        s = str_make(s.p + 1, s.n - 1);
    return s;
}

/* Sent all the same: whether it is taken is the control plane's to say, but it won't say why not. */
static void note_expiry(const char *path, struct str token, struct arena *a)
{
    struct jwt jwt;
    uint64_t now_s = clock_wall_us() / 1000000;
    if (jwt_parse(token, a, &jwt) != JWT_OK)
        return; /* not every token is a JWT */
    if (jwt_check_time(&jwt, now_s, 0) == JWT_EXPIRED)
        LOG_SELDOM(MAIN, WARNING, "the token in %s expired %lld s ago", path, (long long)((int64_t)now_s - jwt.exp));
    jwt_fini(&jwt);
}

static void add_token(const char *path, struct headers *h)
{
    struct err err = {0};
    struct str text = STR_NULL;
    struct arena a;
    arena_init(&a, 0);
    if (text_read_file(path, &a, TOKEN_MAX_BYTES, &text, &err) < 0)
        LOG_SELDOM(MAIN, WARNING, "there is no token to show to the control plane: %s", err.message);
    struct str token = trim(text), value = arena_printf(&a, "Bearer %.*s", STR_ARG(token));
    if (token.n && header_value_is_valid(value)) {
        note_expiry(path, token, &a);
        if (headers_set(h, STR("authorization"), value))
            headers_find_id(h, HDR_AUTHORIZATION)->never_index = true;
    } else if (!err.code)
        LOG_SELDOM(MAIN, WARNING, "%s holds no token", path);
    if (text.n)
        explicit_bzero((char *)text.p, text.n);
    arena_fini(&a);
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
