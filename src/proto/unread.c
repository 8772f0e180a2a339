/* SPDX-License-Identifier: Apache-2.0
 *
 * The walk over a message that reports what is set and was never read: the generic half of "nothing
 * is ignored in silence" (design.md section 5). Main thread. Recursion is bounded by the depth of
 * messages plus PROTO_DEPTH_MAX nested Any fields.
 */
#include <stdio.h>

#include "base/check.h"
#include "proto/fields.h"
#include "proto/proto_priv.h"

struct walk {
    struct proto_reader *r;
    struct err_list *list;
    struct strbuf path;
    size_t found;
    int depth;
};

static void walk_message(struct walk *w, const ProtobufCMessage *msg);

static void report(struct walk *w, const char *text)
{
    struct err err = {0};
    err_set(&err, ERR_UNSUPPORTED, "%s", text);
    snprintf(err.path, sizeof(err.path), "%s", w->path.p ? w->path.p : "");
    err_list_add(w->list, &err);
    w->found++;
}

static size_t enter(struct walk *w, const char *name)
{
    size_t mark = w->path.n;
    if (mark)
        strbuf_addc(&w->path, '.');
    strbuf_addz(&w->path, name);
    return mark;
}

static void leave(struct walk *w, size_t mark)
{
    w->path.n = mark;
    if (w->path.p)
        w->path.p[mark] = 0;
}

static void walk_any(struct walk *w, const Google__Protobuf__Any *any)
{
    if (!addr_set_has(&w->r->reads.read, any)) {
        report(w, "is not supported yet");
        return;
    }
    const ProtobufCMessage *msg = proto_arena_any(w->r->arena, any);
    if (msg && w->depth < PROTO_DEPTH_MAX) /* else its reader has added a fault */
        walk_message(w, msg);
}

static void walk_map(struct walk *w, const ProtobufCMessage *msg,
                     const ProtobufCFieldDescriptor *field, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const ProtobufCMessage *entry = proto_field_message(msg, field, i);
        const ProtobufCFieldDescriptor *f = entry->descriptor->fields;
        if (f[1].type != PROTOBUF_C_TYPE_MESSAGE || !proto_field_is_set(entry, &f[1]))
            continue;
        size_t mark = w->path.n;
        if (f[0].type == PROTOBUF_C_TYPE_STRING)
            strbuf_addf(&w->path, "[\"%s\"]", *(char *const *)proto_member(entry, f[0].offset));
        else
            strbuf_addf(&w->path, "[%zu]", i);
        walk_message(w, proto_field_message(entry, &f[1], 0));
        leave(w, mark);
    }
}

static void walk_field(struct walk *w, const ProtobufCMessage *msg,
                       const ProtobufCFieldDescriptor *field)
{
    size_t n = proto_field_count(msg, field);
    if (proto_field_is_map(field)) {
        walk_map(w, msg, field, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        size_t mark = w->path.n;
        if (field->label == PROTOBUF_C_LABEL_REPEATED)
            strbuf_addf(&w->path, "[%zu]", i);
        walk_message(w, proto_field_message(msg, field, i));
        leave(w, mark);
    }
}

static void walk_fields(struct walk *w, const ProtobufCMessage *msg)
{
    for (unsigned i = 0; i < msg->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &msg->descriptor->fields[i];
        if (!proto_field_is_set(msg, field))
            continue;
        size_t mark = enter(w, field->name);
        if (!addr_set_has(&w->r->reads.read, proto_member(msg, field->offset)))
            report(w, "is not supported yet");
        else if (field->type == PROTOBUF_C_TYPE_MESSAGE)
            walk_field(w, msg, field);
        leave(w, mark);
    }
}

/* Fields of a newer API than ours, in packed bytes. */
static void walk_unknown(struct walk *w, const ProtobufCMessage *msg)
{
    char text[64];
    for (unsigned i = 0; i < msg->n_unknown_fields; i++) {
        snprintf(text, sizeof(text), "field %u of a newer API is not supported yet",
                 msg->unknown_fields[i].tag);
        report(w, text);
    }
}

static void walk_message(struct walk *w, const ProtobufCMessage *msg)
{
    if (!msg || addr_set_has(&w->r->reads.whole, msg))
        return;
    enum proto_wkt wkt = proto_type_wkt(msg->descriptor);
    w->depth++;
    if (wkt == WKT_ANY)
        walk_any(w, (const Google__Protobuf__Any *)msg);
    else if (wkt == WKT_NONE)
        walk_fields(w, msg);
    if (wkt == WKT_NONE)
        walk_unknown(w, msg);
    w->depth--;
}

size_t proto_unread(struct proto_reader *r, const ProtobufCMessage *msg, const char *prefix,
                    struct err_list *list)
{
    struct walk w = {.r = r, .list = list};
    strbuf_addz(&w.path, prefix ? prefix : "");
    proto_type_ready(msg->descriptor);
    walk_message(&w, msg);
    strbuf_fini(&w.path);
    return w.found;
}
