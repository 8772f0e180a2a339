/* SPDX-License-Identifier: Apache-2.0
 *
 * Listener filter: is this TLS, and for whom? Reads the ClientHello's server name and application
 * protocols and leaves the bytes where they are. A hello past the limit, and bytes that only look
 * like TLS, pass as what is known of them, unless configured to close.
 */
#include "proxy/listener/listener_filter.h"

#include "base/mem.h"

static const struct stat_desc rows[] = {TLS_INSPECTOR_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

static struct stat_scope *stats(const void *config)
{
    (void)config;
    return stat_scope_get(STR("tls_inspector."), &table, STR("tls_inspector."), NULL, 0);
}

static void set_name(struct inspection *in, struct str name)
{
    char lower[256];
    if (name.n > sizeof(lower)) /* no DNS name is as long (RFC 1035) */
        name = STR_NULL;
    for (size_t i = 0; i < name.n; i++)
        lower[i] = ascii_lower(name.p[i]);
    inspection_set_name(in, str_make(lower, name.n));
}

static void take_hello(struct inspection *in, const struct tls_hello *hello)
{
    in->downstream->detected_transport = STR("tls");
    stat_inc(in->stats, STAT_TLS_INSPECTOR_TLS_FOUND);
    stat_inc(in->stats,
             hello->sni.n ? STAT_TLS_INSPECTOR_SNI_FOUND : STAT_TLS_INSPECTOR_SNI_NOT_FOUND);
    stat_inc(in->stats,
             hello->alpn_count ? STAT_TLS_INSPECTOR_ALPN_FOUND : STAT_TLS_INSPECTOR_ALPN_NOT_FOUND);
    set_name(in, hello->sni);
    for (size_t i = 0; i < hello->alpn_count; i++)
        inspection_add_protocol(in, hello->alpn[i]);
}

static enum inspect look(struct inspection *in, const void *config)
{
    const struct tls_inspector_config *c = config;
    size_t limit = c && c->max_client_hello_bytes ? c->max_client_hello_bytes : 16384;
    struct buf *bytes = conn_in(in->conn);
    struct tls_hello hello = {0};
    if (!bytes->len)
        return INSPECT_MORE;
    size_t n = bytes->len < limit ? bytes->len : limit;
    enum tls_hello_result result = tls_hello_parse(buf_pullup(bytes, n), n, &hello);
    if (result == TLS_HELLO_MORE && n < limit)
        return INSPECT_MORE;
    stat_record(in->stats, STAT_TLS_INSPECTOR_BYTES_PROCESSED, n);
    switch (result) {
    case TLS_HELLO_YES:
        take_hello(in, &hello);
        return INSPECT_DONE;
    case TLS_HELLO_MORE:
        stat_inc(in->stats, STAT_TLS_INSPECTOR_CLIENT_HELLO_TOO_LARGE);
        return INSPECT_CLOSE;
    case TLS_HELLO_BAD:
        stat_inc(in->stats, STAT_TLS_INSPECTOR_TLS_NOT_FOUND);
        return c && c->close_on_parse_error ? INSPECT_CLOSE : INSPECT_DONE;
    case TLS_HELLO_NOT_TLS:
        break;
    }
    stat_inc(in->stats, STAT_TLS_INSPECTOR_TLS_NOT_FOUND);
    return INSPECT_DONE;
}

const struct listener_filter_def tls_inspector_filter = {
    .name = "envoy.filters.listener.tls_inspector", .look = look, .stats = stats};
