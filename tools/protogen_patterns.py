# SPDX-License-Identifier: Apache-2.0
"""The subset of regular expressions that src/proto/pattern.c matches; others are refused here.

pattern := branch ('|' branch)*        branch := '^'? (atom quantifier?)* '$'?
atom    := literal | '.' | '\\' char | [class]      quantifier := '*' | '+' | '?'
"""
import re

ESCAPE = r"\\(?:x[0-9a-fA-F]{2}|[\\./~\-^$*+?()\[\]{}|_])"
CLASS_ITEM = r"(?:%s|[^\\\]\[])" % ESCAPE
CLASS = r"\[\^?(?:%s)+\]" % CLASS_ITEM
ATOM = r"(?:%s|%s|[^\\^$*+?()\[\]{}|])" % (ESCAPE, CLASS)
BRANCH = r"\^?(?:%s[*+?]?)*\$?" % ATOM
SUBSET = re.compile(r"(?:%s)(?:\|(?:%s))*" % (BRANCH, BRANCH))


def check(pattern, where):
    if not SUBSET.fullmatch(pattern):
        raise SystemExit("protogen: %s: pattern %r is outside the subset of pattern.c" % (where, pattern))
