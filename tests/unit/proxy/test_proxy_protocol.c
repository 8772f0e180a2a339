/* SPDX-License-Identifier: Apache-2.0
 *
 * PROXY protocol headers: whole, cut at every byte, and malformed.
 */
#include "proxy/listener/listener_filter.h"

#include "../unit.h"

#define V2 "\r\n\r\n\0\r\nQUIT\n"
#define BYTES(literal) STR(literal)

static void expect_addresses(const struct proxy_header *h, const char *source,
                             const char *destination)
{
    char text[ADDR_TEXT_BYTES];
    assert_true(h->has_addresses);
    assert_string_equal(addr_text(&h->source, text), source);
    assert_string_equal(addr_text(&h->destination, text), destination);
}

static void fini(struct proxy_header *h)
{
    addr_fini(&h->source);
    addr_fini(&h->destination);
}

/* Whole, followed by other bytes, and cut anywhere. */
static void expect_header(struct str bytes, uint8_t version, const char *source,
                          const char *destination)
{
    struct proxy_header h;
    char more[1024];
    for (size_t cut = 0; cut < bytes.n; cut++)
        assert_int_equal(proxy_header_parse(bytes.p, cut, &h), PROXY_HEADER_MORE);
    memcpy(more, bytes.p, bytes.n);
    memcpy(more + bytes.n, "GET", 3);
    assert_int_equal(proxy_header_parse(more, bytes.n + 3, &h), PROXY_HEADER_YES);
    assert_int_equal(h.bytes, bytes.n);
    assert_int_equal(h.version, version);
    if (source)
        expect_addresses(&h, source, destination);
    else
        assert_false(h.has_addresses);
    fini(&h);
}

static void test_proxy_header_parse__version_1__read(void **state)
{
    (void)state;
    expect_header(STR("PROXY TCP4 1.2.3.4 5.6.7.8 1000 443\r\n"), 1, "1.2.3.4:1000", "5.6.7.8:443");
    expect_header(STR("PROXY TCP6 fd00::1 ::1 65535 0\r\n"), 1, "[fd00::1]:65535", "[::1]:0");
    expect_header(STR("PROXY UNKNOWN\r\n"), 1, NULL, NULL);
    expect_header(STR("PROXY UNKNOWN 1.2.3.4 whatever it is\r\n"), 1, NULL, NULL);
}

static void test_proxy_header_parse__version_2__read(void **state)
{
    (void)state;
    expect_header(BYTES(V2 "\x21\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x03\xe8\x01\xbb"), 2,
                  "1.2.3.4:1000", "5.6.7.8:443");
    expect_header(BYTES(V2 "\x21\x21\x00\x24"
                           "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"
                           "\x03\xe8\x01\xbb"),
                  2, "[fd00::1]:1000", "[::1]:443");
    expect_header(BYTES(V2 "\x20\x00\x00\x00"), 2, NULL, NULL);   /* LOCAL */
    expect_header(BYTES(V2 "\x20\x11\x00\x02xx"), 2, NULL, NULL); /* LOCAL: the rest is skipped */
    expect_header(BYTES(V2 "\x21\x00\x00\x03\x04\x00\x00"), 2, NULL, NULL); /* UNSPEC */
}

static void test_proxy_header_parse__unix_addresses__read(void **state)
{
    (void)state;
    char bytes[16 + 216] = V2 "\x21\x31\x00\xd8/run/a";
    memcpy(bytes + 16 + 108, "\0name", 5);
    expect_header(str_make(bytes, sizeof(bytes)), 2, "/run/a", "@name");
}

static void test_proxy_header_parse__tlvs__walked(void **state)
{
    (void)state;
    struct str bytes = BYTES(V2 "\x21\x11\x00\x16\x01\x02\x03\x04\x05\x06\x07\x08\x03\xe8\x01\xbb"
                                "\x01\x00\x02h2\xea\x00\x02vx");
    struct proxy_header h;
    uint8_t type;
    struct str value;
    assert_int_equal(proxy_header_parse(bytes.p, bytes.n, &h), PROXY_HEADER_YES);
    assert_true(proxy_tlv_next(&h.tlvs, &type, &value));
    assert_int_equal(type, 1);
    assert_str_equal(value, "h2");
    assert_true(proxy_tlv_next(&h.tlvs, &type, &value));
    assert_int_equal(type, 0xea);
    assert_str_equal(value, "vx");
    assert_false(proxy_tlv_next(&h.tlvs, &type, &value));
    fini(&h);
}

static void test_proxy_header_parse__other_bytes__none(void **state)
{
    (void)state;
    static const char *const other[] = {"GET / HTTP/1.1\r\n", "\x16\x03\x01", "PROXX ",
                                        "\r\n\r\nx",          "P R",          "proxy TCP4"};
    struct proxy_header h;
    for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++)
        assert_int_equal(proxy_header_parse(other[i], strlen(other[i]), &h), PROXY_HEADER_NONE);
}

static void test_proxy_header_parse__malformed__bad(void **state)
{
    (void)state;
    const struct str bad[] = {
        STR("PROXY \r\n"),
        STR("PROXY TCP4\r\n"),
        STR("PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n"),
        STR("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n"),
        STR("PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n"),
        STR("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n"),
        STR("PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n"),
        STR("PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n"),
        STR("PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n"),
        STR("PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n"),
        STR("PROXY TCP4 ::1 ::1 1 2\r\n"),
        STR("PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n"),
        STR("PROXY UNKNOWNX\r\n"),
        STR("PROXY UNKNOWN "
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
            "xxxxxxxxxxxxxxxxxx"),
        BYTES(V2
              "\x11\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x03\xe8\x01\xbb"), /* version 1 */
        BYTES(V2 "\x22\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x03\xe8\x01\xbb"), /* no such
                                                                                         command */
        BYTES(V2 "\x21\x11\x00\x0b\x01\x02\x03\x04\x05\x06\x07\x08\x03\xe8\x01"), /* too short for
                                                                                     its family */
        BYTES(V2
              "\x21\x11\x00\x0e\x01\x02\x03\x04\x05\x06\x07\x08\x03\xe8\x01\xbb\x01\x00"), /* half a
                                                                                              TLV */
        BYTES(V2
              "\x21\x11\x00\x0f\x01\x02\x03\x04\x05\x06\x07\x08\x03\xe8\x01\xbb\x01\x00\x09"), /* one
                                                                                                  past
                                                                                                  the
                                                                                                  end
                                                                                                */
        BYTES(V2
              "\x21\x12\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x03\xe8\x01\xbb"), /* datagrams over
                                                                                      a stream */
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct proxy_header h;
        if (proxy_header_parse(bad[i].p, bad[i].n, &h) != PROXY_HEADER_BAD)
            fail_msg("case %zu was let pass", i);
        assert_false(h.has_addresses);
        assert_true(h.version == 1 || h.version == 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_proxy_header_parse__version_1__read),
        cmocka_unit_test(test_proxy_header_parse__version_2__read),
        cmocka_unit_test(test_proxy_header_parse__unix_addresses__read),
        cmocka_unit_test(test_proxy_header_parse__tlvs__walked),
        cmocka_unit_test(test_proxy_header_parse__other_bytes__none),
        cmocka_unit_test(test_proxy_header_parse__malformed__bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
