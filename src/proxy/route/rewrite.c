/* SPDX-License-Identifier: Apache-2.0
 *
 * Path and host rewrites. A prefix rewrite on a route that matched the whole path (exact, regex,
 * CONNECT) replaces the whole path; the query stays in every form. Any worker; text goes into the
 * message's arena.
 */
#include "proxy/route/rewrite.h"

#include "http/codec/uri.h"
#include "proxy/route/route_priv.h"

struct str route_matched_path(const struct route_match *m, struct str path)
{
    struct str bare = path_without_query(path);
    bool is_prefix = m->kind == PATH_PREFIX || m->kind == PATH_SEPARATED_PREFIX;
    return is_prefix && m->path.n <= bare.n ? str_make(bare.p, m->path.n) : bare;
}

static struct str join(struct arena *a, struct str head, struct str tail)
{
    char *p = arena_bytes(a, head.n + tail.n + 1);
    if (!p)
        return STR_NULL;
    if (head.n)
        memcpy(p, head.p, head.n);
    if (tail.n)
        memcpy(p + head.n, tail.p, tail.n);
    return str_make(p, head.n + tail.n);
}

static struct str replace(const struct regex *r, struct str s, struct str substitution, struct arena *a)
{
    struct strbuf *b = route_text();
    return regex_replace(r, s, substitution, b) ? arena_str(a, strbuf_str(b)) : s;
}

static struct str run_format(const struct format *f, const struct format_context *cx, struct arena *a)
{
    struct strbuf *b = route_text();
    format_run(f, cx, b);
    struct str out = b->n ? arena_str(a, strbuf_str(b)) : STR_NULL;
    return header_value_is_valid(out) ? out : STR_NULL;
}

struct str rewrite_path(const struct rewrite_rule *r, const struct route_match *m, struct str path, const struct format_context *cx,
                        struct arena *a)
{
    struct str bare = path_without_query(path), fresh;
    struct str query = str_make(path.p + bare.n, path.n - bare.n);
    if (r->prefix.n) {
        size_t n = route_matched_path(m, path).n;
        return join(a, r->prefix, str_make(path.p + n, path.n - n));
    }
    if (r->regex)
        fresh = replace(r->regex, bare, r->substitution, a);
    else if (r->path_template)
        fresh = path_template_rewrite_run(r->path_template, m->path_template, bare, a);
    else if (r->path_format)
        fresh = run_format(r->path_format, cx, a);
    else
        return STR_NULL;
    return fresh.p ? join(a, fresh, query) : STR_NULL;
}

/* Hosts that were there before, the last one next to us; ours is added when it isn't the last already. */
static void append_forwarded_host(struct headers *h, struct str host)
{
    struct str list = headers_get_id(h, HDR_X_FORWARDED_HOST), last = STR_NULL;
    while (list.p) {
        struct str one = str_split(list, ',', &list);
        last = one.n ? one : last;
    }
    if (!str_eq(last, host))
        headers_append_id(h, HDR_X_FORWARDED_HOST, host);
}

void rewrite_host(struct headers *h, struct str host, bool append_x_forwarded_host, bool keep_original)
{
    struct str before = headers_get_id(h, HDR_AUTHORITY);
    if (append_x_forwarded_host && before.n)
        append_forwarded_host(h, before);
    if (keep_original)
        headers_set(h, STR("x-envoy-original-host"), before);
    headers_set_id(h, HDR_AUTHORITY, host);
}

void rewrite_rule_fini(struct rewrite_rule *r)
{
    regex_free(&r->regex);
    regex_free(&r->host_regex);
    path_template_rewrite_free(&r->path_template);
    format_free(&r->path_format);
    format_free(&r->host_format);
}

/* ---- a decision's request and response ---- */

static struct str new_host(const struct rewrite_rule *r, const struct headers *h, const struct format_context *cx, struct arena *a)
{
    switch (r->host_kind) {
    case HOST_REWRITE_LITERAL:
        return r->host;
    case HOST_REWRITE_HEADER: /* of several only the first: nobody has checked them */
        return headers_get(h, r->host);
    case HOST_REWRITE_PATH_REGEX:
        return replace(r->host_regex, path_without_query(headers_get_id(h, HDR_PATH)), r->host_substitution, a);
    case HOST_REWRITE_FORMAT:
        return run_format(r->host_format, cx, a);
    case HOST_REWRITE_NONE:
    case HOST_REWRITE_AUTO:
        break;
    }
    return STR_NULL;
}

static void rewrite_request(const struct route_entry *e, struct headers *h, const struct format_context *cx, bool keep_original,
                            struct arena *a)
{
    const struct rewrite_rule *r = e->rewrite;
    struct str path = headers_get_id(h, HDR_PATH), host = new_host(r, h, cx, a);
    if (host.n)
        rewrite_host(h, host, r->append_x_forwarded_host, keep_original);
    struct str fresh = path.p ? rewrite_path(r, &e->match, path, cx, a) : STR_NULL;
    if (!fresh.p)
        return;
    if (keep_original)
        headers_set_id(h, HDR_ENVOY_ORIGINAL_PATH, path);
    headers_set_id_ref(h, HDR_PATH, fresh);
}

enum level_kind { LEVEL_REQUEST, LEVEL_RESPONSE };

/* The weighted cluster's rules come first in either order: they hold the route's own entry inside. */
static void apply_levels(const struct route_decision *d, enum level_kind kind, struct headers *h, const struct format_context *cx,
                         struct arena *a)
{
#define RULES(part) (kind == LEVEL_REQUEST ? &(part)->request_rules : &(part)->response_rules)
    struct format_context own = *cx; /* %REQ% and %RESP% see the list that is edited */
    const struct virtual_host *v = d->vhost ? d->vhost : d->route->vhost;
    const struct route_config_spec *config = v ? v->config : NULL;
    const struct header_rules *levels[3] = {RULES(d->route), v ? RULES(v) : NULL, config ? RULES(config) : NULL};
    if (kind == LEVEL_REQUEST)
        own.request = h;
    else
        own.response = h;
    bool ascending = config && config->most_specific_header_mutations_wins;
    if (d->weighted)
        header_rules_apply(RULES(d->weighted), h, &own, a);
    for (int i = 0; i < 3; i++) {
        const struct header_rules *r = levels[ascending ? 2 - i : i];
        if (r)
            header_rules_apply(r, h, &own, a);
    }
#undef RULES
}

void route_edit_request(const struct route_decision *d, struct headers *h, const struct format_context *cx, bool suppress_envoy_headers,
                        struct arena *a)
{
    if (!d->route)
        return;
    apply_levels(d, LEVEL_REQUEST, h, cx, a);
    if (d->weighted && d->weighted->host_rewrite.n)
        headers_set_id_ref(h, HDR_AUTHORITY, d->weighted->host_rewrite);
    if (d->route->rewrite)
        rewrite_request(d->route, h, cx, !suppress_envoy_headers, a);
}

void route_edit_response(const struct route_decision *d, struct headers *h, const struct format_context *cx, struct arena *a)
{
    if (d->route)
        apply_levels(d, LEVEL_RESPONSE, h, cx, a);
}
