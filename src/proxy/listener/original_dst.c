/* SPDX-License-Identifier: Apache-2.0
 *
 * Listener filter: where a redirected connection was meant to go (netfilter's REDIRECT target), put
 * back as the connection's local address. A connection that wasn't redirected keeps its own.
 */
#include <sys/socket.h>

#include "proxy/listener/listener_filter.h"

/* linux/netfilter_ipv4.h and _ipv6/ip6_tables.h, which clash with netinet/in.h. */
#define SO_ORIGINAL_DST 80
#define IP6T_SO_ORIGINAL_DST 80

static bool original_destination(int fd, int family, struct addr *out)
{
    struct sockaddr_storage ss;
    socklen_t n = sizeof(ss);
    int rc = family == AF_INET6 ? getsockopt(fd, IPPROTO_IPV6, IP6T_SO_ORIGINAL_DST, &ss, &n)
                                : getsockopt(fd, IPPROTO_IP, SO_ORIGINAL_DST, &ss, &n);
    if (rc != 0)
        return false;
    addr_from_sockaddr(out, (const struct sockaddr *)&ss, n);
    return true;
}

/* As Envoy: whoever asks the kernel and is answered was redirected, or could have been. A transparent socket's own address is
 * the one that was meant (TPROXY), whether or not the kernel tracks the connection. */
static enum inspect look(struct inspection *in, const void *config)
{
    (void)config;
    struct addr a = {.unix_path = NULL};
    const struct addr *local = conn_local(in->conn);
    if (!addr_is_ip(local))
        return INSPECT_DONE;
    if (original_destination(conn_fd(in->conn), local->sa.sa_family, &a)) {
        if (!addr_eq(&a, local))
            conn_set_local(in->conn, &a);
        in->downstream->original_dst_restored = true;
    } else if (in->downstream->listener->spec->transparent) {
        in->downstream->original_dst_restored = true;
    }
    addr_fini(&a);
    return INSPECT_DONE;
}

const struct listener_filter_def original_dst_filter = {
    .name = "envoy.filters.listener.original_dst", .look = look};
