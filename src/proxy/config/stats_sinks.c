/* SPDX-License-Identifier: Apache-2.0
 *
 * stats_sinks: where statistics are sent. Main thread.
 */
#include "proxy/config/config_priv.h"
#include "proxy/sink/sink.h"

#define STATSD(x) ENVOY__CONFIG__METRICS__V3__STATSD_SINK__STATSD_SPECIFIER_##x
#define DATAGRAM_MAX_BYTES 65507 /* what IPv4 carries */

static void read_prefix(struct config_reader *cr, struct str prefix, struct cfg_stats_sink *o)
{
    (void)cr;
    o->spec->prefix = arena_str(o->arena, prefix.n ? prefix : STR("envoy"));
}

static void read_udp(struct config_reader *cr, const pb_address *m, struct stats_sink_spec *spec)
{
    bool compat;
    if (!m) {
        FAULT("address", "must be set");
        return;
    }
    IN("address")
        if (cfg_address(cr, m, &spec->addr, NULL, &compat) == 0 && !addr_is_ip(&spec->addr))
            FAULT("", "must be an IP address and a UDP port");
    spec->has_addr = true;
}

static void read_datagram(struct config_reader *cr, const Google__Protobuf__UInt64Value *m, struct stats_sink_spec *spec)
{
    spec->max_datagram_bytes = m ? m->value : 0;
    if (spec->max_datagram_bytes > DATAGRAM_MAX_BYTES)
        FAULT("max_bytes_per_datagram", "%llu is more than a datagram can carry (%d)",
              (unsigned long long)spec->max_datagram_bytes, DATAGRAM_MAX_BYTES);
}

int cfg_statsd_sink(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_statsd_sink *m = (const pb_statsd_sink *)msg;
    struct cfg_stats_sink *o = out;
    read_prefix(cr, TEXT(m, prefix), o);
    if (m->statsd_specifier_case == STATSD(TCP_CLUSTER_NAME)) {
        o->spec->cluster_name = arena_str(o->arena, TEXT(m, tcp_cluster_name));
        cfg_cluster_ref(cr, "tcp_cluster_name", o->spec->cluster_name, &o->spec->cluster, true);
    } else {
        read_udp(cr, m->statsd_specifier_case ? GET(m, address) : NULL, o->spec);
    }
    return 0;
}

int cfg_dog_statsd_sink(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_dog_statsd_sink *m = (const pb_dog_statsd_sink *)msg;
    struct cfg_stats_sink *o = out;
    o->spec->dialect = STATSD_DOG;
    read_prefix(cr, TEXT(m, prefix), o);
    read_udp(cr, m->dog_statsd_specifier_case ? GET(m, address) : NULL, o->spec);
    read_datagram(cr, GET(m, max_bytes_per_datagram), o->spec);
    return 0;
}

int cfg_graphite_statsd_sink(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_graphite_statsd_sink *m = (const pb_graphite_statsd_sink *)msg;
    struct cfg_stats_sink *o = out;
    o->spec->dialect = STATSD_GRAPHITE;
    read_prefix(cr, TEXT(m, prefix), o);
    read_udp(cr, m->statsd_specifier_case ? GET(m, address) : NULL, o->spec);
    read_datagram(cr, GET(m, max_bytes_per_datagram), o->spec);
    return 0;
}

void cfg_stats_sinks(struct config_reader *cr, const pb_bootstrap *m)
{
    struct config_result *out = cr->out;
    uint32_t n = LEN(m, stats_sinks);
    out->sinks = ARENA_ARRAY(&out->arena, struct stats_sink_spec, n);
    for (uint32_t i = 0; i < n; i++)
        IN("stats_sinks[%u]", i) {
            const pb_stats_sink *s = m->stats_sinks[i];
            struct cfg_stats_sink o = {&out->sinks[out->sink_count], &out->arena};
            ProtobufCMessage *msg = NULL;
            const pb_any *any = s->config_type_case ? GET(s, typed_config) : NULL;
            const struct extension *ext = cfg_extension(cr, EXT_STATS_SINK, "typed_config", TEXT(s, name), any, &msg);
            if (!ext)
                continue;
            o.spec->def = ext->def;
            IN("typed_config")
                ext->read(cr, msg, &o);
            out->sink_count++;
        }
}
