/* SPDX-License-Identifier: Apache-2.0
 *
 * Peers' chains that a context has verified lately, so that the next handshake of the same peer
 * need not check the same signatures again. A proof belongs to one context, whose trust, CRLs and
 * rules never change, and holds from the second it was made until the first of its certificates
 * expires or any CRL of the store begins or ends: outside of that the chain is verified anew. Only
 * success is kept. That the peer owns the key is proven in each handshake, and names and pins are
 * looked at each time (docs/decisions/0013). Any worker; a lock for one slot's compare or copy.
 */
#include "io/tls_priv.h"

#include "base/mem.h"

enum {
    SERVER_SLOTS = 512, /* clients of a service; 24 KiB */
    CLIENT_SLOTS = 32,  /* endpoints of a cluster; there may be thousands of contexts */
    CHAIN_MAX = 8,      /* longer ones are verified each time */
};

struct tls_proof {
    struct tls_digest chain;
    int64_t from_s, until_s;
};

void tls_proofs_init(struct tls_proofs *p, bool server)
{
    *p = (struct tls_proofs){.count = server ? SERVER_SLOTS : CLIENT_SLOTS};
    pthread_mutex_init(&p->lock, NULL);
}

void tls_proofs_fini(struct tls_proofs *p)
{
    mem_free(p->slots);
    pthread_mutex_destroy(&p->lock);
}

bool tls_proof_digest(STACK_OF(X509) * chain, struct tls_digest *out)
{
    struct tls_digest each[CHAIN_MAX];
    int n = sk_X509_num(chain);
    if (n <= 0 || n > CHAIN_MAX)
        return false;
    for (int i = 0; i < n; i++) {
        if (!X509_digest(sk_X509_value(chain, i), EVP_sha256(), each[i].bytes, NULL))
            return false;
    }
    return EVP_Digest(each, (size_t)n * sizeof each[0], out->bytes, NULL, EVP_sha256(), NULL) == 1;
}

/* A slot by the digest: whoever would push others out needs certificates that verify. */
static struct tls_proof *slot_of(const struct tls_proofs *p, const struct tls_digest *chain)
{
    uint32_t n;
    memcpy(&n, chain->bytes, sizeof n);
    return &p->slots[n % p->count];
}

bool tls_proofs_have(struct tls_proofs *p, const struct tls_digest *chain, int64_t now_s)
{
    bool found = false;
    pthread_mutex_lock(&p->lock);
    if (p->slots) {
        const struct tls_proof *at = slot_of(p, chain);
        found = now_s >= at->from_s && now_s < at->until_s &&
                memcmp(&at->chain, chain, sizeof *chain) == 0;
    }
    pthread_mutex_unlock(&p->lock);
    return found;
}

void tls_proofs_keep(struct tls_proofs *p, const struct tls_digest *chain, int64_t from_s,
                     int64_t until_s)
{
    if (from_s >= until_s)
        return;
    pthread_mutex_lock(&p->lock);
    if (!p->slots)
        p->slots = mem_zalloc(p->count * sizeof *p->slots);
    *slot_of(p, chain) = (struct tls_proof){*chain, from_s, until_s};
    pthread_mutex_unlock(&p->lock);
}
