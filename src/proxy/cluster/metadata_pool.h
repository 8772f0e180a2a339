/* SPDX-License-Identifier: Apache-2.0
 *
 * Metadata of endpoints, one copy for each distinct content: thousands of endpoints of a workload say
 * the same, and endpoints come and go by themselves. Pooled metadata is immutable; equal content is the
 * same pointer.
 */
#ifndef PROXY_CLUSTER_METADATA_POOL_H
#define PROXY_CLUSTER_METADATA_POOL_H

#include "proxy/metadata.h"

/* Main thread. A reference to the copy of `m`; `key` is all of its content (its packed message). */
const struct metadata *metadata_pool_get(struct str key, const struct metadata *m);
const struct metadata *metadata_pool_ref(const struct metadata *m); /* likewise */
void metadata_pool_unref(const struct metadata *m); /* any thread; NULL is fine */
size_t metadata_pool_count(void); /* main thread; for tests */

#endif
