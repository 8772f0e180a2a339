/* SPDX-License-Identifier: Apache-2.0 */
#include "control/ca/authority.h"

#include "../../unit.h"

#include "base/check.h"
#include "base/mem.h"
#include "ca_files.h"
#include "plugged.h"

#define NOW 1800000000
#define DAY 86400
#define AHEAD (3 * 3600) /* that is written down of leaves to come */

static const struct authority_opts opts = {
    .trust_domain = {"cluster.local", 13}, .key_kind = KEY_EC_P256, .root_ttl_s = 3650 * (int64_t)DAY, .announce_s = DAY,
    .max_ttl_s = 90 * DAY, .renew_pct = 20,
};

/* ---- a store in memory, which can be full ---- */

struct memory_store {
    struct ca_store store;
    struct strbuf *text;
    bool *is_full;
};
static struct strbuf kept;
static bool disk_full;

static int load(struct ca_store *s, struct strbuf *text, struct err *err)
{
    struct memory_store *m = CONTAINER_OF(s, memory_store, store);
    if (!m->text->n)
        return err_set(err, ERR_NOT_FOUND, "nothing yet");
    strbuf_adds(text, strbuf_str(m->text));
    return 0;
}

static int save(struct ca_store *s, struct str text, struct err *err)
{
    struct memory_store *m = CONTAINER_OF(s, memory_store, store);
    if (*m->is_full)
        return err_set(err, ERR_IO, "no space left");
    strbuf_reset(m->text);
    strbuf_adds(m->text, text);
    return 0;
}

static void free_store(struct ca_store *s)
{
    mem_free(CONTAINER_OF(s, memory_store, store));
}

static const struct ca_store_ops memory_ops = {load, save, free_store};

static struct ca_store *memory(void)
{
    struct memory_store *m = NEW(memory_store);
    *m = (struct memory_store){{&memory_ops}, &kept, &disk_full};
    return &m->store;
}

static int forget_all(void **state)
{
    (void)state;
    strbuf_fini(&kept);
    disk_full = false;
    return 0;
}

/* ---- asking ---- */

static struct authority *open_at(int64_t now_s)
{
    struct err err = {0};
    struct authority *a = authority_new_self_signed(&opts, memory(), now_s, &err);
    if (!a)
        print_error("%s: %s\n", err.path, err.message);
    assert_non_null(a);
    return a;
}

static int sign(struct authority *a, struct str uri, int64_t ttl_s, int64_t now_s, struct strbuf *leaf, struct err *err)
{
    struct key *k = CA_NEW_KEY();
    struct strbuf csr = {0};
    ca_request(k, &csr);
    struct authority_request q = {.csr_pem = strbuf_str(&csr), .uri = uri, .ttl_s = ttl_s};
    struct authority_leaf about;
    int rc = authority_sign(a, &q, now_s, leaf, &about, err);
    strbuf_fini(&csr);
    key_free(&k);
    return rc;
}

static const struct str someone = {"spiffe://cluster.local/ns/a/sa/b", 32};

/* A leaf now, which must be good for who believes `bundle`. */
static void expect_leaf(struct authority *a, int64_t ttl_s, int64_t now_s, struct str bundle)
{
    struct strbuf leaf = {0};
    struct ca_trust t;
    struct err err = {0};
    assert_int_equal(sign(a, someone, ttl_s, now_s, &leaf, &err), 0);
    authority_trust(a, &t);
    strbuf_adds(&leaf, t.chain);
    if (cert_verify(strbuf_str(&leaf), bundle, now_s, &err) < 0)
        fail_msg("%s", err.message);
    strbuf_fini(&leaf);
}

static size_t roots_of(struct authority *a)
{
    struct ca_trust t;
    struct strbuf out = {0};
    size_t n;
    authority_trust(a, &t);
    assert_int_equal(cert_bundle_add(&out, t.bundle, &n, NULL), 0);
    strbuf_fini(&out);
    return n;
}

static struct str bundle_of(struct authority *a)
{
    struct ca_trust t;
    authority_trust(a, &t);
    return t.bundle;
}

/* ---- own roots ---- */

static void test_authority__opened_again__same_root(void **state)
{
    (void)state;
    struct authority *a = open_at(NOW), *b;
    struct str first = str_dup(bundle_of(a));
    expect_leaf(a, DAY, NOW, first);
    authority_free(&a);
    b = open_at(NOW + 5);
    assert_true(str_eq(first, bundle_of(b)));
    expect_leaf(b, DAY, NOW + 5, first);
    authority_free(&b);
    str_free(&first);
}

static void test_authority_sign__identity_life_and_clock__refused_by_name(void **state)
{
    (void)state;
    static const struct {
        struct str uri;
        int64_t ttl_s, now_s;
        int code;
        const char *why;
    } cases[] = {
        {{"spiffe://elsewhere/ns/a/sa/b", 28}, DAY, NOW, ERR_INVALID, "not of the trust domain cluster.local"},
        {{"cluster.local/ns/a", 18}, DAY, NOW, ERR_INVALID, "does not begin with spiffe://"},
        {{"spiffe://cluster.local/ns/a/sa/b", 32}, 91 * DAY, NOW, ERR_LIMIT, "7776000"},
        {{"spiffe://cluster.local/ns/a/sa/b", 32}, 0, NOW, ERR_LIMIT, "0 s"},
        {{"spiffe://cluster.local/ns/a/sa/b", 32}, DAY, NOW - DAY, ERR_STATE, "by this machine's clock"},
        {{"spiffe://cluster.local/ns/a/sa/b", 32}, DAY, NOW + 3651 * (int64_t)DAY, ERR_STATE, "ended"},
    };
    struct authority *a = open_at(NOW);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct strbuf leaf = {0};
        struct err err = {0};
        assert_int_equal(sign(a, cases[i].uri, cases[i].ttl_s, cases[i].now_s, &leaf, &err), cases[i].code);
        if (!strstr(err.message, cases[i].why))
            fail_msg("%s", err.message);
        assert_int_equal(leaf.n, 0);
    }
    authority_free(&a);
}

static void test_authority_sign__root_ends_sooner__leaf_is_cut(void **state)
{
    (void)state;
    struct authority *a = open_at(NOW);
    struct strbuf leaf = {0};
    struct arena arena;
    struct cert_facts f;
    arena_init(&arena, 0);
    int64_t late = NOW + 3650 * (int64_t)DAY - 100;
    assert_int_equal(sign(a, someone, DAY, late, &leaf, NULL), 0);
    assert_int_equal(cert_inspect(strbuf_str(&leaf), &arena, &f, NULL), 0);
    assert_int_equal(f.not_after_s, late + 100);
    arena_fini(&arena);
    strbuf_fini(&leaf);
    authority_free(&a);
}

static void test_authority_rotate__whole_way__leaves_are_believed_throughout(void **state)
{
    (void)state;
    struct authority *a = open_at(NOW);
    struct err err = {0};
    struct ca_trust t;
    struct str before = str_dup(bundle_of(a));
    assert_int_equal(authority_rotate(a, NOW, &err), 0);
    assert_int_equal(authority_rotate(a, NOW, &err), ERR_STATE);
    assert_int_equal(roots_of(a), 2);
    struct str during = str_dup(bundle_of(a));
    expect_leaf(a, DAY, NOW + DAY - 1, before); /* who has the old bundle still believes */
    assert_int_equal(authority_tick(a, NOW + DAY - 1, &err), 0);
    assert_int_equal(authority_tick(a, NOW + DAY, &err), 0);
    expect_leaf(a, DAY, NOW + DAY, during);
    assert_int_equal(roots_of(a), 2);
    authority_trust(a, &t);
    assert_true(t.is_rotating);
    int64_t last = NOW + DAY - 1 + DAY + AHEAD;
    assert_int_equal(t.change_at_s, last + 300);
    assert_int_equal(authority_tick(a, last + 300, &err), 0);
    assert_int_equal(roots_of(a), 2);
    assert_int_equal(authority_tick(a, last + 301, &err), 0);
    assert_int_equal(roots_of(a), 1);
    expect_leaf(a, DAY, last + 301, during);
    authority_trust(a, &t);
    assert_false(t.is_rotating);
    assert_int_equal(cert_verify(t.bundle, before, NOW + DAY, &err), ERR_TLS); /* another root by now */
    authority_free(&a);
    str_free(&before);
    str_free(&during);
}

static void test_authority_rotate__long_leaves_and_a_start_between__are_waited_for(void **state)
{
    (void)state;
    struct authority *a = open_at(NOW);
    struct err err = {0};
    int64_t first_ends = NOW + 30 * DAY + AHEAD, last_ends = NOW + DAY + 60 * DAY + AHEAD;
    struct str before = str_dup(bundle_of(a));
    expect_leaf(a, 30 * DAY, NOW, before);
    authority_free(&a);
    a = open_at(NOW + 10); /* what was given before is known still */
    assert_int_equal(authority_rotate(a, NOW + 10, &err), 0);
    struct str during = str_dup(bundle_of(a));
    expect_leaf(a, 60 * DAY, NOW + DAY, before); /* is told of both: the new root needn't wait for it, but the old one must stay */
    assert_int_equal(authority_tick(a, first_ends - 1, &err), 0);
    expect_leaf(a, DAY, first_ends - 1, before);
    authority_free(&a);
    a = open_at(first_ends);
    assert_true(str_eq(during, bundle_of(a)));
    assert_int_equal(authority_tick(a, first_ends, &err), 0);
    assert_int_equal(cert_verify(bundle_of(a), before, first_ends, &err), ERR_TLS); /* the new one signs, and comes first */
    authority_free(&a);
    a = open_at(first_ends + 1);
    assert_int_equal(authority_tick(a, last_ends + 300, &err), 0);
    assert_int_equal(roots_of(a), 2);
    assert_int_equal(authority_tick(a, last_ends + 301, &err), 0);
    assert_int_equal(roots_of(a), 1);
    authority_free(&a);
    str_free(&before);
    str_free(&during);
}

static void test_authority_sign__full_disk__goes_on_and_is_saved_later(void **state)
{
    (void)state;
    struct authority *a = open_at(NOW);
    struct err err = {0};
    struct str was = str_dup(strbuf_str(&kept));
    disk_full = true;
    expect_leaf(a, DAY, NOW, bundle_of(a));
    assert_true(str_eq(was, strbuf_str(&kept)));
    assert_int_equal(authority_tick(a, NOW + 60, &err), ERR_IO);
    disk_full = false;
    assert_int_equal(authority_tick(a, NOW + 120, &err), 0);
    assert_false(str_eq(was, strbuf_str(&kept)));
    authority_free(&a);
    str_free(&was);
}

static void test_authority__retired__its_key_is_gone(void **state)
{
    (void)state;
    struct authority *a = open_at(NOW);
    struct err err = {0};
    assert_int_equal(authority_rotate(a, NOW, &err), 0);
    expect_leaf(a, DAY, NOW, bundle_of(a));
    assert_int_equal(authority_tick(a, NOW + DAY, &err), 0);
    size_t keys = 0;
    for (const char *p = kept.p; (p = strstr(p, "BEGIN PRIVATE KEY")); p++)
        keys++;
    assert_int_equal(keys, 1);
    authority_free(&a);
}

static void test_authority__disk_full__nothing_changes_until_it_is_not(void **state)
{
    (void)state;
    struct authority *a = open_at(NOW);
    struct err err = {0};
    struct str before = str_dup(bundle_of(a));
    disk_full = true;
    assert_int_equal(authority_rotate(a, NOW, &err), ERR_IO);
    assert_true(str_eq(before, bundle_of(a)));
    disk_full = false;
    assert_int_equal(authority_rotate(a, NOW, &err), 0);
    disk_full = true;
    assert_int_equal(authority_tick(a, NOW + DAY, &err), ERR_IO);
    expect_leaf(a, DAY, NOW + DAY, before); /* the old one signs on */
    disk_full = false;
    assert_int_equal(authority_tick(a, NOW + DAY + 60, &err), 0);
    disk_full = true;
    assert_int_equal(authority_tick(a, NOW + 10 * DAY, &err), ERR_IO);
    assert_int_equal(roots_of(a), 2);
    disk_full = false;
    assert_int_equal(authority_tick(a, NOW + 10 * DAY, &err), 0);
    assert_int_equal(roots_of(a), 1);
    authority_free(&a);
    disk_full = true;
    strbuf_reset(&kept);
    assert_null(authority_new_self_signed(&opts, memory(), NOW, &err));
    str_free(&before);
}

static void test_authority_tick__root_ages__is_followed(void **state)
{
    (void)state;
    struct authority *a = open_at(NOW);
    struct err err = {0};
    int64_t old_age = NOW + 2921 * (int64_t)DAY; /* four fifths and a day */
    assert_int_equal(authority_tick(a, old_age - 10 * DAY, &err), 0);
    assert_int_equal(roots_of(a), 1);
    assert_int_equal(authority_tick(a, old_age, &err), 0);
    assert_int_equal(roots_of(a), 2);
    assert_int_equal(authority_tick(a, old_age, &err), 0);
    assert_int_equal(roots_of(a), 2);
    authority_free(&a);
}

static void test_authority_tick__root_has_ended__another_signs_at_once(void **state)
{
    (void)state;
    struct authority *a = open_at(NOW);
    struct err err = {0};
    int64_t late = NOW + 4000 * (int64_t)DAY;
    authority_free(&a);
    a = open_at(late);
    assert_int_equal(authority_tick(a, late, &err), 0);
    expect_leaf(a, DAY, late, bundle_of(a));
    authority_free(&a);
}

static void test_authority__text_broken_anywhere__refused_or_the_same(void **state)
{
    (void)state;
    struct authority *a = open_at(NOW);
    struct str whole = str_dup(strbuf_str(&kept));
    struct str bundle = str_dup(bundle_of(a));
    authority_free(&a);
    for (size_t n = 1; n < whole.n; n += 7) {
        struct err err = {0};
        strbuf_reset(&kept);
        strbuf_add(&kept, whole.p, n);
        a = authority_new_self_signed(&opts, memory(), NOW, &err);
        assert_true(a ? str_eq(bundle, bundle_of(a)) : err.message[0] != '\0');
        assert_true(!a || n + 40 > whole.n);
        authority_free(&a);
    }
    for (size_t at = 0; at < whole.n; at += 5) {
        strbuf_reset(&kept);
        strbuf_adds(&kept, whole);
        kept.p[at] ^= 2;
        a = authority_new_self_signed(&opts, memory(), NOW, NULL);
        authority_free(&a);
    }
    str_free(&whole);
    str_free(&bundle);
}

/* ---- the file ---- */

static struct authority *open_file(struct err *err)
{
    struct ca_store *s = ca_file_store_new(ca_path("root.pem"), err);
    return s ? authority_new_self_signed(&opts, s, NOW, err) : NULL;
}

static void test_file_store__wider_mode_or_no_file__refused(void **state)
{
    (void)state;
    struct err err = {0};
    struct stat st;
    struct authority *a = open_file(&err);
    assert_non_null(a);
    assert_int_equal(stat(ca_path("root.pem"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_null(open_file(&err));
    assert_non_null(strstr(err.message, "in use by another process"));
    authority_free(&a);
    chmod(ca_path("root.pem"), 0640);
    assert_null(open_file(&err));
    assert_non_null(strstr(err.message, "mode 0640"));
    unlink(ca_path("root.pem"));
    assert_int_equal(symlink("/etc/hostname", ca_path("root.pem")), 0);
    assert_null(open_file(&err));
    assert_non_null(strstr(err.message, "not a file"));
}

/* ---- plugged in ---- */

static struct authority *plug(int64_t now_s, struct err *err)
{
    return authority_new_plugged_in(&opts, str_from(folder), now_s, err);
}

static void expect_refused(int64_t now_s, const char *why)
{
    struct err err = {0};
    char text[ERR_MESSAGE_BYTES + ERR_PATH_BYTES];
    struct authority *a = plug(now_s, &err);
    assert_null(a);
    if (!strstr(err_format(&err, text, sizeof text), why))
        fail_msg("%s", text);
}

static void test_plugged_in__whole_folder__chain_of_three(void **state)
{
    (void)state;
    struct plugged p;
    struct err err = {0};
    struct ca_trust t;
    plugged_make(&p, NOW - DAY, NOW + 30 * DAY);
    plugged_put(&p);
    struct authority *a = plug(NOW, &err);
    assert_non_null(a);
    expect_leaf(a, DAY, NOW, strbuf_str(&p.root));
    authority_trust(a, &t);
    assert_true(str_eq(t.bundle, strbuf_str(&p.root)));
    assert_true(str_eq(t.chain, strbuf_str(&p.ca))); /* the root that stands in cert-chain.pem too isn't sent twice */
    assert_int_equal(t.signs_until_s, NOW + 30 * DAY);
    assert_int_equal(authority_rotate(a, NOW, &err), ERR_STATE);
    authority_free(&a);
    plugged_drop(&p);
}

static void test_plugged_in__what_does_not_fit__named(void **state)
{
    (void)state;
    struct plugged p, other;
    plugged_make(&p, NOW - DAY, NOW + 30 * DAY);
    plugged_make(&other, NOW - DAY, NOW + 30 * DAY);
    expect_refused(NOW, "ca-cert.pem");
    plugged_put(&p);
    expect_refused(NOW + 31 * DAY, "ca-cert.pem: certificate has expired");
    expect_refused(NOW - 2 * DAY, "not yet valid");
    ca_put("root-cert.pem", strbuf_str(&other.root));
    expect_refused(NOW, "ca-cert.pem: certificate signature failure");
    plugged_put(&p);
    ca_put("ca-key.pem", strbuf_str(&other.key));
    expect_refused(NOW, "the key is not the certificate's");
    ca_put("ca-key.pem", STR("nothing"));
    expect_refused(NOW, "ca-key.pem: no usable PEM private key");
    plugged_put(&p);
    ca_put("root-cert.pem", STR("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"));
    expect_refused(NOW, "root-cert.pem: a broken certificate");
    plugged_put(&p);
    unlink(ca_path("cert-chain.pem"));
    expect_refused(NOW, "cert-chain.pem");
    plugged_drop(&p);
    plugged_drop(&other);
}

static void test_plugged_in__replaced__old_root_believed_till_its_last_leaf_ends(void **state)
{
    (void)state;
    struct plugged p, other;
    struct err err = {0};
    plugged_make(&p, NOW - DAY, NOW + 30 * DAY);
    plugged_make(&other, NOW - DAY, NOW + 30 * DAY);
    plugged_put(&p);
    struct authority *a = plug(NOW, &err);
    expect_leaf(a, DAY, NOW, strbuf_str(&p.root));
    assert_int_equal(authority_reload(a, NOW, &err), 0);
    assert_int_equal(roots_of(a), 1);
    ca_put("ca-cert.pem", strbuf_str(&other.ca));
    assert_int_not_equal(authority_reload(a, NOW, &err), 0); /* half replaced: the old one signs on */
    expect_leaf(a, DAY, NOW, strbuf_str(&p.root));
    plugged_put(&other);
    assert_int_equal(authority_reload(a, NOW, &err), 0);
    expect_leaf(a, DAY, NOW, strbuf_str(&other.root));
    assert_int_equal(roots_of(a), 2);
    assert_int_equal(authority_tick(a, NOW + DAY + AHEAD + 301, &err), 0);
    assert_int_equal(roots_of(a), 1);
    authority_free(&a);
    plugged_drop(&p);
    plugged_drop(&other);
}

#define IN_MEMORY(t) cmocka_unit_test_setup_teardown(t, forget_all, forget_all)
#define IN_FILES(t) cmocka_unit_test_setup_teardown(t, ca_folder_make, ca_folder_drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_MEMORY(test_authority__opened_again__same_root),
        IN_MEMORY(test_authority_sign__identity_life_and_clock__refused_by_name),
        IN_MEMORY(test_authority_sign__root_ends_sooner__leaf_is_cut),
        IN_MEMORY(test_authority_rotate__whole_way__leaves_are_believed_throughout),
        IN_MEMORY(test_authority_rotate__long_leaves_and_a_start_between__are_waited_for),
        IN_MEMORY(test_authority_sign__full_disk__goes_on_and_is_saved_later),
        IN_MEMORY(test_authority__retired__its_key_is_gone),
        IN_MEMORY(test_authority__disk_full__nothing_changes_until_it_is_not),
        IN_MEMORY(test_authority_tick__root_ages__is_followed),
        IN_MEMORY(test_authority_tick__root_has_ended__another_signs_at_once),
        IN_MEMORY(test_authority__text_broken_anywhere__refused_or_the_same),
        IN_FILES(test_file_store__wider_mode_or_no_file__refused),
        IN_FILES(test_plugged_in__whole_folder__chain_of_three),
        IN_FILES(test_plugged_in__what_does_not_fit__named),
        IN_FILES(test_plugged_in__replaced__old_root_believed_till_its_last_leaf_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
