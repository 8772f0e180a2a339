/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators that read metadata (dynamic, or configured for a route, virtual host, cluster or
 * endpoint) and filter state. In text a string stands bare and anything else as JSON; alone in a
 * JSON log each value keeps its own kind. Workers; nothing is allocated but the output's growth.
 */
#include "base/check.h"
#include "base/mem.h"
#include "proxy/cluster/cluster.h"
#include "proxy/log/format_priv.h"
#include "proxy/route/route.h"

/* ---- metadata: [TYPE:]NAMESPACE[:KEY]... ---- */

enum metadata_owner { OWNER_DYNAMIC, OWNER_CLUSTER, OWNER_UPSTREAM, OWNER_ROUTE, OWNER_VHOST };

struct metadata_path { /* texts point into the piece's argument */
    struct str space;
    uint32_t n;
    struct str keys[];
};

static struct metadata_path *parse_path(struct str text)
{
    uint32_t n = 0;
    for (size_t i = 0; i < text.n; i++)
        n += text.p[i] == ':';
    struct metadata_path *path = mem_zalloc(sizeof(*path) + n * sizeof(path->keys[0]));
    struct str rest;
    path->space = str_split(text, ':', &rest);
    for (path->n = 0; path->n < n; path->n++)
        path->keys[path->n] = str_split(rest, ':', &rest);
    return path;
}

int check_metadata(struct format_piece *p, struct err *err)
{
    struct str name = str_from(p->op->name);
    if (!p->text.n)
        return err_set(err, ERR_INVALID, "%%%s()%%: the namespace is missing", p->op->name);
    p->variant = str_eq(name, STR("CLUSTER_METADATA"))    ? OWNER_CLUSTER
                 : str_eq(name, STR("UPSTREAM_METADATA")) ? OWNER_UPSTREAM
                                                          : OWNER_DYNAMIC;
    p->extra = parse_path(p->text);
    return 0;
}

int check_metadata_typed(struct format_piece *p, struct err *err)
{
    static const struct {
        const char *name;
        enum metadata_owner owner;
    } types[] = {
        {"DYNAMIC", OWNER_DYNAMIC}, {"CLUSTER", OWNER_CLUSTER},    {"UPSTREAM_HOST", OWNER_UPSTREAM},
        {"ROUTE", OWNER_ROUTE},     {"VIRTUAL_HOST", OWNER_VHOST},
    };
    struct str rest, type = str_split(p->text, ':', &rest);
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (!str_eq(type, str_from(types[i].name)))
            continue;
        if (!rest.n)
            return err_set(err, ERR_INVALID, "%%METADATA(%.*s)%%: the namespace is missing", STR_ARG(p->text));
        p->variant = types[i].owner;
        p->extra = parse_path(rest);
        return 0;
    }
    return err_set(err, ERR_UNSUPPORTED, "%%METADATA(%.*s)%%: %.*s is not a supported type of metadata", STR_ARG(p->text),
                   STR_ARG(type));
}

static const struct metadata *metadata_of(int owner, const struct stream_info *info)
{
    switch ((enum metadata_owner)owner) {
    case OWNER_DYNAMIC:
        return &info->metadata;
    case OWNER_CLUSTER:
        return info->cluster ? cluster_spec(info->cluster)->metadata : NULL;
    case OWNER_UPSTREAM:
        return info->host ? info->host->metadata : NULL;
    case OWNER_ROUTE:
        return info->route ? info->route->metadata : NULL;
    case OWNER_VHOST:
        return info->route && info->route->vhost ? info->route->vhost->metadata : NULL;
    }
    return NULL;
}

static const struct meta_value *find_value(const struct format_piece *p, const struct format_context *cx)
{
    const struct metadata_path *path = p->extra;
    return cx->info ? metadata_find(metadata_of(p->variant, cx->info), path->space, path->keys, path->n) : NULL;
}

bool op_metadata(const struct format_piece *p, const struct format_context *cx, struct strbuf *out)
{
    const struct meta_value *v = find_value(p, cx);
    if (v)
        meta_print_json(v, true, out);
    return v != NULL;
}

/* ---- filter state: KEY[:PLAIN|TYPED|FIELD:name] ---- */

enum { STATE_TYPED, STATE_PLAIN, STATE_FIELD };

int check_filter_state(struct format_piece *p, struct err *err)
{
    struct str how, key = str_split(p->text, ':', &how), field;
    if (!key.n)
        return err_set(err, ERR_INVALID, "%%FILTER_STATE()%%: the key is missing");
    p->name = key;
    if (!how.n || str_eq(how, STR("TYPED"))) {
        p->variant = STATE_TYPED;
        return 0;
    }
    how = str_split(how, ':', &field);
    p->variant = str_eq(how, STR("PLAIN")) ? STATE_PLAIN : STATE_FIELD;
    if (p->variant == STATE_FIELD && (!str_eq(how, STR("FIELD")) || !field.n))
        return err_set(err, ERR_INVALID, "%%FILTER_STATE(%.*s)%%: want PLAIN, TYPED or FIELD:<name>", STR_ARG(p->text));
    p->alternative = field;
    return 0;
}

static const struct filter_state_entry *find_state(const struct format_piece *p, const struct format_context *cx)
{
    return cx->info ? filter_state_find(&cx->info->filter_state, p->name) : NULL;
}

/* FIELD: of an object that has fields; NULL where there is none of that name. */
static const struct meta_value *find_state_field(const struct format_piece *p, const struct filter_state_entry *e)
{
    return e && e->object ? meta_field(e->object->fields, p->alternative) : NULL;
}

static void add_quoted(const struct format_piece *p, struct strbuf *out, struct str s)
{
    if (s.n > p->max_len)
        s.n = p->max_len;
    strbuf_addc(out, '"');
    strbuf_add_json(out, s);
    strbuf_addc(out, '"');
}

/* TYPED is the object as a message in JSON: a StringValue's is a quoted text, a Struct's its fields. */
bool op_filter_state(const struct format_piece *p, const struct format_context *cx, struct strbuf *out)
{
    const struct filter_state_entry *e = find_state(p, cx);
    const struct meta_value *field = p->variant == STATE_FIELD ? find_state_field(p, e) : NULL;
    if (p->variant == STATE_FIELD) {
        if (field)
            meta_print_json(field, true, out);
        return field != NULL;
    }
    if (e && p->variant == STATE_PLAIN)
        strbuf_adds(out, e->value);
    else if (e && e->object)
        meta_print_json(e->object->fields, false, out);
    else if (e)
        add_quoted(p, out, e->value);
    return e != NULL;
}

static bool state_json(const struct format_piece *p, const struct format_context *cx, struct strbuf *out)
{
    const struct filter_state_entry *e = find_state(p, cx);
    const struct meta_value *field = p->variant == STATE_FIELD ? find_state_field(p, e) : NULL;
    if (field)
        meta_print_json(field, false, out);
    else if (e && e->object && p->variant == STATE_TYPED)
        meta_print_json(e->object->fields, false, out);
    else if (e && p->variant != STATE_FIELD)
        add_quoted(p, out, e->value);
    return field || (e && p->variant != STATE_FIELD);
}

bool operator_json(const struct format_piece *p, const struct format_context *cx, struct strbuf *out)
{
    if (p->op->run == op_filter_state)
        return state_json(p, cx, out);
    const struct meta_value *v = find_value(p, cx);
    if (v && v->kind == META_STRING)
        add_quoted(p, out, v->u.string);
    else if (v)
        meta_print_json(v, false, out);
    return v != NULL;
}
