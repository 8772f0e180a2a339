/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include "../unit.h"

#include <errno.h>
#include <string.h>

static void test_err_set__replaces_what_was_held(void **state)
{
    (void)state;
    struct err e = {0};
    err_set(&e, ERR_INVALID, "old");
    err_prefix(&e, "a");
    assert_int_equal(err_set(&e, ERR_LIMIT, "%d is too many", 7), ERR_LIMIT);
    assert_string_equal(e.message, "7 is too many");
    assert_string_equal(e.path, "");
}

static void test_err_set__null__returns_the_code(void **state)
{
    (void)state;
    assert_int_equal(err_set(NULL, ERR_TLS, "x"), ERR_TLS);
    assert_int_equal(err_set_errno(NULL, ENOENT, "x"), ERR_NOT_FOUND);
    assert_int_equal(err_prefix(NULL, "x"), 0);
}

static void test_err_set_errno__names_the_reason(void **state)
{
    (void)state;
    struct err e;
    assert_int_equal(err_set_errno(&e, ENOENT, "cannot read %s", "/x"), ERR_NOT_FOUND);
    assert_string_equal(e.message, "cannot read /x: No such file or directory");
    assert_int_equal(err_set_errno(&e, EACCES, "cannot read"), ERR_IO);
}

static void test_err_set__long_message__is_cut_with_dots(void **state)
{
    (void)state;
    struct err e;
    char text[2000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    err_set(&e, ERR_INVALID, "%s", text);
    assert_int_equal(strlen(e.message), ERR_MESSAGE_BYTES - 1);
    assert_string_equal(e.message + ERR_MESSAGE_BYTES - 4, "...");
    err_set_errno(&e, ENOENT, "%s", text);
    assert_string_equal(e.message + ERR_MESSAGE_BYTES - 4, "...");
}

static void test_err_prefix__levels__build_the_path(void **state)
{
    (void)state;
    struct err e;
    char text[200];
    err_set(&e, ERR_INVALID, "bad");
    err_prefix(&e, "ca");
    err_prefix(&e, "[%d]", 0);
    err_prefix(&e, "filter_chains");
    assert_int_equal(err_prefix(&e, "listeners[%d]", 2), ERR_INVALID);
    assert_string_equal(e.path, "listeners[2].filter_chains[0].ca");
    assert_string_equal(err_format(&e, text, sizeof(text)),
                        "listeners[2].filter_chains[0].ca: bad");
    assert_string_equal(err_format(&e, text, 10), "listeners");
}

static void test_err_prefix__endless__is_cut_with_dots(void **state)
{
    (void)state;
    struct err e;
    err_set(&e, ERR_INVALID, "bad");
    for (int i = 0; i < 500; i++)
        err_prefix(&e, "level_%d", i);
    assert_int_equal(strlen(e.path), ERR_PATH_BYTES - 1);
    assert_memory_equal(e.path, "level_499.level_498.", 20);
    assert_string_equal(e.path + ERR_PATH_BYTES - 4, "...");
}

static void test_err_list__past_the_cap__only_counts(void **state)
{
    (void)state;
    struct err_list list = {0};
    for (int i = 0; i < ERR_LIST_MAX + 5; i++)
        err_list_addf(&list, ERR_SYNTAX, "a.b", "fault %d", i);
    assert_int_equal(list.count, ERR_LIST_MAX);
    assert_int_equal(list.dropped, 5);
    assert_string_equal(list.items[999].message, "fault 999");
    assert_string_equal(list.items[999].path, "a.b");
    err_list_fini(&list);
    assert_null(list.items);
}

static void test_err_code_text__every_code__has_text(void **state)
{
    (void)state;
    assert_string_equal(err_code_text(ERR_LIMIT), "limit exceeded");
    assert_string_equal(err_code_text(-99), "unknown error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_err_set__replaces_what_was_held),
        cmocka_unit_test(test_err_set__null__returns_the_code),
        cmocka_unit_test(test_err_set_errno__names_the_reason),
        cmocka_unit_test(test_err_set__long_message__is_cut_with_dots),
        cmocka_unit_test(test_err_prefix__levels__build_the_path),
        cmocka_unit_test(test_err_prefix__endless__is_cut_with_dots),
        cmocka_unit_test(test_err_list__past_the_cap__only_counts),
        cmocka_unit_test(test_err_code_text__every_code__has_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
