/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages -> JSON text, by the Protobuf JSON mapping, optionally with sensitive fields redacted as
 * Envoy's admin does: strings and bytes show "[redacted]", numbers below a sensitive field vanish.
 * An Any is unpacked into an arena of the call's own. Never fails: what cannot be shown expanded is
 * shown packed.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/base64.h"
#include "base/check.h"
#include "google/protobuf/field_mask.pb-c.h"
#include "proto/doc_priv.h"
#include "proto/fields.h"
#include "proto/json.h"

#define REDACTED "[redacted]"

struct encoder {
    struct strbuf *out;
    unsigned flags;
    int depth, indent;
    bool redacting; /* below a sensitive field */
    struct proto_arena *arena; /* of unpacked Any; made when first needed */
};

static void encode_message(struct encoder *e, const ProtobufCMessage *msg);

/* ---- layout ---- */

static void newline(struct encoder *e)
{
    if (!(e->flags & JSON_INDENT))
        return;
    strbuf_addc(e->out, '\n');
    for (int i = 0; i < e->indent; i++)
        strbuf_addc(e->out, ' ');
}

static void open_bracket(struct encoder *e, char c)
{
    strbuf_addc(e->out, c);
    e->indent++;
}

/* Before an item; *first is true before the first one only. */
static void next_item(struct encoder *e, bool *first)
{
    if (!*first)
        strbuf_addc(e->out, ',');
    *first = false;
    newline(e);
}

static void close_bracket(struct encoder *e, char c, bool empty)
{
    e->indent--;
    if (!empty)
        newline(e);
    strbuf_addc(e->out, c);
}

static void put_string(struct encoder *e, struct str s)
{
    strbuf_addc(e->out, '"');
    strbuf_add_json(e->out, s);
    strbuf_addc(e->out, '"');
}

static void put_key(struct encoder *e, struct str key)
{
    put_string(e, key);
    strbuf_addz(e->out, e->flags & JSON_INDENT ? ": " : ":");
}

/* ---- scalars ---- */

/* The shortest text that reads back as the same number. */
static void put_real(struct encoder *e, double v, bool is_float)
{
    char text[40];
    if (isnan(v)) {
        strbuf_addz(e->out, "\"NaN\"");
    } else if (isinf(v)) {
        strbuf_addz(e->out, v > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    } else {
        for (int digits = is_float ? 6 : 15; digits <= 17; digits++) {
            snprintf(text, sizeof(text), "%.*g", digits, v);
            if (is_float ? strtof(text, NULL) == (float)v : strtod(text, NULL) == v)
                break;
        }
        strbuf_addz(e->out, text);
    }
}

static void put_enum(struct encoder *e, const ProtobufCEnumDescriptor *desc, int value)
{
    const char *name = e->flags & JSON_INT_ENUMS ? NULL : proto_enum_name(desc, value);
    if (name && strcmp(desc->name, "google.protobuf.NullValue") == 0)
        strbuf_addz(e->out, "null");
    else if (name)
        put_string(e, str_from(name));
    else
        strbuf_addf(e->out, "%d", value);
}

static void put_bytes(struct encoder *e, const ProtobufCBinaryData *v)
{
    struct str bytes = e->redacting ? STR(REDACTED) : str_make((const char *)v->data, v->len);
    strbuf_addc(e->out, '"');
    strbuf_reserve(e->out, B64_BYTES(bytes.n) + 1);
    e->out->n += b64_encode(bytes, e->out->p + e->out->n);
    strbuf_addc(e->out, '"');
}

static void put_value(struct encoder *e, const ProtobufCFieldDescriptor *field, const void *v)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        strbuf_addf(e->out, "%d", *(const int32_t *)v);
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        strbuf_addu(e->out, *(const uint32_t *)v);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        strbuf_addf(e->out, "\"%lld\"", (long long)*(const int64_t *)v);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        strbuf_addf(e->out, "\"%llu\"", (unsigned long long)*(const uint64_t *)v);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        put_real(e, (double)*(const float *)v, true);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        put_real(e, *(const double *)v, false);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        strbuf_addz(e->out, *(const protobuf_c_boolean *)v ? "true" : "false");
        break;
    case PROTOBUF_C_TYPE_ENUM:
        put_enum(e, field->descriptor, *(const int32_t *)v);
        break;
    case PROTOBUF_C_TYPE_STRING:
        put_string(e, e->redacting ? STR(REDACTED) : str_from(*(char *const *)v));
        break;
    case PROTOBUF_C_TYPE_BYTES:
        put_bytes(e, v);
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        encode_message(e, *(ProtobufCMessage *const *)v);
        break;
    }
}

/* ---- fields ---- */

/* A map key as the member name. */
static void put_map_key(struct encoder *e, const ProtobufCFieldDescriptor *field, const void *v)
{
    struct strbuf text = {0};
    struct encoder sub = {.out = &text};
    put_value(&sub, field, v);
    struct str key = strbuf_str(&text);
    bool quoted = key.n && *key.p == '"';
    if (!quoted)
        strbuf_addc(e->out, '"');
    strbuf_adds(e->out, key); /* escaped already */
    strbuf_addz(e->out, quoted ? "" : "\"");
    strbuf_addz(e->out, e->flags & JSON_INDENT ? ": " : ":");
    strbuf_fini(&text);
}

static void put_map(struct encoder *e, const ProtobufCMessage *msg,
                    const ProtobufCFieldDescriptor *field)
{
    bool first = true;
    size_t n = proto_field_count(msg, field);
    open_bracket(e, '{');
    for (size_t i = 0; i < n; i++) {
        const ProtobufCMessage *entry = proto_field_message(msg, field, i);
        const ProtobufCFieldDescriptor *f = entry->descriptor->fields;
        next_item(e, &first);
        put_map_key(e, &f[0], proto_member(entry, f[0].offset));
        if (f[1].type == PROTOBUF_C_TYPE_MESSAGE && !proto_field_is_set(entry, &f[1]))
            strbuf_addz(e->out, "{}"); /* an entry without its value, as bytes may have it */
        else
            put_value(e, &f[1], proto_member(entry, f[1].offset));
    }
    close_bracket(e, '}', first);
}

static void put_list(struct encoder *e, const ProtobufCMessage *msg,
                     const ProtobufCFieldDescriptor *field)
{
    bool first = true;
    size_t n = proto_field_count(msg, field);
    open_bracket(e, '[');
    for (size_t i = 0; i < n; i++) {
        next_item(e, &first);
        put_value(e, field, proto_field_at(msg, field, i));
    }
    close_bracket(e, ']', first);
}

static void put_field(struct encoder *e, const ProtobufCMessage *msg,
                      const ProtobufCFieldDescriptor *field)
{
    if (proto_field_is_map(field))
        put_map(e, msg, field);
    else if (field->label == PROTOBUF_C_LABEL_REPEATED)
        put_list(e, msg, field);
    else
        put_value(e, field, proto_field_at(msg, field, 0));
}

static bool has_no_presence(const ProtobufCFieldDescriptor *field)
{
    return field->label == PROTOBUF_C_LABEL_REPEATED ||
           (field->label == PROTOBUF_C_LABEL_NONE && field->type != PROTOBUF_C_TYPE_MESSAGE &&
            !(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF));
}

static bool is_shown(const struct encoder *e, const ProtobufCMessage *msg,
                     const ProtobufCFieldDescriptor *field, bool redacting)
{
    bool texts = field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_BYTES ||
                 field->type == PROTOBUF_C_TYPE_MESSAGE;
    if (redacting && !texts)
        return false;
    return proto_field_is_set(msg, field) || ((e->flags & JSON_DEFAULTS) && has_no_presence(field));
}

static void encode_fields(struct encoder *e, const ProtobufCMessage *msg, bool *first)
{
    char name[256];
    for (unsigned i = 0; i < msg->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &msg->descriptor->fields[i];
        bool outer = e->redacting;
        bool redacting = outer || ((e->flags & JSON_REDACT) && proto_field_is_sensitive(field));
        if (!is_shown(e, msg, field, redacting))
            continue;
        next_item(e, first);
        if (e->flags & JSON_CAMEL)
            proto_field_json_name(field, name, sizeof(name));
        put_key(e, str_from(e->flags & JSON_CAMEL ? name : field->name));
        e->redacting = redacting;
        put_field(e, msg, field);
        e->redacting = outer;
    }
}

/* ---- well-known types ---- */

static void encode_any(struct encoder *e, const Google__Protobuf__Any *any)
{
    ProtobufCMessage *msg = NULL;
    bool first = true;
    if (!e->arena)
        e->arena = proto_arena_new(0);
    if (e->depth < PROTO_DEPTH_MAX)
        (void)!proto_unpack_any(e->arena, any, &msg, NULL);
    open_bracket(e, '{');
    if (*any->type_url) {
        next_item(e, &first);
        put_key(e, STR("@type"));
        put_string(e, str_from(any->type_url));
    }
    if (msg && proto_type_wkt(msg->descriptor) == WKT_NONE) {
        encode_fields(e, msg, &first);
    } else if (msg || any->value.len) {
        next_item(e, &first);
        put_key(e, STR("value"));
        if (msg)
            encode_message(e, msg);
        else
            put_bytes(e, &any->value);
    }
    close_bracket(e, '}', first);
}

static void encode_text_form(struct encoder *e, const ProtobufCMessage *msg, enum proto_wkt wkt)
{
    strbuf_addc(e->out, '"');
    if (wkt == WKT_DURATION) {
        const Google__Protobuf__Duration *d = (const Google__Protobuf__Duration *)msg;
        duration_format(e->out, d->seconds, d->nanos);
    } else if (wkt == WKT_TIMESTAMP) {
        const Google__Protobuf__Timestamp *t = (const Google__Protobuf__Timestamp *)msg;
        timestamp_format(e->out, t->seconds, t->nanos);
    } else {
        const Google__Protobuf__FieldMask *mask = (const Google__Protobuf__FieldMask *)msg;
        for (size_t i = 0; i < mask->n_paths; i++) {
            strbuf_addz(e->out, i ? "," : "");
            for (const char *p = mask->paths[i]; *p; p++) {
                bool upper = *p == '_' && p[1] >= 'a' && p[1] <= 'z';
                char c = upper ? (char)(*++p - 0x20) : *p;
                strbuf_add_json(e->out, str_make(&c, 1));
            }
        }
    }
    strbuf_addc(e->out, '"');
}

static void encode_value_kind(struct encoder *e, const ProtobufCMessage *msg)
{
    for (unsigned i = 0; i < msg->descriptor->n_fields; i++)
        if (proto_field_is_set(msg, &msg->descriptor->fields[i])) {
            put_field(e, msg, &msg->descriptor->fields[i]);
            return;
        }
    strbuf_addz(e->out, "null");
}

static void encode_wkt(struct encoder *e, const ProtobufCMessage *msg, enum proto_wkt wkt)
{
    switch (wkt) {
    case WKT_ANY:
        encode_any(e, (const Google__Protobuf__Any *)msg);
        break;
    case WKT_DURATION:
    case WKT_TIMESTAMP:
    case WKT_FIELD_MASK:
        encode_text_form(e, msg, wkt);
        break;
    case WKT_VALUE:
        encode_value_kind(e, msg);
        break;
    case WKT_STRUCT:
    case WKT_LIST_VALUE:
    case WKT_WRAPPER:
        put_field(e, msg, &msg->descriptor->fields[0]);
        break;
    case WKT_EMPTY:
    case WKT_NONE:
        strbuf_addz(e->out, "{}");
        break;
    }
}

static void encode_message(struct encoder *e, const ProtobufCMessage *msg)
{
    enum proto_wkt wkt = proto_type_wkt(msg->descriptor);
    bool first = true;
    e->depth++;
    if (wkt != WKT_NONE) {
        encode_wkt(e, msg, wkt);
    } else {
        open_bracket(e, '{');
        encode_fields(e, msg, &first);
        close_bracket(e, '}', first);
    }
    e->depth--;
}

void json_encode(const ProtobufCMessage *msg, unsigned flags, struct strbuf *out)
{
    struct encoder e = {.out = out, .flags = flags};
    proto_type_ready(msg->descriptor);
    encode_message(&e, msg);
    proto_arena_free(&e.arena);
}
