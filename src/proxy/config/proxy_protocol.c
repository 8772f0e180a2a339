/* SPDX-License-Identifier: Apache-2.0
 *
 * The upstream PROXY protocol transport: a header in front of another transport. Main thread.
 */
#include "proxy/config/config_priv.h"

static void read_added(struct config_reader *cr, const pb_proxy_protocol_config *m, struct transport_socket_spec *t, struct arena *a)
{
    uint32_t n = LEN(m, added_tlvs);
    t->added_tlvs = ARENA_ARRAY(a, struct fixed_tlv, n);
    for (uint32_t i = 0; i < n; i++)
        IN("added_tlvs[%u]", i) {
            const pb_tlv_entry *e = m->added_tlvs[i];
            struct str value = PROTO_BYTES(&cr->r, e, value);
            if (GET(e, format_string)) {
                proto_read_whole(&cr->r, &e->format_string->base);
                UNSUPPORTED("format_string", NULL);
            } else if (value.n > 65535) {
                FAULT("value", "%zu bytes are more than a TLV can hold", value.n);
            } else {
                t->added_tlvs[t->added_tlv_count++] = (struct fixed_tlv){(uint8_t)GET(e, type), arena_str(a, value)};
            }
        }
}

static void read_header(struct config_reader *cr, const pb_proxy_protocol_config *m, struct cfg_socket *socket)
{
    struct transport_socket_spec *t = socket->up;
    t->proxy_protocol = true;
    t->proxy_protocol_version = 1;
    if (!m)
        return;
    if (GET(m, version) == ENVOY__CONFIG__CORE__V3__PROXY_PROTOCOL_CONFIG__VERSION__V2)
        t->proxy_protocol_version = 2;
    IN("pass_through_tlvs")
        cfg_pass_tlvs(cr, GET(m, pass_through_tlvs), socket->arena, &t->pass_all_tlvs, &t->pass_tlvs, &t->pass_tlv_count);
    read_added(cr, m, t, socket->arena);
}

int cfg_upstream_proxy_protocol(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_upstream_proxy_protocol *m = (const pb_upstream_proxy_protocol *)msg;
    struct cfg_socket *socket = out;
    ProtobufCMessage *inner_msg = NULL;
    int rc = 0;
    if (socket->up->proxy_protocol)
        return FAULT("", "one PROXY protocol transport inside another");
    IN("config")
        read_header(cr, GET(m, config), socket);
    const pb_transport_socket *inner = GET(m, transport_socket);
    if (!inner)
        return FAULT("transport_socket", "must be set");
    IN("transport_socket") {
        const pb_any *any = inner->config_type_case ? GET(inner, typed_config) : NULL;
        const struct extension *ext = cfg_extension(cr, EXT_UPSTREAM_SOCKET, "typed_config", TEXT(inner, name), any, &inner_msg);
        if (ext)
            IN("typed_config")
                rc = ext->read(cr, inner_msg, socket);
    }
    return rc;
}
