/* SPDX-License-Identifier: Apache-2.0
 *
 * Virtual hosts on demand (extensions.filters.http.on_demand.v3); it has no settings.
 */
#ifndef PROXY_FILTER_ON_DEMAND_H
#define PROXY_FILTER_ON_DEMAND_H

#include "proxy/filter/http_filter.h"

extern const struct http_filter_def on_demand_filter;

#endif
