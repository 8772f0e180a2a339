/* SPDX-License-Identifier: Apache-2.0
 *
 * Discovery messages from their bytes, in two walks: the first counts what repeats and checks the form, the second fills arrays
 * of the right size. A field that repeats although it shouldn't: the last one counts, as Protobuf has it. Refuses strings that
 * aren't UTF-8 or hold a NUL. Any thread.
 */
#include "xds/message.h"

#include "proto/wire.h"

#define SECONDS_MAX 315576000000ull /* of a Duration */

/* The fields that a message's parts stand in. */
enum {
    RESPONSE_VERSION = 1, RESPONSE_RESOURCES = 2, RESPONSE_TYPE_URL = 4, RESPONSE_NONCE = 5,
    SOTW_CONTROL_PLANE = 6, SOTW_ERRORS = 7,
    DELTA_REMOVED = 6, DELTA_CONTROL_PLANE = 7, DELTA_REMOVED_NAMES = 8, DELTA_ERRORS = 9,
    REQUEST_VERSION = 1, REQUEST_NODE = 2, REQUEST_NAMES = 3, REQUEST_TYPE_URL = 4, REQUEST_NONCE = 5, REQUEST_ERROR = 6,
    DELTA_NODE = 1, DELTA_TYPE_URL = 2, DELTA_SUBSCRIBE = 3, DELTA_UNSUBSCRIBE = 4, DELTA_INITIAL = 5, DELTA_NONCE = 6,
    DELTA_ERROR = 7,
};
#define WRAPPER_TYPE STR("envoy.service.discovery.v3.Resource")

static int broken(struct err *err, const char *what)
{
    return err_set(err, ERR_SYNTAX, "%s is not a valid message", what);
}

static bool take_text(const struct wire_field *f, struct str *out)
{
    *out = f->bytes;
    return f->type == 2 && wire_text_is_valid(f->bytes);
}

/* ---- parts ---- */

/* A message that has a string in one field, as Any's type_url: whatever else it has is checked for form only. */
static bool read_text_of(struct str packed, unsigned number, struct str *out)
{
    struct wire_reader r = wire_read(packed);
    *out = STR_NULL;
    for (struct wire_field f; wire_next(&r, &f);)
        if (f.number == number && !take_text(&f, out))
            return false;
    return !r.failed;
}

static bool read_any(struct str packed, struct xds_resource *out)
{
    struct wire_reader r = wire_read(packed);
    out->type_url = out->packed = STR("");
    out->has_body = true;
    for (struct wire_field f; wire_next(&r, &f);) {
        if (f.number == 1 && !take_text(&f, &out->type_url))
            return false;
        if (f.number == 2 && f.type != 2)
            return false;
        if (f.number == 2)
            out->packed = f.bytes;
    }
    return !r.failed;
}

static bool read_duration(struct str packed, uint64_t *us)
{
    struct wire_reader r = wire_read(packed);
    uint64_t seconds = 0, nanos = 0;
    for (struct wire_field f; wire_next(&r, &f);) {
        if (f.number <= 2 && f.type != 0)
            return false;
        if (f.number == 1)
            seconds = f.value;
        if (f.number == 2)
            nanos = f.value;
    }
    if (r.failed || seconds > SECONDS_MAX || nanos > 999999999) /* negative ones are large here */
        return false;
    *us = seconds * 1000000 + nanos / 1000;
    return true;
}

static uint32_t count_field(struct str packed, unsigned number)
{
    struct wire_reader r = wire_read(packed);
    uint32_t n = 0;
    for (struct wire_field f; wire_next(&r, &f);)
        n += f.number == number && n < XDS_ITEMS_MAX;
    return n;
}

/* discovery.v3.Resource */
static bool read_resource(struct arena *a, struct str packed, struct xds_resource *out)
{
    struct wire_reader r = wire_read(packed);
    struct str *aliases = NULL;
    *out = (struct xds_resource){0};
    for (struct wire_field f; wire_next(&r, &f);) {
        bool ok = true;
        if (f.number == 1)
            ok = take_text(&f, &out->version);
        else if (f.number == 2)
            ok = f.type == 2 && read_any(f.bytes, out);
        else if (f.number == 3)
            ok = take_text(&f, &out->name);
        else if (f.number == 6)
            ok = out->has_ttl = f.type == 2 && read_duration(f.bytes, &out->ttl_us);
        else if (f.number == 8 && !out->name.n) /* ResourceName: the name with its parameters */
            ok = f.type == 2 && read_text_of(f.bytes, 1, &out->name);
        else if (f.number == 4) {
            if (!aliases)
                aliases = arena_alloc(a, count_field(packed, 4) * sizeof *aliases);
            ok = aliases && out->alias_count < XDS_ITEMS_MAX && take_text(&f, &aliases[out->alias_count]);
            out->alias_count += ok;
        }
        if (!ok)
            return false;
    }
    out->aliases = aliases;
    return !r.failed;
}

/* State of the world: a bare Any, or a Resource in one where it has a time to live. */
static bool read_wrapped(struct arena *a, struct str packed, struct xds_resource *out)
{
    *out = (struct xds_resource){0};
    if (!read_any(packed, out))
        return false;
    if (!str_has_suffix(out->type_url, WRAPPER_TYPE))
        return true;
    return read_resource(a, str_make(out->packed.p, out->packed.n), out);
}

static bool read_error(struct str packed, struct xds_resource_error *out)
{
    struct wire_reader r = wire_read(packed);
    *out = (struct xds_resource_error){0};
    for (struct wire_field f; wire_next(&r, &f);) {
        if (f.number == 1 && !(f.type == 2 && read_text_of(f.bytes, 1, &out->name)))
            return false;
        if (f.number != 2)
            continue;
        struct wire_reader status = wire_read(f.bytes);
        for (struct wire_field s; wire_next(&status, &s);) {
            if (s.number == 1)
                out->code = (uint32_t)s.value;
            if (s.number == 2 && !take_text(&s, &out->message))
                return false;
        }
        if (f.type != 2 || status.failed)
            return false;
    }
    return !r.failed;
}

/* ---- responses ---- */

struct counts { uint32_t resources, removed, errors; };

static int count_response(bool is_delta, struct str packed, struct counts *n, struct err *err)
{
    struct wire_reader r = wire_read(packed);
    for (struct wire_field f; wire_next(&r, &f);) {
        n->resources += f.number == RESPONSE_RESOURCES;
        n->removed += is_delta && (f.number == DELTA_REMOVED || f.number == DELTA_REMOVED_NAMES);
        n->errors += f.number == (is_delta ? DELTA_ERRORS : SOTW_ERRORS);
        if (n->resources > XDS_ITEMS_MAX || n->removed > XDS_ITEMS_MAX || n->errors > XDS_ITEMS_MAX)
            return err_set(err, ERR_LIMIT, "a response of more than %u resources", XDS_ITEMS_MAX);
    }
    return r.failed ? broken(err, "the response") : 0;
}

static bool read_delta_field(struct arena *a, const struct wire_field *f, struct xds_response *out)
{
    switch (f->number) {
    case RESPONSE_RESOURCES:
        return read_resource(a, f->bytes, &out->resources[out->resource_count++]);
    case DELTA_REMOVED:
        return take_text(f, &out->removed[out->removed_count++]);
    case DELTA_REMOVED_NAMES:
        return read_text_of(f->bytes, 1, &out->removed[out->removed_count++]);
    case DELTA_CONTROL_PLANE:
        return read_text_of(f->bytes, 1, &out->control_plane);
    case DELTA_ERRORS:
        return read_error(f->bytes, &out->errors[out->error_count++]);
    default:
        return true;
    }
}

static bool read_sotw_field(struct arena *a, const struct wire_field *f, struct xds_response *out)
{
    switch (f->number) {
    case RESPONSE_RESOURCES:
        return read_wrapped(a, f->bytes, &out->resources[out->resource_count++]);
    case SOTW_CONTROL_PLANE:
        return read_text_of(f->bytes, 1, &out->control_plane);
    case SOTW_ERRORS:
        return read_error(f->bytes, &out->errors[out->error_count++]);
    default:
        return true;
    }
}

static bool read_response_field(struct arena *a, const struct wire_field *f, struct xds_response *out)
{
    switch (f->number) {
    case RESPONSE_VERSION:
        return take_text(f, &out->version);
    case RESPONSE_TYPE_URL:
        return take_text(f, &out->type_url);
    case RESPONSE_NONCE:
        return take_text(f, &out->nonce);
    default:
        break;
    }
    bool is_message = f->number == RESPONSE_RESOURCES || (f->number >= SOTW_CONTROL_PLANE && f->number <= DELTA_ERRORS);
    if (is_message && f->type != 2)
        return false;
    return out->is_delta ? read_delta_field(a, f, out) : read_sotw_field(a, f, out);
}

int xds_response_read(struct arena *a, bool is_delta, struct str packed, struct xds_response *out, struct err *err)
{
    struct counts n = {0};
    *out = (struct xds_response){.is_delta = is_delta};
    int rc = count_response(is_delta, packed, &n, err);
    if (rc)
        return rc;
    out->resources = arena_alloc(a, n.resources * sizeof *out->resources);
    out->removed = arena_alloc(a, n.removed * sizeof *out->removed);
    out->errors = arena_alloc(a, n.errors * sizeof *out->errors);
    if (a->overflowed)
        return err_set(err, ERR_LIMIT, "a response of too many resources");
    struct wire_reader r = wire_read(packed);
    for (struct wire_field f; wire_next(&r, &f);)
        if (!read_response_field(a, &f, out))
            return broken(err, "a part of the response");
    return 0;
}

/* ---- requests ---- */

static bool read_status(struct str packed, struct xds_request *out)
{
    struct wire_reader r = wire_read(packed);
    out->has_error = true;
    for (struct wire_field f; wire_next(&r, &f);) {
        if (f.number == 1)
            out->error_code = (uint32_t)f.value;
        if (f.number == 2 && !take_text(&f, &out->error_message))
            return false;
    }
    return !r.failed;
}

static bool read_initial(struct str packed, struct xds_versioned *out)
{
    *out = (struct xds_versioned){0};
    return read_text_of(packed, 1, &out->name) && read_text_of(packed, 2, &out->version);
}

static bool read_node(const struct wire_field *f, struct xds_request *out)
{
    out->has_node = true;
    out->node = f->bytes;
    return f->type == 2;
}

static bool read_delta_request_field(const struct wire_field *f, struct xds_request *out)
{
    switch (f->number) {
    case DELTA_NODE:
        return read_node(f, out);
    case DELTA_TYPE_URL:
        return take_text(f, &out->type_url);
    case DELTA_SUBSCRIBE:
        return take_text(f, &out->names[out->name_count++]);
    case DELTA_UNSUBSCRIBE:
        return take_text(f, &out->unsubscribed[out->unsubscribed_count++]);
    case DELTA_INITIAL:
        return f->type == 2 && read_initial(f->bytes, &out->initial_versions[out->initial_count++]);
    case DELTA_NONCE:
        return take_text(f, &out->nonce);
    case DELTA_ERROR:
        return f->type == 2 && read_status(f->bytes, out);
    default:
        return true;
    }
}

static bool read_sotw_request_field(const struct wire_field *f, struct xds_request *out)
{
    switch (f->number) {
    case REQUEST_VERSION:
        return take_text(f, &out->version);
    case REQUEST_NODE:
        return read_node(f, out);
    case REQUEST_NAMES:
        return take_text(f, &out->names[out->name_count++]);
    case REQUEST_TYPE_URL:
        return take_text(f, &out->type_url);
    case REQUEST_NONCE:
        return take_text(f, &out->nonce);
    case REQUEST_ERROR:
        return f->type == 2 && read_status(f->bytes, out);
    default:
        return true;
    }
}

static int count_request(struct arena *a, struct str packed, struct xds_request *out, struct err *err)
{
    struct wire_reader r = wire_read(packed);
    size_t names = 0, gone = 0, initial = 0;
    for (struct wire_field f; wire_next(&r, &f);) {
        names += f.number == REQUEST_NAMES; /* the same number in delta */
        gone += out->is_delta && f.number == DELTA_UNSUBSCRIBE;
        initial += out->is_delta && f.number == DELTA_INITIAL;
    }
    if (r.failed)
        return broken(err, "the request");
    if (names > XDS_ITEMS_MAX || gone > XDS_ITEMS_MAX || initial > XDS_ITEMS_MAX)
        return err_set(err, ERR_LIMIT, "a request of more than %u names", XDS_ITEMS_MAX);
    out->names = arena_alloc(a, names * sizeof *out->names);
    out->unsubscribed = arena_alloc(a, gone * sizeof *out->unsubscribed);
    out->initial_versions = arena_alloc(a, initial * sizeof *out->initial_versions);
    return a->overflowed ? err_set(err, ERR_LIMIT, "a request of too many names") : 0;
}

int xds_request_read(struct arena *a, bool is_delta, struct str packed, struct xds_request *out, struct err *err)
{
    *out = (struct xds_request){.is_delta = is_delta};
    int rc = count_request(a, packed, out, err);
    if (rc)
        return rc;
    struct wire_reader r = wire_read(packed);
    for (struct wire_field f; wire_next(&r, &f);)
        if (!(is_delta ? read_delta_request_field : read_sotw_request_field)(&f, out))
            return broken(err, "a part of the request");
    return 0;
}
