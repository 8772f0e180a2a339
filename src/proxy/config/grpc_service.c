/* SPDX-License-Identifier: Apache-2.0
 *
 * core.v3.GrpcService: how services that the proxy itself calls are reached. Only envoy_grpc, which goes through a
 * cluster as everything here does; google_grpc (a second gRPC stack with names and credentials of its own) is refused.
 * Main thread.
 */
#include "proxy/service/grpc_call.h"

#include "proxy/config/config_priv.h"
#include "proxy/log/access_log.h"

#define TARGET(x) ENVOY__CONFIG__CORE__V3__GRPC_SERVICE__TARGET_SPECIFIER_##x
#define DEFAULT_RECEIVE_BYTES (4u << 20)

static void read_metadata(struct config_reader *cr, const pb_header_value *m, struct arena *a, struct header_mutation *out)
{
    struct err err = {0};
    struct str name = TEXT(m, key), value = TEXT(m, value);
    struct str raw = PROTO_BYTES(&cr->r, m, raw_value);
    out->name = cfg_lower(a, name);
    out->action = HEADER_OVERWRITE_OR_ADD;
    if (!name.n || name.p[0] == ':' || !header_name_is_valid(name))
        FAULT("key", "'%.*s' is no name of a header", STR_ARG(name));
    out->value = format_new(value.n ? value : raw, false, &err);
    if (!out->value)
        cfg_fault_err(cr, "value", &err);
}

static uint32_t retry_bit(struct str name)
{
    static const struct { const char *name; uint32_t bit; } rows[] = {
#define X(bit_, id_, text_) {text_, RETRY_ON_##id_},
        RETRY_ON_TABLE(X)
#undef X
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_eq(name, str_from(rows[i].name)))
            return rows[i].bit;
    return 0;
}

static void read_retries(struct config_reader *cr, const Envoy__Config__Core__V3__RetryPolicy *m, struct grpc_service *out)
{
    const Envoy__Config__Core__V3__BackoffStrategy *backoff = GET(m, retry_back_off);
    struct str rest = TEXT(m, retry_on);
    while (rest.n) {
        struct str name = str_trim(str_split(rest, ',', &rest));
        uint32_t bit = retry_bit(name);
        if (!bit)
            FAULT("retry_on", "'%.*s' is unknown", STR_ARG(name));
        out->retry_on |= bit;
    }
    out->retries = proto_u32_or(GET(m, num_retries), 1);
    out->backoff_base_ms = backoff ? proto_ms_or(GET(backoff, base_interval), 25) : 25;
    if (!out->backoff_base_ms)
        out->backoff_base_ms = 1;
    out->backoff_max_ms = backoff ? proto_ms_or(GET(backoff, max_interval), 0) : 0;
    if (!out->backoff_max_ms)
        out->backoff_max_ms = 10 * out->backoff_base_ms;
}

static void read_target(struct config_reader *cr, const Envoy__Config__Core__V3__GrpcService__EnvoyGrpc *m, struct arena *a,
                        struct grpc_service *out)
{
    struct str name = TEXT(m, cluster_name), authority = TEXT(m, authority);
    const Google__Protobuf__UInt32Value *max = GET(m, max_receive_message_length);
    out->cluster_name = arena_str(a, name);
    out->authority = arena_str(a, authority);
    out->skip_envoy_headers = GET(m, skip_envoy_headers);
    if (max)
        out->max_receive_bytes = max->value;
    if (GET(m, retry_policy)) /* for xDS streams only: no other call is repeated for it, in Envoy either */
        proto_read_whole(&cr->r, &m->retry_policy->base);
    if (authority.n && !header_value_is_valid(authority))
        FAULT("authority", "is no value of a header");
    cfg_cluster_ref(cr, "cluster_name", out->cluster_name, &out->cluster, true);
}

int cfg_grpc_service(struct config_reader *cr, const pb_grpc_service *m, struct arena *a, struct grpc_service *out)
{
    size_t before = cr->r.faults->count;
    *out = (struct grpc_service){.max_receive_bytes = DEFAULT_RECEIVE_BYTES};
    if (!m)
        return FAULT("", "must be set");
    out->timeout_ms = proto_ms_or(GET(m, timeout), 0);
    if (GET(m, retry_policy))
        IN("retry_policy")
            read_retries(cr, m->retry_policy, out);
    uint32_t n = LEN(m, initial_metadata);
    out->metadata = ARENA_ARRAY(a, struct header_mutation, n);
    out->metadata_count = n;
    for (uint32_t i = 0; i < n; i++)
        IN("initial_metadata[%u]", i)
            read_metadata(cr, m->initial_metadata[i], a, &out->metadata[i]);
    switch (m->target_specifier_case) {
    case TARGET(ENVOY_GRPC):
        IN("envoy_grpc")
            read_target(cr, GET(m, envoy_grpc), a, out);
        break;
    case TARGET(GOOGLE_GRPC):
        proto_read_whole(&cr->r, &m->google_grpc->base);
        UNSUPPORTED("google_grpc", NULL);
        break;
    default:
        return FAULT("", "one of envoy_grpc and google_grpc must be set");
    }
    return cr->r.faults->count == before ? 0 : ERR_INVALID;
}
