/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base64.h"

#include "base/check.h"

#include "../unit.h"

static void test_b64__rfc_4648_vectors__both_ways(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}, {"\xff\xfe\xfd", "//79"}};
    struct arena a;
    arena_init(&a, 0);
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        struct str plain = str_from(pairs[i][0]), coded = str_from(pairs[i][1]), out;
        assert_str_equal(b64_encode_in(&a, plain), pairs[i][1]);
        assert_true(b64_decode_in(&a, coded, &out));
        assert_str_equal(out, pairs[i][0]);
        while (coded.n && coded.p[coded.n - 1] == '=')
            coded.n--;
        assert_true(b64_decode_in(&a, coded, &out)); /* without padding */
        assert_str_equal(out, pairs[i][0]);
    }
    arena_fini(&a);
    arena_thread_fini();
}

static void test_b64_decode_in__malformed__refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"A", "AAAAA", "Zg=", "Zg===", "=", "Zm9v=", "Zm 9v", "Zm9_", "Zh==", "Zm9="};
    struct arena a;
    arena_init(&a, 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct str out;
        if (b64_decode_in(&a, str_from(bad[i]), &out))
            fail_msg("'%s' was taken", bad[i]);
    }
    arena_fini(&a);
    arena_thread_fini();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_b64__rfc_4648_vectors__both_ways),
        cmocka_unit_test(test_b64_decode_in__malformed__refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
