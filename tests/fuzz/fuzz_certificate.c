/* SPDX-License-Identifier: Apache-2.0
 *
 * Certificates from anybody who says to be a CA: whatever is taken is counted alike by all readers, a bundle that was written
 * is read again whole and grows by nothing the second time, and OpenSSL's queue of errors stays empty.
 */
#include "base/check.h"
#include "pki/cert.h"
#include "pki/key.h"
#include "pki/openssl_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_bundle(struct str pem, size_t count)
{
    struct strbuf out = {0};
    size_t in = 0, again = 0;
    CHECK(cert_bundle_add(&out, pem, &in, NULL) == 0 && in == count);
    size_t n = out.n;
    CHECK(cert_bundle_add(&out, pem, &again, NULL) == 0 && again == count && out.n == n);
    CHECK(cert_bundle_add(&out, strbuf_str(&out), &again, NULL) == 0 && again <= count && out.n == n);
    strbuf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str pem = str_make((const char *)data, size);
    struct arena a;
    struct cert_facts facts;
    arena_init(&a, (size_t)1 << 20);
    if (cert_inspect(pem, &a, &facts, NULL) == 0) {
        CHECK(facts.count > 0 && facts.count <= CERT_CHAIN_MAX);
        check_bundle(pem, facts.count);
        (void)cert_verify(pem, pem, 1800000000, NULL);
    }
    struct key *key = key_load(pem, STR_NULL, NULL);
    (void)(key && key_fits(key, pem));
    key_free(&key);
    CHECK(ERR_peek_error() == 0);
    arena_fini(&a);
    return 0;
}
