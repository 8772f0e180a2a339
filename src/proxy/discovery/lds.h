/* SPDX-License-Identifier: Apache-2.0
 *
 * Listeners from discovery (LDS). Main thread.
 */
#ifndef PROXY_DISCOVERY_LDS_H
#define PROXY_DISCOVERY_LDS_H

#include "base/str.h"

struct config_frame;
struct config_source;
struct lds;
struct listener_manager;
struct warmth;
/* Asks `source` for all listeners (`locator` "": the wildcard). `init` waits until the first answer is taken or has been
 * waited for long enough. */
struct lds *lds_new(struct listener_manager *keep_manager, struct config_frame *keep_frame, const struct config_source *keep_source,
                    struct str locator, struct warmth *init);
void lds_free(struct lds **l);

#endif
