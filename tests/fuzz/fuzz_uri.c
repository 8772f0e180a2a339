/* SPDX-License-Identifier: Apache-2.0
 *
 * URIs, authorities, queries and path normalisation. The first byte picks the options; a path that was
 * normalised must stay as it is when it is normalised again.
 */
#include <stdlib.h>

#include "http/codec/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void normalise_twice(struct str path, const struct path_opts *opts)
{
    struct arena a;
    arena_init(&a, 0);
    struct str once = path;
    if (path_normalize(&once, opts, &a) != PATH_INVALID) {
        struct str twice = once;
        if (path_normalize(&twice, opts, &a) != PATH_OK || !str_eq(once, twice))
            abort();
    }
    arena_fini(&a);
    arena_thread_fini();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!n)
        return 0;
    struct path_opts opts = {
        .normalize = data[0] & 1,
        .merge_slashes = data[0] & 2,
        .escaped_slashes = (enum path_slash_action)(data[0] >> 2 & 3),
        .reject_fragment = data[0] & 16,
    };
    struct str text = str_make((const char *)data + 1, n - 1), host, value;
    struct uri uri;
    int port;
    uri_parse_absolute(text, &uri);
    authority_split(text, &host, &port);
    authority_is_valid(text);
    query_get(path_query(text), STR("a"), &value);
    if (text.n && text.p[0] == '/')
        normalise_twice(text, &opts);
    return 0;
}
