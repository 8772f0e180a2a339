/* SPDX-License-Identifier: Apache-2.0
 *
 * Small readers and writers for what pods are told by text. Pure, but for text_read_file. Main thread.
 */
#include "proxy/agent/text.h"

#include "base/check.h"
#include "base/file.h"

#include <stdlib.h>

#define CENTURY_MS (100.0 * 366 * 86400 * 1000)

/* ---- scalars ---- */

/* Digits with an optional fraction; gives what is behind them. */
static const char *number(const char *p, const char *end, double *out)
{
    double v = 0, scale = 1;
    bool any = false, fraction = false;
    for (; p < end && ((*p >= '0' && *p <= '9') || (*p == '.' && !fraction)); p++) {
        if (*p == '.') {
            fraction = true;
            continue;
        }
        any = true;
        v = v * 10 + (*p - '0');
        scale *= fraction ? 10 : 1;
    }
    *out = v / scale;
    return any ? p : NULL;
}

/* Milliseconds of the unit at p; 0: none. */
static double unit(const char *p, size_t n, size_t *length)
{
    static const struct { const char *text; double ms; } units[] = {
        {"ns", 1e-6}, {"us", 1e-3}, {"\xc2\xb5s", 1e-3}, {"\xce\xbcs", 1e-3}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000},
    };
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        *length = strlen(units[i].text);
        if (n >= *length && memcmp(p, units[i].text, *length) == 0)
            return units[i].ms;
    }
    return 0;
}

bool text_duration_ms(struct str s, uint64_t *out)
{
    const char *p = s.p, *end = s.p + s.n;
    double ms = 0, v;
    if (str_eq(s, STR("0"))) {
        *out = 0;
        return true;
    }
    if (s.n == 0)
        return false;
    while (p < end) {
        size_t length = 0;
        p = number(p, end, &v);
        double of = p ? unit(p, (size_t)(end - p), &length) : 0;
        if (of == 0)
            return false;
        p += length;
        ms += v * of;
    }
    if (ms > CENTURY_MS)
        return false;
    *out = ms > 0 && ms < 1 ? 1 : (uint64_t)(ms + 1e-6);
    return true;
}

bool text_bool(struct str s, bool *out)
{
    static const char *const yes[] = {"1", "t", "T", "TRUE", "true", "True"}, *const no[] = {"0", "f", "F", "FALSE", "false", "False"};
    for (size_t i = 0; i < 6; i++) {
        if (str_eq(s, str_from(yes[i])) || str_eq(s, str_from(no[i]))) {
            *out = str_eq(s, str_from(yes[i]));
            return true;
        }
    }
    return false;
}

/* ---- pairs ---- */

void text_pairs_set(struct text_pairs *p, struct arena *a, struct str key, struct str value)
{
    size_t at = 0;
    while (at < p->count && str_cmp(p->items[at].key, key) < 0)
        at++;
    if (at < p->count && str_eq(p->items[at].key, key)) {
        p->items[at].value = arena_str(a, value);
        return;
    }
    if (p->count == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 8;
        struct text_pair *items = arena_zalloc(a, cap * sizeof *items);
        if (p->count)
            memcpy(items, p->items, p->count * sizeof *items);
        p->items = items;
        p->cap = cap;
    }
    memmove(&p->items[at + 1], &p->items[at], (p->count - at) * sizeof *p->items);
    p->items[at] = (struct text_pair){arena_str(a, key), arena_str(a, value)};
    p->count++;
}

struct str text_pairs_get(const struct text_pairs *p, struct str key)
{
    for (size_t i = 0; i < p->count; i++)
        if (str_eq(p->items[i].key, key))
            return p->items[i].value;
    return STR_NULL;
}

void text_pairs_json(const struct text_pairs *p, struct strbuf *out)
{
    strbuf_addc(out, '{');
    for (size_t i = 0; i < p->count; i++) {
        strbuf_addz(out, i ? "," : "");
        json_add_string(out, p->items[i].key);
        strbuf_addc(out, ':');
        json_add_string(out, p->items[i].value);
    }
    strbuf_addc(out, '}');
}

/* ---- JSON ---- */

void json_add_string(struct strbuf *out, struct str s)
{
    strbuf_addc(out, '"');
    strbuf_add_json(out, s);
    strbuf_addc(out, '"');
}

void json_add_key(struct strbuf *out, const char *name)
{
    if (out->n && out->p[out->n - 1] != '{' && out->p[out->n - 1] != '[')
        strbuf_addc(out, ',');
    json_add_string(out, str_from(name));
    strbuf_addc(out, ':');
}

/* YAML has numbers that JSON hasn't (0x1f, .5, +1, .inf): those become texts. */
static bool is_json_number(struct str s)
{
    size_t i = s.n && s.p[0] == '-' ? 1 : 0;
    if (i >= s.n || s.p[i] < '0' || s.p[i] > '9' || (s.p[i] == '0' && i + 1 < s.n && s.p[i + 1] >= '0' && s.p[i + 1] <= '9') ||
        s.p[s.n - 1] < '0' || s.p[s.n - 1] > '9')
        return false;
    for (; i < s.n; i++)
        if (!strchr("0123456789.eE+-", s.p[i]) || !s.p[i])
            return false;
    return true;
}

/* Depth is bounded by the reader (DOC_DEPTH_MAX). */
void json_add_node(struct strbuf *out, const struct doc_node *node)
{
    switch (node->kind) {
    case DOC_NULL:
        strbuf_addz(out, "null");
        return;
    case DOC_BOOL:
        strbuf_addz(out, node->flag ? "true" : "false");
        return;
    case DOC_NUMBER:
        if (is_json_number(node->text)) {
            strbuf_adds(out, node->text);
            return;
        }
        __attribute__((fallthrough));
    case DOC_STRING:
        json_add_string(out, node->text);
        return;
    default:
        strbuf_addc(out, node->kind == DOC_LIST ? '[' : '{');
        for (const struct doc_node *n = node->first; n; n = n->next) {
            strbuf_addz(out, n == node->first ? "" : ",");
            if (node->kind == DOC_MAP) {
                json_add_string(out, n->key);
                strbuf_addc(out, ':');
            }
            json_add_node(out, n);
        }
        strbuf_addc(out, node->kind == DOC_LIST ? ']' : '}');
    }
}

void json_addf(struct strbuf *out, const char *pattern, ...)
{
    va_list ap;
    va_start(ap, pattern);
    for (const char *p = pattern; *p; p++) {
        if (*p == '\'')
            strbuf_addc(out, '"');
        else if (*p != '%')
            strbuf_addc(out, *p);
        else if (*++p == 'q')
            json_add_string(out, va_arg(ap, struct str));
        else if (*p == 's')
            strbuf_addz(out, va_arg(ap, const char *));
        else if (*p == 'u')
            strbuf_addu(out, va_arg(ap, unsigned));
        else
            CHECK(!"a pattern of json_addf has %q, %s and %u");
    }
    va_end(ap);
}

/* ---- files ---- */

int text_read_file(const char *path, struct arena *a, size_t limit, struct str *out, struct err *err)
{
    struct strbuf text = {0};
    int rc = file_read(path, limit, &text, err);
    *out = STR_NULL;
    if (rc == 0)
        *out = arena_str(a, strbuf_str(&text));
    if (text.p)
        explicit_bzero(text.p, text.n); /* it may have been a key */
    strbuf_fini(&text);
    return rc;
}

/* ---- members of objects ---- */

bool json_is_name(struct str key, const char *camel)
{
    size_t i = 0;
    for (; *camel; camel++) {
        if (i < key.n && key.p[i] == '_' && *camel >= 'A' && *camel <= 'Z' && i + 1 < key.n &&
            key.p[i + 1] == ascii_lower(*camel)) {
            i += 2;
            continue;
        }
        if (i >= key.n || key.p[i] != *camel)
            return false;
        i++;
    }
    return i == key.n;
}

const struct doc_node *json_member(const struct doc_node *map, const char *camel)
{
    for (const struct doc_node *n = map && map->kind == DOC_MAP ? map->first : NULL; n; n = n->next)
        if (json_is_name(n->key, camel))
            return n;
    return NULL;
}
