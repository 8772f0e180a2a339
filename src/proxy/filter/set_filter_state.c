/* SPDX-License-Identifier: Apache-2.0
 *
 * Leaves texts in the filter state, made by formats from what is known of the request. An object
 * whose kind has a form (a number, an address) is only made of a text that has it. On the exchange's
 * worker.
 */
#include "proxy/filter/set_filter_state.h"

#include "base/check.h"
#include "http/codec/uri.h"
#include "io/addr.h"

static bool is_number(struct str s)
{
    uint64_t v;
    return str_to_u64(s, &v);
}

static bool is_port(struct str s)
{
    uint64_t v;
    return str_to_u64(s, &v) && v <= 65535;
}

static bool is_ip(struct str s)
{
    struct addr a = {0};
    bool ok = addr_from_ip(&a, s, 0, NULL) == 0;
    addr_fini(&a);
    return ok;
}

static bool is_address(struct str s)
{
    struct str host;
    struct addr a = {0};
    int port;
    if (!authority_split(s, &host, &port) || port < 0)
        return false;
    if (host.n > 1 && host.p[0] == '[')
        host = str_make(host.p + 1, host.n - 2);
    bool ok = addr_from_ip(&a, host, (uint16_t)port, NULL) == 0;
    addr_fini(&a);
    return ok;
}

static bool is_bool(struct str s)
{
    return str_eq(s, STR("true")) || str_eq(s, STR("false"));
}

const struct filter_state_kind *filter_state_kind_find(struct str key)
{
    static const struct filter_state_kind kinds[] = {
        {"envoy.string", NULL},
        {"envoy.hashable_string", NULL},
        {"istio.hashable_string", NULL},
        {"envoy.tcp_proxy.cluster", NULL},
        {"envoy.tcp_proxy.disable_tunneling", is_bool},
        {"envoy.tcp_proxy.per_connection_idle_timeout_ms", is_number},
        {"envoy.network.upstream_server_name", NULL},
        {"envoy.network.upstream_subject_alt_names", NULL},
        {"envoy.network.application_protocols", NULL},
        {"envoy.network.ip", is_ip},
        {"envoy.network.transport_socket.original_dst_address", is_address},
        {"envoy.filters.listener.original_dst.local_ip", is_address},
        {"envoy.filters.listener.original_dst.remote_ip", is_address},
        {"envoy.upstream.dynamic_host", NULL},
        {"envoy.upstream.dynamic_port", is_port},
        {"envoy.ratelimit.hits_addend", is_number},
    };
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (str_eq(key, str_from(kinds[i].key)))
            return &kinds[i];
    return NULL;
}

void filter_state_rules_apply(const struct set_filter_state_config *c, const struct format_context *cx, struct filter_state *s)
{
    struct strbuf text = {0};
    for (uint32_t i = 0; i < c->count; i++) {
        const struct filter_state_rule *r = &c->rules[i];
        strbuf_reset(&text);
        format_run(r->value, cx, &text);
        if ((!text.n && r->skip_if_empty) || (r->kind->is_valid && !r->kind->is_valid(strbuf_str(&text))))
            continue;
        filter_state_set(s, r->key, strbuf_str(&text), false, r->sharing); /* Envoy 1.40 writes over read-only ones too */
    }
    strbuf_fini(&text);
}

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)h, (void)end;
    const void *levels[4];
    uint32_t n = exchange_route_configs(f, levels);
    struct filter_state *s = &exchange_info(f->x)->filter_state;
    filter_state_rules_apply(f->config, exchange_format_context(f->x), s);
    for (uint32_t i = 0; i < n; i++)
        filter_state_rules_apply(levels[i], exchange_format_context(f->x), s);
    return FILTER_HEADERS_CONTINUE;
}

const struct http_filter_def set_filter_state_filter = {
    .name = "envoy.filters.http.set_filter_state",
    .on_request_headers = on_request_headers,
};
