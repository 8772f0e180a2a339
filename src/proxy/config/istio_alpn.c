/* SPDX-License-Identifier: Apache-2.0
 *
 * istio.alpn's lists. Main thread.
 */
#include "proxy/filter/istio_alpn.h"

#include "proxy/config/istio_priv.h"

#define NAMES_MAX 16 /* and 255 bytes each: what TLS takes */

static void read_list(struct config_reader *cr, const pb_istio_alpn_override *m, struct arena *a, struct istio_alpn_config *c)
{
    static const enum http_protocol protocols[] = {HTTP_10, HTTP_11, HTTP_2};
    unsigned which = (unsigned)GET(m, upstream_protocol);
    if (which >= ARRAY_LEN(protocols)) {
        FAULT("upstream_protocol", "%u is no protocol", which);
        return;
    }
    struct istio_alpn_list *out = &c->lists[protocols[which]];
    out->count = LEN(m, alpn_override);
    if (out->count > NAMES_MAX) {
        FAULT("alpn_override", "at most %d names", NAMES_MAX);
        out->count = 0;
    }
    out->names = ARENA_ARRAY(a, struct str, out->count);
    for (uint32_t i = 0; i < out->count; i++) {
        out->names[i] = arena_str(a, str_from(m->alpn_override[i]));
        if (!out->names[i].n || out->names[i].n > 255)
            IN("alpn_override[%u]", i)
                FAULT("", "must have 1 to 255 bytes");
    }
}

int cfg_istio_alpn(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_istio_alpn *m = (const pb_istio_alpn *)msg;
    struct cfg_http_filter *f = out;
    struct istio_alpn_config *c = arena_zalloc(f->arena, sizeof *c);
    uint32_t n = LEN(m, alpn_override);
    for (uint32_t i = 0; i < n; i++)
        IN("alpn_override[%u]", i)
            read_list(cr, m->alpn_override[i], f->arena, c);
    f->spec->config = c;
    return 0;
}
