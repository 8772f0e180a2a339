/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests from anybody who wants a certificate: whatever is taken can be signed, gets the names that we gave and no others,
 * and OpenSSL's queue of errors stays empty.
 */
#include "base/check.h"
#include "pki/cert.h"
#include "pki/issue.h"
#include "pki/openssl_priv.h"

#define NOW 1800000000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct key *ca_key;
static struct strbuf ca;
static struct issue_ca *signs;

static void make_ca(void)
{
    ca_key = key_generate(KEY_EC_P256, NULL);
    CHECK(ca_key && issue_root(ca_key, STR("fuzz"), NOW - 3600, NOW + 7200, &ca, NULL) == 0);
    signs = issue_ca_new(strbuf_str(&ca), ca_key, NULL);
    CHECK(signs);
}

static void check_leaf(struct str pem)
{
    struct arena a;
    struct cert_facts f;
    arena_init(&a, 0);
    CHECK(cert_inspect(pem, &a, &f, NULL) == 0 && f.count == 1 && !f.is_ca);
    CHECK(str_eq(f.spiffe_id, STR("spiffe://fuzz/ns/a/sa/b")));
    CHECK(cert_verify(pem, strbuf_str(&ca), NOW, NULL) == 0);
    arena_fini(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct issue what = {.uri = STR("spiffe://fuzz/ns/a/sa/b"), .not_before_s = NOW - 120, .not_after_s = NOW + 3600};
    struct err err = {0};
    if (!ca_key)
        make_ca();
    struct csr *csr = csr_load(str_make((const char *)data, size), &err);
    CHECK(csr || err.code < 0);
    if (csr) {
        struct strbuf leaf = {0};
        char serial[2 * ISSUE_SERIAL_BYTES + 1];
        CHECK(issue_leaf(&what, csr, signs, &leaf, serial, &err) == 0);
        check_leaf(strbuf_str(&leaf));
        strbuf_fini(&leaf);
    }
    csr_free(&csr);
    CHECK(ERR_peek_error() == 0);
    return 0;
}
