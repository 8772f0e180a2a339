/* SPDX-License-Identifier: Apache-2.0
 *
 * Listener filter: is this HTTP in clear, and which? Tells "h2c", "http/1.1" or "http/1.0" as the
 * application protocol for the chain match; bytes stay where they are. Looks no further than the
 * first line, and at no more of it than the limit.
 */
#include "proxy/listener/listener_filter.h"

#define LINE_MAX_BYTES 8192

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"; /* RFC 9113 section 3.4 */
#define PREFACE_BYTES (sizeof(preface) - 1)

static const struct stat_desc rows[] = {HTTP_INSPECTOR_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

static struct stat_scope *stats(const void *config)
{
    (void)config;
    return stat_scope_get(STR("http_inspector."), &table, STR("http_inspector."), NULL, 0);
}

static enum inspect found(struct inspection *in, enum http_inspector_stat stat, struct str protocol)
{
    stat_inc(in->stats, stat);
    if (protocol.n)
        inspection_add_protocol(in, protocol);
    return INSPECT_DONE;
}

static bool is_token_char(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* A method, perhaps not all of it yet. */
static bool may_be_request(struct str s)
{
    size_t i = 0;
    while (i < s.n && is_token_char(s.p[i]))
        i++;
    return i && (i == s.n || s.p[i] == ' ');
}

static enum inspect look(struct inspection *in, const void *config)
{
    (void)config;
    struct buf *bytes = conn_in(in->conn);
    if (str_eq(in->downstream->detected_transport, STR("tls")))
        return INSPECT_DONE; /* as Envoy: what is inside isn't ours to see */
    size_t n = bytes->len < LINE_MAX_BYTES ? bytes->len : LINE_MAX_BYTES;
    if (!n)
        return INSPECT_MORE;
    struct str s = str_make((const char *)buf_pullup(bytes, n), n);
    size_t same = s.n < PREFACE_BYTES ? s.n : PREFACE_BYTES;
    if (memcmp(s.p, preface, same) == 0)
        return same < PREFACE_BYTES ? INSPECT_MORE
                                    : found(in, STAT_HTTP_INSPECTOR_HTTP2_FOUND, STR("h2c"));
    if (!may_be_request(s))
        return found(in, STAT_HTTP_INSPECTOR_HTTP_NOT_FOUND, STR_NULL);
    ptrdiff_t end = str_find_char(s, '\n');
    if (end < 0)
        return n < LINE_MAX_BYTES ? INSPECT_MORE
                                  : found(in, STAT_HTTP_INSPECTOR_HTTP_NOT_FOUND, STR_NULL);
    struct str line = str_make(s.p, (size_t)end);
    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    if (str_has_suffix(line, STR(" HTTP/1.1")))
        return found(in, STAT_HTTP_INSPECTOR_HTTP11_FOUND, STR("http/1.1"));
    if (str_has_suffix(line, STR(" HTTP/1.0")))
        return found(in, STAT_HTTP_INSPECTOR_HTTP10_FOUND, STR("http/1.0"));
    return found(in, STAT_HTTP_INSPECTOR_HTTP_NOT_FOUND, STR_NULL);
}

const struct listener_filter_def http_inspector_filter = {
    .name = "envoy.filters.listener.http_inspector", .look = look, .stats = stats};
