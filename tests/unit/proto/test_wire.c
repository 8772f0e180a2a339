/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/wire.h"

#include <string.h>

#include "base/check.h"
#include "base/mem.h"

#include "../unit.h"

static void assert_bytes(struct strbuf *b, const char *want, size_t n)
{
    assert_int_equal(b->n, n);
    assert_memory_equal(b->p, want, n);
    strbuf_fini(b);
}

/* Lengths on both sides of each step of a varint's size: the same as when the length is known beforehand. */
static void test_wire_close__content_of_each_length__as_wire_bytes(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 126, 127, 128, 129, 16383, 16384, 16385, 2097151, 2097152};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct strbuf content = {0}, whole = {0}, opened = {0};
        for (size_t k = 0; k < lengths[i]; k++)
            strbuf_addc(&content, (char)k);
        strbuf_addz(&whole, "before");
        wire_bytes(&whole, 20, content.p, content.n);
        strbuf_addz(&opened, "before");
        size_t at = wire_open(&opened, 20);
        strbuf_add(&opened, content.p, content.n);
        wire_close(&opened, at);
        assert_int_equal(opened.n, whole.n);
        assert_memory_equal(opened.p, whole.p, whole.n);
        strbuf_fini(&content);
        strbuf_fini(&whole);
        strbuf_fini(&opened);
    }
}

static void test_wire_close__nested__each_with_its_length(void **state)
{
    (void)state;
    struct strbuf b = {0};
    size_t outer = wire_open(&b, 1), inner = wire_open(&b, 2);
    wire_uint(&b, 3, 300);
    wire_close(&b, inner);
    wire_bytes(&b, 4, "x", 1);
    wire_close(&b, outer);
    assert_bytes(&b, "\x0a\x08\x12\x03\x18\xac\x02\x22\x01x", 10);
}

static void test_wire_double__known_numbers__little_endian(void **state)
{
    (void)state;
    struct strbuf b = {0};
    wire_double(&b, 1, 0.5);
    wire_fixed64(&b, 2, 0x0102030405060708ull);
    assert_bytes(&b, "\x09\x00\x00\x00\x00\x00\x00\xe0\x3f\x11\x08\x07\x06\x05\x04\x03\x02\x01", 18);
}

static void test_wire_uint__largest__ten_bytes(void **state)
{
    (void)state;
    struct strbuf b = {0};
    wire_uint(&b, 1, UINT64_MAX);
    assert_bytes(&b, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11);
}

static void test_wire_next__each_wire_type__number_and_value(void **state)
{
    (void)state;
    struct wire_reader r = wire_read(str_make("\x08\xac\x02\x11\x01\0\0\0\0\0\0\0\x1a\x02hi\x25\x07\0\0\0", 21));
    struct wire_field f;
    assert_true(wire_next(&r, &f) && f.number == 1 && f.type == 0 && f.value == 300);
    assert_true(wire_next(&r, &f) && f.number == 2 && f.type == 1 && f.value == 1);
    assert_true(wire_next(&r, &f) && f.number == 3 && f.type == 2);
    assert_str_equal(f.bytes, "hi");
    assert_true(wire_next(&r, &f) && f.number == 4 && f.type == 5 && f.value == 7);
    assert_false(wire_next(&r, &f));
    assert_false(r.failed);
}

static void test_wire_next__broken__fails_for_good(void **state)
{
    (void)state;
    static const struct str broken[] = {
        {"\x08", 1}, {"\x08\x80", 2}, {"\x0a\x03hi", 4}, {"\x0b", 1}, {"\x00\x01", 2}, {"\x0d\x01\x02", 3}, {"\x09\x01", 2},
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12}, {"\x0f", 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        struct wire_reader r = wire_read(broken[i]);
        struct wire_field f;
        assert_false(wire_next(&r, &f));
        assert_true(r.failed);
        assert_false(wire_next(&r, &f));
    }
    struct wire_reader none = wire_read(STR_NULL);
    struct wire_field f;
    assert_false(wire_next(&none, &f) || none.failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wire_close__content_of_each_length__as_wire_bytes),
        cmocka_unit_test(test_wire_close__nested__each_with_its_length),
        cmocka_unit_test(test_wire_double__known_numbers__little_endian),
        cmocka_unit_test(test_wire_uint__largest__ten_bytes),
        cmocka_unit_test(test_wire_next__each_wire_type__number_and_value),
        cmocka_unit_test(test_wire_next__broken__fails_for_good),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
