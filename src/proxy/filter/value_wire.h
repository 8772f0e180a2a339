/* SPDX-License-Identifier: Apache-2.0
 *
 * google.protobuf.Value from its wire form, as clients may send it in a header. Generated types don't come here.
 */
#ifndef PROXY_FILTER_VALUE_WIRE_H
#define PROXY_FILTER_VALUE_WIRE_H

#include "proxy/metadata.h"

/* Texts are borrowed from `bytes`. False: malformed, too deep, or the arena is full. */
bool value_from_wire(struct str bytes, struct arena *a, struct meta_value *out);

#endif
