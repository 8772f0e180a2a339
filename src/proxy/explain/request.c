/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads what explain is asked (request.h). JSON and form values come to the same fields; JSON may besides give headers as an
 * object or as a list of objects or "name: value" texts. Unknown fields are refused by name: a misspelt one would change the
 * answer in silence. Pure; the admin server's main thread.
 */
#include "proxy/explain/request.h"

#include "http/codec/headers.h"
#include "http/codec/uri.h"
#include "proto/arena.h"
#include "proto/json.h"

#define DOC_BYTES_MAX (4u << 20) /* memory of a question's tree; its text is limited by the admin server */

static int fault(struct err *err, const char *key, struct str value, const char *rule)
{
    return err_set(err, ERR_INVALID, "%s: '%.*s' %s", key, (int)(value.n > 100 ? 100 : value.n), value.p ? value.p : "", rule);
}

static int set_text(struct str *out, const char *key, struct str value, struct arena *a, struct err *err)
{
    if (!header_value_is_valid(value))
        return fault(err, key, value, "holds characters that no header may hold");
    *out = arena_str(a, value);
    return 0;
}

static struct str lower(struct arena *a, struct str s)
{
    char *p = arena_bytes(a, s.n + 1);
    for (size_t i = 0; p && i < s.n; i++)
        p[i] = ascii_lower(s.p[i]);
    return str_make(p, p ? s.n : 0);
}

/* ---- the fields ---- */

static int set_method(struct explain_request *rq, struct str v, struct arena *a, struct err *err)
{
    if (!header_name_is_valid(v))
        return fault(err, "method", v, "is no method");
    rq->method = arena_str(a, v);
    return 0;
}

static int set_path(struct explain_request *rq, struct str v, struct arena *a, struct err *err)
{
    return set_text(&rq->path, "path", v, a, err);
}

static int set_authority(struct explain_request *rq, struct str v, struct arena *a, struct err *err)
{
    return set_text(&rq->authority, "authority", v, a, err);
}

static int set_scheme(struct explain_request *rq, struct str v, struct arena *a, struct err *err)
{
    if (!str_eq_nocase(v, STR("http")) && !str_eq_nocase(v, STR("https")))
        return fault(err, "scheme", v, "is neither http nor https");
    rq->scheme = lower(a, v);
    return 0;
}

/* "https://a.b/c?d", "a.b/c", "/c" */
static int set_url(struct explain_request *rq, struct str v, struct arena *a, struct err *err)
{
    struct uri u;
    if (str_has_prefix(v, STR("/")) || str_eq(v, STR("*")))
        return set_path(rq, v, a, err);
    struct str url = str_find(v, STR("://")) >= 0 ? v : arena_printf(a, "http://%.*s", STR_ARG(v));
    if (!uri_parse_absolute(url, &u))
        return fault(err, "url", v, "is no URL");
    if (url.p == v.p && set_scheme(rq, u.scheme, a, err) < 0)
        return ERR_INVALID;
    if (set_authority(rq, u.authority, a, err) < 0)
        return ERR_INVALID;
    return set_path(rq, u.path.n ? u.path : STR("/"), a, err);
}

static int add_header(struct explain_request *rq, struct str name, struct str value, struct arena *a, struct err *err)
{
    name = str_trim(name);
    value = str_trim(value);
    if (str_eq(name, STR(":method")))
        return set_method(rq, value, a, err);
    if (str_eq(name, STR(":path")))
        return set_path(rq, value, a, err);
    if (str_eq(name, STR(":scheme")))
        return set_scheme(rq, value, a, err);
    if (str_eq(name, STR(":authority")) || str_eq_nocase(name, STR("host")))
        return set_authority(rq, value, a, err);
    if (!header_name_is_valid(name))
        return fault(err, "headers", name, "is no header's name");
    if (!header_value_is_valid(value))
        return fault(err, "headers", value, "is no header's value");
    if (rq->header_count == EXPLAIN_HEADERS_MAX)
        return err_set(err, ERR_LIMIT, "headers: more than %d", EXPLAIN_HEADERS_MAX);
    rq->headers[rq->header_count++] = (struct explain_header){lower(a, name), arena_str(a, value)};
    return 0;
}

static int add_header_line(struct explain_request *rq, struct str v, struct arena *a, struct err *err)
{
    bool pseudo = str_has_prefix(v, STR(":"));
    struct str rest, name = str_split(pseudo ? str_make(v.p + 1, v.n - 1) : v, ':', &rest);
    if (!rest.p)
        return fault(err, "header", v, "isn't 'name: value'");
    if (pseudo)
        name = str_make(name.p - 1, name.n + 1);
    return add_header(rq, name, rest, a, err);
}

/* "10.0.0.1", "10.0.0.1:80", "[::1]:80" */
static int set_address(struct addr *out, const char *key, struct str v, struct err *err)
{
    struct str host;
    int port;
    if (addr_from_ip(out, v, 0, NULL) == 0)
        return 0;
    if (!authority_split(v, &host, &port) || addr_from_ip(out, host, port > 0 ? (uint16_t)port : 0, NULL) < 0)
        return fault(err, key, v, "is no IP address with or without a port");
    return 0;
}

static int set_source(struct explain_request *rq, struct str v, struct arena *a, struct err *err)
{
    (void)a;
    rq->has_source = true;
    return set_address(&rq->source, "source", v, err);
}

static int set_port(struct explain_request *rq, struct str v, struct arena *a, struct err *err)
{
    (void)a;
    uint64_t port;
    if (!str_to_u64(v, &port) || port == 0 || port > 65535)
        return fault(err, "destination_port", v, "is no port");
    rq->destination_port = (uint16_t)port;
    return 0;
}

static int set_destination(struct explain_request *rq, struct str v, struct arena *a, struct err *err)
{
    uint64_t port;
    if (str_has_prefix(v, STR(":")) && str_to_u64(str_make(v.p + 1, v.n - 1), &port)) /* not "::1" */
        return set_port(rq, str_make(v.p + 1, v.n - 1), a, err);
    rq->has_destination = true;
    return set_address(&rq->destination, "destination", v, err);
}

static int set_listener(struct explain_request *rq, struct str v, struct arena *a, struct err *err)
{
    (void)err;
    rq->listener = arena_str(a, v);
    return 0;
}

static int set_sni(struct explain_request *rq, struct str v, struct arena *a, struct err *err)
{
    if (set_text(&rq->sni, "sni", v, a, err) < 0)
        return ERR_INVALID;
    rq->sni = lower(a, v);
    return 0;
}

static int set_principal(struct explain_request *rq, struct str v, struct arena *a, struct err *err)
{
    if (!str_has_prefix(v, STR("spiffe://")))
        return fault(err, "principal", v, "isn't a SPIFFE ID (spiffe://…)");
    return set_text(&rq->principal, "principal", v, a, err);
}

static int add_alpn(struct explain_request *rq, struct str v, struct arena *a, struct err *err)
{
    while (v.p) {
        struct str one = str_trim(str_split(v, ',', &v));
        if (!one.n)
            continue;
        if (rq->alpn_count == EXPLAIN_ALPN_MAX)
            return err_set(err, ERR_LIMIT, "alpn: more than %d", EXPLAIN_ALPN_MAX);
        rq->alpn[rq->alpn_count++] = arena_str(a, one);
    }
    return 0;
}

static int set_transport(struct explain_request *rq, struct str v, struct arena *a, struct err *err)
{
    (void)a;
    if (!str_eq(v, STR("tls")) && !str_eq(v, STR("raw")) && !str_eq(v, STR("raw_buffer")))
        return fault(err, "transport", v, "is neither tls nor raw");
    rq->says_transport = true;
    rq->is_tls = str_eq(v, STR("tls"));
    return 0;
}

static int set_random(struct explain_request *rq, struct str v, struct arena *a, struct err *err)
{
    (void)a;
    if (!str_to_u64(v, &rq->random))
        return fault(err, "random", v, "is no number");
    rq->has_random = true;
    return 0;
}

static const struct field {
    const char *name;
    int (*set)(struct explain_request *rq, struct str v, struct arena *a, struct err *err);
} fields[] = {
    {"url", set_url},         {"method", set_method},           {"path", set_path},
    {"host", set_authority},  {"authority", set_authority},     {"scheme", set_scheme},
    {"header", add_header_line}, {"source", set_source},        {"destination", set_destination},
    {"destination_port", set_port}, {"listener", set_listener}, {"sni", set_sni},
    {"principal", set_principal},
    {"alpn", add_alpn},       {"transport", set_transport},     {"random", set_random},
};

int explain_read_field(struct explain_request *out, struct str key, struct str value, struct arena *a, struct err *err)
{
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (str_eq(key, str_from(fields[i].name)))
            return fields[i].set(out, value.p ? value : STR(""), a, err);
    return fault(err, "question", key,
                 "is no field: url, method, path, authority, scheme, header, headers, source, destination, destination_port, listener, "
                 "sni, principal, alpn, transport and random are");
}

/* ---- JSON ---- */

static bool is_scalar(const struct doc_node *n)
{
    return n->kind == DOC_STRING || n->kind == DOC_NUMBER;
}

static int read_headers(struct explain_request *out, const struct doc_node *n, struct arena *a, struct err *err);

/* {"name": "x", "value": "y"}, as Envoy's configuration has it ("key"), or {"x": "y"} with one value or a list of them. */
static int read_header_map(struct explain_request *out, const struct doc_node *n, struct arena *a, struct err *err)
{
    struct str name = STR_NULL, value = STR_NULL;
    uint32_t others = 0;
    for (const struct doc_node *f = n->first; f; f = f->next) {
        if (is_scalar(f) && (str_eq(f->key, STR("name")) || str_eq(f->key, STR("key"))))
            name = f->text;
        else if (is_scalar(f) && str_eq(f->key, STR("value")))
            value = f->text;
        else
            others++;
    }
    if (name.p && value.p && !others)
        return add_header(out, name, value, a, err);
    for (const struct doc_node *f = n->first; f; f = f->next) {
        if (is_scalar(f)) {
            if (add_header(out, f->key, f->text, a, err) < 0)
                return ERR_INVALID;
            continue;
        }
        if (f->kind != DOC_LIST)
            return fault(err, "headers", f->key, "has neither a text nor a list of texts");
        for (const struct doc_node *v = f->first; v; v = v->next)
            if (!is_scalar(v))
                return fault(err, "headers", f->key, "has neither a text nor a list of texts");
            else if (add_header(out, f->key, v->text, a, err) < 0)
                return ERR_INVALID;
    }
    return 0;
}

static int read_header_list(struct explain_request *out, const struct doc_node *n, struct arena *a, struct err *err)
{
    for (const struct doc_node *i = n->first; i; i = i->next) {
        int rc;
        if (i->kind == DOC_MAP)
            rc = read_header_map(out, i, a, err);
        else if (i->kind == DOC_STRING)
            rc = add_header_line(out, i->text, a, err);
        else if (i->kind == DOC_LIST && i->first && is_scalar(i->first) && i->first->next && is_scalar(i->first->next))
            rc = add_header(out, i->first->text, i->first->next->text, a, err);
        else
            rc = err_set(err, ERR_INVALID, "headers: an entry is neither an object, a pair nor 'name: value'");
        if (rc < 0)
            return ERR_INVALID;
    }
    return 0;
}

static int read_headers(struct explain_request *out, const struct doc_node *n, struct arena *a, struct err *err)
{
    if (n->kind == DOC_MAP)
        return read_header_map(out, n, a, err);
    if (n->kind == DOC_LIST)
        return read_header_list(out, n, a, err);
    return err_set(err, ERR_INVALID, "headers: neither a list nor an object");
}

static int read_member(struct explain_request *out, const struct doc_node *n, struct arena *a, struct err *err)
{
    if (str_eq(n->key, STR("headers")))
        return read_headers(out, n, a, err);
    if (n->kind == DOC_NULL)
        return 0;
    if (is_scalar(n))
        return explain_read_field(out, n->key, n->text, a, err);
    if (n->kind != DOC_LIST)
        return fault(err, "question", n->key, "has no text");
    for (const struct doc_node *i = n->first; i; i = i->next)
        if (!is_scalar(i))
            return fault(err, "question", n->key, "has no list of texts");
        else if (explain_read_field(out, n->key, i->text, a, err) < 0)
            return ERR_INVALID;
    return 0;
}

int explain_read_json(struct explain_request *out, struct str text, struct arena *a, struct err *err)
{
    struct proto_arena *pa = proto_arena_new(DOC_BYTES_MAX);
    struct err_list faults = {0};
    const struct doc_node *root = json_read(pa, text, NULL, &faults);
    int rc = 0;
    if (faults.count) {
        char line[512];
        rc = err_set(err, ERR_INVALID, "%s", err_format(&faults.items[0], line, sizeof(line)));
    } else if (!root || root->kind != DOC_MAP) {
        rc = err_set(err, ERR_INVALID, "question: not a JSON object");
    }
    for (const struct doc_node *n = rc < 0 ? NULL : root->first; n && rc == 0; n = n->next)
        rc = read_member(out, n, a, err);
    err_list_fini(&faults);
    proto_arena_free(&pa);
    return rc < 0 ? ERR_INVALID : 0;
}

/* ---- what follows ---- */

int explain_request_settle(struct explain_request *rq, struct arena *a, struct err *err)
{
    struct str host;
    int port;
    if (!rq->authority.n && !rq->path.n)
        return err_set(err, ERR_INVALID, "say at least a url, or an authority or a path");
    if (!rq->method.n)
        rq->method = STR("GET");
    bool connect = str_eq(rq->method, STR("CONNECT"));
    if (!rq->path.p && !connect)
        rq->path = STR("/");
    if (!rq->says_transport)
        rq->is_tls = rq->sni.n || rq->alpn_count || rq->principal.n || str_eq(rq->scheme, STR("https"));
    if (!rq->scheme.n)
        rq->scheme = rq->is_tls ? STR("https") : STR("http");
    if (rq->is_tls && !rq->sni.n && authority_split(rq->authority, &host, &port)) {
        struct addr ip = {0};
        if (addr_from_ip(&ip, host, 0, NULL) < 0) /* RFC 6066 section 3: names only */
            rq->sni = lower(a, host);
    }
    if (rq->has_destination && addr_port(&rq->destination))
        rq->destination_port = addr_port(&rq->destination);
    return a->overflowed ? err_set(err, ERR_LIMIT, "the question is too long") : 0;
}
