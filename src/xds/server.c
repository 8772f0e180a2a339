/* SPDX-License-Identifier: Apache-2.0
 *
 * What is due, and making it. Of each type:
 *
 *     settled --request, touch--> due --next: something is new--> waiting --answer--> due, or settled
 *                                  \--next: nothing is new--> settled
 *
 * Usually part i of what is to be sent is compared with part i of what was. Where that can't be done (a client tells what it has from
 * a stream before; names are asked for of a type in several parts; a resource moved from one part to another) all parts are made
 * one, and encoded so.
 */
#include "xds/server_priv.h"

#include "base/check.h"
#include "base/mem.h"
#include "proto/wire.h"

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
                (desc->is_namespaced ? CHANGE_NAMESPACED : 0);
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
    for (uint32_t i = 0; i < p->count; i++)
        now[i] = p->parts[i] ? xds_set_ref(p->parts[i]) : NULL;
    served_forget_sent(t);
    memcpy(t->sent, now, p->count * sizeof *now);
    t->sent_count = p->count;
    xds_names_unref(&t->sent_asked.names);
    t->sent_asked = t->asked;
    if (t->asked.names)
        xds_names_ref(t->asked.names);
    xds_names_unref(&t->again);
    t->is_due = t->must_answer = false;
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

static bool next_of(struct xds_server *s, struct served *t, uint64_t now_us, struct buf *out, struct xds_sent *sent)
{
    struct plan p = {0};
    if (t->asked.is_everything || t->asked.names)
        p.count = s->ops->parts(s->user, (uint32_t)(t - s->types), t->asked.is_everything ? NULL : t->asked.names, p.parts);
    DCHECK(p.count <= XDS_PARTS_MAX);
    if (is_same_as_sent(t, &p) && !t->must_answer) {
        t->is_due = false;
        return false;
    }
    make_plan(s, t, now_us, &p);
    bool is_sent = is_worth_sending(s, t, &p);
    if (is_sent)
        send(s, t, &p, now_us, out, sent);
    settle(t, &p);
    plan_fini(&p);
    return is_sent;
}

bool xds_server_next(struct xds_server *s, uint64_t now_us, struct buf *out, struct xds_sent *sent)
{
    for (uint32_t i = 0; i < s->opts.type_count; i++)
        if (is_ready(&s->types[i]) && next_of(s, &s->types[i], now_us, out, sent))
            return true;
    return false;
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
