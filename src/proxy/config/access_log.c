/* SPDX-License-Identifier: Apache-2.0
 *
 * Access loggers and substitution formats. Log files are opened here (as Envoy does, also when only
 * validating: a path that can't be opened is a fault). Main thread.
 */
#include "proxy/log/access_log.h"

#include "base/mem.h"
#include "proxy/config/config_priv.h"

#include <math.h>
#include <stdio.h>

#define FORMAT(x) ENVOY__CONFIG__CORE__V3__SUBSTITUTION_FORMAT_STRING__FORMAT_##x
#define FILE_FORMAT(x) ENVOY__EXTENSIONS__ACCESS_LOGGERS__FILE__V3__FILE_ACCESS_LOG__ACCESS_LOG_FORMAT_##x
#define VALUE(x) GOOGLE__PROTOBUF__VALUE__KIND_##x

/* ---- JSON formats ---- */

static void json_object(const pb_struct *m, struct json_format_node *n, struct arena *a);

static struct str number_text(double v, struct arena *a)
{
    if (v == floor(v) && fabs(v) < 1e15)
        return arena_printf(a, "%.0f", v);
    return arena_printf(a, "%.17g", v);
}

static void json_node(const pb_value *v, struct json_format_node *n, struct arena *a)
{
    switch (v ? v->kind_case : VALUE(NULL_VALUE)) {
    case VALUE(STRING_VALUE):
        n->kind = JSON_FORMAT_TEXT;
        n->text = arena_str(a, str_from(v->string_value));
        break;
    case VALUE(NUMBER_VALUE):
        n->kind = JSON_FORMAT_NUMBER;
        n->text = number_text(v->number_value, a);
        break;
    case VALUE(BOOL_VALUE):
        n->kind = JSON_FORMAT_BOOL;
        n->text = v->bool_value ? STR("true") : STR("false");
        break;
    case VALUE(STRUCT_VALUE):
        json_object(v->struct_value, n, a);
        break;
    case VALUE(LIST_VALUE):
        n->kind = JSON_FORMAT_LIST;
        n->child_count = (uint32_t)v->list_value->n_values;
        n->children = ARENA_ARRAY(a, struct json_format_node, n->child_count);
        for (uint32_t i = 0; i < n->child_count; i++)
            json_node(v->list_value->values[i], &n->children[i], a);
        break;
    default:
        n->kind = JSON_FORMAT_NULL;
    }
}

static void json_object(const pb_struct *m, struct json_format_node *n, struct arena *a)
{
    n->kind = JSON_FORMAT_OBJECT;
    n->child_count = (uint32_t)m->n_fields;
    n->children = ARENA_ARRAY(a, struct json_format_node, n->child_count);
    for (uint32_t i = 0; i < n->child_count; i++) {
        n->children[i].key = arena_str(a, str_from(m->fields[i]->key));
        json_node(m->fields[i]->value, &n->children[i], a);
    }
}

static struct format *json_format(struct config_reader *cr, const char *field, const pb_struct *m, bool omit_empty, bool sort)
{
    struct err err = {0};
    struct json_format_node root = {0};
    struct arena a;
    arena_init(&a, 0);
    json_object(m, &root, &a);
    struct format *f = format_new_json(&root, omit_empty, sort, &err);
    if (!f)
        cfg_fault_err(cr, field, &err);
    arena_fini(&a);
    return f;
}

static struct format *text_format(struct config_reader *cr, const char *field, struct str text, bool omit_empty)
{
    struct err err = {0};
    struct format *f = format_new(text, omit_empty, &err);
    if (!f)
        cfg_fault_err(cr, field, &err);
    return f;
}

static struct format *source_format(struct config_reader *cr, const pb_data_source *m, bool omit_empty)
{
    struct arena a;
    struct str text;
    struct format *f = NULL;
    arena_init(&a, 0);
    IN("text_format_source")
        if (cfg_data_source(cr, &a, m, 0, &text) == 0)
            f = text_format(cr, "", text, omit_empty);
    arena_fini(&a);
    return f;
}

static bool is_json(const pb_format_string *m)
{
    return m && m->format_case == FORMAT(JSON_FORMAT);
}

struct format *cfg_format(struct config_reader *cr, const pb_format_string *m, struct arena *a, struct str *content_type)
{
    bool omit = GET(m, omit_empty_values);
    cfg_formatters(cr, m->formatters, LEN(m, formatters));
    struct str type = TEXT(m, content_type);
    const pb_json_format_options *json = GET(m, json_format_options);
    if (json)
        (void)GET(json, sort_properties); /* Envoy 1.40 sorts whatever this says: properties come from a map */
    if (content_type && (type.n || is_json(m)))
        *content_type = type.n ? arena_str(a, type) : STR("application/json");
    else if (content_type)
        *content_type = STR("text/plain");
    switch (m->format_case) {
    case FORMAT(TEXT_FORMAT):
        return text_format(cr, "text_format", TEXT(m, text_format), omit);
    case FORMAT(JSON_FORMAT):
        return json_format(cr, "json_format", GET(m, json_format), omit, true);
    case FORMAT(TEXT_FORMAT_SOURCE):
        return source_format(cr, GET(m, text_format_source), omit);
    default:
        FAULT("", "one of text_format, json_format and text_format_source must be set");
        return NULL;
    }
}

/* ---- loggers ---- */

static int finish(struct config_reader *cr, const char *field, struct str path, struct format *take_format, struct access_log *l)
{
    struct err err = {0};
    if (!take_format)
        return ERR_INVALID;
    return access_log_to_file(l, path, take_format, &err) < 0 ? cfg_fault_err(cr, field, &err) : 0;
}

static struct format *default_format(struct config_reader *cr)
{
    return text_format(cr, "", format_default_http(), false);
}

static struct format *read_log_format(struct config_reader *cr, const pb_format_string *m)
{
    struct format *f = NULL;
    if (!m)
        return default_format(cr);
    IN("log_format")
        f = cfg_format(cr, m, NULL, NULL);
    return f;
}

static struct format *read_file_format(struct config_reader *cr, const pb_log_file *m)
{
    switch (m->access_log_format_case) {
    case FILE_FORMAT(FORMAT):
        return TEXT(m, format).n ? text_format(cr, "format", str_from(m->format), false) : default_format(cr);
    case FILE_FORMAT(JSON_FORMAT):
        return json_format(cr, "json_format", GET(m, json_format), false, false);
    case FILE_FORMAT(TYPED_JSON_FORMAT):
        return json_format(cr, "typed_json_format", GET(m, typed_json_format), false, false);
    case FILE_FORMAT(LOG_FORMAT):
        return read_log_format(cr, GET(m, log_format));
    default:
        return default_format(cr);
    }
}

int cfg_file_logger(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_log_file *m = (const pb_log_file *)msg;
    struct str path = TEXT(m, path);
    return finish(cr, "path", path, read_file_format(cr, m), out);
}

int cfg_stdout_logger(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_log_stdout *m = (const pb_log_stdout *)msg;
    return finish(cr, "", STR("/dev/stdout"), read_log_format(cr, m->access_log_format_case ? GET(m, log_format) : NULL), out);
}

int cfg_stderr_logger(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_log_stderr *m = (const pb_log_stderr *)msg;
    return finish(cr, "", STR("/dev/stderr"), read_log_format(cr, m->access_log_format_case ? GET(m, log_format) : NULL), out);
}

static struct access_log *read_log(struct config_reader *cr, const pb_access_log *m)
{
    ProtobufCMessage *msg = NULL;
    struct access_log *l = NULL;
    struct str name = TEXT(m, name);
    const pb_any *any = m->config_type_case ? GET(m, typed_config) : NULL;
    const struct extension *ext = cfg_extension(cr, EXT_ACCESS_LOGGER, "typed_config", name, any, &msg);
    if (!ext)
        return NULL;
    l = NEW(access_log);
    if (GET(m, filter))
        IN("filter")
            l->filter = cfg_log_filter(cr, m->filter);
    IN("typed_config")
        if (ext->read(cr, msg, l) < 0)
            access_log_free(&l);
    return l;
}

struct access_log **cfg_access_logs(struct config_reader *cr, const char *field, pb_access_log *const *items, uint32_t n,
                                    struct arena *a, uint32_t *count)
{
    struct access_log **out = ARENA_ARRAY(a, struct access_log *, n);
    *count = 0;
    for (uint32_t i = 0; i < n; i++)
        IN("%s[%u]", field, i) {
            struct access_log *l = read_log(cr, items[i]);
            if (l)
                out[(*count)++] = l;
        }
    return out;
}
