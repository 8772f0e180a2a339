/* SPDX-License-Identifier: Apache-2.0
 *
 * Readers of the hystrix sink's events (https://github.com/Netflix/Hystrix/wiki/Metrics-and-Monitoring). Main thread.
 */
#ifndef PROXY_SINK_HYSTRIX_H
#define PROXY_SINK_HYSTRIX_H

#include "base/list.h"
#include "proxy/sink/sink.h"

struct hystrix_reader {
    struct list node;
    /* At each flush: an event for each command and pool, and a ping. May unsubscribe this reader. */
    void (*on_events)(struct hystrix_reader *r, struct str events);
    void *user;
};
void hystrix_subscribe(struct stats_sink *s, struct hystrix_reader *keep_reader);
void hystrix_unsubscribe(struct hystrix_reader *r); /* also after the sink has gone */

#endif
