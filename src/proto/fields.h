/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading configuration honestly: every member that code looks at is marked, and proto_unread
 * reports each field that was set and that nobody looked at. So nothing is ignored in silence, and
 * no list of supported fields has to be kept beside the code.
 *
 *     struct proto_reader r;
 *     proto_reader_init(&r, arena, &faults);
 *     static_resources = PROTO_GET(&r, boot, static_resources);
 *     PROTO_IN (&r, "static_resources") {
 *         size_t n = PROTO_LEN(&r, static_resources, clusters);
 *         for (size_t i = 0; i < n; i++)
 *             PROTO_IN (&r, "clusters[%zu]", i)
 *                 read_cluster(&r, static_resources->clusters[i]);
 *     }
 *     proto_unread(&r, &boot->base, "", &faults);
 *
 * What the walk does: a set scalar that wasn't read is reported; a message that wasn't read is
 * reported once, at its own path; a message that was read is walked. Map entries count as read with
 * their map. Well-known values (durations, wrappers, Struct ...) count as read whole. An Any that was
 * read through proto_any_read is walked as the message it holds; one that was only PROTO_READ isn't
 * read: claim it with proto_read_whole, or report it. Members of one oneof share their address, so
 * reading the member that isn't set marks the one that is: look at the case first.
 */
#ifndef PROTO_FIELDS_H
#define PROTO_FIELDS_H

#include "base/map.h"
#include "google/protobuf/any.pb-c.h"
#include "google/protobuf/duration.pb-c.h"
#include "google/protobuf/struct.pb-c.h"
#include "google/protobuf/timestamp.pb-c.h"
#include "google/protobuf/wrappers.pb-c.h"
#include "proto/message.h"

struct proto_reads {
    struct addr_set read;  /* members of messages */
    struct addr_set whole; /* messages claimed with all that is in them */
};
void proto_reads_fini(struct proto_reads *reads);

struct proto_reader {
    struct proto_reads reads;
    struct proto_arena *arena;  /* borrowed */
    struct err_list *faults;    /* borrowed; faults that refuse the configuration */
    struct strbuf path;
};
void proto_reader_init(struct proto_reader *r, struct proto_arena *arena, struct err_list *faults);
void proto_reader_fini(struct proto_reader *r);

/* Marks a member as read and yields its value. The local's name is its own each time, so that reads nest. */
#define PROTO_READ(reads_, msg_, field_) PROTO_READ_1_(reads_, msg_, field_, __COUNTER__)
#define PROTO_READ_1_(reads_, msg_, field_, n_) PROTO_READ_2_(reads_, msg_, field_, n_)
#define PROTO_READ_2_(reads_, msg_, field_, n_)                                                    \
    ({                                                                                             \
        __auto_type read_msg_##n_ = (msg_);                                                        \
        addr_set_add(&(reads_)->read, &read_msg_##n_->field_);                                     \
        read_msg_##n_->field_;                                                                     \
    })
#define PROTO_GET(r_, msg_, field_) PROTO_READ(&(r_)->reads, msg_, field_)
/* Marks a repeated member as read and yields the number of its items. */
#define PROTO_LEN(r_, msg_, field_)                                                                \
    ({                                                                                             \
        __auto_type len_msg_ = (msg_);                                                             \
        addr_set_add(&(r_)->reads.read, &len_msg_->field_);                                        \
        len_msg_->n_##field_;                                                                      \
    })
/* A string or bytes member as a str. */
#define PROTO_STR(r_, msg_, field_) str_from(PROTO_GET(r_, msg_, field_))
#define PROTO_BYTES(r_, msg_, field_)                                                              \
    ({                                                                                             \
        ProtobufCBinaryData bytes_ = PROTO_GET(r_, msg_, field_);                                  \
        str_make((const char *)bytes_.data, bytes_.len);                                           \
    })

/* Claims the message with everything below it (node metadata, values handed on as they are). */
void proto_read_whole(struct proto_reader *r, const ProtobufCMessage *msg);

/* ---- where we are ---- */

/* Adds a segment ("clusters[3]"); gives the mark that proto_leave takes. */
size_t proto_enter(struct proto_reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void proto_leave(struct proto_reader *r, size_t mark);
struct proto_scope {
    struct proto_reader *r;
    size_t mark;
    bool done;
};
static inline void proto_scope_end(struct proto_scope *s)
{
    proto_leave(s->r, s->mark);
}
/* PROTO_IN (r, "clusters[%zu]", i) { ... }: the segment holds for the block, however it is left.
 * `break` and `continue` leave the block only, not a loop around it. */
#define PROTO_IN(r_, ...) PROTO_IN_1(__COUNTER__, r_, __VA_ARGS__)
#define PROTO_IN_1(n_, r_, ...) PROTO_IN_2(n_, r_, __VA_ARGS__)
#define PROTO_IN_2(n_, r_, ...)                                                                    \
    for (__attribute__((cleanup(proto_scope_end))) struct proto_scope proto_scope_##n_ =           \
             {(r_), proto_enter((r_), __VA_ARGS__), false};                                        \
         !proto_scope_##n_.done; proto_scope_##n_.done = true)
/* The present path, NUL-terminated. Valid until the path changes. */
const char *proto_path(const struct proto_reader *r);

/* Adds a fault at the present path plus `field` (may be NULL or ""; "a.b[2]" is fine). Returns code. */
int proto_fault(struct proto_reader *r, int code, const char *field, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* "<field>: <what> is not supported yet"; `what` NULL: the field itself isn't. */
void proto_unsupported(struct proto_reader *r, const char *field, const char *what);
/* For an enum member whose value isn't done: "lb_policy: MAGLEV is not supported yet". */
void proto_unsupported_enum(struct proto_reader *r, const char *field,
                            const ProtobufCEnumDescriptor *desc, int value);

/* ---- Any ---- */

/* The message that `any` holds, of whatever known type; marks the Any read and remembers the
 * message, so that the walk goes on into it under the Any's own path. NULL after a fault was added
 * at the present path plus `field` (unknown type: "<type> is not supported yet"; broken bytes), and
 * NULL without a fault for any == NULL. */
ProtobufCMessage *proto_any_read(struct proto_reader *r, const char *field,
                                 const Google__Protobuf__Any *any);
/* The same where only one type will do. */
ProtobufCMessage *proto_any_read_as(struct proto_reader *r, const char *field,
                                    const Google__Protobuf__Any *any,
                                    const ProtobufCMessageDescriptor *desc);
#define PROTO_ANY_AS(r_, field_, any_, c_type_, descriptor_)                                       \
    ((c_type_ *)proto_any_read_as(r_, field_, any_, &(descriptor_)))
/* The full type name in the URL ("envoy.extensions..."); null str for NULL. */
struct str proto_any_type(const Google__Protobuf__Any *any);

/* The same as proto_any_type and proto_any_read where a TypedStruct (udpa.type.v1, xds.type.v3) stands for the message of the
 * type that it names: that type, and the message decoded from its Struct, unknown fields being faults. */
struct str proto_any_content_type(struct proto_arena *arena, const Google__Protobuf__Any *any);
ProtobufCMessage *proto_any_read_content(struct proto_reader *r, const char *field, const Google__Protobuf__Any *any);

/* ---- values ---- */

/* NULL gives the default. Negative durations give 0 (rules refuse them where it matters). Milliseconds
 * are rounded down, but a positive duration never becomes 0. */
uint64_t proto_ms_or(const Google__Protobuf__Duration *d, uint64_t default_ms);
uint64_t proto_us_or(const Google__Protobuf__Duration *d, uint64_t default_us);
bool proto_bool_or(const Google__Protobuf__BoolValue *v, bool otherwise);
uint32_t proto_u32_or(const Google__Protobuf__UInt32Value *v, uint32_t otherwise);
uint64_t proto_u64_or(const Google__Protobuf__UInt64Value *v, uint64_t otherwise);
int32_t proto_i32_or(const Google__Protobuf__Int32Value *v, int32_t otherwise);
int64_t proto_i64_or(const Google__Protobuf__Int64Value *v, int64_t otherwise);
double proto_double_or(const Google__Protobuf__DoubleValue *v, double otherwise);
/* NULL gives the null str. */
struct str proto_string_or(const Google__Protobuf__StringValue *v, struct str otherwise);

/* ---- the walk ---- */

/* Adds to `list` "<path>: is not supported yet" for every field of msg that is set and was not read.
 * `prefix` goes before each path. Returns how many. */
size_t proto_unread(struct proto_reader *r, const ProtobufCMessage *msg, const char *prefix,
                    struct err_list *list);

#endif
