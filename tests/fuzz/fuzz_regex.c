/* SPDX-License-Identifier: Apache-2.0
 *
 * Regular expressions of a configuration: pattern, a NUL, subject. A pattern is taken or refused with a
 * message; matching ends within its limits whatever the pattern is.
 */
#include <stdlib.h>

#include "proxy/match/string_match.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err err = {0};
    struct str subject, pattern = str_split(str_make((const char *)data, n), '\0', &subject);
    struct regex *r = regex_new(pattern, &err);
    if (r)
        regex_matches(r, subject.p ? subject : STR(""));
    else if (!err.message[0])
        abort();
    regex_free(&r);
    return 0;
}
