/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/outcome.h"

#include "base/check.h"

#include "../unit.h"

static void check(uint32_t flags, bool long_form, const char *want)
{
    char text[512];
    size_t n = response_flags_format(flags, long_form, text, sizeof(text));
    assert_str_equal(str_make(text, n), want);
}

static void test_response_flags_format__none_one_many(void **state)
{
    (void)state;
    check(0, false, "-");
    check(FLAG_UF, false, "UF");
    check(FLAG_URX | FLAG_UF, false, "UF,URX");
    check(FLAG_URX | FLAG_UF, true, "UpstreamConnectionFailure,UpstreamRetryLimitExceeded");
}

static void test_response_flags_format__all__fit_the_promised_size(void **state)
{
    (void)state;
    char text[1024];
    assert_true(response_flags_format(~0u, false, text, 512) < 512);
}

static void test_response_flag_parse__every_flag__round_trips(void **state)
{
    (void)state;
    uint32_t flag;
#define X(bit, name, text)                                                                                             \
    assert_true(response_flag_parse(STR(#name), &flag));                                                               \
    assert_int_equal(flag, 1u << (bit));
    RESPONSE_FLAG_TABLE(X)
#undef X
    assert_false(response_flag_parse(STR("XX"), &flag));
}

static void test_grpc_status_of_http__documented_pairs(void **state)
{
    (void)state;
    static const int pairs[][2] = {{400, 13}, {401, 16}, {403, 7}, {404, 12}, {429, 14}, {503, 14}, {200, 2}, {500, 2}};
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        assert_int_equal(grpc_status_of_http((unsigned)pairs[i][0]), pairs[i][1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_response_flags_format__none_one_many),
        cmocka_unit_test(test_response_flags_format__all__fit_the_promised_size),
        cmocka_unit_test(test_response_flag_parse__every_flag__round_trips),
        cmocka_unit_test(test_grpc_status_of_http__documented_pairs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
