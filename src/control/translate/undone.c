/* SPDX-License-Identifier: Apache-2.0
 *
 * What the room has a place for and doesn't do yet; each goes to a file of its own when it is done.
 */
#include "control/translate/translate_priv.h"

void extensions(const struct translation *t, struct resource_sink *out)
{
    (void)t, (void)out;
}
