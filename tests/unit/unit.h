/* SPDX-License-Identifier: Apache-2.0
 *
 * What every unit test includes: cmocka behind the headers it wants, and asserts for strings.
 */
#ifndef UNIT_H
#define UNIT_H

#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define assert_str_equal(s, literal) unit_assert_str(s, literal, __FILE__, __LINE__)

static inline void unit_assert_str(struct str s, const char *want, const char *file, int line)
{
    if (str_eq(s, str_from(want)))
        return;
    print_error("\"%.*s\" is not \"%s\"\n", STR_ARG(s), want);
    _fail(file, line);
}

#endif
