/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP/1.1 writer by itself, and behind the parser: what was parsed, written and parsed again
 * must say the same.
 */
#include "http/codec/h1.h"

#include "base/check.h"

#include "../unit.h"

static const char *const form_names[] = {"none", "length", "chunked", "until_close", "tunnel"};

/* "name: value" lines, as they would come from a filter. */
static void fill(struct headers *h, const char *lines)
{
    struct str rest = str_from(lines), line, value;
    while (rest.n) {
        line = str_split(rest, '\n', &rest);
        struct str name = line;
        ptrdiff_t colon = str_find_char(str_make(line.p + 1, line.n - 1), ':') + 1;
        name.n = (size_t)colon;
        value = str_trim(str_make(line.p + colon + 1, line.n - (size_t)colon - 1));
        assert_true(headers_add_ref(h, name, value));
    }
}

struct write_case {
    const char *fields;
    struct h1_write_opts opts;
    const char *expected; /* NULL: refused */
    enum h1_body_form form;
};

static void check_write(bool is_request, const struct write_case *c)
{
    struct arena arena;
    struct headers h;
    struct buf out = BUF_INIT;
    enum h1_body_form form = H1_BODY_NONE;
    arena_init(&arena, 0);
    headers_init(&h, &arena);
    fill(&h, c->fields);
    bool ok = is_request ? h1_write_request(&out, &h, &c->opts, &form)
                         : h1_write_response(&out, &h, &c->opts, &form);
    const char *got = out.len ? (const char *)buf_pullup(&out, out.len) : "";
    if (ok != (c->expected != NULL))
        fail_msg("%s was %s", c->fields, ok ? "written" : "refused");
    const char *want = ok ? c->expected : "";
    if (!str_eq(str_make(got, out.len), str_from(want)))
        fail_msg("%s gave\n%.*s\nnot\n%s", c->fields, (int)out.len, got, want);
    if (ok && form != c->form)
        fail_msg("%s has form %s", c->fields, form_names[form]);
    buf_fini(&out);
    arena_fini(&arena);
}

#define CHECK_WRITES(is_request, cases)                                                            \
    for (size_t i_ = 0; i_ < ARRAY_LEN(cases); i_++)                                               \
    check_write(is_request, &cases[i_])

#define GET ":authority: a\n:path: /p\n:method: GET"
#define POST ":authority: a\n:path: /\n:method: POST"
#define OUT_GET "GET /p HTTP/1.1\r\nhost: a\r\n"
#define OUT_POST "POST / HTTP/1.1\r\nhost: a\r\n"

static void test_write_request__framing__fits_what_follows(void **state)
{
    (void)state;
    static const struct write_case cases[] = {
        {GET, {.end = true}, OUT_GET "\r\n", H1_BODY_NONE},
        {GET, {0}, OUT_GET "transfer-encoding: chunked\r\n\r\n", H1_BODY_CHUNKED},
        {POST, {.end = true}, OUT_POST "content-length: 0\r\n\r\n", H1_BODY_NONE},
        {POST "\ncontent-length: 5\nx: y", {0}, OUT_POST "content-length: 5\r\nx: y\r\n\r\n",
         H1_BODY_LENGTH},
        {POST "\ncontent-length: 5", {.end = true}, OUT_POST "content-length: 0\r\n\r\n",
         H1_BODY_NONE},
        {GET "\ncontent-length: 5", {.end = true}, OUT_GET "\r\n", H1_BODY_NONE},
        {GET "\ncontent-length: 0", {.end = true}, OUT_GET "content-length: 0\r\n\r\n",
         H1_BODY_NONE},
        {POST "\ncontent-length: 5\ncontent-length: 6", {0}, OUT_POST "content-length: 5\r\n\r\n",
         H1_BODY_LENGTH},
        {POST "\ntransfer-encoding: chunked, gzip", {0},
         OUT_POST "transfer-encoding: chunked\r\n\r\n", H1_BODY_CHUNKED},
        {POST, {.http10 = true}, NULL, H1_BODY_NONE},
        {GET, {.http10 = true, .end = true}, "GET /p HTTP/1.0\r\nhost: a\r\n\r\n", H1_BODY_NONE},
        {":authority: a:443\n:method: CONNECT\ncontent-length: 3", {0},
         "CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n", H1_BODY_TUNNEL},
        {GET "\nupgrade: websocket\nconnection: Upgrade", {.upgrade = true},
         OUT_GET "upgrade: websocket\r\nconnection: Upgrade\r\n\r\n", H1_BODY_TUNNEL},
        {GET "\nupgrade: websocket", {.upgrade = true},
         OUT_GET "upgrade: websocket\r\nconnection: upgrade\r\n\r\n", H1_BODY_TUNNEL},
        {POST "\nupgrade: h\ncontent-length: 1", {.upgrade = true},
         OUT_POST "upgrade: h\r\ncontent-length: 1\r\nconnection: upgrade\r\n\r\n",
         H1_BODY_LENGTH},
        {GET "\nupgrade: websocket\nconnection: upgrade", {.end = true}, OUT_GET "\r\n",
         H1_BODY_NONE},
    };
    CHECK_WRITES(true, cases);
}

static void test_write_request__targets_and_names(void **state)
{
    (void)state;
    static const struct write_case cases[] = {
        {GET, {.end = true, .absolute_form = true},
         "GET http://a/p HTTP/1.1\r\nhost: a\r\n\r\n", H1_BODY_NONE},
        {GET "\n:scheme: https", {.end = true, .absolute_form = true},
         "GET https://a/p HTTP/1.1\r\nhost: a\r\n\r\n", H1_BODY_NONE},
        {":authority: a\n:path: *\n:method: OPTIONS", {.end = true},
         "OPTIONS * HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n", H1_BODY_NONE},
        {":authority: a\n:path: *\n:method: OPTIONS", {.end = true, .absolute_form = true},
         "OPTIONS http://a HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n", H1_BODY_NONE},
        {GET "\nhost: b\nte: trailers\ntrailer: x", {.end = true},
         OUT_GET "te: trailers\r\n\r\n", H1_BODY_NONE},
        {GET "\ntrailer: x", {.end = true, .enable_trailers = true}, OUT_GET "trailer: x\r\n\r\n",
         H1_BODY_NONE},
        {":path: /\n:method: GET\nhost: b", {.end = true}, "GET / HTTP/1.1\r\nhost: b\r\n\r\n",
         H1_BODY_NONE},
        {GET "\nx-request-id: Y\nfoo$b#$are: z", {.end = true, .name_case = H1_CASE_PROPER},
         "GET /p HTTP/1.1\r\nHost: a\r\nX-Request-Id: Y\r\nFoo$B#$Are: z\r\n\r\n", H1_BODY_NONE},
        {POST, {.name_case = H1_CASE_PROPER, .close = true},
         "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
         H1_BODY_CHUNKED},
        {GET "\nconnection: x", {.end = true}, OUT_GET "connection: x\r\n\r\n", H1_BODY_NONE},
        {GET "\nconnection: x", {.end = true, .close = true}, OUT_GET "connection: close\r\n\r\n",
         H1_BODY_NONE},
        {GET, {.end = true, .keep_alive = true}, OUT_GET "connection: keep-alive\r\n\r\n",
         H1_BODY_NONE},
    };
    CHECK_WRITES(true, cases);
}

static void test_write_request__what_would_split_it__is_refused(void **state)
{
    (void)state;
    static const struct write_case cases[] = {
        {GET "\nx: a\rb", {.end = true}, NULL, H1_BODY_NONE},
        {GET "\nx: 0123456789abcdef\rb", {.end = true}, NULL, H1_BODY_NONE},
        {GET "\nx: 0123456789abcdefg\r", {.end = true}, NULL, H1_BODY_NONE},
        {GET "\nx y: z", {.end = true}, NULL, H1_BODY_NONE},
        {":authority: a\n:path: /a b\n:method: GET", {.end = true}, NULL, H1_BODY_NONE},
        {":authority: a b\n:path: /a\n:method: GET", {.end = true}, NULL, H1_BODY_NONE},
        {":authority: a\n:path: /\n:method: G T", {.end = true}, NULL, H1_BODY_NONE},
        {":authority: a\n:method: GET", {.end = true}, NULL, H1_BODY_NONE},
        {":authority: a\n:path: /", {.end = true}, NULL, H1_BODY_NONE},
        {":path: /\n:method: CONNECT", {.end = true}, NULL, H1_BODY_NONE},
    };
    CHECK_WRITES(true, cases);
}

#define OUT_200 "HTTP/1.1 200 OK\r\n"

static void test_write_response__framing__fits_what_follows(void **state)
{
    (void)state;
    static const struct write_case cases[] = {
        {":status: 200\nx: y", {.end = true}, OUT_200 "x: y\r\ncontent-length: 0\r\n\r\n",
         H1_BODY_NONE},
        {":status: 200", {0}, OUT_200 "transfer-encoding: chunked\r\n\r\n", H1_BODY_CHUNKED},
        {":status: 200\ncontent-length: 3", {0}, OUT_200 "content-length: 3\r\n\r\n",
         H1_BODY_LENGTH},
        {":status: 200\ncontent-length: 3", {.end = true}, OUT_200 "content-length: 0\r\n\r\n",
         H1_BODY_NONE},
        {":status: 200\ncontent-length: 3", {.end = true, .response_to_head = true},
         OUT_200 "content-length: 3\r\n\r\n", H1_BODY_NONE},
        {":status: 200", {.response_to_head = true}, OUT_200 "\r\n", H1_BODY_NONE},
        {":status: 200\ncontent-length: 3", {.response_to_connect = true}, OUT_200 "\r\n",
         H1_BODY_TUNNEL},
        {":status: 404", {.response_to_connect = true, .end = true},
         "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", H1_BODY_NONE},
        {":status: 100", {0}, "HTTP/1.1 100 Continue\r\n\r\n", H1_BODY_NONE},
        {":status: 204\ncontent-length: 0", {.end = true}, "HTTP/1.1 204 No Content\r\n\r\n",
         H1_BODY_NONE},
        {":status: 304\ncontent-length: 7", {.end = true},
         "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n", H1_BODY_NONE},
        {":status: 304", {.end = true}, "HTTP/1.1 304 Not Modified\r\n\r\n", H1_BODY_NONE},
        {":status: 299", {.end = true}, "HTTP/1.1 299 Unknown\r\ncontent-length: 0\r\n\r\n",
         H1_BODY_NONE},
        {":status: 200", {.http10 = true}, "HTTP/1.0 200 OK\r\nconnection: close\r\n\r\n",
         H1_BODY_UNTIL_CLOSE},
        {":status: 200\ncontent-length: 1", {.http10 = true, .keep_alive = true},
         "HTTP/1.0 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\n", H1_BODY_LENGTH},
        {":status: 101\nupgrade: w\nconnection: upgrade", {.upgrade = true},
         "HTTP/1.1 101 Switching Protocols\r\nupgrade: w\r\nconnection: upgrade\r\n\r\n",
         H1_BODY_TUNNEL},
        {":status: 200\nhost: a", {.end = true}, OUT_200 "host: a\r\ncontent-length: 0\r\n\r\n",
         H1_BODY_NONE},
        {":status: 20", {.end = true}, NULL, H1_BODY_NONE},
        {":status: abc", {.end = true}, NULL, H1_BODY_NONE},
        {"x: y", {.end = true}, NULL, H1_BODY_NONE},
    };
    CHECK_WRITES(false, cases);
}

static void test_write_request__preserve__gives_raw_names_back(void **state)
{
    (void)state;
    static const struct h1_parser_opts opts = {
        .limits = H1_LIMITS_DEFAULT, .is_request = true, .keep_raw_names = true};
    static const char text[] = "GET / HTTP/1.1\r\nHOST: a\r\nX-fOO: 1\r\nbar: 2\r\n\r\n";
    struct h1_parser p;
    struct arena arena;
    struct headers h;
    struct buf in = BUF_INIT, body = BUF_INIT, out = BUF_INIT;
    enum h1_body_form form;
    arena_init(&arena, 0);
    headers_init(&h, &arena);
    h1_parser_init(&p, &opts);
    buf_append(&in, text, sizeof(text) - 1);
    assert_int_equal(h1_parser_next(&p, &in, &h, &body), H1_HEAD);
    const struct h1_write_opts write = {.end = true, .name_case = H1_CASE_PRESERVE};
    assert_true(h1_write_request(&out, &h, &write, &form));
    assert_int_equal(out.len, sizeof(text) - 1);
    assert_memory_equal(buf_pullup(&out, out.len), text, out.len);
    buf_fini(&out);
    arena_fini(&arena);
}

static void test_write_request__head_beyond_a_block__is_written(void **state)
{
    (void)state;
    struct arena arena;
    struct headers h;
    struct buf out = BUF_INIT;
    enum h1_body_form form;
    static char value[50000];
    memset(value, 'v', sizeof(value));
    arena_init(&arena, 0);
    headers_init(&h, &arena);
    fill(&h, GET);
    headers_add_ref(&h, STR("x"), str_make(value, sizeof(value)));
    const struct h1_write_opts opts = {.end = true};
    assert_true(h1_write_request(&out, &h, &opts, &form));
    assert_int_equal(out.len, sizeof(OUT_GET) - 1 + 3 + sizeof(value) + 4);
    value[49999] = '\n';
    buf_fini(&out);
    assert_false(h1_write_request(&out, &h, &opts, &form));
    assert_int_equal(out.len, 0);
    arena_fini(&arena);
}

static void check_body(enum h1_body_form form, const char *trailers, const char *want)
{
    struct arena arena;
    struct headers h;
    struct buf out = BUF_INIT, data = BUF_INIT;
    arena_init(&arena, 0);
    headers_init(&h, &arena);
    fill(&h, trailers);
    h1_write_body(&out, form, &data);
    buf_append_str(&data, STR("hello"));
    h1_write_body(&out, form, &data);
    assert_int_equal(data.len, 0);
    buf_append_str(&data, STR("0123456789abcdef"));
    h1_write_body(&out, form, &data);
    h1_write_end(&out, form, *trailers ? &h : NULL, H1_CASE_LOWER);
    assert_str_equal(str_make((const char *)buf_pullup(&out, out.len), out.len), want);
    buf_fini(&out);
    arena_fini(&arena);
}

static void test_write_body__each_form(void **state)
{
    (void)state;
    check_body(H1_BODY_NONE, "", "");
    check_body(H1_BODY_LENGTH, "x: y", "hello0123456789abcdef");
    check_body(H1_BODY_TUNNEL, "", "hello0123456789abcdef");
    check_body(H1_BODY_UNTIL_CLOSE, "", "hello0123456789abcdef");
    check_body(H1_BODY_CHUNKED, "", "5\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n");
    check_body(H1_BODY_CHUNKED, "x: y\ncontent-length: 3\nz: a\rb\nw:",
               "5\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\nx: y\r\nw: \r\n\r\n");
}

/* ---- round trips ---- */

/* Parses every message in `text` and writes it again as it was read. */
static struct buf pass_through(const struct h1_parser_opts *opts, struct str text)
{
    struct h1_parser p;
    struct buf in = BUF_INIT, out = BUF_INIT;
    enum h1_body_form form = H1_BODY_NONE;
    enum h1_event event;
    h1_parser_init(&p, opts);
    buf_append_str(&in, text);
    do {
        struct arena arena;
        struct headers h;
        struct buf body = BUF_INIT;
        arena_init(&arena, 0);
        headers_init(&h, &arena);
        event = h1_parser_next(&p, &in, &h, &body);
        const struct h1_write_opts w = {.end = p.head.no_body, .enable_trailers = true};
        if (event == H1_HEAD && opts->is_request)
            assert_true(h1_write_request(&out, &h, &w, &form));
        else if (event == H1_HEAD)
            assert_true(h1_write_response(&out, &h, &w, &form));
        else if (event == H1_BODY)
            h1_write_body(&out, form, &body);
        else if (event == H1_TRAILERS)
            h1_write_end(&out, form, &h, H1_CASE_LOWER);
        else if (event == H1_DONE && p.head.chunked && !str_has_suffix(buf_front(&out),
                                                                     STR("t: u\r\n\r\n")))
            h1_write_end(&out, form, NULL, H1_CASE_LOWER);
        assert_int_not_equal(event, H1_FAILED);
        arena_fini(&arena);
    } while (event != H1_MORE);
    return out;
}

static void check_round_trip(const struct h1_parser_opts *opts, const char *text)
{
    struct buf once = pass_through(opts, str_from(text));
    size_t n = once.len;
    const uint8_t *first = buf_pullup(&once, n);
    assert_str_equal(str_make((const char *)first, n), text);
    buf_fini(&once);
}

static void test_round_trip__pipelined_messages__come_out_the_same(void **state)
{
    (void)state;
    static const struct h1_parser_opts requests = {
        .limits = H1_LIMITS_DEFAULT, .is_request = true, .keep_trailers = true};
    check_round_trip(&requests,
                     OUT_GET "x: y\r\n\r\n" OUT_POST "content-length: 3\r\n\r\nabc" OUT_POST
                             "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" OUT_POST
                             "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nt: u\r\n\r\n"
                             "OPTIONS * HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n" OUT_POST
                             "content-length: 0\r\n\r\n" OUT_GET "\r\n");
    static const struct h1_parser_opts responses = {.limits = H1_LIMITS_DEFAULT,
                                                    .keep_trailers = true};
    check_round_trip(&responses,
                     "HTTP/1.1 100 Continue\r\n\r\n" OUT_200 "a: b\r\ncontent-length: 2\r\n\r\nhi"
                     "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\n\r\n" OUT_200
                     "transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n" OUT_200
                     "content-length: 0\r\n\r\n");
}

static void test_tables__are_complete(void **state)
{
    (void)state;
    assert_string_equal(http_reason(418), "Unknown");
    assert_string_equal(http_reason(503), "Service Unavailable");
    assert_int_equal(h1_error_status(H1_ERR_START_LINE_TOO_LONG), 414);
    assert_string_equal(h1_error_name(H1_ERR_EOF_IN_MESSAGE), "EOF_IN_MESSAGE");
    assert_string_equal(h1_error_details(H1_ERR_BAD_URL), "http1.invalid_url");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_request__framing__fits_what_follows),
        cmocka_unit_test(test_write_request__targets_and_names),
        cmocka_unit_test(test_write_request__what_would_split_it__is_refused),
        cmocka_unit_test(test_write_response__framing__fits_what_follows),
        cmocka_unit_test(test_write_request__preserve__gives_raw_names_back),
        cmocka_unit_test(test_write_request__head_beyond_a_block__is_written),
        cmocka_unit_test(test_write_body__each_form),
        cmocka_unit_test(test_round_trip__pipelined_messages__come_out_the_same),
        cmocka_unit_test(test_tables__are_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
