/* SPDX-License-Identifier: Apache-2.0
 *
 * weftd's own serving certificate: key and request made here, signed by its own signer, renewed at half of its life and whenever
 * something else signs. One loop's thread.
 */
#ifndef CONTROL_CA_SERVING_H
#define CONTROL_CA_SERVING_H

#include "control/ca/signer.h"

struct serving_opts {
    struct loop *loop;
    struct signer *signer;
    const struct str *hosts; uint32_t host_count; /* names and addresses by which it is called; copied */
    enum key_kind key_kind;
    int64_t ttl_s;
    /* chain: leaf first, no root. The key is wiped after the return. */
    void (*on_certificate)(void *user, struct str chain_pem, struct str key_pem);
    void *user;
};

struct serving;
struct serving *serving_new(const struct serving_opts *o);
void serving_free(struct serving **s);
void serving_renew(struct serving *s);           /* the authority has changed */
int64_t serving_until_s(const struct serving *s); /* 0: there is none yet */

#endif
