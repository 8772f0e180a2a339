/* SPDX-License-Identifier: Apache-2.0
 *
 *     LIST -> (page after page) -> WATCH <-> pause        what fails is tried again after a pause
 *      ^ ^------- 410, an order that isn't one -'
 *      '- ABSENT (404) <- LIST
 *
 * Invariants: there is one call under way, or the timer is set, or it waits for its turn to list. `version` is the newest state that all of the store's objects of
 * the kind have; a watch goes on from there whatever ended the one before, so that nothing is missed. What a list hasn't seen is
 * removed only when the list is whole. Versions that are numbers only grow along a watch; one that doesn't is not believed,
 * since it may be an object that was deleted since. Only a watch that held ends a row of failures: a server whose lists are good
 * and whose watches aren't is not flooded with lists.
 */
#include "control/kube/reflector.h"

#include "base/log.h"
#include "base/mem.h"
#include "control/kube/backoff.h"
#include "control/kube/held.h"
#include "proto/json.h"

/* A page in memory, which as a tree takes some ten times of it: pages that are larger are asked for with fewer objects. One
 * object has at most 3 MiB (etcd's and the API server's limits). */
#define PAGE_BYTES_MAX ((size_t)8 << 20)
#define LINE_BYTES_MAX ((size_t)8 << 20)
#define PAGE_OBJECTS 500u
#define PAGE_OBJECTS_MAX 5000u
#define LIST_TIMEOUT_MS 60000u
#define WATCH_MIN_S 240u
#define WATCH_SPREAD_S 120u
#define WATCH_GRACE_MS 30000u
#define ABSENT_MS 20000u
/* A watch that held for so long was none that failed. */
#define SOUND_WATCH_US UINT64_C(5000000)
/* So many watches in a row that said what can't be, and the server is asked for all of it. One that breaks off is none of them:
 * after an outage nobody lists everything. */
#define ODD_WATCHES_MAX 2u

enum reflector_step { STEP_LIST, STEP_WATCH };

struct reflector {
    struct reflector_opts opts;
    const struct kind *kind;
    struct loop *loop;
    struct kube_call *call;
    struct timer timer;
    struct list turn;        /* waiting for one */
    struct kube_held *held;
    struct str api;          /* own: the version that is asked for: "v1" */
    struct str version;      /* own: resourceVersion */
    struct str page;         /* own: where the list goes on; "" from the start */
    uint32_t page_objects, failures, odd_watches;
    enum reflector_step step;
    uint64_t watch_since_us;
    bool is_changed, wants_list; /* the watch that is under way has shown that */
    struct err trouble;
    struct reflector_state state;
};

static void go_on(struct reflector *r);
static void give_turns(struct reflector_turns *t);
static void begin_list(struct reflector *r);

/* ---- pauses ---- */

static void on_timer(struct timer *t)
{
    go_on(CONTAINER_OF(t, reflector, timer));
}

/* A kind's first failure is told, and its end. */
static void pause_after(struct reflector *r, const struct err *why, uint64_t retry_after_ms)
{
    if (r->trouble.code == 0)
        LOG(CLIENT, WARNING, "the API server's %s can't be %s: %s", r->kind->plural, r->step == STEP_LIST ? "listed" : "watched",
            why->message);
    r->trouble = *why;
    r->state.failures++;
    timer_set_ms(&r->timer, kube_backoff_ms(++r->failures, retry_after_ms, loop_rng(r->loop)));
}

static void is_well(struct reflector *r)
{
    if (r->trouble.code)
        LOG(CLIENT, INFO, "the API server's %s are there again", r->kind->plural);
    r->trouble = (struct err){0};
}

static void tell_change(struct reflector *r)
{
    if (r->is_changed)
        r->opts.on_change(r->opts.user);
    r->is_changed = false;
}

/* ---- objects ---- */

static struct str namespace_of(const struct reflector *r, const struct doc_node *metadata)
{
    struct str ns = doc_text(metadata, STR("namespace"));
    return r->kind->is_namespaced && ns.n ? ns : STR("");
}

static void put(struct reflector *r, const struct doc_node *node)
{
    const struct doc_node *metadata = doc_member(node, STR("metadata"));
    struct str ns = namespace_of(r, metadata), name = doc_text(metadata, STR("name"));
    struct err_list faults = {0};
    const struct object *o = object_read_as(r->kind, node, NULL, &faults);
    kube_held_add(r->held, ns, name);
    kube_held_set_fault(r->held, ns, name, o || !faults.count ? NULL : &faults.items[0]);
    if (o) {
        store_put(r->opts.store, o);
        r->is_changed = true;
    } else if (faults.count) {
        LOG_SELDOM(CONFIG, WARNING, "%s %.*s/%.*s: %s: %s", r->kind->name, STR_ARG(ns), STR_ARG(name), faults.items[0].path,
                   faults.items[0].message);
    }
    err_list_fini(&faults);
}

static void take_away(void *user, struct str ns, struct str name)
{
    struct reflector *r = user;
    store_remove(r->opts.store, r->kind->id, ns, name);
    r->is_changed = true;
}

/* ---- listing ---- */

static void begin_watch(struct reflector *r)
{
    r->step = STEP_WATCH;
    go_on(r);
}

static void list_is_whole(struct reflector *r, struct str version)
{
    kube_held_end_round(r->held, take_away, r);
    str_replace(&r->version, version);
    str_replace(&r->page, STR(""));
    is_well(r);
    r->state.lists++;
    r->state.is_absent = false;
    r->is_changed |= !r->state.is_synced;
    r->state.is_synced = true;
    tell_change(r);
    begin_watch(r);
}

static void take_page(struct reflector *r, const struct doc_node *root)
{
    const struct doc_node *metadata = doc_member(root, STR("metadata")), *items = doc_member(root, STR("items"));
    struct str more = doc_text(metadata, STR("continue")), version = doc_text(metadata, STR("resourceVersion"));
    for (const struct doc_node *it = items && items->kind == DOC_LIST ? items->first : NULL; it; it = it->next)
        put(r, it);
    r->state.pages++;
    if (more.n) {
        str_replace(&r->page, more);
        tell_change(r);
        go_on(r);
    } else
        list_is_whole(r, version);
}

static int read_page(struct reflector *r, struct str body, struct err *err)
{
    struct proto_arena *pa = proto_arena_new(0);
    struct err_list faults = {0};
    const struct doc_node *root = json_read(pa, body, NULL, &faults);
    int rc = 0;
    if (!root || root->kind != DOC_MAP || !doc_text(doc_member(root, STR("metadata")), STR("resourceVersion")).n)
        rc = err_set(err, ERR_INVALID, "the answer is no list: %s", faults.count ? faults.items[0].message : "it has no resourceVersion");
    else
        take_page(r, root);
    err_list_fini(&faults);
    proto_arena_free(&pa);
    return rc;
}

/* Istio's kinds of old have later versions only on newer servers, and the other way round. */
static bool next_api(struct reflector *r)
{
    struct str rest = str_from(r->kind->versions), at;
    do
        at = str_split(rest, ' ', &rest);
    while (rest.p && !str_eq(at, r->api));
    if (!rest.n)
        return false;
    str_replace(&r->api, str_split(rest, ' ', &(struct str){0}));
    return true;
}

/* The kind isn't there: it has no objects, and may come. */
static void is_absent(struct reflector *r)
{
    str_replace(&r->api, str_split(str_from(r->kind->versions), ' ', &(struct str){0}));
    if (!r->state.is_absent)
        LOG(CLIENT, INFO, "the API server has no %s%s%s: looked for again now and then", r->kind->plural, *r->kind->group ? "." : "",
            r->kind->group);
    begin_list(r);
    kube_held_end_round(r->held, take_away, r);
    r->trouble = (struct err){0};
    r->is_changed |= !r->state.is_synced;
    r->state.is_absent = r->state.is_synced = true;
    uint64_t wait = r->opts.absent_ms ? r->opts.absent_ms : ABSENT_MS;
    timer_set_ms(&r->timer, wait / 2 + rng_below(loop_rng(r->loop), wait / 2 + 1));
    tell_change(r);
}

/* The page's token is too old: pages that are larger get through sooner. */
static void list_expired(struct reflector *r, const struct kube_answer *a)
{
    struct err err = {0};
    kube_answer_fault(a, &err);
    r->state.expired++;
    r->page_objects = r->page_objects * 2 < PAGE_OBJECTS_MAX ? r->page_objects * 2 : PAGE_OBJECTS_MAX;
    begin_list(r);
    pause_after(r, &err, a->retry_after_ms);
}

static void on_page(void *user, const struct kube_answer *a)
{
    struct reflector *r = user;
    struct err err = {0};
    r->call = NULL;
    r->opts.turns->under_way--;
    if (!a->failure && a->status == 200) {
        if (read_page(r, a->body, &err))
            pause_after(r, &err, 0);
    } else if (!a->failure && a->status == 404) {
        if (next_api(r)) {
            begin_list(r);
            go_on(r);
        } else
            is_absent(r);
    } else if (!a->failure && a->status == 410) {
        list_expired(r, a);
    } else if (a->failure && a->failure->code == ERR_LIMIT && r->page_objects > 1) {
        r->page_objects = (r->page_objects + 3) / 4;
        go_on(r);
    } else {
        kube_answer_fault(a, &err);
        pause_after(r, &err, a->retry_after_ms);
    }
    give_turns(r->opts.turns);
}

/* ---- watching ---- */

static bool is_older(struct str version, struct str than)
{
    uint64_t a, b;
    return str_to_u64(version, &a) && str_to_u64(than, &b) && a < b;
}

/* False: the watch ends here. */
static bool take_change(struct reflector *r, struct str type, const struct doc_node *object, struct err *err)
{
    const struct doc_node *metadata = doc_member(object, STR("metadata"));
    struct str version = doc_text(metadata, STR("resourceVersion")), name = doc_text(metadata, STR("name"));
    bool is_bookmark = str_eq(type, STR("BOOKMARK"));
    if (!version.n || (!is_bookmark && !name.n)) {
        err_set(err, ERR_INVALID, "an event has no object");
        return false;
    }
    if (is_older(version, r->version)) {
        r->state.out_of_order++;
        err_set(err, ERR_INVALID, "an event of version %.*s came after %.*s", STR_ARG(version), STR_ARG(r->version));
        r->wants_list = true;
        return false;
    }
    if (is_bookmark)
        r->state.bookmarks++;
    else if (str_eq(type, STR("DELETED"))) {
        if (kube_held_remove(r->held, namespace_of(r, metadata), name))
            take_away(r, namespace_of(r, metadata), name);
    } else
        put(r, object);
    str_replace(&r->version, version);
    return true;
}

static bool take_event(struct reflector *r, const struct doc_node *root, struct err *err)
{
    struct str type = doc_text(root, STR("type"));
    const struct doc_node *object = doc_member(root, STR("object"));
    r->state.events++;
    if (str_eq(type, STR("ADDED")) || str_eq(type, STR("MODIFIED")) || str_eq(type, STR("DELETED")) || str_eq(type, STR("BOOKMARK")))
        return take_change(r, type, object, err);
    if (str_eq(doc_text(object, STR("code")), STR("410"))) {
        r->state.expired++;
        r->wants_list = true;
    }
    err_set(err, ERR_IO, "the watch ended with %.*s: %.*s", STR_ARG(type), STR_ARG(doc_text(object, STR("message"))));
    return false;
}

/* After a watch, whatever ended it. `why` of code 0: the server was done. */
static void watch_ended(struct reflector *r, const struct err *why, uint64_t retry_after_ms)
{
    bool was_sound = loop_now_us(r->loop) - r->watch_since_us >= SOUND_WATCH_US;
    struct err ended = *why;
    tell_change(r);
    if (was_sound)
        r->failures = r->odd_watches = 0;
    if (!ended.code)
        err_set(&ended, ERR_IO, "the watch ended at once");
    if (was_sound && !why->code)
        go_on(r);
    else
        pause_after(r, &ended, retry_after_ms);
    if (r->wants_list || r->odd_watches >= ODD_WATCHES_MAX)
        begin_list(r);
}

static bool on_event(void *user, struct str line)
{
    struct reflector *r = user;
    struct proto_arena *pa = proto_arena_new_small(0, 4096);
    struct err_list faults = {0};
    struct err err = {0};
    const struct doc_node *root = json_read(pa, line, NULL, &faults);
    bool goes_on = root && root->kind == DOC_MAP && take_event(r, root, &err);
    if (!goes_on && !err.code)
        err_set(&err, ERR_INVALID, "an event is no JSON: %s", faults.count ? faults.items[0].message : "it is no object");
    err_list_fini(&faults);
    proto_arena_free(&pa);
    if (!goes_on) {
        kube_cancel(&r->call);
        r->odd_watches++;
        watch_ended(r, &err, 0);
    } else {
        is_well(r);
        tell_change(r);
    }
    return goes_on;
}

static void on_watch_end(void *user, const struct kube_answer *a)
{
    struct reflector *r = user;
    struct err err = {0};
    r->call = NULL;
    if (!a->failure && a->status == 200) {
        watch_ended(r, &err, 0);
        return;
    }
    if (!a->failure && (a->status == 410 || a->status == 404 || a->status == 400)) {
        r->state.expired += a->status == 410;
        r->wants_list = true;
    }
    kube_answer_fault(a, &err);
    watch_ended(r, &err, a->retry_after_ms);
}

/* ---- asking ---- */

static void add_path(const struct reflector *r, struct strbuf *out)
{
    if (*r->kind->group)
        strbuf_addf(out, "/apis/%s/%.*s/%s?", r->kind->group, STR_ARG(r->api), r->kind->plural);
    else
        strbuf_addf(out, "/api/%.*s/%s?", STR_ARG(r->api), r->kind->plural);
    if (*r->opts.fields) {
        strbuf_addz(out, "fieldSelector=");
        kube_escape(out, str_from(r->opts.fields));
        strbuf_addc(out, '&');
    }
}

static void ask_page(struct reflector *r)
{
    struct strbuf path = {0};
    add_path(r, &path);
    strbuf_addf(&path, "limit=%u", r->page_objects);
    if (r->page.n) {
        strbuf_addz(&path, "&continue=");
        kube_escape(&path, r->page);
    }
    struct kube_request q = {.method = "GET", .path = strbuf_str(&path), .limit_bytes = PAGE_BYTES_MAX, .timeout_ms = LIST_TIMEOUT_MS};
    r->opts.turns->under_way++;
    r->call = kube_call(r->opts.client, &q, on_page, r);
    strbuf_fini(&path);
}

static void give_turns(struct reflector_turns *t)
{
    while (t->under_way < REFLECTOR_PAGES_MAX && !list_is_empty(&t->waiting))
        ask_page(LIST_ENTRY(list_pop_front(&t->waiting), reflector, turn));
}

static void ask_watch(struct reflector *r)
{
    struct strbuf path = {0};
    uint64_t seconds = WATCH_MIN_S + rng_below(loop_rng(r->loop), WATCH_SPREAD_S); /* they don't all begin again at once */
    add_path(r, &path);
    strbuf_addf(&path, "watch=1&allowWatchBookmarks=true&timeoutSeconds=%u&resourceVersion=", (unsigned)seconds);
    kube_escape(&path, r->version);
    struct kube_request q = {.method = "GET", .path = strbuf_str(&path), .limit_bytes = LINE_BYTES_MAX,
                             .timeout_ms = seconds * 1000 + WATCH_GRACE_MS, .on_line = on_event};
    r->state.watches++;
    r->watch_since_us = loop_now_us(r->loop);
    r->call = kube_call(r->opts.client, &q, on_watch_end, r);
    strbuf_fini(&path);
}

/* From the first page on; what is known stays until the list is whole. */
static void begin_list(struct reflector *r)
{
    r->step = STEP_LIST;
    r->wants_list = false;
    r->odd_watches = 0;
    str_replace(&r->page, STR(""));
    kube_held_begin_round(r->held);
}

static void go_on(struct reflector *r)
{
    if (r->step == STEP_WATCH) {
        ask_watch(r);
        return;
    }
    list_push_back(&r->opts.turns->waiting, &r->turn);
    give_turns(r->opts.turns);
}

/* ---- life ---- */

void reflector_turns_init(struct reflector_turns *t)
{
    list_init(&t->waiting);
    t->under_way = 0;
}

struct reflector *reflector_new(const struct reflector_opts *o)
{
    struct reflector *r = NEW(reflector);
    r->opts = *o;
    r->kind = kind_of(o->kind);
    r->loop = kube_client_loop(o->client);
    r->held = kube_held_new();
    r->api = str_dup(str_split(str_from(r->kind->versions), ' ', &(struct str){0}));
    r->page = str_dup(STR(""));
    r->version = str_dup(STR(""));
    r->page_objects = PAGE_OBJECTS;
    list_init(&r->turn);
    timer_init(&r->timer, r->loop, on_timer);
    begin_list(r);
    go_on(r);
    return r;
}

void reflector_free(struct reflector **p)
{
    struct reflector *r = *p;
    *p = NULL;
    if (!r)
        return;
    if (r->call && r->step == STEP_LIST)
        r->opts.turns->under_way--;
    list_remove(&r->turn);
    kube_cancel(&r->call);
    timer_clear(&r->timer);
    kube_held_free(&r->held);
    str_free(&r->api);
    str_free(&r->version);
    str_free(&r->page);
    mem_free(r);
}

struct reflector_state reflector_state(const struct reflector *r)
{
    struct reflector_state s = r->state;
    s.kind = r->kind;
    s.objects = kube_held_count(r->held);
    s.faults = kube_held_fault_count(r->held);
    s.trouble = r->trouble.message;
    return s;
}

void reflector_faults(const struct reflector *r, struct err_list *out)
{
    kube_held_faults(r->held, out);
}
