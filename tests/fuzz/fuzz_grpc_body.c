/* SPDX-License-Identifier: Apache-2.0
 *
 * Bodies of gRPC and gRPC-Web in pieces of any size: base64 decodes to the same and fails at the same
 * byte however it is cut, what is encoded decodes to itself, messages are counted alike. The first byte
 * says where to cut.
 */
#include "base/check.h"
#include "proxy/filter/base64.h"
#include "proxy/filter/grpc_frames.h"
#include "proxy/filter/grpc_web.h"

#define FUZZ_ARENA_BYTES ((size_t)1 << 20)
#define FUZZ_BODY_BYTES 8192

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool decode(const uint8_t *p, size_t n, size_t step, struct buf *out)
{
    struct base64_decoder d = {0};
    for (size_t at = 0; at < n; at += step)
        if (!base64_stream_decode(&d, p + at, n - at < step ? n - at : step, out))
            return false;
    return base64_decode_end(&d);
}

static bool buf_eq(struct buf *a, struct buf *b)
{
    size_t n = a->len;
    return n == b->len && (!n || !memcmp(buf_pullup(a, n), buf_pullup(b, n), n));
}

static void check_decoding(const uint8_t *p, size_t n, size_t step)
{
    struct buf whole = BUF_INIT, cut = BUF_INIT;
    bool is_good = decode(p, n, n ? n : 1, &whole);
    CHECK(decode(p, n, step, &cut) == is_good);
    CHECK(!is_good || (buf_eq(&whole, &cut) && whole.len <= n / 4 * 3 + 3));
    buf_fini(&whole);
    buf_fini(&cut);
}

static void check_round_trip(const uint8_t *p, size_t n, size_t step)
{
    struct base64_encoder e = {0};
    struct buf coded = BUF_INIT, back = BUF_INIT;
    for (size_t at = 0; at < n; at += step)
        base64_stream_encode(&e, p + at, n - at < step ? n - at : step, &coded);
    base64_encode_end(&e, &coded);
    CHECK(coded.len == (n + 2) / 3 * 4);
    size_t len = coded.len;
    CHECK(decode(len ? buf_pullup(&coded, len) : p, len, step, &back));
    CHECK(back.len == n && (!n || !memcmp(buf_pullup(&back, n), p, n)));
    buf_fini(&coded);
    buf_fini(&back);
}

static void check_frames(const uint8_t *p, size_t n, size_t step)
{
    struct grpc_frame_counter whole = {0}, cut = {0}, stepped = {0};
    struct buf all = BUF_INIT;
    uint32_t in_all, in_parts = 0, begun = 0;
    bool begins, ends;
    buf_append(&all, p, n);
    in_all = grpc_frames_count(&whole, &all);
    CHECK(all.len == n);
    buf_fini(&all);
    for (size_t at = 0; at < n; at += step) {
        struct buf part = BUF_INIT;
        buf_append(&part, p + at, n - at < step ? n - at : step);
        in_parts += grpc_frames_count(&cut, &part);
        buf_fini(&part);
    }
    for (size_t at = 0; at < n;) {
        size_t took = grpc_frame_step(&stepped, p + at, n - at, &begins, &ends);
        CHECK(took > 0 && took <= n - at);
        begun += begins;
        at += took;
    }
    CHECK(in_all == in_parts && in_all == begun);
    CHECK(whole.left == cut.left && whole.at == cut.at && whole.left == stepped.left && whole.at == stepped.at);
}

static void check_texts(struct str text)
{
    struct arena a;
    struct str service, method;
    arena_init(&a, FUZZ_ARENA_BYTES);
    struct str coded = grpc_message_encode(&a, text);
    for (size_t i = 0; i < coded.n; i++)
        CHECK(coded.p[i] >= 0x20 && coded.p[i] <= 0x7e);
    if (grpc_path_split(text, &service, &method))
        CHECK(service.n + method.n + 1 <= text.n && str_find_char(method, '/') < 0);
    grpc_is_content_type(text);
    arena_fini(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size || size > FUZZ_BODY_BYTES)
        return 0;
    size_t step = data[0] % 64u + 1;
    check_decoding(data + 1, size - 1, step);
    check_round_trip(data + 1, size - 1, step);
    check_frames(data + 1, size - 1, step);
    check_texts(str_make((const char *)data + 1, size - 1));
    return 0;
}
