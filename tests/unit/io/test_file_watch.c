/* SPDX-License-Identifier: Apache-2.0 */
#include "conn_help.h"

#include <sys/stat.h>

#include "io/file_watch.h"

static struct file_watcher *fw;
static char dir[64];

static int watch_setup(void **state)
{
    setup(state);
    snprintf(dir, sizeof(dir), "/tmp/weft-test-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    fw = file_watcher_new(loop, NULL);
    return fw ? 0 : -1;
}

static int watch_teardown(void **state)
{
    char cmd[128];
    file_watcher_free(&fw);
    snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
    if (system(cmd) != 0)
        return -1;
    return teardown(state);
}

static const char *in_dir(const char *name)
{
    static char paths[8][128];
    static int at;
    at = (at + 1) % 8;
    snprintf(paths[at], sizeof(paths[at]), "%s/%s", dir, name);
    return paths[at];
}

static void put(const char *name, const char *text)
{
    int fd = open(in_dir(name), O_CREAT | O_TRUNC | O_WRONLY, 0600);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

struct seen {
    int calls;
    struct file_watch *del;
    bool free_all;
};

static void on_change(void *user, const char *path)
{
    struct seen *s = user;
    assert_non_null(strstr(path, dir));
    s->calls++;
    file_watch_del(s->del);
    s->del = NULL;
    if (s->free_all)
        file_watcher_free(&fw);
}

static void test_file_watch__rewritten_and_renamed_over__told_once_each(void **state)
{
    (void)state;
    struct seen s = {0};
    put("cert", "one");
    file_watch_add(fw, in_dir("cert"), on_change, &s);
    loop_turn(loop, 0);
    assert_int_equal(s.calls, 0);
    put("cert", "two");
    put("cert", "six"); /* same size, perhaps the same time */
    loop_turn(loop, -1);
    assert_int_equal(s.calls, 1);
    put("cert.new", "three");
    loop_turn(loop, -1);
    assert_int_equal(s.calls, 1); /* another file */
    rename(in_dir("cert.new"), in_dir("cert"));
    loop_turn(loop, -1);
    assert_int_equal(s.calls, 2);
    put("cert", "four"); /* the new inode is followed */
    loop_turn(loop, -1);
    assert_int_equal(s.calls, 3);
}

static void test_file_watch__not_there_yet__told_when_it_comes_and_goes(void **state)
{
    (void)state;
    struct seen s = {0};
    file_watch_add(fw, in_dir("sub/deep/cert"), on_change, &s);
    mkdir(in_dir("sub"), 0700);
    loop_turn(loop, -1);
    mkdir(in_dir("sub/deep"), 0700);
    loop_turn(loop, -1);
    assert_int_equal(s.calls, 0);
    put("sub/deep/cert", "x");
    loop_turn(loop, -1);
    assert_int_equal(s.calls, 1);
    unlink(in_dir("sub/deep/cert"));
    loop_turn(loop, -1);
    assert_int_equal(s.calls, 2);
}

/* As kubelet does it: cert -> ..data/cert, ..data -> ..v1, then ..data is renamed over. */
static void test_file_watch__config_map_swap__told_once_a_swap(void **state)
{
    (void)state;
    struct seen s = {0};
    mkdir(in_dir("..v1"), 0700);
    mkdir(in_dir("..v2"), 0700);
    put("..v1/cert", "one");
    put("..v2/cert", "two");
    assert_int_equal(symlink("..v1", in_dir("..data")), 0);
    assert_int_equal(symlink("..data/cert", in_dir("cert")), 0);
    file_watch_add(fw, in_dir("cert"), on_change, &s);
    assert_int_equal(symlink("..v2", in_dir("..tmp")), 0);
    rename(in_dir("..tmp"), in_dir("..data"));
    unlink(in_dir("..v1/cert"));
    loop_turn(loop, -1);
    assert_int_equal(s.calls, 1);
    assert_int_equal(symlink("..v1", in_dir("..tmp")), 0);
    put("..v1/cert", "three");
    rename(in_dir("..tmp"), in_dir("..data"));
    loop_turn(loop, -1);
    assert_int_equal(s.calls, 2);
}

static void test_file_watch__directory__told_of_its_entries(void **state)
{
    (void)state;
    struct seen s = {0};
    file_watch_add(fw, dir, on_change, &s);
    put("a", "x");
    put("b", "x");
    loop_turn(loop, -1);
    assert_int_equal(s.calls, 1);
    unlink(in_dir("a"));
    loop_turn(loop, -1);
    assert_int_equal(s.calls, 2);
}

static void test_file_watch_del__in_a_callback__others_are_not_called(void **state)
{
    (void)state;
    struct seen a = {0}, b = {0};
    put("cert", "one");
    file_watch_add(fw, in_dir("cert"), on_change, &a);
    a.del = file_watch_add(fw, in_dir("cert"), on_change, &b);
    put("cert", "two");
    loop_turn(loop, -1);
    assert_int_equal(a.calls, 1);
    assert_int_equal(b.calls, 0);
    put("cert", "three");
    loop_turn(loop, -1);
    assert_int_equal(a.calls, 2);
}

static void test_file_watcher_free__in_a_callback__is_safe(void **state)
{
    (void)state;
    struct seen a = {.free_all = true}, b = {0};
    put("cert", "one");
    file_watch_add(fw, in_dir("cert"), on_change, &a);
    file_watch_add(fw, in_dir("cert"), on_change, &b);
    put("cert", "two");
    loop_turn(loop, -1);
    assert_int_equal(a.calls, 1);
    assert_int_equal(b.calls, 0);
    assert_null(fw);
}

#define T(f) cmocka_unit_test_setup_teardown(f, watch_setup, watch_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_file_watch__rewritten_and_renamed_over__told_once_each),
        T(test_file_watch__not_there_yet__told_when_it_comes_and_goes),
        T(test_file_watch__config_map_swap__told_once_a_swap),
        T(test_file_watch__directory__told_of_its_entries),
        T(test_file_watch_del__in_a_callback__others_are_not_called),
        T(test_file_watcher_free__in_a_callback__is_safe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
