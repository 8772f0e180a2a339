/* SPDX-License-Identifier: Apache-2.0 */
#include "signing.h"

#include "plugged.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define DAY 86400

struct outcome {
    bool is_told;
    int code;
    char message[512];
    struct strbuf leaf, bundle;
};

static void on_answer(void *user, const struct signer_answer *a)
{
    struct outcome *o = user;
    assert_false(o->is_told);
    o->is_told = true;
    o->code = a->code;
    snprintf(o->message, sizeof o->message, "%s", a->message ? a->message : "");
    strbuf_adds(&o->leaf, a->leaf);
    if (a->trust) {
        strbuf_adds(&o->leaf, a->trust->chain);
        strbuf_adds(&o->bundle, a->trust->bundle);
    }
}

static void outcome_fini(struct outcome *o)
{
    strbuf_fini(&o->leaf);
    strbuf_fini(&o->bundle);
    *o = (struct outcome){0};
}

static struct key *a_key;
static struct strbuf a_csr;

static struct signer_call *ask(struct signer *s, struct outcome *o)
{
    struct authority_request q = {.csr_pem = strbuf_str(&a_csr), .uri = STR("spiffe://cluster.local/ns/a/sa/b"), .ttl_s = DAY};
    struct err err = {0};
    struct signer_call *c = signer_sign(s, &q, on_answer, o, &err);
    if (!c)
        fail_msg("%s", err.message);
    return c;
}

static void expect_leaf(const struct outcome *o)
{
    struct err err = {0};
    if (o->code)
        fail_msg("%s", o->message);
    assert_true(key_fits(a_key, strbuf_str(&o->leaf)));
    if (cert_verify(strbuf_str(&o->leaf), strbuf_str(&o->bundle), (int64_t)(clock_wall_us() / 1000000), &err) < 0)
        fail_msg("%s", err.message);
}

static void test_signer__asked_before_it_is_up__answers_in_time(void **state)
{
    (void)state;
    struct signer *s = signing_start(false, ca_path("root.pem"));
    struct outcome o[50] = {0};
    for (size_t i = 0; i < 50; i++)
        ask(s, &o[i]);
    for (size_t i = 0; i < 50; i++) {
        TURN_UNTIL(loop, o[i].is_told);
        expect_leaf(&o[i]);
        outcome_fini(&o[i]);
    }
    assert_true(signer_is_up(s));
    assert_int_equal(trusts, 1);
    assert_int_equal(ups, 1);
    signer_free(&s);
}

static void test_signer__refusal__its_reason_and_no_harm(void **state)
{
    (void)state;
    struct signer *s = signing_start(false, ca_path("root.pem"));
    struct outcome bad = {0}, good = {0};
    struct authority_request q = {.csr_pem = STR("junk"), .uri = STR("spiffe://cluster.local/ns/a/sa/b"), .ttl_s = DAY};
    assert_non_null(signer_sign(s, &q, on_answer, &bad, NULL));
    ask(s, &good);
    TURN_UNTIL(loop, good.is_told);
    assert_true(bad.is_told);
    assert_int_equal(bad.code, ERR_SYNTAX);
    assert_non_null(strstr(bad.message, "no certificate signing request"));
    expect_leaf(&good);
    outcome_fini(&bad);
    outcome_fini(&good);
    signer_free(&s);
}

static void test_signer__killed_between_and_under_requests__same_root_every_answer(void **state)
{
    (void)state;
    struct signer *s = signing_start(false, ca_path("root.pem"));
    TURN_UNTIL(loop, signer_is_up(s));
    struct str root = str_dup(signer_trust(s)->bundle);
    for (unsigned round = 0; round < 5; round++) {
        struct outcome o[20] = {0};
        unsigned before = ups;
        for (size_t i = 0; i < 20; i++)
            ask(s, &o[i]);
        if (round & 1)
            loop_turn(loop, 10);
        kill(signing_pid(), SIGKILL);
        TURN_UNTIL(loop, ups > before);
        for (size_t i = 0; i < 20; i++) {
            TURN_UNTIL(loop, o[i].is_told);
            expect_leaf(&o[i]);
            assert_true(str_eq(strbuf_str(&o[i].bundle), root));
            outcome_fini(&o[i]);
        }
    }
    assert_int_equal(downs, 5);
    assert_int_equal(trusts, 1);
    str_free(&root);
    signer_free(&s);
}

static void test_signer__stopped_dead__is_replaced(void **state)
{
    (void)state;
    signing_call_ms = 3000;
    struct signer *s = signing_start(false, ca_path("root.pem"));
    struct outcome o = {0}, later = {0};
    TURN_UNTIL(loop, signer_is_up(s));
    kill(signing_pid(), SIGSTOP);
    ask(s, &o);
    TURN_UNTIL(loop, o.is_told);
    assert_int_equal(o.code, ERR_TIMEOUT);
    TURN_UNTIL(loop, ups == 2);
    ask(s, &later);
    TURN_UNTIL(loop, later.is_told);
    expect_leaf(&later);
    outcome_fini(&o);
    outcome_fini(&later);
    signer_free(&s);
}

static void test_signer__file_wide_open__refuses_until_it_is_mended(void **state)
{
    (void)state;
    struct signer *s = signing_start(false, ca_path("root.pem"));
    TURN_UNTIL(loop, signer_is_up(s));
    signer_free(&s);
    loop_turn(loop, 0);
    chmod(ca_path("root.pem"), 0644);
    struct outcome waiting = {0};
    s = signing_start(false, ca_path("root.pem"));
    ask(s, &waiting);
    TURN_UNTIL(loop, waiting.is_told);
    assert_int_equal(waiting.code, ERR_STATE);
    assert_non_null(strstr(waiting.message, "mode 0644"));
    assert_non_null(strstr(down_why, "root.pem"));
    struct err err = {0};
    struct authority_request q = {.csr_pem = strbuf_str(&a_csr), .uri = STR("spiffe://cluster.local/ns/a/sa/b"), .ttl_s = DAY};
    assert_null(signer_sign(s, &q, on_answer, &waiting, &err));
    assert_non_null(strstr(err.message, "mode 0644"));
    chmod(ca_path("root.pem"), 0600);
    TURN_UNTIL(loop, signer_is_up(s));
    outcome_fini(&waiting);
    signer_free(&s);
}

static void test_signer_rotate__new_bundle_told_and_leaves_still_good(void **state)
{
    (void)state;
    struct signer *s = signing_start(false, ca_path("root.pem"));
    struct outcome first = {0}, second = {0}, leaf = {0};
    assert_non_null(signer_rotate(s, on_answer, &first, NULL));
    assert_non_null(signer_rotate(s, on_answer, &second, NULL));
    ask(s, &leaf);
    TURN_UNTIL(loop, leaf.is_told);
    assert_int_equal(first.code, 0);
    assert_int_equal(second.code, ERR_STATE);
    assert_int_equal(trusts, 2);
    assert_int_equal(signer_trust(s)->generation, 2);
    assert_true(signer_trust(s)->is_rotating);
    expect_leaf(&leaf);
    outcome_fini(&first);
    outcome_fini(&second);
    outcome_fini(&leaf);
    signer_free(&s);
}

static void test_signer__no_room_on_the_disk__told_and_it_signs_on(void **state)
{
    (void)state;
    struct signer *s = signing_start(false, ca_path("root.pem"));
    struct outcome full = {0}, leaf = {0}, later = {0};
    struct rlimit little = {16, RLIM_INFINITY}, much = {RLIM_INFINITY, RLIM_INFINITY};
    TURN_UNTIL(loop, signer_is_up(s));
    assert_int_equal(prlimit(signing_pid(), RLIMIT_FSIZE, &little, NULL), 0);
    assert_non_null(signer_rotate(s, on_answer, &full, NULL));
    ask(s, &leaf);
    TURN_UNTIL(loop, leaf.is_told);
    assert_int_equal(full.code, ERR_IO);
    assert_non_null(strstr(full.message, "cannot write"));
    expect_leaf(&leaf);
    assert_int_equal(trusts, 1);
    assert_int_equal(prlimit(signing_pid(), RLIMIT_FSIZE, &much, NULL), 0);
    assert_non_null(signer_rotate(s, on_answer, &later, NULL));
    TURN_UNTIL(loop, later.is_told);
    assert_int_equal(later.code, 0);
    assert_int_equal(downs, 0);
    outcome_fini(&full);
    outcome_fini(&leaf);
    outcome_fini(&later);
    signer_free(&s);
}

static void test_signer_reload__plugged_in__another_intermediate_signs(void **state)
{
    (void)state;
    struct plugged one, two;
    int64_t now = (int64_t)(clock_wall_us() / 1000000);
    struct outcome leaf = {0}, broken = {0}, reload = {0};
    plugged_make(&one, now - DAY, now + 30 * DAY);
    plugged_make(&two, now - DAY, now + 30 * DAY);
    plugged_put(&one);
    struct signer *s = signing_start(true, folder);
    TURN_UNTIL(loop, signer_is_up(s));
    ca_put("ca-key.pem", strbuf_str(&two.key));
    assert_non_null(signer_reload(s, on_answer, &broken, NULL));
    TURN_UNTIL(loop, broken.is_told);
    assert_int_equal(broken.code, ERR_INVALID);
    assert_true(signer_is_up(s));
    plugged_put(&two);
    assert_non_null(signer_reload(s, on_answer, &reload, NULL));
    ask(s, &leaf);
    TURN_UNTIL(loop, leaf.is_told);
    assert_int_equal(reload.code, 0);
    assert_int_equal(cert_verify(strbuf_str(&leaf.leaf), strbuf_str(&two.root), now, NULL), 0);
    assert_int_equal(trusts, 2);
    outcome_fini(&leaf);
    outcome_fini(&broken);
    outcome_fini(&reload);
    plugged_drop(&one);
    plugged_drop(&two);
    signer_free(&s);
}

static void test_signer_call_cancel__sent_and_unsent__never_told(void **state)
{
    (void)state;
    struct signer *s = signing_start(false, ca_path("root.pem"));
    struct outcome a = {0}, b = {0}, last = {0};
    struct signer_call *early = ask(s, &a);
    signer_call_cancel(&early);
    TURN_UNTIL(loop, signer_is_up(s));
    struct signer_call *sent = ask(s, &b);
    signer_call_cancel(&sent);
    ask(s, &last);
    TURN_UNTIL(loop, last.is_told);
    assert_false(a.is_told || b.is_told);
    outcome_fini(&last);
    ask(s, &last);
    signer_free(&s); /* with one under way */
    loop_turn(loop, 0);
    assert_false(last.is_told);
}

/* ---- the process ---- */

static void test_signer_process__what_it_holds__no_more_than_it_needs(void **state)
{
    (void)state;
    int kept_open = open("/dev/null", O_RDONLY); /* without O_CLOEXEC: somebody's mistake */
    struct signer *s = signing_start(false, ca_path("root.pem"));
    TURN_UNTIL(loop, signer_is_up(s));
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)signing_pid());
    unsigned fds = 0, filtered = 0;
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        fds += e->d_name[0] != '.';
    closedir(d);
    assert_int_equal(fds, 5); /* three of the standard, the socket, the lock */
    snprintf(path, sizeof path, "/proc/%d/status", (int)signing_pid());
    FILE *f = fopen(path, "r");
    while (fgets(line, sizeof line, f))
        filtered += strcmp(line, "Seccomp:\t2\n") == 0 || strcmp(line, "NoNewPrivs:\t1\n") == 0;
    fclose(f);
    assert_int_equal(filtered, 2);
    close(kept_open);
    signer_free(&s);
}

static bool is_alive(pid_t pid)
{
    char path[64], line[256] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    bool ok = f && fgets(line, sizeof line, f) && !strstr(line, ") Z ");
    if (f)
        fclose(f);
    return ok;
}

static void test_signer_process__weftd_killed__ends_and_leaves_the_file_whole(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 8; round++) {
        int ends[2];
        pid_t signer = 0;
        assert_int_equal(pipe(ends), 0);
        pid_t weftd = fork();
        if (weftd == 0) {
            struct loop *l = loop_new("weftd", NULL);
            loop = l;
            struct signer *s = signing_start(false, ca_path("root.pem"));
            while (!signing_pid() || (round > 3 && !signer_is_up(s)))
                loop_turn(l, 10);
            signer = signing_pid();
            if (write(ends[1], &signer, sizeof signer) != sizeof signer)
                _exit(1);
            for (;;) {
                signer_rotate(s, NULL, NULL, NULL);
                loop_turn(l, 10);
            }
        }
        close(ends[1]);
        assert_int_equal(read(ends[0], &signer, sizeof signer), sizeof signer);
        close(ends[0]);
        usleep((useconds_t)round * 1500);
        kill(weftd, SIGKILL);
        waitpid(weftd, NULL, 0);
        TURN_UNTIL(loop, !is_alive(signer));
    }
    struct signer *s = signing_start(false, ca_path("root.pem"));
    TURN_UNTIL(loop, signer_is_up(s));
    signer_free(&s);
}

static int make_request(void **state)
{
    (void)state;
    a_key = CA_NEW_KEY();
    ca_request(a_key, &a_csr);
    return 0;
}

static int drop_request(void **state)
{
    (void)state;
    key_free(&a_key);
    strbuf_fini(&a_csr);
    return 0;
}

#define WITH_SIGNER(t) cmocka_unit_test_setup_teardown(t, signing_setup, signing_teardown)

int main(int argc, char **argv)
{
    SIGNER_HOOK(argc, argv);
    const struct CMUnitTest tests[] = {
        WITH_SIGNER(test_signer__asked_before_it_is_up__answers_in_time),
        WITH_SIGNER(test_signer__refusal__its_reason_and_no_harm),
        WITH_SIGNER(test_signer__killed_between_and_under_requests__same_root_every_answer),
        WITH_SIGNER(test_signer__stopped_dead__is_replaced),
        WITH_SIGNER(test_signer__file_wide_open__refuses_until_it_is_mended),
        WITH_SIGNER(test_signer_rotate__new_bundle_told_and_leaves_still_good),
        WITH_SIGNER(test_signer__no_room_on_the_disk__told_and_it_signs_on),
        WITH_SIGNER(test_signer_reload__plugged_in__another_intermediate_signs),
        WITH_SIGNER(test_signer_call_cancel__sent_and_unsent__never_told),
        WITH_SIGNER(test_signer_process__what_it_holds__no_more_than_it_needs),
        WITH_SIGNER(test_signer_process__weftd_killed__ends_and_leaves_the_file_whole),
    };
    return cmocka_run_group_tests(tests, make_request, drop_request);
}
