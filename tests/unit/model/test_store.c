/* SPDX-License-Identifier: Apache-2.0 */
#include "model/store.h"
#include "model_test.h"

/* What a watcher was told since the last look, as "+a/x ~a/y -b/z ". */
struct told {
    struct strbuf text;
    int calls;
};

static void on_changed(void *user, const struct change *changes, size_t count)
{
    struct told *t = user;
    t->calls++;
    for (size_t i = 0; i < count; i++) {
        const struct object *o = change_object(&changes[i]);
        strbuf_addf(&t->text, "%c%.*s/%.*s ", !changes[i].before ? '+' : !changes[i].after ? '-' : '~', STR_ARG(o->ns),
                    STR_ARG(o->name));
    }
}

static void put(struct store *s, const char *ns, const char *name, int created_s, const char *host)
{
    char text[300];
    snprintf(text, sizeof(text),
             "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {namespace: %s, name: '%s', creationTimestamp: "
             "'1970-01-01T00:00:%02dZ'}\nspec: {hosts: [%s], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}\n",
             ns, name, created_s, host);
    store_put(s, object_from(text));
}

static void commit_tells(struct store *s, struct told *t, const char *text)
{
    strbuf_reset(&t->text);
    store_commit(s);
    assert_string_equal(t->text.p && t->text.n ? t->text.p : "", text);
}

static void list_is(struct store *s, const char *ns, const char *names)
{
    struct strbuf text = {0};
    size_t count;
    const struct object *const *items = ns ? store_list_in(s, KIND_SERVICE_ENTRY, str_from(ns), &count)
                                           : store_list(s, KIND_SERVICE_ENTRY, &count);
    for (size_t i = 0; i < count; i++)
        strbuf_addf(&text, "%.*s ", STR_ARG(items[i]->name));
    assert_string_equal(text.p ? text.p : "", names);
    strbuf_fini(&text);
}

static void test_store_commit__batches__one_change_an_object(void **state)
{
    (void)state;
    struct store *s = store_new();
    struct told t = {0};
    store_watch(s, on_changed, &t);
    commit_tells(s, &t, "");
    put(s, "a", "x", 1, "one.example");
    put(s, "a", "y", 1, "one.example");
    put(s, "a", "x", 1, "two.example");
    commit_tells(s, &t, "+a/x +a/y ");
    put(s, "a", "x", 1, "two.example");
    commit_tells(s, &t, "");
    put(s, "a", "x", 1, "three.example");
    put(s, "a", "x", 1, "two.example");
    commit_tells(s, &t, "");
    put(s, "a", "x", 1, "three.example");
    store_remove(s, KIND_SERVICE_ENTRY, STR("a"), STR("y"));
    store_remove(s, KIND_SERVICE_ENTRY, STR("a"), STR("none"));
    commit_tells(s, &t, "~a/x -a/y ");
    store_remove(s, KIND_SERVICE_ENTRY, STR("a"), STR("x"));
    put(s, "a", "x", 1, "three.example");
    put(s, "b", "z", 1, "three.example");
    store_remove(s, KIND_SERVICE_ENTRY, STR("b"), STR("z"));
    commit_tells(s, &t, "");
    list_is(s, NULL, "x ");
    assert_int_equal(t.calls, 2);
    assert_null(store_get(s, KIND_SERVICE_ENTRY, STR("b"), STR("z")));
    assert_non_null(store_get(s, KIND_SERVICE_ENTRY, STR("a"), STR("x")));
    assert_null(store_get(s, KIND_SERVICE, STR("a"), STR("x")));
    put(s, "a", "x", 1, "four.example"); /* never committed */
    strbuf_fini(&t.text);
    store_free(&s);
}

static void test_store_list__changes__always_oldest_first(void **state)
{
    (void)state;
    struct store *s = store_new();
    put(s, "a", "m", 5, "h");
    put(s, "b", "c", 3, "h");
    put(s, "a", "d", 5, "h");
    list_is(s, NULL, "c d m ");
    list_is(s, "a", "d m ");
    put(s, "a", "o", 4, "h");
    list_is(s, NULL, "c o d m ");
    list_is(s, "a", "o d m ");
    put(s, "a", "m", 1, "h");
    store_remove(s, KIND_SERVICE_ENTRY, STR("a"), STR("d"));
    list_is(s, NULL, "m c o ");
    list_is(s, "a", "m o ");
    list_is(s, "b", "c ");
    list_is(s, "none", "");
    store_commit(s);
    list_is(s, NULL, "m c o ");
    for (int i = 0; i < 600; i++) {
        char name[16];
        snprintf(name, sizeof(name), "n%03d", i);
        put(s, "a", name, 9, "h");
    }
    size_t count;
    store_list(s, KIND_SERVICE_ENTRY, &count);
    assert_int_equal(count, 603);
    for (int i = 0; i < 600; i++) {
        char name[16];
        snprintf(name, sizeof(name), "n%03d", i);
        store_remove(s, KIND_SERVICE_ENTRY, STR("a"), str_from(name));
    }
    list_is(s, "a", "m o ");
    list_is(s, NULL, "m c o ");
    store_free(&s);
}

struct leaver {
    struct store *store;
    int calls;
};

static void on_changed_leave(void *user, const struct change *changes, size_t count)
{
    struct leaver *l = user;
    (void)changes, (void)count;
    l->calls++;
    store_unwatch(l->store, on_changed_leave, l);
}

static void test_store_unwatch__while_told__others_still_hear(void **state)
{
    (void)state;
    struct store *s = store_new();
    struct leaver l = {s, 0};
    struct told t = {0};
    store_watch(s, on_changed_leave, &l);
    store_watch(s, on_changed, &t);
    put(s, "a", "x", 1, "h");
    commit_tells(s, &t, "+a/x ");
    put(s, "a", "y", 1, "h");
    commit_tells(s, &t, "+a/y ");
    assert_int_equal(l.calls, 1);
    store_unwatch(s, on_changed, &t);
    put(s, "a", "z", 1, "h");
    commit_tells(s, &t, "");
    strbuf_fini(&t.text);
    store_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store_commit__batches__one_change_an_object),
        cmocka_unit_test(test_store_list__changes__always_oldest_first),
        cmocka_unit_test(test_store_unwatch__while_told__others_still_hear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
