/* SPDX-License-Identifier: Apache-2.0
 *
 * The authority itself: keys, what they sign, and how one root follows another. It lives in the signer's process and nowhere
 * else. Time is a parameter. Two kinds:
 * - self-signed: roots of its own making, kept in a store (ca_store.h);
 * - plugged in: an intermediate that an operator put into a folder as Istio's `cacerts` Secret has it (istio.io, "Plug in CA
 *   Certificates"): ca-cert.pem, ca-key.pem, root-cert.pem, cert-chain.pem.
 */
#ifndef CONTROL_CA_AUTHORITY_H
#define CONTROL_CA_AUTHORITY_H

#include "base/err.h"
#include "control/ca/ca_store.h"
#include "control/ca/trust.h"
#include "pki/issue.h"

#define CA_BACKDATED_S 120 /* of each certificate, for peers whose clocks are behind; as Istio's */

struct authority_opts {
    struct str trust_domain;  /* of every SPIFFE ID signed; organization of own roots */
    enum key_kind key_kind;   /* of own roots */
    int64_t root_ttl_s;       /* of own roots */
    int64_t announce_s;       /* how long a new root is in the bundle before it signs, at the least */
    int64_t max_ttl_s;        /* of a leaf */
    unsigned renew_pct;       /* an own root with less of its life left is followed by another */
};

struct authority;
/* Takes the store, after a failure too. Makes and saves a root where it is empty. */
struct authority *authority_new_self_signed(const struct authority_opts *o, struct ca_store *take_store, int64_t now_s, struct err *err);
struct authority *authority_new_plugged_in(const struct authority_opts *o, struct str folder, int64_t now_s, struct err *err);
void authority_free(struct authority **a);

struct authority_request {
    struct str csr_pem;
    struct str uri;                               /* "" none */
    const struct str *hosts; uint32_t host_count; /* pki/issue.h */
    int64_t ttl_s;                                /* cut to what the signing certificate has left */
};
struct authority_leaf { /* what was signed */
    char serial_hex[2 * ISSUE_SERIAL_BYTES + 1];
    int64_t until_s;
};
/* Appends the leaf. Errors of csr_load and issue_leaf; ERR_LIMIT: the ttl is too long; ERR_STATE: what signs has ended or not
 * begun by this clock. */
int authority_sign(struct authority *a, const struct authority_request *r, int64_t now_s, struct strbuf *pem,
                   struct authority_leaf *leaf, struct err *err);

/* Announces a new root. ERR_STATE: one is announced already, or the authority is plugged in. */
int authority_rotate(struct authority *a, int64_t now_s, struct err *err);
/* What is due by now: a new root begins to sign, an old one isn't believed any more, an aging one is followed. Each step is
 * saved before it is taken; one that can't be is told and tried again the next time. */
int authority_tick(struct authority *a, int64_t now_s, struct err *err);
/* Reads a plugged-in folder anew. After an error the old stays in force. Nothing to do for own roots. */
int authority_reload(struct authority *a, int64_t now_s, struct err *err);

/* Texts are valid until the next call. */
void authority_trust(struct authority *a, struct ca_trust *out);

#endif
