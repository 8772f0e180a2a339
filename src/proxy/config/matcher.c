/* SPDX-License-Identifier: Apache-2.0
 *
 * Matcher trees from xds.type.matcher.v3.Matcher. Actions are read by whoever owns the tree. Custom
 * matchers stay unread. Main thread.
 */
#include "proxy/match/matcher.h"

#include <stdlib.h>

#include "proxy/config/config_priv.h"
#include "proxy/config/matcher_priv.h"

#define TREE(x) XDS__TYPE__MATCHER__V3__MATCHER__MATCHER_TREE__TREE_TYPE_##x
#define PREDICATE(x) XDS__TYPE__MATCHER__V3__MATCHER__MATCHER_LIST__PREDICATE__MATCH_TYPE_##x
#define SINGLE(x) XDS__TYPE__MATCHER__V3__MATCHER__MATCHER_LIST__PREDICATE__SINGLE_PREDICATE__MATCHER_##x
#define STRING(x) XDS__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_##x

static struct matcher *read_matcher(struct matcher_reading *mr, const pb_matcher *m);

/* ---- inputs ---- */

int cfg_input_header(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    struct cfg_matcher_input *to = out;
    struct str name = cfg_lower(to->arena, TEXT((const pb_header_input *)msg, header_name));
    *to->input = (struct matcher_input){INPUT_HEADER, str_eq(name, STR("host")) ? STR(":authority") : name};
    return 0;
}

int cfg_input_query(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    struct cfg_matcher_input *to = out;
    *to->input = (struct matcher_input){INPUT_QUERY_PARAMETER, arena_str(to->arena, TEXT((const pb_query_input *)msg, query_param))};
    return 0;
}

int cfg_input_filter_state(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    struct cfg_matcher_input *to = out;
    *to->input = (struct matcher_input){INPUT_FILTER_STATE, arena_str(to->arena, TEXT((const pb_filter_state_input *)msg, key))};
    return 0;
}

int cfg_input_connection(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    static const struct { const char *type; enum matcher_input_kind kind; } kinds[] = {
        {".SourceIPInput", INPUT_SOURCE_IP}, {".SourcePortInput", INPUT_SOURCE_PORT},
        {".DirectSourceIPInput", INPUT_DIRECT_SOURCE_IP}, {".DestinationIPInput", INPUT_DESTINATION_IP},
        {".DestinationPortInput", INPUT_DESTINATION_PORT}, {".SourceTypeInput", INPUT_SOURCE_TYPE},
        {".ServerNameInput", INPUT_SERVER_NAME}, {".UriSanInput", INPUT_URI_SAN}, {".DnsSanInput", INPUT_DNS_SAN},
        {".SubjectInput", INPUT_SUBJECT},
    };
    struct cfg_matcher_input *to = out;
    (void)cr;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (str_has_suffix(str_from(msg->descriptor->name), str_from(kinds[i].type)))
            to->input->kind = kinds[i].kind;
    return 0;
}

static void read_input(struct matcher_reading *mr, const pb_xds_extension *m, struct matcher_input *out)
{
    struct config_reader *cr = mr->cr;
    ProtobufCMessage *msg = NULL;
    struct cfg_matcher_input to = {out, mr->a};
    if (!m) {
        FAULT("", "must be set");
        return;
    }
    const struct extension *ext = cfg_extension(cr, EXT_MATCH_INPUT, "typed_config", TEXT(m, name), GET(m, typed_config), &msg);
    if (ext)
        IN("typed_config")
            ext->read(cr, msg, &to);
    bool wants_headers = out->kind == INPUT_HEADER || out->kind == INPUT_QUERY_PARAMETER || out->kind == INPUT_COOKIE;
    if (ext && mr->is_connection && wants_headers)
        FAULT("typed_config", "a connection has no headers");
}

/* ---- predicates ---- */

static void read_string(struct config_reader *cr, const pb_xds_string_matcher *m, struct string_match *out)
{
    static const struct { int which; enum string_match_kind kind; } kinds[] = {
        {STRING(EXACT), MATCH_EXACT}, {STRING(PREFIX), MATCH_PREFIX}, {STRING(SUFFIX), MATCH_SUFFIX}, {STRING(CONTAINS), MATCH_CONTAINS},
    };
    struct err err = {0};
    bool ignore_case = GET(m, ignore_case);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) /* the four share one place in the union */
        if ((int)m->match_pattern_case == kinds[i].which) {
            string_match_init(out, kinds[i].kind, TEXT(m, exact), ignore_case, NULL);
            return;
        }
    if (m->match_pattern_case != STRING(SAFE_REGEX)) {
        FAULT("", "one of exact, prefix, suffix, contains and safe_regex must be set");
        return;
    }
    const pb_xds_regex *regex = GET(m, safe_regex);
    if (regex->engine_type_case)
        (void)GET(regex, google_re2);
    if (string_match_init(out, MATCH_REGEX, TEXT(regex, regex), false, &err) < 0)
        cfg_fault_err(cr, "safe_regex.regex", &err);
}

static void read_single(struct matcher_reading *mr, const pb_single_predicate *m, struct predicate *out)
{
    struct config_reader *cr = mr->cr;
    IN("input")
        read_input(mr, GET(m, input), &out->input);
    if (m->matcher_case == SINGLE(VALUE_MATCH))
        IN("value_match")
            read_string(cr, GET(m, value_match), &out->value);
    else if (!m->matcher_case)
        FAULT("", "one of value_match and custom_match must be set");
}

static void read_predicate(struct matcher_reading *mr, const pb_predicate *m, struct predicate *out);

static void read_children(struct matcher_reading *mr, const pb_predicate_list *m, struct predicate *out)
{
    struct config_reader *cr = mr->cr;
    out->child_count = LEN(m, predicate);
    out->children = ARENA_ARRAY(mr->a, struct predicate, out->child_count);
    for (uint32_t i = 0; i < out->child_count; i++)
        IN("predicate[%u]", i)
            read_predicate(mr, m->predicate[i], &out->children[i]);
}

static void read_predicate(struct matcher_reading *mr, const pb_predicate *m, struct predicate *out)
{
    struct config_reader *cr = mr->cr;
    switch (m->match_type_case) {
    case PREDICATE(SINGLE_PREDICATE):
        IN("single_predicate")
            read_single(mr, GET(m, single_predicate), out);
        break;
    case PREDICATE(OR_MATCHER):
        out->kind = PREDICATE_OR;
        IN("or_matcher")
            read_children(mr, GET(m, or_matcher), out);
        break;
    case PREDICATE(AND_MATCHER):
        out->kind = PREDICATE_AND;
        IN("and_matcher")
            read_children(mr, GET(m, and_matcher), out);
        break;
    case PREDICATE(NOT_MATCHER):
        out->kind = PREDICATE_NOT;
        out->child_count = 1;
        out->children = ARENA_ARRAY(mr->a, struct predicate, 1);
        IN("not_matcher")
            read_predicate(mr, GET(m, not_matcher), out->children);
        break;
    default:
        FAULT("", "one of single_predicate, or_matcher, and_matcher and not_matcher must be set");
    }
}

/* ---- trees ---- */

static void read_on_match(struct matcher_reading *mr, const pb_on_match *m, struct on_match *out)
{
    struct config_reader *cr = mr->cr;
    if (!m) {
        FAULT("", "must be set");
        return;
    }
    out->keep_matching = GET(m, keep_matching);
    if (m->on_match_case == XDS__TYPE__MATCHER__V3__MATCHER__ON_MATCH__ON_MATCH_MATCHER)
        IN("matcher")
            out->matcher = read_matcher(mr, GET(m, matcher));
    else if (m->on_match_case)
        IN("action")
            out->action = mr->read_action(mr, GET(m, action));
    else
        FAULT("", "one of matcher and action must be set");
}

static void read_list(struct matcher_reading *mr, const pb_matcher_list *m, struct matcher *out)
{
    struct config_reader *cr = mr->cr;
    uint32_t n = LEN(m, matchers);
    out->items = arena_zalloc(mr->a, (n ? n : 1) * sizeof *out->items);
    for (; out->item_count < n; out->item_count++)
        IN("matchers[%u]", out->item_count) {
            const pb_field_matcher *f = m->matchers[out->item_count];
            IN("predicate")
                if (GET(f, predicate))
                    read_predicate(mr, f->predicate, &out->items[out->item_count].predicate);
                else
                    FAULT("", "must be set");
            IN("on_match")
                read_on_match(mr, GET(f, on_match), &out->items[out->item_count].on);
        }
}

static int longer_first(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

static void read_map(struct matcher_reading *mr, const pb_match_map *m, struct matcher *out)
{
    struct config_reader *cr = mr->cr;
    uint32_t n = LEN(m, map);
    out->map = map_new();
    out->lengths = ARENA_ARRAY(mr->a, size_t, n);
    for (uint32_t i = 0; i < n; i++)
        IN("map[%s]", m->map[i]->key) {
            struct str key = str_from(m->map[i]->key);
            struct on_match *on = arena_zalloc(mr->a, sizeof *on);
            read_on_match(mr, m->map[i]->value, on);
            map_set(out->map, key, on);
            bool known = false;
            for (uint32_t k = 0; k < out->length_count; k++)
                known = known || out->lengths[k] == key.n;
            if (!known)
                out->lengths[out->length_count++] = key.n;
        }
    if (out->length_count)
        qsort(out->lengths, out->length_count, sizeof(size_t), longer_first);
}

static void read_tree(struct matcher_reading *mr, const pb_matcher_tree *m, struct matcher *out)
{
    struct config_reader *cr = mr->cr;
    out->kind = MATCHER_EXACT_MAP;
    IN("input")
        read_input(mr, GET(m, input), &out->input);
    if (m->tree_type_case == TREE(EXACT_MATCH_MAP)) {
        IN("exact_match_map")
            read_map(mr, GET(m, exact_match_map), out);
    } else if (m->tree_type_case == TREE(PREFIX_MATCH_MAP)) {
        out->kind = MATCHER_PREFIX_MAP;
        IN("prefix_match_map")
            read_map(mr, GET(m, prefix_match_map), out);
    } else {
        out->map = map_new();
        if (!m->tree_type_case)
            FAULT("", "one of exact_match_map and prefix_match_map must be set");
    }
}

static struct matcher *read_matcher(struct matcher_reading *mr, const pb_matcher *m)
{
    struct config_reader *cr = mr->cr;
    struct matcher *out = arena_zalloc(mr->a, sizeof *out);
    if (m->matcher_type_case == XDS__TYPE__MATCHER__V3__MATCHER__MATCHER_TYPE_MATCHER_LIST)
        IN("matcher_list")
            read_list(mr, GET(m, matcher_list), out);
    else if (m->matcher_type_case)
        IN("matcher_tree")
            read_tree(mr, GET(m, matcher_tree), out);
    if (GET(m, on_no_match))
        IN("on_no_match")
            read_on_match(mr, m->on_no_match, &out->otherwise);
    return out;
}

struct matcher *cfg_matcher(struct matcher_reading *mr, const pb_matcher *m)
{
    return read_matcher(mr, m);
}
