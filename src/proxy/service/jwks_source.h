/* SPDX-License-Identifier: Apache-2.0
 *
 * Key sets that are fetched over HTTP (RemoteJwks): asked for on the main thread, used by all workers,
 * kept for cache_duration. A set that can't be fetched anew serves on: a key server that is down or
 * answers nonsense takes nobody's access away. Requests that come before the first set wait for it.
 */
#ifndef PROXY_SERVICE_JWKS_SOURCE_H
#define PROXY_SERVICE_JWKS_SOURCE_H

#include "base/list.h"
#include "pki/jwt.h"
#include "proxy/cluster/slot.h"

struct stat_scope;
struct jwks_source_spec {
    struct str uri, authority, path;   /* of the request */
    struct cluster_slot *cluster;
    uint64_t timeout_ms;
    uint64_t cache_ms;                 /* 600000 */
    bool is_async;                     /* fetched ahead of requests */
    uint64_t failed_refetch_ms;        /* async: 1000 */
    uint32_t retries; uint64_t backoff_base_ms, backoff_max_ms; /* 0, 1000, 10000 */
};
/* Of fetches: counted here. */
struct jwks_source_rows { uint32_t success, failed; };

struct jwks_source;
/* Main thread. The spec is borrowed for the source's life. Fetching begins with jwks_source_start (once statistics stand). */
struct jwks_source *jwks_source_new(const struct jwks_source_spec *keep_spec);
void jwks_source_start(struct jwks_source *s, struct stat_scope *stats, struct jwks_source_rows rows);
void jwks_source_free(struct jwks_source **s); /* nobody waits any more */

/* Workers. The set to verify with in this turn; NULL: there is none yet, or it is older than cache_duration: wait. */
const struct jwks *jwks_source_now(struct jwks_source *s);
/* The last set, however old; NULL: none was ever fetched. */
const struct jwks *jwks_source_last(struct jwks_source *s);
/* Changes with each new set: what was verified with another one is verified again. */
uint32_t jwks_source_generation(const struct jwks_source *s);
/* Calls on_ready once a fetch has ended, well or not, never from inside; embedded in what waits. */
struct jwks_wait {
    struct list node;
    void (*on_ready)(struct jwks_wait *w);
};
void jwks_source_wait(struct jwks_source *s, struct jwks_wait *w);
void jwks_wait_cancel(struct jwks_wait *w); /* also when it doesn't wait */

#endif
