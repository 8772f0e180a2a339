/* SPDX-License-Identifier: Apache-2.0
 *
 * Listener filter: takes the PROXY protocol's header off a connection and makes its addresses the
 * connection's. A connection without one is refused unless configured otherwise, since anybody
 * could else choose not to say who they are.
 */
#include "proxy/listener/listener_filter.h"

#include "base/log.h"
#include "base/mem.h"

static const struct stat_desc rows[] = {PROXY_PROTOCOL_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

static struct stat_scope *stats(const void *config)
{
    const struct proxy_protocol_config *c = config;
    struct strbuf prefix = {0};
    strbuf_addz(&prefix, "proxy_proto.");
    if (c && c->stat_prefix.n) {
        strbuf_adds(&prefix, c->stat_prefix);
        strbuf_addc(&prefix, '.');
    }
    struct stat_tag tag = {STR("envoy.proxy_protocol_prefix"), c ? c->stat_prefix : STR_NULL};
    struct stat_scope *s =
        stat_scope_get(strbuf_str(&prefix), &table, STR("proxy_proto."), &tag, tag.value.n ? 1 : 0);
    strbuf_fini(&prefix);
    return s;
}

static bool is_kept(const struct proxy_protocol_config *c, uint8_t type)
{
    if (c->keep_all_tlvs)
        return true;
    for (uint32_t i = 0; i < c->keep_tlv_count; i++)
        if (c->keep_tlvs[i] == type)
            return true;
    return false;
}

static void keep_tlvs(struct conn *conn, const struct proxy_protocol_config *c, struct str tlvs)
{
    struct strbuf kept = {0};
    uint8_t type;
    struct str value;
    for (struct str at = tlvs; proxy_tlv_next(&at, &type, &value);)
        if (c && is_kept(c, type))
            strbuf_add(&kept, value.p - 3, value.n + 3);
    if (kept.n)
        conn_set_proxy_tlvs(conn, strbuf_str(&kept));
    strbuf_fini(&kept);
}

static enum inspect without(struct inspection *in, const struct proxy_protocol_config *c)
{
    if (c && c->allow_without) {
        stat_inc(in->stats, STAT_PROXY_PROTOCOL_NOT_FOUND_ALLOWED);
        return INSPECT_DONE;
    }
    stat_inc(in->stats, STAT_PROXY_PROTOCOL_NOT_FOUND_DISALLOWED);
    LOG(FILTER, DEBUG, "[C%lu] no PROXY protocol header", (unsigned long)conn_id(in->conn));
    return INSPECT_CLOSE;
}

static bool is_disallowed(const struct proxy_protocol_config *c, uint8_t version)
{
    return c && ((version == 1 && c->disallow_v1) || (version == 2 && c->disallow_v2));
}

static enum inspect with(struct inspection *in, const struct proxy_protocol_config *c,
                         struct proxy_header *h)
{
    bool v1 = h->version == 1, refused = is_disallowed(c, h->version);
    stat_inc(in->stats, v1 ? STAT_PROXY_PROTOCOL_V1_FOUND : STAT_PROXY_PROTOCOL_V2_FOUND);
    if (refused) {
        stat_inc(in->stats,
                 v1 ? STAT_PROXY_PROTOCOL_V1_DISALLOWED : STAT_PROXY_PROTOCOL_V2_DISALLOWED);
    } else {
        if (h->has_addresses) {
            conn_set_remote(in->conn, &h->source);
            conn_set_local(in->conn, &h->destination);
            in->downstream->original_dst_restored = true;
        }
        keep_tlvs(in->conn, c, h->tlvs);
        buf_drain(conn_in(in->conn), h->bytes);
    }
    addr_fini(&h->source);
    addr_fini(&h->destination);
    return refused ? INSPECT_CLOSE : INSPECT_DONE;
}

static enum inspect look(struct inspection *in, const void *config)
{
    struct buf *bytes = conn_in(in->conn);
    struct proxy_header h;
    size_t n = bytes->len < PROXY_HEADER_MAX_BYTES ? bytes->len : PROXY_HEADER_MAX_BYTES;
    switch (proxy_header_parse(n ? buf_pullup(bytes, n) : NULL, n, &h)) {
    case PROXY_HEADER_MORE:
        return INSPECT_MORE;
    case PROXY_HEADER_NONE:
        return without(in, config);
    case PROXY_HEADER_YES:
        return with(in, config, &h);
    case PROXY_HEADER_BAD:
        break;
    }
    stat_inc(in->stats,
             h.version == 1 ? STAT_PROXY_PROTOCOL_V1_ERROR : STAT_PROXY_PROTOCOL_V2_ERROR);
    LOG(FILTER, DEBUG, "[C%lu] malformed PROXY protocol header", (unsigned long)conn_id(in->conn));
    return INSPECT_CLOSE;
}

const struct listener_filter_def proxy_protocol_filter = {
    .name = "envoy.filters.listener.proxy_protocol", .look = look, .stats = stats};
