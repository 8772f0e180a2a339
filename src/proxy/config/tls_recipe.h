/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to this folder: all that a tls_context is made of, with the files still named and unread,
 * so that it can be made again when one of them changes.
 */
#ifndef PROXY_CONFIG_TLS_RECIPE_H
#define PROXY_CONFIG_TLS_RECIPE_H

#include "base/arena.h"
#include "io/tls.h"
#include "proxy/match/string_match.h"

struct tls_material { /* a DataSource; neither: not given */
    struct str path;  /* read when the context is made */
    struct str text;
};
struct tls_recipe_cert {
    struct tls_material chain, key, password, pkcs12, ocsp;
};
struct tls_recipe {
    struct arena arena;
    struct tls_context_opts opts; /* all but certs, trusted_ca, crl and ticket keys, which come from files */
    struct tls_recipe_cert *certs;
    size_t cert_count;
    struct tls_material ca, crl;
    struct tls_material *ticket_keys;
    size_t ticket_key_count;
    struct str *watched_dirs;     /* watched_directory of certificates and validation contexts */
    size_t watched_dir_count;
    struct string_match *matches; /* behind opts.sans; ended with the recipe */
    size_t match_count;
    struct str keylog_path;
    int keylog_fd;                /* -1: none */
};
struct tls_recipe *tls_recipe_new(bool server);
void tls_recipe_free(struct tls_recipe **r);
/* Reads the files and makes a context; faults name file and thing. */
struct tls_context *tls_recipe_build(struct tls_recipe *r, struct err *err);
/* Every file that a rebuild would read. */
void tls_recipe_each_path(const struct tls_recipe *r, void (*fn)(struct str path, void *arg), void *arg);

#endif
