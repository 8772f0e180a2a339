/* SPDX-License-Identifier: Apache-2.0
 *
 * typed_per_filter_config: settings of HTTP filters at one level of the route table, bare or wrapped
 * in route.v3.FilterConfig. Main thread.
 */
#include "proxy/config/route_priv.h"

static bool read_bare(struct config_reader *cr, const char *field, struct str name, const pb_any *any, bool optional, struct arena *a,
                      struct filter_override *out)
{
    ProtobufCMessage *msg = NULL;
    struct cfg_route_filter to = {out, a};
    size_t faults = cr->r.faults->count;
    const struct extension *ext = cfg_extension(cr, EXT_ROUTE_FILTER, field, name, any, &msg);
    if (!ext) {
        if (optional) { /* "if the filter isn't supported, go on without it" */
            cr->r.faults->count = faults;
            proto_read_whole(&cr->r, &any->base);
        }
        return false;
    }
    if (*field)
        IN("%s", field)
            ext->read(cr, msg, &to);
    else
        ext->read(cr, msg, &to);
    return true;
}

static bool read_wrapped(struct config_reader *cr, struct str name, const pb_filter_config *m, struct arena *a,
                         struct filter_override *out)
{
    bool optional = GET(m, is_optional);
    out->disabled = GET(m, disabled);
    out->says_enabled = !out->disabled;
    if (!GET(m, config)) {
        if (!out->disabled)
            FAULT("config", "must be set where the filter is not disabled");
        return true;
    }
    if (out->disabled) { /* its settings can't count any more */
        proto_read_whole(&cr->r, &m->config->base);
        return true;
    }
    return read_bare(cr, "config", name, m->config, optional, a, out);
}

bool cfg_filter_override(struct config_reader *cr, struct str name, const pb_any *any, struct arena *a, struct filter_override *out)
{
    *out = (struct filter_override){.name = arena_str(a, name)};
    if (!any) {
        FAULT("", "must be set");
        return false;
    }
    if (!str_eq(proto_any_type(any), STR("envoy.config.route.v3.FilterConfig")))
        return read_bare(cr, "", name, any, false, a, out);
    const pb_filter_config *m = PROTO_ANY_AS(&cr->r, "", any, pb_filter_config, envoy__config__route__v3__filter_config__descriptor);
    return m && read_wrapped(cr, name, m, a, out);
}
