/* SPDX-License-Identifier: Apache-2.0
 *
 * A table of text for a terminal: columns as wide as their widest cell, the head first. What others sent is shown as it is but
 * for control characters.
 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <stddef.h>
#include <stdio.h>

#define TABLE_COLUMNS_MAX 8

struct table {
    char **cells; /* rows one after the other, the head included */
    size_t count, cap, columns;
};
void table_init(struct table *t, const char *const *head, size_t columns);
void table_fini(struct table *t);
/* Cells in their order; a row is whole when the last one is in. "" shows as "-". */
void table_add(struct table *t, const char *cell);
void table_addf(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
size_t table_rows(const struct table *t); /* without the head */
void table_sort(struct table *t);         /* by the cells of a row, the first one first */
void table_print(const struct table *t, FILE *to);

#endif
