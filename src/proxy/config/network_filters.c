/* SPDX-License-Identifier: Apache-2.0
 *
 * Readers of the small network filters. Main thread.
 */
#include "base/mem.h"
#include "proxy/config/config_priv.h"
#include "proxy/filter/set_filter_state.h"
#include "proxy/filter/simple_network_filters.h"
#include "proxy/listener/listener.h"

#define RESPONSE_MAX_BYTES (16u << 20)

int cfg_echo(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    (void)cr, (void)msg, (void)out;
    return 0;
}

int cfg_sni_cluster(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    (void)cr, (void)msg, (void)out;
    return 0;
}

/* ---- direct_response ---- */

struct direct_response_memory { struct direct_response_config config; struct arena arena; };

static void free_direct_response(void *config)
{
    struct direct_response_memory *c = config;
    arena_fini(&c->arena);
    mem_free(c);
}

int cfg_direct_response(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_direct_response_config *m = (const pb_direct_response_config *)msg;
    struct cfg_network_filter *f = out;
    struct direct_response_memory *c = NEW(direct_response_memory);
    arena_init(&c->arena, 0);
    f->spec->config = c;
    f->spec->free_config = free_direct_response;
    if (GET(m, response))
        IN("response")
            cfg_data_source(cr, &c->arena, m->response, RESPONSE_MAX_BYTES, &c->config.text);
    return 0;
}

/* ---- connection_limit ---- */

static void free_connection_limit(void *config)
{
    struct connection_limit_config *c = config;
    stat_scope_unref(&c->stats);
    str_free(&c->stat_prefix);
    str_free(&c->runtime_key);
    mem_free(c);
}

int cfg_connection_limit(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_connection_limit *m = (const pb_connection_limit *)msg;
    struct cfg_network_filter *f = out;
    struct connection_limit_config *c = NEW(connection_limit_config);
    const pb_runtime_flag *flag = GET(m, runtime_enabled);
    f->spec->config = c;
    f->spec->free_config = free_connection_limit;
    c->stat_prefix = str_from(mem_strdup(GET(m, stat_prefix)));
    c->max_connections = proto_u64_or(GET(m, max_connections), 0);
    c->delay_ms = proto_ms_or(GET(m, delay), 0);
    c->enabled = true;
    if (flag) {
        c->runtime_key = str_from(mem_strdup(GET(flag, runtime_key)));
        c->enabled = proto_bool_or(GET(flag, default_value), true);
    }
    return 0;
}

/* ---- set_filter_state ---- */

struct filter_state_memory { struct set_filter_state_config config; struct arena arena; };

static void free_filter_state(void *config)
{
    struct filter_state_memory *c = config;
    cfg_filter_state_rules_free(&c->config);
    arena_fini(&c->arena);
    mem_free(c);
}

int cfg_network_set_filter_state(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_network_set_filter_state *m = (const pb_network_set_filter_state *)msg;
    struct cfg_network_filter *f = out;
    struct filter_state_memory *c = NEW(filter_state_memory);
    arena_init(&c->arena, 0);
    f->spec->config = c;
    f->spec->free_config = free_filter_state;
    pb_filter_state_value **items = GET(m, on_new_connection);
    c->config = *cfg_filter_state_rules(cr, "on_new_connection", items, LEN(m, on_new_connection), &c->arena);
    return 0;
}
