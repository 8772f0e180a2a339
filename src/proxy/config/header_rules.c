/* SPDX-License-Identifier: Apache-2.0
 *
 * Header rules: HeaderValueOption and removal lists, HeaderMutation lists. What Envoy refuses is
 * refused: changing or removing pseudo headers and host, both forms of `append`, unknown operators.
 * Main thread.
 */
#include "proxy/route/header_rules.h"

#include "base/mem.h"
#include "proxy/config/config_priv.h"

static bool is_fixed(struct str name)
{
    return !name.n || name.p[0] == ':' || str_eq(name, STR("host"));
}

/* Older spellings that formats don't know: %UPSTREAM_METADATA(["ns","key"])% and the like, %PER_REQUEST_STATE(key)%. */
static void translate_json_argument(struct str argument, struct strbuf *out)
{
    bool quoted = false, first = true;
    for (size_t i = 0; i < argument.n; i++) {
        char c = argument.p[i];
        if (c == '"') {
            if (!quoted && !first)
                strbuf_addc(out, ':');
            first = false;
            quoted = !quoted;
        } else if (quoted) {
            strbuf_addc(out, c);
        }
    }
}

static bool translate_operator(struct str inside, struct strbuf *out)
{
    ptrdiff_t open = str_find(inside, STR("(["));
    if (open > 0 && str_has_suffix(inside, STR("])"))) {
        strbuf_add(out, inside.p, (size_t)open + 1);
        translate_json_argument(str_make(inside.p + open + 2, inside.n - (size_t)open - 4), out);
        strbuf_addc(out, ')');
        return true;
    }
    if (str_has_prefix(inside, STR("PER_REQUEST_STATE(")) && inside.p[inside.n - 1] == ')') {
        strbuf_addf(out, "FILTER_STATE(%.*s:PLAIN)", (int)inside.n - 19, inside.p + 18);
        return true;
    }
    return false;
}

static struct str translate(struct str text, struct strbuf *out)
{
    while (text.n) {
        ptrdiff_t at = str_find_char(text, '%');
        if (at < 0)
            break;
        strbuf_add(out, text.p, (size_t)at + 1);
        text = str_make(text.p + at + 1, text.n - (size_t)at - 1);
        ptrdiff_t end = str_find_char(text, '%');
        if (end < 0)
            break;
        struct str inside = str_make(text.p, (size_t)end);
        if (!translate_operator(inside, out))
            strbuf_adds(out, inside);
        strbuf_addc(out, '%');
        text = str_make(text.p + end + 1, text.n - (size_t)end - 1);
    }
    strbuf_adds(out, text);
    return strbuf_str(out);
}

static void read_value(struct config_reader *cr, struct str text, struct arena *a, struct header_mutation *out)
{
    struct strbuf b = {0};
    struct err err = {0};
    if (str_find_char(text, '%') < 0) {
        out->literal = arena_str(a, text);
        return;
    }
    out->value = format_new(translate(text, &b), true, &err);
    if (!out->value)
        cfg_fault_err(cr, "header.value", &err);
    strbuf_fini(&b);
}

void cfg_header_option(struct config_reader *cr, const pb_header_option *m, struct arena *a, struct header_mutation *out)
{
    const pb_header_value *h = GET(m, header);
    const Google__Protobuf__BoolValue *append = GET(m, append);
    unsigned action = (unsigned)GET(m, append_action);
    *out = (struct header_mutation){0};
    if (append && action)
        FAULT("append", "excludes append_action");
    out->action = action <= HEADER_OVERWRITE_IF_EXISTS ? (enum header_append)action : HEADER_APPEND;
    if (append && !append->value)
        out->action = HEADER_OVERWRITE_OR_ADD;
    out->keep_empty = GET(m, keep_empty_value);
    if (!h) {
        FAULT("header", "must be set");
        return;
    }
    out->name = cfg_lower(a, TEXT(h, key));
    if (is_fixed(out->name))
        FAULT("header.key", "'%.*s': names that begin with ':' and host may not be modified", STR_ARG(out->name));
    struct str raw = PROTO_BYTES(&cr->r, h, raw_value), value = TEXT(h, value);
    read_value(cr, raw.n ? raw : value, a, out);
}

static struct str read_removal(struct config_reader *cr, const char *field, struct str name, struct arena *a)
{
    struct str lower = cfg_lower(a, name);
    if (is_fixed(lower))
        FAULT(field, "'%.*s': names that begin with ':' and host may not be removed", STR_ARG(lower));
    return lower;
}

void cfg_header_rules(struct config_reader *cr, const char *add_field, pb_header_option *const *adds, uint32_t add_count,
                      const char *remove_field, char *const *removes, uint32_t remove_count, struct arena *a, struct header_rules *out)
{
    *out = (struct header_rules){.at_once = true, .items = ARENA_ARRAY(a, struct header_rule, add_count + remove_count)};
    for (uint32_t i = 0; i < remove_count; i++) {
        struct header_rule *r = &out->items[out->count++];
        r->kind = HEADER_RULE_REMOVE;
        IN("%s[%u]", remove_field, i)
            r->name = read_removal(cr, "", str_from(removes[i]), a);
    }
    for (uint32_t i = 0; i < add_count; i++)
        IN("%s[%u]", add_field, i)
            cfg_header_option(cr, adds[i], a, &out->items[out->count++].mutation);
}

#define ACTION(x) ENVOY__CONFIG__COMMON__MUTATION_RULES__V3__HEADER_MUTATION__ACTION_##x

static void read_mutation(struct config_reader *cr, const pb_header_mutation *m, struct arena *a, struct header_rule *out)
{
    switch (m->action_case) {
    case ACTION(REMOVE):
        out->kind = HEADER_RULE_REMOVE;
        out->name = read_removal(cr, "remove", TEXT(m, remove), a);
        break;
    case ACTION(APPEND):
        IN("append")
            cfg_header_option(cr, GET(m, append), a, &out->mutation);
        break;
    case ACTION(REMOVE_ON_MATCH):
        out->kind = HEADER_RULE_REMOVE_MATCHING;
        IN("remove_on_match.key_matcher")
            if (GET(GET(m, remove_on_match), key_matcher))
                cfg_string_match(cr, m->remove_on_match->key_matcher, &out->matching);
        break;
    default:
        FAULT("", "one of remove, append and remove_on_match must be set");
    }
}

void cfg_header_mutations(struct config_reader *cr, const char *field, pb_header_mutation *const *items, uint32_t n, struct arena *a,
                          struct header_rules *out)
{
    *out = (struct header_rules){.count = n, .items = ARENA_ARRAY(a, struct header_rule, n)};
    for (uint32_t i = 0; i < n; i++)
        IN("%s[%u]", field, i)
            read_mutation(cr, items[i], a, &out->items[i]);
}
