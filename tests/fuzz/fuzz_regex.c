/* SPDX-License-Identifier: Apache-2.0
 *
 * Regular expressions: any pattern compiles or is refused with a reason, and matching ends within
 * the limits (libFuzzer's timeout says so). The first byte is how long the subject is, the subject
 * follows, the rest is the pattern. Subject and substitution may hold any bytes.
 */
#include "base/check.h"
#include "proxy/match/string_match.h"

#define SUBJECT_MAX_BYTES 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run(const struct regex *r, struct str subject)
{
    struct str groups[REGEX_GROUPS_MAX];
    struct strbuf out = {0};
    bool matches = regex_matches(r, subject);
    int count = regex_search(r, subject, groups);
    CHECK(count >= 0 && count <= REGEX_GROUPS_MAX);
    for (int i = 0; i < count; i++)
        CHECK(!groups[i].p || (groups[i].p >= subject.p &&
                               groups[i].p + groups[i].n <= subject.p + subject.n));
    CHECK(regex_matches(r, subject) == matches);
    if (regex_replace(r, subject, STR("\\0"), &out))
        CHECK(str_eq(strbuf_str(&out), subject)); /* each match by itself */
    strbuf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    if (!size)
        return 0;
    size_t n = data[0] % (SUBJECT_MAX_BYTES + 1);
    n = n < size - 1 ? n : size - 1;
    struct str subject = str_make((const char *)data + 1, n);
    struct regex *r = regex_new(str_make(subject.p + n, size - 1 - n), &err);
    if (r)
        run(r, subject);
    else
        CHECK(err.code < 0 && err.message[0]);
    regex_free(&r);
    return 0;
}
