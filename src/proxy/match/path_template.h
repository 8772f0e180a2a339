/* SPDX-License-Identifier: Apache-2.0
 *
 * URI templates of envoy.path.match.uri_template and envoy.path.rewrite.uri_template ("/a/{lang}/b"):
 * "*" one segment, "**" any number of them (last operator only), "{name}" and "{name=pattern}" bound
 * for rewriting. Compiled on the main thread, read by every worker.
 */
#ifndef PROXY_MATCH_PATH_TEMPLATE_H
#define PROXY_MATCH_PATH_TEMPLATE_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

#define PATH_TEMPLATE_VARIABLES_MAX 5 /* Envoy's */

struct path_template;
struct path_template *path_template_new(struct str text, struct err *err);
void path_template_free(struct path_template **t);
bool path_template_matches(const struct path_template *t, struct str path_without_query);

/* A rewrite's pieces refer to the variables of the template that it was made for. */
struct path_template_rewrite;
struct path_template_rewrite *path_template_rewrite_new(struct str text, const struct path_template *match, struct err *err);
void path_template_rewrite_free(struct path_template_rewrite **r);
/* The new path (arena), or a null str when `path` doesn't match the template. */
struct str path_template_rewrite_run(const struct path_template_rewrite *r, const struct path_template *match,
                                     struct str path_without_query, struct arena *a);

#endif
