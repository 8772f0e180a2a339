/* SPDX-License-Identifier: Apache-2.0
 *
 * Access log filters: a tree on the heap, made here and freed here; proxy/log asks it. Main thread.
 */
#include "base/mem.h"
#include "proxy/cel/cel.h"
#include "proxy/config/config_priv.h"
#include "proxy/log/access_log.h"
#include "proxy/match/value_match.h"
#include "proxy/outcome.h"

#include <stdio.h>

#define FILTER(x) ENVOY__CONFIG__ACCESSLOG__V3__ACCESS_LOG_FILTER__FILTER_SPECIFIER_##x
#define DENOMINATOR(x) ENVOY__TYPE__V3__FRACTIONAL_PERCENT__DENOMINATOR_TYPE__##x

static void read_comparison(struct config_reader *cr, const pb_log_comparison *m, struct log_filter *f)
{
    static const enum log_compare ops[] = {LOG_EQ, LOG_GE, LOG_LE, LOG_NE};
    const pb_runtime_u32 *value = m ? GET(m, value) : NULL;
    if (!value) {
        FAULT("comparison.value", "must be set");
        return;
    }
    unsigned op = (unsigned)GET(m, op);
    f->op = op < ARRAY_LEN(ops) ? ops[op] : LOG_EQ;
    f->value = GET(value, default_value);
    f->runtime_key = str_dup(TEXT(value, runtime_key));
}

static void read_runtime(struct config_reader *cr, const Envoy__Config__Accesslog__V3__RuntimeFilter *m, struct log_filter *f)
{
    const pb_fractional_percent *p = GET(m, percent_sampled);
    f->runtime_key = str_dup(TEXT(m, runtime_key));
    f->independent_randomness = GET(m, use_independent_randomness);
    f->denominator = 100;
    if (!p)
        return;
    f->numerator = GET(p, numerator);
    int d = GET(p, denominator);
    f->denominator = d == DENOMINATOR(MILLION) ? 1000000 : d == DENOMINATOR(TEN_THOUSAND) ? 10000 : 100;
}

static void read_flags(struct config_reader *cr, const Envoy__Config__Accesslog__V3__ResponseFlagFilter *m, struct log_filter *f)
{
    static const struct { const char *name; uint32_t bit; } names[] = {
#define X(bit, name, text) {#name, 1u << (bit)},
        RESPONSE_FLAG_TABLE(X)
#undef X
    };
    uint32_t n = LEN(m, flags);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t bit = 0;
        for (size_t j = 0; j < ARRAY_LEN(names); j++)
            bit = strcmp(m->flags[i], names[j].name) == 0 ? names[j].bit : bit;
        char field[32];
        snprintf(field, sizeof field, "flags[%u]", i);
        if (!bit)
            FAULT(field, "'%s' is not a response flag", m->flags[i]);
        f->flags |= bit;
    }
}

static void read_children(struct config_reader *cr, pb_log_filter *const *items, uint32_t n, struct log_filter *f)
{
    f->children = mem_zalloc((n ? n : 1) * sizeof *f->children);
    for (uint32_t i = 0; i < n; i++)
        IN("filters[%u]", i) {
            struct log_filter *child = cfg_log_filter(cr, items[i]);
            if (child)
                f->children[f->child_count++] = child;
        }
}

static void read_header(struct config_reader *cr, const Envoy__Config__Accesslog__V3__HeaderFilter *m, struct log_filter *f)
{
    struct header_matcher *h = NEW(header_matcher);
    const pb_header_matcher *header = GET(m, header);
    f->header = h;
    if (!header) {
        FAULT("header", "must be set");
        return;
    }
    IN("header")
        cfg_header_matcher(cr, header, h);
}

static void read_grpc(struct config_reader *cr, const Envoy__Config__Accesslog__V3__GrpcStatusFilter *m, struct log_filter *f)
{
    uint32_t n = LEN(m, statuses);
    f->exclude = GET(m, exclude);
    for (uint32_t i = 0; i < n; i++)
        f->grpc_mask |= m->statuses[i] < 32 ? 1u << m->statuses[i] : 0;
}

static void read_types(struct config_reader *cr, const Envoy__Config__Accesslog__V3__LogTypeFilter *m, struct log_filter *f)
{
    uint32_t n = LEN(m, types);
    f->exclude = GET(m, exclude);
    for (uint32_t i = 0; i < n; i++)
        f->type_mask |= (unsigned)m->types[i] < 64 ? 1ull << m->types[i] : 0;
}

static void read_metadata(struct config_reader *cr, const Envoy__Config__Accesslog__V3__MetadataFilter *m, struct log_filter *f)
{
    const pb_metadata_matcher *matcher = GET(m, matcher);
    f->match_if_missing = proto_bool_or(GET(m, match_if_key_not_found), true);
    if (!matcher)
        return;
    f->arena = NEW(arena);
    arena_init(f->arena, 0);
    f->metadata = arena_zalloc(f->arena, sizeof *f->metadata);
    IN("matcher")
        cfg_metadata_matcher(cr, matcher, f->arena, f->metadata);
}

int cfg_cel_filter(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_cel_filter *m = (const pb_cel_filter *)msg; /* cel_config's options stay unread */
    struct log_filter *f = out;
    struct err err = {0};
    f->kind = LOGF_CEL;
    f->cel = cel_new(TEXT(m, expression), &err);
    return f->cel ? 0 : cfg_fault_err(cr, "expression", &err);
}

static void read_extension(struct config_reader *cr, const Envoy__Config__Accesslog__V3__ExtensionFilter *m, struct log_filter *f)
{
    ProtobufCMessage *msg = NULL;
    const pb_any *any = m->config_type_case ? GET(m, typed_config) : NULL;
    const struct extension *ext = cfg_extension(cr, EXT_LOG_FILTER, "typed_config", TEXT(m, name), any, &msg);
    f->kind = LOGF_NOT_HEALTH_CHECK; /* until it is known; a fault ends the loading */
    if (ext)
        IN("typed_config")
            ext->read(cr, msg, f);
}

static bool read_kind(struct config_reader *cr, const pb_log_filter *m, struct log_filter *f)
{
    switch (m->filter_specifier_case) {
    case FILTER(STATUS_CODE_FILTER):
        f->kind = LOGF_STATUS;
        IN("status_code_filter")
            read_comparison(cr, ((void)GET(m, status_code_filter), GET(m->status_code_filter, comparison)), f);
        return true;
    case FILTER(DURATION_FILTER):
        f->kind = LOGF_DURATION;
        IN("duration_filter")
            read_comparison(cr, ((void)GET(m, duration_filter), GET(m->duration_filter, comparison)), f);
        return true;
    case FILTER(NOT_HEALTH_CHECK_FILTER):
        f->kind = LOGF_NOT_HEALTH_CHECK;
        return GET(m, not_health_check_filter) != NULL;
    case FILTER(TRACEABLE_FILTER):
        f->kind = LOGF_TRACEABLE;
        return GET(m, traceable_filter) != NULL;
    case FILTER(RUNTIME_FILTER):
        f->kind = LOGF_RUNTIME;
        read_runtime(cr, GET(m, runtime_filter), f);
        return true;
    case FILTER(AND_FILTER):
        f->kind = LOGF_AND;
        IN("and_filter")
            read_children(cr, ((void)GET(m, and_filter), GET(m->and_filter, filters)), LEN(m->and_filter, filters), f);
        return true;
    case FILTER(OR_FILTER):
        f->kind = LOGF_OR;
        IN("or_filter")
            read_children(cr, ((void)GET(m, or_filter), GET(m->or_filter, filters)), LEN(m->or_filter, filters), f);
        return true;
    case FILTER(HEADER_FILTER):
        f->kind = LOGF_HEADER;
        IN("header_filter")
            read_header(cr, GET(m, header_filter), f);
        return true;
    case FILTER(RESPONSE_FLAG_FILTER):
        f->kind = LOGF_RESPONSE_FLAG;
        IN("response_flag_filter")
            read_flags(cr, GET(m, response_flag_filter), f);
        return true;
    case FILTER(GRPC_STATUS_FILTER):
        f->kind = LOGF_GRPC_STATUS;
        read_grpc(cr, GET(m, grpc_status_filter), f);
        return true;
    case FILTER(LOG_TYPE_FILTER):
        f->kind = LOGF_LOG_TYPE;
        read_types(cr, GET(m, log_type_filter), f);
        return true;
    case FILTER(METADATA_FILTER):
        f->kind = LOGF_METADATA;
        IN("metadata_filter")
            read_metadata(cr, GET(m, metadata_filter), f);
        return true;
    case FILTER(EXTENSION_FILTER):
        IN("extension_filter")
            read_extension(cr, GET(m, extension_filter), f);
        return true;
    default:
        return false;
    }
}

struct log_filter *cfg_log_filter(struct config_reader *cr, const pb_log_filter *m)
{
    if (!m)
        return NULL;
    struct log_filter *f = NEW(log_filter);
    if (!read_kind(cr, m, f))
        log_filter_free(&f);
    return f;
}

void log_filter_free(struct log_filter **p)
{
    struct log_filter *f = *p;
    *p = NULL;
    if (!f)
        return;
    cel_free(&f->cel);
    for (uint32_t i = 0; i < f->child_count; i++)
        log_filter_free(&f->children[i]);
    mem_free(f->children);
    mem_free((char *)f->runtime_key.p);
    if (f->header) {
        struct header_matcher *h = (struct header_matcher *)f->header;
        header_matcher_fini(h);
        mem_free(h);
    }
    if (f->arena) {
        value_matcher_fini(f->metadata->value);
        arena_fini(f->arena);
        mem_free(f->arena);
    }
    mem_free(f);
}
