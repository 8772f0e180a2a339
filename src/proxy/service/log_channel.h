/* SPDX-License-Identifier: Apache-2.0
 *
 * A collector's batches under a key: logs of equal settings share one buffer and one stream per thread. Main thread, but
 * for log_channel_batch and log_channel_head.
 */
#ifndef PROXY_SERVICE_LOG_CHANNEL_H
#define PROXY_SERVICE_LOG_CHANNEL_H

#include "proxy/service/log_batch.h"

struct log_channel;
/* A new reference to the channel of that key (the packed settings); NULL: there is none yet. */
struct log_channel *log_channel_find(struct str key);
/* `head` is copied: what every stream or message begins with. The channel is the owner that `wrap` gets. */
struct log_channel *log_channel_new(struct str key, const struct log_batch_opts *o, struct str head);
void log_channel_unref(struct log_channel **c);
struct log_batch *log_channel_batch(const struct log_channel *c);
struct str log_channel_head(const struct log_channel *c);

#endif
