/* SPDX-License-Identifier: Apache-2.0
 *
 * type.tracing.v3.CustomTag. The environment is read here. Main thread.
 */
#include "proxy/custom_tag.h"

#include <stdlib.h>

#include "proxy/config/config_priv.h"

#define TYPE(x) ENVOY__TYPE__TRACING__V3__CUSTOM_TAG__TYPE_##x
#define KIND(x) ENVOY__TYPE__METADATA__V3__METADATA_KIND__KIND_##x

static void read_metadata(struct config_reader *cr, const Envoy__Type__Tracing__V3__CustomTag__Metadata *m, struct arena *a,
                          struct custom_tag *out)
{
    const Envoy__Type__Metadata__V3__MetadataKind *kind = GET(m, kind);
    const Envoy__Type__Metadata__V3__MetadataKey *key = GET(m, metadata_key);
    out->kind = TAG_METADATA;
    out->value = arena_str(a, TEXT(m, default_value));
    if (kind) {
        proto_read_whole(&cr->r, &kind->base);
        out->source = kind->kind_case == KIND(ROUTE)     ? TAG_OF_ROUTE
                      : kind->kind_case == KIND(CLUSTER) ? TAG_OF_CLUSTER
                      : kind->kind_case == KIND(HOST)    ? TAG_OF_HOST
                                                         : TAG_OF_REQUEST;
    }
    if (!key)
        return;
    out->space = arena_str(a, TEXT(key, key));
    out->path_count = LEN(key, path);
    out->path = ARENA_ARRAY(a, struct str, out->path_count);
    for (uint32_t i = 0; i < out->path_count; i++)
        out->path[i] = arena_str(a, TEXT(key->path[i], key));
}

static void read_environment(struct config_reader *cr, const Envoy__Type__Tracing__V3__CustomTag__Environment *m, struct arena *a,
                             struct custom_tag *out)
{
    const char *value = getenv(GET(m, name));
    struct str otherwise = TEXT(m, default_value);
    out->value = arena_str(a, value && *value ? str_from(value) : otherwise);
}

static void read_tag(struct config_reader *cr, const pb_custom_tag *m, struct arena *a, struct custom_tag *out)
{
    struct err err = {0};
    out->name = arena_str(a, TEXT(m, tag));
    switch (m->type_case) {
    case TYPE(LITERAL):
        out->value = arena_str(a, TEXT(GET(m, literal), value));
        break;
    case TYPE(ENVIRONMENT):
        read_environment(cr, GET(m, environment), a, out);
        break;
    case TYPE(REQUEST_HEADER):
        out->kind = TAG_REQUEST_HEADER;
        out->header = cfg_lower(a, TEXT(GET(m, request_header), name));
        out->value = arena_str(a, TEXT(m->request_header, default_value));
        break;
    case TYPE(METADATA):
        IN("metadata")
            read_metadata(cr, GET(m, metadata), a, out);
        break;
    case TYPE(VALUE):
        out->kind = TAG_FORMAT;
        out->format = format_new(TEXT(m, value), false, &err);
        if (!out->format)
            cfg_fault_err(cr, "value", &err);
        break;
    default:
        FAULT("", "one of literal, environment, request_header, metadata and value must be set");
    }
}

struct custom_tag *cfg_custom_tags(struct config_reader *cr, const char *field, pb_custom_tag *const *items, uint32_t n, struct arena *a,
                                   uint32_t *count)
{
    struct custom_tag *out = ARENA_ARRAY(a, struct custom_tag, n);
    for (*count = 0; *count < n; ++*count)
        IN("%s[%u]", field, *count)
            read_tag(cr, items[*count], a, &out[*count]);
    return out;
}
