/* SPDX-License-Identifier: Apache-2.0
 *
 * Rules for values that several kinds have. Pure, but for pcre2 trying patterns.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/regex_syntax.h"
#include "model/validate_priv.h"

#define REGEX_MAX_BYTES 1024 /* Envoy's limit on a program's size, as Istio approximates it */
#define TARGET_REFS_MAX 16

void check_port(struct check *c, const char *field, int64_t port)
{
    if (port < 1 || port > 65535)
        check_fault(c, field, "must be between 1 and 65535, is %lld", (long long)port);
}

void check_duration(struct check *c, const char *field, const Google__Protobuf__Duration *d)
{
    if (!d)
        return;
    if (d->seconds < 0 || d->nanos < 0 || (d->seconds == 0 && d->nanos < 1000000))
        check_fault(c, field, "must be at least 1ms");
    else if (d->nanos % 1000000 != 0)
        check_fault(c, field, "must be whole milliseconds");
}

void check_percent(struct check *c, const char *field, int64_t percent)
{
    if (percent < 0 || percent > 100)
        check_fault(c, field, "must be between 0 and 100, is %lld", (long long)percent);
}

void check_not_negative(struct check *c, const char *field, int64_t value)
{
    if (value < 0)
        check_fault(c, field, "must not be negative, is %lld", (long long)value);
}

void check_regex(struct check *c, const char *field, const char *pattern)
{
    struct err err = {0};
    struct str text = str_from(pattern);
    int code = 0;
    size_t offset = 0;
    if (text.n == 0) {
        check_fault(c, field, "a regular expression must not be empty");
        return;
    }
    if (text.n > REGEX_MAX_BYTES) {
        check_fault(c, field, "a regular expression must have at most %d bytes, has %zu", REGEX_MAX_BYTES, text.n);
        return;
    }
    if (regex_syntax_check(text, &err) < 0) {
        check_fault(c, field, "%s", err.message);
        return;
    }
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)text.p, text.n, PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C, &code, &offset, NULL);
    if (!re) {
        PCRE2_UCHAR why[128];
        pcre2_get_error_message(code, why, sizeof(why));
        check_fault(c, field, "regex '%s': %s at offset %zu", pattern, (char *)why, offset);
    }
    pcre2_code_free(re);
}

void check_host(struct check *c, const char *field, const char *host)
{
    if (!is_host(str_from(host)))
        check_fault(c, field, "'%s' is not a host name", host);
}

void check_wildcard_host(struct check *c, const char *field, const char *host)
{
    if (!is_wildcard_host(str_from(host)))
        check_fault(c, field, "'%s' is neither a host name nor a wildcard like *.example.com", host);
}

void check_unix_address(struct check *c, const char *field, const char *path)
{
    size_t n = strlen(path);
    if (path[0] != '@' && (path[0] != '/' || path[n - 1] == '/'))
        check_fault(c, field, "'%s' is neither the absolute path of a file nor an abstract name like @name", path);
}

void check_label(struct check *c, struct str key, struct str value)
{
    static const char rule[] = "letters, digits, '-', '_', '.', and begin and end with one of the former two";
    if (!is_label_key(key))
        check_fault(c, "", "the key '%.*s' must be a DNS name and '/' or nothing, then 1 to 63 %s", STR_ARG(key), rule);
    if (value.n && !is_label_name(value))
        check_fault(c, "", "'%.*s' must be at most 63 %s", STR_ARG(value), rule);
}

/* Istio: exportTo is a list of namespaces, or "." (its own), "*" (all), "~" (nobody, of ServiceEntries). */
static void check_export(struct check *c, size_t n, char *const *items, size_t i, bool takes_nobody)
{
    struct str item = str_from(items[i]), own = str_eq(item, STR(".")) ? c->ns : item;
    for (size_t k = 0; k < i; k++)
        if (str_eq(str_eq(str_from(items[k]), STR(".")) ? c->ns : str_from(items[k]), own)) {
            check_fault(c, "", "'%s' is there already, as '%s'", items[i], items[k]);
            return;
        }
    if (str_eq(item, STR("*"))) {
        if (n > 1)
            check_fault(c, "", "'*' exports to everyone; others beside it say nothing");
    } else if (str_eq(item, STR("~"))) {
        if (!takes_nobody)
            check_fault(c, "", "'~' is for ServiceEntries only");
        else if (n > 1)
            check_fault(c, "", "'~' exports to nobody; others beside it contradict it");
    } else if (!str_eq(item, STR(".")) && !is_dns_label(item)) {
        check_fault(c, "", "'%s' is neither a namespace nor '.' nor '*'", items[i]);
    }
}

void check_export_to(struct check *c, size_t n, char *const *items, bool takes_nobody, bool own_only)
{
    CHECK_EACH (c, i, n, "exportTo") {
        check_export(c, n, items, i, takes_nobody);
        if (own_only && strcmp(items[i], ".") != 0 && !str_eq(str_from(items[i]), c->ns))
            check_fault(c, "", "with a workloadSelector only the own namespace may be exported to");
    }
}

/* ---- which workloads ---- */

static void check_selector_pair(struct check *c, const char *key, const char *value)
{
    if (!*key)
        check_fault(c, "", "a label's key must not be empty");
    if (strchr(key, '*') || strchr(value, '*'))
        check_fault(c, "", "wildcards are not known in selectors");
}

void check_selector(struct check *c, const char *field, const ist_selector *s)
{
    if (!s)
        return;
    PROTO_IN (&c->r, "%s", field) {
        CHECK_EACH_KEY (c, i, s->n_match_labels, "matchLabels", s->match_labels)
            check_selector_pair(c, s->match_labels[i]->key, s->match_labels[i]->value);
        if (s->n_match_labels == 0)
            check_warn(c, "", "selects by no label: holds for all workloads of the namespace");
    }
}

void check_workload_selector(struct check *c, const Istio__Networking__V1alpha3__WorkloadSelector *s)
{
    if (!s)
        return;
    PROTO_IN (&c->r, "workloadSelector") {
        CHECK_EACH_KEY (c, i, s->n_labels, "labels", s->labels)
            check_selector_pair(c, s->labels[i]->key, s->labels[i]->value);
        if (s->n_labels == 0)
            check_warn(c, "", "selects by no label: holds for all workloads of the namespace");
    }
}

static void check_target_ref(struct check *c, const ist_target_ref *ref)
{
    static const struct {
        const char *group, *kind;
    } known[] = {{"", "Service"},
                 {"core", "Service"},
                 {"networking.istio.io", "ServiceEntry"},
                 {"gateway.networking.k8s.io", "Gateway"},
                 {"gateway.networking.k8s.io", "GatewayClass"}};
    bool found = false;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        found |= strcmp(known[i].group, ref->group) == 0 && strcmp(known[i].kind, ref->kind) == 0;
    if (!*ref->name)
        check_fault(c, "name", "is missing");
    if (*ref->namespace_)
        check_fault(c, "namespace", "must not be set: only objects of the same namespace are referred to");
    if (!found)
        check_fault(c, "kind", "'%s' of the group '%s' is none of Service, ServiceEntry, Gateway and GatewayClass", ref->kind,
                    ref->group);
}

void check_target(struct check *c, const ist_selector *s, const ist_target_ref *ref, size_t n, ist_target_ref *const *refs)
{
    if ((s != NULL) + (ref != NULL) + (n > 0) > 1)
        check_fault(c, s ? "selector" : "targetRef", "only one of selector, targetRef and targetRefs may be set");
    check_selector(c, "selector", s);
    if (ref)
        PROTO_IN (&c->r, "targetRef")
            check_target_ref(c, ref);
    CHECK_EACH (c, i, n, "targetRefs")
        check_target_ref(c, refs[i]);
    if (n > TARGET_REFS_MAX)
        check_fault(c, "targetRefs", "must be at most %d, are %zu", TARGET_REFS_MAX, n);
}
