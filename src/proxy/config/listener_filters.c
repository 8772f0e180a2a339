/* SPDX-License-Identifier: Apache-2.0
 *
 * Readers of listener filters. Their configurations live in the listener's arena. Main thread.
 */
#include "proxy/listener/listener_filter.h"

#include "proxy/config/config_priv.h"

/* Envoy's default and ceiling for max_client_hello_size. */
#define CLIENT_HELLO_BYTES 16384

int cfg_tls_inspector(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_tls_inspector *m = (const pb_tls_inspector *)msg;
    struct cfg_listener_filter *f = out;
    struct tls_inspector_config *c = arena_zalloc(f->arena, sizeof *c);
    c->max_client_hello_bytes = proto_u32_or(GET(m, max_client_hello_size), CLIENT_HELLO_BYTES);
    (void)GET(m, initial_read_buffer_size); /* how Envoy grows its buffer: nothing that shows */
    c->close_on_parse_error = GET(m, close_connection_on_client_hello_parsing_errors);
    /* The fingerprints would feed access log operators that don't exist yet: set to true they are unsupported. */
    if (m->enable_ja3_fingerprinting && !m->enable_ja3_fingerprinting->value)
        (void)GET(m, enable_ja3_fingerprinting);
    if (m->enable_ja4_fingerprinting && !m->enable_ja4_fingerprinting->value)
        (void)GET(m, enable_ja4_fingerprinting);
    f->spec->config = c;
    return 0;
}

int cfg_http_inspector(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    (void)cr, (void)msg, (void)out;
    return 0;
}

int cfg_original_dst(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    (void)cr, (void)msg, (void)out;
    return 0;
}

#define PASS_ALL ENVOY__CONFIG__CORE__V3__PROXY_PROTOCOL_PASS_THROUGH_TLVS__PASS_TLVS_MATCH_TYPE__INCLUDE_ALL

void cfg_pass_tlvs(struct config_reader *cr, const pb_pass_through_tlvs *m, struct arena *a, bool *all, uint8_t **types, uint32_t *count)
{
    if (!m)
        return;
    *all = GET(m, match_type) == PASS_ALL;
    uint32_t n = LEN(m, tlv_type);
    if (*all || n == 0)
        return;
    *types = (uint8_t *)arena_bytes(a, n);
    for (uint32_t i = 0; i < n; i++)
        (*types)[i] = (uint8_t)m->tlv_type[i]; /* < 256 by the API's rules */
    *count = n;
}

int cfg_proxy_protocol(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_proxy_protocol *m = (const pb_proxy_protocol *)msg;
    struct cfg_listener_filter *f = out;
    struct proxy_protocol_config *c = arena_zalloc(f->arena, sizeof *c);
    c->stat_prefix = arena_str(f->arena, TEXT(m, stat_prefix));
    c->allow_without = GET(m, allow_requests_without_proxy_protocol);
    uint32_t n = LEN(m, disallowed_versions);
    for (uint32_t i = 0; i < n; i++) {
        if (m->disallowed_versions[i] == ENVOY__CONFIG__CORE__V3__PROXY_PROTOCOL_CONFIG__VERSION__V1)
            c->disallow_v1 = true;
        else
            c->disallow_v2 = true;
    }
    IN("pass_through_tlvs")
        cfg_pass_tlvs(cr, GET(m, pass_through_tlvs), f->arena, &c->keep_all_tlvs, &c->keep_tlvs, &c->keep_tlv_count);
    f->spec->config = c; /* rules (TLVs as metadata, which nothing reads yet) and tlv_location stay unread */
    return 0;
}
