/* SPDX-License-Identifier: Apache-2.0
 *
 * Envoy's span tags, from what is known of an exchange or an attempt when it ends, and the configured ones: a route's stand
 * before those of the connection manager with the same name. Everything here works for sampled spans only.
 */
#include "io/addr.h"
#include "proxy/cluster/cluster.h"
#include "proxy/route/route.h"
#include "proxy/trace/tracer.h"

static struct str or_dash(struct str s)
{
    return s.n ? s : STR("-");
}

static void tag_if(struct span *s, struct str key, struct str value)
{
    if (value.p)
        span_tag(s, key, value);
}

/* ---- what is common to both kinds ---- */

static void tag_cluster(struct span *s, const struct stream_info *info)
{
    if (!info->cluster)
        return;
    const struct cluster_spec *spec = cluster_spec(info->cluster);
    span_tag(s, STR("upstream_cluster"), spec->name);
    span_tag(s, STR("upstream_cluster.name"), spec->alt_stat_name.n ? spec->alt_stat_name : spec->name);
}

/* An attempt knows of its own end only. */
static void note_times(struct span *s, const struct stream_info *info, bool is_attempt)
{
    const struct { uint64_t us; const char *name; bool is_downstream; } rows[] = {
        {info->request_end_us, "last_downstream_rx_byte_received", true},
        {info->upstream_first_tx_us, "first_upstream_tx_byte_sent", false},
        {info->upstream_last_tx_us, "last_upstream_tx_byte_sent", false},
        {info->upstream_first_rx_us, "first_upstream_rx_byte_received", false},
        {info->upstream_last_rx_us, "last_upstream_rx_byte_received", false},
        {info->downstream_first_tx_us, "first_downstream_tx_byte_sent", true},
        {info->downstream_last_tx_us, "last_downstream_tx_byte_sent", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].us && !(is_attempt && rows[i].is_downstream))
            span_event(s, rows[i].name, info->start_wall_us + (rows[i].us - info->start_us));
}

static void add_custom(struct span *s, const struct custom_tag *tags, uint32_t n, const struct format_context *cx)
{
    struct strbuf value = {0};
    for (uint32_t i = 0; i < n; i++) {
        strbuf_reset(&value);
        if (custom_tag_value(&tags[i], cx, &value))
            span_tag_copy(s, tags[i].name, strbuf_str(&value));
    }
    strbuf_fini(&value);
}

static void tag_common(struct span *s, const struct tracing_config *c, const struct format_context *cx, bool is_attempt)
{
    const struct stream_info *info = cx->info;
    const struct tracing_override *o = info->route ? info->route->tracing : NULL;
    char flags[1024];
    span_tag(s, STR("component"), STR("proxy"));
    tag_cluster(s, info);
    s->http_status = info->status;
    span_tag_number(s, STR("http.status_code"), info->status);
    span_tag_copy(s, STR("response_flags"), str_make(flags, response_flags_format(info->flags, false, flags, sizeof flags)));
    if (c->verbose)
        note_times(s, info, is_attempt);
    if (!info->status || info->status >= 500)
        span_fail(s);
    add_custom(s, c->tags, c->tag_count, cx);
    if (o)
        add_custom(s, o->custom_tags, o->custom_tag_count, cx);
}

/* ---- gRPC ---- */

static void tag_grpc_request(struct span *s, const struct headers *h)
{
    tag_if(s, STR("grpc.path"), headers_get_id(h, HDR_PATH));
    tag_if(s, STR("grpc.authority"), headers_get_id(h, HDR_AUTHORITY));
    tag_if(s, STR("grpc.content_type"), headers_get_id(h, HDR_CONTENT_TYPE));
    tag_if(s, STR("grpc.timeout"), headers_get_id(h, HDR_GRPC_TIMEOUT));
}

/* Statuses that are the server's fault: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS. */
static void tag_grpc_answer(struct span *s, const struct headers *h)
{
    const uint64_t faults = 1u << 2 | 1u << 4 | 1u << 12 | 1u << 13 | 1u << 14 | 1u << 15;
    uint64_t status;
    if (!h)
        return;
    tag_if(s, STR("grpc.status_code"), headers_get_id(h, HDR_GRPC_STATUS));
    tag_if(s, STR("grpc.message"), headers_get_id(h, HDR_GRPC_MESSAGE));
    if (!str_to_u64(headers_get_id(h, HDR_GRPC_STATUS), &status) || status == 0)
        return;
    bool is_fault = status < 64 && (faults >> status & 1);
    s->has_failed |= s->is_client || is_fault; /* OpenTelemetry's conventions for RPCs: to a client all of them are errors */
    if (is_fault)
        span_fail(s);
}

/* ---- the request ---- */

static void tag_url(struct span *s, const struct tracing_config *c, const struct headers *h)
{
    struct str path = headers_get_id(h, HDR_ENVOY_ORIGINAL_PATH);
    if (!path.p)
        path = headers_get_id(h, HDR_PATH);
    if (path.n > c->max_path_length)
        path.n = c->max_path_length;
    struct str scheme = headers_get_id(h, HDR_X_FORWARDED_PROTO), host = headers_get_id(h, HDR_AUTHORITY);
    span_tag(s, STR("http.url"), arena_printf(s->arena, "%.*s://%.*s%.*s", STR_ARG(scheme), STR_ARG(host), STR_ARG(path)));
}

static void tag_peer(struct span *s, const struct addr *a)
{
    char text[ADDR_TEXT_BYTES];
    if (a)
        span_tag_copy(s, STR("peer.address"), str_from(addr_is_ip(a) ? addr_ip_text(a, text) : addr_text(a, text)));
}

static void tag_head(struct span *s, const struct tracing_config *c, const struct stream_info *info, const struct headers *h)
{
    tag_if(s, STR("guid:x-request-id"), headers_get_id(h, HDR_X_REQUEST_ID));
    tag_url(s, c, h);
    span_tag(s, STR("http.method"), headers_get_id(h, HDR_METHOD));
    span_tag(s, STR("downstream_cluster"), or_dash(headers_get_id(h, HDR_ENVOY_DOWNSTREAM_CLUSTER)));
    span_tag(s, STR("user_agent"), or_dash(headers_get_id(h, HDR_USER_AGENT)));
    span_tag(s, STR("http.protocol"), info->has_protocol ? str_from(http_protocol_text(info->protocol)) : STR("-"));
    tag_peer(s, info->downstream_direct_remote);
    tag_if(s, STR("guid:x-client-trace-id"), headers_get_id(h, HDR_X_CLIENT_TRACE_ID));
    if (headers_is_grpc_request(h))
        tag_grpc_request(s, h);
}

void tags_of_request(struct span *s, const struct tracing_config *c, const struct format_context *cx)
{
    if (!s->sampled)
        return;
    if (cx->request)
        tag_head(s, c, cx->info, cx->request);
    span_tag_number(s, STR("request_size"), cx->info->bytes_received);
    span_tag_number(s, STR("response_size"), cx->info->bytes_sent);
    tag_common(s, c, cx, false);
    tag_grpc_answer(s, cx->response);
    tag_grpc_answer(s, cx->trailers);
}

void tags_of_attempt(struct span *s, const struct tracing_config *c, const struct format_context *cx)
{
    const struct stream_info *info = cx->info;
    char text[ADDR_TEXT_BYTES];
    if (!s->sampled)
        return;
    tag_grpc_answer(s, cx->response);
    tag_grpc_answer(s, cx->trailers);
    span_tag(s, STR("http.protocol"), info->upstream_has_protocol ? str_from(http_protocol_text(info->upstream_protocol)) : STR("-"));
    if (info->host) {
        struct str address = arena_str(s->arena, str_from(addr_text(&info->host->addr, text)));
        span_tag(s, STR("upstream_address"), address);
        span_tag(s, STR("peer.address"), address);
    }
    tag_common(s, c, cx, true);
}
