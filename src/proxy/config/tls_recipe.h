/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to this folder: all that a tls_context is made of, with the files still named and unread and secrets behind their
 * sources, so that it can be made again when one of them changes.
 */
#ifndef PROXY_CONFIG_TLS_RECIPE_H
#define PROXY_CONFIG_TLS_RECIPE_H

#include "proxy/config/secret.h"

struct secret_source;

struct tls_part { /* a secret that stands in the configuration, or one that comes; neither: not given */
    struct secret_spec *fixed;
    struct secret_source *source;
};
struct tls_recipe {
    struct arena arena;
    struct tls_context_opts opts;      /* what stands in the TLS context's own message */
    struct tls_part *certs;
    size_t cert_count;
    struct tls_part validations[2];    /* the second over the first, as combined_validation_context merges them */
    struct tls_part tickets;
    struct str keylog_path;
};
struct tls_recipe *tls_recipe_new(bool server);
void tls_recipe_free(struct tls_recipe **r); /* contexts made of it live on */
/* Is everything there? */
bool tls_recipe_is_complete(const struct tls_recipe *r);
/* Reads the files and makes a context of what is there; faults name file and thing. */
struct tls_context *tls_recipe_build(const struct tls_recipe *r, struct err *err);
/* Would a context take this secret? */
int tls_recipe_try_secret(struct secret_spec *s, struct err *err);
void tls_recipe_each_part(const struct tls_recipe *r, void (*fn)(const struct tls_part *p, void *arg), void *arg);
/* Every file that a rebuild would read, but for those of secrets that come: their sources watch them. */
void tls_recipe_each_path(const struct tls_recipe *r, void (*fn)(struct str path, void *arg), void *arg);

#endif
