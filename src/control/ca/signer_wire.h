/* SPDX-License-Identifier: Apache-2.0
 *
 * What weftd and its signer say to each other: one request or response a packet, over a SOCK_SEQPACKET pair. Both ends are of one
 * binary, yet neither believes the other's sizes. Integers are network order, texts follow their length. Pure.
 */
#ifndef CONTROL_CA_SIGNER_WIRE_H
#define CONTROL_CA_SIGNER_WIRE_H

#include "base/arena.h"
#include "control/ca/authority.h"

#define SIGNER_PACKET_MAX_BYTES ((size_t)128 << 10)

/* OPEN comes first, and once. */
enum signer_kind { SIGNER_OPEN = 1, SIGNER_SIGN, SIGNER_TICK, SIGNER_ROTATE, SIGNER_RELOAD, SIGNER_KIND_LAST = SIGNER_RELOAD };

struct signer_open {
    struct authority_opts authority;
    struct str path;     /* own roots: their file; plugged in: the folder */
    bool is_plugged_in;
};
struct signer_request {
    uint32_t id;
    enum signer_kind kind;
    struct signer_open open;       /* OPEN */
    struct authority_request sign; /* SIGN */
};
struct signer_response {
    uint32_t id;
    enum signer_kind kind;
    int code;              /* 0 or enum err_code */
    struct str message;    /* of a failure, for people */
    bool has_trust;        /* once an authority is open, after a failure too */
    struct ca_trust trust;
    struct str leaf, serial_hex; int64_t leaf_until_s; /* SIGN */
};

/* ERR_LIMIT: past SIGNER_PACKET_MAX_BYTES. */
int signer_request_write(const struct signer_request *r, struct strbuf *out, struct err *err);
int signer_response_write(const struct signer_response *r, struct strbuf *out, struct err *err);
/* Texts point into the packet, lists are the arena's. ERR_SYNTAX: not such a packet. */
int signer_request_read(struct arena *a, struct str packet, struct signer_request *out, struct err *err);
int signer_response_read(struct str packet, struct signer_response *out, struct err *err);

#endif
