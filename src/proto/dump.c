/* SPDX-License-Identifier: Apache-2.0
 *
 * What the admin page shows of messages: masking (a copy, cut down to some paths) and the redacted
 * text. Inside an Any names are looked up in the type it holds; there an unknown name is no error,
 * since one list may hold several types.
 */
#include "proto/dump.h"

#include "base/check.h"
#include "proto/proto_priv.h"

struct mask {
    struct proto_arena *arena;
    struct err *err;
    int depth;
};

/* Remainders of mask paths that go through one message. */
struct paths {
    struct str *items;
    size_t n;
};

static int prune(struct mask *m, ProtobufCMessage *msg, struct paths paths, bool lenient);

static int mask_full(struct mask *m)
{
    return err_set(m->err, ERR_LIMIT, "the masked message takes more memory than is allowed");
}

static void field_clear(ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field)
{
    memset(proto_member(msg, field->offset), 0, proto_item_bytes(field->type));
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        *(size_t *)proto_member(msg, field->quantifier_offset) = 0;
    else if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        *(uint32_t *)proto_member(msg, field->quantifier_offset) = 0;
    else if (field->type == PROTOBUF_C_TYPE_STRING)
        *(const char **)proto_member(msg, field->offset) = field->default_value;
}

static const ProtobufCFieldDescriptor *head_field(const ProtobufCMessageDescriptor *desc,
                                                  struct str path, struct str *rest)
{
    return proto_field_find(desc, str_split(path, '.', rest));
}

/* The remainders of the paths that begin with `field`; *whole: one of them ends there. */
static bool select_paths(struct mask *m, const ProtobufCMessage *msg,
                         const ProtobufCFieldDescriptor *field, struct paths all, struct paths *out,
                         bool *whole)
{
    *whole = false;
    *out = (struct paths){proto_arena_alloc(m->arena, all.n * sizeof(struct str)), 0};
    if (!out->items)
        return false;
    for (size_t i = 0; i < all.n; i++) {
        struct str rest;
        if (head_field(msg->descriptor, all.items[i], &rest) != field)
            continue;
        *whole |= rest.p == NULL;
        out->items[out->n++] = rest;
    }
    return true;
}

static int prune_any(struct mask *m, Google__Protobuf__Any *any, struct paths paths)
{
    ProtobufCMessage *msg;
    struct err ignored;
    if (proto_unpack_any(m->arena, any, &msg, &ignored) != 0)
        return 0; /* shown packed, as it is */
    int rc = prune(m, msg, paths, true);
    if (rc != 0)
        return rc;
    size_t n = proto_packed_size(msg);
    uint8_t *bytes = proto_arena_alloc(m->arena, n);
    if (!bytes)
        return mask_full(m);
    protobuf_c_message_pack(msg, bytes);
    any->value = (ProtobufCBinaryData){n, bytes};
    return 0;
}

static int prune_field(struct mask *m, ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field,
                       struct paths all, bool lenient)
{
    struct paths paths;
    bool whole;
    int rc = 0;
    if (!select_paths(m, msg, field, all, &paths, &whole))
        return mask_full(m);
    if (paths.n == 0) {
        field_clear(msg, field);
        return 0;
    }
    if (whole)
        return 0;
    if (field->type != PROTOBUF_C_TYPE_MESSAGE || proto_field_is_map(field))
        return lenient ? 0 : err_set(m->err, ERR_INVALID, "the mask goes into '%s', which has no fields",
                                     field->name);
    size_t n = proto_field_count(msg, field);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = prune(m, proto_field_message(msg, field, i), paths, lenient);
    return rc;
}

static int prune(struct mask *m, ProtobufCMessage *msg, struct paths paths, bool lenient)
{
    int rc = 0;
    if (m->depth >= PROTO_DEPTH_MAX)
        return err_set(m->err, ERR_LIMIT, "the mask is nested too deeply");
    m->depth++;
    if (proto_type_wkt(msg->descriptor) == WKT_ANY) {
        rc = prune_any(m, (Google__Protobuf__Any *)msg, paths);
        m->depth--;
        return rc;
    }
    for (size_t i = 0; i < paths.n && !lenient && rc == 0; i++) {
        struct str rest;
        if (!head_field(msg->descriptor, paths.items[i], &rest))
            rc = err_set(m->err, ERR_INVALID, "the mask '%.*s' names no field of %s",
                         STR_ARG(paths.items[i]), msg->descriptor->name);
    }
    for (unsigned i = 0; i < msg->descriptor->n_fields && rc == 0; i++)
        if (proto_field_is_set(msg, &msg->descriptor->fields[i]))
            rc = prune_field(m, msg, &msg->descriptor->fields[i], paths, lenient);
    m->depth--;
    return rc;
}

int proto_mask(struct proto_arena *arena, const ProtobufCMessage *msg, struct str mask,
               ProtobufCMessage **out, struct err *err)
{
    struct mask m = {arena, err, 0};
    struct paths paths = {NULL, 0};
    size_t n = 1;
    for (size_t i = 0; i < mask.n; i++)
        n += mask.p[i] == ',';
    *out = NULL;
    paths.items = proto_arena_alloc(arena, n * sizeof(struct str));
    ProtobufCMessage *copy = proto_clone(arena, msg);
    if (!paths.items || !copy)
        return mask_full(&m);
    for (struct str rest = mask; rest.p;) {
        struct str path = str_trim(str_split(rest, ',', &rest));
        if (path.n)
            paths.items[paths.n++] = path;
    }
    int rc = prune(&m, copy, paths, false);
    if (rc == 0)
        *out = copy;
    return rc;
}

void proto_dump(const ProtobufCMessage *msg, struct strbuf *out)
{
    json_encode(msg, JSON_INDENT | JSON_REDACT, out);
}
