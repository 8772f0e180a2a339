/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/agent/identity.h"

#include "../unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/agent/file_secrets.h"
#include "proxy/agent/secrets.h"
#include "proxy/agent/token.h"

#define HOUR 3600

/* Two self-signed certificates (EC P-256, a hundred years) with their keys. */
#include "agent_certificates.h"

static bool serves(void *user, struct str name)
{
    (void)user, (void)name;
    return true;
}

static void wanted(void *user, struct str name)
{
    file_secrets_want(user, name);
}

static const struct secret_provider provider = {serves, wanted};

static void test_identity_renew_at__lives__half_of_what_is_left(void **state)
{
    (void)state;
    static const struct { int64_t not_after; double ratio, jitter, roll; int64_t want; } rows[] = {
        {24 * HOUR, 0.5, 0, 0, 12 * HOUR},
        {24 * HOUR, 0.5, 0.01, 0, 24 * HOUR - (int64_t)(24 * HOUR * 0.49)},
        {24 * HOUR, 0.5, 0.01, 1, 24 * HOUR - (int64_t)(24 * HOUR * 0.51)},
        {24 * HOUR, 0.2, 0, 0, 24 * HOUR - (int64_t)(24 * HOUR * 0.2)},
        {24 * HOUR, 1, 0.5, 1, 0},
        {24 * HOUR, 0, 0.5, 0, 24 * HOUR},
        {10, 0.5, 0, 0, 5},
        {0, 0.5, 0, 0, 0},
        {-HOUR, 0.5, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t now = 1800000000;
        int64_t got = identity_renew_at(now, now + rows[i].not_after, rows[i].ratio, rows[i].jitter, rows[i].roll);
        if (got != now + rows[i].want)
            fail_msg("row %zu: %lld", i, (long long)(got - now));
    }
}

/* The wall clock jumps at `jump_at_s`: when is the renewal of a certificate of 24 hours noticed, in seconds of a
 * clock that doesn't jump? */
static int64_t noticed_after(int64_t jump_s, int64_t jump_at_s)
{
    int64_t start = 1800000000, renew_at = identity_renew_at(start, start + 24 * HOUR, 0.5, 0, 0);
    for (int64_t steady = 0;;) {
        int64_t wall = start + steady + (steady >= jump_at_s ? jump_s : 0);
        uint64_t ms = identity_sleep_ms(wall, renew_at);
        assert_true(ms <= 60000 && ms % 1000 == 0);
        if (ms == 0)
            return steady;
        steady += (int64_t)(ms / 1000);
    }
}

static void test_identity_sleep__clock_jumps__noticed_within_a_minute(void **state)
{
    (void)state;
    assert_int_equal(noticed_after(0, 0), 12 * HOUR);
    assert_in_range(noticed_after(12 * HOUR, HOUR), HOUR, HOUR + 60);         /* to the very second of renewal */
    assert_in_range(noticed_after(1000 * HOUR, HOUR + 30), HOUR, HOUR + 90);  /* past the certificate's end */
    assert_in_range(noticed_after(5 * HOUR, HOUR), 7 * HOUR, 7 * HOUR + 60);
    assert_in_range(noticed_after(-3 * HOUR, HOUR), 15 * HOUR, 15 * HOUR + 60); /* by the clock that peers go by */
    assert_true(identity_sleep_ms(0, INT64_MAX) == 60000 && identity_sleep_ms(INT64_MAX, 0) == 0);
}

static void test_trust_set__several_sources__joined_once_each(void **state)
{
    (void)state;
    struct trust t = {0};
    bool changed;
    secret_store_open(&provider, NULL);
    assert_int_equal(trust_set(&t, TRUST_ISSUER, STR(CERT_A), &changed, NULL), 0);
    assert_true(changed);
    size_t one = secret_store_get(STR("ROOTCA"))->roots_pem.n;
    assert_int_equal(trust_set(&t, TRUST_SETTINGS, STR(CERT_B CERT_A), &changed, NULL), 0);
    assert_true(changed);
    size_t two = secret_store_get(STR("ROOTCA"))->roots_pem.n;
    assert_true(two > one && two < 3 * one);
    assert_int_equal(trust_set(&t, TRUST_ISSUER, STR(CERT_A), &changed, NULL), 0);
    assert_false(changed);
    assert_int_equal(trust_set(&t, TRUST_ISSUER, STR("junk"), &changed, NULL), ERR_INVALID);
    assert_int_equal(secret_store_get(STR("ROOTCA"))->roots_pem.n, two);
    trust_set_crl(&t, STR("list"));
    assert_str_equal(secret_store_get(STR("ROOTCA"))->crl_pem, "list");
    assert_int_equal(trust_set(&t, TRUST_SETTINGS, STR(""), &changed, NULL), 0);
    assert_int_equal(trust_set(&t, TRUST_ISSUER, STR(""), &changed, NULL), 0);
    assert_false(changed);
    assert_int_equal(secret_store_get(STR("ROOTCA"))->roots_pem.n, one);
    trust_fini(&t);
    secret_store_close();
}

static char home[64];
static void put(const char *name, const char *text)
{
    char path[128], draft[160];
    snprintf(path, sizeof path, "%s/%s", home, name);
    snprintf(draft, sizeof draft, "%s.new", path);
    int fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    assert_int_equal(rename(draft, path), 0);
}

static void on_secret(void *user, struct secret *s)
{
    (void)s;
    ++*(int *)user;
}

static bool is_over(struct loop *loop, const int *count, int want)
{
    for (int i = 0; i < 400 && *count < want; i++)
        loop_turn(loop, 10);
    return *count >= want;
}

static void test_file_secrets__file_cert_changes__pairs_only(void **state)
{
    (void)state;
    struct err err = {0};
    int told = 0;
    snprintf(home, sizeof home, "/tmp/weft_files_XXXXXX");
    assert_non_null(mkdtemp(home));
    stats_init(1);
    struct loop *loop = loop_new("main", &err);
    struct file_watcher *files = file_watcher_new(loop, &err);
    struct file_secrets *f = file_secrets_new();
    char name[256];
    snprintf(name, sizeof name, "file-cert:%s/c.pem~%s/k.pem", home, home);
    put("c.pem", CERT_A);
    put("k.pem", KEY_A);
    secret_store_open(&provider, f);
    struct secret_watch *w = secret_watch_add(str_from(name), on_secret, &told);
    assert_non_null(secret_store_get(str_from(name)));
    assert_int_equal(told, 1);
    file_secrets_watch(f, loop, files);
    put("k.pem", KEY_B);
    for (int i = 0; i < 30; i++)
        loop_turn(loop, 10);
    assert_int_equal(told, 1);
    put("c.pem", CERT_B);
    assert_true(is_over(loop, &told, 2));
    assert_str_equal(secret_store_get(str_from(name))->key_pem, KEY_B);
    secret_watch_del(&w);
    secret_store_close();
    file_secrets_free(&f);
    file_watcher_free(&files);
    loop_free(&loop);
    stats_fini();
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", home);
    assert_int_equal(system(command), 0);
}

static void test_file_secrets_want__odd_names__nothing(void **state)
{
    (void)state;
    static const char *const rows[] = {"file-cert:", "file-cert:a", "file-cert:~b", "file-cert:a~", "file-root:", "file-root:/no/such", "default"};
    struct file_secrets *f = file_secrets_new();
    secret_store_open(&provider, f);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        file_secrets_want(f, str_from(rows[i]));
        assert_null(secret_store_get(str_from(rows[i])));
    }
    assert_true(file_secrets_serves(STR("file-root:system")));
    assert_false(file_secrets_serves(STR("kubernetes://x")));
    secret_store_close();
    file_secrets_free(&f);
}

static void test_token_add_headers__file_and_none__bearer_or_nothing(void **state)
{
    (void)state;
    static const struct { const char *text, *want; } rows[] = {
        {"abc", "Bearer abc"}, {" abc\r\n", "Bearer abc"}, {"", NULL}, {"\n", NULL}, {"a\nb", NULL}, {NULL, NULL},
    };
    char path[] = "/tmp/weft_token_XXXXXX";
    int fd = mkstemp(path);
    close(fd);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct agent_env e = {.token_path = str_from(path), .cluster_id = STR("c")};
        struct arena a;
        struct headers h;
        struct text_pairs more = {0};
        arena_init(&a, 0);
        headers_init(&h, &a);
        text_pairs_set(&more, &a, STR("x-a"), STR("1"));
        fd = open(path, O_WRONLY | O_TRUNC);
        assert_int_equal(write(fd, rows[i].text ? rows[i].text : "", strlen(rows[i].text ? rows[i].text : "")),
                         (ssize_t)strlen(rows[i].text ? rows[i].text : ""));
        close(fd);
        if (!rows[i].text)
            unlink(path);
        token_add_headers(&e, &more, &h);
        assert_true(str_eq(headers_get_id(&h, HDR_AUTHORIZATION), str_from(rows[i].want)));
        assert_str_equal(headers_get(&h, STR("clusterid")), "c");
        assert_str_equal(headers_get(&h, STR("x-a")), "1");
        arena_fini(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identity_renew_at__lives__half_of_what_is_left),
        cmocka_unit_test(test_identity_sleep__clock_jumps__noticed_within_a_minute),
        cmocka_unit_test(test_trust_set__several_sources__joined_once_each),
        cmocka_unit_test(test_file_secrets__file_cert_changes__pairs_only),
        cmocka_unit_test(test_file_secrets_want__odd_names__nothing),
        cmocka_unit_test(test_token_add_headers__file_and_none__bearer_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
