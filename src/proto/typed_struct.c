/* SPDX-License-Identifier: Apache-2.0
 *
 * TypedStruct (udpa.type.v1, xds.type.v3): a configuration written as a Struct beside the name of its
 * type, for senders that don't have the type at hand. It is decoded by the Protobuf JSON mapping, so
 * it says no more and no less than the message itself would. Refuses unknown types and fields.
 */
#include "proto/fields.h"
#include "proto/json.h"
#include "proto/proto_priv.h"
#include "proto/validate.h"
#include "udpa/type/v1/typed_struct.pb-c.h"
#include "xds/type/v3/typed_struct.pb-c.h"

#include <stdio.h>
#include <string.h>

struct content {
    struct str type_url;
    const Google__Protobuf__Struct *value;
};

static bool content_of(const ProtobufCMessage *msg, struct content *out)
{
    const Xds__Type__V3__TypedStruct *xds = PROTO_CAST(Xds__Type__V3__TypedStruct, xds__type__v3__typed_struct__descriptor, msg);
    const Udpa__Type__V1__TypedStruct *udpa = PROTO_CAST(Udpa__Type__V1__TypedStruct, udpa__type__v1__typed_struct__descriptor, msg);
    if (xds)
        *out = (struct content){str_from(xds->type_url), xds->value};
    else if (udpa)
        *out = (struct content){str_from(udpa->type_url), udpa->value};
    return xds || udpa;
}

static struct str bare_type(struct str url)
{
    const char *slash = url.n ? memrchr(url.p, '/', url.n) : NULL;
    return slash ? str_make(slash + 1, url.n - (size_t)(slash + 1 - url.p)) : url;
}

static bool is_typed_struct(struct str type)
{
    return str_eq(type, STR("udpa.type.v1.TypedStruct")) || str_eq(type, STR("xds.type.v3.TypedStruct"));
}

struct str proto_any_content_type(struct proto_arena *arena, const Google__Protobuf__Any *any)
{
    struct err err = {0};
    struct content c;
    ProtobufCMessage *msg;
    struct str type = proto_any_type(any);
    if (!is_typed_struct(type) || proto_unpack_any(arena, any, &msg, &err) < 0)
        return type;
    return content_of(msg, &c) ? bare_type(c.type_url) : str_from(msg->descriptor->name);
}

/* Faults found in the Struct get the path where it stands. */
static void pass_faults(struct proto_reader *r, const char *field, const struct err_list *found)
{
    for (size_t i = 0; i < found->count; i++) {
        const struct err *e = &found->items[i];
        char path[ERR_PATH_BYTES * 2];
        snprintf(path, sizeof(path), "%s%svalue%s%s", field ? field : "", field && *field ? "." : "", *e->path ? "." : "", e->path);
        proto_fault(r, e->code, path, "%s", e->message);
    }
}

static ProtobufCMessage *decode(struct proto_reader *r, const char *field, const struct content *c)
{
    struct strbuf json = {0};
    struct err_list found = {0};
    ProtobufCMessage *out = NULL;
    const ProtobufCMessageDescriptor *desc = proto_type_find(c->type_url);
    if (!desc) {
        proto_fault(r, ERR_UNSUPPORTED, field, "%.*s is not supported yet", STR_ARG(c->type_url));
        return NULL;
    }
    if (c->value)
        json_encode(&c->value->base, 0, &json);
    else
        strbuf_addz(&json, "{}");
    /* The tree borrows the text, and the message is made while it stands. */
    json_decode(r->arena, strbuf_str(&json), desc, NULL, &out, &found);
    if (out && !found.count)
        proto_validate(r->arena, out, NULL, &found);
    if (found.count) {
        pass_faults(r, field, &found);
        out = NULL;
    }
    err_list_fini(&found);
    strbuf_fini(&json);
    return out;
}

ProtobufCMessage *proto_any_read_content(struct proto_reader *r, const char *field, const Google__Protobuf__Any *any)
{
    struct content c;
    ProtobufCMessage *msg = proto_any_read(r, field, any);
    if (!msg || !content_of(msg, &c))
        return msg;
    ProtobufCMessage *inner = decode(r, field, &c);
    /* From now on this is what the Any holds, for whoever reads it again and for the walk. */
    if (inner)
        proto_arena_any_set(r->arena, any, inner);
    else
        proto_read_whole(r, msg);
    return inner;
}
