/* SPDX-License-Identifier: Apache-2.0
 *
 * Trying a pattern once: compiled, matched with a limit, freed.
 */
#include "model/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

bool pattern_finds(struct str pattern, struct str text)
{
    int code;
    size_t offset;
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)pattern.p, pattern.n, PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C, &code, &offset, NULL);
    if (!re)
        return false;
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    if (limits)
        pcre2_set_match_limit(limits, PATTERN_STEPS_MAX);
    bool found = limits && data && pcre2_match(re, (PCRE2_SPTR)(text.p ? text.p : ""), text.n, 0, 0, data, limits) >= 0;
    pcre2_match_data_free(data);
    pcre2_match_context_free(limits);
    pcre2_code_free(re);
    return found;
}
