/* SPDX-License-Identifier: Apache-2.0
 * The process log, counted checks and the crash handler.
 */
#include "base/check.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"

#include "../unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

struct scratch {
    char dir[64], path[96], moved[96];
};

static int setup(void **state)
{
    struct scratch *s = mem_zalloc(sizeof(*s));
    snprintf(s->dir, sizeof(s->dir), "/tmp/weft-log-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    snprintf(s->path, sizeof(s->path), "%s/log", s->dir);
    snprintf(s->moved, sizeof(s->moved), "%s/moved", s->dir);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct scratch *s = *state;
    log_open(NULL, NULL);
    log_set_format("%v", NULL);
    log_set_level_all(LOG_INFO);
    unlink(s->path);
    unlink(s->moved);
    rmdir(s->dir);
    mem_free(s);
    return 0;
}

static const char *slurp(const char *path)
{
    static char text[200000];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void test_log__format__gives_each_operator(void **state)
{
    struct scratch *s = *state;
    assert_int_equal(log_open(s->path, NULL), 0);
    assert_int_equal(log_set_format("%l|%L|%n|%s|%%|%v", NULL), 0);
    LOG(UPSTREAM, WARNING, "value %d", 7);
    LOG(UPSTREAM, DEBUG, "not shown");
    assert_string_equal(slurp(s->path), "warning|W|upstream|test_log.c|%|value 7\n");
}

static void test_log__control_bytes__cannot_forge_a_line(void **state)
{
    struct scratch *s = *state;
    log_open(s->path, NULL);
    log_set_format("%v", NULL);
    LOG(MAIN, ERROR, "path %s", "/a\r\n[fake]\x1b");
    assert_string_equal(slurp(s->path), "path /a\\r\\n[fake]\\x1b\n");
}

static void test_log__reopen__writes_to_the_new_file(void **state)
{
    struct scratch *s = *state;
    log_open(s->path, NULL);
    log_set_format("%v", NULL);
    LOG(MAIN, INFO, "one");
    assert_int_equal(rename(s->path, s->moved), 0);
    log_reopen();
    LOG(MAIN, INFO, "two");
    assert_string_equal(slurp(s->moved), "one\n");
    assert_string_equal(slurp(s->path), "two\n");
}

static void test_log__bad_settings__are_named(void **state)
{
    (void)state;
    struct err e;
    enum log_level l;
    assert_int_equal(log_set_format("%v %q", &e), ERR_INVALID);
    assert_non_null(strstr(e.message, "'%q'"));
    assert_int_equal(log_set_format("%", &e), ERR_INVALID);
    assert_int_equal(log_open("/nonexistent/dir/log", &e), ERR_NOT_FOUND);
    assert_false(log_set_level("nonsense", LOG_INFO));
    assert_true(log_level_parse("warn", &l) && l == LOG_WARNING);
    assert_true(log_level_parse("off", &l) && l == LOG_OFF);
    assert_false(log_level_parse("loud", &l));
}

static void test_log_set_level__one_component__leaves_others(void **state)
{
    (void)state;
    assert_true(log_set_level("upstream", LOG_DEBUG));
    assert_true(log_is_on(LOG_C_UPSTREAM, LOG_DEBUG));
    assert_false(log_is_on(LOG_C_MAIN, LOG_DEBUG));
}

static void *log_many(void *arg)
{
    for (int i = 0; i < 500; i++)
        LOG(MAIN, INFO, "thread %s line", (const char *)arg);
    return NULL;
}

static void test_log__two_threads__lines_stay_whole(void **state)
{
    struct scratch *s = *state;
    pthread_t a, b;
    log_open(s->path, NULL);
    log_set_format("%v", NULL);
    pthread_create(&a, NULL, log_many, "aaaa");
    pthread_create(&b, NULL, log_many, "bbbb");
    pthread_join(a, NULL);
    pthread_join(b, NULL);
    int lines = 0;
    const char *p = slurp(s->path);
    for (const char *end; (end = strchr(p, '\n')); p = end + 1, lines++)
        assert_true(str_eq(str_make(p, (size_t)(end - p)), STR("thread aaaa line")) ||
                    str_eq(str_make(p, (size_t)(end - p)), STR("thread bbbb line")));
    assert_int_equal(lines, 1000);
}

static void sum_hits(const struct check_count *c, void *arg)
{
    if (strcmp(c->why, "unit test") == 0)
        *(uint64_t *)arg += c->hits;
}

static void test_count_if__hits__are_listed_once(void **state)
{
    (void)state;
    uint64_t sum = 0;
    for (int i = 0; i < 10; i++)
        assert_int_equal(COUNT_IF(i % 2, "unit test"), i % 2);
    check_counts_each(sum_hits, &sum);
    assert_int_equal(sum, 5);
}

static void fail_a_check(void)
{
    check_context = (struct check_context){"worker_7", 42, 9};
    CHECK(1 > 2);
}

/* Runs `doom` in a child and returns what it said; the signal that killed it through *signo. */
static const char *last_words(void (*doom)(void), int *signo)
{
    static char text[8192];
    int ends[2], status = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL); /* cmocka's own handlers */
        signal(SIGSEGV, SIG_DFL);
        crash_install("weft-proxy test");
        crash_thread_init();
        doom();
        _exit(0);
    }
    close(ends[1]);
    size_t n = 0;
    for (ssize_t got; (got = read(ends[0], text + n, sizeof(text) - 1 - n)) > 0;)
        n += (size_t)got;
    text[n] = '\0';
    close(ends[0]);
    waitpid(pid, &status, 0);
    *signo = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    return text;
}

static void test_crash__failed_check__says_who_and_where(void **state)
{
    (void)state;
    int signo;
    const char *text = last_words(fail_a_check, &signo);
    assert_int_equal(signo, SIGABRT);
    assert_non_null(strstr(text, "check failed: 1 > 2 at "));
    assert_non_null(strstr(text, "(worker_7, connection 42, stream 9)"));
    assert_non_null(strstr(text, "crash: SIGABRT in worker_7, connection 42, stream 9"));
    assert_non_null(strstr(text, "backtrace:"));
}

#if !MEM_SANITIZED /* Faults are the sanitizer's to report in its builds. */
static void fault(void)
{
    check_context = (struct check_context){"worker_3", 5, 6};
    kill(getpid(), SIGSEGV);
}

static void test_crash__fault__dies_of_the_same_signal(void **state)
{
    (void)state;
    int signo;
    const char *text = last_words(fault, &signo);
    assert_int_equal(signo, SIGSEGV);
    assert_non_null(strstr(text, "crash: SIGSEGV"));
    assert_non_null(strstr(text, "worker_3, connection 5, stream 6"));
}
#endif

static void test_log_pace_take__again_within_the_interval__is_left_out_and_told(void **state)
{
    (void)state;
    struct log_pace pace = {0};
    uint64_t left_out = 99;
    assert_true(log_pace_take(&pace, &left_out));
    assert_int_equal(left_out, 0);
    for (int i = 0; i < 3; i++)
        assert_false(log_pace_take(&pace, &left_out));
    pace.next_us = 0; /* the interval is over */
    assert_true(log_pace_take(&pace, &left_out));
    assert_int_equal(left_out, 3);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_log__format__gives_each_operator),
        TEST(test_log__control_bytes__cannot_forge_a_line),
        TEST(test_log__reopen__writes_to_the_new_file),
        TEST(test_log__bad_settings__are_named),
        TEST(test_log_set_level__one_component__leaves_others),
        TEST(test_log__two_threads__lines_stay_whole),
        cmocka_unit_test(test_log_pace_take__again_within_the_interval__is_left_out_and_told),
        cmocka_unit_test(test_count_if__hits__are_listed_once),
        cmocka_unit_test(test_crash__failed_check__says_who_and_where),
#if !MEM_SANITIZED
        cmocka_unit_test(test_crash__fault__dies_of_the_same_signal),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
