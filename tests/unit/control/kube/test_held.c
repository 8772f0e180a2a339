/* SPDX-License-Identifier: Apache-2.0 */
#include "control/kube/held.h"

#include "../../unit.h"

static void on_gone(void *user, struct str ns, struct str name)
{
    strbuf_addf(user, "%.*s/%.*s ", STR_ARG(ns), STR_ARG(name));
}

static void test_end_round__tells_what_wasnt_seen(void **state)
{
    (void)state;
    struct kube_held *h = kube_held_new();
    struct strbuf gone = {0};
    kube_held_add(h, STR("a"), STR("one"));
    kube_held_add(h, STR("a"), STR("two"));
    kube_held_add(h, STR(""), STR("node"));
    assert_int_equal(kube_held_end_round(h, on_gone, &gone), 0);
    kube_held_begin_round(h);
    kube_held_add(h, STR("a"), STR("two"));
    kube_held_add(h, STR("a"), STR("three"));
    kube_held_add(h, STR(""), STR("node"));
    assert_int_equal(kube_held_end_round(h, on_gone, &gone), 1);
    assert_str_equal(strbuf_str(&gone), "a/one ");
    strbuf_reset(&gone);
    kube_held_begin_round(h);
    kube_held_add(h, STR("a"), STR("two"));
    kube_held_add(h, STR("a"), STR("three"));
    assert_int_equal(kube_held_end_round(h, on_gone, &gone), 1);
    assert_str_equal(strbuf_str(&gone), "/node ");
    assert_int_equal(kube_held_count(h), 2);
    strbuf_fini(&gone);
    kube_held_free(&h);
}

static void test_round_that_begins_again__forgets_what_the_broken_one_saw(void **state)
{
    (void)state;
    struct kube_held *h = kube_held_new();
    struct strbuf gone = {0};
    kube_held_add(h, STR("a"), STR("one"));
    kube_held_begin_round(h);
    kube_held_add(h, STR("a"), STR("one"));
    kube_held_begin_round(h); /* the page token expired; meanwhile it was deleted */
    assert_int_equal(kube_held_end_round(h, on_gone, &gone), 1);
    assert_str_equal(strbuf_str(&gone), "a/one ");
    strbuf_fini(&gone);
    kube_held_free(&h);
}

static void test_remove__says_whether_it_was_there(void **state)
{
    (void)state;
    struct kube_held *h = kube_held_new();
    kube_held_add(h, STR("a"), STR("one"));
    assert_true(kube_held_remove(h, STR("a"), STR("one")));
    assert_false(kube_held_remove(h, STR("a"), STR("one")));
    kube_held_free(&h);
}

static void test_faults__go_with_their_object__and_are_bounded(void **state)
{
    (void)state;
    struct kube_held *h = kube_held_new();
    struct err fault = {.code = ERR_INVALID, .message = "bad", .path = "VirtualService a/one"};
    struct err_list all = {0};
    struct strbuf gone = {0};
    kube_held_add(h, STR("a"), STR("one"));
    kube_held_set_fault(h, STR("a"), STR("one"), &fault);
    kube_held_set_fault(h, STR("a"), STR("one"), &fault);
    kube_held_faults(h, &all);
    assert_int_equal(all.count, 1);
    assert_string_equal(all.items[0].path, "VirtualService a/one");
    kube_held_set_fault(h, STR("a"), STR("one"), NULL);
    assert_int_equal(kube_held_fault_count(h), 0);
    kube_held_set_fault(h, STR("a"), STR("one"), &fault);
    kube_held_begin_round(h);
    kube_held_end_round(h, on_gone, &gone);
    assert_int_equal(kube_held_fault_count(h), 0);
    for (unsigned i = 0; i < KUBE_FAULTS_MAX + 10; i++) {
        char name[16];
        snprintf(name, sizeof(name), "n%u", i);
        kube_held_set_fault(h, STR("a"), str_from(name), &fault);
    }
    assert_int_equal(kube_held_fault_count(h), KUBE_FAULTS_MAX);
    err_list_fini(&all);
    strbuf_fini(&gone);
    kube_held_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_end_round__tells_what_wasnt_seen),
        cmocka_unit_test(test_round_that_begins_again__forgets_what_the_broken_one_saw),
        cmocka_unit_test(test_remove__says_whether_it_was_there),
        cmocka_unit_test(test_faults__go_with_their_object__and_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
