/* SPDX-License-Identifier: Apache-2.0
 *
 * What a mesh is told about its certificate authority: public, PEM.
 */
#ifndef CONTROL_CA_TRUST_H
#define CONTROL_CA_TRUST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

#define CA_BUNDLE_MAX_BYTES ((size_t)48 << 10) /* of roots; a rotation holds two or three */
#define CA_CHAIN_MAX_BYTES ((size_t)32 << 10)  /* of what stands between a leaf and its root */

struct ca_trust {
    struct str bundle;     /* every root that a certificate in use may lead to; the one that signs comes first */
    struct str chain;      /* behind each leaf; "" for one that a root signed */
    int64_t root_until_s;  /* when the first root of the bundle ends, Unix time */
    int64_t signs_until_s; /* when what signs ends */
    int64_t change_at_s;   /* when the bundle is going to change by itself; 0: not planned */
    uint64_t generation;   /* another one for each change of bundle or chain, counted by the signer's client */
    bool is_rotating;      /* a new root is announced, or an old one still believed */
};

#endif
