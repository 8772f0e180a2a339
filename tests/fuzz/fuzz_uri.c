/* SPDX-License-Identifier: Apache-2.0
 *
 * URIs, authorities, queries and paths from anybody: every view stays within the text, and under
 * every set of options what normalisation returned is in normal form: a second run changes nothing
 * and neither refuses nor redirects.
 */
#include "base/check.h"
#include "http/codec/uri.h"

#define FUZZ_ARENA_BYTES ((size_t)1 << 20)
#define FUZZ_TEXT_BYTES 4096 /* its paths, every byte escaped, fit the arena */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_within(struct str part, struct str whole)
{
    return !part.n || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

static void check_authority(struct str text)
{
    struct str host;
    int port;
    bool is_split = authority_split(text, &host, &port), is_valid = authority_is_valid(text);
    CHECK(is_within(host, text));
    CHECK(is_split || !is_valid);
    CHECK(!is_valid || (host.n > 0 && port >= -1 && port <= 65535));
}

static void check_absolute(struct str text)
{
    struct uri uri;
    if (!uri_parse_absolute(text, &uri))
        return;
    CHECK(uri.scheme.n + STR("://").n + uri.authority.n + uri.path.n == text.n);
    CHECK(is_within(uri.scheme, text) && is_within(uri.authority, text) && is_within(uri.path, text));
    check_authority(uri.authority);
}

/* The text is a query, and the path with a query; what comes before the first '=' is the name. */
static void check_query(struct str text)
{
    struct str value, rest, name = str_split(text, '=', &rest), query = path_query(text);
    CHECK(is_within(query, text) && path_without_query(text).n + query.n <= text.n);
    if (query_get(query, name, &value))
        CHECK(is_within(value, query));
    if (str_find_char(name, '&') < 0)
        CHECK(!text.n || query_get(text, name, &value));
}

/* Only what begins with '/' is normalised: other targets ("*", CONNECT's) never come there. */
static void check_path(struct str text, const struct path_opts *opts)
{
    if (!text.n || text.p[0] != '/')
        return;
    struct arena arena;
    struct str path = text;
    arena_init(&arena, FUZZ_ARENA_BYTES);
    if (path_normalize(&path, opts, &arena) != PATH_INVALID) {
        struct str again = path;
        CHECK(path_normalize(&again, opts, &arena) == PATH_OK);
        CHECK(str_eq(path, again));
        CHECK(!memchr(path.p, '#', path.n));
    }
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_make((const char *)data, size < FUZZ_TEXT_BYTES ? size : FUZZ_TEXT_BYTES);
    check_absolute(text);
    check_authority(text);
    check_query(text);
    for (unsigned set = 0; set < 32; set++) {
        const struct path_opts opts = {.normalize = set & 1,
                                       .merge_slashes = set & 2,
                                       .reject_fragment = set & 4,
                                       .escaped_slashes = (enum path_slash_action)(set >> 3)};
        check_path(text, &opts);
    }
    return 0;
}
