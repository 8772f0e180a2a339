/* SPDX-License-Identifier: Apache-2.0 */
#include "base/pmap.h"

#include <stdint.h>
#include <stdio.h>

#include "../unit.h"

#define KEYS 3000

static uint32_t dropped;

static void on_drop(void *value)
{
    (void)value;
    dropped++;
}

static struct str key(char *text, unsigned i)
{
    return str_make(text, (size_t)sprintf(text, "host-%u.example", i));
}

static void *value(unsigned i)
{
    return (void *)(uintptr_t)(i + 1);
}

static struct pmap *filled(unsigned n)
{
    char text[40];
    struct pmap *m = pmap_new(on_drop);
    for (unsigned i = 0; i < n; i++)
        pmap_set(m, key(text, i), value(i));
    dropped = 0;
    return m;
}

static void expect(const struct pmap *m, unsigned from, unsigned to, unsigned plus)
{
    char text[40];
    for (unsigned i = from; i < to; i++)
        assert_ptr_equal(pmap_get(m, key(text, i)), value(i + plus));
}

static void test_pmap_get__empty_and_absent__null(void **state)
{
    (void)state;
    struct pmap *m = pmap_new(NULL);
    assert_null(pmap_get(m, STR("a")));
    pmap_del(m, STR("a"));
    pmap_set(m, STR(""), m);
    assert_ptr_equal(pmap_get(m, STR("")), m);
    assert_null(pmap_get(m, STR("a")));
    pmap_free(&m);
    assert_null(m);
}

static void test_pmap_set__many__found_and_dropped_once(void **state)
{
    (void)state;
    char text[40];
    struct pmap *m = filled(KEYS);
    assert_int_equal(pmap_count(m), KEYS);
    expect(m, 0, KEYS, 0);
    pmap_set(m, key(text, 7), value(8));
    assert_int_equal(pmap_count(m), KEYS);
    assert_int_equal(dropped, 1);
    pmap_free(&m);
    assert_int_equal(dropped, KEYS + 1);
}

static void test_pmap_copy__changed__the_original_stays(void **state)
{
    (void)state;
    char text[40];
    struct pmap *m = filled(KEYS), *next = pmap_copy(m);
    for (unsigned i = 0; i < KEYS; i += 2)
        pmap_del(next, key(text, i));
    for (unsigned i = 1; i < KEYS; i += 2)
        pmap_set(next, key(text, i), value(i + 1));
    pmap_set(next, STR("new"), next);
    assert_int_equal(pmap_count(next), KEYS / 2 + 1);
    expect(m, 0, KEYS, 0);
    assert_null(pmap_get(m, STR("new")));
    for (unsigned i = 0; i < KEYS; i++)
        assert_ptr_equal(pmap_get(next, key(text, i)), i % 2 ? value(i + 1) : NULL);
    assert_int_equal(dropped, 0);
    pmap_free(&m);
    assert_int_equal(dropped, KEYS); /* none of them is in the copy */
    pmap_free(&next);
    assert_int_equal(dropped, KEYS + KEYS / 2 + 1);
}

static void test_pmap_del__all__empty(void **state)
{
    (void)state;
    char text[40];
    struct pmap *m = filled(KEYS);
    for (unsigned i = 0; i < KEYS; i++) {
        pmap_del(m, key(text, i));
        assert_int_equal(pmap_count(m), KEYS - 1 - i);
        expect(m, i + 1, i + 4 < KEYS ? i + 4 : KEYS, 0);
    }
    assert_int_equal(dropped, KEYS);
    pmap_set(m, STR("a"), m);
    assert_ptr_equal(pmap_get(m, STR("a")), m);
    pmap_free(&m);
}

static void sum(struct str k, void *v, void *arg)
{
    (void)k;
    *(uint64_t *)arg += (uintptr_t)v;
}

static void test_pmap_each__all_of_one_version(void **state)
{
    (void)state;
    uint64_t before = 0, after = 0;
    struct pmap *m = filled(100), *next = pmap_copy(m);
    pmap_del(next, STR("host-9.example"));
    pmap_each(m, sum, &before);
    pmap_each(next, sum, &after);
    assert_int_equal(before, 5050);
    assert_int_equal(after, 5040);
    pmap_free(&next);
    pmap_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pmap_get__empty_and_absent__null),
        cmocka_unit_test(test_pmap_set__many__found_and_dropped_once),
        cmocka_unit_test(test_pmap_copy__changed__the_original_stays),
        cmocka_unit_test(test_pmap_del__all__empty),
        cmocka_unit_test(test_pmap_each__all_of_one_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
