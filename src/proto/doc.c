/* SPDX-License-Identifier: Apache-2.0
 *
 * Helpers over document trees: describing, duplicate keys, finding the node of a path again.
 */
#include "proto/doc.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/mem.h"
#include "proto/doc_priv.h"

#define PAIRWISE_MAX 12 /* keys of a map compared each with each; more are sorted */

const char *doc_describe(const struct doc_node *node, char *buf, size_t n)
{
    const int shown = node->kind >= DOC_LIST ? 0 : node->text.n > 60 ? 60 : (int)node->text.n;
    switch ((enum doc_kind)node->kind) {
    case DOC_NULL:
        return "null";
    case DOC_BOOL:
        return node->flag ? "true" : "false";
    case DOC_NUMBER:
        snprintf(buf, n, "the number %.*s", shown, node->text.p);
        return buf;
    case DOC_STRING:
        snprintf(buf, n, "'%.*s'%s", shown, node->text.p, node->text.n > 60 ? "..." : "");
        return buf;
    case DOC_LIST:
        return "a list";
    case DOC_MAP:
        return "an object";
    }
    return "?";
}

const struct doc_node *doc_member(const struct doc_node *map, struct str key)
{
    for (const struct doc_node *c = map && map->kind == DOC_MAP ? map->first : NULL; c; c = c->next)
        if (str_eq(c->key, key))
            return c;
    return NULL;
}

struct str doc_text(const struct doc_node *map, struct str key)
{
    const struct doc_node *node = doc_member(map, key);
    return node && (node->kind == DOC_STRING || node->kind == DOC_NUMBER) ? node->text : STR_NULL;
}

size_t doc_length(const struct doc_node *node)
{
    size_t n = 0;
    for (const struct doc_node *c = node->first; c; c = c->next)
        n++;
    return n;
}

/* "FILE:LINE:COLUMN: path", "FILE:LINE:COLUMN" or "path"; too long a path loses its front, since
 * the field that is at fault stands at the end. */
static void fault_place(struct err *err, const char *file, uint32_t line, uint32_t column,
                        const char *path)
{
    struct strbuf text = {0};
    size_t room = sizeof(err->path) - 1;
    if (file)
        strbuf_addf(&text, "%.128s:%u:%u%s", file, line, column, *path ? ": " : "");
    if (text.n + strlen(path) > room) {
        strbuf_addz(&text, "...");
        path += strlen(path) - (room - text.n);
    }
    strbuf_addz(&text, path);
    memcpy(err->path, text.p, text.n + 1);
    strbuf_fini(&text);
}

void doc_fault(struct err_list *faults, int code, const char *file, uint32_t line, uint32_t column,
               const char *path, const char *fmt, ...)
{
    struct err err = {0};
    va_list ap;
    va_start(ap, fmt);
    err_vset(&err, code, fmt, ap);
    va_end(ap);
    fault_place(&err, file, line, column, path ? path : "");
    err_list_add(faults, &err);
}

static void duplicate_fault(const struct doc_node *again, const char *file, struct err_list *faults)
{
    doc_fault(faults, ERR_INVALID, file, again->key_line, again->key_column, NULL,
              "the key '%.*s' stands twice in one object", STR_ARG(again->key));
}

static int compare_keys(const void *a, const void *b)
{
    const struct doc_node *x = *(struct doc_node *const *)a, *y = *(struct doc_node *const *)b;
    int order = str_cmp(x->key, y->key);
    if (order == 0)
        order = x->key_line != y->key_line ? (x->key_line < y->key_line ? -1 : 1)
                                           : (x->key_column > y->key_column) - (x->key_column < y->key_column);
    return order;
}

void doc_check_duplicates(const struct doc_node *map, const char *file, struct err_list *faults)
{
    size_t n = doc_length(map), at = 0;
    if (n <= PAIRWISE_MAX) {
        for (const struct doc_node *a = map->first; a; a = a->next)
            for (const struct doc_node *b = map->first; b != a; b = b->next)
                if (str_eq(a->key, b->key)) {
                    duplicate_fault(a, file, faults);
                    break;
                }
        return;
    }
    const struct doc_node **all = mem_alloc(n * sizeof(*all));
    for (const struct doc_node *a = map->first; a; a = a->next)
        all[at++] = a;
    qsort(all, n, sizeof(*all), compare_keys);
    for (size_t i = 1; i < n; i++)
        if (str_eq(all[i - 1]->key, all[i]->key))
            duplicate_fault(all[i], file, faults);
    mem_free(all);
}

/* ---- finding a path again ---- */

/* The lowerCamelCase twin of a snake_case name also matches. */
static bool key_matches(struct str key, struct str name)
{
    size_t at = 0;
    if (str_eq(key, name))
        return true;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (c == '_' && i + 1 < name.n) {
            c = name.p[++i];
            if (c >= 'a' && c <= 'z')
                c = (char)(c - 0x20);
        }
        if (at >= key.n || key.p[at++] != c)
            return false;
    }
    return at == key.n;
}

static const struct doc_node *child_by_key(const struct doc_node *node, struct str name)
{
    if (node->kind == DOC_MAP)
        for (const struct doc_node *c = node->first; c; c = c->next)
            if (key_matches(c->key, name))
                return c;
    return NULL;
}

static const struct doc_node *child_by_index(const struct doc_node *node, struct str digits)
{
    uint64_t index;
    if (node->kind != DOC_LIST || !str_to_u64(digits, &index))
        return NULL;
    const struct doc_node *c = node->first;
    while (c && index-- > 0)
        c = c->next;
    return c;
}

/* One segment off the front of *p: "name", "[3]" or "[\"key\"]". */
static const struct doc_node *locate_step(const struct doc_node *node, const char **p)
{
    const char *at = *p, *end;
    if (at[0] == '[' && at[1] == '"') {
        end = strstr(at + 2, "\"]");
        *p = end ? end + 2 : "";
        return end ? child_by_key(node, str_make(at + 2, (size_t)(end - at - 2))) : NULL;
    }
    if (at[0] == '[') {
        end = strchr(at, ']');
        *p = end ? end + 1 : "";
        return end ? child_by_index(node, str_make(at + 1, (size_t)(end - at - 1))) : NULL;
    }
    at += at[0] == '.';
    size_t n = strcspn(at, ".[");
    *p = at + n;
    return child_by_key(node, str_make(at, n));
}

const struct doc_node *doc_locate(const struct doc_node *root, const char *path)
{
    while (root && *path) {
        const struct doc_node *next = locate_step(root, &path);
        if (!next)
            break;
        root = next;
    }
    return root;
}

/* "TITLE: path"; either may be empty. */
static void title_path(struct strbuf *out, const char *title, const char *path)
{
    if (title)
        strbuf_addz(out, title);
    if (out->n && *path)
        strbuf_addz(out, ": ");
    strbuf_addz(out, path);
}

void doc_locate_faults(const struct doc_node *root, const char *file, const char *title, struct err_list *faults,
                       size_t from)
{
    for (size_t i = from; root && i < faults->count; i++) {
        struct err *err = &faults->items[i];
        const struct doc_node *node = doc_locate(root, err->path);
        bool keyed = node->key_line > 0;
        struct strbuf path = {0};
        title_path(&path, title, err->path);
        fault_place(err, file, keyed ? node->key_line : node->line,
                    keyed ? node->key_column : node->column, path.p ? path.p : "");
        strbuf_fini(&path);
    }
}

void doc_fault_at(struct err_list *faults, const struct doc_place *place, const struct doc_node *node, const char *fmt, ...)
{
    struct err err = {0};
    struct strbuf path = {0};
    bool keyed = node->key_line > 0;
    va_list ap;
    va_start(ap, fmt);
    err_vset(&err, ERR_INVALID, fmt, ap);
    va_end(ap);
    title_path(&path, place->title, place->path ? place->path : "");
    fault_place(&err, place->file, keyed ? node->key_line : node->line, keyed ? node->key_column : node->column,
                path.p ? path.p : "");
    strbuf_fini(&path);
    err_list_add(faults, &err);
}
