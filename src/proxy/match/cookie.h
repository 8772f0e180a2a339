/* SPDX-License-Identifier: Apache-2.0
 *
 * Cookies of a request (RFC 6265 section 4.2), as Envoy reads them.
 */
#ifndef PROXY_MATCH_COOKIE_H
#define PROXY_MATCH_COOKIE_H

#include "http/codec/headers.h"

/* The first value of that name over all cookie fields, double quotes around it taken off; null str: no such cookie. */
struct str cookie_get(const struct headers *h, struct str name);

#endif
