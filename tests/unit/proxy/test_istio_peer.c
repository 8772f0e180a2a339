/* SPDX-License-Identifier: Apache-2.0
 *
 * Peers of metadata exchange: what is made of their Structs, and what ours looks like.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/base64.h"
#include "proxy/filter/istio_peer.h"
#include "proxy/stats/stats.h"

#define TEXT(s_) {.kind = META_STRING, .u.string = {s_, sizeof(s_) - 1}}
#define FIELDS(items_) {.kind = META_STRUCT, .u.fields = {items_, ARRAY_LEN(items_)}}
#define NAME(s_) {s_, sizeof(s_) - 1}

static struct meta_field labels[] = {
    {NAME("version"), TEXT("v3")},
    {NAME("team"), TEXT("books")},
    {NAME("app"), TEXT("reviews")},
    {NAME("service.istio.io/canonical-name"), TEXT("reviews-canonical")},
    {NAME("service.istio.io/canonical-revision"), TEXT("v3-canonical")},
};
static struct meta_field fields[] = {
    {NAME("NAMESPACE"), TEXT("bookinfo")},
    {NAME("OWNER"), TEXT("kubernetes://apis/batch/v1/namespaces/bookinfo/cronjobs/nightly")},
    {NAME("NAME"), TEXT("reviews-0")},
    {NAME("WORKLOAD_NAME"), TEXT("reviews-v3")},
    {NAME("CLUSTER_ID"), TEXT("east")},
    {NAME("ISTIO_VERSION"), TEXT("1.31.0")},
    {NAME("LABELS"), FIELDS(labels)},
};
static const struct meta_value node = FIELDS(fields);

static void free_peer(struct istio_peer *p)
{
    struct filter_state_object *o = &p->object;
    filter_state_object_unref(&o);
}

static void assert_fact(const struct istio_peer *p, enum istio_peer_fact fact, const char *value)
{
    assert_int_equal(p->facts[fact].n, strlen(value));
    assert_memory_equal(p->facts[fact].p, value, strlen(value));
}

static void test_istio_peer_new__node_metadata__facts(void **state)
{
    (void)state;
    static const char *const facts[ISTIO_PEER_FACT_COUNT] = {"reviews-v3",        "cronjob",      "reviews-0", "east", "bookinfo",
                                                             "reviews-canonical", "v3-canonical", "reviews",   "v3",   "",
                                                             "",                  ""};
    struct istio_peer *p = istio_peer_new(&node);
    for (int i = 0; i < ISTIO_PEER_FACT_COUNT; i++)
        assert_fact(p, (enum istio_peer_fact)i, facts[i]);
    const struct meta_value *all = meta_field(p->object.fields, STR("labels"));
    assert_non_null(meta_field(all, STR("team")));
    assert_null(meta_field(p->object.fields, STR("identity")));
    free_peer(p);
}

static void test_istio_pack_self__node_metadata__in_order_and_only_what_peers_need(void **state)
{
    (void)state;
    struct strbuf a = {0}, b = {0};
    struct str extra = STR("team");
    istio_pack_self(&node, &extra, 1, &a);
    struct istio_peer *p = istio_peer_from_wire(strbuf_str(&a));
    assert_non_null(p);
    assert_fact(p, ISTIO_PEER_WORKLOAD, "reviews-v3");
    assert_fact(p, ISTIO_PEER_TYPE, "cronjob");
    assert_fact(p, ISTIO_PEER_REVISION, "v3-canonical");
    assert_non_null(meta_field(meta_field(p->object.fields, STR("labels")), STR("team")));
    free_peer(p);
    istio_pack_self(&node, NULL, 0, &b);
    assert_true(b.n < a.n);
    const char *names[] = {"CLUSTER_ID", "LABELS", "NAME", "NAMESPACE", "OWNER", "WORKLOAD_NAME"};
    ptrdiff_t last = -1;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        ptrdiff_t at = str_find(strbuf_str(&b), str_from(names[i]));
        assert_true(at > last);
        last = at;
    }
    assert_int_equal(str_find(strbuf_str(&b), STR("ISTIO_VERSION")), -1);
    strbuf_fini(&a);
    strbuf_fini(&b);
}

/* Every prefix and every changed byte: a peer or none, never more. */
static void test_istio_peer_from_wire__broken_bytes__no_harm(void **state)
{
    (void)state;
    struct strbuf a = {0};
    istio_pack_self(&node, NULL, 0, &a);
    for (size_t i = 0; i < a.n; i++) {
        struct istio_peer *p = istio_peer_from_wire(str_make(a.p, i));
        if (p)
            free_peer(p);
        for (unsigned flip = 1; flip < 256; flip <<= 1) {
            a.p[i] = (char)(a.p[i] ^ (char)flip);
            p = istio_peer_from_wire(strbuf_str(&a));
            if (p)
                free_peer(p);
            a.p[i] = (char)(a.p[i] ^ (char)flip);
        }
    }
    strbuf_fini(&a);
}

static void test_istio_peers_look_up__many_ids__bounded_and_right(void **state)
{
    (void)state;
    struct istio_peers *peers = istio_peers_ref();
    struct strbuf a = {0};
    char text[4096];
    istio_pack_self(&node, NULL, 0, &a);
    struct str said = str_make(text, b64_encode(strbuf_str(&a), text));
    struct istio_peer *first = NULL;
    for (unsigned i = 0; i < 3 * ISTIO_PEERS_MAX; i++) {
        char id[16];
        struct istio_peer *p = istio_peers_look_up(peers, str_make(id, (size_t)snprintf(id, sizeof id, "id%u", i)), said);
        assert_fact(p, ISTIO_PEER_WORKLOAD, "reviews-v3");
        first = p;
        assert_ptr_equal(p, istio_peers_look_up(peers, str_from(id), said));
    }
    assert_non_null(first);
    assert_fact(istio_peers_look_up(peers, STR(""), said), ISTIO_PEER_NAME, "reviews-0");
    assert_null(istio_peers_look_up(peers, STR("id1"), STR("%%")));
    assert_fact(istio_peers_look_up(peers, STR("id1"), said), ISTIO_PEER_NAME, "reviews-0");
    strbuf_fini(&a);
    istio_peers_unref(&peers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_istio_peer_new__node_metadata__facts),
        cmocka_unit_test(test_istio_pack_self__node_metadata__in_order_and_only_what_peers_need),
        cmocka_unit_test(test_istio_peer_from_wire__broken_bytes__no_harm),
        cmocka_unit_test(test_istio_peers_look_up__many_ids__bounded_and_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
