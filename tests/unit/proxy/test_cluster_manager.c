/* SPDX-License-Identifier: Apache-2.0
 *
 * Clusters that come, change and go while something works with them; and the pool of their endpoints' metadata.
 */
#include "proxy/cluster/manager.h"

#include "base/mem.h"
#include "proxy/cluster/metadata_pool.h"
#include "proxy/config/resources.h"

#include "config_fixture.h"

#define BOOT "dynamic_resources: {cds_config: {path_config_source: {path: /nowhere}}}"

static struct {
    struct loop *loop;
    struct loaded config;
    struct cluster_manager *manager;
    int warm;
} env;

static int setup(void **state)
{
    (void)state;
    memset(&env, 0, sizeof env);
    env.loop = loop_new("main", NULL);
    clusters_init(env.loop, NULL, 0);
    env.config = load(BOOT);
    env.manager = cluster_manager_new(env.config.result->frame);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cluster_manager_free(&env.manager);
    loop_turn(env.loop, 0);
    unload(&env.config);
    clusters_fini();
    loop_free(&env.loop);
    assert_int_equal(metadata_pool_count(), 0);
    return 0;
}

static int start_stats(void **state)
{
    (void)state;
    stats_init(1);
    return 0;
}

static int end_stats(void **state)
{
    (void)state;
    stats_fini();
    return 0;
}

static struct cluster_spec *read_cluster(struct str packed)
{
    struct err_list faults = {0};
    struct cluster_spec *spec = NULL;
    struct config_batch *b = config_batch_new(env.config.result->frame);
    assert_int_equal(config_read_cluster(b, packed, &spec, &faults), 0);
    config_batch_free(&b);
    err_list_fini(&faults);
    return spec;
}

/* Cluster{name: "<name>", connect_timeout: {seconds: <seconds>}} on the wire. */
static struct str cluster_bytes(char *out, const char *name, int seconds)
{
    size_t n = strlen(name), at = 0;
    out[at++] = 0x0a;
    out[at++] = (char)n;
    memcpy(out + at, name, n);
    at += n;
    memcpy(out + at, (char[]){0x22, 2, 0x08, (char)seconds}, 4);
    return str_make(out, at + 4);
}

static void put(const char *name, int seconds)
{
    char bytes[64];
    struct str packed = cluster_bytes(bytes, name, seconds);
    cluster_manager_put(env.manager, read_cluster(packed), packed, STR("v1"));
    loop_turn(env.loop, 0);
}

static uint64_t timeout_of(const char *name)
{
    struct cluster *c = cluster_named(str_from(name));
    return c ? cluster_spec(c)->connection->connect_timeout_us / 1000000 : 0;
}

static void test_cluster_manager_put__new_name__is_found(void **state)
{
    (void)state;
    assert_null(cluster_named(STR("a")));
    put("a", 1);
    assert_int_equal(timeout_of("a"), 1);
    assert_int_equal(map_count(cluster_manager_active(env.manager)), 1);
}

static void test_cluster_manager_is_settled__same_bytes__nothing_to_do(void **state)
{
    char bytes[64];
    (void)state;
    put("a", 1);
    assert_true(cluster_manager_is_settled(env.manager, STR("a"), cluster_bytes(bytes, "a", 1)));
    assert_false(cluster_manager_is_settled(env.manager, STR("a"), cluster_bytes(bytes, "a", 2)));
    assert_false(cluster_manager_is_settled(env.manager, STR("b"), cluster_bytes(bytes, "b", 1)));
}

static void test_cluster_manager_put__changed__slot_leads_to_the_new_one(void **state)
{
    (void)state;
    struct cluster_slot *slot = cluster_slot_get(STR("a"));
    put("a", 1);
    struct cluster *first = cluster_slot_now(slot);
    put("a", 2);
    assert_ptr_not_equal(cluster_slot_now(slot), first);
    assert_int_equal(timeout_of("a"), 2);
    cluster_slot_unref(&slot);
}

static void count(struct cluster *c, void *arg)
{
    (void)c;
    ++*(int *)arg;
}

static int clusters_there(void)
{
    int n = 0;
    clusters_each(count, &n);
    return n;
}

static void test_cluster_manager_remove__somebody_holds_it__goes_with_the_last_user(void **state)
{
    (void)state;
    put("a", 1);
    struct cluster *c = cluster_named(STR("a"));
    cluster_hold(c);
    cluster_hold(c);
    cluster_manager_remove(env.manager, STR("a"));
    loop_turn(env.loop, 0);
    assert_null(cluster_named(STR("a")));
    assert_true(str_eq(cluster_spec(c)->name, STR("a"))); /* still there */
    cluster_release(c);
    loop_turn(env.loop, 0);
    loop_turn(env.loop, 0);
    assert_int_equal(clusters_there(), 1);
    cluster_release(c);
    loop_turn(env.loop, 0);
    loop_turn(env.loop, 0);
    assert_int_equal(clusters_there(), 0);
}

static void test_cluster_manager_remove__unknown_or_static__nothing_happens(void **state)
{
    char bytes[64];
    struct err err = {0};
    (void)state;
    assert_int_equal(cluster_manager_add(env.manager, read_cluster(cluster_bytes(bytes, "s", 3)), &err), 0);
    cluster_manager_remove(env.manager, STR("s"));
    cluster_manager_remove(env.manager, STR("nobody"));
    assert_int_equal(timeout_of("s"), 3);
    assert_true(cluster_manager_is_settled(env.manager, STR("s"), cluster_bytes(bytes, "s", 9)));
}

static void on_warm(void *arg)
{
    (void)arg;
    env.warm++;
}

static void test_cluster_manager_when_warm__something_warms__told_after_it(void **state)
{
    char bytes[64];
    (void)state;
    struct str packed = cluster_bytes(bytes, "a", 1);
    cluster_manager_put(env.manager, read_cluster(packed), packed, STR("v1"));
    cluster_manager_when_warm(env.manager, on_warm, NULL);
    assert_int_equal(env.warm, 0);
    loop_turn(env.loop, 0);
    assert_int_equal(env.warm, 1);
    cluster_manager_when_warm(env.manager, on_warm, NULL);
    assert_int_equal(env.warm, 2);
}

static const struct metadata *pooled(const char *key, const char *text)
{
    struct meta_field inner = {STR("workload"), {.kind = META_STRING, .u.string = str_from(text)}};
    struct meta_value list[2] = {{.kind = META_NUMBER, .u.number = 1.5}, {.kind = META_BOOL, .u.boolean = true}};
    struct meta_field both[2] = {inner, {STR("list"), {.kind = META_LIST, .u.list = {list, 2}}}};
    struct meta_field space = {STR("istio"), {.kind = META_STRUCT, .u.fields = {both, 2}}};
    struct metadata m = {&space, 1};
    return metadata_pool_get(str_from(key), &m);
}

static void test_metadata_pool_get__same_key__same_object_until_the_last_reference(void **state)
{
    static const struct str path[] = {{"workload", 8}};
    (void)state;
    const struct metadata *a = pooled("k", "reviews;bookinfo"), *again = pooled("k", "reviews;bookinfo"), *b = pooled("l", "other");
    assert_ptr_equal(a, again);
    assert_ptr_not_equal(a, b);
    assert_int_equal(metadata_pool_count(), 2);
    const struct meta_value *v = metadata_find(a, STR("istio"), path, 1);
    assert_true(v && v->kind == META_STRING && str_eq(v->u.string, STR("reviews;bookinfo")));
    v = metadata_find(a, STR("istio"), (const struct str[]){{"list", 4}}, 1);
    assert_true(v && v->kind == META_LIST && v->u.list.count == 2 && v->u.list.items[1].u.boolean);
    metadata_pool_unref(a);
    assert_int_equal(metadata_pool_count(), 2);
    metadata_pool_unref(again);
    metadata_pool_unref(b);
    assert_int_equal(metadata_pool_count(), 0);
}

int main(void)
{
#define ROW(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        ROW(test_cluster_manager_put__new_name__is_found),
        ROW(test_cluster_manager_is_settled__same_bytes__nothing_to_do),
        ROW(test_cluster_manager_put__changed__slot_leads_to_the_new_one),
        ROW(test_cluster_manager_remove__somebody_holds_it__goes_with_the_last_user),
        ROW(test_cluster_manager_remove__unknown_or_static__nothing_happens),
        ROW(test_cluster_manager_when_warm__something_warms__told_after_it),
        cmocka_unit_test(test_metadata_pool_get__same_key__same_object_until_the_last_reference),
    };
    return cmocka_run_group_tests(tests, start_stats, end_stats);
}
