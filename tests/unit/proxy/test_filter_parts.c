/* SPDX-License-Identifier: Apache-2.0
 *
 * The pure parts of HTTP filters: buckets, windows, cookies, query mutations, values off the wire.
 */
#include "proxy/filter/admission_control.h"
#include "proxy/filter/header_mutation.h"
#include "proxy/filter/stateful_session.h"
#include "proxy/filter/stream_rate.h"
#include "proxy/filter/value_wire.h"

#include "base/check.h"
#include "base/mem.h"

#include "../unit.h"

#define S 1000000ull
#define NS 1000000000ull

static void test_rate_bucket_take__begins__one_interval(void **state)
{
    (void)state;
    struct rate_bucket b = {.bytes_per_s = 20000};
    assert_int_equal(rate_bucket_take(&b, 100 * NS, 50000, 100000), 1000);
    assert_int_equal(rate_bucket_take(&b, 100 * NS, 50000, 100000), 0);
    assert_int_equal(rate_bucket_take(&b, 100 * NS + NS / 10, 50000, 500), 500);
    assert_int_equal(rate_bucket_take(&b, 100 * NS + NS / 10, 50000, 100000), 1500);
    assert_int_equal(rate_bucket_take(&b, 200 * NS, 50000, 100000), 20000); /* never more than a second's */
}

static void test_rate_bucket_take__many_takers__never_more_than_the_rate(void **state)
{
    (void)state;
    struct rate_bucket b = {.bytes_per_s = 1000};
    uint64_t total = 0;
    for (uint64_t ms = 0; ms < 10000; ms++)
        for (int i = 0; i < 3; i++)
            total += rate_bucket_take(&b, 5 * NS + ms * 1000000, 50000, 7);
    assert_true(total > 9900 && total <= 10050);
}

static void test_admission_window__slices_pass__forgotten(void **state)
{
    (void)state;
    struct admission_window *w = admission_window_new(3 * S);
    for (int i = 0; i < 10; i++)
        admission_window_note(w, 100 * S + (uint64_t)i * S / 2, i % 2 == 0);
    assert_int_equal(w->requests, 6); /* of the last three seconds' slices */
    assert_int_equal(w->successes, 3);
    admission_window_turn(w, 104 * S + 2 * S);
    assert_int_equal(w->requests, 2);
    assert_int_equal(admission_window_rps(w, 106 * S), 1);
    admission_window_turn(w, 200 * S);
    assert_int_equal(w->requests, 0);
    assert_int_equal(admission_window_rps(w, 200 * S), 0);
    mem_free(w);
}

static void test_admission_rejection__formula__bounded(void **state)
{
    (void)state;
    assert_true(admission_rejection(100, 100, 0.95, 1, 0.8) == 0);
    assert_true(admission_rejection(100, 95, 0.95, 1, 0.8) < 1e-9);
    assert_true(admission_rejection(0, 0, 0.95, 1, 0.8) == 0);
    assert_true(admission_rejection(100, 0, 1, 1, 0.8) == 0.8);
    double half = admission_rejection(99, 49, 1, 1, 0.8); /* 50 / 100 */
    assert_true(half > 0.4999 && half < 0.5001);
    double squared = admission_rejection(99, 49, 1, 2, 0.8); /* its square root */
    assert_true(squared > 0.707 && squared < 0.708);
}

static void test_session_cookie__round_trip__envoys_bytes(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 0);
    /* As Envoy 1.40 wrote it for 127.0.0.1:44337. */
    assert_str_equal(session_cookie_write(STR("127.0.0.1:44337"), 0, &a), "Cg8xMjcuMC4wLjE6NDQzMzc=");
    struct str cookie = session_cookie_write(STR("127.0.0.1:44337"), 1800000000, &a);
    assert_str_equal(session_cookie_read(cookie, 1799999999, &a), "127.0.0.1:44337");
    assert_null(session_cookie_read(cookie, 1800000001, &a).p);
    assert_str_equal(session_cookie_read(STR("MTI3LjAuMC4xOjE="), 1, &a), "127.0.0.1:1"); /* a bare address */
    assert_null(session_cookie_read(STR("??"), 1, &a).p);
    assert_null(session_cookie_read(STR(""), 1, &a).p);
    arena_fini(&a);
    arena_thread_fini();
}

static void test_query_mutations_apply__actions__sorted_by_name(void **state)
{
    (void)state;
    struct err err;
    struct query_mutation m[] = {
        {.key = STR("a"), .value = format_new(STR("2"), true, &err), .action = HEADER_APPEND},
        {.key = STR("c"), .value = format_new(STR("new"), true, &err), .action = HEADER_OVERWRITE_IF_EXISTS},
        {.key = STR("b"), .value = format_new(STR("x"), true, &err), .action = HEADER_OVERWRITE_OR_ADD},
        {.key = STR("a"), .value = format_new(STR("no"), true, &err), .action = HEADER_ADD_IF_ABSENT},
        {.remove = true, .key = STR("z")},
    };
    struct format_context cx = {0};
    struct arena a;
    arena_init(&a, 0);
    assert_str_equal(query_mutations_apply(m, 5, STR("/p?z=1&b=0&a=1&b=1"), &cx, &a), "/p?a=1&a=2&b=x");
    assert_str_equal(query_mutations_apply(m, 5, STR("/p"), &cx, &a), "/p?a=2&b=x");
    assert_str_equal(query_mutations_apply(&m[4], 1, STR("/p?z"), &cx, &a), "/p");
    for (size_t i = 0; i < ARRAY_LEN(m); i++)
        format_free(&m[i].value);
    arena_fini(&a);
    arena_thread_fini();
}

/* {"k": [1.5, true]}, and every prefix of it. */
static void test_value_from_wire__struct_and_cut_short__read_or_refused(void **state)
{
    (void)state;
    static const char bytes[] = "\x2a\x16\x0a\x14\x0a\x01k\x12\x0f\x32\x0d\x0a\x09\x11\0\0\0\0\0\0\xf8\x3f\x0a\0";
    struct str whole = str_make(bytes, sizeof bytes - 1);
    struct meta_value v;
    struct arena a;
    struct strbuf out = {0};
    arena_init(&a, 0);
    assert_true(value_from_wire(whole, &a, &v));
    meta_print_json(&v, false, &out);
    assert_string_equal(out.p, "{\"k\":[1.5,null]}");
    for (size_t n = 1; n < whole.n; n++) {
        char *copy = mem_strndup(whole.p, n);
        assert_false(value_from_wire(str_make(copy, n), &a, &v));
        mem_free(copy);
    }
    strbuf_fini(&out);
    arena_fini(&a);
    arena_thread_fini();
}

static void test_value_from_wire__nested_without_end__refused(void **state)
{
    (void)state;
    char bytes[400];
    size_t at = sizeof bytes;
    while (at > 150) { /* lists in lists: 32 n 0a m, from the inside out */
        size_t inner = sizeof bytes - at;
        if (inner + 4 > 127)
            break;
        bytes[--at] = (char)inner;
        bytes[--at] = 0x0a;
        bytes[at - 1] = (char)(inner + 2);
        bytes[at - 2] = 0x32;
        at -= 2;
    }
    struct meta_value v;
    struct arena a;
    arena_init(&a, 0);
    assert_false(value_from_wire(str_make(bytes + at, sizeof bytes - at), &a, &v));
    arena_fini(&a);
    arena_thread_fini();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rate_bucket_take__begins__one_interval),
        cmocka_unit_test(test_rate_bucket_take__many_takers__never_more_than_the_rate),
        cmocka_unit_test(test_admission_window__slices_pass__forgotten),
        cmocka_unit_test(test_admission_rejection__formula__bounded),
        cmocka_unit_test(test_session_cookie__round_trip__envoys_bytes),
        cmocka_unit_test(test_query_mutations_apply__actions__sorted_by_name),
        cmocka_unit_test(test_value_from_wire__struct_and_cut_short__read_or_refused),
        cmocka_unit_test(test_value_from_wire__nested_without_end__refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
