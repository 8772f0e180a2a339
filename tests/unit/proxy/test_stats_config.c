/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/stats/stats_config.h"

#include "base/check.h"
#include "base/mem.h"
#include "proxy/stats/registry.h"

#include "../unit.h"

static const struct stat_desc rows[] = {
    {"total", STAT_COUNTER, STAT_UNIT_NONE, ""},
    {"active", STAT_GAUGE, STAT_UNIT_NONE, ""},
};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

static int setup(void **state)
{
    stats_init(1);
    struct stat_scope *s = stat_scope_get(STR("cluster.a."), &table, STR("cluster."), NULL, 0);
    stat_inc(s, 0);
    stat_code(s, "rq", 200);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    stats_fini();
    return 0;
}

static void note(const struct stat_sample *s, void *arg)
{
    strbuf_adds(arg, s->name);
    strbuf_addc(arg, ' ');
}

static char *names(void)
{
    struct strbuf b = {0};
    stats_each(true, true, note, &b);
    return strbuf_take(&b);
}

static void check_names(const struct stats_config *c, const char *want)
{
    stats_config_apply(c);
    for (int again = 0; again < 2; again++) { /* verdicts are remembered */
        char *got = names();
        assert_string_equal(got, want);
        mem_free(got);
    }
}

static void test_stats_config_apply__matchers__choose_what_exists(void **state)
{
    (void)state;
    struct string_match patterns[1];
    assert_int_equal(string_match_init(&patterns[0], MATCH_SUFFIX, STR("rq_200"), false, NULL), 0);
    struct stats_config c = {.patterns = patterns, .pattern_count = 1};
    check_names(NULL, "cluster.a.total cluster.a.active cluster.a.rq_200 ");
    c.filter = STATS_KEEP_ALL;
    check_names(&c, "cluster.a.total cluster.a.active cluster.a.rq_200 ");
    c.filter = STATS_REJECT_ALL;
    check_names(&c, "");
    c.filter = STATS_INCLUDE;
    check_names(&c, "cluster.a.rq_200 ");
    c.filter = STATS_EXCLUDE;
    check_names(&c, "cluster.a.total cluster.a.active ");
    check_names(NULL, "cluster.a.total cluster.a.active cluster.a.rq_200 ");
    string_match_fini(&patterns[0]);
}

static void look(const struct stat_sample *s, void *arg)
{
    if (str_eq(s->name, STR("cluster.a.rq_200")))
        *(uint64_t *)arg = s->value;
}

static void test_stats_reset_counters__rejected_meanwhile__starts_again_too(void **state)
{
    struct stats_config none = {.filter = STATS_REJECT_ALL};
    uint64_t value = 99;
    stats_config_apply(&none);
    stats_reset_counters();
    stats_config_apply(NULL);
    stat_code(*state, "rq", 200);
    stats_each(false, false, look, &value);
    assert_int_equal(value, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_stats_config_apply__matchers__choose_what_exists, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stats_reset_counters__rejected_meanwhile__starts_again_too, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
