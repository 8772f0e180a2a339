/* SPDX-License-Identifier: Apache-2.0
 *
 * The nearest of several names, for "did you mean": feed candidates, then look at `name`.
 */
#ifndef BASE_NEAREST_H
#define BASE_NEAREST_H

#include "base/str.h"

struct nearest {
    struct str wanted;
    const char *name; /* the first of the nearest; NULL: none is near */
    size_t distance;
};
void nearest_try(struct nearest *n, const char *candidate);

#endif
