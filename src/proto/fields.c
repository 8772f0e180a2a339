/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading with a memory: which members were looked at, the path where the reader stands, values with
 * defaults. The walk that finds what nobody read is in unread.c. Main thread.
 */
#include "proto/fields.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"
#include "proto/proto_priv.h"

void proto_reads_fini(struct proto_reads *reads)
{
    addr_set_fini(&reads->read);
    addr_set_fini(&reads->whole);
}

void proto_reader_init(struct proto_reader *r, struct proto_arena *arena, struct err_list *faults)
{
    *r = (struct proto_reader){.arena = arena, .faults = faults};
}

void proto_reader_fini(struct proto_reader *r)
{
    proto_reads_fini(&r->reads);
    strbuf_fini(&r->path);
}

void proto_read_whole(struct proto_reader *r, const ProtobufCMessage *msg)
{
    if (msg)
        addr_set_add(&r->reads.whole, msg);
}

/* ---- where we are ---- */

size_t proto_enter(struct proto_reader *r, const char *fmt, ...)
{
    size_t mark = r->path.n;
    va_list ap;
    if (mark && *fmt && *fmt != '[')
        strbuf_addc(&r->path, '.');
    va_start(ap, fmt);
    strbuf_vaddf(&r->path, fmt, ap);
    va_end(ap);
    return mark;
}

void proto_leave(struct proto_reader *r, size_t mark)
{
    DCHECK(mark <= r->path.n);
    r->path.n = mark;
    if (r->path.p)
        r->path.p[mark] = 0;
}

const char *proto_path(const struct proto_reader *r)
{
    return r->path.p ? r->path.p : "";
}

int proto_fault(struct proto_reader *r, int code, const char *field, const char *fmt, ...)
{
    struct err err = {0};
    va_list ap;
    va_start(ap, fmt);
    err_vset(&err, code, fmt, ap);
    va_end(ap);
    size_t mark = r->path.n;
    if (field && *field) {
        if (mark && *field != '[')
            strbuf_addc(&r->path, '.');
        strbuf_addz(&r->path, field);
    }
    snprintf(err.path, sizeof(err.path), "%s", proto_path(r));
    proto_leave(r, mark);
    err_list_add(r->faults, &err);
    return code;
}

void proto_unsupported(struct proto_reader *r, const char *field, const char *what)
{
    proto_fault(r, ERR_UNSUPPORTED, field, "%s%sis not supported yet", what ? what : "", what ? " " : "");
}

void proto_unsupported_enum(struct proto_reader *r, const char *field,
                            const ProtobufCEnumDescriptor *desc, int value)
{
    const char *name = proto_enum_name(desc, value);
    if (name)
        proto_unsupported(r, field, name);
    else
        proto_fault(r, ERR_INVALID, field, "%d is no value of %s", value, desc->name);
}

/* ---- Any ---- */

struct str proto_any_type(const Google__Protobuf__Any *any)
{
    struct str url = any ? str_from(any->type_url) : STR_NULL;
    const char *slash = url.n ? memrchr(url.p, '/', url.n) : NULL;
    return slash ? str_make(slash + 1, url.n - (size_t)(slash + 1 - url.p)) : url;
}

static ProtobufCMessage *any_fault(struct proto_reader *r, const char *field, const struct err *err)
{
    proto_fault(r, err->code, field, "%s%s%s", err->path, *err->path ? ": " : "", err->message);
    return NULL;
}

ProtobufCMessage *proto_any_read(struct proto_reader *r, const char *field,
                                 const Google__Protobuf__Any *any)
{
    struct err err = {0};
    ProtobufCMessage *msg;
    if (!any)
        return NULL;
    addr_set_add(&r->reads.read, any);
    if (proto_unpack_any(r->arena, any, &msg, &err) == 0)
        return msg;
    if (err.code != ERR_NOT_FOUND)
        return any_fault(r, field, &err);
    proto_fault(r, ERR_UNSUPPORTED, field, "%.*s is not supported yet", STR_ARG(proto_any_type(any)));
    return NULL;
}

ProtobufCMessage *proto_any_read_as(struct proto_reader *r, const char *field,
                                    const Google__Protobuf__Any *any,
                                    const ProtobufCMessageDescriptor *desc)
{
    struct err err = {0};
    ProtobufCMessage *msg;
    if (!any)
        return NULL;
    addr_set_add(&r->reads.read, any);
    if (proto_unpack_any_as(r->arena, any, desc, &msg, &err) == 0)
        return msg;
    proto_read_whole(r, &any->base); /* one fault is enough */
    return any_fault(r, field, &err);
}

/* ---- values ---- */

static uint64_t duration_or(const Google__Protobuf__Duration *d, uint64_t otherwise,
                            uint64_t per_second)
{
    if (!d)
        return otherwise;
    if (d->seconds < 0 || d->nanos < 0)
        return 0;
    uint64_t seconds = (uint64_t)d->seconds, unit_ns = 1000000000 / per_second;
    if (seconds >= UINT64_MAX / per_second - 1)
        return UINT64_MAX; /* bytes from a peer need not obey Duration's range */
    uint64_t v = seconds * per_second + (uint64_t)d->nanos / unit_ns;
    return v == 0 && d->nanos > 0 ? 1 : v;
}

uint64_t proto_ms_or(const Google__Protobuf__Duration *d, uint64_t default_ms)
{
    return duration_or(d, default_ms, 1000);
}

uint64_t proto_us_or(const Google__Protobuf__Duration *d, uint64_t default_us)
{
    return duration_or(d, default_us, 1000000);
}

bool proto_bool_or(const Google__Protobuf__BoolValue *v, bool otherwise)
{
    return v ? v->value : otherwise;
}

uint32_t proto_u32_or(const Google__Protobuf__UInt32Value *v, uint32_t otherwise)
{
    return v ? v->value : otherwise;
}

uint64_t proto_u64_or(const Google__Protobuf__UInt64Value *v, uint64_t otherwise)
{
    return v ? v->value : otherwise;
}

int32_t proto_i32_or(const Google__Protobuf__Int32Value *v, int32_t otherwise)
{
    return v ? v->value : otherwise;
}

int64_t proto_i64_or(const Google__Protobuf__Int64Value *v, int64_t otherwise)
{
    return v ? v->value : otherwise;
}

double proto_double_or(const Google__Protobuf__DoubleValue *v, double otherwise)
{
    return v ? v->value : otherwise;
}

struct str proto_string_or(const Google__Protobuf__StringValue *v, struct str otherwise)
{
    return v ? str_from(v->value) : otherwise;
}
