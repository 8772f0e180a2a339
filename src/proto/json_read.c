/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON text (RFC 8259) -> document tree. Strict; recursion bounded by DOC_DEPTH_MAX, nodes by the
 * arena. Ours rather than a library's because faults need lines, numbers every digit, and because
 * strings without escapes are borrowed: 2,000 clusters take a few milliseconds. Pure.
 */
#include "base/check.h"
#include "proto/doc_priv.h"
#include "proto/json.h"

struct json {
    const char *p, *end, *line_start;
    uint32_t line;
    int depth;
    size_t nodes;
    struct proto_arena *arena;
    const char *file;
    struct err_list *faults;
};

static bool json_value(struct json *j, struct doc_node *node);

static uint32_t column_of(const struct json *j, const char *p)
{
    return (uint32_t)(p - j->line_start) + 1;
}

/* A syntax fault at the present place. */
static bool json_fail(struct json *j, const char *text)
{
    if (j->p >= j->end)
        text = "the text ends too early";
    doc_fault(j->faults, ERR_SYNTAX, j->file, j->line, column_of(j, j->p), NULL, "%s", text);
    return false;
}

static void skip_space(struct json *j)
{
    for (; j->p < j->end; j->p++) {
        if (*j->p == '\n') {
            j->line++;
            j->line_start = j->p + 1;
        } else if (*j->p != ' ' && *j->p != '\t' && *j->p != '\r') {
            return;
        }
    }
}

static bool hex4(const char *p, unsigned *out)
{
    uint64_t v;
    if (!str_to_u64_hex(str_make(p, 4), &v))
        return false;
    *out = (unsigned)v;
    return true;
}

static size_t utf8_put(char *out, unsigned c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* j->p stands behind "\u"; a pair of surrogates is one character. */
static bool unicode_escape(struct json *j, char *out, size_t *n)
{
    unsigned c, low;
    if (j->end - j->p < 4 || !hex4(j->p, &c))
        return json_fail(j, "\\u wants four hex digits");
    j->p += 4;
    if (c >= 0xdc00 && c <= 0xdfff)
        return json_fail(j, "half of a surrogate pair");
    if (c >= 0xd800 && c <= 0xdbff) {
        if (j->end - j->p < 6 || j->p[0] != '\\' || j->p[1] != 'u' || !hex4(j->p + 2, &low) ||
            low < 0xdc00 || low > 0xdfff)
            return json_fail(j, "half of a surrogate pair");
        j->p += 6;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    *n += utf8_put(out + *n, c);
    return true;
}

static bool escape(struct json *j, char *out, size_t *n)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    j->p++;
    if (j->p >= j->end)
        return json_fail(j, "");
    if (*j->p == 'u') {
        j->p++;
        return unicode_escape(j, out, n);
    }
    const char *at = *j->p ? strchr(from, *j->p) : NULL;
    if (!at)
        return json_fail(j, "unknown escape in a string");
    out[(*n)++] = to[at - from];
    j->p++;
    return true;
}

/* The string whose first character is j->p; `raw` ends at the closing quote. */
static bool string_with_escapes(struct json *j, const char *close, struct str *out)
{
    char *text = proto_arena_alloc(j->arena, (size_t)(close - j->p) + 1);
    size_t n = 0;
    if (!text)
        return json_fail(j, "the document takes more memory than is allowed");
    while (j->p < close) {
        if (*j->p != '\\')
            text[n++] = *j->p++;
        else if (!escape(j, text, &n))
            return false;
    }
    *out = str_make(text, n);
    return true;
}

static bool json_string(struct json *j, struct str *out)
{
    bool escaped = false;
    const char *p = ++j->p;
    for (; p < j->end && *p != '"'; p++) {
        if ((unsigned char)*p < 0x20) {
            j->p = p;
            return json_fail(j, "a control character in a string must be escaped");
        }
        if (*p == '\\') {
            escaped = true;
            p++;
        }
    }
    if (p >= j->end) {
        j->p = j->end;
        return json_fail(j, "");
    }
    if (!escaped)
        *out = str_make(j->p, (size_t)(p - j->p));
    else if (!string_with_escapes(j, p, out))
        return false;
    j->p = p + 1;
    return true;
}

static size_t digits(const char *p, const char *end)
{
    const char *start = p;
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return (size_t)(p - start);
}

static bool json_number(struct json *j, struct doc_node *node)
{
    const char *start = j->p, *p = j->p;
    p += *p == '-';
    size_t n = digits(p, j->end);
    if (n == 0 || (n > 1 && *p == '0'))
        return json_fail(j, "not a number");
    p += n;
    if (p < j->end && *p == '.') {
        n = digits(p + 1, j->end);
        p += 1 + n;
        if (n == 0)
            return json_fail(j, "not a number");
    }
    if (p < j->end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < j->end && (*p == '+' || *p == '-'))
            p++;
        n = digits(p, j->end);
        p += n;
        if (n == 0)
            return json_fail(j, "not a number");
    }
    node->kind = DOC_NUMBER;
    node->text = str_make(start, (size_t)(p - start));
    j->p = p;
    return true;
}

static struct doc_node *node_new(struct json *j)
{
    struct doc_node *node = NULL;
    if (++j->nodes <= DOC_NODES_MAX)
        node = PROTO_ARENA_NEW(j->arena, struct doc_node);
    if (!node)
        doc_fault(j->faults, ERR_LIMIT, j->file, j->line, column_of(j, j->p), NULL,
                  "the document takes more memory than is allowed");
    return node;
}

static bool json_key(struct json *j, struct doc_node *node)
{
    if (j->p >= j->end || *j->p != '"')
        return json_fail(j, "expected a key in quotes");
    node->key_line = j->line;
    node->key_column = column_of(j, j->p);
    if (!json_string(j, &node->key))
        return false;
    skip_space(j);
    if (j->p >= j->end || *j->p != ':')
        return json_fail(j, "expected ':' after a key");
    j->p++;
    return true;
}

/* Behind the opening bracket, to behind the closing one. */
static bool json_items(struct json *j, struct doc_node *node, char close)
{
    struct doc_node **tail = &node->first;
    skip_space(j);
    if (j->p < j->end && *j->p == close) {
        j->p++;
        return true;
    }
    for (;;) {
        struct doc_node *item = node_new(j);
        if (!item)
            return false;
        skip_space(j);
        if ((close == '}' && !json_key(j, item)) || !json_value(j, item))
            return false;
        *tail = item;
        tail = &item->next;
        skip_space(j);
        if (j->p < j->end && *j->p == close) {
            j->p++;
            return true;
        }
        if (j->p >= j->end || *j->p != ',')
            return json_fail(j, close == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
        j->p++;
    }
}

static bool json_word(struct json *j, const char *word, struct doc_node *node, enum doc_kind kind)
{
    size_t n = strlen(word);
    if ((size_t)(j->end - j->p) < n || memcmp(j->p, word, n) != 0)
        return json_fail(j, "expected a value");
    node->kind = (uint8_t)kind;
    node->flag = word[0] == 't';
    node->text = str_make(j->p, n);
    j->p += n;
    return true;
}

static bool json_nested(struct json *j, struct doc_node *node, enum doc_kind kind)
{
    node->kind = (uint8_t)kind;
    if (++j->depth > DOC_DEPTH_MAX)
        return json_fail(j, "the document is nested too deeply");
    j->p++;
    bool ok = json_items(j, node, kind == DOC_MAP ? '}' : ']');
    j->depth--;
    if (ok && kind == DOC_MAP)
        doc_check_duplicates(node, j->file, j->faults);
    return ok;
}

static bool json_value(struct json *j, struct doc_node *node)
{
    skip_space(j);
    if (j->p >= j->end)
        return json_fail(j, "");
    node->line = j->line;
    node->column = column_of(j, j->p);
    switch (*j->p) {
    case '{':
        return json_nested(j, node, DOC_MAP);
    case '[':
        return json_nested(j, node, DOC_LIST);
    case '"':
        node->kind = DOC_STRING;
        return json_string(j, &node->text);
    case 't':
        return json_word(j, "true", node, DOC_BOOL);
    case 'f':
        return json_word(j, "false", node, DOC_BOOL);
    case 'n':
        return json_word(j, "null", node, DOC_NULL);
    case '-':
    case '0' ... '9':
        return json_number(j, node);
    default:
        return json_fail(j, "expected a value");
    }
}

const struct doc_node *json_read(struct proto_arena *arena, struct str text, const char *file,
                                 struct err_list *faults)
{
    if (!text.p)
        text = STR("");
    struct json j = {text.p, text.p + text.n, text.p, 1, 0, 0, arena, file, faults};
    if (str_has_prefix(text, STR("\xef\xbb\xbf")))
        j.p = j.line_start = text.p + 3;
    if (!proto_utf8_is_valid(text)) {
        doc_fault(faults, ERR_SYNTAX, file, 1, 1, NULL, "the text is not valid UTF-8");
        return NULL;
    }
    struct doc_node *root = node_new(&j);
    if (!root || !json_value(&j, root))
        return NULL;
    skip_space(&j);
    if (j.p < j.end) {
        json_fail(&j, "there is more text behind the document");
        return NULL;
    }
    return root;
}

int json_decode(struct proto_arena *arena, struct str text, const ProtobufCMessageDescriptor *desc,
                const char *file, ProtobufCMessage **out, struct err_list *faults)
{
    size_t before = faults->count + faults->dropped;
    *out = NULL;
    const struct doc_node *root = json_read(arena, text, file, faults);
    int rc = root ? doc_decode(arena, root, desc, file, out, faults) : ERR_INVALID;
    if (rc == 0 && faults->count + faults->dropped != before) /* duplicate keys */
        rc = ERR_INVALID;
    if (rc != 0)
        *out = NULL;
    return rc;
}
