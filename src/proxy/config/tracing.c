/* SPDX-License-Identifier: Apache-2.0
 *
 * HttpConnectionManager.Tracing, the bootstrap's tracing (its provider, for those that name none) and what routes say of
 * traces. Providers are extensions: tracers.c. Main thread.
 */
#include "proxy/trace/tracer.h"

#include "proxy/config/config_priv.h"
#include "proxy/hcm/hcm.h"

#include <math.h>

#define PATH_LENGTH 256
#define FINE 10000

struct format *cfg_operation(struct config_reader *cr, const char *field, struct str text)
{
    struct err err = {0};
    struct format *f = text.n ? format_new(text, false, &err) : NULL;
    if (text.n && !f)
        cfg_fault_err(cr, field, &err);
    return f;
}

struct tracer *cfg_tracer(struct config_reader *cr, const pb_tracer *m)
{
    ProtobufCMessage *msg = NULL;
    struct strbuf key = {0};
    struct str name = TEXT(m, name);
    const pb_any *any = m->config_type_case ? GET(m, typed_config) : NULL;
    const struct extension *ext = cfg_extension(cr, EXT_TRACER, "typed_config", name, any, &msg);
    if (!ext)
        return NULL;
    strbuf_addf(&key, "%s:", ext->type);
    proto_pack(msg, &key);
    struct tracer *t = tracer_find(strbuf_str(&key));
    if (t) {
        proto_read_whole(&cr->r, msg);
    } else {
        t = tracer_new(strbuf_str(&key));
        t->node_id = arena_str(&t->arena, cr->out->node.id);
        t->zone = arena_str(&t->arena, cr->out->node.zone);
        IN("typed_config")
            ext->read(cr, msg, t);
    }
    strbuf_fini(&key);
    return t;
}

/* Of nobody, it still has to be right. */
void cfg_bootstrap_tracing(struct config_reader *cr, const pb_bootstrap *m)
{
    if (!GET(m, tracing) || !GET(m->tracing, http))
        return;
    IN("tracing.http") {
        struct tracer *t = cfg_tracer(cr, m->tracing->http);
        tracer_unref(&t);
    }
}

static uint64_t percent(struct config_reader *cr, const char *field, const pb_percent *m, uint64_t denominator, bool rounds)
{
    if (!m)
        return denominator;
    double value = GET(m, value);
    if (!(value >= 0 && value <= 100)) {
        FAULT(field, "%g isn't a percentage", value);
        return 0;
    }
    double steps = value / 100 * (double)denominator;
    return (uint64_t)(rounds ? round(steps) : steps);
}

static void read_sampling(struct config_reader *cr, const pb_hcm_tracing *m, struct tracing_config *c)
{
    struct sampling_rules *s = &c->sampling;
    s->client = (struct runtime_fraction){STR("tracing.client_enabled"), percent(cr, "client_sampling", GET(m, client_sampling), 100, false), 100};
    s->random = (struct runtime_fraction){STR("tracing.random_sampling"), percent(cr, "random_sampling", GET(m, random_sampling), FINE, true), FINE};
    s->overall = (struct runtime_fraction){STR("tracing.global_enabled"), percent(cr, "overall_sampling", GET(m, overall_sampling), FINE, true), FINE};
}

static void read_provider(struct config_reader *cr, const pb_hcm_tracing *m, struct tracing_config *c)
{
    const pb_tracer *provider = GET(m, provider);
    if (provider)
        IN("provider")
            c->tracer = cfg_tracer(cr, provider);
    else if (cr->boot->tracing && cr->boot->tracing->http)
        c->tracer = cfg_tracer(cr, cr->boot->tracing->http);
}

struct tracing_config *cfg_tracing(struct config_reader *cr, const pb_hcm_tracing *m, struct hcm_config *hcm)
{
    struct tracing_config *c;
    if (!m)
        return NULL;
    c = arena_zalloc(&hcm->arena, sizeof *c);
    read_sampling(cr, m, c);
    c->sampling.use_request_id = hcm->use_request_id_for_trace_sampling;
    c->sampling.pack_reason = hcm->pack_trace_reason;
    c->spawn_upstream_span = proto_bool_or(GET(m, spawn_upstream_span), false);
    c->verbose = GET(m, verbose);
    c->max_path_length = proto_u32_or(GET(m, max_path_tag_length), PATH_LENGTH);
    c->tags = cfg_custom_tags(cr, "custom_tags", m->custom_tags, LEN(m, custom_tags), &hcm->arena, &c->tag_count);
    c->operation = cfg_operation(cr, "operation", TEXT(m, operation));
    c->upstream_operation = cfg_operation(cr, "upstream_operation", TEXT(m, upstream_operation));
    read_provider(cr, m, c);
    return c;
}

/* ---- routes ---- */

static bool read_fraction(struct config_reader *cr, const char *field, const pb_fractional_percent *m, struct runtime_fraction *out)
{
    if (m)
        IN("%s", field)
            *out = cfg_fraction(cr, m);
    return m != NULL;
}

struct tracing_override *cfg_route_tracing(struct config_reader *cr, const pb_route_tracing *m, struct arena *a)
{
    struct tracing_override *o = arena_zalloc(a, sizeof *o);
    o->has_client = read_fraction(cr, "client_sampling", GET(m, client_sampling), &o->client);
    o->has_random = read_fraction(cr, "random_sampling", GET(m, random_sampling), &o->random);
    o->has_overall = read_fraction(cr, "overall_sampling", GET(m, overall_sampling), &o->overall);
    o->custom_tags = cfg_custom_tags(cr, "custom_tags", m->custom_tags, LEN(m, custom_tags), a, &o->custom_tag_count);
    o->operation = cfg_operation(cr, "operation", TEXT(m, operation));
    o->upstream_operation = cfg_operation(cr, "upstream_operation", TEXT(m, upstream_operation));
    return o;
}
