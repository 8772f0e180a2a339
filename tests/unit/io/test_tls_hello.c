/* SPDX-License-Identifier: Apache-2.0 */
#include "io/tls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"

/* A hello is built as text of bytes; `ext` is what stands after the extensions' length. */
struct bytes {
    uint8_t p[4096];
    size_t n;
};

static void put(struct bytes *b, const void *p, size_t n)
{
    assert_true(b->n + n <= sizeof b->p);
    memcpy(b->p + b->n, p, n);
    b->n += n;
}
static void put_number(struct bytes *b, size_t v, int width)
{
    while (width--)
        put(b, &(uint8_t){(uint8_t)(v >> 8 * width)}, 1);
}

static void put_ext(struct bytes *b, unsigned type, const struct bytes *body)
{
    put_number(b, type, 2);
    put_number(b, body->n, 2);
    put(b, body->p, body->n);
}

static void put_sni(struct bytes *b, const char *name)
{
    struct bytes e = {0};
    put_number(&e, strlen(name) + 3, 2);
    put_number(&e, 0, 1);
    put_number(&e, strlen(name), 2);
    put(&e, name, strlen(name));
    put_ext(b, 0, &e);
}

static void put_alpn(struct bytes *b, const char *first, const char *second)
{
    struct bytes e = {0};
    put_number(&e, strlen(first) + strlen(second) + 2, 2);
    put_number(&e, strlen(first), 1);
    put(&e, first, strlen(first));
    put_number(&e, strlen(second), 1);
    put(&e, second, strlen(second));
    put_ext(b, 16, &e);
}

static void put_versions(struct bytes *b, unsigned v1, unsigned v2, unsigned v3)
{
    struct bytes e = {0};
    put_number(&e, 6, 1);
    put_number(&e, v1, 2);
    put_number(&e, v2, 2);
    put_number(&e, v3, 2);
    put_ext(b, 43, &e);
}

/* The handshake message. */
static struct bytes make_message(const struct bytes *ext)
{
    struct bytes body = {0}, m = {0};
    put_number(&body, 0x0303, 2);
    for (int i = 0; i < 32; i++)
        put_number(&body, (size_t)i, 1);
    put_number(&body, 0, 1);
    put_number(&body, 4, 2);
    put_number(&body, 0x0a0a1301, 4);
    put_number(&body, 1, 1);
    put_number(&body, 0, 1);
    if (ext) {
        put_number(&body, ext->n, 2);
        put(&body, ext->p, ext->n);
    }
    put_number(&m, 1, 1);
    put_number(&m, body.n, 3);
    put(&m, body.p, body.n);
    return m;
}

/* The message in records of at most `each` bytes. */
static struct bytes make_records(const struct bytes *m, size_t each)
{
    struct bytes r = {0};
    for (size_t at = 0; at < m->n; at += each) {
        size_t n = m->n - at < each ? m->n - at : each;
        put_number(&r, 22, 1);
        put_number(&r, 0x0301, 2);
        put_number(&r, n, 2);
        put(&r, m->p + at, n);
    }
    return r;
}

static struct bytes usual_message(void)
{
    struct bytes ext = {0}, empty = {0};
    put_ext(&ext, 0x1a1a, &empty); /* GREASE */
    put_sni(&ext, "shop.example.com");
    put_alpn(&ext, "h2", "http/1.1");
    put_versions(&ext, 0x2a2a, 0x0304, 0x0303);
    return make_message(&ext);
}

static enum tls_hello_result parse(const struct bytes *b, struct tls_hello *out)
{
    uint8_t *exact = mem_alloc(b->n ? b->n : 1); /* so that ASan sees overreads */
    memcpy(exact, b->p, b->n);
    enum tls_hello_result r = tls_hello_parse(exact, b->n, out);
    mem_free(exact);
    return r;
}

static void expect_usual(const uint8_t *p, size_t n)
{
    struct tls_hello h;
    assert_int_equal(tls_hello_parse(p, n, &h), TLS_HELLO_YES);
    assert_true(str_eq(h.sni, STR("shop.example.com")));
    assert_int_equal(h.alpn_count, 2);
    assert_true(str_eq(h.alpn[0], STR("h2")));
    assert_true(str_eq(h.alpn[1], STR("http/1.1")));
    assert_int_equal(h.version, 0x0304);
}

static void test_tls_hello_parse__one_record__names_and_version(void **state)
{
    (void)state;
    struct bytes m = usual_message(), r = make_records(&m, 4000);
    expect_usual(r.p, r.n);
}

static void test_tls_hello_parse__bytes_after_the_hello__left_alone(void **state)
{
    (void)state;
    struct bytes m = usual_message(), r = make_records(&m, 4000);
    put(&r, "rubbish", 7);
    expect_usual(r.p, r.n);
}

static void test_tls_hello_parse__records_of_every_size__names_joined(void **state)
{
    (void)state;
    struct bytes m = usual_message();
    for (size_t each = 1; each <= m.n; each++) {
        struct bytes r = make_records(&m, each);
        expect_usual(r.p, r.n);
    }
}

static void test_tls_hello_parse__every_prefix__asks_for_more(void **state)
{
    (void)state;
    struct bytes m = usual_message();
    for (size_t each = 1; each <= m.n; each += 7) {
        struct bytes r = make_records(&m, each);
        for (size_t n = 0; n < r.n; n++) {
            struct tls_hello h;
            struct bytes cut = r;
            cut.n = n;
            assert_int_equal(parse(&cut, &h), TLS_HELLO_MORE);
        }
    }
}

static void test_tls_hello_parse__no_extensions__legacy_version(void **state)
{
    (void)state;
    struct tls_hello h;
    struct bytes m = make_message(NULL), r = make_records(&m, 4000);
    assert_int_equal(parse(&r, &h), TLS_HELLO_YES);
    assert_int_equal(h.sni.n, 0);
    assert_int_equal(h.alpn_count, 0);
    assert_int_equal(h.version, 0x0303);
}

static void test_tls_hello_parse__other_protocols__told_by_first_bytes(void **state)
{
    (void)state;
    static const struct str texts[] = {STR("G"), STR("\x80\x2e\x01\x03\x01"), STR("\x16\x02"),
                                       STR("\x16\x03\x07"), STR("\x16\x03\x01\x00\x00"),
                                       STR("\x16\x03\x01\xff\xff"), STR("\x15\x03\x01\x00\x02")};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct tls_hello h;
        assert_int_equal(tls_hello_parse(texts[i].p, texts[i].n, &h), TLS_HELLO_NOT_TLS);
    }
}

static void expect_bad(const struct bytes *m)
{
    struct tls_hello h;
    struct bytes r = make_records(m, 4000);
    assert_int_equal(parse(&r, &h), TLS_HELLO_BAD);
}

static void test_tls_hello_parse__not_a_client_hello__bad(void **state)
{
    (void)state;
    struct bytes m = usual_message();
    m.p[0] = 2;
    expect_bad(&m);
}

static void test_tls_hello_parse__lengths_that_disagree__bad(void **state)
{
    (void)state;
    struct bytes m = usual_message();
    for (int delta = -1; delta <= 1; delta += 2) {
        struct bytes x = m;
        x.p[3] = (uint8_t)(x.p[3] + delta); /* message shorter and longer than its extensions */
        expect_bad(&x);
    }
    struct bytes x = m;
    x.p[4 + 2 + 32] = 33; /* session id */
    expect_bad(&x);
    x = m;
    x.p[4 + 2 + 32 + 1 + 1] = 3; /* odd cipher list */
    expect_bad(&x);
    x = m;
    x.p[1] = 1; /* past the limit */
    expect_bad(&x);
}

static void test_tls_hello_parse__repeated_or_malformed_extensions__bad(void **state)
{
    (void)state;
    struct bytes ext = {0}, m;
    put_sni(&ext, "a");
    put_sni(&ext, "b");
    m = make_message(&ext);
    expect_bad(&m);
    ext = (struct bytes){0};
    put_sni(&ext, "");
    m = make_message(&ext);
    expect_bad(&m);
    ext = (struct bytes){0};
    put_alpn(&ext, "h2", "");
    m = make_message(&ext);
    expect_bad(&m);
    ext = (struct bytes){0};
    struct bytes odd = {.p = {3, 3, 4, 3}, .n = 4};
    put_ext(&ext, 43, &odd);
    m = make_message(&ext);
    expect_bad(&m);
}

static void test_tls_hello_parse__many_protocols__first_sixteen_kept(void **state)
{
    (void)state;
    struct bytes ext = {0}, e = {0};
    put_number(&e, 40, 2);
    for (int i = 0; i < 20; i++) {
        put_number(&e, 1, 1);
        put_number(&e, (size_t)('a' + i), 1);
    }
    put_ext(&ext, 16, &e);
    struct tls_hello h;
    struct bytes m = make_message(&ext), r = make_records(&m, 4000);
    assert_int_equal(tls_hello_parse(r.p, r.n, &h), TLS_HELLO_YES);
    assert_int_equal(h.alpn_count, 16);
    assert_true(str_eq(h.alpn[15], STR("p")));
}

static void test_tls_hello_parse__other_record_in_between__bad(void **state)
{
    (void)state;
    struct tls_hello h;
    struct bytes m = usual_message(), r = make_records(&m, 20);
    r.p[25] = 23;
    assert_int_equal(parse(&r, &h), TLS_HELLO_BAD);
}

static void test_tls_hello_parse__endless_hello__bad_at_the_limit(void **state)
{
    (void)state;
    struct tls_hello h;
    uint8_t *p = mem_zalloc(TLS_HELLO_MAX_BYTES);
    for (size_t at = 0; at + 6 <= TLS_HELLO_MAX_BYTES; at += 6)
        memcpy(p + at, "\x16\x03\x01\x00\x01\x00", 6);
    p[5] = 1;                           /* client hello */
    p[17] = 0x80;                       /* of 32768 bytes */
    for (size_t i = 4; i < 6; i++)
        p[i * 6 + 5] = 3;
    assert_int_equal(tls_hello_parse(p, TLS_HELLO_MAX_BYTES, &h), TLS_HELLO_BAD);
    mem_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tls_hello_parse__one_record__names_and_version),
        cmocka_unit_test(test_tls_hello_parse__bytes_after_the_hello__left_alone),
        cmocka_unit_test(test_tls_hello_parse__records_of_every_size__names_joined),
        cmocka_unit_test(test_tls_hello_parse__every_prefix__asks_for_more),
        cmocka_unit_test(test_tls_hello_parse__no_extensions__legacy_version),
        cmocka_unit_test(test_tls_hello_parse__other_protocols__told_by_first_bytes),
        cmocka_unit_test(test_tls_hello_parse__not_a_client_hello__bad),
        cmocka_unit_test(test_tls_hello_parse__lengths_that_disagree__bad),
        cmocka_unit_test(test_tls_hello_parse__repeated_or_malformed_extensions__bad),
        cmocka_unit_test(test_tls_hello_parse__many_protocols__first_sixteen_kept),
        cmocka_unit_test(test_tls_hello_parse__other_record_in_between__bad),
        cmocka_unit_test(test_tls_hello_parse__endless_hello__bad_at_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
