/* SPDX-License-Identifier: Apache-2.0
 *
 * Building blocks of resources: constants written as JSON, values, names.
 */
#include "control/translate/translate_priv.h"

#include <arpa/inet.h>

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"
#include "proto/json.h"

struct constants {
    struct proto_arena *arena;
    struct map *by_address;
};

struct constants *constants_new(void)
{
    struct constants *c = NEW(constants);
    c->arena = proto_arena_new(0);
    c->by_address = map_new();
    return c;
}

void constants_free(struct constants **c)
{
    if (!*c)
        return;
    map_free(&(*c)->by_address);
    proto_arena_free(&(*c)->arena);
    mem_free(*c);
    *c = NULL;
}

const ProtobufCMessage *constant(const struct translation *t, const ProtobufCMessageDescriptor *desc, const char *literal)
{
    const void *pair[] = {literal, desc}; /* equal literals may share an address */
    struct str key = str_make((const char *)pair, sizeof(pair));
    ProtobufCMessage *m = map_get(t->constants->by_address, key);
    if (m)
        return m;
    struct err_list faults = {0};
    int rc = json_decode(t->constants->arena, str_from(literal), desc, NULL, &m, &faults);
    CHECK(rc == 0);
    err_list_fini(&faults);
    map_set(t->constants->by_address, key, m);
    return m;
}

Google__Protobuf__Any *constant_any(const struct translation *t, const char *literal)
{
    return (Google__Protobuf__Any *)(uintptr_t)constant(t, &google__protobuf__any__descriptor, literal);
}

/* ---- memory ---- */

char *text(const struct translation *t, struct str s)
{
    return proto_arena_strdup(t->protos, s);
}

char *textf(const struct translation *t, const char *fmt, ...)
{
    struct strbuf b = {0};
    va_list ap;
    va_start(ap, fmt);
    strbuf_vaddf(&b, fmt, ap);
    va_end(ap);
    char *out = text(t, strbuf_str(&b));
    strbuf_fini(&b);
    return out;
}

void *pointers(const struct translation *t, size_t n)
{
    return proto_arena_alloc(t->protos, (n ? n : 1) * sizeof(void *));
}

void many_add(const struct translation *t, struct many *m, const void *item)
{
    if (m->count == m->cap) {
        size_t cap = m->cap ? m->cap * 2 : 4;
        void **grown = pointers(t, cap);
        if (m->count)
            memcpy(grown, m->items, m->count * sizeof(void *));
        m->items = grown;
        m->cap = cap;
    }
    m->items[m->count++] = (void *)(uintptr_t)item;
}

void many_add_all(const struct translation *t, struct many *m, const struct many *items)
{
    for (size_t i = 0; i < items->count; i++)
        many_add(t, m, items->items[i]);
}

/* ---- names ---- */

struct str cluster_name(struct arena *a, const char *direction, struct str subset, struct str host, uint32_t port)
{
    return arena_printf(a, "%s|%u|%.*s|%.*s", direction, port, STR_ARG(subset), STR_ARG(host));
}

struct str cluster_sni(struct arena *a, struct str subset, struct str host, uint32_t port)
{
    return arena_printf(a, "outbound_.%u_.%.*s_.%.*s", port, STR_ARG(subset), STR_ARG(host));
}

struct str cluster_name_host(struct str cluster)
{
    struct str rest = cluster;
    for (int i = 0; i < 3 && rest.p; i++)
        str_split(rest, '|', &rest);
    return rest;
}

/* ---- values ---- */

Envoy__Config__Core__V3__Address *address_of(const struct translation *t, struct str address, uint32_t port)
{
    Envoy__Config__Core__V3__Address *a = MAKE(t, Envoy__Config__Core__V3__Address, envoy__config__core__v3__address__descriptor);
    if (str_has_prefix(address, STR("unix://"))) {
        a->address_case = ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_PIPE;
        a->pipe = MAKE(t, Envoy__Config__Core__V3__Pipe, envoy__config__core__v3__pipe__descriptor);
        a->pipe->path = text(t, str_make(address.p + 7, address.n - 7));
        return a;
    }
    Envoy__Config__Core__V3__SocketAddress *s =
        MAKE(t, Envoy__Config__Core__V3__SocketAddress, envoy__config__core__v3__socket_address__descriptor);
    s->address = text(t, address);
    s->port_specifier_case = ENVOY__CONFIG__CORE__V3__SOCKET_ADDRESS__PORT_SPECIFIER_PORT_VALUE;
    s->port_value = port;
    a->address_case = ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_SOCKET_ADDRESS;
    a->socket_address = s;
    return a;
}

Google__Protobuf__Duration *duration_of_ms(const struct translation *t, uint64_t ms)
{
    Google__Protobuf__Duration *d = MAKE(t, Google__Protobuf__Duration, google__protobuf__duration__descriptor);
    d->seconds = (int64_t)(ms / 1000);
    d->nanos = (int32_t)(ms % 1000) * 1000000;
    return d;
}

Google__Protobuf__UInt32Value *u32_of(const struct translation *t, uint32_t v)
{
    Google__Protobuf__UInt32Value *out = MAKE(t, Google__Protobuf__UInt32Value, google__protobuf__uint32_value__descriptor);
    out->value = v;
    return out;
}

Google__Protobuf__BoolValue *bool_of(const struct translation *t, bool v)
{
    Google__Protobuf__BoolValue *out = MAKE(t, Google__Protobuf__BoolValue, google__protobuf__bool_value__descriptor);
    out->value = v;
    return out;
}

Google__Protobuf__Any *any_of(const struct translation *t, const ProtobufCMessage *m)
{
    return proto_pack_any(t->protos, m);
}

/* ---- Struct ---- */

Google__Protobuf__Struct *struct_new(const struct translation *t)
{
    return MAKE(t, Google__Protobuf__Struct, google__protobuf__struct__descriptor);
}

/* Structs of resources have a handful of fields: the array is made anew for each. */
void struct_add_value(const struct translation *t, Google__Protobuf__Struct *s, const char *key, Google__Protobuf__Value *value)
{
    Google__Protobuf__Struct__FieldsEntry *e =
        MAKE(t, Google__Protobuf__Struct__FieldsEntry, google__protobuf__struct__fields_entry__descriptor);
    e->key = text(t, str_from(key));
    e->value = value;
    Google__Protobuf__Struct__FieldsEntry **grown = pointers(t, s->n_fields + 1);
    if (s->n_fields)
        memcpy(grown, s->fields, s->n_fields * sizeof(grown[0]));
    grown[s->n_fields++] = e;
    s->fields = grown;
}

void struct_add(const struct translation *t, Google__Protobuf__Struct *s, const char *key, struct str value)
{
    struct_add_value(t, s, key, value_of_text(t, value));
}

static Google__Protobuf__Value *value_new(const struct translation *t)
{
    return MAKE(t, Google__Protobuf__Value, google__protobuf__value__descriptor);
}

Google__Protobuf__Value *value_of_bool(const struct translation *t, bool b)
{
    Google__Protobuf__Value *v = value_new(t);
    v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE;
    v->bool_value = b;
    return v;
}

Google__Protobuf__Value *value_of_text(const struct translation *t, struct str s)
{
    Google__Protobuf__Value *v = value_new(t);
    v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE;
    v->string_value = text(t, s);
    return v;
}

Google__Protobuf__Value *value_of_struct(const struct translation *t, Google__Protobuf__Struct *s)
{
    Google__Protobuf__Value *v = value_new(t);
    v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE;
    v->struct_value = s;
    return v;
}

Google__Protobuf__Value *value_of_list(const struct translation *t, Google__Protobuf__Value **items, size_t count)
{
    Google__Protobuf__Value *v = value_new(t);
    v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE;
    v->list_value = MAKE(t, Google__Protobuf__ListValue, google__protobuf__list_value__descriptor);
    v->list_value->values = items;
    v->list_value->n_values = count;
    return v;
}

/* ---- metadata ---- */

Envoy__Config__Core__V3__Metadata *metadata_of(const struct translation *t, const char *name, Google__Protobuf__Struct *value)
{
    Envoy__Config__Core__V3__Metadata *m = MAKE(t, Envoy__Config__Core__V3__Metadata, envoy__config__core__v3__metadata__descriptor);
    Envoy__Config__Core__V3__Metadata__FilterMetadataEntry *e = MAKE(
        t, Envoy__Config__Core__V3__Metadata__FilterMetadataEntry, envoy__config__core__v3__metadata__filter_metadata_entry__descriptor);
    e->key = text(t, str_from(name));
    e->value = value;
    m->filter_metadata = pointers(t, 1);
    m->filter_metadata[0] = e;
    m->n_filter_metadata = 1;
    return m;
}

/* "DestinationRule" -> "destination-rule" */
static void add_dashed(struct strbuf *b, const char *kind)
{
    for (const char *p = kind; *p; p++) {
        if (*p >= 'A' && *p <= 'Z' && p != kind)
            strbuf_addc(b, '-');
        strbuf_addc(b, ascii_lower(*p));
    }
}

static Google__Protobuf__Struct *istio_of(Envoy__Config__Core__V3__Metadata *m)
{
    for (size_t i = 0; m && i < m->n_filter_metadata; i++)
        if (strcmp(m->filter_metadata[i]->key, "istio") == 0)
            return m->filter_metadata[i]->value;
    return NULL;
}

void metadata_add_config(const struct translation *t, Envoy__Config__Core__V3__Metadata **m, const struct object *o)
{
    Google__Protobuf__Struct *istio = istio_of(*m);
    if (!istio) {
        istio = struct_new(t);
        *m = metadata_of(t, "istio", istio);
    }
    struct strbuf b = {0};
    strbuf_addf(&b, "/apis/%s/v1/namespaces/%.*s/", o->kind->group, STR_ARG(o->ns));
    add_dashed(&b, o->kind->name);
    strbuf_addf(&b, "/%.*s", STR_ARG(o->name));
    struct_add(t, istio, "config", strbuf_str(&b));
    strbuf_fini(&b);
}
