/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/hcm/exchange.h"

#include "base/mem.h"

#include "../unit.h"

/* A chain of two scripted filters and a terminal one, over a stream that writes down what it is given. Everything that
 * happens goes into one journal: "a:h" filter a saw headers, "a:d3." data of 3 bytes, '.' where it was the end. */

static struct strbuf journal;

static void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (journal.n)
        strbuf_addc(&journal, ' ');
    strbuf_vaddf(&journal, fmt, ap);
    va_end(ap);
}

/* ---- filters ---- */

struct script {
    const char *name;
    enum filter_headers request_headers, response_headers;
    enum filter_data request_data, response_data;
    enum filter_trailers request_trailers, response_trailers;
    bool replies; /* answers by itself at the request's headers */
    bool adds_trailers; /* behind the last bytes, both ways */
};

static const struct script *script_of(struct http_filter *f)
{
    return f->config;
}

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)h;
    note("%s:h%s", script_of(f)->name, end ? "." : "");
    if (script_of(f)->replies) {
        exchange_local_reply(f->x, OUTCOME(INTERNAL), 500, STR("no"), STR_NULL, NULL, NULL);
        return FILTER_HEADERS_STOP;
    }
    return script_of(f)->request_headers;
}

static enum filter_data on_request_data(struct http_filter *f, struct buf *data, bool end)
{
    note("%s:d%zu%s", script_of(f)->name, data->len, end ? "." : "");
    if (script_of(f)->request_data == FILTER_DATA_STOP_NO_BUFFER)
        buf_drain(data, data->len);
    if (end && script_of(f)->adds_trailers)
        assert_non_null(exchange_add_request_trailers(f));
    return script_of(f)->request_data;
}

static enum filter_trailers on_request_trailers(struct http_filter *f, struct headers *h)
{
    (void)h;
    note("%s:t", script_of(f)->name);
    return script_of(f)->request_trailers;
}

static enum filter_headers on_response_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)h;
    note("%s:H%s", script_of(f)->name, end ? "." : "");
    return script_of(f)->response_headers;
}

static enum filter_data on_response_data(struct http_filter *f, struct buf *data, bool end)
{
    note("%s:D%zu%s", script_of(f)->name, data->len, end ? "." : "");
    if (end && script_of(f)->adds_trailers)
        assert_non_null(exchange_add_response_trailers(f));
    return script_of(f)->response_data;
}

static enum filter_trailers on_response_trailers(struct http_filter *f, struct headers *h)
{
    (void)h;
    note("%s:T", script_of(f)->name);
    return script_of(f)->response_trailers;
}

static const struct http_filter_def scripted = {
    .name = "scripted",
    .on_request_headers = on_request_headers,
    .on_request_data = on_request_data,
    .on_request_trailers = on_request_trailers,
    .on_response_headers = on_response_headers,
    .on_response_data = on_response_data,
    .on_response_trailers = on_response_trailers,
};
static enum filter_data take_data(struct http_filter *f, struct buf *data, bool end)
{
    on_request_data(f, data, end);
    buf_drain(data, data->len);
    return FILTER_DATA_STOP_NO_BUFFER;
}
static const struct http_filter_def terminal = {
    .name = "terminal",
    .is_terminal = true,
    .on_request_headers = on_request_headers,
    .on_request_data = take_data,
    .on_request_trailers = on_request_trailers,
};

/* ---- the stream ---- */

static int paused;

static void send_headers(struct http_stream *s, struct headers *h, bool end)
{
    (void)s;
    note("out:%.*s%s", STR_ARG(headers_get_id(h, HDR_STATUS)), end ? "." : "");
}
static void send_data(struct http_stream *s, struct buf *data, bool end)
{
    (void)s;
    note("out:%zu%s", data->len, end ? "." : "");
    buf_drain(data, data->len);
}
static void send_trailers(struct http_stream *s, struct headers *h)
{
    (void)s, (void)h;
    note("out:T");
}
static void reset(struct http_stream *s, enum stream_reset why)
{
    (void)s, (void)why;
    note("reset");
}
static void pause_stream(struct http_stream *s, bool on)
{
    (void)s;
    paused += on ? 1 : -1;
}
static const struct http_stream_ops stream_ops = {
    .send_headers = send_headers, .send_data = send_data, .send_trailers = send_trailers, .reset = reset, .pause = pause_stream,
};

/* ---- the exchange around them ---- */

struct fixture {
    struct arena arena;
    struct headers request, response, trailers;
    struct http_stream stream;
    struct http_filter_spec specs[3];
    struct script scripts[3];
    struct hcm_config config;
    struct listener_spec listener;
    struct loop *loop;
    struct hcm_conn hc;
    struct exchange x;
};

static struct fixture *setup(struct script a, struct script b)
{
    struct fixture *f = NEW(fixture);
    struct err err;
    stats_init(1);
    paused = 0;
    strbuf_reset(&journal);
    arena_init(&f->arena, 0);
    f->loop = loop_new("test", &err);
    f->scripts[0] = a;
    f->scripts[0].name = "a";
    f->scripts[1] = b;
    f->scripts[1].name = "b";
    f->scripts[2].name = "z";
    f->scripts[2].request_headers = FILTER_HEADERS_STOP;
    for (int i = 0; i < 3; i++)
        f->specs[i] = (struct http_filter_spec){.def = i == 2 ? &terminal : &scripted, .config = &f->scripts[i]};
    f->config = (struct hcm_config){.stat_prefix = STR("t"), .filters = f->specs, .filter_count = 3,
                                    .server_name = STR("s")};
    f->listener.stat_prefix = STR("l");
    hcm_config_link(&f->config, &(struct link_context){.listener = &f->listener});
    headers_init(&f->request, &f->arena);
    headers_init(&f->response, &f->arena);
    headers_init(&f->trailers, &f->arena);
    headers_add(&f->response, STR(":status"), STR("200"));
    f->stream = (struct http_stream){.ops = &stream_ops, .arena = &f->arena};
    f->x = (struct exchange){.magic = EXCHANGE_MAGIC, .config = &f->config, .down = &f->stream, .loop = f->loop, .hc = &f->hc,
                             .arena = &f->arena, .request = &f->request, .body_limit_bytes = 10};
    chain_init(&f->x);
    return f;
}

static void drop(struct fixture *f)
{
    chain_destroy(&f->x);
    stat_scope_unref(&f->config.stats);
    stat_scope_unref(&f->config.listener_stats);
    loop_free(&f->loop);
    arena_fini(&f->arena);
    mem_free(f);
    stats_fini();
    strbuf_fini(&journal);
    buf_trim();
    arena_thread_fini();
}

static void request_data(struct fixture *f, const char *text, bool end)
{
    struct buf b = BUF_INIT;
    buf_append(&b, text, strlen(text));
    chain_request_data(&f->x, &b, end);
    buf_fini(&b);
}

static void respond_data(struct fixture *f, const char *text, bool end)
{
    struct buf b = BUF_INIT;
    buf_append(&b, text, strlen(text));
    exchange_respond_data(&f->x, &b, end);
    buf_fini(&b);
}

static void expect(const char *want)
{
    assert_str_equal(strbuf_str(&journal), want);
}

/* ---- requests ---- */

static void test_request__all_continue__everything_passes_in_order(void **state)
{
    (void)state;
    struct fixture *f = setup((struct script){0}, (struct script){0});
    chain_request_headers(&f->x, false);
    request_data(f, "abc", false);
    f->x.request_trailers = &f->trailers;
    chain_request_trailers(&f->x);
    expect("a:h b:h z:h a:d3 b:d3 z:d3 a:t b:t z:t");
    drop(f);
}

static void test_request__headers_stopped__data_releases_them(void **state)
{
    (void)state;
    struct fixture *f = setup((struct script){.request_headers = FILTER_HEADERS_STOP}, (struct script){0});
    chain_request_headers(&f->x, false);
    request_data(f, "abc", true);
    expect("a:h a:d3. b:h z:h b:d3. z:d3.");
    drop(f);
}

static void test_request__data_buffered__continue_hands_it_on_once(void **state)
{
    (void)state;
    struct fixture *f = setup((struct script){.request_headers = FILTER_HEADERS_STOP, .request_data = FILTER_DATA_STOP_BUFFER},
                              (struct script){0});
    chain_request_headers(&f->x, false);
    request_data(f, "abc", false);
    request_data(f, "de", true);
    expect("a:h a:d3 a:d2.");
    exchange_continue_request(&f->x.slots[0].f);
    expect("a:h a:d3 a:d2. b:h z:h b:d5. z:d5.");
    drop(f);
}

static void test_request__stop_all__filter_sees_its_data_after_continue(void **state)
{
    (void)state;
    struct fixture *f = setup((struct script){.request_headers = FILTER_HEADERS_STOP_ALL_BUFFER}, (struct script){0});
    chain_request_headers(&f->x, false);
    request_data(f, "abc", true);
    expect("a:h");
    exchange_continue_request(&f->x.slots[0].f);
    expect("a:h b:h z:h a:d3. b:d3. z:d3.");
    drop(f);
}

static void test_request__headers_only_stopped__continue_keeps_the_end(void **state)
{
    (void)state;
    struct fixture *f = setup((struct script){.request_headers = FILTER_HEADERS_STOP}, (struct script){0});
    chain_request_headers(&f->x, true);
    exchange_continue_request(&f->x.slots[0].f);
    expect("a:h. b:h. z:h.");
    drop(f);
}

static void test_request__buffer_past_limit__413(void **state)
{
    (void)state;
    struct fixture *f = setup((struct script){.request_headers = FILTER_HEADERS_STOP, .request_data = FILTER_DATA_STOP_BUFFER},
                              (struct script){0});
    chain_request_headers(&f->x, false);
    request_data(f, "0123456789x", false);
    expect("a:h a:d11 b:H a:H out:413 b:D17. a:D17. out:17.");
    assert_int_equal(stat_sum(f->config.stats, STAT_HCM_RQ_TOO_LARGE), 1);
    drop(f);
}

static void test_request__watermark_past_limit__sender_is_paused_until_continue(void **state)
{
    (void)state;
    struct fixture *f = setup((struct script){.request_headers = FILTER_HEADERS_STOP_ALL_WATERMARK}, (struct script){0});
    chain_request_headers(&f->x, false);
    request_data(f, "0123456789x", false);
    assert_int_equal(paused, 1);
    request_data(f, "y", false);
    assert_int_equal(paused, 1);
    exchange_continue_request(&f->x.slots[0].f);
    assert_int_equal(paused, 0);
    expect("a:h b:h z:h a:d12 b:d12 z:d12");
    drop(f);
}

static void test_request__filter_answers__later_filters_see_nothing_more(void **state)
{
    (void)state;
    struct fixture *f = setup((struct script){.replies = true}, (struct script){0});
    chain_request_headers(&f->x, false);
    expect("a:h b:H a:H out:500 b:D2. a:D2. out:2.");
    request_data(f, "abc", true);
    expect("a:h b:H a:H out:500 b:D2. a:D2. out:2.");
    drop(f);
}

/* ---- responses ---- */

static void test_response__all_continue__reverse_order(void **state)
{
    (void)state;
    struct fixture *f = setup((struct script){0}, (struct script){0});
    chain_request_headers(&f->x, true);
    exchange_respond_headers(&f->x, &f->response, false);
    respond_data(f, "abc", false);
    exchange_respond_trailers(&f->x, &f->trailers);
    expect("a:h. b:h. z:h. b:H a:H out:200 b:D3 a:D3 out:3 b:T a:T out:T");
    drop(f);
}

static void test_response__stopped_and_continued__held_bytes_follow(void **state)
{
    (void)state;
    struct fixture *f = setup((struct script){0}, (struct script){.response_headers = FILTER_HEADERS_STOP_ALL_BUFFER});
    chain_request_headers(&f->x, true);
    exchange_respond_headers(&f->x, &f->response, false);
    respond_data(f, "abc", true);
    expect("a:h. b:h. z:h. b:H");
    exchange_continue_response(&f->x.slots[1].f);
    expect("a:h. b:h. z:h. b:H a:H out:200 b:D3. a:D3. out:3.");
    drop(f);
}

static void test_response__buffer_past_limit_before_headers_left__500(void **state)
{
    (void)state;
    struct fixture *f = setup((struct script){0}, (struct script){.response_headers = FILTER_HEADERS_STOP_ALL_BUFFER});
    chain_request_headers(&f->x, true);
    exchange_respond_headers(&f->x, &f->response, false);
    respond_data(f, "0123456789x", true);
    expect("a:h. b:h. z:h. b:H out:500 out:21.");
    drop(f);
}

static void test_local_reply__after_response_began__resets(void **state)
{
    (void)state;
    struct fixture *f = setup((struct script){0}, (struct script){0});
    chain_request_headers(&f->x, true);
    exchange_respond_headers(&f->x, &f->response, false);
    exchange_local_reply(&f->x, OUTCOME(INTERNAL), 500, STR_NULL, STR_NULL, NULL, NULL);
    expect("a:h. b:h. z:h. b:H a:H out:200 reset");
    drop(f);
}

/* ---- trailers put behind the last bytes ---- */

static void test_added_trailers__nothing_stops__they_follow_the_bytes(void **state)
{
    (void)state;
    struct fixture *f = setup((struct script){0}, (struct script){.adds_trailers = true});
    chain_request_headers(&f->x, false);
    request_data(f, "abc", true);
    expect("a:h b:h z:h a:d3. b:d3. z:d3 z:t");
    exchange_respond_headers(&f->x, &f->response, false);
    respond_data(f, "abc", true);
    expect("a:h b:h z:h a:d3. b:d3. z:d3 z:t b:H a:H out:200 b:D3. a:D3 out:3 a:T out:T");
    drop(f);
}

static void test_added_trailers__their_filter_held_all_back__they_wait_with_it(void **state)
{
    (void)state;
    struct fixture *f = setup((struct script){.request_headers = FILTER_HEADERS_STOP, .adds_trailers = true}, (struct script){0});
    chain_request_headers(&f->x, false);
    request_data(f, "abc", true);
    expect("a:h a:d3. b:h z:h b:d3 z:d3 b:t z:t");
    drop(f);
}

static void test_added_trailers__a_later_filter_buffers__it_sees_them(void **state)
{
    (void)state;
    struct fixture *f = setup((struct script){.request_data = FILTER_DATA_STOP_BUFFER}, (struct script){.adds_trailers = true});
    chain_request_headers(&f->x, false);
    exchange_respond_headers(&f->x, &f->response, false);
    f->scripts[0].response_data = FILTER_DATA_STOP_BUFFER;
    respond_data(f, "abc", true);
    expect("a:h b:h z:h b:H a:H out:200 b:D3. a:D3 a:T out:3 out:T");
    drop(f);
}

static void test_connection_data__same_key__is_shared(void **state)
{
    (void)state;
    struct fixture *f = setup((struct script){0}, (struct script){0});
    int key, other;
    char *p = exchange_connection_data(&f->x, &key, 16);
    assert_int_equal(p[15], 0);
    assert_ptr_equal(exchange_connection_data(&f->x, &key, 16), p);
    assert_ptr_not_equal(exchange_connection_data(&f->x, &other, 16), p);
    for (struct connection_data *next, *d = f->hc.data; d; d = next) {
        next = d->next;
        mem_free(d);
    }
    drop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request__all_continue__everything_passes_in_order),
        cmocka_unit_test(test_request__headers_stopped__data_releases_them),
        cmocka_unit_test(test_request__data_buffered__continue_hands_it_on_once),
        cmocka_unit_test(test_request__stop_all__filter_sees_its_data_after_continue),
        cmocka_unit_test(test_request__headers_only_stopped__continue_keeps_the_end),
        cmocka_unit_test(test_request__buffer_past_limit__413),
        cmocka_unit_test(test_request__watermark_past_limit__sender_is_paused_until_continue),
        cmocka_unit_test(test_request__filter_answers__later_filters_see_nothing_more),
        cmocka_unit_test(test_response__all_continue__reverse_order),
        cmocka_unit_test(test_response__stopped_and_continued__held_bytes_follow),
        cmocka_unit_test(test_response__buffer_past_limit_before_headers_left__500),
        cmocka_unit_test(test_local_reply__after_response_began__resets),
        cmocka_unit_test(test_added_trailers__nothing_stops__they_follow_the_bytes),
        cmocka_unit_test(test_added_trailers__their_filter_held_all_back__they_wait_with_it),
        cmocka_unit_test(test_added_trailers__a_later_filter_buffers__it_sees_them),
        cmocka_unit_test(test_connection_data__same_key__is_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
