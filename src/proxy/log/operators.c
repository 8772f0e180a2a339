/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of command operators, and those that tell plain facts of an exchange. Output is Envoy's
 * to the letter: dashboards parse it.
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "http/codec/uri.h"
#include "proxy/cluster/cluster.h"
#include "proxy/log/format_priv.h"
#include "proxy/log/operators_peer.h"
#include "proxy/trace/span.h"

#define OPERATOR(name) static bool name(const struct format_piece *p, const struct format_context *cx, struct strbuf *out)

static bool add_str(struct strbuf *out, struct str s)
{
    if (!s.n)
        return false;
    strbuf_adds(out, s);
    return true;
}

static bool add_number(struct strbuf *out, uint64_t v)
{
    strbuf_addu(out, v);
    return true;
}

/* ---- headers: NAME?ALTERNATIVE ---- */

static int check_header(struct format_piece *p, struct err *err)
{
    char *text = (char *)(uintptr_t)p->text.p;
    for (size_t i = 0; i < p->text.n; i++)
        text[i] = ascii_lower(text[i]);
    struct str rest;
    p->name = str_split(p->text, '?', &rest);
    p->alternative = rest;
    p->name_id = (uint16_t)header_id_of(p->name);
    p->alternative_id = (uint16_t)header_id_of(rest);
    if (!p->name.n)
        return err_set(err, ERR_INVALID, "%%%s()%%: the header's name is missing", p->op->name);
    return 0;
}

static const struct header *find_header(const struct headers *h, uint16_t id, struct str name)
{
    return id == HDR_OTHER ? headers_find(h, name) : headers_find_id(h, id);
}

static bool add_header(const struct format_piece *p, const struct headers *h, struct strbuf *out)
{
    if (!h)
        return false;
    const struct header *found = find_header(h, p->name_id, p->name);
    if (!found && p->alternative.n)
        found = find_header(h, p->alternative_id, p->alternative);
    if (!found)
        return false;
    strbuf_adds(out, found->value);
    return true;
}

OPERATOR(op_req)
{
    return add_header(p, cx->request, out);
}

OPERATOR(op_req_without_query)
{
    size_t from = out->n;
    if (!add_header(p, cx->request, out))
        return false;
    const char *mark = out->n > from ? memchr(out->p + from, '?', out->n - from) : NULL;
    if (mark)
        out->n = (size_t)(mark - out->p);
    return true;
}

OPERATOR(op_resp)
{
    return add_header(p, cx->response, out);
}

OPERATOR(op_trailer)
{
    return add_header(p, cx->trailers, out);
}

/* Name and value lengths of the list, as Envoy counts them. */
static bool add_list_bytes(const struct headers *h, struct strbuf *out)
{
    return add_number(out, h ? h->bytes : 0);
}

OPERATOR(op_request_headers_bytes)
{
    (void)p;
    return add_list_bytes(cx->request, out);
}

OPERATOR(op_response_headers_bytes)
{
    (void)p;
    return add_list_bytes(cx->response, out);
}

OPERATOR(op_response_trailers_bytes)
{
    (void)p;
    return add_list_bytes(cx->trailers, out);
}

/* ---- numbers of the stream: `variant` is the offset of a uint64_t in stream_info, from the table ---- */

#define NUMBER_OPERATORS(X)                                                                                            \
    X("BYTES_RECEIVED", bytes_received)                                                                                \
    X("BYTES_SENT", bytes_sent)                                                                                        \
    X("DOWNSTREAM_WIRE_BYTES_SENT", wire_bytes_sent)                                                                   \
    X("DOWNSTREAM_WIRE_BYTES_RECEIVED", wire_bytes_received)                                                           \
    X("DOWNSTREAM_HEADER_BYTES_SENT", header_bytes_sent)                                                               \
    X("DOWNSTREAM_HEADER_BYTES_RECEIVED", header_bytes_received)                                                       \
    X("UPSTREAM_WIRE_BYTES_SENT", up_wire_bytes_sent)                                                                  \
    X("UPSTREAM_WIRE_BYTES_RECEIVED", up_wire_bytes_received)                                                          \
    X("UPSTREAM_HEADER_BYTES_SENT", up_header_bytes_sent)                                                              \
    X("UPSTREAM_HEADER_BYTES_RECEIVED", up_header_bytes_received)                                                      \
    X("CONNECTION_ID", connection_id)
#define X(name, field)                                                                                                 \
    OPERATOR(op_##field)                                                                                               \
    {                                                                                                                  \
        (void)p;                                                                                                       \
        return add_number(out, cx->info->field);                                                                       \
    }
NUMBER_OPERATORS(X)
#undef X

OPERATOR(op_response_code)
{
    (void)p;
    return add_number(out, cx->info->status);
}

OPERATOR(op_attempts)
{
    (void)p;
    return add_number(out, cx->info->attempts);
}

OPERATOR(op_upstream_connection_id)
{
    (void)p;
    return add_number(out, cx->info->upstream_connection_id); /* 0 where there was none */
}

/* ---- texts ---- */

OPERATOR(op_protocol)
{
    (void)p;
    return cx->info->has_protocol && add_str(out, str_from(http_protocol_text(cx->info->protocol)));
}

OPERATOR(op_upstream_protocol)
{
    (void)p;
    return cx->info->upstream_has_protocol && add_str(out, str_from(http_protocol_text(cx->info->upstream_protocol)));
}

/* Details may come from a filter or a message: what would break a line's fields becomes '_' (Envoy does the same). */
OPERATOR(op_details)
{
    (void)p;
    size_t at = out->n;
    if (!add_str(out, cx->info->details))
        return false;
    for (; at < out->n; at++)
        if (out->p[at] == ' ' || out->p[at] == '\t' || out->p[at] == '\n')
            out->p[at] = '_';
    return true;
}

static bool add_flags(const struct format_context *cx, bool long_form, struct strbuf *out)
{
    char text[1024];
    if (!cx->info->flags)
        return add_str(out, STR("-"));
    strbuf_add(out, text, response_flags_format(cx->info->flags, long_form, text, sizeof(text)));
    return true;
}

OPERATOR(op_flags)
{
    (void)p;
    return add_flags(cx, false, out);
}

OPERATOR(op_flags_long)
{
    (void)p;
    return add_flags(cx, true, out);
}

#define TEXT_OPERATORS(X)                                                                                              \
    X("CONNECTION_TERMINATION_DETAILS", termination_details)                                                           \
    X("UPSTREAM_TRANSPORT_FAILURE_REASON", upstream_failure)                                                           \
    X("DOWNSTREAM_TRANSPORT_FAILURE_REASON", downstream_failure)                                                       \
    X("REQUESTED_SERVER_NAME", requested_server_name)                                                                  \
    X("ROUTE_NAME", route_name)                                                                                        \
    X("VIRTUAL_CLUSTER_NAME", virtual_cluster)                                                                         \
    X("FILTER_CHAIN_NAME", filter_chain_name)                                                                          \
    X("STREAM_ID", request_id)
#define X(name, field)                                                                                                 \
    OPERATOR(op_##field)                                                                                               \
    {                                                                                                                  \
        (void)p;                                                                                                       \
        return add_str(out, cx->info->field);                                                                          \
    }
TEXT_OPERATORS(X)
#undef X

OPERATOR(op_upstream_cluster)
{
    (void)p;
    if (!cx->info->cluster)
        return false;
    const struct cluster_spec *spec = cluster_spec(cx->info->cluster);
    return add_str(out, spec->alt_stat_name.n ? spec->alt_stat_name : spec->name);
}

OPERATOR(op_upstream_cluster_raw)
{
    (void)p;
    return cx->info->cluster && add_str(out, cluster_spec(cx->info->cluster)->name);
}

OPERATOR(op_hostname)
{
    (void)p, (void)cx;
    static __thread char name[256];
    if (!name[0] && gethostname(name, sizeof(name) - 1) < 0)
        return false;
    return add_str(out, str_from(name));
}

OPERATOR(op_trace_id)
{
    (void)p;
    char text[TRACE_ID_TEXT_BYTES];
    return cx->info->span && add_str(out, str_make(text, span_trace_id_text(cx->info->span, text)));
}

OPERATOR(op_span_id)
{
    (void)p;
    char text[16];
    if (!cx->info->span)
        return false;
    span_id_text(cx->info->span->id, text);
    return add_str(out, str_make(text, sizeof(text)));
}

OPERATOR(op_local_reply_body)
{
    (void)p;
    return add_str(out, cx->local_reply_body);
}

OPERATOR(op_log_type)
{
    (void)p;
    return add_str(out, str_from(cx->log_type ? cx->log_type : "NotSet"));
}

/* A process may hand out ids that nobody can guess from each other: random, one per log line. */
OPERATOR(op_unique_id)
{
    (void)p, (void)cx;
    static __thread struct rng rng;
    char id[36];
    if (!(rng.s[0] | rng.s[1]))
        rng_seed(&rng, 0);
    rng_uuid4(&rng, id);
    strbuf_add(out, id, sizeof(id));
    return true;
}

static int check_environment(struct format_piece *p, struct err *err)
{
    if (!p->text.n)
        return err_set(err, ERR_INVALID, "%%ENVIRONMENT()%%: the variable's name is missing");
    const char *value = getenv(p->text.p);
    p->extra = value ? mem_strdup(value) : NULL;
    return 0;
}

OPERATOR(op_environment)
{
    (void)cx;
    return p->extra && add_str(out, str_from(p->extra));
}

/* PATH(WQ|NQ:ORIG|PATH|ORIG_OR_PATH): with or without query, of which header. */
static int check_path(struct format_piece *p, struct err *err)
{
    static const char *const sources[] = {"ORIG_OR_PATH", "PATH", "ORIG"};
    struct str which, query = str_split(p->text, ':', &which);
    bool with = !query.n || str_eq(query, STR("WQ"));
    if (!with && !str_eq(query, STR("NQ")))
        return err_set(err, ERR_INVALID, "%%PATH(%.*s)%%: the first part must be WQ or NQ", STR_ARG(p->text));
    int source = which.n ? -1 : 0;
    for (int i = 0; i < 3 && which.n; i++)
        if (str_eq(which, str_from(sources[i])))
            source = i;
    if (source < 0)
        return err_set(err, ERR_INVALID, "%%PATH(%.*s)%%: the second part must be ORIG, PATH or ORIG_OR_PATH",
                       STR_ARG(p->text));
    p->variant = source | (with ? 8 : 0);
    return 0;
}

OPERATOR(op_path)
{
    if (!cx->request)
        return false;
    int source = p->variant & 7;
    struct str path = source == 1 ? STR_NULL : headers_get_id(cx->request, HDR_ENVOY_ORIGINAL_PATH);
    if (!path.p && source != 2)
        path = headers_get_id(cx->request, HDR_PATH);
    return add_str(out, p->variant & 8 ? path : path_without_query(path));
}

OPERATOR(op_query_param)
{
    struct str value;
    if (!cx->request || !query_get(path_query(headers_get_id(cx->request, HDR_PATH)), p->text, &value))
        return false;
    return add_str(out, value);
}

/* ---- gRPC ---- */

#define GRPC_STATUS_NAMES(X)                                                                                           \
    X("OK", "OK") X("Canceled", "CANCELLED") X("Unknown", "UNKNOWN") X("InvalidArgument", "INVALID_ARGUMENT")          \
    X("DeadlineExceeded", "DEADLINE_EXCEEDED") X("NotFound", "NOT_FOUND") X("AlreadyExists", "ALREADY_EXISTS")         \
    X("PermissionDenied", "PERMISSION_DENIED") X("ResourceExhausted", "RESOURCE_EXHAUSTED")                            \
    X("FailedPrecondition", "FAILED_PRECONDITION") X("Aborted", "ABORTED") X("OutOfRange", "OUT_OF_RANGE")             \
    X("Unimplemented", "UNIMPLEMENTED") X("Internal", "INTERNAL") X("Unavailable", "UNAVAILABLE")                      \
    X("DataLoss", "DATA_LOSS") X("Unauthenticated", "UNAUTHENTICATED")
static const struct {
    const char *camel, *snake;
} grpc_names[] = {
#define X(camel, snake) {camel, snake},
    GRPC_STATUS_NAMES(X)
#undef X
};

enum { GRPC_CAMEL, GRPC_SNAKE, GRPC_NUMBER };

static int check_grpc(struct format_piece *p, struct err *err)
{
    if (!p->text.n || str_eq(p->text, STR("CAMEL_STRING")))
        p->variant = GRPC_CAMEL;
    else if (str_eq(p->text, STR("SNAKE_STRING")))
        p->variant = GRPC_SNAKE;
    else if (str_eq(p->text, STR("NUMBER")))
        p->variant = GRPC_NUMBER;
    else
        return err_set(err, ERR_INVALID, "%%GRPC_STATUS(%.*s)%%: want CAMEL_STRING, SNAKE_STRING or NUMBER",
                       STR_ARG(p->text));
    return 0;
}

/* From trailers, else from a trailers-only answer's headers, else what the HTTP status means to gRPC; gRPC requests only. */
static bool grpc_status(const struct format_context *cx, uint64_t *status)
{
    if (!cx->request || !headers_is_grpc_request(cx->request))
        return false;
    if (cx->trailers && str_to_u64(headers_get_id(cx->trailers, HDR_GRPC_STATUS), status))
        return true;
    if (cx->response && str_to_u64(headers_get_id(cx->response, HDR_GRPC_STATUS), status))
        return true;
    if (!cx->info->status)
        return false;
    *status = (uint64_t)grpc_status_of_http(cx->info->status);
    return true;
}

OPERATOR(op_grpc_status)
{
    uint64_t s;
    if (!grpc_status(cx, &s))
        return false;
    if (s >= ARRAY_LEN(grpc_names) || p->variant == GRPC_NUMBER)
        return add_number(out, s);
    return add_str(out, str_from(p->variant == GRPC_SNAKE ? grpc_names[s].snake : grpc_names[s].camel));
}

OPERATOR(op_grpc_status_number)
{
    (void)p;
    uint64_t s;
    return grpc_status(cx, &s) && add_number(out, s);
}

/* ---- addresses and TLS: the tables stand in operators_peer.h ---- */


static int check_peer(struct format_piece *p, struct err *err)
{
    (void)err;
    p->variant = peer_operator_index(str_from(p->op->name));
    return 0;
}

/* ---- the table ---- */

static const struct operator_def operators[] = {
    {"REQ", ARG_REQUIRED, false, op_req, check_header},
    {"REQ_WITHOUT_QUERY", ARG_REQUIRED, false, op_req_without_query, check_header},
    {"CEL", ARG_REQUIRED, false, op_cel, check_cel},
    {"RESP", ARG_REQUIRED, false, op_resp, check_header},
    {"TRAILER", ARG_REQUIRED, false, op_trailer, check_header},
    {"REQUEST_HEADERS_BYTES", ARG_NONE, true, op_request_headers_bytes, NULL},
    {"RESPONSE_HEADERS_BYTES", ARG_NONE, true, op_response_headers_bytes, NULL},
    {"RESPONSE_TRAILERS_BYTES", ARG_NONE, true, op_response_trailers_bytes, NULL},
#define X(name, field) {name, ARG_NONE, true, op_##field, NULL},
    NUMBER_OPERATORS(X)
#undef X
#define X(name, field) {name, ARG_NONE, false, op_##field, NULL},
    TEXT_OPERATORS(X)
#undef X
#define X(name, end, fact) {name, ARG_NONE, (fact) == ADDRESS_PORT, op_address, check_peer},
    ADDRESS_OPERATORS(X)
#undef X
#define X(name, end, fact) {name, ARG_OPTIONAL, false, op_tls, check_peer_argument},
    TLS_OPERATORS(X)
#undef X
    {"RESPONSE_CODE", ARG_NONE, true, op_response_code, NULL},
    {"RESPONSE_CODE_DETAILS", ARG_OPTIONAL, false, op_details, NULL},
    {"RESPONSE_FLAGS", ARG_NONE, false, op_flags, NULL},
    {"RESPONSE_FLAGS_LONG", ARG_NONE, false, op_flags_long, NULL},
    {"PROTOCOL", ARG_NONE, false, op_protocol, NULL},
    {"UPSTREAM_PROTOCOL", ARG_NONE, false, op_upstream_protocol, NULL},
    {"UPSTREAM_REQUEST_ATTEMPT_COUNT", ARG_NONE, true, op_attempts, NULL},
    {"UPSTREAM_CONNECTION_ID", ARG_NONE, true, op_upstream_connection_id, NULL},
    {"UPSTREAM_CLUSTER", ARG_NONE, false, op_upstream_cluster, NULL},
    {"UPSTREAM_CLUSTER_RAW", ARG_NONE, false, op_upstream_cluster_raw, NULL},
    {"START_TIME", ARG_OPTIONAL, false, op_start_time, check_time},
    {"START_TIME_LOCAL", ARG_OPTIONAL, false, op_start_time_local, check_time},
    {"EMIT_TIME", ARG_OPTIONAL, false, op_emit_time, check_time},
    {"EMIT_TIME_LOCAL", ARG_OPTIONAL, false, op_emit_time_local, check_time},
    {"DURATION", ARG_NONE, true, op_duration, NULL},
    {"COMMON_DURATION", ARG_REQUIRED, true, op_common_duration, check_common_duration},
    {"REQUEST_DURATION", ARG_NONE, true, op_request_duration, NULL},
    {"REQUEST_TX_DURATION", ARG_NONE, true, op_request_tx_duration, NULL},
    {"RESPONSE_DURATION", ARG_NONE, true, op_response_duration, NULL},
    {"RESPONSE_TX_DURATION", ARG_NONE, true, op_response_tx_duration, NULL},
    {"UPSTREAM_CONNECTION_POOL_READY_DURATION", ARG_NONE, true, op_pool_ready_duration, NULL},
    {"GRPC_STATUS", ARG_OPTIONAL, false, op_grpc_status, check_grpc},
    {"GRPC_STATUS_NUMBER", ARG_NONE, true, op_grpc_status_number, NULL},
    {"HOSTNAME", ARG_NONE, false, op_hostname, NULL},
    {"TRACE_ID", ARG_NONE, false, op_trace_id, NULL},
    {"SPAN_ID", ARG_NONE, false, op_span_id, NULL},
    {"LOCAL_REPLY_BODY", ARG_NONE, false, op_local_reply_body, NULL},
    {"ACCESS_LOG_TYPE", ARG_NONE, false, op_log_type, NULL},
    {"UNIQUE_ID", ARG_NONE, false, op_unique_id, NULL},
    {"ENVIRONMENT", ARG_REQUIRED, false, op_environment, check_environment},
    {"PATH", ARG_OPTIONAL, false, op_path, check_path},
    {"QUERY_PARAM", ARG_REQUIRED, false, op_query_param, NULL},
    {"DYNAMIC_METADATA", ARG_REQUIRED, SHAPE_VALUE, op_metadata, check_metadata},
    {"CLUSTER_METADATA", ARG_REQUIRED, SHAPE_VALUE, op_metadata, check_metadata},
    {"UPSTREAM_METADATA", ARG_REQUIRED, SHAPE_VALUE, op_metadata, check_metadata},
    {"METADATA", ARG_REQUIRED, SHAPE_VALUE, op_metadata, check_metadata_typed},
    {"FILTER_STATE", ARG_REQUIRED, SHAPE_VALUE, op_filter_state, check_filter_state},
};

const struct operator_def *operator_find(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(operators); i++)
        if (str_eq(name, str_from(operators[i].name)))
            return &operators[i];
    return NULL;
}
