/* SPDX-License-Identifier: Apache-2.0
 *
 * A server session against raw frames: floods, malformed frames and messages, each with what it must
 * end in. Each case is fed whole and a byte at a time.
 */
#include "h2_pair.h"

#include <nghttp2/nghttp2.h>

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/* GET http:///  with :authority "a": indexed fields and one literal (RFC 7541 appendix A). */
static const char get_block[] = "\x82\x86\x84\x41\x01\x61";
static const char post_block[] = "\x83\x86\x84\x41\x01\x61";

static void frame(struct buf *b, uint8_t type, uint8_t flags, uint32_t id, const void *payload, size_t n)
{
    uint8_t head[9] = {(uint8_t)(n >> 16), (uint8_t)(n >> 8),  (uint8_t)n,         type,      flags,
                       (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};
    buf_append(b, head, sizeof(head));
    buf_append(b, payload, n);
}

static void start(struct buf *b)
{
    buf_append(b, preface, sizeof(preface) - 1);
    frame(b, NGHTTP2_SETTINGS, 0, 0, "", 0);
}

static void get(struct buf *b, uint32_t id)
{
    frame(b, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, id, get_block, 6);
}

static void post(struct buf *b, uint32_t id)
{
    frame(b, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, id, post_block, 6);
}

/* A literal field without indexing, new name. */
static void field(struct buf *block, const char *name, const char *value)
{
    uint8_t len[2] = {(uint8_t)strlen(name), (uint8_t)strlen(value)};
    buf_append(block, "\0", 1);
    buf_append(block, &len[0], 1);
    buf_append(block, name, len[0]);
    buf_append(block, &len[1], 1);
    buf_append(block, value, len[1]);
}

static void request_with(struct buf *b, uint32_t id, const char *name, const char *value)
{
    struct buf block = BUF_INIT;
    buf_append(&block, get_block, 6);
    field(&block, name, value);
    frame(b, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, id,
          buf_pullup(&block, block.len), block.len);
    buf_fini(&block);
}

struct result {
    enum h2_fault fault;
    uint32_t goaway_code; /* UINT32_MAX: none */
    uint32_t rst_code;    /* of the last RST_STREAM; UINT32_MAX: none */
};

/* Reads back what the server wrote. */
static void read_output(struct buf *out, struct result *r)
{
    r->goaway_code = r->rst_code = UINT32_MAX;
    size_t n = out->len;
    const uint8_t *p = n ? buf_pullup(out, n) : NULL;
    for (size_t at = 0; at + 9 <= n;) {
        const uint8_t *f = p + at;
        size_t len = (size_t)f[0] << 16 | (size_t)f[1] << 8 | f[2];
        assert_true(at + 9 + len <= n); /* whole frames only */
        if (at == 0)
            assert_int_equal(f[3], NGHTTP2_SETTINGS); /* RFC 9113 section 3.4 */
        if (f[3] == NGHTTP2_GOAWAY)
            r->goaway_code = f[16];
        if (f[3] == NGHTTP2_RST_STREAM)
            r->rst_code = f[12];
        at += 9 + len;
    }
    buf_fini(out);
}

static struct result play(struct side *s, const struct h2_opts *o, const struct buf *bytes, size_t chunk)
{
    struct result r;
    struct buf copy = BUF_INIT, out = BUF_INIT;
    side_init(s, o);
    buf_share(&copy, bytes, bytes->len);
    pair_feed(s, &copy, chunk);
    while (h2_session_pull(s->session, &out, 1 << 20) && out.len < (1 << 20))
        ;
    r.fault = h2_session_fault(s->session);
    read_output(&out, &r);
    return r;
}

static void expect(const struct h2_opts *o, struct buf *take_bytes, enum h2_fault fault, uint32_t code)
{
    for (size_t chunk = 0; chunk < 2; chunk++) {
        struct side s;
        struct result r = play(&s, o, take_bytes, chunk);
        assert_string_equal(h2_fault_text(r.fault), h2_fault_text(fault));
        assert_int_equal(r.goaway_code, code);
        if (fault)
            assert_true(h2_session_is_over(s.session));
        side_fini(&s);
    }
    buf_fini(take_bytes);
}

static void expect_events(const struct h2_opts *o, struct buf *take_bytes, const char *events, uint32_t rst)
{
    for (size_t chunk = 0; chunk < 2; chunk++) {
        struct side s;
        struct result r = play(&s, o, take_bytes, chunk);
        assert_string_equal(s.events, events);
        assert_int_equal(r.rst_code, rst);
        assert_int_equal(r.fault, H2_FAULT_NONE);
        side_fini(&s);
    }
    buf_fini(take_bytes);
}

#define NONE UINT32_MAX

/* ---- floods ---- */

static void test_h2_session_feed__pings_never_read__outbound_control_flood(void **state)
{
    (void)state;
    struct h2_opts o = h2_opts_default(true);
    struct buf b = BUF_INIT;
    start(&b);
    for (int i = 0; i < 1100; i++)
        frame(&b, NGHTTP2_PING, 0, 0, "12345678", 8);
    expect(&o, &b, H2_FAULT_OUTBOUND_CONTROL_FLOOD, H2_ENHANCE_YOUR_CALM);
}

static void test_h2_session_feed__settings_never_read__outbound_control_flood(void **state)
{
    (void)state;
    struct h2_opts o = h2_opts_default(true);
    struct buf b = BUF_INIT;
    start(&b);
    for (int i = 0; i < 1100; i++)
        frame(&b, NGHTTP2_SETTINGS, 0, 0, "", 0);
    expect(&o, &b, H2_FAULT_OUTBOUND_CONTROL_FLOOD, H2_ENHANCE_YOUR_CALM);
}

static void test_h2_session_feed__resets_provoked__outbound_control_flood(void **state)
{
    (void)state;
    struct h2_opts o = h2_opts_default(true);
    o.stream_error_on_invalid = true;
    o.max_concurrent_streams = 5000;
    struct buf b = BUF_INIT;
    start(&b);
    for (uint32_t i = 0; i < 1100; i++)
        request_with(&b, 2 * i + 1, "connection", "close");
    expect(&o, &b, H2_FAULT_OUTBOUND_CONTROL_FLOOD, H2_ENHANCE_YOUR_CALM);
}

static void test_h2_session_feed__empty_data__inbound_empty_flood(void **state)
{
    (void)state;
    struct h2_opts o = h2_opts_default(true);
    struct buf b = BUF_INIT;
    start(&b);
    post(&b, 1);
    frame(&b, NGHTTP2_DATA, 0, 1, "", 0);
    frame(&b, NGHTTP2_DATA, 0, 1, "x", 1);
    frame(&b, NGHTTP2_DATA, 0, 1, "", 0);
    struct buf more = BUF_INIT;
    buf_share(&more, &b, b.len);
    expect(&o, &more, H2_FAULT_NONE, NONE);
    frame(&b, NGHTTP2_DATA, 0, 1, "", 0);
    expect(&o, &b, H2_FAULT_INBOUND_EMPTY_FLOOD, H2_ENHANCE_YOUR_CALM);
}

static void test_h2_session_feed__priorities__priority_flood(void **state)
{
    (void)state;
    struct h2_opts o = h2_opts_default(true);
    struct buf b = BUF_INIT;
    start(&b);
    for (int i = 0; i < 101; i++)
        frame(&b, NGHTTP2_PRIORITY, 0, 1, "\0\0\0\0\0", 5);
    expect(&o, &b, H2_FAULT_PRIORITY_FLOOD, H2_ENHANCE_YOUR_CALM);
}

static void test_h2_session_feed__window_updates__window_update_flood(void **state)
{
    (void)state;
    struct h2_opts o = h2_opts_default(true);
    struct buf b = BUF_INIT;
    start(&b);
    for (int i = 0; i < 6; i++)
        frame(&b, NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\0\0\1", 4);
    expect(&o, &b, H2_FAULT_WINDOW_UPDATE_FLOOD, H2_ENHANCE_YOUR_CALM);
}

static void test_h2_session_feed__rapid_resets__reset_flood(void **state)
{
    (void)state;
    struct h2_opts o = h2_opts_default(true);
    struct buf b = BUF_INIT;
    start(&b);
    for (uint32_t i = 0; i < 1001; i++) {
        get(&b, 2 * i + 1);
        frame(&b, NGHTTP2_RST_STREAM, 0, 2 * i + 1, "\0\0\0\x8", 4);
    }
    expect(&o, &b, H2_FAULT_RESET_FLOOD, H2_ENHANCE_YOUR_CALM);
}

static void test_h2_session_feed__resets_at_allowed_rate__go_on(void **state)
{
    (void)state;
    struct h2_opts o = h2_opts_default(true);
    o.max_reset_burst = 60;
    o.max_reset_per_s = 10;
    struct side s;
    side_init(&s, &o);
    struct buf b = BUF_INIT, out = BUF_INIT;
    start(&b);
    for (uint32_t i = 0; i < 100; i++) {
        get(&b, 2 * i + 1);
        frame(&b, NGHTTP2_RST_STREAM, 0, 2 * i + 1, "\0\0\0\x8", 4);
        assert_int_equal(h2_session_feed(s.session, &b, i * 100000ull), H2_FAULT_NONE);
        h2_session_pull(s.session, &out, 1 << 20);
        buf_fini(&out);
    }
    side_fini(&s);
}

static void test_h2_session_feed__many_continuations__continuation_flood(void **state)
{
    (void)state;
    struct h2_opts o = h2_opts_default(true);
    struct buf b = BUF_INIT;
    start(&b);
    frame(&b, NGHTTP2_HEADERS, 0, 1, get_block, 6);
    for (int i = 0; i < 20; i++)
        frame(&b, NGHTTP2_CONTINUATION, 0, 1, "\x90", 1);
    expect(&o, &b, H2_FAULT_CONTINUATION_FLOOD, H2_ENHANCE_YOUR_CALM);
}

static void test_h2_session_feed__stalled_continuation_of_large_block__fits_limits(void **state)
{
    (void)state;
    struct h2_opts o = h2_opts_default(true);
    o.max_header_bytes = 1024 * 1024; /* needs more frames than max_continuations says */
    o.max_headers = 10000;
    struct buf b = BUF_INIT;
    start(&b);
    frame(&b, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM, 1, get_block, 6);
    for (int i = 0; i < 20; i++) {
        struct buf block = BUF_INIT;
        field(&block, "x-a", "1");
        frame(&b, NGHTTP2_CONTINUATION, i == 19 ? NGHTTP2_FLAG_END_HEADERS : 0, 1,
              buf_pullup(&block, block.len), block.len);
        buf_fini(&block);
    }
    expect(&o, &b, H2_FAULT_NONE, NONE);
}

/* ---- malformed frames ---- */

static void test_h2_session_feed__bad_preface__protocol_error(void **state)
{
    (void)state;
    struct h2_opts o = h2_opts_default(true);
    struct buf b = BUF_INIT;
    buf_append_str(&b, STR("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    expect(&o, &b, H2_FAULT_PROTOCOL, H2_PROTOCOL_ERROR);
}

static void test_h2_session_feed__bad_frames__goaway(void **state)
{
    (void)state;
    static const struct {
        uint8_t type, flags;
        uint32_t id;
        const char *payload;
        size_t n;
        uint32_t code;
    } cases[] = {
        {NGHTTP2_DATA, 0, 0, "x", 1, H2_PROTOCOL_ERROR},
        {NGHTTP2_DATA, 0, 1, "x", 1, H2_PROTOCOL_ERROR},           /* idle */
        {NGHTTP2_HEADERS, 4, 2, get_block, 6, H2_PROTOCOL_ERROR},  /* even id */
        {NGHTTP2_HEADERS, 4, 0, get_block, 6, H2_PROTOCOL_ERROR},
        {NGHTTP2_HEADERS, 4, 1, "\xbf", 1, H2_COMPRESSION_ERROR},  /* no such index */
        {NGHTTP2_HEADERS, 4 | 8, 1, "\xff\x82", 2, H2_PROTOCOL_ERROR}, /* padding past the end */
        {NGHTTP2_CONTINUATION, 4, 1, "\x82", 1, H2_PROTOCOL_ERROR},
        {NGHTTP2_RST_STREAM, 0, 1, "\0\0\0\1", 4, H2_PROTOCOL_ERROR}, /* idle */
        {NGHTTP2_RST_STREAM, 0, 1, "\0\0\0", 3, H2_FRAME_SIZE_ERROR},
        {NGHTTP2_SETTINGS, 0, 1, "", 0, H2_PROTOCOL_ERROR},
        {NGHTTP2_SETTINGS, 0, 0, "\0", 1, H2_FRAME_SIZE_ERROR},
        {NGHTTP2_SETTINGS, 1, 0, "\0\3\0\0\0\1", 6, H2_FRAME_SIZE_ERROR},
        {NGHTTP2_SETTINGS, 0, 0, "\0\4\xff\xff\xff\xff", 6, H2_FLOW_CONTROL_ERROR},
        {NGHTTP2_SETTINGS, 0, 0, "\0\2\0\0\0\2", 6, H2_PROTOCOL_ERROR},
        {NGHTTP2_PUSH_PROMISE, 4, 1, "\0\0\0\2", 4, H2_PROTOCOL_ERROR},
        {NGHTTP2_PING, 0, 0, "1234567", 7, H2_FRAME_SIZE_ERROR},
        {NGHTTP2_PING, 0, 1, "12345678", 8, H2_PROTOCOL_ERROR},
        {NGHTTP2_GOAWAY, 0, 1, "\0\0\0\0\0\0\0\0", 8, H2_PROTOCOL_ERROR},
        {NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\0\0\0", 4, H2_PROTOCOL_ERROR},
        {NGHTTP2_WINDOW_UPDATE, 0, 0, "\x7f\xff\xff\xff", 4, H2_FLOW_CONTROL_ERROR},
    };
    struct h2_opts o = h2_opts_default(true);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf b = BUF_INIT;
        start(&b);
        frame(&b, cases[i].type, cases[i].flags, cases[i].id, cases[i].payload, cases[i].n);
        get(&b, 9); /* nothing of this may be seen */
        expect(&o, &b, H2_FAULT_PROTOCOL, cases[i].code);
    }
}

static void test_h2_session_feed__frame_too_large__frame_size_error(void **state)
{
    (void)state;
    struct h2_opts o = h2_opts_default(true);
    static const char zeros[16385];
    struct buf b = BUF_INIT;
    start(&b);
    post(&b, 1);
    frame(&b, NGHTTP2_DATA, 0, 1, zeros, sizeof(zeros));
    expect(&o, &b, H2_FAULT_PROTOCOL, H2_FRAME_SIZE_ERROR);
}

/* Section 6.9: what we didn't give room for ends the connection, or the stream alone. */
static void test_h2_session_feed__more_data_than_window__flow_control_error(void **state)
{
    (void)state;
    static const char zeros[16384];
    for (int alone = 0; alone < 2; alone++) {
        struct h2_opts o = h2_opts_default(true);
        o.initial_connection_window = alone ? 1 << 20 : 65535;
        struct side s;
        struct buf b = BUF_INIT;
        side_init(&s, &o);
        s.keep_window = true;
        start(&b);
        post(&b, 1);
        post(&b, 3);
        for (int i = 0; i < 5; i++) /* before our SETTINGS are acknowledged a stream has 65535 bytes */
            frame(&b, NGHTTP2_DATA, 0, alone ? 1 : 1 + 2 * (i & 1u), zeros, sizeof(zeros));
        assert_int_equal(pair_feed(&s, &b, 0), alone ? H2_FAULT_NONE : H2_FAULT_PROTOCOL);
        struct buf out = BUF_INIT;
        struct result r;
        h2_session_pull(s.session, &out, 1 << 20);
        read_output(&out, &r);
        assert_int_equal(alone ? r.rst_code : r.goaway_code, H2_FLOW_CONTROL_ERROR);
        assert_int_equal(alone ? r.goaway_code : r.rst_code, NONE);
        side_fini(&s);
    }
}

/* Section 6.1: padding isn't told, and its window comes back at once. */
static void test_h2_session_feed__padded_data__body_only(void **state)
{
    (void)state;
    struct h2_opts o = h2_opts_default(true);
    static char padded[1 + 10 + 200] = "\xc8" "abcdefghij";
    for (size_t chunk = 0; chunk < 2; chunk++) {
        struct side s;
        struct buf b = BUF_INIT;
        side_init(&s, &o);
        start(&b);
        post(&b, 1);
        for (int i = 0; i < 1000; i++) /* more than 65535 bytes, of them 10000 of body */
            frame(&b, NGHTTP2_DATA, NGHTTP2_FLAG_PADDED, 1, padded, sizeof(padded));
        assert_int_equal(pair_feed(&s, &b, chunk), H2_FAULT_NONE);
        assert_int_equal(s.data_bytes, 10000);
        side_fini(&s);
    }
}

static void test_h2_session_feed__window_update_of_nothing__resets_stream(void **state)
{
    (void)state;
    static const char *const increments[] = {"\0\0\0\0", "\x7f\xff\xff\xff"};
    static const uint32_t codes[] = {H2_PROTOCOL_ERROR, H2_FLOW_CONTROL_ERROR};
    struct h2_opts o = h2_opts_default(true);
    for (size_t i = 0; i < 2; i++) {
        struct buf b = BUF_INIT;
        start(&b);
        post(&b, 1);
        frame(&b, NGHTTP2_WINDOW_UPDATE, 0, 1, increments[i], 4);
        char events[60];
        snprintf(events, sizeof(events), "headers POST / a end=0\nclose %u remote=0\n", codes[i]);
        expect_events(&o, &b, events, codes[i]);
    }
}

static void test_h2_session_feed__data_on_ended_stream__stream_closed(void **state)
{
    (void)state;
    struct h2_opts o = h2_opts_default(true);
    struct buf b = BUF_INIT;
    start(&b);
    get(&b, 1);
    frame(&b, NGHTTP2_RST_STREAM, 0, 1, "\0\0\0\x8", 4);
    frame(&b, NGHTTP2_DATA, 0, 1, "x", 1);
    expect(&o, &b, H2_FAULT_PROTOCOL, H2_STREAM_CLOSED);
}

static void test_h2_session_feed__data_on_stream_that_we_reset__ignored(void **state)
{
    (void)state;
    struct h2_opts o = h2_opts_default(true);
    struct side s;
    side_init(&s, &o);
    struct buf b = BUF_INIT, out = BUF_INIT;
    start(&b);
    post(&b, 1);
    h2_session_feed(s.session, &b, 0);
    h2_stream_reset(s.last, H2_CANCEL);
    h2_session_pull(s.session, &out, 1 << 20);
    frame(&b, NGHTTP2_DATA, 0, 1, "under way", 9);
    frame(&b, NGHTTP2_HEADERS, 5, 1, "\x82", 1);
    assert_int_equal(h2_session_feed(s.session, &b, 0), H2_FAULT_NONE);
    h2_session_pull(s.session, &out, 1 << 20);
    struct result r;
    read_output(&out, &r);
    assert_int_equal(r.goaway_code, NONE);
    side_fini(&s);
}

/* ---- malformed messages ---- */

static const struct {
    const char *name, *value;
} bad_fields[] = {
    {"connection", "close"},   {"keep-alive", "1"},      {"transfer-encoding", "chunked"},
    {"upgrade", "h2c"},        {"te", "gzip"},           {"Upper", "1"},
    {":late", "1"},            {":path", "/2"},          {"x y", "1"},
    {"x-v", "a\nb"},           {"x-v", "a\rb"},          {"content-length", "1"},
    {"content-length", "1,2"}, {"content-length", "-1"}, {"host", "other"},
    {":status", "200"},        {"", "1"},
};

static void test_h2_session_feed__malformed_message__ends_connection_by_default(void **state)
{
    (void)state;
    struct h2_opts o = h2_opts_default(true);
    for (size_t i = 0; i < sizeof(bad_fields) / sizeof(bad_fields[0]); i++) {
        struct buf b = BUF_INIT;
        start(&b);
        request_with(&b, 1, bad_fields[i].name, bad_fields[i].value);
        expect(&o, &b, H2_FAULT_MESSAGING, H2_PROTOCOL_ERROR);
    }
}

static void test_h2_session_feed__malformed_message__resets_stream_by_option(void **state)
{
    (void)state;
    struct h2_opts o = h2_opts_default(true);
    o.stream_error_on_invalid = true;
    for (size_t i = 0; i < sizeof(bad_fields) / sizeof(bad_fields[0]); i++) {
        struct side s;
        struct buf b = BUF_INIT;
        start(&b);
        request_with(&b, 1, bad_fields[i].name, bad_fields[i].value);
        get(&b, 3);
        struct result r = play(&s, &o, &b, 0);
        assert_int_equal(r.fault, H2_FAULT_NONE);
        assert_int_equal(r.rst_code, H2_PROTOCOL_ERROR);
        assert_non_null(strstr(s.events, "close 1 remote=0\n"));
        assert_non_null(strstr(s.events, "headers GET / a end=1\n"));
        assert_int_equal(s.stats[H2_STAT_RX_MESSAGING_ERROR], 1);
        side_fini(&s);
        buf_fini(&b);
    }
}

static void test_h2_session_feed__missing_pseudo_fields__malformed(void **state)
{
    (void)state;
    static const struct {
        const char *block;
        size_t n;
    } cases[] = {
        {"\x86\x84\x41\x01\x61", 5},             /* no method */
        {"\x82\x84\x41\x01\x61", 5},             /* no scheme */
        {"\x82\x86\x41\x01\x61", 5},             /* no path */
        {"\x82\x86\x84", 3},                     /* neither :authority nor host */
        {"\x82\x86\x04\x00\x41\x01\x61", 7},     /* empty path */
        {"\x82\x82\x86\x84\x41\x01\x61", 7},     /* two methods */
        {"\x82\x86\x04\x01\x61\x41\x01\x61", 8}, /* path without a slash */
    };
    struct h2_opts o = h2_opts_default(true);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf b = BUF_INIT;
        start(&b);
        frame(&b, NGHTTP2_HEADERS, 5, 1, cases[i].block, cases[i].n);
        expect(&o, &b, H2_FAULT_MESSAGING, H2_PROTOCOL_ERROR);
    }
}

static void test_h2_session_feed__body_of_other_length__resets_stream(void **state)
{
    (void)state;
    struct h2_opts o = h2_opts_default(true);
    struct buf b = BUF_INIT, block = BUF_INIT;
    start(&b);
    buf_append(&block, post_block, 6);
    field(&block, "content-length", "5");
    frame(&b, NGHTTP2_HEADERS, 4, 1, buf_pullup(&block, block.len), block.len);
    buf_fini(&block);
    frame(&b, NGHTTP2_DATA, 1, 1, "12345678", 8);
    struct side s;
    struct result r = play(&s, &o, &b, 0);
    assert_int_equal(r.rst_code, H2_PROTOCOL_ERROR);
    assert_non_null(strstr(s.events, "close 1 remote=0\n"));
    assert_null(strstr(s.events, "end=1")); /* never a complete request */
    side_fini(&s);
    buf_fini(&b);
}

/* ---- header lists ---- */

static void test_h2_session_feed__header_bytes_over_limit__431(void **state)
{
    (void)state;
    struct h2_opts o = h2_opts_default(true);
    o.max_header_bytes = 100;
    char value[120];
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = 0;
    struct buf b = BUF_INIT;
    start(&b);
    request_with(&b, 1, "x-big", value);
    get(&b, 3);
    expect_events(&o, &b, "invalid 431 http2.header_overflow\nheaders GET / a end=1\nclose 0 remote=0\n", NONE);
}

static void test_h2_session_feed__too_many_headers_with_body__431_and_no_error(void **state)
{
    (void)state;
    struct h2_opts o = h2_opts_default(true);
    o.max_headers = 5;
    struct buf b = BUF_INIT, block = BUF_INIT;
    start(&b);
    buf_append(&block, post_block, 6);
    for (int i = 0; i < 10; i++)
        field(&block, "x-a", "1");
    frame(&b, NGHTTP2_HEADERS, 4, 1, buf_pullup(&block, block.len), block.len);
    buf_fini(&block);
    frame(&b, NGHTTP2_DATA, 0, 1, "dropped", 7);
    expect_events(&o, &b, "invalid 431 http2.too_many_headers\nclose 0 remote=0\n", H2_NO_ERROR);
}

static void test_h2_session_feed__host_instead_of_authority__becomes_authority(void **state)
{
    (void)state;
    struct h2_opts o = h2_opts_default(true);
    struct buf b = BUF_INIT, block = BUF_INIT;
    start(&b);
    buf_append(&block, "\x82\x86\x84", 3);
    field(&block, "host", "b.example");
    frame(&b, NGHTTP2_HEADERS, 5, 1, buf_pullup(&block, block.len), block.len);
    buf_fini(&block);
    request_with(&b, 3, "host", "A"); /* the same host in other letters */
    expect_events(&o, &b, "headers GET / b.example end=1\nheaders GET / a end=1\n", NONE);
}

/* RFC 9113 section 8.2.3 */
static void test_h2_session_feed__cookie_crumbs__joined(void **state)
{
    (void)state;
    struct h2_opts o = h2_opts_default(true);
    struct buf b = BUF_INIT, block = BUF_INIT;
    start(&b);
    buf_append(&block, get_block, 6);
    field(&block, "cookie", "a=1");
    field(&block, "x-a", "1");
    field(&block, "cookie", "b=2");
    field(&block, "cookie", "c=3");
    frame(&b, NGHTTP2_HEADERS, 5, 1, buf_pullup(&block, block.len), block.len);
    buf_fini(&block);
    expect_events(&o, &b, "headers GET / a cookie=a=1; b=2; c=3 x-a=1 end=1\n", NONE);
}

static void test_h2_session_feed__underscores__by_option(void **state)
{
    (void)state;
    static const struct {
        uint8_t action;
        const char *events;
        uint32_t rst;
    } cases[] = {
        {H1_UNDERSCORE_ALLOW, "headers GET / a x_a=1 end=1\n", NONE},
        {H1_UNDERSCORE_DROP, "headers GET / a end=1\n", NONE},
        {H1_UNDERSCORE_REJECT, "close 1 remote=0\n", H2_PROTOCOL_ERROR},
    };
    for (size_t i = 0; i < 3; i++) {
        struct h2_opts o = h2_opts_default(true);
        o.underscore = cases[i].action;
        struct buf b = BUF_INIT;
        start(&b);
        request_with(&b, 1, "x_a", "1");
        expect_events(&o, &b, cases[i].events, cases[i].rst);
    }
}

static void test_h2_session_feed__protocol_without_setting__malformed(void **state)
{
    (void)state;
    struct h2_opts o = h2_opts_default(true);
    for (int allowed = 0; allowed < 2; allowed++) {
        o.allow_connect = allowed;
        struct buf b = BUF_INIT, block = BUF_INIT;
        start(&b);
        field(&block, ":method", "CONNECT");
        field(&block, ":scheme", "http");
        field(&block, ":path", "/chat");
        field(&block, ":authority", "a");
        field(&block, ":protocol", "websocket");
        frame(&b, NGHTTP2_HEADERS, 4, 1, buf_pullup(&block, block.len), block.len);
        buf_fini(&block);
        if (allowed)
            expect_events(&o, &b, "headers CONNECT /chat a websocket end=0\n", NONE);
        else
            expect(&o, &b, H2_FAULT_MESSAGING, H2_PROTOCOL_ERROR);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_h2_session_feed__pings_never_read__outbound_control_flood),
        cmocka_unit_test(test_h2_session_feed__settings_never_read__outbound_control_flood),
        cmocka_unit_test(test_h2_session_feed__resets_provoked__outbound_control_flood),
        cmocka_unit_test(test_h2_session_feed__empty_data__inbound_empty_flood),
        cmocka_unit_test(test_h2_session_feed__priorities__priority_flood),
        cmocka_unit_test(test_h2_session_feed__window_updates__window_update_flood),
        cmocka_unit_test(test_h2_session_feed__rapid_resets__reset_flood),
        cmocka_unit_test(test_h2_session_feed__resets_at_allowed_rate__go_on),
        cmocka_unit_test(test_h2_session_feed__many_continuations__continuation_flood),
        cmocka_unit_test(test_h2_session_feed__stalled_continuation_of_large_block__fits_limits),
        cmocka_unit_test(test_h2_session_feed__bad_preface__protocol_error),
        cmocka_unit_test(test_h2_session_feed__bad_frames__goaway),
        cmocka_unit_test(test_h2_session_feed__frame_too_large__frame_size_error),
        cmocka_unit_test(test_h2_session_feed__more_data_than_window__flow_control_error),
        cmocka_unit_test(test_h2_session_feed__padded_data__body_only),
        cmocka_unit_test(test_h2_session_feed__window_update_of_nothing__resets_stream),
        cmocka_unit_test(test_h2_session_feed__data_on_ended_stream__stream_closed),
        cmocka_unit_test(test_h2_session_feed__data_on_stream_that_we_reset__ignored),
        cmocka_unit_test(test_h2_session_feed__malformed_message__ends_connection_by_default),
        cmocka_unit_test(test_h2_session_feed__malformed_message__resets_stream_by_option),
        cmocka_unit_test(test_h2_session_feed__missing_pseudo_fields__malformed),
        cmocka_unit_test(test_h2_session_feed__body_of_other_length__resets_stream),
        cmocka_unit_test(test_h2_session_feed__header_bytes_over_limit__431),
        cmocka_unit_test(test_h2_session_feed__too_many_headers_with_body__431_and_no_error),
        cmocka_unit_test(test_h2_session_feed__host_instead_of_authority__becomes_authority),
        cmocka_unit_test(test_h2_session_feed__cookie_crumbs__joined),
        cmocka_unit_test(test_h2_session_feed__underscores__by_option),
        cmocka_unit_test(test_h2_session_feed__protocol_without_setting__malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
