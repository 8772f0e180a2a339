/* SPDX-License-Identifier: Apache-2.0
 *
 * Edit distance (Levenshtein, case aside) with a limit that grows with the name. Pure.
 */
#include "base/nearest.h"

#define NAME_MAX_BYTES 64 /* longer names are near to none */

static size_t distance(struct str a, struct str b, size_t limit)
{
    size_t row[NAME_MAX_BYTES + 1];
    if (a.n > NAME_MAX_BYTES || b.n > NAME_MAX_BYTES || a.n > b.n + limit || b.n > a.n + limit)
        return limit + 1;
    for (size_t k = 0; k <= b.n; k++)
        row[k] = k;
    for (size_t i = 1; i <= a.n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t k = 1; k <= b.n; k++) {
            size_t cost = diagonal + (ascii_lower(a.p[i - 1]) != ascii_lower(b.p[k - 1]));
            diagonal = row[k];
            size_t step = (row[k] < row[k - 1] ? row[k] : row[k - 1]) + 1;
            row[k] = cost < step ? cost : step;
        }
    }
    return row[b.n];
}

void nearest_try(struct nearest *n, const char *candidate)
{
    size_t limit = n->wanted.n / 3 > 4 ? 4 : n->wanted.n / 3 + 1;
    size_t far = distance(n->wanted, str_from(candidate), limit);
    if (far <= limit && (!n->name || far < n->distance)) {
        n->name = candidate;
        n->distance = far;
    }
}
