/* SPDX-License-Identifier: Apache-2.0
 *
 * The buffer filter's configuration. Main thread.
 */
#include "proxy/filter/buffer.h"

#include "proxy/config/config_priv.h"

#define OVERRIDE(x) ENVOY__EXTENSIONS__FILTERS__HTTP__BUFFER__V3__BUFFER_PER_ROUTE__OVERRIDE_##x

static void read_buffer(struct config_reader *cr, const pb_buffer *m, struct buffer_config *c)
{
    if (m && GET(m, max_request_bytes))
        c->max_request_bytes = m->max_request_bytes->value;
    if (!c->max_request_bytes)
        FAULT("max_request_bytes", "must be set, and more than 0");
}

int cfg_buffer(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    struct cfg_http_filter *f = out;
    struct buffer_config *c = arena_zalloc(f->arena, sizeof *c);
    read_buffer(cr, (const pb_buffer *)msg, c);
    f->spec->config = c;
    return 0;
}

int cfg_buffer_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_buffer_route *m = (const pb_buffer_route *)msg;
    struct cfg_route_filter *f = out;
    struct buffer_config *c = arena_zalloc(f->arena, sizeof *c);
    if (m->override_case == OVERRIDE(DISABLED))
        c->disabled = GET(m, disabled);
    else
        IN("buffer")
            read_buffer(cr, GET(m, buffer), c);
    f->override->config = c;
    return 0;
}
