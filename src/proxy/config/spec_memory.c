/* SPDX-License-Identifier: Apache-2.0
 *
 * A reference-counted arena for specs. Main thread only.
 */
#include "proxy/config/spec_memory.h"

#include "base/mem.h"

struct spec_memory *spec_memory_new(void)
{
    struct spec_memory *m = NEW(spec_memory);
    m->refs = 1;
    arena_init(&m->arena, 0);
    return m;
}

struct spec_memory *spec_memory_ref(struct spec_memory *m)
{
    m->refs++;
    return m;
}

void spec_memory_unref(struct spec_memory **m)
{
    if (*m && --(*m)->refs == 0) {
        arena_fini(&(*m)->arena);
        mem_free(*m);
    }
    *m = NULL;
}
