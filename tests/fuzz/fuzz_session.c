/* SPDX-License-Identifier: Apache-2.0
 *
 * What clients put into headers and cookies for filters: a google.protobuf.Value off the wire, a
 * session's cookie, base64. Whatever was read lies within bounds, prints, and copies to its equal; what
 * is written as a session's cookie reads back the same.
 */
#include "base/base64.h"
#include "base/check.h"
#include "proxy/filter/stateful_session.h"
#include "proxy/filter/value_wire.h"

#define FUZZ_ARENA_BYTES ((size_t)4 << 20)
#define FUZZ_TEXT_BYTES 8192 /* what header_to_metadata looks at */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_value(struct str text, struct arena *a)
{
    struct meta_value v;
    if (!value_from_wire(text, a, &v))
        return;
    struct meta_value copy = meta_copy(a, &v);
    struct strbuf first = {0}, second = {0};
    meta_print_json(&v, false, &first);
    meta_print_json(&copy, false, &second);
    CHECK(a->overflowed || str_eq(strbuf_str(&first), strbuf_str(&second)));
    strbuf_fini(&first);
    strbuf_fini(&second);
}

static void check_cookie(struct str text, struct arena *a)
{
    struct str coded = b64_encode_in(a, text), decoded, address = session_cookie_read(text, 1, a);
    CHECK(coded.p && b64_decode_in(a, coded, &decoded) && str_eq(decoded, text));
    CHECK(address.n <= text.n);
    if (!text.n)
        return;
    struct str cookie = session_cookie_write(text, 1000, a);
    CHECK(str_eq(session_cookie_read(cookie, 999, a), text) && !session_cookie_read(cookie, 1001, a).p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct str text = str_make((const char *)data, size);
    if (size > FUZZ_TEXT_BYTES)
        return 0;
    arena_init(&a, FUZZ_ARENA_BYTES);
    check_value(text, &a);
    if (!a.overflowed)
        check_cookie(text, &a);
    arena_fini(&a);
    return 0;
}
