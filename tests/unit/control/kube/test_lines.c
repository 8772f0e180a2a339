/* SPDX-License-Identifier: Apache-2.0 */
#include "control/kube/lines.h"

#include "../../unit.h"

#include "control/kube/backoff.h"

struct got {
    struct strbuf text; /* lines, each with "|" behind it */
    unsigned left;      /* how many more are wanted */
};

static bool on_line(void *user, struct str line)
{
    struct got *g = user;
    strbuf_adds(&g->text, line);
    strbuf_addc(&g->text, '|');
    return --g->left > 0;
}

static const char text[] = "{\"a\":1}\n\n{\"b\":\"two\"}\r\n{}\n{\"unfin";
static const char want[] = "{\"a\":1}|{\"b\":\"two\"}|{}|";

static void test_feed__whole__gives_each_line(void **state)
{
    (void)state;
    struct kube_lines l = {.limit_bytes = 64};
    struct got g = {.left = 100};
    assert_int_equal(kube_lines_feed(&l, str_from(text), on_line, &g, NULL), 0);
    assert_str_equal(strbuf_str(&g.text), want);
    strbuf_fini(&g.text);
    kube_lines_fini(&l);
}

static void test_feed__at_each_split_and_byte_by_byte__gives_the_same(void **state)
{
    (void)state;
    for (size_t cut = 0; cut <= sizeof(text) - 1; cut++) {
        struct kube_lines l = {.limit_bytes = 64};
        struct got g = {.left = 100};
        assert_int_equal(kube_lines_feed(&l, str_make(text, cut), on_line, &g, NULL), 0);
        assert_int_equal(kube_lines_feed(&l, str_from(text + cut), on_line, &g, NULL), 0);
        assert_str_equal(strbuf_str(&g.text), want);
        strbuf_fini(&g.text);
        kube_lines_fini(&l);
    }
    struct kube_lines l = {.limit_bytes = 64};
    struct got g = {.left = 100};
    for (size_t i = 0; i < sizeof(text) - 1; i++)
        assert_int_equal(kube_lines_feed(&l, str_make(text + i, 1), on_line, &g, NULL), 0);
    assert_str_equal(strbuf_str(&g.text), want);
    strbuf_fini(&g.text);
    kube_lines_fini(&l);
}

static void test_feed__line_past_the_limit__fails__whole_and_in_pieces(void **state)
{
    (void)state;
    struct err err = {0};
    struct got g = {.left = 100};
    struct kube_lines l = {.limit_bytes = 7};
    assert_int_equal(kube_lines_feed(&l, STR("1234567\n12345678\n"), on_line, &g, &err), ERR_LIMIT);
    assert_str_equal(strbuf_str(&g.text), "1234567|");
    kube_lines_fini(&l);
    l = (struct kube_lines){.limit_bytes = 7};
    assert_int_equal(kube_lines_feed(&l, STR("12345"), on_line, &g, &err), 0);
    assert_int_equal(kube_lines_feed(&l, STR("678"), on_line, &g, &err), ERR_LIMIT);
    assert_int_equal(l.held.n, 5);
    strbuf_fini(&g.text);
    kube_lines_fini(&l);
}

static void test_feed__who_wants_no_more__gets_no_more(void **state)
{
    (void)state;
    struct got g = {.left = 2};
    struct kube_lines l = {.limit_bytes = 64};
    assert_int_equal(kube_lines_feed(&l, STR("1\n2\n3\n4"), on_line, &g, NULL), 0);
    assert_str_equal(strbuf_str(&g.text), "1|2|");
    strbuf_fini(&g.text);
    kube_lines_fini(&l);
}

static void test_backoff__doubles_up_to_its_cap__and_honours_the_server(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 7);
    for (uint32_t i = 0; i < 200; i++) {
        uint64_t first = kube_backoff_ms(1, 0, &rng), third = kube_backoff_ms(3, 0, &rng), last = kube_backoff_ms(1000, 0, &rng);
        assert_in_range(first, KUBE_BACKOFF_FIRST_MS / 2, KUBE_BACKOFF_FIRST_MS);
        assert_in_range(third, KUBE_BACKOFF_FIRST_MS * 2, KUBE_BACKOFF_FIRST_MS * 4);
        assert_in_range(last, KUBE_BACKOFF_MAX_MS / 2, KUBE_BACKOFF_MAX_MS);
        assert_in_range(kube_backoff_ms(1, 5000, &rng), 5000, 5000 + KUBE_BACKOFF_FIRST_MS);
        assert_in_range(kube_backoff_ms(1, UINT64_MAX, &rng), KUBE_RETRY_AFTER_MAX_MS, KUBE_RETRY_AFTER_MAX_MS + KUBE_BACKOFF_FIRST_MS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_feed__whole__gives_each_line),
        cmocka_unit_test(test_feed__at_each_split_and_byte_by_byte__gives_the_same),
        cmocka_unit_test(test_feed__line_past_the_limit__fails__whole_and_in_pieces),
        cmocka_unit_test(test_feed__who_wants_no_more__gets_no_more),
        cmocka_unit_test(test_backoff__doubles_up_to_its_cap__and_honours_the_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
