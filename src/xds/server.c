/* SPDX-License-Identifier: Apache-2.0
 *
 * What is due, and making it. Of each type:
 *
 *     settled --request, touch--> due --next: something is new--> waiting --answer--> due, or settled
 *                                  \--next: nothing is new--> settled
 *
 * What is gone of a type may have to wait until others have been answered (removes_after): the client is then taken to have it still.
 * What is new of a type may have to wait for answers of others (sent_after). Both together are make before break: the new cluster, its
 * endpoints, the route to it, and then the old cluster's end. No circle: types wait for answers to what was sent, and for types before them.
 *
 * Usually part i of what is to be sent is compared with part i of what was. Where that can't be done (a client tells what it has from
 * a stream before; names are asked for of a type in several parts; a resource moved from one part to another) all parts are made
 * one, and encoded so.
 */
#include "xds/server_priv.h"

#include "base/check.h"
#include "base/mem.h"
#include "proto/wire.h"

#define PASSED_MAX 8 /* then what is due no longer waits for others: they change faster than the client answers */

/* ---- making and freeing ---- */

struct xds_server *xds_server_new(const struct xds_server_opts *opts, const struct xds_server_ops *keep_ops, void *user)
{
    struct xds_server *s = mem_zalloc(sizeof *s + opts->type_count * sizeof *s->types);
    s->opts = *opts;
    s->ops = keep_ops;
    s->user = user;
    return s;
}

void served_forget_sent(struct served *t)
{
    for (uint32_t i = 0; i < t->sent_count; i++)
        xds_set_unref(&t->sent[i]);
    t->sent_count = 0;
    t->is_foreign = false;
}

void xds_server_free(struct xds_server **owned)
{
    struct xds_server *s = *owned;
    *owned = NULL;
    if (!s)
        return;
    for (uint32_t i = 0; i < s->opts.type_count; i++) {
        struct served *t = &s->types[i];
        served_forget_sent(t);
        xds_names_unref(&t->asked.names);
        xds_names_unref(&t->sent_asked.names);
        xds_names_unref(&t->again);
        strbuf_fini(&t->nack);
    }
    mem_free(s);
}

/* ---- due ---- */

void xds_server_touch(struct xds_server *s, uint32_t types)
{
    for (uint32_t i = 0; i < s->opts.type_count; i++)
        s->types[i].is_due |= types >> i & 1;
}

static bool is_ready(const struct served *t)
{
    return t->is_due && t->is_asked && !t->is_waiting;
}

bool xds_server_is_due(const struct xds_server *s)
{
    for (uint32_t i = 0; i < s->opts.type_count; i++)
        if (is_ready(&s->types[i]))
            return true;
    return false;
}

bool xds_server_is_settled(const struct xds_server *s)
{
    for (uint32_t i = 0; i < s->opts.type_count; i++)
        if (s->types[i].is_waiting || is_ready(&s->types[i]))
            return false;
    return true;
}

bool xds_server_is_fresh(const struct xds_server *s)
{
    return !s->is_returning;
}

/* ---- what is new ---- */

struct plan {
    struct xds_set *parts[XDS_PARTS_MAX]; /* as they are now; borrowed */
    uint32_t count;
    struct change *changes[XDS_PARTS_MAX];
    uint32_t change_count, resources, removed;
    bool keeps_removed;                   /* they are told later */
    bool is_one;                          /* all parts were made one */
};

static void plan_fini(struct plan *p)
{
    for (uint32_t i = 0; i < p->change_count; i++)
        change_unref(&p->changes[i]);
    p->change_count = p->resources = p->removed = 0;
}

static bool is_same_as_sent(const struct served *t, const struct plan *p)
{
    if (t->again || t->is_foreign || t->asked.is_everything != t->sent_asked.is_everything || t->asked.names != t->sent_asked.names)
        return false;
    for (uint32_t i = 0; i < XDS_PARTS_MAX; i++)
        if ((i < p->count ? p->parts[i] : NULL) != (i < t->sent_count ? t->sent[i] : NULL))
            return false;
    return true;
}

static void add_change(struct xds_server *s, const struct served *t, struct xds_set *before, struct xds_set *now, uint64_t now_us, struct plan *p)
{
    const struct xds_served_type *desc = &s->opts.keep_types[t - s->types];
    struct change_key key = {before, now, t->sent_asked.names, t->asked.names, t->again, 0};
    key.flags = (s->opts.is_delta ? CHANGE_DELTA : desc->is_whole ? CHANGE_WHOLE : 0) | (t->sent_asked.is_everything ? CHANGE_ALL_BEFORE : 0) |
                (t->asked.is_everything ? CHANGE_ALL_NOW : 0) | (desc->echo >= 0 ? CHANGE_HAS_ECHO : 0) |
                (desc->is_namespaced ? CHANGE_NAMESPACED : 0) | (p->keeps_removed ? CHANGE_KEEP : 0);
    struct change *c = change_get(s->opts.keep_pool, &key, desc->name, now_us);
    p->changes[p->change_count++] = c;
    p->resources += c->resources;
    p->removed += c->removed_count;
}

static void plan_as_one(struct xds_server *s, const struct served *t, uint64_t now_us, struct plan *p)
{
    const char *type = s->opts.keep_types[t - s->types].name;
    struct xds_set *before = set_union(s->opts.keep_pool, type, t->sent, t->sent_count),
                   *now = set_union(s->opts.keep_pool, type, p->parts, p->count);
    plan_fini(p);
    p->is_one = true;
    add_change(s, t, before, now, now_us, p);
    xds_set_unref(&before);
    xds_set_unref(&now);
}

/* Did a resource go from one part to another? It isn't gone, then. */
static bool has_moved(const struct plan *p)
{
    for (uint32_t i = 0; p->removed && i < p->change_count; i++)
        for (uint32_t r = 0; r < p->changes[i]->removed_count; r++)
            for (uint32_t j = 0; j < p->count; j++)
                if (set_find(p->parts[j], p->changes[i]->removed[r]))
                    return true;
    return false;
}

static void make_plan(struct xds_server *s, const struct served *t, uint64_t now_us, struct plan *p)
{
    uint32_t most = p->count > t->sent_count ? p->count : t->sent_count;
    bool is_named = t->asked.names || t->sent_asked.names || t->again;
    if (t->is_foreign || (is_named && most > 1)) {
        plan_as_one(s, t, now_us, p);
        return;
    }
    for (uint32_t i = 0; i < (most ? most : 1); i++)
        add_change(s, t, i < t->sent_count ? t->sent[i] : NULL, i < p->count ? p->parts[i] : NULL, now_us, p);
    if (has_moved(p))
        plan_as_one(s, t, now_us, p);
}

/* Of a whole type, state of the world, a response is due where anything is other than it was: what is gone shows by not being there. */
static bool is_worth_sending(const struct xds_server *s, const struct served *t, const struct plan *p)
{
    bool is_whole = !s->opts.is_delta && s->opts.keep_types[t - s->types].is_whole;
    return t->must_answer || is_whole || p->resources || p->removed;
}

/* ---- the response ---- */

static uint64_t version_of(const struct served *t, const struct plan *p)
{
    uint64_t v = t->asked.names ? t->asked.names->hash : 1;
    for (uint32_t i = 0; i < p->count; i++)
        v = v * 31 + (p->parts[i] ? p->parts[i]->version : 0);
    return v;
}

/* What is this client's own; the rest is shared. The same numbers in both forms, but for the control plane's. */
static void write_head(const struct xds_server *s, const struct served *t, struct strbuf *out)
{
    const char *name = s->opts.keep_types[t - s->types].name;
    char version[VERSION_TEXT_BYTES], nonce[NONCE_TEXT_BYTES];
    version_write(t->state.sent_version, version);
    wire_bytes(out, 1, version, sizeof version);
    size_t url = wire_open(out, 4);
    strbuf_addz(out, "type.googleapis.com/");
    strbuf_addz(out, name);
    wire_close(out, url);
    wire_bytes(out, 5, nonce, u64_format(s->nonce, nonce));
    if (!s->opts.keep_identifier.n)
        return;
    size_t plane = wire_open(out, s->opts.is_delta ? 7 : 6);
    wire_bytes(out, 1, s->opts.keep_identifier.p, s->opts.keep_identifier.n);
    wire_close(out, plane);
}

static void write_response(struct xds_server *s, struct served *t, const struct plan *p, struct buf *out)
{
    struct strbuf *head = &s->opts.keep_pool->scratch;
    strbuf_reset(head);
    write_head(s, t, head);
    buf_append(out, head->p, head->n);
    for (uint32_t i = 0; i < p->change_count; i++)
        change_append(p->changes[i], out);
}

/* Resources of another type that wait for theirs to come again. */
static void note_echo(struct xds_server *s, const struct served *t, const struct plan *p)
{
    int echo = s->opts.keep_types[t - s->types].echo;
    for (uint32_t i = 0; echo >= 0 && i < p->change_count; i++) {
        struct served *other = &s->types[echo];
        struct xds_names *before = other->again;
        if (!p->changes[i]->updated)
            continue;
        other->again = names_union(s->opts.keep_pool, before, p->changes[i]->updated);
        other->is_due = true;
        xds_names_unref(&before);
    }
}

static void settle(struct served *t, const struct plan *p)
{
    struct xds_set *now[XDS_PARTS_MAX];
    uint32_t count = p->keeps_removed ? p->change_count : p->count;
    for (uint32_t i = 0; i < count; i++) {
        struct xds_set *has = p->keeps_removed ? p->changes[i]->merged : p->parts[i];
        now[i] = has ? xds_set_ref(has) : NULL;
    }
    served_forget_sent(t);
    memcpy(t->sent, now, count * sizeof *now);
    t->sent_count = count;
    t->is_foreign = p->keeps_removed && p->is_one;
    xds_names_unref(&t->sent_asked.names);
    t->sent_asked = t->asked;
    if (t->asked.names)
        xds_names_ref(t->asked.names);
    xds_names_unref(&t->again);
    t->is_due = p->keeps_removed;
    t->must_answer = false;
}

static void send(struct xds_server *s, struct served *t, struct plan *p, uint64_t now_us, struct buf *out, struct xds_sent *sent)
{
    size_t before = out->len;
    t->state.sent_nonce = ++s->nonce;
    t->state.sent_version = version_of(t, p);
    t->state.sent_us = now_us;
    t->is_waiting = true;
    write_response(s, t, p, out);
    *sent = (struct xds_sent){(uint32_t)(t - s->types), p->resources, p->removed, out->len - before, t->state.sent_count++ == 0};
    note_echo(s, t, p);
}

static void ask_parts(struct xds_server *s, const struct served *t, struct plan *p)
{
    if (t->asked.is_everything || t->asked.names)
        p->count = s->ops->parts(s->user, (uint32_t)(t - s->types), t->asked.is_everything ? NULL : t->asked.names, p->parts);
    DCHECK(p->count <= XDS_PARTS_MAX);
}

/* An answer to come; a client that has given up all of the type may not care to give one. */
static bool owes_answer(const struct served *t)
{
    return t->is_waiting && (t->asked.is_everything || t->asked.names);
}

/* Do types that may name what is gone have something to say, or to be answered? */
static bool has_to_wait(struct xds_server *s, const struct served *t)
{
    uint32_t types = s->opts.keep_types[t - s->types].removes_after;
    for (uint32_t i = 0; types && i < s->opts.type_count; i++) {
        struct plan p = {0};
        if (!(types >> i & 1) || !s->types[i].is_asked)
            continue;
        if (owes_answer(&s->types[i]))
            return true;
        if (!s->types[i].is_due)
            continue;
        ask_parts(s, &s->types[i], &p);
        if (!is_same_as_sent(&s->types[i], &p))
            return true;
    }
    return false;
}

/* False: only what is gone would be told, and not yet. */
static bool plan_next(struct xds_server *s, const struct served *t, uint64_t now_us, struct plan *p)
{
    make_plan(s, t, now_us, p);
    if (!s->opts.is_delta || !p->removed || !has_to_wait(s, t))
        return true;
    if (!p->resources && !t->must_answer)
        return false;
    plan_fini(p);
    p->keeps_removed = true;
    make_plan(s, t, now_us, p);
    return true;
}

static bool next_of(struct xds_server *s, struct served *t, uint64_t now_us, struct buf *out, struct xds_sent *sent)
{
    struct plan p = {0};
    bool is_sent = false;
    ask_parts(s, t, &p);
    if (is_same_as_sent(t, &p) && !t->must_answer) {
        t->is_due = false;
        return false;
    }
    if (plan_next(s, t, now_us, &p)) {
        is_sent = is_worth_sending(s, t, &p);
        if (is_sent)
            send(s, t, &p, now_us, out, sent);
        settle(t, &p);
    }
    plan_fini(&p);
    return is_sent;
}

/* Those before it in the table have been looked at: what they have to say is under way, or can't be said yet. */
static bool is_held(const struct xds_server *s, const struct served *t)
{
    uint32_t types = s->opts.keep_types[t - s->types].sent_after;
    for (uint32_t i = 0; t->passed < PASSED_MAX && types >> i; i++)
        if ((types >> i & 1) && owes_answer(&s->types[i]))
            return true;
    return false;
}

static void note_passed(struct xds_server *s, const struct served *sent)
{
    for (uint32_t i = 0; i < s->opts.type_count; i++)
        s->types[i].passed += is_ready(&s->types[i]) && &s->types[i] != sent;
}

static bool next_in_order(struct xds_server *s, uint64_t now_us, struct buf *out, struct xds_sent *sent)
{
    for (uint32_t i = 0; i < s->opts.type_count; i++) {
        struct served *t = &s->types[i];
        if (!is_ready(t) || is_held(s, t) || !next_of(s, t, now_us, out, sent))
            continue;
        t->passed = 0;
        note_passed(s, t);
        return true;
    }
    return false;
}

bool xds_server_next(struct xds_server *s, uint64_t now_us, struct buf *out, struct xds_sent *sent)
{
    /* Twice: what waited for others may find that they have nothing to say. */
    return next_in_order(s, now_us, out, sent) || next_in_order(s, now_us, out, sent);
}

void xds_server_state(const struct xds_server *s, uint32_t type, struct xds_type_state *out)
{
    const struct served *t = &s->types[type];
    *out = t->state;
    out->is_asked = t->is_asked;
    out->is_everything = t->asked.is_everything;
    out->is_waiting = t->is_waiting;
    out->names = t->asked.names;
    out->nack_message = strbuf_str(&t->nack);
    out->parts = t->sent;
    out->part_count = t->sent_count;
}
