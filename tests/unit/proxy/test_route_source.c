/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/route/route_source.h"

#include <glob.h>
#include <pthread.h>

#include "base/mem.h"
#include "proto/message.h"
#include "proto/yaml.h"
#include "proxy/cluster/cluster.h"
#include "proxy/config/config_priv.h"
#include "proxy/config/resources.h"
#include "proxy/discovery/discovery.h"
#include "proxy/hcm/hcm.h"
#include "proxy/stats/registry.h"
#include "proxy/warm.h"
#include "xds/message.h"
#include "config_fixture.h"

/* ---- what discovery would do ---- */

static struct {
    const struct subscription_ops *ops;
    void *user;
    struct str name;
    uint32_t open;
    char prefix[128];
} feed;

struct subscription *__wrap_discovery_subscribe(const struct config_source *source, enum resource_type type, struct str name,
                                                struct str stat_prefix, const struct subscription_ops *ops, void *user);
void __wrap_discovery_unsubscribe(struct subscription **s);

struct subscription *__wrap_discovery_subscribe(const struct config_source *source, enum resource_type type, struct str name,
                                                struct str stat_prefix, const struct subscription_ops *ops, void *user)
{
    assert_non_null(source);
    assert_int_equal(type, RESOURCE_ROUTES);
    feed.ops = ops;
    feed.user = user;
    feed.name = name;
    feed.open++;
    snprintf(feed.prefix, sizeof feed.prefix, "%.*s", STR_ARG(stat_prefix));
    return (struct subscription *)&feed;
}

void __wrap_discovery_unsubscribe(struct subscription **s)
{
    feed.open -= *s != NULL;
    *s = NULL;
}

static struct strbuf pack(const char *yaml)
{
    struct strbuf out = {0};
    struct err_list faults = {0};
    struct proto_arena *a = proto_arena_new(0);
    ProtobufCMessage *m = NULL;
    if (yaml_decode(a, str_from(yaml), proto_type_find(STR("envoy.config.route.v3.RouteConfiguration")), "test", &m, &faults) < 0)
        fail_msg("%s: %s", faults.items[0].path, faults.items[0].message);
    proto_pack(m, &out);
    proto_arena_free(&a);
    return out;
}

static size_t update(const char *yaml, const char *version, struct err *fault)
{
    struct strbuf packed = pack(yaml);
    struct err_list faults = {0};
    const struct resource item = {.name = STR("r"), .version = str_from(version), .packed = strbuf_str(&packed)};
    const struct resource_update u = {.items = &item, .count = 1, .version = item.version};
    feed.ops->on_update(feed.user, &u, &faults);
    size_t n = faults.count;
    if (n && fault)
        *fault = faults.items[0];
    err_list_fini(&faults);
    strbuf_fini(&packed);
    return n;
}

#define HOST(domain_, cluster_) \
    "{name: r, virtual_hosts: [{name: v, domains: ['" domain_ "'], routes: [{match: {prefix: /}, route: {cluster: " cluster_ "}}]}]}"

/* ---- a source of a configuration's ---- */

struct frame {
    struct loaded loaded;
    struct route_source *source;
};

static struct frame *set_up(uint32_t workers, struct loop *const *loops)
{
    struct frame *f = NEW(frame);
    static const char yaml[] = RESOURCES_OF("{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: [{filters: ["
        HCM_OPEN "http_filters: [" ROUTER "], rds: {route_config_name: r, config_source: {ads: {}}}}}" "]}]}", CLUSTER("a"));
    f->loaded = load(yaml);
    stats_init(workers + 1);
    clusters_init(loop_new("main", NULL), loops, workers);
    const struct hcm_config *hcm = f->loaded.result->listeners[0]->chains[0]->filters[0].config;
    assert_non_null(f->loaded.result->frame);
    f->source = route_source_get(hcm->rds.source, hcm->rds.name, STR("in"), f->loaded.result->frame);
    return f;
}

static void tear_down(struct frame *f)
{
    struct loop *main = clusters_main_loop();
    route_source_unref(&f->source);
    assert_int_equal(feed.open, 0);
    loop_turn(main, 0);
    unload(&f->loaded);
    clusters_fini();
    loop_free(&main);
    stats_fini();
    mem_free(f);
}

struct look { const char *name; uint64_t value; };

static void note(const struct stat_sample *s, void *arg)
{
    struct look *l = arg;
    if (str_eq(s->name, str_from(l->name)))
        l->value = s->value;
}

static uint64_t counted(const char *name)
{
    struct look l = {name, UINT64_MAX};
    stats_each(false, false, note, &l);
    return l.value;
}

static struct str first_domain(const struct frame *f)
{
    return route_source_now(f->source)->spec->vhosts[0]->domains[0];
}

static void test_route_source__update__is_shown_counted_and_warms(void **state)
{
    (void)state;
    struct frame *f = set_up(0, NULL);
    assert_null(route_source_now(f->source));
    assert_false(route_source_warm(f->source)->is_ready);
    assert_string_equal(feed.prefix, "http.in.rds.r.");
    assert_int_equal(update(HOST("a.example", "later"), "1", NULL), 0);
    assert_true(str_eq(first_domain(f), STR("a.example")));
    assert_true(route_source_warm(f->source)->is_ready);
    assert_int_equal(update(HOST("b.example", "later"), "2", NULL), 0);
    assert_true(str_eq(first_domain(f), STR("b.example")));
    assert_int_equal(counted("http.in.rds.r.config_reload"), 2);
    tear_down(f);
}

static void test_route_source__same_bytes__nothing_happens(void **state)
{
    (void)state;
    struct frame *f = set_up(0, NULL);
    update(HOST("a.example", "a"), "1", NULL);
    struct route_snapshot *first = route_source_now(f->source);
    assert_int_equal(update(HOST("a.example", "a"), "2", NULL), 0);
    assert_ptr_equal(route_source_now(f->source), first);
    assert_int_equal(counted("http.in.rds.r.config_reload"), 1);
    tear_down(f);
}

static void test_route_source__faults__old_stays_and_path_is_told(void **state)
{
    (void)state;
    struct frame *f = set_up(0, NULL);
    struct err fault;
    assert_int_equal(update("{name: r, virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, redirect: {response_code: 99}}]}]}", "0", &fault), 1);
    assert_null(route_source_now(f->source));
    assert_false(route_source_warm(f->source)->is_ready);
    update(HOST("a.example", "a"), "1", NULL);
    assert_int_equal(update("{name: r, virtual_hosts: [{name: v, domains: ['x'], routes: []}, {name: w, domains: ['x'], routes: []}]}", "2", &fault), 1);
    assert_string_equal(fault.path, "r.virtual_hosts[1].domains[0]");
    assert_int_equal(update("{name: r, virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {safe_regex: {regex: '('}}, route: {cluster: a}}]}]}", "3", &fault), 1);
    assert_string_equal(fault.path, "r.virtual_hosts[0].routes[0].match.safe_regex.regex");
    assert_true(str_eq(first_domain(f), STR("a.example")));
    assert_int_equal(counted("http.in.rds.r.config_reload"), 1);
    tear_down(f);
}

static void test_route_source_get__same_name__one_subscription(void **state)
{
    (void)state;
    struct frame *f = set_up(0, NULL);
    const struct hcm_config *hcm = f->loaded.result->listeners[0]->chains[0]->filters[0].config;
    struct route_source *again = route_source_get(hcm->rds.source, STR("r"), STR("other"), f->loaded.result->frame);
    assert_ptr_equal(again, f->source);
    assert_int_equal(feed.open, 1);
    route_source_unref(&again);
    assert_int_equal(feed.open, 1);
    struct route_source *other = route_source_get(hcm->rds.source, STR("s"), STR("in"), f->loaded.result->frame);
    assert_ptr_not_equal(other, f->source);
    route_source_unref(&other);
    assert_int_equal(feed.open, 1);
    tear_down(f);
}

static void test_route_source__nothing_or_too_late__warm_without(void **state)
{
    (void)state;
    struct frame *f = set_up(0, NULL);
    struct err_list faults = {0};
    const struct str gone = STR("r");
    const struct resource_update removal = {.removed = &gone, .removed_count = 1}, empty = {0};
    update(HOST("a.example", "a"), "1", NULL);
    feed.ops->on_update(feed.user, &removal, &faults);
    assert_true(str_eq(first_domain(f), STR("a.example")));
    feed.ops->on_update(feed.user, &empty, &faults);
    assert_int_equal(counted("http.in.rds.r.update_empty"), 1);
    tear_down(f);
    f = set_up(0, NULL);
    feed.ops->on_fetch_timeout(feed.user);
    assert_true(route_source_warm(f->source)->is_ready);
    assert_null(route_source_now(f->source));
    tear_down(f);
}

/* ---- under threads ---- */

#define WORKERS 3
#define UPDATES 200
#define KEPT 5 /* requests that each worker has under way */

struct busy {
    pthread_t thread;
    struct loop *loop;
    struct route_source *source;
    struct snapshot *kept[KEPT];
    uint32_t index, at, last;
    _Atomic uint64_t looks;
    atomic_bool stops;
    bool is_wrong;
};

/* The domain and the cluster of a configuration say the same number: a table of two halves would show. */
static void check_one(struct busy *b, const struct snapshot *s)
{
    const struct route_config_spec *spec = CONTAINER_OF((struct snapshot *)(uintptr_t)s, route_snapshot, base)->spec;
    const struct virtual_host *v = spec->vhosts[0];
    b->is_wrong |= v->config != spec || !str_eq(v->domains[0], v->routes[0]->cluster_name);
}

static void work(void *arg)
{
    struct busy *b = arg;
    struct snapshot **place = &b->kept[b->at++ % KEPT];
    if (*place) {
        check_one(b, *place);
        snapshot_release(*place, b->loop);
    }
    *place = NULL;
    if (!atomic_load(&b->stops)) {
        *place = &route_source_now(b->source)->base;
        snapshot_hold(*place);
        check_one(b, *place);
        b->last = b->at;
        atomic_fetch_add(&b->looks, 1);
    } else if (b->at > b->last + 2 * KEPT) { /* what the last release left for the next turn is done too */
        loop_stop(b->loop);
        return;
    }
    loop_post(b->loop, work, b);
}

static void *run(void *arg)
{
    struct busy *b = arg;
    stat_thread = b->index + 1;
    loop_run(b->loop);
    return NULL;
}

static void start(struct busy *b, uint32_t index, struct route_source *source)
{
    b->source = source;
    b->index = index;
    loop_post(b->loop, work, b);
    pthread_create(&b->thread, NULL, run, b);
}

static void wait_looks(struct busy *b, uint64_t n)
{
    while (atomic_load(&b->looks) < n)
        loop_turn(clusters_main_loop(), 0);
}

static void test_snapshot_put__workers_look_all_the_time__each_sees_whole_ones(void **state)
{
    (void)state;
    struct busy busy[WORKERS] = {0};
    struct loop *loops[WORKERS];
    char yaml[256];
    for (uint32_t i = 0; i < WORKERS; i++)
        loops[i] = busy[i].loop = loop_new("w", NULL);
    struct frame *f = set_up(WORKERS, loops);
    update(HOST("c0", "c0"), "0", NULL);
    for (uint32_t i = 0; i < WORKERS; i++)
        start(&busy[i], i, f->source);
    clusters_workers_run(true);
    for (int n = 1; n <= UPDATES; n++) {
        snprintf(yaml, sizeof yaml, HOST("c%d", "c%d"), n, n);
        assert_int_equal(update(yaml, "n", NULL), 0);
        wait_looks(&busy[n % WORKERS], atomic_load(&busy[n % WORKERS].looks) + 1);
    }
    for (uint32_t i = 0; i < WORKERS; i++)
        atomic_store(&busy[i].stops, true);
    for (uint32_t i = 0; i < WORKERS; i++) {
        pthread_join(busy[i].thread, NULL);
        assert_false(busy[i].is_wrong);
        loop_free(&busy[i].loop);
    }
    clusters_workers_run(false);
    tear_down(f);
}

/* ---- what a real control plane says ---- */

static void read_all(struct frame *f, const char *path)
{
    struct arena a;
    struct str packed;
    struct xds_response r;
    struct err err = {0};
    struct err_list faults = {0};
    struct config_batch *b = config_batch_new(f->loaded.result->frame);
    arena_init(&a, 0);
    assert_int_equal(cfg_read_file(path, &a, 64 << 20, &packed, &err), 0);
    assert_int_equal(xds_response_read(&a, strstr(path, "-delta/") != NULL, packed, &r, &err), 0);
    for (uint32_t i = 0; i < r.resource_count; i++) {
        struct route_config_spec *spec = NULL;
        struct route_table *t = NULL;
        if (config_read_route_config(b, r.resources[i].packed, &spec, &faults) < 0 || !(t = route_table_new(spec, &err)))
            fail_msg("%s: %s: %s%s", path, faults.count ? faults.items[0].path : err.path, faults.count ? faults.items[0].message : err.message, "");
        route_table_free(&t);
        route_config_free(&spec);
    }
    err_list_fini(&faults);
    config_batch_free(&b);
    arena_fini(&a);
}

/* WEFT_FIXTURES: the folder of recorded answers, <scenario>/<proxy>/rds.<n>.pb. */
static void test_config_read_route_config__recorded_answers__no_faults(void **state)
{
    (void)state;
    const char *folder = getenv("WEFT_FIXTURES");
    char pattern[512];
    glob_t found = {0};
    if (!folder)
        skip();
    struct frame *f = set_up(0, NULL);
    snprintf(pattern, sizeof pattern, "%s/*/*/rds.*.pb", folder);
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++)
        read_all(f, found.gl_pathv[i]);
    print_message("%zu files\n", found.gl_pathc);
    globfree(&found);
    tear_down(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_route_source__update__is_shown_counted_and_warms),
        cmocka_unit_test(test_route_source__same_bytes__nothing_happens),
        cmocka_unit_test(test_route_source__faults__old_stays_and_path_is_told),
        cmocka_unit_test(test_route_source_get__same_name__one_subscription),
        cmocka_unit_test(test_route_source__nothing_or_too_late__warm_without),
        cmocka_unit_test(test_snapshot_put__workers_look_all_the_time__each_sees_whole_ones),
        cmocka_unit_test(test_config_read_route_config__recorded_answers__no_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
