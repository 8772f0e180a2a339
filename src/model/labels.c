/* SPDX-License-Identifier: Apache-2.0
 *
 * The order of labels.
 */
#include <stdlib.h>

#include "model/object.h"

static int by_key(const void *a, const void *b)
{
    return str_cmp(((const struct label *)a)->key, ((const struct label *)b)->key);
}

void labels_sort(struct label *items, uint32_t count)
{
    if (count)
        qsort(items, count, sizeof(*items), by_key);
}
