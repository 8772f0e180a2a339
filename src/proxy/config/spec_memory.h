/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory that several specs share: an arena per specification would round each of 2,000 clusters up
 * to a page. One per configuration file; freed with the last spec that came from it. Main thread.
 */
#ifndef PROXY_CONFIG_SPEC_MEMORY_H
#define PROXY_CONFIG_SPEC_MEMORY_H

#include "base/arena.h"

struct spec_memory {
    uint32_t refs;
    struct arena arena;
};
struct spec_memory *spec_memory_new(void);
struct spec_memory *spec_memory_ref(struct spec_memory *m);
void spec_memory_unref(struct spec_memory **m);

#endif
