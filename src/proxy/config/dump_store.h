/* SPDX-License-Identifier: Apache-2.0
 *
 * What /config_dump needs of the configuration: the packed bootstrap and when it was taken. The
 * static listeners, clusters, routes and secrets are parts of it; messages are made of the bytes
 * only while a dump is written, so at rest a dump costs the packed size. Main thread.
 */
#ifndef PROXY_CONFIG_DUMP_STORE_H
#define PROXY_CONFIG_DUMP_STORE_H

#include "base/str.h"

struct dump_store;
struct dump_store *dump_store_new(struct str take_packed, uint64_t wall_us); /* heap bytes, or the null str */
void dump_store_free(struct dump_store **s);
struct str dump_store_packed(const struct dump_store *s);
uint64_t dump_store_wall_us(const struct dump_store *s);

#endif
