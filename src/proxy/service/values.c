/* SPDX-License-Identifier: Apache-2.0
 *
 * Struct values to metadata and back. Recursion is as deep as the value is: what comes from outside went through the
 * decoder's depth limit, what goes out came from there or from configuration. Any thread.
 */
#include "proxy/service/values.h"

#include "proto/message.h"

#define KIND(x) GOOGLE__PROTOBUF__VALUE__KIND_##x

struct meta_value value_from_struct(const Google__Protobuf__Struct *m, struct arena *a)
{
    struct meta_value v = {.kind = META_STRUCT};
    if (!m || !m->n_fields)
        return v;
    v.u.fields.items = arena_zalloc(a, m->n_fields * sizeof *v.u.fields.items);
    for (size_t i = 0; v.u.fields.items && i < m->n_fields; i++) {
        struct meta_field *f = &v.u.fields.items[v.u.fields.count++];
        f->name = arena_str(a, str_from(m->fields[i]->key));
        f->value = value_from_pb(m->fields[i]->value, a);
    }
    return v;
}

static struct meta_value list_from(const Google__Protobuf__ListValue *m, struct arena *a)
{
    struct meta_value v = {.kind = META_LIST};
    v.u.list.items = m->n_values ? arena_zalloc(a, m->n_values * sizeof *v.u.list.items) : NULL;
    for (size_t i = 0; v.u.list.items && i < m->n_values; i++)
        v.u.list.items[v.u.list.count++] = value_from_pb(m->values[i], a);
    return v;
}

struct meta_value value_from_pb(const Google__Protobuf__Value *m, struct arena *a)
{
    switch (m ? m->kind_case : KIND(NULL_VALUE)) {
    case KIND(BOOL_VALUE):
        return (struct meta_value){.kind = META_BOOL, .u.boolean = m->bool_value};
    case KIND(NUMBER_VALUE):
        return (struct meta_value){.kind = META_NUMBER, .u.number = m->number_value};
    case KIND(STRING_VALUE):
        return (struct meta_value){.kind = META_STRING, .u.string = arena_str(a, str_from(m->string_value))};
    case KIND(LIST_VALUE):
        return list_from(m->list_value, a);
    case KIND(STRUCT_VALUE):
        return value_from_struct(m->struct_value, a);
    default:
        return (struct meta_value){.kind = META_NULL};
    }
}

char *text_to_pb(struct str s, struct proto_arena *a)
{
    char *p = proto_arena_strdup(a, s);
    if (!p)
        return (char *)(uintptr_t)"";
    for (size_t i = 0; i < s.n;) {
        size_t n = str_utf8_sequence(str_make(p + i, s.n - i));
        if (!n || !p[i])
            p[i] = '?';
        i += n ? n : 1;
    }
    return p;
}

Google__Protobuf__Struct *value_to_struct(const struct meta_value *v, struct proto_arena *a)
{
    Google__Protobuf__Struct *m = PROTO_NEW(a, Google__Protobuf__Struct, google__protobuf__struct__descriptor);
    uint32_t n = v && v->kind == META_STRUCT ? v->u.fields.count : 0;
    if (!m || !n)
        return m;
    m->fields = proto_arena_alloc(a, n * sizeof *m->fields);
    for (uint32_t i = 0; m->fields && i < n; i++) {
        Google__Protobuf__Struct__FieldsEntry *e =
            PROTO_NEW(a, Google__Protobuf__Struct__FieldsEntry, google__protobuf__struct__fields_entry__descriptor);
        if (!e)
            break;
        e->key = text_to_pb(v->u.fields.items[i].name, a);
        e->value = value_to_pb(&v->u.fields.items[i].value, a);
        if (!e->value)
            break;
        m->fields[m->n_fields++] = e;
    }
    return m;
}

static Google__Protobuf__ListValue *list_to(const struct meta_value *v, struct proto_arena *a)
{
    Google__Protobuf__ListValue *m = PROTO_NEW(a, Google__Protobuf__ListValue, google__protobuf__list_value__descriptor);
    uint32_t n = v->u.list.count;
    if (!m || !n)
        return m;
    m->values = proto_arena_alloc(a, n * sizeof *m->values);
    for (uint32_t i = 0; m->values && i < n; i++) {
        Google__Protobuf__Value *item = value_to_pb(&v->u.list.items[i], a);
        if (!item)
            break;
        m->values[m->n_values++] = item;
    }
    return m;
}

Google__Protobuf__Value *value_to_pb(const struct meta_value *v, struct proto_arena *a)
{
    Google__Protobuf__Value *m = PROTO_NEW(a, Google__Protobuf__Value, google__protobuf__value__descriptor);
    if (!m)
        return NULL;
    switch (v->kind) {
    case META_NULL:
        m->kind_case = KIND(NULL_VALUE);
        break;
    case META_BOOL:
        m->kind_case = KIND(BOOL_VALUE);
        m->bool_value = v->u.boolean;
        break;
    case META_NUMBER:
        m->kind_case = KIND(NUMBER_VALUE);
        m->number_value = v->u.number;
        break;
    case META_STRING:
        m->kind_case = KIND(STRING_VALUE);
        m->string_value = text_to_pb(v->u.string, a);
        break;
    case META_LIST:
        m->kind_case = KIND(LIST_VALUE);
        m->list_value = list_to(v, a);
        return m->list_value ? m : NULL;
    case META_STRUCT:
        m->kind_case = KIND(STRUCT_VALUE);
        m->struct_value = value_to_struct(v, a);
        return m->struct_value ? m : NULL;
    }
    return m;
}

Envoy__Config__Core__V3__Address *address_to_pb(const struct addr *from, struct proto_arena *a)
{
    char ip[ADDR_TEXT_BYTES];
    if (!from)
        return NULL;
    Envoy__Config__Core__V3__Address *m = PROTO_NEW(a, Envoy__Config__Core__V3__Address, envoy__config__core__v3__address__descriptor);
    if (!m)
        return NULL;
    if (!addr_is_ip(from)) {
        m->pipe = PROTO_NEW(a, Envoy__Config__Core__V3__Pipe, envoy__config__core__v3__pipe__descriptor);
        m->address_case = m->pipe ? ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_PIPE : 0;
        if (m->pipe)
            m->pipe->path = text_to_pb(str_from(addr_text(from, ip)), a);
        return m;
    }
    m->socket_address = PROTO_NEW(a, Envoy__Config__Core__V3__SocketAddress, envoy__config__core__v3__socket_address__descriptor);
    if (!m->socket_address)
        return NULL;
    m->address_case = ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_SOCKET_ADDRESS;
    m->socket_address->address = text_to_pb(str_from(addr_ip_text(from, ip)), a);
    m->socket_address->port_specifier_case = ENVOY__CONFIG__CORE__V3__SOCKET_ADDRESS__PORT_SPECIFIER_PORT_VALUE;
    m->socket_address->port_value = addr_port(from);
    return m;
}
