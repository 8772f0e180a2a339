/* SPDX-License-Identifier: Apache-2.0 */
#include "config_fixture.h"

#include "proxy/config/options.h"

static int parse(struct options *o, struct err *err, int argc, char **argv)
{
    memset(err, 0, sizeof *err);
    return options_parse(o, argc, argv, err);
}
#define PARSE(o_, err_, ...)                                                                       \
    ({                                                                                             \
        char *argv_[] = {(char *)"weft-proxy", __VA_ARGS__, NULL};                                 \
        parse(o_, err_, (int)ARRAY_LEN(argv_) - 1, argv_);                                         \
    })

static void test_options_parse__usual_flags__are_taken(void **state)
{
    (void)state;
    struct options o;
    struct err err;
    assert_int_equal(PARSE(&o, &err, "-c", "x.yaml", "--concurrency", "1", "--base-id=30", "-l", "error", "--mode", "validate",
                           "--drain-time-s", "5", "--drain-strategy", "immediate", "--allow-unsupported",
                           "--component-log-level", "upstream:debug,http:warn"), 0);
    assert_true(str_eq(o.server.config_path, STR("x.yaml")));
    assert_int_equal(o.server.concurrency, 1);
    assert_int_equal(o.server.base_id, 30);
    assert_int_equal(o.log_level, LOG_ERROR);
    assert_int_equal(o.server.mode, SERVER_VALIDATE);
    assert_int_equal(o.server.drain_time_s, 5);
    assert_true(o.server.drain_immediate);
    assert_true(o.server.allow_unsupported);
}

static void test_options_parse__nothing__has_defaults(void **state)
{
    (void)state;
    struct options o;
    struct err err;
    char *argv[] = {(char *)"weft-proxy", NULL};
    assert_int_equal(parse(&o, &err, 1, argv), 0);
    assert_true(o.server.concurrency >= 1);
    assert_int_equal(o.server.drain_time_s, 600);
    assert_int_equal(o.log_level, LOG_INFO);
    assert_int_equal(o.server.mode, SERVER_SERVE);
}

static void test_options_parse__zero_concurrency__is_the_cores(void **state)
{
    (void)state;
    struct options o;
    struct err err;
    assert_int_equal(PARSE(&o, &err, "--concurrency", "0"), 0);
    assert_true(o.server.concurrency >= 1);
}

static void test_options_parse__faults__name_the_flag(void **state)
{
    (void)state;
    struct options o;
    struct err err;
    assert_int_equal(PARSE(&o, &err, "--frobnicate"), ERR_INVALID);
    assert_non_null(strstr(err.message, "--frobnicate"));
    assert_int_equal(PARSE(&o, &err, "stray"), ERR_INVALID);
    assert_int_equal(PARSE(&o, &err, "--concurrency", "many"), ERR_INVALID);
    assert_int_equal(PARSE(&o, &err, "--config-path"), ERR_INVALID);
    assert_int_equal(PARSE(&o, &err, "-l", "loud"), ERR_INVALID);
    assert_int_equal(PARSE(&o, &err, "--component-log-level", "nonsense:debug"), ERR_INVALID);
    assert_int_equal(PARSE(&o, &err, "--version=1"), ERR_INVALID);
    assert_int_equal(PARSE(&o, &err, "--mode", "run"), ERR_INVALID);
}

static void test_options_parse__hot_restart_flags__are_noted(void **state)
{
    (void)state;
    struct options o;
    struct err err;
    assert_int_equal(PARSE(&o, &err, "--restart-epoch", "1", "--disable-hot-restart"), 0);
    assert_int_equal(o.note_count, 2);
    assert_true(o.server.hot_restart_noted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_parse__usual_flags__are_taken),
        cmocka_unit_test(test_options_parse__nothing__has_defaults),
        cmocka_unit_test(test_options_parse__zero_concurrency__is_the_cores),
        cmocka_unit_test(test_options_parse__faults__name_the_flag),
        cmocka_unit_test(test_options_parse__hot_restart_flags__are_noted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
