/* SPDX-License-Identifier: Apache-2.0
 *
 * The header_mutation filter's lists, of the filter and of routes. Into the caller's arena, but for formats and matchers,
 * which are freed with them. Main thread.
 */
#include "proxy/filter/header_mutation.h"

#include "proxy/config/config_priv.h"

static void free_mutations(struct mutations *m)
{
    header_rules_fini(&m->request);
    header_rules_fini(&m->request_trailers);
    header_rules_fini(&m->response);
    header_rules_fini(&m->response_trailers);
    for (uint32_t i = 0; i < m->query_count; i++)
        format_free(&m->queries[i].value);
}

static void free_config(void *config)
{
    struct header_mutation_config *c = config;
    free_mutations(&c->mutations);
}

static void free_route(void *config)
{
    free_mutations(config);
}

static void read_record(struct config_reader *cr, const pb_key_value_append *m, struct arena *a, struct query_mutation *out)
{
    const pb_key_value_pair *record = GET(m, record);
    struct err err = {0};
    unsigned action = (unsigned)GET(m, action);
    out->action = action <= HEADER_OVERWRITE_IF_EXISTS ? (enum header_append)action : HEADER_APPEND;
    if (!record) {
        FAULT("record", "must be set");
        return;
    }
    out->key = arena_str(a, TEXT(record, key));
    const pb_value *value = GET(record, value);
    if (!value || value->kind_case != GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE) {
        FAULT("record.value", "must be a string");
        return;
    }
    out->value = format_new(TEXT(value, string_value), true, &err);
    if (!out->value)
        cfg_fault_err(cr, "record.value", &err);
}

static void read_query(struct config_reader *cr, const pb_key_value_mutation *m, struct arena *a, struct query_mutation *out)
{
    const pb_key_value_append *append = GET(m, append);
    struct str remove = TEXT(m, remove);
    if ((append != NULL) == (remove.n > 0)) {
        FAULT("", "one of append and remove must be set");
        return;
    }
    out->remove = !append;
    out->key = arena_str(a, remove);
    if (append)
        IN("append")
            read_record(cr, append, a, out);
}

static void read_mutations(struct config_reader *cr, const pb_mutations *m, struct arena *a, struct mutations *out)
{
    if (!m)
        return;
    out->query_count = LEN(m, query_parameter_mutations);
    out->queries = ARENA_ARRAY(a, struct query_mutation, out->query_count);
    for (uint32_t i = 0; i < out->query_count; i++)
        IN("query_parameter_mutations[%u]", i)
            read_query(cr, m->query_parameter_mutations[i], a, &out->queries[i]);
    cfg_header_mutations(cr, "request_mutations", m->request_mutations, LEN(m, request_mutations), a, &out->request);
    cfg_header_mutations(cr, "request_trailers_mutations", m->request_trailers_mutations, LEN(m, request_trailers_mutations), a,
                         &out->request_trailers);
    cfg_header_mutations(cr, "response_mutations", m->response_mutations, LEN(m, response_mutations), a, &out->response);
    cfg_header_mutations(cr, "response_trailers_mutations", m->response_trailers_mutations, LEN(m, response_trailers_mutations),
                         a, &out->response_trailers);
}

int cfg_header_mutation(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_header_mutations *m = (const pb_header_mutations *)msg;
    struct cfg_http_filter *f = out;
    struct header_mutation_config *c = arena_zalloc(f->arena, sizeof *c);
    c->most_specific_wins = GET(m, most_specific_header_mutations_wins);
    IN("mutations")
        read_mutations(cr, GET(m, mutations), f->arena, &c->mutations);
    f->spec->config = c;
    f->spec->free_config = free_config;
    return 0;
}

int cfg_header_mutation_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_header_mutations_route *m = (const pb_header_mutations_route *)msg;
    struct cfg_route_filter *f = out;
    struct mutations *list = arena_zalloc(f->arena, sizeof *list);
    IN("mutations")
        read_mutations(cr, GET(m, mutations), f->arena, list);
    f->override->config = list;
    f->override->free_config = free_route;
    return 0;
}
