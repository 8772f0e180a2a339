/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include "../unit.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64], path[96], draft[100];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/weft_file.XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/text", folder);
    snprintf(draft, sizeof draft, "%s.new", path);
    return 0;
}

static int drop_folder(void **state)
{
    (void)state;
    unlink(path);
    unlink(draft);
    return rmdir(folder);
}

static void expect_text(const char *want)
{
    struct strbuf got = {0};
    assert_int_equal(file_read(path, 1 << 20, &got, NULL), 0);
    assert_str_equal(strbuf_str(&got), want);
    strbuf_fini(&got);
}

static void test_file_replace__again_and_again__the_last_and_its_mode(void **state)
{
    (void)state;
    struct stat st;
    umask(0);
    assert_int_equal(file_replace(path, STR("one"), 0644, NULL), 0);
    assert_int_equal(file_replace(path, STR("two"), 0600, NULL), 0);
    expect_text("two");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(access(draft, F_OK), -1);
}

static void test_file_replace__draft_is_a_link__is_not_followed(void **state)
{
    (void)state;
    char elsewhere[100];
    snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", folder);
    assert_int_equal(symlink(elsewhere, draft), 0);
    assert_int_equal(file_replace(path, STR("key"), 0600, NULL), 0);
    expect_text("key");
    assert_int_equal(access(elsewhere, F_OK), -1);
}

static void test_file_replace__no_room__old_text_stays_and_it_says_so(void **state)
{
    (void)state;
    struct err err = {0};
    struct rlimit old, none = {2, 0};
    assert_int_equal(file_replace(path, STR("old"), 0600, NULL), 0);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    none.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    int rc = file_replace(path, STR("new"), 0600, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(rc, ERR_IO);
    assert_non_null(strstr(err.message, "cannot write"));
    expect_text("old");
    assert_int_equal(access(draft, F_OK), -1);
}

static void test_file_replace__killed_at_any_time__old_or_new_whole(void **state)
{
    (void)state;
    static char text[2][65536];
    memset(text[0], 'a', sizeof text[0]);
    memset(text[1], 'b', sizeof text[1]);
    assert_int_equal(file_replace(path, str_make(text[0], sizeof text[0]), 0600, NULL), 0);
    for (int round = 0; round < 40; round++) {
        pid_t child = fork();
        if (child == 0)
            for (int i = 0;; i++)
                file_replace(path, str_make(text[i & 1], sizeof text[0]), 0600, NULL);
        usleep((useconds_t)(round * 97 % 3000));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        struct strbuf got = {0};
        assert_int_equal(file_read(path, 1 << 20, &got, NULL), 0);
        assert_int_equal(got.n, sizeof text[0]);
        assert_true(memcmp(got.p, text[got.p[0] == 'b'], got.n) == 0);
        strbuf_fini(&got);
    }
}

static void test_file_read__limit_and_absence__named(void **state)
{
    (void)state;
    struct strbuf got = {0};
    struct err err = {0};
    assert_int_equal(file_read(path, 3, &got, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, path));
    assert_int_equal(file_replace(path, STR("four"), 0600, NULL), 0);
    assert_int_equal(file_read(path, 3, &got, &err), ERR_LIMIT);
    strbuf_reset(&got);
    assert_int_equal(file_read(path, 4, &got, &err), 0);
    assert_str_equal(strbuf_str(&got), "four");
    strbuf_fini(&got);
}

#define FRESH(t) cmocka_unit_test_setup_teardown(t, make_folder, drop_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRESH(test_file_replace__again_and_again__the_last_and_its_mode),
        FRESH(test_file_replace__draft_is_a_link__is_not_followed),
        FRESH(test_file_replace__no_room__old_text_stays_and_it_says_so),
        FRESH(test_file_replace__killed_at_any_time__old_or_new_whole),
        FRESH(test_file_read__limit_and_absence__named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
