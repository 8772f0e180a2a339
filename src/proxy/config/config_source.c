/* SPDX-License-Identifier: Apache-2.0
 *
 * core.v3.ConfigSource: whom to ask for a resource. Sources with the same settings are one object, so
 * that they share a stream. Main thread.
 */
#include "base/mem.h"
#include "proxy/config/config_priv.h"
#include "proxy/config/shared.h"
#include "proxy/discovery/discovery.h"
#include "proxy/service/grpc_call.h"

#define KIND(x) ENVOY__CONFIG__CORE__V3__CONFIG_SOURCE__CONFIG_SOURCE_SPECIFIER_##x
#define API(x) ENVOY__CONFIG__CORE__V3__API_CONFIG_SOURCE__API_TYPE__##x
#define VERSION(x) ENVOY__CONFIG__CORE__V3__API_VERSION__##x
#define FETCH_TIMEOUT_MS 15000u
#define REQUEST_TIMEOUT_MS 1000u
#define RATE_TOKENS 100u
#define RATE_PER_S 10.0
#define RECEIVE_BYTES_MAX (1u << 30) /* of one message: a mesh's whole state is megabytes (gRPC's 4 MiB are not enough) */

#define SEND_BYTES_MAX (64u << 20) /* of requests that wait: one names every subscription of a mesh */

/* What shared_get keeps: the source and the names of clusters that it holds. */
struct kept {
    struct config_source source;
    struct cluster_slots slots;
};

static void kept_fini(void *part)
{
    struct kept *k = part;
    for (uint32_t i = 0; i < k->source.service_count; i++)
        grpc_service_fini((struct grpc_service *)(uintptr_t)&k->source.services[i]);
    cluster_slots_fini(&k->slots);
}

static void read_path(struct config_reader *cr, const Envoy__Config__Core__V3__PathConfigSource *m, struct arena *a, struct config_source *s)
{
    s->kind = SOURCE_FILE;
    s->path = arena_str(a, TEXT(m, path));
    if (GET(m, watched_directory))
        s->watched_dir = arena_str(a, TEXT(m->watched_directory, path));
}

static void read_rate(struct config_reader *cr, const Envoy__Config__Core__V3__RateLimitSettings *m, struct config_source *s)
{
    if (!m)
        return;
    __auto_type rate = GET(m, fill_rate);
    s->has_rate_limit = true;
    s->rate_limit_tokens = proto_u32_or(GET(m, max_tokens), RATE_TOKENS);
    s->rate_limit_per_s = rate ? rate->value : RATE_PER_S;
    if (s->rate_limit_per_s <= 0)
        FAULT("rate_limit_settings.fill_rate", "must be above 0");
}

static void read_services(struct config_reader *cr, const pb_api_config_source *m, struct arena *a, struct config_source *s)
{
    uint32_t n = LEN(m, grpc_services);
    struct grpc_service *services = ARENA_ARRAY(a, struct grpc_service, n);
    for (uint32_t i = 0; i < n; i++)
        IN("grpc_services[%u]", i) {
            cfg_grpc_service(cr, m->grpc_services[i], a, &services[i]);
            services[i].max_receive_bytes = RECEIVE_BYTES_MAX;
            services[i].timeout_ms = 0; /* a stream */
            services[i].queue_limit_bytes = SEND_BYTES_MAX;
        }
    s->services = services;
    s->service_count = n;
    if (!n)
        FAULT("grpc_services", "one at least must be set");
    if (LEN(m, cluster_names))
        FAULT("cluster_names", "are for REST; streams have grpc_services");
}

static void read_rest(struct config_reader *cr, const pb_api_config_source *m, struct arena *a, struct config_source *s)
{
    s->kind = SOURCE_REST;
    s->refresh_ms = proto_ms_or(GET(m, refresh_delay), 0);
    s->request_timeout_ms = proto_ms_or(GET(m, request_timeout), REQUEST_TIMEOUT_MS);
    if (!s->refresh_ms)
        FAULT("refresh_delay", "must be set for REST");
    if (LEN(m, cluster_names) != 1)
        FAULT("cluster_names", "exactly one must be set for REST");
    else
        s->cluster = arena_str(a, str_from(m->cluster_names[0]));
}

static void read_api(struct config_reader *cr, const pb_api_config_source *m, struct arena *a, struct config_source *s)
{
    if (GET(m, transport_api_version) != VERSION(V3)) /* Envoy refuses AUTO too */
        FAULT("transport_api_version", "only V3 is spoken");
    s->node_on_first_message_only = GET(m, set_node_on_first_message_only);
    read_rate(cr, GET(m, rate_limit_settings), s);
    switch (GET(m, api_type)) {
    case API(REST):
        read_rest(cr, m, a, s);
        return;
    case API(GRPC):
    case API(AGGREGATED_GRPC):
        s->kind = SOURCE_GRPC;
        break;
    case API(DELTA_GRPC):
    case API(AGGREGATED_DELTA_GRPC):
        s->kind = SOURCE_DELTA_GRPC;
        break;
    default:
        proto_unsupported_enum(&cr->r, "api_type", &envoy__config__core__v3__api_config_source__api_type__descriptor, (int)m->api_type);
        return;
    }
    read_services(cr, m, a, s);
}

/* `key` is the message itself: equal settings, one source. */
static const struct config_source *keep(struct kept *k, const char *kind, const ProtobufCMessage *m, struct arena *a)
{
    struct strbuf key = {0};
    strbuf_addf(&key, "source:%s:", kind);
    proto_pack(m, &key);
    const void *shared = shared_get(strbuf_str(&key), k, sizeof *k, a, kept_fini);
    strbuf_fini(&key);
    return &((const struct kept *)shared)->source;
}

const struct config_source *cfg_api_source(struct config_reader *cr, const pb_api_config_source *m)
{
    struct kept k = {.source.initial_fetch_timeout_ms = FETCH_TIMEOUT_MS};
    struct cluster_slots *outer = cr->slots;
    struct arena a;
    if (!m)
        return NULL;
    arena_init(&a, 0);
    cr->slots = &k.slots;
    read_api(cr, m, &a, &k.source);
    cr->slots = outer;
    return keep(&k, "api", &m->base, &a);
}

const struct config_source *cfg_config_source(struct config_reader *cr, const pb_config_source *m)
{
    struct kept k = {0};
    struct cluster_slots *outer = cr->slots;
    struct arena a;
    if (!m)
        return NULL;
    cr->out->has_sources = true;
    arena_init(&a, 0);
    cr->slots = &k.slots;
    k.source.initial_fetch_timeout_ms = proto_ms_or(GET(m, initial_fetch_timeout), FETCH_TIMEOUT_MS);
    if (GET(m, resource_api_version) == VERSION(V2))
        FAULT("resource_api_version", "only V3 is spoken");
    switch (m->config_source_specifier_case) {
    case KIND(ADS):
        proto_read_whole(&cr->r, &GET(m, ads)->base);
        k.source.kind = SOURCE_ADS;
        break;
    case KIND(SELF):
        proto_read_whole(&cr->r, &GET(m, self)->base);
        k.source.kind = SOURCE_ADS;
        break;
    case KIND(API_CONFIG_SOURCE):
        IN("api_config_source")
            read_api(cr, GET(m, api_config_source), &a, &k.source);
        break;
    case KIND(PATH_CONFIG_SOURCE):
        IN("path_config_source")
            read_path(cr, GET(m, path_config_source), &a, &k.source);
        break;
    case KIND(PATH):
        k.source.kind = SOURCE_FILE;
        k.source.path = arena_str(&a, TEXT(m, path));
        break;
    default:
        FAULT("", "one of path_config_source, api_config_source, ads and self must be set");
    }
    cr->slots = outer;
    return keep(&k, "config", &m->base, &a);
}

const struct config_source *config_source_ref(const struct config_source *s)
{
    if (s)
        shared_ref(CONTAINER_OF((struct config_source *)(uintptr_t)s, kept, source));
    return s;
}

void config_source_unref(const struct config_source **s)
{
    if (*s)
        shared_unref(CONTAINER_OF((struct config_source *)(uintptr_t)*s, kept, source));
    *s = NULL;
}
