/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP/1.1 parser, one row a case. Every row runs whole, byte by byte, and cut in two at each
 * place, with the pieces in one block and in slices of their own: the transcript must be the same.
 */
#include "h1_transcript.h"

#include "base/check.h"
#include "base/mem.h"

#include "../unit.h"

struct parse_case {
    const char *bytes;
    const char *expected;
    size_t n; /* of bytes, when they hold a NUL */
};

static bool cut_never(size_t at, const void *arg)
{
    (void)at;
    (void)arg;
    return false;
}

static bool cut_always(size_t at, const void *arg)
{
    (void)at;
    (void)arg;
    return true;
}

static bool cut_once(size_t at, const void *arg)
{
    return at == *(const size_t *)arg;
}

struct setup {
    struct h1_parser_opts opts;
    bool to_head, to_connect;
};

static void check_cut(const struct setup *s, struct str bytes, const char *expected,
                      struct transcript_cut cut, const char *how, size_t at)
{
    for (int apart = 0; apart < 2; apart++) {
        cut.apart = apart;
        struct strbuf got = transcript_of(&s->opts, s->to_head, s->to_connect, bytes, &cut);
        if (strcmp(got.p ? got.p : "", expected) != 0)
            fail_msg("%.*s\n%s at %zu, apart %d\n  expected %s\n  got      %s", STR_ARG(bytes), how,
                     at, apart, expected, got.p ? got.p : "");
        strbuf_fini(&got);
    }
}

static void check_case(const struct setup *s, const struct parse_case *c)
{
    /* An exact heap copy, so that the sanitizer sees reads past the end. */
    size_t n = c->n ? c->n : strlen(c->bytes);
    char *copy = mem_alloc(n);
    memcpy(copy, c->bytes, n);
    struct str bytes = str_make(copy, n);
    check_cut(s, bytes, c->expected, (struct transcript_cut){.ends = cut_never}, "whole", 0);
    check_cut(s, bytes, c->expected, (struct transcript_cut){.ends = cut_always}, "bytes", 0);
    for (size_t at = 1; at < n; at++)
        check_cut(s, bytes, c->expected, (struct transcript_cut){.ends = cut_once, .arg = &at},
                  "cut", at);
    mem_free(copy);
}

static void check_cases(const struct setup *s, const struct parse_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++)
        check_case(s, &cases[i]);
}
#define CHECK_CASES(setup, cases) check_cases(&(setup), cases, ARRAY_LEN(cases))

static struct setup for_requests(void)
{
    return (struct setup){.opts = {.limits = H1_LIMITS_DEFAULT,
                                   .is_request = true,
                                   .allow_absolute_url = true,
                                   .keep_trailers = true}};
}

static struct setup for_responses(void)
{
    return (struct setup){.opts = {.limits = H1_LIMITS_DEFAULT, .keep_trailers = true}};
}

#define GET_HOST "GET / HTTP/1.1\r\nHost: a\r\n"
#define POST_HOST "POST / HTTP/1.1\r\nHost: a\r\n"
#define GET_PSEUDO ":authority=a;:path=/;:method=GET;"
#define POST_PSEUDO ":authority=a;:path=/;:method=POST;"
#define POST_CHUNKED POST_HOST "Transfer-Encoding: chunked\r\n\r\n"
#define POST_CHUNKED_HEAD "[" POST_PSEUDO "transfer-encoding=chunked; 1.1 ka chunked]"

static void test_next__good_requests__are_understood(void **state)
{
    (void)state;
    struct setup s = for_requests();
    static const struct parse_case cases[] = {
        {GET_HOST "\r\n", "[" GET_PSEUDO " 1.1 ka nobody]D.", 0},
        {"\r\n" GET_HOST "\r\n", "[" GET_PSEUDO " 1.1 ka nobody]D.", 0},
        {GET_HOST "\r\n\r\n" GET_HOST "\r\n",
         "[" GET_PSEUDO " 1.1 ka nobody]D[" GET_PSEUDO " 1.1 ka nobody]D.", 0},
        {"GET /x?y=1&z HTTP/1.1\r\nhOsT:example.com:8080 \t\r\nX-A:  b c \t d\t \r\nX-E:\r\n\r\n",
         "[:authority=example.com:8080;:path=/x?y=1&z;:method=GET;x-a=b c \t d;x-e=; 1.1 ka "
         "nobody]D.", 0},
        {"GET / HTTP/1.7\r\nHost: a\r\n\r\n", "[" GET_PSEUDO " 1.1 ka nobody]D.", 0},
        {GET_HOST "x: \xc3\xa9\r\n\r\n", "[" GET_PSEUDO "x=\xc3\xa9; 1.1 ka nobody]D.", 0},
        {GET_HOST "Connection: Close\r\n\r\n",
         "[" GET_PSEUDO "connection=Close; 1.1 nobody]D.", 0},
        {GET_HOST "Connection: foo , close\r\nConnection: keep-alive\r\n\r\n",
         "[" GET_PSEUDO "connection=foo , close;connection=keep-alive; 1.1 nobody]D.", 0},
        {GET_HOST "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\nx",
         "[" GET_PSEUDO "expect=100-Continue;content-length=1; 1.1 ka len=1 100]<x>D.", 0},
        {POST_HOST "Content-Length: 5\r\n\r\nhello",
         "[" POST_PSEUDO "content-length=5; 1.1 ka len=5]<hello>D.", 0},
        {POST_HOST "Content-Length: 005\r\n\r\nhello",
         "[" POST_PSEUDO "content-length=005; 1.1 ka len=5]<hello>D.", 0},
        {POST_HOST "Content-Length: 0\r\n\r\n" GET_HOST "\r\n",
         "[" POST_PSEUDO "content-length=0; 1.1 ka len=0 nobody]D[" GET_PSEUDO " 1.1 ka nobody]D.",
         0},
        {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
         "[:authority=a;:path=*;:method=OPTIONS; 1.1 ka nobody]D.", 0},
        {"OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n",
         "[:authority=;:path=*;:method=OPTIONS; 1.1 ka nobody]D.", 0},
        {"CONNECT a:443 HTTP/1.1\r\nHost: b\r\n\r\n",
         "[:authority=a:443;:method=CONNECT; 1.1 ka nobody connect]D.", 0},
        {"CONNECT [::1]:443 HTTP/1.1\r\nHost:\r\nContent-Length: 0\r\n\r\n",
         "[:authority=[::1]:443;:method=CONNECT; 1.1 ka nobody connect]D.", 0},
        {"GET http://b/c?d HTTP/1.1\r\nHost: a\r\n\r\n",
         "[:authority=b;:path=/c?d;:method=GET;:scheme=http; 1.1 ka nobody]D.", 0},
        {"GET HTTPS://b:1 HTTP/1.1\r\nHost: a\r\n\r\n",
         "[:authority=b:1;:path=/;:method=GET;:scheme=https; 1.1 ka nobody]D.", 0},
        {"GET http://b?q HTTP/1.1\r\nHost: a\r\n\r\n",
         "[:authority=b;:path=/?q;:method=GET;:scheme=http; 1.1 ka nobody]D.", 0},
        {"OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n",
         "[:authority=b;:path=*;:method=OPTIONS;:scheme=http; 1.1 ka nobody]D.", 0},
    };
    CHECK_CASES(s, cases);
}

static void test_next__chunked__is_unframed(void **state)
{
    (void)state;
    struct setup s = for_requests();
    static const struct parse_case cases[] = {
        {POST_CHUNKED "5\r\nhello\r\n0\r\n\r\n", POST_CHUNKED_HEAD "<hello>D.", 0},
        {POST_CHUNKED "5\r\nhello\r\n00A\r\n0123456789\r\n000\r\n\r\n" GET_HOST "\r\n",
         POST_CHUNKED_HEAD "<hello0123456789>D[" GET_PSEUDO " 1.1 ka nobody]D.", 0},
        {POST_CHUNKED "0\r\n\r\n", POST_CHUNKED_HEAD "D.", 0},
        {POST_CHUNKED "1;a=b;c=\"\t\"\r\nx\r\n1 ;y\r\nz\r\n0;q\r\n\r\n",
         POST_CHUNKED_HEAD "<xz>D.", 0},
        {POST_CHUNKED "1\r\nx\r\n0\r\nX-T: 1\r\nY:2\r\n\r\n",
         POST_CHUNKED_HEAD "<x>(x-t=1;y=2;)D.", 0},
        /* What would frame or route a message may not come behind it. */
        {POST_CHUNKED "0\r\nContent-Length: 5\r\nHost: b\r\nTransfer-Encoding: chunked\r\n"
                      "Authorization: x\r\n\r\n",
         POST_CHUNKED_HEAD "D.", 0},
        {POST_CHUNKED "1\r\nx", POST_CHUNKED_HEAD "<x>!EOF_IN_MESSAGE", 0},
        {POST_CHUNKED "0\r\nx: y\r\n", POST_CHUNKED_HEAD "!EOF_IN_MESSAGE", 0},
    };
    CHECK_CASES(s, cases);
    s.opts.keep_trailers = false;
    static const struct parse_case dropped[] = {
        {POST_CHUNKED "1\r\nx\r\n0\r\nX-T: 1\r\n\r\n", POST_CHUNKED_HEAD "<x>D.", 0},
        {POST_CHUNKED "1\r\nx\r\n0\r\nX T: 1\r\n\r\n", POST_CHUNKED_HEAD "<x>!BAD_HEADER_NAME", 0},
    };
    CHECK_CASES(s, dropped);
}

static void test_next__bad_chunks__are_refused(void **state)
{
    (void)state;
    struct setup s = for_requests();
#define BAD(text) {POST_CHUNKED text, POST_CHUNKED_HEAD "!BAD_CHUNK", 0}
    static const struct parse_case cases[] = {
        BAD("\r\n"), BAD(";\r\n"), BAD(" 5\r\nhello\r\n"), BAD("+5\r\nhello\r\n"),
        BAD("-1\r\n"), BAD("0x5\r\nhello\r\n"), BAD("5 \r\nhello\r\n"), BAD("5\nhello\r\n"),
        BAD("5;a\nhello\r\n"), BAD("5;\x01\r\nhello\r\n"), BAD("5\rhello\r\n"), BAD("g\r\n"),
        BAD("5;a\rb\r\nhello\r\n"), BAD("5 x\r\nhello\r\n"), BAD("ffffffffffffffff\r\n"),
        BAD("10000000000000000\r\n"), BAD("00000000000000001\r\nx"), BAD("1_0\r\n"),
        {POST_CHUNKED "5\r\nhello0\r\n", POST_CHUNKED_HEAD "<hello>!BAD_CHUNK", 0},
        {POST_CHUNKED "5\r\nhello\n0\r\n", POST_CHUNKED_HEAD "<hello>!BAD_CHUNK", 0},
        {POST_CHUNKED "5\r\nhello\r0\r\n", POST_CHUNKED_HEAD "<hello>!BAD_CHUNK", 0},
        {POST_CHUNKED "5\r\nhello!\r\n0\r\n", POST_CHUNKED_HEAD "<hello>!BAD_CHUNK", 0},
        {POST_CHUNKED "0\r\n\n", POST_CHUNKED_HEAD "!BAD_LINE_END", 0},
        {POST_CHUNKED "0\r\nx: y\n\r\n", POST_CHUNKED_HEAD "!BAD_LINE_END", 0},
        {POST_CHUNKED "0\r\nx: y\r\n z\r\n\r\n", POST_CHUNKED_HEAD "!OBS_FOLD", 0},
        {POST_CHUNKED "0\r\nx : y\r\n\r\n", POST_CHUNKED_HEAD "!BAD_HEADER_NAME", 0},
    };
    CHECK_CASES(s, cases);
}

static void test_next__smuggling__is_refused(void **state)
{
    (void)state;
    struct setup s = for_requests();
#define TE(text) {POST_HOST text "\r\n\r\n", "!BAD_TRANSFER_ENCODING", 0}
#define CL(text) {POST_HOST text "\r\n\r\n", "!BAD_CONTENT_LENGTH", 0}
    static const struct parse_case cases[] = {
        /* CL.TE, TE.CL */
        {POST_HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
         "!CONFLICTING_LENGTHS", 0},
        {POST_HOST "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
         "!CONFLICTING_LENGTHS", 0},
        /* TE.TE */
        TE("Transfer-Encoding: xchunked"), TE("Transfer-Encoding: chunked, chunked"),
        TE("Transfer-Encoding: chunked, identity"), TE("Transfer-Encoding: identity, chunked"),
        TE("Transfer-Encoding: gzip, chunked"), TE("Transfer-Encoding: identity"),
        TE("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        TE("Transfer-Encoding: chunked\r\nTransfer-Encoding: x"),
        TE("Transfer-Encoding: x\r\nTransfer-Encoding: chunked"), TE("Transfer-Encoding:"),
        TE("Transfer-Encoding: \"chunked\""), TE("Transfer-Encoding: chunked;q=1"),
        TE("Transfer-Encoding: ,chunked"), TE("Transfer-Encoding: chunked,"),
        TE("Transfer-Encoding: chun\tked"),
        {POST_HOST "Transfer-Encoding: \x0b" "chunked\r\n\r\n", "!BAD_HEADER_VALUE", 0},
        {POST_HOST "Transfer-Encoding : chunked\r\n\r\n", "!BAD_HEADER_NAME", 0},
        {POST_HOST "Transfer-Encoding\t: chunked\r\n\r\n", "!BAD_HEADER_NAME", 0},
        {POST_HOST " Transfer-Encoding: chunked\r\n\r\n", "!OBS_FOLD", 0},
        {POST_HOST "Transfer-Encoding:\r\n chunked\r\n\r\n", "!OBS_FOLD", 0},
        {POST_HOST "X: y\r\n\tchunked\r\n\r\n", "!OBS_FOLD", 0},
        {POST_HOST "X: y\rTransfer-Encoding: chunked\r\n\r\n", "!BAD_LINE_END", 0},
        {POST_HOST "X: y\nTransfer-Encoding: chunked\r\n\r\n", "!BAD_LINE_END", 0},
        {POST_HOST "X: y\r\rTransfer-Encoding: chunked\r\n\r\n", "!BAD_LINE_END", 0},
        {POST_HOST "Transfer-Encoding: chunked\n\n", "!BAD_LINE_END", 0},
        {POST_HOST "X\rY: z\r\n\r\n", "!BAD_LINE_END", 0},
        {"POST / HTTP/1.1\r\n Host: a\r\n\r\n", "!BAD_HEADER_NAME", 0},
        {"POST / HTTP/1.1\r\n\tX: y\r\nHost: a\r\n\r\n", "!BAD_HEADER_NAME", 0},
        /* lengths */
        CL("Content-Length: 5\r\nContent-Length: 5"), CL("Content-Length: 5\r\nContent-Length: 6"),
        CL("Content-Length: 5, 5"), CL("Content-Length: 5,"), CL("Content-Length: +5"),
        CL("Content-Length: -5"), CL("Content-Length: 0x5"), CL("Content-Length: 5 5"),
        CL("Content-Length: 5a"), CL("Content-Length:"), CL("Content-Length: 1e2"),
        CL("Content-Length: 18446744073709551616"), CL("Content-Length: 9223372036854775808"),
        CL("Content-Length: 99999999999999999999999999"), CL("Content-Length: 5.0"),
        CL("Content-Length: \xd9\xa5"),
        {POST_HOST "Content-Length : 5\r\n\r\n", "!BAD_HEADER_NAME", 0},
        {"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", "!BODY_NOT_ALLOWED", 0},
        {"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
         "!BODY_NOT_ALLOWED", 0},
    };
    CHECK_CASES(s, cases);
    s.opts.allow_chunked_length = true;
    static const struct parse_case allowed[] = {
        {POST_HOST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         POST_CHUNKED_HEAD "D.", 0},
        TE("Content-Length: 3\r\nTransfer-Encoding: xchunked"),
    };
    CHECK_CASES(s, allowed);
}

static void test_next__bad_start_lines__are_refused(void **state)
{
    (void)state;
    struct setup s = for_requests();
#define LINE(text, error) {text "\r\nHost: a\r\n\r\n", "!" error, 0}
    static const struct parse_case cases[] = {
        LINE("GET  / HTTP/1.1", "BAD_URL"), LINE("GET / HTTP/1.1 ", "BAD_VERSION"),
        LINE("GET /  HTTP/1.1", "BAD_VERSION"), LINE("GET\t/ HTTP/1.1", "BAD_METHOD"),
        LINE("GET /\tHTTP/1.1", "BAD_URL"), LINE(" GET / HTTP/1.1", "BAD_METHOD"),
        LINE("GET / http/1.1", "BAD_VERSION"), LINE("GET / HTTP/1.1x", "BAD_VERSION"),
        LINE("GET / HTTP/1", "BAD_VERSION"), LINE("GET / HTTP/11", "BAD_VERSION"),
        LINE("GET / HTTP/1.10", "BAD_VERSION"), LINE("GET / HTTP/2.0", "UNSUPPORTED_VERSION"),
        LINE("GET / HTTP/0.9", "UNSUPPORTED_VERSION"), LINE("GET / ICY/1.1", "BAD_VERSION"),
        LINE("PRI * HTTP/2.0", "UNSUPPORTED_VERSION"), LINE("GET / HTTP/1.0",
        "HTTP10_NOT_ACCEPTED"), LINE("GET /", "BAD_VERSION"), LINE("GET", "BAD_METHOD"),
        LINE("FOO / HTTP/1.1", "BAD_METHOD"), LINE("get / HTTP/1.1", "BAD_METHOD"),
        LINE("G(T / HTTP/1.1", "BAD_METHOD"), LINE("GET /\x80 HTTP/1.1", "BAD_URL"),
        LINE("GET /\x01 HTTP/1.1", "BAD_URL"), LINE("GET /\x7f HTTP/1.1", "BAD_URL"),
        LINE("GET /a#b HTTP/1.1", "FRAGMENT"), LINE("GET a HTTP/1.1", "BAD_URL"),
        LINE("GET * HTTP/1.1", "BAD_URL"), LINE("GET a:80 HTTP/1.1", "BAD_URL"),
        LINE("GET ftp://a/ HTTP/1.1", "BAD_SCHEME"), LINE("GET http:/// HTTP/1.1", "BAD_URL"),
        LINE("GET http://u@a/ HTTP/1.1", "BAD_URL"), LINE("GET http://a:x/ HTTP/1.1", "BAD_URL"),
        LINE("CONNECT / HTTP/1.1", "BAD_URL"), LINE("CONNECT a HTTP/1.1", "BAD_URL"),
        LINE("CONNECT a: HTTP/1.1", "BAD_URL"), LINE("CONNECT :80 HTTP/1.1", "BAD_URL"),
        LINE("CONNECT http://a:80 HTTP/1.1", "BAD_URL"), LINE("CONNECT u@a:80 HTTP/1.1", "BAD_URL"),
        LINE("CONNECT a:80/ HTTP/1.1", "BAD_URL"), LINE("CONNECT a:65536 HTTP/1.1", "BAD_URL"),
        LINE("GET /\r HTTP/1.1", "BAD_LINE_END"), LINE("GET\r/ HTTP/1.1", "BAD_LINE_END"),
        LINE("GET / HTTP/1.1\r", "BAD_LINE_END"),
        {"GET / HTTP/1.1\nHost: a\n\n", "!BAD_LINE_END", 0},
        {"\nGET / HTTP/1.1\r\n", "!BAD_LINE_END", 0},
        {"\r\n\r\nGET / HTTP/1.1\r\n", "!BAD_LINE_END", 0},
        {"\rGET / HTTP/1.1\r\n", "!BAD_LINE_END", 0},
        {"\x16\x03\x01\x02", "!BAD_METHOD", 0},
        /* answered before the head is whole; a bad start line goes before what follows it */
        {"GET /\r\n", "!BAD_VERSION", 0},
        {"FOO / HTTP/1.1\r\nHost: a\r\n", "!BAD_METHOD", 0},
        {"FOO / HTTP/1.1\r\nHost: a\n", "!BAD_METHOD", 0},
        {"GET / HTTP/1.1\r\nHost: a\r\n", "!EOF_IN_MESSAGE", 0},
        {"GE", "!EOF_IN_MESSAGE", 0},
        {"\r\n", ".", 0},
        {"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", "!BAD_URL", 26},
        {"G\0T / HTTP/1.1\r\nHost: a\r\n\r\n", "!BAD_METHOD", 26},
    };
    CHECK_CASES(s, cases);
    s.opts.allow_custom_methods = true;
    static const struct parse_case custom[] = {
        {"foo / HTTP/1.1\r\nHost: a\r\n\r\n",
         "[:authority=a;:path=/;:method=foo; 1.1 ka nobody]D.", 0},
        LINE("fo@ / HTTP/1.1", "BAD_METHOD"),
    };
    CHECK_CASES(s, custom);
    s.opts.allow_absolute_url = false;
    static const struct parse_case absolute[] = {LINE("GET http://a/ HTTP/1.1", "BAD_URL")};
    CHECK_CASES(s, absolute);
}

static void test_next__bad_fields__are_refused(void **state)
{
    (void)state;
    struct setup s = for_requests();
#define FIELD(text, error) {GET_HOST text "\r\n\r\n", "!" error, 0}
    static const struct parse_case cases[] = {
        FIELD(": x", "BAD_HEADER_NAME"), FIELD("x", "BAD_HEADER_NAME"),
        FIELD("x y: z", "BAD_HEADER_NAME"), FIELD("x\x80: z", "BAD_HEADER_NAME"),
        FIELD("x(: z", "BAD_HEADER_NAME"), FIELD("x: \x01", "BAD_HEADER_VALUE"),
        FIELD("x: a\x7f", "BAD_HEADER_VALUE"), FIELD("x: 0123456789abcdef0123\x1f" "5",
        "BAD_HEADER_VALUE"), FIELD("x: a\r", "BAD_LINE_END"), FIELD("Host: a", "BAD_HOST"),
        FIELD("host: b", "BAD_HOST"),
        {GET_HOST "x: a\0b\r\n\r\n", "!BAD_HEADER_VALUE", sizeof(GET_HOST) - 1 + 10},
        {GET_HOST "x\0: b\r\n\r\n", "!BAD_HEADER_NAME", sizeof(GET_HOST) - 1 + 9},
        {"GET / HTTP/1.1\r\n\r\n", "!NO_HOST", 0},
        {"GET / HTTP/1.1\r\nHost:\r\n\r\n", "!BAD_HOST", 0},
        {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "!BAD_HOST", 0},
        {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "!BAD_HOST", 0},
        {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "!BAD_HOST", 0},
        {"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", "!BAD_HOST", 0},
        {"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "!BAD_HOST", 0},
        {"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", "!BAD_HOST", 0},
        {"GET http://a/ HTTP/1.1\r\nX: y\r\n\r\n", "!NO_HOST", 0},
        {"GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "!BAD_HOST", 0},
        {"CONNECT a:1 HTTP/1.1\r\n\r\n", "!NO_HOST", 0},
    };
    CHECK_CASES(s, cases);
}

static void test_next__underscores__follow_the_option(void **state)
{
    (void)state;
    struct setup s = for_requests();
    static const struct parse_case allow[] = {
        {GET_HOST "a_b: c\r\n\r\n", "[" GET_PSEUDO "a_b=c; 1.1 ka nobody]D.", 0}};
    CHECK_CASES(s, allow);
    s.opts.underscore = H1_UNDERSCORE_DROP;
    static const struct parse_case drop[] = {
        {GET_HOST "a_b: c\r\nd: e\r\n\r\n", "[" GET_PSEUDO "d=e; 1.1 ka nobody dropped]D.", 0}};
    CHECK_CASES(s, drop);
    s.opts.underscore = H1_UNDERSCORE_REJECT;
    static const struct parse_case reject[] = {FIELD("a_b: c", "UNDERSCORE")};
    CHECK_CASES(s, reject);
}

static void test_next__http10_requests__are_framed_their_way(void **state)
{
    (void)state;
    struct setup s = for_requests();
    s.opts.accept_http10 = true;
#define GET10 "GET / HTTP/1.0\r\n"
    static const struct parse_case cases[] = {
        {GET10 "Host: a\r\n\r\n", "[" GET_PSEUDO " 1.0 nobody]D.", 0},
        {GET10 "Host: a\r\nConnection: keep-alive\r\n\r\n",
         "[" GET_PSEUDO "connection=keep-alive; 1.0 ka nobody]D.", 0},
        {GET10 "\r\n", "!NO_HOST", 0},
        {GET10 "Host: a\r\nTransfer-Encoding: chunked\r\n\r\n", "!TE_IN_HTTP10", 0},
        {GET10 "Host: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
         "[" GET_PSEUDO "expect=100-continue;content-length=1; 1.0 len=1]<x>D.", 0},
    };
    CHECK_CASES(s, cases);
    s.opts.default_host_http10 = STR("dflt");
    static const struct parse_case with_default[] = {
        {GET10 "\r\n", "[:authority=dflt;:path=/;:method=GET; 1.0 nobody]D.", 0}};
    CHECK_CASES(s, with_default);
}

static void test_next__upgrade__needs_option_version_and_connection(void **state)
{
    (void)state;
    struct setup s = for_requests();
#define WS "Upgrade: websocket\r\n"
    static const struct parse_case off[] = {
        {GET_HOST "Connection: Upgrade\r\n" WS "\r\n",
         "[" GET_PSEUDO "connection=Upgrade;upgrade=websocket; 1.1 ka nobody]D.", 0}};
    CHECK_CASES(s, off);
    s.opts.allow_upgrade = true;
    s.opts.accept_http10 = true;
    static const struct parse_case on[] = {
        {GET_HOST "Connection: x, Upgrade\r\n" WS "\r\n",
         "[" GET_PSEUDO "connection=x, Upgrade;upgrade=websocket; 1.1 ka nobody upgrade]D.", 0},
        {GET_HOST WS "\r\n", "[" GET_PSEUDO "upgrade=websocket; 1.1 ka nobody]D.", 0},
        {GET10 "Host: a\r\nConnection: Upgrade\r\n" WS "\r\n",
         "[" GET_PSEUDO "connection=Upgrade;upgrade=websocket; 1.0 nobody]D.", 0},
    };
    CHECK_CASES(s, on);
}

static void test_next__limits__name_what_was_too_much(void **state)
{
    (void)state;
    struct setup s = for_requests();
    s.opts.limits = (struct h1_limits){64, 24, 3, 32, 8};
    static const struct parse_case cases[] = {
        {"GET /0123456789 HTTP/1.1\r\nHost: a\r\n\r\n",
         "[:authority=a;:path=/0123456789;:method=GET; 1.1 ka nobody]D.", 0},
        {"GET /0123456789a HTTP/1.1\r\nHost: a\r\n\r\n", "!START_LINE_TOO_LONG", 0},
        {"GET /0123456789abcdef0123456789", "!START_LINE_TOO_LONG", 0},
        {"GET /0123456789abcdef0123456789\n", "!START_LINE_TOO_LONG", 0},
        {GET_HOST "x: 0123456789012345678901234567890123456789\r\n\r\n", "!HEADERS_TOO_LARGE", 0},
        {GET_HOST "x: 012345678901234567890123456789012345678901234567890", "!HEADERS_TOO_LARGE",
         0},
        {GET_HOST "a:\r\nb:\r\n\r\n", "[" GET_PSEUDO "a=;b=; 1.1 ka nobody]D.", 0},
        {GET_HOST "a:\r\nb:\r\nc:\r\n\r\n", "!TOO_MANY_HEADERS", 0},
        {POST_CHUNKED "0\r\nx: 0123456789012345678901234567890123456789\r\n\r\n",
         POST_CHUNKED_HEAD "!TRAILERS_TOO_LARGE", 0},
        {POST_CHUNKED "0\r\na:\r\nb:\r\nc:\r\nd:\r\n\r\n", POST_CHUNKED_HEAD "!TOO_MANY_HEADERS",
         0},
        {POST_CHUNKED "1;abc\r\nx\r\n0;abc\r\n\r\n", POST_CHUNKED_HEAD "<x>D.", 0},
        {POST_CHUNKED "1;abcd\r\nx\r\n0;abc\r\n\r\n", POST_CHUNKED_HEAD "<x>!BAD_CHUNK", 0},
    };
    CHECK_CASES(s, cases);
    s.opts.limits = (struct h1_limits){32, 0, 3, 32, 8};
    static const struct parse_case whole[] = {
        {"GET /0123456789012345678901234567890123456789", "!START_LINE_TOO_LONG", 0}};
    CHECK_CASES(s, whole);
}

#define OK11 "HTTP/1.1 200 OK\r\n"

static void test_next__responses__are_framed(void **state)
{
    (void)state;
    struct setup s = for_responses();
    static const struct parse_case cases[] = {
        {OK11 "Content-Length: 2\r\n\r\nhi", "[:status=200;content-length=2; 1.1 ka len=2]<hi>D.",
         0},
        {OK11 "Content-Length: 0\r\n\r\n", "[:status=200;content-length=0; 1.1 ka len=0 nobody]D.",
         0},
        {OK11 "\r\nhi", "[:status=200; 1.1 close]<hi>D", 0},
        {OK11 "\r\n", "[:status=200; 1.1 close]D", 0},
        {"HTTP/1.1 200\r\nX: y\r\n\r\n", "[:status=200;x=y; 1.1 close]D", 0},
        {"HTTP/1.1 200 \r\n\r\n", "[:status=200; 1.1 close]D", 0},
        {"HTTP/1.1 299 \xc3\xa9\tx\r\n\r\n", "[:status=299; 1.1 close]D", 0},
        {OK11 "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nT: 1\r\n\r\n",
         "[:status=200;transfer-encoding=chunked; 1.1 ka chunked]<x>(t=1;)D.", 0},
        {"HTTP/1.0 200 OK\r\n\r\nx", "[:status=200; 1.0 close]<x>D", 0},
        {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
         "[:status=200;connection=keep-alive;content-length=1; 1.0 ka len=1]<x>D.", 0},
        {"HTTP/1.1 204 No Content\r\n\r\n", "[:status=204; 1.1 ka nobody]D.", 0},
        {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
         "[:status=304;content-length=5; 1.1 ka len=5 nobody]D.", 0},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\nLink: x\r\n\r\n" OK11
         "Content-Length: 1\r\n\r\nx",
         "[:status=100; 1.1 ka nobody]D[:status=103;link=x; 1.1 ka nobody]D"
         "[:status=200;content-length=1; 1.1 ka len=1]<x>D.", 0},
        {"HTTP/1.1 101 S\r\nUpgrade: w\r\nConnection: upgrade\r\n\r\n\x01\r\n",
         "[:status=101;upgrade=w;connection=upgrade; 1.1 ka nobody upgrade]{\x01\r\n}D", 0},
        {OK11 "Host: a\r\nContent-Length: 0\r\n\r\n",
         "[:status=200;host=a;content-length=0; 1.1 ka len=0 nobody]D.", 0},
        {"", ".", 0},
    };
    CHECK_CASES(s, cases);
}

static void test_next__bad_responses__are_refused(void **state)
{
    (void)state;
    struct setup s = for_responses();
    static const struct parse_case cases[] = {
        {OK11 "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "!CONFLICTING_LENGTHS", 0},
        {OK11 "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", "!BAD_CONTENT_LENGTH", 0},
        {"HTTP/1.1 204 N\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "!BAD_CONTENT_LENGTH",
         0},
        {OK11 "Transfer-Encoding: gzip\r\n\r\n", "!BAD_TRANSFER_ENCODING", 0},
        {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "!TE_IN_HTTP10", 0},
        {OK11 "x: y\r\n z\r\n\r\n", "!OBS_FOLD", 0},
        {OK11 "x : y\r\n\r\n", "!BAD_HEADER_NAME", 0},
        {"HTTP/1.1 200 OK\nx: y\n\n", "!BAD_LINE_END", 0},
        {"HTTP/1.1 2000 OK\r\n\r\n", "!BAD_STATUS", 0},
        {"HTTP/1.1 20 OK\r\n\r\n", "!BAD_STATUS", 0},
        {"HTTP/1.1 099 OK\r\n\r\n", "!BAD_STATUS", 0},
        {"HTTP/1.1 +20 OK\r\n\r\n", "!BAD_STATUS", 0},
        {"HTTP/1.1  200 OK\r\n\r\n", "!BAD_STATUS", 0},
        {"HTTP/1.1\r\n\r\n", "!BAD_STATUS", 0},
        {"HTTP/1.1 200 O\x01K\r\n\r\n", "!BAD_STATUS", 0},
        {"HTTP/1.1 200 O\rK\r\n\r\n", "!BAD_LINE_END", 0},
        {"HTTP/2.0 200 OK\r\n\r\n", "!UNSUPPORTED_VERSION", 0},
        {"http/1.1 200 OK\r\n\r\n", "!BAD_VERSION", 0},
        {"\r\nHTTP/1.1 200 OK\r\n\r\n", "!BAD_VERSION", 0},
        {"SSH-2.0-x\r\n", "!BAD_VERSION", 0},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx",
         "[:status=200;content-length=2; 1.1 ka len=2]<x>!EOF_IN_MESSAGE", 0},
        {"HTTP/1.1 200 OK\r\nCont", "!EOF_IN_MESSAGE", 0},
    };
    CHECK_CASES(s, cases);
}

static void test_next__responses_to_head_and_connect__have_no_body(void **state)
{
    (void)state;
    struct setup s = for_responses();
    s.to_head = true;
    static const struct parse_case head[] = {
        {OK11 "Content-Length: 5\r\n\r\n",
         "[:status=200;content-length=5; 1.1 ka len=5 nobody]D.", 0},
        {OK11 "Transfer-Encoding: chunked\r\n\r\n",
         "[:status=200;transfer-encoding=chunked; 1.1 ka nobody]D.", 0},
        {OK11 "\r\n", "[:status=200; 1.1 ka nobody]D.", 0},
    };
    CHECK_CASES(s, head);
    s.to_head = false;
    s.to_connect = true;
    static const struct parse_case connect[] = {
        {OK11 "Content-Length: 5\r\n\r\nabc",
         "[:status=200;content-length=5; 1.1 ka len=5 nobody]{abc}D", 0},
        {"HTTP/1.1 403 F\r\nContent-Length: 1\r\n\r\nx",
         "[:status=403;content-length=1; 1.1 ka len=1]<x>D.", 0},
    };
    CHECK_CASES(s, connect);
}

static void test_tunnel__after_connect__passes_bytes(void **state)
{
    (void)state;
    struct setup s = for_requests();
    struct h1_parser p;
    struct transcript t = {0};
    struct buf in = BUF_INIT;
    h1_parser_init(&p, &s.opts);
    buf_append_str(&in, STR("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"));
    transcript_run(&t, &p, &in);
    assert_true(h1_parser_is_between_messages(&p));
    h1_parser_tunnel(&p);
    buf_append_str(&in, STR("GET / \n\0x"));
    transcript_run(&t, &p, &in);
    transcript_eof(&t, &p);
    assert_string_equal(t.text.p, "[:authority=a:1;:method=CONNECT; 1.1 ka nobody connect]D"
                                  "{GET / \n");
    strbuf_fini(&t.text);
    buf_fini(&in);
}

static void test_next__raw_names__are_kept(void **state)
{
    (void)state;
    struct setup s = for_requests();
    struct h1_parser p;
    struct arena arena;
    struct headers h;
    struct buf in = BUF_INIT, body = BUF_INIT;
    s.opts.keep_raw_names = true;
    arena_init(&arena, 0);
    headers_init(&h, &arena);
    h1_parser_init(&p, &s.opts);
    buf_append_str(&in, STR("GET / HTTP/1.1\r\nHOST: a\r\nX-Foo: 1\r\nbar: 2\r\n\r\n"));
    assert_int_equal(h1_parser_next(&p, &in, &h, &body), H1_HEAD);
    assert_memory_equal(h.items[0].raw_name, "HOST", 4);
    assert_memory_equal(headers_find(&h, STR("x-foo"))->raw_name, "X-Foo", 5);
    assert_null(headers_find(&h, STR("bar"))->raw_name);
    arena_fini(&arena);
}

static void test_next__small_arena__is_too_large(void **state)
{
    (void)state;
    struct setup s = for_requests();
    for (size_t limit = 1; limit < 1200; limit += 7) {
        struct h1_parser p;
        struct arena arena;
        struct headers h;
        struct buf in = BUF_INIT, body = BUF_INIT;
        arena_init(&arena, limit);
        headers_init(&h, &arena);
        h1_parser_init(&p, &s.opts);
        buf_append_str(&in, STR(GET_HOST "a: b\r\n\r\n"));
        enum h1_event event = h1_parser_next(&p, &in, &h, &body);
        assert_true(event == H1_HEAD ||
                    (event == H1_FAILED && p.error == H1_ERR_HEADERS_TOO_LARGE));
        buf_fini(&in);
        arena_fini(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_next__good_requests__are_understood),
        cmocka_unit_test(test_next__chunked__is_unframed),
        cmocka_unit_test(test_next__bad_chunks__are_refused),
        cmocka_unit_test(test_next__smuggling__is_refused),
        cmocka_unit_test(test_next__bad_start_lines__are_refused),
        cmocka_unit_test(test_next__bad_fields__are_refused),
        cmocka_unit_test(test_next__underscores__follow_the_option),
        cmocka_unit_test(test_next__http10_requests__are_framed_their_way),
        cmocka_unit_test(test_next__upgrade__needs_option_version_and_connection),
        cmocka_unit_test(test_next__limits__name_what_was_too_much),
        cmocka_unit_test(test_next__responses__are_framed),
        cmocka_unit_test(test_next__bad_responses__are_refused),
        cmocka_unit_test(test_next__responses_to_head_and_connect__have_no_body),
        cmocka_unit_test(test_tunnel__after_connect__passes_bytes),
        cmocka_unit_test(test_next__raw_names__are_kept),
        cmocka_unit_test(test_next__small_arena__is_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
