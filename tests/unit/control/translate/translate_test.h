/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of this room share: a world from YAML, a node, and what the node would be sent, as JSON by "part name".
 */
#ifndef TRANSLATE_TEST_H
#define TRANSLATE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/map.h"
#include "base/mem.h"
#include "control/translate/translate.h"
#include "envoy/config/core/v3/base.pb-c.h"
#include "model/object.h"
#include "proto/json.h"

struct sent {
    struct resource_sink sink; /* first */
    const char *part;
    struct map *by_name;       /* "lds 0.0.0.0_80" -> JSON, owned */
    struct translation t;
    struct store *store;
    const struct mesh *mesh;
    struct world *world;
    struct node node;
    struct arena arena;
    struct proto_arena *protos;
};

static inline void on_sent(struct resource_sink *sink, struct str name, const ProtobufCMessage *resource)
{
    struct sent *s = (struct sent *)sink;
    struct strbuf key = {0}, json = {0};
    strbuf_addf(&key, "%s %.*s", s->part, STR_ARG(name));
    json_encode(resource, 0, &json);
    assert_null(map_get(s->by_name, strbuf_str(&key))); /* names are unique */
    map_set(s->by_name, strbuf_str(&key), strbuf_take(&json));
    strbuf_fini(&key);
}

static inline void sent_parts(struct sent *s)
{
    static const char *const parts[PART_COUNT] = {
        [PART_CDS_OUTBOUND] = "cds", [PART_CDS_INBOUND] = "cds", [PART_LDS_OUTBOUND] = "lds", [PART_LDS_INBOUND] = "lds",
        [PART_RDS] = "rds", [PART_VHDS] = "vhds", [PART_NDS] = "nds", [PART_ECDS] = "ecds",
    };
    for (int p = 0; p < PART_COUNT; p++) {
        s->part = parts[p];
        translate_part(&s->t, (enum part)p, &s->sink);
    }
    s->part = "eds";
    translate_assignments(&s->t, STR_NULL, &s->sink);
}

/* `mesh`, `objects`: YAML; `node`: a Node as JSON. */
static inline void sent_init_in_mesh(struct sent *s, const char *mesh, const char *objects, const char *node)
{
    struct err_list faults = {0};
    struct err err = {0};
    struct object_list list = {0};
    struct strbuf packed = {0};
    ProtobufCMessage *message;
    *s = (struct sent){.sink = {on_sent}, .by_name = map_new()};
    s->mesh = mesh_read(str_from(mesh), "mesh.yaml", &faults);
    s->store = store_new();
    s->world = world_new(s->store, s->mesh, STR("cluster.local"));
    object_read_all(str_from(objects), "objects.yaml", 0, &list, &faults);
    for (size_t i = 0; i < faults.count; i++)
        fail_msg("%s: %s", faults.items[i].path, faults.items[i].message);
    for (size_t i = 0; i < list.count; i++)
        store_put(s->store, object_ref(list.items[i]));
    store_commit(s->store);
    object_list_fini(&list);
    arena_init(&s->arena, 0);
    s->protos = proto_arena_new(0);
    assert_int_equal(json_decode(s->protos, str_from(node), &envoy__config__core__v3__node__descriptor, "node", &message, &faults), 0);
    proto_pack(message, &packed);
    assert_int_equal(node_read(&s->arena, s->protos, strbuf_str(&packed), s->world, &s->node, &err), 0);
    strbuf_fini(&packed);
    s->t = (struct translation){.world = s->world, .node = &s->node, .arena = &s->arena, .protos = s->protos, .constants = constants_new()};
    s->t.scope = s->node.type == NODE_ROUTER ? scope_of_gateway(s->world, s->node.ns, &s->node.labels)
                                             : scope_of_sidecar(s->world, s->node.ns, &s->node.labels);
    sent_parts(s);
    err_list_fini(&faults);
}

static inline void sent_init(struct sent *s, const char *objects, const char *node)
{
    sent_init_in_mesh(s, "", objects, node);
}

static inline void sent_fini(struct sent *s)
{
    size_t pos = 0;
    struct str key;
    void *value;
    while (map_next(s->by_name, &pos, &key, &value))
        mem_free(value);
    map_free(&s->by_name);
    constants_free(&s->t.constants);
    proto_arena_free(&s->protos);
    arena_fini(&s->arena);
    world_free(&s->world);
    store_free(&s->store);
    mesh_unref(&s->mesh);
}

/* NULL: not sent. */
static inline const char *sent_json(const struct sent *s, const char *key)
{
    return map_get(s->by_name, str_from(key));
}

static inline void assert_sent(const struct sent *s, const char *key, const char *piece)
{
    const char *json = sent_json(s, key);
    if (!json || !strstr(json, piece))
        fail_msg("%s has no %s: %s", key, piece, json ? json : "(not sent)");
}

static inline void assert_not_sent(const struct sent *s, const char *key, const char *piece)
{
    const char *json = sent_json(s, key);
    if (json && (!piece || strstr(json, piece)))
        fail_msg("%s has %s: %s", key, piece ? piece : "been sent", json);
}

#endif
