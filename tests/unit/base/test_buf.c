/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include "base/mem.h"
#include "base/rng.h"

#include "../unit.h"

static void assert_holds(const struct buf *b, const char *want)
{
    char got[256];
    size_t n = buf_copy_out(b, 0, got, sizeof(got));
    assert_int_equal(n, b->len);
    assert_str_equal(str_make(got, n), want);
}

static int pieces(const struct buf *b)
{
    struct iovec iov[64];
    return buf_iov(b, iov, 64);
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(buf_thread_usage().blocks_used, 0);
    buf_trim();
    assert_int_equal(buf_thread_usage().blocks_idle, 0);
    return 0;
}

static void test_buf__empty__answers_everything(void **state)
{
    (void)state;
    struct buf b = BUF_INIT, other = BUF_INIT;
    struct iovec iov[1];
    struct buf_iter it = {0};
    struct str piece;
    assert_int_equal(buf_front(&b).n, 0);
    assert_int_equal(buf_iov(&b, iov, 1), 0);
    assert_int_equal(buf_find(&b, STR("x")), -1);
    assert_false(buf_next(&b, &it, &piece));
    buf_drain(&b, 0);
    buf_move(&other, &b);
    buf_move_n(&other, &b, 0);
    buf_append(&b, "", 0);
    buf_append_static(&b, "", 0);
    assert_null(buf_pullup(&b, 0));
    assert_null(b.first);
    buf_fini(&b);
}

static void test_buf_append__small_pieces__share_one_block(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    buf_append_str(&b, STR("abc"));
    buf_append_fmt(&b, "-%d", 42);
    assert_int_equal(pieces(&b), 1);
    assert_holds(&b, "abc-42");
    buf_fini(&b);
}

static void test_buf_append__past_a_block__goes_on_in_the_next(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    char *big = mem_zalloc(40000);
    buf_append(&b, big, 40000);
    assert_int_equal(b.len, 40000);
    assert_int_equal(pieces(&b), 3);
    assert_int_equal(buf_thread_usage().blocks_used, 3);
    mem_free(big);
    buf_fini(&b);
}

static void test_buf_append_fmt__long__keeps_all(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    buf_append_fmt(&b, "%02000d", 7);
    assert_int_equal(b.len, 2000);
    assert_int_equal(buf_find(&b, STR("7")), 1999);
    buf_fini(&b);
}

static void test_buf_append_static__empty_buf__copies_nothing(void **state)
{
    (void)state;
    static const char text[] = "static";
    struct buf b = BUF_INIT;
    buf_append_static(&b, text, 6);
    assert_ptr_equal(buf_front(&b).p, text);
    assert_int_equal(buf_thread_usage().blocks_used, 0);
    buf_append_str(&b, STR("+"));
    assert_holds(&b, "static+");
    assert_string_equal(text, "static");
    buf_fini(&b);
}

static void test_buf_prepend__before_shared_bytes__leaves_the_other_alone(void **state)
{
    (void)state;
    struct buf b = BUF_INIT, copy = BUF_INIT;
    buf_append_str(&b, STR("world"));
    buf_drain(&b, 1);
    buf_share(&copy, &b, b.len);
    buf_prepend(&b, "W", 1);
    buf_prepend(&b, "hello ", 6);
    assert_holds(&b, "hello World");
    assert_holds(&copy, "orld");
    buf_fini(&b);
    buf_fini(&copy);
}

static void test_buf_share__then_append__never_writes_shared_blocks(void **state)
{
    (void)state;
    struct buf b = BUF_INIT, copy = BUF_INIT;
    buf_append_str(&b, STR("abc"));
    buf_share(&copy, &b, 2);
    buf_append_str(&b, STR("def"));
    buf_append_str(&copy, STR("XYZ"));
    assert_holds(&b, "abcdef");
    assert_holds(&copy, "abXYZ");
    buf_fini(&b);
    assert_holds(&copy, "abXYZ");
    buf_fini(&copy);
}

static void test_buf_reserve__commit_less__keeps_only_that(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    size_t avail;
    uint8_t *p = buf_reserve(&b, 1, &avail);
    assert_int_equal(avail, BUF_BLOCK_BYTES);
    memcpy(p, "hello", 5);
    buf_commit(&b, 5);
    p = buf_reserve(&b, BUF_BLOCK_BYTES, &avail);
    assert_int_equal(avail, BUF_BLOCK_BYTES);
    memcpy(p, "!", 1);
    buf_commit(&b, 1);
    assert_holds(&b, "hello!");
    buf_fini(&b);
}

static void test_buf_reserve__nothing_committed__holds_no_memory(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    size_t avail;
    buf_reserve(&b, 100, &avail);
    buf_commit(&b, 0);
    assert_null(b.first);
    assert_int_equal(buf_thread_usage().blocks_used, 0);
}

static void test_buf_reserve__left_open__later_calls_go_on(void **state)
{
    (void)state;
    struct buf b = BUF_INIT, other = BUF_INIT;
    size_t avail;
    static const char text[BUF_BLOCK_BYTES];
    buf_append(&other, text, sizeof(text));
    buf_append_static(&b, "abc", 3);
    buf_reserve(&b, 100, &avail);
    buf_move(&b, &other);
    assert_int_equal(pieces(&b), 2);
    assert_int_equal(b.len, BUF_BLOCK_BYTES + 3);
    buf_fini(&b);
}

static void test_buf_reserve_iov__fills_in_order__gives_the_rest_back(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct iovec iov[4];
    struct buf_room room;
    buf_append_str(&b, STR("ab"));
    int n = buf_reserve_iov(&b, 2 * BUF_BLOCK_BYTES, iov, 4, &room);
    assert_int_equal(n, 3);
    assert_int_equal(iov[0].iov_len, BUF_BLOCK_BYTES - 2);
    memset(iov[0].iov_base, 'x', iov[0].iov_len);
    memset(iov[1].iov_base, 'y', 3);
    buf_commit_iov(&b, &room, BUF_BLOCK_BYTES - 2 + 3);
    assert_int_equal(b.len, BUF_BLOCK_BYTES + 3);
    assert_int_equal(buf_find(&b, STR("xyyy")), BUF_BLOCK_BYTES - 1);
    assert_int_equal(buf_thread_usage().blocks_used, 2);
    buf_reserve_iov(&b, 100000, iov, 2, &room);
    buf_commit_iov(&b, &room, 0);
    assert_int_equal(buf_thread_usage().blocks_used, 2);
    buf_fini(&b);
}

static void test_buf_move__large__moves_blocks(void **state)
{
    (void)state;
    struct buf a = BUF_INIT, b = BUF_INIT;
    char *big = mem_zalloc(BUF_BLOCK_BYTES);
    buf_append(&a, big, BUF_BLOCK_BYTES);
    const char *at = buf_front(&a).p;
    buf_append_str(&b, STR("head"));
    buf_move(&b, &a);
    assert_int_equal(b.len, BUF_BLOCK_BYTES + 4);
    assert_int_equal(a.len, 0);
    buf_drain(&b, 4);
    assert_ptr_equal(buf_front(&b).p, at);
    mem_free(big);
    buf_fini(&b);
}

/* A peer that sends a byte at a time must not pin a block a byte. */
static void test_buf_move__byte_by_byte__stays_in_one_block(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    for (int i = 0; i < 1000; i++) {
        struct buf in = BUF_INIT;
        buf_append(&in, "x", 1);
        buf_move(&b, &in);
    }
    assert_int_equal(b.len, 1000);
    assert_int_equal(buf_thread_usage().blocks_used, 1);
    buf_fini(&b);
}

static void test_buf_pullup__over_slices__is_contiguous(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    buf_append_static(&b, "abc", 3);
    buf_append_static(&b, "def", 3);
    buf_append_static(&b, "ghi", 3);
    assert_memory_equal(buf_pullup(&b, 5), "abcde", 5);
    assert_memory_equal(buf_pullup(&b, 9), "abcdefghi", 9);
    assert_int_equal(b.len, 9);
    assert_int_equal(pieces(&b), 1);
    buf_fini(&b);
}

static void test_buf_pullup__past_a_block__works(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    char *big = mem_zalloc(50000);
    for (int i = 0; i < 50000; i++)
        big[i] = (char)i;
    buf_append(&b, big, 50000);
    assert_memory_equal(buf_pullup(&b, 45000), big, 45000);
    assert_memory_equal(buf_pullup(&b, 50000), big, 50000);
    mem_free(big);
    buf_fini(&b);
}

static void test_buf_find__across_slices__gives_the_position(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    buf_append_static(&b, "a\r", 2);
    buf_append_static(&b, "\n\r", 2);
    buf_append_static(&b, "\nz", 2);
    assert_int_equal(buf_find(&b, STR("\r\n\r\n")), 1);
    assert_int_equal(buf_find(&b, STR("z")), 5);
    assert_int_equal(buf_find(&b, STR("zz")), -1);
    assert_int_equal(buf_find(&b, STR("")), 0);
    buf_fini(&b);
}

/* Random operations against a plain array that does the same. */
struct model {
    struct buf buf;
    uint8_t bytes[300000];
    size_t n;
};

static void model_check(const struct model *m)
{
    assert_int_equal(m->buf.len, m->n);
    size_t at = 0;
    struct str piece;
    for (struct buf_iter it = {0}; buf_next(&m->buf, &it, &piece); at += piece.n)
        assert_memory_equal(m->bytes + at, piece.p, piece.n);
    assert_int_equal(at, m->n);
}

static void model_push(struct model *m, const void *p, size_t n)
{
    memcpy(m->bytes + m->n, p, n);
    m->n += n;
}

static void model_pop(struct model *m, size_t n)
{
    memmove(m->bytes, m->bytes + n, m->n - n);
    m->n -= n;
}

static void model_step(struct model *a, struct model *b, struct rng *r)
{
    static uint8_t fresh[20000];
    size_t n = rng_below(r, 4) ? rng_below(r, 300) : rng_below(r, sizeof(fresh));
    size_t some = a->n ? rng_below(r, a->n + 1) : 0, avail;
    for (size_t i = 0; i < n; i++)
        fresh[i] = (uint8_t)rng_next(r);
    switch (rng_below(r, 9)) {
    case 0:
        buf_append(&a->buf, fresh, n);
        model_push(a, fresh, n);
        break;
    case 1:
        buf_prepend(&a->buf, fresh, n);
        memmove(a->bytes + n, a->bytes, a->n);
        memcpy(a->bytes, fresh, n);
        a->n += n;
        break;
    case 2:
        buf_append_static(&a->buf, "static text", 11);
        model_push(a, "static text", 11);
        break;
    case 3:
        buf_move(&b->buf, &a->buf);
        model_push(b, a->bytes, a->n);
        a->n = 0;
        break;
    case 4:
        buf_move_n(&b->buf, &a->buf, some);
        model_push(b, a->bytes, some);
        model_pop(a, some);
        break;
    case 5:
        buf_share(&b->buf, &a->buf, some);
        model_push(b, a->bytes, some);
        break;
    case 6:
        buf_drain(&a->buf, some);
        model_pop(a, some);
        break;
    case 7:
        if (a->n)
            assert_memory_equal(buf_pullup(&a->buf, some ? some : 1), a->bytes, some);
        break;
    case 8: {
        uint8_t *p = buf_reserve(&a->buf, 1, &avail);
        n = n < avail ? n : avail;
        memcpy(p, fresh, n);
        buf_commit(&a->buf, n);
        model_push(a, fresh, n);
        break;
    }
    }
}

static void test_buf__random_operations__match_a_plain_array(void **state)
{
    (void)state;
    struct model *m[2] = {mem_zalloc(sizeof(struct model)), mem_zalloc(sizeof(struct model))};
    struct rng r;
    rng_seed(&r, 17);
    for (int i = 0; i < 5000; i++) {
        size_t which = rng_below(&r, 2);
        model_step(m[which], m[!which], &r);
        for (int k = 0; k < 2; k++) {
            model_check(m[k]);
            if (m[k]->n > 60000) {
                buf_drain(&m[k]->buf, m[k]->n);
                m[k]->n = 0;
            }
        }
    }
    for (int k = 0; k < 2; k++) {
        buf_fini(&m[k]->buf);
        mem_free(m[k]);
    }
}

#if !MEM_SANITIZED /* Sanitizer builds do not recycle. */
static void test_buf__released_blocks__are_recycled_on_the_thread(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    buf_append(&b, "x", 1);
    buf_fini(&b);
    assert_int_equal(buf_thread_usage().blocks_idle, 1);
    buf_append(&b, "x", 1);
    assert_int_equal(buf_thread_usage().blocks_idle, 0);
    buf_fini(&b);
}
#endif

#define TEST(f) cmocka_unit_test_teardown(f, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_buf__empty__answers_everything),
        TEST(test_buf_append__small_pieces__share_one_block),
        TEST(test_buf_append__past_a_block__goes_on_in_the_next),
        TEST(test_buf_append_fmt__long__keeps_all),
        TEST(test_buf_append_static__empty_buf__copies_nothing),
        TEST(test_buf_prepend__before_shared_bytes__leaves_the_other_alone),
        TEST(test_buf_share__then_append__never_writes_shared_blocks),
        TEST(test_buf_reserve__commit_less__keeps_only_that),
        TEST(test_buf_reserve__nothing_committed__holds_no_memory),
        TEST(test_buf_reserve__left_open__later_calls_go_on),
        TEST(test_buf_reserve_iov__fills_in_order__gives_the_rest_back),
        TEST(test_buf_move__large__moves_blocks),
        TEST(test_buf_move__byte_by_byte__stays_in_one_block),
        TEST(test_buf_pullup__over_slices__is_contiguous),
        TEST(test_buf_pullup__past_a_block__works),
        TEST(test_buf_find__across_slices__gives_the_position),
        TEST(test_buf__random_operations__match_a_plain_array),
#if !MEM_SANITIZED
        TEST(test_buf__released_blocks__are_recycled_on_the_thread),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
