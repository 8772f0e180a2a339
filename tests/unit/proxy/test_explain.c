/* SPDX-License-Identifier: Apache-2.0
 *
 * explain in its parts: reading questions, refusals in words, decision records within their bounds.
 */
#include "proxy/explain/record.h"
#include "proxy/explain/request.h"
#include "proxy/route/explain.h"

#include "route_fixture.h"

static struct explain_request *question(struct arena *a, const char *json, int wants)
{
    struct explain_request *rq = arena_zalloc(a, sizeof(*rq));
    struct err err = {0};
    int rc = explain_read_json(rq, str_from(json), a, &err);
    if (rc == 0)
        rc = explain_request_settle(rq, a, &err);
    assert_int_equal(rc < 0, wants < 0);
    assert_int_equal(err.message[0] != 0, wants < 0);
    return rq;
}

static void test_explain_read_json__whole_question__every_field(void **state)
{
    (void)state;
    struct arena a;
    char text[ADDR_TEXT_BYTES];
    arena_init(&a, 0);
    const struct explain_request *rq =
        question(&a, "{\"url\": \"https://A.b:8443/c?d\", \"method\": \"PUT\", \"headers\": {\"X-A\": [\"1\", \"2\"]}, \"source\": \"10.0.0.1:5\"}", 0);
    assert_true(str_eq(rq->authority, STR("A.b:8443")) && str_eq(rq->path, STR("/c?d")) && str_eq(rq->method, STR("PUT")));
    assert_true(rq->is_tls && str_eq(rq->sni, STR("a.b")) && str_eq(rq->scheme, STR("https")));
    assert_int_equal(rq->header_count, 2);
    assert_true(str_eq(rq->headers[1].name, STR("x-a")) && str_eq(rq->headers[1].value, STR("2")));
    assert_string_equal(addr_text(&rq->source, text), "10.0.0.1:5");
    arena_fini(&a);
}

static void test_explain_read_json__nonsense__is_refused(void **state)
{
    (void)state;
    static const char *const all[] = {"", "[]", "{}", "{\"url\": {}}", "{\"other\": 1}", "{\"url\": \"http://a\", \"headers\": 1}",
                                      "{\"url\": \"http://a\", \"destination_port\": 70000}", "{\"url\": \"/\", \"method\": \"A B\"}"};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct arena a;
        arena_init(&a, 0);
        question(&a, all[i], -1);
        arena_fini(&a);
    }
}

static void test_domain_compare__names_and_ports__how_near(void **state)
{
    (void)state;
    static const struct { const char *domain, *host; enum domain_near wants; } rows[] = {
        {"*", "a.b", DOMAIN_FITS},          {"*.b.c", "a.b.c", DOMAIN_FITS},       {"a.*", "a.b", DOMAIN_FITS},
        {"*.b.c", "b.c", DOMAIN_BUT_LABEL}, {"a.b:80", "a.b", DOMAIN_BUT_PORT},    {"a.b", "a.b:80", DOMAIN_BUT_PORT},
        {"x.b.c", "a.b.c", DOMAIN_SIBLING}, {"x.com", "y.com", DOMAIN_FAR},        {"a", "b", DOMAIN_FAR},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(domain_compare(str_from(rows[i].domain), str_from(rows[i].host)), rows[i].wants);
}

static void refusal_is(struct routes *r, const char *request, const char *wants)
{
    struct headers h = request_of(r, request);
    const struct route_request rq = {.headers = &h};
    const struct route_entry *e = route_source_now(r->hcm->routes)->spec->vhosts[0]->routes[0];
    struct strbuf b = {0};
    uint32_t at;
    enum route_refusal why = route_match_refusal(&e->match, &rq, false, &at);
    route_refusal_part(why, at, &b);
    strbuf_addz(&b, ": ");
    route_refusal_wanted(&e->match, why, at, &b);
    strbuf_addz(&b, " / ");
    route_refusal_seen(&e->match, &rq, why, at, &b);
    assert_string_equal(b.p, wants);
    strbuf_fini(&b);
}

static void test_route_refusal_wanted__each_part__in_words(void **state)
{
    (void)state;
    struct routes r = routes_of("{match: {path: /a, case_sensitive: false, headers: [{name: x-a, string_match: {safe_regex: {regex: 'v[0-9]'}}},"
                                "{name: x-n, range_match: {start: 1, end: 5}, invert_match: true}], query_parameters: [{name: q, string_match:"
                                "{suffix: z}}], cookies: [{name: c, string_match: {exact: d}}]}, route: {cluster: a}}");
    refusal_is(&r, "GET h /b", "path: path \"/a\" in any case / \"/b\"");
    refusal_is(&r, "GET h /A", "headers[0]: x-a regex \"v[0-9]\" / absent");
    refusal_is(&r, "GET h /a x-a:w x-a:u", "headers[0]: x-a regex \"v[0-9]\" / \"w\", \"u\"");
    refusal_is(&r, "GET h /a x-a:v1 x-n:3", "headers[1]: x-n not a number from 1 below 5 / \"3\"");
    refusal_is(&r, "GET h /a?q=y x-a:v1 x-n:7", "query_parameters[0]: q suffix \"z\" / \"y\"");
    refusal_is(&r, "GET h /a?q=z x-a:v1 x-n:7", "cookies[0]: c exact \"d\" / absent");
    routes_drop(&r);
}

static void test_explain_record__decision__one_line_of_the_road(void **state)
{
    (void)state;
    struct routes r = routes_of("{name: one, match: {path: /x}, route: {cluster: a}}, {name: two, match: {prefix: /}, route: {cluster: b}}");
    struct headers h = request_of(&r, "GET h /y x-weft-explain:1"), plain = request_of(&r, "GET h /y");
    struct stream_info info = {.filter_chain_name = STR("chain"), .status = 503, .flags = FLAG_UH, .details = STR("why\nnot")};
    const struct route_request rq = {.headers = &h};
    struct route_decision d = {0};
    assert_null(explain_record_begin(&r.arena, &plain, &info, STR("l")));
    struct explain_record *record = explain_record_begin(&r.arena, &h, &info, STR("l"));
    route_decide(route_source_now(r.hcm->routes)->table, &rq, NULL, &d);
    explain_record_decision(record, route_source_now(r.hcm->routes)->spec, &rq, &d);
    explain_record_finish(record, &info, &r.arena);
    static const char wants[] = "listener=l; chain=chain; virtual_host=v for h by *; route=two[1]; refused=1: one[0] path wants path \"/x\" has \"/y\"; "
                                "cluster=b (unknown); status=503; flags=UH; details=why not";
    assert_str_equal(explain_record_text(record), wants);
    const struct str path[] = {STR("record")};
    const struct meta_value *kept = metadata_find(&info.metadata, STR("weft.explain"), path, 1);
    assert_non_null(kept);
    assert_str_equal(kept->u.string, wants);
    routes_drop(&r);
}

static void test_explain_record__credentials__are_hidden(void **state)
{
    (void)state;
    struct routes r = routes_of("{name: one, match: {prefix: /, headers: [{name: authorization, string_match: {exact: a}}]}, route: {cluster: a}},"
                                "{name: two, match: {prefix: /, cookies: [{name: c, string_match: {exact: a}}]}, route: {cluster: a}}");
    struct headers h = request_of(&r, "GET h / x-weft-explain:1 authorization:opensesame cookie:c=opensesame");
    const struct stream_info info = {.status = 0};
    const struct route_request rq = {.headers = &h};
    struct route_decision d = decide(&r, &h, 0);
    struct explain_record *record = explain_record_begin(&r.arena, &h, &info, STR("l"));
    explain_record_decision(record, route_source_now(r.hcm->routes)->spec, &rq, &d);
    assert_true(str_find(explain_record_text(record), STR("opensesame")) < 0);
    assert_true(str_find(explain_record_text(record), STR("(hidden)")) > 0);
    routes_drop(&r);
}

static void test_explain_record__more_than_fits__is_cut_within_its_bound(void **state)
{
    (void)state;
    struct arena a;
    struct headers h;
    arena_init(&a, 0);
    headers_init(&h, &a);
    headers_add(&h, STR("x-weft-explain"), STR("1"));
    const struct stream_info info = {.status = 0};
    struct explain_record *record = explain_record_begin(&a, &h, &info, STR("l"));
    for (int i = 0; i < 1000; i++)
        explain_record_filter(record, STR("ünïcode"), "waits", 0);
    struct str text = explain_record_text(record);
    assert_true(text.n <= EXPLAIN_RECORD_BYTES && text.n > EXPLAIN_RECORD_BYTES - 8);
    assert_true(str_has_suffix(text, STR("…")));
    for (size_t at = 0, n; at < text.n; at += n) {
        n = str_utf8_sequence(str_make(text.p + at, text.n - at));
        assert_true(n > 0);
    }
    arena_fini(&a);
}

static void test_chain_index_refusal__each_chain__first_criterion(void **state)
{
    (void)state;
    struct str name = STR("a.b"), alpn = STR("h2");
    struct filter_chain chains[] = {
        {.name = STR("name"), .match = {.server_names = &name, .server_name_count = 1}},
        {.name = STR("alpn"), .match = {.application_protocols = &alpn, .application_protocol_count = 1}},
        {.name = STR("port"), .match = {.has_destination_port = true, .destination_port = 81}},
        {.name = STR("any")},
    };
    struct filter_chain *all[] = {&chains[0], &chains[1], &chains[2], &chains[3]};
    struct chain_index *ix = chain_index_new(all, 4, NULL);
    struct addr to = {0}, from = {0};
    addr_from_ip(&to, STR("10.0.0.1"), 80, NULL);
    addr_from_ip(&from, STR("10.0.0.2"), 5, NULL);
    const struct chain_query q = {.destination = &to, .source = &from, .direct_source = &from, .server_name = name,
                                  .transport_protocol = STR("tls")};
    assert_ptr_equal(chain_index_find(ix, &q), &chains[0]);
    assert_int_equal(chain_index_refusal(ix, &q, &chains[0]), CHAIN_TAKEN);
    assert_int_equal(chain_index_refusal(ix, &q, &chains[1]), CHAIN_REFUSED_NAME);
    assert_int_equal(chain_index_refusal(ix, &q, &chains[2]), CHAIN_REFUSED_PORT);
    assert_int_equal(chain_index_refusal(ix, &q, &chains[3]), CHAIN_REFUSED_NAME);
    assert_string_equal(chain_criterion_text(CHAIN_REFUSED_NAME), "server_names");
    chain_index_free(&ix);
}

#define T(f) cmocka_unit_test(f)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_explain_read_json__whole_question__every_field),
        T(test_explain_read_json__nonsense__is_refused),
        T(test_domain_compare__names_and_ports__how_near),
        T(test_route_refusal_wanted__each_part__in_words),
        T(test_explain_record__decision__one_line_of_the_road),
        T(test_explain_record__credentials__are_hidden),
        T(test_explain_record__more_than_fits__is_cut_within_its_bound),
        T(test_chain_index_refusal__each_chain__first_criterion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
