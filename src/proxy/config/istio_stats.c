/* SPDX-License-Identifier: Apache-2.0
 *
 * stats.PluginConfig: whose side reports, and what telemetry settings change of metrics' labels.
 * Expressions are compiled here; a metric or definition that can't be is refused by its path.
 * Rotation isn't done: a label set counts on for ever, within a limit. Main thread.
 */
#include "proxy/filter/istio_stats.h"

#include <stdlib.h>

#include "base/mem.h"
#include "proxy/config/istio_priv.h"
#include "proxy/listener/listener.h"

#define REPORT_MS 5000

struct reading {
    struct istio_stats_config *c;
    struct str own_names[ISTIO_METRICS_MAX]; /* of definitions, as `metrics` call them */
};

/* A metric's number by the name that settings use ("requests_total"); -1: there is none. */
static int metric_number(const struct reading *rd, struct str name)
{
    for (unsigned i = 0; i < ISTIO_METRIC_COUNT; i++)
        if (str_eq(name, str_from(istio_metric_table.rows[i].name + sizeof("istio_") - 1)))
            return (int)i;
    for (uint32_t i = 0; i < rd->c->own_count; i++)
        if (str_eq(name, rd->own_names[i]))
            return (int)(ISTIO_METRIC_COUNT + i);
    return -1;
}

static struct cel *read_expression(struct config_reader *cr, const char *field, struct str text)
{
    struct err err = {0};
    struct cel *e = cel_new(text, &err);
    if (!e)
        cfg_fault_err(cr, field, &err);
    return e;
}

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct istio_dimension *)a)->name, ((const struct istio_dimension *)b)->name);
}

static void read_dimensions(struct config_reader *cr, const pb_istio_metric *m, struct istio_stats_config *c, struct istio_override *o)
{
    uint32_t n = LEN(m, dimensions);
    o->first_dimension = c->dimension_count;
    if (n > ISTIO_DIMENSIONS_MAX - c->dimension_count) {
        FAULT("dimensions", "at most %d together", ISTIO_DIMENSIONS_MAX);
        return;
    }
    o->dimensions = ARENA_ARRAY(&c->arena, struct istio_dimension, n);
    for (uint32_t i = 0; i < n; i++)
        IN("dimensions[\"%s\"]", m->dimensions[i]->key) {
            struct istio_dimension *d = &o->dimensions[i];
            d->name = arena_str(&c->arena, str_from(m->dimensions[i]->key));
            d->value = read_expression(cr, "", str_from(m->dimensions[i]->value));
        }
    o->dimension_count = n;
    c->dimension_count += n;
    if (n)
        qsort(o->dimensions, n, sizeof(*o->dimensions), by_name);
}

static void read_override(struct config_reader *cr, const pb_istio_metric *m, const struct reading *rd, struct istio_override *o)
{
    struct istio_stats_config *c = rd->c;
    struct str name = TEXT(m, name), match = TEXT(m, match);
    int number = name.n ? metric_number(rd, name) : 0;
    if (number < 0)
        FAULT("name", "'%.*s' is neither a standard metric nor defined here", STR_ARG(name));
    else
        o->metrics = name.n ? 1ull << number : UINT64_MAX;
    o->drop = GET(m, drop);
    o->removed_count = LEN(m, tags_to_remove);
    o->removed = ARENA_ARRAY(&c->arena, struct str, o->removed_count);
    for (uint32_t i = 0; i < o->removed_count; i++)
        o->removed[i] = arena_str(&c->arena, str_from(m->tags_to_remove[i]));
    read_dimensions(cr, m, c, o);
    if (match.n)
        o->match = read_expression(cr, "match", match);
}

static void read_definition(struct config_reader *cr, const pb_istio_metric_definition *m, struct reading *rd)
{
    static const enum stat_kind kinds[] = {STAT_COUNTER, STAT_GAUGE, STAT_HISTOGRAM};
    struct istio_stats_config *c = rd->c;
    struct istio_own_metric *own = &c->own[c->own_count];
    unsigned kind = (unsigned)GET(m, type);
    struct str name = TEXT(m, name);
    if (!name.n || kind >= ARRAY_LEN(kinds)) {
        FAULT(name.n ? "type" : "name", "must be set");
        return;
    }
    own->value = read_expression(cr, "value", TEXT(m, value));
    own->kind = kinds[kind];
    struct str whole = arena_printf(&c->arena, "istio_%.*s", STR_ARG(name));
    own->table = istio_series_own_table(whole, own->kind);
    rd->own_names[c->own_count++] = str_make(whole.p + 6, whole.n - 6);
}

/* All that labels follow from besides facts. */
static void make_id(struct istio_stats_config *c, const ProtobufCMessage *msg)
{
    struct strbuf rules = {0};
    strbuf_addf(&rules, "%d ", (int)c->reporter);
    strbuf_adds(&rules, c->local->packed);
    proto_pack(msg, &rules);
    c->id = istio_series_rules_id(c->series, strbuf_str(&rules));
    strbuf_fini(&rules);
}

static struct istio_stats_config *read_config(struct config_reader *cr, const pb_istio_stats *m)
{
    struct istio_stats_config *c = NEW(istio_stats_config);
    struct reading rd = {.c = c};
    const struct meta_value *node = cfg_istio_node_metadata(), *version = meta_field(node, STR("ISTIO_VERSION"));
    arena_init(&c->arena, 0);
    c->series = istio_series_ref();
    c->local = istio_peer_new(node);
    c->version = version && version->kind == META_STRING ? arena_str(&c->arena, version->u.string) : STR("");
    c->reporter = GET(m, reporter) == STATS__REPORTER__SERVER_GATEWAY ? ISTIO_REPORTS_WAYPOINT
                  : cr->is_inbound                                    ? ISTIO_REPORTS_DESTINATION
                                                                      : ISTIO_REPORTS_SOURCE;
    c->host_fallback = !GET(m, disable_host_header_fallback);
    c->report_ms = proto_ms_or(GET(m, tcp_reporting_duration), REPORT_MS);
    uint32_t definitions = LEN(m, definitions), n = LEN(m, metrics);
    if (definitions > ISTIO_METRICS_MAX - ISTIO_METRIC_COUNT || n > ISTIO_OVERRIDES_MAX) {
        FAULT(n > ISTIO_OVERRIDES_MAX ? "metrics" : "definitions", "there are too many");
        return c;
    }
    c->own = ARENA_ARRAY(&c->arena, struct istio_own_metric, definitions);
    for (uint32_t i = 0; i < definitions; i++)
        IN("definitions[%u]", i)
            read_definition(cr, m->definitions[i], &rd);
    c->overrides = ARENA_ARRAY(&c->arena, struct istio_override, n);
    for (uint32_t i = 0; i < n; i++)
        IN("metrics[%u]", i)
            read_override(cr, m->metrics[i], &rd, &c->overrides[c->override_count++]);
    make_id(c, &m->base);
    return c;
}

int cfg_istio_http_stats(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    struct cfg_http_filter *f = out;
    f->spec->config = read_config(cr, (const pb_istio_stats *)msg);
    f->spec->free_config = istio_stats_config_free;
    return 0;
}

int cfg_istio_tcp_stats(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    struct cfg_network_filter *f = out;
    f->spec->config = read_config(cr, (const pb_istio_stats *)msg);
    f->spec->free_config = istio_stats_config_free;
    return 0;
}
