/* SPDX-License-Identifier: Apache-2.0
 *
 * HPACK: RFC 7541's own examples, what must be refused, and nghttp2's coder at the other end, both
 * ways, over thousands of blocks with the tables' sizes changing.
 */
#include "../unit.h"

#include "base/check.h"
#include "base/rng.h"
#include "http/codec/headers.h"
#include "http/codec/hpack.h"

#include <nghttp2/nghttp2.h>

struct text {
    char p[16384];
    size_t n;
};

static void add_line(struct text *t, struct str name, struct str value)
{
    assert_true(t->n + name.n + value.n + 4 < sizeof(t->p));
    const struct str parts[] = {name, STR(": "), value, STR("\n")};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (parts[i].n)
            memcpy(t->p + t->n, parts[i].p, parts[i].n);
        t->n += parts[i].n;
    }
    t->p[t->n] = 0;
}

static enum hpack_step decode(struct hpack_decoder *d, const uint8_t *block, size_t n, struct text *t)
{
    static char scratch[HPACK_HUFFMAN_MAX(16384)];
    struct hpack_field f;
    enum hpack_step step;
    t->n = 0;
    t->p[0] = 0;
    hpack_decode_start(d, block, n, scratch);
    while ((step = hpack_decode_next(d, &f)) == HPACK_FIELD)
        add_line(t, f.name, f.value);
    return step;
}

static size_t from_hex(const char *hex, uint8_t *out)
{
    size_t n = 0;
    unsigned byte;
    for (; sscanf(hex, "%2x", &byte) == 1; hex += 2)
        out[n++] = (uint8_t)byte;
    return n;
}

static void expect_block(struct hpack_decoder *d, const char *hex, const char *text, size_t table_bytes)
{
    uint8_t block[256];
    static struct text t;
    assert_int_equal(decode(d, block, from_hex(hex, block), &t), HPACK_END);
    assert_string_equal(t.p, text);
    assert_int_equal(d->table.bytes, table_bytes);
}

#define GET_WWW ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n"

/* Appendices C.3 and C.4 */
static void test_hpack_decode__rfc_requests__fields_and_table(void **state)
{
    (void)state;
    static const char *const blocks[2][3] = {
        {"828684410f7777772e6578616d706c652e636f6d", "828684be58086e6f2d6361636865",
         "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565"},
        {"828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf",
         "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf"},
    };
    for (int i = 0; i < 2; i++) {
        struct hpack_decoder d;
        hpack_decoder_init(&d);
        expect_block(&d, blocks[i][0], GET_WWW, 57);
        expect_block(&d, blocks[i][1], GET_WWW "cache-control: no-cache\n", 110);
        expect_block(&d, blocks[i][2],
                     ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\n"
                     "custom-key: custom-value\n",
                     164);
        hpack_decoder_fini(&d);
    }
}

/* Appendix C.6: a table of 256 bytes, so that entries are evicted. */
static void test_hpack_decode__rfc_responses__evicts(void **state)
{
    (void)state;
    struct hpack_decoder d;
    hpack_decoder_init(&d);
    hpack_table_set_max(&d.table, 256);
    expect_block(&d,
                 "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff"
                 "6e919d29ad171863c78f0b97c8e9ae82ae43d3",
                 ":status: 302\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\n"
                 "location: https://www.example.com\n",
                 222);
    expect_block(&d, "4883640effc1c0bf",
                 ":status: 307\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\n"
                 "location: https://www.example.com\n",
                 222);
    expect_block(&d,
                 "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335"
                 "dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
                 ":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\n"
                 "location: https://www.example.com\ncontent-encoding: gzip\n"
                 "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n",
                 215);
    hpack_decoder_fini(&d);
}

static void test_hpack_decode__bad_blocks__refused(void **state)
{
    (void)state;
    static const char *const blocks[] = {
        "80",                 /* index 0 */
        "be",                 /* no such entry */
        "ff",                 /* the integer ends early */
        "ffffffffffff7f",     /* past 32 bits */
        "ff808080808000",     /* too many bytes, though small */
        "40",                 /* no name */
        "400161",             /* no value */
        "4003616162",         /* the name ends early */
        "000161821fff",       /* Huffman: a symbol, then eleven ones */
        "00016181ff",         /* eight ones of padding */
        "0001618100",         /* padding of zeros */
        "00016184ffffffff",   /* EOS */
        "3fe21f",             /* a table of 4097 bytes */
        "823f00",             /* a size update behind a field */
    };
    static struct text t;
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++) {
        uint8_t block[64];
        struct hpack_decoder d;
        hpack_decoder_init(&d);
        if (decode(&d, block, from_hex(blocks[i], block), &t) != HPACK_BAD)
            fail_msg("%s was taken as %s", blocks[i], t.p);
        hpack_decoder_fini(&d);
    }
}

/* Section 4.2: once our smaller limit is acknowledged, the next block says so. */
static void test_hpack_decoder_set_limit__smaller__update_must_come(void **state)
{
    (void)state;
    static struct text t;
    for (int i = 0; i < 2; i++) {
        struct hpack_decoder d;
        hpack_decoder_init(&d);
        hpack_decoder_set_limit(&d, 100);
        const uint8_t with[] = {0x3f, 100 - 31, 0x82}, without[] = {0x82};
        assert_int_equal(i ? decode(&d, with, sizeof(with), &t) : decode(&d, without, sizeof(without), &t),
                         i ? HPACK_END : HPACK_BAD);
        hpack_decoder_fini(&d);
    }
}

static void test_hpack_decode__text__flags_tell(void **state)
{
    (void)state;
    static const struct {
        const char *hex;
        uint8_t flags;
    } cases[] = {
        {"00036162630131", 0},
        {"10036162630131", HPACK_NEVER_INDEX},
        {"00035f62630131", HPACK_UNDERSCORED},
        {"00034162630131", HPACK_NAME_BAD},      /* upper case */
        {"00000131", HPACK_NAME_BAD},            /* empty */
        {"00013a0131", HPACK_NAME_BAD},          /* a colon only */
        {"0003613a620131", HPACK_NAME_BAD},      /* a colon inside */
        {"0003616263020a31", HPACK_VALUE_BAD},   /* LF */
        {"000361626303310020", HPACK_VALUE_BAD}, /* NUL */
        {"0003616263023120", HPACK_VALUE_BAD},   /* white space at the end */
        {"000361626302ff31", 0},                 /* obs-text */
        {"82", HPACK_NAME_STATIC | HPACK_VALUE_STATIC},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t block[64];
        char scratch[128];
        struct hpack_decoder d;
        struct hpack_field f;
        hpack_decoder_init(&d);
        hpack_decode_start(&d, block, from_hex(cases[i].hex, block), scratch);
        assert_int_equal(hpack_decode_next(&d, &f), HPACK_FIELD);
        assert_int_equal(f.flags, cases[i].flags);
        hpack_decoder_fini(&d);
    }
}

static size_t encode_one(struct hpack_encoder *e, const char *name, const char *value, uint8_t flags, uint8_t *out)
{
    struct hpack_field f = {str_from(name), str_from(value), (uint16_t)header_id_of(str_from(name)), flags};
    return (size_t)(hpack_encode(e, hpack_encode_start(e, out), &f) - out);
}

static void test_hpack_encode__comes_again__enters_table_then_index(void **state)
{
    (void)state;
    struct hpack_encoder e;
    uint8_t out[128];
    hpack_encoder_init(&e, HPACK_DEFAULT_TABLE_BYTES);
    assert_int_equal(encode_one(&e, "x-tenant", "blue", 0, out), 1 + 9 + 5);
    assert_int_equal(out[0], 0x00);
    assert_int_equal(e.table.bytes, 0);
    encode_one(&e, "x-tenant", "blue", 0, out);
    assert_int_equal(out[0], 0x40);
    assert_int_equal(e.table.bytes, 8 + 4 + HPACK_ENTRY_OVERHEAD);
    assert_int_equal(encode_one(&e, "x-tenant", "blue", 0, out), 1);
    assert_int_equal(out[0], 0x80 | 62);
    assert_int_equal(encode_one(&e, "x-tenant", "red", 0, out), 1 + 1 + 4); /* its name is known */
    hpack_encoder_fini(&e);
}

/* Section 7.1.3 */
static void test_hpack_encode__secrets__never_indexed(void **state)
{
    (void)state;
    struct hpack_encoder e;
    uint8_t out[128];
    hpack_encoder_init(&e, HPACK_DEFAULT_TABLE_BYTES);
    for (int i = 0; i < 3; i++) {
        encode_one(&e, "authorization", "Basic QQ==", 0, out);
        assert_int_equal(out[0] & 0xf0, 0x10);
        encode_one(&e, "cookie", "short=1", 0, out);
        assert_int_equal(out[0] & 0xf0, 0x10);
        encode_one(&e, "x-key", "k", HPACK_NEVER_INDEX, out);
        assert_int_equal(out[0] & 0xf0, 0x10);
        encode_one(&e, "x-request-id", "1234", HPACK_UNIQUE, out);
        assert_int_equal(out[0] & 0xf0, 0x00);
    }
    assert_int_equal(e.table.bytes, 0);
    hpack_encoder_fini(&e);
}

static void test_hpack_encoder_set_peer_limit__down_and_up__both_are_told(void **state)
{
    (void)state;
    struct hpack_encoder e;
    uint8_t out[128];
    hpack_encoder_init(&e, HPACK_DEFAULT_TABLE_BYTES);
    for (int i = 0; i < 2; i++)
        encode_one(&e, "x-tenant", "blue", 0, out);
    hpack_encoder_set_peer_limit(&e, 0);
    hpack_encoder_set_peer_limit(&e, 1000000); /* ours is smaller */
    assert_int_equal(e.table.bytes, 0);
    size_t n = encode_one(&e, ":method", "GET", 0, out);
    static const uint8_t want[] = {0x20, 0x3f, 0xe1, 0x1f, 0x82};
    assert_int_equal(n, sizeof(want));
    assert_memory_equal(out, want, n);
    hpack_encoder_fini(&e);
}

/* ---- against nghttp2 ---- */

static const char *const names[] = {
    ":method", ":path", ":status", "x-a", "x-longer-name-of-a-field", "content-type", "cookie", "date",
    "x-request-id", "accept-encoding", "x-envoy-upstream-service-time", "age", "x_y", "etag",
};

/* Names and values that repeat now and then; bytes of all kinds. */
static size_t random_list(struct rng *rng, struct hpack_field *fields, char *text, size_t room)
{
    size_t count = rng_below(rng, 20), used = 0;
    for (size_t i = 0; i < count; i++) {
        struct str name = str_from(names[rng_below(rng, ARRAY_LEN(names))]);
        size_t n = rng_below(rng, 4) ? rng_below(rng, 12) : rng_below(rng, 300);
        if (used + n > room)
            n = 0;
        uint64_t seed = rng_below(rng, 30), kind = rng_below(rng, 5);
        for (size_t k = 0; k < n; k++)
            text[used + k] = kind ? "0123456789abcdef-/ETxz%"[(seed + k * 7) % 23] : (char)(seed * 31 + k * 11);
        fields[i] = (struct hpack_field){name, str_make(text + used, n), (uint16_t)header_id_of(name),
                                         rng_below(rng, 10) ? 0 : HPACK_NEVER_INDEX};
        used += n;
    }
    return count;
}

static void list_text(const struct hpack_field *fields, size_t count, struct text *t)
{
    t->n = 0;
    t->p[0] = 0;
    for (size_t i = 0; i < count; i++)
        add_line(t, fields[i].name, fields[i].value);
}

static void inflate(nghttp2_hd_inflater *inflater, const uint8_t *p, size_t n, struct text *t)
{
    t->n = 0;
    t->p[0] = 0;
    for (int flags = 0; !(flags & NGHTTP2_HD_INFLATE_FINAL);) {
        nghttp2_nv nv;
        flags = 0;
        ssize_t used = nghttp2_hd_inflate_hd2(inflater, &nv, &flags, p, n, 1);
        assert_true(used >= 0);
        p += used;
        n -= (size_t)used;
        if (flags & NGHTTP2_HD_INFLATE_EMIT)
            add_line(t, str_make((char *)nv.name, nv.namelen), str_make((char *)nv.value, nv.valuelen));
    }
    nghttp2_hd_inflate_end_headers(inflater);
}

static void test_hpack_encode__random_lists__nghttp2_reads_them(void **state)
{
    (void)state;
    static struct text want, got;
    static char text[8192];
    static uint8_t block[16384];
    struct rng rng;
    rng_seed(&rng, 7);
    struct hpack_encoder e;
    nghttp2_hd_inflater *inflater;
    hpack_encoder_init(&e, HPACK_DEFAULT_TABLE_BYTES);
    assert_int_equal(nghttp2_hd_inflate_new(&inflater), 0);
    for (int i = 0; i < 4000; i++) {
        struct hpack_field fields[20];
        size_t count = random_list(&rng, fields, text, sizeof(text));
        if (rng_below(&rng, 50) == 0) {
            size_t limit = rng_below(&rng, HPACK_DEFAULT_TABLE_BYTES + 1);
            hpack_encoder_set_peer_limit(&e, limit);
            nghttp2_hd_inflate_change_table_size(inflater, limit);
        }
        uint8_t *end = hpack_encode_start(&e, block);
        for (size_t k = 0; k < count; k++)
            end = hpack_encode(&e, end, &fields[k]);
        list_text(fields, count, &want);
        inflate(inflater, block, (size_t)(end - block), &got);
        assert_int_equal(got.n, want.n);
        assert_memory_equal(got.p, want.p, want.n);
        assert_int_equal(nghttp2_hd_inflate_get_dynamic_table_size(inflater), e.table.bytes);
    }
    nghttp2_hd_inflate_del(inflater);
    hpack_encoder_fini(&e);
}

static void test_hpack_decode__blocks_of_nghttp2__fields(void **state)
{
    (void)state;
    static struct text want, got;
    static char text[8192];
    static uint8_t block[16384];
    struct rng rng;
    rng_seed(&rng, 8);
    struct hpack_decoder d;
    nghttp2_hd_deflater *deflater;
    hpack_decoder_init(&d);
    assert_int_equal(nghttp2_hd_deflate_new(&deflater, HPACK_DEFAULT_TABLE_BYTES), 0);
    for (int i = 0; i < 4000; i++) {
        struct hpack_field fields[20];
        nghttp2_nv nv[20];
        size_t count = random_list(&rng, fields, text, sizeof(text));
        if (rng_below(&rng, 50) == 0) {
            size_t limit = rng_below(&rng, HPACK_DEFAULT_TABLE_BYTES + 1);
            hpack_decoder_set_limit(&d, limit);
            nghttp2_hd_deflate_change_table_size(deflater, limit);
        }
        for (size_t k = 0; k < count; k++)
            nv[k] = (nghttp2_nv){(uint8_t *)(uintptr_t)fields[k].name.p, (uint8_t *)(uintptr_t)fields[k].value.p,
                                 fields[k].name.n, fields[k].value.n,
                                 fields[k].flags ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE};
        ssize_t n = nghttp2_hd_deflate_hd(deflater, block, sizeof(block), nv, count);
        assert_true(n >= 0);
        list_text(fields, count, &want);
        assert_int_equal(decode(&d, block, (size_t)n, &got), HPACK_END);
        assert_int_equal(got.n, want.n);
        assert_memory_equal(got.p, want.p, want.n);
        assert_int_equal(nghttp2_hd_deflate_get_dynamic_table_size(deflater), d.table.bytes);
    }
    nghttp2_hd_deflate_del(deflater);
    hpack_decoder_fini(&d);
}

static void test_hpack_huffman__every_byte__comes_back(void **state)
{
    (void)state;
    char text[256 * 3], back[HPACK_HUFFMAN_MAX(4 * sizeof(text))];
    uint8_t coded[4 * sizeof(text)];
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)(i * 85 + i / 256);
    for (size_t n = 0; n < sizeof(text); n++) {
        size_t bytes = (size_t)(hpack_huffman_encode(coded, str_make(text, n)) - coded);
        assert_int_equal(hpack_huffman_decode(back, coded, bytes), n);
        assert_memory_equal(back, text, n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hpack_decode__rfc_requests__fields_and_table),
        cmocka_unit_test(test_hpack_decode__rfc_responses__evicts),
        cmocka_unit_test(test_hpack_decode__bad_blocks__refused),
        cmocka_unit_test(test_hpack_decoder_set_limit__smaller__update_must_come),
        cmocka_unit_test(test_hpack_decode__text__flags_tell),
        cmocka_unit_test(test_hpack_encode__comes_again__enters_table_then_index),
        cmocka_unit_test(test_hpack_encode__secrets__never_indexed),
        cmocka_unit_test(test_hpack_encoder_set_peer_limit__down_and_up__both_are_told),
        cmocka_unit_test(test_hpack_encode__random_lists__nghttp2_reads_them),
        cmocka_unit_test(test_hpack_decode__blocks_of_nghttp2__fields),
        cmocka_unit_test(test_hpack_huffman__every_byte__comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
