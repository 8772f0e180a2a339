/* SPDX-License-Identifier: Apache-2.0
 *
 * Browsers' gRPC: gRPC-Web to gRPC (envoy.filters.http.grpc_web) and plain HTTP/1.1 to gRPC
 * (envoy.filters.http.grpc_http1_bridge).
 */
#ifndef PROXY_FILTER_GRPC_WEB_H
#define PROXY_FILTER_GRPC_WEB_H

#include "proxy/filter/grpc_counts.h"
#include "proxy/filter/http_filter.h"

struct grpc_web_config { struct grpc_counts_table *counts; /* made by link */ };
extern const struct http_filter_def grpc_web_filter;

struct grpc_bridge_config { bool upgrade_protobuf, ignore_query; };
extern const struct http_filter_def grpc_http1_bridge_filter;

/* The text as grpc-message carries it: percent-encoded (gRPC over HTTP/2, "Status-Message"). */
struct str grpc_message_encode(struct arena *a, struct str text);

#endif
