/* SPDX-License-Identifier: Apache-2.0 */
#include "http/codec/headers.h"

#include "base/check.h"

#include "../unit.h"

struct fixture {
    struct arena arena;
    struct headers h;
};

static int setup(void **state)
{
    static struct fixture f;
    arena_init(&f.arena, 0);
    headers_init(&f.h, &f.arena);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    arena_fini(&f->arena);
    return 0;
}

/* The invariants, recomputed. */
static void check_list(const struct headers *h)
{
    uint64_t mask = 0;
    size_t bytes = 0;
    for (uint32_t i = 0; i < h->count; i++) {
        const struct header *item = &h->items[i];
        assert_int_equal(item->id, header_id_of(item->name));
        if (item->id < 64)
            mask |= (uint64_t)1 << item->id;
        bytes += item->name.n + item->value.n;
    }
    assert_true(mask == h->mask);
    assert_int_equal(bytes, h->bytes);
}

static void test_header_id_of__every_row__gives_its_id(void **state)
{
    (void)state;
    for (unsigned id = 0; id < HDR_OTHER; id++) {
        struct str name = header_name((enum header_id)id);
        assert_int_equal(header_id_of(name), id);
        char changed[64];
        for (size_t i = 0; i < name.n; i++) {
            memcpy(changed, name.p, name.n);
            changed[i] ^= 1;
            assert_int_not_equal(header_id_of(str_make(changed, name.n)), id);
        }
        assert_int_not_equal(header_id_of(str_make(name.p, name.n - 1)), id);
    }
    assert_int_equal(header_id_of(STR("")), HDR_OTHER);
    assert_int_equal(header_id_of(STR("x-none")), HDR_OTHER);
    assert_int_equal(header_id_of(STR("Host")), HDR_OTHER);
    assert_null(header_name(HDR_OTHER).p);
}

static void test_headers_add__many__keeps_order_and_finds(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 100; i++) {
        char name[16];
        int n = snprintf(name, sizeof(name), "X-%d", i);
        assert_true(headers_add(&f->h, str_make(name, (size_t)n), STR("v")));
    }
    assert_true(headers_add(&f->h, STR("Content-Type"), STR("a/b")));
    assert_true(headers_add(&f->h, STR("VARY"), STR("c")));
    check_list(&f->h);
    assert_str_equal(f->h.items[99].name, "x-99");
    assert_str_equal(headers_get(&f->h, STR("x-57")), "v");
    assert_str_equal(headers_get_id(&f->h, HDR_CONTENT_TYPE), "a/b");
    assert_str_equal(headers_get(&f->h, STR("vary")), "c");
    assert_null(headers_find(&f->h, STR("x-100")));
    assert_null(headers_find_id(&f->h, HDR_HOST));
    assert_null(headers_find_id(&f->h, HDR_ETAG));
    assert_null(headers_get(&f->h, STR("etag")).p);
}

static void test_headers_set__repeated_name__leaves_one(void **state)
{
    struct fixture *f = *state;
    headers_add_id_ref(&f->h, HDR_COOKIE, STR("a"));
    headers_add_ref(&f->h, STR("x-a"), STR("1"));
    headers_add_id_ref(&f->h, HDR_COOKIE, STR("b"));
    headers_add_ref(&f->h, STR("x-a"), STR("2"));
    assert_true(headers_set_id(&f->h, HDR_COOKIE, STR("ccc")));
    assert_true(headers_set(&f->h, STR("x-a"), STR("3")));
    assert_true(headers_set(&f->h, STR("x-b"), STR("4")));
    assert_true(headers_set(&f->h, STR("via"), STR("5")));
    assert_true(headers_set_id_ref(&f->h, HDR_VIA, STR("6")));
    assert_int_equal(f->h.count, 4);
    assert_str_equal(f->h.items[0].value, "ccc");
    assert_str_equal(f->h.items[1].value, "3");
    assert_str_equal(f->h.items[2].value, "4");
    assert_str_equal(f->h.items[3].value, "6");
    check_list(&f->h);
}

static void test_headers_append_id__present_or_not(void **state)
{
    struct fixture *f = *state;
    assert_true(headers_append_id(&f->h, HDR_VIA, STR("a")));
    assert_true(headers_append_id(&f->h, HDR_VIA, STR("b")));
    assert_true(headers_append_id(&f->h, HDR_VIA, STR("")));
    assert_str_equal(headers_get_id(&f->h, HDR_VIA), "a,b,");
    assert_int_equal(f->h.count, 1);
    check_list(&f->h);
}

static void test_headers_remove__mask_bit__stays_while_one_is_left(void **state)
{
    struct fixture *f = *state;
    headers_add_id_ref(&f->h, HDR_COOKIE, STR("a"));
    headers_add_ref(&f->h, STR("x-a"), STR("1"));
    headers_add_id_ref(&f->h, HDR_COOKIE, STR("b"));
    headers_add_id_ref(&f->h, HDR_ETAG, STR("e"));
    headers_remove_at(&f->h, 0);
    check_list(&f->h);
    assert_true(headers_has_id(&f->h, HDR_COOKIE));
    headers_remove_at(&f->h, 1);
    check_list(&f->h);
    assert_false(headers_has_id(&f->h, HDR_COOKIE));
    headers_add_id_ref(&f->h, HDR_COOKIE, STR("a"));
    headers_add_id_ref(&f->h, HDR_COOKIE, STR("b"));
    assert_int_equal(headers_remove(&f->h, STR("cookie")), 2);
    assert_int_equal(headers_remove_id(&f->h, HDR_COOKIE), 0);
    assert_int_equal(headers_remove_id(&f->h, HDR_ETAG), 1);
    assert_int_equal(headers_remove(&f->h, STR("x-a")), 1);
    assert_int_equal(headers_remove(&f->h, STR("x-a")), 0);
    assert_int_equal(f->h.count, 0);
    check_list(&f->h);
}

static void test_headers_get_joined__none_one_many(void **state)
{
    struct fixture *f = *state;
    assert_null(headers_get_joined(&f->h, STR("x-a"), &f->arena).p);
    headers_add_ref(&f->h, STR("x-a"), STR("1"));
    assert_str_equal(headers_get_joined(&f->h, STR("x-a"), &f->arena), "1");
    headers_add_ref(&f->h, STR("x-b"), STR("no"));
    headers_add_ref(&f->h, STR("x-a"), STR(""));
    headers_add_ref(&f->h, STR("x-a"), STR("3"));
    assert_str_equal(headers_get_joined(&f->h, STR("x-a"), &f->arena), "1,,3");
    headers_add_id_ref(&f->h, HDR_SET_COOKIE, STR("a"));
    headers_add_id_ref(&f->h, HDR_SET_COOKIE, STR("b"));
    assert_str_equal(headers_get_joined(&f->h, STR("set-cookie"), &f->arena), "a,b");
    headers_set(&f->h, STR("x-b"), STR(""));
    headers_add_ref(&f->h, STR("x-b"), STR(""));
    assert_str_equal(headers_get_joined(&f->h, STR("x-b"), &f->arena), ",");
}

static void test_headers_copy__survives_its_source(void **state)
{
    struct fixture *f = *state;
    struct arena other;
    struct headers copy;
    headers_add(&f->h, STR("x-a"), STR("1"));
    f->h.items[0].raw_name = "X-A";
    headers_add_id_ref(&f->h, HDR_COOKIE, STR("c"));
    f->h.items[1].never_index = true;
    arena_init(&other, 0);
    assert_true(headers_copy(&copy, &f->h, &other));
    arena_reset(&f->arena);
    headers_init(&f->h, &f->arena);
    check_list(&copy);
    assert_int_equal(copy.count, 2);
    assert_str_equal(headers_get(&copy, STR("x-a")), "1");
    assert_memory_equal(copy.items[0].raw_name, "X-A", 3);
    assert_true(copy.items[1].never_index);
    assert_true(copy.arena == &other);
    arena_fini(&other);
}

static void test_headers__full_arena__changes_nothing(void **state)
{
    (void)state;
    struct arena arena;
    struct headers h;
    arena_init(&arena, 16 * sizeof(struct header) + 8);
    headers_init(&h, &arena);
    assert_true(headers_add_id_ref(&h, HDR_VIA, STR("a")));
    assert_false(headers_add(&h, STR("a-long-name"), STR("and value")));
    assert_false(headers_set_id(&h, HDR_VIA, STR("a longer value")));
    assert_false(headers_append_id(&h, HDR_VIA, STR("a longer value")));
    assert_int_equal(h.count, 1);
    assert_str_equal(headers_get_id(&h, HDR_VIA), "a");
    check_list(&h);
    arena_fini(&arena);
}

static void test_header_names_and_values__validity(void **state)
{
    (void)state;
    assert_true(header_name_is_valid(STR("X-a!#$%&'*+-.^_`|~09")));
    assert_false(header_name_is_valid(STR("")));
    assert_false(header_name_is_valid(STR("a b")));
    assert_false(header_name_is_valid(STR("a:")));
    assert_false(header_name_is_valid(STR("a\0")));
    assert_false(header_name_is_valid(STR("\x80")));
    assert_true(header_value_is_valid(STR("")));
    assert_true(header_value_is_valid(STR("a \t\x80\xff")));
    assert_false(header_value_is_valid(STR("a\r")));
    assert_false(header_value_is_valid(STR("a\n")));
    assert_false(header_value_is_valid(STR("a\0")));
    assert_false(header_value_is_valid(STR("\x7f")));
}

static void test_header_list_has__tokens(void **state)
{
    (void)state;
    assert_true(header_list_has(STR("close"), STR("close")));
    assert_true(header_list_has(STR("a,\tClOsE ,b"), STR("close")));
    assert_true(header_list_has(STR(",,close"), STR("close")));
    assert_false(header_list_has(STR("closed"), STR("close")));
    assert_false(header_list_has(STR("a close"), STR("close")));
    assert_false(header_list_has(STR_NULL, STR("close")));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header_id_of__every_row__gives_its_id),
        TEST(test_headers_add__many__keeps_order_and_finds),
        TEST(test_headers_set__repeated_name__leaves_one),
        TEST(test_headers_append_id__present_or_not),
        TEST(test_headers_remove__mask_bit__stays_while_one_is_left),
        TEST(test_headers_get_joined__none_one_many),
        TEST(test_headers_copy__survives_its_source),
        cmocka_unit_test(test_headers__full_arena__changes_nothing),
        cmocka_unit_test(test_header_names_and_values__validity),
        cmocka_unit_test(test_header_list_has__tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
