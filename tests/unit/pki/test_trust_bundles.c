/* SPDX-License-Identifier: Apache-2.0 */
#include "pki/trust_bundles.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "pki/cert.h"

/* A certificate's base64, from its PEM. */
static const char root_x5c[] =
    "MIIBdDCCARugAwIBAgIUTlkWO9xCCbMGC/UwRJeRTdesW/swCgYIKoZIzj0EAwIwDzENMAsGA1UEAwwEcm9vdDAg"
    "Fw0yNjExMjQxODMwMzNaGA8yMTI2MTAzMTE4MzAzM1owDzENMAsGA1UEAwwEcm9vdDBZMBMGByqGSM49AgEGCCqG"
    "SM49AwEHA0IABKZnWrYSIdP/5GFw6AGP12kpU8BYvGsj1zU1vdnKfudWZnCURT6gPuensLISziYZL6ToB0pyEjGV"
    "yxQQabDVoXCjUzBRMB0GA1UdDgQWBBTFh909C5a7xsOsiz7gEE7sPbcTnDAfBgNVHSMEGDAWgBTFh909C5a7xsOs"
    "iz7gEE7sPbcTnDAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0cAMEQCICoCWZRycFbosCrU5cfUgMd0s9yh"
    "X3CXTs7o3WpgWGUtAiBYGiwx7UyuqjUWeoIKw4VwCWDDeTTzkbeF4H2cDiMK7w==";

static int read_text(const char *json, struct arena *a, struct trust_bundle **out, size_t *n, struct err *err)
{
    return trust_bundles_read(str_from(json), a, out, n, err);
}

static void test_trust_bundles__several_domains__roots_of_each(void **state)
{
    (void)state;
    struct arena a;
    struct err err = {0};
    struct trust_bundle *b;
    struct strbuf json = {0};
    size_t n, roots;
    arena_init(&a, 0);
    strbuf_addf(&json, "{\"trust_domains\": {\"a.test\": {\"spiffe_sequence\": 1, \"keys\": [{\"use\": \"x509-svid\", \"x5c\": [\"%s\"]},"
                       "{\"use\": \"x509-svid\", \"kty\": \"EC\", \"x5c\": [\"%s\", \"%s\"]}]}, \"b.test\": {\"keys\": [{\"use\":"
                       "\"x509-svid\", \"x5c\": [\"%s\"]}]}}}", root_x5c, root_x5c, root_x5c, root_x5c);
    assert_int_equal(trust_bundles_read(strbuf_str(&json), &a, &b, &n, &err), 0);
    assert_int_equal(n, 2);
    for (size_t i = 0; i < n; i++) {
        struct strbuf once = {0};
        bool is_a = str_eq(b[i].domain, STR("a.test"));
        assert_true(is_a || str_eq(b[i].domain, STR("b.test")));
        assert_int_equal(cert_bundle_add(&once, b[i].roots_pem, &roots, &err), 0);
        assert_int_equal(roots, is_a ? 3 : 1);
        strbuf_fini(&once);
    }
    strbuf_fini(&json);
    arena_fini(&a);
}

static void test_trust_bundles__broken__refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *json, *why;
    } bad[] = {
        {"", "aren't JSON"},
        {"{", "aren't JSON"},
        {"[]", "0 trust domains"},
        {"{}", "0 trust domains"},
        {"{\"trust_domains\": {}}", "0 trust domains"},
        {"{\"trust_domains\": {\"a\": {\"keys\": []}, \"a\": {\"keys\": []}}}", "duplicate"},
        {"{\"trust_domains\": {\"a\": {}}}", "'a': the bundle has no keys"},
        {"{\"trust_domains\": {\"a\": {\"keys\": []}}}", "'a': the bundle has no keys"},
        {"{\"trust_domains\": {\"a\": {\"keys\": [{\"x5c\": [\"eA==\"]}]}}}", "'a': a key's 'use'"},
        {"{\"trust_domains\": {\"a\": {\"keys\": [{\"use\": \"jwt-svid\", \"x5c\": [\"eA==\"]}]}}}", "'a': a key's 'use'"},
        {"{\"trust_domains\": {\"a\": {\"keys\": [{\"use\": \"x509-svid\"}]}}}", "no certificates (x5c)"},
        {"{\"trust_domains\": {\"a\": {\"keys\": [{\"use\": \"x509-svid\", \"x5c\": []}]}}}", "no certificates (x5c)"},
        {"{\"trust_domains\": {\"a\": {\"keys\": [{\"use\": \"x509-svid\", \"x5c\": [7]}]}}}", "isn't base64"},
        {"{\"trust_domains\": {\"a\": {\"keys\": [{\"use\": \"x509-svid\", \"x5c\": [\"%\"]}]}}}", "isn't base64"},
        {"{\"trust_domains\": {\"a\": {\"keys\": [{\"use\": \"x509-svid\", \"x5c\": [\"eA==\"]}]}}}", "no certificate"},
        {"{\"trust_domains\": {\"a\": {\"keys\": [{\"use\": \"x509-svid\", \"x5c\": [\"\"]}]}}}", "no certificate"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct arena a;
        struct err err = {0};
        struct trust_bundle *b;
        size_t n;
        arena_init(&a, 0);
        if (read_text(bad[i].json, &a, &b, &n, &err) >= 0)
            fail_msg("\"%s\" was taken", bad[i].json);
        if (!strstr(err.message, bad[i].why))
            fail_msg("\"%s\": \"%s\" lacks \"%s\"", bad[i].json, err.message, bad[i].why);
        arena_fini(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trust_bundles__several_domains__roots_of_each),
        cmocka_unit_test(test_trust_bundles__broken__refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
