/* SPDX-License-Identifier: Apache-2.0
 *
 * What of a pattern is RE2's language: Envoy's patterns are RE2's, ours run on pcre2, which knows
 * more. A pattern that RE2 refuses is refused here too, so that a configuration accepted by weft is
 * accepted by Envoy, and nothing that backtracks without bound by design gets in.
 */
#ifndef BASE_REGEX_SYNTAX_H
#define BASE_REGEX_SYNTAX_H

#include "base/err.h"
#include "base/str.h"

/* 0, or ERR_INVALID with a sentence that names the construct and its offset. */
int regex_syntax_check(struct str pattern, struct err *err);

#endif
