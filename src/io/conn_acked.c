/* SPDX-License-Identifier: Apache-2.0
 *
 * What a peer's TCP has acknowledged: whether bytes that were written can have been seen at all. A file
 * of its own because linux/tcp.h, which alone has the field, excludes netinet/tcp.h.
 */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

#include "io/conn_priv.h"

bool conn_peer_acknowledged(const struct conn *c, uint64_t wire_offset)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);
    if (c->fd < 0 || getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
        return true;
    if (len < offsetof(struct tcp_info, tcpi_bytes_acked) + sizeof(info.tcpi_bytes_acked))
        return true;
    return info.tcpi_bytes_acked > wire_offset + 1; /* the SYN counts for one */
}
