/* SPDX-License-Identifier: Apache-2.0
 *
 * The addresses of the name server: UDP and TCP of each at one port, "localhost" in both families. Main thread.
 */
#include "proxy/agent/dns_server_priv.h"

#include <unistd.h>

#include "proxy/agent/env.h"

#define BIND_TRIES 16

static void release(struct dns_socket *at)
{
    if (at->udp >= 0)
        close(at->udp);
    if (at->tcp >= 0)
        close(at->tcp);
    addr_fini(&at->at);
}

/* Both of one address, and one port. */
static int take_address(struct dns_server *s, struct str ip, uint16_t port, struct err *err)
{
    static const struct listen_opts o = {.backlog = 128};
    struct dns_socket *at = &s->sockets[s->socket_count];
    struct addr asked = {0};
    *at = (struct dns_socket){.server = s, .udp = -1, .tcp = -1};
    int rc = addr_from_ip(&asked, ip, port, err);
    if (rc == 0)
        rc = listen_open(&asked, &o, &at->tcp, &at->at, err);
    if (rc == 0)
        rc = udp_bind(&at->at, &at->udp, err);
    addr_fini(&asked);
    if (rc == 0)
        s->socket_count++;
    else
        release(at);
    return rc;
}

static bool has_ipv6_loopback(void)
{
    struct addr a = {0};
    int fd = -1;
    bool has = addr_from_ip(&a, STR("::1"), 0, NULL) == 0 && udp_bind(&a, &fd, NULL) == 0;
    if (has)
        close(fd);
    addr_fini(&a);
    return has;
}

static int take_loopback(struct dns_server *s, uint16_t port, struct err *err)
{
    int rc = take_address(s, STR("127.0.0.1"), port, err);
    if (rc == 0 && has_ipv6_loopback())
        rc = take_address(s, STR("::1"), addr_port(&s->sockets[0].at), err);
    return rc;
}

void dns_sockets_release(struct dns_server *s)
{
    for (uint32_t i = 0; i < s->socket_count; i++)
        release(&s->sockets[i]);
    s->socket_count = 0;
}

/* A port that the kernel chose for one socket may be another's for the next. */
int dns_sockets_take(struct dns_server *s, struct str text, struct err *err)
{
    struct control_endpoint e = {0};
    int rc = ERR_INVALID;
    if (!control_endpoint_parse(text, &e))
        return err_set(err, ERR_INVALID, "'%.*s' is not host:port", STR_ARG(text));
    for (int i = 0; rc < 0 && i < (e.port ? 1 : BIND_TRIES); i++) {
        dns_sockets_release(s);
        rc = str_eq(e.host, STR("localhost")) ? take_loopback(s, e.port, err) : take_address(s, e.host, e.port, err);
    }
    return rc;
}

static bool is_any(const struct addr *a)
{
    return a->sa.sa_family == AF_INET ? a->in4.sin_addr.s_addr == INADDR_ANY : IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr);
}

bool dns_sockets_have(const struct dns_server *s, const struct addr *a)
{
    for (uint32_t i = 0; i < s->socket_count; i++) {
        const struct addr *own = &s->sockets[i].at;
        if (addr_eq(a, own) || (is_any(own) && addr_is_loopback(a) && addr_port(a) == addr_port(own)))
            return true;
    }
    return false;
}
