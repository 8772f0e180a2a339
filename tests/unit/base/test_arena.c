/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include "base/mem.h"

#include "../unit.h"

static void test_arena_alloc__sizes__are_aligned_and_apart(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 0);
    char *before = NULL;
    for (size_t n = 0; n < 9000; n = n * 2 + 1) {
        arena_bytes(&a, 3);
        char *p = arena_alloc(&a, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % (n >= 16 ? 16 : 8), 0);
        memset(p, 0xff, n);
        assert_ptr_not_equal(p, before);
        before = p;
    }
    char *zero = arena_zalloc(&a, 100);
    for (int i = 0; i < 100; i++)
        assert_int_equal(zero[i], 0);
    arena_fini(&a);
    arena_thread_fini();
}

static void test_arena_alloc__past_the_limit__fails_and_the_mark_sticks(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 100);
    assert_non_null(arena_alloc(&a, 64));
    assert_null(arena_alloc(&a, 64));
    assert_true(a.overflowed);
    assert_non_null(arena_alloc(&a, 8));
    assert_true(a.overflowed);
    assert_null(arena_alloc(&a, SIZE_MAX));
    arena_reset(&a);
    assert_false(a.overflowed);
    assert_non_null(arena_alloc(&a, 64));
    arena_fini(&a);
}

static void test_arena_alloc__heap_fails__is_overflow(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 0);
    mem_fail_nth(1);
    assert_null(arena_alloc(&a, 100000));
    assert_true(a.overflowed);
    arena_fini(&a);
}

static void test_arena_str__copies_and_terminates(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 64);
    struct str s = arena_str(&a, str_make("abcdef", 3));
    assert_str_equal(s, "abc");
    assert_int_equal(s.p[3], '\0');
    assert_str_equal(arena_printf(&a, "%d-%s", 12, "x"), "12-x");
    assert_str_equal(arena_printf(&a, "%0500d", 1), "");
    assert_true(a.overflowed);
    arena_fini(&a);
}

static void test_arena_printf__long__keeps_all(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 0);
    assert_int_equal(arena_printf(&a, "%05000d", 1).n, 5000);
    arena_fini(&a);
}

#if !MEM_SANITIZED /* Sanitizer builds keep no chunk. */
static void test_arena_reset__keeps_one_chunk(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 0);
    for (int i = 0; i < 100; i++)
        arena_alloc(&a, 512);
    struct arena_chunk *newest = a.chunks;
    arena_reset(&a);
    assert_ptr_equal(a.chunks, newest);
    assert_int_equal(a.used_bytes, 0);
    arena_alloc(&a, 512);
    assert_ptr_equal(a.chunks, newest);
    arena_fini(&a);
    arena_thread_fini();
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arena_alloc__sizes__are_aligned_and_apart),
        cmocka_unit_test(test_arena_alloc__past_the_limit__fails_and_the_mark_sticks),
        cmocka_unit_test(test_arena_alloc__heap_fails__is_overflow),
        cmocka_unit_test(test_arena_str__copies_and_terminates),
        cmocka_unit_test(test_arena_printf__long__keeps_all),
#if !MEM_SANITIZED
        cmocka_unit_test(test_arena_reset__keeps_one_chunk),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
