/* SPDX-License-Identifier: Apache-2.0
 * Lists, maps, address sets, cursors and the random generator.
 */
#include "base/cursor.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rng.h"

#include "../unit.h"

struct item {
    int value;
    struct list node;
};

static void test_list__push_pop_remove(void **state)
{
    (void)state;
    struct list head;
    struct item items[3] = {{.value = 0}, {.value = 1}, {.value = 2}};
    list_init(&head);
    assert_null(list_first(&head));
    assert_null(list_pop_front(&head));
    for (int i = 0; i < 3; i++)
        list_push_back(&head, &items[i].node);
    int sum = 0, order = 0;
    LIST_EACH(it, safe, &head) {
        struct item *item = LIST_ENTRY(it, item, node);
        assert_int_equal(item->value, order++);
        sum += item->value;
        if (item->value == 1)
            list_remove(it);
    }
    assert_int_equal(sum, 3);
    assert_true(list_is_empty(&items[1].node));
    assert_ptr_equal(list_pop_front(&head), &items[0].node);
    assert_ptr_equal(list_last(&head), &items[2].node);
    list_push_front(&head, &items[1].node);
    assert_ptr_equal(list_first(&head), &items[1].node);
}

static void test_map__random_operations__match_an_array(void **state)
{
    (void)state;
    struct map *m = map_new();
    void *model[200] = {0};
    size_t count = 0;
    struct rng r;
    char values[4];
    rng_seed(&r, 3);
    for (int i = 0; i < 20000; i++) {
        char key[16];
        size_t k = rng_below(&r, 200), n = (size_t)snprintf(key, sizeof(key), "key-%zu", k);
        void *v = &values[rng_below(&r, 4)];
        if (rng_below(&r, 2)) {
            assert_ptr_equal(map_set(m, str_make(key, n), v), model[k]);
            count += model[k] == NULL;
            model[k] = v;
        } else {
            assert_ptr_equal(map_del(m, str_make(key, n)), model[k]);
            count -= model[k] != NULL;
            model[k] = NULL;
        }
        assert_int_equal(map_count(m), count);
    }
    for (size_t k = 0; k < 200; k++) {
        char key[16];
        size_t n = (size_t)snprintf(key, sizeof(key), "key-%zu", k);
        assert_ptr_equal(map_get(m, str_make(key, n)), model[k]);
    }
    struct str key;
    void *value;
    size_t seen = 0;
    for (size_t pos = 0; map_next(m, &pos, &key, &value);)
        seen++;
    assert_int_equal(seen, count);
    map_free(&m);
    assert_null(m);
    map_free(&m);
}

static void test_map__empty_key_and_empty_map(void **state)
{
    (void)state;
    struct map *m = map_new();
    int v;
    assert_null(map_get(m, STR("x")));
    assert_null(map_del(m, STR("x")));
    assert_null(map_set(m, STR_NULL, &v));
    assert_ptr_equal(map_get(m, STR("")), &v);
    map_free(&m);
}

static void test_addr_set__holds_what_was_added(void **state)
{
    (void)state;
    static char bytes[1000];
    struct addr_set s = {0};
    assert_false(addr_set_has(&s, bytes));
    for (int i = 0; i < 1000; i += 2) {
        addr_set_add(&s, bytes + i);
        addr_set_add(&s, bytes + i);
    }
    assert_int_equal(s.count, 500);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(addr_set_has(&s, bytes + i), i % 2 == 0);
    addr_set_fini(&s);
}

static void test_cursor__overrun__sticks_and_reads_zeros(void **state)
{
    (void)state;
    const uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 'a', 'b', 0xff};
    struct cursor c = cursor_make(bytes, sizeof(bytes));
    assert_int_equal(cursor_u8(&c), 1);
    assert_int_equal(cursor_u16(&c), 0x0203);
    assert_int_equal(cursor_u24(&c), 0x040506);
    assert_int_equal(cursor_u32(&c), 0x0708090a);
    struct cursor sub = cursor_sub(&c, 2);
    assert_str_equal(cursor_bytes(&sub, 2), "ab");
    assert_int_equal(cursor_u16(&c), 0);
    assert_true(c.failed);
    assert_int_equal(cursor_u8(&c), 0);
    assert_int_equal(cursor_left(&c), 0);
    assert_true(cursor_sub(&c, 1).failed);
}

static void test_wcursor__overrun__writes_nothing(void **state)
{
    (void)state;
    uint8_t out[9] = {0};
    struct wcursor w = {out, out + 8, false};
    wcursor_u8(&w, 1);
    wcursor_u16(&w, 0x0203);
    wcursor_u32(&w, 0x04050607);
    wcursor_bytes(&w, "xy", 2);
    assert_true(w.failed);
    wcursor_u8(&w, 9);
    assert_memory_equal(out, "\1\2\3\4\5\6\7\0\0", 9);
}

static void test_rng_below__small_n__is_even_and_in_range(void **state)
{
    (void)state;
    struct rng r;
    int hits[3] = {0};
    rng_seed(&r, 1);
    for (int i = 0; i < 30000; i++)
        hits[rng_below(&r, 3)]++;
    for (int i = 0; i < 3; i++)
        assert_in_range(hits[i], 9500, 10500);
    assert_int_equal(rng_below(&r, 0), 0);
    assert_int_equal(rng_below(&r, 1), 0);
}

static void test_rng_uuid4__has_version_and_variant(void **state)
{
    (void)state;
    struct rng r;
    char a[36], b[36];
    rng_seed(&r, 0);
    rng_uuid4(&r, a);
    rng_uuid4(&r, b);
    assert_memory_not_equal(a, b, 36);
    assert_int_equal(a[8], '-');
    assert_int_equal(a[23], '-');
    assert_int_equal(a[14], '4');
    assert_non_null(memchr("89ab", a[19], 4));
}

static void test_recycler__puts_come_back_last_in_first_out(void **state)
{
    (void)state;
    struct recycler r = {.max_idle = 2, .object_bytes = 32};
    void *a = recycler_get(&r), *b = recycler_get(&r), *c = recycler_get(&r);
    recycler_put(&r, a);
    recycler_put(&r, b);
    recycler_put(&r, c);
    if (!MEM_SANITIZED) {
        assert_int_equal(r.idle, 2);
        assert_ptr_equal(recycler_get(&r), b);
        mem_free(b);
    }
    recycler_drain(&r);
    assert_int_equal(r.idle, 0);
}

static void test_mem_fail_nth__fails_only_that_one(void **state)
{
    (void)state;
    mem_fail_nth(2);
    void *a = mem_try_alloc(1), *b = mem_try_alloc(1), *c = mem_try_alloc(1);
    assert_non_null(a);
    assert_null(b);
    assert_non_null(c);
    mem_free(a);
    mem_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list__push_pop_remove),
        cmocka_unit_test(test_map__random_operations__match_an_array),
        cmocka_unit_test(test_map__empty_key_and_empty_map),
        cmocka_unit_test(test_addr_set__holds_what_was_added),
        cmocka_unit_test(test_cursor__overrun__sticks_and_reads_zeros),
        cmocka_unit_test(test_wcursor__overrun__writes_nothing),
        cmocka_unit_test(test_rng_below__small_n__is_even_and_in_range),
        cmocka_unit_test(test_rng_uuid4__has_version_and_variant),
        cmocka_unit_test(test_recycler__puts_come_back_last_in_first_out),
        cmocka_unit_test(test_mem_fail_nth__fails_only_that_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
