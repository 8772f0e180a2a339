/* SPDX-License-Identifier: Apache-2.0
 *
 * Roots are kept by source and joined, each certificate once. While a mesh changes its root, old and new stand together as the
 * CA sends them; whoever comes with either is let in. Main thread.
 */
#include "proxy/agent/trust.h"

#include "pki/cert.h"
#include "proxy/agent/secrets.h"

void trust_fini(struct trust *t)
{
    for (int i = 0; i < TRUST_SOURCE_COUNT; i++)
        strbuf_fini(&t->parts[i]);
    strbuf_fini(&t->crl);
}

/* True: the secret is another one than before. */
static bool publish(const struct trust *t)
{
    struct strbuf all = {0};
    for (int i = 0; i < TRUST_SOURCE_COUNT; i++)
        if (t->parts[i].n)
            cert_bundle_add(&all, strbuf_str(&t->parts[i]), NULL, NULL); /* was checked when it came */
    bool changed = all.n && secret_store_set_roots(STR("ROOTCA"), strbuf_str(&all), strbuf_str(&t->crl));
    strbuf_fini(&all);
    return changed;
}

int trust_set(struct trust *t, enum trust_source source, struct str pem, bool *changed, struct err *err)
{
    struct strbuf clean = {0};
    *changed = false;
    if (pem.n && cert_bundle_add(&clean, pem, NULL, err) < 0) {
        strbuf_fini(&clean);
        return ERR_INVALID;
    }
    strbuf_fini(&t->parts[source]);
    t->parts[source] = clean;
    *changed = publish(t);
    return 0;
}

void trust_set_crl(struct trust *t, struct str pem)
{
    strbuf_reset(&t->crl);
    strbuf_adds(&t->crl, pem);
    publish(t);
}
