/* SPDX-License-Identifier: Apache-2.0
 *
 * The registry of types: finds them by name and makes protobuf-c's descriptors from the generated
 * tables when a type is first used, with every type that it refers to. Descriptors live as long as
 * the process. Any thread; building is under one lock. Invariant: `reserved3` of a message
 * descriptor is set, with release, once the descriptor and all that it reaches are complete.
 */
#include <pthread.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "proto/proto_priv.h"

#define TYPE_URL_PREFIX "type.googleapis.com/"

static pthread_mutex_t types_lock = PTHREAD_MUTEX_INITIALIZER;
static struct proto_arena *types_arena; /* under types_lock; never freed */

static const protobuf_c_boolean default_true = 1;

static void *types_alloc(size_t n)
{
    if (!types_arena)
        types_arena = proto_arena_new(0);
    void *p = proto_arena_alloc(types_arena, n);
    CHECK(p); /* bounded by the tables */
    return p;
}

static size_t message_index(const ProtobufCMessageDescriptor *desc)
{
    size_t i = ((uintptr_t)desc - (uintptr_t)proto_message_storage) / sizeof(*desc);
    CHECK(i < proto_table_message_count);
    return i;
}

static size_t enum_index(const ProtobufCEnumDescriptor *desc)
{
    size_t i = ((uintptr_t)desc - (uintptr_t)proto_enum_storage) / sizeof(*desc);
    CHECK(i < proto_table_enum_count);
    return i;
}

const struct proto_table_message *proto_type_row(const ProtobufCMessageDescriptor *desc)
{
    return &proto_table_messages[message_index(desc)];
}

static const char *after_last_dot(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

static const ProtobufCIntRange *ranges_new(const int *numbers, size_t n, unsigned *count)
{
    unsigned runs = 0;
    for (size_t i = 0; i < n; i++)
        runs += i == 0 || numbers[i] != numbers[i - 1] + 1;
    ProtobufCIntRange *ranges = types_alloc((runs + 1) * sizeof(*ranges));
    unsigned at = 0;
    for (size_t i = 0; i < n; i++)
        if (i == 0 || numbers[i] != numbers[i - 1] + 1)
            ranges[at++] = (ProtobufCIntRange){numbers[i], (unsigned)i};
    ranges[at] = (ProtobufCIntRange){0, (unsigned)n};
    *count = runs;
    return ranges;
}

static void enum_fill(size_t index)
{
    const struct proto_table_enum *row = &proto_table_enums[index];
    ProtobufCEnumDescriptor *desc = &proto_enum_storage[index];
    if (desc->magic)
        return;
    ProtobufCEnumValue *values = types_alloc(row->n_values * sizeof(*values));
    ProtobufCEnumValueIndex *names = types_alloc(row->n_names * sizeof(*names));
    int *numbers = mem_alloc(row->n_values * sizeof(*numbers) + 1);
    for (size_t i = 0; i < row->n_values; i++) {
        const struct proto_table_value *v = &proto_table_values[row->first_value + i];
        values[i] = (ProtobufCEnumValue){proto_text(v->name), "", v->number};
        numbers[i] = v->number;
    }
    for (size_t i = 0; i < row->n_names; i++) {
        const struct proto_table_alias *a = &proto_table_aliases[row->first_alias + i];
        names[i] = (ProtobufCEnumValueIndex){proto_text(a->name), a->index};
    }
    desc->name = proto_text(row->name);
    desc->short_name = after_last_dot(desc->name);
    desc->c_name = desc->package_name = "";
    desc->n_values = row->n_values;
    desc->values = values;
    desc->n_value_names = row->n_names;
    desc->values_by_name = names;
    desc->value_ranges = ranges_new(numbers, row->n_values, &desc->n_value_ranges);
    desc->magic = PROTOBUF_C__ENUM_DESCRIPTOR_MAGIC;
    mem_free(numbers);
}

/* None for members of a oneof: protobuf-c's generic init would write it into the shared memory, and
 * its unpacker then take it for a message to merge with. */
static const void *field_default(const struct proto_table_field *row)
{
    if (row->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return NULL;
    if (row->extra & PROTO_FIELD_EMPTY_STRING)
        return &protobuf_c_empty_string;
    return row->extra & PROTO_FIELD_DEFAULT_TRUE ? &default_true : NULL;
}

static const void *field_type(const struct proto_table_field *row)
{
    if (row->type_index == PROTO_TABLE_NONE)
        return NULL;
    if (row->type == PROTOBUF_C_TYPE_MESSAGE)
        return &proto_message_storage[row->type_index];
    enum_fill(row->type_index);
    return &proto_enum_storage[row->type_index];
}

static void field_fill(ProtobufCFieldDescriptor *field, const struct proto_table_field *row)
{
    field->name = proto_text(row->name);
    field->id = row->id;
    field->label = row->label;
    field->type = row->type;
    field->quantifier_offset = row->quantifier_offset;
    field->offset = row->offset;
    field->descriptor = field_type(row);
    field->default_value = field_default(row);
    field->flags = row->flags;
    field->reserved_flags = row->extra;
    field->reserved2 = (void *)(uintptr_t)row->rules;
}

static void message_fill_fields(ProtobufCMessageDescriptor *desc,
                                const struct proto_table_message *row)
{
    ProtobufCFieldDescriptor *fields = types_alloc(row->n_fields * sizeof(*fields));
    unsigned *by_name = types_alloc(row->n_fields * sizeof(*by_name));
    int *numbers = mem_alloc(row->n_fields * sizeof(*numbers));
    for (size_t i = 0; i < row->n_fields; i++) {
        field_fill(&fields[i], &proto_table_fields[row->first_field + i]);
        by_name[i] = proto_table_fields_by_name[row->first_field + i];
        numbers[i] = (int)fields[i].id;
    }
    desc->n_fields = row->n_fields;
    desc->fields = fields;
    desc->fields_sorted_by_name = by_name;
    desc->field_ranges = ranges_new(numbers, row->n_fields, &desc->n_field_ranges);
    mem_free(numbers);
}

static enum proto_wkt wkt_of(const char *name)
{
    static const struct {
        const char *name;
        enum proto_wkt wkt;
    } known[] = {
        {"Any", WKT_ANY},           {"BoolValue", WKT_WRAPPER},       {"BytesValue", WKT_WRAPPER},
        {"DoubleValue", WKT_WRAPPER}, {"Duration", WKT_DURATION},     {"Empty", WKT_EMPTY},
        {"FieldMask", WKT_FIELD_MASK}, {"FloatValue", WKT_WRAPPER},   {"Int32Value", WKT_WRAPPER},
        {"Int64Value", WKT_WRAPPER}, {"ListValue", WKT_LIST_VALUE},   {"StringValue", WKT_WRAPPER},
        {"Struct", WKT_STRUCT},     {"Timestamp", WKT_TIMESTAMP},     {"UInt32Value", WKT_WRAPPER},
        {"UInt64Value", WKT_WRAPPER}, {"Value", WKT_VALUE},
    };
    static const char package[] = "google.protobuf.";
    if (strncmp(name, package, sizeof(package) - 1) != 0)
        return WKT_NONE;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(name + sizeof(package) - 1, known[i].name) == 0)
            return known[i].wkt;
    return WKT_NONE;
}

static void message_fill(size_t index)
{
    const struct proto_table_message *row = &proto_table_messages[index];
    ProtobufCMessageDescriptor *desc = &proto_message_storage[index];
    CHECK(row->n_fields <= PROTO_FIELDS_MAX);
    desc->name = proto_text(row->name);
    desc->short_name = after_last_dot(desc->name);
    desc->c_name = desc->package_name = "";
    desc->sizeof_message = row->sizeof_message;
    desc->reserved1 = (void *)(uintptr_t)wkt_of(desc->name);
    if (row->n_fields)
        message_fill_fields(desc, row);
    desc->magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC;
}

/* Fills the type and, breadth first, every type below it that isn't there yet. */
static void closure_fill(size_t index)
{
    uint16_t *queue = mem_alloc(proto_table_message_count * sizeof(*queue));
    size_t head = 0, tail = 0;
    message_fill(index);
    queue[tail++] = (uint16_t)index;
    for (; head < tail; head++) {
        const struct proto_table_message *row = &proto_table_messages[queue[head]];
        for (size_t i = 0; i < row->n_fields; i++) {
            const struct proto_table_field *f = &proto_table_fields[row->first_field + i];
            if (f->type != PROTOBUF_C_TYPE_MESSAGE || proto_message_storage[f->type_index].magic)
                continue;
            message_fill(f->type_index);
            queue[tail++] = f->type_index;
        }
    }
    for (size_t i = 0; i < tail; i++)
        __atomic_store_n(&proto_message_storage[queue[i]].reserved3, (void *)1, __ATOMIC_RELEASE);
    mem_free(queue);
}

const ProtobufCMessageDescriptor *proto_type_ready(const ProtobufCMessageDescriptor *desc)
{
    size_t index = message_index(desc);
    ProtobufCMessageDescriptor *storage = &proto_message_storage[index];
    if (!__atomic_load_n(&storage->reserved3, __ATOMIC_ACQUIRE)) {
        pthread_mutex_lock(&types_lock);
        if (!storage->reserved3)
            closure_fill(index);
        pthread_mutex_unlock(&types_lock);
    }
    /* The headers declare descriptors const: a compiler that sees the whole program may carry over
     * what it read before. From here on it must look again. */
    __asm__ volatile("" : "+r"(storage) : : "memory");
    return storage;
}

const ProtobufCMessageDescriptor *proto_type_find(struct str name)
{
    const char *slash = name.n ? memrchr(name.p, '/', name.n) : NULL;
    if (slash)
        name = str_make(slash + 1, name.n - (size_t)(slash + 1 - name.p));
    size_t low = 0, high = proto_table_message_count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        int order = str_cmp(name, str_from(proto_text(proto_table_messages[mid].name)));
        if (order == 0)
            return proto_type_ready(&proto_message_storage[mid]);
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

char *proto_type_url(struct proto_arena *arena, const ProtobufCMessageDescriptor *desc)
{
    const char *name = proto_text(proto_type_row(desc)->name);
    size_t n = strlen(name), prefix = sizeof(TYPE_URL_PREFIX) - 1;
    char *url = proto_arena_alloc(arena, prefix + n + 1);
    if (url) {
        memcpy(url, TYPE_URL_PREFIX, prefix);
        memcpy(url + prefix, name, n);
    }
    return url;
}

bool proto_type_is_map_entry(const ProtobufCMessageDescriptor *desc)
{
    return proto_type_row(desc)->flags & PROTO_MESSAGE_MAP_ENTRY;
}

const char *proto_enum_name(const ProtobufCEnumDescriptor *desc, int number)
{
    pthread_mutex_lock(&types_lock);
    enum_fill(enum_index(desc));
    pthread_mutex_unlock(&types_lock);
    const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(desc, number);
    return v ? v->name : NULL;
}

bool proto_enum_number(const ProtobufCEnumDescriptor *desc, struct str name, int *out)
{
    pthread_mutex_lock(&types_lock);
    enum_fill(enum_index(desc));
    pthread_mutex_unlock(&types_lock);
    for (size_t i = 0; i < desc->n_value_names; i++)
        if (str_eq(name, str_from(desc->values_by_name[i].name))) {
            *out = desc->values[desc->values_by_name[i].index].value;
            return true;
        }
    return false;
}
