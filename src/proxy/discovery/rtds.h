/* SPDX-License-Identifier: Apache-2.0
 *
 * Layers of runtime values from discovery (RTDS). Main thread.
 */
#ifndef PROXY_DISCOVERY_RTDS_H
#define PROXY_DISCOVERY_RTDS_H

#include <stdint.h>

struct config_frame;
struct runtime_layer_spec;
struct rtds;
/* Asks for every layer that names a source. `on_first` once each has its first values or has been waited for long enough; at once
 * where there is none. */
struct rtds *rtds_new(struct config_frame *keep_frame, const struct runtime_layer_spec *keep_layers, uint32_t count,
                      void (*on_first)(void *arg), void *arg);
void rtds_free(struct rtds **r); /* NULL is fine */

#endif
