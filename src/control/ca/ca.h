/* SPDX-License-Identifier: Apache-2.0
 *
 * The whole certificate authority of a weftd: signer, issuer, authenticators, its own serving certificate, and the files of
 * it. One loop's thread.
 */
#ifndef CONTROL_CA_CA_H
#define CONTROL_CA_CA_H

#include "control/ca/ca_service.h"
#include "control/ca/serving.h"

#define CA_OWN_FILE "weftd-ca.pem" /* own roots and their keys, in their folder */

struct ca_opts {                      /* 0 and "": the default in brackets */
    struct loop *loop;
    /* One of the two: a folder for own roots, made where it isn't there; or one with a plugged-in authority (authority.h), read
     * again when its files change. A revocation list is ca-crl.pem in either. */
    struct str own_folder, plugged_in_folder;
    struct str bundle_file;           /* where the roots are written to, with each change; "" nowhere */
    struct str trust_domain;          /* [cluster.local] */
    enum key_kind key_kind;           /* of own roots and of the serving certificate [P-256] */
    int64_t root_ttl_s;               /* [10 years] */
    int64_t announce_s;               /* [default_ttl_s] (authority.h) */
    int64_t default_ttl_s, max_ttl_s; /* [24 h], [90 d] */
    const struct str *hosts; uint32_t host_count; /* of the serving certificate; borrowed until ca_new returns */
    const struct str *trusted_node_accounts; uint32_t trusted_node_account_count; /* issuer.h, as may_impersonate */
    int (*may_impersonate)(void *user, const struct auth_caller *caller, struct str ns, struct str service_account, struct err *why);
    /* Roots that proxies are to believe, and the revocation list that goes with them ("" none): at first and with each change. */
    void (*on_trust)(void *user, const struct ca_trust *trust, struct str crl_pem);
    void (*on_certificate)(void *user, struct str chain_pem, struct str key_pem); /* weftd's own */
    void *user;
};

struct ca;
/* NULL: settings that can't be. A key file that can't be used isn't a failure here, as it may be mended: ca_fault. */
struct ca *ca_new(const struct ca_opts *o, struct err *err);
void ca_free(struct ca **ca); /* after the servers; what is freed goes at the turn's end */

/* To add authenticators to, in order, before the first call; and to ask who a proxy is. */
struct auth_chain *ca_auth(struct ca *ca);
void ca_serve(struct ca *ca, struct grpc_server *g);

bool ca_is_ready(const struct ca *ca);       /* roots are known, and there is a serving certificate */
const char *ca_fault(const struct ca *ca);   /* why it doesn't sign; "" while it does */
const struct ca_trust *ca_trust(const struct ca *ca); /* NULL before the first */
struct str ca_crl(const struct ca *ca);
/* A new root is announced (own roots only). fn as signer_rotate's. */
int ca_rotate(struct ca *ca, signer_fn fn, void *user, struct err *err);
void ca_metrics(const struct ca *ca, struct strbuf *prometheus);

#endif
