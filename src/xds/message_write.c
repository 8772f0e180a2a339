/* SPDX-License-Identifier: Apache-2.0
 *
 * Discovery messages into bytes. Fields in the order of their numbers, empty ones left out, as Protobuf's own writers do:
 * what was read and is written again is the same bytes. Any thread.
 */
#include "proto/wire.h"
#include "xds/message.h"

static void add(struct strbuf *out, unsigned field, struct str text)
{
    if (text.n)
        wire_bytes(out, field, text.p, text.n);
}

static void add_each(struct strbuf *out, unsigned field, const struct str *items, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        wire_bytes(out, field, items[i].p, items[i].n);
}

static void add_status(struct strbuf *out, unsigned field, uint32_t code, struct str message)
{
    size_t status = wire_open(out, field);
    if (code)
        wire_uint(out, 1, code);
    add(out, 2, message);
    wire_close(out, status);
}

/* ---- requests ---- */

static void write_sotw_request(const struct xds_request *r, struct strbuf *out)
{
    add(out, 1, r->version);
    if (r->has_node)
        wire_bytes(out, 2, r->node.p, r->node.n);
    add_each(out, 3, r->names, r->name_count);
    add(out, 4, r->type_url);
    add(out, 5, r->nonce);
    if (r->has_error)
        add_status(out, 6, r->error_code, r->error_message);
}

static void write_delta_request(const struct xds_request *r, struct strbuf *out)
{
    if (r->has_node)
        wire_bytes(out, 1, r->node.p, r->node.n);
    add(out, 2, r->type_url);
    add_each(out, 3, r->names, r->name_count);
    add_each(out, 4, r->unsubscribed, r->unsubscribed_count);
    for (uint32_t i = 0; i < r->initial_count; i++) {
        size_t entry = wire_open(out, 5);
        wire_bytes(out, 1, r->initial_versions[i].name.p, r->initial_versions[i].name.n); /* map entries have both, always */
        wire_bytes(out, 2, r->initial_versions[i].version.p, r->initial_versions[i].version.n);
        wire_close(out, entry);
    }
    add(out, 6, r->nonce);
    if (r->has_error)
        add_status(out, 7, r->error_code, r->error_message);
}

void xds_request_write(const struct xds_request *r, struct strbuf *out)
{
    (r->is_delta ? write_delta_request : write_sotw_request)(r, out);
}

/* ---- responses ---- */

static void write_any(const struct xds_resource *r, unsigned field, struct strbuf *out)
{
    size_t any = wire_open(out, field);
    add(out, 1, r->type_url);
    add(out, 2, r->packed);
    wire_close(out, any);
}

static void write_ttl(uint64_t us, struct strbuf *out)
{
    size_t ttl = wire_open(out, 6);
    if (us / 1000000)
        wire_uint(out, 1, us / 1000000);
    if (us % 1000000)
        wire_uint(out, 2, us % 1000000 * 1000);
    wire_close(out, ttl);
}

static void write_resource(const struct xds_resource *r, struct strbuf *out)
{
    add(out, 1, r->version);
    if (r->has_body)
        write_any(r, 2, out);
    add(out, 3, r->name);
    add_each(out, 4, r->aliases, r->alias_count);
    if (r->has_ttl)
        write_ttl(r->ttl_us, out);
}

/* A resource with a time to live is wrapped: an Any whose type is Resource. */
static void write_wrapped(const struct xds_resource *r, struct strbuf *out)
{
    static const struct str url = {"type.googleapis.com/envoy.service.discovery.v3.Resource", 55};
    size_t any = wire_open(out, 2);
    add(out, 1, url);
    size_t value = wire_open(out, 2);
    write_resource(r, out);
    wire_close(out, value);
    wire_close(out, any);
}

static void write_control_plane(struct str identifier, unsigned field, struct strbuf *out)
{
    if (!identifier.n)
        return;
    size_t plane = wire_open(out, field);
    add(out, 1, identifier);
    wire_close(out, plane);
}

static void write_errors(const struct xds_response *r, unsigned field, struct strbuf *out)
{
    for (uint32_t i = 0; i < r->error_count; i++) {
        size_t error = wire_open(out, field), name = wire_open(out, 1);
        add(out, 1, r->errors[i].name);
        wire_close(out, name);
        add_status(out, 2, r->errors[i].code, r->errors[i].message);
        wire_close(out, error);
    }
}

static void write_delta_resource(const struct xds_resource *r, struct strbuf *out)
{
    size_t resource = wire_open(out, 2);
    write_resource(r, out);
    wire_close(out, resource);
}

void xds_response_write(const struct xds_response *r, struct strbuf *out)
{
    add(out, 1, r->version);
    for (uint32_t i = 0; i < r->resource_count; i++) {
        const struct xds_resource *one = &r->resources[i];
        if (r->is_delta)
            write_delta_resource(one, out);
        else if (one->has_ttl || !one->has_body)
            write_wrapped(one, out);
        else
            write_any(one, 2, out);
    }
    add(out, 4, r->type_url);
    add(out, 5, r->nonce);
    if (r->is_delta)
        add_each(out, 6, r->removed, r->removed_count);
    write_control_plane(r->control_plane, r->is_delta ? 7 : 6, out);
    write_errors(r, r->is_delta ? 9 : 7, out);
}
