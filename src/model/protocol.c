/* SPDX-License-Identifier: Apache-2.0
 *
 * What a port speaks, by what Kubernetes' and Istio's objects say of it (Istio: "Protocol Selection"). Any thread.
 */
#include "model/service.h"

static const struct word {
    const char *text;
    enum protocol protocol;
} words[] = {
    {"tcp", PROTOCOL_TCP},        {"tls", PROTOCOL_TLS},     {"https", PROTOCOL_HTTPS}, {"http", PROTOCOL_HTTP},
    {"http2", PROTOCOL_HTTP2},    {"h2c", PROTOCOL_HTTP2},   {"grpc", PROTOCOL_GRPC},   {"grpc-web", PROTOCOL_GRPC_WEB},
    {"http_proxy", PROTOCOL_HTTP_PROXY}, {"mongo", PROTOCOL_MONGO}, {"mysql", PROTOCOL_MYSQL}, {"redis", PROTOCOL_REDIS},
    {"udp", PROTOCOL_UDP},        {"kubernetes.io/h2c", PROTOCOL_HTTP2}, {"kubernetes.io/ws", PROTOCOL_HTTP},
    {"kubernetes.io/wss", PROTOCOL_HTTPS},
};
/* Where the server speaks first, waiting for the client's first bytes would wait for ever. */
static const uint32_t server_first_ports[] = {25, 53, 3306, 27017};

static bool find(struct str text, enum protocol *out)
{
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (str_eq_nocase(text, str_from(words[i].text))) {
            *out = words[i].protocol;
            return true;
        }
    return false;
}

static bool by_name(struct str name, enum protocol *out)
{
    if (str_has_prefix_nocase(name, STR("grpc-web"))) { /* its own word holds the '-' */
        *out = PROTOCOL_GRPC_WEB;
        return true;
    }
    struct str rest;
    return find(str_split(name, '-', &rest), out);
}

enum protocol protocol_parse(struct str app_protocol, struct str port_name, uint32_t port, struct str l4_protocol)
{
    enum protocol p;
    if (str_eq_nocase(l4_protocol, STR("UDP")))
        return PROTOCOL_UDP;
    if (app_protocol.n && find(app_protocol, &p))
        return p;
    if (app_protocol.n == 0 && by_name(port_name, &p))
        return p;
    for (size_t i = 0; i < sizeof(server_first_ports) / sizeof(server_first_ports[0]); i++)
        if (port == server_first_ports[i])
            return PROTOCOL_TCP;
    return PROTOCOL_AUTO;
}

bool protocol_is_http(enum protocol p)
{
    return p == PROTOCOL_HTTP || p == PROTOCOL_HTTP_PROXY || p == PROTOCOL_GRPC_WEB || protocol_is_http2(p);
}

bool protocol_is_http2(enum protocol p)
{
    return p == PROTOCOL_HTTP2 || p == PROTOCOL_GRPC;
}

bool protocol_is_tls(enum protocol p)
{
    return p == PROTOCOL_TLS || p == PROTOCOL_HTTPS;
}
