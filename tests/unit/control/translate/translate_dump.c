/* SPDX-License-Identifier: Apache-2.0
 *
 * What a proxy would be sent: translate_dump MESH.yaml NODE.json DIRECTORY prints every part's resources, a JSON object a line with
 * its part and name. For comparisons with what others make of the same input.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "control/registry/files.h"
#include "control/translate/translate.h"
#include "envoy/config/core/v3/base.pb-c.h"
#include "proto/json.h"

static struct strbuf read_file(const char *path)
{
    struct strbuf b = {0};
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        exit(2);
    }
    for (int c; (c = fgetc(f)) != EOF;)
        strbuf_addc(&b, (char)c);
    fclose(f);
    return b;
}

static const char *part_text;

static void on_resource(struct resource_sink *s, struct str name, const ProtobufCMessage *resource)
{
    struct strbuf out = {0};
    (void)s;
    strbuf_addf(&out, "{\"part\":\"%s\",\"name\":\"", part_text);
    strbuf_add_json(&out, name);
    strbuf_addz(&out, "\",\"resource\":");
    json_encode(resource, 0, &out);
    strbuf_addz(&out, "}\n");
    fwrite(out.p, 1, out.n, stdout);
    strbuf_fini(&out);
}

static void tell(const struct err_list *faults)
{
    char line[1024];
    for (size_t i = 0; i < faults->count; i++)
        fprintf(stderr, "%s\n", err_format(&faults->items[i], line, sizeof(line)));
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"cds", "cds", "lds", "lds", "rds", "vhds", "nds", "ecds"};
    struct err_list faults = {0};
    struct err err = {0};
    if (argc != 4)
        return 2;
    struct strbuf mesh_text = read_file(argv[1]), node_text = read_file(argv[2]), packed = {0};
    const struct mesh *mesh = mesh_read(strbuf_str(&mesh_text), argv[1], &faults);
    tell(&faults);
    struct store *store = store_new();
    struct world *world = world_new(store, mesh, STR("cluster.local"));
    struct registry_files *files = registry_files_new(NULL, argv[3], store, &err);
    tell(registry_files_faults(files));
    struct proto_arena *pa = proto_arena_new(0);
    struct arena a;
    struct node node;
    ProtobufCMessage *message;
    arena_init(&a, 0);
    if (json_decode(pa, strbuf_str(&node_text), &envoy__config__core__v3__node__descriptor, argv[2], &message, &faults)) {
        tell(&faults);
        return 1;
    }
    proto_pack(message, &packed);
    if (node_read(&a, pa, strbuf_str(&packed), world, &node, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    struct constants *constants = constants_new();
    struct translation t = {.world = world, .node = &node, .arena = &a, .protos = pa, .constants = constants};
    t.scope = node.type == NODE_ROUTER ? scope_of_gateway(world, node.ns, &node.labels) : scope_of_sidecar(world, node.ns, &node.labels);
    struct resource_sink sink = {on_resource};
    for (int p = 0; p < PART_COUNT; p++) {
        part_text = names[p];
        translate_part(&t, (enum part)p, &sink);
    }
    part_text = "eds";
    translate_assignments(&t, STR_NULL, &sink);
    constants_free(&constants);
    proto_arena_free(&pa);
    arena_fini(&a);
    world_free(&world);
    registry_files_free(&files);
    store_free(&store);
    mesh_unref(&mesh);
    strbuf_fini(&mesh_text);
    strbuf_fini(&node_text);
    strbuf_fini(&packed);
    err_list_fini(&faults);
    return 0;
}
