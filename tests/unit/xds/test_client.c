/* SPDX-License-Identifier: Apache-2.0 */
#include "peer.h"

#define NEXT(p, want) assert_string_equal(peer_next(p), want)
#define HEARD(p, want) assert_str_equal(strbuf_str(&(p)->heard), want)

static void want(struct peer *p, uint32_t type, const char *name)
{
    xds_client_want(p->client, type, str_from(name));
}

static void unwant(struct peer *p, uint32_t type, const char *name)
{
    xds_client_unwant(p->client, type, str_from(name));
}

/* ---- state of the world ---- */

static void test_sotw__ack_and_nack__version_and_nonce(void **state)
{
    (void)state;
    struct peer p;
    peer_init(&p, false, true);
    want(&p, CDS, "");
    NEXT(&p, "");
    xds_client_connected(p.client);
    NEXT(&p, "cds: node");
    NEXT(&p, "");
    assert_int_equal(FEED(&p, CDS, "1", "a", "xy"), XDS_TAKEN);
    HEARD(&p, "cds whole x y");
    NEXT(&p, "cds: v=1 n=a");
    p.refuse = "y";
    assert_int_equal(FEED(&p, CDS, "2", "b", "xyz"), XDS_REFUSED);
    NEXT(&p, "cds: v=1 n=b !y: is refused");
    p.refuse = NULL;
    assert_int_equal(FEED(&p, CDS, "3", "c", ""), XDS_TAKEN);
    HEARD(&p, "cds whole");
    NEXT(&p, "cds: v=3 n=c");
    xds_client_disconnected(p.client);
    NEXT(&p, "");
    xds_client_connected(p.client);
    NEXT(&p, "cds: v=3 node");
    peer_fini(&p);
}

static void test_sotw__names__each_request_repeats_them(void **state)
{
    (void)state;
    struct peer p;
    peer_init(&p, false, false);
    want(&p, EDS, "a");
    want(&p, EDS, "b");
    xds_client_connected(p.client);
    NEXT(&p, "eds: +a +b node");
    want(&p, EDS, "c");
    want(&p, EDS, "c");
    unwant(&p, EDS, "a");
    NEXT(&p, "eds: +b +c node");
    NEXT(&p, "");
    assert_int_equal(FEED(&p, EDS, "1", "x", "bc"), XDS_TAKEN);
    HEARD(&p, "eds b c");
    unwant(&p, EDS, "b");
    NEXT(&p, "eds: v=1 n=x +c node");
    unwant(&p, EDS, "c");
    NEXT(&p, "eds: v=1 n=x node");
    /* Nothing is wanted: what still comes is ignored, and a new stream isn't asked. */
    assert_int_equal(FEED(&p, EDS, "2", "y", "b"), XDS_IGNORED);
    NEXT(&p, "eds: v=1 n=y node");
    assert_int_equal(FEED(&p, EDS, "3", "z", ""), XDS_IGNORED);
    NEXT(&p, "");
    xds_client_connected(p.client);
    NEXT(&p, "");
    peer_fini(&p);
}

static void test_sotw__wildcard_with_names__says_star(void **state)
{
    (void)state;
    struct peer p;
    peer_init(&p, false, true);
    want(&p, CDS, "*");
    xds_client_connected(p.client);
    NEXT(&p, "cds: node");
    want(&p, CDS, "a");
    NEXT(&p, "cds: +* +a");
    unwant(&p, CDS, "a");
    NEXT(&p, "cds: +*");
    xds_client_connected(p.client);
    NEXT(&p, "cds: +* node");
    peer_fini(&p);
}

static void test_sotw__wanted_while_an_update_is_taken__one_request(void **state)
{
    (void)state;
    struct peer p;
    peer_init(&p, false, true);
    want(&p, CDS, "");
    want(&p, EDS, "a");
    xds_client_connected(p.client);
    NEXT(&p, "cds: node");
    NEXT(&p, "eds: +a");
    p.want_eds = "b";
    FEED(&p, EDS, "1", "n", "a");
    p.want_eds = NULL;
    NEXT(&p, "eds: v=1 n=n +a +b");
    NEXT(&p, "");
    peer_fini(&p);
}

static void test_hold__of_one_type__others_go_on(void **state)
{
    (void)state;
    struct peer p;
    peer_init(&p, false, true);
    want(&p, CDS, "");
    want(&p, EDS, "a");
    xds_client_hold(p.client, EDS);
    xds_client_hold(p.client, EDS);
    xds_client_connected(p.client);
    NEXT(&p, "cds: node");
    NEXT(&p, "");
    xds_client_resume(p.client, EDS);
    want(&p, EDS, "b");
    NEXT(&p, "");
    assert_int_equal(xds_client_pending(p.client), 1);
    xds_client_resume(p.client, EDS);
    NEXT(&p, "eds: +a +b");
    NEXT(&p, "");
    peer_fini(&p);
}

static void test_sotw__type_of_another__whole_response_refused(void **state)
{
    (void)state;
    struct peer p;
    struct strbuf packed = {0};
    struct xds_resource item = {.type_url = STR("type.googleapis.com/other"), .has_body = true};
    struct xds_response r = {.version = STR("1"), .nonce = STR("n"), .type_url = STR("type.googleapis.com/envoy.config.cluster.v3.Cluster"),
                             .resources = &item, .resource_count = 1};
    peer_init(&p, false, true);
    want(&p, CDS, "");
    xds_client_connected(p.client);
    NEXT(&p, "cds: node");
    xds_response_write(&r, &packed);
    assert_int_equal(xds_client_feed(p.client, strbuf_str(&packed), 1, &p.faults), XDS_REFUSED);
    NEXT(&p, "cds: n=n !resources[0]: the type type.googleapis.com/other isn't the response's, envoy.config.cluster.v3.Cluster");
    HEARD(&p, "");
    strbuf_reset(&packed);
    item = (struct xds_resource){.type_url = r.type_url, .packed = STR("\x0a\x05x"), .has_body = true};
    xds_response_write(&r, &packed);
    assert_int_equal(xds_client_feed(p.client, strbuf_str(&packed), 1, &p.faults), XDS_REFUSED);
    assert_int_equal(xds_client_feed(p.client, STR("\x0a\x05x"), 1, &p.faults), XDS_BROKEN);
    r.type_url = STR("type.googleapis.com/no.such");
    strbuf_reset(&packed);
    xds_response_write(&r, &packed);
    assert_int_equal(xds_client_feed(p.client, strbuf_str(&packed), 1, &p.faults), XDS_IGNORED);
    strbuf_fini(&packed);
    peer_fini(&p);
}

static void test_nack__many_faults__all_in_it_up_to_the_limit(void **state)
{
    (void)state;
    struct peer p;
    peer_init(&p, true, true);
    want(&p, CDS, "");
    xds_client_connected(p.client);
    peer_next(&p);
    struct strbuf packed = {0};
    struct xds_resource items[200] = {0};
    char names[200][8];
    struct xds_response r = {.is_delta = true, .nonce = STR("n"), .type_url = STR("envoy.config.cluster.v3.Cluster"), .resources = items, .resource_count = 200};
    for (uint32_t i = 0; i < 200; i++)
        items[i] = (struct xds_resource){.name = str_make(names[i], (size_t)snprintf(names[i], 8, "c%u", i)), .type_url = STR("wrong"), .has_body = true};
    xds_response_write(&r, &packed);
    assert_int_equal(xds_client_feed(p.client, strbuf_str(&packed), 1, &p.faults), XDS_REFUSED);
    assert_int_equal(p.faults.count, 200);
    const char *nack = peer_next(&p);
    assert_non_null(strstr(nack, "\"c0\""));
    assert_non_null(strstr(nack, "\"c9\""));
    assert_true(strlen(nack) < 4300 && strstr(nack, "... (truncated)"));
    strbuf_fini(&packed);
    peer_fini(&p);
}

/* ---- delta ---- */

static void test_delta__names__first_whole_then_changes(void **state)
{
    (void)state;
    struct peer p;
    peer_init(&p, true, true);
    want(&p, EDS, "a");
    want(&p, EDS, "b");
    xds_client_connected(p.client);
    NEXT(&p, "eds: +a +b node");
    want(&p, EDS, "c");
    unwant(&p, EDS, "a");
    NEXT(&p, "eds: +c -a");
    unwant(&p, EDS, "b");
    want(&p, EDS, "b"); /* the server may have forgotten: it is told again */
    NEXT(&p, "eds: +b");
    assert_int_equal(FEED(&p, EDS, "1", "x", "bcA"), XDS_TAKEN);
    HEARD(&p, "eds b c -a");
    NEXT(&p, "eds: n=x");
    unwant(&p, EDS, "b");
    xds_client_connected(p.client);
    NEXT(&p, "eds: +c c=1 node");
    NEXT(&p, "");
    peer_fini(&p);
}

static void test_delta__wildcard__versions_of_what_is_there(void **state)
{
    (void)state;
    struct peer p;
    peer_init(&p, true, true);
    want(&p, CDS, "");
    xds_client_connected(p.client);
    NEXT(&p, "cds: node");
    FEED(&p, CDS, "1", "n1", "ab");
    HEARD(&p, "cds a b");
    FEED(&p, CDS, "2", "n2", "cA");
    NEXT(&p, "cds: n=n1"); /* each response has its answer */
    NEXT(&p, "cds: n=n2");
    NEXT(&p, "");
    xds_client_connected(p.client);
    NEXT(&p, "cds: b=1 c=2 node");
    want(&p, CDS, "d");
    NEXT(&p, "cds: +d");
    xds_client_connected(p.client);
    NEXT(&p, "cds: +* +d b=1 c=2 node");
    unwant(&p, CDS, "*");
    NEXT(&p, "cds: -*");
    xds_client_connected(p.client);
    NEXT(&p, "cds: +d node");
    peer_fini(&p);
}

static void test_delta__one_refused__its_version_stays_old(void **state)
{
    (void)state;
    struct peer p;
    peer_init(&p, true, true);
    want(&p, CDS, "");
    xds_client_connected(p.client);
    NEXT(&p, "cds: node");
    FEED(&p, CDS, "1", "n1", "ab");
    NEXT(&p, "cds: n=n1");
    p.refuse = "a";
    assert_int_equal(FEED(&p, CDS, "2", "n2", "abc"), XDS_REFUSED);
    NEXT(&p, "cds: n=n2 !a: is refused");
    xds_client_connected(p.client);
    NEXT(&p, "cds: a=1 b=2 c=2 node");
    peer_fini(&p);
}

static void test_delta__name_twice__whole_response_refused(void **state)
{
    (void)state;
    struct peer p;
    peer_init(&p, true, true);
    want(&p, CDS, "");
    xds_client_connected(p.client);
    peer_next(&p);
    assert_int_equal(FEED(&p, CDS, "1", "n1", "aA"), XDS_REFUSED);
    HEARD(&p, "");
    NEXT(&p, "cds: n=n1 !the name \"a\" stands twice among what was added, updated and removed");
    peer_fini(&p);
}

static void test_delta__not_wanted__no_version_is_kept(void **state)
{
    (void)state;
    struct peer p;
    peer_init(&p, true, true);
    want(&p, EDS, "a");
    xds_client_connected(p.client);
    peer_next(&p);
    assert_int_equal(FEED(&p, EDS, "1", "n1", "ab"), XDS_TAKEN);
    xds_client_connected(p.client);
    NEXT(&p, "eds: +a a=1 node");
    unwant(&p, EDS, "a");
    xds_client_connected(p.client);
    NEXT(&p, "");
    peer_fini(&p);
}

static void test_delta__below_a_name_or_an_alias__known(void **state)
{
    (void)state;
    struct peer p;
    struct strbuf packed = {0};
    struct str alias = STR("other/b");
    struct xds_resource items[] = {
        {.name = STR("routes/a"), .version = STR("1"), .type_url = STR("envoy.config.route.v3.VirtualHost"), .has_body = true},
        {.name = STR("x"), .version = STR("2"), .type_url = STR("envoy.config.route.v3.VirtualHost"), .has_body = true, .aliases = &alias, .alias_count = 1},
        {.name = STR("else/a"), .version = STR("3"), .type_url = STR("envoy.config.route.v3.VirtualHost"), .has_body = true},
    };
    struct xds_response r = {.is_delta = true, .nonce = STR("n"), .type_url = STR("envoy.config.route.v3.VirtualHost"), .resources = items, .resource_count = 3};
    peer_init(&p, true, true);
    want(&p, VHDS, "routes");
    want(&p, VHDS, "other/b");
    xds_client_connected(p.client);
    NEXT(&p, "vhds: +routes +other/b node");
    xds_response_write(&r, &packed);
    assert_int_equal(xds_client_feed(p.client, strbuf_str(&packed), 1, &p.faults), XDS_TAKEN);
    xds_client_connected(p.client);
    NEXT(&p, "vhds: +routes +other/b routes/a=1 x=2 node");
    strbuf_fini(&packed);
    peer_fini(&p);
}

static void test_delta__names_without_content__count_as_removed(void **state)
{
    (void)state;
    struct peer p;
    struct strbuf packed = {0};
    struct str aliases[] = {STR("r/b"), STR("r/c")}, gone = STR("r/d");
    struct xds_resource items[] = {
        {.name = STR("r/a"), .version = STR("1"), .type_url = STR("envoy.config.route.v3.VirtualHost"), .has_body = true},
        {.name = STR("r/b"), .version = STR("1"), .aliases = aliases, .alias_count = 2},
    };
    struct xds_response r = {.is_delta = true, .nonce = STR("n"), .type_url = STR("envoy.config.route.v3.VirtualHost"), .resources = items,
                             .resource_count = 2, .removed = &gone, .removed_count = 1};
    peer_init(&p, true, true);
    want(&p, VHDS, "");
    want(&p, VHDS, "r/b");
    xds_client_connected(p.client);
    NEXT(&p, "vhds: +* +r/b node");
    xds_response_write(&r, &packed);
    assert_int_equal(xds_client_feed(p.client, strbuf_str(&packed), 1, &p.faults), XDS_TAKEN);
    HEARD(&p, "vhds r/a -r/d -r/b -r/c");
    NEXT(&p, "vhds: n=n");
    strbuf_fini(&packed);
    peer_fini(&p);
}

/* ---- times to live ---- */

static void ttl_session(bool is_delta)
{
    struct peer p;
    peer_init(&p, is_delta, true);
    want(&p, EDS, "a");
    want(&p, EDS, "b");
    xds_client_connected(p.client);
    peer_next(&p);
    assert_int_equal(FEED(&p, EDS, "1", "n1", "ab", .ttl_us = 2000), XDS_TAKEN);
    assert_int_equal(xds_client_expiry_us(p.client), 1002000);
    p.now_us += 1000;
    assert_int_equal(FEED(&p, EDS, "1", "n2", "a", .ttl_us = 2000, .is_heartbeat = true), XDS_TAKEN);
    HEARD(&p, "");
    xds_client_expire(p.client, 1002000);
    HEARD(&p, "eds -b");
    strbuf_reset(&p.heard);
    assert_int_equal(xds_client_expiry_us(p.client), 1003000);
    assert_int_equal(FEED(&p, EDS, "9", "n3", "a", .ttl_us = 2000, .is_heartbeat = true), XDS_REFUSED);
    assert_int_equal(FEED(&p, EDS, "2", "n4", "a"), XDS_TAKEN);
    assert_int_equal(xds_client_expiry_us(p.client), 0);
    xds_client_connected(p.client);
    NEXT(&p, is_delta ? "eds: +a +b a=2 node" : "eds: v=2 +a +b node");
    peer_fini(&p);
}

static void test_ttl__heartbeats__keep_alive_and_tell_nothing(void **state)
{
    (void)state;
    ttl_session(false);
    ttl_session(true);
}

static void test_ttl__of_a_part_of_a_whole__the_rest_isnt_gone(void **state)
{
    (void)state;
    struct peer p;
    peer_init(&p, false, true);
    want(&p, CDS, "");
    xds_client_connected(p.client);
    peer_next(&p);
    FEED(&p, CDS, "1", "n1", "a", .ttl_us = 5);
    HEARD(&p, "cds whole a");
    xds_client_expire(p.client, p.now_us + 5);
    HEARD(&p, "cds whole a; cds -a");
    peer_fini(&p);
}

/* ---- reports ---- */

static void check_reports(bool is_delta)
{
    struct peer p;
    peer_init(&p, is_delta, true);
    xds_client_report(p.client, VHDS, CDS, STR("is down"));
    xds_client_connected(p.client);
    NEXT(&p, "");
    want(&p, CDS, "");
    assert_true(xds_client_is_due(p.client));
    NEXT(&p, "cds: node");
    assert_true(xds_client_is_due(p.client));
    NEXT(&p, "vhds: !is down");
    assert_false(xds_client_is_due(p.client));
    NEXT(&p, "");
    xds_client_report(p.client, VHDS, CDS, STR_NULL);
    NEXT(&p, "vhds:");
    NEXT(&p, "");
    xds_client_disconnected(p.client);
    NEXT(&p, "");
    xds_client_connected(p.client);
    NEXT(&p, "cds: node");
    NEXT(&p, "vhds:");
    NEXT(&p, "");
    peer_fini(&p);
}

static void test_report__of_each_stream__behind_the_other_types_first(void **state)
{
    (void)state;
    check_reports(false);
    check_reports(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sotw__ack_and_nack__version_and_nonce),
        cmocka_unit_test(test_sotw__names__each_request_repeats_them),
        cmocka_unit_test(test_sotw__wildcard_with_names__says_star),
        cmocka_unit_test(test_sotw__wanted_while_an_update_is_taken__one_request),
        cmocka_unit_test(test_hold__of_one_type__others_go_on),
        cmocka_unit_test(test_sotw__type_of_another__whole_response_refused),
        cmocka_unit_test(test_nack__many_faults__all_in_it_up_to_the_limit),
        cmocka_unit_test(test_delta__names__first_whole_then_changes),
        cmocka_unit_test(test_delta__wildcard__versions_of_what_is_there),
        cmocka_unit_test(test_delta__one_refused__its_version_stays_old),
        cmocka_unit_test(test_delta__name_twice__whole_response_refused),
        cmocka_unit_test(test_delta__not_wanted__no_version_is_kept),
        cmocka_unit_test(test_delta__below_a_name_or_an_alias__known),
        cmocka_unit_test(test_delta__names_without_content__count_as_removed),
        cmocka_unit_test(test_ttl__heartbeats__keep_alive_and_tell_nothing),
        cmocka_unit_test(test_ttl__of_a_part_of_a_whole__the_rest_isnt_gone),
        cmocka_unit_test(test_report__of_each_stream__behind_the_other_types_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
