/* SPDX-License-Identifier: Apache-2.0
 *
 * The buffer filter's settings (extensions.filters.http.buffer.v3.Buffer and BufferPerRoute).
 */
#ifndef PROXY_FILTER_BUFFER_H
#define PROXY_FILTER_BUFFER_H

#include "proxy/filter/http_filter.h"

struct buffer_config {
    bool disabled;
    uint64_t max_request_bytes;
};
extern const struct http_filter_def buffer_filter;

#endif
