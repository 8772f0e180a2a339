/* SPDX-License-Identifier: Apache-2.0
 *
 * What a client wants, what is due, and the life of a stream. Of each type:
 *
 *     settled --want, unwant, a response, a new stream--> due (in the client's queue) --next--> settled
 *
 * The first request of a stream says everything; later ones repeat the list (state of the world) or tell what changed (delta).
 * A type of which nothing is wanted isn't asked for on a new stream: no names would mean all of them.
 */
#include "xds/client_priv.h"

#include "base/mem.h"

/* ---- versions ---- */

struct version *version_new(struct str text)
{
    struct version *v = mem_alloc(sizeof *v + text.n);
    *v = (struct version){.refs = 1, .n = (uint32_t)text.n};
    if (text.n)
        memcpy(v->text, text.p, text.n);
    return v;
}

struct version *version_ref(struct version *v)
{
    if (v)
        v->refs++;
    return v;
}

void version_unref(struct version **v)
{
    if (*v && --(*v)->refs == 0)
        mem_free(*v);
    *v = NULL;
}

struct str version_text(const struct version *v)
{
    return v ? str_make(v->text, v->n) : STR("");
}

/* ---- names ---- */

struct name *name_find(const struct type *t, struct str text)
{
    return map_get(t->by_name, text);
}

struct name *name_get(struct type *t, struct str text)
{
    struct name *n = name_find(t, text);
    if (n)
        return n;
    n = mem_zalloc(sizeof *n + text.n);
    n->n = (uint32_t)text.n;
    if (text.n)
        memcpy(n->text, text.p, text.n);
    list_push_back(&t->names, &n->node);
    list_init(&n->due);
    list_init(&n->ttl);
    map_set(t->by_name, text, n);
    return n;
}

void name_forget(struct type *t, struct name *n)
{
    map_del(t->by_name, str_make(n->text, n->n));
    list_remove(&n->node);
    list_remove(&n->due);
    list_remove(&n->ttl);
    version_unref(&n->version);
    mem_free(n);
}

void name_set_ttl(struct type *t, struct name *n, uint64_t expires_us)
{
    list_remove(&n->ttl);
    n->expires_us = expires_us;
    if (expires_us)
        list_push_back(&t->mortals, &n->ttl);
}

/* ---- making and freeing ---- */

static void type_init(struct type *t, const struct xds_type *desc)
{
    t->desc = desc;
    t->by_name = map_new();
    list_init(&t->ready);
    list_init(&t->names);
    list_init(&t->due);
    list_init(&t->mortals);
    list_init(&t->answers);
}

static void answers_clear(struct type *t)
{
    LIST_EACH(it, safe, &t->answers) {
        list_remove(it);
        mem_free(LIST_ENTRY(it, answer, node));
    }
}

static void type_fini(struct type *t)
{
    LIST_EACH(it, safe, &t->names)
        name_forget(t, LIST_ENTRY(it, name, node));
    answers_clear(t);
    list_remove(&t->ready);
    map_free(&t->by_name);
    strbuf_fini(&t->version);
    strbuf_fini(&t->nonce);
}

struct xds_client *xds_client_new(const struct xds_client_opts *opts, const struct xds_client_ops *keep_ops, void *user)
{
    struct xds_client *c = NEW(xds_client);
    c->opts = *opts;
    c->ops = keep_ops;
    c->user = user;
    list_init(&c->ready);
    c->types = mem_zalloc(opts->type_count * sizeof *c->types);
    for (uint32_t i = 0; i < opts->type_count; i++)
        type_init(&c->types[i], &opts->keep_types[i]);
    return c;
}

void xds_client_free(struct xds_client **client)
{
    struct xds_client *c = *client;
    *client = NULL;
    if (!c)
        return;
    for (uint32_t i = 0; i < c->opts.type_count; i++)
        type_fini(&c->types[i]);
    strbuf_fini(&c->control_plane);
    str_free(&c->report.error);
    mem_free(c->types);
    mem_free(c);
}

/* ---- wanting ---- */

static bool is_everything(struct str name)
{
    return name.n == 0 || str_eq(name, STR("*"));
}

void type_set_due(struct xds_client *c, struct type *t)
{
    t->is_due = true;
    if (c->is_connected && list_is_empty(&t->ready))
        list_push_back(&c->ready, &t->ready);
}

bool xds_client_wants(const struct xds_client *c, uint32_t type)
{
    return c->types[type].is_wildcard || c->types[type].wanted_count;
}

/* What only the wildcard brought isn't ours any more. */
static void forget_unwanted(struct type *t)
{
    LIST_EACH(it, safe, &t->names) {
        struct name *n = LIST_ENTRY(it, name, node);
        if (n->is_wanted)
            continue;
        version_unref(&n->version);
        name_set_ttl(t, n, 0);
        if (list_is_empty(&n->due))
            name_forget(t, n);
    }
}

static void set_wildcard(struct xds_client *c, struct type *t, bool on)
{
    if (t->is_wildcard == on)
        return;
    t->is_wildcard = on;
    if (!on)
        forget_unwanted(t);
    type_set_due(c, t);
}

/* Delta: the next request tells of it. On a first one it goes into the whole list. */
static void note_change(struct xds_client *c, struct type *t, struct name *n)
{
    if (c->opts.is_delta && list_is_empty(&n->due))
        list_push_back(&t->due, &n->due);
    type_set_due(c, t);
}

void xds_client_want(struct xds_client *c, uint32_t type, struct str name)
{
    struct type *t = &c->types[type];
    if (is_everything(name)) {
        set_wildcard(c, t, true);
        return;
    }
    struct name *n = name_get(t, name);
    if (n->is_wanted)
        return;
    n->is_wanted = true;
    t->wanted_count++;
    t->was_named = true;
    note_change(c, t, n);
}

void xds_client_unwant(struct xds_client *c, uint32_t type, struct str name)
{
    struct type *t = &c->types[type];
    if (is_everything(name)) {
        set_wildcard(c, t, false);
        return;
    }
    struct name *n = name_find(t, name);
    if (!n || !n->is_wanted)
        return;
    n->is_wanted = false;
    t->wanted_count--;
    if (!t->is_wildcard) {
        version_unref(&n->version);
        name_set_ttl(t, n, 0);
    }
    note_change(c, t, n);
    if (!c->opts.is_delta && !n->expires_us)
        name_forget(t, n);
}

void xds_client_hold(struct xds_client *c, uint32_t type)
{
    c->types[type].held++;
}

void xds_client_resume(struct xds_client *c, uint32_t type)
{
    DCHECK(c->types[type].held > 0);
    c->types[type].held--;
}

/* ---- the stream ---- */

/* Nothing to say: on a stream that hasn't heard of the type no names would mean all. */
static bool is_moot(const struct type *t)
{
    return t->is_first && !t->is_wildcard && !t->wanted_count;
}

/* Names that are neither wanted nor known: those whose end the last stream hasn't been told of, which a new one needn't be. */
static void forget_gone(struct type *t)
{
    LIST_EACH(it, safe, &t->names) {
        struct name *n = LIST_ENTRY(it, name, node);
        list_remove(&n->due);
        if (!n->is_wanted && !n->version && !n->expires_us)
            name_forget(t, n);
    }
}

static void type_reset(struct type *t)
{
    forget_gone(t);
    answers_clear(t);
    strbuf_reset(&t->nonce);
    list_remove(&t->ready);
    t->is_first = true;
    t->is_due = false;
    t->said_wildcard = false;
}

void xds_client_connected(struct xds_client *c)
{
    c->is_connected = true;
    c->said_node = false;
    c->report.is_due = c->report.is_set;
    for (uint32_t i = 0; i < c->opts.type_count; i++) {
        type_reset(&c->types[i]);
        if (xds_client_wants(c, i))
            type_set_due(c, &c->types[i]);
    }
}

void xds_client_disconnected(struct xds_client *c)
{
    c->is_connected = false;
    for (uint32_t i = 0; i < c->opts.type_count; i++)
        type_reset(&c->types[i]);
}

/* ---- reports ---- */

void xds_client_report(struct xds_client *c, uint32_t type, uint32_t after, struct str error)
{
    struct report *r = &c->report;
    DCHECK(!r->is_set || (r->type == type && r->after == after));
    str_free(&r->error);
    r->type = type;
    r->after = after;
    r->error = error.p ? str_dup(error) : STR_NULL;
    r->is_set = r->is_due = true;
}

static bool report_is_due(const struct xds_client *c)
{
    return c->is_connected && c->report.is_due && !c->types[c->report.after].is_first;
}

static void write_report(struct xds_client *c, struct strbuf *out)
{
    struct report *report = &c->report;
    struct arena a;
    struct xds_request r = {.is_delta = c->opts.is_delta, .node = c->opts.keep_node};
    arena_init(&a, 0);
    r.type_url = type_url_of(&c->types[report->type], &a);
    r.has_node = !c->opts.node_on_first_message_only;
    r.has_error = report->error.p != NULL;
    r.error_code = r.has_error ? STATUS_INTERNAL : 0;
    r.error_message = report->error;
    xds_request_write(&r, out);
    report->is_due = false;
    arena_fini(&a);
}

/* ---- requests ---- */

bool xds_client_is_due(const struct xds_client *c)
{
    if (report_is_due(c))
        return true;
    for (const struct list *it = c->ready.next; it != &c->ready; it = it->next) {
        const struct type *t = LIST_ENTRY((struct list *)(uintptr_t)it, type, ready);
        if (!t->held && !is_moot(t))
            return true;
    }
    return false;
}

uint32_t xds_client_pending(const struct xds_client *c)
{
    uint32_t n = 0;
    for (const struct list *it = c->ready.next; it != &c->ready; it = it->next)
        n++;
    return n;
}

struct str type_url_of(const struct type *t, struct arena *a)
{
    return arena_printf(a, "type.googleapis.com/%s", t->desc->name);
}

static void take_answer(struct type *t, struct arena *a, struct xds_request *r)
{
    struct list *node = list_pop_front(&t->answers);
    if (!node)
        return;
    struct answer *answer = LIST_ENTRY(node, answer, node);
    r->nonce = arena_str(a, answer->nonce);
    r->has_error = answer->error.p != NULL;
    r->error_code = r->has_error ? STATUS_INTERNAL : 0;
    r->error_message = arena_str(a, answer->error);
    mem_free(answer);
}

static void write_request(struct xds_client *c, struct type *t, struct strbuf *out)
{
    struct arena a;
    struct xds_request r = {.is_delta = c->opts.is_delta, .node = c->opts.keep_node};
    arena_init(&a, 0);
    r.type_url = type_url_of(t, &a);
    r.has_node = !c->said_node || !c->opts.node_on_first_message_only;
    take_answer(t, &a, &r);
    (c->opts.is_delta ? delta_request : sotw_request)(c, t, &a, &r);
    c->said_node = true;
    t->is_first = t->is_due = false;
    xds_request_write(&r, out);
    arena_fini(&a);
}

bool xds_client_next(struct xds_client *c, struct strbuf *out)
{
    strbuf_reset(out);
    if (report_is_due(c)) {
        write_report(c, out);
        return true;
    }
    LIST_EACH(it, safe, &c->ready) {
        struct type *t = LIST_ENTRY(it, type, ready);
        if (t->held)
            continue;
        list_remove(it);
        if (is_moot(t)) {
            t->is_due = false;
            continue;
        }
        write_request(c, t, out);
        if (!list_is_empty(&t->answers)) /* delta: each response has an answer of its own */
            list_push_back(&c->ready, &t->ready);
        return true;
    }
    return false;
}

struct str xds_client_control_plane(const struct xds_client *c)
{
    return c->control_plane.n ? strbuf_str(&c->control_plane) : STR("");
}

struct str xds_client_version(const struct xds_client *c, uint32_t type)
{
    return c->types[type].version.n ? strbuf_str(&c->types[type].version) : STR("");
}
