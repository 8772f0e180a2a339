/* SPDX-License-Identifier: Apache-2.0
 *
 * Packed bytes -> messages. protobuf-c trusts its input's nesting and lets C strings be cut short by
 * a NUL, so bytes are walked once before it sees them: lengths, wire types, depth, strings. Refuses
 * groups, nesting past PROTO_DEPTH_MAX, strings that aren't UTF-8 or hold a NUL. Pure but for the
 * arena.
 */
#include "base/check.h"
#include "proto/proto_priv.h"

struct scan {
    const uint8_t *p, *end;
};

bool proto_utf8_is_valid(struct str s)
{
    if (s.n == 0) /* s.p may be NULL, to which not even 0 may be added */
        return true;
    const uint8_t *p = (const uint8_t *)s.p, *end = p + s.n;
    while (p < end) {
        uint8_t c = *p++;
        if (c < 0x80)
            continue;
        int more = c >= 0xc2 && c <= 0xdf ? 1 : (c & 0xf0) == 0xe0 ? 2 : c >= 0xf0 && c <= 0xf4 ? 3 : 0;
        if (more == 0 || end - p < more)
            return false;
        /* overlong forms, surrogates and what lies past U+10FFFF (RFC 3629 section 4) */
        if ((c == 0xe0 && p[0] < 0xa0) || (c == 0xed && p[0] > 0x9f) || (c == 0xf0 && p[0] < 0x90) ||
            (c == 0xf4 && p[0] > 0x8f))
            return false;
        for (; more > 0; more--)
            if ((*p++ & 0xc0) != 0x80)
                return false;
    }
    return true;
}

static bool scan_varint(struct scan *s, uint64_t *out)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && s->p < s->end; shift += 7) {
        uint8_t b = *s->p++;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            *out = v;
            return true;
        }
    }
    return false;
}

static bool scan_skip(struct scan *s, uint64_t n)
{
    if (n > (uint64_t)(s->end - s->p))
        return false;
    s->p += n;
    return true;
}

/* One field's payload; for length-prefixed ones *body is it. */
static bool scan_payload(struct scan *s, unsigned wire, struct str *body)
{
    uint64_t n;
    switch (wire) {
    case PROTOBUF_C_WIRE_TYPE_VARINT:
        return scan_varint(s, &n);
    case PROTOBUF_C_WIRE_TYPE_64BIT:
        return scan_skip(s, 8);
    case PROTOBUF_C_WIRE_TYPE_32BIT:
        return scan_skip(s, 4);
    case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
        if (!scan_varint(s, &n))
            return false;
        *body = str_make((const char *)s->p, (size_t)n);
        return scan_skip(s, n);
    default:
        return false;
    }
}

static int scan_message(const ProtobufCMessageDescriptor *desc, struct str bytes, int depth,
                        struct err *err);

static int scan_body(const ProtobufCFieldDescriptor *field, struct str body, int depth,
                     struct err *err)
{
    int rc = 0;
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        rc = scan_message(field->descriptor, body, depth + 1, err);
    else if (field->type == PROTOBUF_C_TYPE_STRING && body.n && memchr(body.p, 0, body.n))
        rc = err_set(err, ERR_INVALID, "a string holds a NUL byte");
    else if (field->type == PROTOBUF_C_TYPE_STRING && !proto_utf8_is_valid(body))
        rc = err_set(err, ERR_INVALID, "a string is not valid UTF-8");
    if (rc != 0)
        err_prefix(err, "%s", field->name);
    return rc;
}

static int scan_message(const ProtobufCMessageDescriptor *desc, struct str bytes, int depth,
                        struct err *err)
{
    if (bytes.n == 0)
        return 0;
    struct scan s = {(const uint8_t *)bytes.p, (const uint8_t *)bytes.p + bytes.n};
    if (depth > PROTO_DEPTH_MAX)
        return err_set(err, ERR_LIMIT, "messages are nested deeper than %d levels", PROTO_DEPTH_MAX);
    while (s.p < s.end) {
        uint64_t tag;
        struct str body = STR_NULL;
        if (!scan_varint(&s, &tag) || tag >> 3 == 0 || tag >> 32 || !scan_payload(&s, tag & 7, &body))
            return err_set(err, ERR_INVALID, "the bytes are not a valid %s message", desc->name);
        const ProtobufCFieldDescriptor *field = NULL;
        if ((tag & 7) == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
            field = proto_field_by_id(desc, (uint32_t)(tag >> 3));
        if (field) {
            int rc = scan_body(field, body, depth, err);
            if (rc != 0)
                return rc;
        }
    }
    return 0;
}

int proto_unpack(struct proto_arena *arena, const ProtobufCMessageDescriptor *desc,
                 struct str packed, ProtobufCMessage **out, struct err *err)
{
    *out = NULL;
    desc = proto_type_ready(desc);
    if (packed.n > PROTO_PACKED_MAX_BYTES)
        return err_set(err, ERR_LIMIT, "%zu bytes are more than a message may have (%zu)", packed.n,
                       PROTO_PACKED_MAX_BYTES);
    int rc = scan_message(desc, packed, 1, err);
    if (rc != 0)
        return rc;
    *out = protobuf_c_message_unpack(desc, proto_arena_allocator(arena), packed.n,
                                     (const uint8_t *)packed.p);
    if (*out)
        return 0;
    if (proto_arena_is_full(arena))
        return err_set(err, ERR_LIMIT, "the message takes more memory than is allowed");
    return err_set(err, ERR_INVALID, "the bytes are not a valid %s message", desc->name);
}

int proto_unpack_any(struct proto_arena *arena, const Google__Protobuf__Any *any,
                     ProtobufCMessage **out, struct err *err)
{
    *out = proto_arena_any(arena, any);
    if (*out)
        return 0;
    struct str url = str_from(any->type_url);
    const ProtobufCMessageDescriptor *desc = proto_type_find(url);
    if (!desc)
        return err_set(err, ERR_NOT_FOUND, "unknown type '%.*s'", STR_ARG(url));
    struct str packed = str_make((const char *)any->value.data, any->value.len);
    int rc = proto_unpack(arena, desc, packed, out, err);
    if (rc == 0)
        proto_arena_any_set(arena, any, *out);
    return rc;
}

int proto_unpack_any_as(struct proto_arena *arena, const Google__Protobuf__Any *any,
                        const ProtobufCMessageDescriptor *desc, ProtobufCMessage **out,
                        struct err *err)
{
    const ProtobufCMessageDescriptor *found = proto_type_find(str_from(any->type_url));
    desc = proto_type_ready(desc);
    *out = NULL;
    if (found && found != desc)
        return err_set(err, ERR_INVALID, "holds a %s where a %s belongs", found->name, desc->name);
    return proto_unpack_any(arena, any, out, err);
}

static void strbuf_sink(ProtobufCBuffer *buffer, size_t n, const uint8_t *data)
{
    struct sink {
        ProtobufCBuffer base;
        struct strbuf *out;
    } *sink = (struct sink *)buffer;
    strbuf_add(sink->out, data, n);
}

size_t proto_packed_size(const ProtobufCMessage *msg)
{
    proto_type_ready(msg->descriptor);
    return protobuf_c_message_get_packed_size(msg);
}

void proto_pack(const ProtobufCMessage *msg, struct strbuf *out)
{
    struct sink {
        ProtobufCBuffer base;
        struct strbuf *out;
    } sink = {{strbuf_sink}, out};
    proto_type_ready(msg->descriptor);
    protobuf_c_message_pack_to_buffer(msg, &sink.base);
}

Google__Protobuf__Any *proto_pack_any(struct proto_arena *arena, const ProtobufCMessage *msg)
{
    size_t n = proto_packed_size(msg);
    Google__Protobuf__Any *any =
        PROTO_NEW(arena, Google__Protobuf__Any, google__protobuf__any__descriptor);
    uint8_t *bytes = proto_arena_alloc(arena, n);
    char *url = proto_type_url(arena, msg->descriptor);
    if (!any || !bytes || !url)
        return NULL;
    protobuf_c_message_pack(msg, bytes);
    any->type_url = url;
    any->value = (ProtobufCBinaryData){n, bytes};
    return any;
}
