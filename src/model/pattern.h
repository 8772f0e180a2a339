/* SPDX-License-Identifier: Apache-2.0
 *
 * Regular expressions of objects, tried on short texts. Any thread.
 */
#ifndef MODEL_PATTERN_H
#define MODEL_PATTERN_H

#include <stdbool.h>

#include "base/str.h"

/* Is the pattern (RE2's language, held to it by the object's validation) found anywhere in the text? false for one that can't be compiled
 * or takes more steps than PATTERN_STEPS_MAX: a pattern shall not hold up everybody's configuration. */
#define PATTERN_STEPS_MAX 10000
bool pattern_finds(struct str pattern, struct str text);

#endif
