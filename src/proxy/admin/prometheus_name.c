/* SPDX-License-Identifier: Apache-2.0
 *
 * Names for Prometheus. A scope brings its tags; those in the rest of a name (status codes and
 * classes, TLS ciphers, versions ...) are found here, as Envoy's default tag extractors would; then
 * come the expressions of stats_config, which are searched for in the whole original name.
 */
#include "proxy/admin/prometheus_name.h"

#include <string.h>

#include "base/check.h"

/* "<scope>.ssl.<family>.<value>" */
static const struct tls_family {
    const char *middle, *listener_tag, *cluster_tag;
} tls_families[] = {
    {".ssl.ciphers.", "envoy.ssl_cipher", "cipher_suite"},
    {".ssl.curves.", "envoy.ssl_curve", "envoy.ssl_curve"},
    {".ssl.sigalgs.", "envoy.ssl_sigalg", "envoy.ssl_sigalg"},
    {".ssl.versions.", "envoy.ssl_version", "envoy.ssl_version"},
};

void prometheus_naming_init(struct prometheus_naming *n, const struct stats_config *config)
{
    memset(n, 0, sizeof(*n));
    n->config = config;
    for (uint32_t i = 0; config && i < config->tag_count; i++)
        n->has_regexes |= config->tags[i].regex != NULL;
}

void prometheus_naming_fini(struct prometheus_naming *n)
{
    strbuf_fini(&n->metric);
    strbuf_fini(&n->labels);
    strbuf_fini(&n->scope_labels);
    strbuf_fini(&n->scope_name);
    strbuf_fini(&n->name);
}

/* ---- writing ---- */

/* [a-zA-Z0-9_] stay, everything else becomes '_'. */
static void add_clean(struct strbuf *b, struct str s)
{
    strbuf_reserve(b, s.n + 1);
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i], l = ascii_lower(c);
        bool fine = (l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') || c == '_';
        strbuf_addc(b, fine ? c : '_');
    }
}

/* Backslash, quote and line feed are escaped in label values: a cluster's name must not be able to
 * add lines to the page. */
static void add_escaped(struct strbuf *b, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '\\' || c == '"')
            strbuf_addc(b, '\\');
        if (c == '\n')
            strbuf_addz(b, "\\n");
        else
            strbuf_addc(b, c);
    }
}

static void add_label(struct strbuf *b, struct str name, struct str value)
{
    if (b->n)
        strbuf_addc(b, ',');
    add_clean(b, name);
    strbuf_addz(b, "=\"");
    add_escaped(b, value);
    strbuf_addc(b, '"');
}

/* ---- default tags ---- */

/* A tag of Envoy's own is on unless stats_config turns defaults off without naming it, or takes its
 * name for an expression. */
static bool default_is_on(const struct stats_config *c, struct str name)
{
    bool on = !c || c->use_all_default_tags;
    for (uint32_t i = 0; c && i < c->tag_count; i++)
        if (str_eq(c->tags[i].name, name))
            on = !c->tags[i].regex && !c->tags[i].fixed_value.p;
    return on;
}

/* Takes ".value" out of a name where a whole part between dots is the value. */
static void cut_part(struct strbuf *name, struct str value)
{
    struct strbuf part = {0};
    strbuf_addc(&part, '.');
    strbuf_adds(&part, value);
    strbuf_addc(&part, '.');
    ptrdiff_t at = str_find(strbuf_str(name), strbuf_str(&part));
    if (at >= 0) {
        size_t end = (size_t)at + part.n - 1;
        memmove(name->p + at, name->p + end, name->n - end + 1);
        name->n -= end - (size_t)at;
    }
    strbuf_fini(&part);
}

/* Istio's metrics carry labels of their own, which no setting of default tags or expressions is about, and have names of
 * their own: without Envoy's prefix, as dashboards ask for them (istio_requests_total). */
#define OWN_NAMESPACE "istiocustom."
static bool has_own_labels(const struct stat_scope *scope)
{
    return str_has_prefix(scope->prefix, STR(OWN_NAMESPACE));
}

static void enter_scope(struct prometheus_naming *n, const struct stat_scope *scope, const struct stat_tag *tags, uint32_t tag_count)
{
    n->scope = scope;
    n->scope_is_plain = true;
    strbuf_reset(&n->scope_labels);
    strbuf_reset(&n->scope_name);
    strbuf_adds(&n->scope_name, scope->prefix);
    for (uint32_t i = 0; n->config && i < n->config->tag_count; i++)
        if (n->config->tags[i].fixed_value.p)
            add_label(&n->scope_labels, n->config->tags[i].name, n->config->tags[i].fixed_value);
    for (uint32_t i = 0; i < tag_count; i++) {
        if (!has_own_labels(scope) && !default_is_on(n->config, tags[i].name)) {
            n->scope_is_plain = false;
            continue;
        }
        add_label(&n->scope_labels, tags[i].name, tags[i].value);
        cut_part(&n->scope_name, tags[i].value);
    }
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "..._rq_503" and "..._rq_5xx" */
static bool take_status(struct prometheus_naming *n, struct str tail)
{
    static const struct str code = {"envoy.response_code", 19}, class = {"envoy.response_code_class", 25};
    const char *end = tail.p + tail.n;
    if (tail.n < 7 || memcmp(end - 7, "_rq_", 4) != 0 || !is_digit(end[-3]))
        return false;
    if (is_digit(end[-2]) && is_digit(end[-1]) && default_is_on(n->config, code)) {
        add_label(&n->labels, code, str_make(end - 3, 3));
        strbuf_add(&n->name, tail.p, tail.n - 4);
        return true;
    }
    if (end[-2] == 'x' && end[-1] == 'x' && default_is_on(n->config, class)) {
        add_label(&n->labels, class, str_make(end - 3, 1));
        strbuf_add(&n->name, tail.p, tail.n - 3);
        strbuf_addz(&n->name, "xx");
        return true;
    }
    return false;
}

static bool take_tls(struct prometheus_naming *n, struct str whole)
{
    for (size_t i = 0; i < ARRAY_LEN(tls_families); i++) {
        const struct tls_family *f = &tls_families[i];
        struct str middle = str_from(f->middle);
        ptrdiff_t at = str_find(whole, middle);
        if (at < 0)
            continue;
        struct str tag = str_from(str_has_prefix(whole, STR("cluster")) ? f->cluster_tag : f->listener_tag);
        if (!default_is_on(n->config, tag))
            return false;
        size_t value_at = (size_t)at + middle.n;
        add_label(&n->labels, tag, str_make(whole.p + value_at, whole.n - value_at));
        strbuf_add(&n->name, whole.p, value_at - 1);
        return true;
    }
    return false;
}

/* ---- expressions ---- */

/* The first group leaves the name, where a default tag has not taken it out before; the second (or
 * else the first) is the label's value. */
static void take_expression(struct prometheus_naming *n, const struct stats_tag_spec *tag, struct str whole)
{
    struct str groups[REGEX_GROUPS_MAX] = {STR_NULL};
    int count = tag->regex ? regex_search(tag->regex, whole, groups) : 0;
    if (count < 2 || !groups[1].p)
        return;
    struct str value = count > 2 && groups[2].p ? groups[2] : groups[1];
    add_label(&n->labels, tag->name, value);
    ptrdiff_t at = groups[1].n ? str_find(strbuf_str(&n->name), groups[1]) : -1;
    if (at < 0)
        return;
    size_t end = (size_t)at + groups[1].n;
    memmove(n->name.p + at, n->name.p + end, n->name.n - end + 1);
    n->name.n -= groups[1].n;
}

static void take_defaults(struct prometheus_naming *n, struct str bare)
{
    strbuf_reset(&n->name);
    strbuf_reset(&n->labels);
    if (!take_status(n, bare) && !take_tls(n, bare))
        strbuf_adds(&n->name, bare);
}

static void make_metric(struct prometheus_naming *n)
{
    strbuf_reset(&n->metric);
    struct str name = strbuf_str(&n->name);
    if (str_has_prefix(name, STR(OWN_NAMESPACE)))
        name = str_make(name.p + sizeof(OWN_NAMESPACE) - 1, name.n - (sizeof(OWN_NAMESPACE) - 1));
    else
        strbuf_addz(&n->metric, "envoy_");
    add_clean(&n->metric, name);
}

void prometheus_name(struct prometheus_naming *n, const struct stat_sample *s)
{
    struct str bare = s->extracted;
    struct strbuf rebuilt = {0};
    if (s->scope != n->scope || s->is_of_host) /* hosts of a cluster share its scope, and have tags of their own */
        enter_scope(n, s->scope, s->tags, s->tag_count);
    if (!n->scope_is_plain) {
        strbuf_adds(&rebuilt, strbuf_str(&n->scope_name));
        strbuf_add(&rebuilt, s->name.p + s->scope->prefix.n, s->name.n - s->scope->prefix.n);
        bare = strbuf_str(&rebuilt);
    }
    take_defaults(n, bare);
    if (n->scope_labels.n) {
        if (n->labels.n)
            strbuf_addc(&n->labels, ',');
        strbuf_adds(&n->labels, strbuf_str(&n->scope_labels));
    }
    for (uint32_t i = 0; n->has_regexes && !has_own_labels(s->scope) && i < n->config->tag_count; i++)
        take_expression(n, &n->config->tags[i], s->name);
    make_metric(n);
    strbuf_fini(&rebuilt);
}

struct str prometheus_scope_name(struct prometheus_naming *n, const struct stat_scope *s)
{
    uint32_t tag_count;
    const struct stat_tag *tags = stat_scope_tags(s, &tag_count);
    enter_scope(n, s, tags, tag_count);
    return n->scope_is_plain ? stat_scope_extracted(s) : strbuf_str(&n->scope_name);
}

void prometheus_row_name(struct prometheus_naming *n, struct str row)
{
    struct strbuf bare = {0};
    strbuf_adds(&bare, n->scope_is_plain ? stat_scope_extracted(n->scope) : strbuf_str(&n->scope_name));
    strbuf_adds(&bare, row);
    take_defaults(n, strbuf_str(&bare));
    make_metric(n);
    strbuf_fini(&bare);
}
