/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of this room share: objects from text, and the faults of a text as lines.
 */
#ifndef MODEL_TEST_H
#define MODEL_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "model/object.h"

/* All faults as "path: message\n" lines. */
static inline void lines_add(struct strbuf *out, const struct err_list *faults)
{
    char line[ERR_MESSAGE_BYTES + ERR_PATH_BYTES + 4];
    for (size_t i = 0; i < faults->count; i++) {
        strbuf_addz(out, err_format(&faults->items[i], line, sizeof(line)));
        strbuf_addc(out, '\n');
    }
}

/* Reads; the faults must be exactly these lines ("" = none). */
static inline void read_gives(const char *text, const char *file, unsigned flags, struct object_list *out, const char *lines)
{
    struct err_list faults = {0};
    struct strbuf got = {0};
    object_read_all(str_from(text), file, flags, out, &faults);
    lines_add(&got, &faults);
    assert_string_equal(got.p ? got.p : "", lines);
    strbuf_fini(&got);
    err_list_fini(&faults);
}

/* The one object of a text without faults; the caller owns it. */
static inline const struct object *object_from(const char *text)
{
    struct object_list list = {0};
    read_gives(text, "f.yaml", 0, &list, "");
    assert_int_equal(list.count, 1);
    const struct object *o = object_ref(list.items[0]);
    object_list_fini(&list);
    return o;
}

#endif
