/* SPDX-License-Identifier: Apache-2.0
 *
 * What an OpenTelemetry resource says of this process: what program it is, then what each configured detector finds.
 * Static ones and OTEL_RESOURCE_ATTRIBUTES of the environment (OpenTelemetry specification, "Resource SDK"); Dynatrace's,
 * which reads its agent's files, is refused by name. Main thread, once.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "proxy/config/config_priv.h"
#include "proxy/sink/sink.h"

#define VARIABLE "OTEL_RESOURCE_ATTRIBUTES"

static void add(struct cfg_resource *r, struct str key, struct str value)
{
    if (r->count == r->cap) {
        uint32_t cap = r->cap ? 2 * r->cap : 8;
        struct metric_attribute *items = ARENA_ARRAY(r->arena, struct metric_attribute, cap);
        for (uint32_t i = 0; i < r->count; i++)
            items[i] = r->items[i];
        r->items = items;
        r->cap = cap;
    }
    r->items[r->count++] = (struct metric_attribute){arena_str(r->arena, key), arena_str(r->arena, value)};
}

int cfg_static_resource(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_static_resource *m = (const pb_static_resource *)msg;
    for (uint32_t i = 0; i < LEN(m, attributes); i++)
        add(out, TEXT(m->attributes[i], key), TEXT(m->attributes[i], value));
    return 0;
}

int cfg_environment_resource(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    (void)msg;
    const char *text = getenv(VARIABLE);
    struct str rest = text ? str_from(text) : STR_NULL;
    while (rest.n) {
        struct str value, one = str_split(rest, ',', &rest), key = str_trim(str_split(one, '=', &value));
        if (!key.n || !value.p)
            return FAULT("", "the environment's " VARIABLE " is not a list of key=value: '%.*s'", STR_ARG(one));
        add(out, key, str_trim(value));
    }
    return 0;
}

void cfg_resource_attributes(struct config_reader *cr, const char *field, pb_extension *const *detectors, uint32_t n,
                             struct cfg_resource *out)
{
    add(out, STR("telemetry.sdk.language"), STR("c"));
    add(out, STR("telemetry.sdk.name"), STR("weft-proxy"));
    add(out, STR("telemetry.sdk.version"), STR(WEFT_VERSION));
    for (uint32_t i = 0; i < n; i++)
        IN("%s[%u]", field, i) {
            const pb_extension *d = detectors[i];
            ProtobufCMessage *msg = NULL;
            const struct extension *ext =
                cfg_extension(cr, EXT_RESOURCE_DETECTOR, "typed_config", TEXT(d, name), GET(d, typed_config), &msg);
            if (ext)
                IN("typed_config")
                    ext->read(cr, msg, out);
        }
}
