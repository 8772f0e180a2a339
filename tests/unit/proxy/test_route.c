/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/route/route.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"

#include "../unit.h"

/* A table from rows of "domain[,domain…] kind path": each row is one virtual host with one route, named after the row. */
struct row {
    const char *domains, *kind, *path;
};

struct fixture {
    struct arena arena;
    struct virtual_host *vhosts[16];
    struct route_config_spec spec;
    struct route_table *table;
};

static enum path_match_kind kind_of(const char *text)
{
    if (strcmp(text, "prefix") == 0)
        return PATH_PREFIX;
    if (strcmp(text, "path") == 0)
        return PATH_EXACT;
    if (strcmp(text, "separated") == 0)
        return PATH_SEPARATED_PREFIX;
    return PATH_CONNECT;
}

static struct virtual_host *make_vhost(struct arena *a, const struct row *row)
{
    struct virtual_host *v = arena_zalloc(a, sizeof(*v));
    v->name = arena_str(a, str_from(row->domains));
    v->domains = arena_zalloc(a, 8 * sizeof(*v->domains));
    struct str rest = v->name;
    while (rest.p) {
        struct str one = str_split(rest, ',', &rest);
        v->domains[v->domain_count++] = one;
    }
    struct route_entry *r = arena_zalloc(a, sizeof(*r));
    r->name = str_from(row->path);
    r->match.kind = kind_of(row->kind);
    r->match.path = str_from(row->path);
    v->routes = arena_zalloc(a, sizeof(*v->routes));
    v->routes[v->route_count++] = r;
    return v;
}

static int build(struct fixture *f, const struct row *rows, uint32_t n, struct err *err)
{
    memset(f, 0, sizeof(*f));
    arena_init(&f->arena, 0);
    for (uint32_t i = 0; i < n; i++)
        f->vhosts[i] = make_vhost(&f->arena, &rows[i]);
    f->spec.vhosts = f->vhosts;
    f->spec.vhost_count = n;
    f->table = route_table_new(&f->spec, err);
    return f->table ? 0 : -1;
}

static void drop(struct fixture *f)
{
    route_table_free(&f->table);
    arena_fini(&f->arena);
    arena_thread_fini();
}

static const struct route_entry *ask(struct fixture *f, const char *host, const char *path, const char *method,
                                     const struct virtual_host **v)
{
    struct headers h;
    headers_init(&h, &f->arena);
    headers_add_id_ref(&h, HDR_AUTHORITY, str_from(host));
    if (path)
        headers_add_id_ref(&h, HDR_PATH, str_from(path));
    headers_add_id_ref(&h, HDR_METHOD, str_from(method));
    struct route_request rq = {.headers = &h};
    struct route_decision d = {0};
    route_decide(f->table, &rq, NULL, &d);
    *v = d.vhost;
    return d.route;
}

static const struct row domains[] = {
    {"a.example.com", "prefix", "/"},      {"*.example.com", "prefix", "/"}, {"*.b.example.com,*-x.io", "prefix", "/"},
    {"www.*", "prefix", "/"},              {"www.shop.*", "prefix", "/"},    {"*", "prefix", "/"},
    {"exact.host:8080", "prefix", "/"},
};

static void test_route_decide__domains__longest_match_wins(void **state)
{
    (void)state;
    static const struct {
        const char *host, *vhost;
    } cases[] = {
        {"a.example.com", "a.example.com"},
        {"A.EXAMPLE.com", "a.example.com"},
        {"z.example.com", "*.example.com"},
        {"q.b.example.com", "*.b.example.com,*-x.io"},
        {"foo-x.io", "*.b.example.com,*-x.io"},
        {".example.com", "*"}, /* the wildcard stands for something */
        {"www.net", "www.*"},
        {"www.shop.net", "www.shop.*"},
        {"www.example.com", "*.example.com"}, /* suffixes before prefixes */
        {"other", "*"},
        {"exact.host:8080", "exact.host:8080"},
        {"exact.host", "*"},
        {"", "*"},
    };
    struct fixture f;
    struct err err;
    assert_int_equal(build(&f, domains, ARRAY_LEN(domains), &err), 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct virtual_host *v;
        assert_non_null(ask(&f, cases[i].host, "/x", "GET", &v));
        assert_str_equal(v->name, cases[i].vhost);
    }
    drop(&f);
}

static void test_route_decide__port_ignored__host_matches(void **state)
{
    (void)state;
    struct fixture f;
    struct err err;
    const struct virtual_host *v;
    assert_int_equal(build(&f, domains, ARRAY_LEN(domains), &err), 0);
    ask(&f, "a.example.com:81", "/", "GET", &v);
    assert_str_equal(v->name, "*");
    route_table_free(&f.table);
    f.spec.ignore_port_in_host = true;
    f.table = route_table_new(&f.spec, &err);
    ask(&f, "a.example.com:81", "/", "GET", &v);
    assert_str_equal(v->name, "a.example.com");
    drop(&f);
}

static void test_route_decide__paths__match_by_kind(void **state)
{
    (void)state;
    static const struct {
        struct row row;
        const char *path, *method;
        bool found;
    } cases[] = {
        {{"*", "prefix", "/a"}, "/ab?q", "GET", true},
        {{"*", "prefix", "/a"}, "/b", "GET", false},
        {{"*", "path", "/a"}, "/a?x=1", "GET", true},
        {{"*", "path", "/a"}, "/a/", "GET", false},
        {{"*", "separated", "/a"}, "/a", "GET", true},
        {{"*", "separated", "/a"}, "/a/b", "GET", true},
        {{"*", "separated", "/a"}, "/ab", "GET", false},
        {{"*", "separated", "/a"}, "/a?b", "GET", true},
        {{"*", "connect", ""}, NULL, "CONNECT", true},
        {{"*", "connect", ""}, "/", "GET", false},
        {{"*", "prefix", "/"}, NULL, "CONNECT", false},
        {{"*", "prefix", "/"}, "*", "OPTIONS", true},
        {{"*", "prefix", "/a"}, "*", "OPTIONS", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture f;
        struct err err;
        const struct virtual_host *v;
        assert_int_equal(build(&f, &cases[i].row, 1, &err), 0);
        const struct route_entry *r = ask(&f, "h", cases[i].path, cases[i].method, &v);
        if (!!r != cases[i].found)
            fail_msg("case %zu: %s %s", i, cases[i].row.path, cases[i].path ? cases[i].path : "");
        assert_non_null(v);
        drop(&f);
    }
}

static void test_route_table_new__domain_twice__is_refused_with_its_place(void **state)
{
    (void)state;
    static const struct row rows[] = {{"a,b", "prefix", "/"}, {"c,b", "prefix", "/"}};
    struct fixture f;
    struct err err = {0};
    assert_int_equal(build(&f, rows, 2, &err), -1);
    assert_string_equal(err.path, "virtual_hosts[1].domains[1]");
    assert_non_null(strstr(err.message, "must be unique"));
    drop(&f);
}

/* ---- virtual hosts that come by themselves ---- */

static struct vhost_resource *make_resource(const char *list)
{
    struct vhost_resource *r = NEW(vhost_resource);
    r->refs = 1;
    arena_init(&r->arena, 0);
    r->vhost = make_vhost(&r->arena, &(struct row){list, "prefix", "/"});
    return r;
}

static int put(struct route_table *t, const char *name, const char *list, struct err *err)
{
    struct vhost_resource *r = make_resource(list);
    int rc = route_table_put(t, str_from(name), r, err);
    vhost_resource_unref(&r);
    return rc;
}

static void expect(struct fixture *f, struct route_table *t, const char *host, const char *vhost)
{
    const struct virtual_host *v;
    struct route_table *own = f->table;
    f->table = t;
    ask(f, host, "/", "GET", &v);
    f->table = own;
    if (!vhost)
        assert_null(v);
    else
        assert_true(v && str_eq(v->name, str_from(vhost)));
}

static void test_route_table_put__copies__each_has_its_own(void **state)
{
    (void)state;
    static const struct row rows[] = {{"own,*.own", "prefix", "/"}};
    struct fixture f;
    struct err err = {0};
    assert_int_equal(build(&f, rows, 1, &err), 0);
    struct route_table *one = route_table_copy(f.table);
    assert_int_equal(put(one, "a", "a,*.a,a.*,*", &err), 0);
    struct route_table *two = route_table_copy(one);
    assert_int_equal(put(two, "a", "a2", &err), 0);
    assert_int_equal(put(two, "b", "a,b", &err), 0);
    struct route_table *three = route_table_copy(two);
    route_table_remove(three, STR("b"));
    route_table_remove(three, STR("absent"));
    expect(&f, f.table, "a", NULL);
    expect(&f, one, "x.a", "a,*.a,a.*,*");
    expect(&f, one, "a.x", "a,*.a,a.*,*");
    expect(&f, one, "other", "a,*.a,a.*,*");
    expect(&f, one, "x.own", "own,*.own");
    route_table_free(&one);
    expect(&f, two, "a", "a,b");
    expect(&f, two, "x.a", NULL);
    expect(&f, two, "other", NULL);
    route_table_free(&two);
    expect(&f, three, "a", NULL);
    expect(&f, three, "a2", "a2");
    expect(&f, three, "own", "own,*.own");
    route_table_free(&three);
    drop(&f);
}

static void test_route_table_put__domain_taken__none_of_it_stands(void **state)
{
    (void)state;
    static const struct row rows[] = {{"own", "prefix", "/"}};
    struct fixture f;
    struct err err = {0};
    assert_int_equal(build(&f, rows, 1, &err), 0);
    assert_int_equal(put(f.table, "a", "a,*.x", &err), 0);
    assert_int_equal(put(f.table, "b", "b,*.y,own", &err), ERR_EXISTS);
    assert_string_equal(err.path, "domains[2]");
    expect(&f, f.table, "b", NULL);
    expect(&f, f.table, "q.y", NULL);
    assert_int_equal(put(f.table, "b", "b,b", &err), ERR_EXISTS);
    assert_int_equal(put(f.table, "b", "b,*.y", &err), 0);
    expect(&f, f.table, "q.y", "b,*.y");
    expect(&f, f.table, "own", "own");
    drop(&f);
}

#define MANY 10000

static void test_route_table_put__one_of_many__shares_the_rest(void **state)
{
    (void)state;
    struct fixture f;
    struct err err = {0};
    char name[32], list[100];
    assert_int_equal(build(&f, NULL, 0, &err), 0);
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "h%d", i);
        snprintf(list, sizeof list, "h%d,h%d.ns,h%d.ns.svc.cluster.local", i, i, i);
        assert_int_equal(put(f.table, name, list, &err), 0);
    }
    uint64_t begin = clock_mono_us();
    for (int i = 0; i < 1000; i++) {
        struct route_table *next = route_table_copy(f.table);
        snprintf(name, sizeof name, "h%d", i);
        snprintf(list, sizeof list, "h%d,h%d.ns,new%d", i, i, i);
        assert_int_equal(put(next, name, list, &err), 0);
        route_table_free(&f.table);
        f.table = next;
    }
    print_message("%.1f us a change\n", (double)(clock_mono_us() - begin) / 1000);
    expect(&f, f.table, "new7", "h7,h7.ns,new7");
    expect(&f, f.table, "h7.ns.svc.cluster.local", NULL);
    expect(&f, f.table, "h9999.ns.svc.cluster.local", "h9999,h9999.ns,h9999.ns.svc.cluster.local");
    drop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_route_decide__domains__longest_match_wins),
        cmocka_unit_test(test_route_decide__port_ignored__host_matches),
        cmocka_unit_test(test_route_decide__paths__match_by_kind),
        cmocka_unit_test(test_route_table_new__domain_twice__is_refused_with_its_place),
        cmocka_unit_test(test_route_table_put__copies__each_has_its_own),
        cmocka_unit_test(test_route_table_put__domain_taken__none_of_it_stands),
        cmocka_unit_test(test_route_table_put__one_of_many__shares_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
