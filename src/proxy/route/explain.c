/* SPDX-License-Identifier: Apache-2.0
 *
 * Routing decisions in words. It decides nothing: who refused comes from route_match_refusal, which virtual host from
 * route_decide; here stands only how to say it. Values of requests are cut, since a header may be long. Pure; any thread.
 */
#include "proxy/route/explain.h"

#include "http/codec/uri.h"
#include "proxy/match/cookie.h"
#include "proxy/match/matcher.h"
#include "proxy/route/route_priv.h"
#include "proxy/stream_info.h"

#define SEEN_BYTES_MAX 120 /* of one value that a person is shown */

void quoted_words(struct strbuf *out, struct str s)
{
    strbuf_addc(out, '"');
    strbuf_adds(out, str_make(s.p, s.n > SEEN_BYTES_MAX ? SEEN_BYTES_MAX : s.n));
    strbuf_addz(out, s.n > SEEN_BYTES_MAX ? "…\"" : "\"");
}

/* ---- virtual hosts ---- */

struct str route_host_asked(const struct route_config_spec *spec, const struct headers *h, char *text, size_t cap)
{
    struct str asked = spec->vhost_header.n ? headers_get(h, spec->vhost_header) : headers_get_id(h, HDR_AUTHORITY), host = asked;
    int port;
    if (spec->ignore_port_in_host && !authority_split(asked, &host, &port))
        host = asked;
    size_t n = host.n < cap ? host.n : cap;
    for (size_t i = 0; i < n; i++)
        text[i] = ascii_lower(host.p[i]);
    return str_make(text, n);
}

static bool domain_fits(struct str d, struct str host)
{
    if (str_eq(d, STR("*")))
        return true;
    if (d.n && d.p[0] == '*')
        return host.n > d.n - 1 && str_has_suffix_nocase(host, str_make(d.p + 1, d.n - 1));
    if (d.n && d.p[d.n - 1] == '*')
        return host.n > d.n - 1 && str_has_prefix_nocase(host, str_make(d.p, d.n - 1));
    return str_eq_nocase(d, host);
}

/* Exact, then suffix wildcards, then prefix wildcards, then "*"; of equals the longer (Envoy: VirtualHost.domains). */
static size_t specificity(struct str d)
{
    if (str_eq(d, STR("*")))
        return 1;
    size_t sort = d.n && d.p[0] == '*' ? 2 : d.n && d.p[d.n - 1] == '*' ? 1 : 3;
    return sort << 20 | (d.n + 1);
}

struct str virtual_host_domain(const struct virtual_host *v, struct str host)
{
    struct str best = STR_NULL;
    for (uint32_t i = 0; i < v->domain_count; i++)
        if (domain_fits(v->domains[i], host) && (!best.p || specificity(v->domains[i]) > specificity(best)))
            best = v->domains[i];
    return best;
}

static struct str without_port(struct str s)
{
    struct str host;
    int port;
    return authority_split(s, &host, &port) && port >= 0 ? host : s;
}

static struct str behind_first_label(struct str s)
{
    ptrdiff_t dot = str_find_char(s, '.');
    return dot < 0 ? STR_NULL : str_make(s.p + dot, s.n - (size_t)dot);
}

enum domain_near domain_compare(struct str domain, struct str host)
{
    if (domain_fits(domain, host))
        return DOMAIN_FITS;
    if (domain.n > 2 && domain.p[0] == '*' && domain.p[1] == '.' && str_eq_nocase(str_make(domain.p + 2, domain.n - 2), host))
        return DOMAIN_BUT_LABEL;
    struct str bare_host = without_port(host), bare_domain = without_port(domain);
    bool had_port = bare_host.n != host.n || bare_domain.n != domain.n;
    if (had_port && domain_fits(bare_domain, bare_host))
        return DOMAIN_BUT_PORT;
    struct str a = behind_first_label(bare_domain), b = behind_first_label(bare_host);
    return a.n > 1 && str_find_char(str_make(a.p + 1, a.n - 1), '.') >= 0 && str_eq_nocase(a, b) ? DOMAIN_SIBLING : DOMAIN_FAR;
}

const char *domain_near_text(enum domain_near n)
{
    switch (n) {
    case DOMAIN_FITS:
        return "fits too, but is less specific";
    case DOMAIN_BUT_PORT:
        return "differs in the port only";
    case DOMAIN_BUT_LABEL:
        return "the wildcard stands for at least one character";
    case DOMAIN_SIBLING:
        return "differs in the first label only";
    case DOMAIN_FAR:
        break;
    }
    return "is another name";
}

/* ---- matches ---- */

void route_match_path_text(const struct route_match *m, struct strbuf *out)
{
    static const char *const kinds[] = {
        [PATH_PREFIX] = "prefix ", [PATH_EXACT] = "path ", [PATH_SEPARATED_PREFIX] = "path_separated_prefix ",
        [PATH_REGEX] = "safe_regex ", [PATH_CONNECT] = "connect_matcher", [PATH_TEMPLATE] = "uri_template ", [PATH_ANY] = "any path",
    };
    strbuf_addz(out, kinds[m->kind]);
    if (m->kind == PATH_CONNECT || m->kind == PATH_ANY)
        return;
    quoted_words(out, m->path);
    if (m->ignore_case)
        strbuf_addz(out, " in any case");
}

void string_match_words(const struct string_match *m, struct strbuf *out)
{
    static const char *const kinds[] = {[MATCH_EXACT] = "exact ",       [MATCH_PREFIX] = "prefix ", [MATCH_SUFFIX] = "suffix ",
                                        [MATCH_CONTAINS] = "contains ", [MATCH_REGEX] = "regex ",   [MATCH_ANY] = "anything"};
    strbuf_addz(out, kinds[m->kind]);
    if (m->kind == MATCH_ANY)
        return;
    quoted_words(out, m->text);
    if (m->ignore_case && m->kind != MATCH_REGEX)
        strbuf_addz(out, " in any case");
}

void header_matcher_words(const struct header_matcher *m, struct strbuf *out)
{
    strbuf_adds(out, m->name);
    strbuf_addz(out, m->invert ? " not " : " ");
    if (m->kind == HEADER_MATCH_PRESENT)
        strbuf_addz(out, m->present ? "present" : "absent");
    else if (m->kind == HEADER_MATCH_RANGE)
        strbuf_addf(out, "a number from %lld below %lld", (long long)m->range_start, (long long)m->range_end);
    else
        string_match_words(&m->string, out);
    if (m->treat_missing_as_empty)
        strbuf_addz(out, " (a missing one counts as empty)");
}

static void add_query_match(const struct query_matcher *m, struct strbuf *out)
{
    strbuf_adds(out, m->name);
    strbuf_addc(out, ' ');
    if (m->has_value)
        string_match_words(&m->value, out);
    else
        strbuf_addz(out, m->present ? "present" : "absent");
}

static void add_cookie_match(const struct cookie_matcher *m, struct strbuf *out)
{
    strbuf_adds(out, m->name);
    strbuf_addz(out, m->invert ? " not " : " ");
    string_match_words(&m->value, out);
}

static void add_tls_match(const struct tls_match *m, struct strbuf *out)
{
    if (m->presented >= 0)
        strbuf_addz(out, m->presented ? "a client certificate presented" : "no client certificate presented");
    if (m->presented >= 0 && m->validated >= 0)
        strbuf_addz(out, ", ");
    if (m->validated >= 0)
        strbuf_addz(out, m->validated ? "a client certificate validated" : "no client certificate validated");
}

static void add_metadata_key(const struct metadata_matcher *m, struct strbuf *out)
{
    strbuf_adds(out, m->space);
    for (uint32_t i = 0; i < m->path_count; i++) {
        strbuf_addc(out, i ? '.' : ':');
        strbuf_adds(out, m->path[i]);
    }
}

static void add_filter_state_match(const struct filter_state_matcher *m, struct strbuf *out)
{
    strbuf_adds(out, m->key);
    strbuf_addc(out, ' ');
    if (m->range_count)
        strbuf_addf(out, "an address in one of %u ranges", m->range_count);
    else
        string_match_words(&m->value, out);
}

void route_refusal_wanted(const struct route_match *m, enum route_refusal why, uint32_t i, struct strbuf *out)
{
    switch (why) {
    case ROUTE_TAKEN:
        break;
    case ROUTE_REFUSED_PATH:
        route_match_path_text(m, out);
        break;
    case ROUTE_REFUSED_FRACTION:
        strbuf_addf(out, "%llu of %llu requests", (unsigned long long)m->fraction.numerator, (unsigned long long)m->fraction.denominator);
        if (m->fraction.key.n)
            strbuf_addf(out, ", runtime key %.*s", STR_ARG(m->fraction.key));
        break;
    case ROUTE_REFUSED_GRPC:
        strbuf_addz(out, "a gRPC request");
        break;
    case ROUTE_REFUSED_HEADER:
        header_matcher_words(&m->headers[i], out);
        break;
    case ROUTE_REFUSED_QUERY:
        add_query_match(&m->queries[i], out);
        break;
    case ROUTE_REFUSED_COOKIE:
        add_cookie_match(&m->cookies[i], out);
        break;
    case ROUTE_REFUSED_TLS:
        add_tls_match(&m->tls, out);
        break;
    case ROUTE_REFUSED_METADATA:
        add_metadata_key(&m->metadata[i], out);
        strbuf_addz(out, m->metadata[i].invert ? " not to match" : " to match");
        break;
    case ROUTE_REFUSED_FILTER_STATE:
        add_filter_state_match(&m->filter_state[i], out);
        break;
    }
}

/* ---- what the request has ---- */

static void add_value(struct strbuf *out, struct str value)
{
    if (value.p)
        quoted_words(out, value);
    else
        strbuf_addz(out, "absent");
}

void header_words(struct strbuf *out, const struct headers *h, struct str name)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < h->count; i++) {
        if (!str_eq(h->items[i].name, name))
            continue;
        if (n++ < 3) {
            strbuf_addz(out, n > 1 ? ", " : "");
            quoted_words(out, h->items[i].value);
        }
    }
    if (!n)
        strbuf_addz(out, "absent");
}

static void add_metadata_seen(struct strbuf *out, const struct metadata_matcher *m, const struct stream_info *info)
{
    const struct meta_value *v = info ? metadata_find(&info->metadata, m->space, m->path, m->path_count) : NULL;
    if (v)
        meta_print_json(v, false, out);
    else
        strbuf_addz(out, "absent");
}

void route_refusal_seen(const struct route_match *m, const struct route_request *rq, enum route_refusal why, uint32_t i,
                        struct strbuf *out)
{
    struct str path = headers_get_id(rq->headers, HDR_PATH), value = STR_NULL;
    switch (why) {
    case ROUTE_TAKEN:
        break;
    case ROUTE_REFUSED_PATH:
        if (m->kind == PATH_CONNECT)
            quoted_words(out, headers_get_id(rq->headers, HDR_METHOD));
        else
            add_value(out, path.p ? path_without_query(path) : path);
        break;
    case ROUTE_REFUSED_FRACTION:
        strbuf_addf(out, "the draw %llu", (unsigned long long)(m->fraction.denominator ? rq->random % m->fraction.denominator : 0));
        break;
    case ROUTE_REFUSED_GRPC:
        strbuf_addz(out, "content-type ");
        add_value(out, headers_get_id(rq->headers, HDR_CONTENT_TYPE));
        break;
    case ROUTE_REFUSED_HEADER:
        header_words(out, rq->headers, m->headers[i].name);
        break;
    case ROUTE_REFUSED_QUERY:
        if (!path_query(path).p || !query_get(path_query(path), m->queries[i].name, &value))
            value = STR_NULL;
        add_value(out, value);
        break;
    case ROUTE_REFUSED_COOKIE:
        add_value(out, cookie_get(rq->headers, m->cookies[i].name));
        break;
    case ROUTE_REFUSED_TLS:
        strbuf_addz(out, "something else");
        break;
    case ROUTE_REFUSED_METADATA:
        add_metadata_seen(out, &m->metadata[i], rq->info);
        break;
    case ROUTE_REFUSED_FILTER_STATE: {
        const struct filter_state_entry *e = rq->info ? filter_state_find(&rq->info->filter_state, m->filter_state[i].key) : NULL;
        add_value(out, e ? e->value : STR_NULL);
        break;
    }
    }
}

void route_refusal_part(enum route_refusal why, uint32_t index, struct strbuf *out)
{
    strbuf_addz(out, route_refusal_text(why));
    if (why == ROUTE_REFUSED_HEADER || why == ROUTE_REFUSED_QUERY || why == ROUTE_REFUSED_COOKIE || why == ROUTE_REFUSED_METADATA ||
        why == ROUTE_REFUSED_FILTER_STATE)
        strbuf_addf(out, "[%u]", index);
}

struct route_entry *const *route_candidates(const struct virtual_host *v, const struct route_request *rq, uint32_t *count)
{
    *count = v->route_count;
    if (!v->matcher)
        return v->routes;
    const struct matcher_data data = {rq->headers, rq->info};
    const struct route_list *list = matcher_find(v->matcher, &data);
    *count = list ? list->count : 0;
    return list ? list->items : NULL;
}
