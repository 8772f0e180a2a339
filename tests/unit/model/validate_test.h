/* SPDX-License-Identifier: Apache-2.0
 *
 * Rules of kinds, a row each: what stands under `spec:` (for Kubernetes' kinds: everything behind the metadata), and what is said of it.
 */
#ifndef VALIDATE_TEST_H
#define VALIDATE_TEST_H

#include "model_test.h"

struct rule_row {
    const char *spec;
    const char *says; /* "path: message" lines without file, place and title; "" none */
};

/* "f.yaml:4:3: Kind ns/name: rest" -> "rest" */
static inline void rests_add(struct strbuf *out, const struct err_list *faults)
{
    char line[ERR_MESSAGE_BYTES + ERR_PATH_BYTES + 4];
    for (size_t i = 0; i < faults->count; i++) {
        const char *p = err_format(&faults->items[i], line, sizeof(line));
        const char *rest = strstr(p, " ns/o: ");
        strbuf_addz(out, rest ? rest + 7 : p);
        strbuf_addc(out, '\n');
    }
}

static inline void rule_says(enum kind_id kind, const struct rule_row *row, bool warnings)
{
    const struct kind *k = kind_of(kind);
    struct str version = str_split(str_from(k->versions), ' ', &(struct str){0});
    struct err_list faults = {0}, warned = {0};
    struct object_list list = {.warnings = &warned};
    struct strbuf text = {0}, got = {0};
    strbuf_addf(&text, "apiVersion: %s%s%.*s\nkind: %s\nmetadata: {name: o, namespace: ns}\n%s%s\n", k->group, *k->group ? "/" : "",
                STR_ARG(version), k->name, k->shape == KIND_SPEC ? "spec: " : "", row->spec);
    object_read_all(strbuf_str(&text), "f.yaml", 0, &list, &faults);
    rests_add(&got, warnings ? &warned : &faults);
    if (strcmp(got.p ? got.p : "", row->says) != 0)
        fail_msg("%s\nsays:\n%swanted:\n%s", text.p, got.p ? got.p : "", row->says);
    assert_int_equal(list.count, faults.count == 0);
    strbuf_fini(&text);
    strbuf_fini(&got);
    err_list_fini(&faults);
    err_list_fini(&warned);
    object_list_fini(&list);
}

#define RULES(kind_, warnings_, ...)                                                                                                \
    do {                                                                                                                            \
        static const struct rule_row rows_[] = {__VA_ARGS__};                                                                       \
        for (size_t i_ = 0; i_ < sizeof(rows_) / sizeof(rows_[0]); i_++)                                                            \
            rule_says(kind_, &rows_[i_], warnings_);                                                                                \
    } while (0)

#endif
