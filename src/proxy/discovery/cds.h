/* SPDX-License-Identifier: Apache-2.0
 *
 * Clusters from discovery (CDS). Main thread.
 */
#ifndef PROXY_DISCOVERY_CDS_H
#define PROXY_DISCOVERY_CDS_H

#include "base/str.h"

struct cluster_manager;
struct config_frame;
struct config_source;
struct cds;
/* Asks `source` for all clusters (`locator` "": the wildcard). `on_first` once the first answer is in force (its clusters
 * warm) or has been waited for long enough. */
struct cds *cds_new(struct cluster_manager *keep_manager, struct config_frame *keep_frame, const struct config_source *keep_source,
                    struct str locator, void (*on_first)(void *arg), void *arg);
void cds_free(struct cds **c);

#endif
