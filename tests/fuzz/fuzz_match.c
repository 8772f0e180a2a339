/* SPDX-License-Identifier: Apache-2.0
 *
 * Cookies that clients send, and path templates of configurations against clients' paths. A line of the
 * input is a template, the next a rewrite, the rest a path or a cookie field. What comes out lies within
 * what went in; a rewrite succeeds exactly where its template matches, and its variables aren't invented.
 */
#include "base/arena.h"
#include "base/check.h"
#include "proxy/match/cookie.h"
#include "proxy/match/path_template.h"

#define FUZZ_ARENA_BYTES ((size_t)4 << 20)
#define FUZZ_TEXT_BYTES 4096
#define REWRITE_MAX 512 /* bytes of a rewrite; each names variables of a path at most its length */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_within(struct str part, struct str whole)
{
    return !part.n || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

/* The same field whole, and behind an empty one, says the same. */
static void check_cookie(struct str name, struct str field, struct arena *a)
{
    struct headers once, twice;
    headers_init(&once, a);
    headers_init(&twice, a);
    headers_add_id_ref(&once, HDR_COOKIE, field);
    headers_add_id_ref(&twice, HDR_COOKIE, STR(""));
    headers_add_id_ref(&twice, HDR_COOKIE, field);
    struct str value = cookie_get(&once, name), again = cookie_get(&twice, name);
    CHECK(is_within(value, field));
    CHECK(value.p == again.p && value.n == again.n);
}

static void check_rewrite(const struct path_template *t, struct str text, struct str path, struct arena *a)
{
    struct err err = {0};
    struct path_template_rewrite *r = text.n <= REWRITE_MAX ? path_template_rewrite_new(text, t, &err) : NULL;
    if (!r)
        return;
    struct str made = path_template_rewrite_run(r, t, path, a);
    CHECK((made.p != NULL) == path_template_matches(t, path) || a->overflowed);
    CHECK(made.n <= text.n * (path.n + 1));
    path_template_rewrite_free(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct err err = {0};
    struct str rest = str_make((const char *)data, size);
    if (size > FUZZ_TEXT_BYTES)
        return 0;
    struct str template = str_split(rest, '\n', &rest), rewrite = str_split(rest, '\n', &rest);
    arena_init(&a, FUZZ_ARENA_BYTES);
    check_cookie(template, rest, &a);
    struct path_template *t = path_template_new(template, &err);
    if (t)
        check_rewrite(t, rewrite, rest, &a);
    path_template_free(&t);
    arena_fini(&a);
    return 0;
}
