/* SPDX-License-Identifier: Apache-2.0
 *
 * URIs and paths: authority, path and query; normalisation as RFC 3986 section 6 and Envoy's
 * connection manager define it.
 */
#ifndef HTTP_CODEC_URI_H
#define HTTP_CODEC_URI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"

struct uri {
    struct str scheme, authority, path /* with query */;
};
bool uri_parse_absolute(struct str text, struct uri *out); /* scheme://authority[/path] */
/* "host:port" -> host (brackets kept for IPv6), port; false when the port is junk. port is -1 when absent. */
bool authority_split(struct str authority, struct str *host, int *port);
bool authority_is_valid(struct str authority); /* characters of RFC 3986 host and port */
struct str path_without_query(struct str path); /* up to '?' or '#' */
struct str path_query(struct str path);         /* after '?', null str when none; fragment cut */
/* Value of a query parameter, percent-encoding untouched; false when absent. */
bool query_get(struct str query, struct str name, struct str *value);

enum path_slash_action { PATH_SLASH_KEEP, PATH_SLASH_REJECT, PATH_SLASH_UNESCAPE_REDIRECT, PATH_SLASH_UNESCAPE_FORWARD };
enum path_result { PATH_OK, PATH_CHANGED_REDIRECT, PATH_INVALID };
struct path_opts {
    bool normalize;        /* dot segments, percent-encoded unreserved characters, \ to / */
    bool merge_slashes;
    enum path_slash_action escaped_slashes;
    bool reject_fragment;  /* else cut */
};
/* *path may be replaced by text in the arena. */
enum path_result path_normalize(struct str *path, const struct path_opts *opts, struct arena *a);

#endif
