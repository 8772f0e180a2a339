/* SPDX-License-Identifier: Apache-2.0
 *
 * Session persistence: the endpoint that served a session is written into a cookie or a header of
 * the response, and what a request brings of it is asked of the balancer as an override host. So
 * nothing is kept here. A cookie holds Envoy's envoy.Cookie message {1: address, 2: expiry in
 * seconds} in base64, which other proxies of the mesh read; a bare address is read too. What a
 * client writes there can only name an endpoint that the cluster has: the balancer sees to that. On
 * the exchange's worker.
 */
#include "proxy/filter/stateful_session.h"

#include "base/base64.h"
#include "base/check.h"
#include "proxy/cluster/host.h"
#include "proxy/filter/filter_scope.h"
#include "proxy/match/cookie.h"

#define SESSION_STATS(X)                                                                           \
    X(SESSION_FAILED_CLOSED, COUNTER, NONE, "failed_closed", "Strict sessions whose endpoint was not to be had") \
    X(SESSION_FAILED_OPEN, COUNTER, NONE, "failed_open", "Sessions that another endpoint served")  \
    X(SESSION_NO_SESSION, COUNTER, NONE, "no_session", "Requests outside of the sessions' path")   \
    X(SESSION_ROUTED, COUNTER, NONE, "routed", "Sessions that their endpoint served")
enum { SESSION_STATS(STAT_ENUM_ROW) };
static const struct stat_desc rows[] = {SESSION_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

struct session {
    const struct session_config *c; /* NULL: not for this request */
    struct str address;             /* the session's; "" none */
};

/* ---- the cookie's message: two fields, so no more of Protobuf than that ---- */

#define TAG_ADDRESS 0x0a
#define TAG_EXPIRES 0x10

static bool take_varint(struct str *s, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64 && s->n; shift += 7) {
        uint8_t b = (uint8_t)s->p[0];
        *s = str_make(s->p + 1, s->n - 1);
        *out |= (uint64_t)(b & 127) << shift;
        if (!(b & 128))
            return true;
    }
    return false;
}

static bool parse_message(struct str s, struct str *address, uint64_t *expires_s)
{
    while (s.n) {
        char tag = s.p[0];
        uint64_t v;
        s = str_make(s.p + 1, s.n - 1);
        if (!take_varint(&s, &v) || (tag != TAG_ADDRESS && tag != TAG_EXPIRES))
            return false;
        if (tag == TAG_EXPIRES) {
            *expires_s = v;
            continue;
        }
        if (v > s.n)
            return false;
        *address = str_make(s.p, v);
        s = str_make(s.p + v, s.n - v);
    }
    return true;
}

struct str session_cookie_read(struct str value, uint64_t wall_s, struct arena *a)
{
    struct str decoded, address = STR_NULL;
    uint64_t expires_s = 0;
    if (!value.n || !b64_decode_in(a, value, &decoded))
        return STR_NULL;
    if (!parse_message(decoded, &address, &expires_s))
        return decoded;
    return expires_s && expires_s < wall_s ? STR_NULL : address;
}

static size_t put_varint(char *out, uint64_t v)
{
    size_t n = 0;
    for (; v > 127; v >>= 7)
        out[n++] = (char)(v & 127) | (char)128;
    out[n++] = (char)v;
    return n;
}

struct str session_cookie_write(struct str address, uint64_t expires_s, struct arena *a)
{
    char *p = arena_bytes(a, address.n + 24);
    size_t n = 0;
    if (!p)
        return STR_NULL;
    p[n++] = TAG_ADDRESS;
    n += put_varint(p + n, address.n);
    memcpy(p + n, address.p, address.n);
    n += address.n;
    if (expires_s) {
        p[n++] = TAG_EXPIRES;
        n += put_varint(p + n, expires_s);
    }
    return b64_encode_in(a, str_make(p, n));
}

/* ---- requests ---- */

/* RFC 6265 section 5.1.4, path-match. */
static bool path_is_in(struct str path, struct str cookie_path)
{
    if (!cookie_path.n || str_eq(cookie_path, STR("/")))
        return true;
    if (!str_has_prefix(path, cookie_path))
        return false;
    if (path.n == cookie_path.n || cookie_path.p[cookie_path.n - 1] == '/')
        return true;
    char next = path.p[cookie_path.n];
    return next == '/' || next == '?' || next == '#';
}

static struct str session_of(struct http_filter *f, const struct session_config *c, const struct headers *h)
{
    struct arena *a = exchange_arena(f->x);
    struct str out;
    if (c->is_cookie)
        return session_cookie_read(cookie_get(h, c->name), loop_wall_us(exchange_loop(f->x)) / 1000000, a);
    struct str value = headers_get(h, c->name);
    return value.n && b64_decode_in(a, value, &out) ? out : STR_NULL;
}

static void count(const struct session_config *c, uint32_t row)
{
    if (c->stats)
        stat_inc(c->stats, row);
}

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)end;
    struct session *s = f->state;
    const struct session_config *own = exchange_route_config(f), *c = own ? own : f->config;
    if (c->disabled)
        return FILTER_HEADERS_CONTINUE;
    if (c->is_cookie && !path_is_in(headers_get_id(h, HDR_PATH), c->path)) {
        count(c, STAT_SESSION_NO_SESSION);
        return FILTER_HEADERS_CONTINUE;
    }
    s->c = c;
    s->address = session_of(f, c, h);
    if (s->address.n) {
        struct stream_info *info = exchange_info(f->x);
        info->override_host = s->address;
        info->override_host_strict = c->strict;
    }
    return FILTER_HEADERS_CONTINUE;
}

/* ---- responses ---- */

static struct str set_cookie(struct http_filter *f, const struct session_config *c, struct str address)
{
    struct arena *a = exchange_arena(f->x);
    uint64_t now_s = loop_wall_us(exchange_loop(f->x)) / 1000000;
    struct str value = session_cookie_write(address, c->ttl_s ? now_s + c->ttl_s : 0, a);
    struct str out = arena_printf(a, "%.*s=\"%.*s\"", STR_ARG(c->name), STR_ARG(value));
    if (c->ttl_s)
        out = arena_printf(a, "%.*s; Max-Age=%llu", STR_ARG(out), (unsigned long long)c->ttl_s);
    if (c->path.n)
        out = arena_printf(a, "%.*s; Path=%.*s", STR_ARG(out), STR_ARG(c->path));
    for (uint32_t i = 0; i < c->attribute_count; i++) {
        const struct session_attribute *t = &c->attributes[i];
        out = arena_printf(a, "%.*s; %.*s%s%.*s", STR_ARG(out), STR_ARG(t->name), t->value.n ? "=" : "", STR_ARG(t->value));
    }
    return arena_printf(a, "%.*s; HttpOnly", STR_ARG(out));
}

static void tell_host(struct http_filter *f, struct headers *h, struct str address)
{
    const struct session *s = f->state;
    if (s->c->is_cookie)
        headers_add_ref(h, STR("set-cookie"), set_cookie(f, s->c, address));
    else
        headers_set(h, s->c->name, b64_encode_in(exchange_arena(f->x), address));
}

static enum filter_headers on_response_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)end;
    const struct session *s = f->state;
    const struct host *host = exchange_info(f->x)->host;
    char text[ADDR_TEXT_BYTES];
    if (!s->c)
        return FILTER_HEADERS_CONTINUE;
    if (!host) {
        if (s->c->strict)
            count(s->c, STAT_SESSION_FAILED_CLOSED);
        return FILTER_HEADERS_CONTINUE;
    }
    addr_text(&host->addr, text);
    if (str_eq(s->address, str_from(text))) {
        count(s->c, STAT_SESSION_ROUTED);
        return FILTER_HEADERS_CONTINUE;
    }
    if (!s->c->strict)
        count(s->c, STAT_SESSION_FAILED_OPEN);
    tell_host(f, h, str_from(text));
    return FILTER_HEADERS_CONTINUE;
}

static void link(void *config, struct stat_scope *stats)
{
    struct session_config *c = config;
    if (c->stats || !c->stat_prefix.n)
        return;
    struct strbuf below = {0};
    strbuf_addf(&below, "stateful_session.%.*s.", STR_ARG(c->stat_prefix));
    c->stats = filter_scope(stats, strbuf_str(&below), &table);
    strbuf_fini(&below);
}

void stateful_session_link(void *config)
{
    struct session_config *c = config;
    if (c->stats || !c->stat_prefix.n)
        return;
    struct strbuf prefix = {0};
    strbuf_addf(&prefix, "stateful_session.%.*s.", STR_ARG(c->stat_prefix));
    c->stats = stat_scope_get(strbuf_str(&prefix), &table, strbuf_str(&prefix), NULL, 0);
    strbuf_fini(&prefix);
}

const struct http_filter_def stateful_session_filter = {
    .name = "envoy.filters.http.stateful_session",
    .state_bytes = sizeof(struct session),
    .on_request_headers = on_request_headers,
    .on_response_headers = on_response_headers,
    .link = link,
};
