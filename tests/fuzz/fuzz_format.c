/* SPDX-License-Identifier: Apache-2.0
 *
 * Substitution formats: any text compiles or is refused with a reason. What compiled runs over a
 * stream of which nothing is known, and over one with headers; bit 0 of the first byte omits empty
 * values, the rest is the text.
 */
#include "base/check.h"
#include "proxy/log/access_log.h"

#define FUZZ_ARENA_BYTES ((size_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run_empty(const struct format *f)
{
    static const struct stream_info nothing;
    const struct format_context cx = {.info = &nothing};
    struct strbuf out = {0};
    format_run(f, &cx, &out);
    strbuf_fini(&out);
}

static void run_headers(const struct format *f)
{
    const struct stream_info info = {.start_us = 1,
                                     .end_us = 2,
                                     .start_wall_us = UINT64_MAX,
                                     .flags = UINT32_MAX,
                                     .details = STR("a b"),
                                     .has_protocol = true};
    struct arena arena;
    struct headers h;
    struct strbuf out = {0};
    const struct format_context cx = {.info = &info, .request = &h, .response = &h, .trailers = &h};
    arena_init(&arena, FUZZ_ARENA_BYTES);
    headers_init(&h, &arena);
    headers_add_id_ref(&h, HDR_PATH, STR("/a?b=c&d#e"));
    headers_add_id_ref(&h, HDR_CONTENT_TYPE, STR("application/grpc"));
    headers_add_id_ref(&h, HDR_GRPC_STATUS, STR("99"));
    format_run(f, &cx, &out);
    strbuf_fini(&out);
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    if (!size)
        return 0;
    struct format *f = format_new(str_make((const char *)data + 1, size - 1), data[0] & 1, &err);
    if (!f) {
        CHECK(err.code < 0 && err.message[0]);
        return 0;
    }
    run_empty(f);
    run_headers(f);
    format_free(&f);
    return 0;
}
