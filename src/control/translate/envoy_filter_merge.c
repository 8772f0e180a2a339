/* SPDX-License-Identifier: Apache-2.0
 *
 * How a patch changes a message: Protobuf's merging, but that a duration takes another's place, and that lists do where the patch says
 * so.
 */
#include "control/translate/envoy_filter_priv.h"

/* Unsets in `into` what `from` takes the place of. Both are nobody else's. */
static void make_room(ProtobufCMessage *into, const ProtobufCMessage *from, bool replaces_lists)
{
    for (size_t i = 0; i < from->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &from->descriptor->fields[i];
        bool is_list = f->label == PROTOBUF_C_LABEL_REPEATED;
        if (!proto_field_is_set(from, f) || !proto_field_is_set(into, f))
            continue;
        if (is_list ? replaces_lists && !proto_field_is_map(f)
                    : f->type == PROTOBUF_C_TYPE_MESSAGE && f->descriptor == &google__protobuf__duration__descriptor)
            proto_field_clear(into, f);
        else if (!is_list && f->type == PROTOBUF_C_TYPE_MESSAGE)
            make_room(proto_field_message(into, f, 0), proto_field_message(from, f, 0), replaces_lists);
    }
}

static void merge(const struct translation *t, const struct patch *p, ProtobufCMessage *into, const ProtobufCMessage *from)
{
    make_room(into, from, p->operation == OPERATION(MERGE_AND_REPLACE_LIST));
    (void)proto_merge(t->protos, into, from);
}

/* A socket is merged by its own rule before (patch_merge_socket). */
void patch_merge(const struct translation *t, struct patch *p, ProtobufCMessage *into)
{
    ProtobufCMessage *from = patch_value(t, p);
    if (!from)
        return;
    const ProtobufCFieldDescriptor *socket = proto_field_find(from->descriptor, STR("transport_socket"));
    if (socket)
        proto_field_clear(from, socket);
    merge(t, p, into, from);
}

Google__Protobuf__Any *merge_any(const struct translation *t, struct patch *p, Google__Protobuf__Any *into, const Google__Protobuf__Any *from)
{
    ProtobufCMessage *base, *change;
    struct err err = {0};
    if (!into || !from)
        return from ? (Google__Protobuf__Any *)(uintptr_t)from : into;
    if (proto_unpack_any(t->protos, into, &base, &err) || proto_unpack_any(t->protos, from, &change, &err)) {
        patch_refuse(p, err.message);
        return into;
    }
    if (base->descriptor != change->descriptor) {
        patch_refuse(p, "patch.value.typed_config has another type than what it would be merged into");
        return into;
    }
    base = proto_clone(t->protos, base); /* what an Any holds is remembered with it */
    merge(t, p, base, change);
    return any_of(t, base);
}

void patch_merge_socket(const struct translation *t, struct patch *p, Envoy__Config__Core__V3__TransportSocket *into,
                        const Envoy__Config__Core__V3__TransportSocket *from)
{
    into->typed_config = merge_any(t, p, into->typed_config, from->typed_config);
    into->config_type_case = ENVOY__CONFIG__CORE__V3__TRANSPORT_SOCKET__CONFIG_TYPE_TYPED_CONFIG;
}

/* ---- lists ---- */

static void insert(const struct translation *t, void *value, size_t at, void ***items, size_t *count)
{
    void **grown = pointers(t, *count + 1);
    if (at)
        memcpy(grown, *items, at * sizeof(void *));
    grown[at] = value;
    if (*count > at)
        memcpy(grown + at + 1, *items + at, (*count - at) * sizeof(void *));
    *items = grown;
    (*count)++;
}

static void remove_all(const struct patch *p, patch_matches_fn matches, void **items, size_t *count)
{
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++)
        if (!matches(items[i], p))
            items[kept++] = items[i];
    *count = kept;
}

/* Of a patch that names nothing, before is first and after is last. */
void patch_list(const struct translation *t, struct patch *p, bool is_picky, patch_matches_fn matches, void ***items, size_t *count)
{
    size_t at = 0;
    if (p->operation == OPERATION(REMOVE)) {
        remove_all(p, matches, *items, count);
        return;
    }
    while (is_picky && at < *count && !matches((*items)[at], p))
        at++;
    bool is_found = !is_picky || at < *count;
    ProtobufCMessage *value = is_found || p->operation == OPERATION(ADD) ? patch_value(t, p) : NULL;
    if (!value)
        return;
    switch (p->operation) {
    case OPERATION(ADD):
        insert(t, value, *count, items, count);
        break;
    case OPERATION(INSERT_FIRST):
        insert(t, value, 0, items, count);
        break;
    case OPERATION(INSERT_BEFORE):
        insert(t, value, at, items, count);
        break;
    case OPERATION(INSERT_AFTER):
        insert(t, value, is_picky ? at + 1 : *count, items, count);
        break;
    case OPERATION(REPLACE):
        if (is_picky)
            (*items)[at] = value;
        break;
    default:
        break;
    }
}
