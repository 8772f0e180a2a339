/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to this folder: what stands in a Secret of the API, or inline where one might be named: a certificate with its
 * key, how peers are validated, or keys of session tickets. Files are still named and unread, so that they can be read
 * again when they change. Immutable and reference-counted: TLS contexts hold on to those that they were made of, and the
 * last one may go on a worker.
 */
#ifndef PROXY_CONFIG_SECRET_H
#define PROXY_CONFIG_SECRET_H

#include <stdatomic.h>

#include "base/arena.h"
#include "io/tls.h"
#include "proxy/match/string_match.h"

struct config_batch; /* proxy/config/resources.h */

struct tls_material { /* a DataSource; neither: not given */
    struct str path;  /* read when a context is made */
    struct str text;
};
struct tls_recipe_cert {
    struct tls_material chain, key, password, pkcs12, ocsp;
};
struct tls_domain_material {
    struct str name;
    struct tls_material ca;
};
struct tls_validation {
    struct tls_material ca, crl;
    const struct tls_san_matcher *sans;
    size_t san_count;
    const struct str *spki_pins, *cert_hashes;
    size_t spki_pin_count, cert_hash_count;
    bool crl_leaf_only, allow_expired, accept_untrusted;
    uint32_t max_verify_depth;     /* 0: not given */
    const struct tls_domain_material *domains; /* SPIFFECertValidatorConfig */
    size_t domain_count;
    struct tls_material bundles;   /* SPIFFECertValidatorConfig.trust_bundles: these domains instead */
};
enum secret_kind { SECRET_CERTIFICATE, SECRET_VALIDATION, SECRET_TICKET_KEYS, SECRET_GENERIC };
struct secret_spec {
    atomic_uint refs;
    enum secret_kind kind;
    struct arena arena;
    struct tls_recipe_cert cert;
    struct tls_validation validation;
    struct tls_material *ticket_keys;
    size_t ticket_key_count;
    struct tls_material *generic;  /* SECRET_GENERIC: its secret, then those by name */
    size_t generic_count;
    struct str *watched_dirs;      /* watched_directory of it and of its parts */
    size_t watched_dir_count;
    struct string_match *matches;  /* behind validation.sans */
    size_t match_count;
};
struct secret_spec *secret_spec_new(enum secret_kind kind);
struct secret_spec *secret_spec_ref(struct secret_spec *s);  /* any thread */
void secret_spec_unref(struct secret_spec **s);              /* any thread; the last one wipes keys. NULL is fine */
/* Every file and folder whose change means reading again. */
void secret_spec_each_path(const struct secret_spec *s, void (*fn)(struct str path, void *arg), void *arg);

void secret_wipe(struct str text); /* overwrites it */
/* As a packed Secret message, keys and all. */
void secret_spec_pack(const struct secret_spec *s, struct str name, struct strbuf *out);

/* One packed Secret that must be of this kind and name. */
int config_read_secret(struct config_batch *b, struct str packed, struct str name, enum secret_kind kind, struct secret_spec **out,
                       struct err_list *faults);

#endif
