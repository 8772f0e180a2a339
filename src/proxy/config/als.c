/* SPDX-License-Identifier: Apache-2.0
 *
 * Access logs over gRPC: HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig. Main thread.
 */
#include "proxy/service/als.h"

#include "proxy/config/config_priv.h"

static struct str *read_names(struct arena *a, char *const *items, uint32_t n, bool lower)
{
    struct str *out = ARENA_ARRAY(a, struct str, n);
    for (uint32_t i = 0; i < n; i++)
        out[i] = lower ? cfg_lower(a, str_from(items[i])) : arena_str(a, str_from(items[i]));
    return out;
}

static void read_retries(struct config_reader *cr, const Envoy__Config__Core__V3__RetryPolicy *m, struct batch_grpc *o)
{
    o->retries = proto_u32_or(GET(m, num_retries), 1);
    o->backoff_base_ms = 1000;
    if (GET(m, retry_back_off)) {
        o->backoff_base_ms = proto_ms_or(GET(m->retry_back_off, base_interval), 1000);
        o->backoff_max_ms = proto_ms_or(GET(m->retry_back_off, max_interval), 0);
    }
    o->backoff_base_ms = o->backoff_base_ms ? o->backoff_base_ms : 1;
    if (!o->backoff_max_ms)
        o->backoff_max_ms = 10 * o->backoff_base_ms;
}

void cfg_log_channel_opts(struct config_reader *cr, const pb_grpc_log_common *m, struct log_channel_opts *o)
{
    const Envoy__Config__Core__V3__RetryPolicy *retry = GET(m, grpc_stream_retry_policy);
    o->batch.flush_ms.value = proto_ms_or(GET(m, buffer_flush_interval), 1000);
    o->buffer_bytes = proto_u32_or(GET(m, buffer_size_bytes), 16384);
    if (GET(m, transport_api_version) != ENVOY__CONFIG__CORE__V3__API_VERSION__V3)
        FAULT("transport_api_version", "must be V3");
    if (retry)
        read_retries(cr, retry, &o->batch.grpc);
    o->batch.grpc.service = arena_zalloc(&cr->out->arena, sizeof *o->batch.grpc.service);
    struct cluster_slots *outer = cr->slots;
    cr->slots = &o->take_slots;
    IN("grpc_service")
        cfg_grpc_service(cr, GET(m, grpc_service), &cr->out->arena, o->batch.grpc.service);
    cr->slots = outer;
}

/* Whom the collector hears from: the node as configured, and what program it is. */
void cfg_packed_node(struct config_reader *cr, struct strbuf *out)
{
    static const struct str name = {"weft-proxy", 10}, version = {WEFT_VERSION, sizeof WEFT_VERSION - 1};
    if (cr->boot->node)
        proto_pack(&cr->boot->node->base, out);
    wire_bytes(out, 6, name.p, name.n);
    wire_bytes(out, 7, version.p, version.n);
}

static struct log_channel *make_channel(struct config_reader *cr, const pb_grpc_log_common *m, bool is_tcp, struct str key)
{
    struct log_channel_opts o = {0};
    struct strbuf node = {0};
    cfg_packed_node(cr, &node);
    cfg_log_channel_opts(cr, m, &o);
    struct log_channel *c = als_channel_new(key, &o, is_tcp, strbuf_str(&node), TEXT(m, log_name));
    strbuf_fini(&node);
    return c;
}

/* Equal settings, one channel: a mesh's thousand listeners all log to the same collector. */
static struct log_channel *get_channel(struct config_reader *cr, const pb_grpc_log_common *m, bool is_tcp)
{
    struct strbuf key = {0};
    strbuf_addc(&key, is_tcp ? 't' : 'h');
    proto_pack(&m->base, &key);
    struct log_channel *c = log_channel_find(strbuf_str(&key));
    if (c)
        proto_read_whole(&cr->r, &m->base);
    else
        c = make_channel(cr, m, is_tcp, strbuf_str(&key));
    strbuf_fini(&key);
    return c;
}

static struct als_log *read_common(struct config_reader *cr, const pb_grpc_log_common *m, bool is_tcp)
{
    if (!m) {
        FAULT("common_config", "must be set");
        return NULL;
    }
    struct als_log *l = als_log_new();
    l->is_tcp = is_tcp;
    IN("common_config") {
        l->filter_state_count = LEN(m, filter_state_objects_to_log);
        l->filter_state = read_names(&l->arena, m->filter_state_objects_to_log, l->filter_state_count, false);
        l->tags = cfg_custom_tags(cr, "custom_tags", GET(m, custom_tags), LEN(m, custom_tags), &l->arena, &l->tag_count);
        l->channel = get_channel(cr, m, is_tcp);
    }
    return l;
}

int cfg_http_grpc_logger(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_http_grpc_log *m = (const pb_http_grpc_log *)msg;
    struct als_log *l = read_common(cr, GET(m, common_config), false);
    if (!l)
        return ERR_INVALID;
    l->request_header_count = LEN(m, additional_request_headers_to_log);
    l->response_header_count = LEN(m, additional_response_headers_to_log);
    l->response_trailer_count = LEN(m, additional_response_trailers_to_log);
    l->request_headers = read_names(&l->arena, m->additional_request_headers_to_log, l->request_header_count, true);
    l->response_headers = read_names(&l->arena, m->additional_response_headers_to_log, l->response_header_count, true);
    l->response_trailers = read_names(&l->arena, m->additional_response_trailers_to_log, l->response_trailer_count, true);
    access_log_to_als(out, l);
    return 0;
}

int cfg_tcp_grpc_logger(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_tcp_grpc_log *m = (const pb_tcp_grpc_log *)msg;
    struct als_log *l = read_common(cr, GET(m, common_config), true);
    if (!l)
        return ERR_INVALID;
    access_log_to_als(out, l);
    return 0;
}
