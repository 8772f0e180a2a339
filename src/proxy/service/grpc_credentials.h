/* SPDX-License-Identifier: Apache-2.0
 *
 * What calls to a cluster must show besides the metadata of their configuration: the token of a file, read anew for each
 * call, never in a configuration that could be dumped (what google_grpc calls call credentials; envoy_grpc has none). Set on
 * the main thread before workers start, for the process's life; calls to that cluster are made on the main thread.
 */
#ifndef PROXY_SERVICE_GRPC_CREDENTIALS_H
#define PROXY_SERVICE_GRPC_CREDENTIALS_H

#include "http/codec/headers.h"

/* Adds headers to one call. */
typedef void (*grpc_credentials_fn)(void *user, struct headers *h);
/* cluster: a literal. fn NULL: none any more. At most GRPC_CREDENTIALS_MAX clusters. */
#define GRPC_CREDENTIALS_MAX 4
void grpc_credentials_set(struct str cluster, grpc_credentials_fn fn, void *user);
void grpc_credentials_add(struct str cluster, struct headers *h);

#endif
