/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"

#include "base/mem.h"

#include "../unit.h"

static void test_str_eq_nocase__each_byte__matches_the_ascii_rule(void **state)
{
    (void)state;
    for (int a = 0; a < 256; a++) {
        for (int b = 0; b < 256; b++) {
            char x[9], y[9];
            memset(x, a, sizeof(x));
            memset(y, b, sizeof(y));
            bool want = ascii_lower((char)a) == ascii_lower((char)b);
            assert_int_equal(str_eq_nocase(str_make(x, 9), str_make(y, 9)), want);
            assert_int_equal(str_eq_nocase(str_make(x, 1), str_make(y, 1)), want);
        }
    }
}

static void test_str__prefix_and_suffix(void **state)
{
    (void)state;
    assert_true(str_has_prefix(STR("content-type"), STR("content")));
    assert_false(str_has_prefix(STR("con"), STR("content")));
    assert_true(str_has_suffix(STR("a.example"), STR(".example")));
    assert_true(str_has_prefix_nocase(STR("Bearer x"), STR("bearer ")));
    assert_true(str_has_suffix_nocase(STR("A.EXAMPLE"), STR(".example")));
    assert_true(str_has_suffix(STR_NULL, STR("")));
    assert_true(str_eq(STR_NULL, STR("")));
}

static void test_str_cmp__orders_bytewise(void **state)
{
    (void)state;
    assert_true(str_cmp(STR("a"), STR("b")) < 0);
    assert_true(str_cmp(STR("ab"), STR("a")) > 0);
    assert_true(str_cmp(STR("\xff"), STR("a")) > 0);
    assert_int_equal(str_cmp(STR_NULL, STR("")), 0);
}

static void test_str__trim_find_split(void **state)
{
    (void)state;
    struct str rest;
    assert_str_equal(str_trim(STR(" \t a b\t")), "a b");
    assert_str_equal(str_trim(STR(" \t")), "");
    assert_int_equal(str_find(STR("hello"), STR("lo")), 3);
    assert_int_equal(str_find(STR_NULL, STR("lo")), -1);
    assert_str_equal(str_split(STR("a,b,c"), ',', &rest), "a");
    assert_str_equal(rest, "b,c");
    assert_str_equal(str_split(STR("a"), ',', &rest), "a");
    assert_null(rest.p);
    str_split(STR("a,"), ',', &rest);
    assert_non_null(rest.p);
}

static void test_str_to_u64__edges(void **state)
{
    (void)state;
    uint64_t v = 0;
    assert_true(str_to_u64(STR("18446744073709551615"), &v));
    assert_true(v == UINT64_MAX);
    assert_false(str_to_u64(STR("18446744073709551616"), &v));
    assert_false(str_to_u64(STR(""), &v));
    assert_false(str_to_u64(STR("+1"), &v));
    assert_false(str_to_u64(STR("1 "), &v));
    assert_true(str_to_u64_hex(STR("fFfFfFfFfFfFfFfF"), &v));
    assert_true(v == UINT64_MAX);
    assert_false(str_to_u64_hex(STR("10000000000000000"), &v));
    assert_false(str_to_u64_hex(STR("0x1"), &v));
}

static void test_str_to_i64__edges(void **state)
{
    (void)state;
    int64_t v = 0;
    assert_true(str_to_i64(STR("-9223372036854775808"), &v));
    assert_true(v == INT64_MIN);
    assert_true(str_to_i64(STR("9223372036854775807"), &v));
    assert_false(str_to_i64(STR("9223372036854775808"), &v));
    assert_false(str_to_i64(STR("-"), &v));
    assert_false(str_to_i64(STR("--1"), &v));
}

static void test_str_to_double__decimal_only(void **state)
{
    (void)state;
    double v = 0;
    assert_true(str_to_double(STR("-1.5e3"), &v));
    assert_true(v == -1500);
    assert_false(str_to_double(STR("nan"), &v));
    assert_false(str_to_double(STR("inf"), &v));
    assert_false(str_to_double(STR("0x1p3"), &v));
    assert_false(str_to_double(STR(" 1"), &v));
    assert_false(str_to_double(STR("1e999"), &v));
    assert_false(str_to_double(STR(""), &v));
}

static void test_u64_format__edges(void **state)
{
    (void)state;
    char out[20];
    assert_str_equal(str_make(out, u64_format(0, out)), "0");
    assert_str_equal(str_make(out, u64_format(UINT64_MAX, out)), "18446744073709551615");
}

static void test_str_hash__length_and_seed_matter(void **state)
{
    (void)state;
    assert_true(str_hash(STR("a"), 1) == str_hash(STR("a"), 1));
    assert_true(str_hash(STR("a"), 1) != str_hash(STR("a"), 2));
    assert_true(str_hash(str_make("\0\0", 1), 1) != str_hash(str_make("\0\0", 2), 1));
    assert_true(str_hash(STR("abcdefgh1"), 1) != str_hash(STR("abcdefgh2"), 1));
}

static void test_str_utf8_sequence__valid_and_not(void **state)
{
    (void)state;
    assert_int_equal(str_utf8_sequence(STR("a")), 1);
    assert_int_equal(str_utf8_sequence(STR("\xc3\xa9")), 2);
    assert_int_equal(str_utf8_sequence(STR("\xe2\x82\xac")), 3);
    assert_int_equal(str_utf8_sequence(STR("\xf0\x9f\x98\x80")), 4);
    assert_int_equal(str_utf8_sequence(STR("\xc0\x80")), 0);         /* overlong */
    assert_int_equal(str_utf8_sequence(STR("\xe0\x80\x80")), 0);     /* overlong */
    assert_int_equal(str_utf8_sequence(STR("\xed\xa0\x80")), 0);     /* surrogate */
    assert_int_equal(str_utf8_sequence(STR("\xf4\x90\x80\x80")), 0); /* past U+10FFFF */
    assert_int_equal(str_utf8_sequence(STR("\xe2\x82")), 0);         /* cut short */
    assert_int_equal(str_utf8_sequence(STR("\x80")), 0);
    assert_int_equal(str_utf8_sequence(STR_NULL), 0);
}

static void test_strbuf__adds_grow_and_terminate(void **state)
{
    (void)state;
    struct strbuf b = {0};
    for (int i = 0; i < 100; i++)
        strbuf_addf(&b, "%d,", i);
    assert_int_equal(b.n, strlen(b.p));
    assert_int_equal(b.n, 290);
    strbuf_reset(&b);
    strbuf_addz(&b, "a");
    strbuf_adds(&b, STR("b"));
    strbuf_addc(&b, 'c');
    strbuf_addu(&b, 7);
    assert_string_equal(b.p, "abc7");
    char *taken = strbuf_take(&b);
    assert_string_equal(taken, "abc7");
    mem_free(taken);
    taken = strbuf_take(&b);
    assert_string_equal(taken, "");
    mem_free(taken);
}

static void test_strbuf_add_json__escapes(void **state)
{
    (void)state;
    struct strbuf b = {0};
    strbuf_add_json(&b, STR("a\"\\\n\x01\xc3\xa9\xff/"));
    assert_string_equal(b.p, "a\\\"\\\\\\n\\u0001\xc3\xa9\xef\xbf\xbd/");
    strbuf_reset(&b);
    strbuf_add_json(&b, STR_NULL);
    assert_string_equal(b.p, "");
    strbuf_fini(&b);
}

static void test_str_dup__own_text__replaced_by_a_part_of_itself(void **state)
{
    (void)state;
    struct str own = str_dup(str_make("abcdef", 3));
    assert_string_equal(own.p, "abc");
    str_replace(&own, str_make(own.p + 1, 2));
    assert_true(own.n == 2);
    assert_string_equal(own.p, "bc");
    str_free(&own);
    assert_null(own.p);
    own = str_dup(STR_NULL);
    assert_string_equal(own.p, "");
    str_free(&own);
    str_free(&own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_str_eq_nocase__each_byte__matches_the_ascii_rule),
        cmocka_unit_test(test_str__prefix_and_suffix),
        cmocka_unit_test(test_str_cmp__orders_bytewise),
        cmocka_unit_test(test_str__trim_find_split),
        cmocka_unit_test(test_str_to_u64__edges),
        cmocka_unit_test(test_str_to_i64__edges),
        cmocka_unit_test(test_str_to_double__decimal_only),
        cmocka_unit_test(test_u64_format__edges),
        cmocka_unit_test(test_str_hash__length_and_seed_matter),
        cmocka_unit_test(test_str_utf8_sequence__valid_and_not),
        cmocka_unit_test(test_str_dup__own_text__replaced_by_a_part_of_itself),
        cmocka_unit_test(test_strbuf__adds_grow_and_terminate),
        cmocka_unit_test(test_strbuf_add_json__escapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
