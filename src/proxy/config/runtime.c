/* SPDX-License-Identifier: Apache-2.0
 *
 * Runtime layers: nested structures become dotted keys, values become text. A structure with
 * numerator or denominator is a fractional percent, kept as "numerator/denominator". Main thread.
 */
#include "base/mem.h"
#include "proxy/config/config_priv.h"
#include "proxy/config/resources_priv.h"

#include <math.h>
#include <stdio.h>

#define LAYER(x) ENVOY__CONFIG__BOOTSTRAP__V3__RUNTIME_LAYER__LAYER_SPECIFIER_##x
#define VALUE(x) GOOGLE__PROTOBUF__VALUE__KIND_##x

struct flattening {
    struct arena *a;
    struct str *keys, *values;
    size_t count, key_cap, value_cap;
    struct strbuf path;
};

static void add(struct flattening *f, struct str value)
{
    f->keys = mem_grow(f->keys, &f->key_cap, f->count + 1, sizeof *f->keys);
    f->values = mem_grow(f->values, &f->value_cap, f->count + 1, sizeof *f->values);
    f->keys[f->count] = arena_str(f->a, strbuf_str(&f->path));
    f->values[f->count++] = value;
}

static struct str number(struct arena *a, double v)
{
    return v == floor(v) && fabs(v) < 1e15 ? arena_printf(a, "%.0f", v) : arena_printf(a, "%.17g", v);
}

static const pb_value *field(const pb_struct *s, const char *key)
{
    for (size_t i = 0; i < s->n_fields; i++)
        if (strcmp(s->fields[i]->key, key) == 0)
            return s->fields[i]->value;
    return NULL;
}

static bool add_fraction(struct flattening *f, const pb_struct *s)
{
    const pb_value *n = field(s, "numerator"), *d = field(s, "denominator");
    const char *denominator = "100";
    if (!n && !d)
        return false;
    if (d && d->kind_case == VALUE(STRING_VALUE))
        denominator = strcmp(d->string_value, "MILLION") == 0 ? "1000000"
                      : strcmp(d->string_value, "TEN_THOUSAND") == 0 ? "10000" : "100";
    add(f, arena_printf(f->a, "%.0f/%s", n && n->kind_case == VALUE(NUMBER_VALUE) ? n->number_value : 0.0, denominator));
    return true;
}

static void flatten(struct config_reader *cr, struct flattening *f, const pb_struct *s)
{
    size_t mark = f->path.n;
    for (size_t i = 0; i < s->n_fields; i++) {
        const pb_value *v = s->fields[i]->value;
        f->path.n = mark;
        if (mark)
            strbuf_addc(&f->path, '.');
        strbuf_addz(&f->path, s->fields[i]->key);
        switch (v ? v->kind_case : VALUE(NULL_VALUE)) {
        case VALUE(STRING_VALUE):
            add(f, arena_str(f->a, str_from(v->string_value)));
            break;
        case VALUE(NUMBER_VALUE):
            add(f, number(f->a, v->number_value));
            break;
        case VALUE(BOOL_VALUE):
            add(f, v->bool_value ? STR("true") : STR("false"));
            break;
        case VALUE(STRUCT_VALUE):
            if (!add_fraction(f, v->struct_value))
                flatten(cr, f, v->struct_value);
            break;
        default:
            FAULT("static_layer", "the value of '%.*s' must be a number, a bool, a string or a map", STR_ARG(strbuf_str(&f->path)));
        }
    }
    f->path.n = mark;
}

static void read_values(struct config_reader *cr, const pb_struct *m, struct arena *a, struct runtime_values *out)
{
    struct flattening f = {.a = a};
    flatten(cr, &f, m);
    struct str *keys = ARENA_ARRAY(a, struct str, f.count), *values = ARENA_ARRAY(a, struct str, f.count);
    if (f.count) {
        memcpy(keys, f.keys, f.count * sizeof *keys);
        memcpy(values, f.values, f.count * sizeof *values);
    }
    *out = (struct runtime_values){keys, values, f.count};
    mem_free(f.keys);
    mem_free(f.values);
    strbuf_fini(&f.path);
}

static void read_rtds(struct config_reader *cr, const Envoy__Config__Bootstrap__V3__RuntimeLayer__RtdsLayer *m, struct runtime_layer_spec *out)
{
    IN("rtds_layer") {
        out->rtds_name = arena_str(&cr->out->arena, TEXT(m, name));
        IN("rtds_config")
            out->source = cfg_config_source(cr, GET(m, rtds_config));
        cr->out->has_sources = true;
        if (!out->source)
            FAULT("rtds_config", "must be set");
    }
}

static void read_layer(struct config_reader *cr, const pb_runtime_layer *m, struct runtime_layer_spec *out)
{
    struct arena *a = &cr->out->arena;
    out->name = arena_str(a, TEXT(m, name));
    if (m->layer_specifier_case == LAYER(ADMIN_LAYER)) {
        out->is_admin = true;
        (void)GET(m, admin_layer);
        return;
    }
    if (m->layer_specifier_case != LAYER(STATIC_LAYER))
        return; /* disk layers stay unread, RTDS layers are read later */
    struct runtime_values values;
    read_values(cr, GET(m, static_layer), a, &values);
    out->count = values.count;
    out->keys = values.keys;
    out->values = values.values;
}

int config_read_runtime(struct config_batch *b, struct str packed, struct arena *a, struct runtime_values *out, struct err_list *faults)
{
    struct config_resource r;
    struct cluster_slots none = {0};
    const Envoy__Service__Runtime__V3__Runtime *m = (const Envoy__Service__Runtime__V3__Runtime *)cfg_resource_begin(
        &r, b, &envoy__service__runtime__v3__runtime__descriptor, packed, faults);
    struct config_reader *cr = &r.cr;
    *out = (struct runtime_values){0};
    r.cr.slots = &none;
    if (m) {
        (void)TEXT(m, name);
        if (GET(m, layer))
            read_values(cr, m->layer, a, out);
    }
    return cfg_resource_end(&r, m ? &m->base : NULL);
}

void cfg_rtds(struct config_reader *cr, const pb_layered_runtime *m)
{
    for (uint32_t i = 0; m && i < m->n_layers; i++)
        if (m->layers[i]->layer_specifier_case == LAYER(RTDS_LAYER))
            IN("layered_runtime.layers[%u]", i)
                read_rtds(cr, GET(m->layers[i], rtds_layer), &cr->out->layers[i]);
}

void cfg_runtime(struct config_reader *cr, const pb_layered_runtime *m)
{
    struct config_result *out = cr->out;
    uint32_t n = m ? LEN(m, layers) : 0, admins = 0;
    out->layers = ARENA_ARRAY(&out->arena, struct runtime_layer_spec, n ? n : 1);
    out->layer_count = n ? n : 1;
    if (n == 0) { /* Envoy's default: nothing but what admin sets */
        out->layers[0] = (struct runtime_layer_spec){.name = STR("admin"), .is_admin = true};
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        IN("layered_runtime.layers[%u]", i) {
            read_layer(cr, m->layers[i], &out->layers[i]);
            for (uint32_t j = 0; j < i; j++)
                if (str_eq(out->layers[i].name, out->layers[j].name))
                    FAULT("name", "'%.*s' is the name of an earlier layer", STR_ARG(out->layers[i].name));
            admins += out->layers[i].is_admin;
        }
    if (admins > 1)
        FAULT("layered_runtime.layers", "there can be one admin_layer, not %u", admins);
}
