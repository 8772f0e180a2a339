/* SPDX-License-Identifier: Apache-2.0
 *
 * resolv.conf(5), line by line; of several `search` and `domain` lines the last counts, as in libc. Main thread.
 */
#include "proxy/agent/resolv_conf.h"

#include "base/log.h"
#include "proxy/agent/env.h"

#define DNS_PORT 53

static struct str next_word(struct str *rest)
{
    struct str s = str_trim(*rest);
    size_t n = 0;
    while (n < s.n && s.p[n] != ' ' && s.p[n] != '\t')
        n++;
    *rest = str_make(s.p + n, s.n - n);
    return str_make(s.p, n);
}

static int read_server(struct str text, struct addr *out)
{
    struct control_endpoint with_port = {0};
    if (addr_from_ip(out, text, DNS_PORT, NULL) == 0)
        return 0;
    return control_endpoint_parse(text, &with_port) && with_port.port ? addr_from_ip(out, with_port.host, with_port.port, NULL)
                                                                       : ERR_INVALID;
}

static void add_server(struct str text, struct resolv_conf *out)
{
    if (out->server_count == RESOLV_SERVERS_MAX)
        LOG(DNS, WARNING, "resolv.conf: nameserver %.*s is one too many, %d are asked", STR_ARG(text), RESOLV_SERVERS_MAX);
    else if (read_server(text, &out->servers[out->server_count]) < 0)
        LOG(DNS, WARNING, "resolv.conf: nameserver '%.*s' is no address", STR_ARG(text));
    else
        out->server_count++;
}

void resolv_conf_parse(struct str text, struct arena *a, struct resolv_conf *out)
{
    *out = (struct resolv_conf){.search = STR("")};
    while (text.n) {
        struct str line = str_split(text, '\n', &text);
        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        struct str key = next_word(&line), value = next_word(&line);
        if (str_eq(key, STR("nameserver")))
            add_server(value, out);
        else if (str_eq(key, STR("search")) || str_eq(key, STR("domain")))
            out->search = arena_str(a, value);
    }
}

void resolv_conf_fini(struct resolv_conf *c)
{
    for (uint32_t i = 0; i < c->server_count; i++)
        addr_fini(&c->servers[i]);
    c->server_count = 0;
}
