/* SPDX-License-Identifier: Apache-2.0
 *
 * Cells are heap text in one array; widths are found when it is printed.
 */
#include "cli/table.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/str.h"

/* Columns on a terminal: continuation bytes of UTF-8 take no room. */
static size_t width_of(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void take(struct table *t, char *take_text)
{
    for (char *p = take_text; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
    t->cells = mem_grow(t->cells, &t->cap, t->count + 1, sizeof(*t->cells));
    t->cells[t->count++] = take_text;
}

void table_init(struct table *t, const char *const *head, size_t columns)
{
    CHECK(columns <= TABLE_COLUMNS_MAX);
    *t = (struct table){.columns = columns};
    for (size_t i = 0; i < columns; i++)
        table_add(t, head[i]);
}

void table_fini(struct table *t)
{
    for (size_t i = 0; i < t->count; i++)
        mem_free(t->cells[i]);
    mem_free(t->cells);
    *t = (struct table){0};
}

void table_add(struct table *t, const char *cell)
{
    take(t, mem_strdup(*cell ? cell : "-"));
}

void table_addf(struct table *t, const char *fmt, ...)
{
    struct strbuf b = {0};
    va_list ap;
    va_start(ap, fmt);
    strbuf_vaddf(&b, fmt, ap);
    va_end(ap);
    table_add(t, b.n ? b.p : "");
    strbuf_fini(&b);
}

size_t table_rows(const struct table *t)
{
    return t->count / t->columns - 1;
}

static int by_cells(const void *a, const void *b, void *arg)
{
    const struct table *t = arg;
    char *const *x = a, *const *y = b;
    int order = 0;
    for (size_t i = 0; i < t->columns && order == 0; i++)
        order = strcmp(x[i], y[i]);
    return order;
}

void table_sort(struct table *t)
{
    qsort_r(t->cells + t->columns, table_rows(t), t->columns * sizeof(*t->cells), by_cells, t);
}

void table_print(const struct table *t, FILE *to)
{
    size_t widths[TABLE_COLUMNS_MAX] = {0};
    for (size_t i = 0; i < t->count; i++) {
        size_t n = width_of(t->cells[i]);
        if (n > widths[i % t->columns])
            widths[i % t->columns] = n;
    }
    for (size_t i = 0; i < t->count; i++) {
        size_t column = i % t->columns;
        bool is_last = column + 1 == t->columns;
        fputs(t->cells[i], to);
        for (size_t n = width_of(t->cells[i]); !is_last && n < widths[column] + 3; n++)
            fputc(' ', to);
        if (is_last)
            fputc('\n', to);
    }
}
