/* SPDX-License-Identifier: Apache-2.0
 *
 * The configuration of grpc_stats. Lives in the connection manager's arena, but for its tables. Main thread.
 */
#include "proxy/filter/grpc_stats.h"

#include "proxy/config/config_priv.h"

#define CASE(x) ENVOY__EXTENSIONS__FILTERS__HTTP__GRPC_STATS__V3__FILTER_CONFIG__PER_METHOD_STAT_SPECIFIER_##x

static void free_config(void *config)
{
    struct grpc_stats_config *c = config;
    grpc_counts_table_unref(&c->counts);
    map_free(&c->allowed);
}

static struct map *read_allowed(struct config_reader *cr, const pb_grpc_methods *m)
{
    struct map *set = map_new();
    struct strbuf key = {0};
    uint32_t n = LEN(m, services);
    for (uint32_t i = 0; i < n; i++) {
        struct str service = TEXT(m->services[i], name);
        uint32_t methods = LEN(m->services[i], method_names);
        for (uint32_t k = 0; k < methods; k++) {
            strbuf_reset(&key);
            strbuf_adds(&key, service);
            strbuf_addc(&key, '/');
            strbuf_addz(&key, m->services[i]->method_names[k]);
            map_set(set, strbuf_str(&key), set);
        }
    }
    strbuf_fini(&key);
    return set;
}

int cfg_grpc_stats(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_grpc_stats *m = (const pb_grpc_stats *)msg;
    struct cfg_http_filter *f = out;
    struct grpc_stats_config *c = arena_zalloc(f->arena, sizeof *c);
    f->spec->config = c;
    f->spec->free_config = free_config;
    c->emit_filter_state = GET(m, emit_filter_state);
    c->upstream_stats = GET(m, enable_upstream_stats);
    c->replace_dots = GET(m, replace_dots_in_grpc_service_name);
    if (m->per_method_stat_specifier_case == CASE(STATS_FOR_ALL_METHODS))
        c->all_methods = proto_bool_or(GET(m, stats_for_all_methods), false);
    else if (m->per_method_stat_specifier_case == CASE(INDIVIDUAL_METHOD_STATS_ALLOWLIST))
        c->allowed = read_allowed(cr, GET(m, individual_method_stats_allowlist));
    return 0;
}
