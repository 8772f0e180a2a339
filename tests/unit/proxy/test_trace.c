/* SPDX-License-Identifier: Apache-2.0
 *
 * Traces without sockets: contexts in headers both ways, the sampling decision and its mark in request ids, spans' tags
 * and what goes over the wire of them.
 */
#include "proxy/trace/tracer.h"

#include "../unit.h"

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define SPAN "b7ad6b7169203331"
#define HIGH 0x0af7651916cd43ddull
#define LOW 0x8448eb211c80319cull
#define ID 0xb7ad6b7169203331ull

static struct arena arena;
static struct headers h;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    headers_init(&h, &arena);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static void is_header(const char *name, const char *value)
{
    struct str s = headers_get(&h, str_from(name));
    if (!value) {
        assert_null(s.p);
        return;
    }
    if (!str_eq(s, str_from(value)))
        fail_msg("%s: '%.*s', not '%s'", name, STR_ARG(s), value);
}

/* ---- W3C ---- */

static void test_w3c_extract__good_parent__its_ids(void **state)
{
    (void)state;
    struct trace_parent p;
    headers_add(&h, STR("traceparent"), STR("00-" TRACE "-" SPAN "-01"));
    headers_add(&h, STR("tracestate"), STR("a=b"));
    headers_add(&h, STR("tracestate"), STR("c=d"));
    assert_int_equal(w3c_extract(&h, &arena, &p), CONTEXT_FOUND);
    assert_true(p.trace_high == HIGH && p.trace_low == LOW && p.id == ID && p.sampled);
    assert_true(str_eq(p.state, STR("a=b,c=d")));
}

static void test_w3c_extract__other_flags__sampled_by_the_last_bit(void **state)
{
    (void)state;
    static const struct { const char *flags; bool sampled; } rows[] = {{"00", false}, {"01", true}, {"02", false}, {"ff", true}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct trace_parent p;
        headers_set_id(&h, HDR_TRACEPARENT, arena_printf(&arena, "00-" TRACE "-" SPAN "-%s", rows[i].flags));
        assert_int_equal(w3c_extract(&h, &arena, &p), CONTEXT_FOUND);
        assert_int_equal(p.sampled, rows[i].sampled);
    }
}

static void test_w3c_extract__bad_parents__invalid(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "x", "00-" TRACE "-" SPAN "-0", "00-" TRACE "-" SPAN "-01-", "00-" TRACE "-" SPAN "_01", "00_" TRACE "-" SPAN "-01",
        "0g-" TRACE "-" SPAN "-01", "00-" TRACE "-" SPAN "-0g", "00-00000000000000000000000000000000-" SPAN "-01",
        "00-" TRACE "-0000000000000000-01", "00-" TRACE "-b7ad6b716920333z-01", "00- af7651916cd43dd8448eb211c80319c-" SPAN "-01"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct trace_parent p;
        headers_set_id(&h, HDR_TRACEPARENT, str_from(bad[i]));
        assert_int_equal(w3c_extract(&h, &arena, &p), CONTEXT_INVALID);
    }
}

static void test_w3c_extract__each_byte_broken__never_found_with_other_ids(void **state)
{
    (void)state;
    const char good[] = "00-" TRACE "-" SPAN "-01";
    for (size_t i = 0; i < sizeof good - 1; i++) {
        char text[sizeof good];
        struct trace_parent p;
        memcpy(text, good, sizeof good);
        text[i] = '!';
        headers_set_id(&h, HDR_TRACEPARENT, str_from(text));
        assert_int_equal(w3c_extract(&h, &arena, &p), CONTEXT_INVALID);
        headers_set_id(&h, HDR_TRACEPARENT, str_make(good, i));
        assert_int_equal(w3c_extract(&h, &arena, &p), CONTEXT_INVALID);
    }
}

static void test_w3c_inject__over_another__replaces_it(void **state)
{
    (void)state;
    struct span s = {.trace_high = HIGH, .trace_low = LOW, .id = ID, .format = SPAN_W3C};
    headers_add(&h, STR("traceparent"), STR("junk"));
    headers_add(&h, STR("tracestate"), STR("junk"));
    s.state = STR("a=b");
    w3c_inject(&s, true, &h);
    is_header("traceparent", "00-" TRACE "-" SPAN "-00");
    is_header("tracestate", "a=b");
    assert_int_equal(h.count, 2);
    s.sampled = true;
    w3c_inject(&s, false, &h);
    is_header("traceparent", "00-" TRACE "-" SPAN "-01");
    is_header("tracestate", "a=b");
}

/* ---- B3 ---- */

static void test_b3_extract__headers__their_ids(void **state)
{
    (void)state;
    struct trace_parent p;
    enum span_format format;
    assert_int_equal(b3_extract(&h, &p, &format), CONTEXT_NONE);
    headers_add(&h, STR("x-b3-traceid"), STR(TRACE));
    assert_int_equal(b3_extract(&h, &p, &format), CONTEXT_NONE);
    headers_add(&h, STR("x-b3-spanid"), STR(SPAN));
    assert_int_equal(b3_extract(&h, &p, &format), CONTEXT_FOUND);
    assert_true(p.trace_high == HIGH && p.trace_low == LOW && p.id == ID && !p.parent_id && format == SPAN_B3);
    headers_add(&h, STR("x-b3-parentspanid"), STR("1"));
    assert_int_equal(b3_extract(&h, &p, &format), CONTEXT_FOUND);
    assert_int_equal(p.parent_id, 1);
    headers_set(&h, STR("x-b3-parentspanid"), STR("zz"));
    assert_int_equal(b3_extract(&h, &p, &format), CONTEXT_INVALID);
}

static void test_b3_extract__one_header__by_its_parts(void **state)
{
    (void)state;
    static const struct { const char *text; enum context_result result; bool sampled; uint64_t parent; } rows[] = {
        {TRACE "-" SPAN, CONTEXT_FOUND, true, 0},
        {TRACE "-" SPAN "-0", CONTEXT_FOUND, false, 0},
        {TRACE "-" SPAN "-d", CONTEXT_FOUND, true, 0},
        {TRACE "-" SPAN "-1-00f067aa0ba902b7", CONTEXT_FOUND, true, 0x00f067aa0ba902b7},
        {"0", CONTEXT_NONE, false, 0},
        {"1", CONTEXT_NONE, true, 0},
        {"", CONTEXT_INVALID, true, 0},
        {"x", CONTEXT_INVALID, true, 0},
        {TRACE, CONTEXT_INVALID, true, 0},
        {TRACE "-", CONTEXT_INVALID, true, 0},
        {TRACE "-" SPAN "-", CONTEXT_INVALID, true, 0},
        {TRACE "-" SPAN "-1-", CONTEXT_INVALID, true, 0},
        {TRACE "-" SPAN "-2", CONTEXT_INVALID, true, 0},
        {"8448eb211c80319-" SPAN, CONTEXT_INVALID, true, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct trace_parent p;
        enum span_format format;
        headers_set_id(&h, HDR_B3, str_from(rows[i].text));
        if (b3_extract(&h, &p, &format) != rows[i].result)
            fail_msg("'%s'", rows[i].text);
        assert_int_equal(format, SPAN_B3_SINGLE);
        assert_int_equal(b3_sampled(&h, true), rows[i].sampled);
        if (rows[i].result == CONTEXT_FOUND)
            assert_true(p.parent_id == rows[i].parent);
    }
}

static void test_b3_inject__both_forms__as_they_came(void **state)
{
    (void)state;
    struct span s = {.trace_low = LOW, .id = ID, .parent_id = 1, .sampled = true, .format = SPAN_B3};
    b3_inject(&s, &h);
    is_header("x-b3-traceid", "8448eb211c80319c");
    is_header("x-b3-spanid", SPAN);
    is_header("x-b3-parentspanid", "0000000000000001");
    is_header("x-b3-sampled", "1");
    is_header("b3", NULL);
    s.format = SPAN_B3_SINGLE;
    s.trace_high = HIGH;
    s.sampled = false;
    b3_inject(&s, &h);
    is_header("b3", TRACE "-" SPAN "-0-0000000000000001");
}

/* ---- sampling ---- */

#define UUID(c) "00000001-0000-" c "000-8000-000000000000"
static struct sampling_rules rules(uint64_t client, uint64_t chance, uint64_t overall)
{
    return (struct sampling_rules){.client = {STR(""), client, 100}, .random = {STR(""), chance, 10000},
                                   .overall = {STR(""), overall, 10000}, .use_request_id = true, .pack_reason = true};
}

static enum trace_reason decide(struct sampling_rules r, const char *id)
{
    struct rng rng;
    rng_seed(&rng, 1);
    if (id)
        headers_set_id(&h, HDR_X_REQUEST_ID, str_from(id));
    return sampling_decide(&r, &h, &rng);
}

static void test_sampling_decide__by_chance__value_of_the_id_decides(void **state)
{
    (void)state;
    assert_int_equal(decide(rules(100, 1, 10000), UUID("4")), TRACE_NONE); /* 1 is not below 1 */
    is_header("x-request-id", UUID("4"));
    assert_int_equal(decide(rules(100, 2, 10000), UUID("4")), TRACE_SAMPLED);
    is_header("x-request-id", UUID("9"));
}

static void test_sampling_decide__marked_id__believed_but_for_the_overall_limit(void **state)
{
    (void)state;
    assert_int_equal(decide(rules(0, 0, 10000), UUID("9")), TRACE_SAMPLED);
    assert_int_equal(decide(rules(0, 0, 10000), UUID("a")), TRACE_FORCED);
    assert_int_equal(decide(rules(0, 0, 10000), UUID("b")), TRACE_CLIENT);
    assert_int_equal(decide(rules(0, 0, 1), UUID("b")), TRACE_NONE);
    is_header("x-request-id", UUID("4"));
}

static void test_sampling_decide__forced_and_by_clients__marked(void **state)
{
    (void)state;
    headers_add_id_ref(&h, HDR_ENVOY_FORCE_TRACE, STR("1"));
    assert_int_equal(decide(rules(100, 0, 10000), UUID("4")), TRACE_FORCED);
    is_header("x-request-id", UUID("a"));
    headers_add_id_ref(&h, HDR_X_CLIENT_TRACE_ID, STR("me"));
    assert_int_equal(decide(rules(100, 0, 10000), UUID("4")), TRACE_CLIENT);
    assert_int_equal(decide(rules(0, 0, 10000), UUID("4")), TRACE_FORCED);
}

static void test_sampling_decide__ids_that_are_none__not_traced(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "1234567", "zzzzzzzz-0000-9000-8000-000000000000"};
    assert_int_equal(decide(rules(100, 10000, 10000), NULL), TRACE_NONE);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(decide(rules(100, 10000, 10000), bad[i]), TRACE_NONE);
    assert_int_equal(decide(rules(100, 10000, 10000), "00000001"), TRACE_SAMPLED); /* but its text is left alone */
    is_header("x-request-id", "00000001");
}

static void test_sampling_decide__ids_not_used__always(void **state)
{
    (void)state;
    struct sampling_rules r = rules(0, 0, 0);
    r.use_request_id = false;
    assert_int_equal(decide(r, UUID("4")), TRACE_SAMPLED);
    is_header("x-request-id", UUID("4"));
}

static void test_otel_ratio_hits__share_of_random_ids__as_told(void **state)
{
    (void)state;
    struct rng rng;
    unsigned hits = 0;
    rng_seed(&rng, 7);
    for (int i = 0; i < 100000; i++)
        hits += otel_ratio_hits(rng_next(&rng), 2500, 10000);
    assert_in_range(hits, 24500, 25500);
    assert_false(otel_ratio_hits(0, 0, 100));
    assert_true(otel_ratio_hits(UINT64_MAX, 100, 100));
}

/* ---- spans ---- */

static void test_span_tag__same_key__last_value(void **state)
{
    (void)state;
    struct span s = {.arena = &arena, .sampled = true};
    span_tag(&s, STR("a"), STR("1"));
    span_tag(&s, STR("b"), STR("2"));
    span_tag(&s, STR("a"), STR("3"));
    assert_int_equal(s.tag_count, 2);
    assert_true(str_eq(s.tags[0].value, STR("3")));
}

static void test_span_tag__too_many__bounded(void **state)
{
    (void)state;
    struct span s = {.arena = &arena, .sampled = true};
    for (int i = 0; i < 1000; i++)
        span_tag(&s, arena_printf(&arena, "key-%d", i), STR("v"));
    for (int i = 0; i < 1000; i++)
        span_event(&s, "event", 1);
    assert_in_range(s.tag_count, SPAN_TAGS_MAX, 2 * SPAN_TAGS_MAX);
    assert_int_equal(s.event_count, SPAN_EVENTS_MAX);
}

static void test_span_tag__not_sampled__costs_nothing(void **state)
{
    (void)state;
    struct span s = {.arena = &arena};
    span_tag_number(&s, STR("a"), 1);
    span_fail(&s);
    assert_int_equal(s.tag_count, 0);
    assert_int_equal(arena.used_bytes, 0);
}

static void test_zipkin_encode_json__odd_texts__one_list(void **state)
{
    (void)state;
    struct zipkin_options o = {.service_name = STR("s\"x"), .address = STR("127.0.0.1"), .shared_span_context = true};
    struct span s = {.arena = &arena, .sampled = true, .trace_low = LOW, .id = ID, .name = STR("n"), .start_wall_us = 5, .end_wall_us = 3};
    struct strbuf entries = {0}, out = {0};
    span_tag(&s, STR("k\n"), STR("\x01\xff"));
    zipkin_encode_json(&o, &s, &entries);
    zipkin_encode_json(&o, &s, &entries);
    zipkin_wrap_json(NULL, strbuf_str(&entries), &out);
    assert_true(out.p[0] == '[' && out.p[1] == '{' && out.p[out.n - 1] == ']');
    assert_non_null(strstr(out.p, "\"duration\":0,"));
    assert_non_null(strstr(out.p, "\"shared\":true"));
    assert_non_null(strstr(out.p, "s\\\"x"));
    assert_null(strstr(out.p, "\x01"));
    strbuf_fini(&entries);
    strbuf_fini(&out);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_w3c_extract__good_parent__its_ids),
        T(test_w3c_extract__other_flags__sampled_by_the_last_bit),
        T(test_w3c_extract__bad_parents__invalid),
        T(test_w3c_extract__each_byte_broken__never_found_with_other_ids),
        T(test_w3c_inject__over_another__replaces_it),
        T(test_b3_extract__headers__their_ids),
        T(test_b3_extract__one_header__by_its_parts),
        T(test_b3_inject__both_forms__as_they_came),
        T(test_sampling_decide__by_chance__value_of_the_id_decides),
        T(test_sampling_decide__marked_id__believed_but_for_the_overall_limit),
        T(test_sampling_decide__forced_and_by_clients__marked),
        T(test_sampling_decide__ids_that_are_none__not_traced),
        T(test_sampling_decide__ids_not_used__always),
        T(test_otel_ratio_hits__share_of_random_ids__as_told),
        T(test_span_tag__same_key__last_value),
        T(test_span_tag__too_many__bounded),
        T(test_span_tag__not_sampled__costs_nothing),
        T(test_zipkin_encode_json__odd_texts__one_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
