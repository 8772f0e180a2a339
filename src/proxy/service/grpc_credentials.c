/* SPDX-License-Identifier: Apache-2.0
 *
 * A table of a few clusters, written before there are workers and after they are gone: read without locks.
 */
#include "proxy/service/grpc_credentials.h"

#include "base/check.h"

static struct {
    struct str cluster;
    grpc_credentials_fn fn;
    void *user;
} table[GRPC_CREDENTIALS_MAX];

void grpc_credentials_set(struct str cluster, grpc_credentials_fn fn, void *user)
{
    size_t at = 0;
    while (at < GRPC_CREDENTIALS_MAX && table[at].cluster.n && !str_eq(table[at].cluster, cluster))
        at++; /* rows are never emptied: their clusters stay */
    CHECK(at < GRPC_CREDENTIALS_MAX);
    table[at].cluster = cluster;
    table[at].fn = fn;
    table[at].user = user;
}

void grpc_credentials_add(struct str cluster, struct headers *h)
{
    for (size_t i = 0; i < GRPC_CREDENTIALS_MAX; i++)
        if (table[i].fn && str_eq(table[i].cluster, cluster))
            table[i].fn(table[i].user, h);
}
