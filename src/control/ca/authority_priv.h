/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_CA_AUTHORITY_PRIV_H
#define CONTROL_CA_AUTHORITY_PRIV_H

#include "control/ca/authority.h"

/* In the order of the bundle. */
#define CA_ROOT_STATES(X)                                                                          \
    X(SIGNING, "signing")                                                                          \
    X(ANNOUNCED, "announced")                                                                      \
    X(RETIRED, "retired") /* its key is gone; certificates of it may be in use */                  \
    X(GONE, "gone")       /* isn't saved */
enum ca_root_state {
#define X(id, text) CA_ROOT_##id,
    CA_ROOT_STATES(X)
#undef X
};

/* One that signs, will, or did. */
struct ca_root {
    enum ca_root_state state;
    struct key *key;            /* NULL: RETIRED */
    struct issue_ca *ca;        /* SIGNING: from its first leaf on */
    struct strbuf cert;         /* what signs */
    struct strbuf chain;        /* behind its leaves; empty for a root */
    struct strbuf anchors;      /* what the bundle has of it */
    int64_t not_before_s, not_after_s;
    int64_t root_until_s;       /* of the first of the anchors; 0: not looked at yet */
    int64_t signs_from_s;       /* ANNOUNCED */
    int64_t trusted_until_s;    /* no leaf of it, so far, ends later */
};

#define CA_ROOTS_MAX 8u
struct authority {
    struct authority_opts opts;
    struct str trust_domain;    /* opts' own */
    struct ca_store *store;     /* NULL: plugged in */
    char *folder;
    struct ca_root roots[CA_ROOTS_MAX];
    uint32_t count;
    bool is_unsaved;            /* a trusted_until_s isn't in the store yet */
    struct strbuf bundle;
};

void ca_root_fini(struct ca_root *r);
void ca_root_drop_key(struct ca_root *r);
/* The one that signs; there always is one. */
struct ca_root *authority_signing(struct authority *a);
/* The bundle as the roots are now. */
void authority_rebuild(struct authority *a);

/* The store's text (authority_text.c). It holds keys. */
int authority_write(const struct authority *a, struct strbuf *out, struct err *err);
int authority_read(struct authority *a, struct str text, struct err *err);

#endif
