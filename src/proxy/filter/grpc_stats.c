/* SPDX-License-Identifier: Apache-2.0
 *
 * Counts gRPC calls by cluster and method: statuses, messages each way, and the time the upstream took. It changes nothing and
 * holds nothing back. On the exchange's worker. The filter state that it leaves ("<requests>,<responses>") is written
 * when the exchange is over, since access logs are what reads it.
 */
#include "proxy/filter/grpc_stats.h"

#include "proxy/cluster/cluster.h"
#include "proxy/filter/grpc_frames.h"
#include "proxy/route/route.h"

struct grpc_stats {
    struct grpc_counts *counts; /* NULL: not a gRPC call of a known cluster */
    struct grpc_frame_counter request, response;
    uint64_t request_messages, response_messages;
    bool is_request, is_response;
};

static bool is_allowed(const struct grpc_stats_config *c, struct str service, struct str method)
{
    char key[GRPC_METHOD_NAME_MAX];
    if (!c->allowed || service.n + method.n + 1 > sizeof key)
        return false;
    memcpy(key, service.p, service.n);
    key[service.n] = '/';
    memcpy(key + service.n + 1, method.p, method.n);
    return map_get(c->allowed, str_make(key, service.n + 1 + method.n)) != NULL;
}

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)end;
    const struct grpc_stats_config *c = f->config;
    struct grpc_stats *s = f->state;
    struct str service, method, path = headers_get_id(h, HDR_PATH);
    s->is_request = path.p && grpc_is_content_type(headers_get_id(h, HDR_CONTENT_TYPE));
    if (!s->is_request || !grpc_path_split(path, &service, &method))
        return FILTER_HEADERS_CONTINUE;
    const struct cluster *cluster = exchange_decision(f->x)->cluster;
    if (!cluster)
        return FILTER_HEADERS_CONTINUE;
    if (!c->all_methods && !is_allowed(c, service, method))
        service = STR_NULL;
    s->counts = grpc_counts_of(c->counts, cluster, GRPC_COUNTS_GRPC, service, method, c->replace_dots);
    return FILTER_HEADERS_CONTINUE;
}

static enum filter_data on_request_data(struct http_filter *f, struct buf *data, bool end)
{
    (void)end;
    struct grpc_stats *s = f->state;
    uint32_t n = s->is_request ? grpc_frames_count(&s->request, data) : 0;
    s->request_messages += n;
    if (n && s->counts)
        grpc_count(s->counts, STAT_GRPC_METHOD_REQUEST_MESSAGES, n);
    return FILTER_DATA_CONTINUE;
}

static void count_time(struct http_filter *f)
{
    const struct grpc_stats_config *c = f->config;
    struct grpc_stats *s = f->state;
    const struct stream_info *info = exchange_info(f->x);
    uint64_t sent = info->upstream_last_tx_us, got = info->upstream_last_rx_us;
    if (c->upstream_stats && sent && got)
        grpc_count_time(s->counts, got > sent ? (got - sent) / 1000 : 0);
}

static enum filter_headers on_response_headers(struct http_filter *f, struct headers *h, bool end)
{
    struct grpc_stats *s = f->state;
    s->is_response = grpc_is_response(h, end);
    if (!s->counts)
        return FILTER_HEADERS_CONTINUE;
    grpc_count_status(s->counts, headers_get_id(h, HDR_GRPC_STATUS));
    if (end)
        count_time(f);
    return FILTER_HEADERS_CONTINUE;
}

static enum filter_data on_response_data(struct http_filter *f, struct buf *data, bool end)
{
    (void)end;
    struct grpc_stats *s = f->state;
    uint32_t n = s->is_response ? grpc_frames_count(&s->response, data) : 0;
    s->response_messages += n;
    if (n && s->counts)
        grpc_count(s->counts, STAT_GRPC_METHOD_RESPONSE_MESSAGES, n);
    return FILTER_DATA_CONTINUE;
}

static enum filter_trailers on_response_trailers(struct http_filter *f, struct headers *h)
{
    struct grpc_stats *s = f->state;
    if (s->counts) {
        grpc_count_status(s->counts, headers_get_id(h, HDR_GRPC_STATUS));
        count_time(f);
    }
    return FILTER_TRAILERS_CONTINUE;
}

static void on_complete(struct http_filter *f)
{
    const struct grpc_stats_config *c = f->config;
    const struct grpc_stats *s = f->state;
    if (!c->emit_filter_state || !(s->request_messages || s->response_messages))
        return;
    struct strbuf text = {0};
    strbuf_addf(&text, "%llu,%llu", (unsigned long long)s->request_messages, (unsigned long long)s->response_messages);
    filter_state_set(&exchange_info(f->x)->filter_state, STR("envoy.filters.http.grpc_stats"), strbuf_str(&text), false,
                     FILTER_STATE_PRIVATE);
    strbuf_fini(&text);
}

static void link(void *config, struct stat_scope *stats)
{
    (void)stats;
    struct grpc_stats_config *c = config;
    if (!c->counts)
        c->counts = grpc_counts_table_new();
}

const struct http_filter_def grpc_stats_filter = {
    .name = "envoy.filters.http.grpc_stats",
    .state_bytes = sizeof(struct grpc_stats),
    .on_request_headers = on_request_headers,
    .on_request_data = on_request_data,
    .on_response_headers = on_response_headers,
    .on_response_data = on_response_data,
    .on_response_trailers = on_response_trailers,
    .on_complete = on_complete,
    .link = link,
};
