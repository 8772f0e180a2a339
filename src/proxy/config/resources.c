/* SPDX-License-Identifier: Apache-2.0
 *
 * One resource through the steps of a bootstrap: unpacked, held against the API's rules, read, and
 * searched for what was left unread. Main thread.
 */
#include "proxy/config/resources.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "proto/validate.h"
#include "proxy/config/endpoints.h"
#include "proxy/config/resources_priv.h"

#define UNSUPPORTED_MAX 1000u /* lines kept for /unsupported */

struct config_batch *config_batch_new(struct config_frame *keep_frame)
{
    struct config_batch *b = NEW(config_batch);
    b->frame = keep_frame;
    b->memory = spec_memory_new();
    return b;
}

void config_batch_free(struct config_batch **batch)
{
    struct config_batch *b = *batch;
    *batch = NULL;
    if (!b)
        return;
    spec_memory_unref(&b->memory);
    mem_free(b);
}

/* ---- what isn't implemented ---- */

/* Parts of a path below which a field that is left out may let in whom it shouldn't, or send somewhere else. */
static bool is_vital(const char *path)
{
    static const char *const parts[] = {"transport_socket", "tls_context", "validation_context", "match", "rbac", "jwt", "authz", "rules",
                                        "tls_certificate", "session_ticket_keys"};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (strstr(path, parts[i]))
            return true;
    return false;
}

static void warn(struct config_result *out, const char *what, const struct err *e)
{
    LOG_SELDOM(CONFIG, WARNING, "%s: %s: %s", what, e->path, e->message);
    if (out->unsupported.count < UNSUPPORTED_MAX)
        err_list_add(&out->unsupported, e);
    out->dynamic_unknown_fields++;
}

static void settle_unread(struct config_resource *r, const ProtobufCMessage *m, struct err_list *faults)
{
    struct err_list unread = {0};
    size_t before = faults->count;
    cfg_add_unread(&r->cr, m, &unread);
    for (size_t i = 0; i < unread.count; i++) {
        const struct err *e = &unread.items[i];
        if (e->code != ERR_UNSUPPORTED || (is_vital(e->path) && !r->cr.allow_unsupported))
            err_list_add(faults, e);
        else if (faults->count == before)
            warn(r->cr.out, m->descriptor->short_name, e);
    }
    err_list_fini(&unread);
}

/* ---- the steps ---- */

const ProtobufCMessage *cfg_resource_begin(struct config_resource *r, struct config_batch *b, const ProtobufCMessageDescriptor *desc,
                                           struct str packed, struct err_list *faults)
{
    struct err err = {0};
    ProtobufCMessage *m = NULL;
    r->faults = faults;
    r->before = faults->count;
    r->arena = proto_arena_new(0);
    cfg_reader_init(&r->cr, b->frame, r->arena, faults);
    r->cr.is_dynamic = true;
    r->cr.cluster_memory = b->memory;
    if (proto_unpack(r->arena, desc, packed, &m, &err) < 0) {
        err_list_add(faults, &err);
        return NULL;
    }
    proto_validate(r->arena, m, "", faults);
    return faults->count == r->before ? m : NULL;
}

int cfg_resource_end(struct config_resource *r, const ProtobufCMessage *m)
{
    if (m && r->faults->count == r->before)
        settle_unread(r, m, r->faults);
    proto_reader_fini(&r->cr.r);
    proto_arena_free(&r->arena);
    return r->faults->count == r->before ? 0 : ERR_INVALID;
}

/* ---- clusters ---- */

int config_read_cluster(struct config_batch *b, struct str packed, struct cluster_spec **out, struct err_list *faults)
{
    struct config_resource r;
    struct cluster_slots none = {0};
    const ProtobufCMessage *m = cfg_resource_begin(&r, b, &envoy__config__cluster__v3__cluster__descriptor, packed, faults);
    *out = NULL;
    r.cr.slots = &none;
    if (m)
        cfg_cluster(&r.cr, (const pb_cluster *)m, out);
    int rc = cfg_resource_end(&r, m);
    if (rc)
        cluster_spec_free(out);
    return rc;
}

/* Once for as long as their number stays: endpoints come and go, and each push brings all of them. */
static void note_left_out(struct config_resource *r, struct cluster *c, const struct endpoints *e)
{
    struct err err = {0};
    if (!cluster_note_left_out(c, e->left_out) || !e->left_out)
        return;
    err_set(&err, ERR_UNSUPPORTED, "is not supported yet: %u such endpoints are left out", e->left_out);
    snprintf(err.path, sizeof err.path, "%.*s.%s", STR_ARG(cluster_spec(c)->name), e->first_left_out);
    warn(r->cr.out, "ClusterLoadAssignment", &err);
}

int config_read_assignment(struct config_batch *b, struct str packed, struct cluster *c, struct err_list *faults)
{
    struct config_resource r;
    struct cluster_slots none = {0};
    struct arena a;
    struct endpoints e = {.type = CLUSTER_EDS, .arena = &a};
    const ProtobufCMessage *m = cfg_resource_begin(&r, b, &envoy__config__endpoint__v3__cluster_load_assignment__descriptor, packed, faults);
    arena_init(&a, 0);
    r.cr.slots = &none;
    if (m)
        cfg_endpoints(&r.cr, (const pb_load_assignment *)m, &e);
    int rc = cfg_resource_end(&r, m);
    if (rc == 0) {
        note_left_out(&r, c, &e);
        cluster_set_assignment(c, e.items, e.count, &e.load);
    }
    cfg_endpoints_fini(e.items, e.count);
    arena_fini(&a);
    return rc;
}

/* ---- routes ---- */

static void read_route_config(struct config_resource *r, const pb_route_config *m, struct route_config_spec **out)
{
    struct arena *a = NEW(arena);
    struct cluster_slots slots = {0};
    arena_init(a, 0);
    r->cr.slots = &slots;
    cfg_route_config(&r->cr, m, a, out);
    (*out)->slots = slots;
}

int config_read_route_config(struct config_batch *b, struct str packed, struct route_config_spec **out, struct err_list *faults)
{
    struct config_resource r;
    const ProtobufCMessage *m =
        cfg_resource_begin(&r, b, &envoy__config__route__v3__route_configuration__descriptor, packed, faults);
    *out = NULL;
    if (m)
        read_route_config(&r, (const pb_route_config *)m, out);
    int rc = cfg_resource_end(&r, m);
    if (rc)
        route_config_free(out);
    return rc;
}

int config_read_virtual_host(struct config_batch *b, struct str packed, const struct route_config_spec *config,
                             struct vhost_resource **out, struct err_list *faults)
{
    struct config_resource r;
    const ProtobufCMessage *m =
        cfg_resource_begin(&r, b, &envoy__config__route__v3__virtual_host__descriptor, packed, faults);
    struct vhost_resource *v = *out = NEW(vhost_resource);
    v->refs = 1;
    arena_init(&v->arena, 0);
    r.cr.slots = &v->slots;
    if (m)
        cfg_vhost_resource(&r.cr, (const pb_virtual_host *)m, config, v);
    int rc = cfg_resource_end(&r, m);
    if (rc)
        vhost_resource_unref(out);
    return rc;
}
