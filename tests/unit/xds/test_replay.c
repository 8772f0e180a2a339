/* SPDX-License-Identifier: Apache-2.0
 *
 * Sessions of an istiod, byte for byte (tests/fixtures/xds).
 */
#include <stdlib.h>

#include "base/mem.h"
#include "xds/client.h"

#include "../unit.h"

enum { CDS, EDS, LDS, RDS, NDS, TYPES };
static const struct xds_type types[TYPES] = {
    {"envoy.config.cluster.v3.Cluster", 1, true, false},
    {"envoy.config.endpoint.v3.ClusterLoadAssignment", 1, false, false},
    {"envoy.config.listener.v3.Listener", 1, true, false},
    {"envoy.config.route.v3.RouteConfiguration", 1, false, false},
    {"istio.networking.nds.v1.NameTable", 0, false, false},
};
static const char *fixtures;

struct heard { uint32_t updates[TYPES], items[TYPES], removed[TYPES], whole[TYPES]; };

static void on_update(void *user, uint32_t type, const struct xds_update *u, struct err_list *faults)
{
    struct heard *h = user;
    (void)faults;
    h->updates[type]++;
    h->items[type] = u->count;
    h->removed[type] += u->removed_count;
    h->whole[type] += u->is_whole;
    for (uint32_t i = 0; i < u->count; i++)
        assert_true(types[type].name_field == 0 || u->items[i].name.n > 0);
}

static struct str load(const char *session, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s/%s.pb", fixtures, session, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    size_t n = (size_t)ftell(f);
    char *bytes = mem_alloc(n);
    rewind(f);
    assert_int_equal(fread(bytes, 1, n, f), n);
    fclose(f);
    return str_make(bytes, n);
}

static void assert_same_when_written(struct str packed, bool is_delta)
{
    struct arena a;
    struct xds_response r;
    struct err err = {0};
    struct strbuf again = {0};
    arena_init(&a, 0);
    assert_int_equal(xds_response_read(&a, is_delta, packed, &r, &err), 0);
    xds_response_write(&r, &again);
    assert_true(str_eq(strbuf_str(&again), packed));
    strbuf_fini(&again);
    arena_fini(&a);
}

static void feed(struct xds_client *c, const char *session, bool is_delta, const char *name)
{
    struct str packed = load(session, name);
    struct err_list faults = {0};
    struct strbuf request = {0};
    struct arena a;
    struct xds_response r;
    struct xds_request ack;
    struct err err = {0};
    assert_same_when_written(packed, is_delta);
    assert_int_equal(xds_client_feed(c, packed, 1, &faults), XDS_TAKEN);
    assert_true(xds_client_next(c, &request));
    arena_init(&a, 0);
    assert_int_equal(xds_response_read(&a, is_delta, packed, &r, &err), 0);
    assert_int_equal(xds_request_read(&a, is_delta, strbuf_str(&request), &ack, &err), 0);
    assert_true(str_eq(ack.nonce, r.nonce) && str_eq(ack.type_url, r.type_url) && !ack.has_error && !ack.has_node);
    if (!is_delta)
        assert_true(str_eq(ack.version, r.version));
    assert_false(xds_client_next(c, &request));
    arena_fini(&a);
    strbuf_fini(&request);
    err_list_fini(&faults);
    mem_free((char *)(uintptr_t)packed.p);
}

/* What the recorded client asked for: the names of the first answers. */
static void want_as_answered(struct xds_client *c, const char *session, bool is_delta, uint32_t type, const char *name)
{
    struct str packed = load(session, name);
    struct arena a;
    struct xds_response r;
    struct err err = {0};
    arena_init(&a, 0);
    assert_int_equal(xds_response_read(&a, is_delta, packed, &r, &err), 0);
    for (uint32_t i = 0; i < r.resource_count; i++) {
        struct str body = r.resources[i].packed; /* 0a LENGTH NAME */
        xds_client_want(c, type, str_make(body.p + 2, (uint8_t)body.p[1]));
    }
    arena_fini(&a);
    mem_free((char *)(uintptr_t)packed.p);
}

static struct heard replay(bool is_delta)
{
    static const struct xds_client_ops ops = {.on_update = on_update};
    const struct xds_client_opts opts = {.is_delta = is_delta, .node_on_first_message_only = true, .keep_node = STR("\x0a\x01n"),
                                         .keep_types = types, .type_count = TYPES};
    const char *session = is_delta ? "delta" : "sotw";
    struct heard heard = {0};
    struct xds_client *c = xds_client_new(&opts, &ops, &heard);
    struct strbuf request = {0};
    xds_client_want(c, CDS, STR(""));
    xds_client_want(c, LDS, STR(""));
    xds_client_want(c, NDS, STR(""));
    xds_client_connected(c);
    for (int i = 0; i < 3; i++)
        assert_true(xds_client_next(c, &request));
    feed(c, session, is_delta, "cds.1");
    want_as_answered(c, session, is_delta, EDS, "eds.1");
    want_as_answered(c, session, is_delta, RDS, "rds.1");
    assert_true(xds_client_next(c, &request) && xds_client_next(c, &request));
    static const char *const order[] = {"lds.1", "nds.1", "eds.1", "rds.1", "eds.2", "cds.2", "rds.3", "eds.3", "cds.3", "eds.4"};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        feed(c, session, is_delta, order[i]);
    strbuf_fini(&request);
    xds_client_free(&c);
    return heard;
}

static void test_replay__state_of_the_world__all_taken(void **state)
{
    (void)state;
    struct heard h = replay(false);
    assert_int_equal(h.updates[CDS], 3);
    assert_int_equal(h.whole[CDS], 3);
    assert_int_equal(h.items[CDS], 34);
    assert_int_equal(h.items[LDS], 25);
    assert_int_equal(h.updates[EDS], 4);
    assert_int_equal(h.whole[EDS], 0);
}

static void test_replay__delta__all_taken(void **state)
{
    (void)state;
    struct heard h = replay(true);
    assert_int_equal(h.updates[CDS], 3);
    assert_int_equal(h.whole[CDS], 0);
    assert_true(h.removed[CDS] > 0);
    assert_int_equal(h.items[LDS], 25);
    assert_int_equal(h.updates[EDS], 4);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replay__state_of_the_world__all_taken),
        cmocka_unit_test(test_replay__delta__all_taken),
    };
    assert_int_equal(argc, 2);
    fixtures = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
