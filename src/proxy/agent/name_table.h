/* SPDX-License-Identifier: Apache-2.0
 *
 * The names of the mesh, as istiod pushes them (istio.networking.nds.v1.NameTable), with the shorter forms that Kubernetes
 * knows its services by. Immutable.
 */
#ifndef PROXY_AGENT_NAME_TABLE_H
#define PROXY_AGENT_NAME_TABLE_H

#include "base/err.h"
#include "proxy/agent/dns_packet.h"

struct name_table;
struct name_table_opts { /* borrowed for name_table_new */
    struct str pod_namespace;
    struct str domain;     /* the pod's, "ns.svc.cluster.local" or without the namespace */
    struct str search;     /* the first of resolv.conf; "" none */
};
/* ERR_INVALID, ERR_LIMIT: bytes that aren't such a message. Hosts that are no names, or have no address, are left out. */
struct name_table *name_table_new(struct str packed, const struct name_table_opts *opts, struct err *err);
void name_table_free(struct name_table **t);

struct name_answer {
    struct dns_name alias;    /* n 0: none; else the addresses are that name's */
    const uint8_t *addresses; /* of 4 or 16 bytes each */
    uint32_t count;           /* 0: the name has none of that family */
};
/* `name` in lower case; `type` A or AAAA. False: nobody of the mesh has that name. The exact name comes first, then the name
 * with the search domain behind it (which a resolver tries before the bare one: answered with an alias), then wildcards. */
bool name_table_find(const struct name_table *t, const struct dns_name *name, uint16_t type, struct name_answer *out);
size_t name_table_count(const struct name_table *t); /* of names, shorter forms included */
/* {"table":{"<host>":{"ips":[...],"registry":...},...}}, the shorter forms besides what came. */
void name_table_json(const struct name_table *t, struct strbuf *out);

#endif
