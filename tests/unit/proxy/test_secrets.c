/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/agent/secrets.h"

#include "../unit.h"

struct seen {
    int calls;
    char last[64];
    struct secret_watch *watch, *other;
};

static void on_secret(void *user, struct secret *s)
{
    struct seen *seen = user;
    seen->calls++;
    snprintf(seen->last, sizeof seen->last, "%.*s", STR_ARG(s->chain_pem.n ? s->chain_pem : s->roots_pem));
}

static void on_secret_leave(void *user, struct secret *s)
{
    struct seen *seen = user;
    on_secret(user, s);
    secret_watch_del(&seen->other);
    secret_watch_del(&seen->watch);
}

static void on_wanted(void *user, struct str name)
{
    struct seen *seen = user;
    seen->calls++;
    snprintf(seen->last, sizeof seen->last, "%.*s", STR_ARG(name));
}

static void on_wanted_set(void *user, struct str name)
{
    on_wanted(user, name);
    secret_store_set(name, STR("chain"), STR("key"));
}

static bool serves_all(void *user, struct str name)
{
    (void)user;
    return !str_eq(name, STR("foreign"));
}

static const struct secret_provider silent = {serves_all, on_wanted}, setting = {serves_all, on_wanted_set};

static void test_secret_store__set_and_get__newest_is_there(void **state)
{
    (void)state;
    struct seen nothing = {0};
    assert_false(secret_store_serves(STR("default")));
    secret_store_open(&silent, &nothing);
    assert_true(secret_store_serves(STR("default")));
    assert_false(secret_store_serves(STR("foreign")));
    assert_null(secret_store_get(STR("default")));
    assert_true(secret_store_set(STR("default"), STR("a"), STR("k")));
    assert_str_equal(secret_store_get(STR("default"))->chain_pem, "a");
    uint64_t version = secret_store_get(STR("default"))->version;
    assert_false(secret_store_set(STR("default"), STR("a"), STR("k")));
    assert_true(secret_store_set(STR("default"), STR("b"), STR("k")));
    assert_true(secret_store_get(STR("default"))->version > version);
    struct secret *held = secret_ref(secret_store_get(STR("default")));
    secret_store_close();
    assert_false(secret_store_serves(STR("default")));
    assert_null(secret_store_get(STR("default")));
    assert_str_equal(held->chain_pem, "b");
    secret_unref(&held);
}

static void test_secret_watch__changes__told_once_each(void **state)
{
    (void)state;
    struct seen one = {0}, two = {0}, nothing = {0};
    one.watch = secret_watch_add(STR("ROOTCA"), on_secret, &one);
    two.watch = secret_watch_add(STR("ROOTCA"), on_secret, &two);
    secret_store_open(&silent, &nothing);
    assert_int_equal(secret_store_watchers(STR("ROOTCA")), 2);
    secret_store_set_roots(STR("ROOTCA"), STR("r1"), STR_NULL);
    secret_store_set_roots(STR("ROOTCA"), STR("r1"), STR_NULL);
    secret_store_set_roots(STR("other"), STR("r1"), STR_NULL);
    assert_int_equal(one.calls, 1);
    secret_watch_del(&one.watch);
    secret_store_set_roots(STR("ROOTCA"), STR("r1"), STR("crl"));
    assert_int_equal(one.calls, 1);
    assert_int_equal(two.calls, 2);
    secret_watch_del(&two.watch);
    secret_watch_del(&two.watch);
    secret_store_close();
}

static void test_secret_watch__deleted_while_told__no_more_calls(void **state)
{
    (void)state;
    struct seen one = {0}, two = {0}, three = {0}, nothing = {0};
    secret_store_open(&silent, &nothing);
    one.watch = secret_watch_add(STR("default"), on_secret_leave, &one);
    one.other = secret_watch_add(STR("default"), on_secret, &two);
    three.watch = secret_watch_add(STR("default"), on_secret, &three);
    secret_store_set(STR("default"), STR("a"), STR("k"));
    assert_int_equal(one.calls, 1);
    assert_int_equal(two.calls, 0);
    assert_int_equal(three.calls, 1);
    assert_int_equal(secret_store_watchers(STR("default")), 1);
    secret_watch_del(&three.watch);
    secret_store_close();
}

static void test_secret_store_open__watched_before__wanted_at_once(void **state)
{
    (void)state;
    struct seen seen = {0}, wanted = {0};
    seen.watch = secret_watch_add(STR("file-root:x"), on_secret, &seen);
    secret_store_open(&setting, &wanted);
    assert_int_equal(wanted.calls, 1);
    assert_string_equal(wanted.last, "file-root:x");
    assert_int_equal(seen.calls, 1);
    struct seen late = {0};
    late.watch = secret_watch_add(STR("file-root:x"), on_secret, &late);
    assert_int_equal(wanted.calls, 1);
    assert_int_equal(late.calls, 0);
    assert_non_null(secret_store_get(STR("file-root:x")));
    secret_watch_del(&late.watch);
    secret_watch_del(&seen.watch);
    secret_store_close();
}

static void test_secret_watch_add__nobody_can_fill_it__wanted_once(void **state)
{
    (void)state;
    struct seen wanted = {0}, seen = {0};
    secret_store_open(&silent, &wanted);
    struct secret_watch *one = secret_watch_add(STR("x"), on_secret, &seen), *two = secret_watch_add(STR("x"), on_secret, &seen);
    assert_int_equal(wanted.calls, 1);
    secret_watch_del(&one);
    secret_watch_del(&two);
    secret_store_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_secret_store__set_and_get__newest_is_there),
        cmocka_unit_test(test_secret_watch__changes__told_once_each),
        cmocka_unit_test(test_secret_watch__deleted_while_told__no_more_calls),
        cmocka_unit_test(test_secret_store_open__watched_before__wanted_at_once),
        cmocka_unit_test(test_secret_watch_add__nobody_can_fill_it__wanted_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
