/* SPDX-License-Identifier: Apache-2.0
 *
 * YAML events (libfyaml) -> document tree. Recursion is bounded by DOC_DEPTH_MAX; what aliases and
 * merge keys stand for is counted, so that a few lines can't grow into billions of nodes. All text is
 * copied into the arena: the library's memory is gone when yaml_read returns. Refuses several
 * documents, keys that aren't scalars, aliases into themselves, tags other than YAML's own. Pure.
 */
#include "proto/yaml.h"

#include <libfyaml.h>

#include "base/check.h"
#include "base/mem.h"
#include "proto/doc_priv.h"

/* Key comparisons that merge keys may cause; stops maps merged into maps over and over. */
#define YAML_MERGE_WORK_MAX ((size_t)50 << 20)

/* In every libfyaml, but declared in its header only by later ones. */
const struct fy_mark *fy_token_start_mark(struct fy_token *token);

struct anchor {
    struct str name;
    const struct doc_node *node;
    size_t nodes; /* with what its own aliases stand for */
};

struct yaml {
    struct fy_parser *parser;
    struct fy_diag *diag; /* collects what the library would print */
    struct fy_token_iter *iter;
    struct strbuf scratch; /* one scalar's text */
    struct proto_arena *arena;
    const char *file;
    struct err_list *faults;
    struct anchor *anchors;
    size_t anchor_count, anchor_cap;
    size_t nodes, merge_work;
    int depth;
    uint32_t first_line;   /* of the text in its file */
    uint32_t line, column; /* of the newest event */
};

static bool yaml_value(struct yaml *y, struct fy_event *event, struct doc_node *node);

static bool yaml_fail(struct yaml *y, int code, const char *text)
{
    doc_fault(y->faults, code, y->file, y->line, y->column, NULL, "%s", text);
    return false;
}

static bool too_big(struct yaml *y)
{
    return yaml_fail(y, ERR_LIMIT, "the document takes more memory than is allowed");
}

static bool count_nodes(struct yaml *y, size_t n)
{
    y->nodes += n;
    return y->nodes <= DOC_NODES_MAX || too_big(y);
}

static struct str token_text(struct yaml *y, struct fy_token *token)
{
    size_t n = 0;
    const char *p = token ? fy_token_get_text(token, &n) : NULL;
    char *copy = proto_arena_strdup(y->arena, str_make(p ? p : "", p ? n : 0));
    return str_make(copy, copy ? n : 0);
}

/* fy_token_get_text loses memory on quoted scalars with many escapes (libfyaml 0.7.12), so scalars
 * are read piece by piece. */
static struct str scalar_text(struct yaml *y, struct fy_token *token)
{
    const struct fy_iter_chunk *chunk = NULL;
    int failed = 0;
    strbuf_reset(&y->scratch);
    fy_token_iter_start(token, y->iter);
    while ((chunk = fy_token_iter_chunk_next(y->iter, chunk, &failed)) != NULL)
        strbuf_add(&y->scratch, chunk->str, chunk->len);
    fy_token_iter_finish(y->iter);
    char *copy = failed ? NULL : proto_arena_strdup(y->arena, strbuf_str(&y->scratch));
    return str_make(copy, copy ? y->scratch.n : 0);
}

/* ---- events ---- */

/* The first thing that the library complained about. */
static void syntax_fault(struct yaml *y)
{
    void *at = NULL;
    struct fy_diag_error *e = fy_diag_errors_iterate(y->diag, &at);
    if (e)
        doc_fault(y->faults, ERR_SYNTAX, y->file, e->line > 0 ? (uint32_t)e->line + y->first_line - 1 : y->line,
                  e->column > 0 ? (uint32_t)e->column : 1, NULL, "%s", e->msg);
    else
        yaml_fail(y, ERR_SYNTAX, "the text is not valid YAML");
}

static struct fy_token *event_token(const struct fy_event *event)
{
    switch (event->type) {
    case FYET_SCALAR:
        return event->scalar.value;
    case FYET_ALIAS:
        return event->alias.anchor;
    case FYET_SEQUENCE_START:
        return event->sequence_start.sequence_start;
    case FYET_MAPPING_START:
        return event->mapping_start.mapping_start;
    case FYET_DOCUMENT_START:
        return event->document_start.document_start;
    default:
        return NULL;
    }
}

static struct fy_event *next_event(struct yaml *y)
{
    struct fy_event *event = fy_parser_parse(y->parser);
    if (!event) {
        syntax_fault(y);
        return NULL;
    }
    struct fy_token *token = event_token(event);
    const struct fy_mark *mark = token ? fy_token_start_mark(token) : NULL;
    if (mark) {
        y->line = (uint32_t)mark->line + y->first_line;
        y->column = (uint32_t)mark->column + 1;
    }
    return event;
}

/* ---- scalars ---- */

static bool is_one_of(struct str s, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(s, str_from(words[i])))
            return true;
    return false;
}

static size_t span(struct str s, size_t at, const char *set)
{
    size_t start = at;
    while (at < s.n && s.p[at] && strchr(set, s.p[at]))
        at++;
    return at - start;
}

/* YAML 1.2.2, 10.3.2 (core schema). */
static bool is_core_number(struct str s)
{
    static const char *const special[] = {".nan", ".NaN", ".NAN", ".inf", ".Inf", ".INF", "-.inf",
                                          "-.Inf", "-.INF", "+.inf", "+.Inf", "+.INF"};
    static const char decimal[] = "0123456789";
    if (str_has_prefix(s, STR("0x")) || str_has_prefix(s, STR("0o")))
        return s.n > 2 && span(s, 2, s.p[1] == 'x' ? "0123456789abcdefABCDEF" : "01234567") == s.n - 2;
    if (is_one_of(s, special, ARRAY_LEN(special)))
        return true;
    size_t at = s.n && (*s.p == '-' || *s.p == '+');
    size_t whole = span(s, at, decimal), fraction = 0;
    at += whole;
    if (at < s.n && s.p[at] == '.') {
        fraction = span(s, at + 1, decimal);
        at += 1 + fraction;
    }
    if (whole + fraction == 0)
        return false;
    if (at < s.n && (s.p[at] == 'e' || s.p[at] == 'E')) {
        at++;
        at += at < s.n && (s.p[at] == '-' || s.p[at] == '+');
        size_t exponent = span(s, at, decimal);
        at += exponent;
        return exponent > 0 && at == s.n;
    }
    return at == s.n;
}

static void resolve_plain(struct doc_node *node)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    static const char *const trues[] = {"true", "True", "TRUE"};
    static const char *const falses[] = {"false", "False", "FALSE"};
    node->plain = true;
    node->kind = DOC_STRING;
    if (is_one_of(node->text, nulls, ARRAY_LEN(nulls))) {
        node->kind = DOC_NULL;
    } else if (is_one_of(node->text, trues, ARRAY_LEN(trues))) {
        node->kind = DOC_BOOL;
        node->flag = true;
    } else if (is_one_of(node->text, falses, ARRAY_LEN(falses))) {
        node->kind = DOC_BOOL;
    } else if (is_core_number(node->text)) {
        node->kind = DOC_NUMBER;
    }
}

static bool yaml_scalar(struct yaml *y, const struct fy_event *event, struct doc_node *node)
{
    static const char core[] = "tag:yaml.org,2002:";
    bool plain = fy_token_scalar_style(event->scalar.value) == FYSS_PLAIN;
    node->text = scalar_text(y, event->scalar.value);
    if (!node->text.p)
        return too_big(y);
    if (event->scalar.tag) {
        struct str tag = token_text(y, event->scalar.tag);
        if (str_eq(tag, STR("!")) || str_eq(tag, STR("tag:yaml.org,2002:str")))
            plain = false;
        else if (str_has_prefix(tag, STR("tag:yaml.org,2002:")))
            plain = !str_eq(str_make(tag.p + sizeof(core) - 1, tag.n - sizeof(core) + 1), STR("binary"));
        else
            return yaml_fail(y, ERR_UNSUPPORTED, "tags other than YAML's own are not taken");
    }
    node->kind = DOC_STRING;
    if (plain)
        resolve_plain(node);
    return true;
}

/* ---- anchors ---- */

static bool anchor_add(struct yaml *y, struct fy_token *name, const struct doc_node *node,
                       size_t nodes_before)
{
    if (!name)
        return true;
    if (y->anchor_count == y->anchor_cap)
        y->anchors = mem_grow(y->anchors, &y->anchor_cap, y->anchor_count + 1, sizeof(*y->anchors));
    y->anchors[y->anchor_count++] =
        (struct anchor){token_text(y, name), node, y->nodes - nodes_before + 1};
    return true;
}

/* A copy of the node, sharing what is below it: place and key are the alias's own. */
static bool yaml_alias(struct yaml *y, const struct fy_event *event, struct doc_node *node)
{
    struct str name = token_text(y, event->alias.anchor);
    for (size_t i = y->anchor_count; i-- > 0;) {
        const struct anchor *a = &y->anchors[i];
        if (!str_eq(a->name, name))
            continue;
        if (!count_nodes(y, a->nodes))
            return false;
        node->kind = a->node->kind;
        node->plain = a->node->plain;
        node->flag = a->node->flag;
        if (a->node->kind >= DOC_LIST)
            node->first = a->node->first;
        else
            node->text = a->node->text;
        return true;
    }
    return yaml_fail(y, ERR_INVALID, "an alias to an anchor that isn't there (or isn't complete)");
}

/* ---- lists and maps ---- */

static struct doc_node *node_new(struct yaml *y)
{
    struct doc_node *node = count_nodes(y, 1) ? PROTO_ARENA_NEW(y->arena, struct doc_node) : NULL;
    if (!node && proto_arena_is_full(y->arena))
        too_big(y);
    return node;
}

static bool yaml_list(struct yaml *y, struct doc_node *node)
{
    struct doc_node **tail = &node->first;
    for (;;) {
        struct fy_event *event = next_event(y);
        if (!event)
            return false;
        bool end = event->type == FYET_SEQUENCE_END;
        struct doc_node *item = end ? NULL : node_new(y);
        bool ok = item && yaml_value(y, event, item);
        fy_parser_event_free(y->parser, event);
        if (end || !ok)
            return end;
        *tail = item;
        tail = &item->next;
    }
}

static bool yaml_key(struct yaml *y, const struct fy_event *event, struct doc_node *item,
                     bool *is_merge)
{
    struct doc_node key = {0};
    item->key_line = y->line;
    item->key_column = y->column;
    if (event->type != FYET_SCALAR && event->type != FYET_ALIAS)
        return yaml_fail(y, ERR_INVALID, "a key must be a scalar");
    if (event->type == FYET_SCALAR ? !yaml_scalar(y, event, &key) : !yaml_alias(y, event, &key))
        return false;
    if (key.kind >= DOC_LIST)
        return yaml_fail(y, ERR_INVALID, "a key must be a scalar");
    item->key = key.text;
    *is_merge = key.plain && str_eq(key.text, STR("<<"));
    return true;
}

static bool has_key(struct yaml *y, const struct doc_node *map, struct str key)
{
    for (const struct doc_node *c = map->first; c; c = c->next) {
        y->merge_work++;
        if (str_eq(c->key, key))
            return true;
    }
    return false;
}

/* Members of `from` that the map doesn't have yet. */
static bool merge_map(struct yaml *y, struct doc_node *map, const struct doc_node *from)
{
    struct doc_node **tail = &map->first;
    if (from->kind != DOC_MAP)
        return yaml_fail(y, ERR_INVALID, "a merge key takes an object or a list of objects");
    while (*tail)
        tail = &(*tail)->next;
    for (const struct doc_node *c = from->first; c; c = c->next) {
        if (y->merge_work > YAML_MERGE_WORK_MAX)
            return too_big(y);
        if (has_key(y, map, c->key))
            continue;
        struct doc_node *copy = node_new(y);
        if (!copy)
            return false;
        *copy = *c;
        copy->next = NULL;
        *tail = copy;
        tail = &copy->next;
    }
    return true;
}

static bool merge_all(struct yaml *y, struct doc_node *map, const struct doc_node *merges)
{
    for (const struct doc_node *m = merges; m; m = m->next) {
        if (m->kind != DOC_LIST) {
            if (!merge_map(y, map, m))
                return false;
            continue;
        }
        for (const struct doc_node *c = m->first; c; c = c->next)
            if (!merge_map(y, map, c))
                return false;
    }
    return true;
}

/* One key and its value; 1: one more, 0: the end, -1: a fault. */
static int yaml_member(struct yaml *y, struct doc_node ***tail, struct doc_node ***merge_tail)
{
    bool is_merge = false;
    struct fy_event *event = next_event(y);
    if (!event)
        return -1;
    bool end = event->type == FYET_MAPPING_END;
    struct doc_node *item = end ? NULL : node_new(y);
    bool ok = item && yaml_key(y, event, item, &is_merge);
    fy_parser_event_free(y->parser, event);
    if (end || !ok)
        return end ? 0 : -1;
    event = next_event(y);
    if (!event)
        return -1;
    ok = yaml_value(y, event, item);
    fy_parser_event_free(y->parser, event);
    struct doc_node ***list = is_merge ? merge_tail : tail;
    **list = item;
    *list = &item->next;
    return ok ? 1 : -1;
}

static bool yaml_map(struct yaml *y, struct doc_node *node)
{
    struct doc_node **tail = &node->first, *merges = NULL, **merge_tail = &merges;
    int more;
    do
        more = yaml_member(y, &tail, &merge_tail);
    while (more > 0);
    if (more < 0)
        return false;
    doc_check_duplicates(node, y->file, y->faults);
    return merge_all(y, node, merges);
}

static bool yaml_value(struct yaml *y, struct fy_event *event, struct doc_node *node)
{
    size_t before = y->nodes;
    struct fy_token *anchor = NULL;
    bool ok = false;
    node->line = y->line;
    node->column = y->column;
    if (++y->depth > DOC_DEPTH_MAX)
        return yaml_fail(y, ERR_LIMIT, "the document is nested too deeply");
    switch (event->type) {
    case FYET_SCALAR:
        anchor = event->scalar.anchor;
        ok = yaml_scalar(y, event, node);
        break;
    case FYET_ALIAS:
        ok = yaml_alias(y, event, node);
        break;
    case FYET_SEQUENCE_START:
        anchor = event->sequence_start.anchor;
        node->kind = DOC_LIST;
        ok = yaml_list(y, node);
        break;
    case FYET_MAPPING_START:
        anchor = event->mapping_start.anchor;
        node->kind = DOC_MAP;
        ok = yaml_map(y, node);
        break;
    default:
        ok = yaml_fail(y, ERR_SYNTAX, "the text is not valid YAML");
        break;
    }
    y->depth--;
    return ok && anchor_add(y, anchor, node, before);
}

/* ---- documents ---- */

static bool yaml_document(struct yaml *y, struct doc_node *root)
{
    struct fy_event *event = next_event(y);
    bool ok = event && yaml_value(y, event, root);
    fy_parser_event_free(y->parser, event);
    return ok;
}

static bool yaml_stream(struct yaml *y, struct doc_node *root)
{
    bool seen = false, ok = true;
    for (enum fy_event_type type = FYET_NONE; ok && type != FYET_STREAM_END;) {
        struct fy_event *event = next_event(y);
        if (!event)
            return false;
        type = event->type;
        if (type == FYET_DOCUMENT_START && seen)
            ok = yaml_fail(y, ERR_INVALID, "only one document is taken, here begins another");
        else if (type == FYET_DOCUMENT_START)
            ok = seen = yaml_document(y, root);
        fy_parser_event_free(y->parser, event);
    }
    return ok;
}

/* Parser and collector; false when there is no memory. */
static bool yaml_open(struct yaml *y)
{
    struct fy_diag_cfg diag_cfg;
    fy_diag_cfg_default(&diag_cfg);
    diag_cfg.fp = NULL;
    y->diag = fy_diag_create(&diag_cfg);
    if (!y->diag)
        return false;
    fy_diag_set_collect_errors(y->diag, true);
    struct fy_parse_cfg cfg = {.flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_DISABLE_DEPTH_LIMIT |
                                        FYPCF_JSON_NONE | FYPCF_DEFAULT_VERSION_1_2,
                               .diag = y->diag};
    y->parser = fy_parser_create(&cfg);
    y->iter = fy_token_iter_create(NULL);
    return y->parser && y->iter;
}

static void yaml_close(struct yaml *y)
{
    if (y->iter)
        fy_token_iter_destroy(y->iter);
    strbuf_fini(&y->scratch);
    if (y->parser)
        fy_parser_destroy(y->parser);
    if (y->diag)
        fy_diag_destroy(y->diag);
    mem_free(y->anchors);
}

const struct doc_node *yaml_read_from(struct proto_arena *arena, struct str text, uint32_t line, const char *file,
                                      struct err_list *faults)
{
    struct yaml y = {
        .arena = arena, .file = file, .faults = faults, .first_line = line, .line = line, .column = 1};
    struct doc_node *root = node_new(&y);
    bool ok = false;
    if (!root)
        return NULL;
    root->line = line;
    root->column = 1;
    if (!proto_utf8_is_valid(text) || (text.n && memchr(text.p, 0, text.n))) {
        yaml_fail(&y, ERR_SYNTAX, "the text is not valid UTF-8, or holds a NUL byte");
        return NULL;
    }
    if (!yaml_open(&y))
        yaml_fail(&y, ERR_NOMEM, "out of memory");
    else if (text.n == 0)
        ok = true;
    else if (fy_parser_set_string(y.parser, text.p, text.n) != 0)
        syntax_fault(&y);
    else
        ok = yaml_stream(&y, root);
    yaml_close(&y);
    return ok ? root : NULL;
}

const struct doc_node *yaml_read(struct proto_arena *arena, struct str text, const char *file,
                                 struct err_list *faults)
{
    return yaml_read_from(arena, text, 1, file, faults);
}

/* ---- many documents ---- */

static struct str line_of(struct str text)
{
    ptrdiff_t end = str_find_char(text, '\n');
    return str_make(text.p, end < 0 ? text.n : (size_t)end + 1);
}

static bool begins_document(struct str line)
{
    return str_has_prefix(line, STR("---")) && (line.n == 3 || strchr(" \t\r\n", line.p[3]));
}

/* Does the line hold anything: no blanks, comments, marks of an end? A directive ("%YAML") belongs to the document behind it. */
static bool has_content(struct str line)
{
    while (line.n && strchr(" \t\r\n", *line.p))
        line = str_make(line.p + 1, line.n - 1);
    return line.n && *line.p != '#' && *line.p != '%' && !str_has_prefix(line, STR("..."));
}

bool yaml_cut_next(struct yaml_cut *c, struct str *document, uint32_t *line)
{
    while (c->rest.n) {
        struct str at = c->rest;
        bool found = false;
        *line = c->line;
        do {
            struct str first = line_of(at);
            if (begins_document(first))
                found |= has_content(str_make(first.p + 3, first.n - 3));
            else
                found |= has_content(first);
            at = str_make(at.p + first.n, at.n - first.n);
            c->line++;
        } while (at.n && !begins_document(line_of(at)));
        *document = str_make(c->rest.p, (size_t)(at.p - c->rest.p));
        c->rest = at;
        if (found)
            return true;
    }
    return false;
}

int yaml_decode(struct proto_arena *arena, struct str text, const ProtobufCMessageDescriptor *desc,
                const char *file, ProtobufCMessage **out, struct err_list *faults)
{
    size_t before = faults->count + faults->dropped;
    *out = NULL;
    const struct doc_node *root = yaml_read(arena, text, file, faults);
    int rc = root ? doc_decode(arena, root, desc, file, out, faults) : ERR_INVALID;
    if (rc == 0 && faults->count + faults->dropped != before) /* duplicate keys */
        rc = ERR_INVALID;
    if (rc != 0)
        *out = NULL;
    return rc;
}
