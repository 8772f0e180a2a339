/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/filter/base64.h"
#include "proxy/filter/compression.h"
#include "proxy/filter/compressor.h"
#include "proxy/filter/grpc_frames.h"
#include "proxy/filter/token_bucket.h"

#include "../unit.h"

/* ---- gRPC frames ---- */

static const uint8_t three[] = {0, 0, 0, 0, 3, 'a', 'b', 'c', 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 'd', 'e'};

static void test_grpc_frames_count__in_any_pieces__counts_each_once(void **state)
{
    (void)state;
    for (size_t step = 1; step <= sizeof three; step++) {
        struct grpc_frame_counter c = {0};
        uint32_t n = 0;
        for (size_t at = 0; at < sizeof three; at += step) {
            struct buf b = BUF_INIT;
            buf_append(&b, three + at, at + step > sizeof three ? sizeof three - at : step);
            n += grpc_frames_count(&c, &b);
            buf_fini(&b);
        }
        assert_int_equal(n, 3);
        assert_int_equal(c.left, 0);
        assert_int_equal(c.at, 0);
    }
}

static void test_grpc_path_split__forms__takes_two_segments(void **state)
{
    (void)state;
    struct str s, m;
    assert_true(grpc_path_split(STR("/a.B/C"), &s, &m));
    assert_true(str_eq(s, STR("a.B")) && str_eq(m, STR("C")));
    assert_true(grpc_path_split(STR("//a//b/?x=/y"), &s, &m));
    assert_true(str_eq(s, STR("a")) && str_eq(m, STR("b")));
    assert_false(grpc_path_split(STR("/a"), &s, &m));
    assert_false(grpc_path_split(STR("/a/b/c"), &s, &m));
    assert_false(grpc_path_split(STR(""), &s, &m));
    assert_false(grpc_path_split(STR("/?a/b"), &s, &m));
}

/* ---- base64 ---- */

static struct str text_of(const struct buf *b, char *out)
{
    return str_make(out, buf_copy_out(b, 0, out, b->len));
}

static void test_base64__in_any_pieces__comes_back(void **state)
{
    (void)state;
    uint8_t bytes[64];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 37 + 11);
    for (size_t n = 0; n <= sizeof bytes; n++)
        for (size_t step = 1; step < 9; step++) {
            struct base64_encoder e = {0};
            struct base64_decoder d = {0};
            struct buf text = BUF_INIT, back = BUF_INIT;
            char out[256];
            for (size_t at = 0; at < n; at += step)
                base64_stream_encode(&e, bytes + at, at + step > n ? n - at : step, &text);
            base64_encode_end(&e, &text);
            assert_int_equal(text.len, (n + 2) / 3 * 4);
            struct str s = text_of(&text, out);
            for (size_t at = 0; at < s.n; at += step)
                assert_true(base64_stream_decode(&d, (const uint8_t *)s.p + at, at + step > s.n ? s.n - at : step, &back));
            assert_true(base64_decode_end(&d));
            assert_int_equal(back.len, n);
            assert_true(str_eq(text_of(&back, out), str_make((char *)bytes, n)));
            buf_fini(&text);
            buf_fini(&back);
        }
}

static void test_base64_decode__junk__is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"!!!!", "A===", "AB=C", "=AAA", "AA==AAAA", "AB==", "ABC==", "AAB=", "A A=", "AA-_"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct base64_decoder d = {0};
        struct buf out = BUF_INIT;
        assert_false(base64_stream_decode(&d, (const uint8_t *)bad[i], strlen(bad[i]), &out) && base64_decode_end(&d));
        buf_fini(&out);
    }
}

/* ---- what a client accepts ---- */

static void test_compressor_choose__accept_encoding__as_rfc_9110(void **state)
{
    (void)state;
    static const struct compressor_candidate plain[] = {{{"gzip", 4}, false}, {{"br", 2}, false}, {{"zstd", 4}, false}};
    static const struct compressor_candidate first[] = {{{"gzip", 4}, false}, {{"br", 2}, true}};
    static const struct {
        const char *accepts;
        const struct compressor_candidate *candidates;
        uint32_t n;
        enum compressor_choice choice;
        const char *encoding;
    } cases[] = {
        {"gzip, br, zstd", plain, 3, COMPRESSOR_VALID, "gzip"}, {"zstd, br", plain, 3, COMPRESSOR_VALID, "zstd"},
        {"br;q=0.5,gzip;q=0.4", plain, 3, COMPRESSOR_VALID, "br"}, {"*", plain, 3, COMPRESSOR_WILDCARD, "gzip"},
        {"gzip;q=0, *", plain, 3, COMPRESSOR_WILDCARD, "br"}, {"identity, gzip", plain, 3, COMPRESSOR_IDENTITY, "identity"},
        {"gzip, br", first, 2, COMPRESSOR_VALID, "br"}, {"gzip, br;q=0.9", first, 2, COMPRESSOR_VALID, "gzip"},
        {"", plain, 3, COMPRESSOR_NOT_VALID, "identity"}, {"x", plain, 3, COMPRESSOR_NOT_VALID, "identity"},
        {"gzip;q=x", plain, 3, COMPRESSOR_NOT_VALID, "identity"}, {"gzip;q=0", plain, 3, COMPRESSOR_NOT_VALID, "identity"},
        {"GZIP", plain, 3, COMPRESSOR_NOT_VALID, "identity"}, {"*;q=0.1, gzip;q=0", plain, 1, COMPRESSOR_NOT_VALID, "identity"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str encoding;
        assert_int_equal(compressor_choose(str_from(cases[i].accepts), cases[i].candidates, cases[i].n, &encoding), cases[i].choice);
        assert_true(str_eq(encoding, str_from(cases[i].encoding)));
    }
}

/* ---- compression ---- */

static struct compression_params params(enum compression_kind kind, bool decompress)
{
    struct compression_params p = {.kind = kind, .chunk_bytes = 4096, .level = 3, .memory_level = 5, .brotli_window_bits = 18,
                                   .brotli_block_bits = 24, .max_inflate_ratio = 100};
    p.window_bits = (decompress ? 15 : 12) + 16;
    return p;
}

static void fill(struct buf *b, size_t n, bool zeros)
{
    uint32_t x = 1;
    for (size_t i = 0; i < n; i++) {
        x = x * 1103515245 + 12345;
        uint8_t byte = zeros ? 0 : (uint8_t)('a' + (x >> 16) % 7);
        buf_append(b, &byte, 1);
    }
}

static void test_codec__pieces_of_any_size__come_back(void **state)
{
    (void)state;
    for (int kind = COMPRESSION_GZIP; kind <= COMPRESSION_ZSTD; kind++) {
        struct compression_params pack = params(kind, false), unpack = params(kind, true);
        struct err err = {0};
        struct compression_lib *to = compression_lib_new(&pack, false, &err), *from = compression_lib_new(&unpack, true, &err);
        assert_non_null(to);
        assert_non_null(from);
        for (size_t step = 1; step < 40000; step = step * 7 + 1) {
            struct codec *c = codec_take(to), *d = codec_take(from);
            struct buf whole = BUF_INIT, packed = BUF_INIT, back = BUF_INIT;
            fill(&whole, 30000, false);
            size_t n = whole.len;
            while (whole.len) {
                struct buf piece = BUF_INIT;
                buf_move_n(&piece, &whole, step < whole.len ? step : whole.len);
                assert_int_equal(codec_compress(c, &piece, &packed, !whole.len), CODEC_OK);
                buf_fini(&piece);
            }
            while (packed.len) {
                struct buf piece = BUF_INIT;
                buf_move_n(&piece, &packed, step < packed.len ? step : packed.len);
                assert_int_equal(codec_decompress(d, &piece, &back), CODEC_OK);
                buf_fini(&piece);
            }
            assert_int_equal(back.len, n);
            buf_fini(&back);
            codec_give(to, &c);
            codec_give(from, &d);
        }
        compression_lib_free(&to);
        compression_lib_free(&from);
    }
}

static void test_codec_decompress__bomb__ends_at_the_ratio(void **state)
{
    (void)state;
    for (int kind = COMPRESSION_GZIP; kind <= COMPRESSION_ZSTD; kind++) {
        struct compression_params pack = params(kind, false), unpack = params(kind, true);
        struct err err = {0};
        struct compression_lib *to = compression_lib_new(&pack, false, &err), *from = compression_lib_new(&unpack, true, &err);
        struct codec *c = codec_take(to), *d = codec_take(from);
        struct buf zeros = BUF_INIT, packed = BUF_INIT, back = BUF_INIT;
        fill(&zeros, 8 << 20, true);
        codec_compress(c, &zeros, &packed, true);
        size_t limit = packed.len * 100 + 4096;
        assert_int_not_equal(codec_decompress(d, &packed, &back), CODEC_OK);
        assert_true(back.len <= limit);
        assert_int_equal(packed.len, 0);
        buf_fini(&back);
        codec_give(to, &c);
        codec_give(from, &d);
        compression_lib_free(&to);
        compression_lib_free(&from);
    }
}

static void test_codec_decompress__junk__is_an_error(void **state)
{
    (void)state;
    for (int kind = COMPRESSION_GZIP; kind <= COMPRESSION_ZSTD; kind++) {
        struct compression_params unpack = params(kind, true);
        struct err err = {0};
        struct compression_lib *from = compression_lib_new(&unpack, true, &err);
        struct codec *d = codec_take(from);
        struct buf junk = BUF_INIT, back = BUF_INIT;
        buf_append_str(&junk, STR("\xff\xff\xff this is nothing"));
        assert_int_not_equal(codec_decompress(d, &junk, &back), CODEC_OK);
        buf_fini(&back);
        codec_give(from, &d);
        compression_lib_free(&from);
    }
}

/* ---- token buckets ---- */

static void test_token_bucket__taken_and_waited__fills_steadily(void **state)
{
    (void)state;
    struct token_bucket_spec s = token_bucket_spec(3, 2, 1000000); /* two a second */
    struct token_bucket b = {0};
    uint64_t now = 5000000;
    for (int i = 0; i < 3; i++)
        assert_true(token_bucket_take(&b, &s, 1, now));
    assert_false(token_bucket_take(&b, &s, 1, now));
    assert_int_equal(token_bucket_wait_s(&b, &s, now), 1);
    assert_false(token_bucket_take(&b, &s, 1, now + 499000));
    assert_true(token_bucket_take(&b, &s, 1, now + 500000));
    assert_false(token_bucket_take(&b, &s, 1, now + 500000));
    assert_int_equal(token_bucket_left(&b, &s, now + 1500000), 2);
    assert_int_equal(token_bucket_left(&b, &s, now + 60000000), 3); /* never more than it holds */
    assert_false(token_bucket_take(&b, &s, 4, now + 60000000));
    assert_true(token_bucket_take(&b, &s, 3, now + 60000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grpc_frames_count__in_any_pieces__counts_each_once),
        cmocka_unit_test(test_grpc_path_split__forms__takes_two_segments),
        cmocka_unit_test(test_base64__in_any_pieces__comes_back),
        cmocka_unit_test(test_base64_decode__junk__is_refused),
        cmocka_unit_test(test_compressor_choose__accept_encoding__as_rfc_9110),
        cmocka_unit_test(test_codec__pieces_of_any_size__come_back),
        cmocka_unit_test(test_codec_decompress__bomb__ends_at_the_ratio),
        cmocka_unit_test(test_codec_decompress__junk__is_an_error),
        cmocka_unit_test(test_token_bucket__taken_and_waited__fills_steadily),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
