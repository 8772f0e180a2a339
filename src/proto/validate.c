/* SPDX-License-Identifier: Apache-2.0
 *
 * The walk that enforces validate.rules on a message, on everything below it and in its Any fields.
 * Goes on after a violation. Rules are unpacked from the tables when a field first meets one and
 * kept for the process; that is under a lock, the rest is pure but for the arena.
 */
#include "proto/validate.h"

#include <pthread.h>
#include <stdio.h>

#include "base/check.h"
#include "base/map.h"
#include "proto/rules_priv.h"

struct validator {
    struct proto_arena *arena;
    struct err_list *faults;
    struct strbuf path, why;
    size_t found;
    int depth;
};

static pthread_mutex_t rules_lock = PTHREAD_MUTEX_INITIALIZER;
static struct proto_arena *rules_arena;           /* under rules_lock; never freed */
static const Validate__FieldRules **rules_cache; /* by index in the tables; slots are set once */

static void check_message(struct validator *v, const ProtobufCMessage *msg);
static void check_value(struct validator *v, const Validate__FieldRules *rules,
                        const ProtobufCFieldDescriptor *field, const void *value);

/* ---- rules ---- */

static const Validate__FieldRules *rules_unpack(unsigned index)
{
    const struct proto_table_rules *row = &proto_table_rules[index];
    ProtobufCMessage *msg;
    CHECK(index < proto_table_rules_count);
    int rc = proto_unpack(rules_arena, &validate__field_rules__descriptor,
                          str_make((const char *)proto_table_rule_bytes + row->offset, row->n), &msg, NULL);
    CHECK(rc == 0);
    return (const Validate__FieldRules *)msg;
}

static const Validate__FieldRules *rules_of(const ProtobufCFieldDescriptor *field)
{
    unsigned index = proto_field_rules(field);
    if (index == 0)
        return NULL;
    pthread_mutex_lock(&rules_lock);
    if (!rules_cache) {
        rules_arena = proto_arena_new(0);
        rules_cache = proto_arena_alloc(rules_arena, proto_table_rules_count * sizeof(*rules_cache));
        CHECK(rules_cache);
    }
    if (!rules_cache[index])
        rules_cache[index] = rules_unpack(index);
    pthread_mutex_unlock(&rules_lock);
    return rules_cache[index];
}

/* ---- faults and paths ---- */

static void violation(struct validator *v, const char *text)
{
    struct err err = {0};
    err_set(&err, ERR_INVALID, "%s", text);
    snprintf(err.path, sizeof(err.path), "%s", v->path.p ? v->path.p : "");
    err_list_add(v->faults, &err);
    v->found++;
}

static void violation_why(struct validator *v)
{
    violation(v, v->why.p ? v->why.p : "is not valid");
    strbuf_reset(&v->why);
}

static size_t enter(struct validator *v, const char *name)
{
    size_t mark = v->path.n;
    if (mark)
        strbuf_addc(&v->path, '.');
    strbuf_addz(&v->path, name);
    return mark;
}

static void leave(struct validator *v, size_t mark)
{
    v->path.n = mark;
    if (v->path.p)
        v->path.p[mark] = 0;
}

/* ---- values ---- */

static void check_enum(struct validator *v, const Validate__EnumRules *rules,
                       const ProtobufCEnumDescriptor *desc, int32_t value)
{
    bool in = rules->n_in == 0, out = false;
    for (size_t i = 0; i < rules->n_in; i++)
        in |= rules->in[i] == value;
    for (size_t i = 0; i < rules->n_not_in; i++)
        out |= rules->not_in[i] == value;
    const char *name = proto_enum_name(desc, value);
    if (rules->has_defined_only && rules->defined_only && !name)
        strbuf_addf(&v->why, "%d is no value of %s", value, desc->name);
    else if (!in || out || (rules->has_const_ && rules->const_ != value))
        strbuf_addf(&v->why, "%s is not allowed here", name ? name : "this value");
    else
        return;
    violation_why(v);
}

static bool any_listed(char *const *items, size_t n, const char *url)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(items[i], url) == 0)
            return true;
    return false;
}

static void check_any_rules(struct validator *v, const Validate__AnyRules *rules,
                            const Google__Protobuf__Any *any)
{
    if ((rules->n_in && !any_listed(rules->in, rules->n_in, any->type_url)) ||
        any_listed(rules->not_in, rules->n_not_in, any->type_url)) {
        strbuf_addf(&v->why, "must not hold the type '%s'", any->type_url);
        violation_why(v);
    }
}

static void check_bool(struct validator *v, const Validate__BoolRules *rules, protobuf_c_boolean value)
{
    if (rules->has_const_ && !rules->const_ != !value)
        violation(v, rules->const_ ? "must be true" : "must be false");
}

/* A scalar, or the scalar in a wrapper. */
static void check_scalar(struct validator *v, const Validate__FieldRules *rules,
                         const ProtobufCFieldDescriptor *field, const void *value)
{
    bool ok = true;
    const ProtobufCBinaryData *bytes = value;
    switch (rules->type_case) {
    case VALIDATE__FIELD_RULES__TYPE__NOT_SET:
        break;
    case VALIDATE__FIELD_RULES__TYPE_BOOL:
        check_bool(v, rules->bool_, *(const protobuf_c_boolean *)value);
        break;
    case VALIDATE__FIELD_RULES__TYPE_ENUM:
        check_enum(v, rules->enum_, field->descriptor, *(const int32_t *)value);
        break;
    case VALIDATE__FIELD_RULES__TYPE_STRING:
        ok = rules_string(rules->string, str_from(*(char *const *)value), &v->why);
        break;
    case VALIDATE__FIELD_RULES__TYPE_BYTES:
        ok = rules_bytes(rules->bytes, str_make((const char *)bytes->data, bytes->len), &v->why);
        break;
    case VALIDATE__FIELD_RULES__TYPE_REPEATED:
    case VALIDATE__FIELD_RULES__TYPE_MAP:
    case VALIDATE__FIELD_RULES__TYPE_ANY:
        break;
    default: /* numbers, durations, timestamps: one shape, see rules_number.c */
        ok = rules_number(&rules->int32->base, field->type, value, &v->why);
        break;
    }
    if (!ok)
        violation_why(v);
}

static void check_submessage(struct validator *v, const Validate__FieldRules *rules,
                             const ProtobufCFieldDescriptor *field, const void *value)
{
    const ProtobufCMessage *msg = *(ProtobufCMessage *const *)value;
    enum proto_wkt wkt = proto_type_wkt(field->descriptor);
    if (rules && wkt == WKT_WRAPPER) {
        const ProtobufCFieldDescriptor *inner = &msg->descriptor->fields[0];
        check_scalar(v, rules, inner, proto_member(msg, inner->offset));
    } else if (rules && (wkt == WKT_DURATION || wkt == WKT_TIMESTAMP)) {
        check_scalar(v, rules, field, value);
    } else if (rules && rules->type_case == VALIDATE__FIELD_RULES__TYPE_ANY) {
        check_any_rules(v, rules->any, (const Google__Protobuf__Any *)msg);
    }
    if (!rules || !rules->message || !rules->message->has_skip || !rules->message->skip)
        check_message(v, msg);
}

static void check_value(struct validator *v, const Validate__FieldRules *rules,
                        const ProtobufCFieldDescriptor *field, const void *value)
{
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        check_submessage(v, rules, field, value);
    else if (rules)
        check_scalar(v, rules, field, value);
}

/* ---- repeated fields and maps ---- */

static void check_count(struct validator *v, const char *unit, size_t n, bool has_min, uint64_t min,
                        bool has_max, uint64_t max)
{
    if (has_min && n < min)
        strbuf_addf(&v->why, "must have at least %llu %s%s, has %zu", (unsigned long long)min, unit,
                    min == 1 ? "" : "s", n);
    else if (has_max && n > max)
        strbuf_addf(&v->why, "must have at most %llu %s%s, has %zu", (unsigned long long)max, unit,
                    max == 1 ? "" : "s", n);
    else
        return;
    violation_why(v);
}

static struct str scalar_bytes(const ProtobufCFieldDescriptor *field, const void *value)
{
    const ProtobufCBinaryData *bytes = value;
    if (field->type == PROTOBUF_C_TYPE_STRING)
        return str_from(*(char *const *)value);
    if (field->type == PROTOBUF_C_TYPE_BYTES)
        return str_make((const char *)bytes->data, bytes->len);
    return str_make(value, proto_item_bytes(field->type));
}

static void check_unique(struct validator *v, const ProtobufCMessage *msg,
                         const ProtobufCFieldDescriptor *field, size_t n)
{
    bool twice = false;
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return; /* PGV has it for scalars only */
    struct map *seen = map_new();
    for (size_t i = 0; i < n && !twice; i++)
        twice = map_set(seen, scalar_bytes(field, proto_field_at(msg, field, i)), seen) != NULL;
    map_free(&seen);
    if (twice)
        violation(v, "must not hold the same value twice");
}

static void check_repeated(struct validator *v, const Validate__FieldRules *all,
                           const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field)
{
    const Validate__RepeatedRules *rules =
        all && all->type_case == VALIDATE__FIELD_RULES__TYPE_REPEATED ? all->repeated : NULL;
    size_t n = proto_field_count(msg, field);
    if (rules && !(n == 0 && rules->has_ignore_empty && rules->ignore_empty)) {
        check_count(v, "item", n, rules->has_min_items, rules->min_items, rules->has_max_items,
                    rules->max_items);
        if (rules->has_unique && rules->unique)
            check_unique(v, msg, field, n);
    }
    const Validate__FieldRules *items = rules ? rules->items : NULL;
    if (!items && field->type != PROTOBUF_C_TYPE_MESSAGE)
        return;
    for (size_t i = 0; i < n; i++) {
        size_t mark = v->path.n;
        strbuf_addf(&v->path, "[%zu]", i);
        check_value(v, items, field, proto_field_at(msg, field, i));
        leave(v, mark);
    }
}

static void check_entry(struct validator *v, const Validate__MapRules *rules,
                        const ProtobufCMessage *entry, size_t index)
{
    const ProtobufCFieldDescriptor *f = entry->descriptor->fields;
    size_t mark = v->path.n;
    if (f[0].type == PROTOBUF_C_TYPE_STRING)
        strbuf_addf(&v->path, "[\"%s\"]", *(char *const *)proto_member(entry, f[0].offset));
    else
        strbuf_addf(&v->path, "[%zu]", index);
    if (rules && rules->keys)
        check_value(v, rules->keys, &f[0], proto_member(entry, f[0].offset));
    bool missing = f[1].type == PROTOBUF_C_TYPE_MESSAGE && !proto_field_is_set(entry, &f[1]);
    if (missing && rules && rules->has_no_sparse && rules->no_sparse)
        violation(v, "must have a value");
    if (!missing)
        check_value(v, rules ? rules->values : NULL, &f[1], proto_member(entry, f[1].offset));
    leave(v, mark);
}

static void check_map(struct validator *v, const Validate__FieldRules *all,
                      const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field)
{
    const Validate__MapRules *rules =
        all && all->type_case == VALIDATE__FIELD_RULES__TYPE_MAP ? all->map : NULL;
    size_t n = proto_field_count(msg, field);
    if (rules && !(n == 0 && rules->has_ignore_empty && rules->ignore_empty))
        check_count(v, "entry", n, rules->has_min_pairs, rules->min_pairs, rules->has_max_pairs,
                    rules->max_pairs);
    for (size_t i = 0; i < n; i++)
        check_entry(v, rules, proto_field_message(msg, field, i), i);
}

/* ---- messages ---- */

static bool is_required(const Validate__FieldRules *rules)
{
    if (rules->message && rules->message->has_required && rules->message->required)
        return true;
    switch (rules->type_case) {
    case VALIDATE__FIELD_RULES__TYPE_ANY:
        return rules->any->has_required && rules->any->required;
    case VALIDATE__FIELD_RULES__TYPE_DURATION:
        return rules->duration->has_required && rules->duration->required;
    case VALIDATE__FIELD_RULES__TYPE_TIMESTAMP:
        return rules->timestamp->has_required && rules->timestamp->required;
    default:
        return false;
    }
}

static void check_field(struct validator *v, const ProtobufCMessage *msg,
                        const ProtobufCFieldDescriptor *field)
{
    const Validate__FieldRules *rules = rules_of(field);
    bool is_message = field->type == PROTOBUF_C_TYPE_MESSAGE;
    if (!rules && !is_message)
        return;
    size_t mark = enter(v, field->name);
    if (proto_field_is_map(field))
        check_map(v, rules, msg, field);
    else if (field->label == PROTOBUF_C_LABEL_REPEATED)
        check_repeated(v, rules, msg, field);
    else if (proto_field_is_set(msg, field))
        check_value(v, rules, field, proto_field_at(msg, field, 0));
    else if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        (void)0; /* rules of a member hold when it is chosen */
    else if (is_message && rules && is_required(rules))
        violation(v, "must be set");
    else if (!is_message && field->label == PROTOBUF_C_LABEL_NONE)
        check_scalar(v, rules, field, proto_field_at(msg, field, 0));
    leave(v, mark);
}

static void check_oneofs(struct validator *v, const ProtobufCMessage *msg)
{
    const struct proto_table_message *row = proto_type_row(msg->descriptor);
    for (unsigned i = 0; i < row->n_oneofs; i++) {
        const struct proto_table_oneof *oneof = &proto_table_oneofs[row->first_oneof + i];
        if (!oneof->is_required || *(uint32_t *)proto_member(msg, oneof->quantifier_offset) != 0)
            continue;
        size_t mark = enter(v, proto_text(oneof->name));
        const char *before = "one of ";
        for (unsigned k = 0; k < msg->descriptor->n_fields; k++) {
            const ProtobufCFieldDescriptor *f = &msg->descriptor->fields[k];
            if (!(f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) || f->quantifier_offset != oneof->quantifier_offset)
                continue;
            strbuf_addf(&v->why, "%s%s", before, f->name);
            before = ", ";
        }
        strbuf_addz(&v->why, " must be set");
        violation_why(v);
        leave(v, mark);
    }
}

static void check_any(struct validator *v, const Google__Protobuf__Any *any)
{
    struct err err = {0};
    ProtobufCMessage *msg;
    if (!*any->type_url && any->value.len == 0)
        return;
    int rc = proto_unpack_any(v->arena, any, &msg, &err);
    if (rc == 0) {
        check_message(v, msg);
    } else if (rc != ERR_NOT_FOUND) {
        strbuf_addf(&v->why, "%s%s%s", err.path, *err.path ? ": " : "", err.message);
        violation_why(v);
    }
}

static void check_message(struct validator *v, const ProtobufCMessage *msg)
{
    enum proto_wkt wkt = proto_type_wkt(msg->descriptor);
    if (v->depth >= PROTO_DEPTH_MAX) { /* Any in Any in Any ... */
        violation(v, "messages are nested too deeply");
        return;
    }
    v->depth++;
    if (wkt == WKT_ANY)
        check_any(v, (const Google__Protobuf__Any *)msg);
    if (wkt == WKT_NONE && !(proto_type_row(msg->descriptor)->flags & PROTO_MESSAGE_NO_RULES)) {
        for (unsigned i = 0; i < msg->descriptor->n_fields; i++)
            check_field(v, msg, &msg->descriptor->fields[i]);
        check_oneofs(v, msg);
    }
    v->depth--;
}

int proto_validate(struct proto_arena *arena, const ProtobufCMessage *msg, const char *prefix,
                   struct err_list *faults)
{
    struct validator v = {.arena = arena, .faults = faults};
    strbuf_addz(&v.path, prefix ? prefix : "");
    proto_type_ready(msg->descriptor);
    check_message(&v, msg);
    strbuf_fini(&v.path);
    strbuf_fini(&v.why);
    return v.found ? ERR_INVALID : 0;
}
