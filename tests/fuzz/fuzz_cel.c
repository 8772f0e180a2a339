/* SPDX-License-Identifier: Apache-2.0
 *
 * Expressions in CEL: any text compiles or is refused with a reason, and evaluates to an end over a
 * request that has little to show.
 */
#include "base/check.h"
#include "proxy/cel/cel.h"
#include "proxy/log/access_log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct headers request;
    struct stream_info info = {.status = 200, .start_us = 1, .end_us = 2};
    struct err err = {0};
    arena_init(&arena, 0);
    headers_init(&request, &arena);
    headers_add_ref(&request, STR(":path"), STR("/a?b"));
    headers_add_ref(&request, STR("x"), STR("1"));
    struct format_context cx = {.info = &info, .request = &request};
    struct cel *e = cel_new(str_make((const char *)data, size), &err);
    if (e)
        (void)cel_is_true(e, &cx);
    else
        CHECK(err.code < 0 && err.message[0]);
    cel_free(&e);
    arena_fini(&arena);
    return 0;
}
